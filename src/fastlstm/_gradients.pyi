from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

def sgd(
    t: Array,
    theta: Array,
    gradient: Array,
    velocity: Array | None,
    rate: float,
    momentum: float,
    nesterov: bool,
    decay: float,
    num_threads: int,
) -> None: ...
def adam(
    t: Array,
    theta: Array,
    gradient: Array,
    m: Array,
    v: Array,
    beta1: float,
    beta2: float,
    epsilon: float,
    rate: float,
    root: float,
    keep: float,
    num_threads: int,
) -> None: ...
def sum_of_squares(x: Array, num_threads: int) -> float: ...
def scale(x: Array, factor: float, num_threads: int) -> None: ...
def add_rows(sums: Array, ids: Array, rows: Array, num_threads: int) -> None: ...
