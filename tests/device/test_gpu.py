"""Tests that only a real GPU can pass; test_devices.py has those that an emulated one passes too."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from cases import lstm_case
from helpers import assert_close, assert_same, run_lstm, run_together

import fastlstm
from fastlstm import LSTM, gpu
from fastlstm._system import devices

if not gpu.is_available() or devices.is_emulated():
    pytest.skip(f"no GPU: {gpu.why_unavailable() or 'it is emulated'}", allow_module_level=True)

ALGORITHMS = ("steps", "resident", "cluster")
LARGE = [(300, 1, 64, 256), (100, 64, 128, 256), (100, 16, 512, 1024), (50, 7, 33, 1500)]


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def on_gpu(torch, case):
    return {name: None if array is None else torch.from_numpy(array).cuda() for name, array in case.items()}


def back(arrays):
    return {name: array.cpu().numpy() for name, array in arrays.items()}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "sizes", [(300, 1, 64, 256), (100, 64, 128, 256), (100, 16, 512, 1024), (50, 7, 33, 1500)], ids=str
)
def test_large_networks(torch, sizes, dtype, algorithm):
    case = lstm_case(*sizes, dtype=dtype)
    with gpu.use(algorithm):
        found = back(run_lstm(on_gpu(torch, case)))
    assert_close(found, run_lstm(case), 1e-5 if dtype == np.float32 else 1e-11)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_tf32(torch, algorithm):
    case = lstm_case(100, 16, 256, 512, dtype=np.float32)
    with gpu.use(algorithm, tf32=True):
        found = back(run_lstm(on_gpu(torch, case)))
    assert_close(found, run_lstm(case), 1e-2)  # 10 bits of mantissa, sums of 768 products over 100 steps
    if algorithm == "steps":
        with gpu.use(algorithm):
            full = back(run_lstm(on_gpu(torch, case)))
        assert not np.array_equal(found["y"], full["y"])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_bits_each_time(torch, algorithm):
    case = on_gpu(torch, lstm_case(200, 16, 64, 512, dtype=np.float32))
    with gpu.use(algorithm):
        first = back(run_lstm(case))
        for _ in range(5):
            assert_same(back(run_lstm(case)), first)


def test_recorded_graphs_are_what_they_recorded(torch):
    """The same arrays again and again, with other values."""
    lstm = LSTM(16, 64, seed=0)
    there = lstm.to("cuda", library="torch")
    x, dy = torch.zeros((50, 4, 16), device="cuda"), torch.ones((50, 4, 64), device="cuda")
    tape = grads = None
    with gpu.use("steps"):
        for seed in range(6):
            values = np.random.default_rng(seed).standard_normal(x.shape).astype(np.float32)
            x.copy_(torch.from_numpy(values))
            y, _, tape = there.forward(x, tape=tape)
            grads = there.backward(tape, dy, out=grads)
            expected, _, host_tape = lstm.forward(values)
            expected_grads = lstm.backward(host_tape, np.ones_like(expected))
            assert_close(back({"y": y, "flat": grads.flat}), {"y": expected, "flat": expected_grads.flat}, 1e-5)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_streams_beside_each_other(torch, algorithm):
    cases = [lstm_case(100, 8, 32, 128, dtype=np.float32, seed=seed) for seed in range(4)]
    expected = [run_lstm(case) for case in cases]

    def work(k):
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream), gpu.use(algorithm):
            case = on_gpu(torch, cases[k])
            for _ in range(10):
                found = run_lstm(case)
            assert_close(back(found), expected[k], 1e-5)

    run_together(4, work)


@pytest.mark.parametrize("options", [{}, {"lengths": np.arange(16) * 10, "reset": np.zeros((200, 16), bool)}], ids=str)
def test_nothing_waits(torch, options):
    """A call comes back while the device is still at work on what came before it."""
    lstm = LSTM(64, 256, seed=0).to("cuda", library="torch")
    x, dy = torch.zeros((200, 16, 64), device="cuda"), torch.zeros((200, 16, 256), device="cuda")
    _, _, tape = lstm.forward(x, **options)
    lstm.backward(tape, dy)
    torch.cuda.synchronize()
    done = torch.cuda.Event()
    torch.cuda._sleep(4_000_000_000)
    _, _, tape = lstm.forward(x, **options)
    lstm.backward(tape, dy)
    done.record()
    assert not done.query()
    torch.cuda.synchronize()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_nan_does_not_hang(torch, algorithm):
    case = lstm_case(200, 16, 8, 256, dtype=np.float32)
    case["x"][3] = np.nan
    with gpu.use(algorithm):
        y, _, _ = fastlstm.lstm_forward(*(on_gpu(torch, case)[name] for name in ("x", "W", "R", "b", "p")))
    nan = np.isnan(y.cpu().numpy())
    assert not nan[:3].any()
    assert nan[3:].all()


def test_out_of_memory_is_the_library_s_own_error(torch):
    lstm = LSTM(8, 4096, seed=0).to("cuda", library="torch")
    x = torch.zeros((1 << 20, 64, 8), device="cuda")
    with pytest.raises(torch.OutOfMemoryError):
        lstm.forward(x)
    torch.cuda.empty_cache()
    assert lstm(x[:10])[0].shape == (10, 64, 4096)


def test_a_graph_of_the_caller_s(torch):
    """PyTorch may record a call into a graph of its own."""
    lstm = LSTM(16, 64, seed=0).to("cuda", library="torch")
    x = torch.randn((30, 4, 16), device="cuda")
    expected = lstm(x)[0].clone()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            lstm(x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = lstm(x)[0]
    graph.replay()
    assert torch.equal(y, expected)


def test_cupy_and_its_stream():
    cupy = pytest.importorskip("cupy")
    case = lstm_case(50, 4, 8, 64, dtype=np.float32)
    expected = run_lstm(case)
    with cupy.cuda.Stream(non_blocking=True):
        found = run_lstm({name: cupy.asarray(array) for name, array in case.items()})
        assert_close({name: cupy.asnumpy(array) for name, array in found.items()}, expected, 1e-5)


def test_a_thread_s_device_stays_as_it_was(torch):
    if torch.cuda.device_count() < 2:
        pytest.skip("no GPU: a second one is needed")
    lstm = LSTM(8, 32, seed=0).to("cuda:1", library="torch")
    assert lstm.device == "cuda:1"
    torch.cuda.set_device(0)
    y, _ = lstm(torch.zeros((5, 2, 8), device="cuda:1"))
    assert y.device.index == 1
    assert torch.cuda.current_device() == 0


def test_threads_come_and_go(torch):
    """The buffers of a stream are handed from thread to thread."""
    lstm = LSTM(8, 32, seed=0).to("cuda", library="torch")
    x = torch.zeros((5, 2, 8), device="cuda")
    for _ in range(50):
        thread = threading.Thread(target=lambda: lstm(x))
        thread.start()
        thread.join()
    torch.cuda.synchronize()


def test_leaving_with_work_to_do(torch):
    code = (
        "import torch, fastlstm; lstm = fastlstm.LSTM(8, 64).to('cuda', library='torch'); "
        "[lstm(torch.zeros((500, 4, 8), device='cuda')) for _ in range(20)]"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
