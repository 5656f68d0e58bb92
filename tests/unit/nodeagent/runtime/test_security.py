"""Capabilities and system call filters."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from nodeagent.runtime.errors import ContainerConfigError
from nodeagent.runtime.programs import has_small_programs
from nodeagent.runtime.security import (
    CAPABILITY_NUMBERS,
    DEFAULT_CAPABILITIES,
    allows_escalation,
    capabilities_of,
    default_seccomp,
    held_capabilities,
    masked_paths,
    seccomp_of,
)


def allowed(profile: dict[str, Any]) -> set[str]:
    return {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}


def test_the_default_is_docker_s() -> None:
    """Fourteen capabilities, none of which reaches beyond the container."""
    assert capabilities_of({}) == sorted(DEFAULT_CAPABILITIES)
    assert len(DEFAULT_CAPABILITIES) == 14
    assert "CAP_SYS_ADMIN" not in DEFAULT_CAPABILITIES


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"drop": ["ALL"]}, []),
        ({"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}, ["CAP_NET_BIND_SERVICE"]),
        ({"add": ["ALL"]}, sorted(held_capabilities())),
        ({"drop": ["cap_chown", "KILL"]}, sorted(set(DEFAULT_CAPABILITIES) - {"CAP_CHOWN", "CAP_KILL"})),
    ],
)
def test_add_and_drop(asked: dict[str, list[str]], expected: list[str]) -> None:
    """Adding wins over dropping all, as in Kubernetes; the prefix may be left out."""
    assert capabilities_of({"capabilities": asked}) == expected


def test_only_what_the_agent_has_is_passed_on() -> None:
    """A privileged container gets all that this machine lets the agent give, known by its number."""
    assert CAPABILITY_NUMBERS.index("CAP_SYS_ADMIN") == 21
    assert len(CAPABILITY_NUMBERS) == 41
    assert set(capabilities_of({"privileged": True})) == held_capabilities() <= set(CAPABILITY_NUMBERS)


def test_an_unknown_capability_is_refused() -> None:
    """A typing error must not silently give less, or more, than was meant."""
    with pytest.raises(ContainerConfigError, match="CAP_NET_ADMN"):
        capabilities_of({"capabilities": {"add": ["NET_ADMN"]}})


def test_the_filter_refuses_what_docker_s_refuses() -> None:
    """Namespaces, mounts, modules, other processes' memory of the kernel: not without the capability for it."""
    calls = allowed(default_seccomp((), "x86_64"))
    dangerous = {"mount", "umount2", "unshare", "setns", "bpf", "init_module", "kexec_load", "reboot", "keyctl"}
    dangerous |= {"userfaultfd", "io_uring_setup", "open_by_handle_at", "perf_event_open", "pivot_root", "ptrace"}
    assert calls & dangerous == {"ptrace"}
    assert {"read", "openat", "execve", "futex", "clone", "epoll_pwait", "statx"} <= calls


def test_capabilities_widen_the_filter() -> None:
    """Whoever has the capability can make the call."""
    calls = allowed(default_seccomp(("CAP_SYS_ADMIN", "CAP_SYS_TIME"), "x86_64"))
    assert {"mount", "unshare", "clone3", "clock_settime"} <= calls


def test_clone3_looks_unimplemented() -> None:
    """Its flags cannot be filtered; ENOSYS makes the C library use clone instead."""
    rules = [rule for rule in default_seccomp((), "x86_64")["syscalls"] if "clone3" in rule["names"]]
    assert [(rule["action"], rule["errnoRet"]) for rule in rules] == [("SCMP_ACT_ERRNO", 38)]


def test_small_programs_widen_the_architectures() -> None:
    """32-bit calls are let in for images that make them."""
    assert default_seccomp((), "x86_64")["architectures"] == ["SCMP_ARCH_X86_64"]
    assert default_seccomp((), "aarch64", small_programs=True)["architectures"] == [
        "SCMP_ARCH_AARCH64",
        "SCMP_ARCH_ARM",
    ]


def test_profiles_of_the_pod(tmp_path: Path) -> None:
    """The container's profile goes before the pod's; nobody reads files outside the profile directory."""
    (tmp_path / "mine.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_LOG"}))
    local = {"seccompProfile": {"type": "Localhost", "localhostProfile": "mine.json"}}
    unconfined = {"seccompProfile": {"type": "Unconfined"}}
    assert seccomp_of(unconfined, local, (), profiles=tmp_path) == {"defaultAction": "SCMP_ACT_LOG"}
    assert seccomp_of(unconfined, {}, (), profiles=tmp_path) is None
    assert seccomp_of({}, {"privileged": True}, (), profiles=tmp_path) is None
    outside = {"seccompProfile": {"type": "Localhost", "localhostProfile": "../../etc/passwd"}}
    with pytest.raises(ContainerConfigError, match="not below"):
        seccomp_of({}, outside, (), profiles=tmp_path)


def test_privileges_have_to_be_asked_for() -> None:
    """no_new_privs by default; a privileged container sees everything."""
    assert not allows_escalation({})
    assert allows_escalation({"allowPrivilegeEscalation": True})
    assert masked_paths({"privileged": True}) == ()
    assert "/proc/kcore" in masked_paths({})


def test_small_programs_are_recognized(tmp_path: Path) -> None:
    """By the loader, or by the program itself; never through a link out of the image."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/app").write_bytes(b"\x7fELF\x02\x01")
    assert not has_small_programs(tmp_path, ["app"], ["/usr/bin", "/bin"])
    (tmp_path / "bin/small").write_bytes(b"\x7fELF\x01\x01")
    assert has_small_programs(tmp_path, ["small"], ["/usr/bin", "/bin"])
    assert has_small_programs(tmp_path, ["/bin/small"], [])
    os.mkfifo(tmp_path / "bin/pipe")
    assert not has_small_programs(tmp_path, ["/bin/pipe"], [])
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/ld-linux.so.2").symlink_to("i386/ld.so")
    assert has_small_programs(tmp_path, ["app"], ["/bin"])
