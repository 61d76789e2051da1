"""Whole models in a Session: names and shapes, graphs within graphs, functions, and models that are hostile."""

import time

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import fastlstm  # noqa: E402
from fastlstm.onnx import Session, _directions, _operators, to_onnx  # noqa: E402

FileError = fastlstm.FileError
FLOAT = TensorProto.FLOAT


def value(name, shape=None, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model_of(nodes, inputs, outputs, constants=(), functions=(), opset=18, **domains):
    graph = helper.make_graph(nodes, "main", inputs, outputs, [numpy_helper.from_array(a, n) for n, a in constants])
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(one, 1) for one in domains)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)


node = helper.make_node
X = np.ones((2, 3), np.float32)


# ---- what a program sees ---------------------------------------------------------------------------------------------


def test_inputs_and_outputs_are_those_of_onnx_runtime(made):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, _, _ = made("LSTM", given=("sequence_lens", "initial_h"))
    model.graph.input[0].CopyFrom(value("X", ["T", None, 4]))
    theirs = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    session = Session(model)
    for own, other in ((session.get_inputs(), theirs.get_inputs()), (session.get_outputs(), theirs.get_outputs())):
        assert [one.name for one in own] == [one.name for one in other]
        assert [one.type for one in own] == [one.type for one in other]
    assert [one.shape for one in session.get_inputs()] == [one.shape for one in theirs.get_inputs()]
    assert session.get_inputs()[0].shape == ["T", None, 4]


def test_types_are_written_as_onnx_runtime_does():
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.INT64, None)
    nothing = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.BOOL, None))
    inputs = [value("x", [], TensorProto.DOUBLE), sequence, helper.make_value_info("o", nothing)]
    session = Session(model_of([node("Identity", ["x"], ["y"])], inputs, [value("y", None, TensorProto.DOUBLE)]))
    types = ["tensor(double)", "seq(tensor(int64))", "optional(tensor(bool))"]
    assert [one.type for one in session.get_inputs()] == types
    assert repr(session) == "Session(x, s, o -> y)"


def test_outputs_come_as_they_are_asked_for(made):
    model, _, feeds = made("LSTM")
    session = Session(model.SerializeToString())
    Y, Y_h, Y_c = session.run(None, feeds)
    for names, wanted in ((["Y_c", "Y"], [Y_c, Y]), (("Y_h",), [Y_h]), ([], [])):
        for found, expected in zip(session.run(names, feeds), wanted, strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("names", "feeds", "message"),
    [
        (["Z"], {"X": 0}, "names must be of the outputs Y, Y_h, not 'Z'"),
        (None, {}, "feeds must have X: X is missing"),
        (None, {"X": np.zeros((7, 3, 4), np.float32), "h": 0}, "feeds must be of the inputs X, not 'h'"),
        (None, {"X": np.zeros((7, 3, 4))}, "input 'X' must be float32, not float64"),
        (None, {"X": np.zeros((7, 4), np.float32)}, r"input 'X' must have shape \(7, 3, 4\), not \(7, 4\)"),
        (None, {"X": np.zeros((7, 3, 5), np.float32)}, r"input 'X' must have shape \(7, 3, 4\), not \(7, 3, 5\)"),
    ],
)
def test_wrong_names_and_inputs(names, feeds, message, made):
    model, _, _ = made("GRU")
    with pytest.raises(ValueError, match=message):
        Session(model).run(names, feeds)


def test_outputs_are_no_memory_of_inputs_or_constants():
    constant = np.full((2, 3), 7, np.float32)
    nodes = [node("Identity", ["x"], ["a"]), node("Identity", ["c"], ["b"]), node("Unsqueeze", ["c", "zero"], ["d"])]
    constants = [("c", constant), ("zero", np.zeros(1, np.int64))]
    session = Session(model_of(nodes, [value("x")], [value(name) for name in "abd"], constants))
    for _ in range(2):
        given = X.copy()
        outputs = session.run(None, {"x": given})
        np.testing.assert_array_equal(outputs[1], constant)
        np.testing.assert_array_equal(outputs[2][0], constant)
        for array in outputs:
            array[:] = 5
        np.testing.assert_array_equal(given, X)


def test_an_input_with_a_constant_of_its_name_need_not_be_given():
    """As in models of the first versions, where all constants are inputs too."""
    nodes, constants = [node("Add", ["x", "c"], ["y"])], [("c", np.float32([1, 2, 3]))]
    session = Session(model_of(nodes, [value("x"), value("c")], [value("y")], constants))
    assert [one.name for one in session.get_inputs()] == ["x"]
    np.testing.assert_array_equal(session.run(None, {"x": X})[0], X + np.float32([1, 2, 3]))
    np.testing.assert_array_equal(session.run(None, {"x": X, "c": X})[0], X + X)


def test_a_later_change_of_the_model_changes_nothing(made):
    model, _, feeds = made("RNN")
    session = Session(model)
    before = session.run(None, feeds)
    del model.graph.node[:], model.graph.initializer[:]
    for a, b in zip(before, session.run(None, feeds), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_path_of_a_model(made, tmp_path):
    model, _, feeds = made("GRU")
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    for a, b in zip(Session(path).run(None, feeds), Session(model).run(None, feeds), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("network", [fastlstm.LSTM, fastlstm.GRU, fastlstm.RNN])
def test_networks_of_fastlstm_have_the_same_bits(network):
    layer = network(3, 8, bidirectional=True, num_layers=2, seed=0)
    x = np.random.default_rng(0).normal(size=(7, 2, 3)).astype(np.float32)
    [y] = Session(to_onnx(layer, state=False)).run(None, {"x": x})
    np.testing.assert_array_equal(y, layer(x)[0])


def test_errors_in_a_run_name_the_node():
    nodes = [node("MatMul", ["x", "x"], ["y"], name="product")]
    session = Session(model_of(nodes, [value("x")], [value("y")]))
    with pytest.raises((TypeError, ValueError)) as caught:  # It depends on the version of onnx.
        session.run(None, {"x": X})
    assert caught.value.__notes__ == ["in node 'product' (MatMul)"]


def test_no_warnings_of_numpy():
    """Numbers that overflow are infinite, as in ONNX Runtime: warnings are errors here."""
    nodes = [node("Exp", ["x"], ["a"]), node("Div", ["a", "a"], ["y"])]
    session = Session(model_of(nodes, [value("x")], [value("y")]))
    assert np.isnan(session.run(None, {"x": np.full(2, 1e9, np.float32)})[0]).all()


# ---- what onnx.reference needs help with -----------------------------------------------------------------------------


def test_an_output_without_a_name_is_no_input_without_one(made):
    """onnx.reference takes the one for the other."""
    model, _, feeds = made("GRU")
    model.graph.node[0].output[0] = ""
    model.graph.node.append(node("GRU", ["X", "W", "R", "", "", "Y_h"], ["second"], hidden_size=5))
    model.graph.output[0].CopyFrom(value("second"))
    second, h = Session(model).run(None, feeds)
    plain, _, _ = made("GRU", bias=False, given=("initial_h",))
    np.testing.assert_array_equal(second, Session(plain).run(["Y"], feeds | {"initial_h": h})[0])


@pytest.fixture
def in_kernels(monkeypatch):
    """The calls of the kernels."""
    calls = []
    for kind, call in list(_directions._CALLS.items()):

        def run(*args, call=call, kind=kind, **options):
            calls.append(kind)
            return call(*args, **options)

        monkeypatch.setitem(_directions._CALLS, kind, run)
    return calls


def test_nodes_in_branches_and_bodies(made, in_kernels, monkeypatch):
    """Their weights are constants of the graph around them, also behind Unsqueeze and Identity: converted once."""
    model, arrays, feeds = made("LSTM")
    weights = [("flat_W", arrays["W"][0]), ("R", arrays["R"]), ("B", arrays["B"]), ("zero", np.zeros(1, np.int64))]
    branch = helper.make_graph(
        [node("Unsqueeze", ["flat_W", "zero"], ["W"]), node("Identity", ["R"], ["same"]),
         node("LSTM", ["X", "W", "same", "B"], ["Y"], hidden_size=5)],
        "branch", [], [value("Y")],
    )  # fmt: skip
    other = helper.make_graph([node("Neg", ["X"], ["negative"])], "other", [], [value("negative")])
    nodes = [node("If", ["flag"], ["out"], then_branch=branch, else_branch=other)]
    inputs = [value("X"), value("flag", [], TensorProto.BOOL)]
    calls = []
    monkeypatch.setattr(_operators, "from_onnx", lambda *args, own=_operators.from_onnx: calls.append(1) or own(*args))
    session = Session(model_of(nodes, inputs, [value("out")], weights))
    for _ in range(3):
        [Y] = session.run(None, feeds | {"flag": np.array(True)})
    np.testing.assert_array_equal(Y, Session(model).run(["Y"], feeds)[0])
    assert in_kernels == ["LSTM"] * 4
    assert len(calls) == 2  # The last is of the model of one node.
    np.testing.assert_array_equal(session.run(None, feeds | {"flag": np.array(False)})[0], -feeds["X"])


def function(name, nodes, inputs=("x",), outputs=("y",), attributes=(), domain="own"):
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    return helper.make_function(domain, name, list(inputs), list(outputs), nodes, opsets, list(attributes))


def test_nodes_in_functions(made, in_kernels):
    """Functions may stand in any order, and a node's attribute may be that of the function."""
    plain, _, feeds = made("GRU", activations=["Sigmoid", "Relu"])
    cell = node("GRU", ["x", "W", "R", "B"], ["y"], hidden_size=5)
    cell.attribute.add(name="activations", type=onnx.AttributeProto.STRINGS, ref_attr_name="which")
    call = node("inner", ["x", "W", "R", "B"], ["y"], domain="own", which=["Sigmoid", "Relu"])
    functions = [
        function("outer", [call], ["x", "W", "R", "B"]),
        function("inner", [cell], ["x", "W", "R", "B"], attributes=["which"]),
    ]
    constants = [(one.name, numpy_helper.to_array(one)) for one in plain.graph.initializer]
    nodes = [node("outer", ["X", "W", "R", "B"], ["Y"], domain="own")]
    session = Session(model_of(nodes, [value("X")], [value("Y")], constants, functions, own=1))
    for _ in range(2):
        np.testing.assert_array_equal(session.run(None, feeds)[0], Session(plain).run(["Y"], feeds)[0])
    assert in_kernels == ["GRU"] * 4


def test_the_long_name_of_the_domain(made):
    model, _, feeds = made("RNN")
    expected = Session(model).run(None, feeds)
    model.graph.node[0].domain = model.opset_import[0].domain = "ai.onnx"
    for a, b in zip(Session(model).run(None, feeds), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_operator_that_is_nowhere():
    nodes = [node("Attention", ["x"], ["y"], domain="com.microsoft", name="a1")]
    with pytest.raises(
        NotImplementedError, match=r"the model: node 'a1' \(com.microsoft.Attention\): neither fastlstm"
    ):
        Session(model_of(nodes, [value("x")], [value("y")], **{"com.microsoft": 1}))


# ---- hostile models --------------------------------------------------------------------------------------------------


def test_a_cycle():
    nodes = [node("Add", ["x", "b"], ["a"], name="first"), node("Neg", ["a"], ["b"], name="second")]
    with pytest.raises(FileError, match=r"node 'first' \(Add\) needs 'b', which nothing before it gives: there is a"):
        Session(model_of(nodes, [value("x")], [value("b")]))


def test_a_cycle_in_a_branch():
    inner = helper.make_graph([node("Neg", ["a"], ["a"], name="inner")], "inner", [], [value("a")])
    nodes = [node("If", ["flag"], ["y"], then_branch=inner, else_branch=inner)]
    with pytest.raises(FileError, match=r"node 'inner' \(Neg\) needs 'a'"):
        Session(model_of(nodes, [value("flag", [], TensorProto.BOOL)], [value("y")]))


def test_an_output_that_nothing_gives():
    with pytest.raises(FileError, match="graph 'main' has the output 'z', which nothing in it gives"):
        Session(model_of([node("Neg", ["x"], ["y"])], [value("x")], [value("z")]))


def test_a_name_of_two_values():
    """onnx.reference would take the outer one for the inner."""
    inner = helper.make_graph([node("Neg", ["c"], ["y"])], "inner", [], [value("y")], [numpy_helper.from_array(X, "c")])
    nodes = [node("If", ["flag"], ["out"], then_branch=inner, else_branch=inner)]
    inputs = [value("flag", [], TensorProto.BOOL)]
    with pytest.raises(FileError, match="'c' is the name of two values, in a graph and around it"):
        Session(model_of(nodes, inputs, [value("out")], [("c", -X)]))


@pytest.mark.parametrize("length", [1, 2, 5])
def test_functions_that_call_themselves(length):
    functions = [function(f"f{k}", [node(f"f{(k + 1) % length}", ["x"], ["y"], domain="own")]) for k in range(length)]
    nodes = [node("f0", ["x"], ["y"], domain="own")]
    with pytest.raises(FileError, match="function 'f0' calls itself"):
        Session(model_of(nodes, [value("x")], [value("y")], (), functions, own=1))


def test_functions_of_one_name():
    functions = [function("f", [node("Neg", ["x"], ["y"])]), function("f", [node("Abs", ["x"], ["y"])])]
    functions[1].overload = "2"
    nodes = [node("f", ["x"], ["y"], domain="own")]
    with pytest.raises(FileError, match="function 'f' has the name of another, or of an operator"):
        Session(model_of(nodes, [value("x")], [value("y")], (), functions, own=1))


def test_calls_that_double():
    """2^60 nodes would run."""
    start = time.monotonic()
    functions = [function("f0", [node("Neg", ["x"], ["y"])])]
    for k in range(60):
        calls = [node(f"f{k}", ["x"], ["z"], domain="own"), node(f"f{k}", ["z"], ["y"], domain="own")]
        functions.append(function(f"f{k + 1}", calls))
    nodes = [node("f60", ["x"], ["y"], domain="own")]
    with pytest.raises(FileError, match=r"runs more than [0-9]+ nodes, in functions too"):
        Session(model_of(nodes, [value("x")], [value("y")], (), functions, own=1))
    assert time.monotonic() - start < 10


def test_calls_that_are_too_deep():
    functions = [function("f0", [node("Neg", ["x"], ["y"])])]
    functions += [function(f"f{k + 1}", [node(f"f{k}", ["x"], ["y"], domain="own")]) for k in range(100)]
    for order in (functions, functions[::-1]):
        nodes = [node("f100", ["x"], ["y"], domain="own")]
        with pytest.raises(FileError, match="more than 64 deep"):
            Session(model_of(nodes, [value("x")], [value("y")], (), order, own=1))


def test_a_constant_that_is_not_there():
    model = model_of([node("Neg", ["c"], ["y"])], [], [value("y")], [("c", X)])
    model.graph.initializer[0].dims[:] = [10**6, 10**6]
    with pytest.raises(FileError, match="the model cannot be run: "):
        Session(model)


def test_a_shape_that_no_memory_has():
    model = model_of(
        [node("ConstantOfShape", ["n"], ["y"], name="big")], [value("n", [1], TensorProto.INT64)], [value("y")]
    )
    with pytest.raises(MemoryError) as caught:
        Session(model).run(None, {"n": np.array([10**15])})
    assert caught.value.__notes__ == ["in node 'big' (ConstantOfShape)"]


def test_sparse_constants_are_refused():
    model = model_of([node("Neg", ["x"], ["y"])], [value("x")], [value("y")])
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "s"))
    with pytest.raises(FileError, match="sparse constants, as 's', are not read"):
        Session(model)


def test_files_that_are_no_models(tmp_path):
    for content in (b"", b"\xff" * 100, b"PK\x03\x04"):
        with pytest.raises(FileError, match="ONNX model"):
            Session(content)
    with pytest.raises(TypeError, match="model must be a path, bytes or an"):
        Session(7)


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax", "Hardmax"])
def test_what_the_reference_has_of_a_later_version_alone_is_refused(kind):
    for opset in (11, 12, 13):
        node = onnx.helper.make_node(kind, ["x"], ["y"], name="end")
        values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 3, 3]) for name in "xy"]
        graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
        if opset < 13:
            with pytest.raises(NotImplementedError, match=rf"end.*{kind}.*opset 13"):
                fastlstm.onnx.Session(model)
        else:
            x = np.random.default_rng(0).normal(size=(2, 3, 3)).astype(np.float32)
            fastlstm.onnx.Session(model).run(None, {"x": x})


def test_outputs_of_one_value_share_nothing():
    nodes = [onnx.helper.make_node("Relu", ["x"], ["a"])]
    nodes += [onnx.helper.make_node("Identity", ["a"], [name]) for name in "yz"]
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in "xyz"]
    graph = onnx.helper.make_graph(nodes, "g", values[:1], values[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    session = fastlstm.onnx.Session(model)
    for names in (["y", "z"], ["y", "y"]):
        one, other = session.run(names, {"x": np.ones(2, np.float32)})
        one[:] = 7
        assert (other == 1).all()


def test_loops_that_the_reference_runs_wrongly_are_refused():
    value = onnx.helper.make_tensor_value_info
    boolean, real, whole = onnx.TensorProto.BOOL, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    one = onnx.numpy_helper.from_array(np.ones(2, np.float32), "one")
    body_nodes = [
        onnx.helper.make_node("Identity", ["condition"], ["again"]),
        onnx.helper.make_node("Add", ["state", "one"], ["next"]),
        onnx.helper.make_node("Identity", ["next"], ["each"]),
    ]
    inputs = [value("round", whole, []), value("condition", boolean, []), value("state", real, [2])]
    outputs = [value("again", boolean, []), value("next", real, [2]), value("each", real, [2])]
    for scanned, condition, match in (
        (True, "go", "stacking"),
        (False, "", "without a condition"),
        (False, "go", None),
    ):
        body = onnx.helper.make_graph(body_nodes, "b", inputs, outputs if scanned else outputs[:2], [one])
        names = ["last", "all"] if scanned else ["last"]
        loop = onnx.helper.make_node("Loop", ["rounds", condition, "x"], names, name="rounds of it", body=body)
        given = [value("rounds", whole, []), value("go", boolean, []), value("x", real, [2])]
        graph = onnx.helper.make_graph([loop], "g", given, [value(name, real, None) for name in names])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 16)], ir_version=8)
        if match:
            with pytest.raises(NotImplementedError, match=rf"rounds of it.*{match}"):
                fastlstm.onnx.Session(model)
        else:
            feeds = {"rounds": np.array(3), "go": np.array(True), "x": np.zeros(2, np.float32)}
            assert (fastlstm.onnx.Session(model).run(None, feeds)[0] == 3).all()
