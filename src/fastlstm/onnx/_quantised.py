"""ONNX Runtime's operator DynamicQuantizeLSTM: an LSTM with int8 weights, which rounds what goes into its products.

X is rounded to 8 bits once, all of it in one scale, and h before each step's product; the products are of integers. All
else is an LSTM in float32. The rounding is ONNX Runtime's of one row: several rows it divides among its threads, each
part with a scale of its own, and results then differ by what rounding to 8 bits changes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastlstm._arrays.arrays import Array
from fastlstm.onnx._attributes import Attributes, attributes_from, label
from fastlstm.onnx._blocks import from_onnx
from fastlstm.onnx._directions import activations_of
from fastlstm.onnx._once import Once
from fastlstm.reference.lstm import LSTMFunctions, by_gate, lstm_cell, lstm_functions

__all__ = ["DynamicQuantizeLSTM"]

_INPUTS = (
    "X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P", "W_scale", "W_zero_point", "R_scale",
    "R_zero_point",
)  # fmt: skip
_NEEDED = ("X", "W", "R", "W_scale", "W_zero_point", "R_scale", "R_zero_point")


class _Cell(NamedTuple):
    """The weights of one direction: integers and their scales, and b and p, whose blocks are in our order."""

    W: Array  # (4H, I)
    R: Array  # (4H, H)
    scale_of_W: Array
    scale_of_R: Array
    b: Array
    p: dict[str, Array]


class DynamicQuantizeLSTM(Once):
    """The operator DynamicQuantizeLSTM of com.microsoft."""

    op_domain = "com.microsoft"

    def __init__(self, onnx_node: Any, run_params: dict[str, Any], schema: Any = None) -> None:
        super().__init__(onnx_node, run_params, schema)
        self._where = label(onnx_node)
        if self.has_linked_attribute:
            raise ValueError(f"{self._where}: its attributes must be its own, not those of a function")
        values = {name: getattr(self, name) for name in self.attributes_names_}
        self._attributes = attributes_from("LSTM", values, self._where)
        if self._attributes.layout:
            raise ValueError(f"{self._where}: attribute layout must be 0")

    def _run(self, *inputs: Any, **values: Any) -> tuple[Array, ...]:
        attributes = self._attributes
        given = {role: value for role, value in zip(_INPUTS, inputs, strict=False) if value is not None}
        self._check(given)
        X, D = given["X"], attributes.directions
        T, B, _ = X.shape
        H = given["R"].shape[1]
        zeros = np.zeros((D, B, H), np.float32)
        h, c = (given.get(role, zeros).copy() for role in ("initial_h", "initial_c"))
        weights = [given.get(role) for role in _INPUTS if role not in ("X", "sequence_lens", "initial_h", "initial_c")]
        cells = self.once(weights, lambda: [_cell(attributes, given, d) for d in range(D)])
        Y = np.empty((T, D, B, H), np.float32)
        variant = "CIFG" if attributes.input_forget else "vanilla"
        for d, cell in enumerate(cells):
            activations: Any = activations_of(attributes, d)
            functions = lstm_functions(variant, activations, attributes.clip)
            steps = range(T) if attributes.direction != "reverse" and d == 0 else reversed(range(T))
            Wx = _product(X, cell.W, cell.scale_of_W)
            for t in steps:
                sums = Wx[t] + _product(h[d], cell.R, cell.scale_of_R) + cell.b
                h[d], c[d] = _step(variant, sums, cell.p, c[d], functions)
                Y[t, d] = h[d]
        return (Y, h, c)[: len(self.onnx_node.output)]

    def _check(self, given: dict[str, Any]) -> None:
        """Raise ValueError unless the arrays are there, and have shapes that belong together."""
        missing = [role for role in _NEEDED if role not in given]
        if missing or "sequence_lens" in given:
            told = f"needs the input {missing[0]}" if missing else "has sequence_lens, which is not done here"
            raise ValueError(f"{self._where} {told}")
        X, R, D = given["X"], given["R"], self._attributes.directions
        if X.ndim != 3 or R.ndim != 3 or 0 in R.shape or X.dtype != np.float32:
            raise ValueError(
                f"{self._where}: X and R must have 3 axes, X of float32: {X.shape} of {X.dtype}, {R.shape}"
            )
        B, H = X.shape[1], R.shape[1]
        shapes: dict[str, list[tuple[int, ...]]] = {
            "W": [(D, X.shape[2], 4 * H)], "R": [(D, H, 4 * H)], "B": [(D, 8 * H)], "P": [(D, 3 * H)],
            "initial_h": [(D, B, H)], "initial_c": [(D, B, H)],
        }  # fmt: skip
        shapes |= {role: [(D,), (D, 4 * H)] for role in _NEEDED[3:]}
        for role, allowed in shapes.items():
            if role in given and given[role].shape not in allowed:
                told = " or ".join(map(str, allowed))
                raise ValueError(f"{self._where}: input {role} must have shape {told}, not {given[role].shape}")


def _cell(attributes: Attributes, given: dict[str, Array], d: int) -> _Cell:
    """Return the weights of a direction; a scale for each row of W and R, or one for all."""
    H = given["R"].shape[1]
    arrays = {}
    for role in "WR":
        integers = given[role][d].astype(np.float64) - given[f"{role}_zero_point"][d].astype(np.float64)
        arrays[role] = integers.T
        arrays[f"scale_of_{role}"] = np.broadcast_to(given[f"{role}_scale"][d], 4 * H)
    B, P = (given[role][d] if role in given else None for role in "BP")
    # The scales have the blocks of rows of W and R, and go where these go.
    ours = from_onnx(attributes, arrays["W"], arrays["R"], B, P)
    scales = [
        from_onnx(attributes, scale[:, np.newaxis], np.zeros((4 * H, H)))["W"][:, 0]
        for scale in (arrays["scale_of_W"], arrays["scale_of_R"])
    ]
    gates = "io" if attributes.input_forget else "ifo"
    p = by_gate(gates, ours["p"].reshape(-1)) if P is not None else dict.fromkeys(gates, np.zeros(H, np.float32))
    return _Cell(ours["W"], ours["R"], scales[0], scales[1], ours["b"].astype(np.float32), p)


def _product(x: Array, W: Array, scale: Array) -> Array:
    """Return W x for rows x, which are rounded to 8 bits; the integers are summed exactly, as float64 has them all."""
    low, high = min(x.min(initial=0), np.float32(0)), max(x.max(initial=0), np.float32(0))
    step = np.float32((high - low) / np.float32(255)) or np.float32(1)
    zero = np.clip(np.rint(-low / step), 0, 255)
    integers = np.clip(np.rint(x / step) + zero, 0, 255) - zero
    product: Array = (integers.astype(np.float64) @ W.T).astype(np.float32) * (step * scale)
    return product


def _step(variant: str, sums: Array, p: dict[str, Array], c: Array, functions: LSTMFunctions) -> tuple[Array, Array]:
    """Return h and c of the next step."""
    blocks = "izo" if variant == "CIFG" else "ifzo"
    bars = dict(zip(blocks, np.split(sums, len(blocks), axis=-1), strict=True))
    _, _, _, o, c = lstm_cell(variant, bars, p, c, functions)
    return functions.h.value(c) * o, c
