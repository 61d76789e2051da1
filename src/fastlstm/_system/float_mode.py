"""NumPy's functions in the kernels' floating-point mode."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from fastlstm._system import runtime

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

as_in_kernels = runtime.KernelMode
"""Compute in a `with` block as the kernels do: denormals count as zero and cost no more, `np.seterr` has no say."""


def all_as_in_kernels(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Return a function that computes as the kernels do, as a whole."""

    @functools.wraps(function)
    def in_mode(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        with as_in_kernels():
            return function(*arguments, **named)

    return in_mode
