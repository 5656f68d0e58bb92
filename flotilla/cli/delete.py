"""``flotilla delete``: objects named by manifests, by type and name, or by label, and the wait until they are gone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from flotilla.api.objects import KubeObject
from flotilla.cli import options
from flotilla.cli.apply import kind_of, object_path
from flotilla.cli.client import Client, ServerError, StreamBrokenError
from flotilla.cli.discovery import Discovery, Kind
from flotilla.cli.failures import CommandError
from flotilla.cli.sources import read_documents
from flotilla.cli.targets import parse_targets

WATCH_SLICE_S = 10


@dataclass(frozen=True, slots=True)
class _Doomed:
    kind: Kind
    name: str
    path: str


def delete(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="TYPE NAME... | TYPE/NAME...", help="What to delete.")
    ] = None,
    filename: options.Files = None,
    namespace: options.Namespace = None,
    selector: options.Selector = "",
    everything: Annotated[bool, typer.Option("--all", help="Every object of the type in the namespace.")] = False,
    recursive: Annotated[bool, typer.Option("--recursive", "-R", help="Directories with all below them.")] = False,
    grace_period: Annotated[
        int, typer.Option(help="Seconds a pod may take to end.", show_default="the pod's own")
    ] = -1,
    now: Annotated[bool, typer.Option("--now", help="Same as --grace-period=1.")] = False,
    cascade: Annotated[
        Literal["background", "foreground", "orphan"], typer.Option(help="What becomes of dependents.")
    ] = "background",
    ignore_not_found: Annotated[bool, typer.Option(help="An object that does not exist is no error.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait until the objects are gone.")] = True,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for that; 0 is without end.")] = 0.0,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Delete objects and wait until they are gone.

    Examples: [bold]flotilla delete pod web-abc[/bold], [bold]flotilla delete -f manifests/service.yaml[/bold],
    [bold]flotilla delete pods -l app=web[/bold]
    """
    with options.connect(kubeconfig, context, namespace) as client:
        discovery = Discovery(client)
        if filename:
            doomed = _from_files(client, discovery, filename, recursive=recursive)
        else:
            doomed = _from_words(client, discovery, words or [], selector, everything=everything)
        body: KubeObject = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": cascade.capitalize()}
        if now or grace_period >= 0:
            body |= {"gracePeriodSeconds": 1 if now else grace_period}
        deleted = [
            (each, uid)
            for each in doomed
            if (uid := _delete(client, each, body, lenient=ignore_not_found or bool(filename)))
        ]
        deadline_s = time.monotonic() + timeout if timeout else float("inf")
        if wait:
            for each, uid in deleted:
                _wait_gone(client, each, uid, deadline_s=deadline_s)


def _from_files(client: Client, discovery: Discovery, sources: list[str], *, recursive: bool) -> list[_Doomed]:
    """The objects of the manifests, last first, so that what was made last goes first."""
    found = []
    for document in reversed(read_documents(sources, recursive=recursive)):
        kind = kind_of(document.obj, discovery)
        found.append(_Doomed(kind, document.obj["metadata"]["name"], object_path(client, kind, document.obj)))
    return found


def _from_words(
    client: Client, discovery: Discovery, words: list[str], selector: str, *, everything: bool
) -> list[_Doomed]:
    targets = parse_targets(words, discovery)
    if all(target.name for target in targets):
        return [_Doomed(each.kind, each.name, each.kind.path(client.namespace, each.name)) for each in targets]
    if not selector and not everything:
        raise CommandError("name the objects, or choose them with -l SELECTOR or --all")
    found = []
    for target in targets:
        listed = client.get(target.kind.path(client.namespace), {"labelSelector": selector})
        names = [item["metadata"]["name"] for item in listed.get("items") or ()]
        found += [_Doomed(target.kind, name, target.kind.path(client.namespace, name)) for name in names]
    return found


def _delete(client: Client, doomed: _Doomed, body: KubeObject, *, lenient: bool) -> str:
    """Ask for the deletion; the object's uid, or ``""`` when there was none and that is no error."""
    try:
        before = client.get(doomed.path)
        client.delete(doomed.path, body)
    except ServerError as error:
        if error.code == 404 and lenient:
            return ""
        raise
    print(f'{doomed.kind.prefix} "{doomed.name}" deleted', flush=True)
    uid: str = before["metadata"]["uid"]
    return uid


def _wait_gone(client: Client, doomed: _Doomed, uid: str, *, deadline_s: float) -> None:
    """Return once the object with ``uid`` is gone. Raises CommandError at the deadline."""
    collection = doomed.path.rpartition("/")[0]
    selector = {"fieldSelector": f"metadata.name={doomed.name}"}
    while True:
        listed = client.get(collection, selector)
        if not any(item["metadata"]["uid"] == uid for item in listed.get("items") or ()):
            return
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise CommandError(f'{doomed.kind.prefix} "{doomed.name}" is not gone yet; it will be, or see describe')
        since = {"resourceVersion": listed["metadata"]["resourceVersion"]}
        slice_s = {"timeoutSeconds": max(1, int(min(WATCH_SLICE_S, left_s)))}
        try:
            for event in client.watch(collection, selector | since | slice_s):
                if event["type"] == "DELETED" and event["object"]["metadata"]["uid"] == uid:
                    return
        except (StreamBrokenError, ServerError):
            continue
