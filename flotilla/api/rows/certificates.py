"""``certificates.k8s.io``: certificates that are asked for, granted and issued."""

from __future__ import annotations

from flotilla.api.kinds import certificate_requests
from flotilla.api.kinds.resource import Resource, guarded

CERTIFICATE_SIGNING_REQUESTS = Resource(
    group="certificates.k8s.io",
    version="v1",
    plural="certificatesigningrequests",
    singular="certificatesigningrequest",
    kind="CertificateSigningRequest",
    namespaced=False,
    definition="io.k8s.api.certificates.v1.CertificateSigningRequest",
    columns=certificate_requests.COLUMNS,
    strategy=guarded(certificate_requests.STRATEGY),
    short_names=("csr",),
    subresources=("approval", "status"),
)

ROWS = (CERTIFICATE_SIGNING_REQUESTS,)
