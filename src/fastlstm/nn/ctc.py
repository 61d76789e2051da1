"""Connectionist temporal classification (CTC): labels for sequences, from a label or a blank at every step."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlstm._arrays import checks as check
from fastlstm._arrays.arrays import Array, empty
from fastlstm._engine.threads import checked_num_threads
from fastlstm.nn import _ctc, _ctc_beam

__all__ = ["ctc_beam_search", "ctc_best_path", "ctc_loss"]

Ints = NDArray[np.int64]


def ctc_loss(
    logits: Array,
    lengths: ArrayLike | None,
    labels: ArrayLike,
    label_lengths: ArrayLike | None,
    *,
    blank: int = 0,
    per_label: bool = True,
    zero_infinity: bool = False,
    batch_first: bool = False,
    num_threads: int | None = None,
) -> tuple[float, Array]:
    r"""Return the mean negative logarithm of the probability of each row's labels, wherever in the sequence they are.

    A path has a class at every step; it becomes a labelling :math:`l` when repeated classes are merged and blanks then
    left out: that is :math:`\mathcal{B}`. With :math:`y^t` the softmax of the logits at step t,

    .. math::

        p(l) = \sum_{\pi: \mathcal{B}(\pi) = l} \prod_{t=1}^T y^t_{\pi_t} \qquad
        J = \frac{1}{B} \sum_b \frac{-\ln p(l_b)}{\max(L_b, 1)} \qquad
        \frac{\partial (-\ln p(l))}{\partial u^t_k} =
        y^t_k - \frac{1}{p(l)} \sum_{s: l'_s = k} \frac{\alpha_t(s) \beta_t(s)}{y^t_k}

    where u are the logits, l' the labels with blanks around them, and :math:`\alpha` and :math:`\beta` the
    probabilities of all paths to a position and from it, computed as logarithms in float64.

    Parameters
    ----------
    logits : (T, B, K) array of float32 or float64
        The values before the softmax, of K classes, the blank among them.
    lengths : (B,) ints or None
        The number of steps of each row, 0 to T; None for all T. Values past them are not read.
    labels : (B, L) ints
        Each row's labels, classes other than the blank. Entries past their number are not read. `Transcripts` makes
        such batches.
    label_lengths : (B,) ints or None
        :math:`L_b`, the number of labels of each row, 0 to L; None for all L.
    blank : int
        The class that stands for no label.
    per_label : bool
        Whether each row's loss is divided by its number of labels, as above and as PyTorch's ``reduction="mean"`` does,
        so that long rows weigh no more than short ones. Otherwise :math:`J = \frac{1}{B} \sum_b -\ln p(l_b)`, which is
        the paper's objective, per row; its gradients are larger by the number of labels of a row, and the norm at which
        they are clipped must be so too.
    zero_infinity : bool
        Whether a row whose labels have probability zero has loss and gradient zero, instead of raising an error. Labels
        have probability zero if they need more steps than there are: one for each label, and one for the blank between
        two labels that are the same.
    batch_first : bool
        Whether logits and gradient are (B, T, K).
    num_threads : int, optional
        The number of threads, on which the result does not depend. Default: `fastlstm.get_num_threads`.

    Returns
    -------
    loss : float
        J, PyTorch's value; 0 for a batch without rows. It is NaN if the logits up to a length have NaN or infinity (but
        a class may have the logit :math:`-\infty`).
    gradient : (T, B, K) array
        dJ/d(logits), zero past each length.

    Raises
    ------
    TypeError
        If an argument does not have the right dtype.
    ValueError
        If a shape or a number is wrong, or a row's labels have probability zero.

    References
    ----------
    Graves, Fernández, Gomez, Schmidhuber: "Connectionist temporal classification: labelling unsegmented sequence data
    with recurrent neural networks", 2006, equations 6 to 16.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import ctc_loss
    >>> logits = np.zeros((2, 1, 3))  # every path has probability 1/9: three of them, 11, 01 and 10, become [1]
    >>> loss, gradient = ctc_loss(logits, [2], [[1]], [1])
    >>> print(round(np.exp(-loss) * 9, 6))
    3.0
    >>> (gradient[0] * 3).round(6) + 0
    array([[ 0., -1.,  1.]])
    """
    per_label, zero_infinity = check.flag("per_label", per_label), check.flag("zero_infinity", zero_infinity)
    logits, lengths, blank = _checked(logits, lengths, blank, batch_first)
    B, K = logits.shape[1:]
    try:
        given = np.array(check.unmasked("labels", labels))  # A copy cannot change once it is checked.
    except ValueError:
        raise ValueError(
            "labels must have shape (B, L): pad rows of different lengths, and give label_lengths"
        ) from None
    if given.dtype.kind not in "iu" and given.size:
        raise TypeError(f"labels must be integers, not {given.dtype}")
    if given.ndim != 2 or len(given) != B:
        raise ValueError(f"labels must have shape (B, L) = ({B}, L), not {given.shape}")
    labels = np.ascontiguousarray(given, np.int64)
    L = labels.shape[1]
    label_lengths = check.lengths(label_lengths, L, B, "L", "label_lengths")
    used = np.arange(L) < label_lengths[:, np.newaxis]
    wrong = used & ((labels < 0) | (labels >= K) | (labels == blank))
    if wrong.any():
        index = check.first_entry(wrong)
        expected = f"from 0 to K - 1 = {K - 1} and not blank = {blank}"
        raise check.EntryError(f"labels must be {expected}, but labels{{at}} is {labels[index]}", "labels", index)
    threads = checked_num_threads(num_threads)

    weights = (1 / np.maximum(label_lengths, 1) if per_label else np.ones(B)) / max(B, 1)
    cost = lengths * (2 * label_lengths + K)
    parts, doubles = _ctc.plan(int(lengths.max(initial=0)), int(label_lengths.max(initial=0)), int(cost.sum()), threads)
    losses, gradient = np.empty(B), empty(logits.shape, logits.dtype)
    memory = empty((parts, doubles), np.dtype(np.float64))
    order = np.argsort(-cost, kind="stable")
    _ctc.run(logits, gradient, lengths, labels, label_lengths, order, weights, losses, blank, memory)
    impossible = np.flatnonzero(np.isinf(losses))
    if impossible.size and not zero_infinity:
        b = int(impossible[0])
        raise check.EntryError(_impossible(b, lengths, labels, label_lengths), "labels", (b,))
    losses[impossible] = 0
    return float((weights * losses).sum()), np.ascontiguousarray(gradient.swapaxes(0, 1)) if batch_first else gradient


def ctc_best_path(
    logits: Array, lengths: ArrayLike | None = None, *, blank: int = 0, batch_first: bool = False
) -> list[Ints]:
    r"""Return the labels of each row's most probable path: the best class of each step, without repeats and blanks.

    .. math::

        \mathcal{B}(\pi^*), \qquad \pi^*_t = \arg\max_k y^t_k

    This is fast, and mostly but not always the most probable labelling, whose probability is the sum over many paths:
    see `ctc_beam_search`. Early in training a network finds blanks at nearly all steps, and its best path is much worse
    than the result of the search.

    Parameters
    ----------
    logits : (T, B, K) array of float32 or float64
        The values before or after the softmax.
    lengths : (B,) ints or None
        The number of steps of each row, 0 to T; None for all T. Values past them are not read.
    blank : int
        The class that stands for no label.
    batch_first : bool
        Whether logits are (B, T, K).

    Returns
    -------
    list of (n,) arrays of int64
        Each row's labels.

    Raises
    ------
    TypeError
        If an argument does not have the right dtype.
    ValueError
        If a shape or a number is wrong, or a logit up to a length is NaN.

    References
    ----------
    Graves, Fernández, Gomez, Schmidhuber: "Connectionist temporal classification", 2006, section 3.2, equation 4.

    Examples
    --------
    >>> import numpy as np
    >>> from fastlstm.nn import ctc_best_path
    >>> path = [1, 1, 0, 1, 2, 2]
    >>> ctc_best_path(np.eye(3)[path][:, np.newaxis], [6])
    [array([1, 1, 2])]
    """
    logits, lengths, blank = _checked(logits, lengths, blank, batch_first)
    rows = []
    for b, length in enumerate(lengths):
        y = logits[:length, b]
        if np.isnan(y).any():
            raise ValueError(f"logits must be numbers up to the lengths: row {b} has NaN")
        path = y.argmax(axis=1)
        new = path != blank
        new[1:] &= path[1:] != path[:-1]
        rows.append(path[new].astype(np.int64))
    return rows


def ctc_beam_search(
    logits: Array,
    lengths: ArrayLike | None = None,
    *,
    beam_width: int = 100,
    num_results: int = 1,
    blank: int = 0,
    batch_first: bool = False,
    num_threads: int | None = None,
) -> list[list[tuple[Ints, float]]]:
    r"""Search for each row's most probable labellings: sums over all paths, of which only the best prefixes stay.

    A prefix l has two probabilities at step t: that of the paths that end in a blank, and that of the paths that end in
    the last label, :math:`l_n`:

    .. math::

        p_b^t(l) &= y^t_{blank} (p_b^{t-1}(l) + p_n^{t-1}(l)) \\
        p_n^t(l) &= y^t_{l_n} (p_n^{t-1}(l) + p_b^{t-1}(l_{1:n-1}) + [l_n \ne l_{n-1}] p_n^{t-1}(l_{1:n-1}))

    and after each step the `beam_width` prefixes with the largest sums stay. A beam at least as wide as there are
    prefixes makes the search exact; a narrower one finds a lower bound of each probability.

    Parameters
    ----------
    logits : (T, B, K) array of float32 or float64
        The values before the softmax, of K classes, the blank among them.
    lengths : (B,) ints or None
        The number of steps of each row, 0 to T; None for all T. Values past them are not read.
    beam_width : int
        The number of prefixes that stay. Each takes 40 T + 8 K bytes in each thread.
    num_results : int
        The number of labellings to return for each row, at most `beam_width`; there are fewer if no more are possible.
    blank : int
        The class that stands for no label.
    batch_first : bool
        Whether logits are (B, T, K).
    num_threads : int, optional
        The number of threads, on which the result does not depend. Default: `fastlstm.get_num_threads`.

    Returns
    -------
    list of lists of (labels, log probability)
        For each row, the best labelling first: an (n,) array of int64, and :math:`\ln p(l)` over the summed paths.

    Raises
    ------
    TypeError
        If an argument does not have the right dtype.
    ValueError
        If a shape or a number is wrong, or the logits of a step up to a length have no softmax.

    References
    ----------
    Graves, Jaitly: "Towards end-to-end speech recognition with recurrent neural networks", 2014, algorithm 1, without
    a language model. Hannun, Maas, Jurafsky, Ng: "First-pass large vocabulary continuous speech recognition using
    bi-directional recurrent DNNs", 2014, algorithm 1.

    Examples
    --------
    The best path is all blanks; three paths become [1], and are together more probable.

    >>> import numpy as np
    >>> from fastlstm.nn import ctc_beam_search, ctc_best_path
    >>> logits = np.log([[[0.6, 0.4]], [[0.6, 0.4]]])
    >>> ctc_best_path(logits, [2])
    [array([], dtype=int64)]
    >>> for labels, log_probability in ctc_beam_search(logits, [2], num_results=2)[0]:
    ...     print(labels, round(np.exp(log_probability), 2))
    [1] 0.64
    [] 0.36
    """
    logits, lengths, blank = _checked(logits, lengths, blank, batch_first)
    width = check.positive_int("beam_width", beam_width)
    results = check.positive_int("num_results", num_results)
    if results > width:
        raise ValueError(f"num_results must be at most beam_width = {width}, not {results}")
    B, K = logits.shape[1:]
    longest = int(lengths.max(initial=0))
    width = min(width, _labellings(longest, K, width))
    results = min(results, width)
    parts = max(1, min(checked_num_threads(num_threads), B))
    each = _ctc_beam.memory_for(longest, K, width)
    if parts * each > sys.maxsize:
        raise MemoryError(f"beam_width = {beam_width} would take {parts * each} bytes")
    memory = empty((parts, each), np.dtype(np.uint8))
    labels, counts = np.empty((B, results, longest), np.int64), np.empty((B, results), np.int64)
    scores, bad = np.empty((B, results)), np.empty(B, np.int64)
    classes = np.arange(K, dtype=np.int64)
    _ctc_beam.search(logits, lengths, classes, labels, counts, scores, bad, width, blank, memory)
    wrong = np.flatnonzero(bad >= 0)
    if wrong.size:
        b = wrong[0]
        at = f"{b}, {bad[b]}" if batch_first else f"{bad[b]}, {b}"
        raise ValueError(f"logits must have a softmax up to the lengths, but logits[{at}] have none")
    return [
        [(labels[b, k, : counts[b, k]].copy(), float(scores[b, k])) for k in range(results) if counts[b, k] >= 0]
        for b in range(B)
    ]


def _labellings(T: int, K: int, enough: int) -> int:
    """Return the number of labellings of at most T labels, or at least `enough` where there are that many."""
    count = longer = 1
    for _ in range(T):
        longer *= K - 1
        count += longer
        if count >= enough or not longer:
            break
    return count


def _checked(logits: Array, lengths: ArrayLike | None, blank: int, batch_first: bool) -> tuple[Array, Ints, int]:
    """Return the checked logits, as (T, B, K), the lengths and the blank, which the loss and both searches take."""
    swapped = check.flag("batch_first", batch_first)
    logits = check.sized("logits", logits, 3, "(B, T, K)" if swapped else "(T, B, K)")
    logits = logits.swapaxes(0, 1) if swapped else logits
    logits = check.matching("logits", logits, logits.shape, logits.dtype, "(T, B, K)")
    T, B, K = logits.shape
    blank = check.integer("blank", blank)
    if not 0 <= blank < K:
        raise ValueError(f"blank must be one of the K = {K} classes, not {blank}")
    return logits, check.lengths(lengths, T, B), blank


def _impossible(b: int, lengths: Ints, labels: Ints, label_lengths: Ints) -> str:
    """Return the message that says why row b's loss is infinite."""
    row = labels[b, : label_lengths[b]]
    repeats = int((row[1:] == row[:-1]).sum())
    needed = row.size + repeats
    if needed > lengths[b]:
        return (
            f"labels{{at}} cannot fit: {check.counted(row.size, 'label')} with {check.counted(repeats, 'repeat')} "
            f"{'needs' if row.size == 1 else 'need'} {check.counted(needed, 'step')}, lengths{{at}} is "
            f"{lengths[b]} (zero_infinity=True leaves such rows out)"
        )
    return "logits give labels{at} probability zero (zero_infinity=True leaves such rows out)"
