"""Random cases: the arguments of a forward pass, the gradients that arrive from above, and the options of a call.

A case is a dict of arrays: x, W, R, b, p, h0 and c0; dy, the gradient at every output, and dh and dc, the gradients at
the final state. Every value is a float32 number, so that both precisions run the same case. The case of a variant lacks
the blocks that the variant lacks, and has G, g0 and dg for FGR. The case of options has the projection `proj` and
`dc_all`, the gradients that arrive at every c^t, beside a dict of the options themselves.
"""

import numpy as np
from hypothesis import strategies as st

from fastlstm import reference
from fastlstm._system import runtime

LSTM_ARGUMENTS = ("x", "W", "R", "b", "p", "h0", "c0")
RNN_ARGUMENTS = ("x", "W", "R", "b", "h0")
NORM = ("gR", "gW", "gc", "bc")  # the rows of norm
LAYER_NORM_ARGUMENTS = ("x", "W", "R", "b", "p", *NORM, "h0", "c0")
GRU_ARGUMENTS = ("x", "W", "R", "b", "bn", "h0")
INITIAL = ("h0", "c0", "g0")
STATES = (*INITIAL, "dh", "dc", "dg")
GRU_FORMS = (True, False)
NONLINEARITIES = ("tanh", "relu", "logistic", "identity")
KINKED_TOO = (*NONLINEARITIES, "hard_logistic", ("hard_logistic", 1.5, 0.4))
VARIANTS = tuple(reference.BLOCKS)
LAYER_NORM_VARIANTS = tuple(variant for variant in VARIANTS if variant != "FGR")
OPTIONS = (
    "reverse", "lengths", "reset", "zero", "mask", "zone_y", "zone_c", "proj", "clip", "cell_clip", "activations",
)  # fmt: skip
# Those of a cell whose state is h alone.
UNIT_OPTIONS = ("reverse", "lengths", "reset", "zero", "mask", "zone")
DTYPES = (np.float32, np.float64)
# The kernels of a device, which a build may have for tests, run only where they are asked for: FASTLSTM_ISA=emulated.
ISAS = [isa for isa in runtime.available_isas() if isa != "emulated"]
# The C interface has no BLAS.
C_ISAS = [isa for isa in ISAS if isa != "blas"]

Arrays = dict[str, np.ndarray]
T, B, I, H, P = 4, 3, 2, 4, 3


def joined(names) -> str:
    """Return the id of a test with these options, the same in every process, as that of a set is not."""
    return "+".join(sorted(names)) or "none"


def converted(case: Arrays, dtype: type) -> Arrays:
    return {name: None if array is None else array.astype(dtype) for name, array in case.items()}


def lstm_case(T, B, I, H, *, dtype=np.float64, peephole=True, seed=0) -> Arrays:
    """Return a case whose weights have a norm at which errors shrink over time instead of growing."""
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
    """Return a case for any g. For relu no a^t is closer to the kink at 0 than 0.1, so that rounding cannot cross it.

    One input decides the sign of each a^t: 0.6 <= |x| <= 1 with a weight of +-1. All other terms sum to 0.5 at most.
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


def gru_case(T, B, I, H, reset_after=True, *, dtype=np.float64, seed=0) -> Arrays:
    """Return a case of one of the two forms: the reset-after form has bn, in the other one it is None."""
    rng = np.random.default_rng([seed, T, B, I, H, 3])
    case = {
        "x": rng.standard_normal((T, B, I)),
        "W": rng.standard_normal((3 * H, I)) * (0.6 / max(I, 1) ** 0.5),
        "R": rng.standard_normal((3 * H, H)) * (0.6 / H**0.5),
        "b": rng.standard_normal(3 * H) * 0.3,
        "bn": rng.standard_normal(H) * 0.3,
        "h0": rng.standard_normal((B, H)) * 0.5,
        "dy": rng.standard_normal((T, B, H)),
        "dh": rng.standard_normal((B, H)),
    }
    if not reset_after:
        case["bn"] = None
    return converted(converted(case, np.float32), dtype)


def variant_case(variant, T, B, I, H, *, seed=0) -> Arrays:
    """Return a case without the blocks that a variant lacks, and with G, g0 and dg for FGR."""
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


def gains(rows, H, rng) -> Arrays:
    """Return the gains gR, gW and gc and the bias bc of a layer-normalised LSTM with so many rows in W."""
    gR, gW = 0.7 + 0.2 * rng.standard_normal((2, rows))
    return {"gR": gR, "gW": gW, "gc": 1 + 0.2 * rng.standard_normal(H), "bc": 0.3 * rng.standard_normal(H)}


def layer_norm_case(variant, T, B, I, H, *, dtype=np.float64, peephole=True, seed=0) -> Arrays:
    """Return the case of a variant with the gains gR, gW and gc and the bias bc of the layer-normalised LSTM."""
    case = variant_case(variant, T, B, I, H, seed=seed)
    case |= gains(len(case["b"]), H, np.random.default_rng([seed, T, B, I, H, 4]))
    if not peephole or variant == "NP":
        case["p"] = None
    return converted(converted(case, np.float32), dtype)


def options_case(variant, names, *, T=T, B=B, I=I, H=H, P=P, seed=0):
    """Return a case and the options that `names` ask for; "norm" makes it one of the layer-normalised LSTM."""
    case, rng = variant_case(variant, T, B, I, H, seed=seed), np.random.default_rng([seed, T, B])
    if "norm" in names:
        case |= gains(len(case["b"]), H, np.random.default_rng([seed, T, B, 4]))
    case |= {name: case.get(name) for name in ("G", "g0", "dg")} | {"proj": None, "dc_all": None}
    if variant == "NP":
        case["p"] = None
    outputs = H
    if "proj" in names:
        outputs = P
        case["proj"] = rng.standard_normal((P, H)) * 0.5
        case["R"], case["h0"], case["dh"] = case["R"][:, :P].copy(), case["h0"][:, :P].copy(), case["dh"][:, :P].copy()
        case["dy"] = case["dy"][:, :, :P].copy()
    case["dc_all"] = rng.standard_normal((T, B, H))
    options = {"variant": variant, "reverse": "reverse" in names}
    if "lengths" in names:
        options["lengths"] = rng.permutation(np.arange(B) * T // max(B - 1, 1))
    if "reset" in names or "zero" in names:
        options["reset"] = rng.random((T, B)) < 0.4
        options["reset_to"] = "zero" if "zero" in names else "initial"
    if "mask" in names:
        options["recurrent_mask"] = rng.integers(0, 2, (B, outputs)) * 2.0
    if "zone_y" in names or "zone_c" in names:
        zone_y = rng.random((T, B, outputs)) if "zone_y" in names else None
        options["zoneout"] = zone_y, rng.integers(0, 2, (T, B, H)) * 1.0 if "zone_c" in names else None
    if "clip" in names:
        options["clip"] = 0.7
    if "cell_clip" in names:
        options["cell_clip"] = 0.4
    if "activations" in names:
        options["activations"] = "hard_logistic", "identity", "logistic"
    return case, options


def unit_options(names, T, B, H, *, dtype=np.float64, seed=0):
    """Return the options that `names` ask for, of a call of a cell whose state is h alone."""
    rng = np.random.default_rng([seed, T, B])
    options = {"reverse": "reverse" in names}
    if "lengths" in names:
        options["lengths"] = rng.permutation(np.arange(B) * T // max(B - 1, 1))
    if "reset" in names or "zero" in names:
        options["reset"] = rng.random((T, B)) < 0.4
        options["reset_to"] = "zero" if "zero" in names else "initial"
    if "mask" in names:
        options["recurrent_mask"] = (rng.integers(0, 2, (B, H)) * 2).astype(dtype)
    if "zone" in names:
        options["zoneout"] = rng.random((T, B, H)).astype(dtype)
    return options


def row_case(case: Arrays, options, row, steps=slice(None)):
    """Return the case and the options of some steps of one row, without its length."""
    at = slice(row, row + 1)

    def cut(share):
        return None if share is None else share[steps, at]

    def given(*names):
        return [name for name in names if case.get(name) is not None]

    one = case | {name: case[name][steps, at] for name in given("x", "dy", "dc_all")}
    one |= {name: case[name][at] for name in given(*STATES)}
    how = {name: value for name, value in options.items() if name != "lengths"}
    if "reset" in how:
        how["reset"] = how["reset"][steps, at]
    if "recurrent_mask" in how:
        how["recurrent_mask"] = how["recurrent_mask"][at]
    if "zoneout" in how:
        zoneout = how["zoneout"]
        how["zoneout"] = tuple(map(cut, zoneout)) if isinstance(zoneout, tuple) else cut(zoneout)
    return one, how


def initial(case: Arrays) -> tuple[np.ndarray | None, ...]:
    """Return the state that a case begins with: with the gates where the variant is FGR."""
    return state_of(case, *INITIAL)


def arriving(case: Arrays) -> tuple[np.ndarray | None, ...]:
    """Return the gradients that arrive at the final state of a case."""
    return state_of(case, "dh", "dc", "dg")


def state_of(case: Arrays, h, c, g) -> tuple[np.ndarray | None, ...]:
    """Return the parts of a state by these names; the gates only where the case has them."""
    return (case[h], case[c]) if case.get(g) is None else (case[h], case[c], case[g])


# ---- places in memory ------------------------------------------------------------------------------------------------

# The step along each axis, whether the order is Fortran's, whether the array is writable, its offset in bytes.
layouts = st.tuples(st.sampled_from([-2, -1, 1, 2, 3]), st.booleans(), st.booleans(), st.integers(0, 7))


def laid_out(array, layout):
    """Return the same values elsewhere in memory, writable or not, with other strides."""
    step, fortran, writable, offset = layout
    shape = [abs(step) * length for length in array.shape]
    space = np.zeros(int(np.prod(shape)) * array.itemsize + offset, np.uint8)[offset:].view(array.dtype)
    view = space.reshape(shape, order="F" if fortran else "C")[(slice(None, None, step),) * array.ndim]
    view[...] = array
    view.flags.writeable = writable
    return view
