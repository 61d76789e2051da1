from typing import Any

from numpy.typing import NDArray

def plan(T: int, L: int, work: int, num_threads: int) -> tuple[int, int]: ...
def run(
    logits: NDArray[Any],
    gradient: NDArray[Any],
    lengths: NDArray[Any],
    labels: NDArray[Any],
    label_lengths: NDArray[Any],
    order: NDArray[Any],
    weights: NDArray[Any],
    losses: NDArray[Any],
    blank: int,
    memory: NDArray[Any],
) -> None: ...
