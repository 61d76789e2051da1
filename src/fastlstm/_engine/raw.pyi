from typing import Any, final

import numpy as np

from fastlstm._cells.kernel import KernelCell

BYTE: np.dtype[np.uint8]
MAX_THREADS: int

@final
class Space: ...

@final
class RawStack:
    per_layer: int
    def __init__(
        self,
        cell: KernelCell,
        layers: int,
        directions: int,
        inputs: int,
        hidden: int,
        projected: int,
        biases: bool,
        peephole: bool,
        layer_norm: bool,
        has_own_bias: bool,
        itemsize: int,
    ) -> None: ...
    def tape_size(self, rows: Any, B: Any) -> Any: ...
    def forward(
        self,
        T: int,
        B: int,
        rows: int,
        batch_sizes: int,
        x: int,
        h0: int,
        c0: int,
        weights: list[int],
        masks: int,
        y: int,
        h: int,
        c: int,
        tape: int,
        num_threads: int,
    ) -> None: ...
    def backward(
        self,
        T: int,
        B: int,
        rows: int,
        batch_sizes: int,
        x: int,
        weights: list[int],
        masks: int,
        tape: int,
        dy: int,
        dh: int,
        dc: int,
        dx: int,
        dh0: int,
        dc0: int,
        gradients: list[int],
        num_threads: int,
    ) -> None: ...
