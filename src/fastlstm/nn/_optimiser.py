"""The base class of the optimisers."""

from __future__ import annotations

import copy
import inspect
import math
import warnings
from collections.abc import Callable
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, zeros
from fastlstm._engine.threads import get_num_threads
from fastlstm.layers.parameters import Parametric

Rate = float | Callable[[int], float]


class Optimiser:
    """An algorithm that changes a buffer of parameters in place, step by step, given gradients.

    A step is one call into compiled code: an interrupt, such as Ctrl-C, comes before it or after it, and never leaves
    parameters, buffers and `t` that do not belong together.
    """

    # The network whose frozen parameters a step leaves as they are.
    _network: Parametric | None = None

    def __init__(self, flat: Array | Parametric, learning_rate: Rate) -> None:
        if isinstance(flat, Parametric):
            self._network = flat
        array = check.sized("flat", flat.flat if isinstance(flat, Parametric) else flat, 1, "(n,)")
        self._flat = check.output("flat", array, array.shape, array.dtype, "(n,)")
        self._t = np.zeros(1, np.int64)
        self.learning_rate = learning_rate

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_"):
            if name in vars(self):
                raise AttributeError(f"{name} cannot be set: make another optimiser")
            kind = type(self)
            if not isinstance(getattr(kind, name, None), property) and name not in inspect.signature(kind).parameters:
                check.may_have(self, name)
        super().__setattr__(name, value)

    @property
    def flat(self) -> Array:
        """The parameters."""
        return self._flat

    @property
    def t(self) -> int:
        """The number of steps made."""
        return int(self._t[0])

    @t.setter
    def t(self, steps: int) -> None:
        self._t[0] = check.count("t", steps)

    @property
    def learning_rate(self) -> Rate:
        """The rate: a number, or a schedule, which is a function from the number of steps made to the rate."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: Rate) -> None:
        self._learning_rate = rate if callable(rate) else check.within("learning_rate", rate, math.inf)

    def state(self) -> dict[str, Array]:
        """Return the buffers by name: with `t`, they are all that a saved run needs to resume. They are not copies.

        To restore, write to them in place: ``optimiser.state()[name][:] = saved``.
        """
        raise NotImplementedError

    def step(self, gradient: Array) -> None:
        """Make one step, without allocating memory.

        Parameters
        ----------
        gradient : (n,) array
            dJ/d(flat), such as ``grads.flat``, which is left as it was.

        Raises
        ------
        TypeError
            If `gradient` is not an array of the parameters' dtype.
        ValueError
            If it does not have their shape, the schedule's rate is not at least 0 and finite, or the parameters have
            moved to the buffer of a network.

        Warns
        -----
        RuntimeWarning
            If a buffer is no longer finite after the step, which is complete: for example if the square of a gradient
            of 1e30 is too large for float32. The parameters of such elements never change again, or become NaN.
        """
        if not self._flat.flags.writeable:
            raise ValueError(
                "flat is a layer's own no more: make the optimiser once the layer is in its network, and that of a "
                "network's part anew for each copy"
            )
        g = check.matching("gradient", gradient, self._flat.shape, self._flat.dtype, "that of flat")
        check.disjoint({"flat": self._flat}, {"gradient": g})
        rate = self._learning_rate
        if callable(rate):
            rate = check.within("the schedule's learning rate", rate(self.t), math.inf)
        if not self._step(g, rate, get_num_threads()):
            message = (
                f"step {self.t}: {' or '.join(self.state())} is no longer finite, since a gradient was not or was too"
            )
            hint = (
                "parameters with it do not move, or are lost: clip gradients (clip_norm), and skip steps without a norm"
            )
            warnings.warn(f"{message} large for {self._flat.dtype}; {hint}", RuntimeWarning, stacklevel=2)

    def __copy__(self) -> Self:
        """Return an optimiser of the same parameters, with buffers of its own."""
        return copy.deepcopy(self, {id(same): same for same in (self._flat, self._learning_rate, self._network)})

    def __repr__(self) -> str:
        names = [name for name in inspect.signature(type(self)).parameters if name != "flat"]
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    def _sections(self) -> NDArray[np.int64] | None:
        """Return the start and end of each section of the parameters that a step changes; None for all of them."""
        network = self._network
        if network is None or network._is_whole():
            return None
        return np.array(network._trained(), np.int64).reshape(-1, 2)

    def _zeros(self) -> Array:
        """Return a buffer of zeros, as long as the parameters; memory of frozen ones is never touched."""
        return zeros(self._flat.shape, self._flat.dtype)

    def _step(self, g: Array, rate: float, num_threads: int) -> bool:
        """Make the step, and return whether the buffers are finite after it."""
        raise NotImplementedError
