"""The base of layers without a state: a user's own, and fastlstm's."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm.layers.network_layer import NetworkLayer, Signal
from fastlstm.layers.parameters import ONLY_AT_FIRST, Gradients, are_restored, draw

__all__ = ["Layer", "LayerTape"]

# What a layer without a state may need besides x.
CONTEXT = ("lengths", "rng", "directions")


@dataclass(slots=True)
class LayerTape:
    """The values that `Layer.forward` stores for `Layer.backward`. A tape may be used many times.

    Attributes
    ----------
    kept
        What the layer's `compute` returned for its `gradients`.
    of : type
        The class of the layer.
    x, y : tuple of int
        The shapes of x and y.
    dtype : dtype
        The dtype of y.
    """

    kept: Any
    of: type
    x: tuple[int, ...]
    y: tuple[int, ...]
    dtype: np.dtype[Any]


class Layer(NetworkLayer):
    r"""The base class of layers of your own, which go wherever a network takes a layer.

    A subclass says which parameters it has, and has the mathematics: `compute` for :math:`y = f(x; \theta)`, and
    `gradients` for :math:`dJ/dx` and :math:`dJ/d\theta`. The base class has the rest: the buffer of the parameters, the
    call, `forward` with its tape, `backward` with `out` and `accumulate`, checks of all arrays, `repr`, copies, pickles
    and files. `__init__` sets the attributes first, one for each of its arguments and of the same name, and then calls
    ``super().__init__()``. Attributes cannot be replaced later, and copies have those whose names do not begin with an
    underscore.

    Parameters
    ----------
    dtype : float32 or float64
        The dtype of the parameters, and where there are any, of all arrays.
    seed : int or numpy.random.Generator, optional
        The source of the initial parameters: see `initialise`.

    Attributes
    ----------
    input_size, output_size : int
        The numbers of features, which a subclass may set before ``super().__init__()``, and which a network then
        compares with those of its other layers. A layer without `input_size` takes any number; one without
        `output_size` gives as many as it takes.
    needs : tuple of str
        The keyword arguments that `compute` takes besides x, as the subclass says: "lengths", the number of steps of
        each row, a (B,) array of int, or None where x has no steps; "rng", a generator of random numbers, or None in a
        call, in which nothing is random; "directions", 2 where x are the outputs of a bidirectional layer side by side,
        else 1.
    takes_sequences : bool
        Whether x must be a sequence (T, B, I), as the subclass says. Default: False, any (..., I).
    takes_ids : bool
        Whether x are integers, without an axis for features, as the subclass says. Default: False.
    params : mapping of str to array
        The parameters. Write to them in place.
    flat : (n,) array
        All parameters in one buffer, of which `params` are views. In a network they move into its buffer.

    Raises
    ------
    TypeError
        If a method is missing, or what a method returns or an argument is of the wrong type or dtype.
    ValueError
        If a shape is wrong, or a gradient is missing.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> from fastlstm import nn
    >>> class Scale(nn.Layer):
    ...     def __init__(self, input_size):
    ...         self.input_size = input_size
    ...         super().__init__()
    ...
    ...     def shapes(self):
    ...         return {"a": (self.input_size,)}
    ...
    ...     def initialise(self, rng):
    ...         self.params["a"][:] = 1
    ...
    ...     def compute(self, x):
    ...         return self.params["a"] * x, x
    ...
    ...     def gradients(self, x, dy):
    ...         return self.params["a"] * dy, {"a": (dy * x).sum(axis=(0, 1))}
    >>> network = nn.Sequential(fastlstm.LSTM(3, 8, seed=0), Scale(8), nn.Dense(8, 1, seed=1))
    >>> x = np.ones((20, 4, 3), np.float32)
    >>> y, state, tape = network.forward(x)
    >>> network.backward(tape, np.ones_like(y)).params["1.a"].shape
    (8,)
    """

    takes_ids = False
    # The names and shapes of the parameters, once `shapes` has been asked.
    _known_shapes: dict[str, tuple[int, ...]] | None = None

    def __init__(self, *, dtype: DTypeLike = np.float32, seed: int | np.random.Generator | None = None) -> None:
        self._check_class()
        self.dtype = check.float_dtype(dtype)
        rng = check.seed("seed", seed)
        self._allocate()
        if not are_restored():
            self.flat[:] = 0
            self.initialise(rng)

    # ---- what a subclass says ----

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the names and shapes of the parameters, in the order of the buffer. Default: no parameters."""
        return {}

    def initialise(self, rng: np.random.Generator) -> None:
        r"""Write the initial values to `params`, which are zeros.

        Default: those with two axes or more are uniform in :math:`\pm 1 / \sqrt{n}`, n the length of the last axis, and
        vectors stay zeros.
        """
        for array in self.params.values():
            if array.ndim > 1 and array.size:
                draw(rng, array, 1 / math.sqrt(array.shape[-1]))

    def compute(self, x: Array, *args: Any, **kwargs: Any) -> tuple[Array, Any]:
        """Return y, and anything that `gradients` needs of this call.

        Parameters
        ----------
        x : (..., I) array
            The input: a sequence (T, B, I), or (B, I) above a layer such as `Last`. Not to be written to.
        **needs
            A keyword argument for each name in `needs`.

        Returns
        -------
        y : (..., O) array
            The output, of the dtype of x.
        kept
            What is handed to `gradients`: x, y, nothing (None), several arrays in a tuple.
        """
        raise NotImplementedError(f"{type(self).__name__}.compute")

    def gradients(self, kept: Any, dy: Array) -> tuple[Array | None, Mapping[str, Array]]:
        """Return dJ/dx and the gradients of the parameters.

        Parameters
        ----------
        kept
            What `compute` returned beside y.
        dy : (..., O) array
            dJ/dy. Not to be written to.

        Returns
        -------
        dx : (..., I) array or None
            dJ/dx, of the shape and dtype of x; None for ids.
        params : mapping of str to array
            The gradient of each parameter, by its name. While `trainable` is False they do not count, and may be left
            out.
        """
        raise NotImplementedError(f"{type(self).__name__}.gradients")

    # ---- what the base class makes of it ----

    def __call__(self, x: Array, *args: Any, **kwargs: Any) -> Any:
        """Return y, without a tape.

        Parameters
        ----------
        x : (..., I) array
            The input.
        lengths, directions : optional
            For a layer that needs them: see `needs`. Default: all steps, and 1.
        """
        return self._computed(x, args, kwargs, False)[0]

    def forward(self, x: Array, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Run the layer as a call does, and return y and a tape for `backward`.

        Parameters
        ----------
        x, lengths, directions
            The same as for a call.
        rng : numpy.random.Generator
            For a layer that needs it: the source of random numbers.
        """
        return self._computed(x, args, kwargs, True)

    def backward(self, tape: Any, dy: Array, *, out: Gradients | None = None, accumulate: bool = False) -> Gradients:
        """Back-propagate through the layer.

        Parameters
        ----------
        tape : LayerTape
            The tape from `forward`; neither parameters nor inputs may have changed since. It is left as it was.
        dy : (..., O) array
            dJ/dy, shaped as y.
        out : Gradients, optional
            An earlier result, whose arrays are written to again.
        accumulate : bool
            Add the parameters' gradients to those in `out`, instead of overwriting them.

        Returns
        -------
        Gradients
            ``.params`` (the keys of `params`), ``.flat`` and ``.x``; ``.state`` is None.
        """
        name = type(self).__name__
        grads = self._gradients(out, accumulate)
        if not isinstance(tape, LayerTape) or tape.of is not type(self):
            given = f"one of a {tape.of.__name__}" if isinstance(tape, LayerTape) else type(tape).__name__
            raise TypeError(f"tape must be a LayerTape from the forward pass of a {name}, not {given}")
        dy = check.matching("dy", dy, tape.y, tape.dtype, "that of y")
        check.disjoint({"out.flat": grads.flat}, {"dy": dy})
        dx, own = check.pair(
            f"what {name}.gradients returns",
            self.gradients(tape.kept, dy),
            "a pair, dJ/dx and a mapping of the parameters' gradients",
        )
        if self.trainable:
            self._write(own, grads, accumulate)
        grads.x = None if self.takes_ids else _result(f"dx of {name}.gradients", dx, tape.x, dy.dtype)
        grads.state = None
        return grads

    def __repr__(self) -> str:
        known = inspect.signature(type(self)).parameters
        given: list[str] = []
        for name, parameter in known.items():
            if name in ONLY_AT_FIRST or not hasattr(self, name):
                continue
            value, usual = getattr(self, name), parameter.default
            text = str(value) if isinstance(value, np.dtype) else repr(value)
            if parameter.kind is parameter.VAR_POSITIONAL:
                given += map(repr, value)
            elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD and usual is parameter.empty:
                given.append(text)
            elif not np.array_equal(value, usual) or (name == "dtype" and self.flat.size):
                given.append(f"{name}={text}")
        return f"{type(self).__name__}({', '.join(given)})"

    # ---- checks ----

    def _check_class(self) -> None:
        """Raise TypeError unless the class has what a layer must have."""
        kind = type(self)
        for hook, made in (("compute", "forward"), ("gradients", "backward")):
            if getattr(kind, hook) is getattr(Layer, hook) and getattr(kind, made) is getattr(Layer, made):
                raise TypeError(f"{kind.__name__} must have a method {hook}, as nn.Layer describes it")
        needs = self.needs
        if not isinstance(needs, tuple) or not all(name in CONTEXT for name in needs):
            raise TypeError(f"{kind.__name__}.needs must be a tuple of some of {', '.join(CONTEXT)}, not {needs!r}")

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        if self._known_shapes is None:
            kind = type(self).__name__
            try:
                shapes = self.shapes()
            except AttributeError as error:
                raise AttributeError(f"{error}: set attributes before super().__init__()") from error
            if not isinstance(shapes, Mapping):
                raise TypeError(f"what {kind}.shapes returns must be a mapping of names to shapes, not {shapes!r}")
            for name, shape in shapes.items():
                if not (isinstance(name, str) and name):
                    raise TypeError(f"a name in {kind}.shapes must be a str of at least one letter, not {name!r}")
                if not isinstance(shape, (tuple, list)):
                    raise TypeError(f"the shape of {name} in {kind}.shapes must be a tuple of ints, not {shape!r}")
            self._known_shapes = {
                name: tuple([check.count(f"the shape of {name} in {kind}.shapes", n) for n in shape])
                for name, shape in shapes.items()
            }
        return self._known_shapes

    def _bind(self) -> None:
        """Do nothing: the parameters are looked up by name."""

    @property
    def _step_shape(self) -> tuple[int, ...] | None:
        return () if self.takes_ids else super()._step_shape

    def _run(self, x: Any, context: Mapping[str, Any], tapes: list[Any] | None) -> tuple[Any, list[Any]]:
        if np.ndim(x) != (2 if self.takes_ids else 3):  # The network's lengths are those of steps, which x has not.
            context = {**context, "lengths": None}
        return super()._run(x, context, tapes)

    def _computed(self, x: Array, args: tuple[Any, ...], given: dict[str, Any], training: bool) -> tuple[Any, Any]:
        """Return y, and in training the tape, once all arguments and results are known to be right."""
        name = type(self).__name__
        unknown = [repr(value) for value in args] + [key for key in given if key not in self.needs]
        if unknown:
            known = ", ".join(["x", *(f"{need}=" for need in self.needs)])
            raise TypeError(f"{name} takes {known} and nothing else, not {unknown[0]}")
        x, features = self._checked_x(x)
        steps = x.shape if features is None else x.shape[:-1]
        is_sequence = len(steps) == 2
        context = {need: self._needed(need, given.get(need), steps, training) for need in self.needs}
        y, kept = check.pair(f"what {name}.compute returns", self.compute(x, **context), "a pair, y and what to keep")
        below = Signal(features, is_sequence, context.get("directions", 1))
        expected, still, _ = self.output_for(below)
        dtype = self.dtype if features is None else x.dtype
        if is_sequence and still is False:
            steps = steps[1:]
        columns = np.shape(y)[-1:] if expected is None else (expected,)
        y = _result(f"y of {name}.compute", y, (*steps, *columns), dtype)
        return y, LayerTape(kept, type(self), x.shape, y.shape, dtype) if training else None

    def _checked_x(self, x: Array) -> tuple[Array, int | None]:
        """Return x and its number of features, None for ids; raise unless the layer takes it."""
        if self.takes_ids:
            ids: Array = check.ids("x", x)
            if self.takes_sequences and ids.ndim != 2:
                raise ValueError(f"x must have shape (T, B), not {ids.shape}")
            return ids, None
        x = check.is_array("x", x, self.dtype if self.flat.size else None)
        size = getattr(self, "input_size", None)
        axes = f"({'T, B' if self.takes_sequences else '...'}, {'features' if size is None else 'input_size'})"
        if x.ndim == 0 or (self.takes_sequences and x.ndim != 3):
            raise ValueError(f"x must have shape {axes}, not {x.shape}")
        features = x.shape[-1] if size is None else size
        return check.matching("x", x, (*x.shape[:-1], features), x.dtype, axes), features

    def _needed(self, need: str, value: Any, steps: tuple[int, ...], training: bool) -> Any:
        """Return what `compute` gets for one of its needs."""
        if need == "rng":
            return check.generator("rng", value) if training else None
        if need == "directions":
            found = check.integer("directions", 1 if value is None else value)
            if found not in (1, 2):
                raise ValueError(f"directions must be 1 or 2, not {found}")
            return found
        if len(steps) != 2:
            if value is None:
                return None
            raise ValueError("lengths must not be given for an x without steps")
        return check.lengths(value, *steps)

    def _write(self, own: Any, grads: Gradients, accumulate: bool) -> None:
        """Write or add the gradients of the parameters."""
        name = type(self).__name__
        if not isinstance(own, Mapping):
            raise TypeError(f"{name}.gradients must return a mapping beside dx, not {type(own).__name__}")
        for key in [*self.params, *own]:
            if key not in own or key not in self.params:
                what = "must not be given, since there is no such parameter" if key in own else "is missing"
                raise ValueError(f"the gradient of {key} in {name}.gradients {what}")
        for key, target in grads.params.items():
            value = _result(f"the gradient of {key} in {name}.gradients", own[key], target.shape, target.dtype)
            if accumulate:
                target += value
            else:
                target[...] = value


def _result(name: str, value: object, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return what a layer's own method gave for `name`; raise unless it is an array of this shape and dtype."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, not {type(value).__name__}")
    if check.unmasked(name, value).dtype != dtype:
        raise TypeError(f"{name} must have dtype {dtype}, not {value.dtype}")
    if value.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, not {value.shape}")
    return value
