"""Networks of parts, with all parameters in one buffer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array
from fastlstm._arrays.libraries import DeviceKind
from fastlstm.layers.parameters import Gradients, Parametric


def compatible(parts: Mapping[str, Parametric], label: str = "{}") -> np.dtype[Any]:
    """Return the dtype of a network of these parts; raise if they cannot form one."""
    for name, part in parts.items():
        if not isinstance(part, Parametric):
            raise TypeError(f"{label.format(name)} must be a layer, not {type(part).__name__}")
        if isinstance(part._array_kind, DeviceKind):
            raise TypeError(f"{label.format(name)} must be on the host, not on {part._array_kind.place}")
        if part._moved:
            raise ValueError(f"{label.format(name)} is part of a network already: {part!r}")
    if len({id(part) for part in parts.values()}) < len(parts):
        raise ValueError("each layer may be in a network once: make another, or a deep copy")
    dtypes = {part.flat.dtype for part in parts.values() if part.flat.size}
    if len(dtypes) > 1:
        raise TypeError(f"all layers must have the same dtype, not {' and '.join(sorted(map(str, dtypes)))}")
    return dtypes.pop() if dtypes else np.dtype(np.float32)


def state_items(name: str, given: Any, count: int) -> Sequence[Any]:
    """Return the items of a state or of its gradient, one for each layer that has a state; None stands for None."""
    if given is None:
        return (None,) * count
    layers = check.counted(count, "recurrent layer")
    return check.items(name, given, f"a tuple with an item for each of the {layers}", count)


class Composite(Parametric):
    """A network of parts, whose parameters lie in its buffer one after the other; each part has views of it."""

    _label = "{}"
    """The format of a part's name in messages."""

    def _parts(self) -> Mapping[str, Parametric]:
        """Return the parts by name, in the order of the buffer."""
        raise NotImplementedError

    def _bind(self) -> None:
        """Do nothing: each part binds its own parameters."""

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            f"{part}.{name}": view.shape for part, own in self._parts().items() for name, view in own.params.items()
        }

    def _allocate(self) -> None:
        self.dtype = compatible(self._parts(), self._label)
        super()._allocate()

    def _memory(self) -> Array:
        """Return memory for the parameters, with the values of the parts."""
        flat = super()._memory()
        for part, own in zip(self._parts().values(), self._split(flat), strict=True):
            own[:] = part.flat
        return flat

    @property
    def trainable(self) -> bool:
        """Whether training changes parameters of any layer; it may be set, for all of them."""
        return bool(self._trained()) or not self._frozen()

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for part in self._parts().values():
            part.trainable = value

    def _trained(self) -> list[tuple[int, int]]:
        sections: list[tuple[int, int]] = []
        begin = 0
        for part in self._parts().values():
            for start, end in part._trained():
                before = sections.pop() if sections and sections[-1][1] == begin + start else (begin + start, 0)
                sections.append((before[0], begin + end))
            begin += part.flat.size
        return sections

    def _is_whole(self) -> bool:
        return all(part._is_whole() for part in self._parts().values())

    def _frozen(self, name: str = "") -> list[str]:
        prefix = f"{name}." if name else ""
        return [frozen for own, part in self._parts().items() for frozen in part._frozen(prefix + own)]

    @property
    def _writes_few_gradients(self) -> bool:  # type: ignore[override]
        return any(part._writes_few_gradients or not part._is_whole() for part in self._parts().values())

    def _take(self, size: int) -> None:
        """Do nothing: the parts have been counted already."""

    def _hold(self, flat: Array) -> None:
        super()._hold(flat)
        for part, own in zip(self._parts().values(), self._split(flat), strict=True):
            part._move(own)

    def _split(self, flat: Array) -> Iterator[Array]:
        """Yield the section of the buffer that belongs to each part."""
        start = 0
        for part in self._parts().values():
            end = start + part.flat.size
            # A part of another dtype has no parameters, so that nothing is copied.
            yield flat[start:end].astype(part.dtype, copy=False)
            start = end

    def _gradients(self, out: Gradients | None, accumulate: bool) -> Gradients:
        """Return the gradients to write to, with those of each part in `parts`."""
        grads = super()._gradients(out, accumulate)
        if not grads.made_parts or any(own.flat is not flat for _, own, flat in grads.made_parts):
            parts = zip(self._parts().items(), self._split(grads.flat), strict=True)
            untouched = grads.untouched and not grads.made_parts
            grads.made_parts = [
                (name, Gradients(flat, part._views(flat), part, untouched=untouched), flat)
                for (name, part), flat in parts
            ]
        grads.untouched = False  # Each part has a flag of its own.
        grads.parts = {name: own for name, own, _ in grads.made_parts}  # A caller may have changed this mapping.
        return grads
