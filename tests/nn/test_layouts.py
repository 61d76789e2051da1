"""Time first or sequences first: a network says which; calls, arrays to predict and data sets follow it."""

import base64
import pickle
import zlib

import numpy as np
import pytest
from layer_cases import CELLS

import fastlstm
from fastlstm import LSTM, RNN, nn
from fastlstm.nn import Batch, Batches, Chunks, Dense, Dropout, Embedding, Last, Mean, Sequential, fit, mse

T, B, I = 5, 4, 3
LENGTHS = [5, 2, 0, 4]
F = np.float64


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def swapped(array):
    """Sequences in the other layout."""
    return array.swapaxes(0, 1) if array is not None and array.ndim == (3 if array.dtype.kind == "f" else 2) else array


NETWORKS = {
    "stack": lambda: (LSTM(I, 4, num_layers=2, dropout=0.3, dtype=F, seed=0), RNN(4, 2, dtype=F, seed=1)),
    "two directions": lambda: (LSTM(I, 4, bidirectional=True, dtype=F, seed=0), Dense(8, 2, dtype=F, seed=1)),
    "last": lambda: (LSTM(I, 4, bidirectional=True, dtype=F, seed=0), Last(), Dense(8, 2, dtype=F, seed=1)),
    "mean": lambda: (Dense(I, 4, dtype=F, seed=0), Mean(), Dropout(0.4)),
    "embedding": lambda: (Embedding(9, 4, dtype=F, seed=0), Dropout(0.4), LSTM(4, 2, dtype=F, seed=1)),
    "words to one vector": lambda: (Embedding(9, 4, dtype=F, seed=0), Mean()),
    "dense": lambda: (Dense(I, 4, activation="tanh", dtype=F, seed=0), Dense(4, 2, dtype=F, seed=1)),
    "networks within": lambda: (
        Sequential(LSTM(I, 4, bidirectional=True, recurrent_dropout=0.2, dtype=F, seed=0), Sequential(Dropout(0.2))),
        Sequential(Last(), Dense(8, 2, dtype=F, seed=1)),
    ),
}


def twins(name):
    """The same network in both layouts, and what it takes, time first."""
    ids = "embedding" in name or "words" in name
    x = np.random.default_rng(1).integers(0, 9, (T, B)) if ids else random(T, B, I, seed=1)
    return Sequential(*NETWORKS[name]()), Sequential(*NETWORKS[name](), batch_first=True), x


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("name", NETWORKS)
def test_calls_follow_the_network(name, lengths):
    time_first, batch_first, x = twins(name)
    y, state = time_first(x, lengths=lengths)
    found, found_state = batch_first(swapped(x), lengths=lengths)
    np.testing.assert_array_equal(swapped(found), y)
    assert found.flags.c_contiguous
    assert_same(found_state, state)
    y, state, tape = time_first.forward(x, lengths=lengths, rng=np.random.default_rng(2))
    found, found_state, found_tape = batch_first.forward(swapped(x), lengths=lengths, rng=np.random.default_rng(2))
    np.testing.assert_array_equal(swapped(found), y)
    assert_same(found_state, state)
    dy = random(*y.shape, seed=3)
    grads, found_grads = time_first.backward(tape, dy), batch_first.backward(found_tape, swapped(dy))
    np.testing.assert_array_equal(found_grads.flat, grads.flat)
    if grads.x is None:
        assert found_grads.x is None
    else:
        np.testing.assert_array_equal(swapped(found_grads.x), grads.x)
        assert found_grads.x.flags.c_contiguous
    assert_same(found_grads.state, grads.state)


def fresh(net):
    return pickle.loads(pickle.dumps(net))


def assert_same(found, expected):
    """States, within each other as they are."""
    if isinstance(expected, tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_predicted_of_an_array_is_what_a_call_gives(name):
    for net, x in zip(twins(name)[:2], (twins(name)[2], swapped(twins(name)[2])), strict=True):
        expected = net(x)[0]
        for batch_size in (1, 3, 256):
            found = net.predict(x, batch_size=batch_size)
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
            np.testing.assert_allclose(found, expected, rtol=1e-12)
        axis = 0 if net.batch_first else 1
        listed = net.predict(list(np.moveaxis(x, axis, 0)))  # sequences first, always
        np.testing.assert_array_equal(np.stack(listed, axis=axis if expected.ndim == 3 else 0), net.predict(x))
        nothing = x[:0] if net.batch_first else x[:, :0]
        found = net.predict(nothing)
        assert found.shape == net(nothing)[0].shape


def test_sequences_of_different_lengths_are_predicted_in_both_layouts():
    time_first, batch_first, _ = twins("stack")
    sequences = [random(n, I, seed=n) for n in (4, 0, 7, 2)]
    for one, other in zip(time_first.predict(sequences, 2), batch_first.predict(sequences, 2), strict=True):
        np.testing.assert_array_equal(one, other)


# ---- data sets ----


def assert_same_training(one, other):
    """Losses are sums in another order."""
    for array, expected in zip(one, other, strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-12)


def sequences(equal=False):
    return [random(n, I, seed=k) for k, n in enumerate([6] * 10 if equal else [3, 6, 0, 4, 4, 8, 1, 2, 5, 7])]


DATA = {
    "a target each": lambda: Batches(sequences(), random(10, 2), 3),
    "targets at every step": lambda: Batches(sequences(), [random(len(one), 2) for one in sequences()], 3),
    "an array": lambda: Batches(np.stack(sequences(True)), random(10, 6, 2), 4, per_step=True),
    "chunks": lambda: Chunks(random(50, I), random(50, 2), 3, 5),
}


@pytest.mark.parametrize(
    ("data", "layers"),
    [
        (
            "a target each",
            lambda: (LSTM(I, 4, bidirectional=True, dtype=F, seed=0), Last(), Dense(8, 2, dtype=F, seed=1)),
        ),
        ("a target each", lambda: (RNN(I, 2, dtype=F, seed=0), Dropout(0.3), Mean())),
        (
            "targets at every step",
            lambda: (LSTM(I, 4, dropout=0.3, num_layers=2, dtype=F, seed=0), Dense(4, 2, dtype=F, seed=1)),
        ),
        ("targets at every step", lambda: (Dense(I, 2, dtype=F, seed=0),)),
        ("an array", lambda: (LSTM(I, 4, dtype=F, seed=0), Sequential(Dense(4, 2, dtype=F, seed=1)))),
        ("chunks", lambda: (LSTM(I, 4, dtype=F, seed=0), Dropout(0.2), Dense(4, 2, dtype=F, seed=1))),
    ],
)
def test_training_is_the_same_in_both_layouts(data, layers):
    trained = []
    for options in ({}, {"batch_first": True}):
        model, source = Sequential(*layers(), **options), DATA[data]()
        history = fit(model, mse, source, source, epochs=3, average=0.9, progress=False)
        trained.append((model.flat, [epoch[:2] for epoch in history.epochs]))
    assert_same_training(*trained)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("data", ["targets at every step", "an array", "chunks"])
def test_a_layer_alone_trains_along_the_time(cell, data):
    trained = []
    for batch_first in (False, True):
        layer, source = cell(I, 2, batch_first=batch_first, dtype=F, seed=0), DATA[data]()
        history = fit(layer, mse, source, source, epochs=3, progress=False)
        trained.append((layer.flat, [epoch[:2] for epoch in history.epochs]))
    assert_same_training(*trained)


@pytest.mark.parametrize("data", ["targets at every step", "an array", "chunks"])
def test_frozen_layers_are_measured_along_the_time(data):
    measured = []
    for batch_first in (False, True):
        layer = LSTM(I, 2, batch_first=batch_first, dtype=F, seed=0)
        measured += [nn.evaluate(model, mse, DATA[data]()) for model in (layer, fastlstm.Frozen(layer))]
    np.testing.assert_allclose(measured, measured[0], rtol=1e-12)


@pytest.mark.parametrize("data", DATA)
def test_batches_in_both_layouts(data):
    source = DATA[data]()
    for one, other in zip(source.epoch(), source.epoch(batch_first=True), strict=True):
        assert one.size == other.size
        assert (one.inputs.keys(), one.targets.keys()) == (other.inputs.keys(), other.targets.keys())
        np.testing.assert_array_equal(other.inputs["x"].swapaxes(0, 1), one.inputs["x"])
        target = other.targets["target"]
        np.testing.assert_array_equal(target if target.ndim == 2 else target.swapaxes(0, 1), one.targets["target"])
        if "mask" in one.targets:
            np.testing.assert_array_equal(other.targets["mask"].T, one.targets["mask"])
        for array in (*other.inputs.values(), *other.targets.values()):
            assert array.flags.c_contiguous


def test_labels_whose_place_is_not_known_in_both_layouts():
    x = [random(n, I, seed=n) for n in (6, 9, 7, 8, 5)]
    labels = [np.arange(1, 1 + n % 3) for n in (6, 9, 7, 8, 5)]
    for some in (x, [one[:5] for one in x]):
        trained = []
        for options in ({}, {"batch_first": True}):
            model = Sequential(LSTM(I, 4, dtype=F, seed=0), Dense(4, 3, dtype=F, seed=1), **options)
            source = nn.Transcripts(some, labels, 2)
            fit(model, nn.ctc_loss, source, source, epochs=2, progress=False)
            trained.append(model.flat.tobytes())
        assert trained[0] == trained[1]


def test_ctc_in_both_layouts():
    logits, lengths, labels = random(7, 3, 4), [7, 4, 6], [[1, 2], [3, 0], [2, 2]]
    turned = swapped(logits)
    loss, gradient = nn.ctc_loss(logits, lengths, labels, [2, 1, 2])
    found, turned_gradient = nn.ctc_loss(turned, lengths, labels, [2, 1, 2], batch_first=True)
    assert found == loss
    np.testing.assert_array_equal(turned_gradient.swapaxes(0, 1), gradient)
    for search in (nn.ctc_best_path, nn.ctc_beam_search):
        assert repr(search(turned, lengths, batch_first=True)) == repr(search(logits, lengths))
    with pytest.raises(TypeError, match="batch_first must be a bool"):
        nn.ctc_best_path(logits, batch_first="yes")
    with pytest.raises(ValueError, match=r"logits must have shape \(B, T, K\)"):
        nn.ctc_best_path(logits[0], batch_first=True)


def test_padding_in_both_layouts():
    padded, lengths = nn.pad(sequences())
    turned, same = nn.pad(sequences(), batch_first=True)
    np.testing.assert_array_equal(turned.swapaxes(0, 1), padded)
    np.testing.assert_array_equal(same, lengths)


# ---- what does not agree ----


class Own:
    """A source from before there were layouts."""

    def __len__(self):
        return 3

    def epoch(self, rng=None):
        for k in range(3):
            yield Batch({"x": random(T, B, I, seed=k)}, {"target": random(T, B, 2, seed=k + 3)}, T * B)


class OwnOfBoth(Own):
    def epoch(self, rng=None, *, batch_first=False):
        for batch in super().epoch(rng):
            turned = [{name: swapped(array) for name, array in part.items()} for part in (batch.inputs, batch.targets)]
            yield batch._replace(inputs=turned[0], targets=turned[1]) if batch_first else batch


def test_sources_of_ones_own():
    trained = []
    for model, source in (
        (LSTM(I, 2, dtype=F, seed=0), Own()),
        (LSTM(I, 2, dtype=F, seed=0), OwnOfBoth()),
        (LSTM(I, 2, batch_first=True, dtype=F, seed=0), OwnOfBoth()),
        (Sequential(LSTM(I, 2, dtype=F, seed=0), batch_first=True), OwnOfBoth()),
    ):
        fit(model, mse, source, source, epochs=2, progress=False)
        trained.append((model.flat, nn.evaluate(model, mse, source)))
    for other in trained[1:]:
        assert_same_training(trained[0], other)


@pytest.mark.parametrize(
    "model",
    [lambda: LSTM(I, 2, batch_first=True, dtype=F), lambda: Sequential(RNN(I, 2, dtype=F), batch_first=True)],
)
def test_a_source_that_does_not_agree_is_refused(model):
    message = (
        r"{} gives batches that are \(T, B, ...\), but model has batch_first=True: Own.epoch must take batch_first"
    )
    for name, call in (
        ("train", lambda: fit(model(), mse, Own(), progress=False)),
        ("validation", lambda: fit(model(), mse, OwnOfBoth(), Own(), progress=False)),
        ("batches", lambda: nn.evaluate(model(), mse, Own())),
    ):
        with pytest.raises(ValueError, match=message.format(name)):
            call()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: Sequential(Dense(3, 3), LSTM(3, 4, batch_first=True), batch_first=True),
            ValueError,
            r"layers\[1\] must not have batch_first: give it to the network, batch_first=True",
        ),
        (
            lambda: Sequential(Sequential(LSTM(3, 4), batch_first=True)),
            ValueError,
            r"layers\[0\] must not have batch_first",
        ),
        (
            lambda: nn.Seq2Seq(Sequential(LSTM(3, 4), batch_first=True), nn.Decoder(5, 2, 4, encoded_size=4)),
            ValueError,
            "encoder must not have batch_first: the sequences of a Seq2Seq are",
        ),
        (
            lambda: nn.Seq2Seq(LSTM(3, 4, batch_first=True), nn.Decoder(5, 2, 4, encoded_size=4)),
            ValueError,
            "encoder must not have batch_first",
        ),
        (lambda: Sequential(LSTM(3, 4), batch_first="no"), TypeError, "batch_first must be a bool"),
        (
            lambda: Sequential(LSTM(3, 4), batch_first=True)(np.ones((2, 7, 5), np.float32)),
            ValueError,
            r"x must have shape \(B, T, 3\), not \(2, 7, 5\)",
        ),
        (
            lambda: Sequential(Dropout(0.1), RNN(3, 4), batch_first=True)(np.ones((7, 3), np.float32)),
            ValueError,
            r"x must have shape \(B, T, 3\), not \(7, 3\)",
        ),
        (
            lambda: Sequential(LSTM(3, 4), batch_first=True)(np.ma.ones((2, 7, 3), np.float32)),
            TypeError,
            "x is a masked array",
        ),
        (lambda: setattr(Sequential(LSTM(3, 4)), "batch_first", True), AttributeError, "batch_first cannot be set"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_gradients_in_the_wrong_layout():
    _, net, x = twins("stack")
    y, _, tape = net.forward(swapped(x), rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"dy must have the shape of y, \(4, 5, 2\), not \(5, 4, 2\)"):
        net.backward(tape, swapped(y))
    assert net.backward(tape, None).x.shape == (B, T, I)


def test_packed_sequences_have_no_layout():
    rows, sizes = random(7, I), np.array([3, 3, 1])
    packed = fastlstm.PackedSequence(rows, sizes)
    found = []
    for options in ({}, {"batch_first": True}):
        net = Sequential(LSTM(I, 2, dtype=F, seed=0), **options)
        y, _, tape = net.forward(packed)
        grads = net.backward(tape, y)
        found.append((y.data.tobytes(), grads.flat.tobytes(), grads.x.data.tobytes()))
    assert found[0] == found[1]


# ---- in files, and from before ----


def test_a_network_is_saved_with_its_layout(tmp_path):
    net = Sequential(LSTM(I, 4, seed=0), Last(), batch_first=True)
    assert repr(net).endswith(", Last(), batch_first=True)")
    fastlstm.save(net, tmp_path / "net")
    for again in (fastlstm.load(tmp_path / "net"), fresh(net)):
        assert again.batch_first
        assert repr(again) == repr(net)


# Written by 0.1.0: a network, pickled and saved, and the checkpoint of an epoch.
PICKLED = (
    "c-pN~zi$&U6uzVhNt2YSs?@Q7RHPu((1C%W<c1<45y(I~v7DSc2OAvU;q$dhrB-DK<s?fCc?`__0p-WQ1Q82=1^+>3W_XuNlT;`J5*}>7=jZQz@A"
    ">m_?(L5SYc$MShlE;$x?7X77Sb0Hm6{U)rqr4m1Gw=L4xwr;3DTn~1eQ%5EN_-30LcU<_pr75XnLctM-(SgL$Z@x2m+=|T+R20=DrM}X>zXM0j`T"
    "K6~Y-C#emX)`GP`hN?Zn!c0ztYp^-6V#yyY9iCvOW*BKK-bE(ZeuBe;9Blp;p+eEv}>2MWlGz*^c13%Jm-x?3Ig5i-;SgrH-VI^@nt}i8G&iD%lz"
    "N8mIC!1Gb76au!8&kAQ-qXE+g2^M*pa<vn08F-X8{*d|@EEF%1(Vr^X0!R=H;&QNur##Ia#{eF=e>+gt|JKcbZvxJLw1VRx{<)wQi@=Lii0I#d$o"
    "#?^Z?iuQ;=SII6y{y*vYgZO`B;{`oK2govl;b)QexwzV-9Zhacnp;V<v1{du=#|8$?!uV>Ec>mNSdwX9?N&6jKT^1GuUAiJoIm)F?_tFoJHGeKsz"
    "{tvEMoz-UG`-01-iNMf15!k%cR+`!xL#@n0p?JdNG474l3DRn!Equ^ft(B%y1ykf+@*#9@Zo%0!Yw_^(`}XGhj-6&dnHzsOjlc7+4Z4V5`vYPYb-"
    "n"
)
SAVED = (
    "c-oay&59F25MDvSn{Oa%gSRove<ndQ7xAPQvnZGeLua~&wCVJWJv~{oA>ze@Ab9rd1FSy>Pa1p=-(b()t?p#A$!=WOhJmiH>Z_`+s>i;*XU+_z>6"
    "j`^u)=AI+B1~nO7TjKQ5($?G@-I$g-B4_u@W?5g1|LFf~vzpjuHf5RtQCf0vzJ8%!W+SOx2Pu5j8ET;dJS%8sZq{hQ{#}a)YOL<)FvigD1w#L|Ln"
    "}Vn=k<;E)kQ#U>)^ak|c;fs)d4Sa9vnF|Q~<6D%1v3iMqt&ap{9V1!A~0t3+ftm6k*Wy3UQvQir;kwsb58nGKT*ubo%1TpD(kG4}7n}FPF@Td@U8"
    "PwANe0|-mEMA_<(NP$>nPA<K)+1`p^#(XAH!R9|x($)_=yG0Q<+)3FMg|jS@{N>ve{O9}8*7={*h4BRx_bqn;T&?-v*9wL7p$g+zN0f;KSA`hl6a"
    "*++tm=eL1-c~962Ewgsz|ap+}n}3iCnM@}kgg1s-WqkNPBYab&l!i%H9GlCT-tc}^nR349+)fE)x9Zahu7tslK<177?i&qbE5rLCTCIeiP6U!%zL"
    "imFO4$8y5{ivIlSbSJbt_mn@loPUw+xt1Skw%d62f1<Oiupe20yQF59P%jb#*9t)Kd|#ixWIz6X(2f6OFFJRxopg@l51pGoPkz0-F<N|mf4I2)<="
    "cb3y|?klA9vzgpWZCy$G`92`<%!B06lwi!T"
)
CHECKPOINT = (
    "c-oax&ubGw6c(f&M7;PD1c}?Ct!~qq-P!pOO=GFF7Asa-1!-bBo1G+UHoGx9ZPAi?DjqzDH=%0P`UeP}6m1TI9+VzDSn=Y;lZuxjf?k~6RQz%4u<"
    "U+s_I=-c@6DUoxFKFMT0UPDk~>`Td|pe<Xhj}MFO*d+rOjluDNzsIz|U$asAsi`>pKc&wL)1GDz(7%WmZ%Bg}|30!YM`Zg`5uRl{jxyT%1%tT<&%"
    "L1&2q+PIf{)p`Mx$wQ}Hz^Z@rlp(h-9sV34zFW}NNy1Mklu(H#szQ=?giZ#-INwI~XCf%wVih6u*pTn!2p5S%g^-K9Wmm&?404T1liiIj*EoelLs"
    "X)|1*9-hK6y1QfB)KY{mxL1ZCp}MX$h9_vQf05<x?gIQZM!mG6279ypk-pDe-NWsDU`}VEA2O=08)$)GZ`Z$#gI`#2}6Jy)TEFhhD?Tm;<|nzN+;"
    "07CNV5XENU>yEXzWKLQ7Fhq9_OvLK-T+%)|Vox){?~a~K7p6gS2orbP^fp%rC{T2LrQb&QXLq|&6&045}WQAB{H$3@4lR_mfSU=}niO95p+a+J$O"
    "N@1BB7LJQX2xH+CiY7M;jPoKQHbIowCcutu*$%{}upL&g84)%>%%P4AR0EJ<3yuZLY7MQSYt_IJUNnyJU8`9fFbz$Q4vM02h;q6X&umaEhC+sF59"
    "k(FZvIR{vbsJ23+oUX|4K})PeSo^h-t3TNVL|%(`&uEkA7L&I#_9@UQIWH_CzMRZ8Y;FcdmEG?5Ezhix1P&OII?RruJoSzMpNLoqc@d0WW4Ucl*f"
    "8l?n1}`xe%AeuzG5&g1L7SMdRRnRG1Ak;@DBXeCYQ{hjaFn<<Trh#!YnS6-y=oW9U4f8Oq%KmHAD_8UE?Ztc>~EPgyRv}Z1P;`N8_gZ=Gbb^lmT?"
    "(+>}{CfxVzdpxpd#6*s05%^<;{"
)


def test_networks_of_before_are_time_first(tmp_path):
    pickled, saved, checkpoint = (zlib.decompress(base64.b85decode(text)) for text in (PICKLED, SAVED, CHECKPOINT))
    (tmp_path / "saved").write_bytes(saved)
    (tmp_path / "checkpoint").write_bytes(checkpoint)
    x = np.arange(6, dtype=np.float32).reshape(2, 3, 1) / 6
    for net in (pickle.loads(pickled), fastlstm.load(tmp_path / "saved")):
        assert not net.batch_first
        np.testing.assert_allclose(net(x.swapaxes(0, 1))[0], [[0.9034066], [0.90084255]], rtol=1e-6)
        assert "batch_first" not in repr(net)
        assert repr(fresh(net)) == repr(net)
        history = fit(
            net,
            mse,
            Batches(x, x.mean(axis=1), 2),
            epochs=2,
            progress=False,
            checkpoint=tmp_path / "checkpoint",
            resume=True,
        )
        assert len(history.epochs) == 2
        (tmp_path / "checkpoint").write_bytes(checkpoint)
