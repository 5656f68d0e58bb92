"""``flotilla get``: lists and watches, printed as the server's own Tables or as objects."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from flotilla.api.objects import KubeObject
from flotilla.cli import options
from flotilla.cli.client import Client
from flotilla.cli.discovery import Discovery
from flotilla.cli.failures import CommandError
from flotilla.cli.tables import TableWriter, print_json, print_yaml, without_managed_fields
from flotilla.cli.targets import Target, parse_targets

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PAGE_SIZE = 500

OutputForm = Literal["wide", "yaml", "json", "name"]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How the answer is wanted."""

    namespace: str | None
    selector: str
    field_selector: str
    output: OutputForm | None
    headers: bool
    show_labels: bool
    qualify: bool

    def query(self, name: str = "") -> dict[str, Any]:
        fields = [part for part in (f"metadata.name={name}" if name else "", self.field_selector) if part]
        return {"labelSelector": self.selector, "fieldSelector": ",".join(fields)}


def get(
    words: Annotated[list[str], typer.Argument(metavar="TYPE[,TYPE] [NAME...] | TYPE/NAME...", help="What to show.")],
    namespace: options.Namespace = None,
    all_namespaces: options.AllNamespaces = False,
    output: Annotated[OutputForm | None, typer.Option("--output", "-o", help="Form of the output.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on printing changes.")] = False,
    selector: options.Selector = "",
    field_selector: options.FieldSelector = "",
    no_headers: Annotated[bool, typer.Option("--no-headers", help="Leave the header line out.")] = False,
    show_labels: Annotated[bool, typer.Option("--show-labels", help="Show labels as the last column.")] = False,
    kubeconfig: options.Kubeconfig = None,
    context: options.Context = None,
) -> None:
    """Show objects.

    Examples: [bold]flotilla get pods -o wide[/bold], [bold]flotilla get deploy,rs,svc,hpa -A[/bold],
    [bold]flotilla get pods -l app=web -w[/bold], [bold]flotilla get deploy/web -o yaml[/bold]
    """
    with options.connect(kubeconfig, context, namespace) as client:
        targets = parse_targets(words, Discovery(client))
        view = View(
            namespace=None if all_namespaces else client.namespace,
            selector=selector,
            field_selector=field_selector,
            output=output,
            headers=not no_headers,
            show_labels=show_labels,
            qualify=len({target.kind for target in targets}) > 1,
        )
        if all_namespaces and any(target.name for target in targets):
            raise CommandError("a name can't be asked for in every namespace: leave out the name or -A")
        if watch:
            _watch(client, targets, view)
        elif output in {"yaml", "json", "name"}:
            _print_objects(
                list(_objects(client, targets, view)), view, single=len(targets) == 1 and bool(targets[0].name)
            )
        else:
            _print_tables(client, targets, view)


def _print_tables(client: Client, targets: Sequence[Target], view: View) -> None:
    """One table a kind, a blank line between; named objects of one kind share a table."""
    printed = False
    for group in _grouped(targets):
        tables = [_fetch_table(client, target, view) for target in group]
        rows = [row for table in tables for row in table["rows"]]
        if not rows:
            continue
        if printed:
            print()
        printed = True
        _TablePrinter(group[0], view, tables[0]["columnDefinitions"]).write(rows)
    if not printed:
        where = f" in {view.namespace} namespace" if view.namespace and targets[0].kind.namespaced else ""
        print(f"No resources found{where}.", file=sys.stderr)


def _grouped(targets: Sequence[Target]) -> list[list[Target]]:
    groups: dict[str, list[Target]] = {}
    for target in targets:
        groups.setdefault(target.kind.qualified, []).append(target)
    return list(groups.values())


def _fetch_table(client: Client, target: Target, view: View) -> KubeObject:
    path = target.kind.path(view.namespace, target.name)
    if target.name:
        table: KubeObject = client.get(path, accept=TABLE)
        return table
    query = view.query() | {"limit": PAGE_SIZE}
    table = client.get(path, query, accept=TABLE)
    page = table
    while page["metadata"].get("continue"):
        page = client.get(path, query | {"continue": page["metadata"]["continue"]}, accept=TABLE)
        table["rows"] += page["rows"]
    table["rows"] = table.get("rows") or []
    return table


class _TablePrinter:
    """Prints Table rows of one kind with the columns that the view asks for."""

    def __init__(self, target: Target, view: View, definitions: Sequence[KubeObject]) -> None:
        self._view = view
        self._prefix = f"{target.kind.prefix}/" if view.qualify else ""
        self._chosen = [i for i, each in enumerate(definitions) if not each.get("priority") or view.output == "wide"]
        self._name_index = next((i for i, each in enumerate(definitions) if each.get("format") == "name"), 0)
        columns = [definitions[i]["name"] for i in self._chosen]
        self._with_namespace = view.namespace is None and target.kind.namespaced
        columns = (["Namespace"] if self._with_namespace else []) + columns + (["Labels"] if view.show_labels else [])
        self._writer = TableWriter(columns, headers=view.headers)

    def write(self, rows: Sequence[KubeObject]) -> None:
        self._writer.write([self._cells(row) for row in rows])

    def _cells(self, row: KubeObject) -> list[Any]:
        metadata = (row.get("object") or {}).get("metadata") or {}
        cells = [self._cell(row["cells"][i], i) for i in self._chosen]
        if self._with_namespace:
            cells.insert(0, metadata.get("namespace"))
        if self._view.show_labels:
            labels = metadata.get("labels") or {}
            cells.append(",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "<none>")
        return cells

    def _cell(self, value: Any, index: int) -> Any:
        return f"{self._prefix}{value}" if index == self._name_index else value


def _objects(client: Client, targets: Sequence[Target], view: View) -> Iterator[KubeObject]:
    for target in targets:
        path = target.kind.path(view.namespace, target.name)
        if target.name:
            yield without_managed_fields(client.get(path))
            continue
        query = view.query() | {"limit": PAGE_SIZE}
        page = client.get(path, query)
        while True:
            for item in page.get("items") or ():
                yield without_managed_fields({"apiVersion": target.kind.api_version, "kind": target.kind.kind} | item)
            if not page["metadata"].get("continue"):
                break
            page = client.get(path, query | {"continue": page["metadata"]["continue"]})


def _print_objects(objects: list[KubeObject], view: View, *, single: bool) -> None:
    if view.output == "name":
        for obj in objects:
            print(_name_line(obj))
        return
    listed = {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": objects}
    value = objects[0] if single else listed
    (print_yaml if view.output == "yaml" else print_json)(value)


def _name_line(obj: KubeObject) -> str:
    group = obj["apiVersion"].rpartition("/")[0]
    return f"{obj['kind'].lower()}{'.' + group if group else ''}/{obj['metadata']['name']}"


def _watch(client: Client, targets: Sequence[Target], view: View) -> None:
    """List, then print each change as it comes, until the server or the user ends it."""
    if len(targets) != 1:
        raise CommandError("a watch is of one type and at most one name")
    target = targets[0]
    path = target.kind.path(view.namespace)
    query = view.query(target.name)
    if view.output in {"yaml", "json", "name"}:
        listed = client.get(path, query)
        for item in listed.get("items") or ():
            _print_objects(
                [{"apiVersion": target.kind.api_version, "kind": target.kind.kind} | item], view, single=True
            )
        for event in client.watch(path, query | {"resourceVersion": listed["metadata"]["resourceVersion"]}):
            _print_objects([without_managed_fields(event["object"])], view, single=True)
            sys.stdout.flush()
        return
    table = client.get(path, query, accept=TABLE)
    printer = _TablePrinter(target, view, table["columnDefinitions"])
    printer.write(table.get("rows") or [])
    since = {"resourceVersion": table["metadata"]["resourceVersion"]}
    for event in client.watch(path, query | since, accept=TABLE):
        printer.write(event["object"].get("rows") or [])
