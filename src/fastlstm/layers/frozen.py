"""Networks frozen for inference: their weights are packed once, in full or in fewer bits."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, NoReturn, Self, cast

import numpy as np
from numpy.typing import ArrayLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm._cells import LSTMCell, RNNCell
from fastlstm._cells.kernel import KernelCell
from fastlstm._engine import forward as _forward
from fastlstm._engine.batches import PackedSequence
from fastlstm._engine.call import PackedWeights, Weights
from fastlstm._system.float_mode import all_as_in_kernels, as_in_kernels
from fastlstm.layers.layer import Layer

__all__ = ["Frozen", "RoundingError", "rounding_error"]

Format = Literal["full", "bfloat16", "int8"]

# How small the int8 scale of W or R may be beside the other one.
RANGE = np.float32(2.0**-104)


def _as_bfloat16(A: Array) -> Array:
    """Return the upper halves of floats, rounded to nearest, ties to even; NaN stays NaN."""
    bits = A.view(np.uint32)
    rounded = (bits + (0x7FFF + (bits >> 16 & 1))) >> 16
    return np.where(np.isnan(A), 0x7FC0, rounded).astype(np.uint16)


def _scales(W: Array, R: Array) -> tuple[Array, Array]:
    """Return the scale of each row's integers, in W and in R apart: their inputs may be in units of any size."""
    largest = [np.abs(A).max(1, initial=0) for A in (W, R)]
    # A smaller scale makes no difference beside any input.
    scales = [np.where(a > 127 * np.finfo(W.dtype).tiny, a / 127, 1) for a in largest]
    # The kernels need the quotient of the two as a number.
    in_W, in_R = (np.maximum(own, other * RANGE) for own, other in (scales, scales[::-1]))
    return in_W, in_R


@all_as_in_kernels
def _pack(weights: Weights, cell: KernelCell, form: Format) -> Weights:
    W, R, scale, ratio = weights.W, weights.R, None, None
    if form == "int8":
        in_W, scale = _scales(W, R)
        W, R, ratio = np.rint(W / in_W[:, None]), np.rint(R / scale[:, None]), in_W / scale
    panels = [_forward.packed_columns(cell, np.ascontiguousarray(A), A is R) for A in (W, R)]
    if form == "bfloat16":
        halves = [_as_bfloat16(A) for A in panels]
        if any((np.isfinite(A) & (half & 0x7FFF == 0x7F80)).any() for A, half in zip(panels, halves, strict=True)):
            raise ValueError("weights cannot be 'bfloat16': the network has finite ones that would become infinite")
        panels = halves
    elif form == "int8":
        panels = [A.astype(np.int8) for A in panels]
    packed = PackedWeights(form, W.shape[1], R.shape[1], panels[0], panels[1], scale, ratio)
    none = np.empty(0, W.dtype)
    assert weights.b is not None
    own = [None if A is None else A.copy() for A in (weights.p, weights.proj, weights.norm)]
    return Weights(none, none, weights.b.copy(), own[0], own[1], packed, own[2])


class Frozen:
    r"""A network for inference: its weights are packed once, instead of in each call.

    In fewer bits they take less memory, and where they are too large for a cache, less time. Arithmetic and state stay
    in the network's dtype: only W, R and G are rounded. bfloat16 keeps 8 bits of precision, a relative error of at most
    :math:`2^{-8}` for each weight; int8 stores multiples of the 127th part of the largest weight of W, or of R and G,
    that goes into the same gate of the same unit: the inputs may be in units of any size. `rounding_error` measures how
    much that changes a network's outputs.

    Parameters
    ----------
    network : LSTM, GRU or RNN
        Copied: later changes of its parameters do not matter.
    weights : "full", "bfloat16" or "int8"
        How weights are stored; the last two for float32 networks only.
    fast : bool, default False
        Whether tanh and the logistic function are rational functions, off by at most 2e-6 and 1e-6, which makes steps
        of few units shorter. For an LSTM without layer normalisation or an RNN.

    Attributes
    ----------
    weights : str
        How they are stored.
    nbytes : int
        The memory of the weights.

    Raises
    ------
    TypeError, ValueError
        If the network is not one, or cannot have its weights stored so, or not be fast; if an int8 weight is not
        finite, or a finite one would become infinite in bfloat16.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> lstm = fastlstm.LSTM(64, 256, seed=0)
    >>> frozen = fastlstm.Frozen(lstm, weights="bfloat16")
    >>> x = np.random.default_rng(0).normal(size=(50, 1, 64)).astype(np.float32)
    >>> y, state = frozen(x)
    >>> stream = fastlstm.Stream(frozen)
    >>> bool(np.abs(stream.step(x[0]) - y[0]).max() < 1e-6), frozen.nbytes < lstm.flat.nbytes * 0.51
    (True, True)
    """

    __slots__ = ("__weakref__", "_fast", "_layers", "_weights")

    def __init__(self, network: Layer[Any, Any], weights: Format = "full", *, fast: bool = False) -> None:
        if not isinstance(network, Layer):
            raise TypeError(f"network must be an LSTM, a GRU or an RNN, not {type(network).__name__}")
        if network.device != "cpu":
            raise TypeError(f"network must be on the host, not on {network.device}: freeze network.to('cpu')")
        if weights not in ("full", "bfloat16", "int8"):
            raise ValueError(f"weights must be 'full', 'bfloat16' or 'int8', not {weights!r}")
        if weights != "full" and network.dtype != np.float32:
            raise TypeError(f"weights must be 'full' for a network of {network.dtype}, not {weights!r}")
        if weights == "int8" and not np.isfinite(network.flat).all():
            raise ValueError("weights cannot be 'int8': the network has some that are not finite")
        self._fast = check.flag("fast", fast)
        layer_norm = getattr(network, "layer_norm", False)
        if self._fast and (layer_norm or not isinstance(network._cell, RNNCell | LSTMCell)):
            kind = "a network with layer_norm=True" if layer_norm else f"a {type(network).__name__}"
            raise TypeError(f"fast must be False for {kind}: only an LSTM without layer_norm or an RNN can be fast")
        self._weights: Format = weights
        self._layers = _network_of(network, weights, self._fast)

    @property
    def weights(self) -> Format:
        """How the weights are stored."""
        return self._weights

    @property
    def fast(self) -> bool:
        """Whether tanh and the logistic function are the fast ones."""
        return self._fast

    @property
    def nbytes(self) -> int:
        """The memory of the weights, in bytes."""
        total = 0
        for cell in self._layers._weights:
            assert cell.packed is not None
            arrays = (cell.b, cell.p, cell.norm, cell.proj, *cell.packed[3:])
            total += sum(array.nbytes for array in arrays if array is not None)
        return total

    @property
    def batch_first(self) -> bool:
        """Whether sequences are (B, T, ...), as in the network."""
        return self._layers.batch_first

    @property
    def bidirectional(self) -> bool:
        """Whether there are two directions."""
        return self._layers.bidirectional

    def __call__(
        self,
        x: Array,
        state: Any = None,
        lengths: ArrayLike | None = None,
        *,
        reset: ArrayLike | None = None,
        reset_to: Literal["initial", "zero"] = "initial",
        num_threads: int | None = None,
    ) -> tuple[Array, Any]:
        """Run the network over sequences: arguments and results are those of its own calls."""
        return self._layers(x, state, lengths, reset=reset, reset_to=reset_to, num_threads=num_threads)

    def step(self, x_t: Array, state: Any = None, out: Any = None, *, num_threads: int | None = None) -> Any:
        """Run a single time step: arguments and results are those of the network's own `step`."""
        return self._layers.step(x_t, state, out, num_threads=num_threads)

    def __copy__(self) -> Self:
        return self  # Nothing in it ever changes.

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Frozen network fits this machine alone: pickle the network, freeze it where it is needed")

    def __repr__(self) -> str:
        return f"Frozen({self._layers!r}, weights={self.weights!r}{', fast=True' if self._fast else ''})"


def _network_of(network: Layer[Any, Any], form: Format, fast: bool) -> Layer[Any, Any]:
    """Return a network like this one that has packed weights and no parameters."""
    inner = object.__new__(type(network))
    state = network.__getstate__()
    del state["flat"]
    vars(inner).update(state)
    inner.params = MappingProxyType({})
    cell = network._cell
    if fast:
        assert isinstance(cell, LSTMCell | RNNCell)
        cell = dataclasses.replace(cell, fast=True)
    inner._cell = cell
    inner._array_kind = network._array_kind
    cells = range(len(network._weights))
    inner._bind_weights([_pack(network._weights_of(k), cell.kernel, form) for k in cells])
    return inner


class RoundingError(NamedTuple):
    """The error that fewer bits make in a network's outputs.

    Attributes
    ----------
    largest : float
        The largest difference of any output.
    rms : float
        The root of the mean square of the differences.
    relative : float
        `rms` as a share of the root of the mean square of the outputs.
    """

    largest: float
    rms: float
    relative: float


def rounding_error(
    network: Layer[Any, Any],
    x: Array,
    weights: Format = "bfloat16",
    state: Any = None,
    lengths: ArrayLike | None = None,
    *,
    fast: bool = False,
) -> RoundingError:
    """Measure the error that weights in fewer bits and fast activations make in the outputs over some sequences.

    Parameters
    ----------
    network : LSTM, GRU or RNN
    x, state, lengths
        As for the network's calls: typical data. Outputs past the end of a sequence do not count.
    weights : "full", "bfloat16" or "int8"
    fast : bool, default False
        As for `Frozen`.

    Returns
    -------
    RoundingError

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> lstm = fastlstm.LSTM(64, 256, seed=0)
    >>> x = np.random.default_rng(0).normal(size=(50, 8, 64)).astype(np.float32)
    >>> fastlstm.rounding_error(lstm, x, "bfloat16").largest < 0.005
    True
    """
    expected, found = (_outputs(one, x, state, lengths) for one in (network, Frozen(network, weights, fast=fast)))
    if not expected.size:
        return RoundingError(0.0, 0.0, 0.0)
    with as_in_kernels():
        difference = found - expected
        rms, scale = float(np.sqrt(np.mean(difference**2))), float(np.sqrt(np.mean(expected**2)))
    return RoundingError(float(np.abs(difference).max()), rms, rms / scale if scale else 0.0)


def _outputs(network: Layer[Any, Any] | Frozen, x: Any, state: Any, lengths: ArrayLike | None) -> Array:
    """Return all outputs in float64, without those past the ends of sequences."""
    y: Any = network(x, state, lengths)[0]
    if isinstance(y, PackedSequence):
        y = y.data
    if lengths is not None:
        layers = network._layers if isinstance(network, Frozen) else network
        steps = np.arange(y.shape[1 if layers.batch_first else 0])
        there = steps < np.asarray(lengths)[:, np.newaxis]
        y = y[there if layers.batch_first else there.T]
    return cast(Array, y.astype(np.float64))
