"""Modules of a model exchanged in place: what stays the same, what the results are, and what is left and named."""

import copy
import warnings

import numpy as np
import pytest
from helpers import assert_close, assert_same
from torch_pairs import KINDS, B, H, I, T, arrays, loss_of, pair, random, run

torch = pytest.importorskip("torch")
fl = pytest.importorskip("fastlstm.torch")
nn = torch.nn

pytestmark = pytest.mark.usefixtures("no_fallback")

V = 11  # words


class Tagger(nn.Module):
    """A model as in a tutorial."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(V, I)
        self.lstm = nn.LSTM(I, H, num_layers=2, bidirectional=True, dropout=0.4)
        self.gru = nn.GRU(2 * H, H, batch_first=True)
        self.rnn = nn.RNN(H, H)
        self.last = nn.Linear(2 * H, 3)

    def forward(self, words):
        y, (h, _) = self.lstm(self.embedding(words))
        y, last = self.gru(y.transpose(0, 1))
        y, _ = self.rnn(y.transpose(0, 1), last)
        return self.last(torch.cat([y, h[-1].expand(len(y), -1, -1)], -1))


def tagger():
    torch.manual_seed(0)
    return Tagger().double()


def train(model, optimiser, steps, seed=1):
    torch.manual_seed(seed)
    for _ in range(steps):
        words, tags = torch.randint(V, (T, B)), torch.randint(3, (T * B,))
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(words).flatten(0, 1), tags).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()


def state_of(model):
    return arrays(dict(model.state_dict()))


def kinds_of(model):
    return [type(module) for module in model.modules() if isinstance(module, (nn.RNNBase, fl.LSTM))]


OURS, PYTORCHS = [fl.LSTM, fl.GRU, fl.RNN], [nn.LSTM, nn.GRU, nn.RNN]


# ---- results ---------------------------------------------------------------------------------------------------------


def test_an_optimiser_made_before_goes_on():
    """Trained with dropout from the same seeds, restored, and trained on."""
    untouched, model = tagger(), tagger()
    optimisers = [torch.optim.Adam(m.parameters(), 0.01) for m in (untouched, model)]
    before = state_of(model)
    fl.replace(model)
    for m, optimiser in zip((untouched, model), optimisers, strict=True):
        train(m, optimiser, 20)
    assert_close(state_of(model), state_of(untouched), 1e-12)
    assert all(np.abs(array - before[name]).max() > 1e-3 for name, array in state_of(model).items())
    assert fl.restore(model) is model
    assert kinds_of(model) == PYTORCHS
    model.load_state_dict(untouched.state_dict())
    words = torch.randint(V, (T, B))
    assert torch.equal(model.eval()(words), untouched.eval()(words))
    for m, optimiser in zip((untouched, model), optimisers, strict=True):
        train(m.train(), optimiser, 5, seed=2)
    assert_close(state_of(model), state_of(untouched), 1e-12)


@pytest.mark.parametrize(
    "optimiser",
    [
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
        lambda p: torch.optim.AdamW(p, 0.01, foreach=True),
        lambda p: torch.optim.Adam(p, 0.01, fused=True),
        lambda p: torch.optim.Rprop(p, 0.001),
    ],
)
def test_optimisers(optimiser):
    found = []
    for model in (tagger(), fl.replace(tagger())):
        train(model, optimiser(model.parameters()), 8)
        found.append(state_of(model))
    assert_close(found[1], found[0], 1e-11)


def test_restored_modules_compute_what_pytorchs_do():
    untouched, model = tagger(), tagger()
    fl.restore(fl.replace(model))
    words = torch.randint(V, (T, B))
    for m in (untouched, model):
        torch.manual_seed(3)
        loss_of(m(words)).backward()
    gradients = [arrays({name: p.grad for name, p in m.named_parameters()}) for m in (untouched, model)]
    assert_same(gradients[1], gradients[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_bare_module(kind):
    theirs = getattr(nn, kind)(I, H, dtype=torch.float64)
    expected = run(theirs, random(T, B, I))
    assert fl.replace(theirs) is theirs
    assert type(theirs) is getattr(fl, kind)
    assert_close(run(theirs, random(T, B, I)), expected, 1e-14)
    assert fl.restore(theirs) is theirs
    assert type(theirs) is getattr(nn, kind)
    assert_same(run(theirs, random(T, B, I)), expected)


# ---- what stays ------------------------------------------------------------------------------------------------------


def test_a_model_stays_what_it_is():
    model = tagger().eval()
    model.lstm.note = "kept"
    parameters, modules, names = list(model.parameters()), list(model.modules()), list(model.state_dict())
    flat = list(model.lstm._flat_weights)
    text = repr(model)
    model.gru.weight_hh_l0.requires_grad_(False)
    for change, kinds in ((fl.replace, OURS), (fl.replace, OURS), (fl.restore, PYTORCHS), (fl.restore, PYTORCHS)):
        assert change(model) is model
        assert kinds_of(model) == kinds
        assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
        assert all(a is b for a, b in zip(modules, model.modules(), strict=True))
        assert all(a is b for a, b in zip(flat, model.lstm._flat_weights, strict=True))
        assert list(model.state_dict()) == names
        assert repr(model) == text
        assert model.lstm.note == "kept"
        assert not model.lstm.training
        assert not model.gru.weight_hh_l0.requires_grad


def test_hooks_stay():
    model, seen = tagger(), []
    model.lstm.register_forward_pre_hook(lambda *_: seen.append("before"))
    model.lstm.register_forward_hook(lambda *_: seen.append("after"))
    model.lstm.register_full_backward_hook(lambda *_: seen.append("back"))
    model.lstm.weight_hh_l0.register_hook(lambda _: seen.append("gradient"))
    model.lstm.register_state_dict_pre_hook(lambda *_: seen.append("state"))
    handle = model.gru.register_forward_hook(lambda *_: seen.append("removed"))
    fl.replace(model)
    handle.remove()
    loss_of(model(torch.randint(V, (T, B)))).backward()
    model.state_dict()
    assert sorted(seen) == ["after", "back", "before", "gradient", "state"]


def test_modules_used_twice_stay_one():
    shared = nn.LSTM(I, H)
    model = nn.ModuleDict({"a": nn.Sequential(shared), "b": nn.ModuleList([shared, nn.LSTM(I, H)])})
    model["b"][1].weight_hh_l0 = shared.weight_hh_l0
    fl.replace(model)
    assert model["a"][0] is model["b"][0] is shared
    assert model["b"][1].weight_hh_l0 is shared.weight_hh_l0
    assert kinds_of(model) == [fl.LSTM, fl.LSTM]


@pytest.mark.parametrize("kind", KINDS)
def test_parametrized_modules(kind):
    x, found = random(T, B, I), []
    for replaced in (False, True):
        module = pair(kind, I, H, dtype=torch.float64)[0]
        nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")
        nn.utils.parametrize.register_parametrization(module, "weight_ih_l0", nn.Tanh())
        if replaced:
            name = type(module).__name__
            fl.replace(module)
            assert isinstance(module, getattr(fl, kind))
            assert type(module).__name__ == name
        optimiser = torch.optim.SGD(module.parameters(), 0.01)
        loss_of(module(x)).backward()
        optimiser.step()
        found.append(run(module, x))
    assert_close(found[1], found[0], 1e-13)
    twin = copy.deepcopy(module)
    assert_same(run(twin, x), found[1])
    # It gets a class of its own: PyTorch's copies share one, and then a removal from one is a removal from all.
    assert_close(run(fl.restore(twin), x), found[0], 1e-13)
    assert isinstance(twin, getattr(nn, kind))
    y = found[1]["result 0"]
    nn.utils.parametrize.remove_parametrizations(module, "weight_ih_l0")
    assert_close({"y": run(module, x)["result 0"]}, {"y": y}, 1e-15)
    nn.utils.parametrize.remove_parametrizations(module, "weight_hh_l0")
    assert type(module) is getattr(fl, kind)
    assert_close({"y": run(module, x)["result 0"]}, {"y": y}, 1e-14)
    assert_close(run(twin, x), found[0], 1e-13)


def test_pruned_modules():
    module = nn.LSTM(I, H, dtype=torch.float64)
    nn.utils.prune.l1_unstructured(module, "weight_hh_l0", 0.5)
    expected = run(module, random(T, B, I))
    assert_close(run(fl.replace(module), random(T, B, I)), expected, 1e-14)


def test_copies_and_files_of_replaced_models(tmp_path):
    model = fl.replace(tagger()).eval()
    words = torch.randint(V, (T, B))
    torch.save(model, tmp_path / "model")
    for other in (copy.deepcopy(model), torch.load(tmp_path / "model", weights_only=False)):
        assert kinds_of(other) == OURS
        assert torch.equal(other(words), model(words))
        assert kinds_of(fl.restore(other)) == PYTORCHS
    untouched = tagger().eval()
    untouched.load_state_dict(model.state_dict())
    torch.testing.assert_close(untouched(words), model(words), rtol=0, atol=1e-14)


def test_models_within_others():
    model = nn.Sequential(tagger(), nn.Identity())
    assert kinds_of(fl.replace(nn.DataParallel(model))) == OURS
    average = torch.optim.swa_utils.AveragedModel(model)
    assert kinds_of(average) == OURS


def test_classes_set_in_place_of_pytorchs(monkeypatch):
    """As people do who want all modules that a library makes to be ours."""
    for kind in KINDS:
        monkeypatch.setattr(torch.nn, kind, getattr(fl, kind))
    model = tagger()
    assert kinds_of(model) == OURS
    monkeypatch.undo()
    untouched = tagger()
    words = torch.randint(V, (T, B))
    torch.testing.assert_close(model.eval()(words), untouched.eval()(words), rtol=0, atol=1e-14)
    assert kinds_of(fl.restore(model)) == PYTORCHS
    assert torch.equal(model(words), untouched(words))


# ---- which modules ---------------------------------------------------------------------------------------------------


def test_filters():
    model, seen = tagger(), []

    def not_the_gru(module, name):
        seen.append((type(module), name))
        return name != "gru"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fl.replace(model, filter=not_the_gru)
        assert kinds_of(model) == [fl.LSTM, nn.GRU, fl.RNN]
        assert seen == list(zip(PYTORCHS, ("lstm", "gru", "rnn"), strict=True))
        fl.restore(model, filter=lambda module, name: isinstance(module, fl.RNN))
        assert kinds_of(model) == [fl.LSTM, nn.GRU, nn.RNN]
        fl.replace(model, filter=lambda module, name: module.num_layers == 5)
        assert kinds_of(model) == [fl.LSTM, nn.GRU, nn.RNN]
        names = []
        fl.replace(nn.LSTM(I, H), filter=lambda module, name: names.append(name))
        assert names == [""]


def test_modules_that_the_model_does_not_register_are_left():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.list, self.dict = [nn.LSTM(I, H)], {"gru": nn.GRU(I, H)}
            self.seen = nn.ModuleList([nn.LSTM(I, H)])

    model = fl.replace(Hidden())
    assert (type(model.list[0]), type(model.dict["gru"]), type(model.seen[0])) == (nn.LSTM, nn.GRU, fl.LSTM)


class Residual(nn.LSTM):
    def forward(self, x, hx=None):
        y, last = super().forward(x, hx)
        return y + x, last


def test_what_is_left_is_named_with_the_reason():
    model = nn.ModuleDict(
        {"first": Residual(H, H), "second": nn.GRU(H, H), "third": nn.RNN(H, H), "fourth": nn.LSTM(H, H)}
    )
    model["second"].forward = model["second"].forward
    nn.utils.parametrizations.weight_norm(model["first"], "weight_hh_l0")
    with pytest.warns(UserWarning, match="not replaced") as warned:
        assert fl.replace(model) is model
    assert [str(warning.message) for warning in warned] == [
        "not replaced: first: ParametrizedResidual is a class derived from LSTM; "
        "second: its forward has been replaced by another function"
    ]
    assert warned[0].filename == __file__
    assert [isinstance(m, fl.LSTM | fl.GRU | fl.RNN) for m in model.values()] == [False, False, True, True]
    with pytest.warns(UserWarning, match="not replaced: the model itself: Residual is a class derived from LSTM"):
        fl.replace(Residual(H, H))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fl.replace(model, filter=lambda module, name: name not in ("first", "second"))


class Ours(fl.GRU):
    pass


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: fl.LSTM(I, H, peephole=True), "PyTorch has no peephole=True"),
        (lambda: fl.LSTM(I, H, variant="CIFG"), "PyTorch has no variant='CIFG'"),
        (lambda: fl.LSTM(I, H, layer_norm=True), "PyTorch has no layer_norm=True"),
        (lambda: Ours(I, H), "Ours is a class derived from GRU"),
    ],
)
def test_what_cannot_be_restored_is_named(make, reason):
    model = nn.Sequential(make())
    kind = type(model[0])
    with pytest.warns(UserWarning, match=f"^not restored: 0: {reason}$"):
        fl.restore(model)
    assert type(model[0]) is kind


def test_the_variant_without_peepholes_is_pytorchs():
    ours = fl.LSTM(I, H, variant="NP", dtype=torch.float64)
    expected = run(ours, random(T, B, I))
    assert type(fl.restore(ours)) is nn.LSTM
    assert_close(run(ours, random(T, B, I)), expected, 1e-14)
    assert_close(run(fl.replace(ours), random(T, B, I)), expected, 0)


@pytest.mark.filterwarnings("ignore:.*torch.jit", "ignore::torch.jit.TracerWarning")
def test_modules_that_are_compiled_already_are_named():
    traced = torch.jit.trace(nn.GRU(I, H), (torch.zeros(T, B, I),))
    model = nn.Sequential(traced, nn.Linear(H, H))
    with pytest.warns(UserWarning, match=r"^not replaced: 0: torch\.jit has compiled it$"):
        fl.replace(model)
    assert model[0] is traced
    fl.replace(model, filter=lambda module, name: False)
    fl.replace(torch.jit.trace(nn.Linear(I, H), (torch.zeros(T, B, I),)))


@pytest.mark.parametrize("change", [fl.replace, fl.restore])
def test_arguments_are_checked(change):
    for model in (None, [nn.LSTM(I, H)], nn.LSTM):
        with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, not (NoneType|list|type)"):
            change(model)
    with pytest.raises(TypeError, match="filter must be a function of a module and its name, not list"):
        change(nn.LSTM(I, H), filter=["lstm"])


def test_a_model_without_such_modules():
    """A loop over cells, for instance; a model whose modules are replaced already is another matter."""
    model = torch.nn.Sequential(torch.nn.LSTMCell(3, 8))
    with pytest.warns(UserWarning, match="nothing to replace"):
        assert fl.replace(model) is model
    done = fl.replace(torch.nn.Sequential(torch.nn.LSTM(3, 8)))
    assert type(fl.replace(done)[0]) is fl.LSTM
