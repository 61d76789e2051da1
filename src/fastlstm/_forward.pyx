"""The loop over time, forward. The step itself is _c/lstm.h or _c/rnn.h; what lies between two steps, _c/carry.h.

Everything here is checked and allocated by _core.py. Arrays are C-contiguous and of one dtype. Rows of a batch are as
_loops.pxd describes; `s` counts steps in the order in which they run, `t` in time: they differ in the reverse direction.
"""
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from ._blas cimport matmul
from ._kernels cimport fl_carry, fl_forward, fl_forward_step, fl_kernels, fl_product, fl_size
from ._loops cimport (Cell, Division, Plan, Rows, Share, block_end, block_rows, block_start, border, column_panels, divide, divide_rows,
                      first_row, many_rows, multiply, pack_columns, plan, rows_at, share, take)
from ._runtime cimport Buffers, kernels, parallel

cdef struct Forward:
    const fl_kernels *k
    fl_forward_step step
    fl_forward constant         # what is the same at every step
    fl_carry between            # likewise
    Rows rows
    bint reverse
    int size                    # bytes of a value
    fl_size gates               # blocks of H
    fl_size outputs             # P: values in a row of y, H without a projection
    fl_size block               # hidden units that a thread's share is made of
    bint taped
    bint carries                # does anything lie between two steps?
    bint direct                 # a step reads y where the step before has written it for the caller
    Plan way
    Division division
    fl_size s0                  # the steps to run
    fl_size s1
    fl_size wx_row              # of `wx`, the row of all steps at which it begins
    const char *x               # (rows, I), or NULL
    const char *wx              # (rows of some steps, gates H), or NULL
    const char *h0              # (B, P)
    const char *c0              # (B, H)
    char *y                     # (rows, ...): P values every y_step
    fl_size y_step
    char *h_last                # (B, P)
    char *c_last                # (B, H)
    const char *proj            # (P, H), or NULL
    # The tape; all NULL without.
    char *tape_gates            # (rows, gates H)
    char *tape_c                # (B + rows, H): c^0 before those of the first step, in the order of the direction
    char *tape_c_prev           # (rows, H) c^{t-1} as step t saw it, where that is not among tape_c's
    char *tape_y_prev           # (rows, K) y^{t-1} as step t saw it
    char *tape_m                # (rows, H) what is projected
    # Options.
    const char *reset           # (rows,) bytes, or NULL
    const char *zone_y          # (rows, P), or NULL
    const char *zone_c          # (rows, H), or NULL
    # Workspace.
    char *panels
    char *W_panels
    char *proj_panels
    char *wx_space
    char *pong                  # (2, B, K): y^{t-1} as seen, without a tape
    char *m_space               # (B, H), without a tape
    char *c_space               # (B, H), likewise


cdef void lay_out(Forward *f, char **at) noexcept nogil:
    cdef fl_size H = f.constant.hidden, I = f.constant.input, K = f.constant.outputs, B = f.rows.B
    f.panels = take(at, column_panels(f.k, f.gates, H, K + f.way.folded) * f.size) if f.way.pack else NULL
    if f.way.hoist:
        f.W_panels = take(at, column_panels(f.k, 1, f.gates * H, I) * f.size)
        f.wx_space = take(at, block_rows(&f.rows) * f.gates * H * f.size) if not f.taped else NULL
    if f.proj != NULL:
        f.proj_panels = take(at, column_panels(f.k, 1, f.outputs, H) * f.size) if many_rows(&f.rows) else NULL
        f.m_space = take(at, B * H * f.size) if not f.taped else NULL
    if not f.taped and not f.direct:
        f.pong = take(at, 2 * B * K * f.size)
        f.c_space = take(at, B * H * f.size)


# ---- where things are --------------------------------------------------------------------------------------------------

cdef inline fl_size time(const Forward *f, fl_size s) noexcept nogil:
    return f.rows.T - 1 - s if f.reverse else s


cdef inline char *of(const char *array, fl_size values, int size) noexcept nogil:
    return NULL if array == NULL else <char *>array + values * size


cdef char *c_of(const Forward *f, fl_size s) noexcept nogil:
    """Where step s writes c."""
    cdef fl_size t = time(f, s), row
    if f.tape_c == NULL:
        return f.c_space if f.zone_c != NULL else f.c_last
    if f.reverse:
        row = f.rows.B + first_row(&f.rows, t - 1) if t else 0
    else:
        row = f.rows.B + first_row(&f.rows, t)
    return f.tape_c + row * f.constant.hidden * f.size


cdef char *c_prev_of(const Forward *f, fl_size s) noexcept nogil:
    """Where step s reads c."""
    cdef fl_size t = time(f, s), row
    if f.tape_c == NULL:
        return f.c_last
    if f.tape_c_prev != NULL:
        return f.tape_c_prev + first_row(&f.rows, t) * f.constant.hidden * f.size
    if f.reverse:
        row = f.rows.B + first_row(&f.rows, t)
    else:
        row = f.rows.B + first_row(&f.rows, t - 1) if t else 0
    return f.tape_c + row * f.constant.hidden * f.size


cdef char *y_prev_of(const Forward *f, fl_size s) noexcept nogil:
    """Where step s reads y, if not directly where the step before has written it for the caller."""
    cdef fl_size K = f.constant.outputs
    if f.tape_y_prev != NULL:
        return f.tape_y_prev + first_row(&f.rows, time(f, s)) * K * f.size
    return f.pong + s % 2 * f.rows.B * K * f.size


cdef fl_size kept(const Forward *f, fl_size s) noexcept nogil:
    """The rows of step s that have another step."""
    cdef fl_size next = rows_at(&f.rows, time(f, s + 1)) if s + 1 < f.rows.T else 0
    return min(rows_at(&f.rows, time(f, s)), next)


# ---- a step ------------------------------------------------------------------------------------------------------------

cdef void run_step(const Forward *f, fl_size s, Share own) noexcept nogil:
    cdef fl_forward step = f.constant
    cdef fl_size t = time(f, s), row = first_row(&f.rows, t), H = step.hidden, end = min(own.row1, rows_at(&f.rows, t))
    if own.row0 >= end:
        return
    step.x = of(f.x, row * step.input, f.size)
    step.wx = of(f.wx, (row - f.wx_row) * f.gates * H, f.size)
    step.gates = of(f.tape_gates, row * f.gates * H, f.size)
    step.c, step.c_prev = c_of(f, s), c_prev_of(f, s)
    if f.direct:
        step.y_prev = f.y + first_row(&f.rows, time(f, s - 1)) * f.y_step * f.size if s else f.h0
        step.y_prev_step = f.y_step if s else f.outputs
    else:
        step.y_prev, step.y_prev_step = y_prev_of(f, s), step.outputs
    step.keep = kept(f, s)
    if step.keep and not f.direct:
        step.y, step.y_step = y_prev_of(f, s + 1), step.outputs
        if step.outputs > f.outputs:
            step.gates_seen = <char *>step.y + f.outputs * f.size
        if f.carries or f.proj != NULL:
            step.y = NULL
    if f.proj != NULL:
        step.y_copy, step.y_copy_step = of(f.tape_m, row * H, f.size) if f.tape_m != NULL else f.m_space, H
    else:
        step.y_copy, step.y_copy_step = f.y + row * f.y_step * f.size, f.y_step
    f.step(&step, own.row0, end, own.unit0, own.unit1)


cdef void project(const Forward *f, fl_size s, fl_size row0, fl_size row1, fl_size column0,
                  fl_size column1) noexcept nogil:
    """y^t for some rows and outputs."""
    cdef fl_size H = f.constant.hidden, t = time(f, s), row = first_row(&f.rows, t), end = min(row1, rows_at(&f.rows, t))
    cdef fl_size columns = f.outputs
    cdef int vectors = <int>(f.k.column_block // f.k.unit_block)
    cdef char *m = of(f.tape_m, row * H, f.size) if f.tape_m != NULL else f.m_space
    cdef char *y = f.y + row * f.y_step * f.size
    cdef fl_product product
    if row0 >= end:
        return
    if f.proj_panels != NULL:
        product = fl_product(columns, H, m, H, 1, f.proj_panels, vectors, y, f.y_step, False)
        f.k.multiply(&product, row0, end, column0, column1)
    else:
        for row in range(row0, end):
            matmul(f.size, False, True, 1, column1 - column0, H, m + row * H * f.size, f.proj + column0 * H * f.size, 0,
                   y + (row * f.y_step + column0) * f.size)


cdef void hand_on(const Forward *f, fl_size s, Share own, fl_size column0, fl_size column1) noexcept nogil:
    """y and c from step s to the next, for own rows, hidden units and columns of y; final states of rows that end."""
    cdef fl_size t = time(f, s), row = first_row(&f.rows, t), next, end = min(own.row1, rows_at(&f.rows, t))
    cdef fl_size keep = kept(f, s), H = f.constant.hidden, r
    cdef fl_carry between = f.between
    cdef char *y = f.y + row * f.y_step * f.size
    if own.row0 >= end:
        return
    if f.carries:
        between.keep, between.y, between.y_step = keep, y, f.y_step
        between.reset_before = <const unsigned char *>of(f.reset, row, 1)
        between.zone_y = of(f.zone_y, row * f.outputs, f.size)
        between.zone_c = of(f.zone_c, row * H, f.size)
        if s:
            between.before = min(rows_at(&f.rows, t), rows_at(&f.rows, time(f, s - 1)))
            between.y_before = f.y + first_row(&f.rows, time(f, s - 1)) * f.y_step * f.size
            between.y_before_step = f.y_step
        if f.tape_c_prev != NULL or f.c_space != NULL:
            between.c, between.c_prev, between.c_last = c_of(f, s), c_prev_of(f, s), f.c_last
            between.c_seen = f.c_last
        if keep:
            next = first_row(&f.rows, time(f, s + 1))
            between.reset = <const unsigned char *>of(f.reset, next, 1)
            between.y_seen = y_prev_of(f, s + 1)
            if f.tape_c_prev != NULL:
                between.c_seen = c_prev_of(f, s + 1)
        f.k.carry(&between, own.row0, end, column0, column1, own.unit0, own.unit1)
    if f.h_last == NULL:
        return
    for r in range(max(own.row0, keep), end):
        memcpy(f.h_last + (r * f.outputs + column0) * f.size, y + (r * f.y_step + column0) * f.size,
               (column1 - column0) * f.size)
        if f.tape_c != NULL and f.tape_c_prev == NULL:
            memcpy(f.c_last + (r * H + own.unit0) * f.size, c_of(f, s) + (r * H + own.unit0) * f.size,
                   (own.unit1 - own.unit0) * f.size)


cdef void start_rows(const Forward *f, fl_size s) noexcept nogil:
    """The state before step s of the rows that begin there."""
    cdef fl_size t = time(f, s), row0 = rows_at(&f.rows, time(f, s - 1)) if s else 0, row1 = rows_at(&f.rows, t)
    cdef fl_size P = f.outputs, K = f.constant.outputs, H = f.constant.hidden
    cdef fl_carry between = f.between
    if row0 >= row1:
        return
    between.keep, between.y, between.y_step = row1, <void *>f.h0, P
    between.reset = <const unsigned char *>of(f.reset, first_row(&f.rows, t), 1)
    between.c = f.c0
    between.c_seen = c_prev_of(f, s) if f.c_last != NULL else NULL
    if not f.direct:
        between.y_seen = y_prev_of(f, s)
        memset(<char *>between.y_seen + row0 * K * f.size, 0, (row1 - row0) * K * f.size)
    f.k.carry(&between, row0, row1, 0, P, 0, H if f.c_last != NULL else 0)


# ---- all steps ---------------------------------------------------------------------------------------------------------

cdef void step_part(void *argument, int part, int parts) noexcept nogil:
    cdef Forward *f = <Forward *>argument
    cdef Share own = share(&f.division, part, f.rows.B, f.constant.hidden, f.block)
    cdef fl_size s
    for s in range(f.s0, f.s1):
        run_step(f, s, own)
        if f.proj == NULL:
            hand_on(f, s, own, own.unit0, own.unit1)
        elif f.division.by_rows or parts == 1:
            project(f, s, own.row0, own.row1, 0, f.outputs)
            hand_on(f, s, own, 0, f.outputs)


cdef void project_part(void *argument, int part, int parts) noexcept nogil:
    """The projection by columns, once all units of a step are there."""
    cdef Forward *f = <Forward *>argument
    cdef Share own = share(&f.division, part, f.rows.B, f.constant.hidden, f.block)
    cdef fl_size column0 = border(f.outputs, f.k.column_block, part, parts)
    cdef fl_size column1 = border(f.outputs, f.k.column_block, part + 1, parts)
    project(f, f.s0, 0, f.rows.B, column0, column1)
    hand_on(f, f.s0, own, column0, column1)


cdef void run_steps(Forward *f, fl_size s0, fl_size s1) noexcept nogil:
    cdef fl_size s
    cdef int parts = f.division.parts
    if f.division.by_rows or parts == 1:
        f.s0, f.s1 = s0, s1
        parallel(step_part, f, parts)
    else:
        for s in range(s0, s1):
            f.s0, f.s1 = s, s + 1
            parallel(step_part, f, parts)
            if f.proj != NULL:
                parallel(project_part, f, parts)


cdef void run(Forward *f, int num_threads) noexcept nogil:
    cdef fl_size H = f.constant.hidden, I = f.constant.input, K = f.constant.outputs, T = f.rows.T, s
    cdef fl_size t0, t1, first, end
    cdef int parts
    cdef const char *x
    divide(&f.division, &f.rows, H, f.block, f.gates * H * (K + f.way.folded), f.size, num_threads)
    parts = f.division.parts
    memcpy(f.h_last, f.h0, f.rows.B * f.outputs * f.size)
    if f.tape_c != NULL and T == 0:
        memcpy(f.tape_c, f.c0, f.rows.B * H * f.size)
    if f.c_last != NULL:
        memcpy(f.c_last, f.c0, f.rows.B * H * f.size)
    if f.way.pack:
        f.constant.panels = f.panels
        pack_columns(f.k, f.panels, f.gates, H, f.constant.W, f.way.folded, f.constant.R, K, parts)
    if f.proj_panels != NULL:
        pack_columns(f.k, f.proj_panels, 1, f.outputs, f.proj, H, NULL, 0, parts)
    for s in range(T):
        if f.direct and s:
            break
        start_rows(f, s)
        if not f.reverse:
            break

    if not f.way.hoist:
        run_steps(f, 0, T)
        return
    pack_columns(f.k, f.W_panels, 1, f.gates * H, f.constant.W, I, NULL, 0, parts)
    x, f.x = f.x, NULL
    t0, t1 = 0, T
    while t0 < t1:
        if f.reverse:
            first, end = block_start(&f.rows, t1), t1
            t1 = first
        else:
            first, end = t0, block_end(&f.rows, t0)
            t0 = end
        f.wx_row = first_row(&f.rows, first)
        f.wx = f.tape_gates + f.wx_row * f.gates * H * f.size if f.taped else f.wx_space
        divide_rows(&f.division, &f.rows, first, end)
        multiply(f.k, first_row(&f.rows, end) - f.wx_row, f.gates * H, I, x + f.wx_row * I * f.size, f.W_panels,
                 <void *>f.wx, parts)
        run_steps(f, T - end if f.reverse else first, T - first if f.reverse else end)


cdef void run_one(void *argument, int part, int parts) noexcept nogil:
    """One of several passes that run side by side."""
    cdef Forward **all_passes = <Forward **>argument
    run(all_passes[part], 1)


cdef Rows rows_of(Buffers get, batch):
    cdef Rows r
    r.T, r.B, r.count = batch.T, batch.B, batch.count
    r.offsets = <const int64_t *>get.read(batch.offsets)
    return r


cdef class ForwardPass:
    """One layer in one direction over some sequences: `workspace` tells what memory it needs, `start` and `run` do it."""
    cdef Forward f
    cdef Buffers get
    cdef Cell cell

    def __init__(self, Cell cell, batch, bint reverse, weights, options, bint with_tape, int size):
        """`weights` is (W, R, b, p, proj); `options` has reset, mask, zone_y, zone_c, h_first, c_first; or is None."""
        cdef Forward *f = &self.f
        cdef Buffers get = Buffers()
        W, R, b, p, proj = weights
        self.get, self.cell = get, cell
        memset(f, 0, sizeof(Forward))
        f.k, f.size, f.reverse, f.gates = kernels(size), size, reverse, cell.cell.gates
        f.step = f.k.lstm_forward if cell.lstm else f.k.rnn_forward
        f.block = f.k.unit_block if cell.lstm else f.k.column_block
        f.rows = rows_of(get, batch)
        f.constant.cell = &cell.cell
        f.constant.hidden, f.constant.input, f.constant.outputs = len(b) // f.gates, W.shape[1], R.shape[1]
        f.constant.W, f.constant.R, f.constant.b, f.constant.p = get.read(W), get.read(R), get.read(b), get.read(p)
        f.proj = <const char *>get.read(proj)
        f.outputs = f.constant.hidden if proj is None else proj.shape[0]
        f.between.hidden, f.between.width = f.constant.hidden, f.outputs
        f.between.y_seen_step, f.between.gates_seen = f.constant.outputs, f.constant.outputs > f.outputs
        if options is not None:
            f.reset = <const char *>get.read(options.reset)
            f.between.reset_to_zero = options.reset_to_zero
            f.between.mask = get.read(options.mask)
            f.zone_y, f.zone_c = <const char *>get.read(options.zone_y), <const char *>get.read(options.zone_c)
        f.taped = with_tape
        f.carries = options is not None or (proj is not None and with_tape)
        f.direct = not (with_tape or options is not None or f.constant.outputs > f.outputs
                        or (reverse and f.rows.offsets != NULL))
        f.way = plan(&f.rows, f.constant.input, f.constant.hidden, f.constant.outputs, f.gates, size)
        if not f.direct and proj is not None:
            f.carries = True

    def workspace(self):
        """Values."""
        cdef char *at = NULL
        lay_out(&self.f, &at)
        return <Py_ssize_t>at // self.f.size + 64

    def start(self, x, h0, c0, y, Py_ssize_t y_offset, h, c, tape, workspace):
        """`tape` is (gates, c, c_prev, y_prev, m) or None. y is written from column `y_offset` on."""
        cdef Forward *f = &self.f
        cdef Buffers get = self.get
        cdef char *at
        f.x, f.h0, f.c0 = <const char *>get.read(x), <const char *>get.read(h0), <const char *>get.read(c0)
        f.between.y_first, f.between.c_first = f.h0, f.c0
        f.y, f.y_step = <char *>get.write(y) + y_offset * f.size, y.shape[y.ndim - 1]
        f.h_last, f.c_last = <char *>get.write(h), <char *>get.write(c)
        if tape is not None:
            gates, all_c, c_prev, y_prev, m = tape
            f.tape_gates, f.tape_c = <char *>get.write(gates), <char *>get.write(all_c)
            f.tape_c_prev, f.tape_y_prev = <char *>get.write(c_prev), <char *>get.write(y_prev)
            f.tape_m = <char *>get.write(m)
        at = <char *>get.write(workspace)
        lay_out(f, &at)


def run_passes(list passes, int num_threads):
    """Several passes that have been started, side by side where threads allow."""
    cdef Forward *all_passes[2]
    cdef ForwardPass one
    cdef int count = len(passes), k
    for k in range(count):
        one = passes[k]
        all_passes[k] = &one.f
    with nogil:
        if count == 2 and 1 < num_threads < 4:
            parallel(run_one, all_passes, 2)
        else:
            for k in range(count):
                run(all_passes[k], num_threads)


cdef class Step:
    """One layer's weights, held for `step`: a single time step, read from the weights as they are at each call."""
    cdef Buffers weights
    cdef Forward prototype
    cdef Cell cell

    def __init__(self, Cell cell, W, R, b, p):
        cdef Forward *f = &self.prototype
        self.weights, self.cell = Buffers(4), cell
        memset(f, 0, sizeof(Forward))
        f.size, f.gates, f.rows.T, f.direct = W.itemsize, cell.cell.gates, 1, True
        f.constant.cell = &cell.cell
        f.constant.input, f.constant.hidden = W.shape[1], len(b) // f.gates
        f.constant.outputs = f.outputs = f.y_step = R.shape[1]
        f.constant.W, f.constant.R = self.weights.read(W), self.weights.read(R)
        f.constant.b, f.constant.p = self.weights.read(b), self.weights.read(p)

    def step(self, x, h, c, y, h_out, c_out, int num_threads):
        """One step; h_out may be h, and c_out c; an RNN has no c. False, and nothing done, where an array is not as it
        must be."""
        cdef Buffers get = Buffers(6)
        cdef Forward f
        cdef fl_size B = len(x), H = self.prototype.constant.hidden, I = self.prototype.constant.input
        cdef int size = self.prototype.size
        if not (get.fits(x, False, 2, size, B, I) and get.fits(h, False, 3, size, B, H)
                and get.fits(y, True, 2, size, B, H) and get.fits(h_out, True, 3, size, B, H)):
            return False
        # y must not overlap anything; h_out may be h itself and c_out c itself.
        if (get.overlap(2, 0) or get.overlap(2, 1) or get.overlap(2, 3) or get.overlap(3, 0)
                or get.overlap_partly(3, 1)):
            return False
        if self.cell.lstm:
            if not (get.fits(c, False, 3, size, B, H) and get.fits(c_out, True, 3, size, B, H)):
                return False
            if (get.overlap(2, 4) or get.overlap(2, 5) or get.overlap(3, 4) or get.overlap(3, 5) or get.overlap(5, 0)
                    or get.overlap(5, 1) or get.overlap_partly(5, 4)):
                return False
        f = self.prototype
        f.k = kernels(size)
        f.step = f.k.lstm_forward if self.cell.lstm else f.k.rnn_forward
        f.block = f.k.unit_block if self.cell.lstm else f.k.column_block
        f.rows.B = f.rows.count = B
        f.x, f.h0, f.y = <const char *>get.views[0].buf, <const char *>get.views[1].buf, <char *>get.views[2].buf
        if self.cell.lstm:
            f.c_last = <char *>get.views[5].buf
        divide(&f.division, &f.rows, H, f.block, f.gates * H * (H + I), size, num_threads)
        with nogil:
            if self.cell.lstm and get.views[5].buf != get.views[4].buf:
                memcpy(f.c_last, get.views[4].buf, B * H * size)
            f.s1 = 1
            run_steps(&f, 0, 1)
            memcpy(get.views[3].buf, f.y, B * H * size)
        return True
