"""One way to run a case through the kernels and through the reference, and to compare their results.

A result is a dict of y, h, c and of dx, dW, dR, ...: the gradients of J = sum(dy y) + sum(dh h) + sum(dc c).
"""

import dataclasses
import threading

import numpy as np
from cases import (
    GRU_ARGUMENTS,
    INITIAL,
    LAYER_NORM_ARGUMENTS,
    LSTM_ARGUMENTS,
    NORM,
    RNN_ARGUMENTS,
    Arrays,
    arriving,
    converted,
    initial,
)

import fastlstm
from fastlstm import reference

# ---- running a case --------------------------------------------------------------------------------------------------


def lstm_forward(case: Arrays, **options):
    x, W, R, b, p = (case[name] for name in ("x", "W", "R", "b", "p"))
    options = {"G": case.get("G"), "proj": case.get("proj"), "norm": norm_of(case)} | options
    return fastlstm.lstm_forward(x, W, R, b, p, initial(case), **options)


def lstm_backward(case: Arrays, tape, **options):
    W, R, p, dy = (case[name] for name in ("W", "R", "p", "dy"))
    options = {"G": case.get("G"), "proj": case.get("proj"), "norm": norm_of(case), "dc": case.get("dc_all")} | options
    return fastlstm.lstm_backward(tape, W, R, p, dy, arriving(case), **options)


def lstm_arrays(gradients: fastlstm.LSTMGradients) -> Arrays:
    named = {name: getattr(gradients, name) for name in ("x", "W", "R", "b", "p", "G", "proj")}
    named |= by_name(gradients.state, INITIAL)
    if gradients.norm is not None:
        named |= by_norm(gradients.norm)
    return {f"d{name}": array for name, array in named.items() if array is not None}


def norm_of(case: Arrays) -> np.ndarray | None:
    """Return gR, gW, gc and bc as rows of one array, or the case's own; None where it has none."""
    if case.get("gR") is None:
        return case.get("norm")
    H = len(case["gc"])
    return np.concatenate([case[name].reshape(-1, H) for name in NORM])


def by_norm(norm: np.ndarray) -> Arrays:
    """Return the rows of norm by their names, gR and gW flat."""
    n = len(norm) // 2 - 1
    return dict(zip(NORM, (norm[:n].ravel(), norm[n : 2 * n].ravel(), norm[2 * n], norm[2 * n + 1]), strict=True))


def by_name(state: np.ndarray | tuple[np.ndarray, ...], names=("h", "c", "g")) -> Arrays:
    """Return the parts of a state by their names; the state of an RNN is h."""
    return dict(zip(names, state if isinstance(state, tuple) else (state,), strict=False))


def run_lstm(case: Arrays, num_threads=None, **options) -> Arrays:
    y, state, tape = lstm_forward(case, tape=True, num_threads=num_threads, **options)
    return {"y": y} | by_name(state) | lstm_arrays(lstm_backward(case, tape, num_threads=num_threads))


def lstm_loss(case: Arrays, options) -> float:
    """Return J of a case of options, with the gradients that arrive at every c^t."""
    y, state, tape = lstm_forward(case, tape=True, **options)
    total = np.sum(case["dy"] * y) + sum(np.sum(d * s) for d, s in zip(arriving(case), state, strict=True))
    return total + np.sum(case["dc_all"] * tape.cells())


def reference_lstm(case: Arrays, variant="vanilla") -> Arrays:
    full = converted(case, np.float64)
    if full["p"] is None:
        full["p"] = np.zeros((3, full["R"].shape[1]))
    for name in ("dy", "dh", "dc"):
        if full[name] is None:
            full[name] = np.zeros_like(full["h0"]) + (np.zeros((len(full["x"]), 1, 1)) if name == "dy" else 0)
    G, g0, dg = (full.get(name) for name in ("G", "g0", "dg"))
    y, tape = reference.lstm_forward(*(full[name] for name in LSTM_ARGUMENTS), G, variant, g0)
    weights, above = ([full[name] for name in names] for names in (("W", "R", "p"), ("dy", "dh", "dc")))
    gradients = reference.lstm_backward(tape, *weights, *above, G, variant, dg)
    result = {"y": y, "h": tape.y[-1], "c": tape.c[-1]} | ({} if G is None else {"g": tape.g[-1]})
    result |= {f"d{name}": gradient for name, gradient in gradients._asdict().items() if gradient is not None}
    if case["p"] is None:
        del result["dp"]
    return result


def layer_norm_p(case: Arrays, variant) -> np.ndarray:
    """Return p, or zeros in its place."""
    shape = len(reference.BLOCKS[variant].replace("z", "")), case["R"].shape[1]
    return np.zeros(shape) if case["p"] is None else case["p"]


def reference_layer_norm_forward(case: Arrays, variant="vanilla"):
    full = case | {"p": layer_norm_p(case, variant)}
    return reference.layer_norm_lstm_forward(*(full[name] for name in LAYER_NORM_ARGUMENTS), variant)


def reference_layer_norm_lstm(case: Arrays, variant="vanilla") -> Arrays:
    case = converted(case, np.float64)
    y, tape = reference_layer_norm_forward(case, variant)
    full = case | {"p": layer_norm_p(case, variant)}
    arguments = [full[name] for name in ("W", "R", "p", "gR", "gW", "gc", "bc", "dy", "dh", "dc")]
    gradients = reference.layer_norm_lstm_backward(tape, *arguments, variant)
    result = {"y": y, "h": tape.y[-1], "c": tape.c[-1]}
    return result | {f"d{name}": array for name, array in gradients._asdict().items() if case[name] is not None}


def rnn_forward(case: Arrays, nonlinearity, **options):
    x, W, R, b, h0 = (case[name] for name in RNN_ARGUMENTS)
    return fastlstm.rnn_forward(x, W, R, b, h0, nonlinearity=nonlinearity, **options)


def rnn_backward(case: Arrays, tape, **options):
    W, R, dy, dh = (case[name] for name in ("W", "R", "dy", "dh"))
    return fastlstm.rnn_backward(tape, W, R, dy, dh, **options)


def rnn_arrays(gradients: fastlstm.RNNGradients) -> Arrays:
    return {f"d{name}": array for name, array in zip(RNN_ARGUMENTS, gradients[:5], strict=True)}


def run_rnn(case: Arrays, nonlinearity, num_threads=None) -> Arrays:
    y, h, tape = rnn_forward(case, nonlinearity, tape=True, num_threads=num_threads)
    return {"y": y, "h": h} | rnn_arrays(rnn_backward(case, tape, num_threads=num_threads))


def reference_rnn(case: Arrays, nonlinearity) -> Arrays:
    full = converted(case, np.float64)
    y, tape = reference.rnn_forward(*(full[name] for name in RNN_ARGUMENTS), nonlinearity)
    gradients = reference.rnn_backward(tape, full["W"], full["R"], full["dy"], full["dh"], nonlinearity)
    return {"y": y, "h": tape.h[-1]} | {f"d{name}": gradient for name, gradient in gradients._asdict().items()}


def gru_forward(case: Arrays, **options):
    arguments = [case.get(name) for name in GRU_ARGUMENTS]
    return fastlstm.gru_forward(*arguments, reset_after=case.get("bn") is not None, **options)


def gru_backward(case: Arrays, tape, **options):
    W, R, bn, dy, dh = (case.get(name) for name in ("W", "R", "bn", "dy", "dh"))
    return fastlstm.gru_backward(tape, W, R, bn, dy, dh, **options)


def gru_arrays(gradients: fastlstm.GRUGradients) -> Arrays:
    named = zip(GRU_ARGUMENTS, gradients[:6], strict=True)
    return {f"d{name}": array for name, array in named if array is not None}


def run_gru(case: Arrays, num_threads=None, **options) -> Arrays:
    y, h, tape = gru_forward(case, tape=True, num_threads=num_threads, **options)
    return {"y": y, "h": h} | gru_arrays(gru_backward(case, tape, num_threads=num_threads))


def reference_gru(case: Arrays) -> Arrays:
    full = converted(case, np.float64)
    for name, shape in (("dy", (len(full["x"]), *full["h0"].shape)), ("dh", full["h0"].shape)):
        full[name] = np.zeros(shape) if full[name] is None else full[name]
    y, tape = reference.gru_forward(*(full[name] for name in GRU_ARGUMENTS), reset_after=full["bn"] is not None)
    gradients = reference.gru_backward(tape, full["W"], full["R"], full["dy"], full["dh"])
    named = {f"d{name}": array for name, array in gradients._asdict().items() if array is not None}
    return {"y": y, "h": tape.h[-1]} | named


def tape_arrays(tape) -> Arrays:
    """Return the arrays that a tape holds."""
    named = {field.name: getattr(tape, field.name) for field in dataclasses.fields(tape)}
    return {name: array for name, array in named.items() if isinstance(array, np.ndarray)}


# ---- comparing -------------------------------------------------------------------------------------------------------


def assert_close(found: Arrays, expected: Arrays, tolerance: float) -> None:
    """Assert that no array is off by more than `tolerance` times the largest magnitude of the expected one."""
    assert found.keys() == expected.keys()
    for name, array in found.items():
        wanted = np.asarray(expected[name])
        assert array.shape == wanted.shape, name
        if array.size:
            error, scale = np.abs(array - wanted).max(), np.abs(wanted).max()
            assert error <= tolerance * scale, f"{name}: error {error:.3g}, largest value {scale:.3g}"


def assert_same(found: Arrays, expected: Arrays) -> None:
    """Assert that every array has the same bits."""
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.dtype == expected[name].dtype, name
        assert array.shape == expected[name].shape, name
        assert array.tobytes() == expected[name].tobytes(), name


# ---- threads ---------------------------------------------------------------------------------------------------------


def run_together(count, work):
    """Call work(k) in `count` threads, all at the same time; raise what they raise."""
    barrier, errors = threading.Barrier(count), []

    def target(k):
        try:
            barrier.wait(60)
            work(k)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=target, args=(k,)) for k in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    if errors:
        raise errors[0]
