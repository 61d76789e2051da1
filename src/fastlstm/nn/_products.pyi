from typing import Any

from numpy.typing import NDArray

_Array = NDArray[Any]

def multiply(a: _Array, b: _Array, c: _Array, num_threads: int, add: bool = False) -> None: ...
