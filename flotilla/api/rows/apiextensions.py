"""``apiextensions.k8s.io``: kinds that users define."""

from __future__ import annotations

from flotilla.api.crd import definitions
from flotilla.api.kinds.resource import Resource, guarded

CUSTOM_RESOURCE_DEFINITIONS = Resource(
    group="apiextensions.k8s.io",
    version="v1",
    plural="customresourcedefinitions",
    singular="customresourcedefinition",
    kind="CustomResourceDefinition",
    namespaced=False,
    definition="io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    columns=definitions.COLUMNS,
    strategy=guarded(definitions.STRATEGY),
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    subresources=("status",),
)

ROWS = (CUSTOM_RESOURCE_DEFINITIONS,)
