"""The hypotheses of a beam search for the most probable sequences."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlstm._arrays.arrays import Array
from fastlstm._system.float_mode import as_in_kernels


class Hypothesis(NamedTuple):
    """A sequence that a beam search found.

    Attributes
    ----------
    ids : (n,) array of int
        The symbols, without those that begin and end the sequence.
    log_probability : float
        The log probability of these symbols followed by the end, given the input.
    """

    ids: NDArray[np.int64]
    log_probability: float


class Beams(NamedTuple):
    """K hypotheses for each of B rows, the best first.

    Attributes
    ----------
    ids : (n + 1, K, B) array of int
        The symbols so far, `begin` included; a hypothesis that has ended repeats `end`.
    lengths : (K, B) array of int
        The number of symbols, `end` included, `begin` not.
    log_p : (K, B) array
        The log probability of each hypothesis; minus infinity where a row has fewer hypotheses.
    ended : (K, B) array of bool
        Whether the hypothesis has ended, so that nothing can follow.
    """

    ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    log_p: NDArray[np.float64]
    ended: NDArray[np.bool_]

    @classmethod
    def at_begin(cls, B: int, begin: int) -> Beams:
        """Return the beams before the first symbol, with one hypothesis for each row."""
        return cls(np.full((1, 1, B), begin), np.zeros((1, B), np.int64), np.zeros((1, B)), np.zeros((1, B), np.bool_))

    def grown(
        self, logits: Array, n: int, end: int, is_last: bool, beam_width: int, length_penalty: float
    ) -> tuple[Beams, NDArray[np.int64]]:
        """Return the best continuations by the n-th symbol, and which of the K B hypotheses each continues, (K, B)."""
        log_p = _log_softmax(logits)
        if np.isnan(log_p).any():
            raise ValueError("no symbol has a probability: x or the parameters must have values that are not finite")
        to_end = np.where(self.ended, 0, log_p[..., end])
        log_p[self.ended | is_last] = -np.inf
        log_p[..., end] = to_end
        log_p += self.log_p[..., np.newaxis]
        lengths = np.where(self.ended, self.lengths, n)
        K, B, V = log_p.shape
        measure = log_p / lengths[..., np.newaxis] ** length_penalty if length_penalty else log_p
        best = _largest(measure.transpose(1, 0, 2).reshape(B, K * V), min(beam_width, K * V)).T
        k, ids = np.divmod(best, V)
        b = np.arange(B)
        log_p = log_p[k, b, ids]
        possible = max(int((log_p > -np.inf).sum(axis=0).max(initial=0)), 1)  # The possible ones come first.
        k, ids, log_p = k[:possible], ids[:possible], log_p[:possible]
        ended = self.ended[k, b] | (ids == end) | (log_p == -np.inf)
        return Beams(np.concatenate((self.ids[:, k, b], ids[np.newaxis])), lengths[k, b], log_p, ended), k * B + b

    def rows(self, some: NDArray[np.intp]) -> Beams:
        """Return the beams of some rows."""
        return Beams(self.ids[..., some], self.lengths[:, some], self.log_p[:, some], self.ended[:, some])

    def hypotheses(self, b: int | np.intp) -> list[Hypothesis]:
        """Return the hypotheses of row b, once all of them have ended."""
        return [
            Hypothesis(self.ids[1 : self.lengths[k, b], k, b].copy(), float(self.log_p[k, b]))
            for k in np.flatnonzero(self.log_p[:, b] > -np.inf)
        ]


def _log_softmax(logits: Array) -> NDArray[np.float64]:
    """Return the logarithm of the softmax over the last axis, in float64."""
    log_p: NDArray[np.float64] = logits.astype(np.float64)
    with as_in_kernels():  # NaN raises no warning here: the caller checks for it.
        log_p -= log_p.max(axis=-1, keepdims=True)
        log_p -= np.log(np.exp(log_p).sum(axis=-1, keepdims=True))
    return log_p


def _largest(values: Array, count: int) -> NDArray[np.int64]:
    """Return the indices of the largest values of each row, the largest first, equal values in their own order."""
    least = np.partition(values, -count, axis=1)[:, -count, np.newaxis]
    above, equal = values > least, values == least
    room = count - above.sum(axis=1, keepdims=True)
    some = np.nonzero(above | (equal & (equal.cumsum(axis=1) <= room)))[1].reshape(-1, count)
    order = np.argsort(-np.take_along_axis(values, some, axis=1), axis=1, kind="stable")
    largest: NDArray[np.int64] = np.take_along_axis(some, order, axis=1)
    return largest
