"""What holds for every kind: it is applied, shown, described, labelled and deleted, by one command for all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.kubectl.kinds import KINDS
from tests.integration.kubectl.lab import Kubectl, until

# kubectl sends a part that is replaced as a whole again each time.
ALWAYS_CONFIGURED = {"poddisruptionbudget.policy/example"}

# kubectl 1.31 asks for IPAddresses and ServiceCIDRs in versions that Kubernetes no longer serves unless told to.
UNKNOWN_TO_DESCRIBE = {"1.31": 2, "1.35": 0}


@pytest.fixture
def manifest(kubectl: Kubectl) -> Iterator[Path]:
    """One object of every kind, of which nothing is left afterwards."""
    documents = [kind.text(kubectl.namespace) for kind in KINDS]
    path = kubectl.write("manifest.yaml", "---\n".join(documents))
    yield path
    kubectl(f"delete --ignore-not-found --wait=false -f {path}")


def outcomes(kubectl: Kubectl, command: str) -> dict[str, str]:
    """What each line says of which object."""
    return dict(line.rsplit(" ", 1) for line in kubectl.lines(command))


def test_every_kind(kubectl: Kubectl, manifest: Path) -> None:
    """It is created, found unchanged, taken over by the server without a difference, labelled and described."""
    created = outcomes(kubectl, f"apply -f {manifest}")
    assert set(created.values()) == {"created"}
    assert len(created) == len(KINDS)
    repeated = outcomes(kubectl, f"apply -f {manifest}")
    assert {name for name, outcome in repeated.items() if outcome != "unchanged"} <= ALWAYS_CONFIGURED
    assert set(outcomes(kubectl, f"apply --server-side -f {manifest}").values()) == {"serverside-applied"}
    assert kubectl(f"diff --server-side -f {manifest}") == ""
    assert outcomes(kubectl, f"label tested=yes -f {manifest}") == dict.fromkeys(created, "labeled")
    assert kubectl(f"get -o name -f {manifest}").split() == list(created)
    described = re.findall("^Name: ", kubectl.run(f"describe -f {manifest}").out, re.MULTILINE)
    assert len(described) == len(KINDS) - UNKNOWN_TO_DESCRIBE[kubectl.version]
    deleted = kubectl.lines(f"delete --wait=false -f {manifest}")
    assert len(deleted) == len(KINDS)
    until("all have gone", lambda: kubectl(f"get --ignore-not-found -o name -f {manifest}") == "")


def test_tables_of_every_kind(kubectl: Kubectl, manifest: Path) -> None:
    """Each is shown under the headings of Kubernetes, more of them when asked for more."""
    kubectl(f"apply -f {manifest}")
    assert _headings(kubectl(f"get -f {manifest}")) == {kind.resource: kind.narrow() for kind in KINDS}
    assert _headings(kubectl(f"get -o wide -f {manifest}")) == {kind.resource: kind.wide() for kind in KINDS}


def _headings(tables: str) -> dict[str, list[str]]:
    """The words of the first line of each table, in the order of the kinds."""
    blocks = tables.split("\n\n")
    assert len(blocks) == len(KINDS), tables
    return {kind.resource: block.splitlines()[0].split() for kind, block in zip(KINDS, blocks, strict=True)}
