"""What the pages about containers are made from, gathered at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nodeagent.cgroups.layout import CgroupLayout
from nodeagent.disk.places import PodDisk
from nodeagent.metrics.sampler import Round
from nodeagent.node_view import PodView


@dataclass(frozen=True, slots=True)
class PageView:
    """The newest and the ``recent`` rounds, the pods, disk figures by uid and names of links by (namespace, name)."""

    round: Round | None
    pods: Sequence[PodView]
    disks: Mapping[str, PodDisk]
    links: Mapping[tuple[str, str], str]
    layout: CgroupLayout
    data_dir: Path
    recent: Sequence[Round] = ()
    node_name: str = ""
    boot_unix_s: float = 0.0
