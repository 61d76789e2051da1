"""The GRU as functions: arrays in, arrays out. `layers/gru.py` has the layers.

The equations are in `reference/gru.py`, the step that computes them in `_c/step/gru.h`, the loops over time in
`_engine/forward.pyx` and `backward.pyx`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm._arrays.libraries import device_kind, values_of
from fastlstm._cells import Activation, gru_cell
from fastlstm._cells.gru import GRUDeltas, GRUGradients
from fastlstm._engine.passes import workspace_size
from fastlstm._engine.tapes import GRUTape
from fastlstm.functions import function

__all__ = ["GRUDeltas", "GRUGradients", "GRUTape", "gru_backward", "gru_forward", "gru_workspace"]


def gru_workspace(
    T: int, B: int, I: int, H: int, dtype: DTypeLike = np.float32, *, reset_after: bool = True,
    recompute: int | None = None, batch_invariant: bool = False, device: str = "cpu",
) -> int:  # fmt: skip
    """Values of workspace with which `gru_forward` and `gru_backward` need allocate none.

    Parameters
    ----------
    T, B, I, H : int
        Time steps, batch rows, inputs, hidden units.
    dtype : float32 or float64
        On a GPU also "bfloat16" or "float16".
    reset_after, recompute, batch_invariant
        As for `gru_forward`.
    device : str
        Where the arrays are: "cpu", "cuda".

    Raises
    ------
    ValueError
        If a size is negative, or the arrays of such a call would be more than any memory can hold.

    Examples
    --------
    >>> import fastlstm
    >>> fastlstm.gru_workspace(T=100, B=1, I=64, H=64) > 0
    True
    """
    kind, cell = device_kind(device, values_of(dtype, device)), gru_cell(check.flag("reset_after", reset_after))
    return workspace_size(cell, kind, T, B, I, H, 0, recompute, batch_invariant)


def gru_forward(
    x: Array,
    W: Array,
    R: Array,
    b: Array,
    bn: Array | None = None,
    state: Array | None = None,
    *,
    reset_after: bool = True,
    activations: tuple[Activation, Activation] | None = None,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    reset: ArrayLike | None = None,
    reset_to: Literal["initial", "zero"] = "initial",
    recurrent_mask: Array | None = None,
    zoneout: Array | None = None,
    tape: bool | GRUTape = False,
    recompute: int | None = None,
    out: tuple[Array, Array] | None = None,
    workspace: Array | None = None,
    num_threads: int | None = None,
    batch_invariant: bool = False,
) -> tuple[Array, Array, GRUTape | None]:
    r"""Run a GRU over a batch of sequences, in the form that resets after the recurrent product or before it.

    .. math::

        r^t &= \sigma(W_r x^t + R_r h^{t-1} + b_r) \\
        z^t &= \sigma(W_z x^t + R_z h^{t-1} + b_z) \\
        n^t &= \tanh(W_n x^t + b_n + r^t \odot (R_n h^{t-1} + b_n')) \qquad \text{reset after} \\
        n^t &= \tanh(W_n x^t + b_n + R_n (r^t \odot h^{t-1})) \qquad \text{reset before} \\
        h^t &= (1 - z^t) \odot n^t + z^t \odot h^{t-1}

    with :math:`b_n'` the argument `bn`. The form that resets after is that of PyTorch, cuDNN, Keras
    (``reset_after=True``) and ONNX (``linear_before_reset=1``). The other one is that of the first article, Keras
    (``reset_after=False``) and ONNX (``linear_before_reset=0``). z keeps the old state: texts that have z and 1 - z the
    other way round have the weights and biases of z with the opposite sign.

    Parameters
    ----------
    x : (T, B, I) array of float32 or float64
        T time steps, B batch rows, I inputs. All other arrays have its dtype.
    W, R, b : (3H, I), (3H, H), (3H,) arrays
        Input weights, recurrent weights and biases: blocks of H rows, in the order r, z, n.
    bn : (H,) array
        The bias inside r. With ``reset_after=False`` there is none.
    state : (B, H) array, optional
        The initial h. Default: zeros.
    reset_after : bool
        Whether r multiplies what R_n h and bn give, instead of h before the product.
    activations : (sigma, g), optional
        Instead of ("logistic", "tanh"): sigma, of r and z, and g, of n, as for `lstm_forward`.
    lengths, reverse, reset, reset_to
        As for `lstm_forward`.
    recurrent_mask : (B, H) array, optional
        Factors of h^{t-1} on its way into the products with R, the same at every step: for dropout 0 and
        1 / (1 - rate). What z keeps of h^{t-1} is without them, else it would grow or vanish from step to step.
    zoneout : (T, B, H) array, optional
        h^t becomes zoneout h^{t-1} + (1 - zoneout) h^t.
    tape : bool or GRUTape
        True keeps what `gru_backward` needs; a tape of an earlier call with the same sizes is filled again.
    recompute
        As for `lstm_forward`.
    out : (y, h), optional
        C-contiguous arrays for the results: (T, B, H), (B, H).
    workspace : (n,) array, optional
        Memory to compute in: `gru_workspace` tells how much.
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
    tape : GRUTape or None
        For `gru_backward`.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype.
    ValueError
        If a shape is wrong, an output overlaps another array, or `bn` is missing or given where there is none.

    References
    ----------
    Cho, van Merrienboer, Gulcehre, Bahdanau, Bougares, Schwenk, Bengio: "Learning phrase representations using RNN
    encoder-decoder for statistical machine translation", 2014.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> rng = np.random.default_rng(0)
    >>> T, B, I, H = 5, 2, 3, 4
    >>> W, R = rng.normal(size=(3 * H, I)), rng.normal(size=(3 * H, H))
    >>> b, bn = np.zeros(3 * H), np.zeros(H)
    >>> y, h, tape = fastlstm.gru_forward(rng.normal(size=(T, B, I)), W, R, b, bn, tape=True)
    >>> y.shape, bool(np.all(y[-1] == h))
    ((5, 2, 4), True)
    """
    return function.forward(
        gru_cell(check.flag("reset_after", reset_after), activations), GRUTape, x,
        {"W": W, "R": R, "b": b, "bn": bn}, state,
        lengths=lengths, reverse=reverse, reset=reset, reset_to=reset_to, recurrent_mask=recurrent_mask,
        zoneout=None if zoneout is None else (zoneout, None), tape=tape, recompute=recompute, out=out,
        workspace=workspace, num_threads=num_threads, batch_invariant=batch_invariant,
    )  # fmt: skip


def gru_backward(
    tape: GRUTape,
    W: Array,
    R: Array,
    bn: Array | None,
    dy: Array | None,
    dstate: Array | None = None,
    *,
    deltas: bool = False,
    out: GRUGradients | None = None,
    accumulate: bool = False,
    workspace: Array | None = None,
    num_threads: int | None = None,
) -> GRUGradients:
    r"""Back-propagate through time: every gradient of a GRU.

    With D^t arriving at h^t from above, :math:`\bar{r}^t`, :math:`\bar{z}^t` and :math:`\bar{n}^t` the values before
    activation, and in the form that resets after :math:`q^t = R_n h^{t-1} + b_n'`:

    .. math::

        \delta\bar{z}^t &= \delta h^t \odot (h^{t-1} - n^t) \odot z^t (1 - z^t) \\
        \delta\bar{n}^t &= \delta h^t \odot (1 - z^t) \odot (1 - (n^t)^2) \\
        \delta q^t &= \delta\bar{n}^t \odot r^t \\
        \delta\bar{r}^t &= \delta\bar{n}^t \odot q^t \odot r^t (1 - r^t) \\
        \delta h^{t-1} &= D^{t-1} + \delta h^t \odot z^t + R_r^T \delta\bar{r}^t + R_z^T \delta\bar{z}^t
                + R_n^T \delta q^t

    These are the derivatives of the logistic function and of tanh; with other activations, theirs take their place. In
    the form that resets before, with :math:`\delta(r h)^t = R_n^T \delta\bar{n}^t`:

    .. math::

        \delta\bar{r}^t &= \delta(r h)^t \odot h^{t-1} \odot r^t (1 - r^t) \\
        \delta h^{t-1} &= D^{t-1} + \delta h^t \odot z^t + R_r^T \delta\bar{r}^t + R_z^T \delta\bar{z}^t
                + r^t \odot \delta(r h)^t

    Parameters
    ----------
    tape : GRUTape
        From `gru_forward`; left as it was.
    W, R, bn : arrays
        The weights of the forward pass; bn is None where it had none.
    dy : (T, B, H) array or None
        dJ/dy: the gradient arriving at every output. None stands for zero.
    dstate : (B, H) array, optional
        The gradient arriving at the final state.
    deltas : bool
        Give the deltas of every time step too.
    out : GRUGradients, optional
        C-contiguous arrays for the results.
    accumulate : bool
        Add the gradients of W, R, b and bn to those in `out`, instead of overwriting them.
    workspace, num_threads
        As for `gru_forward`.

    Returns
    -------
    GRUGradients
        `out` where it is given.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype.
    ValueError
        If a shape is wrong, an output overlaps another array, `bn` is missing or given where there is none, or
        `accumulate` is given without `out`.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> rng = np.random.default_rng(0)
    >>> T, B, I, H = 5, 2, 3, 4
    >>> W, R = rng.normal(size=(3 * H, I)), rng.normal(size=(3 * H, H))
    >>> b, bn = np.zeros(3 * H), np.zeros(H)
    >>> y, h, tape = fastlstm.gru_forward(rng.normal(size=(T, B, I)), W, R, b, bn, tape=True)
    >>> gradients = fastlstm.gru_backward(tape, W, R, bn, dy=np.ones_like(y))
    >>> gradients.W.shape, gradients.bn.shape, gradients.x.shape
    ((12, 3), (4,), (5, 2, 3))
    """
    gradients: GRUGradients = function.backward(
        gru_cell(bn is not None), GRUTape, GRUGradients, tape, {"W": W, "R": R, "bn": bn}, dy, dstate, None,
        deltas=deltas, out=out, accumulate=accumulate, workspace=workspace, num_threads=num_threads,
    )  # fmt: skip
    return gradients
