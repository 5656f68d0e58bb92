"""PodTemplate: its strategy. It is a template kept under a name, for controllers that fetch it."""

from __future__ import annotations

from flotilla.api.errors import FieldError
from flotilla.api.kinds.metadata import metadata_fields, validate_metadata
from flotilla.api.kinds.pod_templates import default_template, template_warnings, validate_template
from flotilla.api.kinds.resource import Strategy
from flotilla.api.objects import KubeObject


def _default(template: KubeObject) -> None:
    template.setdefault("template", {})
    default_template(template)


def _validate(template: KubeObject, old: KubeObject | None) -> list[FieldError]:
    return validate_metadata(template) + validate_template(template.get("template"), "template")


def _prepare_for_create(template: KubeObject) -> None:
    template["metadata"]["generation"] = 1


def _prepare_for_update(template: KubeObject, old: KubeObject) -> None:
    changed = template.get("template") != old.get("template")
    template["metadata"]["generation"] = old["metadata"].get("generation", 1) + changed


def _warnings(template: KubeObject) -> list[str]:
    return template_warnings(template, "template")


STRATEGY = Strategy(
    default=_default,
    validate=_validate,
    prepare_for_create=_prepare_for_create,
    prepare_for_update=_prepare_for_update,
    warnings=_warnings,
    selectable_fields=metadata_fields,
)
