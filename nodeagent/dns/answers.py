"""Answers to questions about the cluster's own names, authoritative and from memory; no I/O."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterable
from dataclasses import dataclass

from dnslib import CNAME, PTR, QTYPE, RCODE, RR, SOA, SRV, TXT, A, DNSRecord

from nodeagent.dns.records import ZoneRecords

_TTL_S = 5
_SPECIFICATION_VERSION = "1.1.0"
_PRIORITY, _WEIGHT = 0, 100
_REVERSE = ".in-addr.arpa"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the zone says: response code, records, and the outside name that still has to be looked up, if any."""

    code: int
    records: tuple[RR, ...]
    additional: tuple[RR, ...] = ()
    unresolved_alias: str = ""


class Zone:
    """The cluster's domain as it is now."""

    def __init__(self, records: ZoneRecords, *, serial: int) -> None:
        self._records = records
        self._serial = serial
        self._suffix = f".{records.domain}"
        self._names = self._all_names()

    def covers(self, name: str) -> bool:
        """Whether this zone and no other server answers for ``name`` (lower case, without the final dot)."""
        if name.endswith(_REVERSE):
            return self._reversed(name) in self._records.pointers
        return name == self._records.domain or name.endswith(self._suffix)

    def answer(self, name: str, kind: str) -> Answer:
        """The answer for a covered name and a record type such as ``A``."""
        if name.endswith(_REVERSE):
            target = self._records.pointers[self._reversed(name)]
            records = [RR(name, QTYPE.PTR, rdata=PTR(target), ttl=_TTL_S)] if kind in ("PTR", "ANY") else []
            return Answer(RCODE.NOERROR, tuple(records))
        if name in self._records.aliases:
            return self._alias(name, kind)
        records = [*self._addresses(name, kind), *self._ports(name, kind), *self._apex(name, kind)]
        if records:
            targets = {str(record.rdata.target).rstrip(".") for record in records if record.rtype == QTYPE.SRV}
            extra = [record for target in sorted(targets) for record in self._addresses(target, "A")]
            return Answer(RCODE.NOERROR, tuple(records), tuple(extra))
        exists = name in self._names or self._pod_address(name) is not None
        return Answer(RCODE.NOERROR if exists else RCODE.NXDOMAIN, ())

    def authority(self) -> RR:
        """The SOA record that goes with an empty answer."""
        domain = self._records.domain
        times = (self._serial, 7200, 1800, 86400, _TTL_S)
        return RR(domain, QTYPE.SOA, rdata=SOA(f"ns.dns.{domain}", f"hostmaster.{domain}", times), ttl=_TTL_S)

    def _alias(self, name: str, kind: str) -> Answer:
        target = self._records.aliases[name]
        record = RR(name, QTYPE.CNAME, rdata=CNAME(target), ttl=_TTL_S)
        if kind in ("CNAME", "ANY"):
            return Answer(RCODE.NOERROR, (record,))
        if self.covers(target) and target not in self._records.aliases:
            inner = self.answer(target, kind)
            return Answer(inner.code, (record, *inner.records))
        return Answer(RCODE.NOERROR, (record,), unresolved_alias="" if self.covers(target) else target)

    def _addresses(self, name: str, kind: str) -> list[RR]:
        if kind not in ("A", "ANY"):
            return []
        pod = self._pod_address(name)
        addresses = list(self._records.addresses.get(name, [pod] if pod else []))
        random.shuffle(addresses)
        return [RR(name, QTYPE.A, rdata=A(address), ttl=_TTL_S) for address in addresses]

    def _ports(self, name: str, kind: str) -> list[RR]:
        if kind not in ("SRV", "ANY"):
            return []
        entries = self._records.ports.get(name, ())
        return [
            RR(name, QTYPE.SRV, rdata=SRV(_PRIORITY, _WEIGHT, port, target), ttl=_TTL_S) for port, target in entries
        ]

    def _apex(self, name: str, kind: str) -> list[RR]:
        if name == f"dns-version{self._suffix}" and kind in ("TXT", "ANY"):
            return [RR(name, QTYPE.TXT, rdata=TXT(_SPECIFICATION_VERSION), ttl=_TTL_S)]
        return [self.authority()] if name == self._records.domain and kind in ("SOA", "ANY") else []

    def _pod_address(self, name: str) -> str | None:
        """``1-2-3-4.<namespace>.pod.<domain>`` is 1.2.3.4, as for CoreDNS's ``pods insecure``."""
        label, _, rest = name.removesuffix(self._suffix).partition(".")
        if not rest.endswith(".pod") or rest.count(".") != 1:
            return None
        try:
            return str(ipaddress.IPv4Address(label.replace("-", ".")))
        except ValueError:
            return None

    def _reversed(self, name: str) -> str:
        return ".".join(reversed(name.removesuffix(_REVERSE).split(".")))

    def _all_names(self) -> set[str]:
        """Every name that exists, those that only have names below them too (RFC 8020)."""
        domain = self._records.domain
        names = {domain, f"svc.{domain}", f"pod.{domain}", f"dns-version.{domain}"}
        for name in (*self._records.addresses, *self._records.ports, *self._records.aliases):
            while name not in names:
                names.add(name)
                name = name.partition(".")[2]
        return names


def reply_to(query: DNSRecord, answer: Answer, authority: Iterable[RR]) -> DNSRecord:
    """The message that carries ``answer``, authoritative."""
    reply = query.reply(ra=1, aa=1)
    reply.header.rcode = answer.code
    reply.add_answer(*answer.records)
    reply.add_ar(*answer.additional)
    if not answer.records:
        reply.add_auth(*authority)
    return reply
