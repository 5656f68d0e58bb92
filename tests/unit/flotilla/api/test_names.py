"""Names and keys keep the syntax of Kubernetes; generated names are valid ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flotilla.api.names import (
    config_key_faults,
    dns1035_label_faults,
    dns_label_faults,
    dns_subdomain_faults,
    env_name_faults,
    generate_name,
    label_value_faults,
    port_name_faults,
    qualified_name_faults,
)

CASES: list[tuple[Callable[[str], list[str]], list[str], list[str]]] = [
    (dns_label_faults, ["a", "a-1", "1a", "a" * 63], ["", "A", "a.b", "-a", "a-", "a" * 64, "a\n", "é"]),
    (dns1035_label_faults, ["a", "a-1"], ["1a", "", "a.b"]),
    (dns_subdomain_faults, ["a.b-c", "1.2", "a" * 253], ["a..b", ".a", "a.", "a" * 254, "a_b"]),
    (
        qualified_name_faults,
        ["a", "A_b.c", "example.com/a", "a" * 63],
        ["", "/a", "a/", "a/b/c", "Example.com/a", "a b", "a" * 64],
    ),
    (label_value_faults, ["", "a", "A.b_c-1"], ["-a", "a b", "a" * 64, "a/b"]),
    (config_key_faults, ["a.txt", ".hidden", "A_b-1"], ["", "a/b", ".", "..", "..a", "a" * 254]),
    (env_name_faults, ["A", "my.var", "1"], ["", "A=B", "é", "a\n"]),
    (port_name_faults, ["http", "a-1", "8a"], ["", "80", "a--b", "-a", "HTTP", "a" * 16]),
]


@pytest.mark.parametrize(("faults", "valid", "wrong"), CASES, ids=[case[0].__name__ for case in CASES])
def test_syntax(faults: Callable[[str], list[str]], valid: list[str], wrong: list[str]) -> None:
    """Valid values must have no faults, wrong ones at least one."""
    assert [value for value in valid if faults(value)] == []
    assert [value for value in wrong if not faults(value)] == []


def test_generated_names() -> None:
    """A generated name must begin with its prefix, be valid and not repeat."""
    names = {generate_name("web-") for _ in range(100)}
    assert len(names) > 95
    assert all(name.startswith("web-") and dns_label_faults(name) == [] for name in names)
    assert len(generate_name("a" * 200)) == 63
