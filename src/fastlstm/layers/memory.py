"""The memory that a layer keeps between calls: the system clears new memory, which takes as long as a small call."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastlstm._arrays.arrays import Array, Kind, empty
from fastlstm._arrays.libraries import DeviceKind
from fastlstm.layers.stack import Stack

# The fewest bytes for which an array is kept, and the most that are kept in all: a call that needs more takes so long
# that the clearing of new memory hardly counts.
WORTH_KEEPING, MOST_TO_KEEP = 1 << 18, 1 << 24


class Memory(Stack):
    """The part of a layer that keeps memory."""

    dtype: np.dtype[Any]
    _kept: dict[str, Array]

    def _borrow(self, use: str, size: int, kind: Kind, borrowed: dict[str, Array]) -> Array:
        """Return memory of at least `size` values; on a device new memory, since its libraries keep what was freed.

        `borrowed` holds the memory of a call, by use; `_keep` keeps it for the next call. Two calls at the same time
        share none.
        """
        if isinstance(kind, DeviceKind):
            return empty((size,), kind)
        if size * self.dtype.itemsize < WORTH_KEEPING:
            return np.empty(size, self.dtype)
        space = borrowed.get(use)
        if space is None:
            space = self._kept.pop(use, None)
        if space is None or space.size < size:
            space = empty((size,), self.dtype)
        borrowed[use] = space
        return space

    def _rows_for(self, use: str, shape: tuple[int, ...], kind: Kind, borrowed: dict[str, Array] | None) -> Array:
        """Return a new array, or with `borrowed`, borrowed memory of this shape."""
        if borrowed is None or isinstance(kind, DeviceKind):
            return empty(shape, kind)
        size = math.prod(shape)
        return self._borrow(use, size, kind, borrowed)[:size].reshape(shape)

    def _keep(self, borrowed: dict[str, Array]) -> None:
        """Keep the memory that a call has borrowed for the next one, as far as it pays."""
        if not borrowed:
            return
        left, kept = MOST_TO_KEEP, {}
        for use, space in borrowed.items():
            if space.nbytes <= left:
                left -= space.nbytes
                kept[use] = space
        self._kept = kept
