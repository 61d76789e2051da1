"""What the attributes of a node say, and its arrays as ours and back."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx.helper import make_node  # noqa: E402

import fastlstm  # noqa: E402
from fastlstm.onnx._attributes import Activation, Attributes, attributes_from, attributes_of  # noqa: E402
from fastlstm.onnx._blocks import blocks, from_onnx, to_onnx  # noqa: E402


def make(kind, **attributes):
    return attributes_of(make_node(kind, ["X", "W", "R"], ["Y"], name="cell", **attributes))


def test_a_node_that_says_nothing_has_the_standards_defaults():
    usual = Activation("Sigmoid"), Activation("Tanh"), Activation("Tanh")
    assert make("LSTM") == Attributes("LSTM", None, "forward", (usual,))
    assert make("GRU") == Attributes("GRU", None, "forward", (usual[:2],))
    assert make("RNN") == Attributes("RNN", None, "forward", (usual[1:2],))
    assert make("LSTM", direction="bidirectional").activations == (usual, usual)


def test_every_attribute():
    found = make("LSTM", hidden_size=7, direction="reverse", clip=2.5, input_forget=1, layout=1)
    assert (found.hidden_size, found.direction, found.clip, found.layout) == (7, "reverse", 2.5, 1)
    assert found.input_forget is True
    assert make("GRU", linear_before_reset=1).linear_before_reset is True
    assert (make("GRU").gates, make("GRU", direction="bidirectional").directions) == (3, 2)


def test_activations_consume_alpha_and_beta_in_order():
    names = ["HardSigmoid", "ScaledTanh", "tanh", "sigmoid", "leakyRELU", "Affine"]
    found = make(
        "LSTM", direction="bidirectional", activations=names, activation_alpha=[0.1, 2.0, 0.3, 4.0],
        activation_beta=[0.4, 0.5, 6.0],
    )  # fmt: skip
    assert found.activations == (
        (Activation("HardSigmoid", 0.1, 0.4), Activation("ScaledTanh", 2.0, 0.5), Activation("Tanh")),
        (Activation("Sigmoid"), Activation("LeakyRelu", 0.3), Activation("Affine", 4.0, 6.0)),
    )
    assert [a.ours for a in found.activations[0]] == [("hard_logistic", 0.1, 0.4), None, "tanh"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("HardSigmoid", Activation("HardSigmoid", 0.2, 0.5)), ("LeakyRelu", Activation("LeakyRelu", 0.01)),
     ("Elu", Activation("Elu", 1.0)), ("Softsign", Activation("Softsign")), ("Softplus", Activation("Softplus"))],
)  # fmt: skip
def test_defaults_of_alpha_and_beta(name, expected):
    assert make("RNN", activations=[name]).activations == ((expected,),)


def test_activations_under_our_names():
    assert make("RNN", activations=["HardSigmoid"]).activations[0][0].ours == "hard_logistic"
    identity = make("RNN", activations=["Affine"], activation_alpha=[1.0], activation_beta=[0.0])
    assert identity.activations[0][0].ours == "identity"
    assert [Activation(name).ours for name in ("Sigmoid", "Tanh", "Relu")] == ["logistic", "tanh", "relu"]
    assert str(Activation("HardSigmoid", 0.25, 0.5)) == "HardSigmoid(alpha=0.25, beta=0.5)"


def test_an_rnn_in_one_direction_may_have_the_two_activations_of_the_schema():
    assert make("RNN", activations=["Relu", "Tanh"]).activations == ((Activation("Relu"),),)


def test_a_bound_that_no_number_passes_is_none():
    assert make("LSTM", clip=float(np.finfo(np.float32).max)).clip is None


@pytest.mark.parametrize(
    ("kind", "attributes", "message"),
    [
        ("LSTM", {"direction": "sideways"}, "direction must be one of forward, reverse, bidirectional, not 'sideways'"),
        ("LSTM", {"hidden_size": 0}, "hidden_size must be at least 1, not 0"),
        ("LSTM", {"hidden_size": 1.5}, "hidden_size must be an int, not 1.5"),
        ("LSTM", {"clip": 0.0}, "clip must be above 0, not 0.0"),
        ("LSTM", {"clip": float("nan")}, "clip must be a number, not nan"),
        ("LSTM", {"clip": "a"}, "clip must be a number, not b'a'"),
        ("LSTM", {"input_forget": 2}, "input_forget must be 0 or 1, not 2"),
        ("GRU", {"linear_before_reset": -1}, "linear_before_reset must be 0 or 1, not -1"),
        ("RNN", {"layout": 3}, "layout must be 0 or 1, not 3"),
        ("RNN", {"input_forget": 1}, "input_forget is not one of an RNN's"),
        ("LSTM", {"linear_before_reset": 1}, "linear_before_reset is not one of an LSTM's"),
        ("LSTM", {"activations": ["Tanh"]}, r"activations must be 3 names for each direction, not \['Tanh'\]"),
        ("RNN", {"activations": ["Tanh"], "direction": "bidirectional"}, "activations must be 1 names for each"),
        ("RNN", {"activations": ["Gelu"]}, "activations must be of Relu, Tanh, .*, not 'Gelu'"),
        ("RNN", {"activations": 3}, "activations must be a list, not 3"),
        ("RNN", {"activations": ["Affine"]}, "activation_alpha must have a value for Affine, which has no default"),
        ("RNN", {"activations": ["ScaledTanh"], "activation_alpha": [1.0]}, "activation_beta must have a value"),
        ("RNN", {"activations": ["Elu"], "activation_alpha": ["a"]}, "activation_alpha must be a number, not b'a'"),
    ],
)
def test_wrong_attributes_are_named(kind, attributes, message):
    with pytest.raises(ValueError, match=rf"^node 'cell' \({kind}\): attribute {message}"):
        make(kind, **attributes)


def test_a_node_without_a_name_is_called_by_what_it_gives():
    node = make_node("LSTM", ["X", "W", "R"], ["", "Y_h"], clip=-1.0)
    with pytest.raises(ValueError, match=r"^the node that gives 'Y_h' \(LSTM\): attribute clip"):
        attributes_of(node)


def test_other_operators_are_refused():
    with pytest.raises(ValueError, match=r"node 'a' \(Relu\): must be an LSTM, a GRU or an RNN of ONNX"):
        attributes_of(make_node("Relu", ["X"], ["Y"], name="a"))


def test_an_attribute_given_twice():
    node = make_node("LSTM", ["X", "W", "R"], ["Y"], name="a", clip=1.0)
    node.attribute.append(node.attribute[0])
    with pytest.raises(ValueError, match="attribute clip is given twice"):
        attributes_of(node)


def test_values_of_attributes_as_a_runtime_has_them():
    found = attributes_from("GRU", {"activations": ["HardSigmoid", "Tanh"], "activation_alpha": (1 / 6,)}, "GRU")
    assert found.activations[0][0].ours == ("hard_logistic", 0.16666667, 0.5)
    assert np.float32(0.16666667) == np.float32(1 / 6)
    with pytest.raises(ValueError, match="attribute activations must be a list, not 'Tanh'"):
        attributes_from("RNN", {"activations": "Tanh"}, "RNN")


CASES = [("LSTM", {}), ("LSTM", {"input_forget": 1}), ("GRU", {}), ("GRU", {"linear_before_reset": 1}), ("RNN", {})]


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_arrays_go_to_our_order_and_back(kind, options):
    attributes, rng, H, I = make(kind, **options), np.random.default_rng(0), 5, 3
    n = attributes.gates
    W, R, B, P = (
        rng.normal(size=shape).astype(np.float32) for shape in ((n * H, I), (n * H, H), (2 * n * H,), (3 * H,))
    )
    if kind != "LSTM":
        P = None
    ours = from_onnx(attributes, W, R, B, P)
    again = to_onnx(attributes, **ours)
    third = from_onnx(attributes, **again)
    assert ours.keys() == third.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, third[name])
    lacking = set(range(n)) - ({0, 1, 3} if options.get("input_forget") else set(range(n)))
    for k in range(n):
        rows = slice(k * H, (k + 1) * H)
        np.testing.assert_array_equal(again["W"][rows], 0 * W[rows] if k in lacking else W[rows])
    if P is not None:
        np.testing.assert_array_equal(again["P"][: 2 * H], P[: 2 * H])
        np.testing.assert_array_equal(again["P"][2 * H :], 0 * P[2 * H :] if lacking else P[2 * H :])
    total = again["B"].reshape(2, n, H).sum(0), B.reshape(2, n, H).sum(0)
    for k in set(range(n)) - lacking:
        np.testing.assert_allclose(total[0][k], total[1][k], rtol=1e-6)


def test_blocks_by_hand():
    W = np.arange(4.0).reshape(4, 1)
    found = from_onnx(make("LSTM"), W, W, np.arange(8.0), np.arange(3.0))
    assert found["W"].ravel().tolist() == [0, 2, 3, 1]
    assert found["b"].tolist() == [4, 8, 10, 6]
    assert found["p"].tolist() == [[0], [2], [1]]
    coupled = from_onnx(make("LSTM", input_forget=1), W, W, np.arange(8.0), np.arange(3.0))
    assert coupled["W"].ravel().tolist() == [0, 3, 1]
    assert coupled["p"].tolist() == [[0], [1]]
    assert blocks(make("LSTM", input_forget=1)) == "izo"
    after = from_onnx(make("GRU", linear_before_reset=1), W[:3], W[:3], np.arange(6.0))
    assert (after["b"].tolist(), after["bn"].tolist()) == ([5, 3, 2], [5])
    before = from_onnx(make("GRU"), W[:3], W[:3], np.arange(6.0))
    assert before["b"].tolist() == [5, 3, 7]
    assert "bn" not in before


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_a_layer_has_these_arrays(kind, options):
    """The names and shapes are those of a layer's parameters."""
    attributes = make(kind, **options)
    layer = {
        "LSTM": lambda: fastlstm.LSTM(3, 5, variant="CIFG" if options else "vanilla"),
        "GRU": lambda: fastlstm.GRU(3, 5, reset_after=bool(options)),
        "RNN": lambda: fastlstm.RNN(3, 5),
    }[kind]()
    ours = {name.removesuffix("_l0"): array for name, array in layer.params.items()}
    again = from_onnx(attributes, **to_onnx(attributes, **ours))
    assert again.keys() == ours.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(again[name], array)
