"""The cluster's certificates: made once, renewed when they run out, kept as PEM files in one directory.

Two authorities. ``ca`` signs what the API server and the dispatcher accept: the server's own certificate, the admin's,
Prometheus' and every node's. ``etcd-ca`` signs only etcd's certificate and the control plane's for etcd, so that a
node's certificate never opens the store. Everything is idempotent: what is present, still valid and names all that it
must is left alone, so that a second start changes nothing and a changed host address renews one certificate only.
Keys are P-256: a handshake costs a tenth of what RSA's does.
"""

from __future__ import annotations

import base64
import fcntl
import ipaddress
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFETIME = timedelta(days=3650)
CERTIFICATE_LIFETIME = timedelta(days=365)
RENEW_BEFORE = timedelta(days=90)
CLOCK_SKEW = timedelta(hours=1)
MINIMUM_RSA_BITS = 2048

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
SERVICE_NAMES = (
    "10.43.0.1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
NODE_USER_PREFIX = "system:node:"
NODE_GROUP = "system:nodes"
ADMIN_GROUP = "system:masters"
MONITORING_GROUP = "system:monitoring"


class InvalidCsrError(ValueError):
    """A certificate signing request that can't be read, is not signed by its own key, or has a weak key."""


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate and its private key, both PEM."""

    certificate_pem: bytes
    key_pem: bytes


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where a certificate and its private key (mode 0600) are kept."""

    certificate: Path
    key: Path

    def present(self) -> bool:
        return self.certificate.exists() and self.key.exists()

    def read(self) -> IssuedCertificate:
        return IssuedCertificate(self.certificate.read_bytes(), self.key.read_bytes())


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that can sign."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def load(cls, files: CertificateFiles) -> Authority:
        key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{files.key}: not an elliptic curve key")
        return cls(x509.load_pem_x509_certificate(files.certificate.read_bytes()), key)

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issued(self, certificate: x509.Certificate) -> bool:
        """Whether ``certificate`` bears this authority's signature; says nothing of its dates."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True


@dataclass(frozen=True, slots=True)
class Profile:
    """What a certificate must say: subject, purposes, and names (DNS names or IP addresses)."""

    common_name: str
    organizations: tuple[str, ...] = ()
    server: bool = False
    client: bool = True
    names: tuple[str, ...] = ()

    def subject(self) -> x509.Name:
        organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, value) for value in self.organizations]
        return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, self.common_name)])

    def usages(self) -> list[x509.ObjectIdentifier]:
        wanted = ((self.server, ExtendedKeyUsageOID.SERVER_AUTH), (self.client, ExtendedKeyUsageOID.CLIENT_AUTH))
        return [usage for needed, usage in wanted if needed]


@dataclass(frozen=True, slots=True)
class ClusterPki:
    """The files of a cluster's trust, all present, and the authority that signs nodes and clients."""

    directory: Path
    authority: Authority

    def _files(self, name: str) -> CertificateFiles:
        return CertificateFiles(self.directory / f"{name}.crt", self.directory / f"{name}.key")

    @property
    def ca_file(self) -> Path:
        return self.directory / "ca.crt"

    @property
    def ca_pem(self) -> bytes:
        return self.authority.certificate_pem

    @property
    def etcd_ca_file(self) -> Path:
        """What etcd trusts for its clients and the control plane for etcd; not the cluster's authority."""
        return self.directory / "etcd-ca.crt"

    @property
    def server(self) -> CertificateFiles:
        return self._files("server")

    @property
    def admin(self) -> CertificateFiles:
        return self._files("admin")

    @property
    def prometheus(self) -> CertificateFiles:
        return self._files("prometheus")

    @property
    def etcd_server(self) -> CertificateFiles:
        return self._files("etcd-server")

    @property
    def etcd_client(self) -> CertificateFiles:
        return self._files("etcd-client")

    @property
    def service_account_key(self) -> Path:
        """The PEM private key (P-256) that signs service-account tokens, by ES256."""
        return self.directory / "service-account.key"

    @property
    def encryption_key(self) -> Path:
        """Where the store's keyring lives; the keyring itself writes it."""
        return self.directory / "encryption.key"

    def sign_node_csr(self, csr_pem: bytes, *, node_name: str, now: datetime | None = None) -> bytes:
        """A node's client certificate, PEM, for the key in the PKCS#10 request. InvalidCsrError.

        Subject and extensions of the request are ignored: the identity is ours to state.
        """
        public_key = _csr_public_key(csr_pem)
        profile = Profile(NODE_USER_PREFIX + node_name, (NODE_GROUP,))
        certificate = _sign(profile, self.authority, public_key=public_key, now=now or datetime.now(UTC))
        return certificate.public_bytes(serialization.Encoding.PEM)

    def sign_client_request(self, csr_pem: bytes, *, lifetime: timedelta, now: datetime) -> bytes:
        """A client's certificate, PEM, for the subject that its request names.

        It is valid for ``lifetime``, and for a year at most. The admins' group is not given away. InvalidCsrError.
        """
        public_key = _csr_public_key(csr_pem)
        subject = x509.load_pem_x509_csr(csr_pem).subject
        names = [str(each.value) for each in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        organizations = [str(each.value) for each in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
        if len(names) != 1 or not names[0]:
            raise InvalidCsrError("the subject must have one common name, which is the user's name")
        if ADMIN_GROUP in organizations:
            raise InvalidCsrError(f"nobody becomes a member of {ADMIN_GROUP} by a request")
        profile = Profile(names[0], tuple(organizations))
        certificate = _sign(profile, self.authority, public_key=public_key, now=now, lifetime=lifetime)
        return certificate.public_bytes(serialization.Encoding.PEM)

    def issue_client_certificate(self, common_name: str, organizations: Sequence[str] = ()) -> IssuedCertificate:
        """A new key and its client certificate: the user's name is ``common_name``, the groups ``organizations``."""
        return _issue(Profile(common_name, tuple(organizations)), self.authority, now=datetime.now(UTC))


def ensure_cluster_pki(directory: Path, *, server_names: Sequence[str] = (), now: datetime | None = None) -> ClusterPki:
    """Make what is missing or runs out within 90 days, and leave the rest alone. Safe to call from several processes.

    ``server_names`` are the host's names and addresses; localhost and the names of the ``kubernetes`` service are
    always included, and what an earlier call added stays. Files: ``ca etcd-ca server admin prometheus etcd-server
    etcd-client`` as ``.crt`` and ``.key``, and ``service-account.key``. OSError; ValueError on a damaged file.
    """
    now = now or datetime.now(UTC)
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory / ".lock"):
        cluster = _ensure_authority(directory, "ca", common_name="flotilla-ca", now=now)
        etcd = _ensure_authority(directory, "etcd-ca", common_name="flotilla-etcd-ca", now=now)
        pki = ClusterPki(directory, cluster)
        names = (*LOCAL_NAMES, *SERVICE_NAMES, *server_names)
        server = Profile("flotilla-server", server=True, client=False, names=names)
        # etcd's HTTP gateway dials etcd itself with the server's certificate, hence both purposes.
        etcd_server = Profile("flotilla-etcd", server=True, names=(*LOCAL_NAMES, *server_names))
        _ensure_certificate(pki.server, server, cluster, now=now)
        _ensure_certificate(pki.admin, Profile("admin", (ADMIN_GROUP,)), cluster, now=now)
        _ensure_certificate(pki.prometheus, Profile("system:prometheus", (MONITORING_GROUP,)), cluster, now=now)
        _ensure_certificate(pki.etcd_server, etcd_server, etcd, now=now)
        _ensure_certificate(pki.etcd_client, Profile("flotilla-control-plane"), etcd, now=now)
        if not pki.service_account_key.exists():
            _write(pki.service_account_key, _key_pem(ec.generate_private_key(ec.SECP256R1())), mode=0o600)
    return pki


def write_kubeconfig(path: Path, *, server_url: str, pki: ClusterPki) -> None:
    """Write the admin's kubeconfig, mode 0600, with all credentials embedded. An equal file is left alone."""
    admin = pki.admin.read()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "flotilla",
        "clusters": [
            {"name": "flotilla", "cluster": {"server": server_url, "certificate-authority-data": _base64(pki.ca_pem)}}
        ],
        "users": [
            {
                "name": "admin",
                "user": {
                    "client-certificate-data": _base64(admin.certificate_pem),
                    "client-key-data": _base64(admin.key_pem),
                },
            }
        ],
        "contexts": [{"name": "flotilla", "context": {"cluster": "flotilla", "user": "admin"}}],
    }
    text = yaml.safe_dump(config, sort_keys=False).encode()
    if not path.exists() or path.read_bytes() != text:
        _write(path, text, mode=0o600)


def _ensure_authority(directory: Path, name: str, *, common_name: str, now: datetime) -> Authority:
    files = CertificateFiles(directory / f"{name}.crt", directory / f"{name}.key")
    if not files.present():
        key = ec.generate_private_key(ec.SECP256R1())
        _write(files.key, _key_pem(key), mode=0o600)
        certificate = _self_sign(common_name, key, now=now)
        _write(files.certificate, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
    return Authority.load(files)


def _ensure_certificate(files: CertificateFiles, profile: Profile, authority: Authority, *, now: datetime) -> None:
    if files.present():
        current = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        known = _names_of(current)
        fresh = current.not_valid_after_utc - now > RENEW_BEFORE
        if fresh and authority.issued(current) and _matches(files, current) and _canonical(profile.names) <= known:
            return
        profile = Profile(
            profile.common_name,
            profile.organizations,
            server=profile.server,
            client=profile.client,
            names=(*profile.names, *sorted(known)),
        )
    issued = _issue(profile, authority, now=now)
    _write(files.key, issued.key_pem, mode=0o600)
    _write(files.certificate, issued.certificate_pem, mode=0o644)


def _matches(files: CertificateFiles, certificate: x509.Certificate) -> bool:
    """Whether the key on disk is the certificate's: a crash between the two writes leaves a pair that is not."""
    key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
    return key.public_key() == certificate.public_key()


def _issue(profile: Profile, authority: Authority, *, now: datetime) -> IssuedCertificate:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign(profile, authority, public_key=key.public_key(), now=now)
    return IssuedCertificate(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))


PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


def _sign(
    profile: Profile,
    authority: Authority,
    *,
    public_key: PublicKey,
    now: datetime,
    lifetime: timedelta = CERTIFICATE_LIFETIME,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(profile.subject())
        .issuer_name(authority.certificate.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(min(now + min(lifetime, CERTIFICATE_LIFETIME), authority.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(profile.usages()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
    )
    if profile.names:
        names = [_general_name(name) for name in sorted(_canonical(profile.names))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(authority.key, hashes.SHA256())


def _self_sign(common_name: str, key: ec.EllipticCurvePrivateKey, *, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _csr_public_key(csr_pem: bytes) -> PublicKey:
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        key = request.public_key()
        signed = request.is_signature_valid
    except (ValueError, InvalidSignature) as error:
        raise InvalidCsrError(f"not a certificate signing request: {error}") from error
    if not signed:
        raise InvalidCsrError("the request is not signed by its own key")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MINIMUM_RSA_BITS:
        raise InvalidCsrError(f"RSA keys below {MINIMUM_RSA_BITS} bits are not accepted")
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        raise InvalidCsrError(f"keys of type {type(key).__name__} are not accepted")
    return key


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _canonical(names: Sequence[str]) -> set[str]:
    return {str(_general_name(name).value) for name in names if name}


def _names_of(certificate: x509.Certificate) -> set[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return {str(name.value) for name in extension.value}


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _write(path: Path, data: bytes, *, mode: int) -> None:
    """Replace ``path`` atomically; the data never exists under a wider mode."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
