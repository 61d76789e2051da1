"""A call: its arguments checked and laid out as the kernels read them, and its results as the caller has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, Kind, contiguous, empty, kind_of
from fastlstm._arrays.libraries import DeviceKind
from fastlstm._cells import Cell, State
from fastlstm._engine.batches import Batch, Lengths, PackedSequence, batch_of
from fastlstm._engine.options import Options
from fastlstm._engine.threads import checked_num_threads
from fastlstm._system import devices
from fastlstm._system.backend import Device


def device_of(kind: Kind) -> Device | None:
    """Return the stream where a call on such arrays is to run; None for the host."""
    if not isinstance(kind, DeviceKind):
        return None
    return devices.device(kind.index, kind.library.stream(kind.index), kind.values)


class PackedWeights(NamedTuple):
    """W and R as the steps read them: packed for the instruction set in use, `format` "full", "bfloat16" or "int8".

    For int8, `scale` has the factors of the rows of R, and those of W are `ratio` times as large.
    """

    format: str
    input: int
    outputs: int
    W: Array
    R: Array
    scale: Array | None
    ratio: Array | None


class Weights(NamedTuple):
    """The parameters of one layer in one direction as the kernels read them.

    With `packed`, which inference alone can use, W and R are empty.
    """

    W: Array
    R: Array
    b: Array | None
    p: Array | None = None
    proj: Array | None = None
    packed: PackedWeights | None = None
    norm: Array | None = None


@dataclass
class Call:
    """The description of a forward pass of one layer in one direction, which the tape keeps for the backward pass.

    Nothing changes a call. It is not frozen, since that takes several times as long to make and to read.
    """

    cell: Cell
    batch: Batch
    kind: Kind
    lengths: Lengths | None = None
    reverse: bool = False
    options: Options | None = None
    recompute: int | None = None

    @classmethod
    def open(
        cls, cell: Cell, x: Any, lengths: ArrayLike | None, kind: Kind | None, input_size: int | None,
        batch_first: bool, batch_invariant: bool, num_threads: int | None,
        rows_for: Callable[..., Array] | None = None, borrowed: dict[str, Array] | None = None,
    ) -> tuple[Call, Array]:  # fmt: skip
        """Check a sequence, and return its call and its rows as the kernels read them.

        Without a kind and an input size, those of x hold. With `lengths`, the rows are in memory from `rows_for`.
        """
        rows: Lengths | None = None
        if kind is not None and isinstance(x, PackedSequence):
            assert input_size is not None
            if lengths is not None:
                raise ValueError(f"lengths must be None with packed x, which has its own, not {lengths}")
            rows = Lengths.of_packed(x)
            T, B = rows.shape
            x = check.matching("x.data", x.data, (rows.batch.count, input_size), kind, "(count, columns)")
        else:
            axes = "(B, T, I)" if batch_first else "(T, B, I)"
            x = check.sized("x", x, 3, axes, kind, anywhere=True)
            T, B, I = x.shape
            if kind is None:
                kind = kind_of(x)
            x = check.matching("x", x, (T, B, I if input_size is None else input_size), kind, axes)
            if batch_first:
                x, T, B = x.swapaxes(0, 1), B, T
            if lengths is not None:
                rows, out = Lengths(lengths, T, B), None
                if rows_for is not None:
                    out = rows_for("x", (rows.batch.count, x.shape[2]), kind, borrowed)
                x = rows.pack(x, checked_num_threads(num_threads), out)
            elif batch_first:
                x = contiguous(x)
        return cls(cell, batch_of(T, B, rows, batch_invariant), kind, rows), x

    def close(self, rows: Array, batch_first: bool, num_threads: int, out: Array | None = None) -> Any:
        """Return the kernels' rows in the caller's layout, in `out` where it is given and the layouts differ."""
        lengths = self.lengths
        if lengths is None:
            if not batch_first:
                return rows
            turned = rows.swapaxes(0, 1)
            if out is None:
                return contiguous(turned)
            out[:] = turned
            return out
        if lengths.packed is not None:
            return lengths.repacked(rows)
        if out is None:
            out = empty(self.caller_shape(rows.shape[1], batch_first), kind_of(rows))
        lengths.pad(rows, out.swapaxes(0, 1) if batch_first else out, num_threads)
        return out

    def open_gradient(self, dy: Array | PackedSequence, columns: int, batch_first: bool, num_threads: int) -> Array:
        """Return the rows of dJ/dy, in the caller's layout of y, as the kernels read them."""
        lengths, name = self.lengths, "dy"
        if lengths is not None and lengths.packed is not None:
            if isinstance(dy, PackedSequence):
                given = Lengths.of_packed(dy)
                for field, own, expected in (
                    ("batch_sizes", dy.batch_sizes, lengths.packed.batch_sizes),
                    ("sorted_indices", given.order, lengths.order),
                ):
                    if not np.array_equal(own, expected):
                        raise ValueError(f"dy.{field} must be those of x, {expected.tolist()}, not {own.tolist()}")
                dy, name = dy.data, "dy.data"
            return check.matching(name, dy, self.shape(columns), self.kind, "(count, columns)")
        axes = "(B, T, D H)" if batch_first else "(T, B, D H)"
        above = check.sized("dy", dy, 3, axes, self.kind)
        above = check.matching("dy", above, self.caller_shape(columns, batch_first), self.kind, axes)
        above = above.swapaxes(0, 1) if batch_first else above
        return contiguous(above) if lengths is None else lengths.pack(above, num_threads)

    @property
    def opens_state(self) -> bool:
        """Return whether the kernels have a state in another layout than the caller."""
        return self.lengths is not None or self.cell.has_own_layout

    def open_state(self, state: State) -> State:
        """Return a state, or gradients of one, (..., B, size) each, as the kernels read it."""
        if self.cell.has_own_layout:
            state = self.cell.kernel_state(state)
        sort = None if self.lengths is None else self.lengths.sort
        return state if sort is None else tuple([None if part is None else sort(part) for part in state])

    def close_state(self, state: State, H: int, out: State | None = None) -> State:
        """Return a state of the kernels in the caller's layout, in `out` where it is given."""
        if self.lengths is not None:
            state = tuple(map(self.lengths.unsort, state))
        if self.cell.has_own_layout:
            state = self.cell.caller_state(state, H)
        if out is None:
            return state
        for to, part in zip(out, state, strict=True):
            to[:] = part
        return out

    def opens_rows(self, batch_first: bool) -> bool:
        """Return whether the kernels have sequences in another layout than the caller."""
        return batch_first if self.lengths is None else self.lengths.packed is None

    def packed(self, array: Array | None, num_threads: int) -> Array | None:
        """Return a (T, B, ...) array of the caller's as the kernels read it."""
        return array if self.lengths is None or array is None else self.lengths.pack(array, num_threads)

    def padded(self, rows: Array) -> Array:
        """Return the kernels' rows as (T, B, ...)."""
        return rows if self.lengths is None else self.lengths.pad(rows)

    def of_direction(self, reverse: bool, options: Options | None) -> Call:
        """Return the call of a layer in one direction, with its options."""
        if not reverse and options is None:
            return self
        return Call(self.cell, self.batch, self.kind, self.lengths, reverse, options)

    def check_rows(self) -> None:
        """Raise unless the parts of the call are what they should be, and its lengths are those of its batch."""
        own, lengths = self.batch, self.lengths
        if not (isinstance(own, Batch) and (lengths is None or isinstance(lengths, Lengths))):
            raise TypeError("tape.call must be that of a forward pass, with a Batch and Lengths or None")
        if not (own.offsets is None if lengths is None else own.same_rows(lengths.batch)):
            raise ValueError("tape.call.batch must be that of tape.call.lengths")

    def same_rows(self, other: Call) -> bool:
        """Return whether another call has the same rows at each step, from the same rows of the caller's."""
        a, b = self.lengths, other.lengths
        same = a is b or (a is not None and b is not None and np.array_equal(a.order, b.order))
        return same and (self.batch is other.batch or self.batch.same_rows(other.batch))

    def checked(self, P: int, H: int) -> Call:
        """Return the call with its options as they are now, once they are known to fit these sizes."""
        if not isinstance(self.options, Options):
            raise TypeError(f"tape.call.options must be those of a forward pass, not {type(self.options).__name__}")
        options = self.options.checked(self.batch, self.shape(), P, H, self.kind)
        return replace(self, options=options)

    def shape(self, *last: int) -> tuple[int, ...]:
        """Return the shape of an array with a row for each step and row of the batch."""
        batch = self.batch
        return (batch.T, batch.B, *last) if batch.offsets is None else (batch.count, *last)

    def tape_rows(self) -> dict[str, tuple[int, ...]]:
        """Return the axes before the last of a tape's arrays, by the rows that they have."""
        batch = self.batch
        if batch.offsets is None:
            return {"steps": (batch.T, batch.B), "initial": (batch.B,), "all": (batch.T + 1, batch.B)}
        return {"steps": (batch.count,), "initial": (batch.B,), "all": (batch.B + batch.count,)}

    def shape_with_initial(self, H: int) -> tuple[int, ...]:
        """Return the shape of an array with the initial rows, and a row for each step and row of the batch."""
        batch = self.batch
        return (batch.T + 1, batch.B, H) if batch.offsets is None else (batch.B + batch.count, H)

    def caller_shape(self, columns: int, batch_first: bool) -> tuple[int, ...]:
        """Return the shape of a sequence in the caller's layout."""
        T, B = self.batch.T, self.batch.B
        return (B, T, columns) if batch_first else (T, B, columns)

    def named(self) -> dict[str, Array | None]:
        """Return the arrays of its options, by name."""
        return {} if self.options is None else self.options.named()

    @property
    def keeps_y_prev(self) -> bool:
        """Return whether y^{t-1} as a step saw it may differ from what the tape's gates and cells give."""
        return self.options is not None or self.cell.has_own_layout or self.kind.itemsize < 4

    @property
    def keeps_c_prev(self) -> bool:
        """Return whether c^{t-1} as a step saw it may differ from c of the step before."""
        options = self.options
        if options is None:
            return False
        keeps_y = self.cell.kernel.keeps_c and not self.cell.has_c and options.zone_y is not None
        return options.reset is not None or options.zone_c is not None or keeps_y
