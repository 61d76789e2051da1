"""The simple (Elman) RNN as layers; `functions/rnn.py` has the equations, `layer.py` what all layers share."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastlstm._arrays.arrays import Array
from fastlstm._cells import RNNCell, rnn_cell
from fastlstm._cells.rnn import Nonlinearity
from fastlstm._engine.batches import PackedSequence, Sequences
from fastlstm._engine.tapes import RNNTape
from fastlstm.layers.layer import Layer
from fastlstm.layers.masks import Masks
from fastlstm.layers.parameters import Gradients
from fastlstm.layers.stack import Tape, run

__all__ = ["RNN"]


class RNN(Layer):
    r"""Layers of simple (Elman) recurrent units, :math:`h^t = g(W x^t + R h^{t-1} + b)`.

    Threads may share them as they may an `LSTM`.

    Parameters
    ----------
    input_size, hidden_size : int
        I inputs and H hidden units.
    num_layers, bidirectional, batch_first, dropout, recurrent_dropout, drop_connect
        As for `LSTM`.
    nonlinearity : "tanh", "relu", "logistic" or "identity"
        g.
    zoneout : float
        How often a unit stays as it was.
    dtype : float32 or float64
        Of the parameters and all arrays.
    seed : int or numpy.random.Generator, optional
        Where the initial weights come from: uniform in :math:`\pm` `init_scale`.
    init_scale : float, optional
        Default :math:`1 / \sqrt{H}`.
    batch_invariant : bool
        As for `LSTM`.

    Attributes
    ----------
    params : mapping of str to array
        For layer 0 ``W_l0`` (H, I), ``R_l0`` (H, H), ``b_l0`` (H,); the second direction's names end in ``_reverse``.
        Write to them in place.
    flat : (n,) array
        All parameters in one buffer, of which `params` are views. In a network they move to the network's.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> rnn = fastlstm.RNN(3, 8, nonlinearity="relu", seed=0)
    >>> x = np.random.default_rng(0).normal(size=(20, 4, 3)).astype(np.float32)
    >>> y, h, tape = rnn.forward(x)
    >>> grads = rnn.backward(tape, dy=np.ones_like(y))
    >>> y.shape, h.shape, grads.params["W_l0"].shape
    ((20, 4, 8), (1, 4, 8), (8, 3))
    """

    _tape_type = RNNTape

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: Nonlinearity = "tanh",
        bidirectional: bool = False,
        batch_first: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        drop_connect: float = 0.0,
        zoneout: float = 0.0,
        dtype: DTypeLike = np.float32,
        seed: int | np.random.Generator | None = None,
        init_scale: float | None = None,
        batch_invariant: bool = False,
    ) -> None:
        rnn_cell(nonlinearity)
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size, hidden_size, num_layers, bidirectional=bidirectional, batch_first=batch_first, dropout=dropout,
            recurrent_dropout=recurrent_dropout, drop_connect=drop_connect, zoneout=(zoneout, 0.0), proj_size=0,
            dtype=dtype, batch_invariant=batch_invariant,
        )  # fmt: skip
        self._start_weights(seed, init_scale)

    def _find_cell(self) -> RNNCell:
        return rnn_cell(self.nonlinearity)

    def arguments(self) -> dict[str, Any]:
        """What the layer was made with; of zoneout one rate."""
        return super().arguments() | {"zoneout": self.zoneout[0]}

    def _options(self) -> str:
        return f"nonlinearity={self.nonlinearity!r}"

    def __call__(
        self,
        x: Sequences,
        state: Array | None = None,
        lengths: ArrayLike | None = None,
        *,
        reset: ArrayLike | None = None,
        reset_to: Literal["initial", "zero"] = "initial",
        num_threads: int | None = None,
    ) -> tuple[Sequences, Array]:
        """Run the layers over sequences, keeping nothing for the backward pass and dropping nothing.

        Parameters
        ----------
        x : (T, B, I) array
            (B, T, I) with `batch_first`. Or a `PackedSequence`, or PyTorch's on the CPU: its rows are used as they are,
            states, `reset` and masks are in the order before it was sorted.
        state : (layers D, B, H) array, optional
            D is the number of directions. Default: zeros.
        lengths, reset, reset_to
            As for `lstm_forward`.
        num_threads : int, optional
            At most this many threads.

        Returns
        -------
        y : (T, B, D H) array
            (B, T, D H) with `batch_first`; a `PackedSequence` where x is packed.
        state : (layers D, B, H) array
            The state after the last step.
        """
        if self._is_step(x, lengths, reset, reset_to):
            return self._call_as_step(x, state, num_threads)
        y, last, _ = run(self, x, state, lengths, reset, reset_to, num_threads=num_threads)
        return y, last

    def forward(
        self,
        x: Sequences,
        state: Array | None = None,
        lengths: ArrayLike | None = None,
        *,
        reset: ArrayLike | None = None,
        reset_to: Literal["initial", "zero"] = "initial",
        rng: np.random.Generator | None = None,
        masks: Masks | None = None,
        tape: Tape | None = None,
        recompute: int | None = None,
        num_threads: int | None = None,
    ) -> tuple[Sequences, Array, Tape]:
        """Run the layers as by a call, but with dropout and zoneout, and keep what `backward` needs.

        Parameters
        ----------
        x, state, lengths, reset, reset_to, num_threads
            As for a call.
        rng, masks, tape, recompute
            As for `LSTM.forward`.

        Returns
        -------
        y, state
            As from a call.
        tape : Tape
            For `backward`.
        """
        return run(
            self, x, state, lengths, reset, reset_to, rng=rng, masks=masks, tape=self._to_fill(tape),
            recompute=recompute, num_threads=num_threads,
        )  # fmt: skip

    def backward(
        self,
        tape: Tape,
        dy: Array | PackedSequence | None,
        dstate: Array | None = None,
        *,
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
        dstate : (layers D, B, H) array, optional
            The gradient arriving at the final state.
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
            ``.params`` (the keys of `params`), ``.flat``, ``.x``, ``.state``; ``.deltas``, a list with `RNNDeltas` for
            each layer and direction, of (T, B, H) arrays.
        """
        return self._run_back(
            tape, dy, dstate, None, deltas=deltas, out=out, accumulate=accumulate, num_threads=num_threads
        )

    def step(
        self,
        x_t: Array,
        state: Array | None = None,
        out: tuple[Array, Array] | None = None,
        *,
        num_threads: int | None = None,
    ) -> tuple[Array, Array]:
        """Run a single time step of layers in one direction: the path for streams.

        Parameters
        ----------
        x_t : (B, I) array
        state : (layers, B, H) array, optional
            Default: zeros.
        out : (y_t, h), optional
            C-contiguous arrays for the results, (B, H) and (layers, B, H). h may be the state itself; apart from that
            no array may overlap another.
        num_threads : int, optional
            At most this many threads.

        Returns
        -------
        y_t : (B, H) array
        state : (layers, B, H) array

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> rnn = fastlstm.RNN(2, 4, seed=0)
        >>> y, state = rnn.step(np.ones((1, 2), np.float32))
        >>> y, state = rnn.step(np.ones((1, 2), np.float32), state, out=(y, state))
        >>> y.shape
        (1, 4)
        """
        return self._step(self, x_t, state, out, num_threads)
