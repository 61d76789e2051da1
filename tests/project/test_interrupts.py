"""Ctrl-C and other signals during calls, each in a process of its own. What is called is in interrupted_calls.py."""

import os
import subprocess
import sys
import textwrap

import pytest
from interrupted_calls import CALLS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="sends signals as POSIX has them")


def run(code, environment, *, isa="portable"):
    """Runs code in a new process, where the kernels are slow and calls so take long."""
    prelude = """
    import copy, os, signal, sys, threading, time
    import numpy as np
    import fastlstm
    from fastlstm import nn
    from interrupted_calls import Signals, arrays, assert_equal, normal, run_with_signals, stop

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    """
    result = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(prelude) + textwrap.dedent(code)],
        env=environment | {"FASTLSTM_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.stderr == ""
    assert result.returncode == 0
    return result.stdout.split("\n")[:-1]


ALONE = "by rows", "by units", "backward", "CTC"


@pytest.mark.parametrize(("name", "threads"), [(name, 2) for name in CALLS] + [(name, 1) for name in ALONE])
def test_interrupt(name, threads, environment):
    """Ctrl-C stops a call that would take seconds; the next is right; signals that change nothing change no bit."""
    assert run(f"stop({name!r}, {threads})", environment) == ["stopped"]


LAYERS = {
    "many rows": "fastlstm.LSTM(100, 200, 3, seed=0)",
    "frozen": "fastlstm.Frozen(fastlstm.LSTM(100, 200, 3, seed=0))",
    "one frozen": "fastlstm.Frozen(fastlstm.LSTM(100, 500, seed=0))",
    "projection": "fastlstm.LSTM(100, 200, 3, proj_size=100, seed=0)",
    "zoneout": "fastlstm.LSTM(100, 200, 3, zoneout=(0.1, 0.1), seed=0)",
    "FGR": "fastlstm.LSTM(100, 150, 3, variant='FGR', seed=0)",
    "GRU": "fastlstm.GRU(100, 220, 3, seed=0)",
    "RNN": "fastlstm.RNN(100, 400, 3, seed=0)",
}

STREAM = """
    def stream(state):
        one = fastlstm.Stream(network, B, num_threads=2)
        for array, given in zip(arrays(one.state), arrays(state), strict=True):
            array[...] = given
        return one
"""


@pytest.mark.parametrize("kind", LAYERS)
def test_the_state_of_a_stream_is_as_before(kind, environment):
    code = f"""
    network, B = {LAYERS[kind]}, 20000
    {STREAM}
    x = normal(B, 100)
    first = copy.deepcopy(fastlstm.Stream(network, B).state)
    for array in arrays(first):
        array[...] = 0.1
    one = stream(first)
    held = arrays(one.state)
    with Signals(0.05) as signals:
        try:
            one.step(x)
            print("not stopped")
        except KeyboardInterrupt:
            print("stopped" if signals.ago() < 1 else f"stopped after {{signals.ago():.1f}} s")
    assert_equal(one.state, arrays(first))
    other = stream(first)
    assert_equal(one.step(x), [other.step(x)])
    assert_equal(one.state, arrays(other.state))
    assert all(a is b for a, b in zip(held, arrays(one.state)))
    """
    assert run(code, environment) == ["stopped"]


@pytest.mark.parametrize(
    "network",
    ["LSTM(20, 30, 8, seed=0)", "GRU(20, 30, 8, seed=0)", "RNN(20, 30, 8, seed=0)", "LSTM(20, 30, 8, variant='FGR')"],
)
def test_no_part_of_a_stack_is_ahead(network, environment):
    """An interrupt at any moment, between two layers too, leaves the state before a step or after it, whole."""
    code = f"""
    network, B = fastlstm.{network}, 2
    {STREAM}
    x = normal(B, 20)

    def handle(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, handle)
    one = stream(fastlstm.Stream(network, B).state)
    for k in range(200):
        before = copy.deepcopy(one.state)
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-5 + 2e-6 * k)
            while True:
                one.step(x)
                before = copy.deepcopy(one.state)
        except KeyboardInterrupt:
            pass
        after = stream(before)
        after.step(x)
        found = [array.tobytes() for array in arrays(one.state)]
        assert found in ([a.tobytes() for a in arrays(before)], [a.tobytes() for a in arrays(after.state)])
    """
    assert run(code, environment, isa="base") == []


def test_what_a_handler_raises_comes_out_of_the_call(environment):
    """Whatever it is: no call takes it for an error of its own."""
    code = """
    lstm = fastlstm.LSTM(300, 300, seed=0)
    x, state = normal(20000, 300), (normal(1, 20000, 300), normal(1, 20000, 300))
    out = np.empty((20000, 300), np.float32), tuple(np.empty_like(part) for part in state)

    def handle(*_):
        raise kind("from the handler")

    signal.signal(signal.SIGINT, handle)
    for kind in (ValueError, TypeError, AttributeError, BufferError, MemoryError, SystemExit):
        for call in (lambda: lstm.step(x, state, out), lambda: lstm(x[None], state)):
            with Signals(0.05):
                try:
                    while True:
                        call()
                except kind as error:
                    print(str(error) == "from the handler")
    """
    assert run(code, environment) == ["True"] * 12


def test_handlers_that_call(environment):
    """A handler may make calls, of its own arrays or in the same layer, and be interrupted itself."""
    code = """
    lstm, x = fastlstm.LSTM(100, 256, seed=0), normal(60, 32, 100)
    expected, few = lstm(x, num_threads=2)[0], lstm(x[:2], num_threads=2)[0]

    def handler():
        assert_equal(lstm(x[:2], num_threads=2)[0], [few])

    assert_equal(run_with_signals(lambda: lstm(x, num_threads=2)[0], handler), [expected])

    def longer():
        for _ in range(1000):
            lstm(x)

    signal.signal(signal.SIGALRM, lambda *_: longer())
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    with Signals(0.5) as signals:
        try:
            longer()
        except KeyboardInterrupt:
            print(signals.ago() < 1)
    assert_equal(lstm(x, num_threads=2)[0], [expected])
    """
    assert run(code, environment) == ["True"]


def test_a_handler_that_forks(environment):
    """The child has none of the threads that its parent's call runs on: it cannot go on with that, and says so."""
    code = """
    lstm, x = fastlstm.LSTM(100, 256, seed=0), normal(2000, 32, 100)
    expected, children = lstm(x, num_threads=2)[0], []

    def handle(*_):
        children.append(os.fork())

    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        found = lstm(x, num_threads=2)[0]
    except RuntimeError as error:
        assert "fork in a signal handler" in str(error)
        os._exit(0 if np.array_equal(lstm(x, num_threads=2)[0], expected) else 3)
    assert_equal(found, [expected])
    print(len(children), os.waitpid(children[0], 0)[1])
    """
    assert run(code, environment) == ["1 0"]


def test_other_threads_do_not_ask(environment):
    """Python handles signals in the main thread: a call in another one goes on, and its result is whole."""
    code = """
    lstm, x = fastlstm.LSTM(100, 256, seed=0), normal(2000, 32, 100)
    expected, found, done = lstm(x, num_threads=2)[0], [], threading.Event()

    def work():
        found.append(lstm(x, num_threads=2)[0])
        done.set()

    threading.Thread(target=work).start()
    try:
        with Signals(0.05):
            done.wait(60)
    except KeyboardInterrupt:
        print("interrupted", len(found))
    done.wait(60)
    assert_equal(found, [expected])
    """
    assert run(code, environment) == ["interrupted 0"]


def test_beside_other_threads(environment):
    """Threads that want the GIL, and threads that use the pool."""
    code = """
    lstm, x = fastlstm.LSTM(100, 256, seed=0), normal(3000, 32, 100)
    end = threading.Event()

    def count():
        while not end.is_set():
            pass

    def work():
        while not end.is_set():
            lstm(x[:5], num_threads=2)

    others = [threading.Thread(target=target) for target in (count, work)]
    for other in others:
        other.start()
    with Signals(0.5) as signals:
        try:
            lstm(x, num_threads=2)
        except KeyboardInterrupt:
            print(signals.ago() < 2)
    end.set()
    for other in others:
        other.join()
    """
    assert run(code, environment) == ["True"]


def test_fit_ends_as_if_done(environment):
    code = """
    model = nn.Sequential(fastlstm.LSTM(100, 256, seed=0), nn.Dense(256, 3, seed=0))
    sequences = [normal(300, 100) for _ in range(64)]
    labels = [normal(300, 3) for _ in sequences]
    data = nn.Batches(sequences, labels, batch_size=32)
    begun = []

    def handle(*_):
        raise KeyboardInterrupt

    def loss(*given, **named):
        begun.append(time.monotonic())
        if len(begun) == 3:
            signal.setitimer(signal.ITIMER_REAL, 0.05)  # in the way back
        return nn.mse(*given, **named)

    signal.signal(signal.SIGALRM, handle)
    history = nn.fit(model, loss, data, optimiser=nn.Adam(model.flat, 0.001), epochs=1000, progress=False)
    print(len(begun), time.monotonic() - begun[2] < 1)
    assert np.isfinite(model.flat).all()
    expected = model.predict(sequences)
    assert_equal(model.predict(sequences), arrays(expected))
    """
    assert run(code, environment) == ["3 True"]


def test_handlers_have_the_callers_floating_point_mode(environment):
    """Kernels flush denormals; what runs while they are asked does not, nor do threads that are started then."""
    code = """
    lstm, x, found = fastlstm.LSTM(100, 256, seed=0), normal(400, 32, 100), []
    tiny = np.array([1e-310])

    def handle(*_):
        found.append(float(tiny[0] * 0.5))
        other = threading.Thread(target=lambda: found.append(float(tiny[0] * 0.5)))
        other.start()
        other.join()

    run_with_signals(lambda: lstm(x, num_threads=2)[0], lambda: handle())
    print(set(found) == {5e-311})
    """
    assert run(code, environment) == ["True"]


def test_no_mode_is_left_behind(environment):
    """Wherever Ctrl-C comes, as in what is NumPy's inside a call."""
    code = """
    from fastlstm._system.float_mode import as_in_kernels
    tiny, errors = np.array([1e-310]), np.geterr()

    def handle(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, handle)
    for k in range(500):
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-5 + 1e-7 * k)
            while True:
                with as_in_kernels():
                    sum(range(50))
        except KeyboardInterrupt:
            pass
    print(tiny[0] * 0.5 == 5e-311)
    """
    assert run(code, environment, isa="base") == ["True"]
