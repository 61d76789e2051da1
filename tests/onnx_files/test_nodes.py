"""Every LSTM, GRU and RNN node of a model, where it stands and whatever lies between it and its weights."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import fastlstm  # noqa: E402
import fastlstm.onnx  # noqa: E402
from fastlstm.onnx import nodes  # noqa: E402

HARD = {"activations": ["HardSigmoid", "Tanh", "Tanh"]}


def outputs(layer, y, state):
    """Y, Y_h and Y_c, with time before batch, of what a layer gives."""
    if layer.batch_first:
        y = y.swapaxes(0, 1)
    Y = y.reshape(*y.shape[:2], layer.directions, -1).swapaxes(1, 2)
    return {"Y": Y, "Y_h": state[0], "Y_c": state[1]} if isinstance(state, tuple) else {"Y": Y, "Y_h": state}


def run(layer, feeds):
    """What a layer gives for the inputs of a node."""
    state = feeds.get("initial_h")
    if isinstance(layer, fastlstm.LSTM):
        state = feeds.get("initial_h"), feeds.get("initial_c")
    return outputs(layer, *layer(feeds["X"], state, feeds.get("sequence_lens")))


CASES = [
    ("LSTM", {}),
    ("LSTM", {"bias": False}),
    ("LSTM", {"peepholes": True, "given": ("sequence_lens", "initial_h", "initial_c")}),
    ("LSTM", {"peepholes": True, "direction": "bidirectional", "given": ("sequence_lens", "initial_h", "initial_c")}),
    ("LSTM", {"input_forget": 1, "peepholes": True, "given": ("initial_c",)}),
    ("LSTM", {"clip": 0.5, "peepholes": True, "direction": "bidirectional"}),
    ("LSTM", {"activations": ["Sigmoid", "Relu", "Sigmoid"]}),
    ("LSTM", HARD),
    ("LSTM", {"activations": ["Sigmoid", "Tanh", "Tanh"] * 2, "direction": "bidirectional", "opset": 7}),
    ("GRU", {"given": ("sequence_lens", "initial_h")}),
    ("GRU", {"linear_before_reset": 1, "direction": "bidirectional", "given": ("sequence_lens", "initial_h")}),
    ("GRU", {"linear_before_reset": 1, "bias": False, "opset": 22}),
    ("RNN", {"given": ("sequence_lens", "initial_h")}),
    ("RNN", {"activations": ["Relu", "Relu"], "direction": "bidirectional"}),
    ("RNN", {"activations": ["Sigmoid"]}),
    ("RNN", {"activations": ["Affine"], "activation_alpha": [1.0], "activation_beta": [0.0]}),
]


@pytest.mark.parametrize(("kind", "options"), CASES, ids=lambda value: str(value))
def test_layers_of_nodes_are_equal_to_onnx_runtime(made, runtime, kind, options):
    model, _, feeds = made(kind, **options)
    [node] = nodes(model)
    found, expected = run(node.layer(), feeds), runtime(model, feeds)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_batch_first(made, runtime, kind):
    """ONNX Runtime has no layout=1: the same node with layout=0 stands for it."""
    options = {"direction": "bidirectional", "given": ("initial_h", "initial_c")[: 1 + (kind == "LSTM")]}
    model, _, feeds = made(kind, layout=1, **options)
    [node] = nodes(model)
    layer = node.layer()
    assert layer.batch_first
    swapped = {name: array.swapaxes(0, 1) for name, array in feeds.items()}
    found = run(layer, swapped | {"X": feeds["X"]})
    for name, array in runtime(made(kind, **options)[0], swapped).items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-6, err_msg=name)


def test_what_a_node_says(made):
    model, arrays, _ = made(
        "LSTM", peepholes=True, direction="bidirectional", clip=2.0, given=("sequence_lens", "initial_h")
    )
    [node] = nodes(model)
    assert (node.kind, node.name, node.path, node.input_size, node.hidden_size) == ("LSTM", "cell", (), 4, 5)
    assert node.weights.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(node.weights[name], array)
        assert not node.weights[name].flags.writeable
    assert node.inputs["sequence_lens"] == "sequence_lens"
    assert node.outputs == {"Y": "Y", "Y_h": "Y_h", "Y_c": "Y_c"}
    assert node.states == {"initial_h": None}
    assert (node.computed, node.lengths) == ((), None)
    assert repr(node) == "<LSTM 'cell'; 4 -> 5, bidirectional, peepholes, clip=2>"


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("LSTM", {"input_forget": 1, "layout": 1}, "<LSTM 'cell'; 4 -> 5, input_forget, layout=1>"),
        ("GRU", {"linear_before_reset": 1, "direction": "reverse"},
         "<GRU 'cell'; 4 -> 5, reverse, linear_before_reset>"),
        ("RNN", {"activations": ["Relu"]}, "<RNN 'cell'; 4 -> 5, Relu>"),
        ("LSTM", {"activations": ["Sigmoid", "Tanh", "Tanh"]}, "<LSTM 'cell'; 4 -> 5>"),
        ("LSTM", HARD, "<LSTM 'cell'; 4 -> 5, HardSigmoid(alpha=0.2, beta=0.5), Tanh, Tanh>"),
        ("RNN", {"activations": ["Relu", "Elu"], "direction": "bidirectional"},
         "<RNN 'cell'; 4 -> 5, bidirectional, Relu and Elu(alpha=1)>"),
    ],
)  # fmt: skip
def test_representations(made, kind, options, expected):
    assert repr(nodes(made(kind, **options)[0])[0]) == expected


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("LSTM", {"direction": "reverse"}, "no layer runs in reverse alone; fastlstm.lstm_forward has reverse=True"),
        ("GRU", {"direction": "reverse"}, "no layer runs in reverse alone; fastlstm.gru_forward has reverse=True"),
        ("RNN", {"activations": ["Relu", "Tanh"], "direction": "bidirectional"},
         "no layer has other activations in one direction than in the other: Relu and Tanh"),
        ("LSTM", {"activations": ["Tanh", "Tanh", "Tanh"]}, "no layer has Tanh as the activation f of an LSTM"),
        ("LSTM", {"activations": ["Sigmoid", "Softsign", "Tanh"]}, "no layer has Softsign as the activation g"),
        ("LSTM", {"activations": ["Sigmoid", "Tanh", "Elu"]}, r"no layer has Elu\(alpha=1\) as the activation h"),
        ("GRU", {"activations": ["Relu", "Tanh"]}, "no layer has Relu as f of a GRU"),
        ("RNN", {"activations": ["LeakyRelu"]}, r"no layer has LeakyRelu\(alpha=0.01\) as the activation f of an RNN"),
        ("GRU", {"clip": 2.0}, "no GRU layer has a clip, here 2"),
        ("RNN", {"clip": 2.0}, "no RNN layer has a clip, here 2"),
    ],
)  # fmt: skip
def test_what_no_layer_has_is_named(made, kind, options, message):
    [node] = nodes(made(kind, **options)[0])
    with pytest.raises(ValueError, match=rf"^node 'cell' \({kind}\): {message}"):
        node.layer()


def replaced(model, role, tensors, steps):
    """The model, whose weight of this role comes from other tensors by these nodes."""
    kept = [one for one in model.graph.initializer if one.name != role]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, *tensors])
    before = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*steps, *before])
    return model


def tensor(array, name):
    return numpy_helper.from_array(np.ascontiguousarray(array), name)


def ints(*values, name):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def ways(W):
    """Ways in which exporters write a weight: tensors and nodes, and the version of the operators."""
    node, half = helper.make_node, W.shape[1] // 2
    return {
        "Constant": ([], [node("Constant", [], ["W"], value=tensor(W, "a"))], 14),
        "value_floats": (
            [ints(*W.shape, name="s")],
            [
                node("Constant", [], ["a"], value_floats=W.ravel().tolist()),
                node("Reshape", ["a", "s"], ["W"]),
            ],
            14,
        ),
        "Identity": ([tensor(W, "a")], [node("Identity", ["a"], ["b"]), node("Identity", ["b"], ["W"])], 14),
        "Unsqueeze": ([tensor(W[0], "a"), ints(0, name="x")], [node("Unsqueeze", ["a", "x"], ["W"])], 14),
        "Unsqueeze 11": ([tensor(W[0], "a")], [node("Unsqueeze", ["a"], ["W"], axes=[0])], 11),
        "Squeeze": ([tensor(W[..., None], "a"), ints(3, name="x")], [node("Squeeze", ["a", "x"], ["W"])], 14),
        "Squeeze 11": ([tensor(W[..., None], "a")], [node("Squeeze", ["a"], ["W"], axes=[-1])], 11),
        "Reshape": ([tensor(W[0], "a"), ints(1, 0, -1, name="s")], [node("Reshape", ["b", "s"], ["W"]),], 14),
        "Transpose": ([tensor(W.T, "a")], [node("Transpose", ["a"], ["W"])], 14),
        "perm": ([tensor(W.swapaxes(0, 1), "a")], [node("Transpose", ["a"], ["W"], perm=[1, 0, 2])], 14),
        "Concat": (
            [tensor(W[:, :half], "a"), tensor(W[:, half:], "b")], [node("Concat", ["a", "b"], ["W"], axis=1)], 14,
        ),
        "Slice": (
            [tensor(np.concatenate([W, W + 1], 1), "a"), ints(0, name="s"), ints(W.shape[1], name="e"),
             ints(1, name="x")],
            [node("Slice", ["a", "s", "e", "x"], ["W"])], 14,
        ),
        "Slice back": (
            [tensor(W[:, ::-1], "a"), ints(-1, name="s"), ints(-(2**63), name="e"), ints(1, name="x"),
             ints(-1, name="t")],
            [node("Slice", ["a", "s", "e", "x", "t"], ["W"])], 14,
        ),
        "Slice 9": (
            [tensor(np.concatenate([W, W + 1], 1), "a")],
            [node("Slice", ["a"], ["W"], starts=[0], ends=[W.shape[1]], axes=[1])], 9,
        ),
        "Split": (
            [tensor(np.concatenate([W, W + 1]), "a"), ints(1, 1, name="s")],
            [node("Split", ["a", "s"], ["W", "c"])], 14,
        ),
        "Split 11": ([tensor(np.concatenate([W + 1, W]), "a")], [node("Split", ["a"], ["c", "W"])], 11),
        "Gather": ([tensor(np.stack([W + 1, W]), "a"), ints(1, name="i")],
                   [node("Gather", ["a", "i"], ["b"]), node("Squeeze", ["b", "z"], ["W"])], 14),
        "Cast": ([tensor(W.astype(np.float64), "a")], [node("Cast", ["a"], ["W"], to=TensorProto.FLOAT)], 14),
        "Mul": ([tensor(W / 2, "a"), tensor(np.float32(2), "b")], [node("Mul", ["a", "b"], ["W"])], 14),
        "Expand": ([tensor(W[0], "a"), ints(*W.shape, name="s")], [node("Expand", ["a", "s"], ["W"])], 14),
    }  # fmt: skip


@pytest.mark.parametrize("way", ways(np.zeros((1, 20, 4), np.float32)))
def test_weights_behind_other_nodes(made, runtime, way):
    """ONNX Runtime says that the model is right."""
    _, arrays, feeds = made("LSTM")
    tensors, steps, opset = ways(arrays["W"])[way]
    if way == "Reshape":  # 0 keeps a size of what is reshaped, so that it must have three.
        tensors[0] = tensor(arrays["W"].reshape(4, 20, 1), "b")
    if way == "Gather":
        tensors.append(ints(0, name="z"))
    model = replaced(made("LSTM", opset=opset)[0], "W", tensors, steps)
    [node] = nodes(model)
    np.testing.assert_array_equal(node.weights["W"], arrays["W"])
    np.testing.assert_allclose(run(node.layer(), feeds)["Y"], runtime(model, feeds)["Y"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("half", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_weights_of_16_bits_become_float32(made, half):
    model, arrays, _ = made("GRU")
    for one in model.graph.initializer:
        one.CopyFrom(helper.make_tensor(one.name, half, one.dims, arrays[one.name].ravel()))
    [node] = nodes(model)
    for name, array in arrays.items():
        assert node.weights[name].dtype == np.float32
        np.testing.assert_allclose(node.weights[name], array, rtol=2**-8)
        assert (node.weights[name] != array).any()
    assert node.layer().dtype == np.float32


def test_float16_constants_are_rounded_as_the_file_says(made):
    _, arrays, _ = made("LSTM")
    steps = [helper.make_node("Cast", ["a"], ["W"], to=TensorProto.FLOAT16)]
    [node] = nodes(replaced(made("LSTM")[0], "W", [tensor(arrays["W"], "a")], steps))
    np.testing.assert_array_equal(node.weights["W"], arrays["W"].astype(np.float16).astype(np.float32))


def test_float64_weights_make_a_layer_of_float64(made):
    model, arrays, _ = made("LSTM")
    for one in model.graph.initializer:
        one.CopyFrom(tensor(arrays[one.name].astype(np.float64) + 1e-9, one.name))
    layer = nodes(model)[0].layer()
    assert layer.dtype == np.float64
    np.testing.assert_array_equal(layer.params["R_l0"][:5], arrays["R"][0, :5].astype(np.float64) + 1e-9)


def test_weights_that_are_not_constant_are_said_to_be_so(made):
    model, _, _ = made("LSTM")
    for role in "WR":
        [one] = [one for one in model.graph.initializer if one.name == role]
        model.graph.initializer.remove(one)
        model.graph.input.append(helper.make_tensor_value_info(role, TensorProto.FLOAT, one.dims))
    [node] = nodes(model)
    assert node.computed == ("W", "R")
    assert repr(node) == "<LSTM 'cell'; ? -> 5, W, R not constant>"
    with pytest.raises(ValueError, match=r"node 'cell' \(LSTM\): W, R must be constant, not computed by other nodes"):
        node.layer()


def test_initial_states_and_lengths_that_are_constant(made):
    for zeros in (tensor(np.zeros((1, 3, 5), np.float32), "initial_h"),):
        model, _, _ = made("RNN", given=("initial_h",))
        del model.graph.input[1:]
        model.graph.initializer.append(zeros)
        [node] = nodes(model)
        assert node.states == {}
        assert isinstance(node.layer(), fastlstm.RNN)
    model.graph.initializer[-1].CopyFrom(tensor(np.ones((1, 3, 5), np.float32), "initial_h"))
    [node] = nodes(model)
    assert node.states["initial_h"].tolist() == np.ones((1, 3, 5)).tolist()
    with pytest.raises(ValueError, match=r"node 'cell' \(RNN\): initial_h is constant and not zeros"):
        node.layer()
    model, _, _ = made("RNN", given=("sequence_lens",))
    del model.graph.input[1:]
    model.graph.initializer.append(tensor(np.array([7, 1, 2], np.int32), "sequence_lens"))
    [node] = nodes(model)
    assert node.lengths.tolist() == [7, 1, 2]
    with pytest.raises(ValueError, match=r"node 'cell' \(RNN\): sequence_lens is constant"):
        node.layer()


def test_zeros_in_a_shape_that_a_call_has_are_no_state(made):
    steps = [
        helper.make_node("Shape", ["X"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Slice", ["zeros", "o", "i", "o"], ["initial_h"]),
        helper.make_node("Expand", ["z", "shape"], ["c"]),
        helper.make_node("Concat", ["c", "c"], ["initial_c"], axis=0),
    ]
    model = replaced(made("LSTM", given=("initial_h", "initial_c"))[0], "", [tensor(np.float32(0), "z")], steps)
    assert nodes(model)[0].states == {}
    steps[1].attribute.append(helper.make_attribute("value", tensor(np.ones(1, np.float32), "v")))
    steps[3].input[0] = "o"
    model = replaced(made("LSTM", given=("initial_h", "initial_c"))[0], "", [tensor(np.float32(1), "o")], steps)
    assert nodes(model)[0].states == {"initial_h": None, "initial_c": None}


def inside(made, kind):
    """A model whose LSTM is in a subgraph of a subgraph, with W and B in the outer ones."""
    model, arrays, _ = made("LSTM")
    [cell] = model.graph.node
    branch = helper.make_graph([cell], "inner", [], [model.graph.output[0]], [tensor(arrays["R"], "R")])
    other = helper.make_graph(
        [helper.make_node("Relu", ["X"], ["relu"])], "other", [], [helper.make_tensor_value_info("relu", 1, None)]
    )
    yes = helper.make_node("If", ["yes"], ["chosen"], name="inner_if", then_branch=other, else_branch=branch)
    result = [helper.make_tensor_value_info("chosen", 1, None)]
    middle = helper.make_graph([yes], "middle", [], result, [tensor(arrays["B"], "B")])
    if kind == "If":
        outer = helper.make_node("If", ["yes"], ["Z"], name="outer", then_branch=middle, else_branch=other)
    else:
        middle.input.extend([helper.make_tensor_value_info("i", 7, []), helper.make_tensor_value_info("go", 9, [])])
        middle.output.insert(0, helper.make_tensor_value_info("go", 9, []))
        outer = helper.make_node("Loop", ["", "yes"], ["Z"], name="outer", body=middle)
    graph = helper.make_graph(
        [outer], "outside", [model.graph.input[0], helper.make_tensor_value_info("yes", 9, [])],
        [helper.make_tensor_value_info("Z", 1, None)], [tensor(arrays["W"], "W")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=model.opset_import), arrays


@pytest.mark.parametrize(("kind", "branch"), [("If", "then_branch"), ("Loop", "body")])
def test_nodes_in_subgraphs_see_the_constants_around_them(made, kind, branch):
    model, arrays = inside(made, kind)
    [node] = nodes(model)
    assert node.path == ("outer", branch, "inner_if", "else_branch")
    assert repr(node) == f"<LSTM 'cell'; 4 -> 5, in outer {branch} inner_if else_branch>"
    for name, array in arrays.items():
        np.testing.assert_array_equal(node.weights[name], array)


def test_a_name_of_a_subgraph_hides_that_around_it(made):
    model, arrays = inside(made, "If")
    graph = model.graph
    for branch in ("then_branch", "else_branch"):
        graph = next(one.g for one in graph.node[0].attribute if one.name == branch)
    inner = graph
    inner.initializer.append(tensor(arrays["W"] + 1, "W"))
    np.testing.assert_array_equal(nodes(model)[0].weights["W"], arrays["W"] + 1)


def in_function(made, times=2):
    """A model that calls a function with an LSTM, whose hidden_size is the call's and whose direction has a default."""
    model, arrays, _ = made("LSTM")
    [cell] = model.graph.node
    for one in cell.attribute:
        one.Clear()
    cell.attribute[0].CopyFrom(onnx.AttributeProto(name="hidden_size", ref_attr_name="size", type="INT"))
    cell.attribute.add().CopyFrom(onnx.AttributeProto(name="direction", ref_attr_name="order", type="STRING"))
    function = helper.make_function(
        "own", "Cell", ["X", "W", "R"], ["Y", "W2"],
        [helper.make_node("LSTM", ["X", "W", "R"], ["Y"], name="cell"), helper.make_node("Identity", ["W"], ["W2"])],
        [helper.make_opsetid("", 14)], attributes=["size"],
        attribute_protos=[helper.make_attribute("order", "reverse")],
    )  # fmt: skip
    function.node[0].attribute.extend(cell.attribute)
    calls = [
        helper.make_node("Cell", ["X", "W" if k == 0 else f"W_{k - 1}", "R"], [f"Y_{k}", f"W_{k}"], name=f"call_{k}",
                         domain="own", size=5)
        for k in range(times)
    ]  # fmt: skip
    graph = helper.make_graph(
        calls, "calls", [model.graph.input[0]], [helper.make_tensor_value_info(f"Y_{times - 1}", 1, [None] * 4)],
        [tensor(arrays[name], name) for name in "WR"],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 14), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=9), arrays


def test_nodes_in_functions_once_for_every_call(made):
    model, arrays = in_function(made)
    onnx.checker.check_model(model)
    first, second = nodes(model)
    assert (first.path, second.path) == (("call_0",), ("call_1",))
    assert first.attributes.direction == second.attributes.direction == "reverse"
    assert first.hidden_size == 5
    for node in (first, second):
        np.testing.assert_array_equal(node.weights["W"], arrays["W"])
        assert node.weights.keys() == {"W", "R"}


def test_other_domains_are_other_operators(made):
    model, _, _ = made("LSTM")
    model.graph.node[0].domain = "com.microsoft"
    assert nodes(model) == []
    model.graph.node[0].domain = "ai.onnx"
    assert len(nodes(model)) == 1


def test_a_node_without_a_name_has_that_of_what_it_gives(made):
    model, _, _ = made("GRU")
    model.graph.node[0].name = ""
    assert nodes(model)[0].name == "Y"


def test_hidden_size_may_be_left_to_the_weights(made):
    model, _, _ = made("GRU")
    [cell] = model.graph.node
    cell.attribute.remove(next(one for one in cell.attribute if one.name == "hidden_size"))
    assert nodes(model)[0].hidden_size == 5
    model.graph.input.append(helper.make_tensor_value_info("R", 1, None))
    model.graph.initializer.remove(next(one for one in model.graph.initializer if one.name == "R"))
    with pytest.raises(ValueError, match=r"node 'cell' \(GRU\) has no attribute hidden_size, and no constant R"):
        nodes(model)


@pytest.mark.parametrize(
    ("role", "array", "message"),
    [
        ("W", np.zeros((1, 20), np.float32), r"W must have shape \(1, 20, None\), not \(1, 20\)"),
        ("W", np.zeros((1, 21, 4), np.float32), r"W must have shape \(1, 20, 4\), not \(1, 21, 4\)"),
        ("W", np.zeros((1, 20, 0), np.float32), "W must have at least one input"),
        ("R", np.zeros((2, 20, 5), np.float32), r"R must have shape \(1, 20, 5\), not \(2, 20, 5\)"),
        ("B", np.zeros((1, 20), np.float32), r"B must have shape \(1, 40\), not \(1, 20\)"),
        ("P", np.zeros((1, 20), np.float32), r"P must have shape \(1, 15\), not \(1, 20\)"),
        ("B", np.zeros((1, 40), np.float64), "B must be floats as R is, not float64"),
        ("W", np.zeros((1, 20, 4), np.int64), "W must be floats as R is, not int64"),
    ],
)
def test_wrong_weights_are_named(made, role, array, message):
    model, _, _ = made("LSTM", peepholes=True)
    [one] = [one for one in model.graph.initializer if one.name == role]
    one.CopyFrom(tensor(array, role))
    with pytest.raises(fastlstm.FileError, match=rf"^the model: node 'cell' \(LSTM\): {message}"):
        nodes(model)


@pytest.mark.parametrize("inputs", [["X", "W"], ["X", "", "R"], ["X", "W", "R", "", "", "", "", "", "Q"]])
def test_wrong_inputs_are_named(made, inputs):
    model, _, _ = made("LSTM")
    del model.graph.node[0].input[:]
    model.graph.node[0].input.extend(inputs)
    with pytest.raises(fastlstm.FileError, match="must have the inputs X, W and R, and at most 8"):
        nodes(model)


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
def test_cells_without_a_c_have_six_inputs(kind):
    gates = {"GRU": 3, "RNN": 1}[kind]
    arrays = {"W": (1, gates * 5, 3), "R": (1, gates * 5, 5), "P": (1, 15)}
    weights = [onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in arrays.items()]
    node = onnx.helper.make_node(kind, ["X", "W", "R", "", "", "", "", "P"], ["Y"], hidden_size=5)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node], "g", [value("X", 1, ["T", "B", 3])], [value("Y", 1, None)], initializer=weights
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    with pytest.raises(fastlstm.FileError, match=r"at most 6"):
        fastlstm.onnx.nodes(model)
