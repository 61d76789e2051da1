"""ONNX models from files, bytes and protobufs: opened without trust in any size or path that they name."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from onnx import TensorProto

from fastlstm._arrays import checks as check
from fastlstm._arrays import whole_files
from fastlstm._arrays.arrays import Array
from fastlstm._arrays.files import FileError

Source: TypeAlias = "str | os.PathLike[str] | bytes | onnx.ModelProto"

# A protobuf cannot have more bytes: what is larger has its weights in other files.
LARGEST_MODEL = (1 << 31) - 1
# The graphs within graphs and calls of functions within functions, and the nodes in all of them together.
MOST_DEPTH = 64
MOST_NODES = 1 << 18
# The arrays made of a model have at most so many times the bytes of its files: few are used twice, or converted.
_TIMES = 8
_AT_LEAST = 1 << 20

# What a file's numbers become: float32 has all of float16 and bfloat16.
_BECOMES: dict[int, Any] = {TensorProto.FLOAT16: np.float32, TensorProto.BFLOAT16: np.float32}
# What bytes of external data may be, but for bfloat16, which NumPy lacks.
_PLAIN: dict[int, str] = {
    TensorProto.FLOAT: "<f4", TensorProto.DOUBLE: "<f8", TensorProto.FLOAT16: "<f2", TensorProto.BFLOAT16: "<u2",
    TensorProto.INT64: "<i8", TensorProto.INT32: "<i4", TensorProto.INT16: "<i2", TensorProto.INT8: "i1",
    TensorProto.UINT64: "<u8", TensorProto.UINT32: "<u4", TensorProto.UINT16: "<u2", TensorProto.UINT8: "u1",
    TensorProto.BOOL: "?",
}  # fmt: skip


class Model:
    """A model, what messages call it, and the arrays of its tensors, which are read when they are asked for.

    Attributes
    ----------
    proto : onnx.ModelProto
        The model. Its external data is where it was.
    name : str
        The path, or "the model".
    opsets : dict of str to int
        The version of each domain of operators; "" is ONNX's own.
    """

    def __init__(self, proto: onnx.ModelProto, name: str, folder: str | None, size: int) -> None:
        self.proto, self.name, self._folder = proto, name, folder
        if not proto.ir_version or not proto.HasField("graph"):
            raise FileError(f"{name} is not an ONNX model: it has no {'graph' if proto.ir_version else 'version'}")
        # Models of the first versions say nothing, and mean version 1.
        self.opsets = {"": 1} | {
            "" if one.domain == "ai.onnx" else one.domain: one.version for one in proto.opset_import
        }
        self._sizes, self._spent, self._read = {"": size}, 0, dict[int, tuple[TensorProto, Array]]()

    def spend(self, size: int) -> None:
        """Count the bytes of an array that is to be made; raise FileError if the model's files cannot need so many."""
        self._spent += size
        if self._spent > _TIMES * sum(self._sizes.values()) + _AT_LEAST:
            raise FileError(f"{self.name}: the arrays made of its constants would be far larger than the file")

    def array(self, tensor: TensorProto) -> Array:
        """Return the values of a tensor, not to be written to: float16 and bfloat16 as float32.

        Raises
        ------
        FileError
            If they are not as many as its shape needs, or not where a file of the model's can be.
        """
        if id(tensor) not in self._read:
            # As long as the tensor is held here, no other one gets its id.
            self._read[id(tensor)] = tensor, self._array(tensor)
        return self._read[id(tensor)][1]

    def _array(self, tensor: TensorProto) -> Any:
        name, kind = tensor.name, tensor.data_type
        if kind not in _PLAIN:
            known = {value: key for key, value in TensorProto.DataType.items()}
            raise FileError(f"{self.name}: tensor {name!r} has {known.get(kind, f'type {kind}')}, which is not read")
        if any(size < 0 for size in tensor.dims) or len(tensor.dims) > 32:
            raise FileError(f"{self.name}: tensor {name!r} has no shape that is possible: {list(tensor.dims)[:33]}")
        if tensor.data_location == TensorProto.EXTERNAL:
            array = self._external(tensor)
        else:
            self.spend(tensor.ByteSize())
            try:
                array = onnx.numpy_helper.to_array(tensor)
            except (ValueError, TypeError, OverflowError) as error:
                raise FileError(f"{self.name}: tensor {name!r} is damaged: {error}") from error
        if kind in _BECOMES:
            self.spend(4 * array.size)
            array = array.astype(_BECOMES[kind])
        array.flags.writeable = False
        return array

    def _external(self, tensor: TensorProto) -> Any:
        """Return values that are in another file of the model's folder."""
        where = f"{self.name}: tensor {tensor.name!r}"
        given = {entry.key: entry.value for entry in tensor.external_data}
        path, location = self._path_of(where, given.get("location", "")), given.get("location", "")
        dtype = np.dtype(_PLAIN[tensor.data_type])
        size = math.prod(tensor.dims) * dtype.itemsize
        try:
            offset, length = (int(given.get(key, usual)) for key, usual in (("offset", 0), ("length", size)))
        except ValueError as error:
            raise FileError(f"{where} has no place in {location!r}: {error}") from error
        with open(path, "rb", opener=whole_files.opener) as file:
            available = whole_files.size_of(file, path)
            if not 0 <= offset <= available - size or length != size:
                raise FileError(
                    f"{where} must be {size} bytes of {location!r}, which has {available}, not {length} from {offset}"
                )
            self._sizes[path] = available
            self.spend(size)
            array: Any = np.empty(tensor.dims, dtype)
            file.seek(offset)
            if file.readinto(array.reshape(-1).view(np.uint8)) != size:
                raise FileError(f"{where}: {location!r} became shorter while it was read")
        if tensor.data_type == TensorProto.BFLOAT16:
            return (array.astype("<u4") << 16).view("<f4")
        return array

    def _path_of(self, where: str, location: str) -> str:
        """Return the path of external data; raise FileError unless it is in the folder of the model."""
        if self._folder is None:
            raise FileError(f"{where} has its values in a file, {location!r}: give the path of the model")
        folder = os.path.realpath(self._folder or os.curdir)
        parts = location.replace("\\", "/").split("/")
        if not location or "\0" in location or os.path.isabs(location) or ".." in parts or ":" in parts[0]:
            raise FileError(f"{where}: {location!r} is not the name of a file in the folder of the model")
        path = os.path.realpath(os.path.join(folder, location))
        if os.path.commonpath([folder, path]) != folder:
            raise FileError(f"{where}: {location!r} leads out of the folder of the model")
        return path

    def embedded(self) -> onnx.ModelProto:
        """Return the model with its external data within."""
        for tensor in _tensors(self):
            if tensor.data_location == TensorProto.EXTERNAL:
                array, kind = self._external(tensor), tensor.data_type
                if kind == TensorProto.BFLOAT16:
                    array = (array.view("<u4") >> 16).astype("<u2")
                tensor.raw_data = array.tobytes()
                tensor.data_location = TensorProto.DEFAULT
                del tensor.external_data[:]
        return self.proto


def open_model(source: Source, name: str = "model") -> Model:
    """Return a model from its path, its bytes or its protobuf, which is not copied; `name` is the argument's.

    Raises
    ------
    TypeError
        If it is none of these.
    FileError
        If it is damaged or no model.
    OSError
        If the file cannot be read, or is not a regular file.
    """
    if isinstance(source, onnx.ModelProto):
        return Model(source, f"the {name}", None, _size_of(source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        content, told, folder = bytes(source), f"the {name}", None
    elif isinstance(source, (str, os.PathLike)):
        told = check.path(name, source)
        folder = os.path.dirname(told)
        with open(told, "rb", opener=whole_files.opener) as file:
            size = whole_files.size_of(file, told)
            if size > LARGEST_MODEL:
                raise FileError(f"{told} has {size} bytes, more than an ONNX model can have: it is another file")
            content = file.read(size)
    else:
        raise TypeError(f"{name} must be a path, bytes or an onnx.ModelProto, not {type(source).__name__}")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except DecodeError as error:  # Also of messages that are too deep.
        raise FileError(f"{told} is damaged, or not an ONNX model: {error}") from error
    return Model(proto, told, folder, len(content))


def _size_of(proto: onnx.ModelProto) -> int:
    try:
        return int(proto.ByteSize())
    except EncodeError:  # It has more than a file could.
        return LARGEST_MODEL


def _tensors(model: Model) -> Iterator[TensorProto]:
    """Yield every tensor of a model."""
    graphs: list[Any] = [model.proto.graph, *model.proto.functions]
    while graphs:
        graph = graphs.pop()
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        yield from getattr(graph, "initializer", ())
        for node in graph.node:
            for attribute in node.attribute:
                yield from (*[attribute.t][: attribute.HasField("t")], *attribute.tensors)
                graphs += [*[attribute.g][: attribute.HasField("g")], *attribute.graphs]
