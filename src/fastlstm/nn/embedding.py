"""The embedding: a vector for each word, letter or other symbol of a vocabulary."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, empty
from fastlstm._engine.threads import get_num_threads
from fastlstm.layers.parameters import Gradients, draw
from fastlstm.nn import _gradients
from fastlstm.nn.layer import Layer

__all__ = ["Embedding", "EmbeddingTape"]


class EmbeddingTape(NamedTuple):
    """The values that a forward pass stores for the backward pass. A tape may be used many times.

    Attributes
    ----------
    ids : (...) array of int64
        A copy of the input.
    """

    ids: NDArray[np.int64]


class Embedding(Layer):
    r"""A table with a row for each of V symbols, such as words: the first layer of a network whose input is symbols.

    .. math::

        x = E_k \qquad \frac{dJ}{dE_k} = \sum_{\text{where } k \text{ is}} \frac{dJ}{dx}

    Parameters
    ----------
    vocabulary_size, output_size : int
        V rows of n values.
    dtype : float32 or float64
        The dtype of the parameters and of all outputs.
    seed : int or numpy.random.Generator, optional
        The source of the initial rows: uniform in :math:`\pm 1 / \sqrt{n}`. A row's norm is then about 0.6, whatever
        its size: it adds as little to a gate as the output y of an LSTM does, so that no gate is saturated at first,
        and the small steps of an optimiser soon change it.

    Attributes
    ----------
    params : mapping of str to array
        ``E`` (V, n). Write to it in place.
    flat : (V n,) array
        The same values in one dimension. In a network it moves into its buffer.

    Raises
    ------
    TypeError
        If ids are not integers, or another argument is not an array of the right dtype.
    ValueError
        If an id is not from 0 to V - 1, or a shape is wrong.

    Notes
    -----
    New gradients are written only in the rows of the ids. Whatever else goes over parameters, such as `clip_norm` or an
    optimiser's step, goes over the whole table.

    References
    ----------
    Bengio, Ducharme, Vincent, Jauvin: "A Neural Probabilistic Language Model", 2003: the matrix C.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import Embedding
    >>> embedding = Embedding(27, 8, seed=0)
    >>> letters = np.array([[0, 5], [5, 26], [1, 1]])  # time, batch
    >>> embedding(letters).shape
    (3, 2, 8)
    >>> x, tape = embedding.forward(letters)
    >>> grads = embedding.backward(tape, np.ones_like(x))
    >>> grads.params["E"].sum(axis=1)[:6].tolist()
    [8.0, 16.0, 0.0, 0.0, 0.0, 16.0]
    """

    def __init__(
        self,
        vocabulary_size: int,
        output_size: int,
        *,
        dtype: DTypeLike = np.float32,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        self.vocabulary_size = check.positive_int("vocabulary_size", vocabulary_size)
        self.output_size = check.positive_int("output_size", output_size)
        super().__init__(dtype=dtype, seed=seed)

    takes_ids = True
    _writes_few_gradients = True

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the name and shape of the table."""
        return {"E": (self.vocabulary_size, self.output_size)}

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw the initial rows."""
        draw(rng, self.flat, 1 / math.sqrt(self.output_size))

    def __call__(self, ids: NDArray[np.integer]) -> Array:
        """Return the rows, without a tape.

        Parameters
        ----------
        ids : (...) array of int
            The row numbers, from 0 to V - 1.

        Returns
        -------
        (..., n) array
        """
        return self.forward(ids)[0]

    def forward(self, ids: NDArray[np.integer]) -> tuple[Array, EmbeddingTape]:
        """Run the layer as a call does, and return x and a tape for `backward`."""
        own = check.ids("ids", ids, self.vocabulary_size)
        x = empty((*own.shape, self.output_size), self.dtype)
        np.take(self.params["E"], own, axis=0, out=x, mode="clip")  # This mode needs no buffer; all ids are in range.
        return x, EmbeddingTape(own)

    def backward(
        self, tape: EmbeddingTape, dx: Array, *, out: Gradients | None = None, accumulate: bool = False
    ) -> Gradients:
        """Back-propagate through the layer.

        Parameters
        ----------
        tape : EmbeddingTape
            The tape from `forward`, which is left as it was.
        dx : (..., n) array
            dJ/dx, shaped as x.
        out : Gradients, optional
            An earlier result, whose arrays are written to again.
        accumulate : bool
            Add the parameters' gradients to those in `out`, instead of overwriting them.

        Returns
        -------
        Gradients
            ``.params`` (the keys of `params`) and ``.flat``; ``.x`` and ``.state`` are None.
        """
        grads = self._gradients(out, accumulate)
        if not isinstance(tape, EmbeddingTape):
            raise TypeError(f"tape must be an EmbeddingTape from forward, not {type(tape).__name__}")
        own = check.ids("tape.ids", tape.ids, self.vocabulary_size)
        dx = check.matching("dx", dx, (*own.shape, self.output_size), self.dtype, "(..., output_size)")
        check.disjoint({"out.flat": grads.flat}, {"dx": dx})
        if self.trainable:
            if not accumulate:
                grads._clear()  # A new large table is mostly untouched pages of zeros.
            grads.untouched = False
            _gradients.add_rows(grads.params["E"], own, dx, get_num_threads())
        grads.x = grads.state = None
        return grads

    def __repr__(self) -> str:
        return f"Embedding({self.vocabulary_size}, {self.output_size}, dtype={self.dtype})"
