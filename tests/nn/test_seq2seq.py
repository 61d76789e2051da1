"""Sequence to sequence: gradients, lengths, search against all sequences there are, learning, misuse."""

import copy
import itertools
import pickle
import re

import numpy as np
import pytest
from differences import central_difference

from fastlstm import LSTM
from fastlstm.nn import (
    Adam,
    CosineDecay,
    Decoder,
    Dense,
    Embedding,
    Last,
    Pairs,
    Seq2Seq,
    Sequential,
    fit,
    pad,
    softmax_cross_entropy,
)

F = np.float64
LENGTHS = [4, 1, 0]  # of S = 5 steps: no row has the last one
S, T, B, V = 5, 4, 3, 4
BEGIN, END = 0, 1


def model(kind="attention", seed=0, dtype=F, **options):
    """A small one: reading vectors or ids, in one direction or two, with attention or without."""
    rng = np.random.default_rng(seed)
    encoder = {
        "attention": lambda: LSTM(2, 2, bidirectional=True, dtype=dtype, seed=rng),
        "one direction": lambda: Sequential(LSTM(2, 3, dtype=dtype, seed=rng), Dense(3, 4, dtype=dtype, seed=rng)),
        "ids": lambda: Sequential(Embedding(6, 2, dtype=dtype, seed=rng), LSTM(2, 4, dtype=dtype, seed=rng)),
        "vector": lambda: Dense(2, 4, activation="tanh", dtype=dtype, seed=rng),
        "no encoder": lambda: None,
    }[kind]()
    attention_size = 3 if kind in ("attention", "ids") else None
    size = 2 if encoder is None else 4
    decoder = Decoder(V, 2, 3, encoded_size=size, attention_size=attention_size, dtype=dtype, seed=rng, **options)
    found = Seq2Seq(encoder, decoder)
    found.flat *= 1.5  # probabilities that differ clearly
    return found


KINDS = ("attention", "one direction", "ids", "vector", "no encoder")


def inputs(kind="attention", seed=1, B=B):
    rng = np.random.default_rng(seed)
    if kind == "ids":
        return rng.integers(0, 6, (S, B))
    return rng.normal(size=(B, 2) if kind in ("vector", "no encoder") else (S, B, 2))


def ids(seed=2, B=B):
    return np.random.default_rng(seed).integers(0, V, (T, B))


# ---- passes ----


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "variant": "FGR"}, {"peephole": False, "variant": "CIFG"}])
@pytest.mark.parametrize(("kind", "lengths"), [(kind, None) for kind in KINDS] + [(k, LENGTHS) for k in KINDS[:3]])
def test_gradients(kind, lengths, options):
    net, x, target_in = model(kind, **options), inputs(kind), ids()
    logits, state, tape = net.forward(x, target_in, lengths)
    again, again_state = net(x, target_in, lengths)
    np.testing.assert_array_equal(again, logits)
    for part, expected in zip(again_state, state, strict=True):
        np.testing.assert_array_equal(part, expected)
    dlogits = np.random.default_rng(3).normal(size=logits.shape)

    def loss():
        return float((net(x, target_in, lengths)[0] * dlogits).sum())

    grads = net.backward(tape, dlogits)
    np.testing.assert_allclose(grads.flat, central_difference(loss, net.flat), atol=1e-8)
    if kind == "ids":
        assert grads.x is None
    else:
        np.testing.assert_allclose(grads.x, central_difference(loss, x), atol=1e-8)
    assert grads.state is None
    assert list(grads.params) == list(net.params)


def test_dropout_gradients():
    net, x, target_in = model(num_layers=2, dropout=0.3), inputs(), ids()
    dlogits = np.random.default_rng(3).normal(size=(T, B, V))

    def run():
        return net.forward(x, target_in, LENGTHS, rng=np.random.default_rng(4))

    def loss():
        return float((run()[0] * dlogits).sum())

    grads = net.backward(run()[2], dlogits)
    np.testing.assert_allclose(grads.flat, central_difference(loss, net.flat), atol=1e-8)
    np.testing.assert_allclose(grads.x, central_difference(loss, x), atol=1e-8)
    assert not np.array_equal(run()[0], net(x, target_in, LENGTHS)[0])
    with pytest.raises(TypeError, match=r"rng must be a numpy\.random\.Generator"):
        net.forward(x, target_in, LENGTHS)


@pytest.mark.parametrize("kind", ["attention", "one direction"])
def test_nothing_past_an_end_counts(kind):
    net, x, target_in = model(kind), inputs(), ids()
    logits, _, tape = net.forward(x, target_in, LENGTHS)
    grads = net.backward(tape, logits)
    past = np.arange(S)[:, np.newaxis] >= LENGTHS
    x[past] = np.nan
    again, _, tape = net.forward(x, target_in, LENGTHS)
    np.testing.assert_array_equal(again, logits)
    again_grads = net.backward(tape, logits)
    np.testing.assert_array_equal(again_grads.flat, grads.flat)
    np.testing.assert_array_equal(again_grads.x, grads.x)
    assert not grads.x[past].any()


def test_rows_do_not_see_each_other():
    net, x, target_in = model(), inputs(), ids()
    logits = net(x, target_in, LENGTHS)[0]
    for b, length in enumerate(LENGTHS):
        alone = net(x[:length, b : b + 1], target_in[:, b : b + 1])[0]
        np.testing.assert_allclose(logits[:, b], alone[:, 0], atol=1e-14)


def test_each_logit_sees_the_symbols_before_it_alone():
    net, x, target_in = model(), inputs(), ids()
    logits = net(x, target_in)[0]
    target_in[2] = (target_in[2] + 1) % V
    changed = net(x, target_in)[0]
    np.testing.assert_array_equal(changed[:2], logits[:2])
    assert np.all(np.any(changed[2] != logits[2], axis=-1))


def test_gradients_are_written_again_and_accumulate():
    net, x, target_in = model(), inputs(), ids()
    logits, _, tape = net.forward(x, target_in, LENGTHS)
    grads = net.backward(tape, logits)
    once, dx, flat = grads.flat.copy(), grads.x.copy(), grads.flat
    assert all(np.shares_memory(part, flat) for part in grads.params.values())
    assert net.backward(tape, logits, out=grads, accumulate=True) is grads
    np.testing.assert_allclose(grads.flat, 2 * once, rtol=1e-12)
    grads.flat[:] = np.nan
    net.backward(tape, logits, out=grads)
    np.testing.assert_array_equal(grads.flat, once)
    np.testing.assert_array_equal(grads.x, dx)


def test_one_buffer():
    net = model()
    names = list(net.params)
    assert names[:2] == ["encoder.0.W_l0", "encoder.0.R_l0"]
    assert names[-4:] == ["decoder.combine.V", "decoder.combine.c", "decoder.output.V", "decoder.output.c"]
    net.flat[:] = 0
    assert not net.decoder.attention.params["W"].any()
    assert not net.encoder.layers[0].params["W_l0"].any()
    assert not net(inputs(), ids())[0].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_have_their_own_buffer(copied, kind):
    net, x = model(kind), inputs(kind)
    twin = copied(net)
    assert repr(twin) == repr(net)
    np.testing.assert_array_equal(twin(x, ids())[0], net(x, ids())[0])
    twin.flat[:] = 0
    assert not twin.decoder.lstm.params["W_l0"].any()
    assert net.flat.all()


def test_the_same_seed_gives_the_same_decoder():
    first, second, third = (Decoder(V, 2, 3, encoded_size=4, attention_size=3, seed=seed).flat for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, third)


# ---- search ----


def log_probability(net, x, sequence, b=0):
    """Of a sequence and then the end, by teacher forcing, for one row of x."""
    x = x[b : b + 1] if x.ndim == 2 else x[:, b : b + 1]
    logits = net(x, np.array([[BEGIN], *([k] for k in sequence)]))[0][:, 0].astype(F)
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return float(sum(log_p[t, k] for t, k in enumerate([*sequence, END])))


def every_sequence(max_steps):
    symbols = [k for k in range(V) if k != END]
    return [s for n in range(max_steps + 1) for s in itertools.product(symbols, repeat=n)]


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("kind", ["attention", "no encoder"])
def test_a_beam_as_wide_as_the_tree_finds_everything_in_order(kind, length_penalty):
    net, x = model(kind), inputs(kind, B=2)
    sequences = every_sequence(3)
    search = {"begin": BEGIN, "end": END, "max_steps": 3, "beam_width": len(sequences)}
    found = net.beam_search(x, **search, length_penalty=length_penalty)
    for b in range(2):
        scores = {s: log_probability(net, x, s, b) for s in sequences}
        expected = sorted(sequences, key=lambda s: -scores[s] / (len(s) + 1) ** length_penalty)
        assert [tuple(h.ids.tolist()) for h in found[b]] == expected
        np.testing.assert_allclose([h.log_probability for h in found[b]], [scores[s] for s in expected], atol=1e-12)
    assert sum(np.exp(h.log_probability) for h in found[0]) < 1


def slow_beam_search(net, x, max_steps, beam_width, length_penalty, b):
    """One row, hypothesis by hypothesis, each from its beginning."""

    def measure(s):
        return -s[1] / len(s[0]) ** length_penalty

    x = x[b : b + 1] if x.ndim == 2 else x[:, b : b + 1]
    beam = [((), 0.0)]
    for n in range(max_steps + 1):
        candidates = []
        for sequence, score in beam:
            if sequence and sequence[-1] == END:
                candidates.append((sequence, score))
                continue
            logits = net(x, np.array([[k] for k in (BEGIN, *sequence)]))[0][-1, 0]
            log_p = logits - np.log(np.exp(logits).sum())
            following = range(V) if n < max_steps else [END]
            candidates += [((*sequence, k), score + log_p[k]) for k in following]
        beam = sorted(candidates, key=measure)[:beam_width]
    return [(sequence[:-1], score) for sequence, score in beam]


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
@pytest.mark.parametrize("beam_width", [1, 2, 3, 7])
@pytest.mark.parametrize("kind", ["attention", "one direction", "vector"])
def test_beam_search_is_the_slow_one(kind, beam_width, length_penalty):
    x = inputs(kind, B=6)
    for seed in range(4):
        net = model(kind, seed=seed, num_layers=1 + seed % 2)
        found = net.beam_search(
            x, begin=BEGIN, end=END, max_steps=5, beam_width=beam_width, length_penalty=length_penalty
        )
        for b, hypotheses in enumerate(found):
            expected = slow_beam_search(net, x, 5, beam_width, length_penalty, b)
            assert [tuple(h.ids.tolist()) for h in hypotheses] == [sequence for sequence, _ in expected]
            np.testing.assert_allclose([h.log_probability for h in hypotheses], [s for _, s in expected], atol=1e-12)


def test_log_probabilities_are_those_of_teacher_forcing():
    net, x = model(dtype=np.float32, variant="FGR"), inputs(B=4).astype(np.float32)
    lengths = [5, 3, 1, 2]
    found = net.beam_search(x, lengths, begin=BEGIN, end=END, max_steps=8, beam_width=5)
    assert len({len(h.ids) for hypotheses in found for h in hypotheses}) > 3
    for b, hypotheses in enumerate(found):
        assert len(hypotheses) == 5
        scores = [h.log_probability for h in hypotheses]
        assert scores == sorted(scores, reverse=True)
        own = x[: lengths[b], b : b + 1]
        for ids, score in hypotheses:
            np.testing.assert_allclose(score, log_probability(net, own, ids.tolist()), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_takes_the_most_probable_symbol(kind):
    net, x = model(kind, seed=5), inputs(kind, B=8)
    lengths = [5, 3, 1, 2, 0, 4, 5, 5] if kind in KINDS[:3] else None
    found = net.greedy(x, lengths, begin=BEGIN, end=END, max_steps=6)
    for b, written in enumerate(found):
        own = x[b : b + 1] if lengths is None else x[: lengths[b], b : b + 1]
        expected = [BEGIN]
        for _ in range(6):
            symbol = int(net(own, np.array(expected)[:, np.newaxis])[0][-1, 0].argmax())
            if symbol == END:
                break
            expected.append(symbol)
        assert written.tolist() == expected[1:]
        assert written.dtype == np.int64


def test_search_of_nothing_and_of_sequences_without_steps():
    net = model()
    assert net.greedy(inputs(B=0), begin=BEGIN, end=END, max_steps=3) == []
    assert len(net.greedy(np.zeros((0, 2, 2)), begin=BEGIN, end=END, max_steps=3)) == 2


def test_a_beam_wider_than_the_tree_has_no_more_than_there_are():
    found = model().beam_search(inputs(B=1), begin=BEGIN, end=END, max_steps=1, beam_width=50)[0]
    assert sorted(h.ids.tolist() for h in found) == [[], [0], [2], [3]]


def test_a_sequence_that_cannot_end():
    net = model("vector")
    net.decoder.output.params["c"][END] = -np.inf
    assert net.beam_search(inputs("vector"), **SEARCH) == [[]] * B
    with pytest.raises(ValueError, match=f"^row 0 cannot end: {END}, which ends a sequence, has probability zero"):
        net.greedy(inputs("vector"), begin=BEGIN, end=END, max_steps=3)


def test_a_beam_does_not_grow_beyond_what_is_possible(monkeypatch):
    net = model("vector")
    net.decoder.output.params["c"][[k for k in range(V) if k not in (0, END)]] = -np.inf  # one symbol, and the end
    widths, step = [], net.decoder.step
    monkeypatch.setattr(type(net.decoder), "step", lambda self, s, *rest: widths.append(len(s)) or step(s, *rest))
    (found,) = net.beam_search(inputs("vector", B=1), begin=BEGIN, end=END, max_steps=12, beam_width=10**6)
    assert max(widths) == 13
    assert sorted(h.ids.tolist() for h in found) == [[0] * n for n in range(13)]


@pytest.mark.parametrize("length_penalty", [30.0, 400.0])
def test_a_large_length_penalty_compares_rightly(length_penalty):
    net, x = model("vector"), inputs("vector", B=2)
    search = {"begin": BEGIN, "end": END, "max_steps": 3, "beam_width": 200, "length_penalty": length_penalty}
    for b, row in enumerate(net.beam_search(x, **search)):
        assert len(row) == len(every_sequence(3))
        expected = slow_beam_search(net, x, 3, 200, length_penalty, b)
        assert [tuple(h.ids.tolist()) for h in row] == [sequence for sequence, _ in expected]


@pytest.mark.parametrize("length_penalty", [490.0, 700.0, 1e300])
def test_a_length_penalty_must_leave_a_float(length_penalty):
    message = f"length_penalty must be at most 481.7 for max_steps = 3, not {length_penalty}"
    with pytest.raises(ValueError, match=re.escape(message)):
        model().beam_search(inputs(), **SEARCH, length_penalty=length_penalty)


# ---- learning ----


@pytest.fixture(scope="module")
def reversing():
    """A network that has learnt to write short sequences backwards."""
    rng = np.random.default_rng(0)
    sequences = [rng.integers(2, 8, n) for n in rng.integers(1, 7, 2000)]
    encoder = Sequential(Embedding(8, 16, seed=rng), LSTM(16, 32, bidirectional=True, seed=rng))
    net = Seq2Seq(encoder, Decoder(8, 16, 32, encoded_size=64, attention_size=32, seed=rng))
    pairs = Pairs(sequences, [one[::-1] for one in sequences], 64, begin=BEGIN, end=END)
    optimiser = Adam(net.flat, learning_rate=CosineDecay(0.01, 8 * len(pairs)))
    history = fit(net, softmax_cross_entropy, pairs, optimiser=optimiser, epochs=8, clip=1.0, progress=False)
    return net, history


def test_it_learns_to_reverse(reversing):
    net, history = reversing
    assert history.epochs[-1].loss < 0.1
    rng = np.random.default_rng(1)
    x, lengths = pad([rng.integers(2, 8, n) for n in rng.integers(1, 7, 200)])
    backwards = [x[:length, b][::-1].tolist() for b, length in enumerate(lengths)]
    written = net.greedy(x, lengths, begin=BEGIN, end=END, max_steps=10)
    assert np.mean([ids.tolist() == wanted for ids, wanted in zip(written, backwards, strict=True)]) > 0.95
    found = net.beam_search(x, lengths, begin=BEGIN, end=END, max_steps=10, beam_width=4)
    assert np.mean([best[0].ids.tolist() == wanted for best, wanted in zip(found, backwards, strict=True)]) > 0.95


def test_attention_looks_where_the_next_symbol_comes_from(reversing):
    net, _ = reversing
    x = np.array([[2, 5, 3, 7, 4]]).T
    weights = net.attention_weights(x, np.concatenate(([[BEGIN]], x[::-1])))
    assert weights[:5, 0].argmax(axis=1).tolist() == [4, 3, 2, 1, 0]


@pytest.mark.parametrize("kind", ["attention", "ids"])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_attention_weights_are_those_of_a_pass_without_dropout(kind, lengths):
    plain, dropping = model(kind), model(kind, dropout=0.5)
    dropping.flat[:] = plain.flat
    _, _, tape = plain.forward(inputs(kind), ids(), lengths)
    weights = dropping.attention_weights(inputs(kind), ids(), lengths)
    np.testing.assert_array_equal(weights, tape.decoder.attention.weights)
    some = np.array([True] * B if lengths is None else lengths) > 0
    np.testing.assert_allclose(weights.sum(axis=2), np.tile(some, (T, 1)), rtol=1e-14)


# ---- misuse ----

SEARCH = {"begin": BEGIN, "end": END, "max_steps": 3, "beam_width": 2}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda net, x, k: Decoder(0, 2, 3, encoded_size=4), ValueError, "vocabulary_size must be at least 1"),
        (lambda net, x, k: Decoder(4, 2.0, 3, encoded_size=4), TypeError, "embedding_size must be an int"),
        (lambda net, x, k: Decoder(4, 2, 3, 0, encoded_size=4), ValueError, "num_layers must be at least 1"),
        (lambda net, x, k: Decoder(4, 2, 3, encoded_size=0), ValueError, "encoded_size must be at least 1"),
        (
            lambda net, x, k: Decoder(4, 2, 3, encoded_size=4, attention_size=0),
            ValueError,
            "attention_size must be at least 1",
        ),
        (lambda net, x, k: Decoder(4, 2, 3, encoded_size=4, dropout=1), ValueError, "dropout must be a number from 0"),
        (lambda net, x, k: Decoder(4, 2, 3, encoded_size=4, variant="GRU"), ValueError, "variant"),
        (lambda net, x, k: Decoder(4, 2, 3, encoded_size=4, dtype=int), TypeError, "float32 or float64"),
        (lambda net, x, k: Seq2Seq(LSTM(2, 4), LSTM(4, 4)), TypeError, "decoder must be a Decoder, not LSTM"),
        (lambda net, x, k: Seq2Seq(3, Decoder(4, 2, 3, encoded_size=4)), TypeError, "must be a layer, not int"),
        (lambda net, x, k: Seq2Seq(None, net.decoder), ValueError, "decoder is part of a network already"),
        (
            lambda net, x, k: Seq2Seq(LSTM(2, 4), Decoder(4, 2, 3, encoded_size=4, dtype=F)),
            TypeError,
            "same dtype, not float32 and float64",
        ),
        (lambda net, x, k: net(x, k + 4), ValueError, "target_in must be from 0 to 3, not 4 to 4"),
        (lambda net, x, k: net(x, k.astype(F)), TypeError, "target_in must have an integer dtype"),
        (lambda net, x, k: net(x, k[0]), ValueError, r"target_in must have shape \(T, B\) = \(T, 3\), not \(3,\)"),
        (lambda net, x, k: net(x, k[:, :2]), ValueError, r"target_in must have shape .* \(T, 3\), not \(4, 2\)"),
        (lambda net, x, k: net(x, k, [9, 1, 1]), ValueError, "lengths must be from 0 to T = 5"),
        (
            lambda net, x, k: net.decoder(k, x),
            ValueError,
            r"encoded must have shape \(S, B, encoded_size\), encoded_size = 4, not \(5, 3, 2\)",
        ),
        (lambda net, x, k: net.decoder(k, np.ones((3, 4))), ValueError, r"encoded must have shape .*, not \(3, 4\)"),
        (lambda net, x, k: model("vector").decoder(k, x[0]), ValueError, r"\(S, B, encoded_size\) or \(B, encoded"),
        (lambda net, x, k: net.decoder(k, np.ones((5, 3, 4), np.float32)), TypeError, "must have dtype float64"),
        (lambda net, x, k: net.decoder.step(k[0], None), ValueError, r"symbols must have shape \(K, B\), not \(3,\)"),
        (
            lambda net, x, k: net.decoder.step(k, net.decoder.lstm.zero_state(T * B)),
            TypeError,
            "memory must be an AttentionMemory from start, since the decoder has attention",
        ),
        (lambda net, x, k: model("vector").attention_weights(x[0], k), TypeError, "the decoder must have attention"),
        (lambda net, x, k: net.attention_weights(x, k[:, :2]), ValueError, r"target_in must have shape"),
        (lambda net, x, k: net.backward(3, x), TypeError, "tape must be a Seq2SeqTape"),
        (lambda net, x, k: net.decoder.backward(3, x), TypeError, "tape must be a DecoderTape"),
        (lambda net, x, k: net.backward(net.forward(x, k)[2], x), ValueError, "dy must have shape"),
        (
            lambda net, x, k: net.decoder.backward(model("vector").decoder.forward(k, np.ones((3, 4)))[2], x),
            ValueError,
            "tape must be from a decoder like this one, Decoder",
        ),
        (
            lambda net, x, k: net.backward(model("no encoder").forward(np.ones((3, 2)), k)[2], x),
            ValueError,
            "tape must be from a network like this one, Seq2Seq",
        ),
        (lambda net, x, k: net.beam_search(x, **SEARCH | {"begin": 4}), ValueError, "begin must be from 0 to 3, not 4"),
        (lambda net, x, k: net.beam_search(x, **SEARCH | {"end": "."}), TypeError, "end must be an int, not str"),
        (lambda net, x, k: net.beam_search(x, **SEARCH | {"max_steps": 0}), ValueError, "max_steps must be at least 1"),
        (lambda net, x, k: net.beam_search(x, **SEARCH | {"beam_width": 0}), ValueError, "beam_width must be at least"),
        (lambda net, x, k: net.beam_search(x, **SEARCH, length_penalty=-1), ValueError, "length_penalty must be at le"),
        (
            lambda net, x, k: net.beam_search(x, **SEARCH, length_penalty=np.inf),
            ValueError,
            "length_penalty must be at",
        ),
        (
            lambda net, x, k: net.beam_search(x, **SEARCH, length_penalty=10**400),
            ValueError,
            "length_penalty must be a",
        ),
        (lambda net, x, k: net.beam_search(x * np.nan, **SEARCH), ValueError, "no symbol has a probability"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(model(), inputs(), np.zeros((T, B), int))


def test_of_equals_the_first_is_written():
    net = model("vector")
    net.flat[:] = 0
    assert [ids.tolist() for ids in net.greedy(inputs("vector"), begin=BEGIN, end=3, max_steps=3)] == [[0, 0, 0]] * B
    best = net.beam_search(inputs("vector"), begin=BEGIN, end=0, max_steps=1, beam_width=3)
    assert [one.ids.tolist() for one in best[0]] == [[], [1], [2]]


def test_a_network_that_cannot_be_leaves_the_encoder_free():
    encoder = LSTM(2, 4, dtype=F, seed=0)
    with pytest.raises(TypeError, match="same dtype"):
        Seq2Seq(encoder, Decoder(V, 2, 3, encoded_size=4, dtype=np.float32))
    Seq2Seq(encoder, Decoder(V, 2, 3, encoded_size=4, dtype=F))


def test_sizes_must_fit_when_a_network_is_made():
    encoder = LSTM(2, 3, dtype=F, seed=0)
    with pytest.raises(ValueError, match=r"decoder must have encoded_size 3, .* not 4"):
        Seq2Seq(encoder, Decoder(V, 2, 3, encoded_size=4, dtype=F))
    pooled = Sequential(LSTM(2, 4, dtype=F, seed=0), Last())
    with pytest.raises(ValueError, match="encoder must give sequences, since the decoder has attention"):
        Seq2Seq(pooled, Decoder(V, 2, 3, encoded_size=4, attention_size=2, dtype=F))
    Seq2Seq(encoder, Decoder(V, 2, 3, encoded_size=3, attention_size=2, dtype=F))


def test_a_list_of_sequences_may_be_written_of():
    net, rng = model(), np.random.default_rng(0)
    sequences = [rng.normal(size=(n, 2)) for n in (5, 2, 3)]
    x, lengths = pad(sequences)
    options = {"begin": BEGIN, "end": END, "max_steps": 4}
    expected = net.greedy(x, lengths, **options)
    for one, two in zip(net.greedy(sequences, **options), expected, strict=True):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(ValueError, match="lengths must not be given with a list"):
        net.greedy(sequences, lengths, **options)
