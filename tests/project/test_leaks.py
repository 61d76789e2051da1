"""Memory after many calls: with other arguments each time, not only the same again, which a cache would hide."""

import copy
import functools
import gc
import itertools
import os
import pickle
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import fastlstm
import fastlstm.inspect
from fastlstm import GRU, LSTM, RNN, Frozen, PackedSequence, Stream, nn, truncated_bptt

WARM_UP = 150  # calls: more than any cache holds
ROUND = 80
ALLOWED = 150  # bytes a call: what a cache keeps of a call takes more; NumPy fills its own pools by and by

# A call may keep memory as large as its largest argument, so that sizes must go down.
WORK = {}


def work(function):
    WORK[function.__name__] = function
    return function


def normal(*shape, dtype=np.float32):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def lstm_arrays(H, gates=4):
    return normal(gates * H, 3), normal(gates * H, H), normal(gates * H)


KEPT = LSTM(3, 4, num_layers=2, bidirectional=True, dropout=0.25, recurrent_dropout=0.25, seed=0)
FLAT = np.zeros(8, np.float32)
FLAT_RATES = np.full(8, 0.5, np.float32)


@work
def lstm_bounds(k):
    W, R, b = lstm_arrays(4)
    x = normal(3, 2, 3)
    y, _, tape = fastlstm.lstm_forward(x, W, R, b, clip=1 + k / 7, cell_clip=2 + k / 9, tape=True)
    fastlstm.lstm_backward(tape, W, R, None, y)


@work
def lstm_functions(k):
    T, H = 1000 - k, 1 + k % 5
    W, R, b = lstm_arrays(H)
    x = normal(T, 2, 3)
    lengths, reset = [T, T - k % 3], (np.arange(T * 2) % (k + 2) == 0).reshape(T, 2)
    y, _, tape = fastlstm.lstm_forward(
        x, W, R, b, tape=True, lengths=lengths, reset=reset, num_threads=1 + k % 3, recompute=1 + k
    )
    fastlstm.lstm_backward(tape, W, R, None, y, deltas=True)
    fastlstm.lstm_workspace(T, 1 + k % 3, 3, H, recompute=1 + k)


@work
def layer_norm_functions(k):
    T, H = 1000 - k, 1 + k % 5
    W, R, b = lstm_arrays(H)
    x, norm = normal(T, 2, 3), normal(10, H)
    y, _, tape = fastlstm.lstm_forward(x, W, R, b, norm=norm, tape=True, reverse=k % 3 == 0)
    fastlstm.lstm_backward(tape, W, R, None, y / 1000, norm=norm)
    fastlstm.lstm_workspace(T, 2, 3, H, layer_norm=True)


@work
def gru_functions(k):
    T, H, after = 1000 - k, 1 + k % 5, k % 2 == 0
    x, W, R, b = normal(T, 2, 3), normal(3 * H, 3), normal(3 * H, H), normal(3 * H)
    bn = normal(H) if after else None
    y, _, tape = fastlstm.gru_forward(x, W, R, b, bn, reset_after=after, tape=True, reverse=k % 3 == 0)
    fastlstm.gru_backward(tape, W, R, bn, y / 1000)
    fastlstm.gru_workspace(T, 2, 3, H, reset_after=after)


@work
def rnn_functions(k):
    T, H = 1000 - k, 1 + k % 5
    W, R, b = lstm_arrays(H, 1)
    x = normal(T, 2, 3, dtype=np.float64)
    W, R, b = (array.astype(np.float64) for array in (W, R, b))
    nonlinearity = ("tanh", "relu", "logistic", "identity")[k % 4]
    y, _, tape = fastlstm.rnn_forward(x, W, R, b, nonlinearity=nonlinearity, tape=True, reverse=k % 2 == 0)
    fastlstm.rnn_backward(tape, W, R, y / 1000)
    fastlstm.rnn_workspace(T, 2, 3, H)


@work
def layers(k):
    H = 1 + k % 6
    options = {
        "clip": 1 + k / 7,
        "dropout": k / 1000,
        "zoneout": (k / 1000, k / 2000),
        "forget_bias": k / 10,
        "seed": k,
    }
    for layer in (
        LSTM(1001 - k, H, num_layers=2 + k % 2, bidirectional=k % 2 == 0, init_scale=0.1 + k, **options),
        LSTM(1001 - k, H, layer_norm=True, bidirectional=k % 2 == 0, seed=k),
        GRU(1001 - k, H, num_layers=2, reset_after=k % 2 == 0, dropout=k / 1000, zoneout=k / 1000, seed=k),
        RNN(1001 - k, H, num_layers=2, dropout=k / 1000, zoneout=k / 1000, seed=k),
    ):
        x = normal(3, 2, 1001 - k)
        y, _, tape = layer.forward(x, rng=np.random.default_rng(k))
        layer.backward(tape, y)
        copy.deepcopy(layer)
        pickle.loads(pickle.dumps(layer))
        layer.to("cpu")
        repr(layer)


@work
def stacks_of_many(k):
    LSTM(1, 1, num_layers=200 - k // 2, seed=0)


@work
def one_layer(k):
    T, B = 500 - k, 1 + k % 4
    x = normal(T, B, 3)
    lengths = np.full(B, T - k % 3)
    KEPT(x, lengths=lengths, num_threads=1 + k % 3)
    y, _, tape = KEPT.forward(x, lengths=lengths, masks=KEPT.draw_masks(T, B, np.random.default_rng(k)))
    out = KEPT.backward(tape, y)
    KEPT.backward(tape, y, out=out, accumulate=True)


@work
def packed(k):
    lengths = np.array([600 - k, 1 + k % 3])
    sizes = np.array([(lengths > t).sum() for t in range(600 - k)])
    sequence = PackedSequence(normal(int(sizes.sum()), 3), sizes)
    KEPT(sequence)
    rnn = RNN(3, 4, seed=0)
    y, _, tape = rnn.forward(sequence)
    rnn.backward(tape, y)


@work
def steps(k):
    B = 1000 - k
    lstm = LSTM(3, 4, seed=0)
    state, x = lstm.zero_state(B), normal(B, 3)
    y, state = lstm.step(x, state)
    lstm.step(x, state, out=(y, state))
    stream = Stream(lstm, B, num_threads=1 + k % 3)
    stream.step(x)
    stream.reset()
    frozen = Frozen(lstm, ("full", "bfloat16", "int8")[k % 3])
    frozen(normal(1 + k % 5, B, 3))
    Stream(frozen, B).step(x)
    fastlstm.rounding_error(lstm, normal(3, 2, 3) * k, ("bfloat16", "int8")[k % 2])


@work
def chunks(k):
    for chunk in truncated_bptt(LSTM(3, 4, seed=0), normal(500 - k, 2, 3), 100 + k):
        chunk.backward(chunk.y)


@work
def inspection(k):
    lstm = LSTM(3, 4, clip=1 + k / 7, seed=0)
    x = normal(3 + k % 3, 1 + k % 2, 3)
    fastlstm.inspect.flows(lstm, x)
    fastlstm.inspect.cell_jacobians(lstm, x)
    fastlstm.inspect.hidden_jacobians(RNN(3, 4, seed=k), x)
    fastlstm.inspect.gradient_norms(lstm, x, np.ones_like(lstm(x)[0]))
    fastlstm.show_config()


@work
def threads(k):
    fastlstm.set_num_threads(1 + k % 200)
    KEPT(normal(3, 8, 3))
    fastlstm.get_num_threads()


@work
def dense_layers(k):
    n = 1000 - k
    network = nn.Sequential(
        nn.Embedding(n, 3, seed=k), nn.Dropout(k / 1000), LSTM(3, 2, seed=k), nn.Mean() if k % 2 else nn.Last(),
        nn.Dense(2, n, activation=("tanh", "identity")[k % 2], seed=k),
    )  # fmt: skip
    ids = np.full((4, 2), k)
    y, _, tape = network.forward(ids, rng=np.random.default_rng(k))
    network.backward(tape, y)
    network.predict(ids)
    copy.deepcopy(network)


class Own(nn.Layer):
    def __init__(self, n):
        self.n = n
        super().__init__()

    def output_for(self, below):
        return nn.Signal(below.features, below.is_sequence)

    def shapes(self):
        return {"a": (self.n,)}

    def compute(self, x):
        return x + self.params["a"], None

    def gradients(self, kept, dy):
        return dy, {"a": dy.sum(axis=(0, 1))}


@work
def own_layers(k):
    n = 1000 - k
    network = nn.Sequential(LSTM(3, n % 7 + 1, seed=k), nn.Dense(n % 7 + 1, n, seed=k), Own(n))
    network = nn.Sequential(
        network, nn.Residual(nn.LayerNorm(n), nn.Dense(n, n % 5 + 1, seed=k), nn.Dense(n % 5 + 1, n))
    )
    network = nn.Sequential(
        network,
        nn.Branches(nn.Identity(), nn.Activation("softmax"), nn.Dropout(k / 1000), join=("sum", "concat")[k % 2]),
    )
    network.layers[0].layers[k % 2].trainable = False
    y, _, tape = network.forward(normal(4, 2, 3), rng=np.random.default_rng(k))
    nn.SGD(network, 0.1, momentum=0.5).step(network.backward(tape, y).flat)
    copy.deepcopy(network)
    build = fastlstm.saving.build
    build(fastlstm.saving.architecture(network), layers=[Own])


@work
def translation(k):
    V = 500 - k
    decoder = nn.Decoder(V, 2, 3, encoded_size=3, attention_size=1 + k % 3, dropout=k / 1000, seed=k)
    model = nn.Seq2Seq(LSTM(2, 3, seed=0), decoder)
    x, ids = normal(3 + k % 3, 2, 2), np.full((2, 2), 3)
    logits, _, tape = model.forward(x, ids, rng=np.random.default_rng(k))
    model.backward(tape, logits)
    model.greedy(x, begin=0, end=1, max_steps=2)
    model.beam_search(x, begin=0, end=1, max_steps=2, beam_width=2 + k % 3, length_penalty=k / 1000)
    attention = nn.Attention(2, 3, 500 - k, seed=k)
    context, tape = attention.forward(normal(2, 2, 2), normal(4, 2, 3), lengths=[4, 1 + k % 4])
    attention.backward(tape, context)


@work
def losses(k):
    n = 1000 - k
    y, target = normal(n, 2), normal(n, 2) + 1
    for loss in (nn.mse, nn.mae, functools.partial(nn.huber, delta=0.1 + k)):
        loss(y, target)
    nn.logistic_loss(y, np.zeros_like(y), np.ones((n, 2), np.bool))
    ids = np.zeros(n, np.int64)
    nn.softmax_cross_entropy(y, ids, class_weights=np.full(2, k + 1, np.float32), label_smoothing=k / 1000)
    nn.softmax(y)
    nn.pad([normal(n, 2), normal(k, 2)])


@work
def ctc(k):
    logits = normal(600 - k, 1 + k % 3, 4)
    B = logits.shape[1]
    nn.ctc_loss(logits, [600 - k] * B, np.ones((B, 1 + k % 3), np.int64), None, num_threads=1 + k % 3)
    nn.ctc_best_path(logits)
    nn.ctc_beam_search(logits[:9], beam_width=1 + k, num_results=1 + k % 3)


@work
def optimisers(k):
    rates = (
        1e-4 + k / 1e6,
        nn.StepDecay(0.1 + k, 0.5, 1 + k),
        nn.ExponentialDecay(0.1 + k, 0.5),
        nn.CosineDecay(0.1 + k, 1000 + k, k),
    )
    for rate in rates:
        for one in (
            nn.SGD(FLAT.copy(), rate, momentum=k / 1000, nesterov=k > 0),
            nn.Adam(FLAT.copy(), rate, beta1=k / 1000, epsilon=1e-8 + k),
            nn.AdamW(FLAT.copy(), rate, weight_decay=k / 1000),
        ):
            one.step(FLAT_RATES)
            copy.deepcopy(one)
    nn.clip_norm(FLAT_RATES.copy(), 0.1 + k)
    nn.clip_value(FLAT_RATES.copy(), 0.1 + k)


@work
def training(k):
    model = nn.Sequential(LSTM(1, 2, seed=k), nn.Last(), nn.Dense(2, 1, seed=k))
    x = [normal(1 + (j + k) % 5, 1) for j in range(6)]
    data = nn.Batches(x, normal(6, 1), 1 + k % 6)
    options = {"clip": 1 + k / 7, "average": k / 1000, "seed": k, "progress": False}
    nn.fit(model, nn.mse, data, optimiser=nn.Adam(model.flat, 1e-4 + k / 1e6), epochs=1, **options)
    nn.evaluate(model, nn.mse, data)
    steps = nn.Chunks(normal(40 + k % 3, 1), normal(40 + k % 3, 1), 2, 1 + k % 9)
    nn.fit(nn.Sequential(LSTM(1, 1, seed=k)), nn.mse, steps, epochs=1, progress=False)
    pairs = nn.Pairs([normal(2, 1)] * 3, [np.array([2])] * 3, 1 + k % 3, begin=0, end=1)
    labels = nn.Transcripts([normal(4, 1)] * 3, [np.array([1])] * 3, 1 + k % 3)
    for source in (pairs, labels):
        list(source.epoch(np.random.default_rng(k)))


@work
def files(k):
    path = f"{k}-network"
    fastlstm.save(LSTM(3, 4, clip=1 + k / 7, seed=k), path, extra={str(k): k})
    fastlstm.export_c(LSTM(3, 4, clip=1 + k / 7, seed=k), "leaks.h", name=f"leaks_{k}")
    fastlstm.load(path)
    fastlstm.load_extra(path)
    with Path(path).open("r+b") as file:
        file.truncate(100 + k)
    for name in (path, f"{k}-nothing"):
        with pytest.raises((fastlstm.FileError, OSError)):
            fastlstm.load(name)
    os.unlink(path)


@work
def mistakes(k):
    W, R, b = lstm_arrays(4)
    for wrong in (
        lambda: LSTM(3, -k),
        lambda: LSTM(3, 4, variant=f"variant {k}"),
        lambda: LSTM(3, 4, clip=-1.0 - k),
        lambda: LSTM(3, 4, activations=(f"name {k}", "tanh", "tanh")),
        lambda: RNN(3, 4, nonlinearity=f"name {k}"),
        lambda: KEPT(normal(3, 2, 4 + k)),
        lambda: KEPT.forward(normal(3, 2, 3), lengths=[k + 4, 1]),
        lambda: fastlstm.lstm_forward(normal(3, 2, 4 + k), W, R, b),
        lambda: nn.Dense(3, 4, activation=f"name {k}"),
        lambda: nn.Sequential(nn.Dense(3, 4), nn.Dense(5 + k, 1)),
        lambda: KEPT.to(f"cuda:{k}x"),
        lambda: nn.mse(normal(k + 1, 2), normal(k + 2, 2)),
    ):
        with pytest.raises((TypeError, ValueError)):
            wrong()


def kept(call):
    """Bytes that one call more keeps, each with arguments of its own: the least of three rounds, since caches vary."""
    for k in range(WARM_UP):
        call(k)
    gc.collect()
    sizes = [tracemalloc.get_traced_memory()[0]]
    for begin in (WARM_UP, WARM_UP + ROUND, WARM_UP + 2 * ROUND):
        for k in range(begin, begin + ROUND):
            call(k)
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
    return min(after - before for before, after in itertools.pairwise(sizes)) / ROUND


@pytest.fixture
def _somewhere(tmp_path, monkeypatch, default_threads):
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_somewhere")
@pytest.mark.parametrize("name", WORK)
def test_no_object_stays(name):
    gc.collect()  # Python's lists of free objects are empty then: what is taken from them is not traced
    tracemalloc.start()
    try:
        assert kept(WORK[name]) < ALLOWED
    finally:
        tracemalloc.stop()


def test_every_public_call_is_among_them():
    """But for what only describes results, and what is on a GPU."""
    text = Path(__file__).read_text("utf-8")
    results = {"Chunk", "Gradients", "Hypothesis", "History", "Epoch", "Batch", "BatchSource", "AttentionMemory"}
    others = {"Layer", "Masks", "RoundingError", "get_include", "get_library", "gpu", "reference", "nn"}
    for module in (fastlstm, nn):
        for name in module.__all__:
            if not name.endswith(("Tape", "Gradients", "Deltas")) and name not in results | others:
                assert re.search(rf"\b{name}\(|, {name}\b|\b{name}, ", text), name
