"""Random cases, and one way to run them through the kernels and through the reference.

A case is a dict of the arguments of a forward pass (x, W, R, b, p, h0, c0), and of the gradients that arrive from
above: dy at every output, dh and dc at the final state. A result is a dict of y, h, c and of dx, dW, dR, ...: the
gradients of J = sum(dy y) + sum(dh h) + sum(dc c). Every value of a case is a float32 number, so that both precisions
run the same case.
"""

import dataclasses
import threading

import numpy as np

import fastlstm
from fastlstm import reference
from fastlstm._system import runtime

LSTM_ARGUMENTS = ("x", "W", "R", "b", "p", "h0", "c0")
INITIAL = ("h0", "c0", "g0")
RNN_ARGUMENTS = ("x", "W", "R", "b", "h0")
NONLINEARITIES = ("tanh", "relu", "logistic", "identity")
# The kernels of a device, which a build may have for tests, are run where they are asked for: FASTLSTM_ISA=emulated.
ISAS = [isa for isa in runtime.available_isas() if isa != "emulated"]
DTYPES = (np.float32, np.float64)

Arrays = dict[str, np.ndarray]


def converted(case: Arrays, dtype: type) -> Arrays:
    return {name: None if array is None else array.astype(dtype) for name, array in case.items()}


def lstm_case(T, B, I, H, *, dtype=np.float64, peephole=True, seed=0) -> Arrays:
    """Weights of a norm at which errors shrink over time instead of growing."""
    rng = np.random.default_rng([seed, T, B, I, H])
    scales = {
        "x": ((T, B, I), 1.0),
        "W": ((4 * H, I), 0.6 / max(I, 1) ** 0.5),
        "R": ((4 * H, H), 0.6 / H**0.5),
        "b": ((4 * H,), 0.3),
        "p": ((3, H), 0.3),
        "h0": ((B, H), 0.5),
        "c0": ((B, H), 0.5),
        "dy": ((T, B, H), 1.0),
        "dh": ((B, H), 1.0),
        "dc": ((B, H), 1.0),
    }
    case = {name: (scale * rng.standard_normal(shape)).astype(np.float32) for name, (shape, scale) in scales.items()}
    if not peephole:
        case["p"] = None
    return converted(case, dtype)


def rnn_case(T, B, I, H, nonlinearity, *, dtype=np.float64, seed=0) -> Arrays:
    """A case for any g. For relu no a^t is closer to the kink at 0 than 0.1, so that rounding cannot cross it.

    One input decides the sign of each a^t: 0.6 <= |x| <= 1 with a weight of +-1, and everything else is at most 0.5.
    """
    rng = np.random.default_rng([seed, T, B, I, H])
    case = {
        "x": rng.standard_normal((T, B, I)),
        "W": rng.standard_normal((H, I)) * (0.6 / max(I, 1) ** 0.5),
        "R": rng.standard_normal((H, H)) * (0.6 / H**0.5),
        "b": rng.standard_normal(H) * 0.3,
        "h0": rng.standard_normal((B, H)) * 0.5,
        "dy": rng.standard_normal((T, B, H)),
        "dh": rng.standard_normal((B, H)),
    }
    if nonlinearity == "relu":
        units, signs = np.arange(H), rng.choice([-1.0, 1.0], H)
        case["x"] = rng.uniform(0.6, 1, (T, B, I)) * rng.choice([-1.0, 1.0], (T, B, I))
        case["W"] = rng.uniform(-0.05, 0.05, (H, I)) / max(I, 1)
        case["R"] = 0.2 * np.eye(H)[rng.permutation(H)] + rng.uniform(-0.05, 0.05, (H, H)) / H
        case["b"] = rng.uniform(-0.05, 0.05, H)
        case["h0"] = rng.uniform(-1, 1, (B, H))
        if I:
            case["W"][units, units % I] = signs
        else:
            case["b"] = signs
    return converted(converted(case, np.float32), dtype)


# ---- running a case --------------------------------------------------------------------------------------------------


def lstm_forward(case: Arrays, **options):
    x, W, R, b, p, h0, c0 = (case[name] for name in LSTM_ARGUMENTS)
    return fastlstm.lstm_forward(x, W, R, b, p, (h0, c0), **options)


def lstm_backward(case: Arrays, tape, **options):
    W, R, p, dy, dh, dc = (case[name] for name in ("W", "R", "p", "dy", "dh", "dc"))
    return fastlstm.lstm_backward(tape, W, R, p, dy, (dh, dc), **options)


def lstm_arrays(gradients: fastlstm.LSTMGradients) -> Arrays:
    named = {name: getattr(gradients, name) for name in ("x", "W", "R", "b", "p", "G", "proj")}
    named |= by_name(gradients.state, INITIAL)
    return {f"d{name}": array for name, array in named.items() if array is not None}


def initial(case: Arrays) -> tuple[np.ndarray, ...]:
    """The state that a case begins with; that of FGR has gates too."""
    return tuple(case[name] for name in INITIAL if case.get(name) is not None)


def arriving(case: Arrays) -> tuple[np.ndarray, ...]:
    """The gradients arriving at its final state."""
    return tuple(case[name] for name in ("dh", "dc", "dg") if case.get(name) is not None)


def by_name(state: tuple[np.ndarray, ...], names=("h", "c", "g")) -> Arrays:
    return dict(zip(names, state, strict=False))


def run_lstm(case: Arrays, num_threads=None) -> Arrays:
    y, (h, c), tape = lstm_forward(case, tape=True, num_threads=num_threads)
    return {"y": y, "h": h, "c": c} | lstm_arrays(lstm_backward(case, tape, num_threads=num_threads))


def reference_lstm(case: Arrays) -> Arrays:
    full = converted(case, np.float64)
    if full["p"] is None:
        full["p"] = np.zeros((3, full["R"].shape[1]))
    for name in ("dy", "dh", "dc"):
        if full[name] is None:
            full[name] = np.zeros_like(full["h0"]) + (np.zeros((len(full["x"]), 1, 1)) if name == "dy" else 0)
    y, tape = reference.lstm_forward(*(full[name] for name in LSTM_ARGUMENTS))
    gradients = reference.lstm_backward(tape, full["W"], full["R"], full["p"], full["dy"], full["dh"], full["dc"])
    result = {"y": y, "h": tape.y[-1], "c": tape.c[-1]}
    result |= {f"d{name}": gradient for name, gradient in gradients._asdict().items() if gradient is not None}
    if case["p"] is None:
        del result["dp"]
    return result


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


def tape_arrays(tape) -> Arrays:
    """The arrays that a tape holds."""
    named = {field.name: getattr(tape, field.name) for field in dataclasses.fields(tape)}
    return {name: array for name, array in named.items() if isinstance(array, np.ndarray)}


# ---- comparing -------------------------------------------------------------------------------------------------------


def assert_close(found: Arrays, expected: Arrays, tolerance: float) -> None:
    """Every array within `tolerance` times the largest magnitude in the expected one; exact where that is zero."""
    assert found.keys() == expected.keys()
    for name, array in found.items():
        wanted = np.asarray(expected[name])
        assert array.shape == wanted.shape, name
        if array.size:
            error, scale = np.abs(array - wanted).max(), np.abs(wanted).max()
            assert error <= tolerance * scale, f"{name}: error {error:.3g}, largest value {scale:.3g}"


def assert_same(found: Arrays, expected: Arrays) -> None:
    """Every array bitwise the same."""
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.dtype == expected[name].dtype, name
        assert array.shape == expected[name].shape, name
        assert array.tobytes() == expected[name].tobytes(), name


# ---- threads ---------------------------------------------------------------------------------------------------------


def run_together(count, work):
    """Calls work(k) in `count` threads, all at the same time; raises what they raise."""
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


# ---- finite differences ----------------------------------------------------------------------------------------------


def central_difference(f, array, step=1e-6):
    """df/d(array), element by element."""
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + step
        above = f()
        array[index] = value - step
        gradient[index] = (above - f()) / (2 * step)
        array[index] = value
    return gradient


# ---- the variants, in the reference ----------------------------------------------------------------------------------


def variant_case(variant, T, B, I, H, *, seed=0) -> Arrays:
    """A case without the blocks that a variant lacks, and with G, g0 and dg for FGR."""
    case, blocks = lstm_case(T, B, I, H, seed=seed), reference.BLOCKS[variant]
    for name in ("W", "R", "b"):
        parts = dict(zip("ifzo", np.split(case[name], 4), strict=True))
        case[name] = np.concatenate([parts[gate] for gate in blocks])
    case["p"] = case["p"][["ifo".index(gate) for gate in blocks if gate != "z"]]
    if variant == "FGR":
        rng = np.random.default_rng([seed, H])
        case["G"] = rng.standard_normal((3 * H, 3 * H)) * 0.4 / H**0.5
        case["g0"], case["dg"] = rng.random((B, 3 * H)), rng.standard_normal((B, 3 * H))
    return case


def reference_variant(case: Arrays, variant) -> Arrays:
    G, g0, dg = (case.get(name) for name in ("G", "g0", "dg"))
    y, tape = reference.lstm_forward(*(case[name] for name in LSTM_ARGUMENTS), G, variant, g0)
    weights, above = ([case[name] for name in names] for names in (("W", "R", "p"), ("dy", "dh", "dc")))
    gradients = reference.lstm_backward(tape, *weights, *above, G, variant, dg)
    found = {"y": y, "h": tape.y[-1], "c": tape.c[-1]} | ({} if G is None else {"g": tape.g[-1]})
    return found | {f"d{k}": v for k, v in gradients._asdict().items() if v is not None}
