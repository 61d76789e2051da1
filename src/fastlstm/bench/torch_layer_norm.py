"""The layer-normalised LSTM in PyTorch, which has none of its own, written for speed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastlstm

__all__ = ["LayerNormLSTM"]

Array = NDArray[Any]

BLOCK = 10


class LayerNormLSTM:
    """The layer-normalised LSTM without peepholes that a layer of fastlstm is, made of PyTorch's operators.

    W x of all steps is one product and one normalisation, whose bias is b. The gates lie in the order i, f, o, z, so
    that one call activates three of them.

    With `compiled`, torch.compile makes one graph of up to ten steps, and the loop over these blocks is Python's. A
    step alone costs more to call than to compute, and with a graph of all steps the compiler is busy for minutes.

    Parameters
    ----------
    torch : module
        PyTorch.
    layer : fastlstm.LSTM
        The layer whose parameters are copied.
    compiled : bool
        Whether torch.compile is used, at the first call.
    """

    def __init__(self, torch: Any, layer: fastlstm.LSTM, compiled: bool) -> None:
        H, params = layer.hidden_size, layer.params
        self._torch, self._hidden, self._compiled = torch, H, compiled
        self._order = np.r_[: 2 * H, 3 * H : 4 * H, 2 * H : 3 * H]
        norm = params["norm_l0"]
        gains_R, gains_W, (gain_c, shift_c) = norm[:4].ravel(), norm[4:8].ravel(), norm[8:]
        ordered = [array[self._order] for array in (params["W_l0"], gains_W, params["b_l0"], params["R_l0"], gains_R)]
        self.parameters = [torch.tensor(array).requires_grad_() for array in (*ordered, gain_c, shift_c)]
        linear, normalise = torch.nn.functional.linear, torch.nn.functional.layer_norm

        def of_input(x: Any, W: Any, gW: Any, b: Any) -> Any:
            return normalise(linear(x, W), (4 * H,), gW, b)

        def step(wx: Any, h: Any, c: Any, R: Any, gR: Any, gc: Any, bc: Any) -> tuple[Any, Any]:
            sums = wx + normalise(linear(h, R), (4 * H,), gR)
            i, f, o = torch.sigmoid(sums[..., : 3 * H]).chunk(3, -1)
            c = f * c + i * torch.tanh(sums[..., 3 * H :])
            return o * torch.tanh(normalise(c, (H,), gc, bc)), c

        def block(wx: Any, h: Any, c: Any, *recurrent: Any) -> tuple[Any, Any, Any]:
            outputs = []
            for wx_t in wx.unbind(0):
                h, c = step(wx_t, h, c, *recurrent)
                outputs.append(h)
            return torch.stack(outputs), h, c

        def cell(x: Any, h: Any, c: Any, W: Any, gW: Any, b: Any, *recurrent: Any) -> tuple[Any, Any]:
            return step(of_input(x, W, gW, b), h, c, *recurrent)

        self._of_input, self._block, self._cell = of_input, block, cell
        if compiled:
            torch.compiler.reset()  # Otherwise the shapes before count against the number that it compiles.
            self._block, self._cell = (torch.compile(part, fullgraph=True, dynamic=False) for part in (block, cell))

    def __call__(self, x: Any) -> Any:
        """Return y of all steps, from a state of zeros."""
        T = len(x)
        steps = max(k for k in range(1, BLOCK + 1) if T % k == 0) if self._compiled else T
        h = c = x.new_zeros(x.shape[1], self._hidden)
        outputs = []
        for wx in self._of_input(x, *self.parameters[:3]).split(steps):
            y, h, c = self._block(wx, h, c, *self.parameters[3:])
            outputs.append(y)
        return self._torch.cat(outputs)

    def step(self, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
        """Return h and c of one step."""
        h, c = self._cell(x, h, c, *self.parameters)
        return h, c

    def gradients(self) -> list[Array]:
        """Return the gradients of W and R, with the gates in the order of fastlstm."""
        back = np.argsort(self._order)
        return [self.parameters[k].grad.numpy()[back] for k in (0, 3)]
