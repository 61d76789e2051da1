"""The combinations whose results tools/check-bits compares; they use the public interface alone."""

from collections.abc import Iterator

from . import c_interface, functions, layers, networks
from .cases import Case


def every_case(isa: str) -> Iterator[Case]:
    """Give all combinations for an instruction set, which must be the one in use."""
    yield from functions.cases()
    yield from layers.cases()
    yield from networks.cases()
    yield from c_interface.cases(isa)
