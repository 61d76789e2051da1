"""Parameters as named views of one buffer, and gradients likewise."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn, Self

import numpy as np

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, Kind, empty, kind_of, zeros
from fastlstm._arrays.libraries import DeviceKind

# Arguments that only decide the initial parameters.
ONLY_AT_FIRST = ("seed", "init_scale", "forget_bias")

DRAWN_AT_ONCE = 1 << 16

# How many parameters may still be allocated: a finite number within `unfilled`.
_to_allocate: ContextVar[float] = ContextVar("to_allocate", default=math.inf)


@contextmanager
def unfilled(size: int) -> Iterator[None]:
    """Make layers whose parameters will be filled from a file: no parameters are drawn.

    More than `size` parameters raise ValueError before memory is allocated for them.
    """
    token = _to_allocate.set(size)
    try:
        yield
    finally:
        _to_allocate.reset(token)


def are_restored() -> bool:
    """Return whether layers are being restored from a file, not made by a user."""
    return math.isfinite(_to_allocate.get())


def draw(rng: np.random.Generator, into: Array, scale: float) -> None:
    """Fill an array with numbers uniform between -scale and scale, a part at a time: they are drawn as float64."""
    if are_restored():
        return
    flat = into.reshape(-1)
    for start in range(0, flat.size, DRAWN_AT_ONCE):
        part = flat[start : start + DRAWN_AT_ONCE]
        part[:] = rng.uniform(-scale, scale, part.size)


class Params(dict[str, Array]):
    """A mapping of parameters' names to views of one buffer, which can be written to but not replaced."""

    __slots__ = ()

    def __setitem__(self, name: str, value: Array) -> None:
        if name not in self or self[name] is not value:  # After adding in place, params[name] += 1 sets the same view.
            self._refuse(name)

    def _refuse(self, *given: object, **named: object) -> NoReturn:
        name = given[0] if given and isinstance(given[0], str) and given[0] in self else next(iter(self), "W")
        raise TypeError(f'params do not support item assignment: write in place, params["{name}"][:] = ...')

    __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # The arrays of a copy are its own, no longer views.


class Gradients:
    """The gradients that a layer's `backward` returns.

    Attributes
    ----------
    params : mapping of str to array
        dJ/d(parameter), with the keys and shapes of the layer's `params`: views into `flat`.
    flat : (n,) array
        All parameter gradients in one buffer, in the order of the layer's `flat`.
    x : array, PackedSequence or None
        dJ/dx, shaped as x; None where the pass ended above x, as it does above frozen layers alone.
    state : array or tuple of array
        dJ/d(initial state), shaped as the state.
    deltas : list of LSTMDeltas, GRUDeltas or RNNDeltas, or None
        Where they were asked for: one for each layer and direction, in the order of the parameters.
    """

    __slots__ = ("deltas", "flat", "made", "made_parts", "params", "parts", "state", "untouched", "x")

    def __init__(
        self, flat: Array, params: Mapping[str, Array], owner: Parametric | None = None, *, untouched: bool = False
    ) -> None:
        self.flat = flat
        self.params = params
        # The gradients of a network's layers, which are views into `flat` too.
        self.parts: dict[str, Gradients] = {}
        # The attributes as they were made, and the owner of the parameters; of `parts` likewise, with each `flat`.
        self.made: tuple[Any, ...] = (flat, params, owner)
        self.made_parts: list[tuple[str, Gradients, Array]] = []
        # Whether the gradients are new and all zeros, so that nobody has seen them yet.
        self.untouched = untouched
        self.x: Any
        self.state: Any
        self.deltas: list[Any] | None = None

    def _clear(self) -> None:
        """Make the gradients of the parameters zero; new ones are."""
        if not self.untouched:
            self.flat[:] = 0
        self.untouched = False

    def __getstate__(self) -> dict[str, Any]:
        names = [name for name in ("flat", "x", "state", "deltas", "parts") if hasattr(self, name)]
        shapes = {name: tuple(view.shape) for name, view in self.params.items()}
        return {name: getattr(self, name) for name in names} | {"shapes": shapes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["flat"], views(state["flat"], state["shapes"]))  # type: ignore[misc]
        for name in state.keys() - {"flat", "shapes"}:
            setattr(self, name, state[name])
        start = 0
        for part in self.parts.values():
            end = start + part.flat.size
            part.__setstate__(part.__getstate__() | {"flat": self.flat[start:end]})
            start = end


def views(flat: Array, shapes: Mapping[str, tuple[int, ...]]) -> Params:
    """Return a mapping of parameters' names to consecutive parts of `flat`."""
    found, start = {}, 0
    for name, shape in shapes.items():
        end = start + math.prod(shape)
        found[name] = flat[start:end].reshape(shape)
        start = end
    return Params(found)


class Parametric:
    """A layer with parameters, recurrent or not."""

    params: Mapping[str, Array]
    flat: Array
    dtype: np.dtype[Any]
    # Whether the parameters have moved to the buffer of a network.
    _moved = False
    # Whether training changes the parameters: what `trainable` gives and sets.
    _trainable = True
    # Whether a backward pass writes few rows of a large table of gradients, so that new gradients must be zero.
    _writes_few_gradients = False

    @property
    def trainable(self) -> bool:
        """Whether training changes the parameters; it may be set, and in a network holds for all of its layers.

        Where it is False, the parameters are frozen: their gradients are zero, and `fit` and the optimisers of a
        network leave them as they are.
        """
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = check.flag("trainable", value)

    def _trained(self) -> list[tuple[int, int]]:
        """Return where in the buffer the parameters are that are trained, as (start, end) of each section."""
        return [(0, self.flat.size)] if self._trainable and self.flat.size else []

    def _is_whole(self) -> bool:
        """Return whether nothing is frozen, as far as can be told quickly: what has no parameters may say otherwise."""
        return self._trainable

    def _frozen(self, name: str = "") -> list[str]:
        """Return the names of the layers whose parameters are frozen; this one is called `name`."""
        return [name] if self.flat.size and not self._trainable else []

    def _reaches_x(self) -> bool:
        """Return whether a backward pass goes on to x where nobody asks for dJ/dx, not ending above frozen layers."""
        return True

    def _has_our_backward(self) -> bool:
        """Return whether `backward` is the library's own, which a subclass has not replaced."""
        layer: Any = type(self)
        # A wrapper that keeps a docstring copies __module__ too, but not the globals.
        return str(getattr(layer.backward, "__globals__", {}).get("__name__", "")).startswith("fastlstm.")

    def _back(
        self, tape: Any, dy: Any, dstates: tuple[Any, ...], out: Gradients | None, accumulate: bool, to_x: bool
    ) -> Gradients:
        """Back-propagate as a part of a network; dJ/dx may be left out, as None, unless `to_x`."""
        layer: Any = self
        grads: Gradients = layer.backward(tape, dy, *dstates, out=out, accumulate=accumulate)
        return grads

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of the parameters, in the order of the buffer."""
        raise NotImplementedError

    def _bind(self) -> None:
        """Keep references to the parameters' arrays, which move at most once: to the buffer of a network."""
        raise NotImplementedError

    _array_kind: Kind
    """The kind of the parameters' arrays."""

    def _allocate(self) -> None:
        self._array_kind = self.dtype
        self._hold(self._memory())

    def _memory(self) -> Array:
        """Return memory for the parameters."""
        size = self._size()
        self._take(size)
        try:
            return empty((size,), self._array_kind)
        except (MemoryError, ValueError):  # NumPy raises ValueError where it cannot count the elements.
            raise MemoryError(
                f"{type(self).__name__} would have {size} parameters: there is no memory for them"
            ) from None

    def _size(self) -> int:
        """Return the number of parameters."""
        return sum(math.prod(shape) for shape in self._shapes().values())

    def _hold(self, flat: Array) -> None:
        """Keep the parameters in `flat`, which already has their values."""
        vars(self).update(flat=flat, params=self._views(flat))
        self._bind()

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that make a layer like this one, but for those of the initial parameters."""
        names = [name for name in inspect.signature(type(self)).parameters if name not in ONLY_AT_FIRST]
        for name in names:
            if not hasattr(self, name):
                kind = type(self).__name__
                raise AttributeError(f"{kind} must have an attribute for each of its arguments: self.{name} = {name}")
        return {name: getattr(self, name) for name in names}

    def _take(self, size: int) -> None:
        """Count the parameters against the most that are allowed."""
        left = _to_allocate.get() - size
        if left < 0:
            raise ValueError(f"{type(self).__name__} would have {check.counted(size, 'parameter')}, too many")
        _to_allocate.set(left)

    def _views(self, flat: Array) -> Mapping[str, Array]:
        """Return a mapping of the parameters' names to consecutive parts of `flat`."""
        return views(flat, self._shapes())

    def _initialise(self, seed: int | np.random.Generator | None, scale: float) -> None:
        draw(check.seed("seed", seed), self.flat, scale)

    def _gradients(self, out: Gradients | None, accumulate: bool) -> Gradients:
        """Return the gradients to write to: `out`, or new ones; those of a frozen layer are zeros already."""
        accumulate = check.flag("accumulate", accumulate)
        if out is None:
            if accumulate:
                raise ValueError("accumulate needs out, the gradients to add to")
            few = self._writes_few_gradients or not self._trainable
            flat = (zeros if few else empty)(tuple(self.flat.shape), self._array_kind)
            return Gradients(flat, self._views(flat), self, untouched=few and self._trainable)
        grads = self._checked_gradients(out)
        if not self._trainable:
            if not accumulate:
                grads._clear()
        elif grads.untouched and not self._writes_few_gradients:
            grads.untouched = False
        return grads

    def _checked_gradients(self, out: Gradients) -> Gradients:
        """Return gradients that a caller gives to be written to again."""
        if not isinstance(out, Gradients):
            raise TypeError(f"out must be Gradients, not {type(out).__name__}")
        check.output("out.flat", out.flat, tuple(self.flat.shape), self._array_kind, "the layer's flat")
        check.disjoint({"out.flat": out.flat}, {"the layer's flat": self.flat})
        flat, params, owner = out.made
        if not (flat is out.flat and params is out.params and owner is self):
            out.params, out.parts, out.made_parts = self._views(out.flat), {}, []
            out.made = out.flat, out.params, self
            out.untouched = False
        return out

    def _move(self, flat: Array) -> None:
        """Keep the parameters in `flat`, a part of a network's buffer that already has their values."""
        # Writing to the old arrays would change nothing, so it must raise.
        for before in (self.flat, *self.params.values()):
            before.flags.writeable = False
        self._moved = True
        self._hold(flat)

    def __setattr__(self, name: str, value: Any) -> None:
        # The kernels trust the sizes, and hold the addresses of the parameters.
        if name[0] != "_" and name != "trainable":
            own = vars(self)
            if value is not own.get(name, value):
                hint = "write to it in place, flat[:] = ..." if name == "flat" else "make a new layer"
                raise AttributeError(f"{name} cannot be set: {hint}")
            if name not in own and "flat" in own:  # Every attribute of a layer is set before flat.
                check.may_have(self, name)
        object.__setattr__(self, name, value)

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name != "params" and not name.startswith("_")}
        return state if self._trainable else state | {"_trainable": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Keep the very array in `state`: an optimiser that is copied or pickled with the layer refers to it too."""
        flat = state["flat"]
        vars(self).update({name: value for name, value in state.items() if name != "flat"})
        kind = kind_of(flat)
        if isinstance(kind, DeviceKind):
            self._array_kind, flat = kind, kind.library.contiguous(flat)
        else:
            self._array_kind, flags = self.dtype, flat.flags
            as_ours = type(flat) is np.ndarray and flat.dtype == self.dtype
            if not (as_ours and flags.c_contiguous and flags.aligned and flags.writeable):
                flat = np.array(flat, self.dtype)
        if flat.shape != (self._size(),):
            raise ValueError(f"flat must have shape ({self._size()},), not {tuple(flat.shape)}")
        self._hold(flat)

    def __copy__(self) -> Self:
        """Return a copy with parameters of its own, as a deep copy has: two layers cannot share parameters."""
        return copy.deepcopy(self)
