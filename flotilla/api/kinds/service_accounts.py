"""ServiceAccount: its strategy. Of the secrets that it names, only the names count."""

from __future__ import annotations

from flotilla.api.kinds.metadata import (
    metadata_fields,
    no_defaults,
    validate_metadata_only,
)
from flotilla.api.kinds.resource import Strategy
from flotilla.api.objects import KubeObject

_MOUNTABLE = "kubernetes.io/enforce-mountable-secrets"
_USE_NAMESPACES = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"


def _keep_names(account: KubeObject) -> None:
    if account.get("secrets"):
        account["secrets"] = [{"name": secret.get("name", "")} for secret in account["secrets"]]


def _keep_names_of_update(account: KubeObject, old: KubeObject) -> None:
    _keep_names(account)


def _warnings(account: KubeObject) -> list[str]:
    if _MOUNTABLE not in (account["metadata"].get("annotations") or {}):
        return []
    return [f"metadata.annotations[{_MOUNTABLE}]: {_USE_NAMESPACES}"]


STRATEGY = Strategy(
    default=no_defaults,
    validate=validate_metadata_only,
    prepare_for_create=_keep_names,
    prepare_for_update=_keep_names_of_update,
    warnings=_warnings,
    selectable_fields=metadata_fields,
)
