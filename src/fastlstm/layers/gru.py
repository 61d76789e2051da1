"""The GRU as layers: its arguments and parameters. `functions/gru.py` has the equations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm._cells import Activation, GRUCell, gru_cell
from fastlstm._engine.tapes import GRUTape
from fastlstm.layers.layer import Layer

__all__ = ["GRU"]


class GRU(Layer[Array, Array]):
    r"""Layers of gated recurrent units, whose reset gate acts after the recurrent product or before it.

    The equations are those of `gru_forward` and `gru_backward`. Threads may share the layers as they may an `LSTM`.

    Parameters
    ----------
    input_size, hidden_size : int
        I inputs and H hidden units.
    num_layers, bidirectional, batch_first, dropout, drop_connect
        As for `LSTM`.
    reset_after : bool
        Whether r multiplies what R_n h and bn give, as in PyTorch, instead of h before the product.
    activations
        As for `gru_forward`.
    recurrent_dropout : float
        Rate at which h is dropped on its way into the products with R of the next step, the same units at every step;
        what z keeps of h stays.
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
        For layer 0 ``W_l0`` (3H, I), ``R_l0`` (3H, H), ``b_l0`` (3H,) and with `reset_after` ``bn_l0`` (H,), the bias
        inside r; the second direction's names end in ``_reverse``. Blocks are in the order r, z, n. Write to them in
        place.
    flat : (n,) array
        All parameters in one buffer, of which `params` are views. In a network they move to the network's.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> gru = fastlstm.GRU(3, 8, seed=0)
    >>> x = np.random.default_rng(0).normal(size=(20, 4, 3)).astype(np.float32)
    >>> y, h, tape = gru.forward(x)
    >>> grads = gru.backward(tape, dy=np.ones_like(y))
    >>> y.shape, h.shape, grads.params["W_l0"].shape
    ((20, 4, 8), (1, 4, 8), (24, 3))
    """

    _cell: GRUCell
    _tape_type = GRUTape

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        reset_after: bool = True,
        activations: tuple[Activation, Activation] | None = None,
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
        self.reset_after = check.flag("reset_after", reset_after)
        self.activations = None if activations is None else gru_cell(reset_after, activations).activations
        super().__init__(
            input_size, hidden_size, num_layers, bidirectional=bidirectional, batch_first=batch_first, dropout=dropout,
            recurrent_dropout=recurrent_dropout, drop_connect=drop_connect, zoneout=(zoneout, 0.0), proj_size=0,
            dtype=dtype, batch_invariant=batch_invariant,
        )  # fmt: skip
        self._start_weights(seed, init_scale)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # GRUs that were pickled before they had activations.
        super().__setstate__({"activations": None} | state)

    def _find_cell(self) -> GRUCell:
        return gru_cell(self.reset_after, self.activations)

    def _optional(self) -> tuple[str, ...]:
        return ("bn",) * self.reset_after

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that the layer was made with; of zoneout one rate."""
        return super().arguments() | {"zoneout": self.zoneout[0]}

    def _options(self) -> str:
        given = "" if self.activations is None else f", activations={self.activations!r}"
        return f"reset_after={self.reset_after}{given}"
