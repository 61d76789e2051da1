"""The weights of recurrent layers: their names and shapes, where they are, and what the passes read of them."""

from __future__ import annotations

import functools
import math
from typing import Self

import numpy as np

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Kind, moved, on_host
from fastlstm._arrays.libraries import DeviceDType, DeviceKind, LibraryName, device_kind, native_library, values_of
from fastlstm._cells import Cell
from fastlstm._engine.batches import PackedSequence
from fastlstm._engine.call import Weights
from fastlstm._system.float_mode import as_in_kernels
from fastlstm.layers.masks import Masking, Masks
from fastlstm.layers.memory import Memory
from fastlstm.layers.network_layer import NetworkLayer
from fastlstm.layers.steps import Stepping


@functools.lru_cache(maxsize=16)
def _suffixes(num_layers: int, directions: int) -> list[str]:
    return [f"_l{k}{end}" for k in range(num_layers) for end in ("", "_reverse")[:directions]]


class Weighted(Masking, Memory, Stepping, NetworkLayer):
    """The part of a layer that holds the weights."""

    # The shapes of all parameters, once they are known.
    _all_shapes: dict[str, tuple[int, ...]] | None = None
    # The names of the parameters of each layer and direction, without and with the suffix.
    _parameter_names: list[list[tuple[str, str]]]

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
        get, unit = self.params.get, self._cell.unit_parameter
        self._bind_weights([
            Weights(
                self.params["W" + s], self.params["R" + s], self.params["b" + s], get(unit + s), get("proj" + s),
                norm=get("norm" + s),
            )
            for s in self._names()
        ])  # fmt: skip

    def _bind_weights(self, weights: list[Weights]) -> None:
        """Keep references to the weights of each layer and direction."""
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
            The dtype of all arrays on a GPU; with the last two, cells and their gradients are float32. Default: as it
            is. On the host, a layer always has its own `dtype`.
        library : "cupy" or "torch", optional
            The library whose arrays the parameters are on a GPU. Default: as they are; from the host, the library that
            the program has imported, CuPy where it has both or neither and both are installed.

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
        """Return the kind of a call's arrays, that of the parameters; x must not be another library's."""
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
