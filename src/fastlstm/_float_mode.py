"""NumPy's functions in the kernels' floating-point mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fastlstm import _runtime


@contextmanager
def as_in_kernels() -> Iterator[None]:
    """Compute as the kernels do: denormals count as zero and cost no more, and `np.seterr` has no say."""
    with np.errstate(all="ignore"), _runtime.KernelMode():
        yield
