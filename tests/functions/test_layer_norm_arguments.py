"""The arguments of layer normalisation: what is refused, and what the message says."""

import numpy as np
import pytest
from cases import B, H, I, T, layer_norm_case, options_case
from helpers import lstm_backward, lstm_forward, norm_of

import fastlstm
from fastlstm import LSTM, LSTMTape


def test_norm_is_there_where_the_forward_pass_had_it():
    case = layer_norm_case("vanilla", T, B, I, H)
    *_, tape = lstm_forward(case, tape=True)
    *_, plain = lstm_forward(case, tape=True, norm=None)
    with pytest.raises(ValueError, match=r"^norm must be given: a \(10, H\) array"):
        lstm_backward(case, tape, norm=None)
    with pytest.raises(ValueError, match=r"^norm must be None"):
        lstm_backward(case, plain)


@pytest.mark.parametrize("variant", ["vanilla", "CIFG"])
def test_norm_must_be_an_array_of_its_rows(variant):
    case = layer_norm_case(variant, T, B, I, H)
    rows = len(norm_of(case))
    *_, tape = lstm_forward(case, tape=True, variant=variant)
    for call in (
        lambda norm: lstm_forward(case, variant=variant, norm=norm), lambda norm: lstm_backward(case, tape, norm=norm),
    ):  # fmt: skip
        for norm in (np.ones((rows - 1, H)), np.ones((rows, H + 1)), np.ones(rows * H), np.ones((rows + 1, H))):
            with pytest.raises(ValueError, match=rf"^norm must .*\({rows}, H\) = \({rows}, {H}\)"):
                call(norm)
        with pytest.raises(TypeError, match=r"^norm must have dtype float64, not float32"):
            call(np.ones((rows, H), np.float32))
        with pytest.raises(TypeError, match=r"^norm must be a NumPy array, not bool"):
            call(True)


def test_full_gate_recurrence_is_refused():
    case, _ = options_case("FGR", set())
    message = r"^variant must not be FGR with layer normalisation"
    *_, tape = lstm_forward(case, tape=True, variant="FGR")
    with pytest.raises(ValueError, match=r"^norm must be None with variant FGR"):
        lstm_backward(case, tape, norm=np.ones((10, H)))
    for call in (
        lambda: lstm_forward(case, variant="FGR", norm=np.ones((10, H))),
        lambda: fastlstm.lstm_workspace(T, B, I, H, variant="FGR", layer_norm=True),
        lambda: LSTM(I, H, variant="fgr", layer_norm=True),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("value", [None, 1, "yes", np.array([True])])
def test_layer_norm_must_be_a_bool(value):
    for call in (
        lambda: fastlstm.lstm_workspace(T, B, I, H, layer_norm=value), lambda: LSTM(I, H, layer_norm=value),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=r"^layer_norm must be a bool, not "):
            call()


def test_a_tape_without_a_call_is_of_a_plain_lstm():
    """Nothing else says which numbers a tape of one's own has, so that norm is refused."""
    case = layer_norm_case("vanilla", T, B, I, H)
    *_, tape = lstm_forward(case, tape=True)
    with pytest.raises(ValueError, match=r"^norm must be None"):
        lstm_backward(case, LSTMTape(tape.x, tape.gates, tape.c, tape.y_prev))
