"""The GRU in both of its forms, and its gradients."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastlstm.reference.activations import Activation, Array, activation


class GRUTape(NamedTuple):
    """What the forward pass leaves for the backward pass; `h[0]` is the initial state."""

    x: Array  # (T, B, I)
    r: Array  # (T, B, H)
    z: Array  # (T, B, H)
    n: Array  # (T, B, H)
    q: Array | None  # (T, B, H) what r multiplies in the reset-after form: R_n h + bn; None in the other one
    h: Array  # (T + 1, B, H)


class GRUGradients(NamedTuple):
    """The gradients of J with respect to each argument of `gru_forward`; that of bn is None without it."""

    x: Array
    W: Array
    R: Array
    b: Array
    bn: Array | None
    h0: Array


USUAL: tuple[Activation, Activation] = "logistic", "tanh"
"""sigma, of r and z, and g, of n."""


def gru_forward(
    x: Array, W: Array, R: Array, b: Array, bn: Array | None, h0: Array, reset_after: bool = True,
    activations: tuple[Activation, Activation] = USUAL, *, clip: float | None = None,
) -> tuple[Array, GRUTape]:  # fmt: skip
    """h^t for every t.

    Shapes: x (T, B, I); W (3H, I), R (3H, H), b (3H,) with the blocks r, z, n; h0 (B, H). The reset-after form alone
    has bn (H,): its r multiplies what R_n h and bn give. In the other form, of the first article, r multiplies h before
    R_n does. `activations` are sigma and g, and what goes into them is bounded to +-`clip`.
    """
    T, B, _ = x.shape
    H = R.shape[1]
    sigma, g = (activation(each, clip).value for each in activations)
    W_r, W_z, W_n = np.split(W, 3)
    R_r, R_z, R_n = np.split(R, 3)
    b_r, b_z, b_n = np.split(b, 3)
    r, z, n, q = (np.empty((T, B, H), x.dtype) for _ in range(4))
    h = np.empty((T + 1, B, H), x.dtype)
    h[0] = h0
    for t in range(T):
        r[t] = sigma(x[t] @ W_r.T + h[t] @ R_r.T + b_r)
        z[t] = sigma(x[t] @ W_z.T + h[t] @ R_z.T + b_z)
        if reset_after:
            q[t] = h[t] @ R_n.T + bn
            n[t] = g(x[t] @ W_n.T + b_n + r[t] * q[t])
        else:
            n[t] = g(x[t] @ W_n.T + b_n + (r[t] * h[t]) @ R_n.T)
        h[t + 1] = (1 - z[t]) * n[t] + z[t] * h[t]
    return h[1:], GRUTape(x, r, z, n, q if reset_after else None, h)


def gru_backward(
    tape: GRUTape, W: Array, R: Array, dh_above: Array, dh_final: Array,
    activations: tuple[Activation, Activation] = USUAL, *, clip: float | None = None,
) -> GRUGradients:  # fmt: skip
    """Back-propagation through time.

    `dh_above` (T, B, H) is the gradient arriving at every h^t, `dh_final` (B, H) the one at the final state. The value
    of bn is not needed: it is in q. `activations` and `clip` are those of the forward pass.
    """
    x, r, z, n, q, h = tape
    sigma_prime, g_prime = (activation(each, clip).slope for each in activations)
    T, B, _ = x.shape
    H = R.shape[1]
    R_r, R_z, R_n = np.split(R, 3)
    da_r, da_z, da_n = (np.empty((T, B, H), x.dtype) for _ in range(3))  # of what goes into the activations ...
    dq = np.empty((T, B, H), x.dtype)  # ... and of what comes from the product with R_n
    from_next = dh_final  # what step t + 1 sends to h^t
    for t in reversed(range(T)):
        dh = dh_above[t] + from_next
        da_z[t] = dh * (h[t] - n[t]) * sigma_prime(z[t])
        da_n[t] = dh * (1 - z[t]) * g_prime(n[t])
        if q is not None:
            dq[t] = da_n[t] * r[t]
            da_r[t] = da_n[t] * q[t] * sigma_prime(r[t])
            from_n = dq[t] @ R_n
        else:
            dq[t] = da_n[t]
            drh = dq[t] @ R_n
            da_r[t] = drh * h[t] * sigma_prime(r[t])
            from_n = drh * r[t]
        from_next = dh * z[t] + da_r[t] @ R_r + da_z[t] @ R_z + from_n
    da = np.concatenate([da_r, da_z, da_n], axis=-1)
    h_prev = h[:-1]
    seen = {"r": h_prev, "z": h_prev, "n": h_prev if q is not None else r * h_prev}  # what each block of R multiplies
    products = {"r": da_r, "z": da_z, "n": dq}
    return GRUGradients(
        x=da @ W,
        W=np.einsum("tbg,tbi->gi", da, x),
        R=np.concatenate([np.einsum("tbh,tbk->hk", products[block], seen[block]) for block in "rzn"]),
        b=da.sum((0, 1)),
        bn=None if q is None else dq.sum((0, 1)),
        h0=from_next,
    )
