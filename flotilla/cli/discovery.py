"""Which kinds the server has, asked of the server: any word a user may write for a kind, and the paths of its objects.

Two requests in the aggregated discovery form (``apidiscovery.k8s.io/v2``) bring every kind of the cluster, so that the
command line works against whatever the server offers and holds no list of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flotilla.api.objects import KubeObject
from flotilla.cli.client import Client
from flotilla.cli.failures import CommandError

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One served kind. ``group`` is ``""`` for the core group."""

    group: str
    version: str
    plural: str
    singular: str
    kind: str
    namespaced: bool
    short_names: tuple[str, ...]
    categories: tuple[str, ...]
    verbs: tuple[str, ...]

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """``deployments.apps``, as messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def prefix(self) -> str:
        """``deployment.apps``, as it stands before a name in output."""
        return f"{self.singular}.{self.group}" if self.group else self.singular

    def path(self, namespace: str | None, name: str = "", *, subresource: str = "") -> str:
        """The URL path of the collection, or of ``name`` in it. ``namespace`` None means all of them."""
        parts = [f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"]
        if self.namespaced and namespace is not None:
            parts.append(f"namespaces/{namespace}")
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/".join(parts)

    def answers_to(self, word: str) -> bool:
        """Whether ``word`` is a name of this kind: plural, singular, short name or kind, with or without its group."""
        name, _, rest = word.lower().partition(".")
        if name not in {self.plural, self.singular, self.kind.lower(), *self.short_names}:
            return False
        return rest in {"", self.group, f"{self.version}.{self.group}", self.version if not self.group else self.group}


class Discovery:
    """The kinds of one server."""

    def __init__(self, client: Client) -> None:
        core = client.get("/api", accept=f"{AGGREGATED},application/json")
        named = client.get("/apis", accept=f"{AGGREGATED},application/json")
        self._kinds = [kind for group in (*core.get("items", ()), *named.get("items", ())) for kind in _kinds_of(group)]

    def find(self, word: str) -> list[Kind]:
        """The kinds that ``word`` names: one, or all of a category such as ``all``. Raises CommandError for none."""
        for kind in self._kinds:
            if kind.answers_to(word):
                return [kind]
        members = [kind for kind in self._kinds if word in kind.categories]
        if not members:
            raise CommandError(f'the server doesn\'t have a resource type "{word}"')
        return list({member.qualified: member for member in members}.values())

    def one(self, word: str) -> Kind:
        return self.find(word)[0]

    def by_kind(self, api_version: str, kind: str) -> Kind | None:
        for candidate in self._kinds:
            if candidate.kind == kind and candidate.api_version == api_version:
                return candidate
        return None

    def names(self) -> list[str]:
        """Every plural, for completion and for messages."""
        return sorted({kind.plural for kind in self._kinds})

    def versions_of(self, kind: str) -> list[str]:
        """The API versions that serve ``kind``."""
        return [candidate.api_version for candidate in self._kinds if candidate.kind == kind]


def _kinds_of(group: KubeObject) -> list[Kind]:
    """The kinds of one group, preferred version first as the server lists them."""
    return [
        _kind(group["metadata"].get("name") or "", version["version"], resource)
        for version in group.get("versions") or ()
        for resource in version.get("resources") or ()
    ]


def _kind(group: str, version: str, resource: dict[str, Any]) -> Kind:
    kind = resource["responseKind"]["kind"]
    return Kind(
        group=group,
        version=version,
        plural=resource["resource"],
        singular=resource.get("singularResource") or kind.lower(),
        kind=kind,
        namespaced=resource.get("scope") == "Namespaced",
        short_names=tuple(resource.get("shortNames") or ()),
        categories=tuple(resource.get("categories") or ()),
        verbs=tuple(resource.get("verbs") or ()),
    )
