"""What a CustomResourceDefinition may say. Source: ``pkg/apis/apiextensions/validation``.

Schemas are read and compiled here already, so that whatever would keep their objects from being judged is refused with
the definition. Conversion webhooks are refused: objects are converted by changing their ``apiVersion`` only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flotilla.api.conditions import is_true
from flotilla.api.crd.columns import FORMATS, TYPES
from flotilla.api.crd.json_path import InvalidPathError, parse_path, simple_fields
from flotilla.api.crd.schemas import schema_faults
from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import IMMUTABLE, duplicate, invalid, not_among, required, too_many, unsupported
from flotilla.api.kinds.metadata import validate_metadata
from flotilla.api.names import dns1035_label_faults, dns_subdomain_faults
from flotilla.api.objects import KubeObject

APPROVED = "api-approved.kubernetes.io"
_PROTECTED = (".k8s.io", ".kubernetes.io")
_SCOPES = ("Cluster", "Namespaced")
_MIXED_CASE = "may have mixed case, but should otherwise match: "
_MOST_SELECTABLE = 8
_LONGEST_WARNING = 256
_SELECTABLE_TYPES = ("boolean", "integer", "string")

Errors = list[FieldError]


def validate_definition(crd: KubeObject, old: KubeObject | None) -> Errors:
    """Every fault of a definition; ``old`` is the stored one, None on create."""
    spec, names = crd["spec"], crd["spec"].get("names") or {}
    wanted = f"{names.get('plural', '')}.{spec.get('group', '')}"

    def name_faults(name: str) -> list[str]:
        faults = dns_subdomain_faults(name)
        return faults if name == wanted else [*faults, 'must be spec.names.plural+"."+spec.group']

    errors = validate_metadata(crd, name_faults=name_faults)
    errors += _group_faults(spec.get("group") or "")
    errors += _names_faults(names)
    scope = spec.get("scope") or ""
    errors += not_among("spec.scope", scope, _SCOPES) if scope else [required("spec.scope")]
    errors += _conversion_faults(spec)
    if spec.get("preserveUnknownFields"):
        errors.append(invalid("spec.preserveUnknownFields", True, "must be false"))
    errors += _versions_faults(spec.get("versions") or [])
    if old is None:
        return errors + _approval_faults(crd)
    return errors + _update_faults(crd, old)


def _group_faults(group: str) -> Errors:
    if not group:
        return [required("spec.group")]
    faults = dns_subdomain_faults(group)
    if faults:
        return [invalid("spec.group", group, ",".join(faults))]
    return [] if "." in group else [invalid("spec.group", group, "should be a domain with at least one dot")]


def _names_faults(names: Mapping[str, Any]) -> Errors:
    errors = [required(f"spec.names.{word}") for word in ("plural", "kind") if not names.get(word)]
    listed = [(word, names.get(word) or "") for word in ("plural", "singular")]
    listed += [(f"shortNames[{index}]", name) for index, name in enumerate(names.get("shortNames") or ())]
    listed += [(f"categories[{index}]", name) for index, name in enumerate(names.get("categories") or ())]
    for word, name in listed:
        faults = dns1035_label_faults(name) if name else []
        if faults:
            errors.append(invalid(f"spec.names.{word}", name, ",".join(faults)))
    for word in ("kind", "listKind"):
        name = names.get(word) or ""
        faults = dns1035_label_faults(name.lower()) if name else []
        if faults:
            errors.append(invalid(f"spec.names.{word}", name, _MIXED_CASE + ",".join(faults)))
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        errors.append(invalid("spec.names.listKind", names["listKind"], "kind and listKind may not be the same"))
    return errors


def _conversion_faults(spec: Mapping[str, Any]) -> Errors:
    conversion = spec.get("conversion") or {}
    strategy = conversion.get("strategy") or ""
    if not strategy:
        return [required("spec.conversion.strategy")]
    if strategy != "None":
        return [unsupported("spec.conversion.strategy", strategy, ("None",))]
    if conversion.get("webhook") is not None:
        why = "should not be set when strategy is not set to Webhook"
        return [FieldError("spec.conversion.webhook", f"Forbidden: {why}", "FieldValueForbidden")]
    return []


def _versions_faults(versions: Sequence[Mapping[str, Any]]) -> Errors:
    names = [version.get("name") or "" for version in versions]
    errors: Errors = []
    if len(set(names)) != len(names):
        errors.append(invalid("spec.versions", names, "must contain unique version names"))
    if sum(bool(version.get("storage")) for version in versions) != 1:
        errors.append(invalid("spec.versions", names, "must have exactly one version marked as storage version"))
    for index, version in enumerate(versions):
        errors += _version_faults(version, f"spec.versions[{index}]")
    return errors


def _version_faults(version: Mapping[str, Any], path: str) -> Errors:
    faults = dns1035_label_faults(version.get("name") or "")
    errors = [invalid(f"{path}.name", version.get("name"), ",".join(faults))] if faults else []
    warning = version.get("deprecationWarning")
    if warning is not None:
        if not version.get("deprecated"):
            errors.append(invalid(f"{path}.deprecationWarning", warning, "can only be set for deprecated versions"))
        elif not 0 < len(warning.encode()) <= _LONGEST_WARNING:
            why = f"must be between 1 and {_LONGEST_WARNING} bytes"
            errors.append(invalid(f"{path}.deprecationWarning", warning, why))
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    where = f"{path}.schema.openAPIV3Schema"
    if schema is None:
        errors.append(required(where, "schemas are required"))
    else:
        errors += schema_faults(schema, where)
    errors += _subresource_faults(version.get("subresources") or {}, f"{path}.subresources")
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        errors += _column_faults(column, f"{path}.additionalPrinterColumns[{index}]")
    return errors + _selectable_faults(version.get("selectableFields") or [], schema or {}, f"{path}.selectableFields")


def _subresource_faults(subresources: Mapping[str, Any], path: str) -> Errors:
    scale = subresources.get("scale")
    if scale is None:
        return []
    errors = _scale_path_faults(scale.get("specReplicasPath") or "", f"{path}.scale.specReplicasPath", (".spec.",))
    errors += _scale_path_faults(
        scale.get("statusReplicasPath") or "", f"{path}.scale.statusReplicasPath", (".status.",)
    )
    selector = scale.get("labelSelectorPath")
    if selector:
        errors += _scale_path_faults(selector, f"{path}.scale.labelSelectorPath", (".spec.", ".status."))
    return errors


def _scale_path_faults(text: str, path: str, under: tuple[str, ...]) -> Errors:
    if not text:
        return [required(path)]
    try:
        simple_fields(text)
    except InvalidPathError as error:
        return [invalid(path, text, str(error))]
    if text.startswith(under):
        return []
    return [invalid(path, text, f"should be a json path under {' or '.join(part[:-1] for part in under)}")]


def _column_faults(column: Mapping[str, Any], path: str) -> Errors:
    errors = [required(f"{path}.{word}") for word in ("name", "type") if not column.get(word)]
    errors += not_among(f"{path}.type", column.get("type"), TYPES)
    errors += not_among(f"{path}.format", column.get("format"), FORMATS)
    text = column.get("jsonPath") or ""
    if not text:
        return [*errors, required(f"{path}.jsonPath")]
    try:
        if not text.startswith("."):
            raise InvalidPathError("must be a simple json path starting with .")
        parse_path(text)
    except InvalidPathError as error:
        errors.append(invalid(f"{path}.jsonPath", text, str(error)))
    return errors


def _selectable_faults(fields: Sequence[Mapping[str, Any]], schema: Mapping[str, Any], path: str) -> Errors:
    if len(fields) > _MOST_SELECTABLE:
        return [too_many(path, len(fields), _MOST_SELECTABLE)]
    errors: Errors = []
    seen: set[str] = set()
    for index, field in enumerate(fields):
        text, where = field.get("jsonPath") or "", f"{path}[{index}].jsonPath"
        if not text:
            errors.append(required(where))
            continue
        try:
            found: Any = schema
            names = simple_fields(text)
            for name in names:
                found = (found.get("properties") or {}).get(name) or {}
        except InvalidPathError as error:
            errors.append(invalid(where, text, f"is an invalid path: {error}"))
            continue
        if names[0] == "metadata":
            errors.append(invalid(where, text, "must not point to fields in metadata"))
        elif found.get("type") not in _SELECTABLE_TYPES:
            why = "must point to a field of type string, boolean or integer"
            errors.append(invalid(where, text, why))
        if text in seen:
            errors.append(duplicate(where, text))
        seen.add(text)
    return errors


def is_protected(group: str) -> bool:
    """Whether a group is one of Kubernetes' own, which are for what its community has agreed on."""
    return group.endswith(_PROTECTED) or group in ("k8s.io", "kubernetes.io")


def _approval_faults(crd: KubeObject) -> Errors:
    if not is_protected(crd["spec"].get("group") or ""):
        return []
    approval = (crd["metadata"].get("annotations") or {}).get(APPROVED, "")
    path = f"metadata.annotations[{APPROVED}]"
    if not approval:
        see = "see https://github.com/kubernetes/enhancements/pull/1111"
        return [required(path, f'protected groups must have approval annotation "{APPROVED}", {see}')]
    if approval.startswith("unapproved") or "://" in approval:
        return []
    why = 'must be a URL to where the API was approved, or begin with "unapproved"'
    return [invalid(path, approval, why)]


def _update_faults(crd: KubeObject, old: KubeObject) -> Errors:
    spec, was = crd["spec"], old["spec"]
    fixed = [("group",), ("names", "plural")]
    if is_true(old, "Established"):
        fixed += [("scope",), ("names", "kind")]
    errors: Errors = []
    for steps in fixed:
        new_value, old_value = _at(spec, steps), _at(was, steps)
        if new_value != old_value:
            errors.append(invalid(f"spec.{'.'.join(steps)}", new_value, IMMUTABLE))
    names = {version.get("name") for version in spec.get("versions") or ()}
    for index, stored in enumerate((crd.get("status") or {}).get("storedVersions") or ()):
        if stored not in names:
            errors.append(invalid(f"status.storedVersions[{index}]", stored, "must appear in spec.versions"))
    return errors


def _at(value: Mapping[str, Any], steps: tuple[str, ...]) -> Any:
    for step in steps:
        value = value.get(step) or {}
    return value
