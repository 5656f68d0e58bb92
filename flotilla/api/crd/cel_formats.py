"""The ``format`` library of Kubernetes' CEL: named string formats that say what is wrong with a string.

A format is a map of one key, as other types of Kubernetes are here. Its functions give optional values, which functions
that are written in Python can't: they give a list of at most one item, and the text of a rule is changed so that it
takes the first item optionally. Source: ``k8s.io/apiserver/pkg/cel/library/format.go``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from flotilla.api.crd.cel_tags import FunctionRow, tagged, value_of
from flotilla.api.crd.cel_text import closing, without_strings
from flotilla.api.crd.formats import FORMATS
from flotilla.api.names import (
    dns1035_label_faults,
    dns_label_faults,
    dns_subdomain_faults,
    label_value_faults,
    qualified_name_faults,
)

Faults = Callable[[str], list[str]]

FORMAT = "kubernetes.NamedFormat"
_OPTIONAL = re.compile(r"(?:\.\s*validate|(?<![\w.])format\s*\.\s*named)\s*\(")
_FIRST = "[?0]"


def _prefix(faults: Faults) -> Faults:
    """For the beginning of a name, to which something is added: it may end with a dash."""
    return lambda text: faults(f"{text[:-2]}a" if len(text) > 1 and text.endswith("-") else text)


def _of_schema(name: str, fault: str) -> Faults:
    return lambda text: [] if FORMATS[name](text) else [fault]


def _uri_faults(text: str) -> list[str]:
    if not text:
        return ['parse "": empty url']
    return [] if FORMATS["uri"](text) else [f'parse "{text}": invalid URI for request']


NAMED: dict[str, Faults] = {
    "dns1123Label": dns_label_faults,
    "dns1123Subdomain": dns_subdomain_faults,
    "dns1035Label": dns1035_label_faults,
    "qualifiedName": qualified_name_faults,
    "dns1123LabelPrefix": _prefix(dns_label_faults),
    "dns1123SubdomainPrefix": _prefix(dns_subdomain_faults),
    "dns1035LabelPrefix": _prefix(dns1035_label_faults),
    "labelValue": label_value_faults,
    "uri": _uri_faults,
    "uuid": _of_schema("uuid", "does not match the UUID format"),
    "byte": _of_schema("byte", "invalid base64"),
    "date": _of_schema("date", "invalid date"),
    "datetime": _of_schema("datetime", "invalid datetime"),
}


def with_optionals(text: str) -> str:
    """A rule in which what the functions of this library give is an optional value."""
    bare = without_strings(text)
    ends = sorted(end for call in _OPTIONAL.finditer(bare) if (end := closing(bare, call.end() - 1)) >= 0)
    for end in reversed(ends):
        text = text[: end + 1] + _FIRST + text[end + 1 :]
    return text


def _validate(value: Any, text: str) -> list[list[str]]:
    faults = NAMED[value_of(value, FORMAT)](text)
    return [faults] if faults else []


def _named(name: str) -> list[dict[str, str]]:
    return [tagged(FORMAT, name)] if name in NAMED else []


def _constant(name: str) -> FunctionRow:
    return FunctionRow(f"format.{name}", (), lambda: tagged(FORMAT, name), result="map", member=False)


FORMAT_FUNCTIONS: tuple[FunctionRow, ...] = (
    *map(_constant, NAMED),
    FunctionRow("format.named", ("string",), _named, result="maps", member=False),
    FunctionRow("validate", ("map", "string"), _validate, result="lists"),
)
