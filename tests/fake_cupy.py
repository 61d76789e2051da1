"""The part of CuPy that fastlstm uses, for an emulated device, whose memory is the processor's.

Its arrays are not NumPy's and are never converted implicitly, just as CuPy's: what touches one on the host fails.
"""

import contextlib
import ctypes
import math
import sys
import types

import numpy as np

STREAM = types.SimpleNamespace(ptr=0)  # the current stream; a test may set its address


def _own(value):
    """Return an operand as NumPy's; refuse NumPy's own arrays, as CuPy does."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, tuple):
        return tuple(_own(item) for item in value)
    return value


class ndarray:  # as CuPy calls it
    __array_ufunc__ = None
    __module__ = "cupy"

    def __init__(self, host, device=0):
        self._host, self.device = host, types.SimpleNamespace(id=device)

    shape = property(lambda self: self._host.shape)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    dtype = property(lambda self: self._host.dtype)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    flags = property(lambda self: self._host.flags)

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self._host.ctypes.data)

    @property
    def __cuda_array_interface__(self):
        return {**self._host.__array_interface__, "version": 3, "stream": 1}

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __len__(self):
        return len(self._host)

    def _like(self, host):
        return ndarray(host, self.device.id)

    def __getitem__(self, at):
        return self._like(self._host[_own(at)])

    def __setitem__(self, at, value):
        self._host[_own(at)] = _own(value)

    def reshape(self, *shape):
        return self._like(self._host.reshape(*shape))

    def swapaxes(self, a, b):
        return self._like(self._host.swapaxes(a, b))

    def view(self, dtype):
        return self._like(self._host.view(dtype))

    def astype(self, dtype, copy=True):
        return self._like(self._host.astype(dtype, copy=copy))

    def copy(self):
        return self._like(self._host.copy())

    def __add__(self, other):
        return self._like(self._host + _own(other))

    def __mul__(self, other):
        return self._like(self._host * _own(other))

    __radd__, __rmul__ = __add__, __mul__

    def __iadd__(self, other):
        self._host += _own(other)
        return self

    def __imul__(self, other):
        self._host *= _own(other)
        return self

    def __isub__(self, other):
        self._host -= _own(other)
        return self

    def __deepcopy__(self, memo):
        return self.copy()

    def __reduce__(self):
        return asarray, (self._host,)


class Device:
    current = 0

    def __init__(self, index=None):
        self.id = Device.current if index is None else index

    def __enter__(self):
        self._before, Device.current = Device.current, self.id

    def __exit__(self, *error):
        Device.current = self._before


def asarray(value):
    if isinstance(value, ndarray):
        return value
    if not hasattr(value, "__cuda_array_interface__"):
        return ndarray(np.array(value), Device.current)
    interface = value.__cuda_array_interface__  # in the same memory
    dtype, shape = np.dtype(interface["typestr"]), interface["shape"]
    memory = (ctypes.c_char * (dtype.itemsize * math.prod(shape))).from_address(interface["data"][0])
    return ndarray(np.frombuffer(memory, dtype).reshape(shape), Device.current)


def module():
    made = types.ModuleType("cupy")
    made.ndarray, made.asarray = ndarray, asarray
    made.from_dlpack = lambda value: ndarray(np.from_dlpack(value), Device.current)
    made.asnumpy = lambda array: array._host.copy()
    made.empty = lambda shape, dtype: ndarray(np.full(shape, 77).astype(dtype), Device.current)  # not zeros by chance
    made.zeros = lambda shape, dtype: ndarray(np.zeros(shape, dtype), Device.current)
    made.ascontiguousarray = lambda array: array._like(np.ascontiguousarray(array._host))
    made.take = lambda array, indices, axis: array._like(np.take(array._host, _own(indices), axis))
    made.concatenate = lambda arrays, axis: arrays[0]._like(np.concatenate([_own(a) for a in arrays], axis))
    made.cuda = types.SimpleNamespace(Device=Device, get_current_stream=lambda index: STREAM)
    return made


@contextlib.contextmanager
def installed():
    """Make this the module that `import cupy` returns."""
    before = sys.modules.get("cupy")
    sys.modules["cupy"] = module()
    try:
        yield sys.modules["cupy"]
    finally:
        if before is None:
            del sys.modules["cupy"]
        else:
            sys.modules["cupy"] = before
