"""The cluster's certificates: idempotent, complete, and separate for etcd."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controlplane.pki import InvalidCsrError, ensure_cluster_pki, write_kubeconfig


def _contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def _certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _names(certificate: x509.Certificate) -> set[str]:
    value = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in value}


def _subject(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> list[str]:
    return [str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(oid)]


def _csr(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, common_name: str) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def test_a_second_call_changes_nothing(tmp_path: Path) -> None:
    """Every file is the same, byte for byte, after another call with the same names."""
    ensure_cluster_pki(tmp_path, server_names=["host.example", "192.0.2.7"])
    before = _contents(tmp_path)
    ensure_cluster_pki(tmp_path, server_names=["host.example", "192.0.2.7"])
    ensure_cluster_pki(tmp_path)
    assert _contents(tmp_path) == before


def test_server_certificate_names_host_and_service(tmp_path: Path) -> None:
    """The server's certificate is valid for localhost, the kubernetes service and what the caller names."""
    pki = ensure_cluster_pki(tmp_path, server_names=["host.example", "192.0.2.7"])
    assert _names(_certificate(pki.server.certificate)) >= {
        "localhost",
        "127.0.0.1",
        "::1",
        "10.43.0.1",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "host.example",
        "192.0.2.7",
    }


def test_a_new_host_name_renews_only_the_servers(tmp_path: Path) -> None:
    """A new name renews the two server certificates, keeps their older names, and leaves the authority alone."""
    ensure_cluster_pki(tmp_path, server_names=["old.example"])
    before = _contents(tmp_path)
    pki = ensure_cluster_pki(tmp_path, server_names=["new.example"])
    changed = {name for name, data in _contents(tmp_path).items() if before.get(name) != data}
    assert changed == {"server.crt", "server.key", "etcd-server.crt", "etcd-server.key"}
    assert {"old.example", "new.example"} <= _names(_certificate(pki.server.certificate))


def test_certificates_are_renewed_before_they_run_out(tmp_path: Path) -> None:
    """A certificate with less than 90 days left is replaced under the same authority."""
    early = datetime.now(UTC) - timedelta(days=300)
    old = ensure_cluster_pki(tmp_path, now=early)
    new = ensure_cluster_pki(tmp_path)
    assert new.ca_pem == old.ca_pem
    left = _certificate(new.admin.certificate).not_valid_after_utc - datetime.now(UTC)
    assert left > timedelta(days=360)


def test_a_pair_torn_by_a_crash_is_made_again(tmp_path: Path) -> None:
    """A key that does not belong to its certificate is not kept."""
    pki = ensure_cluster_pki(tmp_path)
    pki.admin.key.write_bytes(pki.prometheus.key.read_bytes())
    ensure_cluster_pki(tmp_path)
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(pki.admin.certificate, pki.admin.key)


def test_keys_are_private(tmp_path: Path) -> None:
    """Every key is readable by its owner only."""
    ensure_cluster_pki(tmp_path)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*.key")}
    assert set(modes.values()) == {0o600}
    assert "service-account.key" in modes


def test_identities(tmp_path: Path) -> None:
    """Admin and Prometheus carry the users and groups that the authorizer knows."""
    pki = ensure_cluster_pki(tmp_path)
    admin, prometheus = _certificate(pki.admin.certificate), _certificate(pki.prometheus.certificate)
    assert _subject(admin, NameOID.COMMON_NAME) == ["admin"]
    assert _subject(admin, NameOID.ORGANIZATION_NAME) == ["system:masters"]
    assert _subject(prometheus, NameOID.COMMON_NAME) == ["system:prometheus"]
    assert _subject(prometheus, NameOID.ORGANIZATION_NAME) == ["system:monitoring"]


def test_etcd_does_not_trust_the_clusters_authority(tmp_path: Path) -> None:
    """etcd's client and server certificates come from an authority that signs nothing else."""
    pki = ensure_cluster_pki(tmp_path)
    etcd_ca = _certificate(pki.etcd_ca_file)
    for files in (pki.etcd_server, pki.etcd_client):
        _certificate(files.certificate).verify_directly_issued_by(etcd_ca)
        assert not pki.authority.issued(_certificate(files.certificate))


def test_node_certificate_states_the_name_given(tmp_path: Path) -> None:
    """The signed certificate names the node that the caller states, whatever the request's subject says."""
    pki = ensure_cluster_pki(tmp_path)
    csr = _csr(ec.generate_private_key(ec.SECP256R1()), "system:node:other")
    certificate = x509.load_pem_x509_certificate(pki.sign_node_csr(csr, node_name="one"))
    assert _subject(certificate, NameOID.COMMON_NAME) == ["system:node:one"]
    assert _subject(certificate, NameOID.ORGANIZATION_NAME) == ["system:nodes"]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert pki.authority.issued(certificate)


@pytest.mark.parametrize(
    "csr", [b"", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"]
)
def test_damaged_request_is_refused(tmp_path: Path, csr: bytes) -> None:
    """What is no signing request is an InvalidCsrError, not a crash."""
    pki = ensure_cluster_pki(tmp_path)
    with pytest.raises(InvalidCsrError):
        pki.sign_node_csr(csr, node_name="one")


def test_weak_key_is_refused(tmp_path: Path) -> None:
    """An RSA key below 2048 bits gets no certificate."""
    pki = ensure_cluster_pki(tmp_path)
    csr = _csr(rsa.generate_private_key(public_exponent=65537, key_size=1024), "system:node:one")
    with pytest.raises(InvalidCsrError, match="2048"):
        pki.sign_node_csr(csr, node_name="one")


def test_kubeconfig_embeds_the_admin(tmp_path: Path) -> None:
    """The kubeconfig stands alone, is private, and is not rewritten when nothing changed."""
    pki = ensure_cluster_pki(tmp_path / "pki")
    path = tmp_path / "admin.kubeconfig"
    write_kubeconfig(path, server_url="https://127.0.0.1:6443", pki=pki)
    first = path.stat()
    write_kubeconfig(path, server_url="https://127.0.0.1:6443", pki=pki)
    config = yaml.safe_load(path.read_text())
    assert path.stat().st_ino == first.st_ino
    assert stat.S_IMODE(first.st_mode) == 0o600
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    assert set(config["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}
