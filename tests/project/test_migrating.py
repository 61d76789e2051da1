"""Networks carried over by the pages on migrating give the peer's values; others are refused by name."""

import importlib
import itertools
import re
import warnings

import numpy as np
import pytest
from pages import ROOT, run_page

import fastlstm
import fastlstm.keras

T, B, I, H = 7, 3, 4, 5


def names_of(page, tmp_path_factory):
    """Return the names that the code of a page defines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp(page))
        return run_page(ROOT / "docs" / "migrating" / f"{page}.md")


def random(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def refused(message):
    return pytest.raises(ValueError, match=f"^{re.escape(message)}")


# ---- PyTorch ----


@pytest.fixture(scope="module")
def torch(tmp_path_factory):
    """The page's names; with them the package as `torch`."""
    return names_of("pytorch", tmp_path_factory)


TORCH_OPTIONS = {
    "plain": {},
    "without biases": {"bias": False},
    "two layers in two directions": {"num_layers": 2, "bidirectional": True},
    "batch first": {"batch_first": True},
    "dropout": {"num_layers": 2, "dropout": 0.25},
    "projection": {"proj_size": 3, "num_layers": 2, "bidirectional": True, "bias": False},
}


def numpy_of(*tensors):
    return [tensor.detach().numpy() for tensor in tensors]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 4e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("option", TORCH_OPTIONS)
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_torch_there_and_back(torch, kind, option, dtype, tolerance):
    options, pytorch = TORCH_OPTIONS[option], torch["torch"]
    if kind != "LSTM":
        options = {name: value for name, value in options.items() if name != "proj_size"}
        options |= {"nonlinearity": "relu"} if kind == "RNN" else {}
    pytorch.manual_seed(0)
    theirs = getattr(pytorch.nn, kind)(I, H, dtype=getattr(pytorch, dtype), **options).eval()
    ours = fastlstm.torch.to_numpy(theirs)
    assert (ours.dtype, ours.dropout, ours.batch_first) == (dtype, theirs.dropout, theirs.batch_first)
    again = fastlstm.torch.restore(fastlstm.torch.from_numpy(ours)).eval()
    assert type(again) is type(theirs)
    x = random(T, B, I, dtype=dtype)
    y, state = ours(x)
    state = state if kind == "LSTM" else (state,)
    for module in (theirs, again):
        expected, their_state = module(pytorch.from_numpy(x))
        their_state = their_state if kind == "LSTM" else (their_state,)
        for found, tensor in zip((y, *state), numpy_of(expected, *their_state), strict=True):
            assert found.dtype == tensor.dtype
            np.testing.assert_allclose(found, tensor, atol=tolerance)


TORCH_LACKS = [{"peephole": True}, {"layer_norm": True}, {"peephole": True, "layer_norm": True}] + [
    {"variant": name, "peephole": True} for name in ("NIG", "NFG", "NOG", "NIAF", "NOAF", "CIFG")
]


@pytest.mark.parametrize("options", TORCH_LACKS, ids=str)
def test_torch_there_and_back_with_what_pytorch_lacks(torch, options):
    pytorch = torch["torch"]
    ours = fastlstm.LSTM(I, H, num_layers=2, bidirectional=True, dtype="float64", seed=0, **options)
    ours.flat[:] = random(ours.flat.size, dtype=np.float64)
    module, x = fastlstm.torch.from_numpy(ours), random(T, B, I, dtype=np.float64)
    np.testing.assert_allclose(module(pytorch.from_numpy(x))[0].detach(), ours(x)[0], atol=1e-12)
    again = fastlstm.torch.to_numpy(module)
    assert again.arguments() == ours.arguments()
    np.testing.assert_array_equal(again.flat, ours.flat)


def pruned(torch):
    module = torch.nn.LSTM(I, H)
    importlib.import_module("torch.nn.utils.prune").l1_unstructured(module, "weight_hh_l0", 0.5)
    return module


def normed_by_a_hook(torch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.nn.utils.weight_norm(torch.nn.LSTM(I, H), "weight_hh_l0")


def normed(torch):
    return importlib.import_module("torch.nn.utils.parametrizations").weight_norm(torch.nn.LSTM(I, H), "weight_hh_l0")


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("computed", [pruned, normed_by_a_hook, normed])
def test_torch_weights_that_are_computed(torch, computed, replaced):
    """They are those of now, not of the last call: an optimiser may have moved what they are computed from."""
    pytorch = torch["torch"]
    theirs = computed(pytorch)
    if replaced:
        fastlstm.torch.replace(theirs)
    with pytorch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.5)
    x = random(T, B, I)
    found, _ = fastlstm.torch.to_numpy(theirs)(x)
    (expected,) = numpy_of(theirs(pytorch.from_numpy(x))[0])
    np.testing.assert_allclose(found, expected, atol=4e-6)


def mixed(torch):
    module = torch.nn.LSTM(I, H)
    module.bias_hh_l0 = torch.nn.Parameter(module.bias_hh_l0.double())
    return module


def half_of(kind):
    return lambda torch: torch.nn.LSTM(I, H, dtype=getattr(torch, kind))


def derived(torch):
    return type("Own", (torch.nn.LSTM,), {})(I, H)


def derived_and_normed(torch):
    return importlib.import_module("torch.nn.utils.parametrizations").weight_norm(derived(torch), "weight_hh_l0")


TORCH_REFUSED = {
    "another layer": (lambda torch: torch.nn.Linear(I, H), TypeError, "module must itself be an LSTM, a GRU or an RNN"),
    "cell": (lambda torch: torch.nn.LSTMCell(I, H), TypeError, "not LSTMCell"),
    "subclass": (derived, TypeError, "not Own"),
    "subclass with weight_norm": (derived_and_normed, TypeError, "not ParametrizedOwn"),
    "device": (lambda torch: torch.nn.LSTM(I, H, device="meta"), NotImplementedError, "meta tensor"),
    "float16": (half_of("float16"), TypeError, "throughout, not torch.float16"),
    "bfloat16": (half_of("bfloat16"), TypeError, "throughout, not torch.bfloat16"),
    "two precisions": (mixed, TypeError, "throughout, not torch.float32, torch.float64"),
}


@pytest.mark.parametrize("name", TORCH_REFUSED)
def test_torch_refusals(torch, name):
    make, error, message = TORCH_REFUSED[name]
    with pytest.raises(error, match=re.escape(message)):
        fastlstm.torch.to_numpy(make(torch["torch"]))


FROM_NUMPY_REFUSED = [
    ("LSTM", {"activations": ("hard_logistic", "tanh", "tanh")}),
    ("LSTM", {"clip": 3.0}),
    ("LSTM", {"cell_clip": 3.0}),
    ("LSTM", {"zoneout": (0.1, 0.0)}),
    *(
        (kind, options)
        for kind in ("LSTM", "GRU", "RNN")
        for options in ({"recurrent_dropout": 0.1}, {"drop_connect": 0.1}, {"batch_invariant": True})
    ),
    ("GRU", {"zoneout": 0.1}),
    ("GRU", {"reset_after": False}),
    ("RNN", {"zoneout": 0.1}),
]


@pytest.mark.parametrize(("kind", "options"), FROM_NUMPY_REFUSED, ids=str)
def test_torch_refusals_on_the_way_back(torch, kind, options):
    ((name, value),) = options.items()
    with refused(f"layer must not have {name}={value!r}, which no module of PyTorch has"):
        fastlstm.torch.from_numpy(getattr(fastlstm, kind)(I, H, **options))


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [("LSTM", "variant", "FGR"), ("RNN", "nonlinearity", "logistic"), ("RNN", "nonlinearity", "identity")],
)
def test_torch_refuses_what_no_module_is(torch, kind, option, value):
    with pytest.raises(ValueError, match=rf"{option}.*{value}"):
        fastlstm.torch.from_numpy(getattr(fastlstm, kind)(I, H, **{option: value}))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torch_layer_norm(torch, dtype):
    cell = torch["Cell"](I, H).to(getattr(torch["torch"], dtype))
    rng = np.random.default_rng(0)
    with torch["torch"].no_grad():
        for parameter in cell.parameters():
            parameter.copy_(torch["torch"].from_numpy(rng.normal(size=parameter.shape)))
        x = random(T, B, I).astype(dtype)
        expected = cell(torch["torch"].from_numpy(x)).numpy()
    found, _ = torch["from_cell"](cell)(x)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, atol=1e-12 if dtype == "float64" else 2e-5)


def test_torch_takes_what_is_plain_by_another_name(torch):
    ours = fastlstm.LSTM(I, H, variant="NP", activations=("logistic", "tanh", "tanh"), seed=0)
    x = random(T, B, I)
    (found,) = numpy_of(fastlstm.torch.restore(fastlstm.torch.from_numpy(ours))(torch["torch"].from_numpy(x))[0])
    np.testing.assert_allclose(found, ours(x)[0], atol=4e-6)


# ---- Keras ----


@pytest.fixture(scope="module")
def keras(tmp_path_factory):
    return names_of("keras", tmp_path_factory)


POLICY = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}
# The result of get_config() of Keras 3.15, without the settings of initializers.
CONFIG = {
    "name": "lstm", "trainable": True, "dtype": POLICY, "return_sequences": True, "return_state": False,
    "go_backwards": False, "stateful": False, "unroll": False, "zero_output_for_mask": False, "units": H,
    "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True, "kernel_initializer": {"config": {}},
    "recurrent_initializer": {"config": {}}, "bias_initializer": {"config": {}}, "unit_forget_bias": True,
    "kernel_regularizer": None, "recurrent_regularizer": None, "bias_regularizer": None, "activity_regularizer": None,
    "kernel_constraint": None, "recurrent_constraint": None, "bias_constraint": None, "dropout": 0.0,
    "recurrent_dropout": 0.0, "seed": None,
}  # fmt: skip


def keras_weights(dtype=np.float32, seed=0, blocks=4):
    shapes = (I, blocks * H), (H, blocks * H), (blocks * H,)
    return [random(*shape, dtype=dtype, seed=seed + k) for k, shape in enumerate(shapes)]


def of_keras(config, weights):
    return fastlstm.keras.from_keras({"class_name": "LSTM", "config": config}, weights)


def of_both(weights, backward=(), **options):
    """A Bidirectional layer, whose backward layer may have other options."""
    layers = {"layer": CONFIG, "backward_layer": CONFIG | {"go_backwards": True} | dict(backward)}
    config = {"name": "b", "trainable": True, "dtype": POLICY, "merge_mode": "concat"} | options | {
        name: {"class_name": "LSTM", "config": config} for name, config in layers.items()
    }  # fmt: skip
    return fastlstm.keras.from_keras({"class_name": "Bidirectional", "config": config}, weights)


def batch_first(layer):
    return fastlstm.nn.Sequential(layer, batch_first=True)


EVERY_MASK = np.array(list(itertools.product([False, True], repeat=5)))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 4e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("use_bias", [True, False])
def test_keras_values_with_every_mask(keras, use_bias, dtype, tolerance):
    kernel, recurrent_kernel, bias = weights = keras_weights(dtype)
    bias *= use_bias
    ours = batch_first(of_keras(CONFIG | {"use_bias": use_bias, "dtype": dtype}, weights[: 2 + use_bias]))
    x = random(len(EVERY_MASK), EVERY_MASK.shape[1], I, dtype=dtype)
    y, (state,) = keras["masked"](ours, x, EVERY_MASK)
    expected, their_state = keras["keras_lstm"](x, kernel, recurrent_kernel, bias, EVERY_MASK)
    assert y.dtype == dtype
    for found, array in zip((y, *(part[0] for part in state)), (expected, *their_state), strict=True):
        np.testing.assert_allclose(found, array, atol=tolerance)


def test_keras_masks_at_the_end_are_lengths(keras):
    """But for the outputs past a row's end, which are zero here."""
    ours, x, lengths = batch_first(of_keras(CONFIG, keras_weights())), random(B, T, I), np.array([T, 0, 4])
    mask = np.arange(T) < lengths[:, np.newaxis]
    y, ((h, c),) = ours(x, lengths=lengths)
    expected, (their_h, their_c) = keras["keras_lstm"](x, *keras_weights(), mask)
    for found, array in ((y[mask], expected[mask]), (h[0], their_h), (c[0], their_c)):
        np.testing.assert_allclose(found, array, atol=4e-6)
    assert not y[~mask].any()
    assert expected[2, 4:].any()


def test_keras_bidirectional_with_every_mask(keras):
    forward, backward = keras_weights(), keras_weights(seed=7)
    ours = batch_first(of_both([*forward, *backward]))
    x = random(len(EVERY_MASK), EVERY_MASK.shape[1], I)
    y, ((h, _),) = keras["masked"](ours, x, EVERY_MASK, zeros=True)
    one, (h_one, _) = keras["keras_lstm"](x, *forward, EVERY_MASK)
    other, (h_other, _) = keras["keras_lstm"](x[:, ::-1], *backward, EVERY_MASK[:, ::-1])
    expected = np.concatenate([one, other[:, ::-1]], axis=-1) * EVERY_MASK[..., np.newaxis]
    np.testing.assert_allclose(y, expected, atol=4e-6)
    np.testing.assert_allclose(h, [h_one, h_other], atol=4e-6)
