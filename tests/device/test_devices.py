"""Arrays on a device: results, gradients, options and contracts are those of arrays on the host.

Where there is no GPU, a build with FASTLSTM_EMULATED=1 runs these tests too, with the processor as the device.
"""

import copy
import itertools
import json
import pickle

import numpy as np
import pytest
from cases import (
    GRU_FORMS,
    KINKED_TOO,
    OPTIONS,
    UNIT_OPTIONS,
    VARIANTS,
    gru_case,
    initial,
    lstm_case,
    options_case,
    rnn_case,
    unit_options,
)
from device_libraries import library
from helpers import (
    assert_close,
    assert_same,
    by_name,
    gru_arrays,
    gru_backward,
    gru_forward,
    rnn_arrays,
    run_gru,
    run_lstm,
)
from layer_cases import OPTIONS as LAYER_OPTIONS
from layer_cases import SHAPES, UNIT_CELLS, make, sequence, states
from separate import recording_by_recording

import fastlstm
import fastlstm.inspect
from fastlstm import LSTM, gpu
from fastlstm._arrays.libraries import DeviceKind
from fastlstm._system import devices

if not gpu.is_available():
    pytest.skip(f"no GPU: {gpu.why_unavailable()}", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore:dropout=.* drops nothing:UserWarning")  # of one layer

NAMES_OF_OPTIONS = [(), *((name,) for name in OPTIONS), *itertools.combinations(OPTIONS, 2)]
LARGER = [(7, 9, 5, 17, 11), (20, 33, 9, 17, 5), (40, 1, 30, 70, 20), (3, 200, 33, 40, 9)]
LAYERS = [
    *((LSTM, options) for options in ({}, *LAYER_OPTIONS.values())),
    *(
        (kind, LAYER_OPTIONS[name])
        for kind in UNIT_CELLS
        for name in LAYER_OPTIONS
        if name not in ("variant", "recurrence", "projection", "zoneout")
    ),
    *((kind, {"zoneout": 0.3}) for kind in UNIT_CELLS),
]
STEPPING = [{}, {"zoneout": (0.2, 0.1)}, {"variant": "FGR"}, {"num_layers": 2, "proj_size": 2}]
CALL_ARRAYS = ("recurrent_mask", "zoneout")


# Each library and each algorithm, without all pairs of them.
WAYS = [("cupy", "steps"), ("cupy", "resident"), ("cupy", "cluster"), ("torch", "auto")]


@pytest.fixture(params=WAYS, ids="-".join)
def device(request):
    name, algorithm = request.param
    with library(name) as moved, gpu.use(algorithm):
        yield moved


def options_there(device, options):
    """The options of a call with their arrays on the device; lengths stay on the host."""
    return options | {name: device.there(options[name]) for name in CALL_ARRAYS if options.get(name) is not None}


def check(device, case, options, tolerance=1e-11):
    expected = run_lstm(case, **options)
    found = device.back(run_lstm(device.there(case), **options_there(device, options)))
    assert_close(found, expected, tolerance)


# ---- functions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names", [(), *((name,) for name in OPTIONS), *itertools.combinations(OPTIONS, 2)], ids="+".join
)
@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_with_pairs_of_options(device, variant, names):
    check(device, *options_case(variant, set(names)))


@pytest.mark.parametrize(
    "sizes", [(7, 9, 5, 17, 11), (20, 33, 9, 17, 5), (40, 1, 30, 70, 20), (3, 200, 33, 40, 9)], ids=str
)
@pytest.mark.parametrize("variant", VARIANTS)
def test_larger_sizes(device, variant, sizes):
    for names in (set(), set(OPTIONS) - {"clip", "cell_clip", "activations"}):
        check(device, *options_case(variant, names, **dict(zip("TBIHP", sizes, strict=True))))


@pytest.mark.parametrize("sizes", [(0, 2, 3, 4), (3, 0, 3, 4), (1, 1, 1, 1), (1, 2, 0, 4), (2, 1, 3, 1)], ids=str)
@pytest.mark.parametrize("names", [(), ("lengths", "reset"), ("reverse", "mask")], ids="+".join)
def test_few_of_everything(device, names, sizes):
    check(device, *options_case("vanilla", set(names), **dict(zip("TBIH", sizes, strict=True))))


@pytest.mark.parametrize("peephole", [True, False])
def test_float32(device, peephole):
    case = lstm_case(30, 8, 20, 40, dtype=np.float32, peephole=peephole)
    check(device, case, {}, 1e-5)


@pytest.mark.parametrize("k", [1, 7, 100])
@pytest.mark.parametrize("names", [(), ("reverse", "lengths", "zone_y", "zone_c", "reset", "proj")], ids="+".join)
@pytest.mark.parametrize("variant", ["vanilla", "FGR"])
def test_recompute(device, variant, names, k):
    case, options = options_case(variant, set(names), T=60, B=30, I=3, H=7, P=5)
    case["dc_all"] = None
    kept = run_lstm(device.there(case), **options_there(device, options))
    again = run_lstm(device.there(case), **options_there(device, options), recompute=k)
    assert_close(device.back(again), device.back(kept), 1e-13)  # sums over time have other parts


@pytest.mark.parametrize("options", [{}, {"reverse": True, "lengths": np.array([3, 0, 7])}], ids=["plain", "lengths"])
@pytest.mark.parametrize("nonlinearity", KINKED_TOO, ids=str)
def test_rnn(device, nonlinearity, options):
    case = rnn_case(7, 3, 5, 9, nonlinearity)
    options = options | {"reset": np.random.default_rng(0).random((7, 3)) < 0.3}

    def run(case, options):
        x, W, R, b, h0, dy, dh = (case[name] for name in ("x", "W", "R", "b", "h0", "dy", "dh"))
        y, h, tape = fastlstm.rnn_forward(x, W, R, b, h0, nonlinearity=nonlinearity, tape=True, **options)
        gradients = fastlstm.rnn_backward(tape, W, R, dy, dh, deltas=True)
        return {"y": y, "h": h, "a": gradients.deltas.a} | rnn_arrays(gradients)

    assert_close(device.back(run(device.there(case), options)), run(case, options), 1e-11)


@pytest.mark.parametrize("names", [(), *((name,) for name in UNIT_OPTIONS), UNIT_OPTIONS], ids="+".join)
@pytest.mark.parametrize("reset_after", GRU_FORMS)
def test_gru(device, reset_after, names):
    for sizes in ((7, 3, 5, 9), (20, 33, 9, 17), (40, 1, 30, 70), (3, 200, 33, 40), (0, 2, 3, 4), (1, 2, 0, 4)):
        T, B, _, H = sizes
        case, options = gru_case(*sizes, reset_after), unit_options({*names}, T, B, H)
        found = device.back(run_gru(device.there(case), **options_there(device, options)))
        assert_close(found, run_gru(case, **options), 1e-11)


@pytest.mark.parametrize("activations", [("hard_logistic", "relu"), (("hard_logistic", 1.5, 0.4), "tanh")], ids=str)
@pytest.mark.parametrize("reset_after", GRU_FORMS)
def test_gru_activations(device, reset_after, activations):
    case, options = gru_case(7, 3, 5, 9, reset_after), {"activations": activations}
    assert_close(device.back(run_gru(device.there(case), **options)), run_gru(case, **options), 1e-11)


def test_constants_of_the_hard_logistic_function(device):
    case = lstm_case(7, 3, 5, 9)
    options = {"activations": (("hard_logistic", 1.5, 0.4), ("hard_logistic", 1 / 6, 0.5), "relu"), "clip": 0.7}
    assert_close(device.back(run_lstm(device.there(case), **options)), run_lstm(case, **options), 1e-11)


@pytest.mark.parametrize("k", [1, 7, 100])
@pytest.mark.parametrize("names", [(), ("reverse", "lengths", "zone", "reset", "mask")], ids="+".join)
@pytest.mark.parametrize("reset_after", GRU_FORMS)
def test_gru_recompute(device, reset_after, names, k):
    case, options = gru_case(60, 30, 3, 7, reset_after), unit_options({*names}, 60, 30, 7)
    kept = run_gru(device.there(case), **options_there(device, options))
    again = run_gru(device.there(case), **options_there(device, options), recompute=k)
    assert_close(device.back(again), device.back(kept), 1e-13)


@pytest.mark.parametrize("reset_after", GRU_FORMS)
def test_gru_tapes_and_deltas_can_be_looked_at(device, reset_after):
    case, options = gru_case(9, 4, 3, 5, reset_after), unit_options({"lengths", "reverse", "zone"}, 9, 4, 5)

    def run(case, options):
        _, _, tape = gru_forward(case, tape=True, **options)
        gradients = gru_backward(case, tape, deltas=True)
        gates = {f"gate {name}": tape.gate(name) for name in ("rznq" if reset_after else "rzn")}
        return gates | {f"delta {name}": a for name, a in gradients.deltas._asdict().items()} | gru_arrays(gradients)

    found = run(device.there(case), options_there(device, options))
    assert_close(device.back(found), run(case, options), 1e-11)


def test_tapes_and_deltas_can_be_looked_at(device):
    case, options = options_case("vanilla", {"lengths", "reverse", "zone_c"}, T=9, B=4)

    def run(case, options):
        x, W, R, b, p, dy = (case[name] for name in ("x", "W", "R", "b", "p", "dy"))
        _, _, tape = fastlstm.lstm_forward(x, W, R, b, p, initial(case), tape=True, **options)
        deltas = fastlstm.lstm_backward(tape, W, R, p, dy, deltas=True).deltas
        gates = {f"gate {name}": tape.gate(name) for name in "ifzo"}
        return {"c": tape.cells()} | gates | {f"delta {name}": a for name, a in deltas._asdict().items()}

    found = run(device.there(case), options_there(device, options))
    assert_close(device.back(found), run(case, options), 1e-11)


def test_results_in_given_arrays_and_workspace(device):
    T, B, I, H = 6, 3, 4, 5
    case = lstm_case(T, B, I, H)
    there = device.there(case)
    x, W, R, b, p, dy = (there[name] for name in ("x", "W", "R", "b", "p", "dy"))
    y, state, tape = fastlstm.lstm_forward(x, W, R, b, p, tape=True)
    grads = fastlstm.lstm_backward(tape, W, R, p, dy)
    expected = device.back({"y": y, "h": state[0], "dW": grads.W, "dx": grads.x})
    space = device.there(np.zeros(fastlstm.lstm_workspace(T, B, I, H, np.float64, device="cuda")))
    out = device.there((np.full((T, B, H), 7.0), (np.full((B, H), 7.0), np.full((B, H), 7.0))))
    y, state, tape = fastlstm.lstm_forward(x, W, R, b, p, tape=tape, out=out, workspace=space)
    assert y is out[0]
    assert state[0] is out[1][0]
    again = fastlstm.lstm_backward(tape, W, R, p, dy, out=grads, workspace=space)
    assert again.W is grads.W
    assert_same(device.back({"y": y, "h": state[0], "dW": again.W, "dx": again.x}), expected)
    twice = fastlstm.lstm_backward(tape, W, R, p, dy, out=grads, accumulate=True)
    assert_close(device.back({"dW": twice.W}), {"dW": 2 * expected["dW"]}, 1e-14)
    with pytest.raises(ValueError, match="workspace must have at least"):
        fastlstm.lstm_forward(x, W, R, b, p, workspace=space[:3])
    turned = device.there(np.zeros((B, T, H))).swapaxes(0, 1)
    x, W = device.there((np.zeros((T, B, H)), np.zeros((4 * H, H))))
    with pytest.raises(ValueError, match="out y must not overlap x"):
        fastlstm.lstm_forward(x, W, R, b, p, out=(x, out[1]))
    with pytest.raises(ValueError, match="out y must be C-contiguous"):
        fastlstm.lstm_forward(x, W, R, b, p, out=(turned, out[1]))


def test_arrays_that_are_not_contiguous(device):
    case = lstm_case(6, 3, 4, 5)
    there = device.there(case)
    turned = device.there(np.ascontiguousarray(case["x"].swapaxes(0, 1))).swapaxes(0, 1)
    wide = device.there(np.concatenate([case["R"], case["R"]], 1))
    weights = [there[name] for name in ("b", "p")]
    y, _, _ = fastlstm.lstm_forward(turned, there["W"], wide[:, :5], *weights)
    expected, _, _ = fastlstm.lstm_forward(*(case[name] for name in ("x", "W", "R", "b", "p")))
    assert_close({"y": device.back(y)}, {"y": expected}, 1e-11)


def test_the_same_bits_each_time(device):
    case, options = options_case("vanilla", {"lengths", "mask"}, T=20, B=7, I=9, H=13)
    first, again = (device.back(run_lstm(device.there(case), **options_there(device, options))) for _ in range(2))
    assert_same(again, first)


def test_nan_goes_through(device):
    case = lstm_case(12, 3, 4, 5)
    case["x"][4, 1] = np.nan
    there = device.there(case)
    y, _, tape = fastlstm.lstm_forward(*(there[name] for name in ("x", "W", "R", "b", "p")), tape=True)
    dx = fastlstm.lstm_backward(tape, there["W"], there["R"], there["p"], there["dy"]).x
    nan = np.zeros((12, 3), bool)
    nan[4:, 1] = True
    assert np.array_equal(np.isnan(device.back(y)).any(2), nan)
    assert np.isnan(device.back(dx)[4, 1]).all()


# ---- algorithms ------------------------------------------------------------------------------------------------------


@pytest.fixture
def used(monkeypatch):
    """Adds up how often calls ran in each way."""
    made, real = [], devices.device
    monkeypatch.setattr(devices, "device", lambda *arguments: made.append(real(*arguments)) or made[-1])

    def count():
        ran = [one.used for one in made if one.used is not None]
        made.clear()
        return {name: sum(one[name] for one in ran) for name in ("steps", "resident", "cluster")}

    return count


@pytest.mark.parametrize("algorithm", ["steps", "resident", "cluster"])
def test_each_algorithm_runs_where_it_is_asked_for(used, algorithm):
    with library("cupy") as cupy, gpu.use(algorithm):
        for names in (
            (),
            ("lengths", "reset", "mask", "zone_y", "zone_c", "reverse", "clip", "cell_clip", "activations"),
        ):
            case, options = options_case("vanilla", set(names), T=30, B=5, I=4, H=20)
            case["dc_all"] = None
            there, options = cupy.there(case), options_there(cupy, options)
            x, W, R, b, p, dy = (there[name] for name in ("x", "W", "R", "b", "p", "dy"))
            _, _, tape = fastlstm.lstm_forward(x, W, R, b, p, tape=True, **options)
            forward = used()
            fastlstm.lstm_backward(tape, W, R, p, dy)
            for ran in (forward, used()):
                others = {"resident", "cluster"} - {algorithm}
                assert ran[algorithm] > 0
                assert not any(ran[name] for name in others)


@pytest.mark.skipif(not devices.is_emulated(), reason="how much fits is that of the emulated device")
@pytest.mark.parametrize(("H", "fits"), [(270, True), (288, True), (400, False)])
def test_what_just_fits_on_the_chip(used, H, fits):
    case = lstm_case(4, 3, 5, H, dtype=np.float32)
    expected = run_lstm(case)
    with library("cupy") as cupy, gpu.use("resident"):
        found = cupy.back(run_lstm(cupy.there(case)))
        assert (used()["resident"] > 0) == fits
    assert_close(found, expected, 1e-5)


def test_what_cannot_be_resident_runs_by_steps(used):
    with library("cupy") as cupy, gpu.use("resident"):
        case, options = options_case("vanilla", {"proj"}, T=9)
        check(cupy, case, options)
        ran = used()
        assert ran["resident"] == ran["cluster"] == 0
        assert ran["steps"] > 0


# ---- fewer bits ------------------------------------------------------------------------------------------------------

HALVES = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
CELLS = ("c0", "dc", "dc_all")  # of float32 where all else has 16 bits


def in_fewer_bits(library, values, case):
    """A case on the device in fewer bits, and the same values in float64 on the host."""

    def there(name, array):
        kind = DeviceKind(library.library, library.index, "float32" if name in CELLS else values)
        return library.library.from_host(array, kind)

    own = {name: None if array is None else there(name, array) for name, array in case.items()}
    return own, {name: None if a is None else library.back(a).astype(np.float64) for name, a in own.items()}


@pytest.mark.parametrize("algorithm", ["steps", "resident", "cluster"])
@pytest.mark.parametrize("values", HALVES)
@pytest.mark.parametrize(
    "names", [(), ("lengths", "mask", "zone_y", "zone_c", "reset"), ("proj",), ("reverse", "zero")], ids="+".join
)
@pytest.mark.parametrize("variant", ["vanilla", "FGR", "CIFG", "NP"])
def test_fewer_bits(variant, names, values, algorithm):
    with library("torch") as torch, gpu.use(algorithm):
        case, options = options_case(variant, set(names), T=12, B=9, I=5, H=17, P=11)
        zones = options.get("zoneout")
        extra = {"mask": options.get("recurrent_mask")} | dict(zip("yc", zones or (None, None), strict=True))
        there, here = in_fewer_bits(torch, values, case | extra)
        given, same = (
            options | {"recurrent_mask": arrays["mask"], "zoneout": (arrays["y"], arrays["c"]) if zones else None}
            for arrays in (there, here)
        )
        found = run_lstm(there, **given)
        assert str(found["y"].dtype) == str(found["dR"].dtype) == f"torch.{values}"
        assert str(found["c"].dtype) == str(found["dc0"].dtype) == "torch.float32"
        expected = run_lstm(here, **same)
        assert_close(torch.back(found), expected, 10 * HALVES[values])


@pytest.mark.parametrize("values", HALVES)
@pytest.mark.parametrize("names", [(), ("lengths", "mask", "zone", "reset"), ("reverse", "zero")], ids="+".join)
@pytest.mark.parametrize("reset_after", GRU_FORMS)
def test_gru_in_fewer_bits(reset_after, names, values):
    with library("torch") as torch:
        case, options = gru_case(12, 9, 5, 17, reset_after), unit_options({*names}, 12, 9, 17)
        arrays = {name: options[name] for name in CALL_ARRAYS if name in options}
        there, here = in_fewer_bits(torch, values, case | arrays)
        given, same = (options | {name: own[name] for name in arrays} for own in (there, here))
        found = run_gru(there, **given)
        assert str(found["y"].dtype) == str(found["dR"].dtype) == f"torch.{values}"
        assert_close(torch.back(found), run_gru(here, **same), 10 * HALVES[values])


@pytest.mark.parametrize("algorithm", ["steps", "resident", "cluster"])
@pytest.mark.parametrize("clip", [0.1, 0.25, 1.0])
@pytest.mark.parametrize("values", HALVES)
def test_bounds_in_fewer_bits(values, clip, algorithm):
    """Where all that goes into the gates is bounded, nothing has a gradient: stored gates are at their bounds."""
    with library("torch") as torch, gpu.use(algorithm):
        lstm = LSTM(2, 5, clip=clip, seed=0)
        lstm.flat[:] = 3
        x, dy = (np.random.default_rng(0).random(shape) + 0.5 for shape in ((6, 3, 2), (6, 3, 5)))
        own, _ = in_fewer_bits(torch, values, {"x": x, "dy": dy})
        there = lstm.to("cuda", values, library="torch")
        _, _, tape = there.forward(own["x"])
        assert not torch.back(there.backward(tape, own["dy"]).flat).any()


@pytest.mark.parametrize("options", [{}, {"zoneout": (0.2, 0.1)}, {"variant": "FGR"}], ids=str)
@pytest.mark.parametrize("values", HALVES)
def test_streams_files_and_workspace_in_fewer_bits(values, options, tmp_path):
    with library("torch") as torch:
        lstm = LSTM(3, 5, dtype=np.float64, seed=0, **options)
        there = lstm.to("cuda", values, library="torch")
        x = np.random.default_rng(0).standard_normal((4, 2, 3))
        stream = fastlstm.Stream(there, B=2)
        own, same = in_fewer_bits(torch, values, {"x": x})
        for t in range(4):
            y = torch.back(stream.step(own["x"][t]))
        assert_close({"y": y}, {"y": there.to("cpu")(same["x"])[0][-1]}, 10 * HALVES[values])
        size = fastlstm.lstm_workspace(4, 2, 3, 5, values, device="cuda")
        space = torch.library.empty((size,), there._array_kind)
        weights = LSTM(3, 5, seed=0).to("cuda", values, library="torch").params
        arguments = [weights[name] for name in ("W_l0", "R_l0", "b_l0", "p_l0")]
        _, _, tape = fastlstm.lstm_forward(own["x"], *arguments, tape=True, workspace=space)
        dy = torch.library.zeros((4, 2, 5), there._array_kind)
        fastlstm.lstm_backward(tape, arguments[0], arguments[1], arguments[3], dy, workspace=space)
        assert fastlstm.rnn_workspace(4, 2, 3, 5, values, device="cuda") > 0
        fastlstm.save(there, tmp_path / "lstm.safetensors")
        assert_same({"flat": fastlstm.load(tmp_path / "lstm.safetensors").flat}, {"flat": there.to("cpu").flat})


def test_dtypes_of_a_layer_on_a_device():
    with library("torch") as torch:
        lstm = LSTM(3, 5, seed=0)
        there = lstm.to("cuda", np.float64, library="torch")
        own = torch.library.torch
        assert there.to("cuda", own.bfloat16).flat.dtype == own.bfloat16
        assert there.to("cuda", there.dtype).flat.dtype == own.float32
        assert repr(there) == "LSTM(3, 5, peephole=True, dtype=float64, device=cuda:0)"
        assert there.to("cpu", "float32").flat.dtype == np.float32
        for wrong in ("float8", 3, own.int8, None.__class__):
            with pytest.raises(TypeError, match="dtype must be float32, float64, bfloat16 or float16, not"):
                lstm.to("cuda", wrong)
        _, _, tape = there.forward(torch.there(np.zeros((2, 1, 3))))
        other = lstm.to("cuda", "float32", library="torch")
        message = "^tape.call must be of arrays as this layer's are, {} of torch on cuda:0, not {} of torch on cuda:0"
        with pytest.raises(TypeError, match=message.format("float32", "float64")):
            other.backward(tape, None)
        with pytest.raises(TypeError, match="x must be an array on cuda:0, not list"):
            other([[1.0]])
        negative = own.complex(own.zeros(1, 1, 3), own.ones(1, 1, 3)).conj().imag
        with pytest.raises(
            TypeError, match=r"x must be a tensor that has its values in memory: dense, and after resolve_neg"
        ):
            other(negative)


@pytest.mark.parametrize("values", HALVES)
def test_layers_in_fewer_bits(values):
    with library("torch") as torch:
        lstm = LSTM(5, 17, num_layers=2, bidirectional=True, seed=0)
        there = lstm.to("cuda", values, library="torch")
        assert str(there.flat.dtype) == f"torch.{values}"
        rounded = there.to("cpu")
        assert rounded.dtype == np.float32
        assert_close({"flat": rounded.flat}, {"flat": lstm.flat}, HALVES[values])
        x, dy = (np.random.default_rng(0).standard_normal(shape) for shape in ((9, 4, 5), (9, 4, 34)))
        own, same = in_fewer_bits(torch, values, {"x": x, "dy": dy})
        y, (_, c), tape = there.forward(own["x"])
        assert str(c.dtype) == "torch.float32"
        grads = there.backward(tape, own["dy"])
        expected, _, tape = rounded.forward(same["x"].astype(np.float32))
        expected_grads = rounded.backward(tape, same["dy"].astype(np.float32))
        found = torch.back({"y": y, "dx": grads.x, "flat": grads.flat})
        assert_close(found, {"y": expected, "dx": expected_grads.x, "flat": expected_grads.flat}, 20 * HALVES[values])
        assert str(there.to("cuda", "float64", library="torch").flat.dtype) == "torch.float64"
    with pytest.raises(TypeError, match="dtype must be float32 or float64, not float16"):
        lstm.to("cpu", "float16")
    with pytest.raises(
        ValueError, match="dtype must be float32 on the host, where the layer has no other, not float64"
    ):
        lstm.to("cpu", "float64")


# ---- layers ----------------------------------------------------------------------------------------------------------


def layer_results(network, how, given, masks):
    x, dy, first, dstate = given
    y, last, tape = network.forward(x, first, masks=masks, **how)
    grads = network.backward(tape, dy, dstate)
    inferred, last_inferred = network(x, first, **how)
    found = {"y": y, "dx": grads.x, "flat": grads.flat, "inferred": inferred}
    for name, state in (("last", last), ("dfirst", grads.state), ("last inferred", last_inferred)):
        found |= {f"{name} {k}": part for k, part in enumerate(state if isinstance(state, tuple) else (state,))}
    return found


@pytest.mark.parametrize(("layer", "options"), LAYERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_layers(device, shape, layer, options):
    network, how = make(SHAPES[shape] | options, layer)
    D, P = network.directions, network.output_size
    given = sequence(network, 6, 4, 3), sequence(network, 6, 4, D * P, seed=1), states(network, 2), states(network, 4)
    masks = network.draw_masks(6, 4, np.random.default_rng(0))
    expected = layer_results(network, how, given, masks)
    there = network.to("cuda", library=device.name)
    assert there.device == f"cuda:{device.index}"
    found = layer_results(there, how, device.there(given), masks)
    assert_close(device.back(found), expected, 1e-11)
    back = there.to("cpu")
    assert back.device == "cpu"
    assert_same({"flat": back.flat}, {"flat": network.flat})


def test_packed_sequences(device):
    lstm = LSTM(3, 5, bidirectional=True, dtype=np.float64, seed=0)
    sizes, order = np.array([3, 3, 2, 1]), np.array([1, 0, 2])
    data = np.random.default_rng(0).standard_normal((9, 3))
    expected, (h, _) = lstm(fastlstm.PackedSequence(data, sizes, order, np.argsort(order)))
    there = lstm.to("cuda", library=device.name)
    packed = fastlstm.PackedSequence(device.there(data), sizes, order, np.argsort(order))
    y, (h_there, _), tape = there.forward(packed)
    assert_close(device.back({"y": y.data, "h": h_there}), {"y": expected.data, "h": h}, 1e-11)
    grads = there.backward(tape, device.there(np.ones_like(expected.data)))
    assert device.back(grads.x.data).shape == data.shape


@pytest.mark.parametrize("options", [{}, {"zoneout": 0.2}, {"num_layers": 2}], ids=str)
@pytest.mark.parametrize("kind", UNIT_CELLS)
def test_steps_and_streams_of_a_single_state(device, kind, options):
    layer = kind(3, 5, dtype=np.float64, seed=0, **options)
    there = layer.to("cuda", library=device.name)
    x = np.random.default_rng(0).standard_normal((4, 2, 3))
    expected, last = layer(x)
    stream, state = fastlstm.Stream(there, B=2), None
    for t in range(4):
        y, state = there.step(device.there(x[t]), state)
        found = {"step": y, "stream": stream.step(device.there(x[t]))}
        assert_close(device.back(found), dict.fromkeys(found, expected[t]), 1e-11)
    assert_close(device.back({"step": state, "stream": stream.state}), dict.fromkeys(("step", "stream"), last), 1e-11)


@pytest.mark.parametrize(
    "options", [{}, {"zoneout": (0.2, 0.1)}, {"variant": "FGR"}, {"num_layers": 2, "proj_size": 2}], ids=str
)
def test_steps_and_streams(device, options):
    lstm = LSTM(3, 5, dtype=np.float64, seed=0, **options)
    there = lstm.to("cuda", library=device.name)
    x = np.random.default_rng(0).standard_normal((4, 2, 3))
    expected, last = lstm(x)
    stream = fastlstm.Stream(there, B=2)
    state = None
    for t in range(4):
        y, state = there.step(device.there(x[t]), state)
        streamed = stream.step(device.there(x[t]))
        assert_close(
            device.back({"step": y, "stream": streamed}), dict.fromkeys(("step", "stream"), expected[t]), 1e-11
        )
    assert_close(by_name(device.back(state)), by_name(last), 1e-11)
    y, state = there.step(device.there(x[0]), state, out=(y, state))
    stream.reset([1])
    assert not device.back(stream.state[0])[:, 1].any()
    assert device.back(stream.state[0])[:, 0].any()
    stream.reset(np.array([True, False]), device.there(tuple(np.ones_like(part[:, :1]) for part in last)))
    assert np.all(device.back(stream.state[0])[:, 0] == 1)
    stream.reset()
    assert not device.back(stream.state[1]).any()
    with pytest.raises(IndexError, match="rows must be from -2 to 1, not 0 to 5"):
        stream.reset([0, 5])


def test_truncated_bptt(device):
    lstm = LSTM(3, 5, dtype=np.float64, seed=0)
    x = np.random.default_rng(0).standard_normal((12, 2, 3))

    def run(lstm, x, ones):
        found = {}
        for chunk in fastlstm.truncated_bptt(lstm, x, 4, 8):
            grads = chunk.backward(ones)
            found |= {f"{chunk.start} {k}": a for k, a in enumerate((chunk.y, grads.flat, grads.x))}
        return found

    found = run(lstm.to("cuda", library=device.name), device.there(x), device.there(np.ones((4, 2, 5))))
    assert_close(device.back(found), run(lstm, x, np.ones((4, 2, 5))), 1e-11)


def test_copies_and_files(device, tmp_path):
    lstm = LSTM(3, 5, seed=0)
    there = lstm.to("cuda", library=device.name)
    for made in (copy.deepcopy(there), pickle.loads(pickle.dumps(there))):
        assert made.device == there.device
        assert np.array_equal(device.back(made.flat), lstm.flat)
    x = device.there(np.ones((3, 2, 3), np.float32))
    _, _, tape = there.forward(x)
    again = pickle.loads(pickle.dumps(tape))
    dy = device.there(np.ones((3, 2, 5), np.float32))
    assert_same(*(device.back({"flat": there.backward(one, dy).flat}) for one in (tape, again)))
    fastlstm.save(there, tmp_path / "lstm.safetensors")
    assert np.array_equal(fastlstm.load(tmp_path / "lstm.safetensors").flat, lstm.flat)


def test_gradients_where_they_were(device):
    lstm = LSTM(3, 5, seed=0).to("cuda", library=device.name)
    x, dy = device.there(np.ones((3, 2, 3), np.float32)), device.there(np.ones((3, 2, 5), np.float32))
    _, _, tape = lstm.forward(x)
    grads = lstm.backward(tape, dy)
    once, before = device.back(grads.flat), grads.x
    again = lstm.backward(tape, dy, out=grads, accumulate=True)
    assert again.x is before
    assert_close({"flat": device.back(again.flat)}, {"flat": 2 * once}, 1e-6)


def test_parameters_are_changed_in_place(device):
    lstm = LSTM(3, 5, seed=0)
    there = lstm.to("cuda", library=device.name)
    x = np.ones((3, 2, 3), np.float32)
    there.flat -= 0.5 * there.flat
    lstm.flat[:] = 0.5 * lstm.flat
    assert_close({"y": device.back(there(device.there(x))[0])}, {"y": lstm(x)[0]}, 1e-6)
    with pytest.raises(AttributeError, match="flat cannot be set"):
        there.flat = device.there(lstm.flat)


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_arrays_in_two_places(device):
    case = lstm_case(3, 2, 3, 4)
    there = device.there(case)
    names = ("x", "W", "R", "b", "p")
    for name in names[1:]:
        with pytest.raises(TypeError, match=f"{name} is on the host, but must be on cuda:"):
            fastlstm.lstm_forward(*(case[n] if n == name else there[n] for n in names))
        with pytest.raises(TypeError, match=f"{name} is on a GPU, but must be on the host"):
            fastlstm.lstm_forward(*(there[n] if n == name else case[n] for n in names))
    x, W, R, b, p = (there[name] for name in names)
    with pytest.raises(TypeError, match="state h is on the host"):
        fastlstm.lstm_forward(x, W, R, b, p, (case["h0"], there["c0"]))
    with pytest.raises(TypeError, match="out y is on the host"):
        fastlstm.lstm_forward(x, W, R, b, p, out=(np.zeros((3, 2, 4)), (there["h0"], there["c0"])))
    with pytest.raises(TypeError, match="recurrent_mask is on the host"):
        fastlstm.lstm_forward(x, W, R, b, p, recurrent_mask=np.ones((2, 4)))
    with pytest.raises(TypeError, match="workspace is on the host"):
        fastlstm.lstm_forward(x, W, R, b, p, workspace=np.ones(1000))
    with pytest.raises(TypeError, match="reset is on a GPU, but must be on the host"):
        fastlstm.lstm_forward(*(case[n] for n in names), reset=device.there(np.zeros((3, 2), bool)))
    with pytest.raises(TypeError, match="lengths must be on the host"):
        fastlstm.lstm_forward(x, W, R, b, p, lengths=device.there(np.array([1, 2])))
    _, _, tape = fastlstm.lstm_forward(x, W, R, b, p, tape=True)
    with pytest.raises(TypeError, match="dy is on the host"):
        fastlstm.lstm_backward(tape, W, R, p, case["dy"])
    lstm = LSTM(3, 4, seed=0)
    with pytest.raises(TypeError, match="x is on a GPU, but must be on the host"):
        lstm(device.there(np.ones((3, 2, 3), np.float32)))
    with pytest.raises(TypeError, match="x is on the host, but must be on cuda:"):
        lstm.to("cuda", library=device.name)(np.ones((3, 2, 3), np.float32))


def test_wrong_shapes_and_dtypes(device):
    there = device.there(lstm_case(3, 2, 3, 4))
    x, W, R, b, p = (there[name] for name in ("x", "W", "R", "b", "p"))
    with pytest.raises(ValueError, match=r"W must have shape \(4H, I\) = \(16, 3\), not \(8, 3\)"):
        fastlstm.lstm_forward(x, W[:8], R, b, p)
    with pytest.raises(ValueError, match=r"x must have shape \(T, B, I\), not \(2, 3\)"):
        fastlstm.lstm_forward(x[0], W, R, b, p)
    with pytest.raises(TypeError, match="b must have dtype float64, not float32"):
        fastlstm.lstm_forward(x, W, R, device.there(np.zeros(16, np.float32)), p)
    with pytest.raises(TypeError, match="x must have a dtype of float32, float64, bfloat16, float16, not int64"):
        fastlstm.lstm_forward(device.there(np.zeros((3, 2, 3), np.int64)), W, R, b, p)
    with pytest.raises(TypeError, match="reset must have dtype bool, not float64"):
        fastlstm.lstm_forward(x, W, R, b, p, reset=device.there(np.zeros((3, 2))))
    with pytest.raises(ValueError, match=r"reset must have shape \(T, B\) = \(3, 2\), not \(2, 3\)"):
        fastlstm.lstm_forward(x, W, R, b, p, reset=device.there(np.zeros((2, 3), bool)))


@pytest.mark.parametrize(
    "names", [(), ("lengths",), ("reverse",), ("reverse", "lengths"), ("reverse", "zero")], ids=str
)
def test_resets_on_the_device(device, names):
    case, options = options_case("vanilla", {"reset", *names}, T=7)
    expected = device.back(run_lstm(device.there(case), **options_there(device, options)))
    assert_close(expected, recording_by_recording(case, options, run_lstm), 1e-11)
    there = options_there(device, options) | {"reset": device.there(options["reset"])}
    assert_same(device.back(run_lstm(device.there(case), **there)), expected)


def test_step_refuses_a_shifted_state_on_the_device(device):
    layers = LSTM(3, 4, 2, seed=0).to("cuda", library=device.name)
    x, y, wide = (device.there(np.zeros(shape, np.float32)) for shape in ((2, 3), (2, 4), (3, 2, 4)))
    c = device.there(np.zeros((2, 2, 4), np.float32))
    layers.step(x, (wide[:2], c), (y, (wide[:2], c)))
    with pytest.raises(ValueError, match=r"^out h must be state h itself or not overlap it"):
        layers.step(x, (wide[:2], c), (y, (wide[1:], c)))


def test_what_runs_on_the_host_alone_says_so(device):
    lstm = LSTM(3, 4, seed=0).to("cuda", library=device.name)
    with pytest.raises(TypeError, match=r"network must be on the host, not on cuda:"):
        fastlstm.Frozen(lstm)
    with pytest.raises(TypeError, match=r"network must be on the host, not on cuda:.*: inspect network.to\('cpu'\)"):
        fastlstm.inspect.flows(lstm, np.zeros((3, 2, 3), np.float32))
    with pytest.raises(TypeError, match="must be on the host, not on cuda:"):
        fastlstm.nn.Sequential(lstm, fastlstm.nn.Dense(4, 2, seed=0))
    with pytest.raises(TypeError, match="flat is on a GPU, but must be on the host"):
        fastlstm.nn.Adam(lstm.flat)
    with pytest.raises(TypeError, match="is on a GPU, but must be on the host"):
        fastlstm.nn.mse(lstm.flat, lstm.flat)


@pytest.mark.skipif(not devices.is_emulated(), reason="a broken stream and a second device are emulated")
def test_errors_of_the_device_are_raised():
    with library("cupy") as cupy:
        case = cupy.there(lstm_case(3, 2, 3, 4))
        arguments = [case[name] for name in ("x", "W", "R", "b", "p")]
        stream = cupy.library.cupy.cuda.get_current_stream(0)
        stream.ptr = 1
        try:
            with pytest.raises(RuntimeError, match="a device's error, emulated"):
                fastlstm.lstm_forward(*arguments)
        finally:
            stream.ptr = 0
        fastlstm.lstm_forward(*arguments)
        arguments[0].device.id = 1
        with pytest.raises(TypeError, match="x is on cuda:1, but CuPy's current device is cuda:0"):
            fastlstm.lstm_forward(*arguments)
        with (
            cupy.library.cupy.cuda.Device(1),
            pytest.raises(TypeError, match=r"R is on cuda:0, but .*: call within cupy.cuda.Device\(0\)"),
        ):
            fastlstm.lstm_forward(*arguments)


def test_tensors_that_need_gradients():
    with library("torch") as torch:
        case = torch.there(lstm_case(3, 2, 3, 4))
        case["W"].requires_grad = True
        with pytest.raises(TypeError, match=r"W requires a gradient, which PyTorch would not see: give W\.detach\(\)"):
            fastlstm.lstm_forward(*(case[name] for name in ("x", "W", "R", "b", "p")))


class Foreign:
    """An array of a library that fastlstm does not know: Numba's, say."""

    def __init__(self, array):
        self.array = array
        self.__cuda_array_interface__ = {
            "shape": array.shape, "typestr": array.dtype.str, "data": (array.ctypes.data, False), "version": 3,
        }  # fmt: skip


class ByDLPack:
    """Likewise, one that says where it is by DLPack alone."""

    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, **options):
        return self.array.__dlpack__()


@pytest.mark.skipif(not devices.is_emulated(), reason="the memory of these arrays is emulated")
@pytest.mark.parametrize("kind", [Foreign, ByDLPack])
def test_arrays_of_other_libraries(kind):
    case = lstm_case(3, 2, 3, 4)
    names = ("x", "W", "R", "b", "p")
    expected, (h, c), _ = fastlstm.lstm_forward(*(case[name] for name in names))
    with library("cupy") as cupy:
        y, _, _ = fastlstm.lstm_forward(*(kind(case[name]) for name in names))
        assert_close({"y": cupy.back(y)}, {"y": expected}, 1e-11)
        out = np.empty_like(expected), (np.empty_like(h), np.empty_like(c))
        given = kind(out[0]), tuple(kind(array) for array in out[1])
        fastlstm.lstm_forward(*(kind(case[name]) for name in names), out=given)
        assert_close({"y": out[0], "h": out[1][0]}, {"y": expected, "h": h}, 1e-11)
        lstm = LSTM(3, 4, dtype=np.float64, seed=0)
        y, _ = lstm.to("cuda", library="cupy")(kind(case["x"]))
        assert_close({"y": cupy.back(y)}, {"y": lstm(case["x"])[0]}, 1e-11)
        with pytest.raises(TypeError, match="x is on a GPU, but must be on the host"):
            lstm(kind(case["x"]))


def test_layers_of_another_library():
    with library("cupy") as cupy, library("torch") as torch:
        lstm = LSTM(3, 4, seed=0).to("cuda", library="cupy")
        x = np.ones((3, 2, 3), np.float32)
        other = LSTM(3, 4, seed=0).to("cuda", library="torch")
        _, _, tape = other.forward(torch.there(x))
        with pytest.raises(
            TypeError, match=r"tape\.call must be of arrays as this layer's are, float32 of cupy on cuda:0, not"
        ):
            lstm.backward(tape, None)
        with pytest.raises(TypeError, match="x is an array of torch, but the parameters are arrays of cupy"):
            lstm(torch.there(x))
        # Functions take any, and answer in that of x.
        case = lstm_case(3, 2, 3, 4)
        names = ("x", "W", "R", "b", "p")
        y, _, _ = fastlstm.lstm_forward(*((torch if n == "W" else cupy).there(case[n]) for n in names))
        assert_close({"y": cupy.back(y)}, {"y": fastlstm.lstm_forward(*(case[n] for n in names))[0]}, 1e-11)


def test_the_benchmark(tmp_path, capsys):
    from fastlstm.bench import gpu as bench

    with library("torch"):
        file = tmp_path / "gpu.json"
        options = ["--sizes", "8", "--batches", "1,3", "--steps", "5", "--seconds", "0.001", "--json", str(file)]
        options += ["--precisions", "float32,bfloat16"]
        assert bench.main(options) == 0
        printed = capsys.readouterr().out
        rows = json.loads(file.read_text())["rows"]
        assert len(rows) == 2 * 2 * 2
        assert all(us > 0 for row in rows for us in row["us_per_step"].values())
        assert "**bfloat16, training**" in printed
        assert bench.main(["--table", str(file)]) == 0
        assert "**bfloat16, training**" in capsys.readouterr().out


def test_a_benchmark_goes_on_after_what_it_has(tmp_path, capsys, monkeypatch):
    from fastlstm.bench import gpu as bench

    with library("torch"):
        file = tmp_path / "gpu.json"
        options = ["--sizes", "8", "--batches", "1", "--steps", "3", "--seconds", "0.001", "--json", str(file)]
        options += ["--precisions", "float32", "--resume"]
        killed = {"shape": [3, 1, 8], "precision": "float32", "kind": "inference", "void": bench.UNFINISHED}
        file.write_text(json.dumps({"gpu": "a device", "rows": [killed]}))
        assert bench.main(options) == 1
        printed = capsys.readouterr()
        assert "**float32, training**" in printed.out
        assert f"- T, B, H = [3, 1, 8], float32, inference: {bench.UNFINISHED}" in printed.out
        assert "1 of 2 comparisons are void" in printed.err
        assert [row["kind"] for row in json.loads(file.read_text())["rows"]] == ["inference", "training"]
        file.unlink()
        monkeypatch.setitem(bench.PRECISIONS, "float32", ("float32", False, -1.0))
        assert bench.main(options) == 1
        assert "fastlstm differ by" in capsys.readouterr().out
        with pytest.raises(SystemExit):
            bench.main(["--resume"])
