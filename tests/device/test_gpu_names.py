"""The part of GPUs that exists on every machine: names, and the reason why there is no GPU."""

import pytest

from fastlstm import LSTM, gpu


def test_an_unknown_algorithm():
    with (
        pytest.raises(ValueError, match="algorithm must be one of auto, steps, resident, cluster, not 'fast'"),
        gpu.use("fast"),
    ):
        pass
    with pytest.raises(TypeError, match="algorithm must be a str, not list"), gpu.use(["steps"]):
        pass
    with pytest.raises(TypeError, match="tf32 must be a bool, not str"), gpu.use(tf32="no"):
        pass


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", ""])
def test_wrong_names_of_devices(device):
    with pytest.raises(ValueError, match="device must be 'cpu', 'cuda' or 'cuda:0' and so on, not"):
        LSTM(3, 4).to(device)
    with pytest.raises(TypeError, match="device must be a str such as 'cpu' or 'cuda:0', not int"):
        LSTM(3, 4).to(0)
    with pytest.raises(ValueError, match="library must be 'cupy' or 'torch', not 'jax'"):
        LSTM(3, 4).to("cpu", library="jax")


def test_without_a_gpu_it_is_said_why():
    if gpu.is_available():
        assert gpu.why_unavailable() is None
        return
    assert gpu.why_unavailable()
    with pytest.raises(RuntimeError, match=r"a GPU cannot be used: .*"):
        LSTM(3, 4).to("cuda")


def test_to_the_host_is_a_copy():
    lstm = LSTM(3, 4, seed=0)
    other = lstm.to("cpu")
    other.flat[:] = 0
    assert lstm.flat.any()
    assert lstm.device == other.device == "cpu"
