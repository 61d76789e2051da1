from typing import Any

from numpy.typing import NDArray

_Array = NDArray[Any]

def sgd(
    t: _Array,
    theta: _Array,
    gradient: _Array,
    velocity: _Array | None,
    rate: float,
    momentum: float,
    nesterov: bool,
    decay: float,
    num_threads: int,
    sections: _Array | None,
) -> bool: ...
def adam(
    t: _Array,
    theta: _Array,
    gradient: _Array,
    m: _Array,
    v: _Array,
    beta1: float,
    beta2: float,
    epsilon: float,
    rate: float,
    root: float,
    keep: float,
    num_threads: int,
    sections: _Array | None,
) -> bool: ...
def sum_of_squares(x: _Array, num_threads: int) -> float: ...
def scale(x: _Array, factor: float, num_threads: int) -> None: ...
def add_rows(sums: _Array, ids: _Array, rows: _Array, num_threads: int) -> None: ...
def sum_rows(
    sums: _Array, rows: _Array, lengths: _Array, num_threads: int, *, add: bool = False, mean: bool = False
) -> None: ...
