"""Parameters in one buffer with named views, gradients likewise."""

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

ONLY_AT_FIRST = ("seed", "init_scale", "forget_bias")  # arguments that say what parameters begin with

DRAWN_AT_ONCE = 1 << 16

_to_allocate: ContextVar[float] = ContextVar("to_allocate", default=math.inf)  # a number within `unfilled`


@contextmanager
def unfilled(size: int) -> Iterator[None]:
    """Make layers within whose parameters are to be filled from a file: none are drawn, and there are at most so many.

    More parameters raise ValueError before there is memory for them.
    """
    token = _to_allocate.set(size)
    try:
        yield
    finally:
        _to_allocate.reset(token)


def are_restored() -> bool:
    """Whether layers are made from what was saved, not by a user."""
    return math.isfinite(_to_allocate.get())


def draw(rng: np.random.Generator, into: Array, scale: float) -> None:
    """Fill an array of parameters, uniform between -scale and scale, a few at a time: they are drawn as float64."""
    if are_restored():
        return
    flat = into.reshape(-1)
    for start in range(0, flat.size, DRAWN_AT_ONCE):
        part = flat[start : start + DRAWN_AT_ONCE]
        part[:] = rng.uniform(-scale, scale, part.size)


class Params(dict[str, Array]):
    """Names of parameters to views of one buffer, which are written to in place and cannot be replaced."""

    __slots__ = ()

    def __setitem__(self, name: str, value: Array) -> None:
        if name not in self or self[name] is not value:  # which params[name] += 1 sets, once it has added
            self._refuse(name)

    def _refuse(self, *given: object, **named: object) -> NoReturn:
        name = given[0] if given and isinstance(given[0], str) and given[0] in self else next(iter(self), "W")
        raise TypeError(f'params do not support item assignment: write in place, params["{name}"][:] = ...')

    __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # a copy has arrays of its own: they are views no more


class Gradients:
    """What a layer's `backward` returns.

    Attributes
    ----------
    params : mapping of str to array
        dJ/d(parameter), with the keys and shapes of the layer's `params`: views into `flat`.
    flat : (n,) array
        All parameter gradients in one buffer, in the order of the layer's `flat`.
    x : array or PackedSequence
        dJ/dx, shaped as x.
    state : array or tuple of array
        dJ/d(initial state), shaped as the state.
    deltas : list of LSTMDeltas or RNNDeltas, or None
        Where they were asked for: one for each layer and direction, in the order of the parameters.
    """

    __slots__ = ("deltas", "flat", "made", "made_parts", "params", "parts", "state", "untouched", "x")

    def __init__(
        self, flat: Array, params: Mapping[str, Array], owner: Parametric | None = None, *, untouched: bool = False
    ) -> None:
        self.flat = flat
        self.params = params
        self.parts: dict[str, Gradients] = {}  # those of a network's layers: views into `flat` too
        self.made: tuple[Any, ...] = (flat, params, owner)  # what the attributes were, and whose parameters'
        self.made_parts: list[tuple[str, Gradients, Array]] = []  # and those in `parts`, with their `flat`
        self.untouched = untouched  # new, all zeros: nobody has had them yet
        self.x: Any
        self.state: Any
        self.deltas: list[Any] | None = None

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
    """Names of parameters to consecutive parts of `flat`."""
    found, start = {}, 0
    for name, shape in shapes.items():
        end = start + math.prod(shape)
        found[name] = flat[start:end].reshape(shape)
        start = end
    return Params(found)


class Parametric:
    """Something with parameters: a recurrent layer, a dense one."""

    params: Mapping[str, Array]
    flat: Array
    dtype: np.dtype[Any]
    _moved = False  # into the buffer of a network
    _writes_few_gradients = False  # and leaves the others, of a large table, as they are: new ones are zero

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the parameters, in the order of the buffer."""
        raise NotImplementedError

    def _bind(self) -> None:
        """Take hold of the parameters' arrays, which move once at most: into the buffer of a network."""
        raise NotImplementedError

    _array_kind: Kind
    """What the parameters' arrays are like."""

    def _allocate(self) -> None:
        self._array_kind = self.dtype
        self._hold(self._memory())

    def _memory(self) -> Array:
        """Memory for the parameters."""
        size = self._size()
        self._take(size)
        try:
            return empty((size,), self._array_kind)
        except (MemoryError, ValueError):  # ValueError: NumPy cannot count so many
            raise MemoryError(
                f"{type(self).__name__} would have {size} parameters: there is no memory for them"
            ) from None

    def _size(self) -> int:
        """How many parameters there are."""
        return sum(math.prod(shape) for shape in self._shapes().values())

    def _hold(self, flat: Array) -> None:
        """Keep the parameters in `flat`, which has their values, from now on."""
        vars(self).update(flat=flat, params=self._views(flat))
        self._bind()

    def arguments(self) -> dict[str, Any]:
        """What the layer was made with, but for what its parameters began with: another of these is like this one."""
        names = [name for name in inspect.signature(type(self)).parameters if name not in ONLY_AT_FIRST]
        return {name: getattr(self, name) for name in names}

    def _take(self, size: int) -> None:
        """Count the parameters, where there is a bound to them."""
        left = _to_allocate.get() - size
        if left < 0:
            raise ValueError(f"{type(self).__name__} would have {check.counted(size, 'parameter')}, too many")
        _to_allocate.set(left)

    def _views(self, flat: Array) -> Mapping[str, Array]:
        """Names of the parameters to consecutive parts of `flat`."""
        return views(flat, self._shapes())

    def _initialise(self, seed: int | np.random.Generator | None, scale: float) -> None:
        draw(check.seed("seed", seed), self.flat, scale)

    def _gradients(self, out: Gradients | None, accumulate: bool) -> Gradients:
        """Where to write gradients: `out`, or new ones."""
        accumulate = check.flag("accumulate", accumulate)
        if out is None:
            if accumulate:
                raise ValueError("accumulate needs out, the gradients to add to")
            few = self._writes_few_gradients
            flat = (zeros if few else empty)(tuple(self.flat.shape), self._array_kind)
            return Gradients(flat, self._views(flat), self, untouched=few)
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
        """Keep the parameters in `flat` from now on: a part of a network's buffer, which has their values."""
        for before in (self.flat, *self.params.values()):  # to write there would change nothing: it shall raise
            before.flags.writeable = False
        self._moved = True
        self._hold(flat)

    def __setattr__(self, name: str, value: Any) -> None:
        if name[0] != "_":  # the kernels trust the sizes, and hold the parameters where they are
            own = vars(self)
            if value is not own.get(name, value):
                hint = "write to it in place, flat[:] = ..." if name == "flat" else "make a new layer"
                raise AttributeError(f"{name} cannot be set: {hint}")
            if name not in own and "flat" in own:  # all that it has was set before
                check.may_have(self, name)
        object.__setattr__(self, name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "params" and not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take hold of the very array in `state`: an optimiser that is copied or pickled with this refers to it too."""
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
        """Make a copy with parameters of its own, as a deep copy has: two layers cannot share them."""
        return copy.deepcopy(self)
