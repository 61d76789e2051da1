"""Files in the safetensors format: arrays and one JSON text, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastlstm._arrays import Array

VERSION = 1
KEY = "fastlstm"  # in the metadata


# What content that makes no sense leads to.
DAMAGED = (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError)


class FileError(ValueError):
    """A file that is damaged, or not one of fastlstm's, or of another version; nothing of it is used."""


def write(path: str | os.PathLike[str], kind: str, arrays: Mapping[str, Array], content: Mapping[str, Any]) -> None:
    """Write arrays of floats, and what JSON can hold, so that the file is there whole or as it was before."""
    arrays = {name: np.array(array, order="C") for name, array in arrays.items()}  # as they are now
    text = _text(content)
    if _text(json.loads(text)) != text:
        raise ValueError("two keys of a dict to be written are the same as text, which keys in JSON are")
    header: dict[str, Any] = {"version": VERSION, "kind": kind, "content": json.loads(text)}
    header["sha256"] = _digest(header, arrays)
    metadata = {KEY: _text(header)}  # one entry: the order of several would be left to chance
    data = _safetensors().numpy.save(arrays, metadata)
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no folder to write to", str(path.parent))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder, not a file to write", str(path))
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")  # beside it, so that it can be renamed
    with partial.open("xb") as file:  # its own, or not at all
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if path.exists():
                shutil.copymode(path, partial)
        except BaseException:
            partial.unlink()
            raise
    try:
        partial.replace(path)
    except BaseException:
        partial.unlink()
        raise


def read(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Array], dict[str, Any]]:
    """Give the arrays and the content of a file of this kind, once all of it is known to be as it was written."""
    safetensors = _safetensors()
    with open(path, "rb"):  # a file that is not there, or may not be read: Python's own error
        pass
    try:
        with safetensors.safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(KEY)
            if text is None:
                raise FileError(f"{path} is a file of another program")
            header = json.loads(text)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it has no iterator
        if header["version"] != VERSION:
            raise FileError(f"{path} has version {header['version']} of the format: this fastlstm reads {VERSION}")
        if header.pop("sha256") != _digest(header, arrays):
            raise FileError(f"{path} is damaged: it is not what was written")
        content = header["content"]
        if not isinstance(content, dict):
            raise FileError(f"{path} has no content that is known: {type(content).__name__}")
    except FileError:
        raise
    # What json and NumPy raise is among these: a dtype that NumPy has not, JSON that is too deep or not an object.
    except (safetensors.SafetensorError, OSError, *DAMAGED) as error:
        raise FileError(f"{path} is damaged, or not a file in the safetensors format: {error}") from error
    if header["kind"] != kind:
        raise FileError(f"{path} is a {header['kind']}, not a {kind}")
    return arrays, content


def _text(header: Any) -> str:
    return json.dumps(header, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    """A number or array of NumPy's, for JSON."""
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


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("saving and loading need the package safetensors: pip install 'fastlstm[train]'") from error
    return safetensors
