"""An operator on kopf: each Greeting gets a ConfigMap with its text, a status, a timer, a daemon and a farewell.

Run as ``python -m kopf run --standalone --namespace NAMESPACE greetings_operator.py``. What it does is written into the
cluster alone, where ``test_operator.py`` looks for it.
"""

from __future__ import annotations

import logging
from typing import Any

import kopf
from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap

KIND = ("greetings.example.com", "v1", "greetings")
TICK_S = 0.3


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """React quickly, so that tests are quick; tell of failures in Events, keep the progress in the status as well."""
    settings.posting.loggers = True
    settings.posting.level = logging.ERROR
    settings.networking.error_backoffs = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2]
    settings.batching.worker_limit = 10
    settings.watching.reconnect_backoff = 0.1
    settings.persistence.progress_storage = kopf.MultiProgressStorage(
        [kopf.AnnotationsProgressStorage(), kopf.StatusProgressStorage()]
    )


@kopf.on.create(*KIND)
@kopf.on.update(*KIND, field="spec")
async def greet(body: kopf.Body, spec: kopf.Spec, retry: int, patch: kopf.Patch, **_: Any) -> dict[str, str]:
    """Make the ConfigMap or change it; the text ``later`` succeeds at the second attempt only."""
    text = str(spec["text"])
    if text == "later" and retry == 0:
        raise kopf.TemporaryError("not yet", delay=0.2)
    if text == "never":
        raise kopf.PermanentError("that will not be said")
    await _keep(body, str(body.metadata.name), text)
    patch.status["phase"] = "Greeted"
    return {"said": text}


@kopf.on.delete(*KIND)
async def farewell(name: str, namespace: str, **_: Any) -> None:
    """Leave a ConfigMap behind that nobody owns."""
    left = ConfigMap(metadata=ObjectMeta(name=f"{name}-farewell"), data={"text": "bye"})
    try:
        await AsyncClient().create(left, namespace=namespace)
    except ApiError as error:
        if error.status.reason != "AlreadyExists":
            raise


@kopf.timer(*KIND, interval=TICK_S)
def tick(status: kopf.Status, patch: kopf.Patch, **_: Any) -> None:
    """Count in the status."""
    patch.status["ticks"] = int(status.get("ticks", 0)) + 1


@kopf.daemon(*KIND, cancellation_timeout=1.0)
async def attend(body: kopf.Body, stopped: kopf.DaemonStopped, **_: Any) -> None:
    """Be there for as long as the Greeting is, and say so."""
    await _keep(body, f"{body.metadata.name}-attended", "yes")
    await stopped.wait(3600)


async def _keep(owner: kopf.Body, name: str, text: str) -> None:
    """Apply a ConfigMap that goes with its owner."""
    kept: dict[str, Any] = {"metadata": {"name": name}, "data": {"text": text}}
    kopf.adopt(kept, owner=owner)
    namespace = owner.metadata.namespace
    await AsyncClient().apply(ConfigMap.from_dict(kept), namespace=namespace, field_manager="greetings", force=True)
