"""fastlstm.nn, all of it together, beside PyTorch."""

import numpy as np
import pytest

from fastlstm import LSTM
from fastlstm.nn import Adam, Dense, mse


def test_training_is_pytorchs():
    torch = pytest.importorskip("torch")
    T, B, I, H, O = 7, 4, 3, 5, 2
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(T, B, I)), rng.normal(size=(B, O))
    lstm = LSTM(I, H, peephole=False, dtype=np.float64, seed=rng)
    dense = Dense(H, O, dtype=np.float64, seed=rng)

    their_lstm, their_dense = torch.nn.LSTM(I, H).double(), torch.nn.Linear(H, O).double()
    pairs = {
        their_lstm.weight_ih_l0: lstm.params["W_l0"],
        their_lstm.weight_hh_l0: lstm.params["R_l0"],
        their_lstm.bias_ih_l0: lstm.params["b_l0"],
        their_dense.weight: dense.params["V"],
        their_dense.bias: dense.params["c"],
    }
    with torch.no_grad():
        their_lstm.bias_hh_l0.zero_()
        for theirs, ours in pairs.items():
            theirs.copy_(torch.from_numpy(ours))
    their_adam = torch.optim.Adam(pairs, 0.01)  # their second bias is left out: ours is one
    adams = [Adam(lstm.flat, 0.01), Adam(dense.flat, 0.01)]

    losses = []
    for _ in range(10):
        _, (h, _), lstm_tape = lstm.forward(x)
        y, dense_tape = dense.forward(h[0])
        loss, dy = mse(y, target)
        dense_grads = dense.backward(dense_tape, dy)
        lstm_grads = lstm.backward(lstm_tape, None, (dense_grads.x[np.newaxis], None))
        for adam, grads in zip(adams, (lstm_grads, dense_grads), strict=True):
            adam.step(grads.flat)
        losses.append(loss)

        their_adam.zero_grad()
        _, (their_h, _) = their_lstm(torch.from_numpy(x))
        their_loss = torch.nn.functional.mse_loss(their_dense(their_h[0]), torch.from_numpy(target))
        their_loss.backward()
        their_adam.step()
        assert loss == pytest.approx(their_loss.item(), rel=1e-12)
    assert np.all(np.diff(losses) < 0)
    for theirs, ours in pairs.items():
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=0, atol=1e-9)
