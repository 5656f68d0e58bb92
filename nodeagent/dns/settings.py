"""What the DNS process is started with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nodeagent.waking.held import DOORBELL_NAME, HELD_NAME


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """``listen`` is an IPv4 address, with ``:port`` where it is not 53."""

    run_dir: Path
    listen: str
    resolv_conf: Path = Path("/etc/resolv.conf")

    @property
    def zone_path(self) -> Path:
        return self.run_dir / "dns" / "zone.json"

    @property
    def held_path(self) -> Path:
        return self.run_dir / "dns" / HELD_NAME

    @property
    def doorbell_path(self) -> Path:
        return self.run_dir / "dns" / DOORBELL_NAME

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.listen.partition(":")
        return host, int(port or 53)
