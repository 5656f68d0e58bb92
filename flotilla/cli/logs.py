"""``flotilla logs``: what containers have written, of one pod or of all pods of a workload or label."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from flotilla.api.objects import KubeObject
from flotilla.cli import options
from flotilla.cli.client import Client
from flotilla.cli.discovery import Discovery
from flotilla.cli.durations import parse_duration_s
from flotilla.cli.failures import CommandError

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
TAIL_OF_MANY = 10


@dataclass(frozen=True, slots=True)
class _Source:
    pod: str
    container: str


def logs(
    target: Annotated[str | None, typer.Argument(metavar="POD | TYPE/NAME", help="Whose logs.")] = None,
    container_argument: Annotated[str | None, typer.Argument(metavar="[CONTAINER]", help="Which container.")] = None,
    namespace: options.Namespace = None,
    container: Annotated[str, typer.Option("--container", "-c", help="Which container.")] = "",
    all_containers: Annotated[bool, typer.Option("--all-containers", help="Every container of the pod.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what is written.")] = False,
    previous: Annotated[bool, typer.Option("--previous", "-p", help="Before the last restart.")] = False,
    tail: Annotated[int, typer.Option(help="Only the last lines; -1 is all.", show_default="-1, or 10 with -l")] = -2,
    since: Annotated[str, typer.Option(help="Only what is newer than this, like 5m.")] = "",
    timestamps: Annotated[bool, typer.Option(help="With the time of each line.")] = False,
    selector: options.Selector = "",
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Print what containers have written.

    Examples: [bold]flotilla logs web-abc -f[/bold], [bold]flotilla logs deploy/web --tail 20[/bold],
    [bold]flotilla logs -l app=web --since 5m[/bold], [bold]flotilla logs web-abc -p[/bold]
    """
    with options.connect(kubeconfig, context, namespace) as client:
        pods = _pods(client, target, selector)
        name = container or container_argument or ""
        sources = [each for pod in pods for each in _sources(pod, name, all_containers=all_containers)]
        query = {
            "follow": "true" if follow else "",
            "previous": "true" if previous else "",
            "timestamps": "true" if timestamps else "",
            "tailLines": _tail_lines(tail, many=bool(selector)),
            "sinceSeconds": max(1, int(parse_duration_s(since))) if since else "",
        }
        _print_all(client, sources, query)


def _tail_lines(tail: int, *, many: bool) -> Any:
    if tail == -2:
        return TAIL_OF_MANY if many else ""
    return "" if tail < 0 else tail


def _pods(client: Client, target: str | None, selector: str) -> list[KubeObject]:
    pods = f"/api/v1/namespaces/{client.namespace}/pods"
    if not target and not selector:
        raise CommandError("say whose logs: a pod, TYPE/NAME, or -l SELECTOR")
    if target and "/" not in target:
        return [client.get(f"{pods}/{target}")]
    if target:
        kind_word, _, name = target.partition("/")
        kind = Discovery(client).one(kind_word)
        if kind.kind == "Pod":
            return [client.get(f"{pods}/{name}")]
        selector = _selector_of(client.get(kind.path(client.namespace, name)))
    found = client.get(pods, {"labelSelector": selector}).get("items") or []
    if not found:
        raise CommandError(f"no pods in namespace {client.namespace} match {selector}")
    return list(found)


def _selector_of(workload: KubeObject) -> str:
    """The label selector of a workload or Service, in the text form that queries take."""
    selector = workload.get("spec", {}).get("selector")
    if not selector:
        raise CommandError(f"{workload['kind']} {workload['metadata']['name']} has no selector, so no pods")
    labels = selector.get("matchLabels", {} if "matchExpressions" in selector else selector)
    terms = [f"{key}={value}" for key, value in labels.items()]
    expressions = selector.get("matchExpressions") or ()
    terms += [_term(each["key"], each["operator"], each.get("values") or []) for each in expressions]
    return ",".join(terms)


def _term(key: str, operator: str, values: list[str]) -> str:
    listed = "(" + ",".join(values) + ")"
    forms = {"In": f"{key} in {listed}", "NotIn": f"{key} notin {listed}", "Exists": key, "DoesNotExist": f"!{key}"}
    return forms[operator]


def _sources(pod: KubeObject, container: str, *, all_containers: bool) -> list[_Source]:
    spec, name = pod["spec"], pod["metadata"]["name"]
    names = [each["name"] for each in (*(spec.get("initContainers") or ()), *spec["containers"])]
    if all_containers:
        return [_Source(name, each) for each in names]
    chosen = (
        container or (pod["metadata"].get("annotations") or {}).get(DEFAULT_CONTAINER) or spec["containers"][0]["name"]
    )
    if chosen not in names:
        raise CommandError(f"pod {name} has no container {chosen}; it has {', '.join(names)}")
    if not container and len(spec["containers"]) > 1:
        print(f"Container {chosen} of {', '.join(names)}; choose with -c", file=sys.stderr)
    return [_Source(name, chosen)]


def _print_all(client: Client, sources: list[_Source], query: dict[str, Any]) -> None:
    """One source is copied as it comes; several are printed by whole lines, each with where it is from."""
    if len(sources) == 1:
        for chunk in _stream(client, sources[0], query):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        return
    if not query["follow"]:
        for source in sources:
            _print_lines(client, source, query)
        return
    threads = [threading.Thread(target=_print_lines, args=(client, source, query), daemon=True) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _stream(client: Client, source: _Source, query: dict[str, Any]) -> Iterator[bytes]:
    path = f"/api/v1/namespaces/{client.namespace}/pods/{source.pod}/log"
    return client.stream(path, {**query, "container": source.container})


def _print_lines(client: Client, source: _Source, query: dict[str, Any]) -> None:
    prefix = f"[{source.pod}/{source.container}] ".encode()
    pending = b""
    try:
        for chunk in _stream(client, source, query):
            *lines, pending = (pending + chunk).split(b"\n")
            if lines:
                sys.stdout.buffer.write(b"".join(prefix + line + b"\n" for line in lines))
                sys.stdout.buffer.flush()
    except CommandError as error:
        print(f"{source.pod}/{source.container}: {error}", file=sys.stderr)
    if pending:
        sys.stdout.buffer.write(prefix + pending + b"\n")
        sys.stdout.buffer.flush()
