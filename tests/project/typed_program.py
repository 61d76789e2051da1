"""A program as a user writes it, for `mypy --strict` against the installed package; it runs, too.

Each "type: ignore" is a mistake that the types must show: mypy complains of those that ignore nothing.
"""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import fastlstm
from fastlstm import GRU, LSTM, Gradients, Stream, Tape, nn

x = np.random.default_rng(0).normal(size=(20, 4, 3)).astype(np.float32)
lstm = LSTM(3, 8, peephole=True, seed=0)

y, state = lstm(x)
assert_type(y, NDArray[Any])
assert_type(state, tuple[NDArray[Any], ...])
z, (h, c), tape = lstm.forward(x, lengths=[20, 7, 0, 12])
assert_type(tape, Tape)
grads = lstm.backward(tape, dy=np.ones_like(z))
assert_type(grads, Gradients)
assert_type(grads.flat, NDArray[Any])

gru = GRU(3, 8, reset_after=True, seed=0)
y, last = gru(x)
assert_type(last, NDArray[Any])
W, R, b, bn = (gru.params[name] for name in ("W_l0", "R_l0", "b_l0", "bn_l0"))
y, last, gru_tape = fastlstm.gru_forward(x, W, R, b, bn, tape=True)
assert gru_tape is not None
assert_type(fastlstm.gru_backward(gru_tape, W, R, bn, np.ones_like(y)), fastlstm.GRUGradients)

optimiser = nn.Adam(lstm.flat, nn.CosineDecay(0.01, steps=100))
optimiser.step(grads.flat)

model = nn.Sequential(LSTM(3, 8, num_layers=2, dropout=0.1, seed=0), nn.Last(), nn.Dense(8, 1, seed=1))
data = nn.Batches(x.swapaxes(0, 1), np.zeros((4, 1), np.float32), batch_size=2)
history = nn.fit(model, nn.mse, data, epochs=1, progress=False)
assert_type(history, nn.History)
assert_type(history.epochs[0].loss, float)


class Shift(nn.Layer):
    """A vector added to each step."""

    def __init__(self, input_size: int) -> None:
        self.input_size = input_size
        super().__init__()

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of the vector."""
        return {"b": (self.input_size,)}

    def compute(self, x: NDArray[Any]) -> tuple[NDArray[Any], None]:
        """Return x + b."""
        return x + self.params["b"], None

    def gradients(self, kept: None, dy: NDArray[Any]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        """Return dJ/dx and dJ/db."""
        return dy, {"b": dy.reshape(-1, self.input_size).sum(axis=0)}


nn.Sequential(Shift(3), LSTM(3, 8, seed=0))
assert_type(Stream(lstm, B=4).step(x[0]), NDArray[Any])
assert_type(fastlstm.get_num_threads(), int)
assert_type(fastlstm.rounding_error(lstm, x, "int8").largest, float)


def mistakes() -> None:
    """Not to be run."""
    LSTM("3", 8)  # type: ignore[arg-type]
    LSTM(3, 8, hidden=5)  # type: ignore[call-arg]
    GRU(3, 8, reset_after="yes")  # type: ignore[arg-type]
    lstm.backward(y, y)  # type: ignore[arg-type]
    fastlstm.rounding_error(lstm, x, "int4")  # type: ignore[arg-type]
    nn.Dense(8, 1, activation="selu")  # type: ignore[arg-type]
