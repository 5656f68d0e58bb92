"""Validation of addresses that traffic is sent to."""

from __future__ import annotations

import ipaddress

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import invalid

ADDRESS_FAULT = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


def endpoint_address_faults(text: str, path: str) -> list[FieldError]:
    """Faults of an address that must lead to another machine or pod, and not to the sender itself or to many."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return [invalid(path, text, ADDRESS_FAULT)]
    whys = []
    if address.is_unspecified:
        whys.append(f"may not be unspecified ({text})")
    if address.is_loopback:
        whys.append("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if address.is_link_local:
        whys.append("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if address.is_multicast and (
        (address.version == 4 and text.startswith("224.0.0.")) or text.lower().startswith("ff02")
    ):
        whys.append("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    return [invalid(path, text, why) for why in whys]
