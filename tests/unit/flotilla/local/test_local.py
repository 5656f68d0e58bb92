"""Settings, ports, tokens and command lines of the local cluster."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from flotilla.local import systemd
from flotilla.local.bootstrap import new_token, token_secret
from flotilla.local.child import Child
from flotilla.local.children import children_of
from flotilla.local.cluster import recorded_settings
from flotilla.local.ports import listeners, needed_ports, parse_listener
from flotilla.local.settings import LocalSettings, differences, load_settings


def test_settings_are_remembered(tmp_path: Path) -> None:
    """What ``up`` was told is known to ``down``, and a different second ``up`` can say what differs."""
    settings = LocalSettings(data_dir=tmp_path / "data", run_dir=tmp_path / "run", api_port=7443)
    settings.save()
    assert load_settings(tmp_path / "run") == settings
    other = LocalSettings(data_dir=tmp_path / "data", run_dir=tmp_path / "run")
    assert differences(settings, other) == ["--api-port: now 7443, asked for 6443"]
    assert load_settings(tmp_path / "nowhere") is None


def test_a_cluster_without_a_record_is_not_guessed(tmp_path: Path) -> None:
    """``down`` in directories where nothing was started finds nothing to stop, whatever else runs on the machine."""
    (tmp_path / "data").mkdir()
    assert recorded_settings(tmp_path / "data", tmp_path / "run") is None
    settings = LocalSettings(data_dir=tmp_path / "data", run_dir=tmp_path / "run", cgroup_parent="other")
    settings.save()
    assert recorded_settings(tmp_path / "data", tmp_path / "run") == settings


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            'LISTEN 0 4096 127.0.0.1:9090 0.0.0.0:* users:(("prometheus",pid=77,fd=3))',
            "port 9090 is taken by prometheus (pid 77), listening on 127.0.0.1",
        ),
        (
            "LISTEN 0 4096 [::]:2379 [::]:*",
            "port 2379 is taken by a process of another namespace, listening on [::]",
        ),
        ("ESTAB 0 0 127.0.0.1:1 127.0.0.1:2", None),
        ("", None),
    ],
)
def test_listeners_are_named(line: str, expected: str | None) -> None:
    """A listening socket is told with its owner where the kernel tells it."""
    found = parse_listener(line)
    assert (str(found) if found else None) == expected


def test_a_taken_port_is_found() -> None:
    """A socket of this very process is reported with our pid."""
    import os
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert [each.pid for each in listeners([port])] == [os.getpid()]


def test_needed_ports_follow_the_settings() -> None:
    """An external etcd and no Prometheus need no ports here."""
    assert set(needed_ports(LocalSettings())) == {6443, 6444, 6445, 6446, 10250, 9490}
    assert set(needed_ports(LocalSettings(etcd="https://x:2379", prometheus=False))) == {6443, 6444, 10250}


def test_tokens_have_kubernetes_form() -> None:
    """Six and sixteen characters, and a Secret of the bootstrap type that expires."""
    token = new_token()
    identifier, _, secret = token.partition(".")
    assert (len(identifier), len(secret)) == (6, 16)
    made = token_secret(token, expires=datetime(2030, 1, 1, tzinfo=UTC), description="x")
    assert made["metadata"]["name"] == f"bootstrap-token-{identifier}"
    assert made["stringData"]["expiration"] == "2030-01-01T00:00:00Z"
    assert made["stringData"]["token-secret"] == secret


def test_children_are_told_everything(tmp_path: Path) -> None:
    """Every port and directory of the settings reaches the process that it is for."""
    settings = LocalSettings(data_dir=tmp_path, run_dir=tmp_path / "run", api_port=1, dispatcher_port=2, etcd_port=3)
    children = {child.name: " ".join(child.command) for child in children_of(settings)}
    assert list(children) == ["etcd", "server", "agent", "dns", "prometheus"]
    assert "--listen=0.0.0.0:1 " in children["server"]
    assert "--etcd=https://127.0.0.1:3 " in children["server"]
    assert "--server=127.0.0.1:2 " in children["agent"]
    assert f"--run-dir={tmp_path}/run" in children["dns"]
    assert "--client-cert-auth=true" in children["etcd"]


def test_the_agent_has_time_to_end_its_pods(tmp_path: Path) -> None:
    """Whoever stops the agent waits for as long as its pods may take when the machine goes down."""
    plain = {child.name: child for child in children_of(LocalSettings(data_dir=tmp_path))}
    graceful = {
        child.name: child
        for child in children_of(
            LocalSettings(data_dir=tmp_path, shutdown_grace_s=30.0, shutdown_grace_critical_s=10.0)
        )
    }
    assert "--shutdown-grace-period=30s" in graceful["agent"].command
    assert "--shutdown-grace-period-critical-pods=10s" in graceful["agent"].command
    assert graceful["agent"].stop_grace_s == plain["agent"].stop_grace_s + 30.0


def test_units_quote_their_commands() -> None:
    """A rendered unit has the command, quoted and with % doubled, and no place left open."""
    child = Child(name="agent", command=("/a b", "--x=50%"), environment=(("K", "v"),), stop_grace_s=7.0)
    template = (systemd.TEMPLATES / "flotilla-agent.service").read_text(encoding="utf-8")
    unit = systemd.render(child, template)
    assert "ExecStart='/a b' --x=50%%\n" in unit
    assert 'Environment="K=v"\n' in unit
    assert "TimeoutStopSec=7\n" in unit
    assert "Delegate=yes\nKillMode=process\n" in unit
    assert "@" not in unit


@pytest.mark.parametrize("name", ["etcd", "server", "agent", "dns", "prometheus"])
def test_every_child_has_a_unit(name: str) -> None:
    """There is a unit template for each process."""
    assert (systemd.TEMPLATES / f"flotilla-{name}.service").is_file()
