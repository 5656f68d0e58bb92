"""The local cluster as systemd units, where systemd is process 1: what the supervisor does elsewhere.

The units are made from the templates in ``deploy/systemd`` and the same command lines as the supervisor's, written to
``/etc/systemd/system``. systemd restarts what dies and keeps the logs (``journalctl -u flotilla-server``).
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from flotilla.local.child import Child
from flotilla.local.children import REPOSITORY
from flotilla.local.settings import LocalSettings

UNIT_DIRECTORY = Path("/etc/systemd/system")
TEMPLATES = REPOSITORY / "deploy" / "systemd"


def applies(settings: LocalSettings) -> bool:
    """Whether units are the way here: systemd runs, and this is the machine's cluster rather than a second one."""
    default = LocalSettings()
    own = (settings.data_dir, settings.run_dir) == (default.data_dir, default.run_dir)
    return own and Path("/run/systemd/system").is_dir()


def unit_name(child: Child) -> str:
    return f"flotilla-{child.name}.service"


def render(child: Child, template: str) -> str:
    """The unit file of ``child``. ``%`` is doubled, since systemd expands it."""
    command = " ".join(shlex.quote(word).replace("%", "%%") for word in child.command)
    environment = "\n".join(f'Environment="{key}={value}"' for key, value in child.environment if value)
    replaced = template.replace("@COMMAND@", command).replace("@ENVIRONMENT@", environment)
    return replaced.replace("@STOP_SECONDS@", f"{child.stop_grace_s:.0f}")


def start(children: Sequence[Child]) -> bool:
    """Install, enable and start the units; restart those that changed. False when nothing had to be done."""
    changed = [child for child in children if _install(child)]
    if changed:
        _systemctl("daemon-reload")
        _systemctl("restart", *(unit_name(child) for child in changed))
    stopped = [child for child in children if not _is_active(child)]
    if stopped:
        _systemctl("start", *(unit_name(child) for child in stopped))
    _systemctl("enable", "--quiet", *(unit_name(child) for child in children))
    return bool(changed or stopped)


def stop(*, remove: bool) -> bool:
    """Stop and disable the installed units, in reverse order; with ``remove`` delete them. False where none are."""
    order = ("prometheus", "dns", "agent", "server", "etcd")
    installed = [name for each in order if (UNIT_DIRECTORY / (name := f"flotilla-{each}.service")).exists()]
    for name in installed:
        _systemctl("disable", "--now", "--quiet", name)
    if remove:
        for name in installed:
            (UNIT_DIRECTORY / name).unlink()
        if installed:
            _systemctl("daemon-reload")
    return bool(installed)


def _install(child: Child) -> bool:
    text = render(child, (TEMPLATES / unit_name(child)).read_text(encoding="utf-8"))
    target = UNIT_DIRECTORY / unit_name(child)
    if target.exists() and target.read_text(encoding="utf-8") == text:
        return False
    target.write_text(text, encoding="utf-8")
    return True


def _is_active(child: Child) -> bool:
    return subprocess.run(["systemctl", "is-active", "--quiet", unit_name(child)], check=False).returncode == 0


def _systemctl(*arguments: str) -> None:
    subprocess.run(["systemctl", *arguments], check=True)
