"""DNS messages read and patched as bytes."""

from __future__ import annotations

import pytest
from dnslib import EDNS0, QTYPE, RR, SOA, A, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.dns import wire


def query(name: str = "example.com", kind: str = "A") -> DNSRecord:
    return DNSRecord.question(name, kind)


def response(*ttls: int) -> bytes:
    reply = query().reply()
    for ttl in ttls:
        reply.add_answer(RR("example.com", QTYPE.A, rdata=A("192.0.2.1"), ttl=ttl))
    reply.add_ar(EDNS0(udp_len=1232))
    packed: bytes = reply.pack()
    return packed


def test_lifetimes() -> None:
    """The least TTL is found, the OPT record's is not one."""
    assert wire.lifetimes(response(60, 20)).least_s == 20
    assert wire.lifetimes(response()).least_s is None


def test_negative_lifetime_is_the_soas() -> None:
    """How long an absence may be remembered is the lesser of the SOA's TTL and its last field."""
    reply = query().reply()
    reply.add_auth(RR("example.com", QTYPE.SOA, rdata=SOA("a.", "b.", (1, 2, 3, 4, 7)), ttl=900))
    assert wire.lifetimes(reply.pack()).least_s == 7


def test_aging() -> None:
    """Age is taken off every TTL, never below zero."""
    message = response(60, 20)
    aged = DNSRecord.parse(wire.aged(message, wire.lifetimes(message).offsets, 30))
    assert [record.ttl for record in aged.rr] == [30, 0]


def test_same_question() -> None:
    """A response belongs to a query by id and question, in whatever case the server repeats it."""
    asked = query()
    answered = asked.reply()
    assert wire.same_question(asked.pack(), answered.pack())
    answered.q.qname = "EXAMPLE.com"
    assert wire.same_question(asked.pack(), answered.pack())
    assert not wire.same_question(asked.pack(), query("other.com").reply().pack())
    assert not wire.same_question(asked.pack(), asked.pack())


@pytest.mark.parametrize(("size", "limit"), [(None, 512), (1232, 1232), (100, 512), (65535, 4096)])
def test_udp_limit(size: int | None, limit: int) -> None:
    """A response over UDP may be as long as the client says, within reason."""
    asked = query()
    if size:
        asked.add_ar(EDNS0(udp_len=size))
    assert wire.udp_limit(asked.pack()) == limit


def test_truncation_and_failure_parse() -> None:
    """A truncated message and a failure are whole messages with the question in them."""
    cut = DNSRecord.parse(wire.truncated(response(60)))
    assert (cut.header.tc, len(cut.rr), str(cut.q.qname)) == (1, 0, "example.com.")
    failed = DNSRecord.parse(wire.failure(query().pack(), 2))
    assert (failed.header.qr, failed.header.rcode, failed.header.rd) == (1, 2, 1)


@given(st.binary(max_size=80))
def test_garbage_is_refused(message: bytes) -> None:
    """Arbitrary bytes are read or refused, never anything else."""
    try:
        wire.lifetimes(message)
    except wire.MalformedMessageError:
        pass
    wire.same_question(query().pack(), message)
