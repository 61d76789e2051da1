"""The arrays of one direction: from ONNX's W, R, B and P to our W, R, b, bn and p, and back.

ONNX has the blocks of an LSTM in the order i, o, f, c, of a GRU z, r, h, the rows of P i, o, f, and two biases, of W
and of R, in the halves of B. Ours are i, f, z, o; r, z, n; i, f, o; and one bias, but for a GRU's bn, which is in r.
"""

from __future__ import annotations

import numpy as np

from fastlstm._arrays.arrays import Array
from fastlstm.onnx._attributes import Attributes

# Our names of ONNX's blocks, in ONNX's order.
_THEIRS = {"LSTM": "iofz", "GRU": "zrn", "RNN": "h"}
_PEEPHOLES = "iof"


def blocks(attributes: Attributes) -> str:
    """Return the letters of our blocks: i, f, z, o, without f if it is coupled; r, z, n; h."""
    if attributes.kind == "LSTM":
        return "izo" if attributes.input_forget else "ifzo"
    return "rzn" if attributes.kind == "GRU" else "h"


def from_onnx(
    attributes: Attributes, W: Array, R: Array, B: Array | None = None, P: Array | None = None
) -> dict[str, Array]:
    """Return our arrays of one direction: W, R, b, of a GRU that resets after also bn, with P also p.

    W is (nH, I), R (nH, H), B (2nH,) or None for zeros, P (3H,) or None for no peepholes, in float32 or float64.
    """
    theirs, ours, H = _THEIRS[attributes.kind], blocks(attributes), R.shape[1]
    of_W, of_R = np.zeros((2, len(R)), R.dtype) if B is None else np.split(B, 2)
    with np.errstate(all="ignore"):
        bias = np.where(of_R == 0, of_W, of_W + of_R)  # The sum of 0 and -0 would be another 0.
    found = {}
    if attributes.kind == "GRU" and attributes.linear_before_reset:
        found["bn"] = of_R[2 * H :].copy()
        bias[2 * H :] = of_W[2 * H :]
    for name, array in (("W", W), ("R", R), ("b", bias)):
        found[name] = _reordered(array, theirs, ours)
    if P is not None:
        rows = ours.replace("z", "")
        found["p"] = _reordered(P, _PEEPHOLES, rows).reshape(len(rows), H)
    return found


def to_onnx(
    attributes: Attributes, W: Array, R: Array, b: Array, bn: Array | None = None, p: Array | None = None
) -> dict[str, Array]:
    """Return ONNX's W, R, B and, with p, P of one direction. What ours lack, as a coupled f, is zeros.

    The bias is that of W; that of R is zeros, but for bn.
    """
    theirs, ours = _THEIRS[attributes.kind], blocks(attributes)
    found = {"W": _reordered(W, ours, theirs), "R": _reordered(R, ours, theirs)}
    of_W = _reordered(b, ours, theirs)
    of_R = np.zeros_like(of_W)
    if bn is not None:
        of_R[-len(bn) :] = bn
    found["B"] = np.concatenate([of_W, of_R])
    if p is not None:
        found["P"] = _reordered(p.reshape(-1), ours.replace("z", ""), _PEEPHOLES)
    return found


def _reordered(array: Array, given: str, wanted: str) -> Array:
    """Return an array's blocks of rows, which are `given`, in the order `wanted`, zeros for those that it lacks."""
    parts = dict(zip(given, np.split(array, len(given)), strict=True))
    zeros = np.zeros_like(parts[given[0]])
    return np.concatenate([parts.get(letter, zeros) for letter in wanted])
