from typing_extensions import disjoint_base

KINDS: dict[str, int]

@disjoint_base
class KernelCell:
    has_c: bool
    def __init__(
        self, kind: str, blocks: str | None, coupled: bool, gate: str, g: str, h: str, clip: float, cell_clip: float
    ) -> None: ...

def unit_block(itemsize: int) -> int: ...
