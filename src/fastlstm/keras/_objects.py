"""The object headers of HDF5: what a group or an array says of itself.

Names and numbers are those of the HDF5 file format specification, version 3.0, IV.A.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from fastlstm._arrays.arrays import Array
from fastlstm.keras._bytes import Bytes

# The kinds of messages in an object header.
_DATASPACE, _DATATYPE, _EXTERNAL, _LAYOUT, _FILTERS, _ATTRIBUTE, _CONTINUATION, _SYMBOLS = 1, 3, 7, 8, 11, 12, 16, 17
_LATER = (2, 6, 10)  # Of groups in the later format.
_SHARED = 2
_LATER_FORMAT = "it is in HDF5's later format, which Keras does not write: load it there, and save it anew"
_MOST_AXES = 32
# The longest text that is read.
LONGEST_TEXT = 1 << 24

# What follows the size in a float's datatype: where its bits begin, how many there are, exponent, mantissa, bias.
_FLOATS = {
    2: struct.pack("<HHBBBBI", 0, 16, 10, 5, 0, 10, 15),
    4: struct.pack("<HHBBBBI", 0, 32, 23, 8, 0, 23, 127),
    8: struct.pack("<HHBBBBI", 0, 64, 52, 11, 0, 52, 1023),
}
_FIXED, _FLOAT, _STRING, _OPAQUE, _ANY_LENGTH = 0, 1, 3, 5, 9


class Group(NamedTuple):
    """A group: where its tree and its heap are, and the attributes of the object."""

    tree: int
    heap: int
    attributes: dict[str, tuple[bytes, bytes, bytes]]


class Stored(NamedTuple):
    """An array whose bytes are known to be in the file; `dtype` is None where it has no numbers."""

    begin: int
    size: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic] | None
    attributes: dict[str, tuple[bytes, bytes, bytes]]


def object_at(file: Bytes, begin: int) -> Group | Stored:
    """Return the group or the array whose header begins there."""
    messages: dict[int, tuple[int, bytes]] = {}
    attributes = {}
    for kind, at, body in _messages(file, begin):
        if kind in _LATER:
            raise file.damaged(_LATER_FORMAT)
        if kind == _ATTRIBUTE:
            name, *parts = _attribute(file, body)
            attributes[name] = (parts[0], parts[1], parts[2])
        elif kind in (_EXTERNAL, _FILTERS):
            raise file.damaged("an array must be in it, neither compressed nor in another file")
        elif messages.setdefault(kind, (at, body)) != (at, body):
            raise file.damaged("a part of it says the same thing twice")
    if _SYMBOLS in messages:
        tree, heap = _unpacked(file, "<QQ", messages[_SYMBOLS][1])
        return Group(tree, heap, attributes)
    if not {_DATASPACE, _DATATYPE, _LAYOUT} <= messages.keys():
        raise file.damaged("a part of it is neither a group nor an array")
    shape, dtype = _shape(file, messages[_DATASPACE][1]), _dtype(messages[_DATATYPE][1])
    where, size = _place(file, *messages[_LAYOUT])
    itemsize = _unpacked(file, "<4xI", messages[_DATATYPE][1])[0]
    if size != math.prod(shape) * itemsize:
        raise file.damaged(f"an array of shape {shape} would have {size} bytes, {itemsize} for each value")
    if size and where + size > file.size:
        raise file.damaged(f"an array would have {size} bytes, which the file does not have")
    return Stored(where, size, shape, dtype, attributes)


def values_of(file: Bytes, stored: Stored, name: str) -> Array:
    """Return the values of an array; bfloat16, which NumPy lacks, as float32."""
    if stored.dtype is None:
        raise file.damaged(f"{name!r} must be an array of numbers")
    values = file.array(stored.begin, stored.shape, stored.dtype, stored.size)
    if stored.dtype.kind == "V":
        if text_of(file, stored.attributes, "dtype") != "bfloat16":
            raise file.damaged(f"{name!r} must be an array of numbers")
        return (values.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return values.astype(stored.dtype.newbyteorder("="), copy=False)


def text_of(file: Bytes, attributes: dict[str, tuple[bytes, bytes, bytes]], name: str) -> str | None:
    """Return an attribute that is a single text; None if there is none of this name."""
    if name not in attributes:
        return None
    datatype, dataspace, data = attributes[name]
    bits, size = _unpacked(file, "<II", datatype)
    kind, flags = bits & 15, bits >> 8
    if _shape(file, dataspace) == () and kind == _STRING and size <= len(data):
        text = data[:size]
    elif _shape(file, dataspace) == () and kind == _ANY_LENGTH and flags & 15 == 1:
        text = _from_heap(file, *_unpacked(file, "<IQI", data))
    else:
        raise file.damaged(f"the attribute {name} must be a text")
    try:
        return text.split(b"\0")[0].decode()
    except UnicodeDecodeError:
        raise file.damaged(f"the attribute {name} must be a text") from None


def _unpacked(file: Bytes, layout: str, body: bytes) -> tuple[int, ...]:
    """Return the numbers that a part begins with."""
    if len(body) < struct.calcsize(layout):
        raise file.damaged("a part of it is too short")
    return struct.unpack_from(layout, body)


def _messages(file: Bytes, begin: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield the kind, the place and the bytes of each message of an object header."""
    version, left, blocks = file.number(begin, 1), file.number(begin + 2, 2), [(begin + 16, file.number(begin + 8, 4))]
    if file[begin, 4] == b"OHDR":
        raise file.damaged(_LATER_FORMAT)
    if version != 1:
        raise file.damaged(f"there is no object at {begin}")
    for at, length in blocks:  # A continuation adds a block.
        block = file[at, length]
        k = 0
        while left and k + 8 <= length:
            kind, size, flags = struct.unpack_from("<HHB", block, k)
            body = block[k + 8 : k + 8 + size]
            if len(body) < size:
                raise file.damaged("a part of it is too short")
            if flags & _SHARED and kind in (_DATASPACE, _DATATYPE, _LAYOUT, _ATTRIBUTE):
                raise file.damaged("a type of it is a name, which Keras does not write")
            if kind == _CONTINUATION:
                where, more = _unpacked(file, "<QQ", body)
                blocks.append((where, more))
            else:
                yield kind, at + k + 8, body
            k, left = k + 8 + size, left - 1


def _shape(file: Bytes, body: bytes) -> tuple[int, ...]:
    version, axes, _, kind = _unpacked(file, "<BBBB", body)
    if version not in (1, 2) or (version == 2 and kind == 2):  # 2 stands for no values at all.
        raise file.damaged("an array has no shape")
    shape = _unpacked(file, f"<{8 if version == 1 else 4}x{axes}Q", body)
    if axes > _MOST_AXES or any(length > file.size for length in shape):
        raise file.damaged(f"no array can have shape {shape}")
    return shape


def _dtype(body: bytes) -> np.dtype[np.generic] | None:
    """Return the dtype of a datatype; None if it is not one of numbers, or of two bytes that may be bfloat16."""
    if len(body) < 8:
        return None
    bits, size = struct.unpack_from("<II", body)
    kind, flags, more = bits & 15, bits >> 8, body[8:]
    order = ">" if flags & 1 else "<"
    if kind == _FLOAT and flags & 0x40 == 0 and more.startswith(_FLOATS.get(size, b"none")):
        return np.dtype(f"{order}f{size}")
    if kind == _FIXED and size in (1, 2, 4, 8) and more[:4] == struct.pack("<HH", 0, 8 * size):
        return np.dtype(f"{order}{'i' if flags & 8 else 'u'}{size}")
    return np.dtype("V2") if kind == _OPAQUE and size == 2 else None


def _place(file: Bytes, at: int, body: bytes) -> tuple[int, int]:
    """Return where the bytes of an array are, and how many: in one piece, or in its header."""
    version, kind = _unpacked(file, "<BB", body)
    if version not in (3, 4) or kind not in (0, 1):
        raise file.damaged("an array must be plain: in one piece, not virtual")
    if kind == 0:
        (size,) = _unpacked(file, "<2xH", body)
        if 4 + size > len(body):
            raise file.damaged("a part of it is too short")
        return at + 4, size
    begin, size = _unpacked(file, "<2xQQ", body)
    return begin, size


def _attribute(file: Bytes, body: bytes) -> tuple[str, bytes, bytes, bytes]:
    """Return the name, the datatype, the dataspace and the data of an attribute."""
    version, flags, *sizes = _unpacked(file, "<BBHHH", body)
    if version not in (1, 2, 3) or (version > 1 and flags):
        raise file.damaged("an attribute of it is of a kind that Keras does not write")
    at, parts = 9 if version == 3 else 8, []
    for size in sizes:
        parts.append(body[at : at + size])
        at += -(-size // 8) * 8 if version == 1 else size
    return parts[0].split(b"\0")[0].decode("utf-8", "replace"), parts[1], parts[2], body[at:]


def _from_heap(file: Bytes, length: int, begin: int, number: int) -> bytes:
    """Return the text of this length that is this object of the collection that begins there."""
    if file[begin, 5] != b"GCOL\1" or length > LONGEST_TEXT:
        raise file.damaged(f"there is no text of {length} bytes at {begin}")
    end = begin + file.number(begin + 8, 8)
    at = begin + 16
    while at + 16 <= end:
        own, size = struct.unpack("<H6xQ", file[at, 16])
        if own == number:
            if length > size or at + 16 + size > end:
                break
            return file[at + 16, length]
        if own == 0:  # What follows is free.
            break
        at += 16 + -(-size // 8) * 8
    raise file.damaged(f"there is no text of {length} bytes at {begin}")
