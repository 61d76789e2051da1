"""Every flag, number, rate and seed of every public callable: what is of another kind is refused by its name.

The parameters are found by their annotations, so that one that is added later cannot be forgotten.
"""

import inspect
import math
import re

import numpy as np
import pytest

import fastlstm
import fastlstm.inspect
from fastlstm import GRU, LSTM, RNN, Frozen, Stream, gpu, nn, saving

# ---- what each kind takes, and refuses ----

TRUE_OR_FALSE = [True, False, np.True_, np.False_]
NO_FLAGS = ["False", "no", 0, 1, 0.0, np.float32(1), np.array(True), np.array([True, False]), [], object()]
NO_INTS = ["1", True, np.True_, 1.0, np.float32(1), np.array(1.0), np.array([1, 2]), np.array([1]), [1], object()]
NO_NUMBERS = [
    "0.5", True, np.True_, 1j, math.nan, np.float32("nan"), 10**400, -(10**400), np.array([0.5]), [0.5], object()
]  # fmt: skip


def kinds_of(value):
    """The same number as each kind of number that can hold it."""
    kinds = [float, np.float32, np.float64, np.array]
    if isinstance(value, int):
        kinds += [int, np.int8, np.int64, np.uint8]
    return [kind(value) for kind in kinds]


def ints_of(value):
    return [value, np.int8(value), np.int64(value), np.uint8(value), np.array(value)]


class Kind:
    def __init__(self, good, bad, optional=False):
        self.good, self.bad = list(good), list(bad)
        (self.good if optional else self.bad).append(None)

    def or_none(self):
        return Kind(self.good, [value for value in self.bad if value is not None], optional=True)


def numbers(*good, bad=()):
    return Kind([one for value in good for one in kinds_of(value)], [*NO_NUMBERS, *bad])


def ints(*good, bad=()):
    return Kind([one for value in good for one in ints_of(value)], [*NO_INTS, *bad])


def pairs_of(kind):
    """Two of a kind."""
    good = [(value, 0.0) for value in kind.good] + [(0.0, value) for value in kind.good]
    bad = [(value, 0.0) for value in kind.bad] + [(0.0, value) for value in kind.bad]
    return Kind(good, [*bad, 0.5, (0.5,), (0.5, 0.5, 0.5), "ab"])


FLAG = Kind(TRUE_OR_FALSE, NO_FLAGS)
RATE = numbers(0.5, 0, bad=[1, -0.5, math.inf])
ABOVE_ZERO = numbers(0.5, 1, bad=[0, -1, -math.inf])
ABOVE_ZERO_FINITE = numbers(0.5, 1, bad=[0, -1, math.inf])
BOUND = numbers(0.5, 1, bad=[0, -1, math.inf]).or_none()
AT_LEAST_ZERO = numbers(0.5, 0, bad=[-1, math.inf])
SIZE = ints(2, bad=[0, -1])
COUNT = ints(0, 1, bad=[-1])
THREADS = ints(1, bad=[0, -1, 10**6, 10**400]).or_none()
SEED = Kind(
    [*ints_of(3), 10**30, np.random.default_rng(0)],
    [*NO_INTS, -1, np.random.RandomState(0), np.random.default_rng, np.random.SeedSequence(0)],
    optional=True,
)
GENERATOR = Kind([np.random.default_rng(0)], [0, "0", True, np.random.RandomState(0), np.random])
INDEX = ints(0, bad=[10**6, -(10**6)])

# ---- what can be called: its valid arguments, and the kind of each that is a flag, a number or a seed ----


class Own(nn.Layer):
    def compute(self, x):
        return x, None

    def gradients(self, kept, dy):
        return dy, {}


lstm, gru, rnn = LSTM(2, 3, seed=0), GRU(2, 3, seed=0), RNN(2, 3, seed=0)
masked = LSTM(2, 3, recurrent_dropout=0.5, seed=0)
x, x_t, y = np.ones((4, 2, 2), np.float32), np.ones((2, 2), np.float32), np.ones((4, 2, 3), np.float32)
W, R, b = lstm.params["W_l0"], lstm.params["R_l0"], lstm.params["b_l0"]
gru_weights = dict(zip(("W", "R", "b", "bn"), gru.params.values(), strict=True))
rnn_weights = rnn.params["W_l0"], rnn.params["R_l0"], rnn.params["b_l0"]
ids = np.zeros((4, 2), int)
data, targets = np.ones((4, 3, 2), np.float32), np.ones((4, 1), np.float32)
batches, chunks = nn.Batches(data, targets, 2), nn.Chunks(np.arange(9), np.arange(9), 2, 2)
transcripts = nn.Transcripts(data, [np.array([1])] * 4, 2)
pairs = nn.Pairs([np.array([2, 3])] * 3, [np.array([2])] * 3, 2, begin=0, end=1)
dense, attention, embedding = nn.Dense(2, 3, seed=0), nn.Attention(2, 2, 3, seed=0), nn.Embedding(4, 2, seed=0)
dropout, last, mean, norm = nn.Dropout(0.5), nn.Last(), nn.Mean(), nn.LayerNorm(2)
softmax = nn.Activation("softmax")
residual = nn.Residual(LSTM(2, 2, recurrent_dropout=0.5, seed=0))
branches = nn.Branches(nn.Dense(2, 1, seed=0), LSTM(2, 2, recurrent_dropout=0.5, seed=0))
network = nn.Sequential(LSTM(2, 3, recurrent_dropout=0.5, seed=0), nn.Last(), nn.Dense(3, 1, seed=0))
decoder = nn.Decoder(4, 2, 3, encoded_size=2, dropout=0.5, seed=0)
seq2seq = nn.Seq2Seq(None, nn.Decoder(4, 2, 3, encoded_size=2, dropout=0.5, seed=0))
flat = np.ones(3)
logits, labels = np.zeros((2, 2, 3)), np.ones((2, 1), int)
words = {"begin": 0, "end": 1, "max_steps": 2}
chunk = next(iter(fastlstm.truncated_bptt(lstm, x, 2)))


def tape_of(layer, *given, **named):
    return layer.forward(*given, **named)[-1]


def out_of(layer, tape, dy):
    """Arguments of `backward` with which both values of `accumulate` are legal."""
    return {"tape": tape, "dy": dy, "out": layer.backward(tape, dy)}


rng = np.random.default_rng(0)
lstm_tape, gru_tape, rnn_tape = tape_of(lstm, x), tape_of(gru, x), tape_of(rnn, x)
function_tape = fastlstm.lstm_forward(x, W, R, b, tape=True)[2]
gru_function_tape = fastlstm.gru_forward(x, **gru_weights, tape=True)[2]
rnn_function_tape = fastlstm.rnn_forward(x, *rnn_weights, tape=True)[2]
network_tape, dropped = tape_of(network, x, rng=rng), tape_of(dropout, x, rng=rng)
decoder_tape = tape_of(decoder, ids, x, rng=rng)
seq2seq_tape = tape_of(seq2seq, x, ids, rng=rng)
dlogits = np.ones((4, 2, 4), np.float32)
attended = tape_of(attention, x, x)


def entered(**named):
    with gpu.use(**named):
        pass


def listed(iterate):
    """The same function, whose generator runs to its end."""
    return lambda **named: list(iterate(**named))


DIRECTIONS = ints(1, 2, bad=[0, 3, -1])
CELLS = {
    "input_size": SIZE, "hidden_size": SIZE, "num_layers": SIZE, "bidirectional": FLAG, "batch_first": FLAG,
    "dropout": RATE, "recurrent_dropout": RATE, "drop_connect": RATE, "seed": SEED, "batch_invariant": FLAG,
    "init_scale": numbers(0.5, 0, bad=[-1, math.inf, 1e300]).or_none(),
}  # fmt: skip
ONE = {"num_threads": THREADS}
FORWARD = ONE | {"rng": GENERATOR, "recompute": SIZE.or_none()}
BACKWARD = ONE | {"deltas": FLAG, "accumulate": FLAG}
TAPE = Kind(TRUE_OR_FALSE, ["yes", 0, 1, np.array(True)])
STEPS = {"tape": TAPE, "num_threads": THREADS, "recompute": SIZE.or_none(), "reverse": FLAG, "batch_invariant": FLAG}
WORKSPACE = {"T": COUNT, "B": COUNT, "I": SIZE, "H": ints(3, bad=[0, -1]), "recompute": SIZE.or_none()}
ADAM = {"learning_rate": AT_LEAST_ZERO, "beta1": RATE, "beta2": RATE, "epsilon": AT_LEAST_ZERO}
PARTS = {"seed": SEED}
EPOCH = {"rng": GENERATOR.or_none(), "batch_first": FLAG}
PLACE = {"layer": INDEX, "direction": INDEX}
RUN, STEP = {"network": lstm, "x": x}, {"t": INDEX, "row": INDEX}
IDS = ints(0, 1, bad=[-1])

CASES = {
    "LSTM": (
        LSTM, {"input_size": 2, "hidden_size": 3, "num_layers": 2},
        CELLS | {"peephole": FLAG, "layer_norm": FLAG, "proj_size": COUNT, "clip": BOUND, "cell_clip": BOUND,
                 "zoneout": pairs_of(RATE), "forget_bias": numbers(0.5, 1, bad=[math.inf, -math.inf, 1e300])},
    ),
    "GRU": (
        GRU, {"input_size": 2, "hidden_size": 3, "num_layers": 2}, CELLS | {"reset_after": FLAG, "zoneout": RATE}
    ),
    "RNN": (RNN, {"input_size": 2, "hidden_size": 3, "num_layers": 2}, CELLS | {"zoneout": RATE}),
    "LSTM.__call__": (lstm, {"x": x}, ONE),
    "GRU.__call__": (gru, {"x": x}, ONE),
    "RNN.__call__": (rnn, {"x": x}, ONE),
    "LSTM.forward": (masked.forward, {"x": x, "rng": rng}, FORWARD),
    "GRU.forward": (GRU(2, 3, recurrent_dropout=0.5).forward, {"x": x, "rng": rng}, FORWARD),
    "RNN.forward": (RNN(2, 3, recurrent_dropout=0.5).forward, {"x": x, "rng": rng}, FORWARD),
    "LSTM.backward": (lstm.backward, out_of(lstm, lstm_tape, y), BACKWARD),
    "GRU.backward": (gru.backward, out_of(gru, gru_tape, y), BACKWARD),
    "RNN.backward": (rnn.backward, out_of(rnn, rnn_tape, y), BACKWARD),
    "LSTM.draw_masks": (masked.draw_masks, {"T": 4, "B": 2, "rng": rng}, {"T": COUNT, "B": COUNT, "rng": GENERATOR}),
    "GRU.draw_masks": (gru.draw_masks, {"T": 4, "B": 2, "rng": rng}, {"T": COUNT, "B": COUNT, "rng": GENERATOR}),
    "RNN.draw_masks": (rnn.draw_masks, {"T": 4, "B": 2, "rng": rng}, {"T": COUNT, "B": COUNT, "rng": GENERATOR}),
    "LSTM.step": (lstm.step, {"x_t": x_t}, ONE),
    "GRU.step": (gru.step, {"x_t": x_t}, ONE),
    "RNN.step": (rnn.step, {"x_t": x_t}, ONE),
    "LSTM.zero_state": (lstm.zero_state, {}, {"B": COUNT}),
    "GRU.zero_state": (gru.zero_state, {}, {"B": COUNT}),
    "RNN.zero_state": (rnn.zero_state, {}, {"B": COUNT}),
    "Chunk.backward": (chunk.backward, {"dy": None, "out": chunk.backward(None)}, {"accumulate": FLAG}),
    "Frozen": (Frozen, {"network": lstm}, {"fast": FLAG}),
    "export_c": (fastlstm.export_c, {"network": lstm, "path": "exported.h"}, {"fast": FLAG}),
    "rounding_error": (fastlstm.rounding_error, {"network": lstm, "x": x}, {"fast": FLAG}),
    "Frozen.__call__": (Frozen(lstm), {"x": x}, ONE),
    "Frozen.step": (Frozen(lstm).step, {"x_t": x_t}, ONE),
    "Stream": (Stream, {"network": lstm}, ONE | {"B": SIZE}),
    "lstm_forward": (
        fastlstm.lstm_forward, {"x": x, "W": W, "R": R, "b": b, "tape": True},
        STEPS | {"clip": BOUND, "cell_clip": BOUND},
    ),
    # bn, which is there, is refused by the form without it.
    "gru_forward": (
        fastlstm.gru_forward, {"x": x, **gru_weights, "tape": True}, STEPS | {"reset_after": Kind([True], NO_FLAGS)}
    ),
    "rnn_forward": (fastlstm.rnn_forward, dict(zip("xWRb", (x, *rnn_weights), strict=True)) | {"tape": True}, STEPS),
    "lstm_backward": (
        fastlstm.lstm_backward,
        {"tape": function_tape, "W": W, "R": R, "p": None, "dy": y,
         "out": fastlstm.lstm_backward(function_tape, W, R, None, y)},
        BACKWARD,
    ),
    "gru_backward": (
        fastlstm.gru_backward,
        {"tape": gru_function_tape, "W": gru_weights["W"], "R": gru_weights["R"], "bn": gru_weights["bn"], "dy": y,
         "out": fastlstm.gru_backward(gru_function_tape, gru_weights["W"], gru_weights["R"], gru_weights["bn"], y)},
        BACKWARD,
    ),
    "rnn_backward": (
        fastlstm.rnn_backward,
        {"tape": rnn_function_tape, "W": rnn_weights[0], "R": rnn_weights[1], "dy": y,
         "out": fastlstm.rnn_backward(rnn_function_tape, *rnn_weights[:2], y)},
        BACKWARD,
    ),
    "lstm_workspace": (
        fastlstm.lstm_workspace, {"T": 4, "B": 2, "I": 2, "H": 3},
        WORKSPACE | {"batch_invariant": FLAG, "proj_size": COUNT, "layer_norm": FLAG},
    ),
    "gru_workspace": (
        fastlstm.gru_workspace, {"T": 4, "B": 2, "I": 2, "H": 3},
        WORKSPACE | {"batch_invariant": FLAG, "reset_after": FLAG},
    ),
    "rnn_workspace": (
        fastlstm.rnn_workspace, {"T": 4, "B": 2, "I": 2, "H": 3}, WORKSPACE | {"batch_invariant": FLAG}
    ),
    "set_num_threads": (fastlstm.set_num_threads, {}, {"num_threads": ints(1, bad=[0, -1, 10**6])}),
    "truncated_bptt": (
        listed(fastlstm.truncated_bptt), {"network": masked, "x": x, "k1": 2, "rng": rng},
        ONE | {"k1": SIZE, "k2": SIZE.or_none(), "rng": GENERATOR},
    ),
    "SGD": (
        nn.SGD, {"flat": flat, "learning_rate": 0.1, "momentum": 0.5},
        {"learning_rate": AT_LEAST_ZERO, "momentum": RATE, "nesterov": FLAG, "weight_decay": AT_LEAST_ZERO},
    ),
    "Adam": (nn.Adam, {"flat": flat}, ADAM),
    "AdamW": (nn.AdamW, {"flat": flat}, ADAM | {"weight_decay": AT_LEAST_ZERO}),
    "Attention": (
        nn.Attention, {"query_size": 2, "memory_size": 2, "hidden_size": 3},
        {"query_size": SIZE, "memory_size": SIZE, "hidden_size": SIZE, "seed": SEED},
    ),
    "Attention.backward": (
        attention.backward, {"tape": attended, "dcontext": x, "out": attention.backward(attended, x)},
        {"accumulate": FLAG},
    ),
    "Batches": (
        nn.Batches, {"inputs": data[:, :1], "targets": targets, "batch_size": 2},
        {"batch_size": SIZE, "per_step": FLAG.or_none()},
    ),
    "Batches.epoch": (listed(batches.epoch), {}, EPOCH),
    "Chunks": (
        nn.Chunks, {"sequence": np.arange(9), "targets": np.arange(9), "batch_size": 2, "steps": 2},
        {"batch_size": SIZE, "steps": SIZE},
    ),
    "Chunks.epoch": (listed(chunks.epoch), {}, EPOCH),
    "pad": (nn.pad, {"sequences": [np.arange(3)]}, {"batch_first": FLAG}),
    "Transcripts": (
        nn.Transcripts, {"inputs": data, "labels": [np.array([1])] * 4, "batch_size": 2}, {"batch_size": SIZE}
    ),
    "Transcripts.epoch": (listed(transcripts.epoch), {}, EPOCH),
    "Pairs": (
        nn.Pairs, {"sources": [np.array([2])], "targets": [np.array([2])], "batch_size": 2, "begin": 0, "end": 1},
        {"batch_size": SIZE, "begin": IDS, "end": IDS},
    ),
    "Pairs.epoch": (listed(pairs.epoch), {}, {"rng": GENERATOR.or_none()}),
    "CosineDecay": (
        nn.CosineDecay, {"peak": 0.5, "steps": 3},
        {"peak": AT_LEAST_ZERO, "steps": SIZE, "warm_up": COUNT, "end": AT_LEAST_ZERO},
    ),
    "ExponentialDecay": (
        nn.ExponentialDecay, {"start": 0.5, "factor": 0.5},
        {"start": AT_LEAST_ZERO, "factor": ABOVE_ZERO, "steps": SIZE},
    ),
    "StepDecay": (
        nn.StepDecay, {"start": 0.5, "factor": 0.5, "steps": 2},
        {"start": AT_LEAST_ZERO, "factor": ABOVE_ZERO, "steps": SIZE},
    ),
    "Decoder": (
        nn.Decoder, {"vocabulary_size": 4, "embedding_size": 2, "hidden_size": 3, "encoded_size": 2, "num_layers": 2},
        {"vocabulary_size": SIZE, "embedding_size": SIZE, "hidden_size": SIZE, "num_layers": SIZE,
         "encoded_size": SIZE, "attention_size": SIZE.or_none(), "dropout": RATE, "peephole": FLAG, "seed": SEED},
    ),
    "Decoder.__call__": (decoder, {"target_in": ids, "encoded": x}, {"directions": DIRECTIONS}),
    "Decoder.forward": (
        decoder.forward, {"target_in": ids, "encoded": x, "rng": rng}, {"directions": DIRECTIONS, "rng": GENERATOR}
    ),
    "Decoder.start": (decoder.start, {"encoded": x}, {"directions": DIRECTIONS}),
    "Decoder.attention_weights": (
        nn.Decoder(4, 2, 3, encoded_size=2, attention_size=2).attention_weights, {"target_in": ids, "encoded": x},
        {"directions": DIRECTIONS},
    ),
    "Decoder.backward": (
        decoder.backward,
        {"tape": decoder_tape, "dlogits": dlogits, "out": decoder.backward(decoder_tape, dlogits)},
        {"accumulate": FLAG},
    ),
    "Dense": (
        nn.Dense, {"input_size": 2, "output_size": 3}, {"input_size": SIZE, "output_size": SIZE, "seed": SEED}
    ),
    "Dense.backward": (dense.backward, out_of(dense, tape_of(dense, x), y), {"accumulate": FLAG}),
    "Dropout": (nn.Dropout, {}, {"rate": RATE}),
    "Dropout.forward": (dropout.forward, {"x": x}, {"rng": GENERATOR}),
    "Dropout.backward": (dropout.backward, out_of(dropout, dropped, x), {"accumulate": FLAG}),
    "Embedding": (
        nn.Embedding, {"vocabulary_size": 4, "output_size": 2},
        {"vocabulary_size": SIZE, "output_size": SIZE, "seed": SEED},
    ),
    "Embedding.backward": (
        embedding.backward,
        {"tape": tape_of(embedding, ids), "dx": x, "out": embedding.backward(tape_of(embedding, ids), x)},
        {"accumulate": FLAG},
    ),
    "Last.__call__": (last, {"y": x}, {"directions": DIRECTIONS}),
    "Last.forward": (last.forward, {"y": x}, {"directions": DIRECTIONS}),
    "Last.backward": (last.backward, out_of(last, tape_of(last, x), x_t), {"accumulate": FLAG}),
    "Layer": (Own, {}, {"seed": SEED}),
    "Layer.backward": (Own().backward, out_of(Own(), tape_of(Own(), x), x), {"accumulate": FLAG}),
    "Activation.backward": (
        softmax.backward, out_of(softmax, tape_of(softmax, x), x), {"accumulate": FLAG},
    ),
    "LayerNorm": (nn.LayerNorm, {"features": 2}, {"features": SIZE, "epsilon": ABOVE_ZERO_FINITE}),
    "LayerNorm.backward": (norm.backward, out_of(norm, tape_of(norm, x), x), {"accumulate": FLAG}),
    "Identity.backward": (nn.Identity().backward, out_of(nn.Identity(), tape_of(nn.Identity(), x), x),
                          {"accumulate": FLAG}),
    "Branches.forward": (branches.forward, {"x": x, "rng": rng}, {"rng": GENERATOR}),
    "Branches.backward": (branches.backward, out_of(branches, tape_of(branches, x, rng=rng), y), {"accumulate": FLAG}),
    "Residual": (lambda **named: nn.Residual(LSTM(2, 2, seed=0), **named), {}, {"batch_first": FLAG}),
    "Residual.forward": (residual.forward, {"x": x, "rng": rng}, {"rng": GENERATOR}),
    "Residual.backward": (residual.backward, out_of(residual, tape_of(residual, x, rng=rng), x), {"accumulate": FLAG}),
    "Residual.predict": (residual.predict, {"inputs": data}, {"batch_size": SIZE}),
    "Mean.backward": (mean.backward, out_of(mean, tape_of(mean, x), x_t), {"accumulate": FLAG}),
    "Seq2Seq.forward": (seq2seq.forward, {"x": x, "target_in": ids, "rng": rng}, {"rng": GENERATOR}),
    "Seq2Seq.backward": (
        seq2seq.backward,
        {"tape": seq2seq_tape, "dlogits": dlogits, "out": seq2seq.backward(seq2seq_tape, dlogits)},
        {"accumulate": FLAG},
    ),
    "Seq2Seq.greedy": (seq2seq.greedy, {"x": x, **words}, {"begin": IDS, "end": IDS, "max_steps": SIZE}),
    "Seq2Seq.beam_search": (
        seq2seq.beam_search, {"x": x, **words, "beam_width": 2},
        {"begin": IDS, "end": IDS, "max_steps": SIZE, "beam_width": SIZE, "length_penalty": AT_LEAST_ZERO},
    ),
    "Sequential": (lambda **named: nn.Sequential(LSTM(2, 3, seed=0), **named), {}, {"batch_first": FLAG}),
    "Sequential.forward": (network.forward, {"x": x, "rng": rng}, {"rng": GENERATOR}),
    "Sequential.backward": (network.backward, out_of(network, network_tape, np.ones((2, 1), np.float32)),
                            {"accumulate": FLAG}),
    "Sequential.predict": (network.predict, {"inputs": data}, {"batch_size": SIZE}),
    "clip_norm": (nn.clip_norm, {"gradients": flat}, {"threshold": ABOVE_ZERO}),
    "clip_value": (nn.clip_value, {"gradients": flat}, {"limit": ABOVE_ZERO}),
    "ctc_loss": (
        nn.ctc_loss, {"logits": logits, "lengths": None, "labels": labels, "label_lengths": None},
        ONE | {"blank": INDEX, "batch_first": FLAG, "per_label": FLAG, "zero_infinity": FLAG},
    ),
    "ctc_best_path": (nn.ctc_best_path, {"logits": logits}, {"blank": INDEX, "batch_first": FLAG}),
    "ctc_beam_search": (
        nn.ctc_beam_search, {"logits": logits, "beam_width": 2},
        ONE | {"beam_width": SIZE, "num_results": SIZE, "blank": INDEX, "batch_first": FLAG},
    ),
    "fit": (
        nn.fit,
        {"model": network, "loss": nn.mse, "train": batches, "validation": batches, "epochs": 1, "progress": False,
         "checkpoint": "there-is-none"},
        {"epochs": SIZE, "clip": ABOVE_ZERO.or_none(), "average": RATE.or_none(), "patience": SIZE.or_none(),
         "seed": SEED, "progress": FLAG, "resume": FLAG},
    ),
    "huber": (nn.huber, {"prediction": flat, "target": flat}, {"delta": ABOVE_ZERO}),
    "softmax_cross_entropy": (
        nn.softmax_cross_entropy, {"logits": logits, "target": np.zeros((2, 2), int)}, {"label_smoothing": RATE}
    ),
    "use": (entered, {}, {"tf32": FLAG.or_none()}),
    "block_values": (fastlstm.inspect.block_values, RUN | {"t": 1}, PLACE | STEP | {"unit": INDEX}),
    "draw_block": (fastlstm.inspect.draw_block, RUN | {"t": 1}, PLACE | STEP | {"unit": INDEX}),
    "cell_jacobians": (fastlstm.inspect.cell_jacobians, RUN, PLACE | STEP),
    "hidden_jacobians": (fastlstm.inspect.hidden_jacobians, {"network": rnn, "x": x}, PLACE | STEP),
    "deltas": (fastlstm.inspect.deltas, RUN, PLACE),
    "flows": (fastlstm.inspect.flows, RUN, PLACE),
    "gradient_norms": (fastlstm.inspect.gradient_norms, RUN, PLACE),
    "descend": (
        fastlstm.inspect.descend,
        {"loss": lambda w: (0.0, np.ones_like(w)), "start": flat, "learning_rate": 0.5, "steps": 1},
        {"learning_rate": AT_LEAST_ZERO, "steps": SIZE, "threshold": ABOVE_ZERO},
    ),
    "plot_clipping": (
        fastlstm.inspect.plot_clipping, {"norms": flat, "threshold": 1.0, "losses": flat}, {"threshold": ABOVE_ZERO}
    ),
    "plot_deltas": (fastlstm.inspect.plot_deltas, {"deltas": fastlstm.inspect.deltas(lstm, x)}, {"row": INDEX}),
    "plot_flows": (fastlstm.inspect.plot_flows, {"flows": fastlstm.inspect.flows(lstm, x)}, {"row": INDEX}),
}  # fmt: skip

KINDS = re.compile(r"\b(bool|int|float|Generator|Rate)\b")
MODULES = fastlstm, nn, gpu, saving, fastlstm.inspect


def public_callables():
    """Every public function, constructor and method, by name."""
    for module in MODULES:
        for name in module.__all__:
            found = getattr(module, name)
            if not isinstance(found, type):
                if callable(found):
                    yield name, found
                continue
            if issubclass(found, (tuple, Exception)) or getattr(found, "_is_protocol", False) or name.endswith("Tape"):
                continue
            if name not in ("Chunk", "Gradients"):  # which the library makes, as it does tapes
                yield name, found
            for method in dir(found):
                if method == "initialise":  # The base class calls it, once, with a generator that it has made.
                    continue
                if callable(getattr(found, method)) and (method == "__call__" or not method.startswith("_")):
                    yield f"{name}.{method}", getattr(found, method)


def parameters():
    """Return (callable, parameter) for every public parameter annotated as a flag, a number or a seed."""
    for label, function in public_callables():
        for name, parameter in inspect.signature(function).parameters.items():
            annotation = re.sub(r"(Callable|list|dict)\[.*\]", "", str(parameter.annotation))
            if KINDS.search(annotation) and (label, name) not in WITHOUT_A_KIND:
                yield label, name


WITHOUT_A_KIND = {  # schedules are functions of whatever they are asked for
    *((f"{kind}.__call__", "t") for kind in ("CosineDecay", "ExponentialDecay", "StepDecay")),
}
PARAMETERS = sorted(set(parameters()))


def test_each_parameter_has_a_kind():
    assert [
        (label, name) for label, (_, _, kinds) in CASES.items() for name in kinds if (label, name) not in PARAMETERS
    ] == []


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch, default_threads):
    """A folder for files, and the number of threads as it was."""
    monkeypatch.chdir(tmp_path)


def case(label, name):
    if label in ("draw_block", "plot_clipping", "plot_deltas", "plot_flows"):
        pytest.importorskip("matplotlib")
    if label == "fit":
        pytest.importorskip("tqdm")
        pytest.importorskip("safetensors")
    call, valid, kinds = CASES[label]
    return call, {key: value for key, value in valid.items() if key != name}, kinds[name]


@pytest.mark.parametrize(("label", "name"), PARAMETERS)
def test_what_is_of_a_kind_is_taken(label, name):
    call, valid, kind = case(label, name)
    for value in kind.good:
        call(**valid, **{name: value})


@pytest.mark.parametrize(("label", "name"), PARAMETERS)
def test_what_is_of_another_kind_is_refused_by_name(label, name):
    call, valid, kind = case(label, name)
    for value in kind.bad:
        refusal = f"none of {value!r}"
        try:
            call(**valid, **{name: value})
        except (TypeError, ValueError) as error:
            refusal = str(error)
        assert re.match(rf"{name}\b", refusal)
