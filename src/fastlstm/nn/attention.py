"""Additive attention: each step of one sequence attends to all steps of another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, empty
from fastlstm._cells.kernel import activate
from fastlstm._engine.threads import get_num_threads
from fastlstm._system.float_mode import as_in_kernels
from fastlstm.layers.parameters import Gradients, Parametric, draw
from fastlstm.nn import _products

__all__ = ["Attention", "AttentionMemory", "AttentionTape"]

# Queries and memory are compared in blocks of this many values, which stay in the processor's cache.
BLOCK = 1 << 17


class AttentionMemory(NamedTuple):
    """A memory made ready for many queries by `Attention.prepare`: row by row, zero past each end.

    Attributes
    ----------
    steps : (B, S, E) array
        The memory.
    keys : (B, S, A) array
        The products U e of each step.
    within : (B, S) array of bool
        Whether a step is before the end of its row.
    """

    steps: Array
    keys: Array
    within: NDArray[np.bool_]

    def rows(self, some: NDArray[np.intp]) -> AttentionMemory:
        """Return the memory of some rows."""
        return AttentionMemory(self.steps[some], self.keys[some], self.within[some])


class AttentionTape(NamedTuple):
    """The values that a forward pass stores for the backward pass. A tape may be used many times.

    It refers to the query without copying it: like the weights, it must not change before `Attention.backward`.

    Attributes
    ----------
    query : (T, B, Q) array
        The queries.
    memory : AttentionMemory
        The memory that they attended to.
    weights : (T, B, S) array
        The weight of each step of the memory.
    """

    query: Array
    memory: AttentionMemory
    weights: Array


class Attention(Parametric):
    r"""Additive attention: a mean over a memory, in which the query decides how much each step counts.

    With a query q and the S steps e of the memory:

    .. math::

        a_s &= v \cdot \tanh(W q + U e_s) \\
        w_s &= \frac{\exp a_s}{\sum_r \exp a_r} \\
        k &= \sum_s w_s e_s

    Steps past the end of a row weigh exactly 0, whatever values are there; the context k of a row without steps is 0.

    Parameters
    ----------
    query_size, memory_size : int
        The Q features of a query and the E features of the memory.
    hidden_size : int
        The A units between them.
    dtype : float32 or float64
        The dtype of the parameters and of all arrays.
    seed : int or numpy.random.Generator, optional
        The source of the initial weights: uniform in :math:`\pm 1 / \sqrt{n}`, n the columns of each.

    Attributes
    ----------
    params : mapping of str to array
        ``W`` (A, Q), ``U`` (A, E) and ``v`` (A,).
    flat : (n,) array
        All parameters in one buffer, of which `params` are views. In a network they move into its buffer.

    Raises
    ------
    TypeError
        If an argument is not an array of the right dtype.
    ValueError
        If a shape is wrong, or a length is not from 0 to S.

    References
    ----------
    Bahdanau, Cho, Bengio: "Neural Machine Translation by Jointly Learning to Align and Translate", 2015, section 3.1
    and appendix A.1.2.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import Attention
    >>> attention = Attention(3, 4, 8, seed=0)
    >>> query, memory = np.ones((5, 2, 3), np.float32), np.ones((7, 2, 4), np.float32)
    >>> context, tape = attention.forward(query, memory, lengths=[7, 2])
    >>> context.shape, tape.weights[0, 1].tolist()
    ((5, 2, 4), [0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0])
    >>> dquery, dmemory = attention.backward(tape, np.ones_like(context)).x
    >>> dquery.shape, dmemory.shape
    ((5, 2, 3), (7, 2, 4))
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        hidden_size: int,
        *,
        dtype: DTypeLike = np.float32,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        self.query_size = check.positive_int("query_size", query_size)
        self.memory_size = check.positive_int("memory_size", memory_size)
        self.hidden_size = check.positive_int("hidden_size", hidden_size)
        self.dtype = check.float_dtype(dtype)
        self._allocate()
        rng = check.seed("seed", seed)
        for weights in self.params.values():
            draw(rng, weights, 1 / math.sqrt(weights.shape[-1]))

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        A = self.hidden_size
        return {"W": (A, self.query_size), "U": (A, self.memory_size), "v": (A,)}

    def _bind(self) -> None:
        self._W, self._U, self._v = (self.params[name] for name in "WUv")

    def __call__(self, query: Array, memory: Array, lengths: ArrayLike | None = None) -> Array:
        """Return the context of each query, without a tape.

        Parameters
        ----------
        query : (T, B, Q) array
            The T queries of each row.
        memory : (S, B, E) array
            The memory that they attend to.
        lengths : (B,) array of int, optional
            The number of steps of each row's memory. Default: all S.

        Returns
        -------
        context : (T, B, E) array
        """
        return self.forward(query, memory, lengths)[0]

    def forward(self, query: Array, memory: Array, lengths: ArrayLike | None = None) -> tuple[Array, AttentionTape]:
        """Run the layer as a call does, and return the context and a tape for `backward`."""
        return self.attend(query, self.prepare(memory, lengths))

    def prepare(self, memory: Array, lengths: ArrayLike | None = None) -> AttentionMemory:
        """Make a memory ready for `attend`, once for many queries.

        Parameters
        ----------
        memory, lengths
            The same as for a call.
        """
        S, B, E = check.sized("memory", memory, 3, "(S, B, E)").shape
        memory = check.matching("memory", memory, (S, B, self.memory_size), self.dtype, "(S, B, memory_size)")
        within = np.arange(S) < check.lengths(lengths, S, B, "S")[:, np.newaxis]
        steps = np.zeros((B, S, E), self.dtype)
        np.copyto(steps, memory.swapaxes(0, 1), where=within[..., np.newaxis])
        keys = empty((B, S, self.hidden_size), self.dtype)
        rows, threads = keys.reshape(-1, self.hidden_size), get_num_threads()
        _products.multiply(steps.reshape(-1, E), self._U.T, rows, threads)
        return AttentionMemory(steps, keys, within)

    def attend(self, query: Array, memory: AttentionMemory) -> tuple[Array, AttentionTape]:
        """Run the layer on a prepared memory, and return the context and a tape, as `forward` does.

        Parameters
        ----------
        query : (T, B, Q) array
        memory : AttentionMemory
            The memory from `prepare`, with the same B rows.
        """
        T = check.sized("query", query, 3, "(T, B, Q)").shape[0]
        query, memory = self._check_fit("", query, T, memory)
        B, S, E = memory.steps.shape
        scores, context, threads = empty((T, B, S), self.dtype), empty((T, B, E), self.dtype), get_num_threads()
        for block, g in self._blocks(query, memory):
            own = empty(g.shape[:-1], self.dtype)
            _products.multiply(g.reshape(-1, self.hidden_size), self._v[:, np.newaxis], own.reshape(-1, 1), threads)
            scores[block] = own
        weights = _softmax(scores, memory.within)
        _products.multiply(weights.swapaxes(0, 1), memory.steps, context.swapaxes(0, 1), threads)
        return context, AttentionTape(query, memory, weights)

    def backward(
        self, tape: AttentionTape, dcontext: Array, *, out: Gradients | None = None, accumulate: bool = False
    ) -> Gradients:
        """Back-propagate through the layer.

        Parameters
        ----------
        tape : AttentionTape
            The tape from `forward` or `attend`, which is left as it was.
        dcontext : (T, B, E) array
            dJ/d(context).
        out : Gradients, optional
            An earlier result, whose arrays are written to again.
        accumulate : bool
            Add the parameters' gradients to those in `out`, instead of overwriting them.

        Returns
        -------
        Gradients
            ``.params`` (the keys of `params`), ``.flat`` and ``.x``, a pair: dJ/d(query) (T, B, Q) and dJ/d(memory)
            (S, B, E), zero past each end; ``.state`` is None.
        """
        grads = self._gradients(out, accumulate)
        if not isinstance(tape, AttentionTape):
            raise TypeError(f"tape must be an AttentionTape from forward, not {type(tape).__name__}")
        T = check.sized("tape.query", tape.query, 3, "(T, B, Q)").shape[0]
        query, memory = self._check_fit("tape.", tape.query, T, tape.memory)
        steps, keys, _ = memory
        B, S, _ = keys.shape
        w = check.matching("tape.weights", tape.weights, (T, B, S), self.dtype, "(T, B, S)")
        dcontext = check.matching("dcontext", dcontext, (T, B, self.memory_size), self.dtype, "(T, B, memory_size)")
        inputs: dict[str, Array | None] = {"tape.query": query, "tape.memory.steps": steps, "tape.memory.keys": keys}
        check.disjoint({"out.flat": grads.flat}, inputs | {"tape.weights": w, "dcontext": dcontext})
        trains = self.trainable
        if trains and not accumulate:
            grads.flat[:] = 0
        threads, A = get_num_threads(), self.hidden_size
        dcontext_rows, dw = dcontext.swapaxes(0, 1), empty(w.shape, self.dtype)
        _products.multiply(dcontext_rows, steps.swapaxes(1, 2), dw.swapaxes(0, 1), threads)
        dq, dkeys, dv = empty((T, B, A), self.dtype), np.zeros_like(keys), grads.params["v"][np.newaxis]
        with as_in_kernels():
            da = w * (dw - np.sum(w * dw, axis=-1, keepdims=True))
            for block, g in self._blocks(query, memory):
                if trains:
                    _products.multiply(da[block].reshape(1, -1), g.reshape(-1, A), dv, threads, add=True)
                np.multiply(g, g, out=g)  # dJ/d(W q + U e) is da v (1 - g^2); the factor v comes last.
                np.subtract(1, g, out=g)
                g *= da[block][..., np.newaxis]
                dq[block] = g.sum(axis=2)
                dkeys[block[1]] += g.sum(axis=0)
            dq *= self._v
            dkeys *= self._v
        dq_rows, dkeys_rows, steps_rows = dq.reshape(-1, A), dkeys.reshape(-1, A), steps.reshape(-1, self.memory_size)
        query_rows, dquery, dsteps = query.reshape(-1, self.query_size), np.empty_like(query), np.empty_like(steps)
        if trains:
            _products.multiply(dq_rows.T, query_rows, grads.params["W"], threads, add=True)
            _products.multiply(dkeys_rows.T, steps_rows, grads.params["U"], threads, add=True)
        _products.multiply(w.transpose(1, 2, 0), dcontext_rows, dsteps, threads)
        _products.multiply(dkeys_rows, self._U, dsteps.reshape(steps_rows.shape), threads, add=True)
        _products.multiply(dq_rows, self._W, dquery.reshape(query_rows.shape), threads)
        grads.x, grads.state = (dquery, np.ascontiguousarray(dsteps.swapaxes(0, 1))), None
        return grads

    def _check_fit(self, prefix: str, query: Array, T: int, memory: AttentionMemory) -> tuple[Array, AttentionMemory]:
        """Return the query and the prepared memory; raise unless they fit this layer and each other."""
        name = f"{prefix}memory"
        if not isinstance(memory, AttentionMemory):
            raise TypeError(f"{name} must be an AttentionMemory from prepare, not {type(memory).__name__}")
        B, S, _ = check.sized(f"{name}.steps", memory.steps, 3, "(B, S, memory_size)", self.dtype).shape
        memory = AttentionMemory(
            check.matching(f"{name}.steps", memory.steps, (B, S, self.memory_size), self.dtype, "(B, S, memory_size)"),
            check.matching(f"{name}.keys", memory.keys, (B, S, self.hidden_size), self.dtype, "(B, S, hidden_size)"),
            check.matching(f"{name}.within", memory.within, (B, S), np.dtype(np.bool_), "(B, S)"),
        )
        query = check.matching(f"{prefix}query", query, (T, B, self.query_size), self.dtype, "(T, B, query_size)")
        return query, memory

    def _blocks(self, query: Array, memory: AttentionMemory) -> Iterator[tuple[tuple[slice, slice], Array]]:
        """Yield blocks of steps and rows, and for each tanh(W q + U e) of its queries and memories, (t, b, S, A).

        The array is overwritten by the next block.
        """
        (T, B, _), (_, S, A) = query.shape, memory.keys.shape
        q = empty((T, B, 1, A), self.dtype)
        threads = get_num_threads()
        _products.multiply(query.reshape(-1, self.query_size), self._W.T, q.reshape(-1, A), threads)
        rows = min(max(BLOCK // max(S * A, 1), 1), max(B, 1))
        steps = min(max(BLOCK // max(rows * S * A, 1), 1), max(T, 1))
        space = empty((rows * steps * S * A,), self.dtype)
        for b in range(0, B, rows):
            for t in range(0, T, steps):
                block = slice(t, min(t + steps, T)), slice(b, min(b + rows, B))
                sums = q[block]
                shape = (*sums.shape[:2], S, A)
                g = space[: math.prod(shape)].reshape(shape)
                with as_in_kernels():
                    np.add(sums, memory.keys[block[1]], out=g)
                activate("tanh", g, g)
                yield block, g

    def __repr__(self) -> str:
        return f"Attention({self.query_size}, {self.memory_size}, {self.hidden_size}, dtype={self.dtype})"


def _softmax(scores: Array, within: NDArray[np.bool_]) -> Array:
    """Compute the softmax over the last axis in place, exactly 0 for steps past an end, and return it."""
    with as_in_kernels():
        np.copyto(scores, -np.inf, where=~within)
        scores -= scores.max(axis=-1, keepdims=True, initial=np.finfo(scores.dtype).min)
        np.exp(scores, out=scores)
        total = scores.sum(axis=-1, keepdims=True)
        scores /= np.maximum(total, 1, out=total)  # The largest score adds exp(0) = 1, unless there are no steps.
    return scores
