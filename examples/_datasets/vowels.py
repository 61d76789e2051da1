"""Japanese vowels: nine men say "ae", and the task is to tell who it was."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from _data import Wheel
from numpy.typing import NDArray

from . import Parts

SOURCE = Wheel(
    package="sktime",
    version="1.2.0",
    sha256="dbffc6731d2d683b668dceb5e2bbc5804bebc8446b4c580803a281684d90e4ae",
    pattern="sktime/datasets/data/JapaneseVowels/*.ts",
)


class Utterance(NamedTuple):
    """A series (T, 12) of cepstral coefficients, and the speaker, 0 to 8."""

    series: NDArray[np.float32]
    speaker: int


def read(files: dict[str, bytes]) -> Parts[list[Utterance]]:
    """Read both files; the test part is the data set's own, and every fifth of the others is for validation."""
    test, train = (read_file(files[name].decode()) for name in sorted(files))  # their names end in TEST and TRAIN
    return Parts([one for k, one in enumerate(train) if k % 5 < 4], train[4::5], test)


def read_file(text: str) -> list[Utterance]:
    """Read a file in the format ts: after a header, a series a line, channel after channel and last its class."""
    utterances = []
    for line in text.partition("@data")[2].split():
        *channels, speaker = line.split(":")
        series = np.array([channel.split(",") for channel in channels], np.float32).T
        utterances.append(Utterance(series, int(speaker) - 1))
    return utterances
