"""The same numbers from PyTorch, from autograd, from ONNX Runtime and from ONNX's own examples."""

import warnings

import numpy as np
import pytest
from cases import LSTM_ARGUMENTS, lstm_case, rnn_case
from helpers import assert_close, lstm_forward, rnn_forward, run_lstm, run_rnn
from peers import PEER_TOLERANCE, SIZES, all_sizes, both_dtypes, leaf, run_onnxruntime, torch_layer

import fastlstm

# ---- PyTorch ----


@all_sizes
@both_dtypes
def test_torch_lstm(torch, sizes, dtype):
    case = lstm_case(*sizes, peephole=False, dtype=dtype)
    layer = torch_layer(torch, torch.nn.LSTM, case)
    x, h0, c0 = leaf(torch, case["x"]), leaf(torch, case["h0"][None]), leaf(torch, case["c0"][None])
    y, (h, c) = layer(x, (h0, c0))
    h, c = h[0], c[0]
    torch.autograd.backward([y, h, c], [torch.from_numpy(case[name]) for name in ("dy", "dh", "dc")])
    expected = {
        "y": y, "h": h, "c": c, "dx": x.grad, "dW": layer.weight_ih_l0.grad, "dR": layer.weight_hh_l0.grad,
        "db": layer.bias_ih_l0.grad, "dh0": h0.grad[0], "dc0": c0.grad[0],
    }  # fmt: skip
    expected = {name: tensor.detach().numpy() for name, tensor in expected.items()}
    assert_close(run_lstm(case), expected, PEER_TOLERANCE[dtype])


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@all_sizes
@both_dtypes
def test_torch_rnn(torch, sizes, nonlinearity, dtype):
    case = rnn_case(*sizes, nonlinearity, dtype=dtype)
    layer = torch_layer(torch, torch.nn.RNN, case, nonlinearity=nonlinearity)
    x, h0 = leaf(torch, case["x"]), leaf(torch, case["h0"][None])
    y, h = layer(x, h0)
    h = h[0]
    torch.autograd.backward([y, h], [torch.from_numpy(case[name]) for name in ("dy", "dh")])
    expected = {
        "y": y, "h": h, "dx": x.grad, "dW": layer.weight_ih_l0.grad, "dR": layer.weight_hh_l0.grad,
        "db": layer.bias_ih_l0.grad, "dh0": h0.grad[0],
    }  # fmt: skip
    expected = {name: tensor.detach().numpy() for name, tensor in expected.items()}
    assert_close(run_rnn(case, nonlinearity), expected, PEER_TOLERANCE[dtype])


def autograd_peephole_lstm(torch, x, W, R, b, p, h0, c0):
    """The equations again, in PyTorch's words, with no backward pass written by hand."""
    y, c, ys = h0, c0, []
    for x_t in x:
        i, f, z, o = (x_t @ W.T + y @ R.T + b).chunk(4, dim=-1)
        i, f, z = torch.sigmoid(i + p[0] * c), torch.sigmoid(f + p[1] * c), torch.tanh(z)
        c = z * i + c * f
        o = torch.sigmoid(o + p[2] * c)
        y = torch.tanh(c) * o
        ys.append(y)
    return torch.stack(ys), y, c


@all_sizes
@both_dtypes
def test_autograd_peephole_lstm(torch, sizes, dtype):
    case = lstm_case(*sizes, dtype=dtype)
    leaves = {name: leaf(torch, case[name]) for name in LSTM_ARGUMENTS}
    y, h, c = autograd_peephole_lstm(torch, **leaves)
    torch.autograd.backward([y, h, c], [torch.from_numpy(case[name]) for name in ("dy", "dh", "dc")])
    expected = {"y": y, "h": h, "c": c} | {f"d{name}": tensor.grad for name, tensor in leaves.items()}
    expected = {name: tensor.detach().numpy() for name, tensor in expected.items()}
    assert_close(run_lstm(case), expected, PEER_TOLERANCE[dtype])


@all_sizes
def test_torch_lstm_layer_batch_first(torch, sizes):
    """The layers themselves, with a batch_first PyTorch layer's parameters copied one to one."""
    T, B, I, H = sizes
    peer = torch.nn.LSTM(I, H, batch_first=True, dtype=torch.float64)
    lstm = fastlstm.LSTM(I, H, peephole=False, batch_first=True, dtype=np.float64)
    lstm.params["W_l0"][:] = peer.weight_ih_l0.detach().numpy()
    lstm.params["R_l0"][:] = peer.weight_hh_l0.detach().numpy()
    lstm.params["b_l0"][:] = (peer.bias_ih_l0 + peer.bias_hh_l0).detach().numpy()
    x = np.random.default_rng(0).standard_normal((B, T, I))
    y, (h, c) = lstm(x)
    y_peer, (h_peer, c_peer) = peer(torch.from_numpy(x))
    expected = {"y": y_peer, "h": h_peer, "c": c_peer}
    expected = {name: tensor.detach().numpy() for name, tensor in expected.items()}
    assert_close({"y": y, "h": h, "c": c}, expected, PEER_TOLERANCE[np.float64])


# ---- ONNX ----


def to_onnx(array, order):
    """Gate blocks i, f, z, o in another order, and the axis of directions."""
    blocks = dict(zip("ifzo", np.split(array, 4), strict=True))
    return np.concatenate([blocks[gate] for gate in order])[np.newaxis]


def from_onnx(array):
    """Gate blocks of ONNX, i, o, f, c, in the order i, f, z, o."""
    i, o, f, z = np.split(array, 4)
    return np.concatenate([i, f, z, o])


@pytest.mark.parametrize("peephole", [True, False])
@all_sizes
def test_onnxruntime_lstm(onnx, sizes, peephole):
    case = lstm_case(*sizes, peephole=peephole, dtype=np.float32)
    W, R, b = (to_onnx(case[name], "iofz") for name in ("W", "R", "b"))
    i, f, o = case["p"] if peephole else (None, None, None)
    inputs = {
        "X": case["x"], "W": W, "R": R, "B": np.concatenate([b, np.zeros_like(b)], axis=1), "sequence_lens": None,
        "initial_h": case["h0"][None], "initial_c": case["c0"][None],
        "P": np.concatenate([i, o, f])[None] if peephole else None,
    }  # fmt: skip
    found = run_onnxruntime(onnx, "LSTM", inputs, ["Y", "Y_h", "Y_c"], hidden_size=sizes[3])
    y, (h, c), _ = lstm_forward(case)
    # 1e-5: ONNX Runtime's own approximations of tanh and sigma are good to some 20 float32 ulp.
    expected = {"y": found["Y"][:, 0], "h": found["Y_h"][0], "c": found["Y_c"][0]}
    assert_close({"y": y, "h": h, "c": c}, expected, 1e-5)


ONNX_OPTIONS = {
    "coupled": ({"variant": "CIFG"}, {"input_forget": 1}),
    "clip": ({"clip": 0.5}, {"clip": 0.5}),
    "hard gates": (
        {"activations": ("hard_logistic", "tanh", "tanh")},
        {"activations": ["HardSigmoid", "Tanh", "Tanh"]},
    ),
    "relu": ({"activations": ("logistic", "relu", "logistic")}, {"activations": ["Sigmoid", "Relu", "Sigmoid"]}),
    "reverse": ({"reverse": True}, {"direction": "reverse"}),
}


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("peephole", [True, False])
@pytest.mark.parametrize("option", ONNX_OPTIONS)
@pytest.mark.parametrize("sizes", SIZES[2:], ids=str)
def test_onnxruntime_lstm_options(onnx, sizes, option, peephole, lengths):
    """The clip of ONNX leaves c alone, as that of fastlstm does."""
    own, attributes = ONNX_OPTIONS[option]
    T, B, _, H = sizes
    case = lstm_case(*sizes, peephole=peephole, dtype=np.float32)
    W, R, b = (to_onnx(case[name], "iofz") for name in ("W", "R", "b"))
    p, ends = case["p"], None
    if lengths:
        ends = np.random.default_rng(0).integers(1, T + 1, B).astype(np.int32)
        ends[-1] = T
    inputs = {
        "X": case["x"], "W": W, "R": R, "B": np.concatenate([b, np.zeros_like(b)], axis=1), "sequence_lens": ends,
        "initial_h": case["h0"][None], "initial_c": case["c0"][None],
        "P": np.concatenate([p[0], p[2], p[1]])[None] if peephole else None,
    }  # fmt: skip
    found = run_onnxruntime(onnx, "LSTM", inputs, ["Y", "Y_h", "Y_c"], hidden_size=H, **attributes)
    W, R, b = (case[name] for name in ("W", "R", "b"))
    if option == "coupled":
        W, R, b = (np.delete(array.reshape(4, H, -1), 1, 0).reshape(3 * H, *array.shape[1:]) for array in (W, R, b))
        p = p[[0, 2]] if peephole else None
    y, (h, c), _ = fastlstm.lstm_forward(case["x"], W, R, b, p, (case["h0"], case["c0"]), lengths=ends, **own)
    expected = {"y": found["Y"][:, 0], "h": found["Y_h"][0], "c": found["Y_c"][0]}
    assert_close({"y": y, "h": h, "c": c}, expected, 1e-5)


@pytest.mark.parametrize(("nonlinearity", "name"), [("tanh", "Tanh"), ("relu", "Relu"), ("logistic", "Sigmoid")])
@all_sizes
def test_onnxruntime_rnn(onnx, sizes, nonlinearity, name):
    case = rnn_case(*sizes, nonlinearity, dtype=np.float32)
    inputs = {
        "X": case["x"], "W": case["W"][None], "R": case["R"][None],
        "B": np.concatenate([case["b"], np.zeros_like(case["b"])])[None], "sequence_lens": None,
        "initial_h": case["h0"][None],
    }  # fmt: skip
    found = run_onnxruntime(onnx, "RNN", inputs, ["Y", "Y_h"], hidden_size=sizes[3], activations=[name])
    y, h, _ = rnn_forward(case, nonlinearity)
    assert_close({"y": y, "h": h}, {"y": found["Y"][:, 0], "h": found["Y_h"][0]}, 1e-5)


def gru_from_onnx(array):
    """Gate blocks of ONNX, z, r, h, in the order r, z, n."""
    z, r, n = np.split(array, 3)
    return np.concatenate([r, z, n])


def onnx_layer(node, given):
    """An LSTM, GRU or RNN node with default activations, one fastlstm call for each direction: Y, Y_h and Y_c."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    assert set(attributes) <= {"hidden_size", "layout", "direction"}
    batch_first = "layout" in attributes and attributes["layout"].i == 1
    direction = attributes["direction"].s.decode() if "direction" in attributes else "forward"
    H, kind = attributes["hidden_size"].i, node.op_type
    x = given["X"].swapaxes(0, 1) if batch_first else given["X"]
    if "sequence_lens" in given:
        assert (given["sequence_lens"] == len(x)).all()
    found = []
    for d, reverse in enumerate({"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]):
        W, R = given["W"][d], given["R"][d]
        b = sum(np.split(given["B"][d], 2)) if "B" in given else np.zeros(len(W), np.float32)
        steps = x[::-1] if reverse else x
        state = [given[name][d] for name in ("initial_h", "initial_c") if name in given]
        if kind == "LSTM":
            p = None
            if "P" in given:
                i, o, f = np.split(given["P"][d], 3)
                p = np.stack([i, f, o])
            y, last, _ = fastlstm.lstm_forward(steps, from_onnx(W), from_onnx(R), from_onnx(b), p, state or None)
        elif kind == "GRU":
            y, h, _ = fastlstm.gru_forward(
                steps, gru_from_onnx(W), gru_from_onnx(R), gru_from_onnx(b), state=state[0] if state else None,
                reset_after=False,
            )  # fmt: skip
            last = (h,)
        else:
            y, h, _ = fastlstm.rnn_forward(steps, W, R, b, state[0] if state else None)
            last = (h,)
        assert y.shape[2] == H
        found.append((y[::-1] if reverse else y, *last))
    y, *last = (np.stack(arrays, axis=1 if k == 0 else 0) for k, arrays in enumerate(zip(*found, strict=True)))
    if batch_first:
        y, last = np.moveaxis(y, 2, 0), [state.swapaxes(0, 1) for state in last]
    return dict(zip(("Y", "Y_h", "Y_c"), (y, *last), strict=False))


@pytest.fixture(scope="module")
def onnx_examples():
    """ONNX's own tests of its operators, by name."""
    loader = pytest.importorskip("onnx.backend.test.loader", reason="ONNX is an optional peer")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # generating its cases of other operators overflows here and there
        return {case.name: case for case in loader.load_model_tests(kind="node")}


# All of the form that resets before, which is ONNX's default.
GRU_EXAMPLES = [
    f"test_gru_{name}" for name in ("defaults", "with_initial_bias", "batchwise", "reverse", "bidirectional")
]


@pytest.mark.parametrize(
    "name",
    [
        "test_lstm_defaults",
        "test_lstm_with_initial_bias",
        "test_lstm_with_peepholes",
        "test_lstm_batchwise",
        "test_lstm_reverse",
        "test_lstm_bidirectional",
        *GRU_EXAMPLES,
        "test_simple_rnn_defaults",
        "test_simple_rnn_with_initial_bias",
        "test_simple_rnn_batchwise",
        "test_simple_rnn_reverse",
        "test_simple_rnn_bidirectional",
        "test_rnn_seq_length",
    ],
)
def test_onnx_example(onnx_examples, name):
    example = onnx_examples[name]
    (node,) = example.model.graph.node
    names = [value.name for value in example.model.graph.input]
    for inputs, outputs in example.data_sets:
        found = onnx_layer(node, dict(zip(names, inputs, strict=True)))
        expected = dict(zip([name for name in node.output if name], outputs, strict=True))
        assert expected
        assert_close({name: found[name] for name in expected}, expected, 1e-6)
