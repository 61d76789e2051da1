"""Many threads at once, fork, and leaving while others work."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from cases import GRU_FORMS, gru_case, lstm_case, rnn_case
from helpers import assert_same, run_gru, run_lstm, run_rnn, run_together
from layer_cases import CELLS

# Divided by rows; by units; too small to divide; W x hoisted into a product before the steps.
SIZES = [(7, 50, 33, 65), (3, 2, 150, 150), (5, 2, 3, 5), (24, 4, 40, 80)]

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="fork and signals are POSIX")


@pytest.mark.parametrize("num_threads", [1, 2, 3])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_many_python_threads_on_the_same_arrays(sizes, num_threads):
    case, case_rnn = lstm_case(*sizes, dtype=np.float32), rnn_case(*sizes, "tanh", dtype=np.float32)
    expected, expected_rnn = run_lstm(case, num_threads), run_rnn(case_rnn, "tanh", num_threads)
    grus = [gru_case(*sizes, form, dtype=np.float32) for form in GRU_FORMS]
    expected_grus = [run_gru(case_gru, num_threads) for case_gru in grus]

    def work(_):
        for _ in range(3):
            assert_same(run_lstm(case, num_threads), expected)
            assert_same(run_rnn(case_rnn, "tanh", num_threads), expected_rnn)
            for case_gru, expected_gru in zip(grus, expected_grus, strict=True):
                assert_same(run_gru(case_gru, num_threads), expected_gru)

    run_together(8, work)


def test_many_python_threads_on_the_same_layer():
    layers = {kind.__name__: kind(33, 65, seed=0) for kind in CELLS}
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((7, 20, columns)).astype(np.float32) for columns in (33, 65))

    def everything():
        result = {}
        for name, layer in layers.items():
            y, _, tape = layer.forward(x, num_threads=2)
            gradients = layer.backward(tape, dy, num_threads=2)
            state, steps = layer.step(x[0])[1], []
            for x_t in x:
                y_t, state = layer.step(x_t, state, num_threads=2)
                steps.append(y_t)
            result |= {f"{name} y": y, f"{name} flat": gradients.flat, f"{name} x": gradients.x}
            result[f"{name} steps"] = np.stack(steps)
        return result

    expected = everything()

    def work(_):
        for _ in range(3):
            assert_same(everything(), expected)

    run_together(8, work)


def test_different_work_at_the_same_time():
    cases = [lstm_case(*sizes, dtype=dtype) for sizes in SIZES for dtype in (np.float32, np.float64)]
    expected = [run_lstm(case, 1 + k % 3) for k, case in enumerate(cases)]

    def work(k):
        for turn in range(10):
            at = (k + turn) % len(cases)
            assert_same(run_lstm(cases[at], 1 + at % 3), expected[at])

    run_together(len(cases), work)


@pytest.mark.parametrize("num_threads", [7, 64, 256])
@pytest.mark.parametrize("sizes", [(7, 50, 33, 65), (2, 2, 300, 301), (3, 600, 3, 33)], ids=str)
def test_more_threads_than_processors(sizes, num_threads):
    case = lstm_case(*sizes)
    expected, found = run_lstm(case, 1), run_lstm(case, num_threads)
    for name, array in expected.items():
        assert np.abs(found[name] - array).max() <= 1e-13 * np.abs(array).max(), name
    assert_same(run_lstm(case, num_threads), found)


linux = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="only Linux tells which processors a thread may use"
)


@linux
def test_no_more_threads_than_can_run_at_once(environment):
    """Work is divided as asked for, by rows and by units, and the bits are those of that division; but a process with
    one processor starts no thread for it. Processors that it gets or loses later count."""
    code = """
    allowed = os.sched_getaffinity(0)
    one = {min(allowed)}

    def results():
        return [array.tobytes() for which in (case, units) for array in run_lstm(which, 9).values()]

    def threads():
        return len(os.listdir("/proc/self/task"))

    os.sched_setaffinity(0, one)
    before = threads()
    alone = results()
    print(threads() - before)
    os.sched_setaffinity(0, allowed)
    time.sleep(0.05)
    assert results() == alone
    print(threads() - before == min(len(allowed), 9) - 1)
    os.sched_setaffinity(0, one)
    time.sleep(0.05)
    assert results() == alone
    """
    assert_clean(run_script(code, environment | {"OPENBLAS_NUM_THREADS": "1"}), "0 True")


def test_fewer_threads_after_more():
    case = lstm_case(7, 50, 33, 65, dtype=np.float32)
    expected = {number: run_lstm(case, number) for number in (1, 2, 3, 8)}
    for number in (8, 1, 3, 2, 8, 2, 1, 3) * 5:
        assert_same(run_lstm(case, number), expected[number])


# ---- fork, exit ----


def run_script(code, environment, timeout=120):
    """Runs code in a new process, with `case`, `run` and `same` at hand."""
    prelude = """
    import os, sys, threading, time, warnings
    import numpy as np
    from cases import lstm_case
    from helpers import run_lstm
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # fork with threads, which is the point here

    case = lstm_case(20, 16, 40, 80, dtype=np.float32)
    units = lstm_case(3, 2, 150, 150, dtype=np.float32)

    def run():
        return [array.tobytes() for which in (case, units) for array in run_lstm(which, 2).values()]

    def wait(child, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        os.kill(child, 9)
        os.waitpid(child, 0)
        return "no end"
    """
    environment = environment | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(code)],
        env=environment, capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip


def assert_clean(result, printed):
    assert result.stderr == ""
    assert result.stdout.split() == printed.split()
    assert result.returncode == 0


@posix
def test_fork_after_threads(environment):
    code = """
    expected = run()
    for _ in range(5):
        child = os.fork()
        if child == 0:
            os._exit(0 if run() == expected and run() == expected else 3)
        assert run() == expected
        print(wait(child))
    """
    assert_clean(run_script(code, environment), "0 0 0 0 0")


@posix
def test_fork_before_threads(environment):
    code = """
    child = os.fork()
    if child == 0:
        first = run()
        os._exit(0 if run() == first else 3)
    print(wait(child))
    first = run()
    print(run() == first)
    """
    assert_clean(run_script(code, environment), "0 True")


@posix
def test_fork_of_a_fork(environment):
    code = """
    expected = run()
    child = os.fork()
    if child == 0:
        assert run() == expected
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0 if run() == expected else 3)
        os._exit(wait(grandchild))
    print(wait(child))
    """
    assert_clean(run_script(code, environment), "0")


@posix
def test_fork_while_another_thread_works(environment):
    """The child has the state of a pool in the middle of a job, and none of the threads that would finish it.

    Many threads, so that the child starts some while it could mistake the old job for its own; and few rows, so that
    no product of BLAS runs, whose own handling of forks is not the subject.
    """
    code = """
    import fastlstm
    lstm = fastlstm.LSTM(300, 300, seed=0)
    x = np.ones((3, 2, 300), np.float32)
    expected = lstm(x, num_threads=12)[0].tobytes()
    stop = threading.Event()

    def work():
        while not stop.is_set():
            lstm(x, num_threads=12)

    worker = threading.Thread(target=work)
    worker.start()
    ends = []
    for _ in range(250):
        child = os.fork()
        if child == 0:
            right = all(lstm(x, num_threads=12)[0].tobytes() == expected for _ in range(5))
            os._exit(0 if right else 3)
        ends.append(wait(child, 20))
        if ends[-1] != 0:
            break
    stop.set()
    worker.join()
    print(*{str(end) for end in ends})
    """
    assert_clean(run_script(code, environment), "0")


def test_exit_after_work(environment):
    assert_clean(run_script("run(); print('done')", environment), "done")


def test_exit_with_workers_asleep(environment):
    assert_clean(run_script("run(); time.sleep(0.3); run(); time.sleep(0.3); print('done')", environment), "done")


def test_exit_while_a_daemon_works(environment):
    code = """
    import fastlstm
    lstm = fastlstm.LSTM(40, 80, seed=0)
    x = np.ones((50, 16, 40), np.float32)
    started = threading.Event()

    def work():
        while True:
            lstm(x, num_threads=2)
            started.set()

    threading.Thread(target=work, daemon=True).start()
    started.wait(60)
    print('done')
    """
    for _ in range(5):
        assert_clean(run_script(code, environment), "done")


def test_error_at_exit_is_the_programs_own(environment):
    result = run_script("run(); sys.exit(5)", environment)
    assert result.stderr == ""
    assert result.returncode == 5


@posix
def test_signals_reach_the_program(environment):
    """Workers do not take signals meant for the main thread."""
    code = """
    import signal
    run()
    taken = []
    signal.signal(signal.SIGUSR1, lambda *_: taken.append(threading.current_thread() is threading.main_thread()))
    for _ in range(20):
        os.kill(os.getpid(), signal.SIGUSR1)
        run()
    print(len(taken), all(taken))
    """
    assert_clean(run_script(code, environment), "20 True")


@linux
def test_threads_that_slept_keep_their_processors(environment):
    """A woken worker leaves the caller's processor, but only for that moment."""
    code = """
    expected, allowed = run(), os.sched_getaffinity(0)
    for _ in range(5):
        time.sleep(0.05)  # the worker sleeps now
        assert run() == expected
    time.sleep(0.05)
    tasks = os.listdir("/proc/self/task")
    assert len(tasks) > 1
    print(all(os.sched_getaffinity(int(task)) == allowed for task in tasks))
    """
    assert_clean(run_script(code, environment), "True")
