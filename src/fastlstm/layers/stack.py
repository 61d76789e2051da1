"""What the LSTM and the simple RNN layers share: stacks, directions, masks, the layout of sequences and states."""

from __future__ import annotations

import functools
import math
import threading
import warnings
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import (
    Array,
    Kind,
    cells_of,
    contiguous,
    empty,
    empty_like,
    kind_of,
    moved,
    on_host,
    zeros_like,
)
from fastlstm._arrays.libraries import DeviceDType, DeviceKind, LibraryName, device_kind, native_library, values_of
from fastlstm._engine import backward as _backward
from fastlstm._engine import call as _core
from fastlstm._engine import forward as _forward
from fastlstm._engine import loops as _loops
from fastlstm._engine import tapes as _tapes
from fastlstm._engine.batches import Lengths, PackedSequence, batch_of, options_of
from fastlstm._engine.call import Call, Cell, States, Weights
from fastlstm._engine.tapes import LSTMTape, RNNTape
from fastlstm._engine.threads import checked_num_threads
from fastlstm._system.float_mode import as_in_kernels
from fastlstm.layers.masks import Masking, Masks
from fastlstm.layers.network_layer import NetworkLayer, Signal
from fastlstm.layers.parameters import Gradients, are_restored

# The system clears new memory, so a layer keeps what it computes in between calls: arrays from so many bytes on, and so
# many bytes in all. A call that needs more takes so long that clearing is little beside it.
WORTH_KEEPING, MOST_TO_KEEP = 1 << 18, 1 << 24
ROWS_TO_PACK = _loops.rows_to_pack()
DIRECTIONS = "forward", "reverse"  # what their workspaces are called


@dataclass(slots=True)
class Tape:
    """What a layer's `forward` keeps for `backward`. A tape may be used many times.

    Attributes
    ----------
    layers : list of LSTMTape or RNNTape
        One for each layer and direction, in the order of the parameters: ``tape.layers[k].cells()`` and ``.gate("f")``
        are (T, B, H), with `batch_first` and packed sequences too.
    masks : Masks or None
        What was drawn.
    """

    layers: list[Any]
    call: Call
    masks: Masks | None = None


class _Checked(NamedTuple):
    """A tape as a backward pass uses it: the objects that were checked, whatever becomes of the tape meanwhile."""

    call: Call
    layers: list[Any]
    weights: list[Weights]
    masks: Masks | None


@functools.lru_cache(maxsize=16)
def _suffixes(num_layers: int, directions: int) -> list[str]:
    return [f"_l{k}{end}" for k in range(num_layers) for end in ("", "_reverse")[:directions]]


def of_cell(states: States, k: int) -> States:
    """Those of one layer and direction."""
    h, c, g = states
    return None if h is None else h[k], None if c is None else c[k], None if g is None else g[k]


def _write_wide(part: dict[str, Any], wide: Array, mask: Array | None, P: int, accumulate: bool) -> None:
    """Write or add the gradients of R and G from those of what a pass made of them."""
    dR, dG = (wide, None) if part["G"] is None else _core.gate_recurrence_of(wide, P)
    for target, found in ((part["R"], dR if mask is None else dR * mask), (part["G"], dG)):
        if target is not None:
            target[:] = target + found if accumulate else found


class Layer(Masking, NetworkLayer):
    """Recurrent layers, one above the other, in one direction or two; `LSTM` and `RNN` add the cell."""

    needs = ("state", "lengths", "rng")
    _takes_sequences = True

    _kind: Cell
    _tape_type: type[LSTMTape] | type[RNNTape]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        bidirectional: bool,
        batch_first: bool,
        dropout: float,
        recurrent_dropout: float,
        drop_connect: float,
        zoneout: tuple[float, float],
        proj_size: int,
        dtype: DTypeLike,
        batch_invariant: bool,
    ) -> None:
        self.input_size = check.positive_int("input_size", input_size)
        self.hidden_size = check.positive_int("hidden_size", hidden_size)
        self.num_layers = check.num_layers(num_layers)
        self.bidirectional = check.flag("bidirectional", bidirectional)
        self.batch_first = check.flag("batch_first", batch_first)
        self.dropout = check.rate("dropout", dropout)
        if self.dropout and self.num_layers == 1 and not are_restored():
            warnings.warn(
                f"dropout={self.dropout} drops nothing with num_layers=1, since it is between layers: nn.Dropout drops "
                "outputs, recurrent_dropout what goes to the next step",
                UserWarning,
                stacklevel=3,
            )
        self.recurrent_dropout = check.rate("recurrent_dropout", recurrent_dropout)
        self.drop_connect = check.rate("drop_connect", drop_connect)
        shares = check.pair("zoneout", zoneout, "(rate of y, rate of c)")
        self.zoneout = check.rate("zoneout of y", shares[0]), check.rate("zoneout of c", shares[1])
        self.proj_size = check.count("proj_size", proj_size)
        if self.proj_size >= self.hidden_size:
            raise ValueError(f"proj_size must be less than hidden_size = {hidden_size}, not {proj_size}")
        self.dtype = check.float_dtype(dtype)
        self.batch_invariant = check.flag("batch_invariant", batch_invariant)
        self._allocate()

    # ---- parameters ----

    @property
    def directions(self) -> int:
        """D: 2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """P: values that each direction gives, the hidden size or `proj_size`."""
        return self.proj_size or self.hidden_size

    def _output_for(self, below: Signal) -> Signal:
        """Return the output of the layer: a sequence with the outputs of all directions side by side."""
        return Signal(self.directions * self.output_size, True, self.directions)

    def _names(self) -> list[str]:
        """The suffixes of the parameters of each layer and direction."""
        return _suffixes(self.num_layers, self.directions)

    def _shapes_of_cell(self, inputs: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the parameters of one layer in one direction."""
        raise NotImplementedError

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all parameters, in the order of the buffer."""
        self._kind = self._find_kind()
        shapes: dict[str, tuple[int, ...]] = {}
        for k, suffix in enumerate(self._names()):
            inputs = self.input_size if k < self.directions else self.directions * self.output_size
            shapes |= {name + suffix: shape for name, shape in self._shapes_of_cell(inputs).items()}
        return shapes

    def _deltas_of(self, call: Call, arrays: tuple[Array, ...]) -> Any:
        """All deltas of one layer and direction, from the kernels' rows."""
        raise NotImplementedError

    def _options(self) -> str:
        """The cell's own options, for `repr`."""
        raise NotImplementedError

    def _find_kind(self) -> Cell:
        raise NotImplementedError

    def _bind(self) -> None:
        get = self.params.get
        self._bind_weights([
            Weights(self.params["W" + s], self.params["R" + s], self.params["b" + s], get("p" + s), get("proj" + s))
            for s in self._names()
        ])  # fmt: skip

    def _bind_weights(self, weights: list[Weights]) -> None:
        """Take hold of the weights of each layer and direction."""
        self._weights = weights
        self._kept: dict[str, Array] = {}
        self._between = threading.local()
        # A step may read the weights as they are, unless something lies between two steps.
        between = any(self.zoneout) or self.proj_size or self._kind.full_recurrence
        on_device = isinstance(self._array_kind, DeviceKind)
        self._one_by_one = not between and not on_device and (not self.batch_invariant or weights[0].packed is not None)
        self._steps_directly = self._one_by_one and not self.bidirectional and self.num_layers == 1
        self._steps = [] if on_device else [_forward.Step(self._kind.kernel, one) for one in weights]

    def _start_weights(self, seed: int | np.random.Generator | None, scale: float | None) -> None:
        usual, end = 1 / math.sqrt(self.hidden_size), float(np.finfo(self.dtype).max) / 2
        self._initialise(seed, usual if scale is None else check.within("init_scale", scale, end))

    def _wide(self, k: int, masks: Masks | None = None) -> Weights:
        """The weights of the k-th layer and direction as the passes want them."""
        weights, G = self._weights[k], self.params.get("G" + self._names()[k])
        if masks is not None and masks.weights:
            with as_in_kernels():
                weights = weights._replace(R=weights.R * masks.weights[k])
        return weights if G is None else weights._replace(R=_core.with_gate_recurrence(weights.R, G))

    # ---- devices ----

    @property
    def device(self) -> str:
        """Where the parameters are: "cpu", "cuda:0" and so on."""
        kind = self._array_kind
        return kind.place if isinstance(kind, DeviceKind) else "cpu"

    def to(self, device: str, dtype: DeviceDType | None = None, *, library: LibraryName | None = None) -> Self:
        """Make the same layer on another device: this one stays as it is.

        Parameters
        ----------
        device : str
            "cuda" or "cuda:1", a GPU; "cpu", the host.
        dtype : "float32", "float64", "bfloat16" or "float16", optional
            Of all arrays on a GPU; with the last two cells and their gradients are of float32. Default: as it is. The
            layer's `dtype` is what it has on the host; there it has no other.
        library : "cupy" or "torch", optional
            Whose arrays the parameters are to be on a GPU. Default: as they are; from the host, that which the program
            has imported, CuPy where it has both or neither and both are installed.

        Returns
        -------
        layer
            With copies of the parameters.

        Raises
        ------
        RuntimeError
            Where a GPU cannot be used: `fastlstm.gpu.why_unavailable` says why.
        ImportError
            Without CuPy and PyTorch.

        Examples
        --------
        >>> import fastlstm
        >>> lstm = fastlstm.LSTM(3, 8, seed=0)
        >>> if fastlstm.gpu.is_available():
        ...     lstm = lstm.to("cuda")
        >>> lstm.to("cpu").device
        'cpu'
        """
        own = self._array_kind
        values = own.values if isinstance(own, DeviceKind) else own.name
        if dtype is not None:
            values = values_of(dtype, device)
        if device == "cpu":
            if dtype is not None and values != self.dtype.name:
                raise ValueError(f"dtype must be {self.dtype} on the host, where the layer has no other, not {values}")
            values = self.dtype.name
        if library is None and isinstance(own, DeviceKind):
            library = own.library.name
        flat = moved(on_host(self.flat).copy(), device_kind(device, values, library))
        other = type(self).__new__(type(self))
        other.__setstate__(self.__getstate__() | {"flat": flat})
        return other

    def _kind_for(self, x: object) -> Kind:
        """What the arrays of a call must be like: as the parameters; x must not be another library's."""
        own = self._array_kind
        if not isinstance(own, DeviceKind):
            return own
        library = native_library(x.data if isinstance(x, PackedSequence) else x)
        if library not in (None, own.library):
            raise TypeError(
                f"x is an array of {library.name}, but the parameters are arrays of {own.library.name}: "
                f'to("cuda", library="{library.name}") makes a layer for x'
            )
        return own

    # ---- memory ----

    def _borrow(self, use: str, size: int, kind: Kind, borrowed: dict[str, Array]) -> Array:
        """Memory of at least `size` values; on a device new memory, since its libraries keep what was freed.

        `borrowed` is what a call has, by its use; `_keep` keeps it for the next call. Two calls at the same time share
        none.
        """
        if isinstance(kind, DeviceKind):
            return empty((size,), kind)
        if size * self.dtype.itemsize < WORTH_KEEPING:
            return np.empty(size, self.dtype)
        space = borrowed.get(use)
        if space is None:
            space = self._kept.pop(use, None)
        if space is None or space.size < size:
            space = empty((size,), self.dtype)
        borrowed[use] = space
        return space

    def _keep(self, borrowed: dict[str, Array]) -> None:
        """Keep what a call has borrowed, as far as it pays."""
        if not borrowed:
            return
        left, kept = MOST_TO_KEEP, {}
        for use, space in borrowed.items():
            if space.nbytes <= left:
                left -= space.nbytes
                kept[use] = space
        self._kept = kept

    def _rows_for(self, use: str, shape: tuple[int, ...], kind: Kind, borrowed: dict[str, Array] | None) -> Array:
        """A new array, or borrowed memory."""
        if borrowed is None or isinstance(kind, DeviceKind):
            return empty(shape, kind)
        size = math.prod(shape)
        return self._borrow(use, size, kind, borrowed)[:size].reshape(shape)

    # ---- passes ----

    def _forward_pass(
        self, x: Array | PackedSequence, states: States, lengths: ArrayLike | None, reset: ArrayLike | None,
        reset_to: Literal["initial", "zero"], masks: Masks | None, tape: bool | Tape,
        recompute: int | None, num_threads: int | None,
    ) -> tuple[Any, States, Tape | None]:  # fmt: skip
        """y, the state and the tape, from a checked state (layers D, B, ...)."""
        threads, steps = checked_num_threads(num_threads), _tapes.recompute_steps(recompute, tape, Tape)
        (T, B), D, P, H, kind = self._sizes(x), self.directions, self.output_size, self.hidden_size, self._kind_for(x)
        cells = self.num_layers * D
        borrowed: dict[str, Array] = {}
        # Without a tape, rows in the kernels' order are needed here alone.
        for_rows = None if tape or lengths is None else borrowed
        below, rows = self._rows_of(x, lengths, threads, kind, for_rows)
        call = Call(self._kind, batch_of(T, B, rows, self.batch_invariant), kind, rows)
        given = self._layer_tapes(tape) if isinstance(tape, Tape) else [None] * cells
        if len(given) != cells:
            expected = "1 layer and direction" if cells == 1 else f"{cells} layers and directions"
            raise ValueError(f"tape must be of {expected}, not of {len(given)}")
        if masks is not None:
            masks = self._check_masks(masks, T, B, kind)
        first_states = call.states_in(_core.or_zeros(states, self._kind, (cells, B), P, H, kind))
        last_states = _core.each(empty_like, first_states)
        ready: list[tuple[Call, Weights, Any]] = []
        if isinstance(tape, Tape):  # all of it must fit before anything is written to it
            ready = [self._begin(k, call, reset, reset_to, masks, below, True, steps, given[k]) for k in range(cells)]
            self._check_apart([kept for *_, kept in ready], {"x": below, "flat": self.flat}, first_states, masks)
        layers: list[Any] = []
        for first in range(0, cells, D):
            y = self._rows_for("even" if first // D % 2 else "odd", call.shape(D * P), kind, for_rows)
            passes = []
            for k in range(first, first + D):
                if ready:
                    own, weights, kept = ready[k]
                else:
                    own, weights, kept = self._begin(k, call, reset, reset_to, masks, below, bool(tape), steps)
                if kept is not None:
                    kept.x = below
                    layers.append(kept)
                one = _core.forward_pass(own, weights, kept is not None and steps is None, steps)
                space = self._borrow(DIRECTIONS[k - first], one.workspace(), kind, borrowed)
                _tapes.start_forward(
                    one, kept, below, of_cell(first_states, k), y, (k - first) * P, of_cell(last_states, k), space
                )
                passes.append(one)
            _forward.run_passes(passes, threads, _core.device_of(kind))
            below = y
            if masks is not None and masks.between and first + D < cells:
                mask = masks.between[first // D]
                with as_in_kernels():
                    below = y * (mask if rows is None else rows.pack(mask, threads))
        last_states = call.states_out(last_states, H)
        result = self._as_given(y, rows, threads)
        self._keep(borrowed)
        return result, last_states, Tape(layers, call, masks) if tape else None

    def _begin(
        self, k: int, call: Call, reset: ArrayLike | None, reset_to: Literal["initial", "zero"], masks: Masks | None,
        x: Array, with_tape: bool, recompute: int | None, given: Any = None,
    ) -> tuple[Call, Weights, Any]:  # fmt: skip
        """The call of one layer and direction, its weights and its tape."""
        batch, kind, rows, reverse = call.batch, call.kind, call.lengths, k % self.directions > 0
        recurrent = None if masks is None or not masks.recurrent else masks.recurrent[k]
        zoneout = None if masks is None or not masks.zoneout else masks.zoneout[k]
        P, H = self.output_size, self.hidden_size
        options = options_of(batch.T, batch.B, P, H, kind, rows, reverse, reset, reset_to, recurrent, zoneout)
        plain = options is None and not reverse
        own, weights = call if plain else Call(self._kind, batch, kind, rows, reverse, options), self._wide(k, masks)
        return own, weights, self._tape_type.of_call(own, weights, x, given, recompute) if with_tape else None

    @staticmethod
    def _check_apart(layers: list[Any], inputs: dict[str, Array | None], states: States, masks: Masks | None) -> None:
        """Raise unless the arrays that a forward pass is to fill overlap nothing that it or the backward pass reads."""
        inputs |= {f"state {name}": array for name, array in zip("hcg", states, strict=True)}
        outputs: dict[str, Array] = {}
        for k, kept in enumerate(layers):
            outputs |= {name.replace("tape", f"tape.layers[{k}]", 1): array for name, array in kept.named().items()}
            inputs |= {f"{name} of layer {k}": array for name, array in kept.call.named().items()}
        check.disjoint(outputs, inputs | ({} if masks is None else masks.named()))

    def _backward_pass(
        self, tape: _Checked, dy: Array | PackedSequence | None, dstates: States, out: Gradients | None,
        accumulate: bool, num_threads: int | None, deltas: bool, dc_above: Any = None,
    ) -> tuple[Gradients, States]:  # fmt: skip
        """The gradients but for their state, and that."""
        deltas = check.flag("deltas", deltas)
        grads, threads = self._gradients(out, accumulate), checked_num_threads(num_threads)
        call, D, P, H, kind = tape.call, self.directions, self.output_size, self.hidden_size, self._array_kind
        B, rows, cells = call.batch.B, call.lengths, self.num_layers * self.directions
        above = None if dy is None else self._gradient_rows(call, dy, threads)
        dlast, dfirst = call.states_in(dstates), _core.kernel_states(self._kind, (cells, B), P, H, kind)
        cell_gradients = self._cell_gradients(call, dc_above, threads)
        tapes, all_weights, masks = tape.layers, tape.weights, tape.masks
        # Does the caller have x as the kernels do?
        direct = not self.batch_first if rows is None else rows.packed is not None
        shape = call.shape(self.input_size) if direct else self._shape_given(call, self.input_size)
        dx_given = self._like_x(out, shape, kind)
        if out is not None:
            inputs: dict[str, Array | None] = {"dy": above, **{f"dc[{k}]": a for k, a in enumerate(cell_gradients)}}
            inputs |= {f"dstate {name}": array for name, array in zip("hcg", dlast, strict=True)}
            inputs |= {"the layer's flat": self.flat} | ({} if masks is None else masks.named())
            for kept in tapes:  # each name stands for all layers
                own = {"tape.x": kept.x, **kept.read(), **kept.call.named()}
                check.disjoint({"out x": dx_given, "out.flat": grads.flat}, inputs | own)
            if isinstance(dy, np.ndarray) and np.may_share_memory(dx_given, dy):
                raise ValueError("out x must not overlap dy")  # not contiguous, so that `above` is a copy
        visible: list[tuple[Array, ...]] = [()] * cells
        borrowed: dict[str, Array] = {}
        for first in reversed(range(0, cells, D)):
            passes, dxs, wides = [], [], []
            resets: list[States | None] = []
            for k in range(first, first + D):
                kept, suffix, weights = tapes[k], self._names()[k], all_weights[k]
                part = {name: grads.params.get(name + suffix) for name in ("W", "R", "b", "p", "proj", "G")}
                mask = masks.weights[k] if masks is not None and masks.weights else None
                wide = part["R"] if part["G"] is None and mask is None else zeros_like(weights.R)
                one = _core.backward_pass(kept.call, weights, True, deltas, kept.checkpoints)
                space = self._borrow(DIRECTIONS[k - first], one.workspace(), kind, borrowed)
                dx = dx_given if k == 0 and direct else empty(call.shape(weights.W.shape[1]), kind)
                if deltas:
                    sizes = (self._kind.gates * H, kind), (P, kind), (H, cells_of(kind))
                    count = 3 if self._tape_type is LSTMTape else 2
                    visible[k] = tuple(empty(call.shape(size), own) for size, own in sizes[:count])
                reset = _core.gradients_of_resets(kept.call.options, of_cell(dfirst, k))
                one.start(
                    kept.x, kept.arrays(), kept.again(), above, (k - first) * P, of_cell(dlast, k), cell_gradients[k],
                    dx, (part["W"], wide, part["b"], part["p"], part["proj"]), of_cell(dfirst, k), reset,
                    visible[k] or None, bool(accumulate), space,
                )  # fmt: skip
                passes.append(one)
                dxs.append(dx)
                resets.append(reset)
                wides.append((part, wide, mask))
            _backward.run_passes(passes, threads, _core.device_of(kind))
            for k, reset in enumerate(resets, first):
                if reset is not None:
                    _core.add_resets(of_cell(dfirst, k), reset)
            above = dxs[0]
            between = masks.between[first // D - 1] if masks is not None and masks.between and first else None
            if between is not None and rows is not None:
                between = rows.pack(between, threads)
            if between is not None or D > 1 or any(wide is not part["R"] for part, wide, _ in wides):
                with as_in_kernels():
                    for part, wide, mask in wides:
                        if wide is not None and wide is not part["R"]:
                            _write_wide(part, wide, mask, P, accumulate)
                    for dx in dxs[1:]:
                        above += dx
                    if between is not None:
                        above *= between
        self._keep(borrowed)
        assert above is not None
        grads.x = self._as_given(above, rows, threads, None if direct else dx_given)
        grads.deltas = [self._deltas_of(call, arrays) for arrays in visible] if deltas else None
        return grads, call.states_out(dfirst, H)

    def _cell_gradients(self, call: Call, dc: Any, threads: int) -> list[Array | None]:
        """Gradients arriving at every c^t, as the kernels want them, for each layer and direction."""
        cells, shape = self.num_layers * self.directions, (call.batch.T, call.batch.B, self.hidden_size)
        if dc is None:
            return [None] * cells
        if not isinstance(dc, (list, tuple)):
            raise TypeError(
                f"dc must be a list of an array or None for each layer and direction, not {type(dc).__name__}"
            )
        if len(dc) != cells:
            raise ValueError(
                f"dc must have {check.counted(cells, 'item')}, one for each layer and direction, not {len(dc)}"
            )
        return [
            call.rows(check.optional(f"dc[{k}]", above, shape, cells_of(self._array_kind), "(T, B, H)"), threads)
            for k, above in enumerate(dc)
        ]

    @staticmethod
    def _to_fill(tape: Tape | None) -> Tape | Literal[True]:
        """A tape to fill, or True for a new one."""
        if tape is None:
            return True
        if not isinstance(tape, Tape):
            raise TypeError(f"tape must be a Tape of an earlier call or None, not {type(tape).__name__}")
        return tape

    def _layer_tapes(self, tape: Tape) -> list[Any]:
        """The tapes of all layers and directions, of cells like those of this network."""
        if not isinstance(tape.layers, (list, tuple)):
            raise TypeError(f"tape.layers must be a list, not {type(tape.layers).__name__}")
        layers = list(tape.layers)
        if any(not isinstance(kept, self._tape_type) for kept in layers):
            raise ValueError(f"tape must be from a layer like this one, {self!r}, with {self._tape_type.__name__}s")
        return layers

    def _check_tape(self, tape: object) -> _Checked:
        """What a tape holds at this moment, once it is known that all of it goes together, and with this layer."""
        if not isinstance(tape, Tape):
            raise TypeError(f"tape must be a Tape from forward, not {type(tape).__name__}")
        call, masks, kind = tape.call, tape.masks, self._array_kind
        if not isinstance(call, Call):
            raise TypeError(f"tape.call must be that of a forward pass, not {type(call).__name__}")
        call.check_rows()
        if call.kind != kind:
            raise TypeError(f"tape.call must be of arrays as this layer's are, {kind}, not {call.kind}")
        given = self._layer_tapes(tape)
        if len(given) != self.num_layers * self.directions:
            raise ValueError(f"tape must be from a layer like this one, {self!r}")
        if masks is not None:
            masks = self._check_masks(masks, call.batch.T, call.batch.B, kind, "tape.masks")
        layers, all_weights, D = [], [], self.directions
        for k, kept in enumerate(given):
            own, weights = _tapes.known_call(kept.call, self._kind), self._wide(k, masks)
            if own.cell is not self._kind and own.cell != self._kind:
                raise ValueError(f"tape must be from a layer like this one, {self!r}")
            if own.reverse != (k % D > 0) or not (own is call or (own.kind == kind and own.same_rows(call))):
                raise ValueError(f"tape.layers[{k}] must be of the same forward pass as the tape, in its own direction")
            layers.append(kept.checked(own, weights))
            all_weights.append(weights)
        return _Checked(call, layers, all_weights, masks)

    def _like_x(self, out: Gradients | None, shape: tuple[int, ...], kind: Kind) -> Array:
        """Where to write dJ/dx: that of `out` where it has this layout."""
        before = getattr(out, "x", None)
        if isinstance(before, PackedSequence):
            before = before.data
        if isinstance(kind, DeviceKind):
            own = kind.library
            if before is not None and own.owns(before) and own.kind(before) == kind and own.is_contiguous(before):
                return before if before.shape == shape else empty(shape, kind)
            return empty(shape, kind)
        if isinstance(before, np.ndarray) and before.shape == shape and before.dtype == self.dtype:
            flags = before.flags
            if flags.c_contiguous and flags.aligned and flags.writeable:
                return before
        return empty(shape, kind)

    # ---- single steps ----

    @property
    def steps_one_by_one(self) -> bool:
        """Whether nothing lies between two steps, so that each layer's runs alone."""
        return self._one_by_one

    def _is_step(self, x: object, lengths: object, reset: object, reset_to: object) -> bool:
        """Is a call one that `step` does sooner, and bitwise the same? With more rows a call packs its weights."""
        if not self._steps_directly or lengths is not None or reset is not None or reset_to != "initial":
            return False
        if type(x) is not np.ndarray or x.ndim != 3 or x.dtype != self.dtype or x.shape[2] != self.input_size:
            return False
        T, B = x.shape[1::-1] if self.batch_first else x.shape[:2]
        return bool(T == 1 and 0 < B < ROWS_TO_PACK)

    def _as_step(self, x: Any) -> tuple[Array, Array]:
        """The one step of x, and a state of zeros for it."""
        x_t = x[:, 0] if self.batch_first else x[0]
        return x_t, np.zeros((1, len(x_t), self.hidden_size), self.dtype)

    def _as_sequence(self, y_t: Array) -> Any:
        return y_t[:, np.newaxis] if self.batch_first else y_t[np.newaxis]

    def check_steps(self) -> None:
        """Raise ValueError unless the layers can run one step at a time."""
        if self.bidirectional:
            raise ValueError("step needs layers in one direction: the other would have to begin at the last step")

    def _spaces_between(self, B: int) -> list[Array]:
        """Where a step's outputs go on their way up: two arrays, kept for each thread and B where they are small."""
        if getattr(self._between, "B", None) == B:
            kept: list[Array] = self._between.spaces
            return kept
        spaces = [np.empty((B, self.output_size), self.dtype) for _ in range(2)]
        if spaces[0].nbytes < WORTH_KEEPING:
            self._between.B, self._between.spaces = B, spaces
        return spaces

    # ---- sequences and states ----

    def _rows_of(
        self, x: Array | PackedSequence, lengths: ArrayLike | None, threads: int, kind: Kind,
        borrowed: dict[str, Array] | None,
    ) -> tuple[Array, Lengths | None]:  # fmt: skip
        """The rows of x as the kernels want them, and how they lie."""
        if isinstance(x, PackedSequence):
            if lengths is not None:
                raise ValueError(f"lengths must be None with packed x, which has its own, not {lengths}")
            rows = Lengths.of_packed(x)
            shape = rows.batch.count, self.input_size
            return check.matching("x.data", x.data, shape, kind, "(count, columns)"), rows
        axes = "(B, T, I)" if self.batch_first else "(T, B, I)"
        x = check.sized("x", x, 3, axes, kind)
        x = check.matching("x", x, (*x.shape[:2], self.input_size), kind, axes)
        x = x.swapaxes(0, 1) if self.batch_first else x
        if lengths is None:
            return contiguous(x), None
        rows = Lengths(lengths, *x.shape[:2])
        return rows.pack(x, threads, self._rows_for("x", (rows.batch.count, self.input_size), kind, borrowed)), rows

    def _gradient_rows(self, call: Call, dy: Array | PackedSequence, threads: int) -> Array:
        """The rows of dy as the kernels want them."""
        rows, columns, name = call.lengths, self.directions * self.output_size, "dy"
        if rows is not None and rows.packed is not None:
            if isinstance(dy, PackedSequence):
                given = Lengths.of_packed(dy)
                for field, found, expected in (
                    ("batch_sizes", dy.batch_sizes, rows.packed.batch_sizes),
                    ("sorted_indices", given.order, rows.order),
                ):
                    if not np.array_equal(found, expected):
                        raise ValueError(f"dy.{field} must be those of x, {expected.tolist()}, not {found.tolist()}")
                dy, name = dy.data, "dy.data"
            return check.matching(name, dy, call.shape(columns), self._array_kind, "(count, columns)")
        axes = "(B, T, D H)" if self.batch_first else "(T, B, D H)"
        above = check.sized("dy", dy, 3, axes, self._array_kind)
        above = check.matching("dy", above, self._shape_given(call, columns), self._array_kind, axes)
        above = above.swapaxes(0, 1) if self.batch_first else above
        return contiguous(above) if rows is None else rows.pack(above, threads)

    def _shape_given(self, call: Call, columns: int) -> tuple[int, ...]:
        """Of a sequence in the layout of the caller."""
        T, B = call.batch.T, call.batch.B
        return (B, T, columns) if self.batch_first else (T, B, columns)

    def _as_given(self, sequence: Array, rows: Lengths | None, threads: int, out: Array | None = None) -> Any:
        """The kernels' rows in the layout of the caller, in `out` if that is given and the layout is another."""
        if rows is None:
            if not self.batch_first:
                return sequence
            turned = sequence.swapaxes(0, 1)
            if out is None:
                return contiguous(turned)
            out[:] = turned
            return out
        if rows.packed is not None:
            return rows.repacked(sequence)
        if out is None:
            T, B = rows.shape
            out = empty((B, T, sequence.shape[1]) if self.batch_first else (T, B, sequence.shape[1]), kind_of(sequence))
        rows.pad(sequence, out.swapaxes(0, 1) if self.batch_first else out, threads)
        return out

    def _state_in(
        self, name: str, state: Array | None, B: int, size: int, kind: Kind, columns: str = "H"
    ) -> Array | None:
        """A state or its gradient, (layers D, B, size)."""
        cells = self.num_layers * self.directions
        axes = f"(1, B, {columns})" if cells == 1 else f"(layers D, B, {columns})"
        return check.optional(name, state, (cells, B, size), kind, axes)

    def zero_state(self, B: int) -> tuple[Array, ...]:
        """New arrays for all that the state has: h, c, g."""
        lead, nothing = (self.num_layers * self.directions, check.count("B", B)), (None, None, None)
        states = _core.or_zeros(nothing, self._kind, lead, self.output_size, self.hidden_size, self._array_kind)
        return tuple(array for array in states if array is not None)

    def _sizes(self, x: Array | PackedSequence) -> tuple[int, int]:
        """T and B."""
        if isinstance(x, PackedSequence):
            return len(x.batch_sizes), int(x.batch_sizes[0]) if x.batch_sizes.size else 0
        axes = "(B, T, I)" if self.batch_first else "(T, B, I)"
        first, second, _ = check.sized("x", x, 3, axes, self._array_kind).shape
        return (second, first) if self.batch_first else (first, second)

    # ---- Python ----

    def __repr__(self) -> str:
        named = {
            "num_layers": (self.num_layers, 1),
            "bidirectional": (self.bidirectional, False),
            "batch_first": (self.batch_first, False),
            "dropout": (self.dropout, 0.0),
            "recurrent_dropout": (self.recurrent_dropout, 0.0),
            "drop_connect": (self.drop_connect, 0.0),
            "zoneout": (self.zoneout, (0.0, 0.0)),
            "proj_size": (self.proj_size, 0),
            "batch_invariant": (self.batch_invariant, False),
        }
        given = "".join(f", {name}={value}" for name, (value, usual) in named.items() if value != usual)
        own = self._options()
        kind = self._array_kind
        where = f"{kind.values}, device={kind.place}" if isinstance(kind, DeviceKind) else str(self.dtype)
        return f"{type(self).__name__}({self.input_size}, {self.hidden_size}, {own}{given}, dtype={where})"
