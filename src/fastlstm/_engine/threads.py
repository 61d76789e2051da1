"""The number of threads that a call uses, where it does not say."""

from __future__ import annotations

from fastlstm._arrays import checks as check
from fastlstm._system import processors, runtime

# How many threads a call uses by default; `set_num_threads` replaces it.
current = processors.default_num_threads(runtime.MAX_THREADS)


def set_num_threads(num_threads: int) -> None:
    """Set how many threads a call uses by default, in place of what was found when fastlstm was imported.

    That was the environment's FASTLSTM_NUM_THREADS; without it, OMP_NUM_THREADS; without both, as many as this process
    may use processors, by its affinity and by the CPU quota of its container. `show_config` tells which.

    The number decides how work is divided, and so the last digits of results. No more threads run at once than the
    process may use processors: one thread then does the work of several. Small problems use fewer by themselves.

    Parameters
    ----------
    num_threads : int
        At least 1, at most 256.

    Raises
    ------
    TypeError, ValueError
        If it is not such a number.

    Examples
    --------
    >>> import fastlstm
    >>> before = fastlstm.get_num_threads()
    >>> fastlstm.set_num_threads(1)
    >>> fastlstm.get_num_threads()
    1
    >>> fastlstm.set_num_threads(before)
    """
    global current
    current = processors.Default(checked_num_threads(check.integer("num_threads", num_threads)), "set_num_threads")


def get_num_threads() -> int:
    """Return the number of threads that a call uses by default; `set_num_threads` tells where it comes from."""
    return current.number


def checked_num_threads(num_threads: int | None) -> int:
    """Return `num_threads` if it is a legal number, the default if it is None."""
    if num_threads is None:
        return current.number
    number = check.integer("num_threads", num_threads)
    if not 1 <= number <= runtime.MAX_THREADS:
        raise ValueError(f"num_threads must be from 1 to {runtime.MAX_THREADS}, not {number}")
    return number


def default() -> processors.Default:
    """Return the default number of threads and where it comes from."""
    return current
