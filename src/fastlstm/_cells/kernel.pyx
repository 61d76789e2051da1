"""The cells as the kernels know them."""
from fastlstm._system.kernels cimport FL_CELLS, fl_cell, fl_row_of_cell
from fastlstm._system.runtime cimport kernels

from fastlstm._system.runtime import ACTIVATIONS

KINDS = {fl_row_of_cell(kind).name.decode(): kind for kind in range(FL_CELLS)}


cdef class KernelCell:
    """Describe a cell to the kernels.

    `kind` is a name of cells.def; `blocks` says which of "ifzo" an LSTM has, else None.
    """

    def __init__(self, str kind, blocks, bint coupled, str gate, str g, str h, double clip, double cell_clip):
        cdef fl_cell *cell = &self.cell
        cell.kind = KINDS[kind]
        self.has_c = fl_row_of_cell(cell.kind).has_c
        cell.gates = len(blocks) if blocks else 1
        if blocks:
            cell.i, cell.f, cell.z, cell.o = [blocks.find(letter) for letter in "ifzo"]
        cell.coupled = coupled
        cell.gate, cell.g, cell.h = ACTIVATIONS[gate], ACTIVATIONS[g], ACTIVATIONS[h]
        cell.clip, cell.cell_clip = clip, cell_clip
        cell.plain = (blocks == "ifzo" and gate == "logistic" and g == h == "tanh" and clip == cell_clip == 0)


def unit_block(int itemsize):
    """Return how many hidden units a vector holds."""
    return kernels(itemsize).unit_block
