"""However a training ends, nothing is lost: Ctrl-C at every moment, checkpoints that cannot be written, errors."""

import dis
import errno
import functools
import os
import signal
import sys

import numpy as np
import pytest
from layer_cases import CELLS
from programs import run, unix

from fastlstm import LSTM, RNN, Frozen, nn
from fastlstm._arrays import files
from fastlstm.nn import Batch, Batches, Chunks, _progress, evaluate, fit, mse
from fastlstm.nn._trainer import Trainer, mean_loss


@pytest.fixture
def path(tmp_path):
    """Of a checkpoint."""
    return tmp_path / "run"


def network(**options):
    return nn.Sequential(LSTM(2, 3, seed=0, **options), nn.Last(), nn.Dense(3, 1, seed=1))


def data(N=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, 3, 2)).astype(np.float32)
    return Batches(x, x.mean(axis=1)[:, :1], 4)


class Watched:
    """Training, of which the parameters of each epoch are known."""

    def __init__(self, scores=(0.2, 0.5), average=0.9, **options):
        self.model, self.scores, self.seen, self.average = network(), scores, [], average
        self.options = {"validation": data(seed=1), "progress": False, "loss": mse} | options

    def score(self, model):
        self.seen.append(model.flat.copy())
        return self.scores[len(self.seen) - 1]

    def fit(self):
        return fit(
            self.model, train=data(), epochs=len(self.scores), average=self.average, score=self.score, **self.options
        )

    def check(self, history):
        """The history has the epochs that are whole, and the network the parameters of the best of them."""
        assert [epoch.score for epoch in history.epochs] == list(self.scores[: len(history.epochs)])
        if history.best is not None:
            assert self.model.flat.tobytes() == self.seen[history.best].tobytes()
        assert np.isfinite(self.model.flat).all()


class Interrupts:
    """Raises KeyboardInterrupt before a call or an assignment of some functions, counted from the start of `run`.

    Nothing else changes anything: what comes between two of them is the same for an interrupt.
    """

    def __init__(self, at, functions):
        self.at, self.count, self.begun = at, 0, False
        self.codes = {function.__code__ for function in functions}

    def __call__(self, frame, event, argument):
        self.begun |= frame.f_code is Trainer.run.__code__
        if frame.f_code in self.codes:
            frame.f_trace_opcodes = True
            return self.local
        return None

    def local(self, frame, event, argument):
        if event == "opcode" and self.begun:
            self.count += dis.opname[frame.f_code.co_code[frame.f_lasti]].startswith(("CALL", "STORE"))
            if self.count == self.at > 0:
                self.at = 0
                raise KeyboardInterrupt
        return self.local

    def __enter__(self):
        sys.settrace(self)  # for frames to come: `fit` is one of them
        return self

    def __exit__(self, *error):
        sys.settrace(None)


IN_TRAINING = [
    fit,
    *(function for name, function in vars(Trainer).items() if callable(function) and name != "__init__"),
    mean_loss,
]
ENDING = [fit, Trainer.run, Trainer.finish]


def moments(functions, **options):
    with Interrupts(0, functions) as trace:
        Watched(**options).fit()
    return trace.count


@pytest.mark.parametrize("average", [None, 0.9])
def test_ctrl_c_at_every_moment(path, average):
    """In the loop, its measures, a checkpoint and the ending."""
    total = moments(IN_TRAINING, average=average, checkpoint=path)
    assert total > 200
    found = set()
    for at in range(1, total + 1):
        run = Watched(average=average, checkpoint=path)
        with Interrupts(at, IN_TRAINING):
            history = run.fit()
        run.check(history)
        found.add((len(history.epochs), history.stopped))
    assert (
        {(n, "interrupted") for n in range(3)}
        <= found
        <= {(0, "interrupted"), (1, "interrupted"), (2, "interrupted"), (2, "epochs")}
    )


@pytest.mark.parametrize("calls", range(1, 5))
@pytest.mark.parametrize("place", ["loss", "score", "rate", "write"])
def test_a_signal(path, monkeypatch, place, calls):
    """SIGINT itself, in what a training calls: its handler raises KeyboardInterrupt there."""
    left = iter(range(calls))

    def with_signal(function):
        def called(*args, **options):
            if next(left, None) == calls - 1:
                signal.raise_signal(signal.SIGINT)
            return function(*args, **options)

        return called

    run = Watched(checkpoint=path)
    if place == "loss":
        run.options["loss"] = with_signal(mse)
    elif place == "score":
        run.score = with_signal(run.score)
    elif place == "rate":
        run.options["optimiser"] = nn.SGD(run.model.flat, with_signal(lambda t: 0.01))
    else:
        monkeypatch.setattr(files, "write", with_signal(files.write))
    history = run.fit()
    run.check(history)
    assert history.stopped == ("epochs" if place in ("score", "write") and calls > 2 else "interrupted")


@pytest.mark.parametrize("calls", [1, 3, 4])
def test_a_second_ctrl_c_while_the_training_ends(calls):
    def twice():
        left = iter(range(calls))

        def loss(y, target):
            if next(left) == calls - 1:
                raise KeyboardInterrupt
            return mse(y, target)

        return Watched(loss=loss)

    with Interrupts(0, ENDING) as trace:
        twice().fit()
    for at in range(1, trace.count + 1):
        run = twice()
        with Interrupts(at, ENDING):
            history = run.fit()
        run.check(history)
        assert history.stopped == "interrupted"


@pytest.mark.parametrize("method", ["__enter__", "__exit__", "set_description", "set_postfix_str", "update"])
def test_ctrl_c_in_the_bar(monkeypatch, method):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(_progress._NoBar, method, interrupted)
    run = Watched()
    history = run.fit()
    run.check(history)
    assert len(history.epochs) == (2 if method == "__exit__" else 0)


def test_without_a_console(monkeypatch):
    """Where a bar could be shown there is nothing."""
    monkeypatch.setattr(sys, "stderr", None)
    assert Watched(progress=True).fit().stopped == "epochs"


def test_an_error_leaves_the_best_parameters():
    run = Watched(scores=(0.5, 0.1))  # a third epoch has none

    class Error(Exception):
        pass

    def loss(y, target):
        if len(run.seen) == 2:
            raise Error
        return mse(y, target)

    with pytest.raises(Error):
        fit(run.model, loss, data(), epochs=5, average=0.9, score=run.score, progress=False)
    assert run.model.flat.tobytes() == run.seen[0].tobytes()


# ---- checkpoints that cannot be written ----


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), PermissionError(13, "Permission denied"), MemoryError()]
)
def test_a_checkpoint_that_cannot_be_written(path, monkeypatch, error):
    whole = Watched()
    expected = whole.fit()
    written = []

    def write(*args, real=files.write):
        if len(written) == 1:
            raise error
        written.append(real(*args))

    monkeypatch.setattr(files, "write", write)
    run = Watched(checkpoint=path)
    with pytest.warns(
        RuntimeWarning, match=f"checkpoint .*{path.name} could not be written: .*; the training goes on"
    ) as said:
        history = run.fit()
    assert {one.filename for one in said} == {__file__}
    run.check(history)
    assert history.stopped == "epochs"
    assert [epoch[:4] for epoch in history.epochs] == [epoch[:4] for epoch in expected.epochs]
    assert run.model.flat.tobytes() == whole.model.flat.tobytes()
    monkeypatch.undo()
    again = Watched(checkpoint=path, resume=True)
    again.seen += run.seen[:1]
    again.check(again.fit())  # goes on from the first epoch, whose file is still there
    assert again.model.flat.tobytes() == whole.model.flat.tobytes()


def test_the_folder_of_a_checkpoint_goes_away(tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    run = Watched(checkpoint=folder / "run")

    def score(model, real=run.score):
        if len(run.seen) == 1:
            (folder / "run").unlink()
            folder.rmdir()
        return real(model)

    run.score = score
    with pytest.warns(RuntimeWarning, match="could not be written"):
        run.check(run.fit())


@unix
def test_files_that_may_not_be_so_large(path):
    """As on a full disk, from the second epoch on."""
    program = """
    import os, resource, sys, warnings
    import numpy as np
    from fastlstm import LSTM, nn

    path = sys.argv[1]
    x = np.random.default_rng(0).normal(size=(8, 5, 2)).astype(np.float32)
    seen = []

    def score(model):
        if seen:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        seen.append(model.flat.copy())
        return [0.1, 0.3, 0.2][len(seen) - 1]

    model = nn.Sequential(LSTM(2, 3, seed=0), nn.Last(), nn.Dense(3, 1, seed=1))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        history = nn.fit(
            model, nn.mse, nn.Batches(x, x[:, -1, :1].copy(), 4), score=score, epochs=3, progress=False, checkpoint=path
        )
    start = f"checkpoint {path} could not be written: "
    assert [str(one.message).startswith(start) for one in said] == [True] * 2, said
    assert (history.stopped, len(history.epochs), history.best) == ("epochs", 3, 1)
    assert model.flat.tobytes() == seen[1].tobytes()
    resumed = nn.Sequential(LSTM(2, 3, seed=5), nn.Last(), nn.Dense(3, 1, seed=6))
    history = nn.fit(
        resumed, nn.mse, nn.Batches(x, x[:, -1, :1].copy(), 4), score=score, epochs=1, progress=False, checkpoint=path,
        resume=True,
    )
    assert resumed.flat.tobytes() == seen[0].tobytes()
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
    """
    run(program, path)


# ---- what is known before the first batch ----


class Unused:
    """A loss that must not be called."""

    def __call__(self, y, target):
        raise AssertionError("the training has begun")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"checkpoint": "no-such-folder/run"}, FileNotFoundError, "checkpoint cannot be written: .*no-such-folder/run"),
        ({"checkpoint": "."}, ValueError, "checkpoint must be a file, which . is not"),
        ({"checkpoint": os.devnull}, ValueError, "checkpoint must be a file"),
        ({"score": lambda: 1.0}, TypeError, "score must be a function of the network alone: too many positional"),
        (
            {"score": lambda model, x: 1.0},
            TypeError,
            "score must be a function of the network alone: missing a required",
        ),
        ({"score": 0.5}, TypeError, "score must be a function of the network, not float"),
        ({"validation": Batches(np.ones((2, 3, 2), np.float32), None, 2)}, ValueError, "validation must have targets"),
        (
            {"validation": nn.Transcripts(np.ones((2, 3, 5), np.float32), [np.ones(1, int)] * 2, 2)},
            ValueError,
            r"validation: x must have shape \(T, B, I\)",
        ),
        (
            {"validation": Chunks(np.ones((9, 5), np.float32), np.ones((9, 1), np.float32), 2, 2)},
            ValueError,
            r"validation: x must have shape \(T, B, I\)",
        ),
        ({"validation": Batches([], np.ones((0, 1), np.float32), 2)}, ValueError, "validation must have something"),
        (
            {"validation": Batches([np.ones((0, 2), np.float32)], [np.ones((0, 1), np.float32)], 2)},
            ValueError,
            "validation must have something",
        ),
    ],
)
def test_what_is_known_before_the_first_batch(options, error, message):
    with pytest.raises(error, match=message):
        fit(network(), Unused(), data(), progress=False, **options)


@pytest.mark.parametrize("batch_first", [False, True])
def test_pairs_are_for_a_seq2seq(batch_first):
    pairs = nn.Pairs([np.ones((3, 2), np.float32)], [[1]], 1, begin=0, end=2)
    for model in (nn.Sequential(LSTM(2, 3), batch_first=batch_first), LSTM(2, 3, batch_first=batch_first)):
        with pytest.raises(TypeError, match=r"train gives pairs of sequences, which a Seq2Seq takes, not a (Seq|LSTM)"):
            fit(model, Unused(), pairs, progress=False)


@pytest.mark.parametrize("loss", [mse, functools.partial(nn.huber, delta=2)])
def test_targets_of_validation_are_tried(loss):
    x = np.ones((2, 3, 2), np.float32)
    model = network()
    before = model.flat.copy()
    for target, error, message in (
        (np.ones((2, 2), np.float32), ValueError, "validation: target must have shape"),
        (np.ones((2, 1)), TypeError, "validation: target must have dtype float32"),
    ):
        with pytest.raises(error, match=message):
            fit(model, loss, data(), Batches(x, target, 2), progress=False)
    assert model.flat.tobytes() == before.tobytes()


def test_a_checkpoint_needs_no_package(path, monkeypatch):
    for name in ("safetensors", "safetensors.numpy", "tqdm"):
        monkeypatch.setitem(sys.modules, name, None)
    assert Watched(checkpoint=path).fit().stopped == "epochs"
    assert path.exists()


def test_an_optimiser_has_what_a_training_needs(path):
    class Half:
        def __init__(self, flat):
            self.flat, self.t, self.learning_rate = flat, 0, 0.1

        def step(self, gradient):
            self.flat -= gradient

    model = network()
    assert fit(model, mse, data(), optimiser=Half(model.flat), epochs=1, progress=False).stopped == "epochs"
    with pytest.raises(TypeError, match=r"optimiser must have state, as nn\.Adam has: Half has none"):
        fit(model, Unused(), data(), optimiser=Half(model.flat), checkpoint=path, progress=False)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (lambda y: 1.0, TypeError, "what loss gives must be a pair, its value and dJ/dy, not float"),
        (lambda y: (1.0, y, y), ValueError, "what loss gives must be a pair, its value and dJ/dy, not 3 items"),
        (lambda y: (None, y), TypeError, "loss must give a number, not NoneType"),
        (lambda y: (y, y), TypeError, "loss must give a number, not ndarray"),
        (lambda y: (1.0, None), ValueError, r"loss must give dJ/dy shaped as y, \(4, 1\), not \(\)"),
        (lambda y: (1.0, y[:2]), ValueError, r"loss must give dJ/dy shaped as y, \(4, 1\), not \(2, 1\)"),
    ],
)
def test_what_a_loss_gives(given, error, message):
    with pytest.raises(error, match=message):
        fit(network(), lambda y, target: given(y), data(), progress=False)


def test_a_loss_is_a_function():
    for call in (lambda: fit(network(), 3, data(), progress=False), lambda: evaluate(network(), 3, data())):
        with pytest.raises(TypeError, match=r"loss must be a function of outputs and targets, such as .*, not int"):
            call()


def test_what_a_score_gives():
    with pytest.raises(TypeError, match="score must give a number, not NoneType"):
        fit(network(), mse, data(), score=lambda model: None, progress=False)


def test_a_warning_names_the_line_that_called():
    with pytest.warns(RuntimeWarning, match="cannot be the best") as said:
        fit(network(), mse, data(), score=lambda model: np.nan, epochs=1, progress=False)
    assert said[0].filename == __file__
    with pytest.warns(RuntimeWarning, match="training stopped") as said:
        fit(network(), lambda y, target: (np.nan, y), data(), epochs=1, progress=False)
    assert said[0].filename == __file__


# ---- states that mean nothing ----


def chunks(width=2):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2)).astype(np.float32)
    return Chunks(x, rng.normal(size=(40, width)).astype(np.float32), 2, 7)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (lambda: LSTM(2, 1, bidirectional=True), "model"),
        (lambda: RNN(2, 1, bidirectional=True), "model"),
        (lambda: nn.Sequential(LSTM(2, 3), LSTM(3, 1, bidirectional=True)), r"model\.layers\[1\]"),
        (
            lambda: nn.Sequential(
                LSTM(2, 3), nn.Sequential(nn.Dropout(0.1), RNN(3, 1, bidirectional=True)), LSTM(2, 2)
            ),
            r"model\.layers\[1\]\.layers\[1\]",
        ),
    ],
)
def test_states_of_two_directions_are_not_carried(model, name):
    class Own:
        carries_state = True

        def __len__(self):
            return 1

        def epoch(self, rng=None):
            raise AssertionError("the training has begun")

    def refused(part, call):
        with pytest.raises(
            ValueError, match=f"{part} carries the state from batch to batch, but {name} is bidirectional"
        ):
            call()

    for source in (chunks(), Own()):
        refused("train", lambda source=source: fit(model(), mse, source, progress=False))
        refused("validation", lambda source=source: fit(model(), mse, data(), source, progress=False))
        refused("batches", lambda source=source: evaluate(model(), mse, source))


def test_states_of_frozen_layers():
    for cell in CELLS:
        with pytest.raises(
            ValueError, match="batches carries the state from batch to batch, but model is bidirectional"
        ):
            evaluate(Frozen(cell(2, 1, bidirectional=True)), mse, chunks())
        layer = cell(2, 2, seed=0)
        assert evaluate(Frozen(layer), mse, chunks()) == pytest.approx(evaluate(layer, mse, chunks()), rel=1e-6)


def test_states_are_not_carried_where_there_are_none():
    model = nn.Seq2Seq(None, nn.Decoder(5, 3, 4, encoded_size=2))
    with pytest.raises(TypeError, match="train carries the state from batch to batch, which a Seq2Seq does not take"):
        fit(model, nn.softmax_cross_entropy, chunks(), progress=False)


# ---- batches of nothing ----


@pytest.mark.parametrize("average", [None, 0.9])
@pytest.mark.parametrize("loss", [mse, nn.mae, nn.huber, nn.softmax_cross_entropy])
def test_a_batch_of_nothing_counts_nothing(loss, average):
    """Some sequences have no steps; whether a batch has only such depends on the shuffle."""
    rng = np.random.default_rng(0)
    lengths = [0, 0, 0, 0, 3, 5, 4, 0, 2, 0]
    x = [rng.normal(size=(T, 2)).astype(np.float32) for T in lengths]
    targets = [rng.normal(size=(T, 3)).astype(np.float32) for T in lengths]
    if loss is nn.softmax_cross_entropy:
        targets = [rng.integers(0, 3, T) for T in lengths]
    for batch_size in (1, 2, 10):
        trained = []
        for some in (range(10), [k for k in range(10) if lengths[k]]):
            model = nn.Sequential(LSTM(2, 3, seed=0), nn.Dense(3, 3, seed=1))
            batches = Batches([x[k] for k in some], [targets[k] for k in some], batch_size)
            measured = evaluate(model, loss, batches)
            history = fit(model, loss, batches, batches, epochs=3, average=average, progress=False)
            assert history.stopped == "epochs"
            trained.append(measured)
        assert trained[0] == pytest.approx(trained[1], rel=1e-6)
    empty = Batches([x[0]] * 3, [targets[0]] * 3, 2)
    model = nn.Sequential(LSTM(2, 3, seed=0), nn.Dense(3, 3, seed=1))
    with pytest.raises(ValueError, match="train must have something to take the mean of"):
        fit(model, loss, empty, progress=False)
    with pytest.raises(ValueError, match="batches must have something to take the mean of"):
        evaluate(model, loss, empty)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: (LSTM(2, 3, seed=0), nn.Last()),
        lambda: (LSTM(2, 3, bidirectional=True, seed=0), nn.Last(), nn.Dense(6, 3, seed=0)),
        lambda: (LSTM(2, 3, seed=0), nn.Mean(), nn.Dropout(0.5)),
        lambda: (nn.Mean(), nn.Dense(2, 3, seed=0)),
    ],
)
def test_a_sequence_of_nothing_that_has_a_target_counts(layers):
    """The outputs of a network for no steps at all can be wrong."""
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(T, 2)).astype(np.float32) for T in (0, 0, 3, 0, 5)]
    batches = Batches(x, rng.normal(size=(5, 3)).astype(np.float32), 2)
    model = nn.Sequential(*layers(), nn.Dense(3, 3, seed=1))
    history = fit(model, mse, batches, batches, epochs=3, progress=False)
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert model.predict(x[:1]).shape == (1, 3)


def test_transcripts_of_nothing():
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(T, 2)).astype(np.float32) for T in (0, 0, 0, 5, 6)]
    labels = [np.zeros(0, int)] * 3 + [np.array([1, 2])] * 2
    model = nn.Sequential(LSTM(2, 3, seed=0), nn.Dense(3, 3, seed=1))
    for batch_size in (1, 2, 3):
        batches = nn.Transcripts(x, labels, batch_size)
        history = fit(model, nn.ctc_loss, batches, batches, epochs=2, progress=False)
        assert history.epochs[1].loss < history.epochs[0].loss


def test_a_source_of_its_own_may_give_a_batch_of_nothing():
    class Own:
        def __len__(self):
            return 3

        def epoch(self, rng=None):
            for size in (0, 4, 0):
                x = np.ones((5, 4, 2), np.float32)
                mask = np.full((5, 4), bool(size))
                yield Batch({"x": x}, {"target": np.ones((5, 4, 3), np.float32), "mask": mask}, size)

    model = LSTM(2, 3, seed=0)
    assert len(fit(model, mse, Own(), Own(), epochs=2, progress=False).epochs) == 2


def test_a_model_that_hands_on_whatever_it_is_given():
    """The network's `forward` takes `state` without naming it as an argument."""
    inner = nn.Sequential(LSTM(1, 4, seed=0), nn.Dense(4, 1, seed=0))

    class Model:
        flat = inner.flat

        def forward(self, **given):
            return inner.forward(**given)

        def __call__(self, **given):
            return inner(**given)

        def backward(self, *given, **named):
            return inner.backward(*given, **named)

    x = np.zeros((40, 1), np.float32)
    assert fit(Model(), mse, Chunks(x, x, 2, 5), epochs=1, progress=False).epochs


@pytest.mark.parametrize("base", [nn.Sequential, LSTM])
def test_a_backward_of_its_own_is_called(base):
    """Even one that keeps the docstring of the one that it replaces."""
    calls = []

    class Own(base):
        @functools.wraps(base.backward)
        def backward(self, *given, **named):
            calls.append(named)
            return base.backward(self, *given, **named)

    model = Own(LSTM(1, 4, seed=0), nn.Dense(4, 1, seed=0)) if base is nn.Sequential else Own(1, 1, seed=0)
    x = np.zeros((40, 1), np.float32)
    fit(model, mse, Chunks(x, x, 2, 5), epochs=1, progress=False)
    assert len(calls) == 4
    if base is LSTM:
        fit(nn.Sequential(model), mse, Chunks(x, x, 2, 5), epochs=1, progress=False)
        assert len(calls) == 8
