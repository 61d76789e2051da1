"""The LSTM: the layer, and the stateless functions that it is a thin shell over.

The equations are in `reference.py`, the step that computes them in `_c/lstm.h`, the loops over time in `_lstm.pyx`.
This module checks arguments and allocates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from fastlstm import _checks as check
from fastlstm import _lstm
from fastlstm._checks import Array
from fastlstm._config import checked_num_threads
from fastlstm._layer import Gradients, Layer, empty

__all__ = ["LSTM", "LSTMGradients", "LSTMTape", "lstm_backward", "lstm_forward", "lstm_workspace"]

State = tuple[Array, Array]
PartialState = tuple[Array | None, Array | None]
Weights = tuple[Array, Array, Array, Array | None]


class LSTMTape(NamedTuple):
    """What the forward pass keeps for the backward pass. A tape may be used many times.

    It refers to x without copying it: x, like the weights, must not change before `lstm_backward`.

    Attributes
    ----------
    x : (T, B, I) array
        The input.
    gates : (T, B, 4H) array
        The activated gates, blocks i, f, z, o.
    c : (T + 1, B, H) array
        The cells; ``c[0]`` is the initial one.
    y : (T + 1, B, H) array
        The outputs; ``y[0]`` is the initial one.
    """

    x: Array
    gates: Array
    c: Array
    y: Array


class LSTMGradients(NamedTuple):
    """Gradients of a loss J with respect to the arguments of `lstm_forward`, shaped as those.

    Attributes
    ----------
    x, W, R, b : array
        dJ/dx and so on.
    p : array or None
        None without peepholes.
    state : (h0, c0)
        dJ/d(initial state).
    """

    x: Array
    W: Array
    R: Array
    b: Array
    p: Array | None
    state: State


def lstm_workspace(T: int, B: int, I: int, H: int, dtype: DTypeLike = np.float32) -> int:
    """Values of workspace with which `lstm_forward` and `lstm_backward` need allocate none.

    Parameters
    ----------
    T, B, I, H : int
        Time steps, batch rows, inputs, hidden units.
    dtype : float32 or float64

    Examples
    --------
    >>> import fastlstm
    >>> fastlstm.lstm_workspace(T=100, B=1, I=64, H=64) > 0
    True
    """
    size = check.float_dtype(dtype).itemsize
    return max(_lstm.forward_workspace(T, B, I, H, size, False), _lstm.backward_workspace(T, B, I, H, size))


def lstm_forward(
    x: Array,
    W: Array,
    R: Array,
    b: Array,
    p: Array | None = None,
    state: PartialState | None = None,
    *,
    tape: bool | LSTMTape = False,
    out: tuple[Array, State] | None = None,
    workspace: Array | None = None,
    num_threads: int | None = None,
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
    state : (h0, c0), optional
        Initial output and cell, each (B, H) or None for zeros. Default: zeros.
    tape : bool or LSTMTape
        True keeps what `lstm_backward` needs; a tape of an earlier call with the same sizes is filled again.
    out : (y, (h, c)), optional
        C-contiguous arrays for the results: (T, B, H), (B, H), (B, H).
    workspace : (n,) array, optional
        Memory to compute in: `lstm_workspace` tells how much.
    num_threads : int, optional
        At most this many threads. Default: `get_num_threads`.

    Returns
    -------
    y : (T, B, H) array
        The outputs y^t.
    state : (h, c)
        The last output and cell, each (B, H).
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
    x = check.sized("x", x, 3, "(T, B, I)")
    T, B, I = x.shape
    H = check.sized("R", R, 2, "(4H, H)").shape[1]
    dtype = x.dtype
    x = check.matching("x", x, (T, B, I), dtype, "(T, B, I)")
    W = check.matching("W", W, (4 * H, I), dtype, "(4H, I)")
    R = check.matching("R", R, (4 * H, H), dtype, "(4H, H)")
    b = check.matching("b", b, (4 * H,), dtype, "(4H,)")
    p = check.optional("p", p, (3, H), dtype, "(3, H)")
    return _forward(x, (W, R, b, p), state, tape, out, workspace, num_threads)


def _forward(
    x: Array,
    weights: Weights,
    state: PartialState | None,
    tape: bool | LSTMTape,
    out: tuple[Array, State] | None,
    workspace: Array | None,
    num_threads: int | None,
) -> tuple[Array, State, LSTMTape | None]:
    """`lstm_forward` once x and the weights are known to be right, as a layer's are."""
    W, R, b, p = weights
    (T, B, I), H, dtype = x.shape, R.shape[1], x.dtype
    h0, c0 = (None, None) if state is None else check.pair("state", state, "(h, c)")
    h0 = np.zeros((B, H), dtype) if h0 is None else check.matching("state h", h0, (B, H), dtype, "(B, H)")
    c0 = np.zeros((B, H), dtype) if c0 is None else check.matching("state c", c0, (B, H), dtype, "(B, H)")

    if out is None:
        y, h, c = empty((T, B, H), dtype), np.empty((B, H), dtype), np.empty((B, H), dtype)
    else:
        y, last = check.pair("out", out, "(y, (h, c))")
        h, c = check.pair("out state", last, "(h, c)")
        y = check.output("out y", y, (T, B, H), dtype, "(T, B, H)")
        h = check.output("out h", h, (B, H), dtype, "(B, H)")
        c = check.output("out c", c, (B, H), dtype, "(B, H)")
    kept: LSTMTape | None = None
    if isinstance(tape, LSTMTape):
        kept = LSTMTape(
            x,
            check.output("tape.gates", tape.gates, (T, B, 4 * H), dtype, "(T, B, 4H)"),
            check.output("tape.c", tape.c, (T + 1, B, H), dtype, "(T + 1, B, H)"),
            check.output("tape.y", tape.y, (T + 1, B, H), dtype, "(T + 1, B, H)"),
        )
    elif tape:
        kept = LSTMTape(x, empty((T, B, 4 * H), dtype), empty((T + 1, B, H), dtype), empty((T + 1, B, H), dtype))
    space = check.workspace(workspace, _lstm.forward_workspace(T, B, I, H, dtype.itemsize, kept is not None), dtype)
    if out is not None or workspace is not None or isinstance(tape, LSTMTape):
        outputs = {"out y": y, "out h": h, "out c": c, "workspace": space}
        if kept is not None:
            outputs |= {"tape.gates": kept.gates, "tape.c": kept.c, "tape.y": kept.y}
        check.disjoint(outputs, {"x": x, "W": W, "R": R, "b": b, "p": p, "state h": h0, "state c": c0})

    _, gates, all_c, all_y = (None, None, None, None) if kept is None else kept
    threads = checked_num_threads(num_threads)
    _lstm.forward(x, W, R, b, p, h0, c0, y, h, c, gates, all_c, all_y, space, threads)
    return y, (h, c), kept


def lstm_backward(
    tape: LSTMTape,
    W: Array,
    R: Array,
    p: Array | None,
    dy: Array | None,
    dstate: PartialState | None = None,
    *,
    out: LSTMGradients | None = None,
    accumulate: bool = False,
    workspace: Array | None = None,
    num_threads: int | None = None,
) -> LSTMGradients:
    r"""Back-propagate through time: every gradient of an LSTM.

    With D^t arriving at y^t from above, and deltas d* with respect to the values before activation:

    .. math::

        dy^t &= D^t + R_z^T dz^{t+1} + R_i^T di^{t+1} + R_f^T df^{t+1} + R_o^T do^{t+1} \\
        do^t &= dy^t \odot \tanh(c^t) \odot o^t (1 - o^t) \\
        dc^t &= dy^t \odot o^t \odot (1 - \tanh^2 c^t) + p_o \odot do^t
                + p_i \odot di^{t+1} + p_f \odot df^{t+1} + dc^{t+1} \odot f^{t+1} \\
        df^t &= dc^t \odot c^{t-1} \odot f^t (1 - f^t) \\
        di^t &= dc^t \odot z^t \odot i^t (1 - i^t) \\
        dz^t &= dc^t \odot i^t \odot (1 - (z^t)^2)

    Parameters
    ----------
    tape : LSTMTape
        From `lstm_forward`; left as it was.
    W, R, p : arrays
        The weights of the forward pass; p is None without peepholes.
    dy : (T, B, H) array or None
        dJ/dy: the gradient arriving at every output. None stands for zero.
    dstate : (dh, dc), optional
        Gradients arriving at the final state, each (B, H) or None.
    out : LSTMGradients, optional
        C-contiguous arrays for the results.
    accumulate : bool
        Add the gradients of W, R, b and p to those in `out`, instead of overwriting them.
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
    if not isinstance(tape, LSTMTape):
        raise TypeError(f"tape must be an LSTMTape from lstm_forward(..., tape=True), not {type(tape).__name__}")
    T, B, I = check.sized("tape.x", tape.x, 3, "(T, B, I)").shape
    H = check.sized("R", R, 2, "(4H, H)").shape[1]
    dtype = tape.x.dtype
    x = check.matching("tape.x", tape.x, (T, B, I), dtype, "(T, B, I)")
    gates = check.matching("tape.gates", tape.gates, (T, B, 4 * H), dtype, "(T, B, 4H)")
    all_c = check.matching("tape.c", tape.c, (T + 1, B, H), dtype, "(T + 1, B, H)")
    all_y = check.matching("tape.y", tape.y, (T + 1, B, H), dtype, "(T + 1, B, H)")
    W = check.matching("W", W, (4 * H, I), dtype, "(4H, I)")
    R = check.matching("R", R, (4 * H, H), dtype, "(4H, H)")
    p = check.optional("p", p, (3, H), dtype, "(3, H)")
    dy = check.optional("dy", dy, (T, B, H), dtype, "(T, B, H)")
    dh, dc = (None, None) if dstate is None else check.pair("dstate", dstate, "(dh, dc)")
    dh = check.optional("dstate h", dh, (B, H), dtype, "(B, H)")
    dc = check.optional("dstate c", dc, (B, H), dtype, "(B, H)")

    shapes = {"x": (T, B, I), "W": (4 * H, I), "R": (4 * H, H), "b": (4 * H,), "p": (3, H), "h0": (B, H), "c0": (B, H)}
    if p is None:
        del shapes["p"]
    if out is None:
        if accumulate:
            raise ValueError("accumulate needs out, the gradients to add to")
        arrays = {name: empty(shape, dtype) for name, shape in shapes.items()}
    else:
        if not isinstance(out, LSTMGradients):
            raise TypeError(f"out must be LSTMGradients, not {type(out).__name__}")
        dh0, dc0 = check.pair("out.state", out.state, "(h0, c0)")
        given = {**out._asdict(), "h0": dh0, "c0": dc0}
        arrays = {name: check.output(f"out {name}", given[name], shapes[name], dtype, name) for name in shapes}
    space = check.workspace(workspace, _lstm.backward_workspace(T, B, I, H, dtype.itemsize), dtype)
    if out is not None or workspace is not None:
        kept = {"tape.x": x, "tape.gates": gates, "tape.c": all_c, "tape.y": all_y}
        inputs = {**kept, "W": W, "R": R, "p": p, "dy": dy, "dstate h": dh, "dstate c": dc}
        check.disjoint({f"out {name}": array for name, array in arrays.items()} | {"workspace": space}, inputs)

    dp = arrays.get("p")
    _lstm.backward(
        x, W, R, p, gates, all_c, all_y, dy, dh, dc,
        arrays["x"], arrays["W"], arrays["R"], arrays["b"], dp, arrays["h0"], arrays["c0"],
        bool(accumulate), space, checked_num_threads(num_threads),
    )  # fmt: skip
    return LSTMGradients(arrays["x"], arrays["W"], arrays["R"], arrays["b"], dp, (arrays["h0"], arrays["c0"]))


class LSTM(Layer):
    r"""A layer of LSTM cells, with or without peephole connections.

    The equations are those of `lstm_forward` and `lstm_backward`.

    Parameters
    ----------
    input_size, hidden_size : int
        I inputs and H hidden units.
    peephole : bool
        Whether the gates see the cell.
    batch_first : bool
        Sequences are (B, T, I) and (B, T, H) arrays, instead of (T, B, I) and (T, B, H).
    dtype : float32 or float64
        Of the parameters and all arrays.
    seed : int or numpy.random.Generator, optional
        Where the initial weights come from: uniform in :math:`\pm` `init_scale`.
    init_scale : float, optional
        Default :math:`1 / \sqrt{H}`.
    forget_bias : float
        Initial bias of the forget gate, which lets a new network remember.

    Attributes
    ----------
    params : mapping of str to array
        ``W_l0`` (4H, I), ``R_l0`` (4H, H), ``b_l0`` (4H,), with peepholes ``p_l0`` (3, H). Gate blocks are in the order
        i, f, z, o; rows of p in the order i, f, o. Write to them in place: ``lstm.params["b_l0"][:] = 0``.
    flat : (n,) array
        All parameters in one buffer, of which `params` are views.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> lstm = fastlstm.LSTM(3, 8, seed=0)
    >>> x = np.random.default_rng(0).normal(size=(20, 4, 3)).astype(np.float32)
    >>> y, (h, c) = lstm(x)
    >>> y.shape, h.shape
    ((20, 4, 8), (1, 4, 8))
    >>> y, state, tape = lstm.forward(x)
    >>> grads = lstm.backward(tape, dy=np.ones_like(y))
    >>> grads.params["R_l0"].shape, grads.x.shape
    ((32, 8), (20, 4, 3))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        peephole: bool = True,
        batch_first: bool = False,
        dtype: DTypeLike = np.float32,
        seed: int | np.random.Generator | None = None,
        init_scale: float | None = None,
        forget_bias: float = 1.0,
    ) -> None:
        self.peephole = bool(peephole)
        super().__init__(input_size, hidden_size, batch_first=batch_first, dtype=dtype)
        self._initialise(seed, init_scale)
        self.params["b_l0"][self.hidden_size : 2 * self.hidden_size] = forget_bias

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        I, H = self.input_size, self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {"W_l0": (4 * H, I), "R_l0": (4 * H, H), "b_l0": (4 * H,)}
        if self.peephole:
            shapes["p_l0"] = (3, H)
        return shapes

    def _bind(self) -> None:
        params = self.params
        self._weights = params["W_l0"], params["R_l0"], params["b_l0"], params.get("p_l0")
        self._cell = _lstm.Cell(*self._weights)

    def _options(self) -> str:
        return f"peephole={self.peephole}"

    def __call__(self, x: Array, state: State | None = None, *, num_threads: int | None = None) -> tuple[Array, State]:
        """Run the layer over sequences, keeping nothing for the backward pass.

        Parameters
        ----------
        x : (T, B, I) array
            (B, T, I) with `batch_first`.
        state : (h, c), optional
            Each (1, B, H). Default: zeros.
        num_threads : int, optional
            At most this many threads.

        Returns
        -------
        y : (T, B, H) array
            (B, T, H) with `batch_first`.
        state : (h, c)
            The state after the last step, each (1, B, H).
        """
        y, state, _ = self._run(x, state, False, num_threads)
        return y, state

    def forward(
        self, x: Array, state: State | None = None, *, tape: LSTMTape | None = None, num_threads: int | None = None
    ) -> tuple[Array, State, LSTMTape]:
        """Run the layer as by a call, and keep what `backward` needs.

        Parameters
        ----------
        x, state, num_threads
            As for a call.
        tape : LSTMTape, optional
            One of an earlier call with the same sizes, which is not needed any more: it is filled again, which spares
            the system the clearing of new memory.

        Returns
        -------
        y, state
            As from a call.
        tape : LSTMTape
            For `backward`.
        """
        y, state, kept = self._run(x, state, tape or True, num_threads)
        assert kept is not None
        return y, state, kept

    def _run(
        self, x: Array, state: State | None, tape: bool | LSTMTape, num_threads: int | None
    ) -> tuple[Array, State, LSTMTape | None]:
        x = self._time_major("x", x)
        first = None
        if state is not None:
            h0, c0 = check.pair("state", state, "(h, c)")
            first = self._state_in("state h", h0, x.shape[1]), self._state_in("state c", c0, x.shape[1])
        T, B, I = x.shape
        space = self._borrow(_lstm.forward_workspace(T, B, I, self.hidden_size, self.dtype.itemsize, bool(tape)))
        y, (h, c), kept = _forward(x, self._weights, first, tape, None, space, num_threads)
        self._return(space)
        return self._as_given(y), (h[np.newaxis], c[np.newaxis]), kept

    def backward(
        self,
        tape: LSTMTape,
        dy: Array | None,
        dstate: PartialState | None = None,
        *,
        out: Gradients | None = None,
        accumulate: bool = False,
        num_threads: int | None = None,
    ) -> Gradients:
        """Back-propagate through time.

        Parameters
        ----------
        tape : LSTMTape
            From `forward`; left as it was.
        dy : array or None
            dJ/dy, shaped as y. None stands for zero.
        dstate : (dh, dc), optional
            Gradients arriving at the final state, each (1, B, H) or None.
        out : Gradients, optional
            An earlier result to write to again, its x included.
        accumulate : bool
            Add the parameters' gradients to those in `out`, instead of overwriting them.
        num_threads : int, optional
            At most this many threads.

        Returns
        -------
        Gradients
            ``.params`` (the keys of `params`), ``.flat``, ``.x``, ``.state``.
        """
        grads = self._gradients(out, accumulate)
        if not isinstance(tape, LSTMTape):
            raise TypeError(f"tape must be an LSTMTape from forward, not {type(tape).__name__}")
        T, B, _ = check.sized("tape.x", tape.x, 3, "(T, B, I)").shape
        I, H = self.input_size, self.hidden_size
        dh, dc = (None, None) if dstate is None else check.pair("dstate", dstate, "(dh, dc)")
        W, R, _, p = self._weights
        parts = grads.params
        target = LSTMGradients(
            self._like_x(out, (T, B, I)), parts["W_l0"], parts["R_l0"], parts["b_l0"], parts.get("p_l0"),
            (np.empty((B, H), self.dtype), np.empty((B, H), self.dtype)),
        )  # fmt: skip
        space = self._borrow(_lstm.backward_workspace(T, B, I, H, self.dtype.itemsize))
        found = lstm_backward(
            tape, W, R, p, None if dy is None else self._time_major("dy", dy, H),
            (self._state_in("dstate h", dh, B), self._state_in("dstate c", dc, B)),
            out=target, accumulate=accumulate, workspace=space, num_threads=num_threads,
        )  # fmt: skip
        self._return(space)
        dh0, dc0 = found.state
        grads.x, grads.state = self._as_given(found.x), (dh0[np.newaxis], dc0[np.newaxis])
        return grads

    def step(
        self,
        x_t: Array,
        state: State | None = None,
        out: tuple[Array, State] | None = None,
        *,
        num_threads: int | None = None,
    ) -> tuple[Array, State]:
        """Run a single time step: the path for streams.

        Parameters
        ----------
        x_t : (B, I) array
        state : (h, c), optional
            Each (1, B, H). Default: zeros.
        out : (y_t, (h, c)), optional
            C-contiguous arrays for the results, (B, H) and twice (1, B, H); nothing is allocated then. The state may be
            written where it was read: ``y, state = lstm.step(x_t, state, out=(y, state))``.
        num_threads : int, optional
            At most this many threads.

        Returns
        -------
        y_t : (B, H) array
        state : (h, c)
            Each (1, B, H).

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> lstm = fastlstm.LSTM(2, 4, seed=0)
        >>> y, state = lstm.step(np.ones((1, 2), np.float32))
        >>> y, state = lstm.step(np.ones((1, 2), np.float32), state, out=(y, state))
        >>> y.shape
        (1, 4)
        """
        threads = checked_num_threads(num_threads)
        try:
            h, c = state  # type: ignore[misc]  # None raises TypeError, as bad input does
            if out is None:
                shape, dtype = h.shape, self.dtype
                out = np.empty(shape[1:], dtype), (np.empty(shape, dtype), np.empty(shape, dtype))
            y, (h_out, c_out) = out
            if self._cell.step(x_t, h, c, y, h_out, c_out, threads):
                return out
        except (AttributeError, BufferError, TypeError, ValueError):
            pass  # the checks below say what is wrong, or copy what is not contiguous
        return self._step_checked(x_t, state, out, threads)

    def _step_checked(
        self, x_t: Array, state: State | None, out: tuple[Array, State] | None, num_threads: int
    ) -> tuple[Array, State]:
        B = check.sized("x_t", x_t, 2, "(B, I)").shape[0]
        shape, dtype = (1, B, self.hidden_size), self.dtype
        x = check.matching("x_t", x_t, (B, self.input_size), dtype, "(B, I)")
        h, c = (None, None) if state is None else check.pair("state", state, "(h, c)")
        h = np.zeros(shape, dtype) if h is None else check.matching("state h", h, shape, dtype, "(1, B, H)")
        c = np.zeros(shape, dtype) if c is None else check.matching("state c", c, shape, dtype, "(1, B, H)")
        if out is None:
            y, h_out, c_out = np.empty(shape[1:], dtype), np.empty(shape, dtype), np.empty(shape, dtype)
        else:
            y, last = check.pair("out", out, "(y, (h, c))")
            h_out, c_out = check.pair("out state", last, "(h, c)")
            y = check.output("out y", y, shape[1:], dtype, "(B, H)")
            h_out = check.output("out h", h_out, shape, dtype, "(1, B, H)")
            c_out = check.output("out c", c_out, shape, dtype, "(1, B, H)")
            check.disjoint({"out y": y}, {"x_t": x, "state h": h, "state c": c, "out h": h_out, "out c": c_out})
            check.disjoint({"out h": h_out}, {"x_t": x, "state c": c, "out c": c_out})
            check.disjoint({"out c": c_out}, {"x_t": x, "state h": h})
        if not self._cell.step(x, h, c, y, h_out, c_out, num_threads):
            raise ValueError("out's state may be the state itself, but must not overlap it partly")
        return y, (h_out, c_out)
