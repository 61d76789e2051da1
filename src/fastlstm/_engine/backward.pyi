from typing import Any

from typing_extensions import disjoint_base

from fastlstm._cells.kernel import KernelCell
from fastlstm._engine.forward import ForwardPass
from fastlstm._system.backend import Device

@disjoint_base
class BackwardPass:
    def __init__(
        self,
        cell: KernelCell,
        batch: Any,
        reverse: bool,
        weights: tuple[Any, ...],
        options: Any,
        y_on_tape: bool,
        with_deltas: bool,
        frozen: bool,
        size: int,
        again: ForwardPass | None = None,
        device: Device | None = None,
    ) -> None: ...
    def workspace(self) -> int: ...
    def start(
        self,
        x: Any,
        tape: tuple[Any, ...],
        again: tuple[Any, ...] | None,
        dy: Any,
        dy_offset: int,
        last: tuple[Any, Any, Any],
        dc_above: Any,
        dx: Any,
        gradients: tuple[Any, ...],
        first: tuple[Any, Any, Any],
        resets: tuple[Any, Any, Any] | None,
        deltas: tuple[Any, ...] | None,
        accumulate: bool,
        workspace: Any,
    ) -> None: ...

def run_passes(passes: list[BackwardPass], num_threads: int, device: Device | None = None) -> None: ...
def recompute_y_prev(
    cell: KernelCell,
    batch: Any,
    reverse: bool,
    gates: Any,
    c: Any,
    h0: Any,
    y_prev: Any,
    size: int,
    device: Device | None = None,
) -> None: ...
