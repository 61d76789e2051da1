"""Sentences in Turkish with the part of speech of each word, marked by hand."""

from __future__ import annotations

from typing import NamedTuple

from _data import Wheel

from . import Parts, split

SOURCE = Wheel(
    package="turkish-treebanks",
    version="1.0.0",
    sha256="5a009c29a8e96e8f7e25059d59ac293c3baead6d746bf0fa4c9d3349b1e37ba0",
    pattern="data/*.conllu",
)


class Sentence(NamedTuple):
    """Words and their tags, as many."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


def read(files: dict[str, bytes]) -> Parts[list[Sentence]]:
    """Read the files in CoNLL-U format: a word a line, its form in the second column and its tag in the fourth."""
    sentences = []
    for file in files.values():
        for block in file.decode().strip().split("\n\n"):
            rows = [line.split("\t") for line in block.split("\n") if not line.startswith("#")]
            sentences.append(Sentence(tuple(row[1] for row in rows), tuple(row[3] for row in rows)))
    return split(sentences, lambda sentence: sentence.words)
