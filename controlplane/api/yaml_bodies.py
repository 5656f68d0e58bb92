"""YAML in request bodies, measured before it is read.

The C loader descends by recursion, so that a document of 50 KB of ``[`` would overflow the stack and end the process,
and it expands aliases, so that one of 300 bytes can stand for gigabytes. A first pass over the events, which the parser
gives without recursion, refuses what is too deep or stands for too much.
"""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from flotilla.api.errors import bad_request

DEEPEST = 200
MOST_NODES = 100_000
_STARTS = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
_ENDS = (yaml.SequenceEndEvent, yaml.MappingEndEvent)


class _Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: JSON's types only, so that what looks like a date stays a string."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


def decode_yaml(data: bytes) -> Any:
    """The one document's value, limited to JSON's types. BadRequest says at which line it is broken."""
    try:
        _check_size(data)
        value = yaml.load(data, Loader=_Loader)
        return msgspec.to_builtins(value, str_keys=True)
    except yaml.YAMLError as error:
        raise bad_request(f"error converting YAML to JSON: {' '.join(str(error).split())}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise bad_request(f"error converting YAML to JSON: {error}") from error


def _check_size(data: bytes) -> None:
    """BadRequest for what is deeper than DEEPEST or has more than MOST_NODES nodes once aliases are expanded."""
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []
    nodes = 0
    for event in yaml.parse(data, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            nodes += sizes.get(event.anchor or "", 1)
        elif isinstance(event, _ENDS):
            anchor, before = opened.pop()
            if anchor:
                sizes[anchor] = nodes - before
        elif isinstance(event, yaml.NodeEvent):
            if isinstance(event, _STARTS):
                opened.append((event.anchor, nodes))
            nodes += 1
        if len(opened) > DEEPEST:
            raise bad_request(f"error converting YAML to JSON: nested more than {DEEPEST} levels deep")
        if nodes > MOST_NODES:
            raise bad_request(f"error converting YAML to JSON: more than {MOST_NODES} values, aliases expanded")
