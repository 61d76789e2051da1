"""The layer-normalised LSTM with every option of a call: PyTorch's autograd of the equations written down step by step,
finite differences, and each way of computing."""

import functools
import itertools

import numpy as np
import pytest
from cases import (
    DTYPES,
    LAYER_NORM_ARGUMENTS,
    LAYER_NORM_VARIANTS,
    OPTIONS,
    B,
    H,
    I,
    T,
    arriving,
    converted,
    initial,
    joined,
    layer_norm_case,
    options_case,
)
from differences import check_directions, check_every_entry
from helpers import (
    assert_close,
    assert_same,
    by_name,
    lstm_arrays,
    lstm_backward,
    lstm_forward,
    lstm_loss,
    reference_layer_norm_forward,
    run_lstm,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import leaf
from separate import recording_by_recording, row_by_row

import fastlstm
from fastlstm import reference
from fastlstm.reference.layer_norm_lstm import EPSILON

ARGUMENTS = (*LAYER_NORM_ARGUMENTS, "proj")
SINGLE = [set(), *({name} for name in OPTIONS)]
PAIRS = [set(pair) for pair in itertools.combinations(OPTIONS, 2)]
KINKED = {"clip", "cell_clip", "activations"}
# Sizes of options: part vectors, many rows, one row, one unit; the last is that of the projection.
SIZES = [(5, 3, 4, 7, 3), (2, 9, 5, 33, 20), (2, 1, 3, 150, 70), (4, 3, 2, 1, 1)]
SMALL = 3, 2, 2, 4, 4
EXACT = 1e-10
# LN of a row with a variance v bends over distances of sqrt(v + 1e-5): stencils are shorter than those of other cells.
STEP = 3e-5

all_variants = pytest.mark.parametrize("variant", LAYER_NORM_VARIANTS)
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)


def norm_case(names, sizes=(T, B, I, H, 3), variant="vanilla", dtype=np.float64, seed=0):
    """Return a case of the layer-normalised LSTM and its options, in one precision."""
    case, options = options_case(variant, {"norm", *names}, **dict(zip("TBIHP", sizes, strict=True)), seed=seed)
    case = converted(case, dtype)
    if "recurrent_mask" in options:
        options["recurrent_mask"] = options["recurrent_mask"].astype(dtype)
    if "zoneout" in options:
        options["zoneout"] = tuple(None if share is None else share.astype(dtype) for share in options["zoneout"])
    return case, options


def by_hand(
    torch, case, variant, reverse=False, lengths=None, reset=None, reset_to="initial", recurrent_mask=None,
    zoneout=(None, None), clip=np.inf, cell_clip=np.inf, activations=None,
):  # fmt: skip
    """Return y, every c^t and the last h and c, step by step, with each option as the documentation says."""
    x, W, R, b, p, gR, gW, gc, bc, h0, c0, proj = (case[name] for name in ARGUMENTS)
    T, B, blocks = len(x), x.shape[1], reference.BLOCKS[variant]
    functions = {
        "logistic": torch.sigmoid, "tanh": torch.tanh, "identity": lambda a: a,
        "hard_logistic": lambda a: (0.2 * a + 0.5).clamp(0, 1),
    }  # fmt: skip
    usual = "logistic", "identity" if variant == "NIAF" else "tanh", "identity" if variant == "NOAF" else "tanh"
    sigma, g, h = (functions[name] for name in activations or usual)
    peephole = {} if p is None else dict(zip(blocks.replace("z", ""), p, strict=True))
    zone_y, zone_c = ([None] * T if share is None else torch.from_numpy(share) for share in zoneout)

    def normalised(v):  # in plain words: layer_norm of PyTorch starts threads for each row
        v = v - v.mean(-1, keepdim=True)
        return v / (v.square().mean(-1, keepdim=True) + EPSILON).sqrt()

    def gate(a, name, seen):
        if name not in a:
            return torch.ones_like(seen)
        return sigma((a[name] + peephole.get(name, 0) * seen).clamp(-clip, clip))

    ends = np.full(B, T) if lengths is None else lengths
    y, c, ys, cells = h0, c0, [torch.zeros_like(h0)] * T, [torch.zeros_like(c0)] * T
    zero = torch.zeros(())
    for t in reversed(range(T)) if reverse else range(T):
        runs = torch.from_numpy(t < ends)[:, None]
        if reset is not None:
            begins = torch.from_numpy((t + 1 < ends) & reset[min(t + 1, T - 1)] if reverse else reset[t])[:, None]
            y, c = (
                torch.where(begins & runs, first if reset_to == "initial" else zero, part)
                for first, part in ((h0, y), (c0, c))
            )
        seen = y if recurrent_mask is None else y * torch.from_numpy(recurrent_mask)
        sums = gR * normalised(seen @ R.T) + gW * normalised(x[t] @ W.T) + b
        a = dict(zip(blocks, sums.chunk(len(blocks), dim=-1), strict=True))
        i, z = gate(a, "i", c), g(a["z"].clamp(-clip, clip))
        f = 1 - i if variant == "CIFG" else gate(a, "f", c)
        new_c = (z * i + c * f).clamp(-cell_clip, cell_clip)
        new_y = h(gc * normalised(new_c) + bc) * gate(a, "o", new_c)
        if proj is not None:
            new_y = new_y @ proj.T
        cells[t] = torch.where(runs, new_c, zero)
        y = torch.where(runs, new_y if zone_y[t] is None else zone_y[t] * y + (1 - zone_y[t]) * new_y, y)
        c = torch.where(runs, new_c if zone_c[t] is None else zone_c[t] * c + (1 - zone_c[t]) * new_c, c)
        ys[t] = torch.where(runs, y, zero)
    return torch.stack(ys), torch.stack(cells), y, c


@functools.cache
def autograd(torch, names, sizes=(T, B, I, H, 3), variant="vanilla"):
    """Return what the steps by hand give, and their gradients: no backward pass here is written by hand."""
    case, options = norm_case(names, sizes, variant)
    leaves = {name: None if case[name] is None else leaf(torch, case[name]) for name in ARGUMENTS}
    y, cells, h, c = by_hand(torch, leaves, **options)
    above = [torch.from_numpy(case[name]) for name in ("dy", "dc_all", "dh", "dc")]
    sum((array * d).sum() for array, d in zip((y, cells, h, c), above, strict=True)).backward()
    known = {name: tensor for name, tensor in leaves.items() if tensor is not None}
    gradients = {
        f"d{name}": np.zeros_like(case[name]) if a.grad is None else a.grad.numpy() for name, a in known.items()
    }
    return {name: array.detach().numpy() for name, array in (("y", y), ("h", h), ("c", c))} | gradients


def assert_close_to_largest(found, expected):
    """Compare on the scale of the largest value: of a row without variance, PyTorch's mean has a rounding error."""
    assert found.keys() == expected.keys()
    largest = max(np.abs(array).max() for array in expected.values())
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=EXACT * largest, err_msg=name)


# ---- values and gradients --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names", [*SINGLE, {"lengths", "reverse", "zero", "mask"}, {"proj", "clip", "zone_y"}], ids=joined
)
def test_values_and_gradients_by_hand(torch, names, isa):
    for sizes in SIZES:
        case, options = norm_case(names, sizes)
        assert_close_to_largest(run_lstm(case, **options), autograd(torch, frozenset(names), sizes))


@pytest.mark.parametrize("names", [*PAIRS, set(OPTIONS), set(OPTIONS) - {"zero"}], ids=joined)
def test_values_and_gradients_of_pairs_by_hand(torch, names):
    case, options = norm_case(names)
    assert_close(run_lstm(case, **options), autograd(torch, frozenset(names)), EXACT)


@all_variants
@pytest.mark.parametrize("names", [set(), {"proj", "lengths", "zone_c", "activations"}], ids=joined)
def test_variants_by_hand(torch, names, variant, isa):
    sizes = 4, 3, 4, 9, 4
    case, options = norm_case(names, sizes, variant)
    assert_close(run_lstm(case, **options), autograd(torch, frozenset(names), sizes, variant), EXACT)


def check_differences(case, options, check=check_every_entry):
    found = run_lstm(case, **options)
    arguments = [name for name in ARGUMENTS if case[name] is not None and found[f"d{name}"].any()]
    assert {*LAYER_NORM_ARGUMENTS} - {*arguments} <= {"h0", "c0"} | ({"p"} if case["p"] is None else set())
    # Clipping and the hard logistic have kinks: a step must not cross one, so it is shorter, and rounding shows more.
    how = {"step": 1e-5, "tolerance": 2e-8} if KINKED & options.keys() else {"step": STEP}
    check(lambda changed: lstm_loss(changed, options), case, found, arguments, **how)


@pytest.mark.parametrize("names", SINGLE, ids=joined)
def test_finite_differences(names):
    check_differences(*norm_case(names, SMALL, "CIFG", seed=2))


@pytest.mark.parametrize("names", PAIRS, ids=joined)
def test_finite_differences_of_pairs(names):
    check = functools.partial(check_directions, directions=2, entries=1)
    check_differences(*norm_case(names, SMALL, "CIFG", seed=2), check)


@all_variants
def test_finite_differences_of_variants(variant):
    check_differences(*norm_case({"lengths", "proj"}, SMALL, variant, seed=2))


@pytest.mark.parametrize(
    "sizes", [(7, 9, 5, 17, 11), (20, 33, 9, 17, 5), (3, 2, 60, 150, 70), (70, 1, 9, 66, 3)], ids=str
)
@pytest.mark.parametrize(
    "names", [set(), {"lengths", "reverse", "proj"}, {"lengths", "reset", "mask", "zone_y"}], ids=joined
)
def test_one_way_of_computing_is_another(names, sizes, isa):
    """Rows one by one on one thread, against all at once on any number of them."""
    case, options = norm_case(names, sizes)
    expected = row_by_row(case, options)
    for num_threads in (1, 2, 3):
        assert_close(run_lstm(case, num_threads, **options), expected, 1e-11)


@settings(max_examples=60, deadline=None)
@given(
    variant=st.sampled_from(LAYER_NORM_VARIANTS),
    names=st.sets(st.sampled_from(OPTIONS)),
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 3), st.integers(2, 9)),
    seed=st.integers(0, 10),
)
def test_any_options(variant, names, sizes, seed):
    case, options = norm_case(names, (*sizes, sizes[3] // 2), variant, seed=seed)
    assert_close_to_largest(run_lstm(case, **options), row_by_row(case, options))


@pytest.mark.parametrize("names", [(), ("lengths",), ("zero",), ("proj", "mask", "zone_y", "zone_c")], ids=joined)
@pytest.mark.parametrize("reverse", [(), ("reverse",)], ids=["forward", "reverse"])
def test_each_recording_as_alone(reverse, names, isa):
    case, options = norm_case({"reset", *names, *reverse}, (9, 5, 3, 7, 4))
    assert_close(run_lstm(case, **options), recording_by_recording(case, options, run_lstm), 1e-11)


def test_reverse_is_time_turned_round(isa):
    case, options = norm_case({"proj"}, (9, 5, 7, 17, 5))
    turned = case | {name: np.ascontiguousarray(case[name][::-1]) for name in ("x", "dy", "dc_all")}
    found, expected = run_lstm(case, **options | {"reverse": True}), run_lstm(turned, **options)
    for name in ("y", "dx"):
        expected[name] = expected[name][::-1]
    assert_close(found, expected, 1e-13)


@pytest.mark.parametrize("T", [0, 1, 2])
@pytest.mark.parametrize("reverse", [False, True])
def test_rows_without_a_step(T, reverse, isa):
    """Their state, and the gradient that arrives at it, go through unchanged."""
    case, options = norm_case((), (T, 4, I, H, H))
    options |= {"lengths": np.array([0, T, 0, T]), "reverse": reverse}
    found = run_lstm(case, **options)
    assert_close(found, row_by_row(case, options), 1e-13)
    for name, above in (("h", "h0"), ("c", "c0"), ("dh0", "dh"), ("dc0", "dc")):
        assert_same({name: found[name][::2]}, {name: case[above][::2]})


# ---- rows without variance -------------------------------------------------------------------------------------------


@both_dtypes
@pytest.mark.parametrize("B", [1, 9])
def test_rows_whose_values_are_all_the_same(B, dtype, isa):
    """They are 0 once normalised, not what rounding makes of them, and pass on no gradient of their gains."""
    for units in (1, 7, 33):
        case = layer_norm_case("vanilla", 1 if isa == "blas" else 4, B, 3, units, dtype=dtype)
        case["W"][:], case["R"][:] = np.linspace(0.1, 0.7, 3), np.linspace(-0.3, 0.4, units)
        if (
            isa == "blas"
        ):  # A library adds up each column in an order of its own: all of them are right if sums are exact.
            for name in ("x", "h0", "W", "R"):
                case[name][:] = np.round(8 * case[name]) / 8
        y, (h, c), tape = lstm_forward(case, tape=True)
        other = lstm_forward(case | {name: 1000 * case[name] for name in ("gR", "gW")})
        assert_same({"y": y, "h": h, "c": c}, {"y": other[0]} | by_name(other[1]))
        gradients = lstm_arrays(lstm_backward(case, tape))
        assert not gradients["dgR"].any()
        assert not gradients["dgW"].any()
        assert all(np.isfinite(array).all() for array in gradients.values())
        for name in ("dx", "dh0"):  # A change of these leaves the rows constant.
            assert np.abs(gradients[name]).max() <= 500 * np.finfo(dtype).eps * np.abs(gradients["dW"]).max()


@both_dtypes
@all_variants
def test_one_unit(variant, dtype, isa):
    """A single c is its own mean: y is o h(bc) to the bit that h gives, and gc has no gradient."""
    case = layer_norm_case(variant, 5, 9, 3, 1, dtype=dtype)
    y, _, tape = lstm_forward(case, tape=True, variant=variant)
    o = tape.gate("o") if "o" in reference.BLOCKS[variant] else np.ones_like(y)
    expected = o * (case["bc"] if variant == "NOAF" else np.tanh(case["bc"]))
    np.testing.assert_allclose(y, expected, rtol=4 * np.finfo(dtype).eps)
    assert not lstm_arrays(lstm_backward(case, tape))["dgc"].any()


@both_dtypes
def test_large_sums_are_normalised(dtype, isa):
    """A mean far from 0 costs no digits: sums shifted together stay what they are, as far as they have digits."""
    case = layer_norm_case("vanilla", 3, 4, 5, 17, dtype=dtype)
    scaled = case | {name: (2**10 * case[name]).astype(dtype) for name in ("W", "R")}
    expected, _, _ = lstm_forward(converted(scaled, np.float64))
    found, _, _ = lstm_forward(scaled)
    assert_close({"y": found}, {"y": expected}, 1e-5 if dtype == np.float32 else 0)


# ---- what a tape holds -----------------------------------------------------------------------------------------------


@both_dtypes
@all_variants
def test_tape_holds_the_gates(variant, dtype, isa):
    """Blocks i, f, z, o, then the sums before normalisation, and h of the normalised cell."""
    case = layer_norm_case(variant, 5, 3, 7, 17, dtype=dtype)
    _, _, tape = lstm_forward(case, tape=True, variant=variant)
    _, expected = reference_layer_norm_forward(converted(case, np.float64), variant)
    blocks, n, H = reference.BLOCKS[variant], len(reference.BLOCKS[variant]), 17
    found = {name: tape.gate(name) for name in blocks} | {"c": tape.cells()}
    found |= {"Ry": tape.gates[..., n * H : 2 * n * H], "Wx": tape.gates[..., 2 * n * H : 3 * n * H]}
    wanted = {name: getattr(expected, name) for name in (*blocks, "Ry", "Wx")} | {"c": expected.c[1:]}
    assert_close(found, wanted, 1e-13 if dtype == np.float64 else 4e-6)
    assert tape.gates.shape == (5, 3, (3 * n + 1) * H)
    assert_same({"y_prev": tape.y_prev[1:]}, {"y_prev": lstm_forward(case, variant=variant)[0][:-1]})
    for name in {*"ifzo"} - {*blocks}:
        with pytest.raises(ValueError, match=r"^name must be one of"):
            tape.gate(name)


@pytest.mark.parametrize(
    "names", [(), ("mask", "zone_y"), ("zero", "reverse"), ("lengths",), ("proj",), ("clip",)], ids=joined
)
@both_dtypes
def test_deltas(dtype, names, isa):
    """They are those of what goes into the activations, and to ask for them changes not a bit."""
    for sizes in ((7, 3, 5, 19, 7), (40, 20, 3, 9, 4), (1, 1, 3, 8, 2)):
        case, options = norm_case(names, sizes, dtype=dtype)
        _, _, tape = lstm_forward(case, tape=True, **options)
        expected, found = (lstm_backward(case, tape, deltas=deltas) for deltas in (False, True))
        assert_same(lstm_arrays(found), lstm_arrays(expected))
        deltas = found.deltas
        delta = np.concatenate([deltas.i, deltas.f, deltas.z, deltas.o], axis=-1)
        assert_close({"b": delta.sum((0, 1))}, {"b": found.b}, 1e-12 if dtype == np.float64 else 1e-5)
        if "clip" not in names:
            z = deltas.c * tape.gate("i") * (1 - tape.gate("z") ** 2)
            assert_close({"z": deltas.z}, {"z": z}, 100 * np.finfo(dtype).eps)


# ---- parts of a call -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [(), ("mask", "zone_y", "zone_c"), ("proj", "zero")], ids=joined)
@pytest.mark.parametrize("sizes", [(9, 5, 3, 7, 4), (40, 3, 5, 17, 9)], ids=str)
def test_chunks_are_the_whole(sizes, names, isa):
    """Forward and backward, with the state and its gradient handed on."""
    case, options = norm_case(names, sizes)
    expected, chunks, state = run_lstm(case, num_threads=2, **options), [], initial(case)
    for start, end in itertools.pairwise((0, sizes[0] // 3, sizes[0] // 3 + 1, sizes[0])):
        own, at = dict(options), slice(start, end)
        if "reset" in own:
            own["reset"] = own["reset"][at]
        if "zoneout" in own:
            own["zoneout"] = tuple(share[at] for share in own["zoneout"])
        part = case | {name: case[name][at] for name in ("x", "dy", "dc_all")} | by_name(state, ("h0", "c0"))
        y, state, tape = lstm_forward(part, tape=True, num_threads=2, **own)
        chunks.append((part, y, tape))
    total, above = {"y": np.concatenate([y for _, y, _ in chunks])} | by_name(state), arriving(case)
    for part, _, tape in reversed(chunks):
        gradients = lstm_backward(part | by_name(above, ("dh", "dc")), tape, num_threads=2)
        above, found = gradients.state, lstm_arrays(gradients)
        total["dx"] = np.concatenate([found.pop("dx"), total.get("dx", case["x"][:0])])
        total |= {name: found.pop(name) for name in ("dh0", "dc0")}
        for name, array in found.items():
            total[name] = total.get(name, 0) + array
    assert_close(total, expected, 1e-11)


@pytest.mark.parametrize("names", [*SINGLE, set(OPTIONS)], ids=joined)
@pytest.mark.parametrize("sizes", [(60, 30, 3, 7, 4), (1100, 1, 9, 17, 5), (9, 130, 3, 33, 5)], ids=str)
def test_recompute(sizes, names):
    """Not a bit differs, whatever the number of steps that are kept and of threads."""
    case, options = norm_case(names, sizes, dtype=np.float32)
    case["dc_all"] = None
    for num_threads in (1, 2):
        expected = run_lstm(case, num_threads, **options)
        for k in (1, 18):
            assert_same(run_lstm(case, num_threads, recompute=k, **options), expected)


@pytest.mark.parametrize("recompute", [None, 1])
@pytest.mark.parametrize("variant", ["vanilla", "CIFG"])
def test_workspace_is_large_enough_and_need_not_be_clean(variant, recompute, isa):
    for names in (set(), set(OPTIONS) - {"proj"}):
        case, options = norm_case(names, (60, 30, 3, 7, 7), variant, np.float32)
        case["dc_all"] = None
        size = fastlstm.lstm_workspace(60, 30, 3, 7, variant=variant, layer_norm=True, recompute=recompute)
        space = np.full(size, np.nan, np.float32)
        y, state, tape = lstm_forward(case, tape=True, recompute=recompute, workspace=space, **options)
        space[:] = np.nan
        found = {"y": y} | by_name(state) | lstm_arrays(lstm_backward(case, tape, workspace=space))
        assert_same(found, run_lstm(case, **options))
        with pytest.raises(ValueError, match="workspace"):
            lstm_backward(case, tape, workspace=np.empty(10, np.float32))


@pytest.mark.parametrize(
    "names", [set(), {"lengths", "reverse", "proj"}, {"reset", "mask", "zone_y", "zone_c"}], ids=joined
)
@pytest.mark.parametrize(
    "sizes", [(12, 15, 3, 5, 2), (12, 30, 17, 33, 9), (1, 7, 40, 130, 9), (3, 9, 300, 260, 70)], ids=str
)
def test_a_row_alone_and_among_others(sizes, names, isa):
    """With `batch_invariant`, not a bit differs."""
    case, options = norm_case(names, sizes, dtype=np.float32)

    def run(case, num_threads, **options):
        found = run_lstm(case, num_threads, batch_invariant=True, **options)
        return {name: found[name] for name in ("y", "h", "c", "dx", "dh0", "dc0")}

    expected = {name: a.astype(np.float32) for name, a in row_by_row(case, options, run).items()}
    for num_threads in (1, 2):
        assert_same(run(case, num_threads, **options), expected)


def test_an_old_tape_is_filled_again():
    case = layer_norm_case("vanilla", 5, 3, 4, 7)
    *_, tape = lstm_forward(case | {"x": 2 * case["x"]}, tape=True)
    gates = tape.gates
    *_, again = lstm_forward(case, tape=tape)
    assert again.gates is gates
    assert_same(lstm_arrays(lstm_backward(case, again)), {k: a for k, a in run_lstm(case).items() if k[0] == "d"})
