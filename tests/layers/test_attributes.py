"""Attributes that there are not are refused, and a `dropout` that drops nothing warns, wherever a user can make one."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import fastlstm
from fastlstm import GRU, LSTM, RNN, Frozen, Stream, nn, saving

THINGS = {
    "LSTM": lambda: LSTM(2, 3),
    "GRU": lambda: GRU(2, 3),
    "RNN": lambda: RNN(2, 3),
    "Dense": lambda: nn.Dense(2, 3),
    "Embedding": lambda: nn.Embedding(2, 3),
    "Attention": lambda: nn.Attention(2, 2, 3),
    "Dropout": lambda: nn.Dropout(0.5),
    "Activation": lambda: nn.Activation("softmax"),
    "LayerNorm": lambda: nn.LayerNorm(3),
    "Identity": nn.Identity,
    "Residual": lambda: nn.Residual(LSTM(3, 3)),
    "Branches": lambda: nn.Branches(LSTM(2, 3), nn.Dense(2, 3)),
    "Last": nn.Last,
    "Mean": nn.Mean,
    "Sequential": lambda: nn.Sequential(LSTM(2, 3)),
    "Decoder": lambda: nn.Decoder(4, 2, 3, encoded_size=2, attention_size=2),
    "Seq2Seq": lambda: nn.Seq2Seq(None, nn.Decoder(4, 2, 3, encoded_size=2)),
    "SGD": lambda: nn.SGD(np.ones(2), 0.1),
    "Adam": lambda: nn.Adam(np.ones(2)),
    "AdamW": lambda: nn.AdamW(np.ones(2)),
    "CosineDecay": lambda: nn.CosineDecay(0.1, 2),
    "Stream": lambda: Stream(LSTM(2, 3)),
    "Stream of a projection": lambda: Stream(LSTM(2, 3, proj_size=2)),
    "Frozen": lambda: Frozen(LSTM(2, 3)),
}


@pytest.mark.parametrize("name", THINGS)
def test_unknown_attributes_are_refused(name):
    made = THINGS[name]()
    for thing in [made] if name == "Frozen" else [made, copy.deepcopy(made), pickle.loads(pickle.dumps(made))]:
        for attribute in ("foo", "droput", "batchfirst", "seed", "needs", "step", "forward"):
            with pytest.raises(AttributeError, match=attribute):
                setattr(thing, attribute, 3)
            assert getattr(thing, attribute, None) != 3


@pytest.mark.parametrize("name", ["LSTM", "Dense", "Sequential", "Decoder"])
def test_known_ones_cannot_be_set_either(name):
    layer = THINGS[name]()
    for attribute in ("flat", "params", *layer.arguments()):
        if attribute in vars(layer):
            with pytest.raises(AttributeError, match=f"^{attribute} cannot be set"):
                setattr(layer, attribute, "other")


class Mine(LSTM):
    def __init__(self, *sizes):
        super().__init__(*sizes, seed=0)
        self.unit = "Pa"


class MySGD(nn.SGD):
    def __init__(self, flat):
        super().__init__(flat, 0.1)
        self.seen = []


class MyStream(Stream):
    pass


def test_subclasses_may_have_their_own():
    layer = Mine(2, 3)
    layer.unit = layer.unit
    layer.place = "roof"
    for twin in (layer, copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert (twin.unit, twin.place) == ("Pa", "roof")
        with pytest.raises(AttributeError, match="hidden_size cannot be set"):
            twin.hidden_size = 4
    optimiser = MySGD(layer.flat)
    optimiser.name = "mine"
    assert copy.deepcopy(optimiser).name == "mine"
    stream = MyStream(layer)
    stream.place = "cellar"
    assert stream.place == "cellar"


def test_what_may_be_set_of_a_stream():
    stream = Stream(LSTM(2, 3, seed=0), 2)
    stream.num_threads = 1
    stream.state = tuple(part + 1 for part in stream.state)
    stream.step(np.ones((2, 2), np.float32))
    with pytest.raises(AttributeError, match="network"):
        stream.network = LSTM(2, 3)
    with pytest.raises(AttributeError, match="weights"):
        Frozen(LSTM(2, 3)).weights = "int8"


# ---- dropout of a single layer ----


@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
def test_dropout_of_one_layer_warns(kind):
    with pytest.warns(UserWarning, match=r"^dropout=0.5 drops nothing with num_layers=1") as caught:
        layer = kind(2, 3, dropout=0.5, seed=0)
    assert [one.filename for one in caught] == [__file__]
    y, _, _ = layer.forward(np.ones((4, 2, 2), np.float32))
    assert np.array_equal(y, layer(np.ones((4, 2, 2), np.float32))[0])


def test_what_is_made_again_does_not_warn(tmp_path):
    with pytest.warns(UserWarning, match="drops nothing"):
        layer = LSTM(2, 3, dropout=0.5)
    copies = [copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), layer.to("cpu")]
    fastlstm.save(layer, tmp_path / "a")
    fastlstm.save(nn.Sequential(layer), tmp_path / "b")
    copies += [fastlstm.load(tmp_path / "a"), fastlstm.load(tmp_path / "b").layers[0]]
    Frozen(layer), Stream(layer)
    assert [one.dropout for one in copies] == [0.5] * len(copies)
    with pytest.warns(UserWarning, match="drops nothing"):
        saving.build(saving.architecture(layer))  # a new one, which a user asks for


def test_dropout_that_drops_something_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LSTM(2, 3, 2, dropout=0.5), LSTM(2, 3, dropout=0), RNN(2, 3, dropout=0.0)
        decoder = nn.Decoder(4, 2, 3, encoded_size=2, dropout=0.5, seed=0)  # at its input and its output
    assert (decoder.dropout, decoder.lstm.dropout) == (0.5, 0)
    assert nn.Decoder(4, 2, 3, 2, encoded_size=2, dropout=0.5).lstm.dropout == 0.5
