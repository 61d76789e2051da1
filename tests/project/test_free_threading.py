"""Many Python threads at once on what they may share: every result is bitwise that of a single thread.

On a free-threaded Python they run side by side everywhere, on others only inside the kernels.
"""

import copy
import os
import pickle
import subprocess
import sys
import sysconfig
import textwrap

import numpy as np
import pytest
from helpers import assert_same, run_together

import fastlstm
from fastlstm import GRU, LSTM, RNN, Frozen, Stream, nn

T, B = 40, 32
F = np.float32


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(F)


def arrays(name, value):
    """All arrays in tuples, lists and numbers, by name."""
    if isinstance(value, (tuple, list)):
        return {key: array for k, part in enumerate(value) for key, array in arrays(f"{name}.{k}", part).items()}
    return {} if value is None else {name: np.asarray(value)}


def again_and_again(work):
    """Runs work(0), work(1), work(2) here, then in many threads: the same arrays."""
    expected = [work(k) for k in range(3)]

    def target(k):
        for turn in range(3):
            at = (k + turn) % 3
            assert_same(work(at), expected[at])

    run_together(6, target)


# Workspaces large enough to be kept between calls, rows kept for lengths, memory for each thread, whatever is cached.
LAYERS = {
    "LSTM": lambda: LSTM(64, 128, seed=0),
    "stack": lambda: LSTM(33, 65, num_layers=2, seed=0),
    "two directions": lambda: LSTM(33, 65, num_layers=2, bidirectional=True, variant="CIFG", dropout=0.2, seed=0),
    "between steps": lambda: LSTM(
        33, 65, proj_size=20, zoneout=(0.1, 0.2), recurrent_dropout=0.1, drop_connect=0.1, seed=0
    ),
    "FGR": lambda: LSTM(17, 33, variant="FGR", seed=0),
    "layer norm": lambda: LSTM(33, 65, 2, layer_norm=True, seed=0),
    "GRU": lambda: GRU(33, 150, 2, seed=0),
    "batch invariant": lambda: RNN(33, 150, batch_invariant=True, seed=0),
}


# Each gives a function of k: three inputs, so that what one thread leaves behind is wrong for another.


def passes(layer):
    """Inference, and training with tapes of one's own."""
    lengths, dy = np.random.default_rng(1).integers(0, T + 1, B), random(T, B, layer.output_size * layer.directions)

    def work(k):
        x = random(T, B, layer.input_size, seed=k)
        result = arrays("call", layer(x, num_threads=2)) | arrays("lengths", layer(x, lengths=lengths, num_threads=2))
        for recompute in (None, 5):
            y, state, tape = layer.forward(
                x, lengths=lengths, rng=np.random.default_rng(3), recompute=recompute, num_threads=2
            )
            gradients = layer.backward(tape, dy, num_threads=2)
            result |= arrays(f"forward {recompute}", (y, state))
            result |= arrays(f"backward {recompute}", (gradients.flat, gradients.x, gradients.state))
        return result

    return work


def one_tape(layer):
    x = random(T, B, layer.input_size)
    tapes = [layer.forward(x, rng=np.random.default_rng(3), recompute=recompute)[2] for recompute in (None, 5)]

    def work(k):
        dy = random(T, B, layer.output_size * layer.directions, seed=k)
        found = [layer.backward(tape, dy, num_threads=2) for tape in tapes]
        return arrays("backward", [(one.flat, one.x, one.state) for one in found])

    return work


def steps(layer):
    """Streams of one's own, and steps without."""

    def work(k):
        stream, state, found = Stream(layer, 3, num_threads=2), None, []
        for x_t in random(T, 3, layer.input_size, seed=k):
            y_t, state = layer.step(x_t, state, num_threads=2)
            found.append((stream.step(x_t).copy(), y_t))
        return arrays("steps", (found, state, stream.state))

    return work


def frozen(layer):
    """A frozen network, and more of them made of the same one."""
    shared = Frozen(layer)

    def work(k):
        x = random(T, B, layer.input_size, seed=k)
        one_step = [] if layer.bidirectional else Stream(shared, B, num_threads=2).step(x[0]).copy()
        return arrays("frozen", (shared(x, num_threads=2), Frozen(layer)(x, num_threads=2), one_step))

    return work


def copies(layer):
    def work(_):
        return arrays("flat", [copy.deepcopy(layer).flat, pickle.loads(pickle.dumps(layer)).flat])

    return work


WORKS = [passes, one_tape, steps, frozen, copies]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("of", WORKS, ids=lambda of: of.__name__)
def test_one_layer(of, name):
    layer = LAYERS[name]()
    if of is steps and layer.bidirectional:
        layer = LAYERS["LSTM"]()
    again_and_again(of(layer))


def layers_made(_):
    """New layers of all kinds, and networks of them."""
    for make in LAYERS.values():
        layer = make()
        yield layer.flat
        size = layer.output_size * layer.directions
        yield nn.Sequential(layer, nn.Last(), nn.Dense(size, 2, seed=1)).flat


def optimisers(k):
    gradients = random(5, 70_000, seed=k)
    for make in (nn.SGD, nn.Adam, nn.AdamW):
        flat = random(70_000, seed=1)
        optimiser = make(flat, 0.01)
        for gradient in gradients:
            own = gradient.copy()
            yield nn.clip_norm([own], 1.0)
            optimiser.step(own)
        yield [flat, *optimiser.state().values()]


def losses(k):
    logits, target = random(T, B, 9, seed=k), random(T, B, 9, seed=5)
    labels = np.random.default_rng(2).integers(1, 9, (B, 6))
    yield nn.mse(logits, target)
    yield nn.softmax_cross_entropy(logits, np.abs(target).argmax(-1))
    yield nn.ctc_loss(logits, None, labels, None, num_threads=2)
    yield nn.ctc_best_path(logits)
    yield [list(row[0]) for row in nn.ctc_beam_search(logits, beam_width=8, num_threads=2)]


def training(k):
    data = nn.Batches(random(60, 9, 3, seed=k), random(60, 2), batch_size=16)
    model = nn.Sequential(LSTM(3, 8, dropout=0.1, num_layers=2, seed=0), nn.Last(), nn.Dense(8, 2, seed=1))
    history = nn.fit(model, nn.mse, data, data, epochs=2, clip=1.0, average=0.9, progress=False)
    measured = [(epoch.loss, epoch.validation) for epoch in history.epochs]
    yield [model.flat, measured, model.predict(random(5, 9, 3))]


@pytest.mark.parametrize("of", [layers_made, optimisers, losses, training], ids=lambda of: of.__name__)
def test_things_of_ones_own(of):
    again_and_again(lambda k: arrays(of.__name__, list(of(k))))


def test_one_network_that_writes():
    """Embeddings, dense layers, attention, search."""
    decoder = nn.Decoder(7, 5, 33, encoded_size=20, attention_size=6, seed=1)
    model = nn.Seq2Seq(nn.Sequential(nn.Embedding(9, 6, seed=2), LSTM(6, 10, bidirectional=True, seed=0)), decoder)
    model.flat *= 3

    def work(k):
        rng = np.random.default_rng(k)
        x, target = rng.integers(0, 9, (9, 5)), rng.integers(0, 7, (8, 5))
        search = model.beam_search(x, begin=0, end=1, max_steps=9, beam_width=4)
        written = [[(one.ids, one.log_probability) for one in row] for row in search]
        logits, state, tape = model.forward(x, target, rng=np.random.default_rng(1))
        gradients = model.backward(tape, np.ones_like(logits))
        return arrays("written", written) | arrays("passes", (logits, state, gradients.flat))

    again_and_again(work)


def test_one_network_into_files_and_back(tmp_path):
    network = nn.Sequential(LSTM(3, 5, bidirectional=True, seed=0), nn.Dense(10, 2, seed=1))
    fastlstm.save(network, tmp_path / "shared", extra=[1, 2])

    def work(k):
        for _ in range(5):
            fastlstm.save(network, tmp_path / str(k))
            for name in (str(k), "shared"):
                assert_same({"flat": fastlstm.load(tmp_path / name).flat}, {"flat": network.flat})
            assert fastlstm.load_extra(tmp_path / "shared") == [1, 2]

    run_together(6, work)


def test_the_default_number_of_threads_changes_meanwhile(default_threads):
    """Each call has one number or another from its beginning to its end."""
    layer, x = LSTM(40, 80, seed=0), random(T, 16, 40)
    allowed = {layer(x, num_threads=number)[0].tobytes() for number in (1, 2, 3)}

    def work(k):
        for turn in range(30):
            if k:
                assert layer(x)[0].tobytes() in allowed
            else:
                fastlstm.set_num_threads(1 + turn % 3)

    run_together(6, work)


# ---- the first import, the GIL ----


def run_script(code, environment):
    """Return the output of a program, which must not warn or fail."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.stderr == ""
    assert result.returncode == 0
    return result.stdout.split()


def test_the_first_import_and_the_first_calls(environment):
    code = """
    from threading import Barrier, Thread
    import numpy as np
    barrier, found = Barrier(8), []

    def work():
        barrier.wait()
        import fastlstm
        from fastlstm import inspect, nn
        sums = []
        for variant in ("vanilla", "NIG", "NFG", "NOG", "NIAF", "NOAF", "NP", "CIFG", "FGR"):
            layer = fastlstm.LSTM(3, 40, num_layers=2, variant=variant, clip=3, seed=0)
            y, _, tape = layer.forward(np.ones((5, 9, 3), np.float32))
            sums.append(layer.backward(tape, y).flat.sum())
        found.append(tuple(sums))

    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(len(found), len(set(found)))
    """
    assert run_script(code, environment) == ["8", "1"]


@pytest.mark.skipif(not hasattr(sys, "_is_gil_enabled"), reason="this Python always has the GIL")
def test_importing_leaves_the_gil_as_it_was(environment):
    code = """
    import importlib, pkgutil, sys
    import fastlstm

    names = [module.name for module in pkgutil.walk_packages(fastlstm.__path__, "fastlstm.")]
    for name in names:
        if not name.endswith("__main__") and not name.startswith("fastlstm.torch"):  # PyTorch has its own say
            importlib.import_module(name)
    print(len(names) > 80, sys._is_gil_enabled())
    """
    environment.pop("PYTHON_GIL", None)
    assert run_script(code, environment) == ["True", str(not sysconfig.get_config_var("Py_GIL_DISABLED"))]
