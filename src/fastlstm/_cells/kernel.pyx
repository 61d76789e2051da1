"""Cells and activation functions as the kernels know them."""
from fastlstm._arrays.buffers cimport Buffers
from fastlstm._system.kernels cimport (FL_CELLS, FL_HARD_LOGISTIC, FL_IDENTITY, FL_LOGISTIC, FL_RELU, FL_TANH,
                                       FL_VALUES_BEFORE_A_LOOK, fl_activation, fl_call, fl_cell,
                                       fl_fast, fl_make_fast, fl_row_of_cell, fl_set_plain, fl_size)
from fastlstm._system.runtime cimport begin_call, end_call, kernels, parallel, stopped

ACTIVATIONS = {"tanh": FL_TANH, "relu": FL_RELU, "logistic": FL_LOGISTIC, "identity": FL_IDENTITY,
               "hard_logistic": FL_HARD_LOGISTIC}
# The constants of a hard logistic function that is given by its name alone.
HARD_LOGISTIC = 0.2, 0.5
KINDS = {fl_row_of_cell(kind).name.decode(): kind for kind in range(FL_CELLS)}


cdef fl_activation activation_of(g):
    """Return the activation of this name; a hard logistic function may be ("hard_logistic", alpha, beta)."""
    cdef fl_activation activation
    name, activation.alpha, activation.beta = g if isinstance(g, tuple) else (g, *HARD_LOGISTIC)
    activation.kind = ACTIVATIONS[name]
    return activation


cdef class KernelCell:
    """Describe a cell to the kernels.

    `kind` is a name of cells.def; `blocks` says which of "ifzo" an LSTM has, or names those of another cell, or is None
    for one. `kept` is the number of blocks on the tape where it is another, `p_rows` the rows of p where they are not
    an LSTM's peepholes, `norm_rows` those of the parameters of layer normalisation. A `fast` cell is for inference.
    """

    def __init__(self, str kind, blocks, bint coupled, gate, g, h, double clip, double cell_clip,
                 int kept=0, p_rows=None, int norm_rows=0, bint fast=False):
        cdef fl_cell *cell = &self.cell
        cell.kind = KINDS[kind]
        self.has_c = fl_row_of_cell(cell.kind).has_c
        self.keeps_c = self.has_c or fl_row_of_cell(cell.kind).c_is_y
        cell.gates = len(blocks) if blocks else 1
        cell.kept = self.kept = kept or cell.gates
        cell.p_rows = cell.gates - 1 if p_rows is None else p_rows
        cell.norm_rows = self.norm_rows = norm_rows
        if blocks:
            cell.i, cell.f, cell.z, cell.o = [blocks.find(letter) for letter in "ifzo"]
        cell.coupled = coupled
        cell.gate, cell.g, cell.h = activation_of(gate), activation_of(g), activation_of(h)
        cell.clip, cell.cell_clip = clip, cell_clip
        fl_set_plain(cell)
        if fast:
            fl_make_fast(cell)


def unit_block(int itemsize):
    """Return how many hidden units a vector holds."""
    return kernels(itemsize).unit_block


# ---- activation functions of arrays ----------------------------------------------------------------------------------

cdef struct Activation:
    fl_activation g
    int itemsize
    const void *x
    void *y
    Py_ssize_t count


cdef void activate_part(void *argument, int part, int parts) noexcept nogil:
    cdef Activation *a = <Activation *>argument
    cdef Py_ssize_t at = 0, bytes
    while at < a.count and not stopped():
        bytes = at * a.itemsize
        kernels(a.itemsize).activate(a.g, <const char *>a.x + bytes, <char *>a.y + bytes,
                                     min(a.count - at, FL_VALUES_BEFORE_A_LOOK))
        at += FL_VALUES_BEFORE_A_LOOK


def activate(g, x, y, bint fast=False):
    """Compute y = g(x), in the kernels' floating-point mode, for contiguous arrays of one dtype and size.

    g is the name of an activation, or ("hard_logistic", alpha, beta). Where it is `fast`, what stands for it in fast
    networks is computed.
    """
    cdef Buffers buffers = Buffers()
    cdef Activation a
    cdef fl_call call
    a.g = fl_fast(activation_of(g)) if fast else activation_of(g)
    a.itemsize, a.count = x.itemsize, x.size
    a.x = buffers.input("x", x, a.count * a.itemsize)
    a.y = buffers.output("y", y, a.count * a.itemsize)
    begin_call(&call, True)
    with nogil:
        parallel(activate_part, &a, 1)
    end_call(&call)


cdef struct Derivative:
    fl_activation g
    int itemsize
    const void *y
    const void *dy
    void *dx
    Py_ssize_t count


cdef void differentiate_part(void *argument, int part, int parts) noexcept nogil:
    cdef Derivative *d = <Derivative *>argument
    cdef Py_ssize_t at = 0, bytes
    while at < d.count and not stopped():
        bytes = at * d.itemsize
        kernels(d.itemsize).differentiate(d.g, <const char *>d.y + bytes, <const char *>d.dy + bytes,
                                          <char *>d.dx + bytes,
                                          min(d.count - at, FL_VALUES_BEFORE_A_LOOK))
        at += FL_VALUES_BEFORE_A_LOOK


def differentiate(g, y, dy, dx):
    """Compute dx = dy g'(x) from y = g(x), for contiguous arrays of one dtype and size."""
    cdef Buffers buffers = Buffers()
    cdef Derivative d
    cdef fl_call call
    d.g = activation_of(g)
    d.itemsize, d.count = y.itemsize, y.size
    cdef fl_size size = d.count * d.itemsize
    d.y, d.dy, d.dx = buffers.input("y", y, size), buffers.input("dy", dy, size), buffers.output("dx", dx, size)
    begin_call(&call, True)
    with nogil:
        parallel(differentiate_part, &d, 1)
    end_call(&call)
