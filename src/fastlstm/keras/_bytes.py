"""The bytes of a file, asked for by their place: never more than there are, and not again and again."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from fastlstm._arrays.arrays import Array
from fastlstm._arrays.files import FileError

# What describes arrays is read once in a sound file: all of it is at most so many times as long as the file. Whatever
# circles there are in a damaged one, reading ends there.
_TIMES = 4
_SPARE = 1 << 16


class Bytes:
    """A file or bytes in memory, of this size; `name` is for messages."""

    def __init__(self, file: BinaryIO, size: int, name: str) -> None:
        self.file, self.size, self.name = file, size, name
        self._left, self._arrays_left = _TIMES * size + _SPARE, size

    def damaged(self, why: str) -> FileError:
        """Return the error of a file that does not make sense."""
        return FileError(f"{self.name} is damaged, or not written by Keras: {why}")

    def __getitem__(self, where: tuple[int, int]) -> bytes:
        """Return the n bytes from a place on."""
        begin, n = where
        self._left -= n
        if not 0 <= begin <= begin + n <= self.size:
            raise self.damaged(f"it has no {n} bytes at {begin}")
        if self._left < 0:
            raise self.damaged("its parts are not apart")
        self.file.seek(begin)
        found = self.file.read(n)
        if len(found) != n:
            raise self.damaged("it became shorter while it was read")
        return found

    def number(self, begin: int, n: int) -> int:
        """Return the unsigned number of n bytes at a place."""
        return int.from_bytes(self[begin, n], "little")

    def array(self, begin: int, shape: tuple[int, ...], dtype: np.dtype[np.generic], size: int) -> Array:
        """Return the array of `size` bytes at a place, which are those of the shape."""
        self._arrays_left -= size
        if self._arrays_left < 0:
            raise self.damaged("its arrays would have more bytes than the file")
        values = np.empty(shape, dtype)
        if size:  # What has no bytes has no place.
            self.file.seek(begin)
            if self.file.readinto(values.reshape(-1).view(np.uint8)) != size:  # type: ignore[attr-defined]
                raise self.damaged("it became shorter while it was read")
        return values
