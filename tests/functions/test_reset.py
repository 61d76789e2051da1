"""`reset`: recordings one after the other in a row give what each gives alone, in both directions.

What each gives alone is computed here from calls without `reset`: a row is cut at its flags, every recording is run by
itself, from the state that it begins with, and what they give is put together.
"""

import numpy as np
import pytest
from cases import OPTIONS, VARIANTS, Arrays, options_case, rnn_case
from helpers import assert_close, assert_same, by_name, lstm_backward, lstm_forward, run_lstm
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import UNIT_CELLS
from separate import ROW_STATES, begins_from_zero, recording_by_recording, recordings

import fastlstm
from fastlstm import LSTM, Frozen, PackedSequence
from fastlstm.layers.masks import Masks

# One layer with `dropout`, among all combinations: it drops nothing, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:dropout=.* drops nothing:UserWarning")

OTHERS = tuple(name for name in OPTIONS if name not in ("reverse", "reset"))


def flags_of(T, B, seed=0, share=0.3):
    return np.random.default_rng([seed, T, B]).random((T, B)) < share


# ---- functions ----


@pytest.mark.parametrize("names", [(), *((name,) for name in OTHERS), OTHERS], ids="+".join)
@pytest.mark.parametrize("reverse", [(), ("reverse",)], ids=["forward", "reverse"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_each_recording_as_alone(variant, reverse, names, isa):
    T, B = 9, 5
    case, options = options_case(variant, {"reset", *names, *reverse}, T=T, B=B, I=3, H=7, P=4)
    options["reset"] = flags_of(T, B)
    assert_close(run_lstm(case, **options), recording_by_recording(case, options, run_lstm), 1e-11)


@settings(max_examples=100, deadline=None)
@given(
    variant=st.sampled_from(VARIANTS),
    names=st.sets(st.sampled_from(("reverse", *OTHERS))),
    sizes=st.tuples(st.integers(1, 12), st.integers(1, 4), st.integers(1, 3), st.integers(1, 9)),
    seed=st.integers(0, 10),
    share=st.sampled_from([0.05, 0.3, 0.9]),
)
def test_any_recordings_with_any_options(variant, names, sizes, seed, share):
    T, B, I, H = sizes
    case, options = options_case(variant, {"reset", *names}, T=T, B=B, I=I, H=H, P=min(2, H), seed=seed)
    options["reset"] = flags_of(T, B, seed, share)
    assert_close(run_lstm(case, **options), recording_by_recording(case, options, run_lstm), 1e-11)


@pytest.mark.parametrize("names", [(), ("zero",), ("lengths", "zone_y", "zone_c", "proj", "mask")], ids="+".join)
@pytest.mark.parametrize("reverse", [(), ("reverse",)], ids=["forward", "reverse"])
@pytest.mark.parametrize("variant", ["vanilla", "FGR"])
def test_recompute(variant, reverse, names):
    T, B = 130, 12  # three segments of 512 rows
    case, options = options_case(variant, {"reset", *names, *reverse}, T=T, B=B, I=3, H=7, P=4)
    options["reset"] = flags_of(T, B, share=0.1)
    found = run_lstm(case, recompute=2, **options)
    assert_same(found, run_lstm(case, **options))
    assert_close(found, recording_by_recording(case, options, run_lstm), 1e-11)


@pytest.mark.parametrize("to", ["initial", "zero"])
@pytest.mark.parametrize("reverse", [False, True])
def test_rows_bit_for_bit(reverse, to, isa):
    """Whatever is computed for each row alone: outputs, states, gradients of x and of a state that is read once."""
    T, B = 40, 6
    case, options = options_case("vanilla", {"lengths"}, T=T, B=B, I=33, H=40)
    case = {name: None if array is None else array.astype(np.float32) for name, array in case.items()}
    options |= {"reverse": reverse, "reset": flags_of(T, B, share=0.1), "reset_to": to, "batch_invariant": True}

    def one(case, **options):
        y, state, tape = lstm_forward(case, tape=True, **options)
        grads = lstm_backward(case, tape, dc=None)
        found = {"y": y, "dx": grads.x} | by_name(state)
        return found | (by_name(grads.state, ("dh0", "dc0")) if to == "zero" else {})

    expected = {name: array.astype(np.float32) for name, array in recording_by_recording(case, options, one).items()}
    assert_same(one(case, **options), expected)


@pytest.mark.parametrize(
    "names", [(), ("lengths",), ("zero",), ("mask", "zone"), ("lengths", "zero", "zone")], ids="+".join
)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("nonlinearity", ["tanh", "identity"])
def test_each_recording_of_an_rnn_as_alone(nonlinearity, reverse, names, isa):
    T, B, H = 9, 5, 7
    case, rng = rnn_case(T, B, 3, H, nonlinearity), np.random.default_rng(0)
    options = {"reverse": reverse, "reset": flags_of(T, B), "reset_to": "zero" if "zero" in names else "initial"}
    if "lengths" in names:
        options["lengths"] = np.array([4, 0, 9, 1, 7])
    if "mask" in names:
        options["recurrent_mask"] = rng.integers(0, 2, (B, H)) * 2.0
    if "zone" in names:
        options["zoneout"] = rng.random((T, B, H))

    def run(case, **options):
        x, W, R, b, h0, dy, dh = (case[name] for name in ("x", "W", "R", "b", "h0", "dy", "dh"))
        y, h, tape = fastlstm.rnn_forward(x, W, R, b, h0, nonlinearity=nonlinearity, tape=True, **options)
        grads = fastlstm.rnn_backward(tape, W, R, dy, dh)
        found = {"dx": grads.x, "dW": grads.W, "dR": grads.R, "db": grads.b, "dh0": grads.state}
        return {"y": y, "h": h} | found

    assert_close(run(case, **options), recording_by_recording(case, options, run), 1e-11)


def test_flags_past_an_end_mean_nothing():
    """Above all the one just past it, which is where the next recording of the reverse direction would begin."""
    T, B = 6, 4
    case, options = options_case("vanilla", {"lengths", "reset", "zero", "reverse"}, T=T, B=B)
    options["lengths"] = np.array([4, 6, 0, 2])
    past = np.arange(T)[:, np.newaxis] >= options["lengths"]
    expected = run_lstm(case, **options | {"reset": options["reset"] & ~past})
    assert_same(run_lstm(case, **options | {"reset": options["reset"] | past}), expected)


# ---- layers ----

T, B, I, H = 9, 3, 3, 6
LENGTHS = np.array([7, 9, 4])
FLAGS = np.zeros((T, B), bool)
FLAGS[[0, 3, 5], 0] = FLAGS[[1, 4, 8], 1] = FLAGS[[2, 4], 2] = True  # that of row 2 at its end too, which is none
LAYERS = {
    "one": {},
    "stacked": {"num_layers": 3},
    "both": {"bidirectional": True},
    "stacked both": {"num_layers": 2, "bidirectional": True},
}
MORE = {
    "plain": {},
    "no peepholes": {"peephole": False},
    "recurrence": {"variant": "FGR"},
    "projection": {"proj_size": 4},
    "dropout": {"dropout": 0.4},
    "recurrent dropout": {"recurrent_dropout": 0.4},
    "drop connect": {"drop_connect": 0.4},
    "zoneout": {"zoneout": (0.3, 0.2)},
    "all": {"proj_size": 4, "dropout": 0.3, "recurrent_dropout": 0.3, "zoneout": (0.3, 0.2)},
}
UNIT_MORE = {"plain": {}, "all": {"dropout": 0.3, "recurrent_dropout": 0.3, "zoneout": 0.3}}


def layer_case(network):
    """Return the arguments of a layer's call and of its backward pass, and the masks."""
    rng = np.random.default_rng(1)

    def state():
        return [rng.standard_normal(part.shape) for part in network.zero_state(B)]

    x, dy = (rng.standard_normal((T, B, n)) for n in (I, network.directions * network.output_size))
    cells = network.num_layers * network.directions
    dc = [rng.standard_normal((T, B, H)) for _ in range(cells)] if isinstance(network, LSTM) else None
    return {"x": x, "dy": dy, "dc": dc, "first": state(), "above": state(), "masks": network.draw_masks(T, B, rng)}


def layer_results(network, case, **how) -> Arrays:
    def given(state):
        return state[0] if not isinstance(network, LSTM) else tuple(state)

    def parts(state):
        return (state,) if not isinstance(network, LSTM) else state

    above = {} if case["dc"] is None else {"dc": case["dc"]}
    y, last, tape = network.forward(case["x"], given(case["first"]), masks=case["masks"], **how)
    grads = network.backward(tape, case["dy"], given(case["above"]), **above)
    found = {"y": y, "dx": grads.x} | by_name(parts(last)) | by_name(parts(grads.state), ("dh0", "dc0", "dg0"))
    return found | {"d" + name: array.copy() for name, array in grads.params.items()}


def recording_of(network, case, row, start, end, keep):
    """The case of one recording; `keep(k, part)` is whether a cell has its "first" or its "above"."""
    step, at = slice(start, end), slice(row, row + 1)
    masks, kept = case["masks"], {}
    for part in ("first", "above"):
        kept[part] = [np.stack([a[k, at] * keep(k, part) for k in range(len(a))]) for a in case[part]]
    cut = Masks(
        [mask[step, at] for mask in masks.between],
        [mask[at] for mask in masks.recurrent],
        [tuple(None if share is None else share[step, at] for share in shares) for shares in masks.zoneout],
        masks.weights,
    )
    dc = None if case["dc"] is None else [np.ascontiguousarray(array[step, at]) for array in case["dc"]]
    own = {name: np.ascontiguousarray(case[name][step, at]) for name in ("x", "dy")}
    cut.between, cut.zoneout = (
        [np.ascontiguousarray(mask) for mask in cut.between],
        [tuple(None if share is None else np.ascontiguousarray(share) for share in two) for two in cut.zoneout],
    )
    return own | kept | {"dc": dc, "masks": cut}


def layer_alone(network, case, lengths, reset, to_zero) -> Arrays:
    total: Arrays = {}
    for row in range(B):
        length = T if lengths is None else lengths[row]
        for start, end in recordings(reset[:, row], length):
            from_zero, is_final = [], []
            for k in range(network.num_layers * network.directions):
                reverse = bool(k % network.directions)
                from_zero.append(begins_from_zero(start, end, length, reset[:, row], reverse, to_zero))
                is_final.append(start == 0 if reverse else end == length)

            def keep(k, part, zero=from_zero, final=is_final):
                return not zero[k] if part == "first" else final[k]

            for name, array in layer_results(network, recording_of(network, case, row, start, end, keep)).items():
                if name in ("y", "dx"):
                    total.setdefault(name, np.zeros((T, B, array.shape[2])))[start:end, row] = array[:, 0]
                elif name in ROW_STATES:
                    counts = ~np.array(from_zero) if name.startswith("d") else np.array(is_final)
                    whole = total.setdefault(name, np.zeros((len(array), B, array.shape[2])))
                    whole[:, row] += array[:, 0] * counts[:, np.newaxis]
                else:
                    total[name] = total.get(name, 0) + array
    return total


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@pytest.mark.parametrize("to", ["initial", "zero"])
@pytest.mark.parametrize("more", MORE)
@pytest.mark.parametrize("layers", LAYERS)
def test_layers(layers, more, to, lengths):
    network = LSTM(I, H, **LAYERS[layers], **MORE[more], dtype=np.float64, seed=0)
    case = layer_case(network)
    expected = layer_alone(network, case, lengths, FLAGS, to == "zero")
    for recompute in (None, 2):
        how = {"lengths": lengths, "reset": FLAGS, "reset_to": to, "recompute": recompute}
        assert_close(layer_results(network, case, **how), expected, 1e-11)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@pytest.mark.parametrize("to", ["initial", "zero"])
@pytest.mark.parametrize("more", UNIT_MORE)
@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("kind", UNIT_CELLS)
def test_unit_layers(kind, layers, more, to, lengths):
    network = kind(I, H, **LAYERS[layers], **UNIT_MORE[more], dtype=np.float64, seed=0)
    case = layer_case(network)
    expected = layer_alone(network, case, lengths, FLAGS, to == "zero")
    assert_close(layer_results(network, case, lengths=lengths, reset=FLAGS, reset_to=to), expected, 1e-11)


@pytest.mark.parametrize("to", ["initial", "zero"])
@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_every_way_to_call_a_layer(num_threads, to, isa):
    """Batch first, packed, frozen, without a tape: bit for bit what forward gives."""
    network = LSTM(I, H, num_layers=2, bidirectional=True, dtype=np.float64, seed=0)
    turned = LSTM(I, H, num_layers=2, bidirectional=True, dtype=np.float64, seed=0, batch_first=True)
    case, how = layer_case(network), {"reset": FLAGS, "reset_to": to, "num_threads": num_threads}
    x, first = case["x"], tuple(case["first"])
    y, _, _ = network.forward(x, first, LENGTHS, **how)
    found, _ = network(x, first, LENGTHS, **how)
    assert_same({"y": found}, {"y": y})
    found, _ = turned(np.ascontiguousarray(x.swapaxes(0, 1)), first, LENGTHS, **how)
    assert_same({"y": np.ascontiguousarray(found.swapaxes(0, 1))}, {"y": y})
    order = np.argsort(-LENGTHS)
    sizes = (LENGTHS[:, np.newaxis] > np.arange(T)).sum(axis=0)
    rows, expected = ([a[t, order[:size]] for t, size in enumerate(sizes)] for a in (x, y))
    packed = PackedSequence(np.concatenate(rows), sizes, order, np.argsort(order))
    assert_same({"y": network(packed, first, **how)[0].data}, {"y": np.concatenate(expected)})
    found, _ = Frozen(network)(x, first, LENGTHS, **how)
    assert_close({"y": found}, {"y": y}, 1e-13)


def test_two_recordings_in_one_row():
    """Run recordings one after another, as the documentation of reset says, in float32 with the default state."""
    rng = np.random.default_rng(0)
    network = LSTM(4, 16, num_layers=2, bidirectional=True, batch_invariant=True, seed=0)
    one, other = (rng.standard_normal((steps, 1, 4)).astype(np.float32) for steps in (30, 50))
    reset = np.zeros((80, 1), bool)
    reset[30] = True
    y, _ = network(np.concatenate([one, other]), reset=reset)
    assert_same({"one": y[:30], "other": y[30:]}, {"one": network(one)[0], "other": network(other)[0]})
