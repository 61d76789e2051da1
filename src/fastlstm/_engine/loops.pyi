from typing import Any

from typing_extensions import disjoint_base

from fastlstm._system.runtime import ACTIVATIONS as ACTIVATIONS

KINDS: dict[str, int]

@disjoint_base
class Cell:
    lstm: bool
    def __init__(
        self, kind: str, blocks: str | None, coupled: bool, gate: str, g: str, h: str, clip: float, cell_clip: float
    ) -> None: ...

def segment_count(batch: Any, k: int) -> int: ...
def rows_to_pack() -> int: ...
def unit_block(size: int) -> int: ...
