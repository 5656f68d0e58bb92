"""``flotilla apply``: objects from manifests, by server-side apply with the field manager ``flotilla``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from flotilla.api.documents import Document
from flotilla.api.objects import KubeObject
from flotilla.cli import options
from flotilla.cli.client import Client, ServerError
from flotilla.cli.discovery import Discovery, Kind
from flotilla.cli.failures import CommandError
from flotilla.cli.sources import read_documents

FIELD_MANAGER = "flotilla"


def apply(
    filename: options.Files = None,
    namespace: options.Namespace = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-R", help="Directories with all below them.")] = False,
    force_conflicts: Annotated[bool, typer.Option(help="Take over fields that another manager has set.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Let the server check everything and store nothing.")
    ] = False,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Create objects, or change them to what a manifest says.

    Examples: [bold]flotilla apply -f manifests/service.yaml[/bold], [bold]flotilla apply -f manifests/[/bold],
    [bold]cat pod.yaml | flotilla apply -f -[/bold]
    """
    if not filename:
        raise CommandError("say what to apply: -f FILE, -f DIRECTORY, -f URL, or -f - for standard input")
    documents = read_documents(filename, recursive=recursive)
    failures = 0
    with options.connect(kubeconfig, context, namespace) as client:
        discovery = Discovery(client)
        query = {
            "fieldManager": FIELD_MANAGER,
            "fieldValidation": "Strict",
            "force": "true" if force_conflicts else "",
            "dryRun": "All" if dry_run else "",
        }
        for document in documents:
            try:
                _apply_one(client, discovery, document, query)
            except CommandError as error:
                failures += 1
                print(f"error: {document.label}: {describe_failure(error)}", file=sys.stderr)
    if failures:
        raise SystemExit(1)


def _apply_one(client: Client, discovery: Discovery, document: Document, query: dict[str, str]) -> None:
    obj = document.obj
    kind = kind_of(obj, discovery)
    path = object_path(client, kind, obj)
    before = _current_version(client, path)
    after = client.patch(path, obj, content_type="application/apply-patch+yaml", query=query)
    if before is None:
        outcome = "created"
    else:
        outcome = "unchanged" if after["metadata"].get("resourceVersion") == before else "configured"
    note = " (dry run)" if query["dryRun"] else ""
    print(f"{kind.prefix}/{obj['metadata']['name']} {outcome}{note}", flush=True)


def kind_of(obj: KubeObject, discovery: Discovery) -> Kind:
    """The served kind of ``obj``. Raises CommandError that names the versions that serve such a kind, if any."""
    kind = discovery.by_kind(obj["apiVersion"], obj["kind"])
    if kind is not None:
        return kind
    message = f'apiVersion: no matches for kind "{obj["kind"]}" in version "{obj["apiVersion"]}"'
    served = discovery.versions_of(obj["kind"])
    raise CommandError(f"{message}; it is served as {', '.join(served)}" if served else message)


def object_path(client: Client, kind: Kind, obj: KubeObject) -> str:
    return kind.path(obj["metadata"].get("namespace") or client.namespace, obj["metadata"]["name"])


def _current_version(client: Client, path: str) -> str | None:
    try:
        return str(client.get(path)["metadata"]["resourceVersion"])
    except ServerError as error:
        if error.code == 404:
            return None
        raise


def describe_failure(error: CommandError) -> str:
    """The message, with one line for each field that is at fault where the server listed them."""
    if not isinstance(error, ServerError):
        return str(error)
    causes = (error.status.get("details") or {}).get("causes") or []
    lines = [f"  {cause.get('field')}: {cause.get('message')}" for cause in causes if cause.get("field")]
    hint = []
    if error.reason == "Conflict":
        hint = ["  another manager has set these fields: leave them out, or take them over with --force-conflicts"]
    return "\n".join([str(error), *(lines if len(lines) > 1 else []), *hint])
