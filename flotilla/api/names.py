"""Names and label syntax. Each ``*_faults`` function returns what is wrong with a value, worded as Kubernetes does.

Source: ``k8s.io/apimachinery/pkg/util/validation``.
"""

from __future__ import annotations

import re
import secrets

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DNS1035_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_HTTP_PATH = re.compile(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+")
_PORT_NAME = re.compile(r"[-a-z0-9]+")

_LABEL_FAULT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_DNS1035_FAULT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_FAULT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_QUALIFIED_FAULT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_LABEL_VALUE_FAULT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_CONFIG_KEY_FAULT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_WILDCARD_FAULT = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', "
    "regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)

_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5
_LONGEST_GENERATED = 63


def _too_long(limit: int) -> str:
    return f"must be no more than {limit} characters"


def dns_label_faults(value: str) -> list[str]:
    """Faults of an RFC 1123 label (namespaces, containers)."""
    faults = [_too_long(63)] if len(value) > 63 else []
    if not _LABEL.fullmatch(value):
        faults.append(_LABEL_FAULT)
    return faults


def dns1035_label_faults(value: str) -> list[str]:
    """Faults of an RFC 1035 label (services)."""
    faults = [_too_long(63)] if len(value) > 63 else []
    if not _DNS1035_LABEL.fullmatch(value):
        faults.append(_DNS1035_FAULT)
    return faults


def dns_subdomain_faults(value: str) -> list[str]:
    """Faults of an RFC 1123 subdomain (most object names)."""
    faults = [_too_long(253)] if len(value) > 253 else []
    if not _SUBDOMAIN.fullmatch(value):
        faults.append(_SUBDOMAIN_FAULT)
    return faults


def wildcard_subdomain_faults(value: str) -> list[str]:
    """Faults of an RFC 1123 subdomain whose first label is ``*`` (hosts of ingresses)."""
    faults = [_too_long(253)] if len(value) > 253 else []
    if not value.startswith("*.") or not _SUBDOMAIN.fullmatch(value[2:]):
        faults.append(_WILDCARD_FAULT)
    return faults


def path_segment_faults(value: str) -> list[str]:
    """Faults of a name that only has to fit into a path (roles, disruption budgets)."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{character}'" for character in ("/", "%") if character in value]


def qualified_name_faults(value: str) -> list[str]:
    """Faults of a label or annotation key, ``[prefix/]name``."""
    prefix, separator, name = value.rpartition("/")
    if "/" in prefix:
        return [
            "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            "alphanumeric character with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    faults: list[str] = []
    if separator and not prefix:
        faults.append("prefix part must be non-empty")
    elif separator:
        faults += [f"prefix part {fault}" for fault in dns_subdomain_faults(prefix)]
    if not name:
        faults.append("name part must be non-empty")
    elif len(name) > 63:
        faults.append(f"name part {_too_long(63)}")
    if not _QUALIFIED.fullmatch(name):
        faults.append(_QUALIFIED_FAULT)
    return faults


def domain_path_faults(value: str) -> list[str]:
    """Faults of a domain and a path in it, ``example.com/name``."""
    domain, separator, path = value.partition("/")
    if not separator or not domain or not path:
        return ['must be a domain-prefixed path (such as "acme.io/foo")']
    faults = list(dns_subdomain_faults(domain))
    if not _HTTP_PATH.fullmatch(path):
        faults.append(f"Invalid path (regex used for validation is '{_HTTP_PATH.pattern}')")
    return faults


def label_value_faults(value: str) -> list[str]:
    """Faults of a label's value."""
    faults = [_too_long(63)] if len(value) > 63 else []
    if value and not _QUALIFIED.fullmatch(value):
        faults.append(_LABEL_VALUE_FAULT)
    return faults


def config_key_faults(value: str) -> list[str]:
    """Faults of a key in a ConfigMap or Secret, which becomes a file name."""
    faults = [_too_long(253)] if len(value) > 253 else []
    if not _CONFIG_KEY.fullmatch(value):
        faults.append(_CONFIG_KEY_FAULT)
    if value == ".":
        faults.append("must not be '.'")
    elif value == "..":
        faults.append("must not be '..'")
    elif value.startswith(".."):
        faults.append("must not start with '..'")
    return faults


def env_name_faults(value: str) -> list[str]:
    """Faults of an environment variable's name: printable ASCII without ``=`` (relaxed rule, stable in 1.34)."""
    if not value:
        return ["environment variable name must not be empty"]
    if not all(" " <= character <= "~" and character != "=" for character in value):
        return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]
    return []


def port_name_faults(value: str) -> list[str]:
    """Faults of a port's name (an IANA service name)."""
    faults: list[str] = []
    if len(value) > 15:
        faults.append(_too_long(15))
    if not _PORT_NAME.fullmatch(value):
        faults.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any("a" <= character <= "z" for character in value):
        faults.append("must contain at least one letter (a-z)")
    if "--" in value:
        faults.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        faults.append("must not begin or end with a hyphen")
    return faults


def generate_name(prefix: str) -> str:
    """``prefix`` and five random characters, at most 63 characters in all, as ``metadata.generateName`` asks for."""
    suffix = "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(_SUFFIX_LENGTH))
    return prefix[: _LONGEST_GENERATED - _SUFFIX_LENGTH] + suffix
