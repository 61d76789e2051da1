"""The LSTM, its variants, and their gradients."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastlstm.reference.activations import ACTIVATIONS, Array, sigma

BLOCKS = {
    "vanilla": "ifzo",
    "NIG": "fzo",  # no input gate: i = 1
    "NFG": "izo",  # no forget gate: f = 1
    "NOG": "ifz",  # no output gate: o = 1
    "NIAF": "ifzo",  # no input activation function: g(a) = a
    "NOAF": "ifzo",  # no output activation function: h(c) = c
    "NP": "ifzo",  # no peepholes: p = 0
    "CIFG": "izo",  # coupled input and forget gates: f = 1 - i
    "FGR": "ifzo",  # full gate recurrence: each gate sees all gates of the step before
}
"""The variants, and which blocks of H rows W, R and b have in each. The rows of p are the same, without z."""


class LSTMTape(NamedTuple):
    """What the forward pass leaves for the backward pass; `y[0]`, `c[0]` and `g[0]` are the initial state.

    A gate that the variant lacks holds what stands in its place: 1, or for CIFG's f, 1 - i.
    """

    x: Array  # (T, B, I)
    i: Array  # (T, B, H)
    f: Array  # (T, B, H)
    z: Array  # (T, B, H)
    o: Array  # (T, B, H)
    c: Array  # (T + 1, B, H)
    y: Array  # (T + 1, B, H)
    g: Array  # (T + 1, B, 3H) i, f, o side by side: what the next step sees in FGR


class LSTMGradients(NamedTuple):
    """The gradients of J with respect to each argument of `lstm_forward`; those of G and g0 are None without them."""

    x: Array
    W: Array
    R: Array
    b: Array
    p: Array
    h0: Array
    c0: Array
    G: Array | None
    g0: Array | None


def _by_gate(blocks: str, parameter: Array) -> dict[str, Array]:
    """The blocks of a parameter by their gate's letter."""
    return dict(zip(blocks, np.split(parameter, len(blocks)), strict=True))


def lstm_forward(
    x: Array, W: Array, R: Array, b: Array, p: Array, h0: Array, c0: Array, G: Array | None = None,
    variant: str = "vanilla", g0: Array | None = None,
) -> tuple[Array, LSTMTape]:  # fmt: skip
    """y^t for every t.

    Shapes: x (T, B, I); W (4H, I), R (4H, H), b (4H,) with gate blocks i, f, z, o; p (3, H) with rows i, f, o (zeros
    where there are no peepholes); h0 and c0 (B, H). Variants that lack a gate have its blocks and row left out. FGR
    alone has G (3H, 3H): row blocks to i, f, o, column blocks from i, f, o, which before the first step are g0 (B, 3H),
    0 unless given: its state is (y, c, g).
    """
    T, B, _ = x.shape
    H = R.shape[1]
    blocks = BLOCKS[variant]
    W_, R_, b_ = (_by_gate(blocks, parameter) for parameter in (W, R, b))
    p_ = _by_gate(blocks.replace("z", ""), p)
    g, _ = ACTIVATIONS["identity" if variant == "NIAF" else "tanh"]
    h, _ = ACTIVATIONS["identity" if variant == "NOAF" else "tanh"]
    i, f, z, o = (np.ones((T, B, H), x.dtype) for _ in range(4))
    c, y = (np.empty((T + 1, B, H), x.dtype) for _ in range(2))
    y[0], c[0] = h0, c0
    gates = np.empty((T + 1, B, 3 * H), x.dtype)
    gates[0] = 0 if g0 is None else g0
    from_gates = {gate: np.zeros((B, H), x.dtype) for gate in "ifo"}
    for t in range(T):
        if G is not None:
            from_gates = dict(zip("ifo", np.split(gates[t] @ G.T, 3, axis=-1), strict=True))
        bars = {gate: x[t] @ W_[gate].T + y[t] @ R_[gate].T + b_[gate] for gate in blocks}
        z[t] = g(bars["z"])
        if "i" in bars:
            i[t] = sigma(bars["i"] + p_["i"] * c[t] + from_gates["i"])
        if "f" in bars:
            f[t] = sigma(bars["f"] + p_["f"] * c[t] + from_gates["f"])
        elif variant == "CIFG":
            f[t] = 1 - i[t]
        c[t + 1] = z[t] * i[t] + c[t] * f[t]
        if "o" in bars:
            o[t] = sigma(bars["o"] + p_["o"] * c[t + 1] + from_gates["o"])
        y[t + 1] = h(c[t + 1]) * o[t]
        gates[t + 1] = np.concatenate([i[t], f[t], o[t]], axis=-1)
    return y[1:], LSTMTape(x, i, f, z, o, c, y, gates)


def lstm_backward(
    tape: LSTMTape, W: Array, R: Array, p: Array, dy_above: Array, dh: Array, dc_final: Array, G: Array | None = None,
    variant: str = "vanilla", dg: Array | None = None,
) -> LSTMGradients:  # fmt: skip
    """Back-propagation through time.

    `dy_above` (T, B, H) is the gradient arriving at every y^t, `dh` and `dc_final` (B, H) those at the final state; for
    FGR also `dg` (B, 3H), 0 unless given.
    """
    x, i, f, z, o, c, y, gates = tape
    T, B, _ = x.shape
    H = R.shape[1]
    blocks = BLOCKS[variant]
    R_, p_ = _by_gate(blocks, R), _by_gate(blocks.replace("z", ""), p)
    _, g_prime = ACTIVATIONS["identity" if variant == "NIAF" else "tanh"]
    h, h_prime = ACTIVATIONS["identity" if variant == "NOAF" else "tanh"]
    deltas = {gate: np.empty((T, B, H), x.dtype) for gate in blocks}
    from_next_y = dh  # what step t + 1 sends to y^t ...
    from_next_c = dc_final  # ... to c^t ...
    from_next_g = np.zeros((B, 3 * H), x.dtype) if dg is None else dg  # ... and, FGR, to the gates
    for t in reversed(range(T)):
        from_next = dict(zip("ifo", np.split(from_next_g, 3, axis=-1), strict=True))
        hc = h(c[t + 1])
        dy = dy_above[t] + from_next_y
        dc = dy * o[t] * h_prime(hc) + from_next_c
        if "o" in blocks:
            deltas["o"][t] = (dy * hc + from_next["o"]) * o[t] * (1 - o[t])
            dc = dc + p_["o"] * deltas["o"][t]
        from_next_c = dc * f[t]
        if "f" in blocks:
            deltas["f"][t] = (dc * c[t] + from_next["f"]) * f[t] * (1 - f[t])
            from_next_c = from_next_c + p_["f"] * deltas["f"][t]
        if "i" in blocks:
            to_i = dc * (z[t] - c[t] if variant == "CIFG" else z[t])
            deltas["i"][t] = (to_i + from_next["i"]) * i[t] * (1 - i[t])
            from_next_c = from_next_c + p_["i"] * deltas["i"][t]
        deltas["z"][t] = dc * i[t] * g_prime(z[t])
        from_next_y = sum(deltas[gate][t] @ R_[gate] for gate in blocks)
        if G is not None:
            from_next_g = np.concatenate([deltas[gate][t] for gate in "ifo"], axis=-1) @ G
    delta = np.concatenate([deltas[gate] for gate in blocks], axis=-1)
    seen = {"i": c[:-1], "f": c[:-1], "o": c[1:]}  # the cells that the peepholes look at
    dG = None
    if G is not None:
        dG = np.einsum("tbj,tbk->jk", np.concatenate([deltas[gate] for gate in "ifo"], axis=-1), gates[:-1])
    return LSTMGradients(
        x=delta @ W,
        W=np.einsum("tbg,tbi->gi", delta, x),
        R=np.einsum("tbg,tbh->gh", delta, y[:-1]),
        b=delta.sum((0, 1)),
        p=np.stack([(deltas[gate] * seen[gate]).sum((0, 1)) for gate in p_]),
        h0=from_next_y,
        c0=from_next_c,
        G=dG,
        g0=None if G is None else from_next_g,
    )
