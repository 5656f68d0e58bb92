"""The commands against an API that plays back answers: what they ask, print, and how they fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flotilla.cli.apply import apply
from flotilla.cli.client import Client, ServerError
from flotilla.cli.delete import delete
from flotilla.cli.discovery import Discovery
from flotilla.cli.failures import CommandError
from flotilla.cli.get import get
from flotilla.cli.kubeconfig import load_cluster
from flotilla.cli.processes import run_process
from flotilla.cli.scale import scale
from flotilla.cli.targets import parse_targets

POD = "/api/v1/namespaces/team/pods"


def _client(api: Any) -> Client:
    return Client(load_cluster(api.kubeconfig))


def _table(*rows: tuple[str, str, str]) -> dict[str, Any]:
    return {
        "kind": "Table",
        "metadata": {"resourceVersion": "7"},
        "columnDefinitions": [
            {"name": "Name", "format": "name", "priority": 0},
            {"name": "Status", "format": "", "priority": 0},
            {"name": "IP", "format": "", "priority": 1},
        ],
        "rows": [
            {"cells": list(cells), "object": {"metadata": {"namespace": "team", "labels": {"app": "web"}}}}
            for cells in rows
        ],
    }


@pytest.mark.parametrize("word", ["pods", "pod", "po", "Pod", "POD", "pods.v1"])
def test_a_kind_answers_to_its_names(api: Any, word: str) -> None:
    """Plural, singular, short name and kind all name the same kind."""
    with _client(api) as client:
        assert Discovery(client).one(word).plural == "pods"


@pytest.mark.parametrize("word", ["deploy", "deployments.apps", "deployment.v1.apps", "deploy.apps"])
def test_a_kind_may_be_named_with_its_group(api: Any, word: str) -> None:
    """The group, also with a version before it, may follow the name."""
    with _client(api) as client:
        assert Discovery(client).one(word).qualified == "deployments.apps"


def test_a_category_is_many_kinds(api: Any) -> None:
    """``all`` stands for every kind of that category."""
    with _client(api) as client:
        targets = parse_targets(["all"], Discovery(client))
    assert [target.kind.plural for target in targets] == ["pods", "services", "deployments"]


def test_targets_come_in_two_forms(api: Any) -> None:
    """``TYPE NAME...`` and ``TYPE/NAME...`` name the same objects; a mixture is refused."""
    with _client(api) as client:
        discovery = Discovery(client)
        assert parse_targets(["po", "a", "b"], discovery) == parse_targets(["po/a", "pods/b"], discovery)
        with pytest.raises(CommandError, match="TYPE/NAME"):
            parse_targets(["po/a", "b"], discovery)
        with pytest.raises(CommandError, match='resource type "boats"'):
            parse_targets(["boats"], discovery)


def test_get_prints_the_servers_table(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Columns of priority 0 are shown, the others with -o wide."""
    api.answer(f"GET {POD}", _table(("web-1", "Running", "10.42.0.2")))
    get(["pods"], kubeconfig=api.kubeconfig)
    assert capsys.readouterr().out == "NAME    STATUS\nweb-1   Running\n"
    get(["pods"], output="wide", show_labels=True, kubeconfig=api.kubeconfig)
    assert capsys.readouterr().out == ("NAME    STATUS    IP          LABELS\nweb-1   Running   10.42.0.2   app=web\n")


def test_get_of_several_kinds_names_the_kind(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """With more than one kind each table follows the other and names carry their kind."""
    api.answer("GET /api/v1/pods", _table(("web-1", "Running", "")))
    api.answer("GET /apis/apps/v1/deployments", _table(("web", "Ready", "")))
    get(["pods,deploy"], all_namespaces=True, kubeconfig=api.kubeconfig)
    assert capsys.readouterr().out.splitlines() == [
        "NAMESPACE   NAME        STATUS",
        "team        pod/web-1   Running",
        "",
        "NAMESPACE   NAME                  STATUS",
        "team        deployment.apps/web   Ready",
    ]


def test_get_says_when_there_is_nothing(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """No rows: a note on standard error, nothing on standard output."""
    api.answer(f"GET {POD}", _table())
    get(["pods"], kubeconfig=api.kubeconfig)
    assert capsys.readouterr() == ("", "No resources found in team namespace.\n")


def test_get_reads_all_pages(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Selectors and the page size travel as query parameters."""
    api.answer(f"GET {POD}", _table(("a", "Running", "")))
    get(["po"], selector="app=web", field_selector="status.phase=Running", no_headers=True, kubeconfig=api.kubeconfig)
    assert capsys.readouterr().out == "a   Running\n"
    assert api.received[-1].query == {
        "labelSelector": ["app=web"],
        "fieldSelector": ["status.phase=Running"],
        "limit": ["500"],
    }


def test_get_hides_the_bookkeeping(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """``-o yaml`` shows the object without managedFields, ``-o name`` its name with its kind."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "managedFields": [{}]}}
    api.answer(f"GET {POD}/a", pod)
    get(["po", "a"], output="yaml", kubeconfig=api.kubeconfig)
    assert capsys.readouterr().out == "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n"
    get(["po", "a"], output="name", kubeconfig=api.kubeconfig)
    assert capsys.readouterr().out == "pod/a\n"


def test_apply_tells_what_became_of_each_object(api: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Created, configured and unchanged are told apart; a refusal names file, document and object, the rest goes on."""
    manifest = tmp_path / "m.yaml"
    names = ("new", "changed", "same", "bad")
    text = "---\n".join(f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\n" for name in names)
    manifest.write_text(text, encoding="utf-8")
    for name, before, after in (("changed", "1", "2"), ("same", "3", "3"), ("new", "", "4")):
        if before:
            api.answer(f"GET {POD}/{name}", {"metadata": {"resourceVersion": before}})
        api.answer(f"PATCH {POD}/{name}", {"metadata": {"resourceVersion": after}})
    refusal = {"kind": "Status", "code": 422, "reason": "Invalid", "message": 'Pod "bad" is invalid: spec: Required'}
    api.answer(f"PATCH {POD}/bad", refusal, status=422)
    with pytest.raises(SystemExit) as stop:
        apply([str(manifest)], kubeconfig=api.kubeconfig)
    assert stop.value.code == 1
    out, err = capsys.readouterr()
    assert out == "pod/new created\npod/changed configured\npod/same unchanged\n"
    assert err == f"error: {manifest}: document 4: Pod/bad: Error from server (Invalid): {refusal['message']}\n"
    patched = next(each for each in api.received if each.method == "PATCH")
    assert patched.content_type == "application/apply-patch+yaml"
    assert patched.query == {"fieldManager": ["flotilla"], "fieldValidation": ["Strict"]}


def test_apply_names_the_version_that_serves_a_kind(
    api: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A kind in a version that is not served is refused with the one that is."""
    manifest = tmp_path / "m.yaml"
    manifest.write_text("apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: a}\n", encoding="utf-8")
    with pytest.raises(SystemExit):
        apply([str(manifest)], kubeconfig=api.kubeconfig)
    assert (
        'no matches for kind "Deployment" in version "apps/v1beta1"; it is served as apps/v1' in capsys.readouterr().err
    )


def test_scale_patches_the_subresource(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the number of replicas is sent, to /scale."""
    api.answer("PATCH /apis/apps/v1/namespaces/team/deployments/web/scale", {})
    scale(["deploy/web"], replicas=5, kubeconfig=api.kubeconfig)
    assert api.received[-1].body == {"spec": {"replicas": 5}}
    assert capsys.readouterr().out == "deployment.apps/web scaled\n"


def test_delete_waits_until_the_object_is_gone(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """An object of the same name but another uid counts as gone."""
    api.answer(f"GET {POD}/a", {"metadata": {"uid": "1", "name": "a"}})
    api.answer(f"DELETE {POD}/a", {})
    api.answer(f"GET {POD}", {"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"uid": "2"}}]})
    delete(["pod/a"], now=True, kubeconfig=api.kubeconfig)
    assert capsys.readouterr().out == 'pod "a" deleted\n'
    body = next(each.body for each in api.received if each.method == "DELETE")
    assert body["gracePeriodSeconds"] == 1
    assert body["propagationPolicy"] == "Background"


def test_delete_of_a_whole_type_must_be_meant(api: Any) -> None:
    """A type without names is refused unless all or a selector is given."""
    with pytest.raises(CommandError, match="--all"):
        delete(["pods"], kubeconfig=api.kubeconfig)


def test_a_refusal_reads_as_kubectl_prints_it(api: Any) -> None:
    """Reason and message of the Status stand in the error; a body that is no Status is shown as it is."""
    with _client(api) as client:
        with pytest.raises(ServerError, match=r"Error from server \(NotFound\): no /nothing"):
            client.get("/nothing")
        api.answer("GET /broken", b"proxy says no", status=502)
        with pytest.raises(ServerError, match="proxy says no"):
            client.get("/broken")


def test_warnings_are_shown(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """What the server warns of is printed on standard error."""
    api.answer("GET /x", {}, headers={"Warning": '299 - "spec.x is \\"not\\" acted upon"'})
    with _client(api) as client:
        client.get("/x")
    assert capsys.readouterr().err == 'Warning: spec.x is "not" acted upon\n'


def test_a_token_is_sent(api: Any) -> None:
    """The user's token travels as a bearer token, and the context's namespace is the default one."""
    cluster = load_cluster(api.kubeconfig)
    assert cluster.headers == {"Authorization": "Bearer secret"}
    assert cluster.namespace == "team"


def test_an_unreachable_server_is_named(tmp_path: Path, api: Any) -> None:
    """A connection that is refused names the address and the remedy."""
    text = api.kubeconfig.read_text(encoding="utf-8").replace(api.url, "http://127.0.0.1:1")
    api.kubeconfig.write_text(text, encoding="utf-8")
    with _client(api) as client, pytest.raises(CommandError, match=r"can't reach the API at http://127\.0\.0\.1:1"):
        client.get("/api")


@pytest.mark.parametrize("arguments", [["bogus"], ["get"], ["server"], ["scale", "deploy/web"]])
def test_wrong_use_leaves_with_one(arguments: list[str]) -> None:
    """A command line that is not understood ends with exit code 1 and a message on standard error."""
    result = subprocess.run([sys.executable, "-m", "flotilla", *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr


def test_every_command_has_an_example() -> None:
    """``--help`` of every command shows how it is used."""
    from flotilla.cli.main import COMMANDS, build_app

    for name in COMMANDS:
        for command in build_app([name]).registered_commands:
            assert "Example" in (command.callback.__doc__ or ""), name


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--image-gc-low-threshold", "90"), "--image-gc-low-threshold 90 must be less than"),
        (("--image-gc-high-threshold", "101"), "argument --image-gc-high-threshold: 101 is not from 0 to 100"),
        (("--image-minimum-gc-age", "soon"), "argument --image-minimum-gc-age: soon is no span of time: write 90s"),
        (("--max-parallel-image-pulls", "0"), "argument --max-parallel-image-pulls: 0 is less than 1"),
    ],
)
def test_an_agents_image_options_are_checked(options: tuple[str, ...], complaint: str, capsys: Any) -> None:
    """A wrong threshold, age or number ends the agent with the option's name and what is right."""
    required = ("--data-dir", "/nowhere", "--server", "a:1", "--ca-file", "/nowhere/ca")
    with pytest.raises(SystemExit) as exit_:
        run_process(["agent", *required, *options])
    assert exit_.value.code == 1
    assert complaint in capsys.readouterr().err
