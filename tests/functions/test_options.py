"""Every option of a call, alone and with all others: gradients against finite differences, and against plain calls."""

import itertools

import numpy as np
import pytest
from cases import (
    INITIAL,
    OPTIONS,
    STATES,
    UNIT_OPTIONS,
    VARIANTS,
    B,
    H,
    I,
    T,
    arriving,
    initial,
    joined,
    options_case,
    rnn_case,
    unit_options,
    variant_case,
)
from differences import check_every_entry
from helpers import assert_close, assert_same, by_name, lstm_arrays, lstm_forward, lstm_loss, reference_lstm, run_lstm
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import CELLS
from separate import row_by_row

import fastlstm

ARGUMENTS = ("x", "W", "R", "b", "p", "G", "proj", "h0", "c0", "g0")
KINKED = {"clip", "cell_clip", "activations"}


def check(case, options):
    arguments = [name for name in ARGUMENTS if case[name] is not None and case[name].size]
    found = run_lstm(case, **options)
    nonzero = [name for name in arguments if found[f"d{name}"].any()]
    assert set(arguments) - set(nonzero) <= {"h0", "c0", "g0"}, "gradients are zero"
    # Clipping and the hard logistic have kinks: a step must not cross one, so it is shorter, and rounding shows more.
    how = {"step": 1e-5, "tolerance": 2e-8} if KINKED & options.keys() else {}
    check_every_entry(lambda changed: lstm_loss(changed, options), case, found, nonzero, **how)
    for name in set(arguments) - set(nonzero):
        moved = case | {name: case[name] + 1e-3}
        assert lstm_loss(moved, options) == pytest.approx(lstm_loss(case, options), abs=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", [None, *OPTIONS])
def test_gradients_of_each_variant_with_each_option(name, variant):
    check(*options_case(variant, {name}))


@pytest.mark.parametrize("pair", list(itertools.combinations(OPTIONS, 2)), ids="+".join)
@pytest.mark.parametrize("variant", ["vanilla", "FGR", "CIFG"])
def test_gradients_of_pairs_of_options(pair, variant):
    check(*options_case(variant, set(pair)))


@settings(max_examples=60, deadline=None)
@given(
    variant=st.sampled_from(VARIANTS),
    names=st.sets(st.sampled_from(OPTIONS)),
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    seed=st.integers(0, 10),
)
def test_gradients_of_any_options(variant, names, sizes, seed):
    T, B, I, H, P = sizes
    case, options = options_case(variant, names, T=T, B=B, I=I, H=H, P=min(P, H), seed=seed)
    assert_close(run_lstm(case, **options), row_by_row(case, options), 1e-11)


LARGER = [(7, 9, 5, 17, 11), (20, 33, 9, 17, 5), (3, 2, 150, 150, 70), (40, 20, 3, 33, 20), (70, 1, 200, 200, 30)]


@pytest.mark.parametrize("sizes", LARGER, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_one_way_of_computing_is_another(variant, sizes, isa):
    """Rows one by one on one thread, against all at once on any number of them."""
    T, B, I, H, P = sizes
    names = {"vanilla": set(), "NIG": {"proj"}, "NFG": {"zero", "zone_y"}, "CIFG": {"lengths", "reverse"}}
    names |= {"NOG": {"lengths", "reset", "mask"}, "FGR": {"lengths", "reverse", "proj", "reset", "zone_c"}}
    case, options = options_case(variant, names.get(variant, {"lengths"}), T=T, B=B, I=I, H=H, P=P)
    expected = row_by_row(case, options)
    for num_threads in (1, 2, 3):
        assert_close(run_lstm(case, num_threads=num_threads, **options), expected, 1e-11)


@pytest.mark.parametrize("names", [set(), {"lengths"}, {"reset", "mask"}, {"zone_y", "zone_c"}, {"proj"}], ids=joined)
@pytest.mark.parametrize("reverse", [set(), {"reverse"}], ids=["forward", "reverse"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_without_a_tape(variant, reverse, names, isa):
    case, options = options_case(variant, names | reverse, T=9, B=5, I=7, H=17, P=9)
    y, state, _ = lstm_forward(case, tape=True, **options)
    found, last, nothing = lstm_forward(case, **options)
    assert nothing is None
    assert_same({"y": found} | by_name(last), {"y": y} | by_name(state))


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_are_the_reference(variant, isa):
    for sizes in ((9, 5, 7, 17), (3, 50, 5, 33), (1, 1, 3, 5)):
        case = variant_case(variant, *sizes) | {"proj": None}
        if variant == "NP":
            case["p"][:] = 0
        expected = reference_lstm(case, variant)
        case |= {name: case.get(name) for name in ("G", "g0", "dg", "dc_all")}
        if variant == "NP":
            case["p"] = None
        assert_close(run_lstm(case, variant=variant), {k: expected[k] for k in run_lstm(case, variant=variant)}, 1e-12)


def test_reverse_is_time_turned_round(isa):
    case, _ = options_case("vanilla", set(), T=9, B=5, I=7, H=17)
    turned = case | {name: np.ascontiguousarray(case[name][::-1]) for name in ("x", "dy", "dc_all")}
    found, expected = run_lstm(case, reverse=True), run_lstm(turned)
    for name in ("y", "dx"):
        expected[name] = expected[name][::-1]
    assert_close(found, expected, 1e-13)


def test_deltas_give_the_gradients():
    for names in (set(), {"lengths"}, {"reverse", "reset"}):
        case, options = options_case("vanilla", names)
        *_, tape = lstm_forward(case, tape=True, **options)
        above = case["dy"], arriving(case)
        gradients = fastlstm.lstm_backward(tape, case["W"], case["R"], case["p"], *above, deltas=True)
        deltas = gradients.deltas
        delta = np.concatenate([deltas.i, deltas.f, deltas.z, deltas.o], axis=-1)
        np.testing.assert_allclose(delta.sum((0, 1)), gradients.b, rtol=1e-12)
        np.testing.assert_allclose(delta @ case["W"], gradients.x, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(deltas.z, deltas.c * tape.gate("i") * (1 - tape.gate("z") ** 2), atol=1e-14)
        assert deltas.y.shape == (T, B, H)


@pytest.mark.parametrize(
    "names",
    [set(), {"lengths"}, {"reverse", "reset"}, {"proj"}, {"mask"}, {"zone_y"}, {"zone_c"}, {"clip"}],
    ids=joined,
)
@pytest.mark.parametrize("variant", VARIANTS)
def test_deltas_change_no_gradient(variant, names, isa):
    """Not a bit, nor the sign of a zero."""
    for sizes in ((7, 3, 5, 19), (40, 20, 3, 40), (1, 1, 3, 8)):
        case, options = options_case(variant, names, **dict(zip("TBIH", sizes, strict=True)), P=5)
        case["dc_all"], case["dy"][sizes[0] // 2 :] = None, -0.0
        for dtype in (np.float32, np.float64):
            own = {name: None if array is None else array.astype(dtype) for name, array in case.items()}
            how = {name: value.astype(dtype) if name == "recurrent_mask" else value for name, value in options.items()}
            if "zoneout" in how:
                how["zoneout"] = tuple(None if share is None else share.astype(dtype) for share in how["zoneout"])
            *_, tape = lstm_forward(own, tape=True, **how)
            weights = [own[name] for name in ("W", "R", "p")]
            expected, found = (
                fastlstm.lstm_backward(tape, *weights, own["dy"], G=own["G"], proj=own["proj"], deltas=deltas)
                for deltas in (False, True)
            )
            assert_same(lstm_arrays(found), lstm_arrays(expected))


@pytest.mark.parametrize("layer", CELLS)
def test_deltas_change_no_gradient_of_a_layer(layer, isa):
    network = layer(5, 19, num_layers=2, bidirectional=True, seed=0)
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((30, 4, n)).astype(np.float32) for n in (5, 38))
    for how in ({}, {"lengths": np.array([3, 30, 0, 17])}, {"recompute": 10}):
        *_, tape = network.forward(x, **how)
        expected, found = (network.backward(tape, dy, deltas=deltas) for deltas in (False, True))
        states = [g.state for g in (expected, found)]
        assert_same(
            {"x": found.x, "flat": found.flat} | by_name(states[1]),
            {"x": expected.x, "flat": expected.flat} | by_name(states[0]),
        )


def test_resets_cut_a_sequence():
    case, _ = options_case("vanilla", set())
    reset = np.zeros((T, B), bool)
    reset[2] = True
    y, (h, c), _ = fastlstm.lstm_forward(case["x"], case["W"], case["R"], case["b"], case["p"], reset=reset)
    late, last, _ = fastlstm.lstm_forward(case["x"][2:], case["W"], case["R"], case["b"], case["p"])
    assert_close({"y": y[2:], "h": h, "c": c}, {"y": late, "h": last[0], "c": last[1]}, 1e-14)


@pytest.mark.parametrize(
    "names", [set(), *({name} for name in UNIT_OPTIONS), *map(set, itertools.combinations(UNIT_OPTIONS, 2))], ids=joined
)
@pytest.mark.parametrize("nonlinearity", ["tanh", "logistic"])
def test_rnn_gradients(nonlinearity, names):
    case, options = rnn_case(T, B, I, H, nonlinearity), unit_options(names, T, B, H)

    def forward(case):
        arguments = (case[name] for name in ("x", "W", "R", "b", "h0"))
        return fastlstm.rnn_forward(*arguments, nonlinearity=nonlinearity, tape=True, **options)

    def loss(case):
        y, h, _ = forward(case)
        return np.sum(y * case["dy"]) + np.sum(h * case["dh"])

    *_, tape = forward(case)
    gradients = fastlstm.rnn_backward(tape, case["W"], case["R"], case["dy"], case["dh"])
    found = {f"d{name}": array for name, array in zip(("x", "W", "R", "b", "h0"), gradients[:5], strict=True)}
    check_every_entry(loss, case, found, [name for name in ("x", "W", "R", "b", "h0") if found[f"d{name}"].any()])


@pytest.mark.parametrize("T", [0, 1, 2])
@pytest.mark.parametrize("reverse", [False, True])
def test_rows_without_a_step(T, reverse, isa):
    """Their state, and the gradient that arrives at it, go through unchanged."""
    case, options = options_case("FGR", {"lengths"}, T=T, B=4)
    options |= {"lengths": np.array([0, T, 0, T]), "reverse": reverse}
    found = run_lstm(case, **options)
    assert_close(found, row_by_row(case, options), 1e-13)
    for row in (0, 2):
        for name, other in zip(("h", "c", "g", "dh0", "dc0", "dg0"), STATES, strict=True):
            assert np.array_equal(found[name][row], case[other][row])
    rnn = rnn_case(T, 4, I, H, "tanh")
    arguments = (rnn[name] for name in ("x", "W", "R", "b", "h0"))
    _, h, tape = fastlstm.rnn_forward(*arguments, lengths=options["lengths"], reverse=reverse, tape=True)
    gradients = fastlstm.rnn_backward(tape, rnn["W"], rnn["R"], rnn["dy"], rnn["dh"])
    assert np.array_equal(h[::2], rnn["h0"][::2])
    assert np.array_equal(gradients.state[::2], rnn["dh"][::2])


# ---- the gates in the state of FGR ----


@pytest.mark.parametrize(
    "names", [(), ("reverse",), ("reverse", "lengths"), ("zero",), ("reset",), ("proj",)], ids=joined
)
def test_gates_of_the_state_matter(names):
    """Each gate goes to some output, and the gates returned are those of the last step."""
    case, options = options_case("FGR", {*names})
    y, state, tape = lstm_forward(case, tape=True, **options)
    if not {"lengths", "zero"} & {*names}:
        for unit in range(3 * H):
            moved = case["g0"].copy()
            moved[:, unit] += 1
            assert (lstm_forward(case | {"g0": moved}, tape=True, **options)[0] != y).any((0, 2)).all()
    ends = np.full(B, T) if options.get("lengths") is None else options["lengths"]
    for row, end in enumerate(ends):
        last = 0 if options["reverse"] else end - 1
        gates = np.concatenate([tape.gate(name)[last, row] for name in "ifo"]) if end else case["g0"][row]
        assert np.array_equal(state[2][row], gates)


def test_parts_of_the_state_that_are_not_given_are_zero():
    case, options = options_case("FGR", set())
    zero = np.zeros_like(case["g0"])
    weights = [case[name] for name in ("x", "W", "R", "b", "p")]
    expected = fastlstm.lstm_forward(*weights, (case["h0"], case["c0"], zero), G=case["G"], **options)
    for state in ((case["h0"], case["c0"]), [case["h0"], case["c0"], None]):
        y, last, _ = fastlstm.lstm_forward(*weights, state, G=case["G"], **options)
        assert_same({"y": y} | by_name(last), {"y": expected[0]} | by_name(expected[1]))
    *_, tape = lstm_forward(case, tape=True, **options)
    found = []
    for above in ((case["dh"], case["dc"]), (case["dh"], case["dc"], None), (case["dh"], case["dc"], zero)):
        grads = fastlstm.lstm_backward(tape, case["W"], case["R"], case["p"], case["dy"], above, G=case["G"])
        found.append(lstm_arrays(grads))
    assert_same(found[0], found[2])
    assert_same(found[1], found[2])
    y, _, _ = fastlstm.lstm_forward(*weights, (None, None, case["g0"]), G=case["G"], **options)
    nothing = {"h0": np.zeros_like(case["h0"]), "c0": np.zeros_like(case["c0"])}
    assert_same({"y": y}, {"y": lstm_forward(case | nothing, tape=True, **options)[0]})


@pytest.mark.parametrize("names", [(), ("mask", "zone_y", "zone_c"), ("proj", "reset"), ("zero", "clip")], ids=joined)
@pytest.mark.parametrize("sizes", [(9, 5, 3, 7, 4), (40, 3, 5, 17, 9), (9, 1, 150, 150, 70)], ids=str)
@pytest.mark.parametrize("variant", ["vanilla", "FGR"])
def test_chunks_are_the_whole(variant, sizes, names, isa):
    """Forward and backward, with the state and its gradient handed on."""
    T, B, I, H, P = sizes
    case, options = options_case(variant, {*names}, T=T, B=B, I=I, H=H, P=P)
    if options.get("reset_to") == "initial":
        options["reset"][:] = False
        options["reset"][0] = True  # later chunks have another initial state
    expected, total = run_lstm(case, num_threads=2, **options), {}
    borders, chunks, state = (0, T // 3, T // 3 + 1, T), [], initial(case)
    for start, end in itertools.pairwise(borders):
        own, at = dict(options), slice(start, end)
        if "reset" in own:
            own["reset"] = own["reset"][at]
        if "zoneout" in own:
            own["zoneout"] = tuple(share[at] for share in own["zoneout"])
        y, state, tape = lstm_forward(
            case | {"x": case["x"][at]} | by_name(state, INITIAL), tape=True, num_threads=2, **own
        )
        chunks.append((y, tape))
    total = {"y": np.concatenate([y for y, _ in chunks])} | by_name(state)
    above = arriving(case)
    for (start, end), (_, tape) in zip(reversed(list(itertools.pairwise(borders))), reversed(chunks), strict=True):
        grads = fastlstm.lstm_backward(
            tape, case["W"], case["R"], case["p"], case["dy"][start:end], above, G=case["G"], proj=case["proj"],
            dc=case["dc_all"][start:end], num_threads=2,
        )  # fmt: skip
        above = grads.state
        for name, array in lstm_arrays(grads).items():
            if name == "dx":
                total[name] = np.concatenate([array, total.get(name, array[:0])])
            elif name in ("dh0", "dc0", "dg0"):
                total[name] = array
            else:
                total[name] = total.get(name, 0) + array
    assert_close(total, expected, 1e-11)


def test_wrong_states():
    full, _ = options_case("FGR", set())
    plain, _ = options_case("vanilla", set())
    g0, pairs = full["g0"], ((full, "FGR"), (plain, "vanilla"))
    tapes = [lstm_forward(case, tape=True, variant=variant)[2] for case, variant in pairs]

    def forward(case, state, **how):
        x, W, R, b, p = (case[name] for name in ("x", "W", "R", "b", "p"))
        variant = "vanilla" if case["G"] is None else "FGR"
        fastlstm.lstm_forward(x, W, R, b, p, state, G=case["G"], variant=variant, **how)

    def backward(case, above, **how):
        tape = tapes[case["G"] is None]
        fastlstm.lstm_backward(tape, case["W"], case["R"], case["p"], case["dy"], above, G=case["G"], **how)

    h, y = np.empty((B, H)), np.empty((T, B, H))
    grads = fastlstm.lstm_backward(tapes[0], full["W"], full["R"], full["p"], full["dy"], G=full["G"])
    cases = (
        (lambda: forward(plain, (None, None, g0)), ValueError, r"state must be \(h, c\), not 3 items: variant vanilla"),
        (lambda: forward(full, (None,)), ValueError, r"state must be \(h, c, g\), not 1 item"),
        (lambda: forward(full, (None, None, None, None)), ValueError, r"state must be \(h, c, g\), not 4 items"),
        (lambda: forward(full, g0), TypeError, r"state must be \(h, c, g\), not ndarray"),
        (lambda: forward(full, (None, None, g0[:, :-1])), ValueError, r"state g must have shape \(B, 3H\) = \(3, 12\)"),
        (lambda: forward(full, (None, None, g0.astype(np.float32))), TypeError, "state g must have dtype float64"),
        (lambda: forward(full, None, out=(y, (h, h + 1))), ValueError, r"out state must be \(h, c, g\), not 2 items"),
        (lambda: forward(full, None, out=(y, (h, h + 1, h))), ValueError, r"out g must have shape \(B, 3H\)"),
        (lambda: forward(full, (None, None, g0), out=(y, (h, h + 1, g0))), ValueError, "out g must not overlap state"),
        (lambda: forward(plain, None, out=(y, (h, h + 1, g0))), ValueError, r"out state must be \(h, c\), not 3 items"),
        (lambda: backward(plain, (None, None, g0)), ValueError, r"dstate must be \(dh, dc\), not 3 items: variant"),
        (lambda: backward(full, (None,)), ValueError, r"dstate must be \(dh, dc, dg\), not 1 item"),
        (lambda: backward(full, (None, None, h)), ValueError, r"dstate g must have shape \(B, 3H\) = \(3, 12\)"),
        (lambda: backward(full, None, out=grads._replace(state=(h, h + 1))), ValueError, r"out.state must be \(h0, c0"),
        (lambda: backward(full, (None, None, grads.state[2]), out=grads), ValueError, "out g0 must not"),
    )  # fmt: skip
    for call, kind, message in cases:
        with pytest.raises(kind, match=f"^{message}"):
            call()


def test_results_in_given_arrays():
    case, options = options_case("FGR", {"lengths"})
    expected = run_lstm(case, **options)
    out = np.empty((T, B, H)), (np.empty((B, H)), np.empty((B, H)), np.empty((B, 3 * H)))
    y, state, tape = lstm_forward(case, tape=True, out=out, **options)
    assert y is out[0]
    assert all(found is given for found, given in zip(state, out[1], strict=True))
    weights = [case[name] for name in ("W", "R", "p")]
    grads = fastlstm.lstm_backward(tape, *weights, None, G=case["G"])
    again = fastlstm.lstm_backward(
        tape, *weights, case["dy"], arriving(case), G=case["G"], dc=case["dc_all"], out=grads
    )
    assert all(found is given for found, given in zip(again.state, grads.state, strict=True))
    assert_same({"y": y} | by_name(state) | lstm_arrays(again), expected)
