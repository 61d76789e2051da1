"""Files in the safetensors format: arrays and one JSON text, whole or not at all.

The package safetensors is not used: it maps a file, which must not change meanwhile, or holds its bytes twice, and it
kills or hangs the process if memory runs out. The tests compare with it, in both directions.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from fastlstm._arrays import checks as check
from fastlstm._arrays import whole_files
from fastlstm._arrays.arrays import Array

VERSION = 1
# The key of the header, and within it that of the metadata.
METADATA = "__metadata__"
KEY = "fastlstm"
# The bytes of the largest header that the format allows.
LARGEST_HEADER = 100_000_000
ALIGNMENT = 8
DTYPES = {name: np.dtype(dtype) for name, dtype in (("F64", "<f8"), ("F32", "<f4"), ("I64", "<i8"), ("I32", "<i4"))}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
BITS = {name: 8 * dtype.itemsize for name, dtype in DTYPES.items()}

USES = {
    "network": "fastlstm.load makes it",
    "checkpoint": "nn.fit(..., checkpoint=path, resume=True) goes on from it, with the same network and optimiser",
}
"""The use of files of each kind, for messages."""

# The errors that content without meaning leads to.
DAMAGED = (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError)


class FileError(ValueError):
    """The error of a file that is damaged, not one of fastlstm's, or of another version; nothing of it is used."""


def write(path: str | os.PathLike[str], kind: str, arrays: Mapping[str, Array], content: Mapping[str, Any]) -> None:
    """Write arrays of numbers and content for JSON; a failure leaves the file as it was before."""
    name = check.path("path", path)
    arrays = {key: np.array(array, order="C") for key, array in arrays.items()}  # A copy cannot change.
    text = _text(content)
    if _text(json.loads(text)) != text:
        raise ValueError("two keys of a dict to be written are the same as text, which keys in JSON are")
    header: dict[str, Any] = {"version": VERSION, "kind": kind, "content": json.loads(text)}
    header["sha256"] = _digest(header, arrays)
    _write(name, arrays, {KEY: _text(header)})


def write_plain(path: str | os.PathLike[str], arrays: Mapping[str, Array], metadata: tuple[str, str]) -> None:
    """Write arrays of numbers as other programs do, with one pair of metadata; a failure leaves the file as it was."""
    copies = {key: np.array(array, order="C") for key, array in arrays.items()}
    _write(check.path("path", path), copies, dict([metadata]))


def _write(name: str, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    table: dict[str, Any] = {METADATA: metadata}  # A single entry has only one order.
    ordered = sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0]))  # Each is then aligned.
    end = 0
    for key, array in ordered:
        begin, end = end, end + array.nbytes
        table[key] = {"dtype": NAMES[array.dtype], "shape": array.shape, "data_offsets": [begin, end]}
    head = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    head += b" " * (-len(head) % ALIGNMENT)
    if len(head) > LARGEST_HEADER:
        raise ValueError(
            f"what is written beside the parameters must be at most {LARGEST_HEADER} bytes of JSON, not {len(head)}"
        )
    whole_files.replace(name, [len(head).to_bytes(8, "little"), head, *(array for _, array in ordered)])


def read(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the arrays and the content of a file of this kind, once the digest shows that they are as written.

    The header is checked against the size of the file first; the bytes are then read once, into new memory.
    """
    with open(check.path("path", path), "rb", opener=whole_files.opener) as file:
        size = whole_files.size_of(file, path)
        try:
            table, size = table_of(file, size)
            text = table.pop(METADATA, {}).get(KEY)
            if text is None:
                of_pytorch = any(name.rpartition(".")[2].startswith("weight_hh") for name in table)
                hint = ": fastlstm.torch.load takes PyTorch's LSTMs, GRUs and RNNs from it" if of_pytorch else ""
                raise FileError(f"{path} is a file of another program{hint}")
            header = json.loads(text)
            if header["version"] != VERSION:
                raise FileError(f"{path} has version {header['version']} of the format: this fastlstm reads {VERSION}")
            found = header["kind"]
            if found != kind:
                raise FileError(f"{path} is a {found}, not a {kind}: {USES[found]}")
            arrays = _arrays(file, _layout(table, size))
            if header.pop("sha256") != _digest(header, arrays):
                raise FileError(f"{path} is damaged: it is not what was written")
            content = header["content"]
            if not isinstance(content, dict):
                raise FileError(f"{path} has no content that is known: {type(content).__name__}")
        except FileError:
            raise
        # These include the errors of json and NumPy: JSON that is too deep or not an object.
        except DAMAGED as error:
            raise FileError(f"{path} is damaged, or not a file in the safetensors format: {error}") from error
    return arrays, content


def table_of(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """Return the table of arrays in a file of this size, and the number of their bytes."""
    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, LARGEST_HEADER):
        raise ValueError(f"its header would have {length} bytes")
    table = json.loads(file.read(length))
    if not isinstance(table, dict):
        raise TypeError("its header is not an object of JSON")
    return table, size - 8 - length


def _layout(table: Mapping[str, Any], size: int) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Return the dtype and shape of each array, in the order of their bytes, which must be `size` in all."""
    return {name: (DTYPES[dtype], shape) for name, dtype, shape, _ in layout(table, size, BITS, size)}


def layout(
    table: Mapping[str, Any], size: int, bits: Mapping[str, int], longest: int
) -> list[tuple[str, str, tuple[int, ...], int]]:
    """Return the name, dtype, shape and first byte of each array, in the order of their bytes, `size` in all.

    `bits` has the dtypes that there may be, and how many bits a value has; an axis may be as long as `longest`.
    """
    found, end = [], 0
    for name, entry in sorted(table.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape, begin = entry["dtype"], tuple(entry["shape"]), end
        if len(shape) > 32 or not all(type(length) is int and 0 <= length <= longest for length in shape):
            raise ValueError(f"array {name} has no shape that is possible")
        end += math.prod(shape) * bits[dtype] // 8
        if entry["data_offsets"] != [begin, end]:
            raise ValueError(f"array {name} would begin and end at {entry['data_offsets']}, not at {[begin, end]}")
        found.append((name, dtype, shape, begin))
    if end != size:
        raise ValueError(f"its arrays would have {end} bytes, not {size}")
    return found


def _arrays(file: BinaryIO, layout: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]) -> dict[str, Array]:
    """Return all arrays, read from the rest of a file."""
    arrays = {}
    for name, (dtype, shape) in layout.items():
        array = arrays[name] = np.empty(shape, dtype)
        if file.readinto(array) != array.nbytes:  # type: ignore[attr-defined]
            raise ValueError("it became shorter while it was read")
    if file.read(1):
        raise ValueError("it became longer while it was read")
    return arrays


def _text(header: Any) -> str:
    return json.dumps(header, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    """Convert a number or array of NumPy for JSON."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"what is written must be for JSON: not {type(value).__name__}")


def _digest(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> str:
    digest = hashlib.sha256(_text(header).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(_text([name, str(array.dtype), array.shape]).encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()
