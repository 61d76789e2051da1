from typing import Any

from numpy.typing import NDArray
from typing_extensions import disjoint_base

ACTIVATIONS: dict[str, int]
KINDS: dict[str, int]

@disjoint_base
class KernelCell:
    has_c: bool
    keeps_c: bool
    kept: int
    norm_rows: int
    def __init__(
        self,
        kind: str,
        blocks: str | None,
        coupled: bool,
        gate: str,
        g: str,
        h: str,
        clip: float,
        cell_clip: float,
        kept: int = 0,
        p_rows: int | None = None,
        norm_rows: int = 0,
        fast: bool = False,
    ) -> None: ...

def unit_block(itemsize: int) -> int: ...
def activate(name: str, x: NDArray[Any], y: NDArray[Any], fast: bool = False) -> None: ...
def differentiate(name: str, y: NDArray[Any], dy: NDArray[Any], dx: NDArray[Any]) -> None: ...
