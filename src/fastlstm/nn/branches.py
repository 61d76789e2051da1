"""Parallel branches: several layers with the same input, whose outputs are joined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm._system.float_mode import as_in_kernels
from fastlstm.layers.network_layer import NetworkLayer, Signal
from fastlstm.layers.parameters import Gradients, Parametric
from fastlstm.nn._composite import Composite, state_items
from fastlstm.nn._layer_checks import check_part
from fastlstm.nn.layer import Layer

__all__ = ["Branches", "BranchesTape", "Identity"]

Join = Literal["concat", "sum"]


class Identity(Layer):
    """A layer that gives what it takes: a branch of `Branches` that leads past the others.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm import nn
    >>> nn.Branches(nn.Identity(), nn.Dense(3, 2, seed=0))(np.ones((5, 4, 3), np.float32))[0].shape
    (5, 4, 5)
    """

    def __init__(self) -> None:
        super().__init__()

    def output_for(self, below: Signal) -> Signal:
        """Return `below`."""
        return below

    def compute(self, x: Array) -> tuple[Array, None]:
        """Return x."""
        return x, None

    def gradients(self, kept: None, dy: Array) -> tuple[Array, dict[str, Array]]:
        """Return dJ/dy."""
        return dy, {}


@dataclass(slots=True)
class BranchesTape:
    """The values that `Branches.forward` stores for `Branches.backward`. A tape may be used many times.

    Attributes
    ----------
    branches : list
        The tape of each branch.
    sizes : list of int
        The number of features that each branch gave.
    """

    branches: list[Any]
    sizes: list[int]


class Branches(Composite, NetworkLayer):
    r"""Layers or networks side by side, with the same input; their outputs are joined into one.

    .. math::

        y = [f_1(x); \ldots; f_n(x)] \quad \text{or} \quad y = \sum_k f_k(x) \qquad
        \frac{dJ}{dx} = \sum_k \left(\frac{df_k}{dx}\right)^T \frac{dJ}{df_k}

    It is a part of a `Sequential`, which brings `predict` and `batch_first`. For x + f(x) there is `Residual`.

    Parameters
    ----------
    *branches : layers or networks
        What a `Sequential` takes as layers, all of the same dtype. All of them must give sequences, or all vectors.
    join : "concat" or "sum"
        Whether the outputs are put side by side, or added, and then of the same size.

    Attributes
    ----------
    branches : tuple
        The branches.
    join : str
        How their outputs are joined.
    params : mapping of str to array
        The branches' parameters, named by the number of the branch: ``"0.W_l0"``.
    flat : (n,) array
        All parameters in one buffer, of which `params` are views. In a network they move into its buffer.

    Raises
    ------
    TypeError
        If something is not a layer, or branches differ in dtype.
    ValueError
        If there is no branch, one is in a network already, or sizes do not fit.

    Notes
    -----
    Above bidirectional branches side by side, `Last` takes the last step of all values, since those of the two
    directions are not the halves of y: put a `Last` into each branch, where that is not meant.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> from fastlstm import nn
    >>> slow, fast = fastlstm.LSTM(3, 8, seed=0), fastlstm.RNN(3, 4, seed=1)
    >>> network = nn.Sequential(nn.Branches(slow, fast), nn.Branches(nn.Last(), nn.Mean()), nn.Dense(24, 2, seed=2))
    >>> x = np.random.default_rng(0).normal(size=(20, 4, 3)).astype(np.float32)
    >>> y, state, tape = network.forward(x, lengths=[20, 7, 13, 1])
    >>> y.shape, network.backward(tape, np.ones_like(y)).x.shape
    ((4, 2), (20, 4, 3))
    >>> (h_slow, c_slow), h_fast = state[0]
    >>> h_slow.shape, h_fast.shape
    ((1, 4, 8), (1, 4, 4))
    """

    needs = ("state", "lengths", "rng", "directions")
    _label = "branches[{}]"

    def __init__(self, *branches: NetworkLayer, join: Join = "concat") -> None:
        if not branches:
            raise ValueError("branches must be at least one")
        if join not in get_args(Join):
            raise ValueError(f"join must be one of {', '.join(get_args(Join))}, not {join!r}")
        self.branches, self.join = branches, join
        for k, branch in enumerate(branches):
            check_part(f"branches[{k}]", branch)
        self._check_below(Signal(), "")
        self._allocate()

    def _parts(self) -> Mapping[str, Parametric]:
        return {str(k): branch for k, branch in enumerate(self.branches)}

    def _bind(self) -> None:
        """Do nothing: each branch binds its own parameters."""

    # ---- a layer of a network ----

    @property
    def takes_sequences(self) -> bool:  # type: ignore[override]
        """Whether x must be a sequence, since one of the branches takes nothing else."""
        return any(branch.takes_sequences for branch in self.branches)

    @property
    def _step_shape(self) -> tuple[int, ...] | None:
        return next((branch._step_shape for branch in self.branches if branch._step_shape is not None), None)

    def _check_below(self, below: Signal, name: str) -> None:
        """Raise ValueError unless each branch takes the values from below, and their outputs can be joined."""
        inside = f"{name}.branches" if name else "branches"
        shape = self._step_shape
        if below.features is None and shape:
            below = below._replace(features=shape[0])
        given = []
        for k, branch in enumerate(self.branches):
            branch._check_below(below, f"{inside}[{k}]")
            if branch._step_shape is not None and branch._step_shape != shape:
                raise ValueError(f"{inside}[{k}] must take what the others take: {branch!r}")
            given.append(branch.output_for(below))
        kinds = {branch.output_for(below._replace(is_sequence=True)).is_sequence for branch in self.branches}
        if {True, False} <= kinds and below.is_sequence is not False:
            raise ValueError(f"{inside} must all give sequences, or all vectors: {self!r}")
        sizes = {signal.features for signal in given if signal.features is not None}
        if self.join == "sum" and len(sizes) > 1:
            raise ValueError(f"{inside} must give as many values each to be added, not {sorted(sizes)}: {self!r}")

    def output_for(self, below: Signal) -> Signal:
        """Return the joined output; a sum has two directions where a branch has."""
        given = [branch.output_for(below) for branch in self.branches]
        sizes = [signal.features for signal in given]
        known = [size for size in sizes if size is not None]
        is_sequence = next((signal.is_sequence for signal in given if signal.is_sequence is not None), None)
        if self.join == "sum" or len(given) == 1:
            return Signal(known[0] if known else None, is_sequence, max(signal.directions for signal in given))
        return Signal(sum(known) if len(known) == len(sizes) else None, is_sequence)

    def _run(self, x: Any, context: Mapping[str, Any], tapes: list[Any] | None) -> tuple[Any, list[Any]]:
        """Run the branches, with a tape of their own for the network around them; see `NetworkLayer._run`."""
        tape = None if tapes is None else BranchesTape([], [])
        y, state = self._run_branches(x, context, tape)
        if tapes is not None:
            tapes.append(tape)
        return y, [state]

    # ---- passes ----

    def __call__(self, x: Array, state: Any = None, lengths: ArrayLike | None = None) -> tuple[Array, tuple[Any, ...]]:
        """Run the branches over sequences, without a tape and without dropout.

        Parameters
        ----------
        x : (T, B, ...) array
            The input of each branch.
        state : tuple, optional
            The initial state of each branch that has one, or None for zeros.
        lengths : (B,) array of int, optional
            The number of steps of each row. Default: all T.

        Returns
        -------
        y : array
            The joined outputs.
        state : tuple
            The state of each branch that has one, after the last step; that of a `Sequential` is a tuple.
        """
        return self._run_branches(x, {"state": state, "lengths": lengths, "rng": None, "directions": 1}, None)

    def forward(
        self,
        x: Array,
        state: Any = None,
        lengths: ArrayLike | None = None,
        *,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, tuple[Any, ...], BranchesTape]:
        """Run the branches as a call does, but with dropout and with a tape for `backward`.

        Parameters
        ----------
        x, state, lengths
            The same as for a call.
        rng : numpy.random.Generator, optional
            The source of the dropout masks, for one branch after the other.

        Returns
        -------
        y, state
            The same as from a call.
        tape : BranchesTape
            The tape for `backward`.
        """
        tape = BranchesTape([], [])
        context = {"state": state, "lengths": lengths, "rng": rng, "directions": 1}
        return *self._run_branches(x, context, tape), tape

    def _run_branches(
        self, x: Any, context: Mapping[str, Any], tape: BranchesTape | None
    ) -> tuple[Array, tuple[Any, ...]]:
        """Return y and the state; the branches' tapes and sizes are added to `tape`, if there is one."""
        states = iter(state_items("state", context["state"], self._count_states()))
        outputs, last = [], []
        for k, branch in enumerate(self.branches):
            own = {**context, "state": next(states) if "state" in branch.needs else None}
            y, state = branch._run(x, own, None if tape is None else tape.branches)
            if not isinstance(y, np.ndarray):
                raise TypeError(f"x must be a NumPy array in Branches, not {type(x).__name__}")
            outputs.append(y)
            last += state
            first, shape = outputs[0].shape, y.shape
            if shape[:-1] != first[:-1] or (self.join == "sum" and shape != first):
                same = "the shape" if self.join == "sum" else "all axes but the last"
                raise ValueError(f"branches[{k}] must have {same} of the first, {first}, not {shape}: {self!r}")
        if tape is not None:
            tape.sizes = [y.shape[-1] for y in outputs]
        if self.join == "concat":
            return np.concatenate(outputs, axis=-1), tuple(last)
        return _sum(outputs), tuple(last)

    def _count_states(self) -> int:
        """Return the number of branches that have a state."""
        return sum("state" in branch.needs for branch in self.branches)

    def backward(
        self,
        tape: BranchesTape,
        dy: Array | None,
        dstate: Any = None,
        *,
        out: Gradients | None = None,
        accumulate: bool = False,
    ) -> Gradients:
        """Back-propagate through all branches, and through time.

        Parameters
        ----------
        tape : BranchesTape
            The tape from `forward`; neither parameters nor inputs may have changed since. It is left as it was.
        dy : array or None
            dJ/dy, shaped as y. None stands for zeros, if all branches are recurrent.
        dstate : tuple, optional
            The gradient with respect to the final state of each branch that has one, or None.
        out : Gradients, optional
            An earlier result, whose arrays are written to again.
        accumulate : bool
            Add the parameters' gradients to those in `out`, instead of overwriting them.

        Returns
        -------
        Gradients
            ``.params`` (the keys of `params`), ``.flat``, ``.x`` (None where the branches take ids, or one of them
            begins with frozen layers and something is trained), ``.state`` (a tuple with an item for each branch that
            has a state), ``.parts`` (one for each branch: ``parts["0"]``).
        """
        return self._back(tape, dy, (dstate,), out, accumulate, self._reaches_x())

    def _reaches_x(self) -> bool:
        return not self._trained() or all(
            branch._reaches_x() and (branch._trained() or not branch._frozen()) for branch in self.branches
        )

    def _back(
        self, tape: Any, dy: Any, dstates: tuple[Any, ...], out: Gradients | None, accumulate: bool, to_x: bool
    ) -> Gradients:
        if not isinstance(tape, BranchesTape):
            raise TypeError(f"tape must be a BranchesTape from forward, not {type(tape).__name__}")
        if len(tape.branches) != len(self.branches):
            raise ValueError(f"tape must be of {len(self.branches)} branches, not {len(tape.branches)}")
        arriving = iter(state_items("dstate", dstates[0] if dstates else None, self._count_states()))
        above = self._arriving(tape, dy)
        grads = self._gradients(out, accumulate)
        dxs, states = [], []
        for k, branch in enumerate(self.branches):
            own, given = grads.parts[str(k)], (next(arriving),) if "state" in branch.needs else ()
            if to_x or branch._trained():
                branch._back(tape.branches[k], above[k], given, own, accumulate, to_x)
                if own.x is not None:
                    dxs.append(own.x)
            else:
                own.x = own.state = None
                if not accumulate:
                    own._clear()
            if given:
                states.append(own.state)
        grads.x, grads.state = _sum(dxs) if to_x and dxs else None, tuple(states)
        return grads

    def _arriving(self, tape: BranchesTape, dy: Any) -> list[Any]:
        """Return dJ/d(output) of each branch."""
        if dy is None or self.join == "sum":
            return [dy] * len(self.branches)
        features = sum(tape.sizes)
        if np.shape(dy)[-1:] != (features,):
            raise ValueError(f"dy must have shape (..., {features}), not {np.shape(dy)}")
        return np.split(check.is_array("dy", dy), np.cumsum(tape.sizes)[:-1], axis=-1)

    def __repr__(self) -> str:
        return f"Branches({', '.join([*map(repr, self.branches), f'join={self.join!r}'])})"


def _sum(arrays: list[Array]) -> Array:
    """Return the sum of arrays, which are left as they are."""
    total = arrays[0]
    with as_in_kernels():
        for array in arrays[1:]:
            total = total + array
    return total
