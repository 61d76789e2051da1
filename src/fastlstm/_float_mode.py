"""NumPy's functions in the kernels' floating-point mode."""

from __future__ import annotations

from contextlib import ContextDecorator
from typing import Self

import numpy as np

from fastlstm import _runtime


class as_in_kernels(ContextDecorator):  # used as a function
    """Compute as the kernels do: denormals count as zero and cost no more, and `np.seterr` has no say."""

    def __enter__(self) -> None:
        self._errors, self._mode = np.errstate(all="ignore"), _runtime.KernelMode()
        self._errors.__enter__()
        self._mode.__enter__()

    def __exit__(self, *error: object) -> None:
        self._mode.__exit__(*error)
        self._errors.__exit__(None, None, None)

    def _recreate_cm(self) -> Self:
        return type(self)()  # for each call of what it decorates
