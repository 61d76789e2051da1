"""Stacks of layers whose arrays come as addresses: what `fastlstm.torch` calls, on the host.

No object is made for a layer, a pass or an array, so that a small call takes little more than its kernels. The caller
has checked the arrays, and keeps them until a call returns: they are C-contiguous, of one dtype, and right in size.
"""
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from fastlstm._arrays.buffers cimport Buffers
from fastlstm._cells.kernel cimport KernelCell
from fastlstm._engine cimport backward as back
from fastlstm._engine.forward cimport choose_kernels, describe, lay_out, plan, run_all
from fastlstm._engine.passes cimport (fl_arena, fl_arena_bytes, fl_arena_in, fl_at, fl_backward_pass, fl_forward_pass,
                                      fl_rows, fl_tape)
from fastlstm._system.kernels cimport fl_size

import numpy as np

from fastlstm._arrays.arrays import empty
from fastlstm._system.runtime import MAX_THREADS

# ---- memory that calls borrow ----------------------------------------------------------------------------------------

cdef enum:
    MOST_TO_KEEP = 1 << 24  # Bytes of a Space that is kept for later calls: beside the use of more, clearing is little.
    SPACES_TO_KEEP = 4

BYTE = np.dtype(np.uint8)

cdef list spaces = []


cdef class Space:
    """Memory of a call, in two parts that grow as they are needed; nothing that they hold outlasts growing.

    It is NumPy's, which is in huge pages where the system has them, so that clearing it takes less time.
    """
    cdef list held
    cdef char *parts[2]
    cdef size_t bytes[2]

    def __cinit__(self):
        self.held = [None, None]

    cdef char *at_least(self, int part, size_t bytes) except NULL:
        """Return a part of at least so many bytes."""
        cdef Buffers get
        if self.bytes[part] < bytes or self.parts[part] == NULL:
            get = Buffers(1)
            self.parts[part] = <char *>get.write(empty((max(bytes, 1),), BYTE))
            self.held[part], self.bytes[part] = get, bytes
        return self.parts[part]


cdef Space borrow():
    try:
        return spaces.pop()
    except IndexError:  # All are in use by other threads.
        return Space()


cdef void give_back(Space space):
    if space.bytes[0] + space.bytes[1] <= MOST_TO_KEEP and len(spaces) < SPACES_TO_KEEP:
        spaces.append(space)


# ---- arithmetic between layers ---------------------------------------------------------------------------------------

cdef void add(void *to, const void *a, const void *b, fl_size count, int size) noexcept nogil:
    """Compute to = a + b; `to` may be one of them."""
    cdef fl_size k
    if size == 4:
        for k in range(count):
            (<float *>to)[k] = (<const float *>a)[k] + (<const float *>b)[k]
    else:
        for k in range(count):
            (<double *>to)[k] = (<const double *>a)[k] + (<const double *>b)[k]


cdef void multiply(void *to, const void *by, fl_size count, int size) noexcept nogil:
    cdef fl_size k
    if size == 4:
        for k in range(count):
            (<float *>to)[k] *= (<const float *>by)[k]
    else:
        for k in range(count):
            (<double *>to)[k] *= (<const double *>by)[k]


# ---- stacks ----------------------------------------------------------------------------------------------------------

# The parameters of one layer in one direction, or their gradients; NULL for those that it lacks.
cdef struct Parameters:
    char *W
    char *R
    char *b_W
    char *b_R
    char *proj
    char *p
    char *norm


cdef class RawStack:
    """Layers of a cell, one above the other, in one direction or two.

    The parameters of a layer and direction are W, R, then with `biases` the bias of W x and that of R y, then with a
    projection proj, and with `peephole` p and with `layer_norm` norm. The bias of the cell is the sum of both biases,
    but for the last block of a cell with its own bias there, as the GRU's: that of R is its p.
    """
    cdef KernelCell cell
    cdef int layers, directions, size
    cdef fl_size I, H, P
    cdef bint biases, projects, peephole, layer_norm, has_own_bias
    # How many parameters a layer has in one direction.
    cdef readonly int per_layer

    def __init__(self, KernelCell cell, int layers, int directions, fl_size inputs, fl_size hidden, fl_size projected,
                 bint biases, bint peephole, bint layer_norm, bint has_own_bias, int itemsize):
        """Make a stack; `projected` is the size of a projection, 0 without one."""
        self.cell, self.layers, self.directions, self.size = cell, layers, directions, itemsize
        self.I, self.H, self.P = inputs, hidden, projected or hidden
        self.biases, self.projects, self.peephole, self.layer_norm = biases, projected > 0, peephole, layer_norm
        self.has_own_bias = has_own_bias
        self.per_layer = 2 + 2 * biases + self.projects + peephole + layer_norm

    def tape_size(self, rows, B):
        """Return how many values a tape has; the numbers may be symbols."""
        per_row, per_sequence = self.cell.kept * self.H, 0 if self.projects else self.P
        if self.cell.keeps_c:
            per_row, per_sequence = per_row + self.H, per_sequence + self.H
        if self.projects:
            per_row += self.P + self.H
        cells = self.layers * self.directions
        return rows * (cells * per_row + (self.layers - 1) * self.directions * self.P) + B * (cells * per_sequence)

    # ---- where things are ----

    cdef Parameters parameters_of(self, int k, addresses) except *:
        """Return the parameters of layer and direction k, of all of which there are these addresses, 0 for none."""
        cdef Parameters found
        cdef int at = k * self.per_layer
        memset(&found, 0, sizeof(Parameters))
        found.W, found.R = <char *><size_t>addresses[at], <char *><size_t>addresses[at + 1]
        at += 2
        if self.biases:
            found.b_W, found.b_R = <char *><size_t>addresses[at], <char *><size_t>addresses[at + 1]
            at += 2
        if self.projects:
            found.proj = <char *><size_t>addresses[at]
            at += 1
        if self.peephole:
            found.p = <char *><size_t>addresses[at]
            at += 1
        if self.layer_norm:
            found.norm = <char *><size_t>addresses[at]
        return found

    cdef fl_tape tape_of(self, int k, const fl_rows *rows, char *tape) noexcept:
        """Return where layer and direction k has its part of a tape."""
        cdef fl_tape found
        cdef fl_size row = self.cell.kept * self.H, H = self.H, P = self.P
        cdef fl_size c_rows = rows.B + rows.count if self.cell.keeps_c else 0
        cdef fl_size values = rows.count * row + c_rows * H + (rows.count * (P + H) if self.projects else rows.B * P)
        memset(&found, 0, sizeof(fl_tape))
        found.gates = tape + k * values * self.size
        tape = found.gates + rows.count * row * self.size
        if self.cell.keeps_c:
            found.c = tape
            tape += c_rows * H * self.size
        if self.projects:
            found.y_prev, found.m = tape, tape + rows.count * P * self.size
        else:
            found.h0 = tape
        return found

    cdef char *y_on_tape(self, int layer, const fl_rows *rows, char *tape) except NULL:
        """Return where a layer below the last has y, times its dropout mask, on a tape."""
        cdef fl_size end = self.tape_size(rows.count, rows.B)
        return tape + (end - (self.layers - 1 - layer) * rows.count * self.directions * self.P) * self.size

    cdef fl_rows rows_of(self, fl_size T, fl_size B, fl_size count, size_t batch_sizes, int64_t *offsets) except *:
        """Return the rows of a call; with batch sizes, write where each step's rows begin to `offsets`."""
        cdef fl_rows rows
        cdef const int64_t *sizes = <const int64_t *>batch_sizes
        cdef int64_t before = B
        cdef fl_size t
        rows.T, rows.B, rows.count, rows.offsets, rows.invariant = T, B, count, NULL, False
        if sizes == NULL:
            return rows
        rows.offsets, offsets[0] = offsets, 0
        for t in range(T):
            if not 0 < sizes[t] <= before:
                raise ValueError(f"batch_sizes must not grow from {before} to {sizes[t]}, and be positive")
            before = sizes[t]
            offsets[t + 1] = offsets[t] + before
        if (T and sizes[0] != B) or offsets[T] != count:
            raise ValueError(f"batch_sizes must begin with {B} and add up to {count}")
        return rows

    # ---- forward ----

    cdef void begin_forward(self, fl_forward_pass *f, int k, const fl_rows *rows, const Parameters *own, char *b,
                            bint taped) noexcept:
        """Begin the pass of layer and direction k; b is memory for the sum of its biases."""
        cdef fl_size units = self.cell.cell.gates * self.H, H = self.H, D = self.directions
        memset(f, 0, sizeof(fl_forward_pass))
        f.size = f.cell_size = self.size
        f.rows, f.reverse, f.taped = rows[0], k % D, taped
        describe(f, &self.cell.cell, self.I if k < D else D * self.P, H, self.P, self.P)
        f.constant.W, f.constant.R, f.proj = own.W, own.R, own.proj
        f.constant.b, f.constant.norm = b, own.norm
        f.constant.p = own.p
        if not self.biases:
            memset(b, 0, (units + H) * self.size)
            if self.has_own_bias:
                f.constant.p = b + units * self.size
        elif self.has_own_bias:
            add(b, own.b_W, own.b_R, units - H, self.size)
            memcpy(b + (units - H) * self.size, own.b_W + (units - H) * self.size, H * self.size)
            f.constant.p = own.b_R + (units - H) * self.size
        else:
            add(b, own.b_W, own.b_R, units, self.size)
        choose_kernels(f, None)
        f.y_on_tape = taped and self.projects
        plan(f, False)

    def forward(self, fl_size T, fl_size B, fl_size rows, size_t batch_sizes, size_t x, size_t h0, size_t c0,
                weights, size_t masks, size_t y, size_t h, size_t c, size_t tape, int num_threads):
        """Run the layers over T steps of B rows, or over packed rows with batch sizes; all else is addresses.

        x is (rows, I) and y (rows, D P); the state is (layers D, B, P) and (layers D, B, H), h0 and c0 are 0 for zeros;
        `weights` has the parameters of all layers and directions; masks are factors (layers - 1, rows, D P), 0 without
        dropout; the tape has `tape_size` values, and is 0 where none is wanted.
        """
        cdef Space space = borrow()
        cdef fl_forward_pass passes[2]
        cdef fl_forward_pass *all_passes[2]
        cdef fl_arena memory[2]
        cdef Parameters own
        cdef int size = self.size, D = self.directions, layer, n, k
        cdef fl_size units = self.cell.cell.gates * self.H, P = self.P, H = self.H
        cdef fl_size h_bytes = B * P * size, c_bytes = B * H * size, y_bytes = rows * D * P * size
        cdef size_t b_bytes = (units + H) * size, bytes_of_pass
        cdef size_t offset_bytes = (T + 1) * sizeof(int64_t) if batch_sizes else 0
        cdef bint between = self.layers > 1 and not tape
        cdef char *at = space.at_least(0, offset_bytes + max(h_bytes, c_bytes) + D * b_bytes + 2 * between * y_bytes)
        cdef fl_rows r = self.rows_of(T, B, rows, batch_sizes, <int64_t *>at)
        cdef char *zeros = at + offset_bytes
        cdef char *b = zeros + max(h_bytes, c_bytes)
        cdef char *two_y = b + D * b_bytes
        cdef const char *below = <const char *>x
        cdef char *above
        check_threads(num_threads)
        if not h0 or (self.cell.has_c and not c0):
            memset(zeros, 0, max(h_bytes, c_bytes))
        for layer in range(self.layers):
            if layer == self.layers - 1:
                above = <char *>y
            elif tape:
                above = self.y_on_tape(layer, &r, <char *>tape)
            else:
                above = two_y + (layer % 2) * y_bytes
            for n in range(D):
                k, f = layer * D + n, &passes[n]
                own = self.parameters_of(k, weights)
                self.begin_forward(f, k, &r, &own, b + n * b_bytes, tape != 0)
                f.x, f.y, f.y_step = below, above + n * P * size, D * P
                f.h0, f.h_last = <const char *>h0 + k * h_bytes if h0 else zeros, <char *>h + k * h_bytes
                if self.cell.has_c:
                    f.c0, f.c_last = <const char *>c0 + k * c_bytes if c0 else zeros, <char *>c + k * c_bytes
                f.between.y_first, f.between.c_first = f.h0, f.c0
                if tape:
                    f.tape = self.tape_of(k, &r, <char *>tape)
                memory[n] = fl_arena(NULL, 0)
                lay_out(f, &memory[n])
                all_passes[n] = f
            at = space.at_least(1, fl_arena_bytes(&memory[0]) + (fl_arena_bytes(&memory[1]) if D > 1 else 0))
            for n in range(D):
                bytes_of_pass = fl_arena_bytes(&memory[n])
                memory[n] = fl_arena_in(at)
                lay_out(all_passes[n], &memory[n])
                at += bytes_of_pass
            run_all(all_passes, D, num_threads, None)
            if masks and layer < self.layers - 1:
                with nogil:
                    multiply(above, <const char *>masks + layer * y_bytes, rows * D * P, size)
            below = above
        give_back(space)

    # ---- back through time ----

    cdef void begin_backward(self, fl_backward_pass *f, int k, const fl_rows *rows, const Parameters *own,
                             const Parameters *gradients, char *unused) noexcept:
        """Begin the pass of layer and direction k; `unused` is memory for biases that it lacks, and their gradients."""
        cdef fl_size units = self.cell.cell.gates * self.H, D = self.directions, own_bias = (units - self.H) * self.size
        memset(f, 0, sizeof(fl_backward_pass))
        f.size, f.reverse, f.rows = self.size, k % D, rows[0]
        back.describe(f, &self.cell.cell, self.I if k < D else D * self.P, self.H, self.P, self.P, None)
        f.constant.p, f.constant.norm, f.R, f.proj = own.p, own.norm, own.R, own.proj
        f.weights.W = own.W
        if self.has_own_bias and self.biases:
            f.constant.p = own.b_R + own_bias
        elif self.has_own_bias:
            f.constant.p = memset(unused + (units + self.H) * self.size, 0, self.H * self.size)
        back.plan(f, False)
        f.recomputes_y, f.constant.simple = not self.projects, True
        f.weights.frozen = gradients.W == NULL
        if f.weights.frozen:
            return
        f.weights.dW, f.weights.dR, f.dproj, f.dp, f.dnorm = (gradients.W, gradients.R, gradients.proj, gradients.p,
                                                              gradients.norm)
        f.weights.db = gradients.b_W if self.biases else unused
        if self.has_own_bias:
            f.dp = gradients.b_R + own_bias if self.biases else unused + units * self.size

    def backward(self, fl_size T, fl_size B, fl_size rows, size_t batch_sizes, size_t x, weights, size_t masks,
                 size_t tape, size_t dy, size_t dh, size_t dc, size_t dx, size_t dh0, size_t dc0, gradients,
                 int num_threads):
        """Back-propagate through time, with the arguments of `forward` and its tape.

        dy, dh and dc are 0 where nothing arrives, dx is 0 where it is not wanted; the gradients of the initial state
        are always written, and those of the parameters of a layer and direction unless they are all 0.
        """
        cdef Space space = borrow()
        cdef fl_backward_pass passes[2]
        cdef fl_backward_pass *all_passes[2]
        cdef fl_arena memory[2]
        cdef Parameters own, to[2]
        cdef int size = self.size, D = self.directions, layer, n, k
        cdef fl_size units = self.cell.cell.gates * self.H, P = self.P, H = self.H
        cdef fl_size h_bytes = B * P * size, c_bytes = B * H * size, y_values = rows * D * P
        cdef fl_size x_values = rows * self.I
        cdef size_t b_bytes = (units + 2 * H) * size, bytes_of_pass
        cdef size_t offset_bytes = (T + 1) * sizeof(int64_t) if batch_sizes else 0
        # The gradients of a layer's inputs: of two layers in turns, and in each direction.
        cdef fl_size in_values = max(x_values, y_values) if self.layers > 1 else x_values
        cdef char *at = space.at_least(0, offset_bytes + D * b_bytes + (2 * D) * in_values * size)
        cdef fl_rows r = self.rows_of(T, B, rows, batch_sizes, <int64_t *>at)
        cdef char *unused = at + offset_bytes
        cdef char *inputs = unused + D * b_bytes
        cdef char *above = <char *>dy
        cdef char *below
        check_threads(num_threads)
        for layer in range(self.layers - 1, -1, -1):
            below = <char *>dx if layer == 0 else inputs + (layer % 2) * D * in_values * size
            for n in range(D):
                k, f = layer * D + n, &passes[n]
                own, to[n] = self.parameters_of(k, weights), self.parameters_of(k, gradients)
                self.begin_backward(f, k, &r, &own, &to[n], unused + n * b_bytes)
                f.x = self.y_on_tape(layer - 1, &r, <char *>tape) if layer else <const char *>x
                f.tape = self.tape_of(k, &r, <char *>tape)
                f.dy, f.dy_step = fl_at(above, n * P, size), D * P if above != NULL else 0
                f.between.above_step = f.dy_step
                f.dh, f.dh0 = <const char *>dh + k * h_bytes if dh else NULL, <char *>dh0 + k * h_bytes
                if self.cell.has_c:
                    f.dc, f.constant.dc = <const char *>dc + k * c_bytes if dc else NULL, <char *>dc0 + k * c_bytes
                f.dx = below
                if n and below != NULL:
                    f.dx = inputs + ((layer % 2) * D + 1) * in_values * size
                memory[n] = fl_arena(NULL, 0)
                back.lay_out(f, &memory[n])
                all_passes[n] = f
            at = space.at_least(1, fl_arena_bytes(&memory[0]) + (fl_arena_bytes(&memory[1]) if D > 1 else 0))
            for n in range(D):
                bytes_of_pass = fl_arena_bytes(&memory[n])
                memory[n] = fl_arena_in(at)
                back.lay_out(all_passes[n], &memory[n])
                at += bytes_of_pass
            back.run_all(all_passes, D, num_threads, None)
            with nogil:
                if below != NULL and D > 1:
                    add(below, below, passes[1].dx, y_values if layer else x_values, size)
                if masks and layer:
                    multiply(below, <const char *>masks + (layer - 1) * y_values * size, y_values, size)
                for n in range(D):
                    if to[n].b_W != NULL:  # The two biases are added, so that they have the same gradient.
                        memcpy(to[n].b_R, to[n].b_W, (units - (H if self.has_own_bias else 0)) * size)
            above = below
        give_back(space)


cdef int check_threads(int num_threads) except -1:
    if not 1 <= num_threads <= MAX_THREADS:
        raise ValueError(f"num_threads must be from 1 to {MAX_THREADS}, not {num_threads}")
    return 0
