"""Layers and PyTorch's names of parameters, both ways, without PyTorch: what arrays describe, and what is refused."""

import itertools
import re

import numpy as np
import pytest
from helpers import assert_same

import fastlstm
import fastlstm.torch as fl
from fastlstm import nn

I, H = 3, 5
KINDS = ("LSTM", "GRU", "RNN")
SHAPES = [
    {"num_layers": layers, "bidirectional": both, "dtype": dtype}
    for layers, both, dtype in itertools.product((1, 3), (False, True), ("float32", "float64"))
]
VARIANTS = ("vanilla", "NIG", "NFG", "NOG", "NIAF", "NOAF", "NP", "CIFG")


def layer_of(kind, **options):
    """Return a layer whose parameters are all different from each other and from 0."""
    layer = getattr(fastlstm, kind)(I, H, seed=0, **options)
    layer.flat[:] = np.random.default_rng(0).normal(size=layer.flat.size)
    return layer


def shapes_of(kind, layers=1, both=False, bias=True, projected=0, begin=""):
    """Return arrays as a module of PyTorch has them."""
    blocks, rng, P = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind], np.random.default_rng(1), projected or H
    found = {}
    for layer, end in itertools.product(range(layers), ("", "_reverse")[: 1 + both]):
        names = {"weight_ih": (blocks * H, (1 + both) * P if layer else I), "weight_hh": (blocks * H, P)}
        names |= {"bias_ih": (blocks * H,), "bias_hh": (blocks * H,)} if bias else {}
        names |= {"weight_hr": (P, H)} if projected else {}
        found |= {f"{begin}{name}_l{layer}{end}": rng.normal(size=shape) for name, shape in names.items()}
    return found


# ---- there and back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_layers_come_back(kind):
    for shape in SHAPES:
        layer = layer_of(kind, **shape, **({"peephole": False} if kind == "LSTM" else {}))
        again = fl.load(fl.state_dict(layer))
        assert type(again) is type(layer)
        assert again.arguments() == layer.arguments()
        assert_same(dict(again.params), dict(layer.params))


@pytest.mark.parametrize("variant", VARIANTS)
def test_lstms_with_options_of_ours_come_back(variant):
    for peephole, layer_norm, projected in itertools.product((False, True), (False, True), (0, 2)):
        options = {"peephole": peephole and variant != "NP", "layer_norm": layer_norm, "proj_size": projected}
        layer = layer_of("LSTM", variant=variant, bidirectional=True, num_layers=2, **options)
        again = fl.load(fl.state_dict(layer, "a.b"), "a.b", variant=variant)
        assert again.arguments() == layer.arguments()
        assert_same(dict(again.params), dict(layer.params))


def test_layers_without_a_state_come_back():
    for layer, kind, options in (
        (nn.Dense(3, 2, activation="tanh", seed=0), "Linear", {"activation": "tanh"}),
        (nn.Embedding(7, 3, dtype=np.float64, seed=0), "Embedding", {}),
        (nn.LayerNorm(4, 0.5), "LayerNorm", {"epsilon": 0.5}),
    ):
        layer.flat[:] = np.arange(layer.flat.size)
        again = fl.load(fl.state_dict(layer, "part"), "part", kind=kind, **options)
        assert type(again) is type(layer)
        assert again.arguments() == layer.arguments()
        assert_same(dict(again.params), dict(layer.params))
    plain = fl.load({"weight": np.ones((2, 3), np.float32)}, "", kind="Linear")
    assert plain.params["c"].tolist() == [0, 0]


def test_names_and_their_order():
    lstm = layer_of("LSTM", layer_norm=True, proj_size=2, bidirectional=True, num_layers=2)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "weight_ch", "weight_ln")
    ends = ("l0", "l0_reverse", "l1", "l1_reverse")
    for prefix in ("encoder.lstm", "encoder.lstm."):
        found = fl.state_dict(lstm, prefix)
        assert list(found) == [f"encoder.lstm.{name}_{end}" for end in ends for name in names]
    assert list(fl.state_dict(layer_of("GRU"))) == [f"{name}_l0" for name in names[:4]]


def test_biases():
    for kind in KINDS:
        layer = layer_of(kind)
        found = fl.state_dict(layer)
        np.testing.assert_array_equal(found["bias_ih_l0"], layer.params["b_l0"])
        expected = np.zeros_like(found["bias_hh_l0"])
        if kind == "GRU":
            expected[-H:] = layer.params["bn_l0"]
        np.testing.assert_array_equal(found["bias_hh_l0"], expected)
        arrays = shapes_of(kind)
        again, of_x, of_h = fl.load(arrays), arrays["bias_ih_l0"], arrays["bias_hh_l0"]
        both = of_x + of_h
        if kind == "GRU":
            both[-H:] = of_x[-H:]
            np.testing.assert_array_equal(again.params["bn_l0"], of_h[-H:])
        np.testing.assert_array_equal(again.params["b_l0"], both)
        without = fl.load(shapes_of(kind, bias=False))
        assert not any(without.params[name].any() for name in without.params if name.startswith("b"))


def test_copies_share_nothing():
    layer = layer_of("GRU")
    arrays, before = fl.state_dict(layer), layer.flat.copy()
    for array in arrays.values():
        array[:] = 7
    assert layer.flat.tobytes() == before.tobytes()
    again = fl.load(arrays)
    arrays["weight_ih_l0"][:] = 0
    assert (again.params["W_l0"] == 7).all()


@pytest.mark.parametrize("kind", KINDS)
def test_cells_are_layers(kind):
    arrays = {f"decoder.cell.{name.removesuffix('_l0')}": array for name, array in shapes_of(kind).items()}
    assert fl.modules(arrays) == {"decoder.cell": f"{kind}Cell({I}, {H})"}
    found, expected = fl.load(arrays, "decoder.cell"), fl.load(shapes_of(kind))
    assert found.arguments() == expected.arguments()
    assert_same(dict(found.params), dict(expected.params))


def test_hidden_sizes_of_one():
    for kind in KINDS:
        layer = getattr(fastlstm, kind)(2, 1, seed=0, **({"peephole": False} if kind == "LSTM" else {}))
        assert_same(dict(fl.load(fl.state_dict(layer)).params), dict(layer.params))


# ---- arguments -------------------------------------------------------------------------------------------------------


def test_arguments_that_no_array_tells():
    arrays = shapes_of("LSTM", 2)
    assert fl.load(arrays, batch_first=True, dropout=0.5).arguments() == (
        fastlstm.LSTM(I, H, 2, peephole=False, batch_first=True, dropout=0.5, dtype="float64").arguments()
    )
    assert fl.load(arrays, clip=3.0, activations=("hard_logistic", "tanh", "tanh"), zoneout=(0.1, 0)).clip == 3
    assert fl.load(shapes_of("RNN"), nonlinearity="relu").nonlinearity == "relu"
    with pytest.warns(UserWarning, match="drops nothing"):
        fl.load(shapes_of("LSTM"), dropout=0.5)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"nonlinearity": "relu"}, TypeError, "LSTM has no nonlinearity"),
        ({"batch_frist": True}, TypeError, "LSTM has no batch_frist"),
        ({"hidden_size": 5}, TypeError, "hidden_size cannot be given: the arrays say what it is"),
        ({"seed": 5}, TypeError, "seed cannot be given"),
        ({"peephole": True}, TypeError, "peephole cannot be given"),
        ({"dtype": "float32"}, TypeError, "dtype cannot be given"),
        ({"dropout": 2}, ValueError, "dropout must be"),
        ({"kind": "GRU"}, ValueError, "the dict, module '': it is an LSTM, not a GRU"),
        ({"kind": "Lstm"}, ValueError, "kind must be one of LSTM, GRU, RNN, Linear, Embedding, LayerNorm, not 'Lstm'"),
        ({"kind": fastlstm.LSTM}, ValueError, "kind must be one of"),
        ({"kind": ["LSTM"]}, ValueError, "kind must be one of"),
        ({"variant": "CIFG"}, ValueError, "variant CIFG has 3 gates, but the arrays are of 4"),
        ({"variant": "FGR"}, ValueError, "variant must not be FGR, which no module of PyTorch is"),
        ({"variant": "other"}, ValueError, "variant must be"),
        ({"prefix": 3}, TypeError, "prefix must be the name of a module, as in the model's state_dict, not int"),
        ({"key": 3}, TypeError, "key must be a key of the dict, not int"),
        ({"key": "model"}, ValueError, "the dict: key 'model' is not there; the keys are 'weight_ih_l0'"),
        ({"kind": "Linear"}, ValueError, "prefix must be given with kind='Linear'"),
        ({"kind": "Linear", "prefix": ""}, ValueError, r"a Linear has not the parameters weight_ih_l0 \(20, 3\)"),
        ({"kind": "Linear", "prefix": "fc"}, ValueError, "the dict has no module 'fc'"),
    ],
)
def test_arguments_that_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        fl.load(shapes_of("LSTM"), **options)


def test_three_gates():
    arrays = shapes_of("GRU")
    assert isinstance(fl.load(arrays), fastlstm.GRU)
    with pytest.raises(
        ValueError, match="3 blocks of weights, not 4: for an LSTM, variant must say which, one of NIG, NFG, NOG, CIFG"
    ):
        fl.load(arrays, kind="LSTM")
    assert fl.load(arrays, variant="nfg").variant == "NFG"
    with pytest.raises(TypeError, match="GRU has no variant"):
        fl.load(arrays, kind="GRU", variant="NFG")
    with pytest.raises(ValueError, match="it is a GRU, not an RNN"):
        fl.load(arrays, kind="RNN")
    with pytest.raises(TypeError, match="reset_after cannot be given"):
        fl.load(arrays, reset_after=False)
    peepholes = fl.state_dict(layer_of("LSTM", variant="CIFG"))
    assert fl.modules(peepholes) == {"": "LSTM(3, 5, peephole=True) of 3 gates"}
    with pytest.raises(ValueError, match="variant must say which"):
        fl.load(peepholes)
    with pytest.raises(ValueError, match="variant NP has no peepholes, but there is weight_ch"):
        fl.load(fl.state_dict(layer_of("LSTM")), variant="NP")


@pytest.mark.parametrize(
    ("shapes", "match"),
    [
        ({}, "has no module 'part'"),
        ({"weight": (3,)}, r"a Linear has not the parameters weight \(3,\)"),
        ({"weight": (2, 3), "bias": (3,)}, r"has not the parameters weight \(2, 3\), bias \(3,\)"),
        ({"weight": (2, 3), "bias": (2,), "scale": (2,)}, "has not the parameters"),
        ({"bias": (2,)}, "has not the parameters"),
        ({"weight": (2, 0)}, "input_size must be at least 1"),
        ({"weight": ()}, "has not the parameters"),
    ],
)
def test_linear_layers_that_are_none(shapes, match):
    arrays = {f"part.{name}": np.zeros(shape, np.float32) for name, shape in shapes.items()}
    with pytest.raises(ValueError, match=match):
        fl.load(arrays, "part", kind="Linear")


def test_embeddings_have_no_bias():
    arrays = {"e.weight": np.zeros((2, 3)), "e.bias": np.zeros(2)}
    with pytest.raises(ValueError, match="module 'e': an Embedding has not the parameters"):
        fl.load(arrays, "e", kind="Embedding")
    with pytest.raises(TypeError, match="Embedding has no padding_idx"):
        fl.load({"e.weight": np.zeros((2, 3))}, "e", kind="Embedding", padding_idx=0)


# ---- names of modules ------------------------------------------------------------------------------------------------


@pytest.fixture
def model():
    """A state dict of a model with several modules."""
    arrays = shapes_of("LSTM", 2, both=True, projected=2, begin="module.encoder.lstm.")
    arrays |= shapes_of("GRU", bias=False, begin="module._orig_mod.gru.")
    arrays |= shapes_of("RNN", begin="rnn.")
    return arrays | {"module.fc.weight": np.zeros((2, 5)), "module.fc.bias": np.zeros(2), "steps": np.array(3)}


def test_modules_of_a_model(model):
    assert fl.modules(model) == {
        "module.encoder.lstm": "LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2)",
        "module._orig_mod.gru": "GRU(3, 5, bias=False)",
        "rnn": "RNN(3, 5)",
    }
    for prefix, text in fl.modules(model).items():
        assert type(fl.load(model, prefix)) is type(fl.load(model, f"{prefix}."))
        assert type(fl.load(model, prefix)).__name__ == text.partition("(")[0]
    assert isinstance(fl.load(model, "module.fc", kind="Linear"), nn.Dense)


def test_the_error_lists_what_is_there(model):
    listed = re.escape(
        "'module.encoder.lstm', LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2); "
        "'module._orig_mod.gru', GRU(3, 5, bias=False); 'rnn', RNN(3, 5)"
    )
    with pytest.raises(ValueError, match=f"^the dict has {listed}: prefix must name one$"):
        fl.load(model)
    for prefix in ("", "lstm", "encoder.lstm", "module.encoder", "module.encoder.lstm.weight_ih_l0", "RNN"):
        with pytest.raises(ValueError, match=f"^the dict has no LSTM, GRU or RNN '{prefix}'; there is {listed}$"):
            fl.load(model, prefix)
    with pytest.raises(
        ValueError, match=r"'module\.fc': kind must say what it is, one of Linear, Embedding, LayerNorm; there"
    ):
        fl.load(model, "module.fc")


def test_the_only_one_needs_no_name(model):
    only = {name: array for name, array in model.items() if not name.startswith(("module.enc", "rnn"))}
    assert isinstance(fl.load(only), fastlstm.GRU)
    with pytest.raises(ValueError, match="it is a GRU, not an RNN"):
        fl.load(only, kind="RNN")
    for other in ({}, {"module.fc.weight": np.zeros((2, 5))}):
        with pytest.raises(ValueError, match=r"^the dict has no LSTM, GRU or RNN$"):
            fl.load(other)
        assert fl.modules(other) == {}


def test_a_name_at_the_top_beside_others():
    arrays = shapes_of("LSTM") | shapes_of("GRU", begin="child.")
    assert isinstance(fl.load(arrays, ""), fastlstm.LSTM)
    assert fl.modules(arrays) == {"": "LSTM(3, 5)", "child": "GRU(3, 5)"}


def test_messages_stay_short():
    arrays = {}
    for k in range(1000):
        arrays |= shapes_of("RNN", begin=f"{'a' * 500}{k}.")
    with pytest.raises(ValueError, match="and 980 more") as caught:
        fl.load(arrays)
    assert len(str(caught.value)) < 4000
    assert len(fl.modules(arrays)) == 1000


@pytest.mark.parametrize("prefix", ["", "a.b"])
def test_checkpoints_with_more_than_weights(prefix):
    inner = fl.state_dict(layer_of("GRU"), prefix)
    checkpoint = {"epoch": 3, "model": inner, "ema": dict(inner), "optimiser": {"state": {}, "param_groups": []}}
    for given in (None, prefix, "other"):
        with pytest.raises(
            ValueError, match="it has dicts within it, of which key='model', key='ema' takes one"
        ) as caught:
            fl.load(checkpoint, given)
        assert "optimiser" not in str(caught.value)
    assert isinstance(fl.load(checkpoint, prefix, key="ema"), fastlstm.GRU)
    assert fl.modules(checkpoint, key="model") == {prefix: "GRU(3, 5)"}
    with pytest.raises(ValueError, match="key 'epoch' is no dict; the keys are 'epoch', 'model', 'ema', 'optimiser'"):
        fl.load(checkpoint, key="epoch")
    with pytest.raises(ValueError, match=r"^the dict\['optimiser'\] has no LSTM, GRU or RNN$"):
        fl.load(checkpoint, key="optimiser")


# ---- arrays that are no module's -------------------------------------------------------------------------------------


def without(*names):
    return lambda arrays: {name: array for name, array in arrays.items() if name not in names}


def renamed(old, new):
    return lambda arrays: {new if name == old else name: array for name, array in arrays.items()}


def shaped(name, *shape):
    return lambda arrays: arrays | {name: np.zeros(shape)}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (without("weight_hh_l1"), "weight_hh_l1 is missing"),
        (without("weight_ih_l0_reverse"), "weight_ih_l0_reverse is missing"),
        (without("bias_hh_l0"), "bias_hh_l0 is missing"),
        (without("bias_hh_l1_reverse"), "bias_hh_l1_reverse is missing"),
        (without("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), "weight_ih_l0 is missing"),
        (renamed("weight_ih_l1", "weight_ih_l99999"), "weight_ih_l1 is missing"),
        (renamed("weight_ih_l1", f"weight_ih_l{'9' * 5000}"), r"l9{89}' is no parameter of an LSTM, a GRU or an RNN$"),
        (renamed("weight_ih_l1", "weight_ih_l01"), "weight_ih_l01 is no parameter"),
        (renamed("weight_ih_l1", "weight_ih_l\u0661"), "is no parameter"),
        (renamed("weight_ih_l1", "weight_ih_l1\n"), "is no parameter"),
        (shaped("weight_ih", 20, 3), "weight_ih is no parameter"),
        (shaped("weight_ci", 5), "weight_ci is no parameter of an LSTM, a GRU or an RNN$"),
        (shaped("temperature"), "temperature is no parameter"),
        (renamed("weight_hh_l0", "weight_hh_l0_raw"), "weight_hh_l0_raw is no .*what computes the weights has to be"),
        (renamed("weight_hh_l0", "weight_hh_l0_orig"), "what computes the weights has to be applied first"),
        (renamed("weight_hh_l0", "weight_hh_l0_g"), "what computes the weights has to be applied first"),
        (shaped("weight_hh_l0_mask", 20, 5), "what computes the weights has to be applied first"),
        (renamed("weight_hh_l0", "parametrizations.weight_hh_l0.original"), "parametrizations compute weight_hh_l0: "),
        (shaped("weight_hh_l0", 20), r"weight_hh_l0 must be a matrix, not of shape \(20,\)"),
        (shaped("weight_hh_l0", 0, 5), "weight_hh_l0 must be a matrix, not of shape"),
        (shaped("weight_hh_l0", 20, 0), "weight_hh_l0 must be a matrix, not of shape"),
        (shaped("weight_ih_l0", 20, 0), "weight_ih_l0 must be a matrix, not of shape"),
        (shaped("weight_hh_l0", 10, 5), r"weight_hh_l0 of shape \(10, 5\) is of no LSTM, GRU or RNN"),
        (shaped("weight_hh_l0", 21, 5), r"weight_hh_l0 of shape \(21, 5\) is of no LSTM, GRU or RNN"),
        (shaped("weight_hh_l0", 100, 5), "is of no LSTM, GRU or RNN"),
        (shaped("weight_hh_l0", 4, 5), "is of no LSTM, GRU or RNN"),
        (shaped("weight_hh_l0", 15, 5), r"weight_ih_l0 must have shape \(15, 3\), not \(20, 3\)"),
        (shaped("weight_hh_l1", 15, 5), r"weight_hh_l1 must have shape \(20, 5\), not \(15, 5\)"),
        (shaped("weight_ih_l1", 20, 5), r"weight_ih_l1 must have shape \(20, 10\), not \(20, 5\)"),
        (shaped("bias_ih_l0", 20, 1), r"bias_ih_l0 must have shape \(20,\), not \(20, 1\)"),
        (shaped("weight_ch_l0", 3, 5), "weight_ch_l0_reverse is missing"),
    ],
)
def test_arrays_of_no_module(change, match):
    arrays = change(shapes_of("LSTM", 2, both=True))
    with pytest.raises(ValueError, match=f"^the dict, module '': .*{match}"):
        fl.load(arrays)
    found = fl.modules(arrays)
    assert found.keys() == {""}
    assert re.search(f"^cannot be loaded: .*{match}", found[""])


def test_an_rnn_has_no_peepholes():
    for name, shape in (("weight_ch_l0", (0, 5)), ("weight_ln_l0", (4, 5))):
        with pytest.raises(ValueError, match=f"an RNN, which weight_hh_l0 is of, has no {name[:-3]}"):
            fl.load(shapes_of("RNN") | {name: np.zeros(shape)})


def test_dtypes():
    arrays = shapes_of("GRU")
    for dtype, expected in (("f2", "f4"), ("f4", "f4"), (">f4", "f4"), ("f8", "f8"), (">f8", "f8")):
        given = {name: array.astype(dtype) for name, array in arrays.items()}
        found = fl.load(given)
        assert found.dtype == expected
        np.testing.assert_array_equal(found.params["W_l0"], given["weight_ih_l0"].astype(expected), strict=True)
    mixed = arrays | {"bias_ih_l0": arrays["bias_ih_l0"].astype("f4")}
    with pytest.raises(ValueError, match="module '': its arrays must have one dtype, not float32 and float64"):
        fl.load(mixed)
    halves = {name: array.astype("f2" if "bias" in name else "f4") for name, array in arrays.items()}
    assert fl.load(halves).dtype == "f4"
    for dtype in ("i4", "c16", "?", "U1"):
        given = arrays | {"weight_hh_l0": arrays["weight_hh_l0"].astype(dtype)}
        with pytest.raises(TypeError, match=r"the dict: weight_hh_l0 has dtype .*, but only float32, float64, f"):
            fl.load(given)
    with pytest.raises(TypeError, match="weight_hh_l0 is a masked array"):
        fl.load(arrays | {"weight_hh_l0": np.ma.masked_array(arrays["weight_hh_l0"])})


def test_bfloat16_arrays():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    arrays = {name: array.astype(bfloat16) for name, array in shapes_of("GRU").items()}
    found = fl.load(arrays)
    np.testing.assert_array_equal(found.params["R_l0"], arrays["weight_hh_l0"].astype("f4"), strict=True)


@pytest.mark.parametrize(
    "source", [None, 3, [], np.zeros(3), fastlstm.LSTM(1, 1)], ids=lambda value: type(value).__name__
)
def test_sources_that_are_none(source):
    for call in (fl.load, fl.modules):
        with pytest.raises(TypeError, match="source must be the path of a file, or a dict of tensors, not"):
            call(source)


def test_keys_and_values_of_other_kinds():
    arrays = {3: np.zeros(2), None: 1, "weight_hh_l0": [[1.0]], "x.weight_ih_l0": None}
    with pytest.raises(ValueError, match="no LSTM, GRU or RNN"):
        fl.load(arrays)


# ---- the way back ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "match"),
    [
        ("LSTM", {"variant": "FGR"}, "variant='FGR'"),
        ("LSTM", {"clip": 3.0}, "clip=3.0"),
        ("LSTM", {"cell_clip": 3.0}, "cell_clip=3.0"),
        ("LSTM", {"zoneout": (0.1, 0)}, "zoneout="),
        ("LSTM", {"activations": ("hard_logistic", "tanh", "tanh")}, "activations="),
        ("GRU", {"zoneout": 0.1}, "zoneout=0.1"),
        ("GRU", {"reset_after": False}, "reset_after=False"),
        ("GRU", {"activations": ("hard_logistic", "tanh")}, "activations="),
        ("GRU", {"activations": ("logistic", "relu")}, "activations="),
        ("RNN", {"zoneout": 0.1}, "zoneout=0.1"),
        ("RNN", {"nonlinearity": "logistic"}, "nonlinearity='logistic'"),
        ("RNN", {"nonlinearity": ("hard_logistic", 0.2, 0.5)}, "nonlinearity="),
    ],
)
def test_what_no_module_computes_is_refused(kind, options, match, tmp_path):
    layer = layer_of(kind, **options)
    for call in (fl.state_dict, lambda layer: fl.save({"a": layer}, tmp_path / "file")):
        with pytest.raises(ValueError, match=f"layer must not have {match}.*, which no module of PyTorch has"):
            call(layer)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"recurrent_dropout": 0.5}, {"drop_connect": 0.5}, {"batch_invariant": True}])
def test_what_is_of_training_does_not_matter(options):
    for kind in KINDS:
        assert fl.state_dict(layer_of(kind, **options)).keys() == fl.state_dict(layer_of(kind)).keys()


def test_other_layers_are_refused(tmp_path):
    class Mine(fastlstm.LSTM):
        pass

    for layer in (Mine(I, H), nn.Sequential(nn.Dense(3, 2)), nn.Last(), None, 3, fastlstm.Frozen(fastlstm.GRU(I, H))):
        for call in (fl.state_dict, lambda layer: fl.save(layer, tmp_path / "file")):
            with pytest.raises(TypeError, match=r"layer must be a fastlstm.LSTM, .* or nn.LayerNorm, not "):
                call(layer)
    with pytest.raises(TypeError, match="prefix must be the name of a module"):
        fl.state_dict(layer_of("GRU"), None)
    with pytest.raises(TypeError, match="prefix must be the name of a module"):
        fl.save({3: layer_of("GRU")}, tmp_path / "file")
    with pytest.raises(ValueError, match="layers must have at least one layer"):
        fl.save({}, tmp_path / "file")
    with pytest.raises(ValueError, match=r"two layers have the parameter a\.bias_hh_l0: give them other names"):
        fl.save({"a": layer_of("GRU"), "a.": layer_of("GRU")}, tmp_path / "file")
    assert not list(tmp_path.iterdir())
