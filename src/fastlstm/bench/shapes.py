"""The problem sizes that are measured."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["FLOAT64", "KINDS", "QUICK", "SEQUENCES", "STEPS", "Shape", "flops"]

KINDS = ("inference", "training", "step")


class Shape(NamedTuple):
    """The size of a problem: time steps, batch rows, inputs, hidden units."""

    T: int
    B: int
    I: int
    H: int


SEQUENCES = (
    Shape(1, 1, 64, 64),
    Shape(1, 1, 256, 256),
    Shape(100, 1, 64, 64),
    Shape(100, 1, 256, 256),
    Shape(100, 1, 1024, 1024),
    Shape(100, 32, 64, 64),
    Shape(100, 32, 128, 128),
    Shape(100, 16, 256, 256),
    Shape(100, 32, 256, 256),
    Shape(50, 64, 512, 512),
    Shape(25, 64, 1024, 1024),
    Shape(574, 32, 4, 32),  # Four weather readings every ten minutes for 96 hours, counted as in the articles.
    Shape(500, 128, 16, 128),
)

# The shapes that --quick leaves out take most of the time of a full run.
QUICK = tuple(shape for shape in SEQUENCES if shape.H < 512 and shape.T * shape.B * shape.H <= 1_000_000)

STEPS = (
    *(Shape(1, 1, size, size) for size in (16, 32, 64, 128, 256, 512)),
    *(Shape(1, 1, 1, H) for H in (16, 32, 64, 128)),
)

FLOAT64 = (Shape(100, 1, 256, 256), Shape(100, 32, 128, 128), Shape(100, 32, 256, 256))


def flops(kind: str, shape: Shape) -> int:
    """Return the operations of a layer's matrix products, where a multiplication and an addition count as two.

    Parameters
    ----------
    kind : str
        "training" counts forward and backward; the other kinds forward only.
    shape : Shape
        The size of the problem.

    Examples
    --------
    >>> flops("inference", Shape(T=1, B=1, I=2, H=3))
    120
    """
    T, B, I, H = shape
    forward = 2 * T * B * 4 * H * (I + H)
    return 3 * forward if kind == "training" else forward
