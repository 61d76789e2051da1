"""fastlstm.torch's modules on a device: results and gradients as on the host."""

import pytest

torch = pytest.importorskip("torch")

import fastlstm.torch  # noqa: E402
from fastlstm._system import devices  # noqa: E402
from fastlstm.torch import _autograd, _gpu, _host, _recurrent  # noqa: E402
from fastlstm.torch._stacks import state_shapes  # noqa: E402

pytestmark = pytest.mark.skipif(bool(devices.why_unavailable()), reason="no GPU, and this build emulates none")

PLACE = "cpu" if devices.is_emulated() else "cuda"
I, H, T, B = 4, 7, 6, 5
CONFIGURATIONS = [
    (kind, {"num_layers": layers, "bidirectional": bidirectional, "bias": bias, "dropout": 0.5 * (layers > 1)} | more)
    for kind, more in [
        ("LSTM", {}),
        ("LSTM", {"proj_size": 3}),
        ("LSTM", {"peephole": True}),
        ("LSTM", {"variant": "CIFG"}),
        ("LSTM", {"layer_norm": True}),
        ("GRU", {}),
        ("RNN", {"nonlinearity": "relu"}),
    ]
    for layers, bidirectional, bias in [(1, False, True), (2, True, False), (3, True, True)]
]


@pytest.fixture
def choose(monkeypatch):
    """Return what makes modules use these kernels, whatever the tensors' device: an emulated one is the host."""
    fastlstm.torch.set_fallback("error")

    def to(kernels):
        if devices.is_emulated():
            monkeypatch.setattr(_autograd, "kernels_for", lambda x: kernels)
            monkeypatch.setattr(_recurrent, "kernels_for", lambda x: kernels)

    yield to
    fastlstm.torch.set_fallback("allow")


def run(module, x, state, lengths, masks):
    """Return the results of a call, its y without gradients, and all gradients."""
    module._masks = lambda *_: None if masks is None else masks.to(x.device)
    given = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False) if lengths else x
    hx = None if state is None else tuple(state) if module.mode == "LSTM" else state[0]
    y, last = module(given, hx)
    results = [y.data if lengths else y, *(last if module.mode == "LSTM" else [last])]
    above = [torch.cos(torch.arange(r.numel(), dtype=r.dtype, device=r.device)).reshape(r.shape) for r in results]
    gradients = torch.autograd.grad(results, [x, *module.parameters(), *(state or [])], above)
    with torch.no_grad():
        y, _ = module(given, hx)
    return [r.detach().cpu() for r in (*results, y.data if lengths else y, *gradients)]


@pytest.mark.parametrize("given", [False, True], ids=["zeros", "state"])
@pytest.mark.parametrize("lengths", [None, [2, 5, 6, 1, 5]], ids=["padded", "packed"])
@pytest.mark.parametrize(("kind", "options"), CONFIGURATIONS, ids=str)
def test_as_on_the_host(choose, kind, options, lengths, given):
    found = []
    for place, kernels in (("cpu", _host), (PLACE, _gpu)):
        choose(kernels)
        torch.manual_seed(0)
        module = getattr(fastlstm.torch, kind)(I, H, dtype=torch.float64, **options)
        draw = {"dtype": torch.float64, "generator": torch.Generator().manual_seed(1)}
        x, masks = torch.randn(T, B, I, **draw), None
        rows = (sum(lengths),) if lengths else (T, B)
        if module.dropout:
            shape = module.num_layers - 1, *rows, (1 + module.bidirectional) * (module.proj_size or H)
            masks = 2 * torch.bernoulli(torch.full(shape, 0.5, dtype=torch.float64), generator=draw["generator"])
        state = [torch.randn(cells, B, size, **draw) for cells, size in state_shapes(module._options())]
        x, *state = (t.to(place).requires_grad_() for t in (x, *state))
        found.append(run(module.to(place), x, state if given else None, lengths, masks))
    # Normalised sums that are all but the same lose what they differ in.
    tolerance = 1e-9 if options.get("layer_norm") else 1e-12
    for a, b in zip(*found, strict=True):
        assert a.shape == b.shape
        assert float((a - b).abs().max()) <= tolerance * max(1, float(a.abs().max()))


def test_frozen_parameters(choose):
    choose(_gpu)
    module = fastlstm.torch.LSTM(I, H, 2).to(PLACE)
    for name in ("weight_ih_l1", "weight_hh_l1", "bias_ih_l1", "bias_hh_l1"):
        getattr(module, name).requires_grad_(False)
    module(torch.ones(T, B, I, device=PLACE))[0].sum().backward()
    assert [p.grad is None for p in module.parameters()] == [False] * 4 + [True] * 4
