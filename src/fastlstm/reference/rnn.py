"""The simple RNN and its gradients."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastlstm.reference.activations import Activation, Array, activation


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


def rnn_forward(
    x: Array, W: Array, R: Array, b: Array, h0: Array, nonlinearity: Activation = "tanh", *, clip: float | None = None
) -> tuple[Array, RNNTape]:
    """h^t for every t. Shapes: x (T, B, I), W (H, I), R (H, H), b (H,), h0 (B, H). a^t is bounded to +-`clip`."""
    g = activation(nonlinearity, clip).value
    h = np.empty((x.shape[0] + 1, *h0.shape), x.dtype)
    h[0] = h0
    for t in range(x.shape[0]):
        a = b + x[t] @ W.T + h[t] @ R.T
        h[t + 1] = g(a)
    return h[1:], RNNTape(x, h)


def rnn_backward(
    tape: RNNTape, W: Array, R: Array, dh_above: Array, dh: Array, nonlinearity: Activation = "tanh", *,
    clip: float | None = None,
) -> RNNGradients:  # fmt: skip
    """Back-propagation through time.

    `dh_above` (T, B, H) is the gradient arriving at every h^t, `dh` (B, H) the one at the final state.
    """
    x, h = tape
    g_prime = activation(nonlinearity, clip).slope
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
