"""Additive attention: gradients against finite differences, PyTorch as an oracle, what lies past an end, misuse."""

import copy
import pickle

import numpy as np
import pytest
from differences import central_difference

from fastlstm.nn import Attention, attention

F = np.float64
LENGTHS = [4, 1, 0]  # of a memory of S = 5 steps: no row has the last one
T, S, B = 3, 5, 3


def layer(seed=0, dtype=F):
    found = Attention(2, 3, 4, dtype=dtype, seed=seed)
    found.flat *= 2  # far enough from 0 that tanh is not linear
    return found


def inputs(seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(T, B, 2)), rng.normal(size=(S, B, 3)), rng.normal(size=(T, B, 3))


@pytest.fixture(params=[attention.BLOCK, 4 * S * 2, 1], ids=["one block", "blocks of 2 steps", "blocks of one"])
def block(request, monkeypatch):
    monkeypatch.setattr(attention, "BLOCK", request.param)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_gradients(lengths):
    look, (query, memory, dcontext) = layer(), inputs()
    context, tape = look.forward(query, memory, lengths)
    np.testing.assert_array_equal(context, look(query, memory, lengths))

    def loss():
        return float((look(query, memory, lengths) * dcontext).sum())

    grads = look.backward(tape, dcontext)
    np.testing.assert_allclose(grads.flat, central_difference(loss, look.flat), atol=1e-8)
    np.testing.assert_allclose(grads.x[0], central_difference(loss, query), atol=1e-8)
    np.testing.assert_allclose(grads.x[1], central_difference(loss, memory), atol=1e-8)
    assert grads.state is None


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_pytorch(lengths):
    torch = pytest.importorskip("torch")
    look, arrays = layer(), inputs()
    q, e, dcontext = (torch.tensor(array, requires_grad=True) for array in arrays)
    W, U, v = (torch.tensor(look.params[name], requires_grad=True) for name in "WUv")
    scores = torch.tanh((q @ W.T)[:, None] + (e @ U.T)[None]) @ v  # (T, S, B)
    if lengths is not None:
        past = torch.arange(S)[:, None] >= torch.tensor(lengths)
        scores = scores.masked_fill(past, -torch.inf)
    weights = torch.softmax(scores, 1).nan_to_num(0.0)
    expected = torch.einsum("tsb,sbe->tbe", weights, e)
    context, tape = look.forward(*arrays[:2], lengths)
    np.testing.assert_allclose(context, expected.detach(), atol=1e-13)
    np.testing.assert_allclose(tape.weights, weights.detach().swapaxes(1, 2), atol=1e-13)
    if lengths is None:  # of a row without steps PyTorch has no gradient
        (expected * dcontext).sum().backward()
        grads = look.backward(tape, arrays[2])
        for name, parameter in zip("WUv", (W, U, v), strict=True):
            np.testing.assert_allclose(grads.params[name], parameter.grad, atol=1e-13)
        np.testing.assert_allclose(grads.x[0], q.grad, atol=1e-13)
        np.testing.assert_allclose(grads.x[1], e.grad, atol=1e-13)


def test_nothing_past_an_end_counts():
    look, (query, memory, dcontext) = layer(), inputs()
    expected, tape = look.forward(query, memory, LENGTHS)
    expected_grads = look.backward(tape, dcontext)
    past = np.arange(S)[:, np.newaxis] >= LENGTHS
    memory[past] = np.nan
    context, tape = look.forward(query, memory, LENGTHS)
    grads = look.backward(tape, dcontext)
    np.testing.assert_array_equal(context, expected)
    np.testing.assert_array_equal(grads.flat, expected_grads.flat)
    np.testing.assert_array_equal(grads.x[0], expected_grads.x[0])
    np.testing.assert_array_equal(grads.x[1], expected_grads.x[1])
    assert not tape.weights[:, past.T].any()
    assert not grads.x[1][past].any()
    assert not context[:, 2].any()  # a row without steps
    np.testing.assert_allclose(tape.weights.sum(axis=-1), np.broadcast_to([1, 1, 0], (T, B)), atol=1e-15)
    np.testing.assert_allclose(context[:, 1], np.broadcast_to(memory[0, 1], (T, 3)), atol=1e-15)


def test_large_scores_do_not_overflow():
    look, (query, memory, _) = layer(dtype=np.float32), inputs()
    look.params["v"][:] = 1e4
    context, tape = look.forward(query.astype(np.float32), memory.astype(np.float32), LENGTHS)
    assert np.isfinite(context).all()
    np.testing.assert_allclose(tape.weights.sum(axis=-1), np.broadcast_to([1, 1, 0], (T, B)), atol=1e-6)


def test_gradients_accumulate_and_are_written_again():
    look, (query, memory, dcontext) = layer(), inputs()
    _, tape = look.forward(query, memory, LENGTHS)
    grads = look.backward(tape, dcontext)
    once, flat = grads.flat.copy(), grads.flat
    assert look.backward(tape, dcontext, out=grads, accumulate=True) is grads
    np.testing.assert_array_equal(grads.flat, 2 * once)
    grads.flat[:] = np.nan
    np.testing.assert_array_equal(look.backward(tape, dcontext, out=grads).flat, once)
    assert grads.flat is flat


@pytest.mark.parametrize(("T", "S", "B"), [(0, 5, 3), (3, 0, 3), (3, 5, 0)])
def test_empty(T, S, B):
    look = layer()
    context, tape = look.forward(np.ones((T, B, 2)), np.ones((S, B, 3)))
    assert context.shape == (T, B, 3)
    assert not context.any()
    grads = look.backward(tape, context)
    assert not grads.flat.any()
    assert [dx.shape for dx in grads.x] == [(T, B, 2), (S, B, 3)]


def test_other_strides_and_read_only_inputs():
    look, (query, memory, dcontext) = layer(), inputs()
    expected, tape = look.forward(query, memory, LENGTHS)
    turned = [np.asfortranarray(array) for array in (query, memory, dcontext)]
    for array in turned:
        array.setflags(write=False)
    context, again = look.forward(*turned[:2], LENGTHS)
    np.testing.assert_array_equal(context, expected)
    np.testing.assert_array_equal(look.backward(again, turned[2]).flat, look.backward(tape, dcontext).flat)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda look: pickle.loads(pickle.dumps(look))])
def test_copies_have_their_own_buffer(copied):
    look, (query, memory, _) = layer(), inputs()
    twin = copied(look)
    np.testing.assert_array_equal(twin(query, memory), look(query, memory))
    twin.flat[:] = 0
    assert not twin.params["U"].any()
    assert look.params["U"].all()
    assert repr(twin) == "Attention(2, 3, 4, dtype=float64)"


def test_initial_weights():
    look = Attention(100, 400, 25, seed=1)
    for name, scale in (("W", 0.1), ("U", 0.05), ("v", 0.2)):
        assert 0.8 * scale < np.abs(look.params[name]).max() <= scale
    np.testing.assert_array_equal(look.flat, Attention(100, 400, 25, seed=np.random.default_rng(1)).flat)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a, q, m: Attention(0, 3, 4), ValueError, "query_size must be at least 1"),
        (lambda a, q, m: Attention(2, 3, 4.0), TypeError, "hidden_size must be an int"),
        (lambda a, q, m: Attention(2, 3, 4, dtype=int), TypeError, "float32 or float64"),
        (lambda a, q, m: a(q.tolist(), m), TypeError, "query must be a NumPy array"),
        (lambda a, q, m: a(q, m.astype(np.float32)), TypeError, "memory must have dtype float64, not float32"),
        (lambda a, q, m: a(q, m[0]), ValueError, r"memory must have shape \(S, B, E\)"),
        (lambda a, q, m: a(q, m[..., :2]), ValueError, r"memory must have shape \(S, B, memory_size\) = \(5, 3, 3\)"),
        (lambda a, q, m: a(q[:, :1], m), ValueError, r"query must have shape \(T, B, query_size\) = \(3, 3, 2\)"),
        (lambda a, q, m: a(q, m, [6, 1, 1]), ValueError, "lengths must be from 0 to S = 5, not 1 to 6"),
        (lambda a, q, m: a(q, m, [1.0, 1.0, 1.0]), TypeError, "lengths must be integers"),
        (lambda a, q, m: a(q, m, [1]), ValueError, r"lengths must have shape \(B,\) = \(3,\)"),
        (lambda a, q, m: a.attend(q, m), TypeError, "memory must be an AttentionMemory from prepare, not ndarray"),
        (
            lambda a, q, m: a.attend(q, Attention(2, 3, 5, dtype=F).prepare(m)),
            ValueError,
            r"memory.keys must have shape \(B, S, hidden_size\) = \(3, 5, 4\), not \(3, 5, 5\)",
        ),
        (
            lambda a, q, m: Attention(2, 3, 4).backward(a.forward(q, m)[1], q),
            TypeError,
            "memory.steps must have dtype float32, not float64",
        ),
        (lambda a, q, m: a.backward(m, q), TypeError, "tape must be an AttentionTape from forward"),
        (lambda a, q, m: a.backward(a.forward(q, m)[1], q), ValueError, "dcontext must have shape"),
        (lambda a, q, m: a.backward(a.forward(q, m)[1], m[:3], accumulate=True), ValueError, "needs out"),
    ],
)
def test_errors(call, error, message):
    query, memory, _ = inputs()
    with pytest.raises(error, match=message):
        call(layer(), query, memory)
