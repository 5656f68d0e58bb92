"""What the supervisor is told and what it remembers: both JSON files in ``<run-dir>/supervisor``.

``spec.json`` says which processes there must be and is written by ``up``. ``state.json`` says which process plays each
part and how it was started; it is written on every start, so that a new supervisor finds what a dead one left running.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flotilla.local.child import Child
from flotilla.local.process import ProcessIdentity

FIRST_DELAY_S = 0.25
LARGEST_DELAY_S = 2.0
STEADY_AFTER_S = 2.0


@dataclass(frozen=True, slots=True)
class Spec:
    """The children in their order of start, and where their logs go."""

    children: tuple[Child, ...]
    log_dir: Path


@dataclass(frozen=True, slots=True)
class Record:
    """A started process and the fingerprint of the child it was started for."""

    identity: ProcessIdentity
    fingerprint: str


@dataclass(frozen=True, slots=True)
class SupervisorPaths:
    """The supervisor's files under ``<run-dir>/supervisor``."""

    directory: Path

    @property
    def spec(self) -> Path:
        return self.directory / "spec.json"

    @property
    def state(self) -> Path:
        return self.directory / "state.json"

    @property
    def lock(self) -> Path:
        return self.directory / "pid"


def fingerprint(child: Child) -> str:
    """Changes with anything that a running process would have to be restarted for."""
    return json.dumps([child.command, child.environment])


def restart_delay_s(*, ran_for_s: float, failures: int) -> float:
    """Seconds to wait before a restart: none after a steady run, else growing with the quick deaths in a row."""
    if ran_for_s >= STEADY_AFTER_S or failures == 0:
        return 0.0
    return float(min(LARGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(failures - 1, 16)))


def write_spec(path: Path, spec: Spec) -> None:
    _write(path, {"log_dir": str(spec.log_dir), "children": [asdict(child) for child in spec.children]})


def read_spec(path: Path) -> Spec:
    document = json.loads(path.read_text(encoding="utf-8"))
    children = tuple(
        Child(
            name=each["name"],
            command=tuple(each["command"]),
            environment=tuple((key, value) for key, value in each["environment"]),
            stop_grace_s=each["stop_grace_s"],
        )
        for each in document["children"]
    )
    return Spec(children, Path(document["log_dir"]))


def write_state(path: Path, records: dict[str, Record]) -> None:
    _write(path, {name: asdict(record) for name, record in records.items()})


def read_state(path: Path) -> dict[str, Record]:
    """What the last supervisor started; empty where nothing is known."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return {
        name: Record(ProcessIdentity(**record["identity"]), record["fingerprint"]) for name, record in document.items()
    }


def _write(path: Path, document: Any) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")
    temporary.chmod(0o600)
    temporary.replace(path)
