"""The protobuf wire format: fields as numbers and raw values, read within bounds, and written.

Source: the encoding page of the Protocol Buffers documentation. Groups, which the API does not use, are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT_BITS = 63


class WireError(ValueError):
    """The bytes are no protobuf message."""


def read_fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Number and value of each field in order: varints as unsigned numbers, doubles, or bytes. WireError."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise WireError(f"field number 0 before byte {position}")
        if wire_type == _VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        length = {_FIXED64: 8, _FIXED32: 4}.get(wire_type)
        if wire_type == _BYTES:
            length, position = _varint(data, position)
        if length is None:
            raise WireError(f"wire type {wire_type} before byte {position}")
        if position + length > len(data):
            raise WireError(f"truncated at byte {len(data)}: {length} bytes were announced at byte {position}")
        chunk = data[position : position + length]
        position += length
        yield number, chunk if wire_type == _BYTES else struct.unpack("<d" if length == 8 else "<f", chunk)[0]


def signed(value: int) -> int:
    """A varint as the signed 64-bit number that int32 and int64 fields mean."""
    return value - (1 << 64) if value >= 1 << 63 else value


def varint_field(number: int, value: int) -> bytes:
    """An unsigned number, or a boolean as 0 or 1, as field ``number``."""
    return _encode_varint(number << 3 | _VARINT) + _encode_varint(value)


def delimited(number: int, data: bytes) -> bytes:
    """A string in UTF-8, or an encoded message, as field ``number``."""
    return _encode_varint(number << 3 | _BYTES) + _encode_varint(len(data)) + data


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & ((1 << 64) - 1), position
        shift += 7
        if shift > _LONGEST_VARINT_BITS:
            break
    raise WireError(f"truncated or oversized number before byte {position}")
