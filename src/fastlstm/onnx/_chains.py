"""Layers one above the other, as they are found in a graph, before fastlstm's layers are made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from fastlstm._arrays.arrays import Array

# The lengths that a layer goes by do not matter: it is right for any.
ANY = object()


@dataclass(frozen=True, eq=False)
class Recurrent:
    """An LSTM, GRU or RNN node, the name of the input with its lengths, and where its initial states come from."""

    node: Any
    lengths: str | None
    states: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Dense:
    """A product with V, and c and an activation if they have been found."""

    V: Array
    c: Array | None = None
    activation: str = "identity"


@dataclass(frozen=True, eq=False)
class Embedding:
    """A table with a row for each id."""

    E: Array


@dataclass(frozen=True, eq=False)
class LayerNorm:
    """A layer normalisation."""

    g: Array
    b: Array
    epsilon: float


@dataclass(frozen=True, eq=False)
class Simple:
    """A layer that is its name and one argument: Dropout, Activation."""

    kind: Literal["Dropout", "Activation"]
    argument: Any


@dataclass(frozen=True, eq=False)
class Pooling:
    """A `Last` or `Mean`, and the name of the input with the lengths by which it is computed."""

    kind: Literal["Last", "Mean"]
    lengths: Any


@dataclass(frozen=True, eq=False)
class Joined:
    """Branches with one input, whose outputs are put side by side or added; one added to its input is a Residual."""

    join: Literal["concat", "sum", "residual"]
    branches: list[list[Item]]

    def depth(self) -> int:
        """Return how deep branches are within branches."""
        inner = [item.depth() for branch in self.branches for item in branch if isinstance(item, Joined)]
        return 1 + max(inner, default=0)


Item: TypeAlias = Recurrent | Dense | Embedding | LayerNorm | Simple | Pooling | Joined


@dataclass(frozen=True, eq=False)
class Chain:
    """A layer, and the chain below it; where there is none, an input of the model.

    Attributes
    ----------
    name : str
        The input's name.
    below : Chain or None
        What the layer stands above.
    item : Item or None
        The layer.
    features : axis
        What the layer gives at each step, as an axis.
    directions : 1 or 2
        2 where the features are the outputs of a bidirectional layer.
    """

    name: str
    below: Chain | None
    item: Item | None
    features: tuple[Any, ...]
    directions: int = 1

    def add(self, item: Item, features: tuple[Any, ...], directions: int | None = None) -> Chain:
        """Return this chain with one more layer; it has as many directions as this one if nothing is said."""
        return Chain(self.name, self, item, features, self.directions if directions is None else directions)

    def links(self) -> list[Chain]:
        """Return the chain of each layer, from the input up."""
        found: list[Chain] = []
        link: Chain | None = self
        while link is not None:
            found.append(link)
            link = link.below
        return found[::-1]

    def items(self) -> list[Item]:
        """Return the layers from the input up."""
        return [link.item for link in self.links() if link.item is not None]


def every(items: list[Item]) -> Iterator[Item]:
    """Yield all layers, those within branches too."""
    for item in items:
        yield item
        if isinstance(item, Joined):
            for branch in item.branches:
                yield from every(branch)
