"""Cluster roles are put together from their parts; approved certificates are issued, others never."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from controlplane.controllers import certificate_signer, cluster_roles
from controlplane.pki import ensure_cluster_pki
from controlplane.reconcile.clock import utc_now
from controlplane.reconcile.controller import Controller
from flotilla.api.objects import KubeObject
from flotilla.api.resources import CERTIFICATE_SIGNING_REQUESTS, CLUSTER_ROLES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulation.conftest import Virtual, World

Make = Callable[..., Any]


def role(name: str, verb: str, **labels: str) -> KubeObject:
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}
    return {"metadata": {"name": name, "labels": labels}, "rules": [rule]}


def whole(name: str, label: str, **labels: str) -> KubeObject:
    selector = {"matchLabels": {label: "yes"}}
    return {"metadata": {"name": name, "labels": labels}, "aggregationRule": {"clusterRoleSelectors": [selector]}}


@asynccontextmanager
async def alone(world: World, controller: Controller[str]) -> AsyncIterator[None]:
    """One controller in a world without others."""
    async with world.running(nodes=0, controllers=False):
        task = asyncio.create_task(controller.run())
        yield
        task.cancel()


def test_a_role_follows_its_parts(virtual: Virtual, make_world: Make) -> None:
    """Rules of parts are joined by the parts' names, through several levels, and go with the part."""

    async def scenario() -> None:
        world: World = make_world()
        aggregator = cluster_roles.ClusterRoleAggregator(world.cache, world.objects)
        controller = Controller("t", aggregator, cache=world.cache, resources=cluster_roles.RESOURCES)

        def verbs(name: str) -> list[str]:
            return [rule["verbs"][0] for rule in world.need(CLUSTER_ROLES, name).get("rules") or ()]

        async with alone(world, controller):
            await world.create(CLUSTER_ROLES, whole("all", "in-all"))
            await world.create(CLUSTER_ROLES, whole("some", "in-some", **{"in-all": "yes"}))
            await world.create(CLUSTER_ROLES, role("b", "get", **{"in-some": "yes"}))
            await world.create(CLUSTER_ROLES, role("a", "list", **{"in-some": "yes"}))
            await world.until(lambda: verbs("all") == ["list", "get"])
            assert verbs("some") == ["list", "get"]
            await world.delete(CLUSTER_ROLES, "b")
            await world.until(lambda: verbs("all") == ["list"])

    virtual(scenario())


def request(
    name: str, *, signer: str = "kubernetes.io/kube-apiserver-client", usages: tuple[str, ...] = ("client auth",)
) -> KubeObject:
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "dev"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject)).sign(key, hashes.SHA256())
    pem = base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()
    spec = {"request": pem, "usages": list(usages), "signerName": signer, "expirationSeconds": 3600}
    return {"metadata": {"name": name}, "spec": spec}


async def decide(world: World, name: str, type_: str) -> None:
    def change(obj: KubeObject) -> KubeObject:
        obj["status"] = {"conditions": [{"type": type_, "status": "True"}]}
        return obj

    await world.objects.mutate(CERTIFICATE_SIGNING_REQUESTS, "", name, change, manager="t", subresource="approval")
    await world.cache.barrier()


def status(world: World, name: str) -> KubeObject:
    found: KubeObject = world.need(CERTIFICATE_SIGNING_REQUESTS, name).get("status") or {}
    return found


def signing(world: World, directory: Path) -> Controller[str]:
    """The signer, with an authority of its own."""
    pki = ensure_cluster_pki(directory / "pki")
    signer = certificate_signer.CertificateSigner(world.cache, world.objects, pki.sign_client_request, clock=utc_now)
    return Controller("t", signer, cache=world.cache, resources=certificate_signer.RESOURCES)


def test_only_approved_requests_are_signed(virtual: Virtual, make_world: Make, tmp_path: Path) -> None:
    """An approved request gets a certificate for its subject and lifetime; what waits or was denied gets none."""

    async def scenario() -> None:
        world: World = make_world()
        async with alone(world, signing(world, tmp_path)):
            await world.create(CERTIFICATE_SIGNING_REQUESTS, request("waiting"))
            await world.create(CERTIFICATE_SIGNING_REQUESTS, request("denied"))
            await decide(world, "denied", "Denied")
            await world.create(CERTIFICATE_SIGNING_REQUESTS, request("elsewhere", signer="example.com/own"))
            await decide(world, "elsewhere", "Approved")
            await world.create(CERTIFICATE_SIGNING_REQUESTS, request("ann"))
            await decide(world, "ann", "Approved")
            await world.until(lambda: "certificate" in status(world, "ann"))
            certificate = x509.load_pem_x509_certificate(base64.b64decode(status(world, "ann")["certificate"]))
            assert certificate.subject.rfc4514_string() == "CN=ann,O=dev"
            assert certificate.not_valid_after_utc - utc_now() <= timedelta(hours=1)
            assert not any("certificate" in status(world, name) for name in ("waiting", "denied", "elsewhere"))

    virtual(scenario())


def test_a_request_for_more_fails(virtual: Virtual, make_world: Make, tmp_path: Path) -> None:
    """A client certificate is for clients: other usages end in the condition Failed."""

    async def scenario() -> None:
        world: World = make_world()
        async with alone(world, signing(world, tmp_path)):
            wanted = request("srv", usages=("client auth", "server auth"))
            await world.create(CERTIFICATE_SIGNING_REQUESTS, wanted)
            await decide(world, "srv", "Approved")

            def types() -> list[str]:
                return [each["type"] for each in status(world, "srv").get("conditions") or ()]

            await world.until(lambda: types() == ["Approved", "Failed"])
            assert "certificate" not in status(world, "srv")

    virtual(scenario())
