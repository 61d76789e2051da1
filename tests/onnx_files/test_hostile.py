"""Files that are damaged or hostile: nothing of them is used, nothing hangs, and no path leaves their folder."""

import os
import tracemalloc

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import fastlstm  # noqa: E402
from fastlstm.onnx import nodes  # noqa: E402
from fastlstm.onnx._models import open_model  # noqa: E402

FileError = fastlstm.FileError


@pytest.fixture
def external(made, tmp_path):
    """A function that writes a model whose R is in another file, with this description, and returns its path."""
    model, arrays, _ = made("LSTM")
    [R] = [one for one in model.graph.initializer if one.name == "R"]
    (tmp_path / "folder").mkdir()

    def write(content=None, file="R.data", **given):
        if file is not None:
            (tmp_path / "folder" / file).write_bytes(arrays["R"].tobytes() if content is None else content)
        R.ClearField("raw_data")
        del R.external_data[:]
        R.data_location = TensorProto.EXTERNAL
        for key, value in ({"location": "R.data"} | given).items():
            R.external_data.add(key=key, value=str(value))
        path = tmp_path / "folder" / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write


def test_external_data(made, external):
    _, arrays, _ = made("LSTM")
    for path in (external(), external(b"12345678" + arrays["R"].tobytes(), offset=8, length=400, checksum="x")):
        np.testing.assert_array_equal(nodes(path)[0].weights["R"], arrays["R"])
    model = open_model(path).embedded()
    np.testing.assert_array_equal(nodes(model)[0].weights["R"], arrays["R"])


def test_external_data_in_a_folder_below(made, external, tmp_path, monkeypatch):
    _, arrays, _ = made("LSTM")
    (tmp_path / "folder" / "data").mkdir()
    path = external(file="data/R.data", location="data/R.data")
    np.testing.assert_array_equal(nodes(path)[0].weights["R"], arrays["R"])
    monkeypatch.chdir(path.parent)
    np.testing.assert_array_equal(nodes("model.onnx")[0].weights["R"], arrays["R"])


def test_external_data_of_16_bits(made, external):
    path = external()
    model = onnx.ModelProto.FromString(path.read_bytes())
    _, arrays, _ = made("LSTM")
    for one in model.graph.initializer:
        kept = helper.make_tensor(one.name, TensorProto.BFLOAT16, one.dims, arrays[one.name].ravel())
        if one.name == "R":
            content = helper.make_tensor("R", TensorProto.BFLOAT16, one.dims, arrays["R"].ravel()).raw_data
            content = content or np.array(kept.int32_data, np.uint16).tobytes()
            (path.parent / "R.data").write_bytes(content)
            one.data_type = TensorProto.BFLOAT16
        else:
            one.CopyFrom(kept)
    path.write_bytes(model.SerializeToString())
    expected = arrays["R"].view(np.uint32)
    expected = ((expected + 0x7FFF + (expected >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)
    np.testing.assert_array_equal(nodes(path)[0].weights["R"], expected)
    np.testing.assert_array_equal(nodes(open_model(path).embedded())[0].weights["R"], expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"location": ""}, "'' is not the name of a file in the folder of the model"),
        ({"location": "../R.data"}, "'../R.data' is not the name of a file"),
        ({"location": "a/../../R.data"}, "is not the name of a file"),
        ({"location": "..\\R.data"}, "is not the name of a file"),
        ({"location": "/etc/passwd"}, "'/etc/passwd' is not the name of a file"),
        ({"location": "C:\\R.data"}, "is not the name of a file"),
        ({"location": "R.data\0"}, "is not the name of a file"),
        ({"offset": -8}, "must be 400 bytes of 'R.data', which has 400, not 400 from -8"),
        ({"offset": 8}, "must be 400 bytes of 'R.data', which has 400, not 400 from 8"),
        ({"length": 399}, "must be 400 bytes of 'R.data', which has 400, not 399 from 0"),
        ({"length": 1 << 60}, "must be 400 bytes of 'R.data'"),
        ({"offset": "x"}, "tensor 'R' has no place in 'R.data'"),
        ({"offset": "9" * 5000}, "tensor 'R' has no place in 'R.data'"),
        ({"content": b"short"}, "must be 400 bytes of 'R.data', which has 5, not 400 from 0"),
    ],
)
def test_external_data_elsewhere_or_of_another_size(external, given, message):
    path = external(**given)
    with pytest.raises(FileError, match="tensor 'R'") as caught:
        nodes(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_external_data_behind_a_link_out_of_the_folder(external, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(400))
    path = external(file=None)
    os.symlink(tmp_path / "secret", path.parent / "R.data")
    with pytest.raises(FileError, match=r"'R\.data' leads out of the folder of the model"):
        nodes(path)
    path = external(file=None, location="sub/secret")
    os.symlink(tmp_path, path.parent / "sub")
    with pytest.raises(FileError, match="'sub/secret' leads out of the folder of the model"):
        nodes(path)


def test_external_data_that_is_no_regular_file(external):
    path = external(file=None, location=".")
    with pytest.raises(IsADirectoryError):
        nodes(path)
    path = external(file=None, location="missing")
    with pytest.raises(FileNotFoundError):
        nodes(path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(path.parent / "fifo")
        with pytest.raises(OSError, match="not a regular file"):
            nodes(external(file=None, location="fifo"))


def test_external_data_of_bytes_and_models_has_no_folder(external):
    content = external().read_bytes()
    for source in (content, onnx.ModelProto.FromString(content)):
        with pytest.raises(
            FileError, match=r"tensor 'R' has its values in a file, 'R.data': give the path of the model"
        ):
            nodes(source)


def test_the_bytes_of_one_file_are_not_read_any_number_of_times(external):
    """External data of 4 MB, as a thousand constants."""
    path = external(bytes(1 << 22), file="R.data")
    model = onnx.ModelProto.FromString(path.read_bytes())
    del model.graph.initializer[:]
    for k in range(1000):
        one = model.graph.initializer.add(
            name=f"a{k}", dims=[1 << 20], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL
        )
        one.external_data.add(key="location", value="R.data")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(FileError, match="the arrays made of its constants would be far larger than the file"):
        open_model(path).embedded()


def test_whatever_is_cut_off(made, tmp_path):
    model, _, _ = made("GRU")
    content = model.SerializeToString()
    path = tmp_path / "cut.onnx"
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(FileError, match=r"cut\.onnx"):
            nodes(path)


def test_random_bytes_are_an_error_or_nothing(made):
    """One byte is another: what comes out is a ValueError, or nodes."""
    content, rng = made("LSTM", bias=False)[0].SerializeToString(), np.random.default_rng(0)
    count = 0
    for _ in range(2000):
        changed = bytearray(content)
        changed[rng.integers(len(content))] = rng.integers(256)
        try:
            nodes(bytes(changed))
        except ValueError:
            count += 1
    assert count > 200


@pytest.mark.parametrize("content", [b"", b"\x08\x08", b"PK\x03\x04 a zip", b"\x80\x02pickle", b"{}" * 100])
def test_other_files(tmp_path, content):
    path = tmp_path / "other.onnx"
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"other\.onnx is (damaged, or )?not an ONNX model"):
        nodes(path)
    with pytest.raises(FileError, match=r"^the model is "):
        nodes(content)


def test_what_is_no_regular_file(tmp_path):
    with pytest.raises(IsADirectoryError):
        nodes(tmp_path)
    with pytest.raises(FileNotFoundError):
        nodes(tmp_path / "missing.onnx")
    with pytest.raises(OSError, match="not a regular file"):
        nodes("/dev/zero" if os.name == "posix" else "NUL")


def test_a_file_larger_than_any_model(tmp_path):
    path = tmp_path / "large.onnx"
    with open(path, "wb") as file:
        file.truncate(1 << 31)
    with pytest.raises(FileError, match="has 2147483648 bytes, more than an ONNX model can have"):
        nodes(path)


@pytest.mark.parametrize("source", [3, None, [b""], np.zeros(3)])
def test_what_is_no_model(source):
    with pytest.raises(TypeError, match=r"model must be a path, bytes or an onnx\.ModelProto, not"):
        nodes(source)


def with_weight(made, *steps, tensors=(), opset=14):
    model, _, _ = made("LSTM", opset=opset)
    W = next(one for one in model.graph.initializer if one.name == "W")
    model.graph.initializer.remove(W)
    model.graph.initializer.extend([numpy_helper.from_array(array, name) for name, array in tensors])
    before = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*steps, *before])
    return model


DOUBLINGS = [
    helper.make_node("Concat", [f"a{k}", f"a{k}"], ["W" if k == 39 else f"a{k + 1}"], axis=0) for k in range(40)
]
BOMBS = {
    "Concat": (DOUBLINGS, [("a0", np.ones((1, 20, 4), np.float32))]),
    "Expand": (
        [helper.make_node("Expand", ["a", "s"], ["W"])],
        [("a", np.ones(1, np.float32)), ("s", np.array([1, 1 << 20, 1 << 20]))],
    ),
    "ConstantOfShape": ([helper.make_node("ConstantOfShape", ["s"], ["W"])], [("s", np.array([1 << 40]))]),
    "Gather": (
        [helper.make_node("Gather", ["a", "i"], ["W"], axis=1)],
        [("a", np.ones((1 << 12, 1), np.float32)), ("i", np.zeros(1 << 13, np.int64))],
    ),
    "Add": (
        [helper.make_node("Add", ["a", "b"], ["W"])],
        [("a", np.ones((1 << 13, 1), np.float32)), ("b", np.ones(1 << 13, np.float32))],
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_small_files_do_not_become_large_arrays(made, bomb):
    steps, tensors = BOMBS[bomb]
    model = with_weight(made, *steps, tensors=tensors)
    tracemalloc.start()
    with pytest.raises(FileError, match="the arrays made of its constants would be far larger than the file"):
        nodes(model)
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


def test_shapes_without_the_values(made):
    for dims in ([1, 1 << 40], [-1, 20, 4], [1] * 40, [1 << 62, 1 << 62]):
        model, _, _ = made("LSTM")
        [W] = [one for one in model.graph.initializer if one.name == "W"]
        del W.dims[:]
        W.dims.extend(dims)
        with pytest.raises(FileError, match=r"^the model: tensor 'W' "):
            nodes(model)


@pytest.mark.parametrize("data_type", [TensorProto.STRING, TensorProto.COMPLEX64, TensorProto.FLOAT8E4M3FN, 0, 99])
def test_types_that_are_not_read(made, data_type):
    model, _, _ = made("LSTM")
    model.graph.initializer[0].data_type = data_type
    with pytest.raises(FileError, match=r"^the model: tensor 'W' has .*, which is not read"):
        nodes(model)


@pytest.mark.parametrize(
    ("step", "tensors"),
    [
        (helper.make_node("Reshape", ["a", "s"], ["W"]), [("a", np.ones(7)), ("s", np.array([2, 2]))]),
        (helper.make_node("Reshape", ["a", "s"], ["W"]), [("a", np.ones(7)), ("s", np.ones(3))]),
        (helper.make_node("Transpose", ["a"], ["W"], perm=[0, 0]), [("a", np.ones((2, 2)))]),
        (helper.make_node("Transpose", ["a"], ["W"], perm="ab"), [("a", np.ones((2, 2)))]),
        (helper.make_node("Unsqueeze", ["a"], ["W"]), [("a", np.ones(7))]),
        (helper.make_node("Concat", ["a", "b"], ["W"], axis=5), [("a", np.ones(7)), ("b", np.ones(7))]),
        (helper.make_node("Concat", ["a", "b"], ["W"], axis=0), [("a", np.ones(7)), ("b", np.ones((7, 7)))]),
        (helper.make_node("Gather", ["a", "i"], ["W"]), [("a", np.ones(7)), ("i", np.array([9]))]),
        (helper.make_node("Slice", ["a", "i"], ["W"]), [("a", np.ones(7)), ("i", np.array([9]))]),
        (helper.make_node("Split", ["a", "i"], ["b", "W"]), [("a", np.ones(7)), ("i", np.array([9, 9, 9]))]),
        (helper.make_node("Identity", ["a", "b"], ["W"]), [("a", np.ones(7)), ("b", np.ones(7))]),
        (helper.make_node("Add", ["a"], ["W"]), [("a", np.ones(7))]),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else "",
)
def test_operations_that_cannot_be(made, step, tensors):
    with pytest.raises(FileError, match=rf"^the model: the node that gives .*\({step.op_type}\) cannot be computed"):
        nodes(with_weight(made, step, tensors=tensors))


def test_long_chains_and_cycles_end(made):
    chain = [helper.make_node("Identity", [f"a{k}"], [f"a{k + 1}"]) for k in range(5000)]
    model = with_weight(made, *chain, tensors=[("a0", np.ones((1, 20, 4), np.float32))])
    model.graph.node[-1].input[1] = "a5000"
    assert nodes(model)[0].computed == ("W",)
    model.graph.node[-1].input[1] = "a20"
    assert nodes(model)[0].computed == ()
    cycle = [helper.make_node("Identity", ["b"], ["W"]), helper.make_node("Identity", ["W"], ["b"])]
    assert nodes(with_weight(made, *cycle))[0].computed == ("W",)


def test_deep_graphs_end():
    """In memory by our bound, in files by that of protobufs."""
    model = helper.make_model(helper.make_graph([], "g", [], []))
    graph = model.graph
    for _ in range(70):
        graph = graph.node.add(op_type="If").attribute.add(name="then_branch", type="GRAPH").g
    with pytest.raises(FileError, match="its graphs are more than 64 deep"):
        nodes(model)

    def field(number, content):
        """A message within a message, as bytes."""
        length, size = b"", len(content)
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    content = b""
    for _ in range(5000):
        content = field(1, field(5, field(6, content)))
    with pytest.raises(FileError, match="is damaged, or not an ONNX model"):
        nodes(b"\x08\x08" + field(7, content))


def functions(calls):
    opsets = [helper.make_opsetid("", 14), helper.make_opsetid("own", 1)]
    made = [
        helper.make_function("own", f"F{k}", ["x"], ["y"], [helper.make_node(f"F{j}", ["x"], ["y"], domain="own")
                                                              for j in own], opsets)
        for k, own in enumerate(calls)
    ]  # fmt: skip
    graph = helper.make_graph([helper.make_node("F0", ["x"], ["y"], domain="own")], "g", [], [])
    return helper.make_model(graph, functions=made, opset_imports=opsets)


def test_functions_that_call_themselves_end():
    with pytest.raises(FileError, match="its graphs are more than 64 deep"):
        nodes(functions([[0]]))


def test_functions_that_call_others_many_times_end():
    with pytest.raises(FileError, match="has more than 262144 nodes"):
        nodes(functions([[k + 1, k + 1] for k in range(40)] + [[]]))


def test_references_to_nothing(made):
    model, _, _ = made("LSTM")
    [one] = [one for one in model.graph.node[0].attribute if one.name == "hidden_size"]
    one.CopyFrom(onnx.AttributeProto(name="hidden_size", ref_attr_name="size", type="INT"))
    with pytest.raises(ValueError, match="reference"):
        nodes(model)
