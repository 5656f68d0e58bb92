"""Which node a call comes from: the name in a certificate that the cluster's authority signed itself.

TLS has already checked the chain and the dates. It also lets through the certificate of a node that has not joined
(:mod:`protos.unjoined`), so the signature is checked here against the cluster's authority alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cryptography import x509
from cryptography.x509.oid import NameOID

from controlplane.pki import NODE_GROUP, NODE_USER_PREFIX, Authority


def node_name(auth_context: Mapping[str, Iterable[bytes]], authority: Authority) -> str | None:
    """The node that presents its certificate; None if it is not a node's or not the cluster's."""
    for pem in auth_context.get("x509_pem_cert", ()):
        return _name_in(pem, authority)
    return None


def _name_in(pem: bytes, authority: Authority) -> str | None:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError:
        return None
    users = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    groups = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    if len(users) != 1 or NODE_GROUP not in {group.value for group in groups}:
        return None
    user = str(users[0].value)
    if not user.startswith(NODE_USER_PREFIX) or not authority.issued(certificate):
        return None
    return user.removeprefix(NODE_USER_PREFIX)
