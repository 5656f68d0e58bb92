"""``flotilla autoscale``: why an autoscaler wants the replicas that it wants, why a workload's pods request what they
request, and what an autoscaler would have done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from flotilla.api.durations import human_duration
from flotilla.api.objects import KubeObject
from flotilla.cli import options
from flotilla.cli.failures import CommandError
from flotilla.cli.tables import TableWriter
from flotilla.cli.top import MEBIBYTE

app = typer.Typer(help="Explain and replay what autoscalers decide.", no_args_is_help=True)

EXPLAINED = "/autoscaling/why"
_KINDS = ("hpa", "hpas", "horizontalpodautoscaler", "horizontalpodautoscalers")


@app.command()
def why(
    name: Annotated[str, typer.Argument(metavar="hpa/NAME|deployment/NAME", help="An autoscaler, or a workload.")],
    namespace: options.Namespace = None,
    output: Annotated[str, typer.Option("-o", "--output", help="json for programs.")] = "",
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Show every number between what was measured and what is decided now.

    Of a workload that is annotated with flotilla.dev/vertical: what its containers should request, and why its pods
    have what they have.

    Examples: [bold]flotilla autoscale why hpa/web[/bold], [bold]flotilla autoscale why deployment/web[/bold],
    [bold]flotilla autoscale why web -o json[/bold]
    """
    kind, _, rest = name.rpartition("/")
    if kind and kind not in _KINDS:
        rest = name
    if output not in ("", "json"):
        raise CommandError(f"--output is json or nothing, not {output}")
    with options.connect(kubeconfig, context, namespace) as client:
        told = client.get(f"{EXPLAINED}/{client.namespace}/{rest}")
    if output:
        print(json.dumps(told, indent=2))
    elif "workload" in told:
        _tell_vertical(told)
    else:
        _tell(told)


def _tell_vertical(told: KubeObject) -> None:
    print(f"{told['workload']['kind']}/{told['workload']['name']}: {told['mode']}")
    rows = []
    for container in told["containers"]:
        history = human_duration(container["historySeconds"])
        for each in container["resources"]:
            amounts = [_amount(each["resource"], each[part]) for part in ("lower", "target", "upper", "uncapped")]
            left = f"left to hpa/{each['leftTo']}" if each["leftTo"] else ""
            rows.append([container["name"], each["resource"], *amounts, history, left])
    if rows:
        TableWriter(["container", "resource", "lower", "target", "upper", "uncapped", "history", "note"]).write(rows)
    else:
        print("No recommendation yet: it needs half a minute of samples")
    for pod in told["pods"]:
        print(f"pod/{pod['name']}: {pod['verdict']}")
    for each in told["problems"]:
        print(f"{each['reason']}: {each['message']}")


def _amount(resource: str, value: int) -> str:
    return f"{value}m" if resource == "cpu" else f"{round(value / MEBIBYTE)}Mi"


def _tell(told: KubeObject) -> None:
    target, decision = told["target"], told["decision"]
    print(f"{target['kind']}/{target['name']}: {target['replicas']} replicas, {_verdict(target['replicas'], decision)}")
    for metric in told["metrics"]:
        print(f"\nMetric: {metric['title']}")
        print(f"  {_measured(metric)}")
        if metric["pods"]:
            _pods(metric)
    print(f"\nBounds: {told['bounds']['minimum']} to {told['bounds']['maximum']}")
    for direction in ("up", "down"):
        rules = told["behavior"][direction]
        policies = ", ".join(rules["policies"])
        print(
            f"Scale {direction}: window {rules['windowSeconds']} s; {rules['select']} of {policies}{_tolerance(rules)}"
        )
    if told["forecast"]:
        print(f"Forecast: {told['forecast']} replicas at least")
    _history("Recommended lately", told["recommendations"], "replicas", "{}")
    _history("Changed lately", told["changes"], "delta", "{:+d}")
    print("Conditions:")
    for each in told["conditions"]:
        print(f"  {each['type']}={each['holds']} {each['reason']}: {each['message']}")


def _verdict(current: int, decision: KubeObject) -> str:
    wanted = decision["replicas"]
    if wanted is None:
        return "left as they are: nothing can be said"
    if wanted == current:
        return "as wanted"
    return f"{wanted} wanted: {decision['why']}"


def _measured(metric: KubeObject) -> str:
    if metric["error"] and "replicas" not in metric:
        return f"not known: {metric['error']}"
    shown = _number(metric, metric["average_value"])
    if "utilization" in metric:
        value = f"{metric['utilization']} % of the requests ({shown} a pod), target {metric['target']['utilization']} %"
    elif "total" in metric:
        value = f"{metric['total'] / 1000:g}, target {metric['target']['value'] / 1000:g}"
    else:
        aim = metric["target"].get("average_value", metric["target"].get("average", 0))
        value = f"{shown} a pod, target {_number(metric, aim)}"
    ratio = metric["ratio"]
    ratio = ratio if isinstance(ratio, str) else f"{ratio:.3f}"
    said = f" ({metric['error']})" if metric["error"] else ""
    return f"{value}: ratio {ratio}, asks for {metric['replicas']}{said}"


def _number(metric: KubeObject, value: float) -> str:
    if metric["title"].startswith("memory"):
        return f"{value / MEBIBYTE:.1f}Mi"
    return f"{value:g}m" if metric["title"].startswith("cpu") else f"{value / 1000:g}"


def _tolerance(rules: KubeObject) -> str:
    return f"; tolerance {rules['tolerance']:g}" if "tolerance" in rules else ""


def _pods(metric: KubeObject) -> None:
    rows = []
    for pod in metric["pods"]:
        value = _number(metric, pod["value"]) if "value" in pod else "<none>"
        request = _number(metric, pod["request"]) if "request" in pod else "<none>"
        window = f"{pod['windowSeconds']:g}s" if pod.get("windowSeconds") else "<none>"
        rows.append([f"  {pod['name']}", pod["counts"], pod["phase"], pod["ready"], value, request, window])
    TableWriter(["  pod", "counts", "phase", "ready", "value", "request", "window"]).write(rows)


def _history(title: str, entries: list[KubeObject], key: str, form: str) -> None:
    if entries:
        shown = ", ".join(f"{form.format(each[key])} ({each['secondsAgo']:g} s ago)" for each in entries[-8:])
        print(f"{title}: {shown}")


@app.command()
def replay(
    manifest: Annotated[Path, typer.Argument(metavar="HPA.YAML", help="The autoscaler, as one would apply it.")],
    series: Annotated[Path | None, typer.Option(help="Load: CSV of seconds (or RFC 3339 times) and cores.")] = None,
    prometheus: Annotated[str, typer.Option(help="URL of a Prometheus to take the load from.")] = "",
    query: Annotated[str, typer.Option(help="With --prometheus: the load, as PromQL.")] = "",
    last: Annotated[str, typer.Option(help="With --prometheus: how far back, like 6h.")] = "1h",
    pod_request: Annotated[str, typer.Option(help="CPU that a pod requests.")] = "100m",
    pod_limit: Annotated[str, typer.Option(help="CPU that a pod may use.")] = "500m",
    start_seconds: Annotated[float, typer.Option(help="From a pod's creation until it is ready.")] = 1.0,
    replicas: Annotated[int, typer.Option(help="Replicas at the beginning; the minimum when not given.")] = 0,
    loop: Annotated[str, typer.Option(help="flotilla, kubernetes (15 s + 15 s), or both to compare.")] = "flotilla",
    plot: Annotated[Path | None, typer.Option(help="Write a picture: .svg or .png.")] = None,
    output: Annotated[str, typer.Option("-o", "--output", help="csv for every second.")] = "",
) -> None:
    """Run recorded load through the autoscaler's own code and show what it would have done.

    Examples: [bold]flotilla autoscale replay hpa.yaml --series load.csv --loop both --plot replay.svg[/bold],
    [bold]flotilla autoscale replay hpa.yaml --prometheus http://127.0.0.1:9490 --query 'sum(...)' --last 6h[/bold]
    """
    from flotilla.cli.replaying import Request, run

    run(
        Request(
            manifest=manifest,
            series=series,
            prometheus=prometheus,
            query=query,
            last=last,
            pod_request=pod_request,
            pod_limit=pod_limit,
            start_s=start_seconds,
            replicas=replicas,
            loop=loop,
            plot=plot,
            output=output,
        )
    )
