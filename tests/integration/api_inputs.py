"""Requests for an API server, made from its published OpenAPI: objects that it takes, and what is near to them.

Random bytes never get past the decoder, and objects made from a schema alone seldom past validation. So objects are
made from the schema and repaired by what the server says is wrong with them; then parts of them are replaced, removed,
moved and repeated. One seed and one number give one request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random
from typing import Any
from urllib.parse import quote, urlencode

from tests.integration.api_values import (
    ACCEPTS,
    FIELDS,
    HINTS,
    MAP_HINTS,
    METADATA,
    NAMES,
    NAMESPACES,
    NASTY,
    OPERATIONS,
    PATCHES,
    SEEDS,
    SELECTORS,
)

Schema = dict[str, Any]

_SUPPORTED = re.compile(r'supported values: (".*")')
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Input:
    """One request. ``path`` has its query."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None

    def __str__(self) -> str:
        body = "" if self.body is None else f" {self.body[:2000]!r}"
        return f"{self.method} {self.path[:600]} {self.headers}{body}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation of the document."""

    method: str
    path: str
    action: str
    parameters: tuple[str, ...]
    schema: Schema


class Grammar:
    """Makes values of the published schemas."""

    def __init__(self, documents: list[Schema]) -> None:
        self._schemas: dict[str, Schema] = {}
        self.endpoints: list[Endpoint] = []
        for document in documents:
            self._schemas.update((document.get("components") or {}).get("schemas") or {})
            self.endpoints.extend(_endpoints(document))

    def resolve(self, schema: Schema) -> Schema:
        while True:
            if "$ref" in schema:
                schema = self._schemas.get(schema["$ref"].rpartition("/")[2], {})
            elif len(schema.get("allOf") or ()) == 1:
                schema = schema["allOf"][0]
            else:
                return schema

    def value(self, random: Random, schema: Schema, *, name: str = "", depth: int = 0, spread: float = 0.3) -> Any:
        """A value that fits; ``spread`` is the chance of a field that is not required, less with depth."""
        schema = self.resolve(schema)
        if "enum" in schema:
            return random.choice(schema["enum"])
        if "oneOf" in schema:
            return self.value(random, random.choice(schema["oneOf"]), name=name, depth=depth, spread=spread)
        match schema.get("type"):
            case "string":
                return self._text(random, schema, name)
            case "integer":
                return random.choice((1, 1, 2, 80, 8080))
            case "number":
                return 1.5
            case "boolean":
                return random.random() < 0.3
            case "array":
                count = 0 if depth > 8 else random.choice((1, 1, 1, 1, 2))
                items = schema.get("items") or {}
                return [self.value(random, items, name=name, depth=depth + 1, spread=spread / 2) for _ in range(count)]
        return self._object(random, schema, name, depth, spread)

    def _text(self, random: Random, schema: Schema, name: str) -> Any:
        if name in HINTS:
            return HINTS[name]
        match schema.get("format"):
            case "date-time":
                return "2026-01-02T03:04:05Z"
            case "byte":
                return "Yg=="
        return random.choice(("a", "web", "10m", "1Gi", "80", "True", "Always"))

    def _object(self, random: Random, schema: Schema, name: str, depth: int, spread: float) -> Any:
        properties = schema.get("properties")
        if not properties:
            if name in MAP_HINTS:
                return dict(MAP_HINTS[name])
            inner = schema.get("additionalProperties")
            return {"a": self.value(random, inner, depth=depth + 1)} if isinstance(inner, dict) and depth < 9 else {}
        if name == "selector" and "matchLabels" in properties:
            return {"matchLabels": {"app": "web"}}
        if name == "metadata":
            return {"name": "web", "labels": {"app": "web"}} if depth == 1 else {"labels": {"app": "web"}}
        required = set(schema.get("required") or ())
        if depth == 0 or name in ("template", "jobTemplate"):
            required |= {"metadata", "spec"}
        made = {}
        for key, inner in properties.items():
            if depth == 0 and key in ("apiVersion", "kind", "status"):
                continue
            if key in required or (depth < 9 and random.random() < spread):
                value = self.value(random, inner, name=key, depth=depth + 1, spread=spread / 2)
                if value is not None and value != "":
                    made[key] = value
        return made

    def seed(self, random: Random, endpoint: Endpoint) -> Any:
        """An object to begin with for a create."""
        seed = SEEDS.get(endpoint.path.rpartition("/")[2])
        if seed is None:
            return self.value(random, endpoint.schema, spread=0.1)
        return deepcopy({"metadata": METADATA} | seed)

    def repair(self, random: Random, schema: Schema, obj: Any, causes: list[dict[str, Any]]) -> None:
        """Change what the server says is wrong: fill in, choose what is supported, or leave out."""
        for cause in causes:
            steps: list[str | int] = [
                int(index) if index else key for key, index in _STEP.findall(str(cause.get("field", "")))
            ]
            if not steps or steps == ["metadata"]:
                continue
            if steps == ["metadata", "name"]:
                obj["metadata"]["name"] = "10.0.0.9"
                continue
            supported = _SUPPORTED.search(cause.get("message", ""))
            if supported:
                _place(obj, steps, random.choice([text.strip(' "') for text in supported[1].split(",")]))
            elif cause.get("reason") == "FieldValueRequired":
                inner = self._schema_at(schema, steps)
                name = str(steps[-1])
                spread = random.choice((0.0, 0.4, 1.0))
                value = self.value(random, inner, name=name, depth=5, spread=spread) if inner else "a"
                _place(obj, steps, "a" if value is None or value == "" else value)
            else:
                _remove(obj, steps)

    def _schema_at(self, schema: Schema, steps: list[str | int]) -> Schema:
        for step in steps:
            schema = self.resolve(schema)
            if isinstance(step, int):
                schema = schema.get("items") or {}
            else:
                schema = (schema.get("properties") or {}).get(step) or schema.get("additionalProperties") or {}
            if not isinstance(schema, dict):
                return {}
        return schema


def _endpoints(document: Schema) -> Iterator[Endpoint]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method == "parameters":
                continue
            contents = (operation.get("requestBody") or {}).get("content") or {}
            schema = next((content.get("schema") or {} for content in contents.values()), {})
            parameters = tuple(one["name"] for one in operation.get("parameters") or () if one.get("in") == "query")
            action = operation.get("x-kubernetes-action", method)
            yield Endpoint(method.upper(), path, action, parameters, schema)


def _place(obj: Any, steps: list[str | int], value: Any) -> None:
    for index, step in enumerate(steps):
        last = index == len(steps) - 1
        if isinstance(obj, dict) and isinstance(step, str):
            if last:
                obj[step] = value
                return
            child = obj.get(step)
            if not isinstance(child, dict | list):
                child = obj[step] = [] if isinstance(steps[index + 1], int) else {}
        elif isinstance(obj, list) and isinstance(step, int):
            while len(obj) <= step:
                obj.append({})
            if last:
                obj[step] = value
                return
            child = obj[step]
        else:
            return
        obj = child


def _remove(obj: Any, steps: list[str | int]) -> None:
    for step in steps[:-1]:
        inside = step in obj if isinstance(obj, dict) else isinstance(obj, list) and step in range(len(obj))
        if not inside:
            return
        obj = obj[step]
    last = steps[-1]
    if isinstance(obj, dict):
        obj.pop(last, None)
    elif isinstance(obj, list) and isinstance(last, int) and last < len(obj):
        del obj[last]


def places(value: Any, limit: int = 4000) -> list[tuple[Any, Any]]:
    """Every container of a document with each of its keys or indexes."""
    found: list[tuple[Any, Any]] = []
    pending = [value]
    while pending and len(found) < limit:
        one = pending.pop()
        pairs = one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ()
        for key, child in pairs:
            found.append((one, key))
            if isinstance(child, dict | list):
                pending.append(child)
    return found


def mutated(random: Random, obj: Any) -> Any:
    """A copy with one to three parts changed."""
    obj = deepcopy(obj)
    for _ in range(random.choice((1, 1, 2, 3))):
        spots = places(obj)
        if not spots:
            return random.choice(NASTY)
        owner, key = random.choice(spots)
        match random.randrange(7):
            case 0 | 1 | 2:
                alike = [value for value in NASTY if type(value) is type(owner[key])]
                owner[key] = deepcopy(random.choice(alike if alike and random.random() < 0.7 else NASTY))
            case 3:
                del owner[key]
            case 4 if isinstance(owner, list):
                owner.append(deepcopy(owner[key]))
            case 4 | 5 if isinstance(owner, dict):
                owner[random.choice(("new", "name", "$patch", "", "$setElementOrder/containers"))] = deepcopy(
                    owner[key]
                )
            case _:
                other, other_key = random.choice(spots)
                owner[key] = deepcopy(other[other_key])
    return obj


def _weight(endpoint: Endpoint) -> float:
    """Much is made, little is deleted: what is there can be read and changed."""
    if endpoint.method == "DELETE":
        return 0.4 if endpoint.path.endswith("}") else 0.02
    return {"POST": 5.0, "PATCH": 2.0, "PUT": 2.0}.get(endpoint.method, 1.0)


class Inputs:
    """The requests of one seed. ``known`` has an object the server has taken for each path of a create."""

    def __init__(self, grammar: Grammar, seed: int) -> None:
        self.grammar = grammar
        self.known: dict[str, Any] = {}
        self._seed = seed
        self._weights = list(accumulate(_weight(endpoint) for endpoint in grammar.endpoints))

    def at(self, number: int) -> Input:
        """The request of this number."""
        random = Random(f"{self._seed}/{number}")
        if random.random() < 0.03:
            return self._stray(random)
        endpoint = random.choices(self.grammar.endpoints, cum_weights=self._weights)[0]
        path = self._path(random, endpoint.path)
        headers = {"Accept": random.choice(ACCEPTS)} if random.random() < 0.4 else {}
        body: bytes | None = None
        if endpoint.method in ("POST", "PUT"):
            body, headers["Content-Type"] = self._object(random, endpoint)
        elif endpoint.method == "PATCH":
            body, headers["Content-Type"] = self._patch(random, endpoint)
        elif endpoint.method == "DELETE" and random.random() < 0.5:
            body, headers["Content-Type"] = self._object(random, endpoint)
        return Input(endpoint.method, path + self._query(random, endpoint), headers, body)

    def _path(self, random: Random, template: str) -> str:
        def fill(match: re.Match[str]) -> str:
            if match[1] == "namespace":
                return random.choice(NAMESPACES)
            if random.random() < 0.05:
                return quote(str(random.choice(NASTY)), safe="", errors="surrogatepass") or "x"
            return random.choice(NAMES)

        return re.sub(r"\{([^}]+)\}", fill, template)

    def _stray(self, random: Random) -> Input:
        paths = (
            "/",
            "/api",
            "/apis",
            "/version",
            "/healthz/x",
            "/openapi/v2",
            "/openapi/v3/api/v1",
            "/%ff%fe",
            "/api/v1/%00",
        )
        path = random.choice((*paths, "/apis/" + "a/" * 500, "//", "/api/v1/namespaces//pods", "/metrics?x=%zz"))
        return Input(random.choice(("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE")), path)

    def _query(self, random: Random, endpoint: Endpoint) -> str:
        chosen: dict[str, str] = {}
        for name in (*endpoint.parameters, "timeout", "pretty", "limit", "labelSelector"):
            if random.random() < 0.15:
                chosen[name] = self._option(random, name)
        if "watch" in chosen or endpoint.action.startswith("watch"):
            chosen["timeoutSeconds"] = "1"
        if chosen.get("resourceVersion", "").isdigit() and len(chosen["resourceVersion"]) > 3:
            chosen["resourceVersion"] = "1"
        return "?" + urlencode(chosen, errors="surrogatepass") if chosen else ""

    def _option(self, random: Random, name: str) -> str:
        if random.random() < 0.25:
            return str(random.choice(NASTY))
        match name:
            case "labelSelector":
                return random.choice(SELECTORS)
            case "fieldSelector":
                return random.choice(FIELDS)
            case "dryRun":
                return "All"
            case "fieldValidation":
                return random.choice(("Strict", "Warn", "Ignore"))
            case "fieldManager":
                return random.choice(("fuzz", "other"))
            case "limit" | "timeoutSeconds" | "gracePeriodSeconds":
                return random.choice(("0", "1", "2", "-1"))
            case "propagationPolicy":
                return random.choice(("Foreground", "Background", "Orphan"))
            case "resourceVersionMatch":
                return random.choice(("Exact", "NotOlderThan"))
            case "resourceVersion":
                return random.choice(("0", "1", "7"))
            case "continue":
                return random.choice(("abc", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhIn0"))
        return random.choice(("true", "false", "1", "30s"))

    def _object(self, random: Random, endpoint: Endpoint) -> tuple[bytes, str]:
        obj = self.known.get(_collection(endpoint.path))
        if obj is None or random.random() < 0.2:
            obj = self.grammar.value(random, endpoint.schema)
        if random.random() < 0.75:
            obj = mutated(random, obj)
        if isinstance(obj, dict) and isinstance(obj.get("metadata"), dict) and random.random() < 0.8:
            obj = obj | {"metadata": obj["metadata"] | {"name": random.choice(NAMES[:9])}}
        data = json.dumps(obj).encode()
        kind = random.random()
        if kind < 0.05:
            data = data[: random.randrange(len(data) + 1)]
        elif kind < 0.1:
            spot = random.randrange(len(data) + 1)
            data = data[:spot] + random.choice((b"\xff", b"\x00", b"\xc3\x28", b"]", b",")) + data[spot:]
        media_types = ("application/yaml", "application/vnd.kubernetes.protobuf", "text/plain", "")
        return data, "application/json" if random.random() < 0.9 else random.choice(media_types)

    def _patch(self, random: Random, endpoint: Endpoint) -> tuple[bytes, str]:
        media_type = random.choice(PATCHES)
        obj = self.known.get(_collection(endpoint.path)) or {"metadata": {"labels": {"a": "b"}}}
        if media_type == PATCHES[0]:
            return json.dumps(
                [self._operation(random, obj) for _ in range(random.choice((1, 2, 5)))]
            ).encode(), media_type
        patch: Any = mutated(random, obj)
        if isinstance(patch, dict) and media_type == PATCHES[3] and isinstance(obj, dict):
            patch = {key: obj[key] for key in ("apiVersion", "kind") if key in obj} | patch
        return json.dumps(patch).encode(), media_type

    def _operation(self, random: Random, obj: Any) -> dict[str, Any]:
        pointers = ["", "/", "/-", "/metadata/labels/app", "/metadata/name", "/spec", "/spec/-/~2", "/status/x/0/~1~0"]
        pointers += [f"/spec/{key}" for key in list((obj or {}).get("spec") or {})[:5]]
        operation: dict[str, Any] = {"op": random.choice(OPERATIONS), "path": random.choice(pointers)}
        if random.random() < 0.8:
            operation["value"] = random.choice(NASTY)
        if random.random() < 0.5:
            operation["from"] = random.choice(pointers)
        if random.random() < 0.05:
            operation[random.choice(("op", "path", "from"))] = random.choice(NASTY)
        return operation


def _collection(path: str) -> str:
    return path.partition("/{name}")[0]
