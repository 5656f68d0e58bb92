"""Which cluster a command talks to: the kubeconfig file and what is taken from it.

The file is ``--kubeconfig``, else the first existing one of ``$KUBECONFIG``, else the local cluster's
``/var/lib/flotilla/admin.kubeconfig`` where this user can read it, else ``~/.kube/config``. The format is Kubernetes'
(https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/); client certificates, tokens and
CA data or files are understood, credential plug-ins are not.
"""

from __future__ import annotations

import base64
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flotilla.cli.failures import CommandError

LOCAL_KUBECONFIG = Path("/var/lib/flotilla/admin.kubeconfig")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where the API is and who asks. ``headers`` carry a bearer token where the user has one."""

    server: str
    namespace: str
    tls: ssl.SSLContext | None
    headers: dict[str, str]


def load_cluster(path: Path | None, *, context: str | None = None) -> Cluster:
    """The cluster of ``context``, or of the current context. Raises CommandError naming the file and the entry."""
    source = path or find_kubeconfig()
    document = _read(source)
    chosen = context or document.get("current-context") or ""
    entry = _entry(document, "contexts", chosen, source).get("context") or {}
    cluster = _entry(document, "clusters", entry.get("cluster", ""), source).get("cluster") or {}
    user = _entry(document, "users", entry.get("user", ""), source).get("user") or {}
    server = cluster.get("server")
    if not server:
        raise CommandError(f"{source}: cluster {entry.get('cluster')!r} has no server")
    return Cluster(
        server=server.rstrip("/"),
        namespace=entry.get("namespace") or "default",
        tls=_tls_context(cluster, user, source.parent) if server.startswith("https://") else None,
        headers=_authorization(user, source.parent),
    )


def find_kubeconfig() -> Path:
    """The kubeconfig that applies where none was named. Raises CommandError with the remedy."""
    named = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    for candidate in named or [LOCAL_KUBECONFIG, Path.home() / ".kube" / "config"]:
        if os.access(candidate, os.R_OK):
            return candidate
    if named:
        raise CommandError(f"KUBECONFIG={os.environ['KUBECONFIG']}: no such file, or not readable by this user")
    if LOCAL_KUBECONFIG.parent.exists():
        raise CommandError(f"{LOCAL_KUBECONFIG} is missing or not readable by this user: start with `sudo flotilla up`")
    raise CommandError("no cluster found: start one with `sudo ./deploy/up`, or set KUBECONFIG to a kubeconfig file")


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise CommandError(f"{path}: not a YAML document: {error}") from error
    if not isinstance(document, dict):
        raise CommandError(f"{path}: not a kubeconfig")
    return document


def _entry(document: dict[str, Any], section: str, name: str, source: Path) -> dict[str, Any]:
    for entry in document.get(section) or ():
        if entry.get("name") == name:
            found: dict[str, Any] = entry
            return found
    raise CommandError(f"{source}: no entry {name!r} in {section}")


def _authorization(user: dict[str, Any], directory: Path) -> dict[str, str]:
    token = user.get("token")
    if not token and user.get("tokenFile"):
        token = (directory / user["tokenFile"]).read_text(encoding="utf-8").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _tls_context(cluster: dict[str, Any], user: dict[str, Any], directory: Path) -> ssl.SSLContext:
    authority = _material(cluster, "certificate-authority", directory)
    context = ssl.create_default_context(cadata=authority.decode("ascii") if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate = _material(user, "client-certificate", directory)
    key = _material(user, "client-key", directory)
    if certificate and key:
        _load_chain(context, certificate + b"\n" + key)
    return context


def _material(section: dict[str, Any], name: str, directory: Path) -> bytes | None:
    """What ``<name>-data`` holds inline or ``<name>`` names as a file, relative to the kubeconfig."""
    if section.get(f"{name}-data"):
        return base64.b64decode(section[f"{name}-data"])
    if section.get(name):
        return Path(directory, section[name]).read_bytes()
    return None


def _load_chain(context: ssl.SSLContext, pem: bytes) -> None:
    """``ssl`` takes keys from files only: an anonymous memory file keeps the key off the disk."""
    descriptor = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
