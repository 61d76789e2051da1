from typing import Any

from typing_extensions import disjoint_base

from fastlstm._cells.kernel import KernelCell
from fastlstm._system.backend import Device

FORMATS: dict[str, int]

@disjoint_base
class ForwardPass:
    def __init__(
        self,
        cell: KernelCell,
        batch: Any,
        reverse: bool,
        weights: tuple[Any, ...],
        options: Any,
        with_tape: bool,
        y_on_tape: bool,
        recompute: int,
        size: int,
        device: Device | None = None,
    ) -> None: ...
    def workspace(self) -> int: ...
    def start(
        self,
        x: Any,
        first: tuple[Any, Any, Any],
        y: Any,
        y_offset: int,
        last: tuple[Any, Any, Any],
        tape: tuple[Any, ...] | None,
        checkpoints: tuple[Any, ...] | None,
        workspace: Any,
    ) -> None: ...

def packed_columns(cell: KernelCell, A: Any, recurrent: bool) -> Any: ...
def run_passes(passes: list[ForwardPass], num_threads: int, device: Device | None = None) -> None: ...
