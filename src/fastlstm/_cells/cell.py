"""What a cell is: a row of a table, from which arguments are checked, memory is laid out and results are named."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, Kind, cells_of, empty
from fastlstm._cells import kernel
from fastlstm._cells.kernel import KernelCell

# An activation function: its name, or ("hard_logistic", alpha, beta) for alpha a + beta between 0 and 1.
Activation = str | tuple[str, float, float]
ACTIVATIONS = tuple(kernel.ACTIVATIONS)
GATE_ACTIVATIONS = ("logistic", "hard_logistic")

# A cell keeps its row for so many sizes.
MOST_SIZED = 64

# A state, or the gradients of one: its parts in the order of the cell's table. A part that is not given is None.
State = tuple[Any, ...]


def checked_activation(argument: str, value: Any, allowed: tuple[str, ...] = ACTIVATIONS) -> Activation:
    """Return an activation whose name is one of those allowed; the usual hard logistic function by its name alone."""
    if not isinstance(value, tuple):
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"{argument} must be one of {', '.join(allowed)}, not {value!r}")
        return value
    if len(value) != 3 or value[0] != "hard_logistic":
        expected = f'{", ".join(allowed)} or ("hard_logistic", alpha, beta)'
        raise ValueError(f"{argument} must be one of {expected}, not {value!r}")
    alpha, beta = (
        check.finite(f"{name} of hard_logistic in {argument}", number)
        for name, number in zip(("alpha", "beta"), value[1:], strict=True)
    )
    if alpha <= 0:
        raise ValueError(f"alpha of hard_logistic in {argument} must be positive, not {alpha!r}")
    return "hard_logistic" if (alpha, beta) == kernel.HARD_LOGISTIC else ("hard_logistic", alpha, beta)


def checked_activations(value: object, described: str, *allowed: tuple[str, ...]) -> tuple[Activation, ...]:
    """Return as many activations as `allowed` has lists of names; messages say with `described` which they are."""
    if not isinstance(value, tuple) or len(value) != len(allowed):
        raise ValueError(f"activations must be a tuple of {described}, not {value!r}")
    return tuple(checked_activation("activations", g, names) for g, names in zip(value, allowed, strict=True))


class Part(NamedTuple):
    """An array of a cell with a row for each row of a batch: a part of its state, of its tape or of its deltas."""

    name: str
    # The symbol of the row's length: one of I, H, P, K, nH, n - 1, 3H and kept, with n blocks of H rows in W,
    size: str
    # How messages write that length.
    axis: str = "H"
    # Whether the array is of the kind of cells, which on a GPU have float32 where other arrays have 16 bits.
    wide: bool = False
    # Whether a caller who gives a state may leave the part out.
    optional: bool = False


# How messages write the rows of an array of a tape.
TAPE_ROWS = {"steps": "T, B", "initial": "B", "all": "T + 1, B"}


class TapePart(NamedTuple):
    """An array of a tape with a row for each step and row of a batch."""

    name: str
    # The name that the compiled passes give to the array.
    kernel: str
    size: str
    axis: str = "H"
    wide: bool = False
    # Which rows the array has: those of the "steps", the "initial" ones, or "all", the initial ones before the steps'.
    rows: str = "steps"
    # What the array takes: "" for every tape, "proj", "c_prev" where c^{t-1} is more than c of the step before,
    # "y_prev" where the backward pass cannot compute y^{t-1}, "h0" where it does.
    needs: str = ""


class Parameter(NamedTuple):
    """A parameter of one layer in one direction."""

    name: str
    # The symbols of its axes: one of I, H, P, nH, n - 1, 3H and 2n + 2, with n blocks of H rows in W.
    axes: tuple[str, ...]
    # Whether there are layers without it.
    optional: bool = False


class Sized(NamedTuple):
    """A cell's row with the sizes and the kind of arrays of one layer in one direction filled in."""

    H: int
    P: int
    # The name, size and kind of each part of the state, and how messages write its axis.
    state: tuple[tuple[str, int, Kind, str], ...]
    # The name, size and kind of each array of the tape, its name and axes in messages, `rows` and `needs`. A size of
    # None is K, the columns of R as the kernels read it, which depends on the instruction set in use.
    tape: tuple[tuple[str, int | None, Kind, str, str, str, str], ...]
    # The size and kind of each array of deltas.
    deltas: tuple[tuple[int, Kind], ...]
    # The shape of each parameter, its axes in messages, and whether it is optional.
    parameters: dict[str, tuple[tuple[int, ...], str, bool]]


class Cell:
    """The equations of a time step; each subclass is a row of the table."""

    name: ClassVar[str]
    state: ClassVar[tuple[Part, ...]]
    tape: ClassVar[tuple[TapePart, ...]]
    # In the order in which they lie in a layer's buffer.
    parameters: ClassVar[tuple[Parameter, ...]]
    # The deltas of every step, in the order in which the backward pass writes them: of all blocks, of y, of c.
    deltas: ClassVar[tuple[Part, ...]]
    # Whether the kernels read and write the state in another layout than the caller's.
    has_own_layout: ClassVar[bool] = False

    # The name of the parameter that the compiled passes take as p: of each hidden unit.
    unit_parameter: ClassVar[str] = "p"

    # Whether the state has a c.
    has_c: ClassVar[bool] = False

    # What the compiled code knows of the equations.
    kernel: KernelCell
    # The number of blocks of H rows in W, R and b.
    gates: int
    # How messages write the number of rows of W, R and b: "4H".
    rows: str
    # How messages write the axes of R, without and with a projection.
    axes_of_R: tuple[str, str]
    # The letters of the blocks, where there are several.
    blocks: str

    # `_with_sizes`, which keeps what it has returned for the last sizes.
    sized: Callable[..., Sized]

    def _keep_sizes(self) -> None:
        object.__setattr__(self, "axes_of_R", (f"({self.rows}, H)", f"({self.rows}, P)"))
        object.__setattr__(self, "sized", functools.lru_cache(MOST_SIZED)(self._with_sizes))

    def _with_sizes(self, kind: Kind, inputs: int, H: int, P: int, projects: bool = False) -> Sized:
        """Return the row with these sizes; `projects` is whether P is that of a projection, in messages too."""
        n, cells = self.gates, cells_of(kind)
        sizes = {"I": inputs, "H": H, "P": P, "nH": n * H, "n - 1": n - 1, "3H": 3 * H, "2n + 2": self.kernel.norm_rows}
        sizes["kept"] = self.kernel.kept * H
        words = {"nH": self.rows, "n - 1": str(n - 1), "2n + 2": str(self.kernel.norm_rows)}
        words["P"] = "P" if projects else "H"
        state = [(part.name, sizes[part.size], cells if part.wide else kind, part.axis) for part in self.state]
        tape = [
            (
                part.name, sizes.get(part.size), cells if part.wide else kind, f"tape.{part.name}",
                f"({TAPE_ROWS[part.rows]}, {part.axis})", part.rows, part.needs,
            )
            for part in self.tape
        ]  # fmt: skip
        deltas = [(sizes[part.size], cells if part.wide else kind) for part in self.deltas]
        parameters = {}
        for name, axes, optional in self.parameters:
            axis, *more = [words.get(axis, axis) for axis in axes]
            described = f"({axis}, {more[0]})" if more else f"({axis},)"
            parameters[name] = tuple([sizes[axis] for axis in axes]), described, optional
        return Sized(H, P, tuple(state), tuple(tape), tuple(deltas), parameters)

    def check_optional(self, given: dict[str, Any]) -> None:
        """Raise unless the parameters that only some variants have are given where this one has them."""

    def named_deltas(self, arrays: list[Array]) -> Any:
        """Return the deltas of every step by name, from arrays in the order of `deltas`."""
        raise NotImplementedError

    # ---- the kernels' layout ----

    def kernel_columns(self, H: int, kind: Kind) -> int:
        """Return the number of values that a step sees beside y^{t-1}: columns of R to the right of y's."""
        return 0

    def most_kernel_columns(self, H: int) -> int:
        """Return the most that `kernel_columns` is for any instruction set."""
        return 0

    def kernel_R(self, R: Array, G: Array | None) -> Array:
        """Return R as the kernels read it, with the weights of all that a step sees."""
        return R

    def refresh_kernel_R(self, wide: Array, R: Array, G: Array | None) -> None:
        """Write new values of the parameters to what `kernel_R` returned, where that is a copy."""

    def gradients_of_R(self, wide: Array, P: int) -> dict[str, Array]:
        """Return the gradients of parameters by name, from that of R as the kernels read it."""
        return {"R": wide}

    def kernel_state(self, state: State) -> State:
        """Return a state as the kernels read it."""
        return state

    def caller_state(self, state: State, H: int) -> State:
        """Return a state of the kernels as callers read it."""
        return state

    def copy_to_kernels(self, state: State, own: State) -> None:
        """Copy a caller's state to arrays in the kernels' layout."""
        for to, part in zip(own, state, strict=True):
            to[...] = part

    def copy_from_kernels(self, own: State, state: State) -> None:
        """Copy what the kernels have in another layout to a caller's state."""

    def empty_kernel_state(self, lead: tuple[int, ...], sized: Sized) -> State:
        """Return new arrays for a state in the kernels' layout."""
        return tuple([empty((*lead, size), kind) for _, size, kind, _ in sized.state])

    # ---- states ----

    def parts(self, name: str, state: Any, prefix: str = "", suffix: str = "", whole: bool = False) -> State:
        """Return the parts of a caller's state or of what is like one, each of them or, unless `whole`, None.

        Messages write the parts' names between `prefix` and `suffix`.
        """
        if len(self.state) == 1:
            return (state,)
        if state is None and not whole:
            return (None,) * len(self.state)
        most = len(self.state)
        least = most if whole else sum(not part.optional for part in self.state)
        if isinstance(state, tuple) and least <= len(state) <= most:
            return state if len(state) == most else (*state, *(None,) * (most - len(state)))
        expected = f"({', '.join([prefix + part.name + suffix for part in self.state])})"
        if isinstance(state, (tuple, list)) and not least <= len(state) <= most:
            hint = self.hint_for_state(len(state))
            raise ValueError(f"{name} must be {expected}, not {check.counted(len(state), 'item')}{hint}")
        given = check.items(name, state, expected, *range(least, most + 1))
        return (*given, *(None,) * (most - len(given)))

    def hint_for_state(self, count: int) -> str:
        """Return why a state of `count` parts is not one of this cell's, for a message."""
        return ""

    def label(self, name: str, part: Part) -> str:
        """Return how messages write a part of the state `name`."""
        return f"{name} {part.name}" if len(self.state) > 1 else name

    def labelled(self, name: str, state: State) -> dict[str, Any]:
        """Return the parts of a state by the names that messages give them."""
        return {self.label(name, part): given for part, given in zip(self.state, state, strict=True)}

    def public(self, state: State) -> Any:
        """Return a state as callers have it: a tuple, or the only part itself."""
        return state if len(state) > 1 else state[0]
