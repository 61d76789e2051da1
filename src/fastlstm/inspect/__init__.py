"""Inspecting networks: the values inside a network, forward and backward, as arrays and as pictures.

The arrays need NumPy alone. The pictures need matplotlib, ``pip install 'fastlstm[plot]'``, and are matplotlib Figures:
``figure.savefig("flows.png")``. Gates have the same colours in all of them.

Steps, rows and units are counted from 0 as in the arrays; arrays are time-major, (T, B, ...), whatever the network's
layout. Networks run as for inference, without dropout. `layer` and `direction` choose the layer of a stack and its
direction: direction 1 runs from the last step to the first.
"""

from fastlstm.inspect.backward import GradientNorms, deltas, gradient_norms
from fastlstm.inspect.block import BlockValues, block_values, draw_block
from fastlstm.inspect.clipping import Descent, descend, loss_surface
from fastlstm.inspect.forward import GRUFlows, LSTMFlows, RNNFlows, flows
from fastlstm.inspect.jacobians import CellJacobians, HiddenJacobians, cell_jacobians, hidden_jacobians
from fastlstm.inspect.plots import (
    plot_clipping,
    plot_deltas,
    plot_descents,
    plot_flows,
    plot_gradient_norms,
    plot_jacobian_norms,
)

__all__ = [
    "BlockValues",
    "CellJacobians",
    "Descent",
    "GRUFlows",
    "GradientNorms",
    "HiddenJacobians",
    "LSTMFlows",
    "RNNFlows",
    "block_values",
    "cell_jacobians",
    "deltas",
    "descend",
    "draw_block",
    "flows",
    "gradient_norms",
    "hidden_jacobians",
    "loss_surface",
    "plot_clipping",
    "plot_deltas",
    "plot_descents",
    "plot_flows",
    "plot_gradient_norms",
    "plot_jacobian_norms",
]
