"""What forwarding and caching need of DNS messages, read and patched without parsing the rest (RFC 1035)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

HEADER_BYTES = 12
_TYPE_SOA, TYPE_OPT = 6, 41
_TRUNCATED = 0x02


class MalformedMessageError(ValueError):
    """The bytes are no DNS message."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Where a response keeps its TTLs, and the least of them in seconds (None where it holds no record)."""

    offsets: tuple[int, ...]
    least_s: int | None


def question_end(message: bytes) -> int:
    """The offset after the one question. Raises :class:`MalformedMessageError`."""
    if len(message) < HEADER_BYTES or message[4:6] != b"\0\1":
        raise MalformedMessageError("not a message with one question")
    return _skip_name(message, HEADER_BYTES) + 4


def same_question(query: bytes, response: bytes) -> bool:
    """Whether ``response`` answers ``query``: same id, same question, marked as a response."""
    try:
        end = question_end(query)
        same = response[HEADER_BYTES : question_end(response)].lower() == query[HEADER_BYTES:end].lower()
    except MalformedMessageError:
        return False
    return same and response[:2] == query[:2] and bool(response[2] & 0x80)


def is_truncated(message: bytes) -> bool:
    return bool(message[2] & _TRUNCATED)


def response_code(message: bytes) -> int:
    return message[3] & 0x0F


def udp_limit(query: bytes) -> int:
    """How long a UDP response may be: what the query's OPT record says, else 512 bytes (RFC 6891)."""
    if query[10:12] == b"\0\0":
        return 512
    offset = question_end(query)
    if query[offset : offset + 3] != b"\0" + struct.pack("!H", TYPE_OPT) or len(query) < offset + 5:
        return 512
    limit: int = struct.unpack_from("!H", query, offset + 3)[0]
    return min(max(limit, 512), 4096)


def truncated(message: bytes) -> bytes:
    """The message's header and question alone, marked as truncated."""
    header = message[:2] + bytes((message[2] | _TRUNCATED, message[3])) + b"\0\1\0\0\0\0\0\0"
    return header + message[HEADER_BYTES : question_end(message)]


def failure(query: bytes, code: int) -> bytes:
    """A response without records that only says ``code``."""
    flags = bytes((0x80 | query[2] & 0x79, 0x80 | code))
    return query[:2] + flags + b"\0\1\0\0\0\0\0\0" + query[HEADER_BYTES : question_end(query)]


def lifetimes(message: bytes) -> Lifetimes:
    """Raises :class:`MalformedMessageError`."""
    offset = question_end(message)
    count = sum(struct.unpack_from("!HHH", message, 6))
    offsets, values = [], []
    for _ in range(count):
        offset = _skip_name(message, offset)
        try:
            kind, _, ttl_s, length = struct.unpack_from("!HHIH", message, offset)
        except struct.error as error:
            raise MalformedMessageError("a record is cut off") from error
        if kind != TYPE_OPT:
            offsets.append(offset + 4)
            values.append(min(ttl_s, _negative_ttl_s(message, offset + 10, length)) if kind == _TYPE_SOA else ttl_s)
        offset += 10 + length
    return Lifetimes(tuple(offsets), min(values) if values else None)


def aged(message: bytes, offsets: Sequence[int], age_s: int) -> bytes:
    """The message with ``age_s`` taken off each TTL."""
    patched = bytearray(message)
    for offset in offsets:
        (ttl_s,) = struct.unpack_from("!I", patched, offset)
        struct.pack_into("!I", patched, offset, max(0, ttl_s - age_s))
    return bytes(patched)


def _negative_ttl_s(message: bytes, offset: int, length: int) -> int:
    """The last field of an SOA: how long the absence that it proves may be remembered (RFC 2308)."""
    if length < 4 or len(message) < offset + length:
        raise MalformedMessageError("an SOA record is cut off")
    minimum: int = struct.unpack_from("!I", message, offset + length - 4)[0]
    return minimum


def _skip_name(message: bytes, offset: int) -> int:
    while offset < len(message):
        length = message[offset]
        if length >= 0xC0:
            return offset + 2
        offset += length + 1
        if length == 0:
            return offset
    raise MalformedMessageError("a name is cut off")
