"""See the flows of a simple RNN and an LSTM: gates, deltas, vanishing gradients, Jacobians, clipping, one LSTM block.

Both networks are to remember the first value of a sequence through noise, for 100 steps. The LSTM learns it; the simple
RNN does not, since hardly any gradient gets back to the first step. Everything in the pictures is computed:

    pip install '.[plot]' && python examples/flows.py

takes a quarter of a minute and needs no data.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlstm import LSTM, RNN, set_num_threads
from fastlstm.inspect import (
    cell_jacobians,
    deltas,
    descend,
    draw_block,
    flows,
    gradient_norms,
    hidden_jacobians,
    loss_surface,
    plot_clipping,
    plot_deltas,
    plot_descents,
    plot_flows,
    plot_gradient_norms,
    plot_jacobian_norms,
)
from fastlstm.nn import Adam, Dense, clip_norm, mse

Array = NDArray[np.float32]

T, B, H = 100, 32, 16
NOISE, THRESHOLD = 0.3, 1.0


def sequences(rng: np.random.Generator) -> tuple[Array, Array]:
    """Make a batch: noise after a value from -1 to 1, which is the target, (B, 1)."""
    x = NOISE * rng.standard_normal((T, B, 1), dtype=np.float32)
    x[0] = rng.uniform(-1, 1, (B, 1))
    return x, x[0].copy()


class Trained(NamedTuple):
    """A network after training, and what happened at each step."""

    network: LSTM | RNN
    dense: Dense
    norms: NDArray[np.float64]
    losses: NDArray[np.float64]

    @property
    def loss(self) -> float:
        """The last steps' mean."""
        return float(self.losses[-50:].mean())

    def dy(self, x: Array) -> Array:
        """Give dJ/dy for J the prediction itself, which looks at the last step alone."""
        dy = np.zeros((T, x.shape[1], H), np.float32)
        dy[-1] = self.dense.params["V"]
        return dy


def train(network: LSTM | RNN, steps: int, seed: int) -> Trained:
    """Train a network with clipping."""
    rng, dense = np.random.default_rng(seed), Dense(H, 1, seed=seed)
    optimisers = Adam(network.flat, 5e-3), Adam(dense.flat, 5e-3)
    norms, losses = np.zeros(steps), np.zeros(steps)
    for step in range(steps):
        x, target = sequences(rng)
        y, _, tape = network.forward(x)
        prediction, dense_tape = dense.forward(y[-1])
        losses[step], dprediction = mse(prediction, target)
        above, dy = dense.backward(dense_tape, dprediction), np.zeros_like(y)
        dy[-1] = above.x
        gradients = network.backward(tape, dy).flat, above.flat
        norms[step] = clip_norm(gradients, THRESHOLD)
        for optimiser, gradient in zip(optimisers, gradients, strict=True):
            optimiser.step(gradient)
    return Trained(network, dense, norms, losses)


class Cliff:
    """The loss of a simple RNN with one unit: h^t = sigma(R h^{t-1} + b) is to be 0.7 after 50 steps.

    It is that of figure 6 in Pascanu, Mikolov, Bengio: "On the difficulty of training recurrent neural networks", 2013.
    """

    def __init__(self) -> None:
        self.rnn = RNN(1, 1, nonlinearity="logistic", dtype=np.float64)
        self.rnn.flat[:] = 0
        self.x, self.h0 = np.zeros((50, 1, 1)), np.full((1, 1, 1), 0.5)

    def __call__(self, weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Give the loss, and its gradient, at weights (R, b)."""
        params = self.rnn.params
        params["R_l0"][:], params["b_l0"][:] = weights
        _, h, tape = self.rnn.forward(self.x, self.h0)
        grads = self.rnn.backward(tape, None, 2 * (h - 0.7))
        return float((h.item() - 0.7) ** 2), np.concatenate([grads.params["R_l0"].ravel(), grads.params["b_l0"]])


def pictures(steps: int, seed: int) -> tuple[Mapping[str, object], str]:
    """Train, look, and give all pictures by name and a report."""
    # A gate of sigma(3) = 0.95 lets enough through to begin with; with the usual 0.73 nothing of it is left, either.
    lstm = train(LSTM(1, H, forget_bias=3, seed=seed), steps, seed)
    rnn = train(RNN(1, H, seed=seed), steps, seed)
    x, _ = sequences(np.random.default_rng(seed + 1))
    both = {f"{name}, loss {one.loss:.2g}": one for name, one in (("simple RNN", rnn), ("LSTM", lstm))}
    norms = {name: gradient_norms(one.network, x, one.dy(x)) for name, one in both.items()}
    jacobians = {"simple RNN": hidden_jacobians(rnn.network, x), "LSTM": cell_jacobians(lstm.network, x)}
    unit = int(np.abs(flows(lstm.network, x).c[-1, 0]).argmax())

    cliff, start = Cliff(), np.array([5.5, -2.5])
    R, b = np.linspace(3.8, 5.8, 161), np.linspace(-3, -1.4, 161)
    descents = {
        "without clipping": descend(cliff, start, learning_rate=1, steps=60),
        "clipped at norm 0.1": descend(cliff, start, learning_rate=1, steps=60, threshold=0.1),
    }
    drawn = {
        "gates": plot_flows(flows(lstm.network, x)),
        "hidden": plot_flows(flows(rnn.network, x)),
        "deltas": plot_deltas(deltas(lstm.network, x, lstm.dy(x))),
        "vanishing": plot_gradient_norms(norms),
        "jacobians": plot_jacobian_norms(jacobians),
        "clipping": plot_clipping(lstm.norms, THRESHOLD, lstm.losses),
        "cliff": plot_descents(R, b, loss_surface(cliff, R, b), descents, ("recurrent weight R", "bias b")),
        "block": draw_block(lstm.network, x, t=1, unit=unit),
    }
    lines = [
        f"{name:25} |dJ/dy| at the first step is {np.median(found.y[0] / found.y[-1]):.1e} of that at the last"
        for name, found in norms.items()
    ]
    # The bound in the picture has ||R|| for each step; what the norms follow is nearer to the largest |eigenvalue|.
    R, found = rnn.network.params["R_l0"], jacobians["simple RNN"].norms
    norm, eigenvalue = np.linalg.norm(R, 2), np.abs(np.linalg.eigvals(R)).max()
    lines.append(
        f"simple RNN: ||R|| is {norm:.2f}, its largest |eigenvalue| {eigenvalue:.2f}; "
        f"||dh^t/dh^k|| falls by a factor of {(found[10] / found[-10]) ** (1 / (len(found) - 20)):.2f} a step"
    )
    return drawn, "\n".join(lines)


def main() -> None:
    """Run the example as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less training")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights and the sequences")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the pictures")
    given = parser.parse_args()
    began = time.perf_counter()
    set_num_threads(1)
    drawn, report = pictures(600 if given.quick else 1500, given.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn.items():
        figure.savefig(given.out / f"flows-{name}.png")
    print(f"{report}\n{time.perf_counter() - began:.0f} s; see {given.out / 'flows-*.png'}")


if __name__ == "__main__":
    main()
