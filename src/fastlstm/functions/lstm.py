"""The LSTM as functions: arrays in, arrays out. `layers/lstm.py` has the layers.

The equations are in `reference/lstm.py`, the step that computes them in `_c/step/lstm.h`, the loops over time in
`_engine/forward.pyx` and `backward.pyx`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm._arrays.libraries import device_kind, values_of
from fastlstm._cells import Activation, checked_clip, lstm_cell
from fastlstm._cells.lstm import LSTMDeltas, LSTMGradients
from fastlstm._engine.passes import workspace_size
from fastlstm._engine.tapes import LSTMTape
from fastlstm.functions import function

__all__ = ["LSTMDeltas", "LSTMGradients", "LSTMTape", "lstm_backward", "lstm_forward", "lstm_workspace"]

# (h, c), for FGR (h, c, g)
State = tuple[Array, ...]
PartialState = tuple[Array | None, ...]


def lstm_workspace(
    T: int, B: int, I: int, H: int, dtype: DTypeLike = np.float32, *, variant: str = "vanilla", proj_size: int = 0,
    layer_norm: bool = False, recompute: int | None = None, batch_invariant: bool = False, device: str = "cpu",
) -> int:  # fmt: skip
    """Values of workspace with which `lstm_forward` and `lstm_backward` need allocate none.

    Parameters
    ----------
    T, B, I, H : int
        Time steps, batch rows, inputs, hidden units.
    dtype : float32 or float64
        On a GPU also "bfloat16" or "float16".
    variant, proj_size, layer_norm
        As for `LSTM`.
    recompute, batch_invariant
        As for `lstm_forward`.
    device : str
        Where the arrays are: "cpu", "cuda".

    Raises
    ------
    ValueError
        If a size is negative, or the arrays of such a call would be more than any memory can hold.

    Examples
    --------
    >>> import fastlstm
    >>> fastlstm.lstm_workspace(T=100, B=1, I=64, H=64) > 0
    True
    """
    kind = device_kind(device, values_of(dtype, device))
    cell = lstm_cell(variant, layer_norm=check.flag("layer_norm", layer_norm))
    return workspace_size(cell, kind, T, B, I, H, proj_size, recompute, batch_invariant)


def lstm_forward(
    x: Array,
    W: Array,
    R: Array,
    b: Array,
    p: Array | None = None,
    state: PartialState | None = None,
    *,
    variant: str = "vanilla",
    G: Array | None = None,
    proj: Array | None = None,
    norm: Array | None = None,
    activations: tuple[Activation, Activation, Activation] | None = None,
    clip: float | None = None,
    cell_clip: float | None = None,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    reset: ArrayLike | None = None,
    reset_to: Literal["initial", "zero"] = "initial",
    recurrent_mask: Array | None = None,
    zoneout: tuple[Array | None, Array | None] | None = None,
    tape: bool | LSTMTape = False,
    recompute: int | None = None,
    out: tuple[Array, State] | None = None,
    workspace: Array | None = None,
    num_threads: int | None = None,
    batch_invariant: bool = False,
) -> tuple[Array, State, LSTMTape | None]:
    r"""Run an LSTM over a batch of sequences.

    .. math::

        z^t &= \tanh(W_z x^t + R_z y^{t-1} + b_z) \\
        i^t &= \sigma(W_i x^t + R_i y^{t-1} + p_i \odot c^{t-1} + b_i) \\
        f^t &= \sigma(W_f x^t + R_f y^{t-1} + p_f \odot c^{t-1} + b_f) \\
        c^t &= z^t \odot i^t + c^{t-1} \odot f^t \\
        o^t &= \sigma(W_o x^t + R_o y^{t-1} + p_o \odot c^t + b_o) \\
        y^t &= \tanh(c^t) \odot o^t

    With `norm`, R y^{t-1} and W x^t are normalised before they are added, each over all gates of a row together, and
    c^t is normalised before the output gate. Peepholes and the next step see c^t without normalisation:

    .. math::

        n(v) &= \frac{v - \operatorname{mean}(v)}{\sqrt{\operatorname{var}(v) + 10^{-5}}} \\
        W x^t + R y^{t-1} \quad &\text{becomes} \quad g_W \odot n(W x^t) + g_R \odot n(R y^{t-1}) \\
        y^t &= \tanh(g_c \odot n(c^t) + b_c) \odot o^t

    A row whose values are all the same has no variance: its n is 0.

    Parameters
    ----------
    x : (T, B, I) array of float32 or float64
        T time steps, B batch rows, I inputs. All other arrays have its dtype.
    W, R, b : (4H, I), (4H, H), (4H,) arrays
        Input weights, recurrent weights and biases: four blocks of H rows, in the order i, f, z, o.
    p : (3, H) array, optional
        Peephole weights, rows i, f, o. Default: no peepholes.
    state : (h0, c0) or, for FGR, (h0, c0, g0), optional
        Initial output and cell, each (B, H) or None for zeros; the gates i, f, o that the first step sees, side by side
        (B, 3H), likewise. Default: zeros.
    variant : str
        vanilla, NIG, NFG, NOG, NIAF, NOAF, NP, CIFG or FGR, in any case of letters. The blocks of W, R and b and the
        rows of p that a variant lacks are left out: NIG, NFG, NOG (i, f, o = 1) and CIFG (f = 1 - i) have 3 blocks and
        2 rows.
    G : (3H, 3H) array
        For FGR alone: what each gate sees of the gates of the step before, at first those of the state. Row blocks to
        i, f, o, column blocks from i, f, o.
    proj : (P, H) array, optional
        Projection: y^t is proj times what it is without. R is then (4H, P), h (B, P), y (T, B, P).
    norm : (10, H) array, optional
        Gains and shift of layer normalisation (Ba, Kiros and Hinton 2016): 4 rows of g_R and 4 of g_W, a row for each
        gate block, then g_c and b_c. With 3 blocks, (8, H). Not allowed with variant FGR. Default: no layer
        normalisation.
    activations : (sigma, g, h), optional
        Instead of ("logistic", "tanh", "tanh"): sigma "logistic" or "hard_logistic", which is 0.2 a + 0.5 between 0
        and 1; g and h one of tanh, relu, logistic, identity, hard_logistic. A tuple ("hard_logistic", alpha, beta)
        stands for alpha a + beta between 0 and 1: Keras 3's has 1 / 6 and 0.5.
    clip : float, optional
        What goes into sigma and g is bounded to +-clip.
    cell_clip : float, optional
        c^t is bounded to +-cell_clip.
    lengths : (B,) ints, optional
        How many steps each row has, in any order, 0 to T. Outputs past a row's end are zero, the last state is the one
        at its end, and the reverse direction starts there.
    reverse : bool
        Run from the last step to the first.
    reset : (T, B) array of bool, optional
        ``reset[t, b]`` says that a new recording begins in row b with step t, which sees nothing of the one before:
        before step t the state becomes the initial one, or with `reset_to` "zero", zero. With `reverse` it does so
        after step t and before step t - 1, so that both directions have the same borders. With "zero", ``reset[0]``
        puts zeros in place of the initial state; not so with `reverse`, where that is the state at a row's end, which
        no flag is about. Flags past a row's length mean nothing.
    recurrent_mask : (B, H) array, optional
        Factors of y^{t-1} on its way into the gates, the same at every step: for dropout 0 and 1 / (1 - rate) (Gal and
        Ghahramani 2016).
    zoneout : (share of y, share of c), optional
        Arrays (T, B, H) or None: y^t becomes share y^{t-1} + (1 - share) y^t, and what c^t hands to the next step
        likewise: 0 and 1 to train, their mean to infer (Krueger et al. 2017).
    tape : bool or LSTMTape
        True keeps what `lstm_backward` needs; a tape of an earlier call with the same sizes is filled again.
    recompute : int, optional
        k: the tape keeps the state every k steps alone, and the backward pass runs the steps in between again, with the
        same bits: memory of T / k states and k steps on the tape, instead of T, for a third more time. Whole blocks of
        512 rows are kept together: k is in effect at least about 512 / B.
    out : (y, (h, c)), optional
        C-contiguous arrays for the results: (T, B, H), (B, H), (B, H). For FGR (y, (h, c, g)), g (B, 3H).
    workspace : (n,) array, optional
        Memory to compute in: `lstm_workspace` tells how much.
    num_threads : int, optional
        At most this many threads. Default: `get_num_threads`.
    batch_invariant : bool
        Whether a row's results must be bitwise the same whatever other rows there are and however many threads, and so
        must its gradients of x and of the initial state. Costs time where there is little to do in a call.

    Returns
    -------
    y : (T, B, H) array
        The outputs y^t.
    state : (h, c), for FGR (h, c, g)
        The last output and cell, each (B, H), and the last gates i, f, o, (B, 3H).
    tape : LSTMTape or None
        For `lstm_backward`.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype.
    ValueError
        If a shape is wrong, an output overlaps another array, or `norm` is given with variant FGR.

    References
    ----------
    Greff, Srivastava, Koutnik, Steunebrink, Schmidhuber: "LSTM: A Search Space Odyssey", 2017.
    Ba, Kiros, Hinton: "Layer Normalization", 2016.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> rng = np.random.default_rng(0)
    >>> T, B, I, H = 5, 2, 3, 4
    >>> W, R, b = rng.normal(size=(4 * H, I)), rng.normal(size=(4 * H, H)), np.zeros(4 * H)
    >>> y, (h, c), tape = fastlstm.lstm_forward(rng.normal(size=(T, B, I)), W, R, b, tape=True)
    >>> y.shape, bool(np.all(y[-1] == h))
    ((5, 2, 4), True)

    With layer normalisation the scale of W does not matter, but for the epsilon of 1e-5:

    >>> x, norm = rng.normal(size=(T, B, I)), np.ones((10, H))
    >>> norm[-1] = 0
    >>> y, other = (fastlstm.lstm_forward(x, scale * W, R, b, norm=norm)[0] for scale in (1, 1000))
    >>> bool(np.allclose(y, other, atol=1e-3))
    True
    """
    clips = checked_clip("clip", clip), checked_clip("cell_clip", cell_clip)
    return function.forward(
        lstm_cell(variant, activations, *clips, norm is not None), LSTMTape, x,
        {"W": W, "R": R, "b": b, "p": p, "G": G, "proj": proj, "norm": norm}, state, lengths=lengths, reverse=reverse,
        reset=reset, reset_to=reset_to, recurrent_mask=recurrent_mask, zoneout=zoneout, tape=tape, recompute=recompute,
        out=out, workspace=workspace, num_threads=num_threads, batch_invariant=batch_invariant,
    )  # fmt: skip


def lstm_backward(
    tape: LSTMTape,
    W: Array,
    R: Array,
    p: Array | None,
    dy: Array | None,
    dstate: PartialState | None = None,
    *,
    G: Array | None = None,
    proj: Array | None = None,
    norm: Array | None = None,
    dc: Array | None = None,
    deltas: bool = False,
    out: LSTMGradients | None = None,
    accumulate: bool = False,
    workspace: Array | None = None,
    num_threads: int | None = None,
) -> LSTMGradients:
    r"""Back-propagate through time: every gradient of an LSTM.

    With D^t arriving at y^t from above, and :math:`\bar{i}^t` to :math:`\bar{o}^t` the values before activation:

    .. math::

        \delta y^t &= D^t + R_z^T \delta\bar{z}^{t+1} + R_i^T \delta\bar{i}^{t+1} + R_f^T \delta\bar{f}^{t+1}
                + R_o^T \delta\bar{o}^{t+1} \\
        \delta\bar{o}^t &= \delta y^t \odot \tanh(c^t) \odot o^t (1 - o^t) \\
        \delta c^t &= \delta y^t \odot o^t \odot (1 - \tanh^2 c^t) + p_o \odot \delta\bar{o}^t
                + p_i \odot \delta\bar{i}^{t+1} + p_f \odot \delta\bar{f}^{t+1} + \delta c^{t+1} \odot f^{t+1} \\
        \delta\bar{f}^t &= \delta c^t \odot c^{t-1} \odot f^t (1 - f^t) \\
        \delta\bar{i}^t &= \delta c^t \odot z^t \odot i^t (1 - i^t) \\
        \delta\bar{z}^t &= \delta c^t \odot i^t \odot (1 - (z^t)^2)

    With layer normalisation, what arrives at n(v) reaches v as

    .. math::

        n'(v)\,\delta = \frac{\delta - \operatorname{mean}(\delta) - n(v) \odot \operatorname{mean}(n(v) \odot \delta)}
                {\sqrt{\operatorname{var}(v) + 10^{-5}}}

    so that :math:`R^T \delta\bar{a}^{t+1}`, of all gates together, becomes
    :math:`R^T n'(R y^t)(g_R \odot \delta\bar{a}^{t+1})`, and the first term of :math:`\delta c^t` becomes
    :math:`n'(c^t)(g_c \odot \delta u^t)` with :math:`u^t = g_c \odot n(c^t) + b_c` and
    :math:`\delta u^t = \delta y^t \odot o^t \odot (1 - \tanh^2 u^t)`; :math:`\delta\bar{o}^t` has
    :math:`\tanh(u^t)` in place of :math:`\tanh(c^t)`.

    Parameters
    ----------
    tape : LSTMTape
        From `lstm_forward`; left as it was.
    W, R, p : arrays
        The weights of the forward pass; p is None without peepholes.
    dy : (T, B, H) array or None
        dJ/dy: the gradient arriving at every output. None stands for zero.
    dstate : (dh, dc) or, for FGR, (dh, dc, dg), optional
        Gradients arriving at the final state, each shaped as its part or None.
    G, proj, norm : arrays
        Those of the forward pass, if it had them.
    dc : (T, B, H) array, optional
        Gradients arriving at every c^t.
    deltas : bool
        Give the deltas of every time step too.
    out : LSTMGradients, optional
        C-contiguous arrays for the results.
    accumulate : bool
        Add the gradients of W, R, b, p, G, proj and norm to those in `out`, instead of overwriting them.
    workspace, num_threads
        As for `lstm_forward`.

    Returns
    -------
    LSTMGradients
        `out` where it is given.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype.
    ValueError
        If a shape is wrong, an output overlaps another array, `accumulate` is given without `out`, or a parameter that
        the forward pass had is missing.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> rng = np.random.default_rng(0)
    >>> T, B, I, H = 5, 2, 3, 4
    >>> W, R, b = rng.normal(size=(4 * H, I)), rng.normal(size=(4 * H, H)), np.zeros(4 * H)
    >>> y, state, tape = fastlstm.lstm_forward(rng.normal(size=(T, B, I)), W, R, b, tape=True)
    >>> gradients = fastlstm.lstm_backward(tape, W, R, None, dy=np.ones_like(y))
    >>> gradients.W.shape, gradients.x.shape
    ((16, 3), (5, 2, 3))

    With layer normalisation:

    >>> norm = np.ones((10, H))
    >>> norm[-1] = 0
    >>> y, state, tape = fastlstm.lstm_forward(rng.normal(size=(T, B, I)), W, R, b, norm=norm, tape=True)
    >>> fastlstm.lstm_backward(tape, W, R, None, dy=np.ones_like(y), norm=norm).norm.shape
    (10, 4)
    """
    gradients: LSTMGradients = function.backward(
        lstm_cell(), LSTMTape, LSTMGradients, tape, {"W": W, "R": R, "p": p, "G": G, "proj": proj, "norm": norm}, dy,
        dstate, dc, deltas=deltas, out=out, accumulate=accumulate, workspace=workspace, num_threads=num_threads,
    )  # fmt: skip
    return gradients
