"""The layer-normalised LSTM, in the form of Haste, and its gradients."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastlstm.reference.activations import Array
from fastlstm.reference.lstm import (
    BLOCKS,
    by_gate,
    lstm_cell,
    lstm_cell_backward,
    lstm_functions,
    peephole_gradients,
)

EPSILON = 1e-5
"""The number added to each variance, as in Haste and in PyTorch: a row whose values are all the same becomes 0."""


class LayerNormLSTMTape(NamedTuple):
    """What the forward pass leaves for the backward pass; `y[0]` and `c[0]` are the initial state.

    A gate that the variant lacks holds what stands in its place: 1, or for CIFG's f, 1 - i.
    """

    x: Array  # (T, B, I)
    Ry: Array  # (T, B, nH) R y^{t-1}, not yet normalised
    Wx: Array  # (T, B, nH) W x^t, not yet normalised
    i: Array  # (T, B, H)
    f: Array  # (T, B, H)
    z: Array  # (T, B, H)
    o: Array  # (T, B, H)
    c: Array  # (T + 1, B, H)
    y: Array  # (T + 1, B, H)


class LayerNormLSTMGradients(NamedTuple):
    """The gradients of J with respect to each argument of `layer_norm_lstm_forward`."""

    x: Array
    W: Array
    R: Array
    b: Array
    p: Array
    gR: Array
    gW: Array
    gc: Array
    bc: Array
    h0: Array
    c0: Array


def centred(v: Array) -> tuple[Array, Array]:
    """The rows of v minus their means, and 1 / sqrt(variance + epsilon) of each.

    The mean is that of v - v_0, so that a row whose values are all the same is exactly 0.
    """
    v = v - v[..., :1]
    v = v - v.mean(-1, keepdims=True)
    return v, 1 / np.sqrt((v**2).mean(-1, keepdims=True) + EPSILON)


def normalised(v: Array) -> Array:
    """The rows of v with mean 0 and variance 1."""
    v, scale = centred(v)
    n: Array = v * scale
    return n


def normalised_backward(dn: Array, v: Array) -> Array:
    """The gradient with respect to v, with dn the one that arrives at n = normalised(v)."""
    v, scale = centred(v)
    n = v * scale
    dv: Array = scale * (dn - dn.mean(-1, keepdims=True) - n * (dn * n).mean(-1, keepdims=True))
    return dv


def layer_norm_lstm_forward(
    x: Array, W: Array, R: Array, b: Array, p: Array, gR: Array, gW: Array, gc: Array, bc: Array, h0: Array, c0: Array,
    variant: str = "vanilla",
) -> tuple[Array, LayerNormLSTMTape]:  # fmt: skip
    """y^t for every t.

    Shapes: those of `lstm_forward`, and the gains gR and gW (nH,), with n = 4 or, where the variant lacks a gate, 3
    blocks as b has, gc and bc (H,). Each row of R y^{t-1} and of W x^t is normalised over all its blocks together, c^t
    only on its way out: peepholes and the next step see it as it is. FGR, whose gates also get products with the gates
    of the step before, has no such form.
    """
    if variant == "FGR":
        raise ValueError("variant must not be FGR: its gates see those of the step before without layer normalisation")
    T, B, _ = x.shape
    H = R.shape[1]
    blocks = BLOCKS[variant]
    p_ = by_gate(blocks.replace("z", ""), p)
    functions = lstm_functions(variant)
    h = functions.h.value
    i, f, z, o = (np.empty((T, B, H), x.dtype) for _ in range(4))
    c, y = (np.empty((T + 1, B, H), x.dtype) for _ in range(2))
    y[0], c[0] = h0, c0
    Wx, Ry = x @ W.T, np.empty((T, B, len(b)), x.dtype)
    for t in range(T):
        Ry[t] = y[t] @ R.T
        a = gR * normalised(Ry[t]) + gW * normalised(Wx[t]) + b
        bars = dict(zip(blocks, np.split(a, len(blocks), axis=-1), strict=True))
        i[t], f[t], z[t], o[t], c[t + 1] = lstm_cell(variant, bars, p_, c[t], functions)
        y[t + 1] = h(gc * normalised(c[t + 1]) + bc) * o[t]
    return y[1:], LayerNormLSTMTape(x, Ry, Wx, i, f, z, o, c, y)


def layer_norm_lstm_backward(
    tape: LayerNormLSTMTape, W: Array, R: Array, p: Array, gR: Array, gW: Array, gc: Array, bc: Array, dy_above: Array,
    dh: Array, dc_final: Array, variant: str = "vanilla",
) -> LayerNormLSTMGradients:  # fmt: skip
    """Back-propagation through time.

    `dy_above` (T, B, H) is the gradient arriving at every y^t, `dh` and `dc_final` (B, H) those at the final state.
    """
    x, Ry, Wx, i, f, z, o, c, y = tape
    blocks = BLOCKS[variant]
    p_ = by_gate(blocks.replace("z", ""), p)
    functions = lstm_functions(variant)
    h, h_prime = functions.h
    delta, dRy = np.empty_like(Ry), np.empty_like(Ry)
    du = np.empty_like(o)  # of u = LN(c), which h activates
    from_next_y = dh  # what step t + 1 sends to y^t ...
    from_next_c = dc_final  # ... and to c^t
    for t in reversed(range(len(x))):
        hu = h(gc * normalised(c[t + 1]) + bc)
        dy = dy_above[t] + from_next_y
        du[t] = dy * o[t] * h_prime(hu)
        dc = normalised_backward(gc * du[t], c[t + 1]) + from_next_c
        deltas, from_next_c = lstm_cell_backward(variant, i[t], f[t], z[t], o[t], p_, c[t], dy * hu, dc, functions)
        delta[t] = np.concatenate([deltas[gate] for gate in blocks], axis=-1)
        dRy[t] = normalised_backward(gR * delta[t], Ry[t])
        from_next_y = dRy[t] @ R
    dWx = normalised_backward(gW * delta, Wx)
    return LayerNormLSTMGradients(
        x=dWx @ W,
        W=np.einsum("tbg,tbi->gi", dWx, x),
        R=np.einsum("tbg,tbh->gh", dRy, y[:-1]),
        b=delta.sum((0, 1)),
        p=peephole_gradients(dict(zip(blocks, np.split(delta, len(blocks), axis=-1), strict=True)), c),
        gR=(delta * normalised(Ry)).sum((0, 1)),
        gW=(delta * normalised(Wx)).sum((0, 1)),
        gc=(du * normalised(c[1:])).sum((0, 1)),
        bc=du.sum((0, 1)),
        h0=from_next_y,
        c0=from_next_c,
    )
