"""Issues the client certificates that were asked for and approved.

Only the signer ``kubernetes.io/kube-apiserver-client`` is served: its certificates say who somebody is to the API
server, so nothing is signed before an administrator has approved it by name. A request that such a certificate can't
answer gets the condition ``Failed`` with the reason. Source: Kubernetes' ``pkg/controller/certificates/signer``.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from controlplane.pki import CERTIFICATE_LIFETIME, InvalidCsrError
from controlplane.reconcile.clock import Clock
from controlplane.reconcile.objects import Objects
from controlplane.reconcile.result import DONE, Result
from controlplane.store.cache import Cache, CacheEvent
from flotilla.api.conditions import set_condition
from flotilla.api.kinds.certificate_requests import APPROVED, CLIENT_SIGNER, DENIED, FAILED, conditions_of
from flotilla.api.objects import KubeObject
from flotilla.api.resources import CERTIFICATE_SIGNING_REQUESTS

MANAGER = "certificate-signer"
RESOURCES = (CERTIFICATE_SIGNING_REQUESTS,)
_NEEDED_USAGE = "client auth"
_ALLOWED_USAGES = frozenset({_NEEDED_USAGE, "digital signature", "key encipherment"})


class Signer(Protocol):
    """What signs: the cluster's authority."""

    def __call__(self, csr_pem: bytes, *, lifetime: timedelta, now: datetime) -> bytes:
        """The certificate, PEM. InvalidCsrError."""


class CertificateSigner:
    """Keys are the names of requests."""

    def __init__(self, cache: Cache, objects: Objects, signer: Signer, *, clock: Clock) -> None:
        self._cache = cache
        self._objects = objects
        self._signer = signer
        self._clock = clock

    def reset(self) -> None:
        """Nothing is kept."""

    def keys(self, event: CacheEvent) -> Iterable[str]:
        return () if event.type == "DELETED" else (event.entry.name,)

    async def reconcile(self, key: str) -> Result:
        entry = self._cache.get(CERTIFICATE_SIGNING_REQUESTS, "", key)
        if entry is None or not is_waiting(entry.obj):
            return DONE
        uid = entry.uid
        change: Mapping[str, Any] = self._answer(entry.obj["spec"])

        def answer(request: KubeObject) -> KubeObject | None:
            if request["metadata"].get("uid") != uid or not is_waiting(request):
                return None
            status = request["status"]
            if "certificate" in change:
                return request | {"status": status | {"certificate": change["certificate"]}}
            conditions = [dict(condition) for condition in status["conditions"]]
            reason, now = "SignerValidationFailure", self._clock()
            message = change["fault"]
            set_condition(conditions, FAILED, status="True", reason=reason, message=message, now=now, last_update=True)
            return request | {"status": status | {"conditions": conditions}}

        await self._objects.mutate(CERTIFICATE_SIGNING_REQUESTS, "", key, answer, manager=MANAGER, subresource="status")
        return DONE

    def _answer(self, spec: Mapping[str, Any]) -> Mapping[str, str]:
        """``certificate`` in base64, or the ``fault`` of the request."""
        usages = set(spec.get("usages") or ())
        if _NEEDED_USAGE not in usages or not usages <= _ALLOWED_USAGES:
            return {"fault": f"usages did not match expected {sorted(_ALLOWED_USAGES)}"}
        asked_s = spec.get("expirationSeconds")
        lifetime = CERTIFICATE_LIFETIME if asked_s is None else timedelta(seconds=asked_s)
        try:
            pem = self._signer(base64.b64decode(spec["request"]), lifetime=lifetime, now=self._clock())
        except InvalidCsrError as error:
            return {"fault": str(error)}
        return {"certificate": base64.b64encode(pem).decode()}


def is_waiting(request: Mapping[str, Any]) -> bool:
    """Whether a certificate was asked of this signer, approved, and neither issued nor refused yet."""
    status = request.get("status") or {}
    if (request.get("spec") or {}).get("signerName") != CLIENT_SIGNER or status.get("certificate"):
        return False
    return bool(conditions_of(request, APPROVED)) and not (
        conditions_of(request, DENIED) or conditions_of(request, FAILED)
    )
