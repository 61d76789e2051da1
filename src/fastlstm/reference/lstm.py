"""The LSTM, its variants, and their gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from fastlstm.reference.activations import Activation, Array, Function, activation

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


class LSTMFunctions(NamedTuple):
    """The activation functions of the gates, of z and of what goes out."""

    sigma: Function
    g: Function
    h: Function


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


NO_GATES: Mapping[str, Array | float] = dict.fromkeys("ifo", 0.0)
"""What gates get from those of the step before, and on the way back from those of the next: nothing, but in FGR."""


def by_gate(blocks: str, parameter: Array) -> dict[str, Array]:
    """The blocks of a parameter by their gate's letter."""
    return dict(zip(blocks, np.split(parameter, len(blocks)), strict=True))


def lstm_functions(
    variant: str, activations: tuple[Activation, Activation, Activation] | None = None, clip: float | None = None
) -> LSTMFunctions:
    """sigma, g and h: those of the variant unless given. What goes into sigma and g is bounded to +-clip."""
    usual = "logistic", "identity" if variant == "NIAF" else "tanh", "identity" if variant == "NOAF" else "tanh"
    sigma, g, h = activations or usual
    return LSTMFunctions(activation(sigma, clip), activation(g, clip), activation(h))


def lstm_cell(
    variant: str, bars: Mapping[str, Array], p_: Mapping[str, Array], c_prev: Array, functions: LSTMFunctions,
    from_gates: Mapping[str, Array | float] = NO_GATES,
) -> tuple[Array, Array, Array, Array, Array]:  # fmt: skip
    """i^t, f^t, z^t, o^t and c^t, with `bars` the sums that are activated, but for the peepholes."""
    sigma, g = functions.sigma.value, functions.g.value
    i = f = o = np.ones_like(c_prev)
    z = g(bars["z"])
    if "i" in bars:
        i = sigma(bars["i"] + p_["i"] * c_prev + from_gates["i"])
    if "f" in bars:
        f = sigma(bars["f"] + p_["f"] * c_prev + from_gates["f"])
    elif variant == "CIFG":
        f = 1 - i
    c = z * i + c_prev * f
    if "o" in bars:
        o = sigma(bars["o"] + p_["o"] * c + from_gates["o"])
    return i, f, z, o, c


def lstm_cell_backward(
    variant: str, i: Array, f: Array, z: Array, o: Array, p_: Mapping[str, Array], c_prev: Array, do: Array, dc: Array,
    functions: LSTMFunctions, from_next: Mapping[str, Array | float] = NO_GATES,
) -> tuple[dict[str, Array], Array]:  # fmt: skip
    """The deltas of one step, and what it sends to c^{t-1}.

    `do` and `dc` are what arrives at o^t and c^t from y^t and from the step after it.
    """
    blocks = BLOCKS[variant]
    sigma_prime, g_prime = functions.sigma.slope, functions.g.slope
    deltas: dict[str, Array] = {}
    if "o" in blocks:
        deltas["o"] = (do + from_next["o"]) * sigma_prime(o)
        dc = dc + p_["o"] * deltas["o"]
    to_c_prev = dc * f
    if "f" in blocks:
        deltas["f"] = (dc * c_prev + from_next["f"]) * sigma_prime(f)
        to_c_prev = to_c_prev + p_["f"] * deltas["f"]
    if "i" in blocks:
        to_i = dc * (z - c_prev if variant == "CIFG" else z)
        deltas["i"] = (to_i + from_next["i"]) * sigma_prime(i)
        to_c_prev = to_c_prev + p_["i"] * deltas["i"]
    deltas["z"] = dc * i * g_prime(z)
    return deltas, to_c_prev


def peephole_gradients(deltas: Mapping[str, Array], c: Array) -> Array:
    """dp, from the deltas of all steps, and c with the initial one before them."""
    seen = {"i": c[:-1], "f": c[:-1], "o": c[1:]}  # the cells that the peepholes look at
    return np.stack([(deltas[gate] * seen[gate]).sum((0, 1)) for gate in deltas if gate != "z"])


def lstm_forward(
    x: Array, W: Array, R: Array, b: Array, p: Array, h0: Array, c0: Array, G: Array | None = None,
    variant: str = "vanilla", g0: Array | None = None, *,
    activations: tuple[Activation, Activation, Activation] | None = None, clip: float | None = None,
) -> tuple[Array, LSTMTape]:  # fmt: skip
    """y^t for every t.

    Shapes: x (T, B, I); W (4H, I), R (4H, H), b (4H,) with gate blocks i, f, z, o; p (3, H) with rows i, f, o (zeros
    where there are no peepholes); h0 and c0 (B, H). Variants that lack a gate have its blocks and row left out. FGR
    alone has G (3H, 3H): row blocks to i, f, o, column blocks from i, f, o, which before the first step are g0 (B, 3H),
    0 unless given: its state is (y, c, g). `activations` are sigma, g and h instead of the variant's own; what goes
    into sigma and g is bounded to +-`clip`.
    """
    T, B, _ = x.shape
    H = R.shape[1]
    blocks = BLOCKS[variant]
    W_, R_, b_ = (by_gate(blocks, parameter) for parameter in (W, R, b))
    p_ = by_gate(blocks.replace("z", ""), p)
    functions = lstm_functions(variant, activations, clip)
    h = functions.h.value
    i, f, z, o = (np.empty((T, B, H), x.dtype) for _ in range(4))
    c, y = (np.empty((T + 1, B, H), x.dtype) for _ in range(2))
    y[0], c[0] = h0, c0
    gates = np.empty((T + 1, B, 3 * H), x.dtype)
    gates[0] = 0 if g0 is None else g0
    from_gates = NO_GATES
    for t in range(T):
        if G is not None:
            from_gates = dict(zip("ifo", np.split(gates[t] @ G.T, 3, axis=-1), strict=True))
        bars = {gate: x[t] @ W_[gate].T + y[t] @ R_[gate].T + b_[gate] for gate in blocks}
        i[t], f[t], z[t], o[t], c[t + 1] = lstm_cell(variant, bars, p_, c[t], functions, from_gates)
        y[t + 1] = h(c[t + 1]) * o[t]
        gates[t + 1] = np.concatenate([i[t], f[t], o[t]], axis=-1)
    return y[1:], LSTMTape(x, i, f, z, o, c, y, gates)


def lstm_backward(
    tape: LSTMTape, W: Array, R: Array, p: Array, dy_above: Array, dh: Array, dc_final: Array, G: Array | None = None,
    variant: str = "vanilla", dg: Array | None = None, *,
    activations: tuple[Activation, Activation, Activation] | None = None, clip: float | None = None,
) -> LSTMGradients:  # fmt: skip
    """Back-propagation through time.

    `dy_above` (T, B, H) is the gradient arriving at every y^t, `dh` and `dc_final` (B, H) those at the final state; for
    FGR also `dg` (B, 3H), 0 unless given. `activations` and `clip` are those of the forward pass.
    """
    x, i, f, z, o, c, y, gates = tape
    T, B, _ = x.shape
    H = R.shape[1]
    blocks = BLOCKS[variant]
    R_, p_ = by_gate(blocks, R), by_gate(blocks.replace("z", ""), p)
    functions = lstm_functions(variant, activations, clip)
    h, h_prime = functions.h
    deltas = {gate: np.empty((T, B, H), x.dtype) for gate in blocks}
    from_next_y = dh  # what step t + 1 sends to y^t ...
    from_next_c = dc_final  # ... to c^t ...
    from_next_g = np.zeros((B, 3 * H), x.dtype) if dg is None else dg  # ... and, FGR, to the gates
    for t in reversed(range(T)):
        from_next = dict(zip("ifo", np.split(from_next_g, 3, axis=-1), strict=True))
        hc = h(c[t + 1])
        dy = dy_above[t] + from_next_y
        dc = dy * o[t] * h_prime(hc) + from_next_c
        step, from_next_c = lstm_cell_backward(
            variant, i[t], f[t], z[t], o[t], p_, c[t], dy * hc, dc, functions, from_next
        )
        for gate in blocks:
            deltas[gate][t] = step[gate]
        from_next_y = sum(deltas[gate][t] @ R_[gate] for gate in blocks)
        if G is not None:
            from_next_g = np.concatenate([deltas[gate][t] for gate in "ifo"], axis=-1) @ G
    delta = np.concatenate([deltas[gate] for gate in blocks], axis=-1)
    dG = None
    if G is not None:
        dG = np.einsum("tbj,tbk->jk", np.concatenate([deltas[gate] for gate in "ifo"], axis=-1), gates[:-1])
    return LSTMGradients(
        x=delta @ W,
        W=np.einsum("tbg,tbi->gi", delta, x),
        R=np.einsum("tbg,tbh->gh", delta, y[:-1]),
        b=delta.sum((0, 1)),
        p=peephole_gradients(deltas, c),
        h0=from_next_y,
        c0=from_next_c,
        G=dG,
        g0=None if G is None else from_next_g,
    )
