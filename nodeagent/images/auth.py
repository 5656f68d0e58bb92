"""Registry credentials from pull secrets, matched to repositories as the kubelet matches them.

A key is a host with optional port and path. Each label of its host may hold ``*`` and ``?`` and stands for one label;
ports must be equal; the path is a plain prefix of the repository's (Kubernetes, "Interpretation of config.json"). A
pull is tried with each matching credential in turn, in reverse order of their keys, so that a longer path comes before
a shorter one, and one wrong secret among several does not hide the right one.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from flotilla.api.objects import KubeObject
from nodeagent.images.reference import Reference


@dataclass(frozen=True, slots=True)
class RegistryAuth:
    """A credential for ``registry``: a host with optional port and path, where host labels may be ``*``."""

    registry: str
    username: str
    password: str = field(repr=False)


def registry_auths(secret: KubeObject) -> list[RegistryAuth]:
    """The credentials in a ``kubernetes.io/dockerconfigjson`` or ``kubernetes.io/dockercfg`` Secret.

    Entries that can't be read are left out: the pull then fails with the registry's own words.
    """
    data = secret.get("data") or {}
    for key in (".dockerconfigjson", ".dockercfg"):
        try:
            content = base64.b64decode(data.get(key) or "")
            return document_auths(json.loads(content), wrapped=key == ".dockerconfigjson")
        except (ValueError, binascii.Error):
            continue
    return []


def document_auths(document: object, *, wrapped: bool = True) -> list[RegistryAuth]:
    """The credentials in a ``config.json`` as ``docker login`` and ``skopeo login`` write it (``wrapped`` in auths)."""
    entries = document.get("auths") if wrapped and isinstance(document, dict) else document
    if not isinstance(entries, dict):
        return []
    return [auth for registry, entry in entries.items() if (auth := _auth(registry, entry))]


def _auth(registry: str, entry: object) -> RegistryAuth | None:
    if not isinstance(entry, dict):
        return None
    username, password = entry.get("username") or "", entry.get("password") or ""
    if entry.get("auth"):
        try:
            username, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        except ValueError:
            return None
    return RegistryAuth(registry, username, password) if username or password else None


def matching_auths(auths: Sequence[RegistryAuth], reference: Reference) -> list[RegistryAuth]:
    """Those of ``auths`` that cover ``reference``, in the order to try them."""
    covering = [auth for auth in auths if _covers(_normalized(auth.registry), reference)]
    return sorted(covering, key=lambda auth: _normalized(auth.registry), reverse=True)


def _normalized(registry: str) -> str:
    bare = registry.partition("://")[2] or registry
    host, _, path = bare.partition("/")
    for version in ("v1", "v2"):
        if path == version or path.startswith(f"{version}/"):
            path = path[len(version) + 1 :]
    host = "docker.io" if host in {"index.docker.io", "registry-1.docker.io"} else host
    return f"{host}/{path}" if path.strip("/") else host


def _covers(pattern: str, reference: Reference) -> bool:
    host, _, path = pattern.partition("/")
    (name, _, port), (wanted, _, wanted_port) = host.partition(":"), reference.domain.partition(":")
    pattern_labels, labels = name.split("."), wanted.split(".")
    if port != wanted_port or len(pattern_labels) != len(labels):
        return False
    if not all(fnmatchcase(label, part) for label, part in zip(labels, pattern_labels, strict=True)):
        return False
    return reference.path.startswith(path)
