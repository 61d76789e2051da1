"""Networks: parts with parameters, all of them in one buffer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fastlstm._arrays.arrays import Array
from fastlstm._arrays.libraries import DeviceKind
from fastlstm.layers.parameters import Gradients, Parametric


def compatible(parts: Mapping[str, Parametric], label: str = "{}") -> np.dtype[Any]:
    """The dtype of a network of these parts, if there can be one."""
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


class Composite(Parametric):
    """A network of parts, whose parameters lie in its buffer one after the other; each part sees its own there."""

    _label = "{}"  # of a part, in messages

    def _parts(self) -> Mapping[str, Parametric]:
        """The parts by name, in the order of the buffer."""
        raise NotImplementedError

    def _bind(self) -> None:
        """Nothing: each part takes hold of its own."""

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            f"{part}.{name}": view.shape for part, own in self._parts().items() for name, view in own.params.items()
        }

    def _allocate(self) -> None:
        self.dtype = compatible(self._parts(), self._label)
        super()._allocate()

    def _memory(self) -> Array:
        """Memory for the parameters, with the values that its parts have."""
        flat = super()._memory()
        for part, own in zip(self._parts().values(), self._split(flat), strict=True):
            own[:] = part.flat
        return flat

    @property
    def _writes_few_gradients(self) -> bool:  # type: ignore[override]
        return any(part._writes_few_gradients for part in self._parts().values())

    def _take(self, size: int) -> None:
        """Nothing: its parts have counted themselves."""

    def _hold(self, flat: Array) -> None:
        super()._hold(flat)
        for part, own in zip(self._parts().values(), self._split(flat), strict=True):
            part._move(own)

    def _split(self, flat: Array) -> Iterator[Array]:
        """The part of the buffer of each part."""
        start = 0
        for part in self._parts().values():
            end = start + part.flat.size
            yield flat[start:end].astype(part.dtype, copy=False)  # a copy of nothing, where a part has no parameters
            start = end

    def _gradients(self, out: Gradients | None, accumulate: bool) -> Gradients:
        """Where to write gradients, with `parts` for those of each part."""
        grads = super()._gradients(out, accumulate)
        if not grads.made_parts or any(own.flat is not flat for _, own, flat in grads.made_parts):
            parts = zip(self._parts().items(), self._split(grads.flat), strict=True)
            untouched = grads.untouched and not grads.made_parts
            grads.made_parts = [
                (name, Gradients(flat, part._views(flat), part, untouched=untouched), flat)
                for (name, part), flat in parts
            ]
        grads.untouched = False  # its parts know of themselves
        grads.parts = {name: own for name, own, _ in grads.made_parts}  # whatever was put there
        return grads
