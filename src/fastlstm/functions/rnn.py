"""The simple (Elman) RNN as functions: arrays in, arrays out. `rnn.py` has the layers.

The equations are in `reference/rnn.py`, the step that computes them in `_c/step/rnn.h`, the loops over time in
`_engine/forward.pyx` and `backward.pyx`. This module checks arguments and allocates.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, empty, empty_like, kind_of, zeros
from fastlstm._arrays.libraries import device_kind, values_of
from fastlstm._cells import rnn_cell
from fastlstm._engine import backward as _backward
from fastlstm._engine import call as _core
from fastlstm._engine import forward as _forward
from fastlstm._engine import tapes as _tapes
from fastlstm._engine.batches import Lengths, batch_of, options_of
from fastlstm._engine.call import Call, States, Weights
from fastlstm._engine.tapes import RNNTape
from fastlstm._engine.threads import checked_num_threads

__all__ = ["RNNDeltas", "RNNGradients", "RNNTape", "rnn_backward", "rnn_forward", "rnn_workspace"]

Nonlinearity = Literal["tanh", "relu", "logistic", "identity"]


class RNNDeltas(NamedTuple):
    """The deltas of every time step, each (T, B, H): of what goes into g, and of h."""

    a: Array
    h: Array


class RNNGradients(NamedTuple):
    """Gradients of a loss J with respect to the arguments of `rnn_forward`, shaped as those.

    Attributes
    ----------
    x, W, R, b : array
        dJ/dx and so on.
    state : array
        dJ/dh0.
    deltas : RNNDeltas or None
        Where they were asked for.
    """

    x: Array
    W: Array
    R: Array
    b: Array
    state: Array
    deltas: RNNDeltas | None = None


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
    return _core.workspace_size(rnn_cell(), kind, T, B, I, H, 0, recompute, batch_invariant)


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
    nonlinearity : "tanh", "relu", "logistic" or "identity"
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
    cell = rnn_cell(nonlinearity)
    x = check.sized("x", x, 3, "(T, B, I)", anywhere=True)
    T, B, I = x.shape
    kind = kind_of(x)
    H = check.sized("R", R, 2, "(H, H)", kind).shape[1]
    x = check.matching("x", x, (T, B, I), kind, "(T, B, I)")
    W = check.matching("W", W, (H, I), kind, "(H, I)")
    R = check.matching("R", R, (H, H), kind, "(H, H)")
    b = check.matching("b", b, (H,), kind, "(H,)")
    rows, turned = None if lengths is None else Lengths(lengths, T, B), check.flag("reverse", reverse)
    zones = None if zoneout is None else (zoneout, None)
    options = options_of(T, B, H, H, kind, rows, turned, reset, reset_to, recurrent_mask, zones)
    batch = batch_of(T, B, rows, check.flag("batch_invariant", batch_invariant))
    call = Call(cell, batch, kind, rows, turned, options)
    return _run(call, x, Weights(W, R, b), state, tape, recompute, out, workspace, num_threads)


def _run(
    call: Call,
    x: Array,
    weights: Weights,
    state: Array | None,
    tape: bool | RNNTape,
    recompute: int | None,
    out: tuple[Array, Array] | None,
    workspace: Array | None,
    num_threads: int | None,
) -> tuple[Array, Array, RNNTape | None]:
    """`rnn_forward` once x and the weights are known to be right, as a layer's are."""
    (T, B, _), H, kind, lengths = x.shape, weights.R.shape[1], call.kind, call.lengths
    h0 = zeros((B, H), kind) if state is None else check.matching("state", state, (B, H), kind, "(B, H)")
    if out is None:
        y, h = empty((T, B, H), kind), empty((B, H), kind)
    else:
        y, h = check.pair("out", out, "(y, h)")
        y = check.output("out y", y, (T, B, H), kind, "(T, B, H)")
        h = check.output("out h", h, (B, H), kind, "(B, H)")
    if isinstance(tape, np.bool):
        tape = bool(tape)
    k = _tapes.recompute_steps(recompute, tape, RNNTape)
    kept: RNNTape | None = None
    if tape is not False:
        kept = RNNTape.of_call(call, weights, x, tape if isinstance(tape, RNNTape) else None, k)
    one = _core.forward_pass(call, weights, kept is not None and k is None, k)
    space = check.workspace(workspace, one.workspace(), kind)
    if out is not None or workspace is not None or isinstance(tape, RNNTape):
        outputs = {"out y": y, "out h": h, "workspace": space}
        if kept is not None:
            outputs |= kept.named()
        W, R, b, *_ = weights
        check.disjoint(outputs, {"x": x, "W": W, "R": R, "b": b, "state": h0, **call.named()})

    threads = checked_num_threads(num_threads)
    if lengths is None:
        _tapes.start_forward(one, kept, x, (h0, None, None), y, 0, (h, None, None), space)
        _forward.run_passes([one], threads, _core.device_of(kind))
        return y, h, kept
    x, y_rows, h_rows = lengths.pack(x, threads), empty(call.shape(H), kind), empty_like(h)
    if kept is not None:
        kept.x = x
    first, last = (lengths.sort(h0), None, None), (h_rows, None, None)
    _tapes.start_forward(one, kept, x, first, y_rows, 0, last, space)
    _forward.run_passes([one], threads, _core.device_of(kind))
    lengths.pad(y_rows, y, threads)
    h[:] = lengths.unsort(h_rows)
    return y, h, kept


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
    accumulate, deltas = check.flag("accumulate", accumulate), check.flag("deltas", deltas)
    if not isinstance(tape, RNNTape):
        raise TypeError(f"tape must be an RNNTape from rnn_forward(..., tape=True), not {type(tape).__name__}")
    call = _tapes.call_of(tape, rnn_cell())
    x = check.sized("tape.x", tape.x, len(call.shape()) + 1, "(T, B, I)", call.kind)
    T, B, I, kind = call.batch.T, call.batch.B, x.shape[-1], call.kind
    H = check.sized("R", R, 2, "(H, H)", kind).shape[1]
    W = check.matching("W", W, (H, I), kind, "(H, I)")
    R = check.matching("R", R, (H, H), kind, "(H, H)")
    weights = Weights(W, R, None)
    kept = tape.checked(call, weights)
    assert kept.call is not None
    x, call = kept.x, kept.call
    dy = check.optional("dy", dy, (T, B, H), kind, "(T, B, H)")
    dh_last = check.optional("dstate", dstate, (B, H), kind, "(B, H)")

    shapes = {"x": (T, B, I), "W": (H, I), "R": (H, H), "b": (H,), "state": (B, H)}
    if out is None:
        if accumulate:
            raise ValueError("accumulate needs out, the gradients to add to")
        arrays = {name: empty(shape, kind) for name, shape in shapes.items()}
    else:
        if not isinstance(out, RNNGradients):
            raise TypeError(f"out must be RNNGradients, not {type(out).__name__}")
        given = out._asdict()
        arrays = {name: check.output(f"out {name}", given[name], shapes[name], kind, name) for name in shapes}
    result = RNNGradients(arrays["x"], arrays["W"], arrays["R"], arrays["b"], arrays["state"])
    one = _core.backward_pass(call, weights, True, deltas, kept.checkpoints)
    space = check.workspace(workspace, one.workspace(), kind)
    if out is not None or workspace is not None:
        outputs = {f"out {name}": array for name, array in arrays.items()} | {"workspace": space}
        inputs = {"tape.x": x, **kept.read(), "W": W, "R": R, "dy": dy, "dstate": dh_last, **call.named()}
        check.disjoint(outputs, inputs)

    dx, dh0 = result.x, result.state
    if call.lengths is not None:
        dx, dh0 = empty(call.shape(I), kind), empty((B, H), kind)
    dfirst: States = (dh0, None, None)
    resets = _core.gradients_of_resets(call.options, dfirst)
    threads = checked_num_threads(num_threads)
    all_deltas = (empty(call.shape(H), kind), empty(call.shape(H), kind)) if deltas else None
    one.start(
        x, kept.arrays(), kept.again(), call.rows(dy, threads), 0, call.states_in((dh_last, None, None)), None, dx,
        (result.W, result.R, result.b, None, None), dfirst, resets, all_deltas, accumulate, space,
    )  # fmt: skip
    _backward.run_passes([one], threads, _core.device_of(kind))
    if resets is not None:
        _core.add_resets(dfirst, resets)
    if call.lengths is not None:
        call.lengths.pad(dx, result.x, threads)
        result.state[:] = call.lengths.unsort(dh0)
    return result if all_deltas is None else result._replace(deltas=deltas_of(call, all_deltas))


def deltas_of(call: Call, arrays: tuple[Array, ...]) -> RNNDeltas:
    return RNNDeltas(*(call.sequence(rows) for rows in arrays))
