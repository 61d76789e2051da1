from typing import Any, final

from fastlstm._cells.kernel import KernelCell

MANY_ROWS: int
DIRECTIONS: tuple[str, str]

@final
class HeldWeights:
    def __init__(self, cell: KernelCell, weights: tuple[Any, ...]) -> None: ...
    def step(self, x: Any, h: Any, c: Any, y: Any, h_out: Any, c_out: Any, num_threads: int) -> bool: ...

def run_held(
    layers: list[HeldWeights], directions: int, x: Any, state: Any, invariant: bool, owner: Any, num_threads: int
) -> tuple[Any, Any] | None: ...
