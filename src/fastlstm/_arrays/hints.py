"""Hints for error messages: how a caller makes the array that is expected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm._arrays.arrays import FLOATS

# Results are written to these arguments, so that a converted copy would be of no use.
WRITTEN_TO = ("flat", "gradients", "workspace")


def conversion(name: str, value: object, dtype: object = None) -> str:
    """Return how to make an array of `value`; "" if that is unknown, or if results are written to `value`."""
    line = "" if name in WRITTEN_TO else converted(name, value, dtype)
    return line and f": {line} makes one"


def converted(name: str, value: object, dtype: object = None) -> str:
    """Return the expression that makes an array of the value called `name`, of this dtype or its own; "" for none."""
    if not name.isidentifier():
        return ""
    if hasattr(value, "to_numpy"):  # A data frame, or a column of one.
        return f"{name}.to_numpy()" + ("" if dtype is None else f".astype(np.{dtype})")
    made = "" if dtype is None else f", np.{dtype}"
    if type(value) in (list, tuple, range) or hasattr(value, "__array__"):
        return f"np.asarray({name}{made})"
    return f"np.array(list({name}){made})" if isinstance(value, Iterator) else ""


def dtype_hint(name: str, value: NDArray[Any], kind: np.dtype[Any] | None) -> str:
    """Return how to convert an input to the dtype of `kind`; "" for an output or a part of another object."""
    if not name.isidentifier() or name in WRITTEN_TO or value.dtype.kind not in "biuf":
        return ""
    hint = f": {name}.astype(np.{FLOATS[0] if kind is None else kind}) converts it"
    if kind is not None and value.dtype in FLOATS and name in ("x", "x_t", "h", "query", "encoded"):
        hint += f", a layer or network with dtype=np.{value.dtype} takes it as it is"
    return hint
