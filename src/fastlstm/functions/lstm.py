"""The LSTM as functions: arrays in, arrays out. `lstm.py` has the layers.

The equations are in `reference/lstm.py`, the step that computes them in `_c/step/lstm.h`, the loops over time in
`_engine/forward.pyx` and `backward.pyx`. This module checks arguments and allocates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, Kind, cells_of, empty, empty_like, kind_of, zeros_like
from fastlstm._arrays.libraries import device_kind, values_of
from fastlstm._cells import LSTMCell, bound, lstm_cell
from fastlstm._engine import backward as _backward
from fastlstm._engine import call as _core
from fastlstm._engine import forward as _forward
from fastlstm._engine import tapes as _tapes
from fastlstm._engine.batches import Lengths, batch_of, options_of
from fastlstm._engine.call import Call, States, Weights
from fastlstm._engine.tapes import LSTMTape
from fastlstm._engine.threads import checked_num_threads

__all__ = ["LSTMDeltas", "LSTMGradients", "LSTMTape", "lstm_backward", "lstm_forward", "lstm_workspace"]

# (h, c), for FGR (h, c, g)
State = tuple[Array, ...]
PartialState = tuple[Array | None, ...]


class LSTMDeltas(NamedTuple):
    r"""The deltas of every time step, each (T, B, H) (y: as y).

    i, f, z and o are with respect to the values before activation: :math:`\delta\bar{i}^t` to
    :math:`\delta\bar{o}^t`. Those of gates that the variant lacks are None.
    """

    i: Array | None
    f: Array | None
    z: Array | None
    o: Array | None
    c: Array
    y: Array


class LSTMGradients(NamedTuple):
    """Gradients of a loss J with respect to the arguments of `lstm_forward`, shaped as those.

    Attributes
    ----------
    x, W, R, b : array
        dJ/dx and so on.
    p, G, proj : array or None
        None where the forward pass had none.
    state : (h0, c0), for FGR (h0, c0, g0)
        dJ/d(initial state).
    deltas : LSTMDeltas or None
        Where they were asked for.
    """

    x: Array
    W: Array
    R: Array
    b: Array
    p: Array | None
    state: State
    G: Array | None = None
    proj: Array | None = None
    deltas: LSTMDeltas | None = None


def lstm_workspace(
    T: int, B: int, I: int, H: int, dtype: DTypeLike = np.float32, *, variant: str = "vanilla", proj_size: int = 0,
    recompute: int | None = None, batch_invariant: bool = False, device: str = "cpu",
) -> int:  # fmt: skip
    """Values of workspace with which `lstm_forward` and `lstm_backward` need allocate none.

    Parameters
    ----------
    T, B, I, H : int
        Time steps, batch rows, inputs, hidden units.
    dtype : float32 or float64
        On a GPU also "bfloat16" or "float16".
    variant, proj_size
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
    return _core.workspace_size(lstm_cell(variant), kind, T, B, I, H, proj_size, recompute, batch_invariant)


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
    activations: tuple[str, str, str] | None = None,
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
    activations : (sigma, g, h), optional
        Instead of ("logistic", "tanh", "tanh"): sigma "logistic" or "hard_logistic", which is 0.2 a + 0.5 between 0
        and 1; g and h one of tanh, relu, logistic, identity, hard_logistic.
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
        If a shape is wrong, or an output overlaps another array.

    References
    ----------
    Greff, Srivastava, Koutnik, Steunebrink, Schmidhuber: "LSTM: A Search Space Odyssey", 2017.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> rng = np.random.default_rng(0)
    >>> T, B, I, H = 5, 2, 3, 4
    >>> W, R, b = rng.normal(size=(4 * H, I)), rng.normal(size=(4 * H, H)), np.zeros(4 * H)
    >>> y, (h, c), tape = fastlstm.lstm_forward(rng.normal(size=(T, B, I)), W, R, b, tape=True)
    >>> y.shape, bool(np.all(y[-1] == h))
    ((5, 2, 4), True)
    """
    cell = lstm_cell(variant, activations, bound("clip", clip), bound("cell_clip", cell_clip))
    x = check.sized("x", x, 3, "(T, B, I)", anywhere=True)
    T, B, I = x.shape
    kind = kind_of(x)
    H, P, proj = _sizes(R, proj, cell.gates, kind)
    x = check.matching("x", x, (T, B, I), kind, "(T, B, I)")
    b = check.matching("b", b, (cell.gates * H,), kind, f"({cell.gates}H,)")
    W, R, p, G, proj = _checked_weights(cell, W, R, p, G, proj, I, H, P, kind)
    given = {"W": W, "R": R, "b": b, "p": p, "G": G, "proj": proj}
    if G is not None:
        R = _core.with_gate_recurrence(R, G)
    rows, turned = None if lengths is None else Lengths(lengths, T, B), check.flag("reverse", reverse)
    options = options_of(T, B, P, H, kind, rows, turned, reset, reset_to, recurrent_mask, zoneout)
    batch = batch_of(T, B, rows, check.flag("batch_invariant", batch_invariant))
    call = Call(cell, batch, kind, rows, turned, options)
    return _run(call, x, Weights(W, R, b, p, proj), given, state, tape, recompute, out, workspace, num_threads)


def _sizes(R: Array, proj: Array | None, gates: int, kind: Kind) -> tuple[int, int, Array | None]:
    """H, P and the projection."""
    columns = check.sized("R", R, 2, f"({gates}H, H)" if proj is None else f"({gates}H, P)", kind).shape[1]
    if proj is None:
        return columns, columns, None
    proj = check.sized("proj", proj, 2, "(P, H)", kind)
    return proj.shape[1], columns, proj


def _checked_weights(
    cell: LSTMCell, W: Array, R: Array, p: Array | None, G: Array | None, proj: Array | None,
    I: int, H: int, P: int, kind: Kind,
) -> tuple[Array, Array, Array | None, Array | None, Array | None]:  # fmt: skip
    """All that the backward pass needs too."""
    n = cell.gates
    W = check.matching("W", W, (n * H, I), kind, f"({n}H, I)")
    R = check.matching("R", R, (n * H, P), kind, f"({n}H, H)" if proj is None else f"({n}H, P)")
    if cell.variant == "NP" and p is not None:
        raise ValueError("p must be None with variant NP, which has no peepholes")
    p = check.optional("p", p, (n - 1, H), kind, f"({n - 1}, H)")
    if cell.full_recurrence and G is None:
        raise ValueError("G must be given with variant FGR: a (3H, 3H) array")
    if not cell.full_recurrence and G is not None:
        raise ValueError(f"G must be None with variant {cell.variant}: only FGR has it")
    G = check.optional("G", G, (3 * H, 3 * H), kind, "(3H, 3H)")
    return W, R, p, G, check.optional("proj", proj, (P, H), kind, "(P, H)")


def _run(
    call: Call,
    x: Array,
    weights: Weights,
    inputs: dict[str, Array | None],
    state: PartialState | None,
    tape: bool | LSTMTape,
    recompute: int | None,
    out: tuple[Array, State] | None,
    workspace: Array | None,
    num_threads: int | None,
) -> tuple[Array, State, LSTMTape | None]:
    """`lstm_forward` once x and the weights are known to be right; `inputs` are the weights as they were given."""
    (T, B, _), kind, lengths = x.shape, call.kind, call.lengths
    H = len(weights.W) // call.cell.gates
    P = H if weights.proj is None else len(weights.proj)
    cell, gates = call.cell, call.cell.full_recurrence
    assert isinstance(cell, LSTMCell)
    first = _of_shapes("state", state_parts("state", state, cell), check.optional, B, P, H, kind)
    first = _core.or_zeros(first, cell, (B,), P, H, kind)
    if out is None:
        y, last = empty((T, B, P), kind), _core.each(empty_like, first)
    else:
        y, given = check.pair("out", out, "(y, (h, c, g))" if gates else "(y, (h, c))")
        y = check.output("out y", y, (T, B, P), kind, "(T, B, H)")
        last = _of_shapes("out", state_parts("out state", given, cell, whole=True), check.output, B, P, H, kind, gates)
    if isinstance(tape, np.bool):
        tape = bool(tape)
    k = _tapes.recompute_steps(recompute, tape, LSTMTape)
    kept: LSTMTape | None = None
    if tape is not False:
        kept = LSTMTape.of_call(call, weights, x, tape if isinstance(tape, LSTMTape) else None, k)
    one = _core.forward_pass(call, weights, kept is not None and k is None, k)
    space = check.workspace(workspace, one.workspace(), kind)
    if out is not None or workspace is not None or isinstance(tape, LSTMTape):
        outputs = {"out y": y, **_named("out", last), "workspace": space}
        if kept is not None:
            outputs |= kept.named()
        check.disjoint(outputs, {"x": x, **inputs, **_named("state", first), **call.named()})

    threads = checked_num_threads(num_threads)
    y_rows, last_rows = y, last
    if lengths is not None:
        x, y_rows = lengths.pack(x, threads), empty(call.shape(P), kind)
        if kept is not None:
            kept.x = x
    if lengths is not None or gates:
        last_rows = _core.kernel_states(cell, (B,), P, H, kind)
    _tapes.start_forward(one, kept, x, call.states_in(first), y_rows, 0, last_rows, space)
    _forward.run_passes([one], threads, _core.device_of(kind))
    if lengths is not None:
        lengths.pad(y_rows, y, threads)
    if last_rows is not last:
        _core.copy_states(last, call.states_out(last_rows, H))
    return y, state_of(last), kept


def state_parts(
    name: str, state: Any, cell: LSTMCell, usual: str = "(h, c)", full: str = "(h, c, g)", whole: bool = False
) -> tuple[Any, Any, Any]:
    """h, c and g of a state or of what is like one, `usual` or for FGR `full`; with `whole`, its g must be there."""
    if state is None and not whole:
        return None, None, None
    if cell.full_recurrence:
        h, c, *g = check.items(name, state, full, *((3,) if whole else (2, 3)))
        return h, c, g[0] if g else None
    if isinstance(state, (tuple, list)) and len(state) == 3:
        raise ValueError(f"{name} must be {usual}, not 3 items: variant {cell.variant} has no gates in its state")
    h, c = check.pair(name, state, usual)
    return h, c, None


def _of_shapes(
    name: str, parts: tuple[Any, Any, Any], checked: Callable[..., Any], B: int, P: int, H: int,
    kind: Kind, with_gates: bool = True,
) -> States:  # fmt: skip
    """The parts of a state, once they are known to be right."""
    h, c, g = parts
    return (
        checked(f"{name} h", h, (B, P), kind, "(B, H)"),
        checked(f"{name} c", c, (B, H), cells_of(kind), "(B, H)"),
        checked(f"{name} g", g, (B, 3 * H), kind, "(B, 3H)") if with_gates else None,
    )


def _named(name: str, states: States) -> dict[str, Array]:
    """Those that there are, as messages call them."""
    return {f"{name} {part}": array for part, array in zip("hcg", states, strict=True) if array is not None}


def state_of(states: States) -> State:
    """What the caller gets: (h, c), for FGR (h, c, g)."""
    return tuple(array for array in states if array is not None)


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
    G, proj : arrays
        Those of the forward pass, if it had them.
    dc : (T, B, H) array, optional
        Gradients arriving at every c^t.
    deltas : bool
        Give the deltas of every time step too.
    out : LSTMGradients, optional
        C-contiguous arrays for the results.
    accumulate : bool
        Add the gradients of W, R, b, p, G and proj to those in `out`, instead of overwriting them.
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
        If a shape is wrong, an output overlaps another array, or `accumulate` is given without `out`.

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
    """
    accumulate, deltas = check.flag("accumulate", accumulate), check.flag("deltas", deltas)
    if not isinstance(tape, LSTMTape):
        raise TypeError(f"tape must be an LSTMTape from lstm_forward(..., tape=True), not {type(tape).__name__}")
    call = _tapes.call_of(tape, lstm_cell())
    cell = call.cell
    assert isinstance(cell, LSTMCell)
    x = check.sized("tape.x", tape.x, len(call.shape()) + 1, "(T, B, I)", call.kind)
    kind, I, n = call.kind, x.shape[-1], cell.gates
    H, P, proj = _sizes(R, proj, n, kind)
    T, B = call.batch.T, call.batch.B
    W, R, p, G, proj = _checked_weights(cell, W, R, p, G, proj, I, H, P, kind)
    shapes: dict[str, tuple[int, ...]]
    shapes = {"x": (T, B, I), "W": W.shape, "R": R.shape, "b": (n * H,), "h0": (B, P), "c0": (B, H)}
    optional, own_R = {"p": p, "G": G, "proj": proj}, R
    shapes |= {name: array.shape for name, array in optional.items() if array is not None}
    if cell.full_recurrence:
        shapes["g0"] = B, 3 * H
    kinds = dict.fromkeys(shapes, kind) | {"c0": cells_of(kind)}
    if G is not None:
        R = _core.with_gate_recurrence(R, G)
    weights = Weights(W, R, None, p, proj)
    kept = tape.checked(call, weights)
    assert kept.call is not None
    x, call = kept.x, kept.call
    dy = check.optional("dy", dy, (T, B, P), kind, "(T, B, H)")
    dc = check.optional("dc", dc, (T, B, H), cells_of(kind), "(T, B, H)")
    parts = state_parts("dstate", dstate, cell, "(dh, dc)", "(dh, dc, dg)")
    dlast = _of_shapes("dstate", parts, check.optional, B, P, H, kind)

    if out is None:
        if accumulate:
            raise ValueError("accumulate needs out, the gradients to add to")
        arrays = {name: empty(shape, kinds[name]) for name, shape in shapes.items()}
    else:
        if not isinstance(out, LSTMGradients):
            raise TypeError(f"out must be LSTMGradients, not {type(out).__name__}")
        state = state_parts("out.state", out.state, cell, "(h0, c0)", "(h0, c0, g0)", whole=True)
        given = out._asdict() | dict(zip(("h0", "c0", "g0"), state, strict=True))
        arrays = {name: check.output(f"out {name}", given[name], shapes[name], kinds[name], name) for name in shapes}
    one = _core.backward_pass(call, weights, True, deltas, kept.checkpoints)
    space = check.workspace(workspace, one.workspace(), kind)
    if out is not None or workspace is not None:
        above = {"dy": dy, "dc": dc, **_named("dstate", dlast)}
        inputs = {"tape.x": x, **kept.read(), "W": W, "R": own_R, **optional, **above, **call.named()}
        check.disjoint({f"out {name}": array for name, array in arrays.items()} | {"workspace": space}, inputs)

    dx = arrays["x"] if call.lengths is None else empty(call.shape(I), kind)
    dR = arrays["R"] if G is None else zeros_like(R)
    dfirst: States = arrays["h0"], arrays["c0"], arrays.get("g0")
    rows = dfirst
    if call.lengths is not None or cell.full_recurrence:
        rows = _core.kernel_states(cell, (B,), P, H, kind)
    resets = _core.gradients_of_resets(call.options, rows)
    all_deltas = None
    if deltas:
        cells = cells_of(kind)
        all_deltas = empty(call.shape(n * H), kind), empty(call.shape(P), kind), empty(call.shape(H), cells)
    threads = checked_num_threads(num_threads)
    one.start(
        x, kept.arrays(), kept.again(), call.rows(dy, threads), 0, call.states_in(dlast), call.rows(dc, threads), dx,
        (arrays["W"], dR, arrays["b"], arrays.get("p"), arrays.get("proj")), rows, resets, all_deltas,
        accumulate, space,
    )  # fmt: skip
    _backward.run_passes([one], threads, _core.device_of(kind))
    if resets is not None:
        _core.add_resets(rows, resets)
    if call.lengths is not None:
        call.lengths.pad(dx, arrays["x"], threads)
    if rows is not dfirst:
        _core.copy_states(dfirst, call.states_out(rows, H))
    if G is not None:
        for name, found in zip("RG", _core.gate_recurrence_of(dR, P), strict=True):
            arrays[name][:] = arrays[name] + found if accumulate else found
    visible = None if all_deltas is None else deltas_of(call, all_deltas)
    return LSTMGradients(
        arrays["x"], arrays["W"], arrays["R"], arrays["b"], arrays.get("p"), state_of(dfirst),
        arrays.get("G"), arrays.get("proj"), visible,
    )  # fmt: skip


def deltas_of(call: Call, arrays: tuple[Array, ...]) -> LSTMDeltas:
    """The kernels' deltas of all gates side by side, of y and of c, by name."""
    assert isinstance(call.cell, LSTMCell)
    every, dy, dc = (call.sequence(rows) for rows in arrays)
    H = dc.shape[-1]
    of = {name: every[..., k * H : (k + 1) * H] for k, name in enumerate(call.cell.blocks)}
    return LSTMDeltas(of.get("i"), of.get("f"), of.get("z"), of.get("o"), dc, dy)
