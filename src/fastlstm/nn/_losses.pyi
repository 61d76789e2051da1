from typing import Any

from numpy.typing import NDArray

LEAST_WEIGHT: float
KINDS: dict[str, int]

def elementwise(
    kind: str,
    prediction: NDArray[Any],
    target: NDArray[Any],
    mask: NDArray[Any] | None,
    scale: float,
    delta: float,
    gradient: NDArray[Any],
    num_threads: int,
) -> float: ...
def softmax(logits: NDArray[Any], probabilities: NDArray[Any], num_threads: int) -> None: ...
def softmax_cross_entropy(
    logits: NDArray[Any],
    target: NDArray[Any],
    mask: NDArray[Any] | None,
    class_weights: NDArray[Any] | None,
    smoothing: float,
    gradient: NDArray[Any],
    num_threads: int,
) -> tuple[float, float]: ...
