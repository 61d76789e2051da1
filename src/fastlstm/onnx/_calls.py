"""A node as the functions for its operator see it, and what they ask of its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx

from fastlstm._arrays.arrays import Array
from fastlstm.onnx._constants import Constant, attribute
from fastlstm.onnx._values import Dims, InTheWayError, Signal, Symbol


@dataclass(frozen=True)
class Call:
    """A node, and the version of its operator."""

    node: onnx.NodeProto
    opset: int

    def get(self, name: str, usual: Any = None) -> Any:
        """Return an attribute."""
        return attribute(self.node, name, usual)

    def integer(self, name: str, usual: int) -> int:
        """Return an attribute that is an int."""
        value = self.get(name, usual)
        if not isinstance(value, int):
            raise InTheWayError(f"its attribute {name} is no int")
        return value

    def axis(self, value: int, rank: int) -> int:
        """Return the number of an axis, counted from the first."""
        found = value + rank if value < 0 else value
        if not 0 <= found < rank:
            raise InTheWayError(f"it names axis {value} of {rank}")
        return found

    def axes(self, value: Any, rank: int, name: str = "axes") -> list[int] | None:
        """Return the axes that an input or, in earlier versions, an attribute names, None for all."""
        given = integers(value) if value is not None else self.get(name)
        if given is None:
            return None
        if not isinstance(given, list) or not all(isinstance(axis, int) for axis in given):
            raise InTheWayError(f"its {name} are no ints")
        return sorted(self.axis(axis, rank) for axis in given)


def integers(value: Any) -> list[int]:
    """Return the ints of a constant; raise InTheWayError if it is none."""
    if not isinstance(value, Constant) or value.array.dtype.kind not in "iu" or value.array.size > 64:
        raise InTheWayError("its axes or places are not constant")
    return [int(number) for number in value.array.reshape(-1)]


def floats(value: Any, what: str) -> Array:
    if not isinstance(value, Constant) or value.array.dtype.kind != "f":
        raise InTheWayError(f"{what} is not constant")
    return value.array


def signal_of(x: Any) -> Signal:
    """Return what layers give; raise InTheWayError if it is something else."""
    if not isinstance(x, Signal):
        raise InTheWayError
    return x


def laid_out(x: Any) -> Signal | Symbol:
    """Return what has axes; raise InTheWayError if it is something else."""
    return x if isinstance(x, Symbol) else signal_of(x)


def dims_of(x: Any) -> Dims:
    return x if isinstance(x, Dims) else Dims(tuple(integers(x)), x.array.ndim == 0)
