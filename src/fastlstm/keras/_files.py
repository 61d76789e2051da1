"""Files of Keras: which of its formats one has, its configuration, its arrays."""

from __future__ import annotations

import io
import json
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

from fastlstm._arrays import checks as check
from fastlstm._arrays import whole_files
from fastlstm._arrays.files import FileError
from fastlstm.keras._hdf5 import SIGNATURE, Tree

# The bytes of the longest configuration: a layer takes a thousand.
MOST_JSON = 1 << 24
# The bytes of the list of an archive's members, of which there are four, and what a layer brings besides arrays.
MOST_LIST = 1 << 20
# A member of an archive is at most so many times as long as the archive, or this long: Keras compresses nothing.
_TIMES = 8
_AT_LEAST = 1 << 26
_ENCRYPTED = 1
# What `zipfile` raises where an archive does not make sense.
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError, NotImplementedError,
    OverflowError, KeyError,
)  # fmt: skip

# Where the layers of a model are in the files of Keras 3 and 2.14, and of 2.12 and 2.13.
CONTAINERS = ("layers", "_layer_checkpoint_dependencies")


class KerasFile(NamedTuple):
    """An open file.

    Attributes
    ----------
    name : str
        Its path, for messages.
    tree : Tree
        Its arrays.
    root : str or None
        The group of the layers' arrays by the layers' names, in the older format; None in the newer one.
    config : dict or None
        The configuration of the model; None where the file has weights alone.
    major : int or None
        The version of Keras that wrote it; None where the file does not say.
    """

    name: str
    tree: Tree
    root: str | None
    config: dict[str, Any] | None
    major: int | None


@contextmanager
def opened(path: str | os.PathLike[str], config: object = None) -> Iterator[KerasFile]:
    """Open a file of any of Keras's formats; `config` is the model's configuration where the file has none."""
    name = check.path("path", path)
    with open(name, "rb", opener=whole_files.opener) as file:
        size = whole_files.size_of(file, path)
        signature = file.read(8)
        file.seek(0)
        if signature == SIGNATURE:
            yield _from_hdf5(file, size, name, given(config))
        elif signature.startswith(b"PK"):
            with _archive(file, name) as archive:
                yield _from_archive(archive, size, name, given(config))
        else:
            raise FileError(f"{name} is not a file of Keras: it is neither HDF5 nor a zip archive")


def given(config: object) -> dict[str, Any] | None:
    """Return a configuration that a caller gives, as a mapping or as JSON."""
    if isinstance(config, str):
        config = parsed(config, "config")
    if config is not None and not isinstance(config, Mapping):
        raise TypeError(
            "config must be what model.to_json() or keras.saving.serialize_keras_object(model) gives, "
            f"not {type(config).__name__}"
        )
    return None if config is None else dict(config)


def parsed(text: str | bytes, name: str) -> dict[str, Any]:
    """Return the object that a JSON text is."""
    if len(text) > MOST_JSON:
        raise FileError(f"{name} would have a configuration of {len(text)} bytes: {MOST_JSON} are allowed")
    try:
        found = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{name} has no configuration that makes sense: {error}") from error
    if not isinstance(found, dict):
        raise FileError(f"{name} has no configuration that makes sense: it is not an object of JSON")
    return found


def major_of(version: object, name: str) -> int | None:
    """Return the first number of a version of Keras; None where there is no version."""
    if version is None:
        return None
    first = version.split(".")[0] if isinstance(version, str) else ""
    if not (first.isascii() and first.isdigit() and len(first) < 4):
        raise FileError(f"{name}: keras_version must be like '3.0.0', not {version!r:.40}")
    return int(first)


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not a number of JSON")


def _from_hdf5(file: BinaryIO, size: int, name: str, config: dict[str, Any] | None) -> KerasFile:
    tree = Tree(file, size, name)
    if any(container in tree.groups for container in CONTAINERS):
        return _with_config(name, tree, None, None, config, None)
    root = "model_weights" if "model_weights" in tree.groups else ""
    if not tree.has("model_config") and not tree.has("layer_names") and not root:
        raise FileError(f"{name} has no layers of a model, as Keras writes them")
    text, version = tree.text("", "model_config"), tree.text("", "keras_version")
    return _with_config(name, tree, root, None if text is None else parsed(text, name), config, version)


def _from_archive(archive: zipfile.ZipFile, size: int, name: str, config: dict[str, Any] | None) -> KerasFile:
    own = parsed(_member(archive, "config.json", MOST_JSON, name), name)
    metadata = parsed(_member(archive, "metadata.json", MOST_JSON, name), name)
    weights = _member(archive, "model.weights.h5", max(_TIMES * size, _AT_LEAST), name)
    if not weights.startswith(SIGNATURE):
        raise FileError(f"{name}: model.weights.h5 is not HDF5")
    tree = Tree(io.BytesIO(weights), len(weights), name)
    return _with_config(name, tree, None, own, config, metadata.get("keras_version"))


def _with_config(
    name: str, tree: Tree, root: str | None, own: dict[str, Any] | None, config: dict[str, Any] | None, version: object
) -> KerasFile:
    """Return the file with its own configuration, or with the one that is given where it has none."""
    if own is not None and config is not None:
        raise ValueError(f"{name} has a configuration of its own: config must be left out")
    used = config if own is None else own
    version = version if version is not None or used is None else used.get("keras_version")
    return KerasFile(name, tree, root, used, major_of(version, name))


class _Bounded:
    """A file whose list of members is not read if it is too long, as `zipfile` reads it whole."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.most = file, MOST_LIST
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > self.most:
            raise ValueError(f"its list of members would have {size} bytes")
        return self._file.read(min(size, self.most) if size >= 0 else self.most)


@contextmanager
def _archive(file: BinaryIO, name: str) -> Iterator[zipfile.ZipFile]:
    bounded = _Bounded(file)
    try:
        archive = zipfile.ZipFile(bounded)
        bounded.most = sys.maxsize
    except _DAMAGED as error:
        raise FileError(f"{name} is damaged, or not a zip archive: {error}") from error
    with archive:
        yield archive


def _member(archive: zipfile.ZipFile, member: str, most: int, name: str) -> bytes:
    """Return the bytes of a member of an archive, at most so many."""
    found = [info for info in archive.infolist() if info.filename == member]
    if len(found) != 1:
        times = "no" if not found else f"{len(found)} times"
        raise FileError(f"{name} has {times} {member}: it is not a file of Keras")
    (info,) = found
    if info.flag_bits & _ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FileError(f"{name}: {member} must not be encrypted, and stored as it is or deflated")
    if info.file_size > most:
        raise FileError(f"{name}: {member} would have {info.file_size} bytes, and {most} are allowed")
    try:
        with archive.open(info) as opened_member:
            # No more than this is inflated, whatever is in it.
            content = opened_member.read(most)
            ended = not opened_member.read(1)
    except _DAMAGED as error:
        raise FileError(f"{name} is damaged: {member}: {error}") from error
    if len(content) != info.file_size or not ended:
        raise FileError(f"{name} is damaged: {member} does not have the {info.file_size} bytes that it should have")
    return content
