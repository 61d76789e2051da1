"""Array libraries on a GPU: what is asked of CuPy and of PyTorch, the same of each.

Neither is imported before an array of it comes, or a GPU is named.
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
"""Of DLPack's kinds of devices."""
FLOATS = ("float32", "float64", "bfloat16", "float16")
"""What the kernels compute with on a device."""


@final
@dataclass(frozen=True)
class DeviceKind:
    """What the arrays of a call on a GPU are like: whose, on which device, of what values.

    Values have the names of dtypes; bfloat16, which NumPy lacks, is one of them.
    """

    library: Library
    index: int
    values: str

    @property
    def itemsize(self) -> int:
        """Bytes of a value."""
        return 2 if self.values == "bfloat16" else np.dtype(self.values).itemsize

    @property
    def place(self) -> str:
        """The device, as messages call it."""
        return f"cuda:{self.index}"

    def __str__(self) -> str:
        return f"{self.values} of {self.library.name} on {self.place}"

    def of(self, values: str) -> DeviceKind:
        """The same, of other values."""
        return DeviceKind(self.library, self.index, values)

    @property
    def cells(self) -> DeviceKind:
        """What cells are like: never of fewer than 32 bits."""
        return self.of("float32") if self.itemsize == 2 else self


class Library(Protocol):
    """What is asked of an array library. Arrays are its own, on the device that `kind` says."""

    name: LibraryName

    def owns(self, value: object) -> bool:
        """Whether it is an array of this library on a device."""

    def adopt(self, name: str, value: Any) -> Any:
        """Another library's array as one of this, in the same memory; its own as it is, if the kernels may use it."""

    def kind(self, array: Any) -> DeviceKind:
        """What an array is like."""

    def device(self, index: int | None) -> int:
        """That index, or the current device's."""

    def stream(self, index: int) -> int:
        """The address of the device's current stream."""

    def memory(self, array: Any) -> tuple[int, int]:
        """Where a contiguous array begins, and its bytes."""

    def empty(self, shape: Sequence[int], kind: DeviceKind) -> Any:
        """A new array."""

    def zeros(self, shape: Sequence[int], kind: DeviceKind) -> Any:
        """A new array of zeros."""

    def is_contiguous(self, array: Any) -> bool:
        """Whether it is in C order, without gaps."""

    def contiguous(self, array: Any) -> Any:
        """The same, or a copy that is."""

    def take(self, array: Any, indices: Any, axis: int) -> Any:
        """Those of an axis, as `numpy.take` does."""

    def concatenate(self, arrays: Sequence[Any], axis: int) -> Any:
        """One after the other."""

    def as_bytes(self, array: Any) -> Any:
        """An array of bool as one of uint8."""

    def from_host(self, array: Any, kind: DeviceKind) -> Any:
        """A copy of NumPy's, rounded where `kind` has fewer bits."""

    def to_host(self, array: Any) -> Any:
        """A copy for NumPy; what has fewer than 32 bits in float32."""


class CuPy:
    """Arrays of CuPy."""

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
    """Tensors of PyTorch."""

    name: LibraryName = "torch"

    def __init__(self) -> None:
        torch = self.torch = importlib.import_module("torch")
        # Where the device is emulated, its memory is the processor's.
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
        # The host waits for its own memory to be read, not for what the stream has to do before.
        return own.to(self._device(kind.index), self.dtypes[kind.values], non_blocking=True)

    def to_host(self, array: Any) -> Any:
        return (array.float() if array.itemsize == 2 else array).cpu().numpy().copy()


CLASSES: dict[str, type[CuPy] | type[Torch]] = {"cupy": CuPy, "torch": Torch}


@functools.cache
def library(name: LibraryName) -> Library:
    """CuPy or PyTorch; ImportError where it is not installed."""
    return CLASSES[name]()


def preferred() -> Library:
    """That which the process has imported, else that which is installed, CuPy before PyTorch."""
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
    """Whose array on a device it is; None where it is neither CuPy's nor PyTorch's."""
    name = type(value).__module__.partition(".")[0]
    if name not in CLASSES:
        return None
    own = library(name)
    return own if own.owns(value) else None


def library_of(value: object) -> Library | None:
    """Whose array on a device it is, or whose it can become; None where it is none."""
    return native_library(value) or (preferred() if _on_a_device(value) else None)


def values_of(dtype: object, device: str) -> str:
    """The name of a dtype, NumPy's or PyTorch's, if the kernels on a device, or on "cpu", compute with it."""
    name = str(dtype).removeprefix("torch.")
    if name not in FLOATS and not isinstance(dtype, str):
        with contextlib.suppress(TypeError):
            name = np.dtype(dtype).name  # type: ignore[call-overload]
    known = FLOATS[:2] if device == "cpu" else FLOATS
    if name not in known:
        raise TypeError(f"dtype must be {', '.join(known[:-1])} or {known[-1]}, not {name}")
    return name


def device_kind(device: str, values: str, name: LibraryName | None = None) -> np.dtype[Any] | DeviceKind:
    """The kind of arrays on a device: "cpu" is the host, "cuda" the library's current GPU, "cuda:1" the second."""
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
