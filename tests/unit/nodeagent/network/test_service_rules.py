"""Service plans as nftables scripts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nodeagent.network.service_plan import Endpoint, ServicePort
from nodeagent.network.service_rules import ServiceRules

RULES = ServiceRules(
    table="flotilla", cluster_cidr="10.42.0.0/16", service_cidr="10.43.0.0/16", gateway="10.42.0.1", links="flt*"
)
ENDPOINTS = [Endpoint(f"10.42.0.{number}", 8080) for number in range(2, 6)]


@st.composite
def plans(draw: st.DrawFn) -> dict[str, ServicePort]:
    plan = {}
    for number in draw(st.sets(st.integers(0, 3))):
        endpoints = draw(st.lists(st.sampled_from(ENDPOINTS), unique=True))
        local = draw(st.booleans())
        plan[f"ns/s{number}"] = ServicePort(
            key=f"ns/s{number}",
            protocol=draw(st.sampled_from(["tcp", "udp"])),
            addresses=(Endpoint(f"10.43.0.{number}", 80),),
            node_port=draw(st.sampled_from([0, 30000 + number])),
            endpoints=tuple(endpoints),
            node_endpoints=tuple(endpoints[:1] if local else endpoints),
            affinity_s=draw(st.sampled_from([0, 60])),
        )
    return plan


class Table:
    """What a table would hold after scripts, refusing as the kernel does what is missing, doubled or in use."""

    def __init__(self) -> None:
        self.chains: dict[str, list[str]] = {}
        self.sets: set[str] = set()
        self.elements: set[tuple[str, str]] = set()

    def run(self, script: str) -> None:
        for line in script.splitlines():
            verb, kind, rest = line.split(" ", 2)
            name, _, tail = rest.removeprefix("ip flotilla ").partition(" ")
            getattr(self, f"{verb}_{kind}")(name, tail)

    def add_chain(self, name: str, _: str) -> None:
        assert name not in self.chains
        self.chains[name] = []

    def flush_chain(self, name: str, _: str) -> None:
        self.chains[name] = []

    def delete_chain(self, name: str, _: str) -> None:
        assert self.chains.pop(name) == []
        assert not self._refers(f"goto {name}")

    def add_rule(self, name: str, rule: str) -> None:
        for word in rule.replace(",", " ").split():
            assert not word.startswith("to-") or word in self.chains
            assert not word.startswith("@of-") or word[1:] in self.sets
        self.chains[name].append(rule)

    def add_set(self, name: str, _: str) -> None:
        assert name not in self.sets
        self.sets.add(name)

    def delete_set(self, name: str, _: str) -> None:
        self.sets.remove(name)
        assert not self._refers(f"@{name}")

    def add_element(self, name: str, element: str) -> None:
        key = element.strip("{} ").partition(" : ")[0]
        assert all(key != other.strip("{} ").partition(" : ")[0] for each, other in self.elements if each == name)
        target = element.partition("goto ")[2].split(" ")[0]
        assert not target or target in self.chains
        self.elements.add((name, element))

    def delete_element(self, name: str, element: str) -> None:
        self.elements.remove((name, element))

    def _refers(self, what: str) -> bool:
        rules = [rule for rules in self.chains.values() for rule in rules]
        return any(what in text for text in (*rules, *(element for _, element in self.elements)))


@given(plans(), plans(), plans())
def test_changes_lead_where_a_fresh_table_is(
    first: dict[str, ServicePort], second: dict[str, ServicePort], third: dict[str, ServicePort]
) -> None:
    """Any sequence of changes ends with what a table made for the last plan holds, and no step uses what is missing."""
    changed, fresh = Table(), Table()
    for before, after in (({}, first), (first, second), (second, third)):
        changed.run(RULES.changes(before, after))
    fresh.run(RULES.changes({}, third))
    assert vars(changed) == vars(fresh)


@given(plans())
def test_nothing_to_change(plan: dict[str, ServicePort]) -> None:
    """Between equal plans there is nothing to do."""
    assert RULES.changes(plan, dict(plan)) == ""


@given(plans(), plans())
def test_other_services_are_not_touched(plan: dict[str, ServicePort], other: dict[str, ServicePort]) -> None:
    """A change names no chain of a service that does not change."""
    kept = {
        f"kept/{key}": ServicePort(f"kept/{key}", port.protocol, (), 0, port.endpoints, (), 0)
        for key, port in plan.items()
    }
    own = {line.split(" ")[4] for line in RULES.changes({}, kept).splitlines() if line.startswith("add chain")}
    script = RULES.changes(kept, kept | other)
    assert not any(name in script for name in own)
