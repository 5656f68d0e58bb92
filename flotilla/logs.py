"""Log lines of the processes: one event a line, machine-readable, on standard error.

Code logs through ``logging`` with a constant event name as the message and what belongs to it in ``extra``; this module
only decides how that looks. A line is ``key=value`` pairs by default, because a person reads it first, or a JSON object
for those who ship logs. The processes never write files themselves: whoever starts them (the supervisor, systemd) owns
where lines go and how they rotate.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

LogFormat = Literal["logfmt", "json"]

LEVELS = ("debug", "info", "warning", "error")

_STANDARD_ATTRIBUTES = frozenset(
    {*logging.LogRecord("", 0, "", 0, "", None, None).__dict__, "message", "asctime", "taskName"}
)


class EventFormatter(logging.Formatter):
    """Formats a record as one line: time, level, process, logger, event, then the extras in the order given."""

    def __init__(self, process: str, *, log_format: LogFormat = "logfmt") -> None:
        super().__init__()
        self._process = process
        self._join = _as_json if log_format == "json" else _as_logfmt

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "event": record.getMessage(),
        }
        fields |= {key: value for key, value in record.__dict__.items() if key not in _STANDARD_ATTRIBUTES}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return self._join(fields)


def configure_logging(process: str, *, level: str = "info", log_format: LogFormat = "logfmt") -> None:
    """Send the root logger's records at ``level`` (one of ``LEVELS``) and above to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EventFormatter(process, log_format=log_format))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)


def _as_json(fields: dict[str, Any]) -> str:
    return json.dumps(fields, default=str, ensure_ascii=False)


def _as_logfmt(fields: dict[str, Any]) -> str:
    return " ".join(f"{key}={_logfmt_value(value)}" for key, value in fields.items())


def _logfmt_value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    if not text or any(character.isspace() or character in '"=' for character in text):
        return json.dumps(text, ensure_ascii=False)
    return text
