"""Defaults of the sources of volumes, in pods and in PersistentVolumes, and of claims."""

from __future__ import annotations

from flotilla.api.objects import KubeObject

_TEXTS: dict[str, dict[str, str]] = {
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "azureDisk": {"cachingMode": "ReadWrite", "kind": "Shared", "fsType": "ext4"},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}


def default_source(holder: KubeObject) -> None:
    """Fill the source of a volume; ``holder`` has it under the name of its kind."""
    for kind, defaults in _TEXTS.items():
        source = holder.get(kind)
        if source is not None:
            holder[kind] = source | {field: source.get(field) or value for field, value in defaults.items()}
    if holder.get("azureDisk") is not None:
        holder["azureDisk"].setdefault("readOnly", False)
    if holder.get("hostPath") is not None:
        holder["hostPath"].setdefault("type", "")


def default_claim_spec(spec: KubeObject) -> None:
    """Fill the spec of a claim or of a template of claims."""
    spec["volumeMode"] = spec.get("volumeMode") or "Filesystem"
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None and reference is None:
        spec["dataSourceRef"] = dict(source)
    elif reference is not None and source is None and not reference.get("namespace"):
        spec["dataSource"] = {key: value for key, value in reference.items() if key != "namespace"}
