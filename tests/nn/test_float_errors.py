"""Under `np.seterr(all="raise")` nothing public raises FloatingPointError, whatever size numbers have."""

import copy
import warnings

import numpy as np
import pytest
from cases import DTYPES

from fastlstm import GRU, LSTM, RNN, Frozen, Stream, inspect, nn, rounding_error, truncated_bptt

T, B, N = 6, 3, 4
LENGTHS = [6, 2, 0]
SIZES = ["ordinary", "tiny", "denormal", "large", "huge"]


class Numbers:
    """Random numbers of one size, made where nothing raises."""

    def __init__(self, dtype, size):
        info, one = np.finfo(dtype), dtype(1)
        self.dtype, self.rng = dtype, np.random.default_rng(0)
        self.unit = {
            "ordinary": one, "tiny": 3 * info.tiny, "denormal": 9 * info.smallest_subnormal, "large": np.sqrt(info.max),
            "huge": info.max / 4,
        }[size]  # fmt: skip

    def __call__(self, *shape):
        with np.errstate(all="ignore"):
            return self.rng.uniform(-1, 1, shape).astype(self.dtype) * self.dtype(self.unit)

    def options(self):
        return {"dtype": self.dtype, "seed": 0}

    def scaled(self, layer):
        """With parameters of this size too."""
        layer = copy.deepcopy(layer)
        layer.flat[:] = self(layer.flat.size)
        return layer


RECURRENT = {
    "plain": lambda o: LSTM(N, 5, 2, **o),
    "FGR": lambda o: LSTM(N, 5, variant="FGR", **o),
    "projection": lambda o: LSTM(N, 5, proj_size=2, **o),
    "zoneout": lambda o: LSTM(N, 5, zoneout=(0.2, 0.3), **o),
    "directions": lambda o: LSTM(N, 5, 2, bidirectional=True, **o),
    "layer norm": lambda o: LSTM(N, 5, 2, layer_norm=True, **o),
    "GRU": lambda o: GRU(N, 5, 2, **o),
    "RNN": lambda o: RNN(N, 5, 2, **o),
    "dropout": lambda o: LSTM(N, 5, 2, dropout=0.5, recurrent_dropout=0.3, drop_connect=0.2, **o),
}


def rng_for(name):
    return {"rng": np.random.default_rng(0)} if name in ("zoneout", "dropout") else {}


def recurrent(name):
    def passes(num):
        net, x = RECURRENT[name](num.options()), num(T, B, N)
        reset = np.random.default_rng(0).random((T, B)) < 0.3
        ways = [{}, {"lengths": LENGTHS}, {"reset": reset}, {"recompute": 2}]
        for layer in (net, num.scaled(net)):
            for how in ways:
                y, _, tape = layer.forward(x, **how, **rng_for(name))
                grads = layer.backward(tape, num(*y.shape))
                layer.backward(tape, num(*y.shape), out=grads, accumulate=True)
            layer(x, lengths=LENGTHS)
            if name != "directions":
                layer.step(x[0])
                Stream(layer, B).step(x[0])

    return passes


def frozen(name):
    def passes(num):
        net, x = RECURRENT[name](num.options()), num(T, B, N)
        small = num.scaled(net) if num.unit <= 1 else net
        for layer in (net, small):
            for weights in ("full", "bfloat16", "int8") if num.dtype == np.float32 else ("full",):
                Frozen(layer, weights)(x, lengths=LENGTHS)
                rounding_error(layer, x, weights)

    return passes


def dense(activation):
    def passes(num):
        x, net = num(T, B, N), nn.Dense(N, 3, activation=activation, **num.options())
        for layer in (net, num.scaled(net)):
            y, tape = layer.forward(x)
            grads = layer.backward(tape, num(*y.shape))
            layer.backward(tape, num(*y.shape), out=grads, accumulate=True)
            layer(x[0, :1])

    return passes


def attention(num):
    net = nn.Attention(N, N, 5, **num.options())
    for layer in (net, num.scaled(net)):
        context, tape = layer.forward(num(T, B, N), num(7, B, N), [7, 2, 0])
        grads = layer.backward(tape, num(*context.shape))
        layer.backward(tape, num(*context.shape), out=grads, accumulate=True)


def small_layers(num):
    x, embedding, dropout = num(T, B, N), nn.Embedding(9, N, **num.options()), nn.Dropout(0.3)
    embedding.backward(embedding.forward(np.array([1, 2, 2]))[1], num(3, N))
    for layer in (nn.Last(), nn.Mean()):
        layer.backward(layer.forward(x, LENGTHS)[1], num(B, N))
    dropout.backward(dropout.forward(x, rng=np.random.default_rng(0))[1], num(T, B, N))


def losses(num):
    x, t, mask = num(T, B, N), num(T, B, N), np.arange(T) < 3
    mask = np.broadcast_to(mask[:, np.newaxis], (T, B)).copy()
    for loss in (nn.mse, nn.mae, nn.huber):
        loss(x, t, mask)
    nn.logistic_loss(x, np.ones_like(x), mask)
    with np.errstate(all="ignore"):
        weights = np.abs(num(N)) + num.unit / 2
    for options in ({}, {"label_smoothing": 0.1}, {"class_weights": weights}):
        nn.softmax_cross_entropy(x, np.zeros((T, B), int), mask, **options)
    nn.softmax(x)


def ctc(num):
    x = num(T, B, N)
    nn.ctc_loss(x, None, [[1], [2], [3]], None, zero_infinity=True)
    nn.ctc_best_path(x)
    nn.ctc_beam_search(x, num_results=3)


def optimisers(num):
    for make in (
        lambda flat: nn.SGD(flat, 0.1, momentum=0.9, weight_decay=0.1),
        lambda flat: nn.SGD(flat, 0.1, momentum=0.9, nesterov=True),
        nn.Adam,
        nn.AdamW,
    ):
        optimiser = make(np.ones(20, num.dtype))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a moment overflows
            for _ in range(3):
                optimiser.step(num(20))
    nn.clip_norm([num(20), num(3)], 1e-3)
    nn.clip_value(num(20), 1e-3)
    nn.clip_value(num(20), 1e300)
    for schedule in (nn.CosineDecay(1e-3, 100), nn.ExponentialDecay(1e-3, 0.5, 10), nn.StepDecay(1e-3, 0.1, 10)):
        for t in (0, 5, 100, 10**6):
            schedule(t)


def networks(num):
    x, options = num(T, B, N), num.options()
    net = nn.Sequential(LSTM(N, 5, **options), nn.Dropout(0.2), nn.Dense(5, 3, **options))
    y, _, tape = net.forward(x, rng=np.random.default_rng(0))
    net.backward(tape, num(*y.shape))
    net.predict(x)
    model = nn.Seq2Seq(LSTM(N, 5, **options), nn.Decoder(6, 3, 5, encoded_size=5, attention_size=4, **options))
    logits, *_, tape = model.forward(x, np.zeros((4, B), int), [6, 2, 1])
    model.backward(tape, num(*logits.shape))
    search = {"begin": 0, "end": 1, "max_steps": 3}
    model.greedy(x, **search)
    model.beam_search(x, **search, beam_width=3, length_penalty=0.7)


def chunks(num):
    for net in (LSTM(N, 5, **num.options()), RNN(N, 5, **num.options())):
        x = num(T, B, N)
        for step in truncated_bptt(net, x, 2):
            step.backward(num(*step.y.shape))


def inspected(num):
    net, rnn, x = LSTM(N, 5, **num.options()), RNN(N, 5, **num.options()), num(T, B, N)
    inspect.cell_jacobians(net, x)
    inspect.hidden_jacobians(rnn, x)
    for one in (net, rnn):
        inspect.gradient_norms(one, x, num(B, 5)[np.newaxis].repeat(T, 0))
        inspect.flows(one, x)
        inspect.deltas(one, x, num(T, B, 5))
    inspect.block_values(net, x, t=2)


PASSES = {
    **{name: recurrent(name) for name in RECURRENT},
    **{f"frozen {name}": frozen(name) for name in RECURRENT},
    **{f"dense {activation}": dense(activation) for activation in ("identity", "tanh", "logistic", "relu")},
    "attention": attention, "small layers": small_layers, "losses": losses, "ctc": ctc, "optimisers": optimisers,
    "networks": networks, "chunks": chunks, "inspected": inspected,
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PASSES)
def test_no_floating_point_error_is_raised(name, size, dtype):
    with np.errstate(all="raise"):
        PASSES[name](Numbers(dtype, size))
