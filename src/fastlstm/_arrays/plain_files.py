"""Files in the safetensors format of any program: what arrays they have, and of those the ones that are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

import numpy as np

from fastlstm._arrays import files, whole_files
from fastlstm._arrays.arrays import Array
from fastlstm._arrays.files import FileError

# Each dtype of the format, and how many bits a value has.
BITS = files.BITS | {
    "BOOL": 8, "I8": 8, "U8": 8, "I16": 16, "U16": 16, "U32": 32, "U64": 64, "F16": 16, "BF16": 16, "C64": 64, "F4": 4,
    "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3": 8, "F8_E4M3FNUZ": 8, "F8_E5M2": 8, "F8_E5M2FNUZ": 8, "F8_E8M0": 8,
}  # fmt: skip
# Those that are read, as they lie in the file: bfloat16 is the upper half of a float32.
FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
LONGEST = 1 << 62


class Entry(NamedTuple):
    """An array in a file: the dtype by the format's name, the shape, and where in the file it begins."""

    dtype: str
    shape: tuple[int, ...]
    begin: int


def entries(path: str) -> dict[str, Entry]:
    """Return what arrays a file has, once their layout is known to fit its size; nothing else of it is read."""
    with _opened(path) as (_, found):
        return found


def floats(path: str, wanted: Mapping[str, Entry]) -> dict[str, Array]:
    """Return arrays of a file in float64 or, if they have less, float32; the entries are those that it had before."""
    arrays = {}
    with _opened(path) as (file, found):
        for name, entry in sorted(wanted.items(), key=lambda item: item[1].begin):
            if found.get(name) != entry:
                raise FileError(f"{path} changed while it was read")
            if entry.dtype not in FLOATS:
                raise FileError(f"{path}: {name} has dtype {entry.dtype}, but only {', '.join(FLOATS)} are read")
            array = np.empty(entry.shape, FLOATS[entry.dtype])
            file.seek(entry.begin)
            if file.readinto(array) != array.nbytes:  # type: ignore[attr-defined]
                raise FileError(f"{path} became shorter while it was read")
            if entry.dtype == "BF16":
                array = (array.astype(np.uint32) << 16).view(np.float32)
            arrays[name] = array.astype(np.float64 if entry.dtype == "F64" else np.float32, copy=False)
    return arrays


@contextmanager
def _opened(path: str) -> Iterator[tuple[BinaryIO, dict[str, Entry]]]:
    """Open a file, for its header to be judged and parts of the rest to be read."""
    with open(path, "rb", opener=whole_files.opener) as file:
        size = whole_files.size_of(file, path)
        try:
            found = _entries(path, file, size)
        except FileError:
            raise
        except files.DAMAGED as error:
            raise FileError(f"{path} is damaged, or not a file in the safetensors format: {error}") from error
        yield file, found


def _entries(path: str, file: BinaryIO, size: int) -> dict[str, Entry]:
    table, rest = files.table_of(file, size)
    if files.KEY in (table.pop(files.METADATA, None) or {}):
        raise FileError(f"{path} is a file of fastlstm's own: fastlstm.load makes the network that is in it")
    for name, entry in table.items():
        if entry["dtype"] not in BITS:
            raise ValueError(f"array {name} has dtype {entry['dtype']!r}")
    start = size - rest
    layout = files.layout(table, rest, BITS, LONGEST)
    return {name: Entry(dtype, shape, start + begin) for name, dtype, shape, begin in layout}
