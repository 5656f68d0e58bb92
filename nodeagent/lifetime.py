"""How an agent knows that nothing which its records name can still run.

After a reboot every process is gone, and after ``flotilla down`` every container has been ended on purpose. Neither is
a crash: pods start again at once, without a back-off. The kernel's boot id tells the first, a mark in the run directory
the second.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from nodeagent.runtime.processes import boot_id

MARK = "lifetime"


def current_lifetime(run_dir: Path) -> str:
    """What everything that runs for this node now belongs to; begins one where there is none."""
    mark = run_dir / MARK
    if not mark.exists():
        run_dir.mkdir(parents=True, exist_ok=True)
        mark.write_text(uuid.uuid4().hex, encoding="ascii")
    return f"{boot_id()} {mark.read_text(encoding='ascii')}"


def end_lifetime(run_dir: Path) -> None:
    """Note that all containers have been ended on purpose."""
    (run_dir / MARK).unlink(missing_ok=True)
