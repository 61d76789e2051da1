from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

def forward_workspace(T: int, B: int, I: int, H: int, size: int, tape: bool) -> int: ...
def forward(
    x: Array,
    W: Array,
    R: Array,
    b: Array,
    p: Array | None,
    h0: Array,
    c0: Array,
    y: Array,
    h: Array,
    c: Array,
    tape_gates: Array | None,
    tape_c: Array | None,
    tape_y: Array | None,
    workspace: Array,
    num_threads: int,
) -> None: ...
def backward_workspace(T: int, B: int, I: int, H: int, size: int) -> int: ...
def backward(
    x: Array,
    W: Array,
    R: Array,
    p: Array | None,
    gates: Array,
    c: Array,
    y_slots: Array,
    dy: Array | None,
    dh: Array | None,
    dc: Array | None,
    dx: Array | None,
    dW: Array,
    dR: Array,
    db: Array,
    dp: Array | None,
    dh0: Array,
    dc0: Array,
    accumulate: bool,
    workspace: Array,
    num_threads: int,
) -> None: ...

class Cell:
    def __init__(self, W: Array, R: Array, b: Array, p: Array | None) -> None: ...
    def step(self, x: Array, h: Array, c: Array, y: Array, h_out: Array, c_out: Array, num_threads: int) -> bool: ...
