"""What the tests of the modules share."""

import pytest


@pytest.fixture(autouse=True)
def _one_thread():
    """Let small computations not wait for other processes' threads; tests of threads set their own number."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_fallback():
    """Let every call that the kernels do not compute fail, also where the test expects an exception."""
    import fastlstm.torch

    fastlstm.torch.fallbacks.clear()
    fastlstm.torch.set_fallback("error")
    yield
    fastlstm.torch.set_fallback("allow")
    assert not fastlstm.torch.fallbacks
