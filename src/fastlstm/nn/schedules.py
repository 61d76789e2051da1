"""Schedules of the learning rate.

A schedule is any function from the number of steps made, which is 0 at first, to the rate of the next step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fastlstm._arrays import checks as check

__all__ = ["CosineDecay", "ExponentialDecay", "StepDecay"]


@dataclass(frozen=True)
class CosineDecay:
    r"""A schedule that rises linearly, then falls along half a cosine.

    .. math::

        \alpha_t = \begin{cases}
            \alpha \frac{t + 1}{w} & t < w \\
            \alpha_e + \frac{\alpha - \alpha_e}{2} \left(1 + \cos \pi \frac{t - w}{n - w}\right) & w \le t \le n \\
            \alpha_e & t > n
        \end{cases}

    Parameters
    ----------
    peak : float
        :math:`\alpha`, the largest rate.
    steps : int
        n, the number of steps after which the rate stays the same.
    warm_up : int
        w, the number of steps of the rise, below n.
    end : float
        :math:`\alpha_e`, the last rate.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a number, or out of its range.

    References
    ----------
    Loshchilov, Hutter: "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, equation 5; Goyal et al.:
    "Accurate, Large Minibatch SGD", 2017, section 2.2 (warm-up).

    Examples
    --------
    >>> from fastlstm.nn import CosineDecay
    >>> schedule = CosineDecay(0.1, steps=12, warm_up=4)
    >>> [round(schedule(t), 4) for t in (0, 3, 4, 8, 12, 100)]
    [0.025, 0.1, 0.1, 0.05, 0.0, 0.0]
    """

    peak: float
    steps: int
    warm_up: int = 0
    end: float = 0.0

    def __post_init__(self) -> None:
        check.within("peak", self.peak, math.inf)
        check.within("end", self.end, math.inf)
        check.positive_int("steps", self.steps)
        check.count("warm_up", self.warm_up)
        _in_python(self)
        if self.warm_up >= self.steps:
            raise ValueError(f"warm_up must be below steps = {self.steps}, not {self.warm_up}")

    def __call__(self, t: int) -> float:
        """Return the rate after t steps."""
        if t < self.warm_up:
            return self.peak * (t + 1) / self.warm_up
        done = min(1.0, (t - self.warm_up) / (self.steps - self.warm_up))
        return self.end + (self.peak - self.end) / 2 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True)
class ExponentialDecay:
    r"""A schedule that shrinks by the same factor over every n steps, a little at each step.

    .. math::

        \alpha_t = \alpha \gamma^{t / n}

    Parameters
    ----------
    start : float
        :math:`\alpha`, the first rate.
    factor : float
        :math:`\gamma`, above 0.
    steps : int
        n, the number of steps from factor to factor.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a number, or out of its range.

    Examples
    --------
    >>> from fastlstm.nn import ExponentialDecay
    >>> schedule = ExponentialDecay(0.1, factor=0.25, steps=100)
    >>> [schedule(t) for t in (0, 50, 100)]
    [0.1, 0.05, 0.025]
    """

    start: float
    factor: float
    steps: int = 1

    def __post_init__(self) -> None:
        check.within("start", self.start, math.inf)
        check.above_zero("factor", self.factor)
        check.positive_int("steps", self.steps)
        _in_python(self)

    def __call__(self, t: int) -> float:
        """Return the rate after t steps."""
        return self.start * math.pow(self.factor, t / self.steps)


@dataclass(frozen=True)
class StepDecay:
    r"""A schedule that shrinks by the same factor after every n steps, all at once.

    .. math::

        \alpha_t = \alpha \gamma^{\lfloor t / n \rfloor}

    Parameters
    ----------
    start : float
        :math:`\alpha`, the first rate.
    factor : float
        :math:`\gamma`, above 0.
    steps : int
        n, the number of steps from factor to factor.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a number, or out of its range.

    Examples
    --------
    >>> from fastlstm.nn import StepDecay
    >>> schedule = StepDecay(0.1, factor=0.5, steps=100)
    >>> [schedule(t) for t in (0, 99, 100, 250)]
    [0.1, 0.1, 0.05, 0.025]
    """

    start: float
    factor: float
    steps: int

    def __post_init__(self) -> None:
        check.within("start", self.start, math.inf)
        check.above_zero("factor", self.factor)
        check.positive_int("steps", self.steps)
        _in_python(self)

    def __call__(self, t: int) -> float:
        """Return the rate after t steps."""
        return self.start * math.pow(self.factor, t // self.steps)


def _in_python(schedule: CosineDecay | ExponentialDecay | StepDecay) -> None:
    """Turn NumPy's numbers into Python's: a number of steps may not fit an int8, nor a rate a float16."""
    for name, value in vars(schedule).items():
        if isinstance(value, (np.generic, np.ndarray)):
            object.__setattr__(schedule, name, value.item())
