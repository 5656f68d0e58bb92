"""The pods' cgroups: limits as files, on cgroup v1, hybrid and v2 machines.

``layout`` says where the controllers are mounted, ``limits`` maps a pod's resources to file contents without touching
a file, ``pods`` makes and removes the directories, ``stats`` reads counters and ``oom`` wakes on an out-of-memory kill.
The container's own cgroup is made by the OCI runtime below the pod's; nothing else in the agent writes under
``/sys/fs/cgroup``.
"""

from __future__ import annotations

from nodeagent.cgroups.layout import CgroupLayout, detect
from nodeagent.cgroups.pods import PodCgroups
from nodeagent.cgroups.stats import CgroupReader, CgroupStats, read_stats

__all__ = ["CgroupLayout", "CgroupReader", "CgroupStats", "PodCgroups", "detect", "read_stats"]
