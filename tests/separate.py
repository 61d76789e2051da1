"""The results of a batch, put together from separate runs: each row by itself, or each recording within a row."""

import itertools

import numpy as np
from cases import INITIAL, STATES, Arrays, row_case
from helpers import run_lstm

ROW_STATES = ("h", "c", "g", "dh0", "dc0", "dg0")


def row_by_row(case: Arrays, options, run=run_lstm) -> Arrays:
    """Return the results of a case whose rows are run one at a time, without their padding."""
    T, B = case["x"].shape[:2]
    lengths = options.get("lengths", np.full(B, T))
    total: Arrays = {}
    for row in range(B):
        end = lengths[row]
        one, how = row_case(case, options, row, slice(end))
        add(total, run(one, 1, **how), row, 0, end, T, B)
    return total


def recording_by_recording(case: Arrays, options, run) -> Arrays:
    """Return the results of a case with resets: each row is cut at its flags, and `run` takes one part at a time."""
    T, B = case["x"].shape[:2]
    reset, reverse, to_zero = options["reset"], options["reverse"], options.get("reset_to") == "zero"
    total: Arrays = {}
    for row in range(B):
        length = options.get("lengths", np.full(B, T))[row]
        for start, end in recordings(reset[:, row], length):
            from_zero = begins_from_zero(start, end, length, reset[:, row], reverse, to_zero)
            is_final = start == 0 if reverse else end == length
            one, how = row_case(case, options, row, slice(start, end))
            for name in STATES:
                if one.get(name) is not None and (from_zero if name in INITIAL else not is_final):
                    one[name] = np.zeros_like(one[name])
            how = {name: value for name, value in how.items() if name not in ("reset", "reset_to")}
            add(total, run(one, **how), row, start, end, T, B, from_zero, is_final)
    return total


def recordings(reset, end):
    """Return where the recordings of one row of `end` steps begin and end."""
    borders = [0, *(t for t in range(1, end) if reset[t]), end]
    return list(itertools.pairwise(borders))


def begins_from_zero(start, end, length, reset, reverse, to_zero):
    """Return whether a recording of one row of that length begins from zero, not from the state given."""
    if not to_zero or length == 0:
        return False
    return end < length if reverse else bool(start > 0 or reset[0])


def add(total: Arrays, found: Arrays, row, start, end, T, B, from_zero=False, is_final=True):
    """Add the results of some steps of one row to those of the batch."""
    for name, array in found.items():
        if name in ("y", "dx"):
            total.setdefault(name, np.zeros((T, B, array.shape[2])))[start:end, row] = array[:, 0]
        elif name in ROW_STATES:
            whole = total.setdefault(name, np.zeros((B, array.shape[1])))
            if name.startswith("d"):
                whole[row] += 0 if from_zero else array[0]
            elif is_final:
                whole[row] = array[0]
        else:
            total[name] = total.get(name, 0) + array
