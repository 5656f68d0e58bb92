"""Which volume fits a claim; pure. Source: Kubernetes' ``component-helpers/storage/volume``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from controlplane.scheduler.affinity import matches_term
from flotilla.api.objects import is_deleting, labels_of, name_of
from flotilla.api.quantities import parse_quantity
from flotilla.api.selectors import label_selector_of
from flotilla.api.storage import class_name, is_for, requested, storage_of

Object = Mapping[str, Any]


def mismatch(volume: Object, claim: Object) -> str:
    """Why a volume that a claim names can't be bound to it; empty if it can."""
    spec, wanted = volume["spec"], claim["spec"]
    if parse_quantity(storage_of(spec.get("capacity"))) < parse_quantity(requested(claim)):
        return "requested PV is too small"
    if (class_name(volume) or "") != (class_name(claim) or ""):
        return "storageClassName does not match"
    if _mode(spec) != _mode(wanted):
        return "incompatible volumeMode"
    if not set(wanted.get("accessModes") or ()) <= set(spec.get("accessModes") or ()):
        return "incompatible accessMode"
    return ""


def reaches(volume: Object, labels: Mapping[str, str], node: str) -> bool:
    """Whether a node with these labels can mount the volume, by its node affinity."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    return required is None or any(matches_term(term, labels, node) for term in required.get("nodeSelectorTerms") or ())


def admits(storage_class: Object, labels: Mapping[str, str]) -> bool:
    """Whether volumes of the class may be made for nodes with these labels (``allowedTopologies``)."""
    terms = storage_class.get("allowedTopologies") or ()
    return not terms or any(
        all(labels.get(each["key"]) in each["values"] for each in term.get("matchLabelExpressions") or ())
        for term in terms
    )


def candidates(volumes: Iterable[Object], claim: Object, *, prebound_only: bool = False) -> list[Object]:
    """The volumes that the claim can have, the best first: those meant for it, then the smallest, then by name.

    ``prebound_only``: only those meant for the claim.
    """
    found: list[tuple[tuple[bool, Any, str], Object]] = []
    for volume in volumes:
        reference = volume["spec"].get("claimRef")
        meant = reference is not None and is_for(reference, claim)
        if is_deleting(volume) or (not meant and (prebound_only or reference is not None)):
            continue
        if mismatch(volume, claim) or not (meant or _selects(claim, volume)):
            continue
        size = parse_quantity(storage_of(volume["spec"].get("capacity")))
        found.append(((not meant, size, name_of(volume)), volume))
    return [volume for _, volume in sorted(found, key=lambda each: each[0])]


def _selects(claim: Object, volume: Object) -> bool:
    selector = claim["spec"].get("selector")
    return selector is None or label_selector_of(selector).matches(labels_of(volume))


def _mode(spec: Mapping[str, Any]) -> str:
    mode: str = spec.get("volumeMode") or "Filesystem"
    return mode
