"""Layers and networks from models: by node, of one node, of graphs made by hand, and what is refused."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import fastlstm  # noqa: E402
import fastlstm.onnx  # noqa: E402
from fastlstm import nn  # noqa: E402
from fastlstm.onnx import load  # noqa: E402

I, H = 4, 5


def floats(name, *axes):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, axes)


def tensor(name, value):
    array = np.asarray(value)
    return numpy_helper.from_array(array.astype(np.float32) if array.dtype.kind == "f" else array, name)


def graph(*nodes, inputs, outputs=("y",), tensors=(), opset=17, functions=(), producer=""):
    """A model of nodes, which have weights W, R and B of 4 inputs or, with 2 at the end, of 5, for LSTMs and GRUs."""
    rng = np.random.default_rng(0)
    weights = [
        tensor(name + kind + end, rng.normal(size=shape) / 2)
        for end, inside in (("", I), ("2", H))
        for kind, n in (("", 4), ("g", 3), ("r", 1))
        for name, shape in (("W", (1, n * H, inside)), ("R", (1, n * H, H)), ("B", (1, 2 * n * H)))
    ]
    dims = [tensor("one", [1]), tensor("zero", [0]), tensor("V", rng.normal(size=(H, 3)))]
    made = helper.make_graph(
        list(nodes), "graph", inputs, [helper.make_tensor_value_info(name, 1, None) for name in outputs],
        [*weights, *dims, *tensors],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("own", 1)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=9, functions=functions, producer_name=producer)
    return model


node = helper.make_node
X = floats("x", "T", "B", I)


def lstm(x="x", y="Y", end="", *, more=(), outputs=(), name=None, **attributes):
    name, inputs = ("cell" if y == "Y" else y) if name is None else name, [x, "W" + end, "R" + end, "B" + end, *more]
    return node("LSTM", inputs, [y, *outputs], name, hidden_size=H, **attributes)


def squeezed(y="Y", to="y"):
    return node("Squeeze", [y, "one"], [to])


def same(network, model, runtime, feeds, *arguments):
    """Hold a network against its model, and return the network's state."""
    y, state = network(feeds["x"], *arguments)
    expected = runtime(model, feeds)
    np.testing.assert_allclose(y, next(iter(expected.values())), rtol=0, atol=1e-6)
    return state


def x_of(T=6, B=3):
    return np.random.default_rng(1).normal(size=(T, B, I)).astype(np.float32)


# ---- one node ----


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_layout_1_is_batch_first(kind, direction, made, runtime):
    """ONNX Runtime has no layout=1: the same node with layout=0 stands for it."""
    given = ("initial_h", "initial_c")[: 1 + (kind == "LSTM")]
    model, _, feeds = made(kind, layout=1, direction=direction, given=given)
    D = 1 + (direction == "bidirectional")
    tail = [node("Transpose", ["Y"], ["t"], perm=[0, 1, 2, 3]), node("Reshape", ["t", "shape"], ["y"])]
    model.graph.node.extend(tail)
    model.graph.initializer.append(tensor("shape", np.array([0, 0, D * H])))
    model.graph.output.insert(0, helper.make_tensor_value_info("y", 1, None))
    del model.graph.output[1]
    layer = load(model)
    assert layer.batch_first
    swapped = {name: array.swapaxes(0, 1) for name, array in feeds.items()}
    states = tuple(swapped[name] for name in given)
    y, state = layer(feeds["X"], states if kind == "LSTM" else states[0])
    expected = runtime(made(kind, direction=direction, given=given)[0], swapped)
    T, _, B, _ = expected["Y"].shape
    np.testing.assert_allclose(y, expected["Y"].transpose(2, 0, 1, 3).reshape(B, T, -1), rtol=0, atol=1e-6)
    np.testing.assert_allclose(state[0] if kind == "LSTM" else state, expected["Y_h"], rtol=0, atol=1e-6)


def test_a_node_by_name_and_by_number(made):
    model, arrays, _ = made("LSTM", direction="bidirectional")
    for chosen in ("cell", 0, np.int64(0)):
        layer = load(model, node=chosen)
        assert layer.bidirectional
        np.testing.assert_array_equal(layer.params["R_l0_reverse"][:H], arrays["R"][1, :H])
    with pytest.raises(ValueError, match="node must be the name of an LSTM, GRU or RNN node, 'cell', not 'other'"):
        load(model, node="other")
    with pytest.raises(ValueError, match="node must be below 1, the number of LSTM, GRU and RNN nodes, not 1"):
        load(model, node=1)
    with pytest.raises(ValueError, match="node must be below 1"):
        load(model, node=-1)
    with pytest.raises(TypeError, match="node must be an int"):
        load(model, node=0.0)


def test_a_name_that_several_nodes_have():
    model = graph(lstm(), squeezed(to="s"), lstm("s", "Y2", "2", name="cell"), squeezed("Y2"), inputs=[X])
    with pytest.raises(ValueError, match=r"node must be one of the numbers \[0, 1\], since several nodes are called"):
        load(model, node="cell")
    assert load(model, node=1).input_size == H


@pytest.mark.parametrize("source", [3, None])
def test_what_is_no_model(source):
    with pytest.raises(TypeError, match=r"model must be a path, bytes or an onnx\.ModelProto"):
        load(source)


def test_files_and_bytes(tmp_path, made):
    model = graph(lstm(), squeezed(), inputs=[X])
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    for source in (path, str(path), path.read_bytes(), model):
        assert repr(load(source)) == "LSTM(4, 5, peephole=False, dtype=float32)"
    path.write_bytes(b"not a model")
    with pytest.raises(fastlstm.FileError, match=r"model\.onnx is damaged"):
        load(path)


# ---- which nodes are one layer ----


def test_nodes_of_one_kind_are_one_layer(runtime):
    model = graph(lstm(), squeezed(to="s"), lstm("s", "Y2", "2"), squeezed("Y2"), inputs=[X])
    layer = load(model)
    assert repr(layer) == "LSTM(4, 5, peephole=False, num_layers=2, dtype=float32)"
    same(layer, model, runtime, {"x": x_of()})


def test_nodes_with_other_options_are_layers_of_their_own(runtime):
    model = graph(lstm(), squeezed(to="s"), lstm("s", "Y2", "2", clip=0.5), squeezed("Y2"), inputs=[X])
    network = load(model)
    assert [layer.clip for layer in network.layers] == [None, 0.5]
    same(network, model, runtime, {"x": x_of()})
    gru = node("GRU", ["s", "Wg2", "Rg2", "Bg2"], ["Y2"], hidden_size=H)
    network = load(graph(lstm(), squeezed(to="s"), gru, squeezed("Y2"), inputs=[X]))
    assert [type(layer).__name__ for layer in network.layers] == ["LSTM", "GRU"]


def drop(x, y, rate):
    return node("Dropout", [x, rate], [y])


@pytest.mark.parametrize(("rates", "expected"), [((0.25, 0.25), [3]), ((0.25, 0.5), [2, 0, 1]), ((0.0, 0.0), [3])])
def test_dropout_between_nodes(rates, expected):
    model = graph(
        lstm(), squeezed(to="a"), drop("a", "b", "r0"), lstm("b", "Y2", "2"), squeezed("Y2", "c"), drop("c", "d", "r1"),
        lstm("d", "Y3", "2"), squeezed("Y3"), inputs=[X],
        tensors=[tensor(f"r{k}", rate) for k, rate in enumerate(rates)],
    )  # fmt: skip
    network = load(model)
    layers = getattr(network, "layers", [network])
    assert [getattr(layer, "num_layers", 0) for layer in layers] == expected
    assert layers[0].dropout == rates[0]


def test_dropout_above_and_its_default():
    model = graph(lstm(), squeezed(to="a"), node("Dropout", ["a"], ["y"]), inputs=[X])
    assert load(model).layers[1].rate == 0.5
    model = graph(lstm(), squeezed(to="a"), node("Dropout", ["a"], ["y"], ratio=0.1), inputs=[X], opset=7)
    assert load(model).layers[1].rate == 0.1
    model = graph(lstm(), squeezed(to="a"), drop("a", "y", "r"), inputs=[X], tensors=[tensor("r", 1.0)])
    with pytest.raises(ValueError, match=r"\(Dropout\): its ratio is 1.0"):
        load(model)


# ---- states and lengths ----


def states(part, layers=2):
    return floats(part, layers, "B", H)


def two_layers(split, h=("h", "h"), c=("c", "c")):
    """Two LSTMs, whose initial states are parts of h and c."""
    first = lstm(more=["", f"{h[0]}0", f"{c[0]}0"])
    second = lstm("s", "Y2", "2", more=["", f"{h[1]}1", f"{c[1]}1"], name="second")
    return graph(*split, first, squeezed(to="s"), second, squeezed("Y2"), inputs=[X, states("h"), states("c")])


SPLIT = [node("Split", [part, "sizes"], [f"{part}0", f"{part}1"]) for part in "hc"]
SLICES = [
    node("Slice", [part, start, end, "zero"], [f"{part}{k}"])
    for part in "hc" for k, (start, end) in enumerate((("zero", "one"), ("one", "two")))
]  # fmt: skip
GATHERS = [
    step for part in "hc" for k, place in enumerate(("i0", "i1")) for step in (
        node("Gather", [part, place], [f"{part}_{k}"]), node("Unsqueeze", [f"{part}_{k}", "zero"], [f"{part}{k}"]),
    )
]  # fmt: skip
MORE = [tensor(name, np.array(value)) for name, value in (("sizes", [1, 1]), ("two", [2]), ("i0", 0), ("i1", 1))]


@pytest.mark.parametrize("split", [SPLIT, SLICES, GATHERS], ids=["Split", "Slice", "Gather"])
def test_parts_of_an_input_are_states(split, runtime):
    model = two_layers(split)
    model.graph.initializer.extend(MORE)
    layer = load(model)
    h, c = np.random.default_rng(2).normal(size=(2, 2, 3, H)).astype(np.float32)
    same(layer, model, runtime, {"x": x_of(), "h": h, "c": c}, (h, c))


def test_states_in_another_order_are_refused():
    model = two_layers([node("Split", [part, "sizes"], [f"{part}1", f"{part}0"]) for part in "hc"])
    model.graph.initializer.extend(MORE)
    with pytest.raises(ValueError, match=r"node 'cell' \(LSTM\): its initial_h is not the next part of the input 'h'"):
        load(model)
    model = two_layers(SPLIT, ("h", "c"), ("c", "h"))
    model.graph.initializer.extend(MORE)
    with pytest.raises(
        ValueError, match=r"node 'second' \(LSTM\): the input 'c' is its initial_h, and another's initial_c"
    ):
        load(model)
    first, second = lstm(more=["", "h", "c"]), lstm("s", "Y2", "2", more=["", "h", "c"], name="second")
    model = graph(first, squeezed(to="s"), second, squeezed("Y2"), inputs=[X, states("h", 1), states("c", 1)])
    with pytest.raises(ValueError, match=r"node 'second' \(LSTM\): its initial_h is the input 'h', which is that of"):
        load(model)


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ([node("Tanh", ["h"], ["h0"])], "its initial_h is neither zeros nor an input of the model, or a part of one"),
        ([node("Add", ["h", "ones"], ["h0"])], "its initial_h is neither zeros nor an input"),
        ([node("Identity", ["ones"], ["h0"])], "initial_h is constant and not zeros"),
        ([node("Expand", ["ones", "shape"], ["h0"])], "initial_h is constant and not zeros"),
        ([node("Slice", ["x", "zero", "one", "zero"], ["h0"])], "its initial_h is neither zeros nor an input"),
    ],
)
def test_states_that_are_computed_are_refused(before, message):
    model = graph(
        *before, lstm(more=["", "h0", "h0"]), squeezed(), inputs=[X, states("h", 1)],
        tensors=[tensor("ones", np.ones((1, 1, H))), tensor("shape", np.array([1, 3, H]))],
    )  # fmt: skip
    with pytest.raises(ValueError, match=message):
        load(model)


def test_lengths(runtime):
    first, second = lstm(more=["l"]), lstm("s", "Y2", "2", more=["cast"], name="second")
    cast = node("Cast", ["l64"], ["cast"], to=TensorProto.INT32)
    lengths = helper.make_tensor_value_info("l", TensorProto.INT32, ["B"])
    wide = helper.make_tensor_value_info("l64", TensorProto.INT64, ["B"])
    model = graph(cast, first, squeezed(to="s"), second, squeezed("Y2"), inputs=[X, lengths, wide])
    with pytest.raises(ValueError, match=r"its layers go by different lengths: the lengths 'l.*', the lengths 'l"):
        load(model)
    model = graph(first, squeezed(to="s"), lstm("s", "Y2", "2", name="b"), squeezed("Y2"), inputs=[X, lengths])
    with pytest.raises(ValueError, match=r"its layers go by different lengths: .*the whole length"):
        load(model)
    model = graph(cast, lstm(more=["cast"]), squeezed(), inputs=[X, wide])
    given = np.array([6, 2, 0])
    same(load(model), model, runtime, {"x": x_of(), "l64": given}, None, given)
    model = graph(node("Abs", ["l"], ["m"]), lstm(more=["m"]), squeezed(), inputs=[X, lengths])
    with pytest.raises(ValueError, match="its sequence_lens is neither an input of the model nor left out"):
        load(model)


def test_constant_lengths_are_left_out_where_they_are_the_whole():
    fixed = floats("x", 6, 3, I)
    model = graph(lstm(more=["l"]), squeezed(), inputs=[fixed], tensors=[tensor("l", np.full(3, 6, np.int32))])
    assert isinstance(load(model), fastlstm.LSTM)
    for inputs, value in (([fixed], 5), ([X], 6)):
        model = graph(lstm(more=["l"]), squeezed(), inputs=inputs, tensors=[tensor("l", np.full(3, value, np.int32))])
        with pytest.raises(ValueError, match="sequence_lens is constant, and no layer has lengths of its own"):
            load(model)


def test_a_model_that_gives_states_alone(runtime):
    model = graph(lstm(outputs=["Y_h", "Y_c"]), inputs=[X], outputs=["Y_h", "Y_c"])
    layer = load(model)
    assert isinstance(layer, fastlstm.LSTM)
    _, (h, c) = layer(x_of())
    found = runtime(model, {"x": x_of()})
    np.testing.assert_allclose(h, found["Y_h"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(c, found["Y_c"], rtol=0, atol=1e-6)


def test_what_is_added_is_a_number_for_each_feature(runtime):
    """One for each row is not, though there are as many."""
    product = node("MatMul", ["s", "V"], ["p"])
    for shape, good in (((3,), True), ((1, 1, 3), True), ((1,), True), ((), True), ((3, 1), False), ((1, 3, 1), False)):
        bias = tensor("c", np.arange(np.prod(shape, dtype=int)).reshape(shape) + 1.0)
        model = graph(lstm(), squeezed(to="s"), product, node("Add", ["c", "p"], ["y"]), inputs=[X], tensors=[bias])
        if good:
            same(load(model), model, runtime, {"x": x_of()})
        else:
            with pytest.raises(ValueError, match=r"\(Add\): what it adds is not one number for each feature"):
                load(model)


@pytest.mark.parametrize("options", [{}, {"transB": 1}, {"alpha": 0.5, "beta": 2.0}])
def test_gemm(options, runtime):
    V = np.random.default_rng(4).normal(size=(3, H) if options.get("transB") else (H, 3))
    steps = [node("Squeeze", ["Y_h", "zero"], ["h"]), node("Gemm", ["h", "V2", "c"], ["y"], **options)]
    model = graph(
        lstm(outputs=["Y_h"]), *steps, inputs=[X], tensors=[tensor("V2", V), tensor("c", [1.0, 2.0, 3.0])]
    )  # fmt: skip
    network = load(model)
    assert isinstance(network.layers[1], nn.Last)
    same(network, model, runtime, {"x": x_of()})


def test_branches_of_an_if_whose_condition_is_known(runtime):
    """As torch.onnx writes squeeze(0): if the axis has length 1."""
    result = [helper.make_tensor_value_info("r", 1, None)]
    then = helper.make_graph([node("Squeeze", ["Y_h", "zero"], ["r"])], "then", [], result)
    other = helper.make_graph([node("Identity", ["Y_h"], ["r"])], "else", [], result)
    steps = [
        node("Shape", ["Y_h"], ["shape"]), node("Gather", ["shape", "zero"], ["size"]),
        node("Equal", ["size", "one"], ["is"]), node("If", ["is"], ["y"], then_branch=then, else_branch=other),
    ]  # fmt: skip
    model = graph(lstm(outputs=["Y_h"]), *steps, inputs=[X])
    network = load(model)
    assert isinstance(network.layers[1], nn.Last)
    same(network, model, runtime, {"x": x_of()})
    truth = helper.make_tensor_value_info("is", TensorProto.BOOL, [])
    with pytest.raises(ValueError, match=r"\(If\) is in the way"):
        load(graph(lstm(outputs=["Y_h"]), steps[3], inputs=[X, truth]))


def test_functions_are_what_they_compute(runtime):
    function = helper.make_function(
        "own", "Layer", ["x", "W", "R"], ["y"],
        [node("LSTM", ["x", "W", "R"], ["Y"], "cell", hidden_size=H), node("Constant", [], ["k"], value_ints=[1]),
         node("Squeeze", ["Y", "k"], ["y"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    call = node("Layer", ["x", "W", "R"], ["s"], domain="own")
    again = node("Layer", ["s", "W2", "R2"], ["y"], domain="own")
    model = graph(call, again, inputs=[X], functions=[function])
    layer = load(model)
    assert layer.num_layers == 2
    same(layer, model, runtime, {"x": x_of()})


def test_float16_models_are_computed_in_float32():
    model = graph(lstm(), squeezed(to="s"), node("Cast", ["s"], ["y"], to=TensorProto.FLOAT), inputs=[X])
    for one in model.graph.initializer:
        if one.data_type == TensorProto.FLOAT:
            one.CopyFrom(tensor(one.name, 0.0) if one.name == "" else numpy_helper.from_array(
                numpy_helper.to_array(one).astype(np.float16), one.name
            ))  # fmt: skip
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    layer = load(model)
    assert layer.dtype == np.float32
    np.testing.assert_array_equal(layer.params["W_l0"], layer.params["W_l0"].astype(np.float16))


def test_weights_of_two_kinds():
    wide = numpy_helper.from_array(np.ones((H, 3)), "V64")
    steps = [node("Cast", ["s"], ["d"], to=TensorProto.DOUBLE), node("MatMul", ["d", "V64"], ["y"])]
    with pytest.raises(ValueError, match="its weights are float32 and float64"):
        load(graph(lstm(), squeezed(to="s"), *steps, inputs=[X], tensors=[wide]))


# ---- what is refused ----

TIMES = [node("Transpose", ["x"], ["t"], perm=[2, 1, 0])]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([lstm(direction="reverse"), squeezed()], r"node 'cell' \(LSTM\): no layer runs in reverse alone"),
        ([lstm(activations=["Sigmoid", "Softsign", "Tanh"]), squeezed()], r"\(LSTM\): no layer has Softsign"),
        ([lstm(), squeezed(to="s"), node("Cos", ["s"], ["c"], "first"), node("Sin", ["c"], ["y"], "second")],
         r"node 'first' \(Cos\) is in the way"),
        ([lstm(), node("Cos", ["Y"], ["y"])], r"the node that gives 'y' \(Cos\) is in the way"),
        ([lstm(), node("Relu", ["Y"], ["y"], domain="own")], r"the node that gives 'y' \(own.Relu\) is in the way"),
        ([lstm(), node("Transpose", ["Y"], ["y"])], "its output has other axes|something else than the features"),
        ([lstm(), node("Identity", ["x"], ["y"])], "its output 'y' is no layer's"),
        ([lstm(), node("Softmax", ["Y"], ["y"], axis=0)], r"\(Softmax\): it is not over the features"),
        ([lstm(), squeezed(to="s"), node("MatMul", ["V", "s"], ["y"])], r"\(MatMul\) is in the way"),
        ([*TIMES, lstm("t"), squeezed()], r"node 'cell' \(LSTM\): it takes something else than the features"),
        ([lstm(), squeezed(to="s"), node("Add", ["s", "s"], ["y"])], r"\(Add\): it adds a value to itself"),
        ([lstm(), squeezed(to="s"), node("Cast", ["s"], ["y"], to=TensorProto.INT32)], r"\(Cast\): it rounds"),
        ([lstm(), node("Squeeze", ["Y"], ["y"])], r"\(Squeeze\): it names no axes"),
        ([lstm(), node("Squeeze", ["Y", "zero"], ["y"])], r"\(Squeeze\): it drops the time, the batch or the features"),
        ([lstm(), node("Transpose", ["Y"], ["y"], perm=[0, 0, 1, 2])], r"\(Transpose\): its perm \[0, 0, 1, 2\] is"),
        ([lstm(), squeezed(to="s"), node("ReduceMean", ["s"], ["y"])], r"\(ReduceMean\): it is not over the time"),
        ([node("Relu", ["x"], ["y"])], "it has no LSTM, GRU or RNN node"),
        ([lstm(), node("Unsqueeze", ["Y", "ends"], ["y"])], r"\(Unsqueeze\): it names axis 9 of 5"),
    ],
)  # fmt: skip
def test_what_is_in_the_way_is_named(nodes, message):
    model = graph(*nodes, inputs=[X], tensors=[tensor("ends", np.array([9]))])
    with pytest.raises(ValueError, match=rf"^the model is no network of fastlstm's layers: .*({message})"):
        load(model)


def test_inputs_without_axes():
    with pytest.raises(ValueError, match="input 'x': its axes are not said"):
        load(graph(lstm(), squeezed(), inputs=[helper.make_tensor_value_info("x", 1, None)]))


def test_weights_that_are_inputs():
    model = graph(lstm(), squeezed(), inputs=[X, floats("W", 1, 4 * H, I)])
    model.graph.initializer.remove(next(one for one in model.graph.initializer if one.name == "W"))
    with pytest.raises(ValueError, match=r"node 'cell' \(LSTM\): W must be constant, not computed by other nodes"):
        load(model)


# ---- hostile ----


def test_sums_that_double_end():
    """Each adds all of the one before it once more."""
    nodes = [lstm(), squeezed(to="s0"), node("Relu", ["s0"], ["r"]), node("Tanh", ["s0"], ["t0"])]
    for k in range(60):
        nodes.append(node("Add", [f"t{k}", f"{'r' if k == 0 else f't{k - 1}'}"], [f"t{k + 1}"]))
    with pytest.raises(ValueError, match=r"\(Add\): there are more than 4096 layers in branches"):
        load(graph(*nodes, node("Identity", ["t60"], ["y"]), inputs=[X]))


def test_branches_within_branches_end():
    nodes = [lstm(), squeezed(to="z0")]
    for k in range(40):
        nodes += [node("Relu", [f"z{k}"], [f"r{k}"]), node("Add", [f"r{k}", "z0"], [f"z{k + 1}"])]
    with pytest.raises(ValueError, match=r"\(Add\): there are more than 16 branches within branches"):
        load(graph(*nodes, node("Identity", ["z40"], ["y"]), inputs=[X]))


def test_a_recurrent_layer_in_two_branches():
    nodes = [
        lstm(), squeezed(to="s"), node("Relu", ["s"], ["r"]), node("Tanh", ["x"], ["t"]),
        node("Concat", ["r", "t"], ["a"], axis=-1), node("Concat", ["a", "s"], ["y"], axis=-1),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="the output of one of its recurrent layers goes to several branches"):
        load(graph(*nodes, inputs=[X]))


def test_functions_that_call_themselves():
    call = node("F", ["x"], ["y"], domain="own")
    opsets = [helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "F", ["x"], ["y"], [node("F", ["x"], ["y"], domain="own")], opsets)
    with pytest.raises(fastlstm.FileError, match="its functions and branches are more than 64 deep"):
        load(graph(call, inputs=[X], functions=[function]))


def test_changed_bytes_are_an_error_or_a_network():
    """One byte is another: what comes out is a ValueError, or a layer or network."""
    model = graph(
        lstm(outputs=["Y_h"]), squeezed(to="s"), node("MatMul", ["s", "V"], ["p"]), node("Softmax", ["p"], ["q"]),
        node("Transpose", ["q"], ["y"], perm=[0, 1, 2]), inputs=[X],
    )  # fmt: skip
    for one in [*model.graph.initializer]:
        if one.name[-1] in "g2r":
            model.graph.initializer.remove(one)
    content, rng, count = model.SerializeToString(), np.random.default_rng(0), 0
    for _ in range(3000):
        changed = bytearray(content)
        changed[rng.integers(len(content))] = rng.integers(256)
        try:
            load(bytes(changed))
        except ValueError:
            count += 1
    assert count > 200
