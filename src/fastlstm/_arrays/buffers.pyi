from typing import Any, Self

from numpy.typing import NDArray
from typing_extensions import disjoint_base

@disjoint_base
class Buffers:
    def __new__(cls, capacity: int = 40) -> Self: ...

def find_overlap(arrays: list[NDArray[Any]], outputs: int, same: dict[int, int]) -> tuple[int, int] | None: ...
def copy_all(to: tuple[NDArray[Any], ...], source: tuple[NDArray[Any], ...]) -> None: ...
