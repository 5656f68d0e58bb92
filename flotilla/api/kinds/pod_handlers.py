"""Validation of what a node does to a container: probes and lifecycle hooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import (
    bad_port,
    each_invalid,
    forbidden,
    invalid,
    negative,
    not_among,
    not_positive,
    required,
    unsupported,
)
from flotilla.api.names import port_name_faults

_PROBE_NUMBERS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_PROBE_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOK_HANDLERS = ("exec", "httpGet", "tcpSocket", "sleep")
_SIGNAL_NAMES = (
    "ABRT|ALRM|BUS|CHLD|CLD|CONT|FPE|HUP|ILL|INT|IO|IOT|KILL|PIPE|POLL|PROF|PWR|QUIT|SEGV|STKFLT|STOP|SYS|TERM|TRAP|"
    "TSTP|TTIN|TTOU|URG|USR1|USR2|VTALRM|WINCH|XCPU|XFSZ|RTMIN|RTMAX"
)
_REAL_TIME_SIGNALS = (*(f"RTMIN+{number}" for number in range(1, 16)), *(f"RTMAX-{number}" for number in range(1, 15)))
_SIGNALS = frozenset(f"SIG{name}" for name in (*_SIGNAL_NAMES.split("|"), *_REAL_TIME_SIGNALS))
_HEADER_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!#$%&'*+^`|~")


def validate_port_reference(port: int | str | None, path: str) -> list[FieldError]:
    """Faults of a port given by number or by name."""
    if port is None:
        return [required(path)]
    return each_invalid(path, port, port_name_faults(port)) if isinstance(port, str) else bad_port(path, port)


def _validate_http_get(request: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = [] if request.get("path") else [required(f"{path}.path")]
    errors += validate_port_reference(request.get("port"), f"{path}.port")
    errors += not_among(f"{path}.scheme", request.get("scheme"), ("HTTP", "HTTPS"))
    for index, header in enumerate(request.get("httpHeaders") or ()):
        name = header.get("name") or ""
        if not name or not _HEADER_CHARACTERS.issuperset(name):
            why = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name')"
            errors.append(invalid(f"{path}.httpHeaders[{index}].name", name, why))
    return errors


def _validate_handler(handler: Mapping[str, Any], kinds: tuple[str, ...], path: str) -> list[FieldError]:
    given = [kind for kind in kinds if handler.get(kind) is not None]
    if not given:
        return [required(path, "must specify a handler type")]
    errors = [forbidden(f"{path}.{kind}", "may not specify more than 1 handler type") for kind in given[1:]]
    kind, body = given[0], handler[given[0]]
    match kind:
        case "exec":
            return errors if body.get("command") else [*errors, required(f"{path}.exec.command")]
        case "httpGet":
            return errors + _validate_http_get(body, f"{path}.httpGet")
        case "tcpSocket":
            return errors + validate_port_reference(body.get("port"), f"{path}.tcpSocket.port")
        case "grpc":
            return errors + bad_port(f"{path}.grpc.port", body.get("port"))
    return errors


def validate_probe(probe: Mapping[str, Any], kind: str, path: str) -> list[FieldError]:
    """Faults of a probe; ``kind`` is livenessProbe, readinessProbe or startupProbe."""
    errors = _validate_handler(probe, _PROBE_HANDLERS, path)
    for field in _PROBE_NUMBERS:
        errors += negative(f"{path}.{field}", probe.get(field))
    if kind != "readinessProbe" and probe.get("successThreshold", 1) != 1:
        errors.append(invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and kind == "readinessProbe":
        errors.append(invalid(f"{path}.terminationGracePeriodSeconds", grace, "must not be set for readinessProbes"))
    return errors + not_positive(f"{path}.terminationGracePeriodSeconds", grace)


def _validate_sleep(handler: Mapping[str, Any], grace_s: int | None, path: str) -> list[FieldError]:
    seconds = (handler.get("sleep") or {}).get("seconds") or 0
    if grace_s is None or 0 <= seconds <= grace_s:
        return []
    why = f"must be non-negative and less than terminationGracePeriodSeconds ({grace_s})"
    return [invalid(f"{path}.sleep", seconds, why)]


def validate_lifecycle(lifecycle: Mapping[str, Any], spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of the postStart and preStop hooks and of the signal that stops a container of the pod ``spec``."""
    errors: list[FieldError] = []
    for hook in ("postStart", "preStop"):
        if lifecycle.get(hook) is not None:
            errors += _validate_handler(lifecycle[hook], _HOOK_HANDLERS, f"{path}.{hook}")
            errors += _validate_sleep(lifecycle[hook], spec.get("terminationGracePeriodSeconds"), f"{path}.{hook}")
    if lifecycle.get("stopSignal") and lifecycle["stopSignal"] not in _SIGNALS:
        errors.append(unsupported(f"{path}.stopSignal", lifecycle["stopSignal"], sorted(_SIGNALS)))
    return errors
