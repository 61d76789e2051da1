"""Array libraries for the tests of devices: on a GPU where there is one, else on the device that a build emulates."""

import contextlib
import importlib

import fake_cupy
import numpy as np
import pytest

from fastlstm._arrays import libraries as _libraries
from fastlstm._system import devices

NAMES = ("cupy", "torch")


class Moved:
    """Move NumPy's arrays to a library's device and back; leave other values as they are."""

    def __init__(self, name):
        self.name = name
        self.library = _libraries.library(name)
        self.index = self.library.device(None)

    def there(self, value):
        if isinstance(value, dict):
            return {name: self.there(item) for name, item in value.items()}
        if isinstance(value, (tuple, list)):
            return type(value)(self.there(item) for item in value)
        if isinstance(value, np.ndarray):
            kind = _libraries.DeviceKind(self.library, self.index, value.dtype.name)
            return self.library.from_host(value, kind)
        return value

    def back(self, value):
        if isinstance(value, dict):
            return {name: self.back(item) for name, item in value.items()}
        if isinstance(value, (tuple, list)):
            return tuple(self.back(item) for item in value)
        if value is None:
            return None
        assert self.library.owns(value), f"a result is {type(value)}"
        return self.library.to_host(value)


@contextlib.contextmanager
def library(name):
    """Yield what moves arrays to the library of this name; skip the test where it is not installed."""
    with fake_cupy.installed() if name == "cupy" and devices.is_emulated() else contextlib.nullcontext():
        try:
            importlib.import_module(name)
        except ImportError:
            pytest.skip(f"{name} is not installed")
        _libraries.library.cache_clear()
        yield Moved(name)
    _libraries.library.cache_clear()
