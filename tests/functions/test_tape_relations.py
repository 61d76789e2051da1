"""Whatever of a tape, of masks or of gradients comes from elsewhere is refused, or gives what a consistent one gives.

A fuzzer makes two forward passes, which differ in a few sizes and options, and puts a part of one into the other, or
something that no pass made. FASTLSTM_CROSSINGS=100000 makes so many crossings of each kind of network instead of a few;
under the sanitizers it also shows that nothing is read or written out of bounds.
"""

import copy
import dataclasses
import os
import re

import numpy as np
import pytest
from cases import GRU_FORMS

import fastlstm
from fastlstm import GRU, LSTM, RNN, nn
from fastlstm._cells import GRUCell, LSTMCell, RNNCell
from fastlstm._engine.batches import Batch, Lengths
from fastlstm._engine.call import Call
from fastlstm._engine.options import Options
from fastlstm.layers.masks import Masks
from fastlstm.layers.parameters import Gradients

CROSSINGS = int(os.environ.get("FASTLSTM_CROSSINGS", "150"))
REFUSED = TypeError, ValueError
FROZEN = Call, Batch, Options, Lengths  # not for users to change: whatever is done to them must not crash, no more


# ---- walking through what a tape is made of --------------------------------------------------------------------------


def parts(node):
    """The names and values of what a node is made of; none, where it is a value itself."""
    if isinstance(node, (GRUCell, LSTMCell, RNNCell)):
        return {}
    if isinstance(node, tuple) and hasattr(node, "_asdict"):
        return node._asdict()
    if isinstance(node, (list, tuple)):
        return dict(enumerate(node))
    if isinstance(node, Lengths):
        return vars(node)
    if isinstance(node, Gradients):
        return {name: getattr(node, name) for name in ("flat", "params", "parts", "x", "state")}
    if isinstance(node, dict):
        return node
    if dataclasses.is_dataclass(node):
        return {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    return {}


def paths(node, path=()):
    """The paths to all that a node is made of."""
    for name, part in parts(node).items():
        yield (*path, name)
        yield from paths(part, (*path, name))


def part_at(node, path):
    for name in path:
        node = parts(node)[name]
    return node


def put(node, path, value):
    """Put a value where a path leads, in the node itself or, where that cannot change, in a copy: gives the node."""
    name, *rest = path
    if rest:
        value = put(parts(node)[name], rest, value)
    if isinstance(node, tuple):
        items = list(node)
        items[list(parts(node)).index(name)] = value
        return type(node)(*items) if hasattr(node, "_asdict") else tuple(items)
    if isinstance(node, (list, dict)):
        node[name] = value
    elif isinstance(node, Lengths):
        vars(node)[name] = value
    else:
        object.__setattr__(node, name, value)
    return node


def is_private(node, path):
    """Does a path lead into what users cannot change?"""
    return any(isinstance(part_at(node, path[:k]), FROZEN) for k in range(len(path)))


def form(node, integers=False, values=False):
    """Return all that decides which memory is used; the values of arrays only for lengths, or with `integers`."""
    if isinstance(node, np.ndarray):
        exact = values or (integers and node.dtype == np.int64)
        return type(node).__name__, node.shape, node.dtype.str, node.tolist() if exact else None
    if isinstance(node, (GRUCell, LSTMCell, RNNCell)):
        return repr(node)
    inside = parts(node)
    if not (inside or isinstance(node, (list, tuple, dict))):
        return repr(node)
    values, free = isinstance(node, (Batch, Lengths)), ("reset_to_zero", "invariant")
    forms = [(name, form(part, integers, values)) for name, part in inside.items() if name not in free]
    return type(node).__name__, forms


def changed(value, rng):
    """Something like a value, or nothing like it."""
    strange = [None, 3, -1, 0, 10**12, "x", [], (), np.zeros(0), np.zeros((2, 3), np.float32)]
    if isinstance(value, np.ndarray):
        wide = np.zeros((*value.shape[:-1], 2 * value.shape[-1]), value.dtype) if value.ndim else value
        if value.ndim:
            wide[..., ::2] = value
        strange += [
            value.copy(), np.asfortranarray(value), wide[..., ::2], value[:1], value[1:], value[..., :-1], wide,
            np.concatenate([value, value]), value.T, value[None], value.reshape(-1), value.astype(np.float16),
            value.astype({4: np.float64}.get(value.itemsize, np.float32)), value.view(np.uint8), value.tolist(),
            np.broadcast_to(value[:1], value.shape), value[::-1], value.astype(">f4"), np.ma.masked_array(value),
        ]  # fmt: skip
    elif isinstance(value, bool):
        strange += [not value]
    elif isinstance(value, int):
        strange += [value + 1, value - 1, 2 * value, -value, True, float(value)]
    elif isinstance(value, (list, tuple)) and not hasattr(value, "_asdict"):
        strange += [value[:-1], [*value, *value], value[::-1], list(value), tuple(value)]
    return strange[rng.integers(len(strange))]


# ---- forward passes -------------------------------------------------------------------------------------------------


class Pass:
    """A forward pass, and what its backward pass is given."""

    def __init__(self, network, x, tape, arriving, again):
        self.network, self.x, self.tape, self.arriving, self.again = network, x, tape, arriving, again

    def backward(self, tape, **options):
        return arrays_of(self.network.backward(tape, *self.arriving, **options))


def arrays_of(grads):
    """All that a backward pass gives, as bytes."""
    found = {"flat": grads.flat, **dict(grads.params)}
    for name in ("x", "state"):
        part = getattr(grads, name)
        found |= {(name, *path): part_at(part, path) for path in paths(part)} if parts(part) else {name: part}
    return {name: array.tobytes() for name, array in found.items() if isinstance(array, np.ndarray)}


def numbers(rng, *shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


def recurrent_choices(rng):
    pick = rng.choice
    return {
        "cell": str(pick(["vanilla", "vanilla", "CIFG", "FGR", "NP", "NOAF", "GRU", "RNN"])),
        "I": int(pick([1, 3, 5])), "H": int(pick([2, 5, 8, 17])), "P": int(pick([0, 0, 1])),
        "layers": int(pick([1, 2, 3])), "bidirectional": bool(pick([False, True])),
        "layer_norm": bool(pick([False, False, True])),
        "batch_first": bool(pick([False, True])), "dtype": pick([np.float32, np.float64]),
        "dropout": pick([0.0, 0.5]), "recurrent_dropout": pick([0.0, 0.5]), "drop_connect": pick([0.0, 0.5]),
        "zoneout": (pick([0.0, 0.5]), pick([0.0, 0.5])), "T": int(pick([0, 1, 2, 7, 40])), "B": int(pick([0, 1, 3, 5])),
        "lengths": bool(pick([False, True])), "packed": bool(pick([False, False, True])),
        "reset": bool(pick([False, True])), "recompute": pick([None, None, 1, 2, 5]),
        "batch_invariant": bool(pick([False, True])),
    }  # fmt: skip


def recurrent_pass(choices, seed):
    c, rng = choices, np.random.default_rng(seed)
    names = "bidirectional", "batch_first", "dtype", "dropout", "recurrent_dropout", "drop_connect", "batch_invariant"
    options = {name: c[name] for name in names} | ({"dropout": 0.0} if c["layers"] == 1 else {})
    if c["cell"] == "RNN":
        network = RNN(c["I"], c["H"], c["layers"], zoneout=c["zoneout"][0], seed=0, **options)
    elif c["cell"] == "GRU":
        form = GRU_FORMS[c["H"] % len(GRU_FORMS)]
        network = GRU(c["I"], c["H"], c["layers"], reset_after=form, zoneout=c["zoneout"][0], seed=0, **options)
    else:
        own = {"variant": c["cell"], "proj_size": c["P"], "zoneout": c["zoneout"]}
        own |= {"layer_norm": c["layer_norm"] and c["cell"] != "FGR"}
        network = LSTM(c["I"], c["H"], c["layers"], seed=0, **own, **options)
    T, B, D, P = c["T"], c["B"], network.directions, network.output_size
    turn = (lambda T, B: (B, T)) if c["batch_first"] else (lambda T, B: (T, B))
    dtype = c["dtype"]
    x, dy = numbers(rng, *turn(T, B), c["I"], dtype=dtype), numbers(rng, *turn(T, B), D * P, dtype=dtype)
    given = {"lengths": rng.integers(0, T + 1, B) if c["lengths"] else None}
    if c["packed"] and T and B:
        sizes = np.sort(rng.integers(1, B + 1, T))[::-1]
        sizes[0] = B
        order = rng.permutation(B)
        x = fastlstm.PackedSequence(numbers(rng, sizes.sum(), c["I"], dtype=dtype), sizes, order, np.argsort(order))
        dy, given = numbers(rng, sizes.sum(), D * P, dtype=dtype), {}
    if c["reset"]:
        given["reset"] = rng.random((T, B)) < 0.3
    recompute = None if c["recompute"] is None else int(c["recompute"])

    def again(**more):
        return network.forward(x, rng=np.random.default_rng(seed), **given, **({"recompute": recompute} | more))

    _, state, tape = again()
    dstate = tuple(np.ones_like(part) for part in state) if isinstance(state, tuple) else np.ones_like(state)
    return Pass(network, x, tape, (dy, dstate), again)


def sequential_choices(rng):
    pick = rng.choice
    return {
        "V": int(pick([0, 6, 9])), "I": int(pick([2, 4])), "H": int(pick([3, 5])), "O": int(pick([2, 3])),
        "pooling": str(pick(["", "Last", "Mean"])), "bidirectional": bool(pick([False, True])),
        "activation": str(pick(["identity", "tanh"])), "dtype": pick([np.float32, np.float64]),
        "T": int(pick([1, 2, 6])), "B": int(pick([1, 3])), "lengths": bool(pick([False, True])),
        "drop": float(pick([0, 0.5])),
    }  # fmt: skip


def sequential_pass(choices, seed):
    c, rng = choices, np.random.default_rng(seed)
    T, B, dtype = c["T"], c["B"], c["dtype"]
    ids = [nn.Embedding(c["V"], c["I"], dtype=dtype, seed=0)] if c["V"] else []
    lstm = LSTM(c["I"], c["H"], bidirectional=c["bidirectional"], recurrent_dropout=c["drop"], dtype=dtype, seed=0)
    pooling = [getattr(nn, c["pooling"])()] if c["pooling"] else []
    dense = nn.Dense(c["H"] * lstm.directions, c["O"], activation=c["activation"], dtype=dtype, seed=0)
    network = nn.Sequential(*ids, nn.Sequential(lstm, nn.Dropout(0.5)), *pooling, dense)
    x = rng.integers(0, c["V"], (T, B)) if c["V"] else numbers(rng, T, B, c["I"], dtype=dtype)
    lengths = rng.integers(0, T + 1, B) if c["lengths"] else None

    def again():
        return network.forward(x, None, lengths, rng=np.random.default_rng(seed))

    y, _, tape = again()
    return Pass(network, x, tape, (numbers(rng, *y.shape, dtype=dtype),), again)


def seq2seq_choices(rng):
    pick = rng.choice
    return {
        "V": int(pick([4, 7])), "E": int(pick([2, 3])), "H": int(pick([3, 5])), "S": int(pick([1, 4])),
        "T": int(pick([1, 3])), "B": int(pick([1, 2])), "attention": pick([None, 3]),
        "dropout": float(pick([0, 0.5])), "lengths": bool(pick([False, True])), "encoder": bool(pick([False, True])),
        "variant": str(pick(["vanilla", "FGR"])), "dtype": pick([np.float32, np.float64]),
    }  # fmt: skip


def seq2seq_pass(choices, seed):
    c, rng = choices, np.random.default_rng(seed)
    S, T, B, dtype = c["S"], c["T"], c["B"], c["dtype"]
    encoder = nn.Sequential(LSTM(2, c["E"], dtype=dtype, seed=0)) if c["encoder"] else None
    decoder = nn.Decoder(
        c["V"], 3, c["H"], encoded_size=c["E"], attention_size=c["attention"], dropout=c["dropout"],
        variant=c["variant"], dtype=dtype, seed=0,
    )  # fmt: skip
    network = nn.Seq2Seq(encoder, decoder)
    x, lengths = numbers(rng, S, B, 2 if c["encoder"] else c["E"], dtype=dtype), None
    if c["lengths"]:
        lengths = rng.integers(0, S + 1, B)
    symbols = rng.integers(0, c["V"], (T, B))

    def again():
        return network.forward(x, symbols, lengths, rng=np.random.default_rng(seed))

    logits, _, tape = again()
    return Pass(network, x, tape, (numbers(rng, *logits.shape, dtype=dtype),), again)


KINDS = {
    "recurrent": (recurrent_choices, recurrent_pass),
    "sequential": (sequential_choices, sequential_pass),
    "seq2seq": (seq2seq_choices, seq2seq_pass),
}


def two_passes(kind, rng):
    """Two passes that differ in few sizes or options, if at all."""
    choose, run = KINDS[kind]
    first = choose(rng)
    others, second = choose(rng), dict(first)
    for name in rng.choice(list(first), rng.integers(0, 4)):
        second[name] = others[name]
    return run(first, int(rng.integers(100))), run(second, int(rng.integers(100)))


def crossed(own, other, rng):
    """A copy of `own` in which something is not its own, the path to it, and what was put there."""
    copied = copy.deepcopy(own)
    ways = list(paths(copied))
    path = ways[rng.integers(len(ways))]
    choice = rng.integers(4)
    if choice == 0:
        value = changed(part_at(copied, path), rng)
    elif choice == 1:
        source = (own, other)[rng.integers(2)]
        sources = list(paths(source))
        value = part_at(source, sources[rng.integers(len(sources))])
    else:
        try:
            value = part_at(other, path)
        except (KeyError, IndexError):
            value = None
    return put(copied, path, value), path, value


def refused(private, call, *arguments, **options):
    """Return the results of a call; None if it refuses with an exception of the right kind and message."""
    try:
        return call(*arguments, **options)
    except REFUSED as found:
        message = str(found)
    except Exception:
        if not private:
            raise
        return None
    assert private or re.search(" must | needs | has no |masked array", message), message
    return None


@pytest.mark.parametrize("kind", KINDS)
def test_tapes(kind):
    accepted = 0
    for seed in range(CROSSINGS):
        rng = np.random.default_rng([seed, len(kind)])
        one, other = two_passes(kind, rng)
        expected = one.backward(one.tape)
        assert one.backward(copy.deepcopy(one.tape)) == expected
        tape, path, value = crossed(one.tape, other.tape, rng)
        private = is_private(one.tape, path)
        what = f"seed {seed}: {'.'.join(map(str, path))} = {form(value)}"
        same_form = form(tape) == form(one.tape)
        found = refused(private, one.backward, tape)
        if found is None:
            assert private or form(tape, integers=True) != form(one.tape, integers=True), what
        elif not private:
            accepted += 1
            assert found == one.backward(copy.deepcopy(tape)), what
            # Another network's tape of a layer may be of another form: its parts go together.
            assert same_form or found == expected or (kind != "recurrent" and parts(value)), what
        if kind == "recurrent":
            look_and_fill(one, tape, private)
    assert accepted > CROSSINGS / 20


def look_and_fill(one, tape, private):
    """Look at what a tape of layers holds, back-propagate through one layer, and have a forward pass fill it again."""
    layers = tape.layers if isinstance(getattr(tape, "layers", None), list) else []
    for k, kept in enumerate(layers):
        if isinstance(kept, fastlstm.LSTMTape):
            refused(private, kept.cells)
            for gate in "ifzo":
                refused(private, kept.gate, gate)
        one_layer(one, kept, k, private)
    if isinstance(tape, fastlstm.Tape):
        found = refused(private, one.again, tape=tape)
        if found is not None:
            assert one.backward(found[2]) == one.backward(one.again()[2])


def one_layer(one, kept, k, private):
    network = one.network
    suffix = network._names()[k] if k < len(network._names()) else network._names()[0]
    names = "W", "R", "p", "G", "proj", "norm", "bn"
    W, R, p, G, proj, norm, bn = (network.params.get(name + suffix) for name in names)
    if isinstance(kept, fastlstm.LSTMTape):
        refused(private, fastlstm.lstm_backward, kept, W, R, p, None, G=G, proj=proj, norm=norm, deltas=True)
    elif isinstance(kept, fastlstm.GRUTape):
        refused(private, fastlstm.gru_backward, kept, W, R, bn, None, deltas=True)
    elif isinstance(kept, fastlstm.RNNTape):
        refused(private, fastlstm.rnn_backward, kept, W, R, None, deltas=True)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind):
    """Gradients of another pass or network, or with parts of them, as `out`."""
    accepted = 0
    for seed in range(CROSSINGS):
        rng = np.random.default_rng([seed, len(kind), 1])
        one, other = two_passes(kind, rng)
        expected = one.backward(one.tape)
        own, another = (each.network.backward(each.tape, *each.arriving) for each in (one, other))
        try:
            out = put_in_gradients(own, another, rng)
        except AttributeError:
            continue  # params and the arrays' places in it cannot be set
        found = refused(False, one.backward, one.tape, out=out)
        if found is not None:
            accepted += 1
            assert found == expected, f"seed {seed}"
    assert accepted > CROSSINGS / 20


def put_in_gradients(own, another, rng):
    if rng.integers(3) == 0:
        return another
    names = ["flat", "params", "x", "state", "parts"]
    name = names[rng.integers(len(names))]
    value = getattr(another, name) if rng.integers(2) else changed(getattr(own, name), rng)
    if name == "parts" and own.parts and rng.integers(2):
        part = list(own.parts)[rng.integers(len(own.parts))]
        own.parts[part] = another.parts.get(part, another)
        return own
    setattr(own, name, value)
    return own


def test_masks():
    """Masks of another pass, or with parts of them, given to a forward pass."""
    accepted = 0
    for seed in range(2 * CROSSINGS):
        rng = np.random.default_rng([seed, 2])
        one, other = two_passes("recurrent", rng)
        own, another = ((each.tape.masks or Masks()) for each in (one, other))
        if not list(paths(own)):
            continue
        masks, path, value = crossed(own, another, rng)
        found = refused(False, one.again, masks=masks)
        same_form = form(masks) == form(own)
        if found is None:
            assert not same_form, f"seed {seed}: {path} = {form(value)}"
            continue
        accepted += 1
        again = one.again(masks=copy.deepcopy(masks))
        assert one.backward(found[2]) == one.backward(again[2]), f"seed {seed}: {path} = {form(value)}"
    assert accepted > CROSSINGS / 10


# ---- single faults that were found -----------------------------------------------------------------------------------

T, B, I, H = 7, 5, 3, 8


def made(*, hidden=H, rows=B, layers=2, given=None, **options):
    """A network, its x, a tape and dJ/dy."""
    network = LSTM(I, hidden, layers, seed=0, **options)
    rng = np.random.default_rng(0)
    x = numbers(rng, T, rows, I)
    y, _, tape = network.forward(x, rng=rng, **(given or {}))
    return network, x, tape, np.ones_like(y)


def test_layers_of_two_passes():
    network, _, tape, dy = made()
    tape.layers[1] = made(rows=2)[2].layers[1]
    with pytest.raises(ValueError, match=r"^tape\.layers\[1\] must be of the same forward pass"):
        network.backward(tape, dy)


def test_a_layer_of_the_other_direction():
    network, _, tape, dy = made(bidirectional=True)
    tape.layers[2], tape.layers[3] = tape.layers[3], tape.layers[2]
    with pytest.raises(
        ValueError, match=r"^tape\.layers\[2\] must be of the same forward pass .* in its own direction"
    ):
        network.backward(tape, dy)


def test_masks_that_have_changed_on_the_tape():
    network, _, tape, dy = made(drop_connect=0.5)
    tape.masks.weights[0] = tape.masks.weights[0].astype(np.float64)
    with pytest.raises(TypeError, match=r"^tape\.masks\.weights\[0\] must have dtype float32, not float64"):
        network.backward(tape, dy)
    network, _, tape, dy = made(dropout=0.5, given={"lengths": [7, 3, 2, 5, 1]})
    tape.masks.between[0] = tape.masks.between[0][:2]
    with pytest.raises(ValueError, match=r"^tape\.masks\.between\[0\] must have shape \(T, B, D H\) = \(7, 5, 8\)"):
        network.backward(tape, dy)


def test_a_tape_keeps_the_masks_that_its_pass_used():
    network, x, _, dy = made(drop_connect=0.5, dropout=0.5)
    masks = network.draw_masks(T, B, np.random.default_rng(1))
    _, _, tape = network.forward(x, masks=masks)
    expected = arrays_of(network.backward(tape, dy))
    other = network.draw_masks(T, B, np.random.default_rng(2))
    masks.between[:], masks.weights = other.between, other.weights
    assert arrays_of(network.backward(tape, dy)) == expected


def test_the_call_of_another_network():
    network, _, tape, dy = made(recurrent_dropout=0.5)
    tape.layers[0].call = made(hidden=2, recurrent_dropout=0.5)[2].layers[0].call
    with pytest.raises(
        ValueError, match=r"^tape\.call\.options\.mask must have shape \(B, H\) = \(5, 8\), not \(5, 2\)"
    ):
        network.backward(tape, dy)
    rnn = RNN(I, H, seed=0)
    _, _, own = rnn.forward(np.zeros((T, B, I), np.float32))
    own.layers[0].call = tape.layers[1].call
    with pytest.raises(TypeError, match=r"^tape\.call must be that of a forward pass with RNNCell, not LSTMCell"):
        fastlstm.rnn_backward(own.layers[0], rnn.params["W_l0"], rnn.params["R_l0"], None)


@pytest.mark.parametrize("k", [0, -1, 3, 10**30, 2.0, True, None, "2"])
def test_checkpoints_with_another_k(k):
    network, _, tape, dy = made(given={"recompute": 2})
    tape.layers[0].checkpoints.k = k
    with pytest.raises(REFUSED, match=r"^tape\.checkpoints\.k must be "):
        network.backward(tape, dy)


def test_a_tape_to_fill_whose_layers_share_memory():
    network, x, tape, _ = made()
    tape.layers[1] = tape.layers[0]
    before = tape.layers[0].gates.copy()
    with pytest.raises(ValueError, match=r"^tape\.layers\[1\]\.gates must not overlap"):
        network.forward(x, tape=tape)
    assert np.array_equal(tape.layers[0].gates, before)


def test_gradients_with_parts_of_others():
    network, _, tape, dy = made()
    expected = arrays_of(network.backward(tape, dy))
    grads = network.backward(tape, dy)
    grads.params = {name: np.zeros(1, np.float32) for name in grads.params}
    assert arrays_of(network.backward(tape, dy, out=grads)) == expected


def test_gradients_that_would_lie_in_the_parameters():
    network, _, tape, dy = made()
    grads = network.backward(tape, dy)
    grads.x = network.flat[: grads.x.size].reshape(grads.x.shape)
    before = network.flat.copy()
    with pytest.raises(ValueError, match=r"^out x must not overlap the layer's flat"):
        network.backward(tape, dy, out=grads)
    assert np.array_equal(network.flat, before)


@pytest.mark.parametrize("way", ["shape", "dtype"])
def test_parameters_whose_form_has_changed_in_place(way):
    """An array's shape and dtype can be set: the kernels trust neither. A call reads the memory as it was allocated."""
    network, x, tape, dy = made()
    before = network(x)[0]
    if way == "shape":
        network.params["R_l0"].shape = H, 4 * H
    else:
        network.params["W_l1"].dtype = np.float64
    assert np.array_equal(network(x)[0], before)
    for call in (lambda: network.forward(x), lambda: network.backward(tape, dy)):
        with pytest.raises(ValueError, match=r" must have "):
            call()


def test_packed_indices_that_the_caller_writes_to():
    network = LSTM(I, H, seed=0)
    x = fastlstm.PackedSequence(np.ones((9, I), np.float32), np.array([5, 4]), np.array([1, 0, 2, 3, 4]))
    y, state, tape = network.forward(x)
    expected = arrays_of(network.backward(tape, y.data, state))
    for array in (x.batch_sizes, x.sorted_indices, y.batch_sizes, y.sorted_indices, y.unsorted_indices):
        array[:] = 10**6
    assert arrays_of(network.backward(tape, y.data, state)) == expected


def test_moments_of_another_size():
    flat, gradient = np.ones(100, np.float32), np.ones(100, np.float32)
    for name in ("_m", "_v"):
        adam = nn.Adam(flat)
        setattr(adam, name, np.zeros(10, np.float32))
        with pytest.raises(ValueError, match=f"^{name[1]} must have 400 bytes, not 40"):
            adam.step(gradient)
    sgd = nn.SGD(flat, 0.1, momentum=0.9)
    sgd._velocity = np.zeros(10, np.float32)
    with pytest.raises(ValueError, match=r"^velocity must have 400 bytes, not 40"):
        sgd.step(gradient)
    assert np.array_equal(flat, gradient)
