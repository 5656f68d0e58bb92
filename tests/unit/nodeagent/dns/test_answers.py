"""Answers about the cluster's names."""

from __future__ import annotations

import pytest
from dnslib import QTYPE, RCODE

from nodeagent.dns.answers import Zone
from nodeagent.dns.records import ZoneRecords

WEB = "web.default.svc.cluster.local"
ZONE = Zone(
    ZoneRecords(
        "cluster.local",
        addresses={WEB: ["10.43.0.5"], "db.default.svc.cluster.local": ["10.42.0.7", "10.42.0.8"]},
        aliases={
            "ext.default.svc.cluster.local": "example.com",
            "in.default.svc.cluster.local": WEB,
            "loop.default.svc.cluster.local": "loop.default.svc.cluster.local",
        },
        ports={f"_http._tcp.{WEB}": [(80, WEB)]},
        pointers={"10.43.0.5": WEB},
    ),
    serial=1,
)


@pytest.mark.parametrize(
    ("name", "kind", "code", "texts"),
    [
        (WEB, "A", RCODE.NOERROR, {"10.43.0.5"}),
        (WEB, "AAAA", RCODE.NOERROR, set()),
        ("db.default.svc.cluster.local", "A", RCODE.NOERROR, {"10.42.0.7", "10.42.0.8"}),
        (f"_http._tcp.{WEB}", "SRV", RCODE.NOERROR, {f"0 100 80 {WEB}."}),
        ("in.default.svc.cluster.local", "A", RCODE.NOERROR, {f"{WEB}.", "10.43.0.5"}),
        ("loop.default.svc.cluster.local", "A", RCODE.NOERROR, {"loop.default.svc.cluster.local."}),
        ("10-42-0-9.default.pod.cluster.local", "A", RCODE.NOERROR, {"10.42.0.9"}),
        ("10-42-0-9.default.pod.cluster.local", "AAAA", RCODE.NOERROR, set()),
        ("10-42-0-999.default.pod.cluster.local", "A", RCODE.NXDOMAIN, set()),
        ("5.0.43.10.in-addr.arpa", "PTR", RCODE.NOERROR, {f"{WEB}."}),
        ("none.default.svc.cluster.local", "A", RCODE.NXDOMAIN, set()),
        ("default.svc.cluster.local", "A", RCODE.NOERROR, set()),
        ("svc.cluster.local", "A", RCODE.NOERROR, set()),
        ("dns-version.cluster.local", "TXT", RCODE.NOERROR, {'"1.1.0"'}),
        ("web.default", "A", None, set()),
        ("example.com", "A", None, set()),
        ("6.0.43.10.in-addr.arpa", "PTR", None, set()),
        ("notcluster.local", "A", None, set()),
    ],
)
def test_answers(name: str, kind: str, code: int | None, texts: set[str]) -> None:
    """Each question has the specification's answer; None: the name is not the cluster's."""
    assert ZONE.covers(name) == (code is not None)
    if code is not None:
        answer = ZONE.answer(name, kind)
        assert answer.code == code
        assert {str(record.rdata) for record in answer.records} == texts


def test_outside_alias_is_left_to_resolve() -> None:
    """An alias to an outside name says what is still to be looked up."""
    answer = ZONE.answer("ext.default.svc.cluster.local", "A")
    assert answer.unresolved_alias == "example.com"
    assert [record.rtype for record in answer.records] == [QTYPE.CNAME]


def test_service_record_brings_its_addresses() -> None:
    """The addresses of an SRV record's targets come along."""
    answer = ZONE.answer(f"_http._tcp.{WEB}", "SRV")
    assert [str(record.rdata) for record in answer.additional] == ["10.43.0.5"]
