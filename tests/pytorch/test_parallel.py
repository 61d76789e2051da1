"""Several processes, and several threads."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import fastlstm.torch  # noqa: E402

pytestmark = pytest.mark.usefixtures("no_fallback")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no torch.distributed")
@pytest.mark.parametrize("way", ["ddp", "ddp_views", "ddp_static", "fsdp"])
def test_two_ranks(way, tmp_path):
    """Trained in the same way, models with PyTorch's modules and with ours stay the same."""
    program = [sys.executable, "-W", "error:FSDP2:UserWarning", Path(__file__).with_name("two_ranks.py"), way]
    ranks = [
        subprocess.Popen(
            [*program, str(rank), tmp_path / "meeting"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    said = [rank.communicate(timeout=120) for rank in ranks]
    assert all(rank.returncode == 0 for rank in ranks), said
    apart, moved = map(float, said[0][0].split())
    assert apart < 1e-12
    assert moved > 1e-3


def test_four_threads_on_one_module():
    module = fastlstm.torch.LSTM(8, 32, 2, bidirectional=True)
    inputs = [torch.randn(20, 3 + k, 8) for k in range(4)]

    def gradients(x):
        y, (h, _) = module(x)
        return torch.autograd.grad(y.square().sum() + h.sum(), list(module.parameters()))

    expected = [gradients(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            for a, b in zip(expected, pool.map(gradients, inputs), strict=True):
                assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


def test_threads_are_those_of_pytorch(monkeypatch):
    """However many PyTorch may use, ours are as many; more than there can be are as many as there can be."""
    from fastlstm.torch import _stacks

    module, x, seen = fastlstm.torch.GRU(3, 8), torch.randn(5, 2, 3), []
    own = _stacks.describe(*module._options())
    stack = own.stack(torch.float32)

    class Stack:
        def __getattr__(self, name):
            return getattr(stack, name)

        def forward(self, *arguments):
            seen.append(arguments[-1])
            stack.forward(*arguments)

    monkeypatch.setitem(own._stacks, torch.float32, Stack())
    for threads in (1, 2, 3, 10_000):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        module(x)
    assert seen == [1, 2, 3, 256]


def test_the_number_of_threads_changes_no_more_than_rounding():
    module = fastlstm.torch.LSTM(40, 120, dtype=torch.float64)
    x, before, found = torch.randn(30, 17, 40, dtype=torch.float64), torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(torch.autograd.grad(module(x)[0].sum(), list(module.parameters())))
    torch.set_num_threads(before)
    for a, b in zip(*found, strict=True):
        assert float((a - b).abs().max()) <= 1e-13 * float(a.abs().max())
