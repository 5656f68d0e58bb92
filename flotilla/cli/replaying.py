"""``flotilla autoscale replay``: reads recorded load, runs it through the autoscaler's code, shows what came of it."""

from __future__ import annotations

import csv
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from controlplane.autoscaler.replay import FLOTILLA, KUBERNETES, Loop, PodModel, Replay, replay
from flotilla.api.errors import FieldError
from flotilla.api.objects import KubeObject, parse_time
from flotilla.api.quantities import InvalidQuantityError, cpu_millis
from flotilla.api.resources import HORIZONTAL_POD_AUTOSCALERS
from flotilla.cli.durations import parse_duration_s
from flotilla.cli.failures import CommandError
from flotilla.cli.tables import TableWriter

LONGEST_S = 7 * 86_400
_LOOPS = {"flotilla": (FLOTILLA,), "kubernetes": (KUBERNETES,), "both": (FLOTILLA, KUBERNETES)}
_RANGE_POINTS = 10_000
_TIMEOUT_S = 30.0
_COLOURS = {"flotilla": "#0b7285", "kubernetes": "#c2255c"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The command's arguments."""

    manifest: Path
    series: Path | None
    prometheus: str
    query: str
    last: str
    pod_request: str
    pod_limit: str
    start_s: float
    replicas: int
    loop: str
    plot: Path | None
    output: str


def run(request: Request) -> None:
    """Carry out the command. CommandError."""
    loops = _LOOPS.get(request.loop)
    if loops is None:
        raise CommandError(f"--loop is flotilla, kubernetes or both, not {request.loop}")
    if request.output not in ("", "csv"):
        raise CommandError(f"--output is csv or nothing, not {request.output}")
    if request.plot is not None and request.plot.suffix not in (".svg", ".png"):
        raise CommandError(f"--plot {request.plot}: the name must end in .svg or .png")
    autoscaler = read_autoscaler(request.manifest)
    pod = PodModel(
        request_millis=_millis("--pod-request", request.pod_request),
        limit_millis=_millis("--pod-limit", request.pod_limit),
        start_s=request.start_s,
    )
    load = _load(request)
    replays = [replay(_for(loop, autoscaler), load, pod=pod, loop=loop, replicas=request.replicas) for loop in loops]
    if request.output:
        _write_csv(replays)
    else:
        for each in replays:
            _tell(each)
    if request.plot is not None:
        plot(replays, request.plot)


def read_autoscaler(path: Path) -> KubeObject:
    """The first HorizontalPodAutoscaler of a manifest, completed and valid. CommandError."""
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: {error}") from error
    found = [each for each in documents if isinstance(each, dict) and each.get("kind") == "HorizontalPodAutoscaler"]
    if not found:
        raise CommandError(f"{path} has no HorizontalPodAutoscaler")
    autoscaler: KubeObject = found[0]
    if autoscaler.get("apiVersion") != HORIZONTAL_POD_AUTOSCALERS.api_version:
        raise CommandError(f"{path}: apiVersion must be {HORIZONTAL_POD_AUTOSCALERS.api_version}")
    autoscaler.setdefault("metadata", {})
    strategy = HORIZONTAL_POD_AUTOSCALERS.strategy
    strategy.default(autoscaler)
    faults: list[FieldError] = [
        fault for fault in strategy.validate(autoscaler, None) if "metadata." not in fault.field
    ]
    if faults:
        raise CommandError("; ".join(f"{path}: {fault.field}: {fault.message}" for fault in faults))
    return autoscaler


def _for(loop: Loop, autoscaler: KubeObject) -> KubeObject:
    """Kubernetes knows nothing of what annotations ask for."""
    return autoscaler if loop is FLOTILLA else {**autoscaler, "metadata": {}}


def _millis(option: str, text: str) -> int:
    try:
        millis = cpu_millis(text)
    except InvalidQuantityError as error:
        raise CommandError(f"{option}: {error}") from error
    if millis <= 0:
        raise CommandError(f"{option} must be more than 0, such as 100m")
    return millis


def _load(request: Request) -> list[float]:
    if request.series is not None and not request.prometheus:
        points = read_series(request.series)
    elif request.prometheus and request.query:
        points = _query(request)
    else:
        raise CommandError("the load is missing: give --series FILE, or --prometheus URL with --query PROMQL")
    return each_second(points)


def read_series(path: Path) -> list[tuple[float, float]]:
    """Moments in seconds and values, from a CSV file of two columns; a first line without numbers names them."""
    points: list[tuple[float, float]] = []
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            for number, row in enumerate(csv.reader(stream), 1):
                if not row or row[0].startswith("#"):
                    continue
                try:
                    points.append((_moment(row[0]), float(row[1])))
                except (ValueError, IndexError):
                    if points:
                        raise CommandError(f"{path}:{number}: a time and a number are expected, not {row}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: {error}") from error
    if len(points) < 2:
        raise CommandError(f"{path} has {len(points)} points: at least two are needed")
    return sorted(points)


def _moment(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return parse_time(text).timestamp()


def each_second(points: Sequence[tuple[float, float]]) -> list[float]:
    """The value of every second from the first point to the last: that of the newest point before it."""
    begin, end = points[0][0], points[-1][0]
    if end - begin > LONGEST_S:
        raise CommandError(f"the series is {(end - begin) / 86_400:.0f} days long: 7 at most can be replayed")
    values, position = [], 0
    for second in range(int(end - begin) + 1):
        while position + 1 < len(points) and points[position + 1][0] <= begin + second:
            position += 1
        values.append(max(0.0, points[position][1]))
    return values


def _query(request: Request) -> list[tuple[float, float]]:
    """A range query of Prometheus' API that answers with one series."""
    length_s, end_s = parse_duration_s(request.last), time.time()
    parameters = {
        "query": request.query,
        "start": end_s - length_s,
        "end": end_s,
        "step": max(1.0, length_s / _RANGE_POINTS),
    }
    url = f"{request.prometheus.rstrip('/')}/api/v1/query_range"
    if not url.startswith(("http://", "https://")):
        raise CommandError(f"--prometheus: {request.prometheus} is no http or https URL")
    try:
        body = urllib.parse.urlencode(parameters).encode()
        with urllib.request.urlopen(url, data=body, timeout=_TIMEOUT_S) as reply:
            answer: Any = json.loads(reply.read())
    except urllib.error.HTTPError as error:
        raise CommandError(f"{url}: {error.code}: {error.read()[:300].decode('utf-8', 'replace')}") from error
    except (OSError, ValueError) as error:
        raise CommandError(f"{url}: {error}") from error
    result = answer["data"]["result"]
    if len(result) != 1:
        raise CommandError(f"the query answers with {len(result)} series: aggregate them to one, as by sum(...)")
    return [(float(moment), float(value)) for moment, value in result[0]["values"]]


def _tell(done: Replay) -> None:
    print(f"Loop: {done.loop.name}")
    rows, before = [], done.steps[0].replicas
    for step in done.steps:
        if step.why:
            rows.append([f"{step.at_s:g}s", f"{step.load:.3g}", f"{before} -> {step.replicas}", step.why])
        before = step.replicas
    TableWriter(["at", "load", "replicas", "reason"]).write(rows)
    print(
        f"{done.changes} changes, {done.pod_seconds:g} pod-seconds, at most {max(s.replicas for s in done.steps)} pods"
    )
    print(f"load times seconds unserved: {done.unserved:.3g}, for {done.longest_shortage_s} s at a stretch\n")


def _write_csv(replays: Sequence[Replay]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(["loop", "second", "load", "replicas", "ready", "served", "reason"])
    for each in replays:
        for step in each.steps:
            row = [each.loop.name, f"{step.at_s:g}", step.load, step.replicas, step.ready, step.served, step.why]
            writer.writerow(row)


def plot(replays: Sequence[Replay], path: Path) -> None:
    """Write replicas against load as a picture. CommandError without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise CommandError("a picture needs matplotlib: pip install 'flotilla[plot]'") from None
    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, above = pyplot.subplots(figsize=(10, 4.5), layout="constrained")
    steps = replays[0].steps
    above.fill_between([s.at_s for s in steps], [s.load for s in steps], step="post", color="#dee2e6", label="load")
    above.set_xlabel("seconds")
    above.set_ylabel("load")
    counts = above.twinx()
    counts.set_ylabel("replicas")
    for each in replays:
        moments, replicas = [s.at_s for s in each.steps], [s.replicas for s in each.steps]
        counts.step(moments, replicas, where="post", color=_COLOURS[each.loop.name], label=each.loop.name)
    above.set_ylim(bottom=0)
    counts.set_ylim(bottom=0)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    try:
        figure.savefig(path)
    except OSError as error:
        raise CommandError(f"--plot {path}: {error}") from error
    finally:
        pyplot.close(figure)
