"""Arrays by name, wherever they are: in a dict, in safetensors, in several of those, in a file of `torch.save`."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import zipfile
from collections.abc import Collection, Iterable, Mapping
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from fastlstm._arrays import checks as check
from fastlstm._arrays import files, plain_files, whole_files
from fastlstm._arrays.files import FileError

_INDEX_ENDS = ".safetensors"
_HALVES = ("float16", "bfloat16")
_WHOLE = ("float32", "float64")


class Source(Protocol):
    """Arrays by name; `label` is what messages call it, `hint` what else they say where a name is not found."""

    label: str
    hint: str

    def names(self) -> Collection[str]:
        """Return the names of all arrays."""

    def shapes(self, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of some arrays."""

    def read(self, names: Iterable[str]) -> dict[str, NDArray[Any]]:
        """Return some arrays in float32 or float64."""


def source_of(given: object, key: str | None) -> Source:
    """Return the arrays of a path, or of a dict; `key` chooses among dicts within a dict."""
    if key is not None and not isinstance(key, str):
        raise TypeError(f"key must be a key of the dict, not {type(key).__name__}")
    if isinstance(given, Mapping):
        return _Values(given, key)
    if not isinstance(given, (str, bytes, os.PathLike)):
        hint = ": its state_dict() is one" if hasattr(given, "state_dict") else ""
        raise TypeError(f"source must be the path of a file, or a dict of tensors, not {type(given).__name__}{hint}")
    path = check.path("source", given)
    with open(path, "rb", opener=whole_files.opener) as file:
        size, first = whole_files.size_of(file, path), file.read(64)
        is_archive = first.startswith(b"PK\x03\x04")
        if (is_archive or first.startswith(b"\x80")) and first[8:9] != b"{":
            return _Values(_unpickled(path, file, size, is_archive), key, path, size)
    if key is not None:
        raise ValueError(f"{path} is not a file of torch.save, which alone has keys: leave key out")
    # The eight bytes of the header's length, of which the last are 0, and its first brace.
    if first[4:8] == bytes(4) and first[8:9] == b"{":
        return _Tensors(path)
    if first.lstrip().startswith(b"{"):
        return _Shards(path)
    pulled = ", but a pointer to one: git lfs pull fetches it" if first.startswith(b"version https://git-lfs") else ""
    raise FileError(f"{path} is no file of safetensors or torch.save{pulled}")


# ---- dicts -----------------------------------------------------------------------------------------------------------


class _Values:
    """The tensors and arrays of a dict, of a file of `size` bytes if that is where it was."""

    def __init__(self, given: object, key: str | None, path: str | None = None, size: int | None = None) -> None:
        self.label, self._size, self._is_file = path or "the dict", size, path is not None
        if not isinstance(given, Mapping):
            kind = type(given).__name__
            raise FileError(f"{self.label} has no dict of tensors, but {check.with_article(kind)}")
        if key is not None:
            self._check(given, key)
            given = {**given[key]}
            self.label += f"[{key!r}]"
        self._values = {name: value for name, value in given.items() if isinstance(name, str) and _is_array(value)}
        inner = [
            name for name, value in given.items() if isinstance(value, Mapping) and any(map(_is_array, value.values()))
        ]
        found = ", ".join(f"key={name!r}" for name in inner[:10]) if key is None else ""
        self.hint = f"; it has dicts within it, of which {found} takes one" if found else ""

    def _check(self, given: Mapping[Any, Any], key: str) -> None:
        if key in given and isinstance(given[key], Mapping):
            return
        names = ", ".join(repr(name) for name in list(given)[:20])
        what = "no dict" if key in given else "not there"
        raise ValueError(f"{self.label}: key {key!r} is {what}; the keys are {names[:1000] or 'none'}")

    def names(self) -> Collection[str]:
        return self._values.keys()

    def shapes(self, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
        return {name: tuple(self._values[name].shape) for name in names}

    def read(self, names: Iterable[str]) -> dict[str, NDArray[Any]]:
        wanted = {name: self._values[name] for name in names}
        if self._size is not None and sum(value.nbytes for value in wanted.values()) > self._size:
            raise FileError(f"{self.label} has fewer bytes than its tensors would have")  # some that repeat, of few
        try:
            return {name: _floats(name, value) for name, value in wanted.items()}
        except TypeError as error:
            raise TypeError(f"{self.label}: {error}") from error


def _torch() -> Any:
    """Return PyTorch if this process has it: without it there are no tensors."""
    return sys.modules.get("torch")


def _is_array(value: object) -> bool:
    torch = _torch()
    return isinstance(value, np.ndarray) or (torch is not None and isinstance(value, torch.Tensor))


def _floats(name: str, value: Any) -> NDArray[Any]:
    """Return an array or a tensor as an array of float64 or, if it has less, float32."""
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype.removeprefix("<").removeprefix(">") in ("f4", "f8"):
        dtype = value.dtype.newbyteorder("=").name
    if dtype not in (*_HALVES, *_WHOLE):
        raise TypeError(f"{name} has dtype {dtype}, but only {', '.join(_WHOLE + _HALVES)} are read")
    if isinstance(value, np.ndarray):
        return check.unmasked(name, value).astype(dtype if dtype in _WHOLE else np.float32, copy=False)
    try:
        tensor = value.detach().cpu()
        array: NDArray[Any] = (tensor.float() if dtype in _HALVES else tensor).resolve_neg().numpy()
    except (NotImplementedError, RuntimeError, TypeError) as error:  # of a meta tensor, a sparse or distributed one
        raise TypeError(f"{name} is a tensor without values of its own: {_sentence(str(error))}") from error
    return array


# ---- safetensors -----------------------------------------------------------------------------------------------------


class _Tensors:
    """The arrays of one file of safetensors."""

    hint = ""

    def __init__(self, path: str) -> None:
        self.label = path
        self._entries = plain_files.entries(path)

    def names(self) -> Collection[str]:
        return self._entries.keys()

    def shapes(self, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
        return {name: self._entries[name].shape for name in names}

    def read(self, names: Iterable[str]) -> dict[str, NDArray[Any]]:
        return plain_files.floats(self.label, {name: self._entries[name] for name in names})


class _Shards:
    """The arrays of several files in one folder, as an index in JSON tells; a file is looked into when asked for."""

    hint = ""

    def __init__(self, path: str) -> None:
        self.label = path
        with open(path, "rb", opener=whole_files.opener) as file:
            if whole_files.size_of(file, path) > files.LARGEST_HEADER:
                raise FileError(f"{path} is too large for an index of safetensors")
            try:
                found = json.loads(file.read())["weight_map"]
                self._places = {str(name): _neighbour(path, place) for name, place in found.items()}
            except FileError:
                raise
            except files.DAMAGED as error:
                raise FileError(f"{path} is damaged, or no index of safetensors: {error!r}") from error
        self._files: dict[str, _Tensors] = {}

    def names(self) -> Collection[str]:
        return self._places.keys()

    def shapes(self, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
        found: dict[str, Any] = {}
        for place, own in self._by_file(names):
            found |= place.shapes(own)
        return found

    def read(self, names: Iterable[str]) -> dict[str, NDArray[Any]]:
        found: dict[str, Any] = {}
        for place, own in self._by_file(names):
            found |= place.read(own)
        return found

    def _by_file(self, names: Iterable[str]) -> list[tuple[_Tensors, list[str]]]:
        """Return the files that have these names, and which of them each has."""
        wanted: dict[str, list[str]] = {}
        for name in names:
            wanted.setdefault(self._places[name], []).append(name)
        for path, own in wanted.items():
            if path not in self._files:
                self._files[path] = _Tensors(path)
            missing = set(own) - set(self._files[path].names())
            if missing:
                raise FileError(f"{path} has no {min(missing)}, which {self.label} says it has")
        return [(self._files[path], own) for path, own in wanted.items()]


def _neighbour(path: str, name: object) -> str:
    """Return the path of a file in the folder of the index; a name that could lead elsewhere is refused."""
    if not isinstance(name, str) or set(name) & set("/\\:\0") or not name.endswith(_INDEX_ENDS):
        raise FileError(f"{path} must name files {_INDEX_ENDS} in its own folder alone, not {str(name)[:100]!r}")
    return os.path.join(os.path.dirname(path), name)


# ---- torch.save ------------------------------------------------------------------------------------------------------


def _unpickled(path: str, file: BinaryIO, size: int, is_archive: bool) -> object:
    """Return what PyTorch finds in a file without running anything that is in it."""
    if is_archive:  # as all but old files are
        _check_archive(path, file, size)
    try:
        torch: Any = importlib.import_module("torch")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path} is a file of torch.save, which PyTorch alone reads: pip install 'fastlstm[torch]', "
            "or save it as safetensors where it is",
            name="torch",
        ) from error
    try:
        # A mapped file is read where its tensors are looked at, and there is no memory for what it only claims to have.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # PyTorch documents no errors: those of its unpickler are of many kinds
        raise FileError(f"{path}: PyTorch does not load it with weights_only=True: {_sentence(str(error))}") from error


def _check_archive(path: str, file: BinaryIO, size: int) -> None:
    """Raise FileError for an archive that is cut, that is none of torch.save, or that has more than its bytes."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, *files.DAMAGED) as error:
        raise FileError(f"{path} is damaged, or not a file of torch.save: {error}") from error
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise FileError(f"{path} is a program of TorchScript: torch.jit.load(path).state_dict() is what can be loaded")
    # A mapped file that is compressed would be read as if it were not.
    if any(member.compress_type for member in members) or sum(member.file_size for member in members) > size:
        raise FileError(f"{path} is compressed, as no file of torch.save is")


def _sentence(text: str) -> str:
    """Return the first sentence of an error's text; of PyTorch's unpickler, the one that says what was refused."""
    text = text.rpartition("WeightsUnpickler error:")[2].strip()
    return re.split(r"\.\s|\n", text, maxsplit=1)[0].rstrip(".")[:500]
