"""Who may ask: client certificates over real TLS, and the rules by group."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from controlplane.api.authn import CertificateAuthenticator, Credentials, User
from controlplane.api.authz import GroupAuthorizer, refusal
from controlplane.api.request_info import RequestInfo, read_request
from controlplane.api.server import ApiServer, ServerTls
from controlplane.pki import ClusterPki, ensure_cluster_pki
from flotilla.api.errors import ApiError

REVIEWS = "authorization.k8s.io"
SUBJECT = ((("organizationName", "dev"),), (("organizationName", "ops"),), (("commonName", "ann"),))


@pytest.fixture
async def secured(api: Any, tmp_path: Path) -> AsyncIterator[tuple[ApiServer, ClusterPki]]:
    """A second front on the same objects, with TLS and client certificates."""
    pki = ensure_cluster_pki(tmp_path, server_names=["127.0.0.1"])
    server = ApiServer(
        listen="127.0.0.1:0",
        tls=ServerTls(tmp_path / "server.crt", tmp_path / "server.key", tmp_path / "ca.crt"),
        operations=api.operations,
        cache=api.cache,
        authenticator=CertificateAuthenticator(),
        authorizer=GroupAuthorizer(),
        logs=api.logs,
        metrics=api.metrics,
        collectors=CollectorRegistry(),
    )
    serving = asyncio.create_task(server.run())
    await server.listening.wait()
    yield server, pki
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def ask(server: ApiServer, directory: Path, name: str, path: str, method: str = "GET") -> tuple[int, Any]:
    """The answer to a request with the certificate ``name``, with none where it is empty."""
    context = ssl.create_default_context(cafile=str(directory / "ca.crt"))
    if name:
        context.load_cert_chain(directory / f"{name}.crt", directory / f"{name}.key")
    connector = aiohttp.TCPConnector(ssl=context, force_close=True)
    url = f"https://127.0.0.1:{server.port}{path}"
    async with aiohttp.ClientSession(connector=connector) as session, session.request(method, url) as response:
        return response.status, await response.json(content_type=None) if path != "/metrics" else None


async def test_the_admin_may_do_everything(secured: tuple[ApiServer, ClusterPki], tmp_path: Path) -> None:
    """CN admin of system:masters reads what it likes."""
    status, body = await ask(secured[0], tmp_path, "admin", "/api/v1/namespaces")
    assert (status, body["kind"]) == (200, "NamespaceList")


async def test_without_a_certificate_objects_are_401(secured: tuple[ApiServer, ClusterPki], tmp_path: Path) -> None:
    """Nor is discovery for those who show none; the answer is a Status."""
    for path in ("/api/v1/namespaces", "/api", "/openapi/v3", "/metrics?", "/no/such/path", "/livezs"):
        status, body = await ask(secured[0], tmp_path, "", path)
        assert (status, body["kind"], body["reason"]) == (401, "Status", "Unauthorized")
    assert (await ask(secured[0], tmp_path, "", "/version", "POST"))[0] == 401


async def test_everybody_reads_health_and_version(secured: tuple[ApiServer, ClusterPki], tmp_path: Path) -> None:
    """What a load balancer asks for before it has a certificate: whole, verbose, by its parts, without some."""
    url = f"https://127.0.0.1:{secured[0].port}"
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        for path, text in (
            ("/livez", "ok"),
            ("/livez/ping", "ok"),
            ("/readyz?verbose", "[+]ping ok\n[+]etcd ok\n[+]informer-sync ok\n[+]shutdown ok\nreadyz check passed\n"),
            ("/readyz?exclude=etcd", "ok"),
            ("/healthz", "ok"),
        ):
            async with session.get(url + path) as response:
                assert (response.status, await response.text()) == (200, text)
        async with session.get(f"{url}/version") as response:
            version = await response.json()
        async with session.get(f"{url}/version", headers={"Authorization": "Bearer x"}) as response:
            assert response.status == 401
    assert version["gitVersion"].startswith(f"v{version['major']}.{version['minor']}.")
    assert version["buildDate"] > "2026"
    assert all(version[field] for field in ("gitCommit", "goVersion", "compiler", "platform"))


async def test_prometheus_reads_metrics_and_targets_only(secured: tuple[ApiServer, ClusterPki], tmp_path: Path) -> None:
    """system:monitoring gets /metrics and the kinds that targets are found by, nothing else."""
    assert (await ask(secured[0], tmp_path, "prometheus", "/metrics"))[0] == 200
    assert (await ask(secured[0], tmp_path, "prometheus", "/api/v1/pods"))[0] == 200
    status, body = await ask(secured[0], tmp_path, "prometheus", "/api/v1/namespaces/default/secrets")
    assert status == 403
    assert body["message"] == (
        'secrets is forbidden: User "system:prometheus" cannot list resource "secrets" in API group "" '
        'in the namespace "default"'
    )
    assert (await ask(secured[0], tmp_path, "prometheus", "/api/v1/nodes", "DELETE"))[0] == 403
    assert (await ask(secured[0], tmp_path, "prometheus", "/api/v1/namespaces/a/pods/b/log"))[0] == 403


def test_the_subject_names_user_and_groups() -> None:
    """The common name is the user, each organization a group."""
    user = CertificateAuthenticator().authenticate(Credentials({"subject": SUBJECT}, ""))
    assert user == User("ann", ("dev", "ops", "system:authenticated"))


@pytest.mark.parametrize("groups", [("system:masters",), ("system:monitoring",), ()])
def test_the_rules_that_are_listed_are_those_that_hold(groups: tuple[str, ...]) -> None:
    """What the list of a user's rules names is allowed, and what it does not name is not."""
    authorizer, user = GroupAuthorizer(), User("ann", groups)
    kinds = (("", "pods"), ("", "secrets"), ("apps", "deployments"), (REVIEWS, "selfsubjectrulesreviews"))
    for verb in ("get", "create", "delete"):
        named = any({verb, "*"} & {*rule.verbs} and rule.paths for rule in authorizer.rules(user))
        assert authorizer.allows(user, RequestInfo("/metrics", verb)) is named
        for group, plural in kinds:
            named = any(
                {verb, "*"} & {*rule.verbs} and {group, "*"} & {*rule.groups} and {plural, "*"} & {*rule.resources}
                for rule in authorizer.rules(user)
            )
            assert authorizer.allows(user, RequestInfo("", verb, True, group, "v1", "default", plural)) is named


@pytest.mark.parametrize("certificate", [None, {}, {"subject": ((("organizationName", "dev"),),)}])
def test_a_certificate_without_a_name_is_nobody(certificate: Any) -> None:
    """No certificate, or one without common name, is refused."""
    with pytest.raises(ApiError) as caught:
        CertificateAuthenticator().authenticate(Credentials(certificate, ""))
    assert caught.value.code == 401


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("GET", "/metrics", 'forbidden: User "ann" cannot get path "/metrics"'),
        (
            "DELETE",
            "/apis/apps/v1/namespaces/x/deployments/d",
            'deployments.apps "d" is forbidden: User "ann" cannot delete resource "deployments" in API group "apps" '
            'in the namespace "x"',
        ),
        (
            "PUT",
            "/api/v1/nodes/n/status",
            'nodes "n" is forbidden: User "ann" cannot update resource "nodes/status" in API group "" '
            "at the cluster scope",
        ),
    ],
)
def test_refusals_are_worded_as_in_kubernetes(method: str, path: str, message: str) -> None:
    """The message names user, verb, resource, group and scope."""
    assert refusal(User("ann", ()), read_request(method, path, watch=False)).message == message
