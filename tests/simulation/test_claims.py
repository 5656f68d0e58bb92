"""Claims and volumes with the real controllers and the real scheduler, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from controlplane.dispatcher.removed_volumes import RemovedVolumes
from flotilla.api.conditions import get_condition
from flotilla.api.errors import ApiError
from flotilla.api.objects import KubeObject, is_deleting
from flotilla.api.resources import (
    EVENTS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
)
from flotilla.api.storage import BOUND_BY_CONTROLLER, LOCAL_PATH, NO_PROVISIONER, local_node
from protos import dispatcher_pb2 as pb

if TYPE_CHECKING:
    from tests.simulation.conftest import Virtual, World

Make = Callable[..., Any]


def claim(name: str = "data", *, size: str = "1Gi", modes: Sequence[str] = ("ReadWriteOnce",), **spec: Any) -> Any:
    wanted = {"accessModes": list(modes), "resources": {"requests": {"storage": size}}}
    return {"metadata": {"name": name}, "spec": wanted | spec}


def volume(name: str, *, size: str = "1Gi", labels: dict[str, str] | None = None, **spec: Any) -> KubeObject:
    given = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": f"/{name}"}}
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": given | spec}


def storage_class(name: str = "fast", *, mode: str = "WaitForFirstConsumer", **fields: Any) -> KubeObject:
    return {"metadata": {"name": name}, "provisioner": LOCAL_PATH, "volumeBindingMode": mode} | fields


def on_node(node: str) -> KubeObject:
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}


def user_of(template: KubeObject, name: str = "pod", *, claims: Sequence[str] = ("data",), **spec: Any) -> KubeObject:
    volumes = [{"name": each, "persistentVolumeClaim": {"claimName": each}} for each in claims]
    return {"metadata": {"name": name}, "spec": template["spec"] | {"volumes": volumes} | spec}


def claim_phase(world: World, name: str = "data") -> str:
    phase: str = world.need(PERSISTENT_VOLUME_CLAIMS, name)["status"]["phase"]
    return phase


def capacity(world: World, name: str) -> KubeObject:
    amounts: KubeObject = world.need(PERSISTENT_VOLUME_CLAIMS, name)["status"]["capacity"]
    return amounts


def volume_phase(world: World, name: str) -> str:
    phase: str = world.need(PERSISTENT_VOLUMES, name)["status"]["phase"]
    return phase


def volume_of(world: World, name: str = "data") -> str:
    named: str = world.need(PERSISTENT_VOLUME_CLAIMS, name)["spec"].get("volumeName") or ""
    return named


def node_of(world: World, pod: str = "pod") -> str:
    node: str = world.need(PODS, pod)["spec"].get("nodeName") or ""
    return node


def waits_for(world: World, pod: str = "pod") -> str:
    condition = get_condition(world.need(PODS, pod), "PodScheduled") or {}
    return str(condition.get("message", ""))


def messages(world: World, reason: str) -> list[str]:
    return [event["message"] for event in world.list(EVENTS, "") if event["reason"] == reason]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, "small"),
        ({"size": "2Gi"}, "large"),
        ({"selector": {"matchLabels": {"kind": "big"}}}, "large"),
        ({"modes": ["ReadWriteMany"]}, ""),
        ({"volumeMode": "Block"}, ""),
        ({"storageClassName": "other"}, ""),
        ({"volumeName": "large"}, "large"),
        ({"size": "9Gi"}, ""),
    ],
)
def test_a_claim_gets_the_smallest_volume_that_fits(
    virtual: Virtual, make_world: Make, wanted: dict[str, Any], expected: str
) -> None:
    """Size, access modes, class, mode, selector and name decide; both sides say so, or the claim goes on waiting."""

    async def scenario() -> None:
        async with make_world().running(nodes=1) as world:
            await world.create(PERSISTENT_VOLUMES, volume("large", size="4Gi", labels={"kind": "big"}))
            await world.create(PERSISTENT_VOLUMES, volume("small", size="1Gi"))
            await world.until(lambda: volume_phase(world, "small") == "Available")
            await world.create(PERSISTENT_VOLUME_CLAIMS, claim(**{"storageClassName": "", **wanted}))
            if not expected:
                await world.stays(lambda: claim_phase(world) == "Pending", for_s=1)
                return
            await world.until(lambda: claim_phase(world) == "Bound")
            bound, held = world.need(PERSISTENT_VOLUME_CLAIMS, "data"), world.need(PERSISTENT_VOLUMES, expected)
            assert volume_of(world) == expected
            assert bound["status"]["capacity"] == held["spec"]["capacity"]
            assert bound["status"]["accessModes"] == ["ReadWriteOnce"]
            assert held["spec"]["claimRef"]["uid"] == bound["metadata"]["uid"]
            assert volume_phase(world, expected) == "Bound"

    virtual(scenario())


def test_a_volume_can_be_meant_for_a_claim(virtual: Virtual, make_world: Make) -> None:
    """A ``claimRef`` without a uid keeps a volume for the claim of that name, whatever else would fit it."""

    async def scenario() -> None:
        async with make_world().running(nodes=1) as world:
            reference = {"namespace": "default", "name": "data"}
            await world.create(PERSISTENT_VOLUMES, volume("kept", size="5Gi", claimRef=reference))
            await world.create(PERSISTENT_VOLUMES, volume("free"))
            await world.create(PERSISTENT_VOLUME_CLAIMS, claim("another", storageClassName=""))
            await world.create(PERSISTENT_VOLUME_CLAIMS, claim(storageClassName=""))
            await world.until(lambda: claim_phase(world) == claim_phase(world, "another") == "Bound")
            assert (volume_of(world), volume_of(world, "another")) == ("kept", "free")
            annotations = world.need(PERSISTENT_VOLUMES, "kept")["metadata"].get("annotations") or {}
            assert BOUND_BY_CONTROLLER not in annotations

    virtual(scenario())


def test_many_claims_share_out_the_volumes(virtual: Virtual, make_world: Make) -> None:
    """Twenty claims for twelve volumes, while the cache lags: each volume has one claim, and eight wait."""

    async def scenario() -> None:
        async with make_world(write_s=0.02, watch_s=0.05).running(nodes=1) as world:
            for number in range(20):
                await world.create(PERSISTENT_VOLUME_CLAIMS, claim(f"c{number}", storageClassName=""))
            for number in range(12):
                await world.create(PERSISTENT_VOLUMES, volume(f"v{number}"))
            names = [f"c{number}" for number in range(20)]
            await world.until(lambda: [claim_phase(world, each) for each in names].count("Bound") == 12)
            assert len({volume_of(world, each) for each in names} - {""}) == 12
            await world.stays(lambda: [claim_phase(world, each) for each in names].count("Bound") == 12, for_s=2)

    virtual(scenario())


def test_what_becomes_of_a_volume_and_of_its_data(virtual: Virtual, make_world: Make) -> None:
    """Without its claim a retained volume is Released for good; a claim without its volume is Lost."""

    async def scenario() -> None:
        async with make_world().running(nodes=1) as world:
            await world.create(PERSISTENT_VOLUMES, volume("v"))
            await world.create(PERSISTENT_VOLUME_CLAIMS, claim(storageClassName=""))
            await world.until(lambda: claim_phase(world) == "Bound")
            await world.delete(PERSISTENT_VOLUME_CLAIMS, "data")
            await world.until(lambda: volume_phase(world, "v") == "Released")
            await world.create(PERSISTENT_VOLUME_CLAIMS, claim(storageClassName=""))
            await world.stays(lambda: claim_phase(world) == "Pending", for_s=1)
            await world.edit(PERSISTENT_VOLUMES, "v", lambda obj: obj["spec"].pop("claimRef"))
            await world.until(lambda: claim_phase(world) == "Bound")
            await world.edit(PERSISTENT_VOLUMES, "v", lambda obj: obj["metadata"].pop("finalizers"))
            await world.delete(PERSISTENT_VOLUMES, "v")
            await world.until(lambda: claim_phase(world) == "Lost")
            await world.until(lambda: messages(world, "ClaimLost"))

    virtual(scenario())


def test_volumes_that_nobody_can_delete(virtual: Virtual, make_world: Make) -> None:
    """A reclaim policy that this cluster can't carry out ends in Failed, with the reason."""

    async def scenario() -> None:
        async with make_world().running(nodes=1) as world:
            await world.create(PERSISTENT_VOLUMES, volume("v", persistentVolumeReclaimPolicy="Delete"))
            await world.create(PERSISTENT_VOLUME_CLAIMS, claim(storageClassName=""))
            await world.until(lambda: claim_phase(world) == "Bound")
            await world.delete(PERSISTENT_VOLUME_CLAIMS, "data")
            await world.until(lambda: volume_phase(world, "v") == "Failed")
            assert "no deletable volume plugin matched" in world.need(PERSISTENT_VOLUMES, "v")["status"]["message"]
            await world.until(lambda: messages(world, "VolumeFailedDelete"))

    virtual(scenario())


def test_a_volume_is_made_where_the_first_pod_runs(virtual: Virtual, make_world: Make, make_template: Make) -> None:
    """A claim that waits gets its directory on the pod's node, and its later pods go there too."""

    async def scenario() -> None:
        async with make_world().running(nodes=3) as world:
            await world.create(STORAGE_CLASSES, storage_class())
            await world.create(PERSISTENT_VOLUME_CLAIMS, claim(storageClassName="fast"))
            await world.until(lambda: messages(world, "WaitForFirstConsumer"))
            assert claim_phase(world) == "Pending"
            await world.create(PODS, user_of(make_template(), nodeSelector={"kubernetes.io/hostname": "node-2"}))
            await world.until(lambda: node_of(world) == "node-2", timeout_s=1)
            assert claim_phase(world) == "Bound"
            made = world.need(PERSISTENT_VOLUMES, volume_of(world))
            assert made["metadata"]["name"] == f"pvc-{world.need(PERSISTENT_VOLUME_CLAIMS, 'data')['metadata']['uid']}"
            assert (local_node(made), made["spec"]["nodeAffinity"]) == ("node-2", on_node("node-2"))
            assert made["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
            for number in range(4):
                await world.create(PODS, user_of(make_template(), f"later-{number}"))
            await world.until(lambda: {node_of(world, f"later-{number}") for number in range(4)} == {"node-2"})
            await world.edit(NODES, "node-2", lambda node: node["spec"].update(unschedulable=True))
            await world.create(PODS, user_of(make_template(), "last"))
            await world.until(lambda: waits_for(world, "last"))
            assert waits_for(world, "last") == (
                "0/3 nodes are available: 1 node(s) were unschedulable, "
                "2 node(s) didn't match PersistentVolume's node affinity."
            )

    virtual(scenario())


def test_a_volume_of_a_claim_that_does_not_wait(virtual: Virtual, make_world: Make, make_template: Make) -> None:
    """Without waiting, volumes go to the ready nodes in turn; until there is one, pods say what they wait for."""

    async def scenario() -> None:
        async with make_world().running(nodes=0) as world:
            await world.create(STORAGE_CLASSES, storage_class(mode="Immediate"))
            for name in ("data", "more"):
                await world.create(PERSISTENT_VOLUME_CLAIMS, claim(name, storageClassName="fast"))
            await world.create(PODS, user_of(make_template()))
            await world.until(lambda: messages(world, "ProvisioningFailed"))
            await world.until(lambda: waits_for(world))
            for name in ("a", "b"):
                await world.add_node(name)
            await world.until(lambda: claim_phase(world) == claim_phase(world, "more") == "Bound", timeout_s=1)
            nodes = [local_node(world.need(PERSISTENT_VOLUMES, volume_of(world, name))) for name in ("data", "more")]
            await world.until(lambda: node_of(world) == nodes[0], timeout_s=1)

    virtual(scenario())


@pytest.mark.parametrize(
    ("wanted", "of_class", "why"),
    [
        ({"modes": ["ReadWriteMany"]}, {}, "volumes of one node: accessModes ReadWriteMany is not supported"),
        ({"volumeMode": "Block"}, {}, "volumeMode Block is not supported"),
        ({"selector": {"matchLabels": {"a": "b"}}}, {}, "claim Selector is not supported"),
        ({}, {"parameters": {"type": "ssd"}}, "has no parameters: type is unknown"),
        ({}, {"mountOptions": ["noatime"]}, "mountOptions are not supported"),
    ],
)
def test_what_no_directory_can_be(
    virtual: Virtual, make_world: Make, wanted: dict[str, Any], of_class: dict[str, Any], why: str
) -> None:
    """A claim that a directory of a node can't fulfil is told why."""

    async def scenario() -> None:
        async with make_world().running(nodes=1) as world:
            await world.create(STORAGE_CLASSES, storage_class(mode="Immediate", **of_class))
            await world.create(PERSISTENT_VOLUME_CLAIMS, claim(storageClassName="fast", **wanted))
            await world.until(lambda: messages(world, "ProvisioningFailed"))
            assert messages(world, "ProvisioningFailed")[0].endswith(why)
            assert claim_phase(world) == "Pending"

    virtual(scenario())


def test_free_volumes_on_the_nodes_that_reach_them(virtual: Virtual, make_world: Make, make_template: Make) -> None:
    """Pods with waiting claims get the volumes that lie ready, each on its node, and one more is told there is none."""

    async def scenario() -> None:
        async with make_world().running(nodes=3) as world:
            await world.create(STORAGE_CLASSES, storage_class(provisioner=NO_PROVISIONER))
            for number in range(2):
                path, near = {"path": f"/disk-{number}"}, on_node(f"node-{number}")
                given = volume(f"v{number}", storageClassName="fast", nodeAffinity=near, local=path)
                del given["spec"]["hostPath"]
                await world.create(PERSISTENT_VOLUMES, given)
            for number in range(3):
                await world.create(PERSISTENT_VOLUME_CLAIMS, claim(f"c{number}", storageClassName="fast"))
                await world.create(PODS, user_of(make_template(), f"p{number}", claims=[f"c{number}"]))
            await world.until(lambda: {node_of(world, f"p{n}") for n in range(3)} == {"node-0", "node-1", ""})
            (left,) = [f"p{number}" for number in range(3) if not node_of(world, f"p{number}")]
            await world.until(lambda: "persistent volumes to bind" in waits_for(world, left))
            assert waits_for(world, left) == (
                "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind."
            )

    virtual(scenario())


@pytest.mark.parametrize("mode", ["Immediate", "WaitForFirstConsumer"])
def test_topologies_of_a_class(virtual: Virtual, make_world: Make, make_template: Make, mode: str) -> None:
    """A volume is made only for nodes that its class admits."""

    async def scenario() -> None:
        async with make_world().running(nodes=3) as world:
            terms = [{"matchLabelExpressions": [{"key": "kubernetes.io/hostname", "values": ["node-1"]}]}]
            await world.create(STORAGE_CLASSES, storage_class(mode=mode, allowedTopologies=terms))
            await world.create(PERSISTENT_VOLUME_CLAIMS, claim(storageClassName="fast"))
            await world.create(PODS, user_of(make_template()))
            await world.until(lambda: node_of(world) == "node-1", timeout_s=1)

    virtual(scenario())


def test_pods_wait_for_their_claims(virtual: Virtual, make_world: Make, make_template: Make) -> None:
    """A pod whose claim is missing or has no volume yet says which, and is bound as soon as it has."""

    async def scenario() -> None:
        async with make_world().running(nodes=2) as world:
            await world.create(PODS, user_of(make_template()))
            await world.until(lambda: waits_for(world))
            assert waits_for(world) == '0/2 nodes are available: persistentvolumeclaim "data" not found.'
            await world.create(PERSISTENT_VOLUME_CLAIMS, claim(storageClassName=""))
            expected = "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."
            await world.until(lambda: waits_for(world) == expected)
            await world.create(PERSISTENT_VOLUMES, volume("v", nodeAffinity=on_node("node-1")))
            await world.until(lambda: node_of(world) == "node-1", timeout_s=1)

    virtual(scenario())


def test_one_pod_at_a_time(virtual: Virtual, make_world: Make, make_template: Make) -> None:
    """A ReadWriteOncePod claim admits one pod; the next is bound when that has gone."""

    async def scenario() -> None:
        async with make_world().running(nodes=2) as world:
            await world.create(STORAGE_CLASSES, storage_class())
            only = claim(storageClassName="fast", modes=["ReadWriteOncePod"])
            await world.create(PERSISTENT_VOLUME_CLAIMS, only)
            await world.create(PODS, user_of(make_template(), "first"))
            await world.until(lambda: node_of(world, "first"))
            await world.create(PODS, user_of(make_template(), "second"))
            await world.until(lambda: "ReadWriteOncePod access mode" in waits_for(world, "second"))
            await world.delete(PODS, "first")
            await world.until(lambda: node_of(world, "second"), timeout_s=2)

    virtual(scenario())


def test_used_claims_and_bound_volumes_stay(virtual: Virtual, make_world: Make, make_template: Make) -> None:
    """A deleted claim goes when its last pod has, and a deleted volume when its claim has, with its node's consent."""

    async def scenario() -> None:
        async with make_world().running(nodes=1) as world:
            await world.create(STORAGE_CLASSES, storage_class())
            await world.create(PERSISTENT_VOLUME_CLAIMS, claim(storageClassName="fast"))
            await world.create(PODS, user_of(make_template()))
            await world.until(lambda: node_of(world))
            name = volume_of(world)
            await world.delete(PERSISTENT_VOLUMES, name)
            await world.delete(PERSISTENT_VOLUME_CLAIMS, "data")
            await world.stays(lambda: is_deleting(world.need(PERSISTENT_VOLUME_CLAIMS, "data")), for_s=2)
            await world.create(PODS, user_of(make_template(), "late"))
            await world.until(lambda: 'persistentvolumeclaim "data" is being deleted' in waits_for(world, "late"))
            await world.delete(PODS, "pod")
            await world.until(lambda: world.get(PERSISTENT_VOLUME_CLAIMS, "data") is None)
            await world.until(lambda: world.need(PERSISTENT_VOLUMES, name)["metadata"]["finalizers"] == [LOCAL_PATH])
            await world.stays(lambda: world.get(PERSISTENT_VOLUMES, name), for_s=20)
            await world.delete(NODES, "node-0")
            await world.until(lambda: world.get(PERSISTENT_VOLUMES, name) is None)

    virtual(scenario())


def test_only_the_node_that_has_the_data_gives_it_up(virtual: Virtual, make_world: Make) -> None:
    """Of what agents say to have removed, only a node's own volumes count, and only once they are to go."""

    async def scenario() -> None:
        async with make_world().running(nodes=1) as world:
            await world.create(STORAGE_CLASSES, storage_class(mode="Immediate"))
            await world.create(PERSISTENT_VOLUME_CLAIMS, claim(storageClassName="fast"))
            await world.until(lambda: claim_phase(world) == "Bound")
            name = volume_of(world)
            said = [pb.RemovedVolume(name=name, uid=world.need(PERSISTENT_VOLUMES, name)["metadata"]["uid"])]
            sessions = {node: RemovedVolumes(node, world.objects) for node in ("node-0", "node-1")}
            tasks = [asyncio.create_task(each.run()) for each in sessions.values()]
            sessions["node-0"].offer(said)
            await world.stays(
                lambda: LOCAL_PATH in world.need(PERSISTENT_VOLUMES, name)["metadata"]["finalizers"], for_s=1
            )
            await world.delete(PERSISTENT_VOLUME_CLAIMS, "data")
            await world.until(lambda: world.need(PERSISTENT_VOLUMES, name)["metadata"]["finalizers"] == [LOCAL_PATH])
            sessions["node-1"].offer(said)
            sessions["node-0"].offer([pb.RemovedVolume(name=name, uid="another")])
            await world.stays(lambda: world.get(PERSISTENT_VOLUMES, name), for_s=1)
            sessions["node-0"].offer(said)
            await world.until(lambda: world.get(PERSISTENT_VOLUMES, name) is None)
            for task in tasks:
                task.cancel()

    virtual(scenario())


def test_retained_data(virtual: Virtual, make_world: Make, make_template: Make) -> None:
    """A retained directory outlives its claim; deleting its object leaves the data alone and waits for nobody."""

    async def scenario() -> None:
        async with make_world().running(nodes=1) as world:
            await world.create(STORAGE_CLASSES, storage_class(reclaimPolicy="Retain", mode="Immediate"))
            await world.create(PERSISTENT_VOLUME_CLAIMS, claim(storageClassName="fast"))
            await world.until(lambda: claim_phase(world) == "Bound")
            name = volume_of(world)
            await world.delete(PERSISTENT_VOLUME_CLAIMS, "data")
            await world.until(lambda: volume_phase(world, name) == "Released")
            await world.delete(PERSISTENT_VOLUMES, name)
            await world.until(lambda: world.get(PERSISTENT_VOLUMES, name) is None, timeout_s=1)

    virtual(scenario())


def test_claims_that_grow(virtual: Virtual, make_world: Make) -> None:
    """A bound claim grows where its class allows it, says so, and never shrinks."""

    async def scenario() -> None:
        async with make_world().running(nodes=1) as world:
            await world.create(STORAGE_CLASSES, storage_class("fixed", mode="Immediate"))
            await world.create(STORAGE_CLASSES, storage_class("elastic", mode="Immediate", allowVolumeExpansion=True))
            for name in ("fixed", "elastic"):
                await world.create(PERSISTENT_VOLUME_CLAIMS, claim(name, storageClassName=name))
            await world.until(lambda: claim_phase(world, "fixed") == claim_phase(world, "elastic") == "Bound")

            async def resize(name: str, size: str) -> None:
                await world.edit(
                    PERSISTENT_VOLUME_CLAIMS,
                    name,
                    lambda obj: obj["spec"]["resources"]["requests"].update(storage=size),
                )

            with pytest.raises(ApiError, match="only dynamically provisioned pvc can be resized"):
                await resize("fixed", "2Gi")
            await resize("elastic", "2Gi")
            await world.until(lambda: capacity(world, "elastic") == {"storage": "2Gi"})
            assert world.need(PERSISTENT_VOLUMES, volume_of(world, "elastic"))["spec"]["capacity"]["storage"] == "2Gi"
            with pytest.raises(ApiError, match=r"field can not be less than status\.capacity"):
                await resize("elastic", "1Gi")

    virtual(scenario())


def test_default_classes(virtual: Virtual, make_world: Make) -> None:
    """A claim without a class gets the default one, also when that is made later; ``""`` means none."""

    async def scenario() -> None:
        async with make_world().running(nodes=1) as world:
            await world.create(PERSISTENT_VOLUME_CLAIMS, claim("early"))
            await world.create(PERSISTENT_VOLUME_CLAIMS, claim("none", storageClassName=""))
            await world.until(lambda: messages(world, "FailedBinding"))
            default = storage_class("standard", mode="Immediate")
            default["metadata"]["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}
            await world.create(STORAGE_CLASSES, default)
            await world.create(PERSISTENT_VOLUME_CLAIMS, claim("later"))
            assert world.need(PERSISTENT_VOLUME_CLAIMS, "later")["spec"]["storageClassName"] == "standard"
            await world.until(lambda: claim_phase(world, "early") == claim_phase(world, "later") == "Bound")
            assert claim_phase(world, "none") == "Pending"

    virtual(scenario())


def test_claims_of_a_pods_own(virtual: Virtual, make_world: Make, make_template: Make) -> None:
    """An ephemeral volume's claim is made for the pod and owned by it; one in the way is told of, not used."""

    async def scenario() -> None:
        async with make_world().running(nodes=1) as world:
            await world.create(STORAGE_CLASSES, storage_class())
            spec = claim(storageClassName="fast")["spec"]
            source = {"volumeClaimTemplate": {"metadata": {"labels": {"of": "pod"}}, "spec": spec}}
            volumes = [{"name": "scratch", "ephemeral": source}]
            await world.create(PODS, user_of(make_template(), volumes=volumes))
            await world.until(lambda: node_of(world), timeout_s=1)
            made = world.need(PERSISTENT_VOLUME_CLAIMS, "pod-scratch")
            assert made["metadata"]["ownerReferences"][0]["uid"] == world.need(PODS, "pod")["metadata"]["uid"]
            assert made["metadata"]["labels"] == {"of": "pod"}
            await world.create(PERSISTENT_VOLUME_CLAIMS, claim("other-scratch", storageClassName="fast"))
            await world.create(PODS, user_of(make_template(), "other", volumes=volumes))
            why = "PVC default/other-scratch was not created for pod default/other (pod is not owner)"
            await world.until(lambda: why in waits_for(world, "other"))
            await world.until(lambda: why in messages(world, "FailedCreate"))
            await world.delete(PERSISTENT_VOLUME_CLAIMS, "other-scratch")
            await world.until(lambda: node_of(world, "other"), timeout_s=2)
            await world.delete(PODS, "pod")
            await world.until(lambda: world.get(PERSISTENT_VOLUME_CLAIMS, "pod-scratch") is None)

    virtual(scenario())
