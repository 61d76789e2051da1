"""A network beside its ONNX model in ONNX Runtime: the same arrays in, the same arrays out."""

import numpy as np
import onnx
import onnxruntime
import pytest

import fastlstm
import fastlstm.onnx

T, B = 7, 4
LENGTHS = (7, 3, 1, 5)

needs_reference = pytest.mark.skipif(
    tuple(map(int, onnx.__version__.split(".")[:2])) < (1, 23),
    reason="before onnx 1.23 the LSTM of onnx.reference gives no Y_c, and has one direction",
)

onnxruntime.set_default_logger_severity(3)


def session(model):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def axes_of(value):
    """The axes of an input or output: lengths, and names of lengths."""
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


def feeds_of(model, lengths=LENGTHS, symbols=10, T=T, B=B):
    """Random inputs of a model, by name."""
    rng, feeds = np.random.default_rng(5), {}
    for value in model.graph.input:
        shape = [{"time": T, "batch": B, "features": 6}.get(axis, axis) for axis in axes_of(value)]
        if value.name == "lengths":
            feeds[value.name] = np.array(lengths[:B], np.int32)
        elif value.name == "ids":
            feeds[value.name] = rng.integers(0, symbols, shape)
        else:
            kind = np.float32 if value.type.tensor_type.elem_type == 1 else np.float64
            feeds[value.name] = rng.normal(size=shape).astype(kind)
    return feeds


def state_of(network, feeds, where=""):
    """The initial state of a network's call, from inputs by name; None where there are none."""
    if isinstance(network, fastlstm.LSTM):
        return (feeds[f"{where}h0"], feeds[f"{where}c0"]) if f"{where}h0" in feeds else None
    if isinstance(network, (fastlstm.GRU, fastlstm.RNN)):
        return feeds.get(f"{where}h0")
    parts = getattr(network, "layers", None) or network.branches
    every = tuple(
        state_of(part, feeds, f"{where}{k}.") for k, part in enumerate(parts) if "state" in part.needs
    )  # fmt: skip
    return None if all(state is None for state in every) else every


def named_states(network, state, where=""):
    """The last states of a network's call by the names of the model's outputs."""
    if isinstance(network, fastlstm.LSTM):
        return {f"{where}h": state[0], f"{where}c": state[1]}
    if isinstance(network, (fastlstm.GRU, fastlstm.RNN)):
        return {f"{where}h": state}
    parts = getattr(network, "layers", None) or network.branches
    found = {}
    with_state = [(k, part) for k, part in enumerate(parts) if "state" in part.needs]
    for (k, part), own in zip(with_state, state, strict=True):
        found |= named_states(part, own, f"{where}{k}.")
    return found


def outputs_of(network, feeds):
    """What the network gives for these inputs, by the names of the model's outputs; states in any case."""
    x = feeds["ids"] if "ids" in feeds else feeds["x"]
    arguments = {"lengths": feeds["lengths"]} if "lengths" in feeds else {}
    if "state" not in network.needs:
        if "directions" in network.needs:
            arguments["directions"] = 1
        return {"y": network(x, **arguments)}
    y, state = network(x, state_of(network, feeds), **arguments)
    return {"y": y} | named_states(network, state)


def assert_same(found, expected, tolerance=1e-6):
    """All arrays found, by name, are those expected, relative to the largest value or to 1."""
    assert found
    for name, array in found.items():
        other = expected[name]
        assert array.shape == other.shape, name
        np.testing.assert_allclose(
            array, other, rtol=0, atol=tolerance * max(1, np.abs(other).max(initial=0)), err_msg=name
        )


def check(network, *, lengths=LENGTHS, T=T, B=B, symbols=10, opset=17, state=True):
    """Export a network, run its model, and compare; return the model."""
    model = fastlstm.onnx.to_onnx(network, lengths=lengths is not None, opset=opset, state=state)
    feeds = feeds_of(model, lengths, symbols, T, B)
    names = [value.name for value in model.graph.output]
    found = dict(zip(names, session(model).run(names, feeds), strict=True))
    expected = outputs_of(network, feeds)
    if state:
        assert found.keys() == expected.keys()
    else:
        assert list(found) == ["y"]
    assert_same(found, expected)
    for value in model.graph.output:
        for axis, length in zip(axes_of(value), found[value.name].shape, strict=True):
            assert {"time": T, "batch": B}.get(axis, axis) in (length, "outputs")
    return model
