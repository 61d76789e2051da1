"""Arguments that nn.LSTM, nn.GRU and nn.RNN refuse or take: the modules refuse them in the same words, or agree."""

import collections
import re

import numpy as np
import pytest
from helpers import assert_close
from torch_pairs import KINDS, B, H, I, T, arrays, leaves, loss_of, pair, random, run, state_of

torch = pytest.importorskip("torch")
fl = pytest.importorskip("fastlstm.torch")
PackedSequence, pack = torch.nn.utils.rnn.PackedSequence, torch.nn.utils.rnn.pack_padded_sequence
Parameter = torch.nn.Parameter

# Options of ours alone with which PyTorch's words still fit.
EXTRAS = {"none": {}, "peephole": {"peephole": True}, "layer_norm": {"layer_norm": True}}
OF_EACH_KIND = [*((kind, "none") for kind in KINDS), ("LSTM", "peephole"), ("LSTM", "layer_norm")]


def refusal(function, *arguments, **named):
    """Return the type of the exception that a call raises, and its first line."""
    with pytest.raises(Exception) as raised:  # noqa: PT011, since it is compared with another one
        function(*arguments, **named)
    return raised.type, str(raised.value).partition("\n")[0]


# ---- constructors ----------------------------------------------------------------------------------------------------

BAD_ARGUMENTS = {
    "nothing": ((), {}),
    "one size": ((I,), {}),
    "float input size": ((2.0, H), {}),
    "float hidden size": ((I, 4.0), {}),
    "NumPy's integer": ((np.int64(2), H), {}),
    "no input": ((0, H), {}),
    "negative input size": ((-1, H), {}),
    "no hidden": ((I, 0), {}),
    "no hidden size": ((I, None), {}),
    "no layers": ((I, H, 0), {}),
    "float layers": ((I, H, 2.0), {}),
    "text for layers": ((I, H, "2"), {}),
    "integer bias": ((I, H), {"bias": 1}),
    "integer batch_first": ((I, H), {"batch_first": 1}),
    "dropout above 1": ((I, H, 2), {"dropout": 1.1}),
    "dropout below 0": ((I, H, 2), {"dropout": -0.1}),
    "dropout of a bool": ((I, H, 2), {"dropout": True}),
    "dropout of text": ((I, H, 2), {"dropout": "often"}),
    "dropout of a tensor": ((I, H, 2), {"dropout": torch.tensor(0.5)}),
    "no dropout": ((I, H, 2), {"dropout": None}),
    "another option": ((I, H), {"layers": 2}),
    "mode": ((I, H), {"mode": "LSTM"}),
    "integer dtype": ((I, H), {"dtype": torch.int32}),
    "dtype of text": ((I, H), {"dtype": "float32"}),
    "device": ((I, H), {"device": "nowhere"}),
    "nonlinearity": ((I, H), {"nonlinearity": "logistic"}),
    "no nonlinearity": ((I, H), {"nonlinearity": None}),
    "nonlinearity at its place": ((I, H, 1, "logistic"), {}),
    "nonlinearity twice": ((I, H, 1, "tanh"), {"nonlinearity": "tanh"}),
    "projection of all": ((I, H), {"proj_size": H}),
    "negative projection": ((I, H), {"proj_size": -1}),
    "float projection": ((I, H), {"proj_size": 2.0}),
    "no projection": ((I, H), {"proj_size": None}),
    "too many": ((I, H, 1, *[True] * 12), {}),
}


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
@pytest.mark.parametrize(("kind", "extra"), OF_EACH_KIND)
def test_constructors_refuse_what_pytorchs_refuse(kind, extra, case):
    sizes, options = BAD_ARGUMENTS[case]
    expected = refusal(getattr(torch.nn, kind), *sizes, **options)
    assert refusal(getattr(fl, kind), *sizes, **options, **EXTRAS[extra]) == expected


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
def test_only_lstms_have_projections(kind):
    words = "proj_size argument is only supported for LSTM, not RNN or GRU"
    for size in (0, 2):
        assert refusal(getattr(torch.nn, kind), I, H, proj_size=size) == (ValueError, words)
        assert refusal(getattr(fl, kind), I, H, proj_size=size) == (ValueError, words)
    # At its place PyTorch takes it, for a module that refuses every call.
    places = (1, "tanh", True, False, 0.0, False, 2) if kind == "RNN" else (1, True, False, 0.0, False, 2)
    with pytest.raises(RuntimeError, match="Expected hidden size"):
        getattr(torch.nn, kind)(I, H, *places)(torch.zeros(T, B, I))
    assert refusal(getattr(fl, kind), I, H, *places) == (ValueError, words)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_of_one_layer_warns(kind):
    messages = []
    for package in (torch.nn, fl):
        with pytest.warns(UserWarning, match="non-zero dropout expects num_layers greater than 1") as warned:
            getattr(package, kind)(I, H, dropout=0.5)
        messages.append([str(warning.message) for warning in warned])
    assert messages[0] == messages[1]


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_by_place(kind, no_fallback):
    nonlinearity = ("relu",) if kind == "RNN" else ()
    projection = (3,) if kind == "LSTM" else (0,)
    places = (2, *nonlinearity, False, True, 0.0, True, *projection, "cpu", torch.float64)
    theirs, ours = pair(kind, I, H, *places)
    assert_close(run(ours, random(B, T, I)), run(theirs, random(B, T, I)), 1e-14)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_nonlinearity(nonlinearity, no_fallback):
    x = random(T, B, I)
    theirs, ours = pair("RNN", I, H, nonlinearity=nonlinearity, dtype=torch.float64)
    by_place = fl.RNN(I, H, 1, nonlinearity, dtype=torch.float64)
    by_place.load_state_dict(theirs.state_dict())
    assert ours.nonlinearity == by_place.nonlinearity == nonlinearity
    assert ours.mode == by_place.mode == theirs.mode
    for module in (ours, by_place):
        assert_close(run(module, x), run(theirs, x), 1e-14)


def test_extras_are_checked():
    for options, words in [
        ({"peephole": 1}, "peephole must be"),
        ({"layer_norm": "yes"}, "layer_norm must be"),
        ({"variant": "FGR"}, "variant must not be FGR"),
        ({"variant": "LSTM"}, "variant must be one of vanilla"),
        ({"variant": None}, "variant must be one of vanilla"),
        ({"variant": "NP", "peephole": True}, "peephole must be False with variant NP"),
    ]:
        with pytest.raises((TypeError, ValueError), match=words):
            fl.LSTM(I, H, **options)
    for kind in ("GRU", "RNN"):
        with pytest.raises(TypeError, match="unexpected keyword argument 'peephole'"):
            getattr(fl, kind)(I, H, peephole=True)


# ---- calls that are refused ------------------------------------------------------------------------------------------


def each(change, hx):
    """Return a state with each of its parts changed."""
    return tuple(map(change, hx)) if isinstance(hx, tuple) else change(hx)


def packed(x, lengths=(5, 3, 1), **options):
    return pack(x, torch.tensor(lengths), **options)


def unsorted(x):
    return packed(x, (3, 5, 1), enforce_sorted=False)


def with_sizes(x, sizes):
    return PackedSequence(packed(x).data, torch.as_tensor(sizes))


# What a call is given, from x of shape (T, B, I) and a state of two layers.
BAD_CALLS = {
    # ---- input ----
    "scalar": lambda x, hx: (x[0, 0, 0],),
    "one axis": lambda x, hx: (x[0, 0],),
    "four axes": lambda x, hx: (x[None],),
    "float64": lambda x, hx: (x.double(),),
    "bfloat16": lambda x, hx: (x.bfloat16(),),
    "integers": lambda x, hx: (x.long(),),
    "bools": lambda x, hx: (x > 0,),
    "complex": lambda x, hx: (x.cfloat(),),
    "quantised": lambda x, hx: (torch.quantize_per_tensor(x, 0.1, 0, torch.quint8),),
    "one value too few": lambda x, hx: (x[..., :1],),
    "no values": lambda x, hx: (x[..., :0],),
    "no batch, too few values": lambda x, hx: (x[:, 0, :1],),
    "no steps": lambda x, hx: (x[:0],),
    "no steps, with a state": lambda x, hx: (x[:0], hx),
    "no steps, no sequences": lambda x, hx: (x[:0, :0],),
    "no steps, no batch": lambda x, hx: (x[:0, 0],),
    "None": lambda x, hx: (None,),
    "numbers": lambda x, hx: ([1.0, 2.0],),
    "list of tensors": lambda x, hx: (list(x),),
    "tuple of tensors": lambda x, hx: ((x, x),),
    "array": lambda x, hx: (x.numpy(),),
    "text": lambda x, hx: ("x",),
    "sparse": lambda x, hx: (x.to_sparse(),),
    "mkldnn": lambda x, hx: (x.to_mkldnn(),),
    "nested": lambda x, hx: (torch.nested.nested_tensor([x[:, 0], x[:3, 1]]),),
    "meta": lambda x, hx: (x.to("meta"),),
    # ---- hx: what it is ----
    "hx of () ": lambda x, hx: (x, ()),
    "hx of []": lambda x, hx: (x, []),
    "hx of one part": lambda x, hx: (x, (hx[0],)),
    "hx of three parts": lambda x, hx: (x, (hx[0], hx[1], hx[1])),
    "hx as one tensor": lambda x, hx: (x, torch.stack((leaves(hx) * 2)[:2])),
    "hx of None": lambda x, hx: (x, (None, None)),
    "hx with None": lambda x, hx: (x, (hx[0], None)),
    "hx of 0": lambda x, hx: (x, 0),
    "hx of False": lambda x, hx: (x, False),
    "hx of text": lambda x, hx: (x, "hc"),
    "hx as a dict": lambda x, hx: (x, {0: hx[0], 1: hx[1]}),
    "hx as an iterator": lambda x, hx: (x, iter(hx)),
    "hx of arrays": lambda x, hx: (x, each(lambda part: part.numpy(), hx)),
    # ---- hx: its parts ----
    "hx without a batch": lambda x, hx: (x, each(lambda part: part[:, 0], hx)),
    "hx of four axes": lambda x, hx: (x, each(lambda part: part[None], hx)),
    "hx of float64": lambda x, hx: (x, each(lambda part: part.double(), hx)),
    "hx of integers": lambda x, hx: (x, each(lambda part: part.long(), hx)),
    "hx for two": lambda x, hx: (x, each(lambda part: part[:, :2], hx)),
    "hx for one": lambda x, hx: (x, each(lambda part: part[:, :1], hx)),
    "hx of one layer": lambda x, hx: (x, each(lambda part: part[:1], hx)),
    "hx of too few values": lambda x, hx: (x, each(lambda part: part[..., :3], hx)),
    "hx on meta": lambda x, hx: (x, each(lambda part: part.to("meta"), hx)),
    "no batch, hx with one": lambda x, hx: (x[:, 0], hx),
    "no batch, hx of too few values": lambda x, hx: (x[:, 0], each(lambda part: part[:, 0, :3], hx)),
    # ---- packed ----
    "packed as a tuple": lambda x, hx: (tuple(packed(x)),),
    "packed, one value too few": lambda x, hx: (packed(x[..., :1]),),
    "packed, float64": lambda x, hx: (packed(x.double()),),
    "packed, three axes": lambda x, hx: (PackedSequence(packed(x).data[:, None], packed(x).batch_sizes),),
    "packed, one axis": lambda x, hx: (PackedSequence(packed(x).data[:, 0], packed(x).batch_sizes),),
    "packed, hx for two": lambda x, hx: (packed(x), each(lambda part: part[:, :2], hx)),
    "packed, hx of one layer": lambda x, hx: (packed(x), each(lambda part: part[:1], hx)),
    "packed, hx without a batch": lambda x, hx: (packed(x), each(lambda part: part[:, 0], hx)),
    "packed, hx of float64": lambda x, hx: (packed(x), each(lambda part: part.double(), hx)),
    "packed, hx of too few values": lambda x, hx: (packed(x), each(lambda part: part[..., :3], hx)),
    "unsorted, hx for two": lambda x, hx: (unsorted(x), each(lambda part: part[:, :2], hx)),
    "unsorted, hx without a batch": lambda x, hx: (unsorted(x), each(lambda part: part[:, 0], hx)),
    "unsorted, hx of float64": lambda x, hx: (unsorted(x), each(lambda part: part.double(), hx)),
    "unsorted, hx of None": lambda x, hx: (unsorted(x), (None, None)),
    "packed, too few rows": lambda x, hx: (PackedSequence(packed(x).data[:7], packed(x).batch_sizes),),
    "packed, a growing batch": lambda x, hx: (with_sizes(x, [1, 3, 2, 2, 1]),),
    "packed, a negative batch": lambda x, hx: (with_sizes(x, [5, 5, -1]),),
    "packed, no steps": lambda x, hx: (PackedSequence(packed(x).data[:0], packed(x).batch_sizes[:0]),),
    "packed, sizes of int32": lambda x, hx: (with_sizes(x, np.int32([3, 2, 2, 1, 1])),),
    "packed, sizes of two axes": lambda x, hx: (with_sizes(x, [[3, 2, 2, 1, 1]]),),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_CALLS)
@pytest.mark.parametrize(("kind", "extra"), OF_EACH_KIND)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:.*quantize_per_tensor")
def test_calls_refuse_what_pytorchs_refuse(kind, extra, case, no_fallback):
    theirs, ours = pair(kind, I, H, 2, extras=EXTRAS[extra])
    x, hx = random(T, B, I, dtype=torch.float32), state_of(ours, B, dtype=torch.float32)
    expected = refusal(theirs, *BAD_CALLS[case](x, hx))
    assert refusal(ours, *BAD_CALLS[case](x, hx)) == expected
    assert leaves(ours(x, hx))[-1].isfinite().all()


@pytest.mark.parametrize("case", BAD_CALLS)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:.*quantize_per_tensor")
def test_calls_of_variants_raise_the_same_types(case):
    ours = fl.LSTM(I, H, 2, variant="CIFG")
    x, hx = random(T, B, I, dtype=torch.float32), state_of(ours, B, dtype=torch.float32)
    expected = refusal(torch.nn.LSTM(I, H, 2), *BAD_CALLS[case](x, hx))
    assert refusal(ours, *BAD_CALLS[case](x, hx))[0] is expected[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_states_have_the_batch_of_the_input(kind, batch_first):
    theirs, ours = pair(kind, I, H, 2, batch_first=batch_first)
    x, hx = torch.zeros(T, B, I), state_of(ours, T if not batch_first else B + 1, dtype=torch.float32)
    expected = refusal(theirs, x, hx)
    assert expected[0] is RuntimeError
    assert refusal(ours, x, hx) == expected


@pytest.mark.parametrize("shape", [(B, 0, I), (0, I), (0, 0, I)])
@pytest.mark.parametrize("kind", KINDS)
def test_no_steps_in_either_layout(kind, shape):
    theirs, ours = pair(kind, I, H, 2, batch_first=True)
    words = "Expected sequence length to be larger than 0 in RNN"
    assert refusal(theirs, torch.zeros(shape)) == refusal(ours, torch.zeros(shape)) == (RuntimeError, words)


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("projected", [0, 3])
def test_each_part_of_a_state_is_checked(part, projected):
    theirs, ours = pair("LSTM", I, H, proj_size=projected)
    x, hx = torch.zeros(T, B, I), list(state_of(ours, B, dtype=torch.float32))
    hx[part] = torch.zeros(1, B, H + 1)
    expected = refusal(theirs, x, tuple(hx))
    assert f"Expected hidden[{part}] size" in expected[1]
    assert refusal(ours, x, tuple(hx)) == expected


@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l1"])
@pytest.mark.parametrize("kind", KINDS)
def test_lacking_parameters_are_refused(kind, name, no_fallback):
    theirs, ours = pair(kind, I, H, 2)
    for module in (theirs, ours):
        setattr(module, name, None)
    assert refusal(ours, torch.zeros(T, B, I)) == refusal(theirs, torch.zeros(T, B, I))
    assert refusal(ours, torch.zeros(T, I)) == refusal(theirs, torch.zeros(T, I))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("weight_hh_l0", (3, 3), torch.float64),
        ("bias_ih_l0", (3,), torch.float64),
        ("weight_ih_l0", None, torch.float32),
        ("weight_hh_l1", None, torch.float32),
    ],
)
def test_other_parameters_are_refused(kind, name, shape, dtype, no_fallback):
    # In float64, since in float32 PyTorch takes a small matrix, and reads beyond its end.
    theirs, ours = pair(kind, I, H, 2, dtype=torch.float64)
    x = random(T, B, I)
    for module in (theirs, ours):
        setattr(module, name, Parameter(torch.zeros(shape or getattr(module, name).shape, dtype=dtype)))
    assert refusal(ours, x) == refusal(theirs, x)


def test_a_missing_input_is_refused():
    for call in (lambda m: m(), lambda m: m(torch.zeros(T, B, I), None, None), lambda m: m(torch.zeros(T, I), h=0)):
        theirs, ours = refusal(call, torch.nn.LSTM(I, H)), refusal(call, fl.LSTM(I, H))
        assert theirs[0] is ours[0] is TypeError
        assert re.sub(r"\w+\.forward", "forward", theirs[1]) == re.sub(r"\w+\.forward", "forward", ours[1])


# ---- calls that are taken --------------------------------------------------------------------------------------------

Pair = collections.namedtuple("Pair", ["h", "c"])


def in_order(hx, kind):
    """Return a state of an LSTM as a container of that kind; of others as it is."""
    return kind(hx) if isinstance(hx, tuple) else hx


GOOD_CALLS = {
    "three axes": lambda x, hx: (x, hx),
    "no batch": lambda x, hx: (x[:, 0], each(lambda part: part[:, 0], hx)),
    "no batch, one step": lambda x, hx: (x[:1, 0],),
    "one step, one sequence": lambda x, hx: (x[:1, :1], each(lambda part: part[:, :1], hx)),
    "no sequences": lambda x, hx: (x[:, :0],),
    "no sequences, with a state": lambda x, hx: (x[:, :0], each(lambda part: part[:, :0], hx)),
    "hx as a list": lambda x, hx: (x, in_order(hx, list)),
    "hx as a named tuple": lambda x, hx: (x, in_order(hx, Pair._make)),
    "hx for all": lambda x, hx: (x, each(lambda part: part[:, :1].expand(-1, B, -1), hx)),
    "hx of all layers": lambda x, hx: (x, each(lambda part: part[:1, :1].expand(4, B, -1), hx)),
    "hx by columns": lambda x, hx: (x, each(lambda part: part.mT.contiguous().mT, hx)),
    "hx that negates": lambda x, hx: (x, each(torch._neg_view, hx)),
    "sequences side by side": lambda x, hx: (x.transpose(0, 1).contiguous().transpose(0, 1), hx),
    "columns": lambda x, hx: (x.mT.contiguous().mT, hx),
    "every other value": lambda x, hx: (x.repeat_interleave(2, -1)[..., ::2], hx),
    "backwards": lambda x, hx: (x.flip(0), hx),
    "the same step": lambda x, hx: (x[:1].expand(T, -1, -1), hx),
    "a part of a row": lambda x, hx: (torch.cat([x, x], -1)[..., 1 : 1 + I], hx),
    "a view that negates": lambda x, hx: (torch._neg_view(x), hx),
    "an imaginary part": lambda x, hx: (torch.complex(x, x).imag, hx),
    "an imaginary part that negates": lambda x, hx: (torch.complex(x, x).conj().imag, hx),
    "packed": lambda x, hx: (packed(x), hx),
    "packed, hx as a list": lambda x, hx: (packed(x), in_order(hx, list)),
    "packed, hx as a named tuple": lambda x, hx: (unsorted(x), in_order(hx, Pair._make)),
    "unsorted": lambda x, hx: (unsorted(x), hx),
    "packed from lists": lambda x, hx: (torch.nn.utils.rnn.pack_sequence([x[:, 0], x[:2, 1]]),),
    "packed, rows with gaps": lambda x, hx: (
        PackedSequence(packed(x).data.repeat_interleave(2, 0)[::2], packed(x).batch_sizes),
        hx,
    ),
}


@pytest.mark.parametrize("case", GOOD_CALLS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("learns_state", [True, False])
def test_calls_take_what_pytorchs_take(kind, case, learns_state, no_fallback):
    theirs, ours = pair(kind, I, H, 2, bidirectional=True, dtype=torch.float64)
    found = []
    for module in (ours, theirs):
        x, hx = random(T, B, I, requires_grad=True), state_of(ours, B, requires_grad=learns_state)
        results = module(*GOOD_CALLS[case](x, hx))
        layout = {f"layout {k}": np.array([leaf.is_contiguous()], float) for k, leaf in enumerate(leaves(results))}
        inputs = {"x": x, **{f"state {k}": part for k, part in enumerate(leaves(hx)) if learns_state}}
        inputs |= dict(module.named_parameters())
        gradients = torch.autograd.grad(loss_of(results), list(inputs.values()), allow_unused=True)
        named = dict(zip(inputs, gradients, strict=True))
        found.append(layout | arrays({f"result {k}": leaf for k, leaf in enumerate(leaves(results))} | named))
        with torch.no_grad():
            found[-1] |= arrays({f"alone {k}": leaf for k, leaf in enumerate(leaves(module(*GOOD_CALLS[case](x, hx))))})
    assert_close(found[0], found[1], 1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_batch_sizes_with_gaps_in_memory(kind, no_fallback):
    """PyTorch's modules read what is in the gaps."""
    theirs, ours = pair(kind, I, H, dtype=torch.float64)
    given = packed(random(T, B, I))
    spread = torch.stack([given.batch_sizes, torch.full_like(given.batch_sizes, 9)], 1)[:, 0]
    assert not spread.is_contiguous()
    assert_close(run(ours, PackedSequence(given.data, spread)), run(theirs, given), 1e-13)


@pytest.mark.parametrize("extra", ["peephole", "layer_norm"])
def test_a_batch_of_none_with_extras(extra, no_fallback):
    ours = fl.LSTM(I, H, 2, bidirectional=True, **EXTRAS[extra])
    x = torch.zeros(T, 0, I, requires_grad=True)
    y, (h, c) = ours(x)
    assert (y.shape, h.shape, c.shape) == ((T, 0, 2 * H), (4, 0, H), (4, 0, H))
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert all(not p.grad.any() for p in ours.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_arguments(kind, no_fallback):
    theirs, ours = pair(kind, I, H)
    x, hx = random(T, B, I, dtype=torch.float32), state_of(ours, B, dtype=torch.float32)
    for named in ({"input": x}, {"input": x, "hx": hx}, {"hx": hx, "input": x}, {"input": x, "hx": None}):
        expected = arrays(dict(enumerate(leaves(theirs(**named)))))
        assert_close(arrays(dict(enumerate(leaves(ours(**named))))), expected, 1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dropout", [1, 1.0, np.float32(0.5), 0])
def test_kinds_of_dropout(kind, dropout, no_fallback):
    theirs, ours = pair(kind, I, H, 3, dropout=dropout, dtype=torch.float64)
    found = []
    for module in (ours, theirs):
        torch.manual_seed(3)
        found.append(run(module, random(T, B, I)))
        found[-1]["drawn next"] = torch.rand(1).numpy()
    assert_close(found[0], found[1], 1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_attributes_are_read_at_each_call(kind, no_fallback):
    """As people set them after construction: batch_first, dropout, and train or eval."""
    theirs, ours = pair(kind, I, H, 2, dtype=torch.float64)
    for name, value in (("batch_first", True), ("dropout", 0.5), ("training", False), ("batch_first", False)):
        found = []
        for module in (ours, theirs):
            setattr(module, name, value)
            torch.manual_seed(4)
            found.append(run(module, random(B, T, I)))
        assert_close(found[0], found[1], 1e-13)


ODD_CALLS = {
    "a state for more sequences": lambda x, hx: (unsorted(x), each(lambda part: torch.cat([part, part], 1), hx)),
    "more rows than the batch sizes say": lambda x, hx: (
        PackedSequence(torch.cat([packed(x).data, x[0]]), packed(x).batch_sizes),
        hx,
    ),
    "a step without rows": lambda x, hx: (with_sizes(x, [3, 3, 3, 0]), hx),
}


@pytest.mark.parametrize("case", ODD_CALLS)
@pytest.mark.parametrize("kind", KINDS)
def test_odd_calls_are_pytorchs_and_counted(kind, case):
    theirs, ours = pair(kind, I, H)
    x, hx = random(T, B, I, dtype=torch.float32), state_of(ours, B, dtype=torch.float32)
    fl.fallbacks.clear()
    expected = arrays(dict(enumerate(leaves(theirs(*ODD_CALLS[case](x, hx))))))
    assert_close(arrays(dict(enumerate(leaves(ours(*ODD_CALLS[case](x, hx)))))), expected, 0)
    assert fl.fallbacks == {"arguments that PyTorch alone takes": 1}
    fl.fallbacks.clear()
    if kind == "LSTM":
        with pytest.raises(NotImplementedError, match=r"peephole=True .* not for arguments that PyTorch alone takes"):
            fl.LSTM(I, H, peephole=True)(*ODD_CALLS[case](x, hx))
