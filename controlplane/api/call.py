"""One request on its way through the server: who asks for what, with which options, and what to warn of."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from aiohttp import web
from multidict import MultiMapping

from controlplane.api.authn import User
from controlplane.api.fairness import Seat
from controlplane.api.negotiation import Form, negotiate
from controlplane.api.request_info import RequestInfo
from flotilla.api.errors import ApiError, FieldError, bad_request, invalid
from flotilla.api.objects import encode

_LONGEST_MANAGER = 128
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_OPTIONS = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions", "DELETE": "DeleteOptions"}
_REASONS = {
    "Forbidden": "FieldValueForbidden",
    "Required value": "FieldValueRequired",
    "Too long": "FieldValueTooLong",
    "Unsupported value": "FieldValueNotSupported",
    "": "FieldValueInvalid",
}
_VALIDATIONS = ("Ignore", "Warn", "Strict")


@dataclass(slots=True)
class Call:
    """A request that was authenticated and authorized."""

    request: web.BaseRequest
    info: RequestInfo
    user: User
    warnings: list[str] = field(default_factory=list)
    seat: Seat | None = None

    def started(self) -> None:
        """A stream's beginning has been sent: what is left of it takes no seat from other requests."""
        if self.seat is not None:
            self.seat.release()

    @property
    def query(self) -> MultiMapping[str]:
        return self.request.query

    @property
    def form(self) -> Form:
        """The form of the answer. NotAcceptable."""
        return negotiate(self.request.headers.get("Accept", ""))

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to be stored. Invalid for anything but ``All``."""
        wanted = self.query.getall("dryRun", [])
        return check_dry_run(wanted, kind=self.options_kind)

    @property
    def options_kind(self) -> str:
        """The kind of options that a write's parameters are."""
        return _OPTIONS.get(self.request.method, "ListOptions")

    @property
    def manager(self) -> str:
        """Who owns the fields that are written: ``fieldManager``, or the client program's name."""
        manager = self.query.get("fieldManager", "")
        if len(manager) > _LONGEST_MANAGER:
            why = f"Too long: may not be more than {_LONGEST_MANAGER} bytes"
            raise option_error("fieldManager", why, kind=self.options_kind)
        return manager or self.request.headers.get("User-Agent", "").partition("/")[0][:_LONGEST_MANAGER] or "unknown"

    @property
    def field_validation(self) -> str:
        """``Ignore``, ``Warn`` (the default) or ``Strict``."""
        wanted = self.query.get("fieldValidation", "") or "Warn"
        if wanted not in _VALIDATIONS:
            supported = ", ".join(f'"{one}"' for one in ("", *_VALIDATIONS))
            why = f'Unsupported value: "{wanted}": supported values: {supported}'
            raise option_error("fieldValidation", why, kind=self.options_kind)
        return wanted

    def flag(self, name: str) -> bool:
        """A boolean query parameter."""
        return is_set(self.query, name)

    def number(self, name: str) -> int | None:
        """A 64-bit integer query parameter, None where it is not given. BadRequest for what is none."""
        text = self.query.get(name, "")
        if not text:
            return None
        if not _INTEGER.fullmatch(text) or not -(1 << 63) <= int(text) < 1 << 63:
            raise bad_request(f'{name}: "{text[:100]}" is not a 64-bit integer')
        return int(text)


def is_set(query: MultiMapping[str], name: str) -> bool:
    """A boolean query parameter, read as Kubernetes does: what is there and neither ``0`` nor ``false`` is true."""
    text = query.get(name, "0")
    return text != "0" and text.lower() != "false"


def check_dry_run(wanted: list[str], *, kind: str) -> bool:
    """Whether a list of dry-run stages asks for a dry run. Invalid for unknown stages."""
    if any(stage != "All" for stage in wanted):
        given = encode(wanted).decode()
        raise option_error("dryRun", f'Unsupported value: {given}: supported values: "All"', kind=kind)
    return bool(wanted)


def option_error(option: str, message: str, *, kind: str) -> ApiError:
    """The refusal of a request's option; ``kind`` is the kind of options that it is one of."""
    reason = next(reason for start, reason in _REASONS.items() if message.startswith(start))
    return invalid(kind, "", [FieldError(option, message, reason)], group="meta.k8s.io")
