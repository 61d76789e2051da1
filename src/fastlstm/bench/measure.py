"""Fair timing of contestants, and the check that they compute the same."""

from __future__ import annotations

import gc
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlstm.bench.peers import Contestant
from fastlstm.bench.results import Spread

__all__ = ["TOLERANCE", "DisagreementError", "difference", "interleave", "ratio"]

Array = NDArray[Any]

ROUNDS = 15
TOLERANCE = 1e-4
LONG_CALL = 0.02
IDLE_SHARE = 0.3
LONGEST_WAIT = 0.25
# After these seconds, two ticks at 100 Hz, the system has counted the time of threads on other processors too.
CLOCK_TICKS = 0.02


class DisagreementError(Exception):
    """The error of two contestants that do not compute the same, so that their times must not be compared."""


def difference(first: Contestant, second: Contestant, *, tolerance: float = TOLERANCE) -> float:
    """Return the largest difference between results, relative to each array's largest value if it is above 1.

    Raises
    ------
    DisagreementError
        If the difference is more than the tolerance.
    """
    differences = []
    for ours, theirs in zip(first.results(), second.results(), strict=True):
        if ours.shape != theirs.shape:
            raise DisagreementError(f"{first.name} gives shape {ours.shape}, {second.name} {theirs.shape}")
        scale = max(1.0, float(np.abs(theirs).max()))
        differences.append(float(np.abs(ours - theirs).max()) / scale)
    worst = float(np.max(differences))  # Unlike Python's own max, this is NaN if any of them is.
    if not worst <= tolerance:  # Written this way, the condition holds for NaN too.
        raise DisagreementError(f"{first.name} and {second.name} differ by {worst:.2g}, more than {tolerance:g}")
    return worst


def _settle() -> None:
    """Wait until no thread of this process is busy.

    Thread pools (of OpenMP, OpenBLAS, ONNX Runtime, OpenVINO, fastlstm) spin for up to a tenth of a second after their
    work is done: the next contestant must not share the processors with them.
    """
    deadline = time.perf_counter() + LONGEST_WAIT
    while time.perf_counter() < deadline:
        start, busy = time.perf_counter(), time.process_time()
        time.sleep(CLOCK_TICKS)
        if time.process_time() - busy < IDLE_SHARE * (time.perf_counter() - start):
            return


def _timed(contestant: Contestant, calls: int) -> float:
    """Return the seconds that a number of calls take."""
    start = time.perf_counter()
    contestant.repeat(calls)
    return time.perf_counter() - start


def _calls_for(contestant: Contestant, seconds: float) -> tuple[int, float]:
    """Warm up; return the number of calls that last about `seconds`, and the time of one call."""
    contestant.repeat(1)
    calls = 1
    while (elapsed := _timed(contestant, calls)) < seconds / 4:
        calls *= 4
    each = elapsed / calls
    return max(1, round(seconds / each)), each


def interleave(contestants: list[Contestant], seconds: float, least_rounds: int) -> dict[str, Array]:
    """Time the contestants in turns: A B C A B C ...

    A turn is a block of calls. It begins when every thread pool is at rest, with some untimed calls that warm up the
    contestant's caches and threads.

    Parameters
    ----------
    contestants : list of Contestant
        The contestants in the order of their turns.
    seconds : float
        The time for each contestant in all rounds; long calls take more, because of `least_rounds`.
    least_rounds : int
        The least number of rounds.

    Returns
    -------
    dict of str to array
        For each name the seconds per call in every round.
    """
    plan = []
    for contestant in contestants:
        _settle()
        calls, each = _calls_for(contestant, seconds / ROUNDS)
        plan.append((contestant, calls, 0 if each > LONG_CALL else 1 + calls // 8, each))
    round_time = sum((calls + before) * each for _, calls, before, each in plan)
    rounds = min(ROUNDS, max(least_rounds, int(len(plan) * seconds / round_time)))
    times = {contestant.name: np.empty(rounds) for contestant in contestants}
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        for number in range(rounds):
            for contestant, calls, before, _ in plan:
                _settle()
                contestant.repeat(before)
                times[contestant.name][number] = _timed(contestant, calls) / calls
    finally:
        if collecting:
            gc.enable()
    return times


def ratio(numerator: Array, denominator: Array) -> Spread:
    """Return the median and the quartiles of the ratios within each round.

    Examples
    --------
    >>> ratio(np.array([2.0, 4.0, 9.0]), np.array([1.0, 2.0, 3.0]))
    {'median': 2.0, 'q1': 2.0, 'q3': 2.5}
    """
    q1, median, q3 = np.percentile(numerator / denominator, [25, 50, 75])
    return {"median": float(median), "q1": float(q1), "q3": float(q3)}
