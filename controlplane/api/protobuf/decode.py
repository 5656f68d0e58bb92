"""From a protobuf body to the decoded JSON object that it stands for.

Go's encoder writes fields that are no pointers even where they are empty, and JSON leaves those out. The numbers of
fields do not tell which they are, so empty strings, zero times, zero and false are left out, but for the fields in
which those differ from nothing. A field that is not in the table is refused: to drop it would change the object.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from controlplane.api.protobuf.wire import WireError, read_fields, signed
from flotilla.api.errors import bad_request
from flotilla.api.objects import KubeObject, decode, format_micro_time, format_time

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_MACHINERY = "io.k8s.apimachinery.pkg."
_DELETE_OPTIONS = f"{_MACHINERY}apis.meta.v1.DeleteOptions"
_DEEPEST = 64
_ZERO_COUNTS = frozenset(
    {
        "activeDeadlineSeconds",
        "averageUtilization",
        "backoffLimit",
        "backoffLimitPerIndex",
        "completions",
        "currentAverageUtilization",
        "defaultMode",
        "deletionGracePeriodSeconds",
        "exitCode",
        "failedJobsHistoryLimit",
        "expirationSeconds",
        "fsGroup",
        "gracePeriodSeconds",
        "leaseTransitions",
        "maxFailedIndexes",
        "minReplicas",
        "mode",
        "parallelism",
        "partition",
        "priority",
        "progressDeadlineSeconds",
        "replicas",
        "revisionHistoryLimit",
        "runAsGroup",
        "runAsUser",
        "stabilizationWindowSeconds",
        "startingDeadlineSeconds",
        "successfulJobsHistoryLimit",
        "supplementalGroups",
        "terminationGracePeriodSeconds",
        "tolerationSeconds",
        "ttlSecondsAfterFinished",
        "value",
    }
)
_FALSE_COUNTS = frozenset(
    {
        "allocateLoadBalancerNodePorts",
        "allowPrivilegeEscalation",
        "allowVolumeExpansion",
        "attachRequired",
        "automountServiceAccountToken",
        "blockOwnerDeletion",
        "controller",
        "enableServiceLinks",
        "hostUsers",
        "immutable",
        "optional",
        "orphanDependents",
        "podInfoOnMount",
        "privileged",
        "readOnlyRootFilesystem",
        "ready",
        "requiresRepublish",
        "runAsNonRoot",
        "seLinuxMount",
        "serving",
        "setHostnameAsFQDN",
        "shareProcessNamespace",
        "started",
        "storageCapacity",
        "suspend",
        "terminating",
    }
)


@dataclass(frozen=True, slots=True)
class Field:
    """What a number stands for. ``form`` is ``""``, ``list``, ``map`` or ``inline``."""

    name: str
    type: str
    form: str


@cache
def _messages() -> dict[str, dict[int, Field]]:
    table = json.loads(files(__package__).joinpath("fields.json").read_bytes())
    return {
        message: {int(number): _field(text) for number, text in fields.items()} for message, fields in table.items()
    }


def _field(text: str) -> Field:
    name, type_, *form = text.split(" ")
    return Field(name, type_, form[0] if form else "")


def decode_protobuf(data: bytes) -> KubeObject:
    """The object in a body. BadRequest for what is no such body, of an unknown kind, or has fields unknown here."""
    if not data.startswith(_MAGIC):
        raise bad_request("the body is not in Kubernetes' protobuf form: it must begin with 'k8s\\0'")
    try:
        head = _envelope(data[len(_MAGIC) :])
        message = _message_of(head["apiVersion"], head["kind"])
        obj = _decode_message(message, head["raw"], 0)
    except (WireError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise bad_request(f"the body is not valid protobuf: {error}") from error
    type_meta = {name: head[name] for name in ("apiVersion", "kind") if head[name]}
    return type_meta | obj


def _envelope(data: bytes) -> dict[str, Any]:
    """The ``runtime.Unknown`` around every body: type, raw message, and encodings that must be unused."""
    found: dict[str, Any] = {"apiVersion": "", "kind": "", "raw": b""}
    for number, value in read_fields(data):
        if number == 1:
            for part, text in read_fields(_bytes(value)):
                found[("apiVersion", "kind")[part - 1] if part in (1, 2) else "other"] = _bytes(text).decode()
        elif number == 2:
            found["raw"] = value
        elif value:
            raise WireError("content encodings are not supported")
    return found


def _message_of(api_version: str, kind: str) -> str:
    """The message of a kind. BadRequest if it is not known."""
    if kind == "DeleteOptions":
        return _DELETE_OPTIONS
    group, _, version = api_version.rpartition("/")
    message = f"io.k8s.api.{group.partition('.')[0] or 'core'}.{version}.{kind}"
    if message not in _messages():
        raise bad_request(f'no kind "{kind}" is registered for version "{api_version}": send it as JSON')
    return message


def _decode_message(message: str, data: bytes, depth: int) -> KubeObject:
    if depth > _DEEPEST:
        raise WireError("nested too deeply")
    fields = _messages()[message]
    result: KubeObject = {}
    for number, value in read_fields(data):
        field = fields.get(number)
        if field is None:
            name = message.rpartition(".")[2]
            raise bad_request(f"field number {number} of {name} is not known in the protobuf form: send it as JSON")
        _store(result, field, value, depth)
    return result


def _store(result: KubeObject, field: Field, value: int | float | bytes, depth: int) -> None:
    if field.form == "map":
        key, child = _map_entry(field, _bytes(value), depth)
        result.setdefault(field.name, {})[key] = child
        return
    decoded = _value(field, value, depth)
    if field.form == "list":
        result.setdefault(field.name, []).append(decoded)
    elif field.form == "inline":
        result.update(decoded)
    elif decoded is not None and decoded != "" and not _means_nothing(field, decoded):
        result[field.name] = decoded


def _means_nothing(field: Field, decoded: Any) -> bool:
    if field.type == "int":
        return decoded == 0 and field.name not in _ZERO_COUNTS
    return field.type == "bool" and decoded is False and field.name not in _FALSE_COUNTS


def _map_entry(field: Field, data: bytes, depth: int) -> tuple[str, Any]:
    key = ""
    child: Any = _value(field, b"", depth) if field.type in ("string", "bytes") else None
    for number, value in read_fields(data):
        if number == 1:
            key = _bytes(value).decode()
        elif number == 2:
            child = _value(field, value, depth)
    return key, child


def _value(field: Field, value: int | float | bytes, depth: int) -> Any:
    if field.type in _SCALARS:
        return _SCALARS[field.type](value)
    if field.type in _SPECIAL:
        return _SPECIAL[field.type](_bytes(value))
    return _decode_message(field.type, _bytes(value), depth + 1)


def _bytes(value: int | float | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise WireError("a number stands where text or a message belongs")
    return value


def _integer(value: int | float | bytes) -> int:
    if not isinstance(value, int):
        raise WireError("text stands where a number belongs")
    return signed(value)


def _double(value: int | float | bytes) -> float:
    if not isinstance(value, float):
        raise WireError("a floating-point number is expected")
    return value


def _time(data: bytes) -> str | None:
    """``metav1.Time``; None for the zero time."""
    moment = _moment(data)
    return format_time(moment) if moment else None


def _micro_time(data: bytes) -> str | None:
    moment = _moment(data)
    return format_micro_time(moment) if moment else None


def _moment(data: bytes) -> datetime | None:
    parts = {number: _integer(value) for number, value in read_fields(data)}
    if not parts:
        return None
    try:
        moment = datetime.fromtimestamp(parts.get(1, 0), UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise WireError(f"a time is out of range: {error}") from error
    return moment.replace(microsecond=min(999_999, max(0, parts.get(2, 0) // 1000)))


def _int_or_string(data: bytes) -> int | str:
    parts = dict(read_fields(data))
    if parts.get(1):
        return _bytes(parts.get(3, b"")).decode()
    return _integer(parts.get(2, 0))


def _quantity(data: bytes) -> str:
    return _bytes(dict(read_fields(data)).get(1, b"0")).decode() or "0"


def _raw_json(data: bytes) -> Any:
    raw = _bytes(dict(read_fields(data)).get(1, b""))
    return decode(raw) if raw else None


def _extra_value(data: bytes) -> list[str]:
    """A list that is a message of its own, because protobuf has no maps of lists."""
    return [_bytes(value).decode() for _, value in read_fields(data)]


_SCALARS: dict[str, Callable[[Any], Any]] = {
    "string": lambda value: _bytes(value).decode(),
    "int": _integer,
    "bool": lambda value: bool(_integer(value)),
    "bytes": lambda value: base64.b64encode(_bytes(value)).decode(),
    "double": _double,
}
_SPECIAL: dict[str, Callable[[bytes], Any]] = {
    f"{_MACHINERY}apis.meta.v1.Time": _time,
    f"{_MACHINERY}apis.meta.v1.MicroTime": _micro_time,
    f"{_MACHINERY}apis.meta.v1.FieldsV1": _raw_json,
    f"{_MACHINERY}runtime.RawExtension": _raw_json,
    f"{_MACHINERY}util.intstr.IntOrString": _int_or_string,
    f"{_MACHINERY}api.resource.Quantity": _quantity,
    "io.k8s.api.authentication.v1.ExtraValue": _extra_value,
    "io.k8s.api.authorization.v1.ExtraValue": _extra_value,
    "io.k8s.api.certificates.v1.ExtraValue": _extra_value,
}
