"""The equations of the LSTM and the simple RNN in plain NumPy: the executable specification.

Slow and meant for reading. The names are those of "LSTM: A Search Space Odyssey" (Greff et al., 2017): `zb`, `ib`,
`fb`, `ob` stand for the values before activation, `d`-names for the gradient of the loss J with respect to the name
that follows; those of the gates (`dz`, `di`, `df`, `do`) are with respect to the values before activation. The compiled
kernels are tested against this module, and this module against finite differences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LSTMGradients",
    "LSTMTape",
    "RNNGradients",
    "RNNTape",
    "lstm_backward",
    "lstm_forward",
    "rnn_backward",
    "rnn_forward",
]

Array = NDArray[np.floating]


def sigma(a: Array) -> Array:
    """The logistic function."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-a))


# ---- LSTM ----------------------------------------------------------------------------------------------------------


class LSTMTape(NamedTuple):
    """What the forward pass leaves for the backward pass; `y[0]` and `c[0]` are the initial state."""

    x: Array  # (T, B, I)
    i: Array  # (T, B, H)
    f: Array  # (T, B, H)
    z: Array  # (T, B, H)
    o: Array  # (T, B, H)
    c: Array  # (T + 1, B, H)
    y: Array  # (T + 1, B, H)


class LSTMGradients(NamedTuple):
    """The gradients of J with respect to each argument of `lstm_forward`."""

    x: Array
    W: Array
    R: Array
    b: Array
    p: Array
    h0: Array
    c0: Array


def lstm_forward(x: Array, W: Array, R: Array, b: Array, p: Array, h0: Array, c0: Array) -> tuple[Array, LSTMTape]:
    """y^t for every t.

    Shapes: x (T, B, I); W (4H, I), R (4H, H), b (4H,) with gate blocks i, f, z, o; p (3, H) with rows i, f, o (zeros
    where there are no peepholes); h0 and c0 (B, H).
    """
    T, B, _ = x.shape
    H = R.shape[1]
    (W_i, W_f, W_z, W_o), (R_i, R_f, R_z, R_o), (b_i, b_f, b_z, b_o) = (np.split(a, 4) for a in (W, R, b))
    p_i, p_f, p_o = p
    i, f, z, o = (np.empty((T, B, H), x.dtype) for _ in range(4))
    c, y = (np.empty((T + 1, B, H), x.dtype) for _ in range(2))
    y[0], c[0] = h0, c0
    for t in range(T):
        y_prev, c_prev = y[t], c[t]
        zb = x[t] @ W_z.T + y_prev @ R_z.T + b_z
        z[t] = np.tanh(zb)
        ib = x[t] @ W_i.T + y_prev @ R_i.T + p_i * c_prev + b_i
        i[t] = sigma(ib)
        fb = x[t] @ W_f.T + y_prev @ R_f.T + p_f * c_prev + b_f
        f[t] = sigma(fb)
        c[t + 1] = z[t] * i[t] + c_prev * f[t]
        ob = x[t] @ W_o.T + y_prev @ R_o.T + p_o * c[t + 1] + b_o
        o[t] = sigma(ob)
        y[t + 1] = np.tanh(c[t + 1]) * o[t]
    return y[1:], LSTMTape(x, i, f, z, o, c, y)


def lstm_backward(
    tape: LSTMTape, W: Array, R: Array, p: Array, dy_above: Array, dh: Array, dc_final: Array
) -> LSTMGradients:
    """Back-propagation through time.

    `dy_above` (T, B, H) is the gradient arriving at every y^t, `dh` and `dc_final` (B, H) those at the final state.
    """
    x, i, f, z, o, c, y = tape
    T, B, _ = x.shape
    H = R.shape[1]
    R_i, R_f, R_z, R_o = np.split(R, 4)
    p_i, p_f, p_o = p
    di, df, dz, do = (np.empty((T, B, H), x.dtype) for _ in range(4))
    from_next_y = dh  # what step t + 1 sends to y^t ...
    from_next_c = dc_final  # ... and to c^t
    for t in reversed(range(T)):
        c_prev, hc = c[t], np.tanh(c[t + 1])
        dy = dy_above[t] + from_next_y
        do[t] = dy * hc * o[t] * (1 - o[t])
        dc = dy * o[t] * (1 - hc**2) + p_o * do[t] + from_next_c
        df[t] = dc * c_prev * f[t] * (1 - f[t])
        di[t] = dc * z[t] * i[t] * (1 - i[t])
        dz[t] = dc * i[t] * (1 - z[t] ** 2)
        from_next_y = dz[t] @ R_z + di[t] @ R_i + df[t] @ R_f + do[t] @ R_o
        from_next_c = p_i * di[t] + p_f * df[t] + dc * f[t]
    deltas = np.concatenate([di, df, dz, do], axis=-1)
    return LSTMGradients(
        x=deltas @ W,
        W=np.einsum("tbg,tbi->gi", deltas, x),
        R=np.einsum("tbg,tbh->gh", deltas, y[:-1]),
        b=deltas.sum((0, 1)),
        p=np.stack([(di * c[:-1]).sum((0, 1)), (df * c[:-1]).sum((0, 1)), (do * c[1:]).sum((0, 1))]),
        h0=from_next_y,
        c0=from_next_c,
    )


# ---- simple RNN ----------------------------------------------------------------------------------------------------

ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "tanh": (np.tanh, lambda h: 1 - h**2),
    "relu": (lambda a: np.maximum(a, 0), lambda h: (h > 0).astype(h.dtype)),
    "logistic": (sigma, lambda h: h * (1 - h)),
    "identity": (lambda a: a, np.ones_like),
}
"""Each g, and its derivative as a function of h = g(a)."""


class RNNTape(NamedTuple):
    """What the forward pass leaves for the backward pass; `h[0]` is the initial state."""

    x: Array  # (T, B, I)
    h: Array  # (T + 1, B, H)


class RNNGradients(NamedTuple):
    """The gradients of J with respect to each argument of `rnn_forward`."""

    x: Array
    W: Array
    R: Array
    b: Array
    h0: Array


def rnn_forward(x: Array, W: Array, R: Array, b: Array, h0: Array, nonlinearity: str = "tanh") -> tuple[Array, RNNTape]:
    """h^t for every t. Shapes: x (T, B, I), W (H, I), R (H, H), b (H,), h0 (B, H)."""
    g, _ = ACTIVATIONS[nonlinearity]
    h = np.empty((x.shape[0] + 1, *h0.shape), x.dtype)
    h[0] = h0
    for t in range(x.shape[0]):
        a = b + x[t] @ W.T + h[t] @ R.T
        h[t + 1] = g(a)
    return h[1:], RNNTape(x, h)


def rnn_backward(
    tape: RNNTape, W: Array, R: Array, dh_above: Array, dh: Array, nonlinearity: str = "tanh"
) -> RNNGradients:
    """Back-propagation through time.

    `dh_above` (T, B, H) is the gradient arriving at every h^t, `dh` (B, H) the one at the final state.
    """
    x, h = tape
    _, g_prime = ACTIVATIONS[nonlinearity]
    da = np.empty_like(dh_above)
    from_next = dh
    for t in reversed(range(x.shape[0])):
        da[t] = (dh_above[t] + from_next) * g_prime(h[t + 1])
        from_next = da[t] @ R
    return RNNGradients(
        x=da @ W,
        W=np.einsum("tbh,tbi->hi", da, x),
        R=np.einsum("tbh,tbk->hk", da, h[:-1]),
        b=da.sum((0, 1)),
        h0=from_next,
    )
