"""The paper that descriptions are written on: ``Key:  value`` lines, indented sections, small tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

NONE = "<none>"


class Sheet:
    """Collects lines; values of neighbouring keys are aligned. Empty values show as ``<none>``."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._block: list[tuple[str, str]] = []
        self._indent = 0

    def add(self, key: str, value: Any) -> None:
        """One value, or one line each for a list or a mapping (as ``key=value``)."""
        texts = _texts(value)
        self._block.append((key, texts[0]))
        self._block += [("", text) for text in texts[1:]]

    def maybe(self, key: str, value: Any) -> None:
        """As ``add``, but nothing where there is no value."""
        if value not in (None, "", [], {}):
            self.add(key, value)

    @contextmanager
    def section(self, title: str) -> Iterator[None]:
        """What is added inside stands indented under ``title``."""
        self._flush()
        self._lines.append(" " * self._indent + f"{title}:")
        self._indent += 2
        yield
        self._flush()
        self._indent -= 2

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Aligned columns with an underlined header; ``<none>`` without rows."""
        self._flush()
        if not rows:
            self._lines.append(" " * self._indent + NONE)
            return
        texts = [list(columns), ["-" * len(column) for column in columns]]
        texts += [[NONE if value in (None, "") else str(value) for value in row] for row in rows]
        widths = [max(len(row[i]) for row in texts) for i in range(len(columns))]
        for row in texts:
            line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
            self._lines.append(" " * self._indent + line.rstrip())

    def text(self, text: str) -> None:
        self._flush()
        self._lines += [(" " * self._indent + line).rstrip() for line in text.splitlines()]

    def lines(self) -> list[str]:
        self._flush()
        return self._lines

    def _flush(self) -> None:
        width = max((len(key) for key, _ in self._block), default=0) + 1
        for key, value in self._block:
            label = f"{key}:" if key else ""
            self._lines.append((" " * self._indent + f"{label:<{width}}  {value}").rstrip())
        self._block = []


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{key}={text}" for key, text in sorted(value.items())] or [NONE]
    if isinstance(value, list | tuple):
        return [str(each) for each in value] or [NONE]
    return [NONE if value in (None, "") else str(value)]
