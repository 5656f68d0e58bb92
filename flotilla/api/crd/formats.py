"""The string formats of OpenAPI schemas that are checked; all others are comments.

Source: Kubernetes' documentation of custom resources, and ``k8s.io/kube-openapi/pkg/validation/strfmt``.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import uuid
from collections.abc import Callable
from datetime import date, datetime, timedelta
from urllib.parse import urlsplit

from flotilla.api.names import dns_label_faults, dns_subdomain_faults

Check = Callable[[str], bool]

_HOSTNAME = re.compile(
    r"(?:[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?\.)*[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?"
)
_EMAIL = re.compile(r"[^@\s<>\"(),:;\[\]\\]+@[^@\s<>]+")
_MAC = re.compile(r"(?:[0-9A-Fa-f]{2}([:-]))(?:[0-9A-Fa-f]{2}\1)*[0-9A-Fa-f]{2}|(?:[0-9A-Fa-f]{4}\.)+[0-9A-Fa-f]{4}")
_MAC_BYTES = (6, 8, 20)
_HEX_COLOR = re.compile(r"#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})")
_RGB_COLOR = re.compile(r"rgb\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)")
_SSN = re.compile(r"\d{3}[- ]?\d{2}[- ]?\d{4}")
_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}")
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ns|us|µs|μs|ms|s|m|h|d|w|[a-z]+)")
_DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:[Zz]|[+-]\d{2}:\d{2})")
_SECONDS = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0,
    "w": 604800.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "min": 60.0, "minute": 60.0, "minutes": 60.0,
    "hour": 3600.0, "hours": 3600.0, "day": 86400.0, "days": 86400.0, "week": 604800.0, "weeks": 604800.0,
}  # fmt: skip
_LONGEST_DURATION_S = 2**63 / 1e9


def parse_duration(text: str) -> timedelta:
    """A duration as Go writes it (``1h30m``), days and weeks included. ValueError."""
    sign, rest = (-1, text[1:]) if text[:1] == "-" else (1, text.removeprefix("+"))
    if rest == "0":
        return timedelta()
    seconds, position = 0.0, 0
    while position < len(rest):
        part = _DURATION_PART.match(rest, position)
        if part is None or part[2] not in _SECONDS:
            raise ValueError(f"invalid duration {text!r}")
        seconds += float(part[1]) * _SECONDS[part[2]]
        position = part.end()
    if not rest or seconds >= _LONGEST_DURATION_S:
        raise ValueError(f"invalid duration {text!r}")
    return timedelta(seconds=sign * seconds)


def parse_date_time(text: str) -> datetime:
    """An RFC 3339 time. ValueError."""
    if not _DATE_TIME.fullmatch(text):
        raise ValueError(f"invalid time {text!r}")
    return datetime.fromisoformat(text.upper())


def parse_date(text: str) -> date:
    """An RFC 3339 date. ValueError."""
    if len(text) != 10:
        raise ValueError(f"invalid date {text!r}")
    return date.fromisoformat(text)


def parse_bytes(text: str) -> bytes:
    """What base64 stands for. ValueError."""
    return base64.b64decode(text, validate=True)


def _parses(parse: Callable[[str], object]) -> Check:
    def check(text: str) -> bool:
        try:
            parse(text)
        except (ValueError, OverflowError, binascii.Error):
            return False
        return True

    return check


def _uri(text: str) -> object:
    parts = urlsplit(text)
    if not parts.scheme and not text.startswith("/"):
        raise ValueError("no scheme")
    return parts.port


def _network(text: str) -> object:
    address, separator, length = text.partition("/")
    if not separator or not length.isascii() or not length.isdigit():
        raise ValueError("no prefix length")
    return ipaddress.ip_network(f"{ipaddress.ip_address(address)}/{int(length)}", strict=False)


def _uuid_of(version: int | None) -> Check:
    def check(text: str) -> bool:
        try:
            found = uuid.UUID(text)
        except ValueError:
            return False
        return version is None or found.version == version

    return check


def _mac(text: str) -> bool:
    digits = re.sub(r"[:.-]", "", text)
    return bool(_MAC.fullmatch(text)) and len(digits) // 2 in _MAC_BYTES


def _isbn(length: int) -> Check:
    def check(text: str) -> bool:
        digits = re.sub(r"[\s-]", "", text)
        if len(digits) != length or not re.fullmatch(r"\d+[\dX]" if length == 10 else r"\d+", digits):
            return False
        values = [10 if digit == "X" else int(digit) for digit in digits]
        if length == 10:
            return sum((10 - index) * value for index, value in enumerate(values)) % 11 == 0
        return sum(value * (3 if index % 2 else 1) for index, value in enumerate(values)) % 10 == 0

    return check


def _credit_card(text: str) -> bool:
    digits = re.sub(r"[^0-9]", "", text)
    if not 12 <= len(digits) <= 19:
        return False
    doubled = [int(digit) * (1 + index % 2) for index, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _rgb(text: str) -> bool:
    match = _RGB_COLOR.fullmatch(text)
    return match is not None and all(int(part) <= 255 for part in match.groups())


def _matches(pattern: re.Pattern[str]) -> Check:
    return lambda text: pattern.fullmatch(text) is not None


FORMATS: dict[str, Check] = {
    "bsonobjectid": _matches(_OBJECT_ID),
    "byte": _parses(parse_bytes),
    "cidr": _parses(_network),
    "creditcard": _credit_card,
    "date": _parses(parse_date),
    "date-time": _parses(parse_date_time),
    "datetime": _parses(parse_date_time),
    "duration": _parses(parse_duration),
    "email": _matches(_EMAIL),
    "hexcolor": _matches(_HEX_COLOR),
    "hostname": lambda text: len(text) <= 255 and _HOSTNAME.fullmatch(text) is not None,
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "isbn": lambda text: _isbn(10)(text) or _isbn(13)(text),
    "isbn10": _isbn(10),
    "isbn13": _isbn(13),
    "k8s-long-name": lambda text: not dns_subdomain_faults(text),
    "k8s-short-name": lambda text: not dns_label_faults(text),
    "mac": _mac,
    "rgbcolor": _rgb,
    "ssn": _matches(_SSN),
    "uri": _parses(_uri),
    "uuid": _uuid_of(None),
    "uuid3": _uuid_of(3),
    "uuid4": _uuid_of(4),
    "uuid5": _uuid_of(5),
}
