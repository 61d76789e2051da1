"""Optimisers: they change a buffer of parameters in place, given the gradients."""

from __future__ import annotations

import math

import numpy as np

from fastlstm import _checks as check
from fastlstm._checks import Array
from fastlstm.nn._real import real

__all__ = ["Adam"]


class Adam:
    r"""Adam: steps of about the learning rate, whatever the scale of the gradients.

    With gradient g at step t, element by element:

    .. math::

        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t \\
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        \theta_t &= \theta_{t-1} - \alpha \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Parameters
    ----------
    flat : (n,) array of float32 or float64
        The parameters, such as ``lstm.flat``; changed in place by each step.
    learning_rate : float
        :math:`\alpha`, at least 0.
    beta1, beta2 : float
        :math:`\beta_1, \beta_2`, from 0 to below 1.
    epsilon : float
        :math:`\epsilon`, at least 0.

    Attributes
    ----------
    learning_rate : float
        May be set between steps, for a schedule.
    m, v : (n,) array
        The running means of the gradient and of its square.
    t : int
        Steps made.

    Raises
    ------
    TypeError
        If `flat` is not an array of floats, or a number is not one.
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
        flat: Array,
        learning_rate: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        array = check.sized("flat", flat, 1, "(n,)")
        self.flat = check.output("flat", array, array.shape, array.dtype, "(n,)")
        self.learning_rate = _within("learning_rate", learning_rate, math.inf)
        self.beta1 = _within("beta1", beta1, 1)
        self.beta2 = _within("beta2", beta2, 1)
        self.epsilon = _within("epsilon", epsilon, math.inf)
        self.m = np.zeros_like(self.flat)
        self.v = np.zeros_like(self.flat)
        self.t = 0
        self._space = np.empty_like(self.flat)

    def step(self, gradient: Array) -> None:
        """Make one step; nothing is allocated.

        Parameters
        ----------
        gradient : (n,) array
            dJ/d(flat), such as ``grads.flat``; left as it was.
        """
        g = check.matching("gradient", gradient, self.flat.shape, self.flat.dtype, "the shape of flat")
        m, v, space = self.m, self.v, self._space
        self.t += 1
        m *= self.beta1
        m += np.multiply(g, 1 - self.beta1, out=space)
        np.square(g, out=space)
        space *= 1 - self.beta2
        v *= self.beta2
        v += space
        np.sqrt(v, out=space)
        space /= math.sqrt(1 - self.beta2**self.t)
        space += self.epsilon
        np.divide(m, space, out=space)
        space *= self.learning_rate / (1 - self.beta1**self.t)
        self.flat -= space


def _within(name: str, value: float, end: float) -> float:
    number = real(name, value)
    if not 0 <= number < end:
        raise ValueError(f"{name} must be at least 0 and below {end}, not {number}")
    return number
