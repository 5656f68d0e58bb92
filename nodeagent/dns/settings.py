"""What the DNS process is started with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
    def address(self) -> tuple[str, int]:
        host, _, port = self.listen.partition(":")
        return host, int(port or 53)
