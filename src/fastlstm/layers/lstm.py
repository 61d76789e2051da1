"""The LSTM as layers; `functions/lstm.py` has the equations, `stack.py` what all layers share."""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, Kind, cells_of, empty, empty_like
from fastlstm._cells import LSTMCell, bound, lstm_cell
from fastlstm._engine import call as _core
from fastlstm._engine.batches import PackedSequence, Sequences, as_packed
from fastlstm._engine.call import Call, States
from fastlstm._engine.tapes import LSTMTape
from fastlstm._engine.threads import checked_num_threads
from fastlstm.functions.lstm import (
    LSTMDeltas,
    PartialState,
    State,
    deltas_of,
    state_of,
    state_parts,
)
from fastlstm.layers.masks import Masks
from fastlstm.layers.parameters import Gradients
from fastlstm.layers.stack import Layer, Tape

__all__ = ["LSTM"]


class LSTM(Layer):
    r"""Layers of LSTM cells, with or without peephole connections, in one direction or two.

    The equations are those of `lstm_forward` and `lstm_backward`.

    Parameters
    ----------
    input_size, hidden_size : int
        I inputs and H hidden units.
    num_layers : int
        How many layers there are; each but the first sees the outputs of the one below.
    peephole : bool
        Whether the gates see the cell.
    variant : str
        vanilla, NIG, NFG, NOG, NIAF, NOAF, NP (the same as ``peephole=False``), CIFG or FGR, in any case of
        letters: see `lstm_forward`.
    bidirectional : bool
        Whether each layer also runs from the last step to the first; its outputs are both directions' side by side.
    batch_first : bool
        Sequences are (B, T, I) and (B, T, H) arrays, instead of (T, B, I) and (T, B, H).
    dropout : float
        Rate at which outputs are dropped on their way to the next layer. With one layer it drops nothing, and warns.
    recurrent_dropout : float
        Rate at which outputs are dropped on their way to the next step, the same ones at every step.
    drop_connect : float
        Rate at which the recurrent weights R are dropped, for a whole call (Wan et al. 2013).
    zoneout : (rate of y, rate of c)
        How often a unit's output, and its cell, stay as they were.
    proj_size : int
        If not 0, P outputs of each layer and direction, projected from the H hidden units.
    activations, clip, cell_clip
        As for `lstm_forward`.
    dtype : float32 or float64
        Of the parameters and all arrays.
    seed : int or numpy.random.Generator, optional
        Where the initial weights come from: uniform in :math:`\pm` `init_scale`.
    init_scale : float, optional
        Default :math:`1 / \sqrt{H}`.
    forget_bias : float
        Initial bias of the forget gate, which lets a new network remember.
    batch_invariant : bool
        As for `lstm_forward`, of this layer: a `Dense` or an `Attention` above it may round a row otherwise among other
        rows. `step` is slow then; `Frozen` networks have fast steps, whose results do not depend on other rows either,
        but where weights are large may differ from a call's by rounding.

    Attributes
    ----------
    params : mapping of str to array
        For layer 0 ``W_l0`` (4H, I), ``R_l0`` (4H, H), ``b_l0`` (4H,), with peepholes ``p_l0`` (3, H), for FGR ``G_l0``
        (3H, 3H), with a projection ``proj_l0`` (P, H); the second direction's names end in ``_reverse``. Gate blocks
        are in the order i, f, z, o, rows of p in the order i, f, o, without those that the variant lacks. Write to
        them in place: ``lstm.params["b_l0"][:] = 0``.
    flat : (n,) array
        All parameters in one buffer, of which `params` are views. In a network they move to the network's: arrays from
        before are read-only then.

    Notes
    -----
    Python threads may share a layer or a network, with the GIL and without: calls, `forward`, `backward` and `step` may
    run at the same time, also on the same inputs and the same tape, and copies and `Frozen` networks may be made. What
    writes to the parameters must run alone: a step of an optimiser, `fit`, and making a network of the layer. Each
    thread needs its own of what is written to: `out`, a tape to be filled again, a generator for dropout, a `Stream`,
    an optimiser.

    What a layer is cannot be changed, and attributes that it does not have cannot be set: make another one. A subclass
    may have attributes of its own; copies and pickles have those whose names do not begin with an underscore.

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

    Two layers in two directions, over sequences of different lengths:

    >>> lstm = fastlstm.LSTM(3, 8, num_layers=2, bidirectional=True, variant="CIFG", seed=0)
    >>> y, (h, c) = lstm(x, lengths=[20, 7, 0, 12])
    >>> y.shape, h.shape, bool(y[7:, 1].any())
    ((20, 4, 16), (4, 4, 8), False)
    """

    _kind: LSTMCell
    _tape_type = LSTMTape

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        peephole: bool = True,
        variant: str = "vanilla",
        bidirectional: bool = False,
        batch_first: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        drop_connect: float = 0.0,
        zoneout: tuple[float, float] = (0.0, 0.0),
        proj_size: int = 0,
        activations: tuple[str, str, str] | None = None,
        clip: float | None = None,
        cell_clip: float | None = None,
        dtype: DTypeLike = np.float32,
        seed: int | np.random.Generator | None = None,
        init_scale: float | None = None,
        forget_bias: float = 1.0,
        batch_invariant: bool = False,
    ) -> None:
        self.clip, self.cell_clip = bound("clip", clip), bound("cell_clip", cell_clip)
        cell = lstm_cell(variant, activations, self.clip, self.cell_clip)
        self.variant, self.activations = cell.variant, activations
        self.peephole = check.flag("peephole", peephole) and self.variant != "NP"
        super().__init__(
            input_size, hidden_size, num_layers, bidirectional=bidirectional, batch_first=batch_first, dropout=dropout,
            recurrent_dropout=recurrent_dropout, drop_connect=drop_connect, zoneout=zoneout, proj_size=proj_size,
            dtype=dtype,
            batch_invariant=batch_invariant,
        )  # fmt: skip
        forget_bias = check.finite("forget_bias", forget_bias, self.dtype)
        self._start_weights(seed, init_scale)
        if "f" in cell.blocks:
            at = cell.blocks.index("f") * self.hidden_size
            for suffix in self._names():
                self.params["b" + suffix][at : at + self.hidden_size] = forget_bias

    def _find_kind(self) -> LSTMCell:
        return lstm_cell(self.variant, self.activations, self.clip, self.cell_clip)

    def _shapes_of_cell(self, inputs: int) -> dict[str, tuple[int, ...]]:
        n, H, P = self._kind.gates, self.hidden_size, self.output_size
        shapes: dict[str, tuple[int, ...]] = {"W": (n * H, inputs), "R": (n * H, P), "b": (n * H,)}
        if self.peephole:
            shapes["p"] = (n - 1, H)
        if self._kind.full_recurrence:
            shapes["G"] = (3 * H, 3 * H)
        if self.proj_size:
            shapes["proj"] = (P, H)
        return shapes

    def _deltas_of(self, call: Call, arrays: tuple[Array, ...]) -> LSTMDeltas:
        return deltas_of(call, arrays)

    def _options(self) -> str:
        named: dict[str, tuple[Any, Any]] = {
            "variant": (self.variant, "vanilla"),
            "activations": (self.activations, None),
        }
        named |= {"clip": (self.clip, None), "cell_clip": (self.cell_clip, None)}
        given = "".join(f", {name}={value!r}" for name, (value, usual) in named.items() if value != usual)
        return f"peephole={self.peephole}{given}"

    def _states(self, name: str, state: PartialState | None, B: int, kind: Kind) -> States:
        expected = ("(h, c)", "(h, c, g)") if name == "state" else ("(dh, dc)", "(dh, dc, dg)")
        h, c, g = state_parts(name, state, self._kind, *expected)
        return (
            self._state_in(f"{name} h", h, B, self.output_size, kind),
            self._state_in(f"{name} c", c, B, self.hidden_size, cells_of(kind)),
            None if g is None else self._state_in(f"{name} g", g, B, 3 * self.hidden_size, kind, "3H"),
        )

    def __call__(
        self,
        x: Sequences,
        state: PartialState | None = None,
        lengths: ArrayLike | None = None,
        *,
        reset: ArrayLike | None = None,
        reset_to: Literal["initial", "zero"] = "initial",
        num_threads: int | None = None,
    ) -> tuple[Sequences, State]:
        """Run the layers over sequences, keeping nothing for the backward pass and dropping nothing.

        Parameters
        ----------
        x : (T, B, I) array
            (B, T, I) with `batch_first`. Or a `PackedSequence`, or PyTorch's on the CPU: its rows are used as they are,
            states, `reset` and masks are in the order before it was sorted.
        state : (h, c) or, for FGR, (h, c, g), optional
            Each (layers D, B, H), g (layers D, B, 3H), D the number of directions; any may be None. Default: zeros.
        lengths, reset, reset_to
            As for `lstm_forward`.
        num_threads : int, optional
            At most this many threads.

        Returns
        -------
        y : (T, B, D H) array
            (B, T, D H) with `batch_first`; a `PackedSequence` where x is packed.
        state : (h, c), for FGR (h, c, g)
            The state after the last step, each (layers D, B, H), g (layers D, B, 3H).
        """
        if self._is_step(x, lengths, reset, reset_to):
            x_t, zeros = self._as_step(x)
            y_t, last_state = self.step(
                x_t, (zeros, zeros) if state is None else cast(State, state), num_threads=num_threads
            )
            return self._as_sequence(y_t), last_state
        x = as_packed("x", x)
        states = self._states("state", state, self._sizes(x)[1], self._kind_for(x))
        masks = self._inference_masks(x)
        y, last, _ = self._forward_pass(x, states, lengths, reset, reset_to, masks, False, None, num_threads)
        return y, state_of(last)

    def forward(
        self,
        x: Sequences,
        state: PartialState | None = None,
        lengths: ArrayLike | None = None,
        *,
        reset: ArrayLike | None = None,
        reset_to: Literal["initial", "zero"] = "initial",
        rng: np.random.Generator | None = None,
        masks: Masks | None = None,
        tape: Tape | None = None,
        recompute: int | None = None,
        num_threads: int | None = None,
    ) -> tuple[Sequences, State, Tape]:
        """Run the layers as by a call, but with dropout and zoneout, and keep what `backward` needs.

        Parameters
        ----------
        x, state, lengths, reset, reset_to, num_threads
            As for a call.
        rng : numpy.random.Generator, optional
            Where the masks of dropout, DropConnect and zoneout come from.
        masks : Masks, optional
            Those masks themselves: of an earlier tape, or from `draw_masks`.
        tape : Tape, optional
            One of an earlier call with the same sizes, which is not needed any more: it is filled again, which spares
            the system the clearing of new memory.
        recompute : int, optional
            As for `lstm_forward`. The inputs of each layer are kept whole.

        Returns
        -------
        y, state
            As from a call.
        tape : Tape
            For `backward`.
        """
        x = as_packed("x", x)
        states = self._states("state", state, self._sizes(x)[1], self._kind_for(x))
        masks = self._training_masks(masks, rng, x)
        y, last, kept = self._forward_pass(
            x, states, lengths, reset, reset_to, masks, self._to_fill(tape), recompute, num_threads
        )
        assert kept is not None
        return y, state_of(last), kept

    def backward(
        self,
        tape: Tape,
        dy: Array | PackedSequence | None,
        dstate: PartialState | None = None,
        *,
        dc: list[Array | None] | None = None,
        deltas: bool = False,
        out: Gradients | None = None,
        accumulate: bool = False,
        num_threads: int | None = None,
    ) -> Gradients:
        """Back-propagate through time.

        Parameters
        ----------
        tape : Tape
            From this one's `forward`, since which neither parameters nor inputs have changed; left as it was.
        dy : array or None
            dJ/dy, shaped as y; where that is packed, its data alone will do. None stands for zero.
        dstate : (dh, dc) or, for FGR, (dh, dc, dg), optional
            Gradients arriving at the final state, each shaped as its part or None.
        dc : list, optional
            Gradients arriving at every c^t: for each layer and direction, in the order of the parameters, a (T, B, H)
            array or None; with `batch_first` and packed sequences too.
        deltas : bool
            Give the deltas of every time step too.
        out : Gradients, optional
            An earlier result to write to again, its x included.
        accumulate : bool
            Add the parameters' gradients to those in `out`, instead of overwriting them.
        num_threads : int, optional
            At most this many threads.

        Returns
        -------
        Gradients
            ``.params`` (the keys of `params`), ``.flat``, ``.x``, ``.state``; ``.deltas``, a list with `LSTMDeltas` for
            each layer and direction, of (T, B, H) arrays.
        """
        kept, dy = self._check_tape(tape), as_packed("dy", dy)
        dstates = self._states("dstate", dstate, kept.call.batch.B, self._array_kind)
        grads, dfirst = self._backward_pass(kept, dy, dstates, out, accumulate, num_threads, deltas, dc)
        grads.state = state_of(dfirst)
        return grads

    def step(
        self,
        x_t: Array,
        state: State | None = None,
        out: tuple[Array, State] | None = None,
        *,
        num_threads: int | None = None,
    ) -> tuple[Array, State]:
        """Run a single time step of layers in one direction: the path for streams.

        Parameters
        ----------
        x_t : (B, I) array
        state : (h, c) or, for FGR, (h, c, g), optional
            Each (layers, B, H), g (layers, B, 3H). Default: zeros.
        out : (y_t, (h, c)), optional
            C-contiguous arrays for the results, (B, H) and twice (layers, B, H), for FGR g too. A single layer without
            FGR, projection, zoneout and `batch_invariant` allocates nothing then. Each part of the state may be written
            where it was read, ``y, state = lstm.step(x_t, state, out=(y, state))``; apart from that no array may
            overlap another.
        num_threads : int, optional
            At most this many threads.

        Returns
        -------
        y_t : (B, H) array
        state : (h, c), for FGR (h, c, g)
            Each (layers, B, H), g (layers, B, 3H).

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
        if self._steps_directly:
            try:
                h, c = state  # type: ignore[misc]  # None raises TypeError, as bad input does
                if out is None:
                    shape, dtype = h.shape, self.dtype
                    out = np.empty(shape[1:], dtype), (np.empty(shape, dtype), np.empty(shape, dtype))
                y, (h_out, c_out) = out
            except (AttributeError, TypeError, ValueError):
                pass  # the checks below say what is wrong
            else:
                if self._steps[0].step(x_t, h, c, y, h_out, c_out, threads):
                    return out  # else the checks below say why not, or copy what is not contiguous
        return self._step_checked(x_t, state, out, threads)

    def _step_checked(
        self, x_t: Array, state: PartialState | None, out: tuple[Array, State] | None, num_threads: int
    ) -> tuple[Array, State]:
        self.check_steps()
        L, P, H, kind = self.num_layers, self.output_size, self.hidden_size, self._kind_for(x_t)
        B = check.sized("x_t", x_t, 2, "(B, I)", kind).shape[0]
        x = check.matching("x_t", x_t, (B, self.input_size), kind, "(B, I)")
        cell = self._kind
        first = _core.or_zeros(self._states("state", state, B, kind), cell, (L, B), P, H, kind)
        if out is None:
            y, last = empty((B, P), kind), _core.each(empty_like, first)
        else:
            h, c, g = first
            y, given = check.pair("out", out, "(y, (h, c, g))" if cell.full_recurrence else "(y, (h, c))")
            h_out, c_out, g_out = state_parts("out state", given, cell, whole=True)
            layers = "1" if L == 1 else "layers"
            y = check.output("out y", y, (B, P), kind, "(B, H)")
            h_out = check.output("out h", h_out, (L, B, P), kind, f"({layers}, B, H)")
            c_out = check.output("out c", c_out, (L, B, H), cells_of(kind), f"({layers}, B, H)")
            if cell.full_recurrence:
                g_out = check.output("out g", g_out, (L, B, 3 * H), kind, f"({layers}, B, 3H)")
            last = h_out, c_out, g_out
            parts = {part: array for part, array in zip("hcg", last, strict=True) if array is not None}
            check.disjoint(
                {"out y": y} | {f"out {part}": array for part, array in parts.items()},
                {"x_t": x, "state h": h, "state c": c, "state g": g},
                {f"out {part}": f"state {part}" for part in parts},
            )
        if self.steps_one_by_one:
            (h, c), (h_out, c_out) = state_of(first), state_of(last)
            between = self._spaces_between(B)
            for k, step in enumerate(self._steps):
                above = y if k == L - 1 else between[k % 2]
                one = slice(k, k + 1)
                done = step.step(x, h[one], c[one], above, h_out[one], c_out[one], num_threads)
                assert done  # all arrays are checked
                x = above
            return y, state_of(last)
        sequence = x[:, None] if self.batch_first else x[None]
        found, state_found = self(sequence, state_of(first), num_threads=num_threads)
        y[:] = found[:, 0] if self.batch_first else found[0]
        for to, part in zip(state_of(last), state_found, strict=True):
            to[:] = part
        return y, state_of(last)
