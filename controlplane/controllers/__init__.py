"""What the cluster does by itself to make what is there what was asked for. One module or package a controller.

Before it: the API stores what users want. After it: the scheduler assigns the pods that controllers make.
All of these run only on the server that leads.
"""

from __future__ import annotations

from controlplane.controllers import (
    certificate_signer,
    cluster_roles,
    custom_resources,
    garbage_collector,
    namespaces,
    pod_gc,
    resource_quotas,
    taint_eviction,
)
from controlplane.controllers.deployment import controller as deployment
from controlplane.controllers.disruption import controller as disruption
from controlplane.controllers.endpoints import controller as endpoints
from controlplane.controllers.node_lifecycle import NodeLifecycle, NodeLiveness
from controlplane.controllers.persistent_volumes import controller as persistent_volumes
from controlplane.controllers.persistent_volumes import ephemeral, protection
from controlplane.controllers.replica_set import controller as replica_set
from controlplane.quota.ledger import Ledger
from controlplane.reconcile.clock import Clock, utc_now
from controlplane.reconcile.controller import Controller, Runnable
from controlplane.reconcile.events import EventRecorder
from controlplane.reconcile.objects import Objects
from controlplane.store.cache import Cache

NODE_GRACE_S = 4.0


def build_controllers(
    cache: Cache,
    objects: Objects,
    recorder: EventRecorder,
    *,
    liveness: NodeLiveness,
    ledger: Ledger,
    node_grace_s: float = NODE_GRACE_S,
    ca_certificate: str = "",
    signer: certificate_signer.Signer | None = None,
    clock: Clock = utc_now,
) -> list[Runnable]:
    """All controllers, each with a ``name`` and an ``async run()`` to be run while this server leads.

    ``ledger`` has what is promised to writes on their way; ``ca_certificate`` (PEM) is published in every namespace;
    without a ``signer`` approved certificate requests wait. ``recorder.run()`` is the caller's to run.
    """
    return [
        *_access_controllers(cache, objects, signer, clock=clock),
        *_controllers_of_all_kinds(cache, objects, ca_certificate, ledger, clock=clock),
        *_storage_controllers(cache, objects, recorder),
        Controller(
            "deployment",
            deployment.DeploymentReconciler(cache, objects, recorder, clock=clock),
            cache=cache,
            resources=deployment.RESOURCES,
            workers=8,
        ),
        Controller(
            "replicaset",
            replica_set.ReplicaSetReconciler(cache, objects, recorder, clock=clock),
            cache=cache,
            resources=replica_set.RESOURCES,
            workers=8,
        ),
        Controller(
            "disruption",
            disruption.DisruptionReconciler(cache, objects, recorder, clock=clock),
            cache=cache,
            resources=disruption.RESOURCES,
        ),
        Controller(
            "endpoints",
            endpoints.EndpointsReconciler(cache, objects),
            cache=cache,
            resources=endpoints.RESOURCES,
            workers=8,
        ),
        NodeLifecycle(cache, objects, recorder, liveness=liveness, grace_s=node_grace_s, clock=clock),
        Controller(
            "taint-eviction",
            taint_eviction.TaintEvictionReconciler(cache, objects, recorder, clock=clock),
            cache=cache,
            resources=taint_eviction.RESOURCES,
        ),
        Controller(
            "pod-garbage-collector",
            pod_gc.PodGarbageCollector(cache, objects),
            cache=cache,
            resources=pod_gc.RESOURCES,
            workers=8,
        ),
    ]


def _controllers_of_all_kinds(
    cache: Cache, objects: Objects, ca_certificate: str, ledger: Ledger, *, clock: Clock
) -> list[Runnable]:
    """Those that follow every kind, also kinds that are defined later, and the one that has them defined."""
    return [
        Controller(
            "custom-resource-definition",
            custom_resources.CustomResourceDefinitions(cache, objects, clock=clock),
            cache=cache,
            resources=lambda: custom_resources.followed(cache.registry),
            workers=1,
        ),
        Controller(
            "garbage-collector",
            garbage_collector.GarbageCollector(cache, objects),
            cache=cache,
            resources=lambda: garbage_collector.collected(cache.registry),
            workers=32,
        ),
        Controller(
            "namespace",
            namespaces.NamespaceReconciler(cache, objects, ca_certificate=ca_certificate, clock=clock),
            cache=cache,
            resources=cache.registry.stored,
        ),
        Controller(
            "resourcequota",
            resource_quotas.ResourceQuotaReconciler(cache, objects, ledger, clock=clock),
            cache=cache,
            resources=lambda: resource_quotas.counted_kinds(cache.registry),
        ),
    ]


def _storage_controllers(cache: Cache, objects: Objects, recorder: EventRecorder) -> list[Runnable]:
    """Those that give claims their volumes, and keep what is in use."""
    return [
        Controller(
            "persistent-volume",
            persistent_volumes.PersistentVolumeReconciler(cache, objects, recorder),
            cache=cache,
            resources=persistent_volumes.RESOURCES,
            workers=8,
        ),
        Controller(
            "storage-protection",
            protection.ProtectionReconciler(cache, objects),
            cache=cache,
            resources=protection.RESOURCES,
        ),
        Controller(
            "ephemeral-volume",
            ephemeral.EphemeralVolumeReconciler(cache, objects, recorder),
            cache=cache,
            resources=ephemeral.RESOURCES,
        ),
    ]


def _access_controllers(
    cache: Cache, objects: Objects, signer: certificate_signer.Signer | None, *, clock: Clock
) -> list[Runnable]:
    """Those that decide who gets in, and with which rights."""
    found: list[Runnable] = [
        Controller(
            "clusterrole-aggregation",
            cluster_roles.ClusterRoleAggregator(cache, objects),
            cache=cache,
            resources=cluster_roles.RESOURCES,
        )
    ]
    if signer is not None:
        reconciler = certificate_signer.CertificateSigner(cache, objects, signer, clock=clock)
        found.append(Controller("certificate-signer", reconciler, cache=cache, resources=certificate_signer.RESOURCES))
    return found
