"""fit: it learns, the same at every run; the best is kept, Ctrl-C and resume lose nothing, misuse is refused."""

import builtins
import itertools
import math
import sys
from functools import partial

import numpy as np
import pytest

from fastlstm import LSTM, FileError, nn
from fastlstm._arrays import files
from fastlstm.nn import Batch, Batches, Chunks, Epoch, History, _progress, evaluate, fit, mse


@pytest.fixture
def path(tmp_path):
    """Of a checkpoint."""
    return tmp_path / "run"


def Momentum(flat, learning_rate=0.01):
    """An optimiser with something to remember."""
    return nn.SGD(flat, learning_rate, momentum=0.9)


def network(seed=0, dropout=0.0):
    lstm = LSTM(2, 6, num_layers=2, dropout=dropout, seed=seed)
    return nn.Sequential(lstm, nn.Last(), nn.Dense(6, 1, seed=seed))


def data(N=20, seed=0, batch_size=6):
    """The mean of what came first, of sequences of different lengths."""
    rng = np.random.default_rng(seed)
    x = [rng.normal(size=(T, 2)).astype(np.float32) for T in rng.integers(3, 9, N)]
    return Batches(x, np.array([one[:3, :1].mean(axis=0) for one in x]), batch_size)


def run(epochs=4, seed=0, **options):
    model = network(dropout=0.2)
    history = fit(
        model, mse, data(), data(seed=1), optimiser=Momentum(model.flat), epochs=epochs, seed=seed, progress=False,
        **options,
    )  # fmt: skip
    return model, history


def test_it_learns():
    model = network()
    before = evaluate(model, mse, data())
    history = fit(model, mse, data(), optimiser=nn.Adam(model.flat, 0.01), epochs=40, clip=1.0, progress=False)
    assert len(history.epochs) == 40
    assert history.stopped == "epochs"
    assert history.best is None
    assert evaluate(model, mse, data()) < before / 4


def test_the_optimiser_is_adam_unless_given():
    found = []
    for optimiser in (lambda flat: None, lambda flat: nn.Adam(flat)):
        model = network()
        fit(model, mse, data(), optimiser=optimiser(model.flat), epochs=2, progress=False)
        found.append(model.flat.tobytes())
    assert found[0] == found[1]


@pytest.mark.parametrize("optimiser", [nn.SGD, nn.Adam, nn.AdamW])
def test_every_optimiser_can_be_resumed(path, optimiser):
    def trained(epochs):
        model = network()
        schedule = nn.CosineDecay(0.01, steps=20)
        fit(
            model, mse, data(), optimiser=optimiser(model.flat, schedule), epochs=epochs, progress=False,
            checkpoint=path, resume=True,
        )  # fmt: skip
        return model.flat.tobytes()

    trained(2)
    broken = trained(5)
    path.unlink()
    assert trained(5) == broken


def test_the_same_arguments_give_the_same_network():
    (one, history), (same, again), (other, _) = run(), run(), run(seed=1)
    assert one.flat.tobytes() == same.flat.tobytes()
    assert [epoch[:4] for epoch in history.epochs] == [epoch[:4] for epoch in again.epochs]
    assert one.flat.tobytes() != other.flat.tobytes()


def test_an_epoch_is_what_it_says():
    """By hand, without `fit`."""
    model, twin = network(dropout=0.2), network(dropout=0.2)
    train, validation = data(), data(seed=1)
    history = fit(
        model, mse, train, validation, optimiser=Momentum(model.flat, lambda t: 0.1 / (1 + t)), epochs=1, clip=0.5,
        seed=3, progress=False,
    )  # fmt: skip
    rng, optimiser, losses, sizes = np.random.default_rng(3), Momentum(twin.flat, lambda t: 0.1 / (1 + t)), [], []
    for batch in train.epoch(rng):
        y, _, tape = twin.forward(**batch.inputs, rng=rng)
        value, dy = mse(y, **batch.targets)
        grads = twin.backward(tape, dy)
        nn.clip_norm(grads.flat, 0.5)
        optimiser.step(grads.flat)
        losses.append(value)
        sizes.append(len(batch.rows))
    assert model.flat.tobytes() == twin.flat.tobytes()
    (epoch,) = history.epochs
    assert epoch.loss == pytest.approx(np.average(losses, weights=sizes), rel=1e-12)
    predicted = np.concatenate([twin(**batch.inputs)[0] - batch.targets["target"] for batch in validation.epoch()])
    assert epoch.validation == pytest.approx(float(np.square(predicted).mean()), rel=1e-5)
    assert epoch.learning_rate == 0.1 / len(train)
    assert epoch.seconds > 0


def test_the_best_epoch_is_kept():
    scores, kept = iter([0.1, 0.7, math.nan, 0.7, 0.3]), []

    def score(model):
        kept.append(model.flat.copy())
        return next(scores)

    with pytest.warns(RuntimeWarning, match="score of epoch 3 was nan, so that it cannot be the best"):
        model, history = run(epochs=5, score=score)
    assert history.best == 1
    assert model.flat.tobytes() == kept[1].tobytes()
    worse = [history.epochs[k].validation for k in range(5)]
    model, history = run(epochs=5)
    assert history.best == int(np.argmin(worse))


def test_patience():
    scores = iter([0.1, 0.7, 0.6, 0.7, 0.3, 0.9])
    _, history = run(epochs=9, score=lambda model: next(scores), patience=3)
    assert (len(history.epochs), history.best, history.stopped) == (5, 1, "patience")
    with pytest.warns(RuntimeWarning, match="cannot be the best"):
        _, history = run(epochs=9, score=lambda model: math.nan, patience=3)
    assert (len(history.epochs), history.best, history.stopped) == (3, None, "patience")


def test_average():
    """The mean over all steps at first, then what the decay leaves of it."""
    seen = []

    class Watched(nn.SGD):
        def step(self, gradient):
            super().step(gradient)
            seen.append(self.flat.copy())

    for decay in (0.99, 0.5):
        seen.clear()
        model = network()
        fit(model, mse, data(), optimiser=Watched(model.flat, 0.01), epochs=3, average=decay, progress=False)
        mean = np.zeros(model.flat.size)
        for t, flat in enumerate(seen, 1):
            mean += max(1 - decay, 1 / t) * (flat - mean)
        np.testing.assert_allclose(model.flat, mean, atol=1e-6)
    np.testing.assert_array_less(1e-6, np.abs(model.flat - seen[-1]).max())


def test_averages_are_measured_and_training_goes_on_from_the_last():
    """Without measures in between the training is the same."""
    plain, _ = run(average=0.9, epochs=1)
    model = network(dropout=0.2)
    fit(model, mse, data(), optimiser=Momentum(model.flat), epochs=1, average=0.9, progress=False)
    assert model.flat.tobytes() == plain.flat.tobytes()


# ---- states from batch to batch ----


def test_the_state_is_carried():
    rng = np.random.default_rng(0)
    sequence = rng.normal(size=(40, 2)).astype(np.float32)
    chunks = Chunks(sequence, sequence[:, :1].copy(), batch_size=2, steps=7)
    model = nn.Sequential(LSTM(2, 3, seed=0), nn.Dense(3, 1, seed=0))
    whole = Batches(np.stack(np.split(sequence, 2)), list(np.stack(np.split(sequence[:, :1], 2))), 2)
    assert evaluate(model, mse, chunks) == pytest.approx(evaluate(model, mse, whole), rel=1e-6)
    history = fit(model, mse, chunks, chunks, epochs=3, progress=False)
    assert history.epochs[-1].loss < history.epochs[0].loss


def test_chunks_are_the_sequence():
    rng = np.random.default_rng(0)
    for T, B, steps in itertools.product((8, 21, 40), (1, 3), (1, 4, 7, 50)):
        sequence = np.arange(T)
        chunks = Chunks(sequence, sequence + 1, B, steps)
        for generator in (None, rng, rng, rng):
            batches = list(chunks.epoch(generator))
            assert len(batches) == len(chunks)
            x = np.concatenate([batch.inputs["x"] for batch in batches])
            np.testing.assert_array_equal(x.T.ravel(), sequence[: T // B * B])
            np.testing.assert_array_equal(x + 1, np.concatenate([batch.targets["target"] for batch in batches]))
            assert sum(batch.size for batch in batches) == T // B * B


# ---- batches ----


def test_batches_have_each_sequence_once():
    lengths = np.random.default_rng(0).integers(0, 50, 301)
    inputs = [np.full((T, 2), k, np.float32) for k, T in enumerate(lengths)]
    steps = [np.full(T, k) for k, T in enumerate(lengths)]
    rng = np.random.default_rng(1)
    orders = []
    for targets, generator in itertools.product((None, np.arange(301), steps), (None, rng, rng)):
        batches = list(Batches(inputs, targets, 16).epoch(generator))
        assert len(batches) == 19
        orders.append(np.concatenate([batch.rows for batch in batches]))
        assert sorted(orders[-1]) == list(range(301))
        waste = 0
        for batch in batches:
            ends = batch.inputs.get("lengths", np.full(len(batch.rows), len(batch.inputs["x"])))
            np.testing.assert_array_equal(ends, lengths[batch.rows])
            within = np.arange(len(batch.inputs["x"]))[:, np.newaxis] < ends
            waste += (~within).sum()
            np.testing.assert_array_equal(batch.inputs["x"][..., 0], np.where(within, batch.rows, 0))
            assert len(batch.rows) in (15, 16)
            if targets is steps:
                np.testing.assert_array_equal(batch.targets["target"], np.where(within, batch.rows, 0))
                np.testing.assert_array_equal(batch.targets.get("mask", within), within)
                assert batch.size == ends.sum()
            elif targets is not None:
                np.testing.assert_array_equal(batch.targets["target"], batch.rows)
                assert batch.size == len(batch.rows)
        assert waste < 0.1 * lengths.sum()
    assert orders[0].tolist() == orders[3].tolist()
    assert orders[1].tolist() != orders[2].tolist()


def test_other_sources_will_do():
    class Drawn:
        def __len__(self):
            return 3

        def epoch(self, rng=None):
            for _ in range(3):
                x = rng.normal(size=(5, 4, 2)).astype(np.float32)
                yield Batch({"x": x}, {"target": x[-1, :, :1]}, 4)

    history = fit(network(), mse, Drawn(), epochs=2, progress=False)
    assert len(history.epochs) == 2


# ---- stopping and going on ----


class Interrupted:
    """A loss that Ctrl-C stops at its n-th call."""

    def __init__(self, calls):
        self.calls = calls

    def __call__(self, y, target):
        self.calls -= 1
        if self.calls == 0:
            raise KeyboardInterrupt
        return mse(y, target)


@pytest.mark.parametrize("calls", [1, 3, 9, 11, 17])
def test_ctrl_c_keeps_the_best_so_far(calls):
    """4 batches of training and 4 of validation in each epoch."""
    model = network()
    history = fit(
        model, Interrupted(calls), data(), data(seed=1), optimiser=Momentum(model.flat), epochs=5, average=0.9,
        progress=False,
    )  # fmt: skip
    assert history.stopped == "interrupted"
    assert len(history.epochs) == (calls - 1) // 8
    expected, twin = network(), network()
    if history.best is None:
        if calls == 1:
            assert model.flat.tobytes() == expected.flat.tobytes()
        assert np.isfinite(model.flat).all()
    else:
        fit(
            twin, mse, data(), data(seed=1), optimiser=Momentum(twin.flat), epochs=history.best + 1, average=0.9,
            progress=False,
        )  # fmt: skip
        assert model.flat.tobytes() == twin.flat.tobytes()


@pytest.mark.parametrize("average", [None, 0.9])
@pytest.mark.parametrize("stop", ["epochs", "ctrl-c"])
def test_resumed_is_as_if_there_had_been_no_break(path, average, stop):
    whole, history = run(epochs=5, average=average)
    if stop == "epochs":
        run(epochs=2, average=average, checkpoint=path)
    else:
        model = network(dropout=0.2)
        fit(
            model, Interrupted(21), data(), data(seed=1), optimiser=Momentum(model.flat), epochs=5, average=average,
            progress=False, checkpoint=path,
        )  # fmt: skip
    model = network(seed=5, dropout=0.2)  # whatever it has
    again = fit(
        model, mse, data(), data(seed=1), optimiser=Momentum(model.flat), epochs=5, average=average, seed=9,
        progress=False, checkpoint=path, resume=True,
    )  # fmt: skip
    assert [epoch[:4] for epoch in again.epochs] == [epoch[:4] for epoch in history.epochs]
    assert model.flat.tobytes() == whole.flat.tobytes()
    # Once more: there is nothing to do, and the best comes back.
    model = network(seed=6, dropout=0.2)
    run_again = fit(
        model, mse, data(), data(seed=1), optimiser=Momentum(model.flat), epochs=5, average=average, progress=False,
        checkpoint=path, resume=True,
    )  # fmt: skip
    assert run_again.epochs == again.epochs
    assert model.flat.tobytes() == whole.flat.tobytes()


def test_resume_without_a_file_begins(path):
    _, history = run(epochs=2, checkpoint=path, resume=True)
    assert len(history.epochs) == 2
    assert path.exists()


def test_checkpoints_that_do_not_fit(path):
    run(epochs=1, checkpoint=path)

    def resume(model, optimiser=Momentum, **options):
        before = model.flat.copy()
        with pytest.raises(FileError) as caught:
            fit(
                model, mse, data(), data(seed=1), optimiser=optimiser(model.flat), epochs=5, progress=False,
                checkpoint=path, resume=True, **options,
            )  # fmt: skip
        assert model.flat.tobytes() == before.tobytes()
        return str(caught.value)

    assert "is of another network" in resume(network())
    assert "is of another optimiser" in resume(network(dropout=0.2), lambda flat: Momentum(flat, 0.5))
    assert "is of another average" in resume(network(dropout=0.2), average=0.9)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert "damaged" in resume(network(dropout=0.2))
    path.write_bytes(whole.replace(b"checkpoint", b"checkpoinT"))
    assert "damaged" in resume(network(dropout=0.2))


def test_what_is_not_finite_stops_the_training():
    losses = itertools.count()

    def loss(y, target):
        value, dy = mse(y, target)
        return (math.nan if next(losses) == 10 else value), dy

    model = network()
    with pytest.warns(RuntimeWarning, match="a loss or gradient of epoch 2 was not finite"):
        history = fit(model, loss, data(), data(seed=1), optimiser=Momentum(model.flat), epochs=5, progress=False)
    assert (history.stopped, len(history.epochs), history.best) == ("diverged", 1, 0)
    assert np.isfinite(model.flat).all()

    def gradient(y, target):
        value, dy = mse(y, target)
        return value, dy * np.float32(np.inf)

    model = network()
    before = model.flat.copy()
    with pytest.warns(RuntimeWarning, match="epoch 1"), np.errstate(all="ignore"):
        fit(model, gradient, data(), epochs=5, progress=False)
    assert model.flat.tobytes() == before.tobytes()


# ---- what is shown ----


def test_progress(capsys):
    pytest.importorskip("tqdm")
    fit(network(), mse, data(), data(seed=1), epochs=2)
    shown = capsys.readouterr().err
    for text in ("epoch 2/2", "8/8", "batch", "loss 0.", "validation 0.", "best 0."):
        assert text in shown


def test_without_tqdm(monkeypatch, capsys):
    """No bar appears, and one message says so."""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    _progress._say_how_to_get_one.cache_clear()
    assert fit(network(), mse, data(), epochs=1, progress=False).stopped == "epochs"
    assert capsys.readouterr().err == ""
    for _ in range(2):
        assert fit(network(), mse, data(), epochs=2).stopped == "epochs"
    assert capsys.readouterr().err.count("pip install 'fastlstm[train]', or say progress=False") == 1


def test_history_as_text_and_picture(tmp_path, monkeypatch):
    history = History([Epoch(2.0, 1.5, 0.25, 1e-3, 1.0), Epoch(1.0, 1.25, 0.5, 1e-4, 2.0)])
    assert history.seconds == 3
    assert "0.5     0.0001      2.0  best" in str(history)
    pytest.importorskip("matplotlib")
    figure = history.plot(tmp_path / "history.png")
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")
    first, second = figure.axes
    assert list(first.lines[0].get_ydata()) == [2, 1]
    assert list(second.lines[0].get_ydata()) == [0.25, 0.5]
    assert History([Epoch(2.0, None, None, 1e-3, 1.0)]).plot().axes[0].get_ylabel() == "loss"
    imported = builtins.__import__

    def without_matplotlib(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    with pytest.raises(ImportError, match=r"pip install 'fastlstm\[train\]'"):
        history.plot()


# ---- misuse ----

x = [np.ones((3, 2), np.float32)] * 4
y = np.ones((4, 1), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Batches(x, y, 0), ValueError, "batch_size must be at least 1"),
        (lambda: Batches(x, y[:3], 2), ValueError, "targets must be as many as the inputs, 4, not 3"),
        (
            lambda: Batches(x, [np.ones(2)] * 4, 2),
            ValueError,
            r"targets\[0\] must have a row for each of 3",
        ),
        (lambda: Batches("text", None, 2), TypeError, "inputs must be a list of arrays, or an array, not str"),
        (lambda: Batches([[1, 2]], None, 2), TypeError, r"inputs\[0\] must be an array .* not list"),
        (lambda: Batches([*x, x[0].astype(int)], None, 2), TypeError, r"inputs\[4\] must have the dtype of the first"),
        (lambda: Batches([*x, x[0][:, :1]], None, 2), ValueError, r"inputs\[4\] .* \(T, 2\), not \(3, 1\)"),
        (lambda: nn.pad([]), ValueError, "sequences must be at least one"),
        (lambda: Chunks(y, y[:3], 1, 2), ValueError, "targets must be as many as the steps, 4, not 3"),
        (lambda: Chunks(y, y, 3, 2), ValueError, "sequence must have two steps for each of 3 rows, not 4 in all"),
        (lambda: Chunks(x, y, 3, 2), TypeError, "sequence must be an array"),
        (lambda: evaluate(network(), mse, Batches([], y[:0], 2)), ValueError, "batches must have something"),
        (lambda: fit(network(), mse, Batches([], y[:0], 2), progress=False), ValueError, "train must have something"),
        (lambda: fit(mse, network(), Batches(x, y, 2)), TypeError, "model must be a network, .* not function"),
        (
            lambda: fit(nn.Sequential, mse, Batches(x, y, 2)),
            TypeError,
            "model must be a network, .* the class Sequential",
        ),
        (lambda: fit(network(), mse, Batches(x, None, 2)), ValueError, "train must have targets"),
        (
            lambda: fit(network(), mse, Batches(x, y, 2), Batches([one[:, :1] for one in x], y, 2)),
            ValueError,
            r"validation: inputs must be N sequences of shape \(T, 2\) each, .* shape \(3, 1\)",
        ),
        (
            lambda: fit(network(), mse, Batches([one.astype(float) for one in x], y, 2)),
            TypeError,
            "train: inputs must have dtype float32, the network's, not float64",
        ),
        (lambda: network().predict(x[0]), ValueError, r"inputs must be N sequences of shape \(T, 2\) .* shape \(3,\)"),
        (lambda: network().predict(x[0][0]), ValueError, r"inputs must have shape \(T, N, ...\), .* not \(2,\)"),
        (lambda: network().predict(None), TypeError, "inputs must be a list of arrays"),
        (lambda: fit(network(), mse, Batches(x, y, 2), epochs=0), ValueError, "epochs must be at least 1"),
        (lambda: fit(network(), mse, Batches(x, y, 2), clip=0), ValueError, "clip must be above 0"),
        (lambda: fit(network(), mse, Batches(x, y, 2), clip="1"), TypeError, "clip must be a number"),
        (
            lambda: fit(network(), mse, Batches(x, y, 2), average=1),
            ValueError,
            "average must be at least 0",
        ),
        (lambda: fit(network(), mse, Batches(x, y, 2), patience=2), ValueError, "patience needs validation or score"),
        (lambda: fit(network(), mse, Batches(x, y, 2), resume=True), ValueError, "resume needs checkpoint"),
        (
            lambda: fit(network(), mse, Batches(x, y, 2), optimiser=nn.Adam(np.ones(3))),
            ValueError,
            "optimiser must be for model.flat",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


class Described:
    """A schedule with nothing to say about itself."""

    def __call__(self, t):
        return np.float32(0.01)


@pytest.mark.parametrize(
    "schedule", [lambda: lambda t: 0.01, Described, lambda: partial(lambda t, rate: rate, rate=0.01)]
)
def test_any_function_may_be_the_schedule_of_what_goes_on(path, schedule):
    def trained(epochs):
        model = network()
        history = fit(
            model, mse, data(), optimiser=nn.Adam(model.flat, schedule()), epochs=epochs, progress=False,
            checkpoint=path, resume=True,
        )  # fmt: skip
        return len(history.epochs), model.flat.tobytes()

    trained(1)
    assert trained(3)[0] == 3


def test_a_loss_may_be_any_number(path):
    def loss(y, target):
        value, dy = mse(y, target)
        return np.float32(value), dy

    history = fit(network(), loss, data(), epochs=2, progress=False, checkpoint=path)
    assert all(type(epoch.loss) is float for epoch in history.epochs)


def test_averages_are_of_this_training():
    model = network()
    optimiser = nn.SGD(model.flat, 0.01)
    fit(model, mse, data(), optimiser=optimiser, epochs=3, progress=False)
    steps = []

    class Recorded(nn.SGD):
        def step(self, gradient):
            super().step(gradient)
            steps.append(self.flat.copy())

    recorded = Recorded(model.flat, 0.01)
    recorded.t = optimiser.t
    fit(model, mse, data(N=6), optimiser=recorded, epochs=4, average=0.9, progress=False)
    np.testing.assert_allclose(model.flat, np.mean(steps, axis=0), rtol=1e-5)  # no more steps than a plain mean has


@pytest.mark.parametrize(
    "change",
    [{"t": -1}, {"t": "2"}, {"steps": None}, {"rng": {}}, {"rng": 3}, {"epochs": [[1]]}, {"epochs": 3}],
)
def test_a_checkpoint_is_used_whole_or_not_at_all(path, change):
    run(epochs=1, checkpoint=path)
    arrays, content = files.read(path, "checkpoint")
    files.write(path, "checkpoint", arrays, content | change)
    model = network(seed=3, dropout=0.2)
    optimiser = Momentum(model.flat)
    before = model.flat.tobytes()
    with pytest.raises(FileError, match="does not fit this training"):
        fit(
            model, mse, data(), data(seed=1), optimiser=optimiser, epochs=5, progress=False, checkpoint=path,
            resume=True,
        )  # fmt: skip
    assert model.flat.tobytes() == before
    assert optimiser.t == 0
    assert not optimiser.velocity.any()


def test_no_sequences_give_no_predictions():
    assert network().predict(np.empty((3, 0, 2), np.float32)).shape == (0, 1)
    assert network().predict([]) == []
    words = nn.Sequential(nn.Embedding(5, 3), nn.Dropout(0.5), LSTM(3, 4))
    with pytest.raises(ValueError, match=r"inputs must be N sequences of shape \(T,\) each"):
        words.predict(np.zeros((2, 3, 4), int))


def test_an_array_of_targets_is_for_steps_or_for_sequences():
    x, rng = np.zeros((4, 3, 2), np.float32), np.random.default_rng(0)
    target = rng.normal(size=(4, 3, 1))
    with pytest.raises(ValueError, match="could be for each of 3 steps or for each sequence"):
        Batches(x, target, 2)
    first = next(Batches(x, target, 2, per_step=True).epoch())
    np.testing.assert_array_equal(first.targets["target"], target[:2].swapaxes(0, 1))
    assert first.size == 6
    first = next(Batches(x, target, 2, per_step=False).epoch())
    np.testing.assert_array_equal(first.targets["target"], target[:2])
    assert first.size == 2
    with pytest.raises(ValueError, match="targets must be an array"):
        Batches(x, list(target), 2, per_step=False)
    with pytest.raises(ValueError, match="row for each of 3 steps"):
        Batches(x, target[:, :2], 2, per_step=True)


@pytest.mark.parametrize("name", ["x", "target"])
def test_what_is_not_finite_in_the_data_is_named(name):
    batches = data()
    ({"x": batches.inputs, "target": batches.targets}[name])[3][0] = np.nan
    with pytest.warns(RuntimeWarning, match=f"training stopped; {name} has values that are not finite"):
        fit(network(), mse, batches, epochs=2, progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"loss": data(), "train": mse},
            "loss must be a function",
        ),
        ({"train": (np.ones(3), np.ones(3))}, "train must be Batches, .* not tuple"),
        ({"validation": [1]}, "validation must be Batches, .* not list"),
        ({"optimiser": "adam"}, "optimiser must be one for model.flat, .* not str"),
        ({"optimiser": nn.Adam}, "optimiser must be one for model.flat, .* not the class Adam"),
    ],
)
def test_what_cannot_be_trained_with(change, message):
    given = {"loss": mse, "train": data()} | change
    with pytest.raises(TypeError, match=message):
        fit(network(), given.pop("loss"), given.pop("train"), progress=False, **given)


def test_masked_arrays_are_no_data():
    x, target = np.zeros((4, 3, 2), np.float32), np.zeros((4, 1), np.float32)

    def masked(array):
        return np.ma.array(array, mask=np.zeros(array.shape, bool))

    for call in (
        lambda: Batches(masked(x), target, 2),
        lambda: Batches(list(map(masked, x)), target, 2),
        lambda: Batches(x, masked(target), 2),
        lambda: Chunks(masked(x[0]), x[0], 1, 2),
        lambda: nn.pad(list(map(masked, x))),
        lambda: nn.Pairs([masked(np.arange(3))], [np.array([2])], 1, begin=0, end=1),
        lambda: nn.Transcripts(x, list(map(masked, np.ones((4, 1), int))), 2),
        lambda: network().predict(masked(x)),
        lambda: LSTM(2, 3)(x, lengths=masked(np.array([3, 2, 1]))),
    ):
        with pytest.raises(TypeError, match="masked array"):
            call()


def test_transcripts_are_batches_with_their_labels():
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(T, 2)).astype(np.float32) for T in rng.integers(5, 9, 20)]
    labels = [rng.integers(1, 4, n) for n in rng.integers(0, 4, 20)]
    batches = nn.Transcripts(x, labels, 6)
    for order in (None, np.random.default_rng(1)):
        rows = []
        for batch in batches.epoch(order):
            rows += batch.rows.tolist()
            lengths = batch.targets["lengths"]
            for b, k in enumerate(batch.rows):
                T = len(batch.inputs["x"]) if lengths is None else lengths[b]
                np.testing.assert_array_equal(batch.inputs["x"][:T, b], x[k])
                L = batch.targets["label_lengths"][b]
                np.testing.assert_array_equal(batch.targets["labels"][b, :L], labels[k])
                assert len(labels[k]) == L
        assert sorted(rows) == list(range(20))
    assert len(batches) == len(list(batches.epoch())) == 4
    model = nn.Sequential(LSTM(2, 4, seed=0), nn.Dense(4, 4, seed=1))
    history = fit(model, nn.ctc_loss, batches, batches, epochs=2, progress=False)
    assert history.epochs[1].loss < history.epochs[0].loss
    for wrong, error, message in (
        (labels[1:], ValueError, "labels must be as many as the inputs, 20, not 19"),
        ([one.astype(float) for one in labels], TypeError, r"labels\[0\] must have an integer dtype"),
        ([one[:, np.newaxis] for one in labels], ValueError, r"labels\[0\] must have shape \(L,\)"),
        ([1] * 20, TypeError, r"labels\[0\] must be an array"),
    ):
        with pytest.raises(error, match=message):
            nn.Transcripts(x, wrong, 6)
