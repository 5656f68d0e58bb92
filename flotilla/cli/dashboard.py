"""``flotilla top`` without a word: nodes, pods and autoscalers live, each with the curve of its last minute.

Curves are drawn from what was seen since the command began, one point a second; nothing is asked that ``kubectl top``
and ``kubectl get hpa`` would not ask.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flotilla.api.objects import KubeObject
from flotilla.api.quantities import bytes_of, cpu_millis
from flotilla.cli.client import Client, ServerError
from flotilla.cli.top import MEBIBYTE, METRICS

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

AUTOSCALERS = "/apis/autoscaling/v2"
PERIOD_S = 1.0
POINTS = 60
PODS_SHOWN = 20
_BARS = " ▁▂▃▄▅▆▇█"


def sparkline(values: Iterable[float], *, most: float = 0.0) -> str:
    """A curve of one character a value, the highest bar for ``most`` or the largest value."""
    values = list(values)
    top = max([most, *values], default=0.0)
    if top <= 0:
        return _BARS[1] * len(values)
    steps = len(_BARS) - 1
    return "".join(_BARS[max(1, min(steps, round(value / top * steps)))] for value in values)


@dataclass(slots=True)
class Curves:
    """The last minute of every figure by what it is of; what is no longer seen is forgotten."""

    points: dict[tuple[str, ...], deque[float]] = field(default_factory=dict)
    seen: set[tuple[str, ...]] = field(default_factory=set)

    def add(self, key: tuple[str, ...], value: float) -> Sequence[float]:
        self.seen.add(key)
        curve = self.points.setdefault(key, deque(maxlen=POINTS))
        curve.append(value)
        return curve

    def end_frame(self) -> None:
        self.points = {key: curve for key, curve in self.points.items() if key in self.seen}
        self.seen = set()


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One screen; ``scope`` is the path of the namespace, empty for all."""

    client: Client
    scope: str
    curves: Curves = field(default_factory=Curves)

    def frame(self) -> Group:
        """What the screen shows now."""
        from rich.console import Group

        tables = [self._nodes(), self._autoscalers(), self._pods()]
        self.curves.end_frame()
        return Group(*tables)

    def _nodes(self) -> Table:
        nodes = {each["metadata"]["name"]: each for each in self._items("/api/v1/nodes")}
        table = _table("node", "cpu", "", "memory", "")
        for metrics in self._items(f"{METRICS}/nodes"):
            name = metrics["metadata"]["name"]
            allocatable = ((nodes.get(name) or {}).get("status") or {}).get("allocatable") or {}
            cpu, cpu_all = cpu_millis(metrics["usage"]["cpu"]), cpu_millis(allocatable.get("cpu", 0))
            memory, memory_all = bytes_of(metrics["usage"]["memory"]), bytes_of(allocatable.get("memory", 0))
            table.add_row(
                name,
                f"{cpu}m {_share(cpu, cpu_all)}",
                sparkline(self.curves.add(("node", name, "cpu"), cpu), most=cpu_all),
                f"{memory // MEBIBYTE}Mi {_share(memory, memory_all)}",
                sparkline(self.curves.add(("node", name, "memory"), memory), most=memory_all),
            )
        return table

    def _autoscalers(self) -> Table:
        table = _table("autoscaler", "target", "measured", "replicas", "", "says")
        for scaler in self._items(f"{AUTOSCALERS}{self.scope}/horizontalpodautoscalers"):
            name, spec, status = _name(scaler), scaler["spec"], scaler.get("status") or {}
            current, most = status.get("currentReplicas", 0), spec["maxReplicas"]
            table.add_row(
                name,
                f"{spec['scaleTargetRef']['kind']}/{spec['scaleTargetRef']['name']}",
                ", ".join(_measured(metric) for metric in status.get("currentMetrics") or ()) or "<unknown>",
                f"{current}/{spec.get('minReplicas', 1)}-{most}",
                sparkline(self.curves.add(("hpa", name), current), most=most),
                _says(status),
            )
        return table

    def _pods(self) -> Table:
        found = []
        for pod in self._items(f"{METRICS}{self.scope}/pods"):
            usages = [container["usage"] for container in pod.get("containers") or ()]
            cpu = sum(cpu_millis(usage["cpu"]) for usage in usages)
            found.append((cpu, sum(bytes_of(usage["memory"]) for usage in usages), _name(pod)))
        table = _table("pod", "cpu", "", "memory", "")
        curves = [(cpu, memory, name, self.curves.add(("pod", name), cpu)) for cpu, memory, name in found]
        for cpu, memory, name, curve in sorted(curves, key=lambda each: (-each[0], each[2]))[:PODS_SHOWN]:
            table.add_row(name, f"{cpu}m", sparkline(curve), f"{memory // MEBIBYTE}Mi", "")
        if len(found) > PODS_SHOWN:
            table.caption = f"{len(found) - PODS_SHOWN} more pods use less"
        return table

    def _items(self, path: str) -> list[KubeObject]:
        return list(self.client.get(path).get("items") or ())


def show(client: Client, *, all_namespaces: bool, frames: int = 0) -> None:
    """Show the dashboard until interrupted, or for so many frames; plain text where that is no terminal."""
    from rich.console import Console
    from rich.live import Live

    console = Console(width=None if sys.stdout.isatty() else 160)
    dashboard = Dashboard(client, "" if all_namespaces else f"/namespaces/{client.namespace}")
    frames = frames or (0 if console.is_terminal else 1)
    if not console.is_terminal:
        for number in range(frames):
            if number:
                time.sleep(PERIOD_S)
            console.print(dashboard.frame())
        return
    with contextlib.suppress(KeyboardInterrupt), Live(console=console, screen=True, auto_refresh=False) as live:
        shown = 0
        while not frames or shown < frames:
            began_s = time.monotonic()
            try:
                live.update(dashboard.frame(), refresh=True)
            except ServerError as error:
                live.update(str(error), refresh=True)
            shown += 1
            time.sleep(max(0.0, began_s + PERIOD_S - time.monotonic()))


def _table(*columns: str) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column.upper(), no_wrap=column != "says")
    return table


def _name(obj: KubeObject) -> str:
    return f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"


def _share(used: int, available: int) -> str:
    return f"{100 * used // available}%" if available else ""


def _measured(metric: dict[str, Any]) -> str:
    kind = metric["type"]
    content = metric[kind[0].lower() + kind[1:]]
    current = content.get("current") or {}
    name = content.get("name") or content["metric"]["name"]
    if "averageUtilization" in current:
        return f"{name} {current['averageUtilization']}%"
    return f"{name} {current.get('averageValue') or current.get('value') or '<unknown>'}"


def _says(status: KubeObject) -> str:
    """The condition that tells most: what fails, else what limits."""
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    for kind, telling in (("AbleToScale", "False"), ("ScalingActive", "False"), ("ScalingLimited", "True")):
        condition = conditions.get(kind) or {}
        if condition.get("status") == telling:
            return f"{condition.get('reason')}: {condition.get('message')}"
    return ""
