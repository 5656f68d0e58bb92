"""The client certificate of a node that has none yet.

gRPC's Python server either insists on a client certificate or never asks for one, and both kinds of caller come to one
port. So a node that joins presents a certificate that proves nothing: its authority's key follows from a public
constant, and everybody can make one. The server lets it through the TLS handshake and to ``Join`` only; every other
call needs a certificate that bears the cluster authority's own signature.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_SEED = b"flotilla: a node that has not joined"
_NOT_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
_NOT_AFTER = datetime(2120, 1, 1, tzinfo=UTC)
_AUTHORITY_NAME = "flotilla-unjoined-ca"
_NODE_NAME = "flotilla-unjoined"


def unjoined_authority() -> bytes:
    """The authority that the server adds to those it accepts clients of, PEM."""
    key = _authority_key()
    builder = _builder(_AUTHORITY_NAME, key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def unjoined_certificate() -> tuple[bytes, bytes]:
    """A certificate to present to ``Join`` and its private key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _builder(_NODE_NAME, key.public_key()).sign(_authority_key(), hashes.SHA256())
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key_pem


def _authority_key() -> ec.EllipticCurvePrivateKey:
    number = int.from_bytes(hashlib.sha256(_SEED).digest(), "big")
    return ec.derive_private_key(number, ec.SECP256R1())


def _builder(common_name: str, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(_name(_AUTHORITY_NAME))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
