"""The simple (Elman) RNN as functions: arrays in, arrays out. `layers/rnn.py` has the layers.

The equations are in `reference/rnn.py`, the step that computes them in `_c/step/rnn.h`, the loops over time in
`_engine/forward.pyx` and `backward.pyx`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastlstm._arrays.arrays import Array
from fastlstm._arrays.libraries import device_kind, values_of
from fastlstm._cells import rnn_cell
from fastlstm._cells.rnn import Nonlinearity, RNNDeltas, RNNGradients
from fastlstm._engine.passes import workspace_size
from fastlstm._engine.tapes import RNNTape
from fastlstm.functions import function

__all__ = ["RNNDeltas", "RNNGradients", "RNNTape", "rnn_backward", "rnn_forward", "rnn_workspace"]


def rnn_workspace(
    T: int, B: int, I: int, H: int, dtype: DTypeLike = np.float32, *, recompute: int | None = None,
    batch_invariant: bool = False, device: str = "cpu",
) -> int:  # fmt: skip
    """Values of workspace with which `rnn_forward` and `rnn_backward` need allocate none.

    Parameters
    ----------
    T, B, I, H : int
        Time steps, batch rows, inputs, hidden units.
    dtype : float32 or float64
        On a GPU also "bfloat16" or "float16".
    recompute, batch_invariant
        As for `rnn_forward`.
    device : str
        Where the arrays are: "cpu", "cuda".

    Raises
    ------
    ValueError
        If a size is negative, or the arrays of such a call would be more than any memory can hold.
    """
    kind = device_kind(device, values_of(dtype, device))
    return workspace_size(rnn_cell(), kind, T, B, I, H, 0, recompute, batch_invariant)


def rnn_forward(
    x: Array,
    W: Array,
    R: Array,
    b: Array,
    state: Array | None = None,
    *,
    nonlinearity: Nonlinearity = "tanh",
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    reset: ArrayLike | None = None,
    reset_to: Literal["initial", "zero"] = "initial",
    recurrent_mask: Array | None = None,
    zoneout: Array | None = None,
    tape: bool | RNNTape = False,
    recompute: int | None = None,
    out: tuple[Array, Array] | None = None,
    workspace: Array | None = None,
    num_threads: int | None = None,
    batch_invariant: bool = False,
) -> tuple[Array, Array, RNNTape | None]:
    r"""Run a simple RNN over a batch of sequences: :math:`h^t = g(W x^t + R h^{t-1} + b)`.

    Parameters
    ----------
    x : (T, B, I) array of float32 or float64
        T time steps, B batch rows, I inputs. All other arrays have its dtype.
    W, R, b : (H, I), (H, H), (H,) arrays
        Input weights, recurrent weights and biases. Texts on the simple RNN often write U for W, and W for R.
    state : (B, H) array, optional
        The initial h. Default: zeros.
    nonlinearity : "tanh", "relu", "logistic", "identity", "hard_logistic" or ("hard_logistic", alpha, beta)
        g.
    lengths, reverse, reset, reset_to, recurrent_mask
        As for `lstm_forward`.
    zoneout : (T, B, H) array, optional
        h^t becomes zoneout h^{t-1} + (1 - zoneout) h^t.
    tape : bool or RNNTape
        True keeps what `rnn_backward` needs; a tape of an earlier call with the same sizes is filled again.
    recompute
        As for `lstm_forward`.
    out : (y, h), optional
        C-contiguous arrays for the results: (T, B, H), (B, H).
    workspace : (n,) array, optional
        Memory to compute in: `rnn_workspace` tells how much.
    num_threads : int, optional
        At most this many threads. Default: `get_num_threads`.
    batch_invariant : bool
        As for `lstm_forward`.

    Returns
    -------
    y : (T, B, H) array
        The outputs h^t.
    state : (B, H) array
        The last h.
    tape : RNNTape or None
        For `rnn_backward`.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype.
    ValueError
        If a shape is wrong, or an output overlaps another array.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> rng = np.random.default_rng(0)
    >>> T, B, I, H = 5, 2, 3, 4
    >>> W, R, b = rng.normal(size=(H, I)), rng.normal(size=(H, H)), np.zeros(H)
    >>> y, h, tape = fastlstm.rnn_forward(rng.normal(size=(T, B, I)), W, R, b, nonlinearity="relu")
    >>> y.shape, bool(np.all(y[-1] == h))
    ((5, 2, 4), True)
    """
    return function.forward(
        rnn_cell(nonlinearity), RNNTape, x, {"W": W, "R": R, "b": b}, state, lengths=lengths, reverse=reverse,
        reset=reset, reset_to=reset_to, recurrent_mask=recurrent_mask,
        zoneout=None if zoneout is None else (zoneout, None), tape=tape, recompute=recompute, out=out,
        workspace=workspace, num_threads=num_threads, batch_invariant=batch_invariant,
    )  # fmt: skip


def rnn_backward(
    tape: RNNTape,
    W: Array,
    R: Array,
    dy: Array | None,
    dstate: Array | None = None,
    *,
    deltas: bool = False,
    out: RNNGradients | None = None,
    accumulate: bool = False,
    workspace: Array | None = None,
    num_threads: int | None = None,
) -> RNNGradients:
    r"""Back-propagate through time: every gradient of a simple RNN.

    With D^t arriving at h^t from above, and :math:`a^t` what goes into g:
    :math:`\delta a^t = (D^t + R^T \delta a^{t+1}) \odot g'(a^t)`. The derivative of relu at 0 is 0.

    Parameters
    ----------
    tape : RNNTape
        From `rnn_forward`; left as it was.
    W, R : arrays
        The weights of the forward pass.
    dy : (T, B, H) array or None
        dJ/dy: the gradient arriving at every output. None stands for zero.
    dstate : (B, H) array, optional
        The gradient arriving at the final state.
    deltas : bool
        Give the deltas of every time step too.
    out : RNNGradients, optional
        C-contiguous arrays for the results.
    accumulate : bool
        Add the gradients of W, R and b to those in `out`, instead of overwriting them.
    workspace, num_threads
        As for `rnn_forward`.

    Returns
    -------
    RNNGradients
        `out` where it is given.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype.
    ValueError
        If a shape is wrong, an output overlaps another array, or `accumulate` is given without `out`.
    """
    gradients: RNNGradients = function.backward(
        rnn_cell(), RNNTape, RNNGradients, tape, {"W": W, "R": R}, dy, dstate, None,
        deltas=deltas, out=out, accumulate=accumulate, workspace=workspace, num_threads=num_threads,
    )  # fmt: skip
    return gradients
