from typing import Any

from numpy.typing import NDArray
from typing_extensions import disjoint_base

_Activation = str | tuple[str, float, float]

ACTIVATIONS: dict[str, int]
HARD_LOGISTIC: tuple[float, float]
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
        gate: _Activation,
        g: _Activation,
        h: _Activation,
        clip: float,
        cell_clip: float,
        kept: int = 0,
        p_rows: int | None = None,
        norm_rows: int = 0,
        fast: bool = False,
    ) -> None: ...

def unit_block(itemsize: int) -> int: ...
def activate(g: _Activation, x: NDArray[Any], y: NDArray[Any], fast: bool = False) -> None: ...
def differentiate(g: _Activation, y: NDArray[Any], dy: NDArray[Any], dx: NDArray[Any]) -> None: ...
