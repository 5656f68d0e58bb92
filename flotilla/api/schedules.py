"""Cron schedules: the five fields and the macros that Kubernetes takes.

The fields are read by cronsim, the library behind healthchecks.io and Home Assistant: small, without dependencies of
its own, kept up, with Debian cron's semantics and correct over changes of daylight saving time. It takes more than
Kubernetes does (a sixth field for seconds, ``L`` for the last day, ``#`` for the n-th weekday, 7 for Sunday); that is
refused here, so that a manifest which is accepted here is accepted everywhere.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from flotilla.api.durations import parse_duration

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = "@every "
_TIME_ZONE = re.compile(r"(?:CRON_)?TZ=\S*\s+")
_FIELD_COUNT = 5
_EXTENSIONS = re.compile(r"#|\bL\b|[0-9]L|W\b", re.ASCII)
_SEVENTH_DAY = re.compile(r"(?<![0-9/])7(?![0-9])")
_START = datetime(2024, 1, 1, tzinfo=UTC)


class InvalidScheduleError(ValueError):
    """The text is no schedule; the message says why."""


def check_schedule(text: str) -> None:
    """Raises InvalidScheduleError unless ``text`` is a schedule; a leading time zone is not looked at."""
    text = _TIME_ZONE.sub("", text, count=1) if _TIME_ZONE.match(text) else text
    if text.startswith(_EVERY):
        _check_every(text)
    elif text.startswith("@"):
        if text not in MACROS:
            raise InvalidScheduleError(f"unrecognized descriptor: {text}")
    else:
        _check_fields(text)


def _check_every(text: str) -> None:
    try:
        parse_duration(text.removeprefix(_EVERY))
    except ValueError as error:
        raise InvalidScheduleError(f"failed to parse duration {text}: {error}") from error


def _check_fields(text: str) -> None:
    fields = text.split()
    if not fields:
        raise InvalidScheduleError("empty spec string")
    if len(fields) != _FIELD_COUNT:
        shown = " ".join(fields)
        raise InvalidScheduleError(f"expected exactly {_FIELD_COUNT} fields, found {len(fields)}: [{shown}]")
    for field in fields:
        if _EXTENSIONS.search(field):
            raise InvalidScheduleError(f"failed to parse int from {field}: only numbers, names and * , - / ? are known")
    if _SEVENTH_DAY.search(fields[-1]):
        raise InvalidScheduleError(f"end of range (7) above maximum (6): {fields[-1]}")
    try:
        CronSim(" ".join(fields).replace("?", "*"), _START)
    except CronSimError as error:
        raise InvalidScheduleError(f"failed to parse schedule {text}: {error}") from error
