"""Bodies made to break the server: what fuzzing has found, one test a fault."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.api.yaml_bodies import decode_yaml
from flotilla.api.errors import ApiError

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"

YAML_BOMBS = {
    "brackets": b"[" * 100_000,
    "braces": b"{a: " * 50_000,
    "dashes": b"- " * 100_000,
    "questions": b"? " * 10_000,
    "indentation": b"".join(b" " * depth + b"a:\n" for depth in range(1000)),
    "values": b"a: [" + b"1," * 200_000 + b"1]",
    "aliases": b"a: &a [x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(9)),
}


@pytest.mark.parametrize("bomb", YAML_BOMBS)
def test_yaml_is_bounded(bomb: str) -> None:
    """Depth overflowed the stack of the C loader, and aliases stood for gigabytes: both are refused unread."""
    with pytest.raises(ApiError) as refused:
        decode_yaml(YAML_BOMBS[bomb])
    assert refused.value.code == 400


def test_yaml_as_people_write_it() -> None:
    """Anchors, merges and some depth are fine."""
    value = decode_yaml(b"base: &base {a: 1}\nmore: {<<: *base, b: [[[2]]]}\n")
    assert value == {"base": {"a": 1}, "more": {"a": 1, "b": [[[2]]]}}


@pytest.mark.parametrize(
    "options",
    [{"dryRun": 1}, {"dryRun": [1]}, {"gracePeriodSeconds": "1"}, {"preconditions": [1]}, {"propagationPolicy": {}}],
)
async def test_options_of_a_delete_have_types(api: Any, options: dict[str, Any]) -> None:
    """Options of the wrong type are 400, for one object and for many."""
    for path in (f"{CONFIG_MAPS}/a", CONFIG_MAPS):
        reply = await api.ask("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1"} | options)
        assert (reply.status, reply.body["reason"]) == (400, "BadRequest")


PATCHES = {
    "an operation that is no word": ([{"op": ["add"], "path": "/data", "value": {}}], 400),
    "more steps than can be taken": ([{"op": "add", "path": "/data" + "/a" * 1000, "value": {}}] * 201, 413),
}


@pytest.mark.parametrize("case", PATCHES)
async def test_json_patches_are_bounded(api: Any, case: str) -> None:
    """Operations and pointers that cannot be are refused with a Status."""
    await api.post(CONFIG_MAPS, {"metadata": {"name": "a"}})
    operations, code = PATCHES[case]
    reply = await api.ask("PATCH", f"{CONFIG_MAPS}/a", operations, content_type="application/json-patch+json")
    assert (reply.status, reply.body["code"]) == (code, code)


async def test_a_patch_that_takes_the_spec_away(api: Any) -> None:
    """It is refused as invalid: nothing looks at the fields of an object before they are known to be there."""
    template = {"spec": {"containers": [{"name": "c", "image": "b"}], "restartPolicy": "Never"}}
    jobs = "/apis/batch/v1/namespaces/default/jobs"
    assert (await api.post(jobs, {"metadata": {"name": "j"}, "spec": {"template": template}})).status == 201
    reply = await api.ask("PATCH", f"{jobs}/j", {"spec": None}, content_type="application/merge-patch+json")
    assert (reply.status, reply.body["reason"]) == (422, "Invalid")


async def test_compressed_bodies_are_refused(api: Any) -> None:
    """415 rather than expanding what somebody else has packed."""
    headers = {"Content-Encoding": "gzip"}
    reply = await api.post(CONFIG_MAPS, b"\x1f\x8b\x08\x00", headers=headers)
    assert (reply.status, reply.body["reason"]) == (415, "UnsupportedMediaType")
