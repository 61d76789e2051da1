"""Adam, and with decoupled weight decay, AdamW."""

from __future__ import annotations

import math

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm.layers.parameters import Parametric
from fastlstm.nn import _gradients
from fastlstm.nn._optimiser import Optimiser, Rate

__all__ = ["Adam", "AdamW"]


class Adam(Optimiser):
    r"""Adam: steps of about the learning rate, whatever the scale of the gradients.

    With gradient g at step t, element by element:

    .. math::

        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t \\
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        \theta_t &= \theta_{t-1} - \alpha \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Parameters
    ----------
    flat : (n,) array of float32 or float64, or layer or network
        The parameters, such as ``lstm.flat``, which each step changes in place. Of a network itself, those of layers
        whose `trainable` is False stay as they are, with their buffers.
    learning_rate : float, or function of int to float
        :math:`\alpha`, at least 0; or a schedule, which gives it from the number of steps made.
    beta1, beta2 : float
        :math:`\beta_1, \beta_2`, from 0 to below 1.
    epsilon : float
        :math:`\epsilon`, at least 0.

    Attributes
    ----------
    learning_rate : float or function
        The rate or the schedule, which may be set between steps.
    m, v : (n,) array
        The running means of the gradient and of its square.
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
    Kingma, Ba: "Adam: A Method for Stochastic Optimization", 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import Adam
    >>> flat = np.array([3.0, -2.0])
    >>> adam = Adam(flat, learning_rate=0.1)
    >>> for _ in range(200):
    ...     adam.step(2 * flat)  # the gradient of the sum of squares
    >>> bool(np.all(np.abs(flat) < 0.01))
    True
    """

    def __init__(
        self,
        flat: Array | Parametric,
        learning_rate: Rate = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(flat, learning_rate)
        self.beta1 = check.within("beta1", beta1, 1)
        self.beta2 = check.within("beta2", beta2, 1)
        self.epsilon = check.within("epsilon", epsilon, math.inf)
        self._m, self._v = self._zeros(), self._zeros()

    @property
    def m(self) -> Array:
        """The running mean of the gradient."""
        return self._m

    @property
    def v(self) -> Array:
        """The running mean of the gradient's square."""
        return self._v

    def state(self) -> dict[str, Array]:
        """Return ``m`` and ``v`` by name, without copying them."""
        return {"m": self._m, "v": self._v}

    def _keep(self, rate: float) -> float:
        """Return the factor by which the parameters shrink before the step."""
        return 1.0

    def _step(self, g: Array, rate: float, num_threads: int) -> bool:
        t = self.t + 1
        size, root = rate / (1 - self.beta1**t), 1 / math.sqrt(1 - self.beta2**t)
        numbers = self.beta1, self.beta2, self.epsilon, size, root, self._keep(rate)
        return _gradients.adam(
            self._t,
            self._flat,
            g,
            self._m,
            self._v,
            *numbers,
            num_threads,
            None if self._network is None else self._sections(),
        )


class AdamW(Adam):
    r"""Adam with decoupled weight decay: parameters shrink at the same rate, however large their gradients are.

    .. math::

        \theta_t = (1 - \alpha \lambda) \theta_{t-1}
        - \alpha \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    with m and v as in `Adam`.

    Parameters
    ----------
    flat : (n,) array of float32 or float64, or layer or network
        The parameters, such as ``lstm.flat``, which each step changes in place. Of a network itself, those of layers
        whose `trainable` is False stay as they are, with their buffers.
    learning_rate : float, or function of int to float
        :math:`\alpha`, at least 0; or a schedule, which gives it from the number of steps made.
    beta1, beta2 : float
        :math:`\beta_1, \beta_2`, from 0 to below 1.
    epsilon : float
        :math:`\epsilon`, at least 0.
    weight_decay : float
        :math:`\lambda`, at least 0.

    Attributes
    ----------
    learning_rate : float or function
        The rate or the schedule, which may be set between steps.
    m, v : (n,) array
        The running means of the gradient and of its square.
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
    Loshchilov, Hutter: "Decoupled Weight Decay Regularization", 2019, algorithm 2; as there in PyTorch, the decay is
    scaled by the learning rate.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import AdamW
    >>> flat = np.array([3.0, -2.0])
    >>> adam = AdamW(flat, learning_rate=0.1, weight_decay=0.5)
    >>> adam.step(np.zeros(2))
    >>> flat.tolist()
    [2.8499999999999996, -1.9]
    """

    def __init__(
        self,
        flat: Array | Parametric,
        learning_rate: Rate = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(flat, learning_rate, beta1, beta2, epsilon)
        self.weight_decay = check.within("weight_decay", weight_decay, math.inf)

    def _keep(self, rate: float) -> float:
        return 1 - rate * self.weight_decay
