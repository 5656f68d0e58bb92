"""Fields come in the order of Kubernetes' types, in the answer to a write as in a read of what was written."""

from __future__ import annotations

from typing import Any

import pytest

from flotilla.api.objects import KubeObject, encode

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
SCALERS = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
DEPLOYMENT: KubeObject = {
    "status": {},
    "spec": {"template": TEMPLATE, "selector": {"matchLabels": {"a": "b"}}},
    "metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}, "name": "web"},
    "kind": "Deployment",
    "apiVersion": "apps/v1",
}
SCALER: KubeObject = {
    "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "web"}},
    "metadata": {"name": "web"},
    "kind": "HorizontalPodAutoscaler",
    "apiVersion": "autoscaling/v1",
}
METADATA = ["resourceVersion", "name", "namespace", "uid", "generation", "creationTimestamp"]


@pytest.mark.parametrize(("path", "new"), [(DEPLOYMENTS, DEPLOYMENT), (SCALERS, SCALER)], ids=["hub", "view"])
async def test_writes_answer_as_reads_do(api: Any, path: str, new: KubeObject) -> None:
    """Type and metadata first and the status last, however the client has sent them; the answers are the same bytes."""
    dry = await api.post(f"{path}?dryRun=All", new)
    created = await api.post(path, new)
    for reply in (dry, created):
        names = list(reply.body)
        assert names == ["kind", "apiVersion", "metadata", "spec", "status"]
    first = list(created.body["metadata"])
    assert [name for name in first if name in METADATA] == [name for name in METADATA if name in first]
    assert first[-1] == "managedFields"
    assert encode((await api.get(f"{path}/web")).body) == encode(created.body)
    applied = {"apiVersion": new["apiVersion"], "kind": new["kind"], "metadata": {"name": "web", "labels": {"x": "y"}}}
    for method, body, kind in (
        ("PATCH", {"metadata": {"labels": {"m": "p"}}}, "merge-patch+json"),
        ("PATCH", applied, "apply-patch+yaml"),
        ("PUT", new, "json"),
    ):
        query = "?fieldManager=a" if kind == "apply-patch+yaml" else ""
        written = await api.ask(method, f"{path}/web{query}", body, content_type=f"application/{kind}")
        assert written.status == 200, written.body
        assert encode((await api.get(f"{path}/web")).body) == encode(written.body)
