"""What all recurrent layers share: their arguments, their parameters, where they are and the memory that they keep."""

from __future__ import annotations

import functools
import math
import warnings
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import DTypeLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, Kind, cells_of, empty, moved, on_host
from fastlstm._arrays.libraries import DeviceDType, DeviceKind, LibraryName, device_kind, native_library, values_of
from fastlstm._cells import Cell
from fastlstm._engine.batches import PackedSequence, as_packed
from fastlstm._engine.call import Call, Weights
from fastlstm._engine.tapes import CellTape, known_call
from fastlstm._engine.threads import checked_num_threads
from fastlstm._system.float_mode import as_in_kernels
from fastlstm.layers.masks import Masking, Masks
from fastlstm.layers.memory import Memory
from fastlstm.layers.network_layer import NetworkLayer, Signal
from fastlstm.layers.parameters import Gradients, are_restored
from fastlstm.layers.stack import CheckedTape, Tape, Target, run_back
from fastlstm.layers.steps import Stepping


@functools.lru_cache(maxsize=16)
def _suffixes(num_layers: int, directions: int) -> list[str]:
    return [f"_l{k}{end}" for k in range(num_layers) for end in ("", "_reverse")[:directions]]


class Layer(Masking, Memory, Stepping, NetworkLayer):
    """Recurrent layers, one above the other, in one direction or two; `LSTM` and `RNN` add the cell."""

    needs = ("state", "lengths", "rng")
    _takes_sequences = True

    # The shapes of all parameters, once they are known.
    _all_shapes: dict[str, tuple[int, ...]] | None = None
    # The names of the parameters of each layer and direction, without and with the suffix.
    _parameter_names: list[list[tuple[str, str]]]

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
        """Return the suffixes of the parameters of each layer and direction."""
        return _suffixes(self.num_layers, self.directions)

    def _find_cell(self) -> Cell:
        """Return the cell that the layer's arguments describe."""
        raise NotImplementedError

    def _optional(self) -> tuple[str, ...]:
        """Return the names of the cell's optional parameters that the layer has."""
        return ()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of all parameters, in the order of the buffer."""
        if self._all_shapes is None:
            self._cell, optional = self._find_cell(), self._optional()
            self._all_shapes, self._parameter_names = {}, []
            for k, suffix in enumerate(self._names()):
                inputs = self.input_size if k < self.directions else self.directions * self.output_size
                sized = self._cell.sized(self.dtype, inputs, self.hidden_size, self.output_size)
                own = {
                    name: shape for name, (shape, _, rare) in sized.parameters.items() if not rare or name in optional
                }
                self._all_shapes |= {name + suffix: shape for name, shape in own.items()}
                self._parameter_names.append([(name, name + suffix) for name in own])
        return self._all_shapes

    def _bind(self) -> None:
        get = self.params.get
        self._bind_weights([
            Weights(self.params["W" + s], self.params["R" + s], self.params["b" + s], get("p" + s), get("proj" + s))
            for s in self._names()
        ])  # fmt: skip

    def _bind_weights(self, weights: list[Weights]) -> None:
        """Take hold of the weights of each layer and direction."""
        self._weights = weights
        self._sized = self._cell.sized(self._array_kind, self.input_size, self.hidden_size, self.output_size)
        self._kept = {}
        self._bind_steps()

    def _start_weights(self, seed: int | np.random.Generator | None, scale: float | None) -> None:
        usual, end = 1 / math.sqrt(self.hidden_size), float(np.finfo(self.dtype).max) / 2
        self._initialise(seed, usual if scale is None else check.within("init_scale", scale, end))

    def _weights_of(self, k: int, masks: Masks | None = None) -> Weights:
        """Return the weights of a layer and direction as the passes read them."""
        weights = self._weights[k]
        if masks is not None and masks.weights:
            with as_in_kernels():
                weights = weights._replace(R=weights.R * masks.weights[k])
        if not self._cell.has_own_layout or weights.packed is not None:
            return weights
        return weights._replace(R=self._cell.kernel_R(weights.R, self.params["G" + self._names()[k]]))

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
        """Return what the arrays of a call must be like: as the parameters; x must not be another library's."""
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

    # ---- passes ----

    def _masks_for(
        self, T: int, B: int, masks: Masks | None, rng: np.random.Generator | None, training: bool
    ) -> Masks | None:
        """Return the masks of a call, checked or drawn; those of inference have what zoneout keeps on average."""
        if not training:
            masks = self._expected_masks(T, B) if any(self.zoneout) else None
        elif masks is None and self._has_masks():
            masks = self._drawn_masks(T, B, rng)
        return None if masks is None else self._check_masks(masks, T, B, self._array_kind)

    def _named(
        self, tapes: list[CellTape], calls: list[Call], masks: Masks | None
    ) -> tuple[dict[str, Array], dict[str, Array | None]]:
        """Return what a forward pass writes to tapes, and what it reads, by the names that messages use."""
        outputs: dict[str, Array] = {}
        inputs: dict[str, Array | None] = {"flat": self.flat}
        inputs |= {} if masks is None else masks.named()
        for k, (tape, call) in enumerate(zip(tapes, calls, strict=True)):
            outputs |= {name.replace("tape", f"tape.layers[{k}]", 1): array for name, array in tape.named().items()}
            inputs |= {f"{name} of layer {k}": array for name, array in call.named().items()}
        return outputs, inputs

    def _run_back(
        self, tape: object, dy: Any, dstate: Any, dc: Any, *, deltas: bool, out: Gradients | None, accumulate: bool,
        num_threads: int | None,
    ) -> Gradients:  # fmt: skip
        """Check what a backward pass is given, and run it."""
        checked, dy, deltas = self._check_tape(tape), as_packed("dy", dy), check.flag("deltas", deltas)
        call, masks, kind, B = checked.call, checked.masks, self._array_kind, checked.call.batch.B
        dlast = self._checked_state("dstate", dstate, B, kind, "d")
        grads, threads = self._gradients(out, accumulate), checked_num_threads(num_threads)
        above, columns = None, self.directions * self.output_size
        if dy is not None:
            above = call.open_gradient(dy, columns, self.batch_first, threads)
        dcs = self._cell_gradients(call, dc, threads)
        opens_rows = call.opens_rows(self.batch_first)
        shape = call.caller_shape(self.input_size, self.batch_first) if opens_rows else call.shape(self.input_size)
        dx = self._like_x(out, shape, kind)
        if out is not None:
            inputs: dict[str, Array | None] = {"dy": above, **{f"dc[{k}]": array for k, array in enumerate(dcs)}}
            inputs |= self._cell.labelled("dstate", dlast) | {"the layer's flat": self.flat}
            inputs |= {} if masks is None else masks.named()
            for kept in checked.layers:  # Each name stands for all layers.
                assert kept.call is not None
                own = {"tape.x": kept.x, **kept.read(), **kept.call.named()}
                check.disjoint({"out x": dx, "out.flat": grads.flat}, inputs | own)
            if isinstance(dy, np.ndarray) and np.may_share_memory(dx, dy):
                raise ValueError("out x must not overlap dy")  # It is not contiguous, so that `above` is a copy.
        params = grads.params
        parts = [{name: params[full] for name, full in names} for names in self._parameter_names]
        grads.x, grads.state, grads.deltas = run_back(
            self, checked, above, dlast, dcs, Target(parts, dx), bool(accumulate), deltas, threads
        )
        return grads

    def _cell_gradients(self, call: Call, dc: Any, threads: int) -> list[Array | None]:
        """Return the gradients arriving at every c^t as the kernels read them, for each layer and direction."""
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
            call.packed(check.optional(f"dc[{k}]", above, shape, cells_of(self._array_kind), "(T, B, H)"), threads)
            for k, above in enumerate(dc)
        ]

    @staticmethod
    def _to_fill(tape: Tape | None) -> Tape | Literal[True]:
        """Return a tape to fill, or True for a new one."""
        if tape is None:
            return True
        if not isinstance(tape, Tape):
            raise TypeError(f"tape must be a Tape of an earlier call or None, not {type(tape).__name__}")
        return tape

    def _tapes_of(self, tape: Tape) -> list[CellTape]:
        """Return the tapes of all layers and directions, of cells like those of this network."""
        if not isinstance(tape.layers, (list, tuple)):
            raise TypeError(f"tape.layers must be a list, not {type(tape.layers).__name__}")
        layers = list(tape.layers)
        if any(not isinstance(kept, self._tape_type) for kept in layers):
            raise ValueError(f"tape must be from a layer like this one, {self!r}, with {self._tape_type.__name__}s")
        return layers

    def _tapes_to_fill(self, tape: Tape) -> list[CellTape]:
        """Return the tapes of all layers and directions that a caller gives to be filled again."""
        given, count = self._tapes_of(tape), self.num_layers * self.directions
        if len(given) != count:
            expected = "1 layer and direction" if count == 1 else f"{count} layers and directions"
            raise ValueError(f"tape must be of {expected}, not of {len(given)}")
        return given

    def _check_tape(self, tape: object) -> CheckedTape:
        """Return what a tape holds now, once it is known that all of it goes together, and with this layer."""
        if not isinstance(tape, Tape):
            raise TypeError(f"tape must be a Tape from forward, not {type(tape).__name__}")
        call, masks, kind, cell, D = tape.call, tape.masks, self._array_kind, self._cell, self.directions
        if not isinstance(call, Call):
            raise TypeError(f"tape.call must be that of a forward pass, not {type(call).__name__}")
        call.check_rows()
        if call.kind != kind:
            raise TypeError(f"tape.call must be of arrays as this layer's are, {kind}, not {call.kind}")
        given = self._tapes_of(tape)
        if len(given) != self.num_layers * D:
            raise ValueError(f"tape must be from a layer like this one, {self!r}")
        if masks is not None:
            masks = self._check_masks(masks, call.batch.T, call.batch.B, kind, "tape.masks")
        layers, all_weights = [], []
        for k, kept in enumerate(given):
            own, weights = known_call(kept.call, cell), self._weights_of(k, masks)
            if own.cell is not cell and own.cell != cell:
                raise ValueError(f"tape must be from a layer like this one, {self!r}")
            if own.reverse != (k % D > 0) or not (own is call or (own.kind == kind and own.same_rows(call))):
                raise ValueError(f"tape.layers[{k}] must be of the same forward pass as the tape, in its own direction")
            layers.append(kept.checked(own, weights, self._sized))
            all_weights.append(weights)
        return CheckedTape(call, layers, all_weights, masks)

    def _like_x(self, out: Gradients | None, shape: tuple[int, ...], kind: Kind) -> Array:
        """Return where to write dJ/dx: that of `out` where it has this layout."""
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

    # ---- Python ----

    def _options(self) -> str:
        """Return the cell's own options, for `repr`."""
        raise NotImplementedError

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
