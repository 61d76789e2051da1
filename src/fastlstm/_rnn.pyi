from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

ACTIVATIONS: dict[str, int]

def forward_workspace(T: int, B: int, I: int, H: int, size: int) -> int: ...
def forward(
    nonlinearity: str,
    x: Array,
    W: Array,
    R: Array,
    b: Array,
    h0: Array,
    y: Array,
    h: Array,
    tape_h: Array | None,
    workspace: Array,
    num_threads: int,
) -> None: ...
def backward_workspace(T: int, B: int, I: int, H: int, size: int) -> int: ...
def backward(
    nonlinearity: str,
    x: Array,
    W: Array,
    R: Array,
    h_slots: Array,
    dy: Array | None,
    dh: Array | None,
    dx: Array | None,
    dW: Array,
    dR: Array,
    db: Array,
    dh0: Array,
    accumulate: bool,
    workspace: Array,
    num_threads: int,
) -> None: ...

class Cell:
    def __init__(self, nonlinearity: str, W: Array, R: Array, b: Array) -> None: ...
    def step(self, x: Array, h: Array, y: Array, h_out: Array, num_threads: int) -> bool: ...
