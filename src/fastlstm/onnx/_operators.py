"""The operators LSTM, GRU and RNN for `onnx.reference`, of all versions and with all attributes, on the kernels."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from fastlstm._arrays.arrays import Array
from fastlstm.onnx._attributes import Attributes, attributes_from, label
from fastlstm.onnx._blocks import from_onnx
from fastlstm.onnx._directions import Direction
from fastlstm.onnx._nodes import INPUTS
from fastlstm.onnx._once import Once

__all__ = ["GRU", "LSTM", "RNN"]

# What the kernels compute in, for each dtype that a node may have.
_COMPUTED_IN: dict[str, Any] = {
    "float32": np.float32, "float64": np.float64, "float16": np.float32, "bfloat16": np.float32,
}  # fmt: skip


class _Recurrent(Once):
    """A node, with its weights as the kernels take them, once they are known to be constant."""

    op_domain = ""
    states = 1

    def __init__(self, onnx_node: Any, run_params: dict[str, Any], schema: Any = None) -> None:
        super().__init__(onnx_node, run_params, schema)
        self._where = label(onnx_node)
        self._attributes = None if self.has_linked_attribute else self._read(self._values())
        self._directions = _directions(self._attributes)

    def _values(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return {name: getattr(self, name) for name in self.attributes_names_}

    def _read(self, values: dict[str, Any]) -> Attributes:
        return attributes_from(self.op_type, values, self._where)

    def _run(self, *inputs: Any, **values: Any) -> tuple[Array, ...]:
        attributes, directions = self._attributes, self._directions
        if attributes is None:  # Those of a function's node are given with each call.
            attributes = self._read(values)
            directions = _directions(attributes)
        most = len(INPUTS) if self.states == 2 else len(INPUTS) - 2
        if len(inputs) > most:
            raise ValueError(f"{self._where} must have at most {most} inputs, not {len(inputs)}")
        given = {role: value for role, value in zip(INPUTS, inputs, strict=False) if value is not None}
        self._check(attributes, given)
        X, dtype = given["X"], given["X"].dtype
        own = _COMPUTED_IN[dtype.name]
        layout = attributes.layout
        x = np.ascontiguousarray(X.swapaxes(0, 1) if layout else X, own)
        B, H = x.shape[1], given["R"].shape[2]
        initial = []
        for role in ("initial_h", "initial_c")[: self.states]:
            state = given.get(role)
            if state is None:
                initial.append(np.zeros((attributes.directions, B, H), own))
            else:
                initial.append(np.ascontiguousarray(state.swapaxes(0, 1) if layout else state, own))
        Y = np.empty((len(x), attributes.directions, B, H), dtype)
        last = [np.empty(state.shape, dtype) for state in initial]
        for d, (direction, weights) in enumerate(zip(directions, self._converted(attributes, given), strict=True)):
            first = tuple(state[d] for state in initial)
            Y[:, d], states = direction.run(x, weights, first, given.get("sequence_lens"))
            for array, state in zip(last, states, strict=True):
                array[d] = state
        if layout:
            Y = Y.transpose(2, 0, 1, 3)
            last = [state.swapaxes(0, 1) for state in last]
        return (Y, *last)[: len(self.onnx_node.output)]

    def _converted(self, attributes: Attributes, given: dict[str, Array]) -> list[dict[str, Array]]:
        """Return the weights of each direction; those that are constants of the model are converted once."""
        own = _COMPUTED_IN[given["X"].dtype.name]
        weights = [given.get(role) for role in "WRBP"]

        def convert() -> list[dict[str, Array]]:
            parts: list[Any] = [[None if one is None else one[d].astype(own) for one in weights] for d in range(D)]
            return [from_onnx(attributes, *part) for part in parts]

        D = attributes.directions
        return self.once(weights, convert)

    def _check(self, attributes: Attributes, given: dict[str, Any]) -> None:
        """Raise ValueError unless the arrays are there, of one dtype, and have shapes that belong together."""
        for role in ("X", "W", "R"):
            if role not in given:
                raise ValueError(f"{self._where} must have the input {role}")
        X, R = given["X"], given["R"]
        for role, array in given.items():
            if role == "sequence_lens":
                continue
            if array.dtype.name not in _COMPUTED_IN:
                self._wrong(role, f"of {', '.join(_COMPUTED_IN)}", array.dtype)
            if array.dtype != X.dtype:
                self._wrong(role, f"of {X.dtype}, as X is", array.dtype)
        if X.ndim != 3:
            self._wrong("X", "an array of 3 axes", X.shape)
        if R.ndim != 3 or 0 in R.shape:
            self._wrong("R", "an array of 3 axes that are not empty", R.shape)
        D, n, H = attributes.directions, attributes.gates, R.shape[2]
        if attributes.hidden_size not in (None, H):
            raise ValueError(f"{self._where}: hidden_size is {attributes.hidden_size}, but R has shape {R.shape}")
        T, B = (X.shape[1], X.shape[0]) if attributes.layout else X.shape[:2]
        state = (B, D, H) if attributes.layout else (D, B, H)
        shapes = {
            "W": (D, n * H, max(X.shape[2], 1)), "R": (D, n * H, H), "B": (D, 2 * n * H), "sequence_lens": (B,),
            "initial_h": state, "initial_c": state, "P": (D, 3 * H),
        }  # fmt: skip
        for role, shape in shapes.items():
            if role in given and given[role].shape != shape:
                self._wrong(role, f"of shape {shape}", given[role].shape)
        lengths = given.get("sequence_lens")
        if lengths is not None:
            if lengths.dtype.kind not in "iu":
                self._wrong("sequence_lens", "ints", lengths.dtype)
            if lengths.size and not 0 <= lengths.min() <= lengths.max() <= T:
                self._wrong("sequence_lens", f"from 0 to the {T} steps of X", lengths.tolist())

    def _wrong(self, role: str, expected: str, given: object) -> NoReturn:
        raise ValueError(f"{self._where}: input {role} must be {expected}, not {given}")


def _directions(attributes: Attributes | None) -> list[Direction]:
    return [] if attributes is None else [Direction(attributes, d) for d in range(attributes.directions)]


class LSTM(_Recurrent):
    """The operator LSTM."""

    states = 2


class GRU(_Recurrent):
    """The operator GRU."""


class RNN(_Recurrent):
    """The operator RNN."""
