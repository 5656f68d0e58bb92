"""Errors that travel as Kubernetes ``Status`` objects.

Reasons and codes are those of apimachinery's ``metav1.StatusReason``; clients decide on them, and kubectl prints the
message and the causes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flotilla.api.objects import KubeObject


@dataclass(frozen=True, slots=True)
class FieldError:
    """One fault of one field: ``reason`` is a ``metav1.CauseType`` (FieldValueInvalid, FieldValueRequired, ...)."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


DEPOSED = "NoLongerLeader"
"""The reason of writes that a server decided on while it led, and that came too late."""


class ApiError(Exception):
    """A refusal that a client sees as a ``Status`` of kind Failure."""

    def __init__(self, code: int, reason: str, message: str, *, details: KubeObject | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.list_metadata: KubeObject = {}

    @property
    def transient(self) -> bool:
        """Whether the same call may succeed later without being changed."""
        return self.reason in {"Conflict", "TooManyRequests", "ServerTimeout", "Timeout", "ServiceUnavailable"}

    def status(self) -> KubeObject:
        """The ``Status`` object."""
        body: KubeObject = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.list_metadata,
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details:
            body["details"] = self.details
        return body


def _details(group: str, kind: str, name: str, **more: Any) -> KubeObject:
    details: KubeObject = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    return details | more


def _qualified(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural


def not_found(plural: str, name: str, *, group: str = "") -> ApiError:
    message = f'{_qualified(plural, group)} "{name}" not found'
    return ApiError(404, "NotFound", message, details=_details(group, plural, name))


def already_exists(plural: str, name: str, *, group: str = "") -> ApiError:
    message = f'{_qualified(plural, group)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, details=_details(group, plural, name))


def name_not_generated(taken: ApiError) -> ApiError:
    """409 after the last attempt to make a name from ``generateName``: an object of each was there already."""
    message = f"{taken.message}, the server was not able to generate a unique name for the object"
    return ApiError(409, "AlreadyExists", message, details=(taken.details or {}) | {"retryAfterSeconds": 1})


def conflict(plural: str, name: str, why: str, *, group: str = "", causes: Sequence[KubeObject] = ()) -> ApiError:
    message = f'Operation cannot be fulfilled on {_qualified(plural, group)} "{name}": {why}'
    details = _details(group, plural, name)
    if causes:
        details["causes"] = list(causes)
    return ApiError(409, "Conflict", message, details=details)


STALE_OBJECT = "the object has been modified; please apply your changes to the latest version and try again"


def invalid(kind: str, name: str, errors: Sequence[FieldError], *, group: str = "") -> ApiError:
    """422: ``errors`` become ``details.causes``, and the message lists them as Kubernetes does."""
    listed = str(errors[0]) if len(errors) == 1 else "[" + ", ".join(str(error) for error in errors) + "]"
    causes = [{"reason": error.reason, "message": error.message, "field": error.field} for error in errors]
    qualified = f"{kind}.{group}" if group else kind
    message = f'{qualified} "{name}" is invalid: {listed}'
    return ApiError(422, "Invalid", message, details=_details(group, kind, name, causes=causes))


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(message: str) -> ApiError:
    return ApiError(403, "Forbidden", message)


def method_not_allowed() -> ApiError:
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message)


def not_acceptable(message: str) -> ApiError:
    return ApiError(406, "NotAcceptable", message)


def expired(message: str) -> ApiError:
    """410: the revision asked for has been compacted."""
    return ApiError(410, "Expired", message)


def too_large(limit_bytes: int) -> ApiError:
    message = f"Request entity too large: limit is {limit_bytes} bytes; split the object or store the data elsewhere"
    return ApiError(413, "RequestEntityTooLarge", message)


def unsupported_media_type(message: str) -> ApiError:
    return ApiError(415, "UnsupportedMediaType", message)


def too_large_resource_version(requested: int, current: int) -> ApiError:
    message = f"Timeout: Too large resource version: {requested}, current: {current}"
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    return ApiError(504, "Timeout", message, details={"causes": causes, "retryAfterSeconds": 1})


def request_timeout() -> ApiError:
    """504: the request's deadline has passed; what it may have written stays."""
    message = "Timeout: request did not complete within requested timeout - context deadline exceeded"
    return ApiError(504, "Timeout", message)


def too_many_requests(message: str, *, retry_after_s: int) -> ApiError:
    return ApiError(429, "TooManyRequests", message, details={"retryAfterSeconds": retry_after_s})


def unavailable(message: str) -> ApiError:
    return ApiError(503, "ServiceUnavailable", message, details={"retryAfterSeconds": 1})


def internal(message: str) -> ApiError:
    return ApiError(500, "InternalError", message)
