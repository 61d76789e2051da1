from typing import Any

from numpy.typing import NDArray

def memory_for(T: int, K: int, width: int) -> int: ...
def search(
    logits: NDArray[Any],
    lengths: NDArray[Any],
    classes: NDArray[Any],
    labels: NDArray[Any],
    label_lengths: NDArray[Any],
    scores: NDArray[Any],
    bad: NDArray[Any],
    width: int,
    blank: int,
    memory: NDArray[Any],
) -> None: ...
