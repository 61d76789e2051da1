"""The options of a call: what happens between two of its steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, Kind, contiguous, moved, zeros_like
from fastlstm._arrays.libraries import DeviceKind, library_of
from fastlstm._engine.batches import Batch, Lengths


@dataclass(frozen=True)
class Options:
    """What happens between two steps, in the kernels' order of rows; see `lstm_forward`."""

    reset: NDArray[np.uint8] | None = None
    reset_to_zero: bool = False
    mask: Array | None = None
    zone_y: Array | None = None
    zone_c: Array | None = None

    def checked(self, batch: Batch, rows: tuple[int, ...], P: int, H: int, kind: Kind) -> Options:
        """Return options of these arrays as they are now, once they are known to fit a call with so many rows."""
        flags = kind.of("uint8") if isinstance(kind, DeviceKind) else np.dtype(np.uint8)
        name = "tape.call.options"
        return Options(
            check.optional(f"{name}.reset", self.reset, rows, flags, "(T, B)"),
            bool(self.reset_to_zero),
            check.optional(f"{name}.mask", self.mask, (batch.B, P), kind, "(B, H)"),
            check.optional(f"{name}.zone_y", self.zone_y, (*rows, P), kind, "(T, B, H)"),
            check.optional(f"{name}.zone_c", self.zone_c, (*rows, H), kind, "(T, B, H)"),
        )

    def named(self) -> dict[str, Array | None]:
        """Return the arrays by the names of the arguments."""
        zoneout = {"zoneout of y": self.zone_y, "zoneout of c": self.zone_c}
        return {"reset": self.reset, "recurrent_mask": self.mask, **zoneout}


def _flags(reset: ArrayLike, shape: tuple[int, int], kind: Kind) -> Array:
    """Return which steps begin a row anew, as bytes where the other arrays are."""
    library = None if isinstance(reset, np.ndarray) else library_of(reset)
    if library is not None and isinstance(kind, DeviceKind):
        given = kind.library.adopt("reset", reset)
        found = kind.library.kind(given)
        if found.index != kind.index:
            raise TypeError(f"reset is on {found.place}, but must be on {kind.place} as the other arrays are")
        dtype = found.values
    elif library is not None:
        raise TypeError("reset is on a GPU, but must be on the host as the other arrays are")
    else:
        given = np.asarray(reset)
        dtype = given.dtype.name
    if dtype != "bool":
        raise TypeError(f"reset must have dtype bool, not {dtype}")
    if given.shape != shape:
        raise ValueError(f"reset must have shape (T, B) = {shape}, not {tuple(given.shape)}")
    flags = contiguous(given)
    if isinstance(flags, np.ndarray):
        in_bytes = flags.view(np.uint8)
        return moved(in_bytes, kind.of("uint8")) if isinstance(kind, DeviceKind) else in_bytes
    assert isinstance(kind, DeviceKind)
    as_bytes: Array = kind.library.as_bytes(flags)
    return as_bytes


def _flags_in_reverse(flags: Array, lengths: Lengths | None) -> Array:
    """Return flags of the same boundaries for the reverse direction, which crosses that of step t before step t - 1.

    There is none at a row's end: whether something begins there, the flags do not say.
    """
    if lengths is not None:
        flags = lengths.pad(lengths.pack(flags))  # zero past each end
    moved_up = zeros_like(flags)
    moved_up[:-1] = flags[1:]
    return moved_up


def options_of(
    T: int, B: int, P: int, H: int, kind: Kind, lengths: Lengths | None, reverse: bool,
    reset: ArrayLike | None, reset_to: Literal["initial", "zero"], mask: Array | None, zoneout: tuple[Any, Any] | None,
) -> Options | None:  # fmt: skip
    """Return the options of a call, checked and in the kernels' order of rows; None where there are none."""
    if reset_to not in ("initial", "zero"):
        raise ValueError(f"reset_to must be 'initial' or 'zero', not {reset_to!r}")
    if reset is None and mask is None and zoneout is None:
        return None
    flags = None if reset is None else _flags(reset, (T, B), kind)
    if flags is not None and reverse:
        flags = _flags_in_reverse(flags, lengths)
    mask = check.optional("recurrent_mask", mask, (B, P), kind, "(B, H)")
    zone_y, zone_c = (None, None) if zoneout is None else check.pair("zoneout", zoneout, "(share of y, share of c)")
    zone_y = check.optional("zoneout of y", zone_y, (T, B, P), kind, "(T, B, H)")
    zone_c = check.optional("zoneout of c", zone_c, (T, B, H), kind, "(T, B, H)")
    if lengths is not None:
        flags, zone_y, zone_c = (None if a is None else lengths.pack(a) for a in (flags, zone_y, zone_c))
        mask = None if mask is None else lengths.sort(mask)
    return Options(flags, reset_to == "zero", mask, zone_y, zone_c)
