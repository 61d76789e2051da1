"""The random masks of a layer: dropout, DropConnect, zoneout."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, Kind, on_device
from fastlstm._engine.call import Weights


@dataclass
class Masks:
    """The random choices of one forward pass, which `LSTM.forward` takes. Its tape holds them in `Masks` of its own.

    Attributes
    ----------
    between : list of (T, B, D H) arrays
        For each layer but the last: factors of its outputs on their way up, 0 or 1 / (1 - rate).
    recurrent : list of (B, H) arrays
        For each layer and direction: factors of y^{t-1}, the same at every step.
    zoneout : list of (share of y, share of c)
        For each layer and direction: (T, B, H) arrays or None, 1 where the state before stays.
    weights : list of arrays
        For each layer and direction: factors of R, 0 or 1 / (1 - rate).
    """

    between: list[Array] = field(default_factory=list)
    recurrent: list[Array] = field(default_factory=list)
    zoneout: list[tuple[Array | None, Array | None]] = field(default_factory=list)
    weights: list[Array] = field(default_factory=list)

    def named(self) -> dict[str, Array | None]:
        """Return all arrays by name."""
        pairs = {f"masks.zoneout[{k}][{of}]": a for k, pair in enumerate(self.zoneout) for of, a in enumerate(pair)}
        lists = {"between": self.between, "recurrent": self.recurrent, "weights": self.weights}
        return pairs | {f"masks.{name}[{k}]": a for name, arrays in lists.items() for k, a in enumerate(arrays)}


def kept(dropped: float, shape: tuple[int, ...], dtype: np.dtype[Any], rng: np.random.Generator) -> Array:
    """Draw random factors: 0 at the rate `dropped`, else 1 / (1 - dropped)."""
    factors: Array = (rng.random(shape, np.float32) >= dropped).astype(dtype)
    factors /= 1 - dropped
    return factors


def _listed(name: str, part: str, masks: Masks, count: int) -> list[Any] | tuple[Any, ...]:
    """Return the masks of one kind, of which there must be none or `count`."""
    found: Any = getattr(masks, part)
    if found is None or (type(found) is list and not found):
        return ()
    return check.items(f"{name}.{part}", found, f"a list of {count} or no items", 0, count)


class Masking:
    """The part of a layer that draws and checks masks."""

    dropout: float
    recurrent_dropout: float
    drop_connect: float
    zoneout: tuple[float, float]
    num_layers: int
    hidden_size: int
    dtype: np.dtype[Any]
    _weights: list[Weights]

    @property
    def directions(self) -> int:
        """D: 2 if bidirectional, else 1."""
        raise NotImplementedError

    @property
    def output_size(self) -> int:
        """P: values that each direction gives, the hidden size or `proj_size`."""
        raise NotImplementedError

    def _has_masks(self) -> bool:
        rates = self.recurrent_dropout, self.drop_connect, *self.zoneout
        return any(rates) or bool(self.dropout and self.num_layers > 1)

    def draw_masks(self, T: int, B: int, rng: np.random.Generator) -> Masks:
        """Draw what `forward` needs for its dropout, DropConnect and zoneout.

        Parameters
        ----------
        T, B : int
            Time steps and batch rows.
        rng : numpy.random.Generator
            The source of the masks.
        """
        T, B, rng = check.count("T", T), check.count("B", B), check.generator("rng", rng)
        P, H, D, dtype = self.output_size, self.hidden_size, self.directions, self.dtype

        def keep(rate: float, *shape: int) -> Array:
            return kept(rate, shape, dtype, rng)

        def stay(rate: float, *shape: int) -> Array | None:
            return (rng.random(shape, np.float32) < rate).astype(dtype) if rate else None

        masks, cells, (rate_y, rate_c) = Masks(), self.num_layers * D, self.zoneout
        if self.dropout:
            masks.between = [keep(self.dropout, T, B, D * P) for _ in range(self.num_layers - 1)]
        if self.recurrent_dropout:
            masks.recurrent = [keep(self.recurrent_dropout, B, P) for _ in range(cells)]
        if rate_y or rate_c:
            masks.zoneout = [(stay(rate_y, T, B, P), stay(rate_c, T, B, H)) for _ in range(cells)]
        if self.drop_connect:
            masks.weights = [keep(self.drop_connect, *weights.R.shape) for weights in self._weights]
        return masks

    def _expected_masks(self, T: int, B: int) -> Masks:
        """Return the masks of inference: nothing is dropped, and zoneout keeps the share that it keeps on average."""
        (rate_y, rate_c), dtype, P, H = self.zoneout, self.dtype, self.output_size, self.hidden_size
        shares = (
            np.full((T, B, P), rate_y, dtype) if rate_y else None,
            np.full((T, B, H), rate_c, dtype) if rate_c else None,
        )
        return Masks(zoneout=[shares] * (self.num_layers * self.directions))

    def _check_masks(self, masks: object, T: int, B: int, kind: Kind, name: str = "masks") -> Masks:
        """Return new `Masks` with the checked arrays of a call; for a device, NumPy's are copied there."""
        if not isinstance(masks, Masks):
            raise TypeError(f"{name} must be Masks, not {type(masks).__name__}")
        L, cells, P, H = self.num_layers, self.num_layers * self.directions, self.output_size, self.hidden_size
        between, recurrent = _listed(name, "between", masks, L - 1), _listed(name, "recurrent", masks, cells)
        zoneout, weights = _listed(name, "zoneout", masks, cells), _listed(name, "weights", masks, cells)

        def checked(part: str, mask: object, shape: tuple[int, ...], axes: str) -> Array:
            given = on_device(mask, kind) if isinstance(mask, np.ndarray) else mask
            return check.matching(f"{name}.{part}", given, shape, kind, axes)

        def shares(k: int, pair: object) -> tuple[Array | None, Array | None]:
            of_y, of_c = check.pair(f"{name}.zoneout[{k}]", pair, "(share of y, share of c)")
            of_y = None if of_y is None else checked(f"zoneout[{k}][0]", of_y, (T, B, P), "(T, B, H)")
            return of_y, None if of_c is None else checked(f"zoneout[{k}][1]", of_c, (T, B, H), "(T, B, H)")

        across = T, B, self.directions * P
        return Masks(
            [checked(f"between[{k}]", mask, across, "(T, B, D H)") for k, mask in enumerate(between)],
            [checked(f"recurrent[{k}]", mask, (B, P), "(B, H)") for k, mask in enumerate(recurrent)],
            [shares(k, pair) for k, pair in enumerate(zoneout)],
            [checked(f"weights[{k}]", mask, tuple(self._weights[k].R.shape), "as R") for k, mask in enumerate(weights)],
        )

    def _drawn_masks(self, T: int, B: int, rng: object) -> Masks:
        """Draw the masks of a forward pass that was given none."""
        if not isinstance(rng, np.random.Generator):
            raise TypeError(
                "rng must be a numpy.random.Generator, or masks given, since the layer drops something or has zoneout; "
                f"not {type(rng).__name__}"
            )
        return self.draw_masks(T, B, rng)
