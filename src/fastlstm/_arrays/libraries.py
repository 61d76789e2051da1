"""Array libraries on a GPU: one interface to CuPy and to PyTorch.

A library is imported when one of its arrays arrives or a GPU is named, not before.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, final

import numpy as np

from fastlstm._system import devices

LibraryName = Literal["cupy", "torch"]
DeviceDType = Literal["float32", "float64", "bfloat16", "float16"]

CUDA = 2
"""The number of this kind of device in DLPack."""
FLOATS = ("float32", "float64", "bfloat16", "float16")
"""The dtypes that the kernels compute with on a device."""


@final
@dataclass(frozen=True)
class DeviceKind:
    """The kind of the arrays of a call on a GPU: their library, their device and their dtype.

    `values` is the name of the dtype; NumPy has no bfloat16.
    """

    library: Library
    index: int
    values: str

    @property
    def itemsize(self) -> int:
        """The bytes of a value."""
        return 2 if self.values == "bfloat16" else np.dtype(self.values).itemsize

    @property
    def place(self) -> str:
        """The name of the device in messages."""
        return f"cuda:{self.index}"

    def __str__(self) -> str:
        return f"{self.values} of {self.library.name} on {self.place}"

    def of(self, values: str) -> DeviceKind:
        """Return the same kind with another dtype."""
        return DeviceKind(self.library, self.index, values)

    @property
    def cells(self) -> DeviceKind:
        """The kind of cells, which have at least 32 bits."""
        return self.of("float32") if self.itemsize == 2 else self


class Library(Protocol):
    """The operations that an array library must have. Arrays are its own, on the device that `kind` says."""

    name: LibraryName

    def owns(self, value: object) -> bool:
        """Return whether a value is an array of this library on a device."""

    def adopt(self, name: str, value: Any) -> Any:
        """Return an array of this library in the same memory, checked to be one that the kernels may use."""

    def kind(self, array: Any) -> DeviceKind:
        """Return the kind of an array."""

    def device(self, index: int | None) -> int:
        """Return the given index of a device, or that of the current device for None."""

    def stream(self, index: int) -> int:
        """Return the address of the device's current stream."""

    def memory(self, array: Any) -> tuple[int, int]:
        """Return the address of a contiguous array and its number of bytes."""

    def empty(self, shape: Sequence[int], kind: DeviceKind) -> Any:
        """Return a new array."""

    def zeros(self, shape: Sequence[int], kind: DeviceKind) -> Any:
        """Return a new array of zeros."""

    def is_contiguous(self, array: Any) -> bool:
        """Return whether an array is C-contiguous."""

    def contiguous(self, array: Any) -> Any:
        """Return the array, or a copy that is C-contiguous."""

    def take(self, array: Any, indices: Any, axis: int) -> Any:
        """Return the entries at these indices along an axis, as `numpy.take` does."""

    def concatenate(self, arrays: Sequence[Any], axis: int) -> Any:
        """Join arrays along an axis."""

    def as_bytes(self, array: Any) -> Any:
        """Return an array of bool as one of uint8, in the same memory."""

    def from_host(self, array: Any, kind: DeviceKind) -> Any:
        """Return a copy of a NumPy array, rounded where `kind` has fewer bits."""

    def to_host(self, array: Any) -> Any:
        """Return a copy as a NumPy array, of float32 where values have fewer than 32 bits."""


class CuPy:
    """The library of CuPy's arrays."""

    name: LibraryName = "cupy"

    def __init__(self) -> None:
        self.cupy = importlib.import_module("cupy")

    def __reduce__(self) -> Any:
        return library, (self.name,)

    def owns(self, value: object) -> bool:
        return isinstance(value, self.cupy.ndarray)

    def adopt(self, name: str, value: Any) -> Any:
        if not self.owns(value):
            cupy = self.cupy
            value = cupy.asarray(value) if hasattr(value, "__cuda_array_interface__") else cupy.from_dlpack(value)
        current = self.device(None)
        if value.device.id != current:
            raise TypeError(
                f"{name} is on cuda:{value.device.id}, but CuPy's current device is cuda:{current}: "
                f"call within cupy.cuda.Device({value.device.id})"
            )
        return value

    def kind(self, array: Any) -> DeviceKind:
        return DeviceKind(self, array.device.id, array.dtype.name)

    def device(self, index: int | None) -> int:
        return int(self.cupy.cuda.Device(index).id)

    def stream(self, index: int) -> int:
        return int(self.cupy.cuda.get_current_stream(index).ptr)

    def memory(self, array: Any) -> tuple[int, int]:
        return array.data.ptr, array.nbytes

    def empty(self, shape: Sequence[int], kind: DeviceKind) -> Any:
        with self.cupy.cuda.Device(kind.index):
            return self.cupy.empty(tuple(shape), kind.values)

    def zeros(self, shape: Sequence[int], kind: DeviceKind) -> Any:
        with self.cupy.cuda.Device(kind.index):
            return self.cupy.zeros(tuple(shape), kind.values)

    def is_contiguous(self, array: Any) -> bool:
        return bool(array.flags.c_contiguous)

    def contiguous(self, array: Any) -> Any:
        return self.cupy.ascontiguousarray(array)

    def take(self, array: Any, indices: Any, axis: int) -> Any:
        return self.cupy.take(array, indices, axis)

    def concatenate(self, arrays: Sequence[Any], axis: int) -> Any:
        return self.cupy.concatenate(list(arrays), axis)

    def as_bytes(self, array: Any) -> Any:
        return array.view(np.uint8)

    def from_host(self, array: Any, kind: DeviceKind) -> Any:
        with self.cupy.cuda.Device(kind.index):
            return self.cupy.asarray(np.ascontiguousarray(array)).astype(kind.values, copy=False)

    def to_host(self, array: Any) -> Any:
        return self.cupy.asnumpy(array.astype("float32") if self.kind(array).itemsize == 2 else array)


class Torch:
    """The library of PyTorch's tensors."""

    name: LibraryName = "torch"

    def __init__(self) -> None:
        torch = self.torch = importlib.import_module("torch")
        # An emulated device has the memory of the processor.
        self.type = "cpu" if devices.is_emulated() else "cuda"
        names = ("float32", "float64", "bfloat16", "float16", "bool", "uint8", "int32", "int64")
        self.dtypes = {name: getattr(torch, name) for name in names}
        self.names = {own: name for name, own in self.dtypes.items()}

    def __reduce__(self) -> Any:
        return library, (self.name,)

    def owns(self, value: object) -> bool:
        return isinstance(value, self.torch.Tensor) and value.device.type == self.type

    def adopt(self, name: str, value: Any) -> Any:
        if not self.owns(value):
            if hasattr(value, "__dlpack__"):
                return self.torch.from_dlpack(value)
            own = self.torch.as_tensor(value, device=self._device(self.device(None)))
            if own.numel() and own.data_ptr() != value.__cuda_array_interface__["data"][0]:
                raise TypeError(f"{name} is not on PyTorch's current device: call within torch.cuda.device")
            return own
        if value.requires_grad:
            raise TypeError(f"{name} requires a gradient, which PyTorch would not see: give {name}.detach()")
        if value.dtype not in self.names:
            found = str(value.dtype).removeprefix("torch.")
            raise TypeError(f"{name} must have a dtype of {', '.join(FLOATS)}, not {found}")
        if value.layout != self.torch.strided or value.is_neg():
            raise TypeError(f"{name} must be a tensor that has its values in memory: dense, and after resolve_neg()")
        return value

    def _device(self, index: int) -> Any:
        return self.torch.device(self.type, index if self.type == "cuda" else None)

    def kind(self, array: Any) -> DeviceKind:
        return DeviceKind(self, array.device.index or 0, self.names[array.dtype])

    def device(self, index: int | None) -> int:
        if index is not None or self.type == "cpu":
            return index or 0
        return int(self.torch.cuda.current_device())

    def stream(self, index: int) -> int:
        return 0 if self.type == "cpu" else int(self.torch.cuda.current_stream(index).cuda_stream)

    def memory(self, array: Any) -> tuple[int, int]:
        return array.data_ptr(), array.nbytes

    def empty(self, shape: Sequence[int], kind: DeviceKind) -> Any:
        return self.torch.empty(tuple(shape), dtype=self.dtypes[kind.values], device=self._device(kind.index))

    def zeros(self, shape: Sequence[int], kind: DeviceKind) -> Any:
        return self.torch.zeros(tuple(shape), dtype=self.dtypes[kind.values], device=self._device(kind.index))

    def is_contiguous(self, array: Any) -> bool:
        return bool(array.is_contiguous())

    def contiguous(self, array: Any) -> Any:
        return array.contiguous()

    def take(self, array: Any, indices: Any, axis: int) -> Any:
        return array.index_select(axis, indices)

    def concatenate(self, arrays: Sequence[Any], axis: int) -> Any:
        return self.torch.cat(list(arrays), axis)

    def as_bytes(self, array: Any) -> Any:
        return array.view(self.torch.uint8)

    def from_host(self, array: Any, kind: DeviceKind) -> Any:
        own = self.torch.from_numpy(np.array(array, order="C"))
        # The host waits until its own memory has been read, not for the earlier work of the stream.
        return own.to(self._device(kind.index), self.dtypes[kind.values], non_blocking=True)

    def to_host(self, array: Any) -> Any:
        return (array.float() if array.itemsize == 2 else array).cpu().numpy().copy()


CLASSES: dict[str, type[CuPy] | type[Torch]] = {"cupy": CuPy, "torch": Torch}


@functools.cache
def library(name: LibraryName) -> Library:
    """Return CuPy or PyTorch; raise ImportError if it is not installed."""
    return CLASSES[name]()


def preferred() -> Library:
    """Return a library that the process has imported, else one that is installed, CuPy before PyTorch."""
    names: tuple[LibraryName, ...] = ("cupy", "torch")
    for name in sorted(names, key=lambda name: name not in sys.modules):
        try:
            return library(name)
        except ImportError:
            continue
    raise ImportError("arrays on a GPU need CuPy or PyTorch, which were not found: pip install cupy-cuda13x")


def _on_a_device(value: object) -> bool:
    if hasattr(type(value), "__dlpack_device__"):
        kind, _ = value.__dlpack_device__()  # type: ignore[attr-defined]
        return int(kind) == CUDA
    return hasattr(value, "__cuda_array_interface__")


def native_library(value: object) -> Library | None:
    """Return the library that owns an array on a device; None for any other value."""
    name = type(value).__module__.partition(".")[0]
    if name not in CLASSES:
        return None
    own = library(name)
    return own if own.owns(value) else None


def library_of(value: object) -> Library | None:
    """Return the library that owns an array on a device or can adopt it; None for any other value."""
    return native_library(value) or (preferred() if _on_a_device(value) else None)


def values_of(dtype: object, device: str) -> str:
    """Return the name of a dtype of NumPy or PyTorch with which the kernels compute on a device, or on "cpu"."""
    name = str(dtype).removeprefix("torch.")
    if name not in FLOATS and not isinstance(dtype, str):
        with contextlib.suppress(TypeError):
            name = np.dtype(dtype).name  # type: ignore[call-overload]
    known = FLOATS[:2] if device == "cpu" else FLOATS
    if name not in known:
        raise TypeError(f"dtype must be {', '.join(known[:-1])} or {known[-1]}, not {name}")
    return name


def device_kind(device: str, values: str, name: LibraryName | None = None) -> np.dtype[Any] | DeviceKind:
    """Return the kind of arrays on a device: "cpu", "cuda" for the library's current GPU, "cuda:1" for the second."""
    if not isinstance(device, str):
        raise TypeError(f"device must be a str such as 'cpu' or 'cuda:0', not {type(device).__name__}")
    if name is not None and name not in CLASSES:
        raise ValueError(f"library must be 'cupy' or 'torch', not {name!r}")
    if device == "cpu":
        own_dtype: np.dtype[Any] = np.dtype(values)
        return own_dtype
    where, colon, number = device.partition(":")
    if where != "cuda" or (colon and not number.isdecimal()):
        raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:0' and so on, not {device!r}")
    devices.backend()
    own = preferred() if name is None else library(name)
    return DeviceKind(own, own.device(int(number) if colon else None), values)
