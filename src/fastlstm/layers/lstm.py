"""The LSTM as layers: its arguments and parameters. `functions/lstm.py` has the equations, `layer.py` the calls."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm._cells import Activation, LSTMCell, checked_clip, lstm_cell
from fastlstm._engine.batches import PackedSequence
from fastlstm._engine.tapes import LSTMTape
from fastlstm.layers.layer import Layer
from fastlstm.layers.parameters import Gradients
from fastlstm.layers.stack import Tape

__all__ = ["LSTM"]

# (h, c), for FGR (h, c, g)
State = tuple[Array, ...]
PartialState = tuple[Array | None, ...]


class LSTM(Layer[State, PartialState]):
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
    layer_norm : bool
        Whether each step normalises R y, W x and, before the output gate, c: see `norm` of `lstm_forward`. Must be
        False with variant FGR.
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
        (3H, 3H), with layer normalisation ``norm_l0`` (10, H), with a projection ``proj_l0`` (P, H); the second
        direction's names end in ``_reverse``. Gate blocks are in the order i, f, z, o, rows of p in the order i, f, o,
        without those that the variant lacks. Rows of norm are the gains of R y, one for each block, those of W x, the
        gain of the cell and its shift: gains are 1 at first, the shift is 0. Write to them in place:
        ``lstm.params["b_l0"][:] = 0``.
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

    With layer normalisation:

    >>> lstm = fastlstm.LSTM(3, 8, layer_norm=True, seed=0)
    >>> lstm
    LSTM(3, 8, peephole=True, layer_norm=True, dtype=float32)
    >>> lstm.params["norm_l0"].shape, lstm.params["norm_l0"][:, 0].tolist()
    ((10, 8), [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    """

    _cell: LSTMCell
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
        activations: tuple[Activation, Activation, Activation] | None = None,
        clip: float | None = None,
        cell_clip: float | None = None,
        layer_norm: bool = False,
        dtype: DTypeLike = np.float32,
        seed: int | np.random.Generator | None = None,
        init_scale: float | None = None,
        forget_bias: float = 1.0,
        batch_invariant: bool = False,
    ) -> None:
        self.clip, self.cell_clip = checked_clip("clip", clip), checked_clip("cell_clip", cell_clip)
        self.layer_norm = check.flag("layer_norm", layer_norm)
        cell = lstm_cell(variant, activations, self.clip, self.cell_clip, self.layer_norm)
        self.variant, self.activations = cell.variant, None if activations is None else cell.activations
        self.peephole = check.flag("peephole", peephole) and self.variant != "NP"
        super().__init__(
            input_size, hidden_size, num_layers, bidirectional=bidirectional, batch_first=batch_first, dropout=dropout,
            recurrent_dropout=recurrent_dropout, drop_connect=drop_connect, zoneout=zoneout, proj_size=proj_size,
            dtype=dtype, batch_invariant=batch_invariant,
        )  # fmt: skip
        forget_bias = check.finite("forget_bias", forget_bias, self.dtype)
        self._start_weights(seed, init_scale)
        if "f" in cell.blocks:
            at = cell.blocks.index("f") * self.hidden_size
            for suffix in self._names():
                self.params["b" + suffix][at : at + self.hidden_size] = forget_bias
        if self.layer_norm:
            for suffix in self._names():
                self.params["norm" + suffix][:-1], self.params["norm" + suffix][-1] = 1, 0

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Layers that the first version pickled have no layer_norm.
        super().__setstate__({"layer_norm": False} | state)

    def _find_cell(self) -> LSTMCell:
        return lstm_cell(self.variant, self.activations, self.clip, self.cell_clip, self.layer_norm)

    def _optional(self) -> tuple[str, ...]:
        return ("p",) * self.peephole + ("norm",) * self.layer_norm + ("proj",) * bool(self.proj_size)

    def _options(self) -> str:
        usual = {"variant": "vanilla", "activations": None, "clip": None, "cell_clip": None, "layer_norm": False}
        given = {name: getattr(self, name) for name in usual}
        changed = "".join(f", {name}={value!r}" for name, value in given.items() if value != usual[name])
        return f"peephole={self.peephole}{changed}"

    def backward(  # noqa: D102 (the docstring of `Layer.backward` describes dc)
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
        return self._run_back(
            tape, dy, dstate, dc, deltas=deltas, out=out, accumulate=accumulate, num_threads=num_threads
        )
