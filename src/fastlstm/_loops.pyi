from typing import Any

class Cell:
    lstm: bool
    def __init__(
        self, blocks: str | None, coupled: bool, gate: str, g: str, h: str, clip: float, cell_clip: float
    ) -> None: ...

def segment_count(batch: Any, k: int) -> int: ...
def unit_block(size: int) -> int: ...
