"""Which pods a node takes in."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent.admission import Admission, Refusal, check_sysctl_patterns

NO_APPARMOR = Refusal("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host")


def pod_of(container: dict[str, Any] | None = None, **context: Any) -> dict[str, Any]:
    return {"spec": {"securityContext": context, "containers": [{"name": "a", "securityContext": container or {}}]}}


def sysctls(*names: str) -> dict[str, Any]:
    return pod_of(sysctls=[{"name": name, "value": "1"} for name in names])


@pytest.mark.parametrize("name", ["net.ipv4.tcp_syncookies", "net/ipv4/tcp_syncookies", "kernel.msgmax", "net.core.a"])
def test_safe_and_allowed_sysctls_are_taken(name: str) -> None:
    """The safe ones always, others where the node's administrator allows them, by name or pattern."""
    assert Admission(("kernel.msg*", "net.core.a")).refusal(sysctls(name)) is None


@pytest.mark.parametrize("name", ["kernel.msgmax", "net.core.somaxconn", "vm.swappiness"])
def test_other_sysctls_are_forbidden(name: str) -> None:
    """The refusal names the setting, in the kubelet's words."""
    refusal = Admission(("kernel.sem",)).refusal(sysctls("net.ipv4.tcp_syncookies", name))
    assert refusal == Refusal("SysctlForbidden", f'forbidden sysctl: "{name}" not allowlisted')


@pytest.mark.parametrize("pattern", ["vm.swappiness", "kernel.*", "*", "net.*.rmem"])
def test_what_would_change_the_node_can_not_be_allowed(pattern: str) -> None:
    """Only settings that each pod has for itself."""
    with pytest.raises(ValueError, match="not known to be namespaced"):
        check_sysctl_patterns([pattern])
    check_sysctl_patterns(["kernel.msg*", "net.core.somaxconn", "fs.mqueue.*"])


def test_profiles_need_a_kernel_that_enforces_them() -> None:
    """A pod that wants AppArmor is refused where there is none; one that wants none is taken."""
    wanted, unwanted = {"appArmorProfile": {"type": "RuntimeDefault"}}, {"appArmorProfile": {"type": "Unconfined"}}
    for pod in (pod_of(wanted), pod_of(**wanted)):
        assert Admission().refusal(pod) == NO_APPARMOR
        assert Admission(apparmor=True).refusal(pod) is None
    assert Admission().refusal(pod_of(unwanted)) is None
