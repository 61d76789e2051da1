"""Stochastic gradient descent."""

from __future__ import annotations

import math

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm.layers.parameters import Parametric
from fastlstm.nn import _gradients
from fastlstm.nn._optimiser import Optimiser, Rate

__all__ = ["SGD"]


class SGD(Optimiser):
    r"""Stochastic gradient descent, with momentum and Nesterov's momentum.

    With gradient :math:`\nabla J` at step t:

    .. math::

        g_t &= \nabla J + \lambda \theta_{t-1} \\
        u_t &= \mu u_{t-1} + g_t \\
        \theta_t &= \theta_{t-1} - \alpha u_t \quad \text{or, with Nesterov's,} \quad
        \theta_{t-1} - \alpha (g_t + \mu u_t)

    as in PyTorch.

    Parameters
    ----------
    flat : (n,) array of float32 or float64, or layer or network
        The parameters, such as ``lstm.flat``, which each step changes in place. Of a network itself, those of layers
        whose `trainable` is False stay as they are, with their buffers.
    learning_rate : float, or function of int to float
        :math:`\alpha`, at least 0; or a schedule, which gives it from the number of steps made.
    momentum : float
        :math:`\mu`, from 0 to below 1.
    nesterov : bool
        Whether to look ahead along the momentum.
    weight_decay : float
        :math:`\lambda`, at least 0.

    Attributes
    ----------
    learning_rate : float or function
        The rate or the schedule, which may be set between steps.
    velocity : (n,) array or None
        u, the running sum of the gradients; None without momentum.
    t : int
        The number of steps made; it may be set, to resume from a saved state.

    Raises
    ------
    TypeError
        If `flat` is not an array of floats, or another argument is not a number.
    ValueError
        If `flat` is not one-dimensional, contiguous and writable, or a number is out of its range.

    References
    ----------
    Sutskever, Martens, Dahl, Hinton: "On the importance of initialization and momentum in deep learning", 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import SGD
    >>> flat = np.array([3.0, -2.0])
    >>> sgd = SGD(flat, learning_rate=0.1, momentum=0.5)
    >>> for _ in range(50):
    ...     sgd.step(2 * flat)  # the gradient of the sum of squares
    >>> bool(np.all(np.abs(flat) < 1e-6))
    True
    """

    def __init__(
        self,
        flat: Array | Parametric,
        learning_rate: Rate,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(flat, learning_rate)
        self.momentum = check.within("momentum", momentum, 1)
        self.nesterov = check.flag("nesterov", nesterov)
        if nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        self.weight_decay = check.within("weight_decay", weight_decay, math.inf)
        self._velocity = self._zeros() if self.momentum else None

    @property
    def velocity(self) -> Array | None:
        """The running sum of the gradients."""
        return self._velocity

    def state(self) -> dict[str, Array]:
        """Return ``velocity`` by name, if there is momentum, without copying it."""
        return {} if self._velocity is None else {"velocity": self._velocity}

    def _step(self, g: Array, rate: float, num_threads: int) -> bool:
        return _gradients.sgd(
            self._t,
            self._flat,
            g,
            self._velocity,
            rate,
            self.momentum,
            self.nesterov,
            self.weight_decay,
            num_threads,
            None if self._network is None else self._sections(),
        )
