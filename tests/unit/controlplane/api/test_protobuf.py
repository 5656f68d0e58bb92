"""Bodies in protobuf: what they decode to, and that nothing else gets through."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.api.protobuf.decode import _SCALARS, _SPECIAL, MEDIA_TYPE, _messages, decode_protobuf
from controlplane.api.protobuf.wire import WireError, read_fields
from flotilla.api.errors import ApiError
from flotilla.api.registry import REGISTRY
from flotilla.api.schema_source import described_definitions

Part = int | str | bytes
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    encoded = b""
    while value >= 0x80:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def message(*fields: tuple[int, Part]) -> bytes:
    """The wire form of fields: numbers as varints, text and messages as bytes."""
    encoded = b""
    for number, value in fields:
        if isinstance(value, int):
            encoded += varint(number << 3) + varint(value)
        else:
            raw = value.encode() if isinstance(value, str) else value
            encoded += varint(number << 3 | 2) + varint(len(raw)) + raw
    return encoded


def body(api_version: str, kind: str, raw: bytes) -> bytes:
    return b"k8s\x00" + message((1, message((1, api_version), (2, kind))), (2, raw), (3, ""), (4, ""))


def test_a_pod() -> None:
    """Inlined sources, maps, lists, quantities, ports and times come out as JSON has them; empty ones are left out."""
    metadata = message((1, "p"), (2, ""), (8, b""), (11, message((1, "a"), (2, "b"))))
    limits = message((1, message((1, "cpu"), (2, message((1, "100m"))))))
    handler = message((2, message((1, "/"), (2, message((1, 1), (2, 0), (3, "web"))))))
    probe = message((1, handler), (2, 0), (3, 5))
    port = message((1, ""), (2, 0), (3, 80), (4, "TCP"))
    container = message((1, "c"), (2, "i"), (6, port), (8, limits), (10, probe), (16, 0))
    volume = message((1, "v"), (2, message((2, b""))))
    security = message((3, 0), (5, -1))
    pod = message((1, metadata), (2, message((1, volume), (2, container), (4, 0), (14, security), (11, 0))), (3, b""))
    assert decode_protobuf(body("v1", "Pod", pod)) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "labels": {"a": "b"}},
        "spec": {
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [
                {
                    "name": "c",
                    "image": "i",
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "resources": {"limits": {"cpu": "100m"}},
                    "livenessProbe": {"httpGet": {"path": "/", "port": "web"}, "timeoutSeconds": 5},
                }
            ],
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": False, "fsGroup": -1},
        },
        "status": {},
    }


def test_values_of_secrets_and_times() -> None:
    """Bytes become base64, times RFC 3339; empty values of maps stay."""
    data = message((1, "k"), (2, b"\x00\xff"))
    metadata = message((1, "s"), (9, message((1, 1_700_000_000))), (11, message((1, "empty"), (2, ""))))
    secret = decode_protobuf(body("v1", "Secret", message((1, metadata), (2, data), (3, "Opaque"))))
    assert secret["data"] == {"k": "AP8="}
    assert secret["metadata"] == {
        "name": "s",
        "deletionTimestamp": "2023-11-14T22:13:20Z",
        "labels": {"empty": ""},
    }


def test_delete_options_of_any_group() -> None:
    """They are sent under the version of what is deleted."""
    options = decode_protobuf(body("apps/v1", "DeleteOptions", message((1, 0), (4, "Orphan"))))
    assert options["gracePeriodSeconds"] == 0
    assert options["propagationPolicy"] == "Orphan"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"{}", "must begin with"),
        (body("v9", "Pod", b""), 'no kind "Pod" is registered for version "v9"'),
        (body("v1", "Pod", message((200, 1))), "field number 200 of Pod is not known"),
        (body("v1", "Pod", b"\x0a\x7f"), "truncated"),
        (body("v1", "Pod", message((1, 1))), "a number stands where"),
        (body("v1", "Pod", message((1, message((1, b"\xff"))))), "not valid protobuf"),
        (b"k8s\x00" + message((3, "gzip")), "content encodings"),
    ],
)
def test_what_is_refused(data: bytes, expected: str) -> None:
    """Each is 400 with the reason."""
    with pytest.raises(ApiError) as caught:
        decode_protobuf(data)
    assert caught.value.code == 400
    assert expected in caught.value.message


@given(st.binary(max_size=200))
def test_any_bytes_are_fields_or_an_error(data: bytes) -> None:
    """The reader neither hangs nor fails in another way."""
    try:
        assert all(number > 0 for number, _ in read_fields(data))
    except WireError:
        pass


@given(st.binary(max_size=200), st.sampled_from(["Pod", "Service", "Secret", "Event", "DeleteOptions"]))
def test_any_body_is_an_object_or_400(data: bytes, kind: str) -> None:
    """Whatever a client sends, the decoder answers with an object or a refusal."""
    try:
        assert isinstance(decode_protobuf(body("v1", kind, data)), dict)
    except ApiError as error:
        assert error.code == 400


def test_the_table_fits_the_schema() -> None:
    """Every field of the table is one of the published schema, and every type is known."""
    definitions = described_definitions(row.definition for row in REGISTRY.all())
    for name, fields in _messages().items():
        for field in fields.values():
            assert field.type in _SCALARS or field.type in _SPECIAL or field.type in _messages(), field
        if name in definitions:
            known = set(definitions[name]["properties"])
            assert {field.name for field in fields.values() if field.form != "inline"} <= known


async def test_a_create_in_protobuf(api: Any) -> None:
    """The object is validated and stored as if it had come as JSON; the answer is JSON."""
    raw = message((1, message((1, "made"))), (2, message((1, "k"), (2, "v"))))
    headers = {"Accept": f"{MEDIA_TYPE},application/json"}
    reply = await api.post(CONFIG_MAPS, body("v1", "ConfigMap", raw), content_type=MEDIA_TYPE, headers=headers)
    assert (reply.status, reply.body["data"]) == (201, {"k": "v"})
    wrong = await api.post(CONFIG_MAPS, body("v1", "Pod", b""), content_type=MEDIA_TYPE, headers=headers)
    assert wrong.status == 400
    options = body("v1", "DeleteOptions", message((2, message((1, "another uid")))))
    kept = await api.ask("DELETE", f"{CONFIG_MAPS}/made", options, content_type=MEDIA_TYPE)
    assert kept.status == 409
