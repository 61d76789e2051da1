from typing import Any

from numpy.typing import NDArray

_Array = NDArray[Any]

SETS: int

def forward(
    x: _Array, g: _Array, b: _Array, y: _Array, mean: _Array, inverse: _Array, epsilon: float, num_threads: int
) -> None: ...
def backward(
    x: _Array,
    g: _Array,
    mean: _Array,
    inverse: _Array,
    dy: _Array,
    dx: _Array | None,
    with_parameters: bool,
    num_threads: int,
) -> _Array | None: ...
