"""Handwritten digits: 1,797 images of 8 x 8 pixels."""

from __future__ import annotations

import gzip
from typing import NamedTuple

import numpy as np
from _data import Wheel
from numpy.typing import NDArray

SOURCE = Wheel(
    package="scikit-learn",
    version="1.5.2",
    sha256="f8b0ccd4a902836493e026c03256e8b206656f91fbcc4fde28c57a5b752561f1",
    pattern="sklearn/datasets/data/digits.csv.gz",
)
# Where each form begins that somebody filled in: with the digits from 0 to 9, three times.
FORMS = 0, 130, 256, 386, 516, 646, 776, 906, 1029, 1157, 1287, 1415, 1545, 1667


class Digits(NamedTuple):
    """Images (n, 64), from 0 to 1, and which digits they are (n,)."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


def read(files: dict[str, bytes]) -> list[Digits]:
    """Read the images, those of each form together."""
    (file,) = files.values()
    rows = np.loadtxt(gzip.decompress(file).decode().split(), np.int64, delimiter=",")
    return [Digits((form[:, :-1] / 16).astype(np.float32), form[:, -1]) for form in np.split(rows, FORMS[1:])]
