"""The combinations whose results tools/check-bits compares; they use the public interface alone."""

from collections.abc import Iterator

from . import c_interface, functions, layers, networks
from .cases import Case


def every_case(isa: str) -> Iterator[Case]:
    """Yield all combinations for an instruction set, which must be the one in use.

    The kernels of a device, which "emulated" has the processor run, are those of the passes alone;
    the C interface has no BLAS.
    """
    device = isa == "emulated"
    yield from functions.cases()
    yield from layers.cases(frozen=not device)
    if not device:
        yield from networks.cases()
        if isa != "blas":
            yield from c_interface.cases(isa)
