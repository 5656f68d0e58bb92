"""Functions on addresses, networks and URLs. Source: ``k8s.io/apiserver/pkg/cel/library/{ip,cidr,urls}.go``."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

from flotilla.api.crd.cel_tags import FunctionRow, tagged, value_of

IP, CIDR, URL = "net.IP", "net.CIDR", "net.URL"
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
_LENGTH = re.compile(r"/(0|[1-9]\d{0,2})")


def _address(text: str) -> Address:
    if "%" in text:
        raise ValueError(f"IP address {text!r} with zone value is not allowed")
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise ValueError(f"IPv4-mapped IPv6 address {text!r} is not allowed")
    return address


def _interface(text: str) -> Interface:
    address, separator, length = text.partition("/")
    if not separator or not _LENGTH.fullmatch(separator + length):
        raise ValueError(f"network address parse error during conversion from string: {text!r}")
    return ipaddress.ip_interface(f"{_address(address)}/{length}")


def _url(text: str) -> SplitResult:
    parts = urlsplit(text)
    if not (parts.scheme and parts.netloc) and not text.startswith("/"):
        raise ValueError(f"URL parse error during conversion from string: {text!r}")
    _ = parts.port
    return parts


def _can(parse: Callable[[str], Any]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return check


def _of_ip(read: Callable[[Address], Any]) -> Callable[[Any], Any]:
    return lambda value: read(_address(value_of(value, IP)))


def _of_url(read: Callable[[SplitResult], Any]) -> Callable[[Any], Any]:
    return lambda value: read(_url(value_of(value, URL)))


def _ip(value: Any) -> dict[str, str]:
    """An address from its text, or that of a network."""
    if isinstance(value, str):
        return tagged(IP, str(_address(value)))
    return tagged(IP, str(_interface(value_of(value, CIDR)).ip))


def _contains_ip(network: Any, address: Any) -> bool:
    text = address if isinstance(address, str) else value_of(address, IP)
    return _address(text) in _interface(value_of(network, CIDR)).network


def _contains_cidr(network: Any, other: Any) -> bool:
    whole = _interface(value_of(network, CIDR)).network
    part = _interface(other if isinstance(other, str) else value_of(other, CIDR)).network
    if isinstance(whole, ipaddress.IPv4Network) and isinstance(part, ipaddress.IPv4Network):
        return part.subnet_of(whole)
    if isinstance(whole, ipaddress.IPv6Network) and isinstance(part, ipaddress.IPv6Network):
        return part.subnet_of(whole)
    return False


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _is_global(address: Address) -> bool:
    special = address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    return not special and str(address) != "255.255.255.255"


NET_FUNCTIONS: tuple[FunctionRow, ...] = (
    FunctionRow("ip", ("string",), _ip, member=False),
    FunctionRow("ip", ("map",), _ip),
    FunctionRow("isIP", ("string",), _can(_address), result="bool", member=False),
    FunctionRow("ip.isCanonical", ("string",), lambda text: str(_address(text)) == text, result="bool", member=False),
    FunctionRow("family", ("map",), _of_ip(lambda address: address.version), result="int"),
    FunctionRow("isUnspecified", ("map",), _of_ip(lambda address: address.is_unspecified), result="bool"),
    FunctionRow("isLoopback", ("map",), _of_ip(lambda address: address.is_loopback), result="bool"),
    FunctionRow(
        "isLinkLocalMulticast",
        ("map",),
        _of_ip(
            lambda address: address in ipaddress.ip_network("224.0.0.0/24" if address.version == 4 else "ff02::/16")
        ),
        result="bool",
    ),
    FunctionRow("isLinkLocalUnicast", ("map",), _of_ip(lambda address: address.is_link_local), result="bool"),
    FunctionRow("isGlobalUnicast", ("map",), _of_ip(_is_global), result="bool"),
    FunctionRow("cidr", ("string",), lambda text: tagged(CIDR, str(_interface(text))), member=False),
    FunctionRow("isCIDR", ("string",), _can(_interface), result="bool", member=False),
    FunctionRow("containsIP", ("map", "any"), _contains_ip, result="bool"),
    FunctionRow("containsCIDR", ("map", "any"), _contains_cidr, result="bool"),
    FunctionRow("masked", ("map",), lambda value: tagged(CIDR, str(_interface(value_of(value, CIDR)).network))),
    FunctionRow(
        "prefixLength", ("map",), lambda value: _interface(value_of(value, CIDR)).network.prefixlen, result="int"
    ),
    FunctionRow("url", ("string",), lambda text: tagged(URL, _url(text).geturl()), member=False),
    FunctionRow("isURL", ("string",), _can(_url), result="bool", member=False),
    FunctionRow("getScheme", ("map",), _of_url(lambda parts: parts.scheme), result="string"),
    FunctionRow("getHost", ("map",), _of_url(_host), result="string"),
    FunctionRow("getHostname", ("map",), _of_url(lambda parts: parts.hostname or ""), result="string"),
    FunctionRow("getPort", ("map",), _of_url(lambda parts: str(parts.port or "")), result="string"),
    FunctionRow(
        "getEscapedPath", ("map",), _of_url(lambda parts: quote(parts.path, safe="/%:@!$&'()*+,;=~")), result="string"
    ),
    FunctionRow("getQuery", ("map",), _of_url(lambda parts: parse_qs(parts.query, keep_blank_values=True))),
)
