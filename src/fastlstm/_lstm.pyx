"""The LSTM's time loops: forward, and back-propagation through time. The step itself is _c/lstm.h.

Everything here is checked and allocated by lstm.py. Arrays are C-contiguous and of one dtype.
"""
from libc.string cimport memcpy, memset

from ._blas cimport matmul
from ._kernels cimport fl_kernels, fl_lstm_backward, fl_lstm_forward, fl_size
from ._loops cimport (Division, Plan, Products, Share, add_products, aligned, begin_products, block_steps,
                      column_panels, divide, end_products, multiply, pack_columns, pack_rows, plan,
                      products_workspace, row_panels, share)
from ._runtime cimport Buffers, kernels, parallel


# ---- forward -----------------------------------------------------------------------------------------------------------

cdef struct Forward:
    const fl_kernels *k
    Division division
    fl_lstm_forward step    # what is the same at every t
    int size                # bytes of a value
    fl_size B
    fl_size t0              # the steps to run
    fl_size t1
    const char *x           # (T, B, I), or NULL
    const char *wx          # (t1 - t0, B, 4H), or NULL
    const char *h0          # (B, H)
    char *y                 # (T, B, H)
    char *c                 # (B, H), or with a tape (T + 1, B, H)
    char *gates             # the tape's (T, B, 4H), or NULL
    char *y_slots           # the tape's (T + 1, B, H): y^0 first; or NULL


cdef fl_lstm_forward forward_step(const Forward *f, fl_size t) noexcept nogil:
    cdef fl_lstm_forward s = f.step
    cdef fl_size state = f.B * s.hidden * f.size
    if f.x != NULL:
        s.x = f.x + t * f.B * s.input * f.size
    if f.wx != NULL:
        s.wx = f.wx + (t - f.t0) * 4 * state
    if f.gates != NULL:
        s.gates = f.gates + t * 4 * state
        s.c_prev = f.c + t * state
        s.c = f.c + (t + 1) * state
        s.y_prev = f.y_slots + t * state
        s.y = f.y_slots + (t + 1) * state
        s.y_copy = f.y + t * state
    else:
        s.c_prev = s.c = f.c
        s.y_prev = f.y + (t - 1) * state if t else f.h0
        s.y = f.y + t * state
    return s


cdef void forward_part(void *argument, int part, int parts) noexcept nogil:
    cdef Forward *f = <Forward *>argument
    cdef Share own = share(f.division, part, f.B, f.step.hidden, f.k.unit_block)
    cdef fl_lstm_forward s
    cdef fl_size t
    for t in range(f.t0, f.t1):
        s = forward_step(f, t)
        f.k.lstm_forward(&s, own.row0, own.row1, own.unit0, own.unit1)


cdef void run_forward(Forward *f, fl_size t0, fl_size t1) noexcept nogil:
    cdef fl_size t
    if f.division.by_rows or f.division.parts == 1:
        f.t0, f.t1 = t0, t1
        parallel(forward_part, f, f.division.parts)
    else:
        for t in range(t0, t1):
            f.t0, f.t1 = t, t + 1
            parallel(forward_part, f, f.division.parts)
            if f.wx != NULL:
                f.wx += 4 * f.B * f.step.hidden * f.size


def forward_workspace(fl_size T, fl_size B, fl_size I, fl_size H, int size, bint tape):
    """Values of workspace that `forward` needs."""
    cdef const fl_kernels *k = kernels(size)
    cdef Plan way = plan(T, B, I, H, 4, size)
    cdef fl_size values = 64
    if way.pack:
        values += column_panels(k, 4, H, H + way.folded)
    if way.hoist:
        values += column_panels(k, 1, 4 * H, I)
        if not tape:
            values += block_steps(T, B) * B * 4 * H
    return values


def forward(x, W, R, b, p, h0, c0, y, h, c, tape_gates, tape_c, tape_y, workspace, int num_threads):
    """y^t, h and c from x, weights, h0 and c0; and the tape, unless its arrays are None."""
    cdef Buffers get = Buffers()
    cdef fl_size T = x.shape[0], B = x.shape[1], I = x.shape[2], H = R.shape[1]
    cdef Forward f
    f.size = x.itemsize
    f.k = kernels(f.size)
    f.B = B
    f.x = <const char *>get.read(x)
    f.wx = NULL
    f.h0 = <const char *>get.read(h0)
    f.y = <char *>get.write(y)
    f.gates = <char *>get.write(tape_gates)
    f.y_slots = <char *>get.write(tape_y)
    memset(&f.step, 0, sizeof(f.step))
    f.step.hidden, f.step.input = H, I
    f.step.W, f.step.R = get.read(W), get.read(R)
    f.step.b, f.step.p = get.read(b), get.read(p)

    cdef const void *c_first = get.read(c0)
    cdef void *h_last = get.write(h)
    cdef void *c_last = get.write(c)
    cdef char *all_c = <char *>get.write(tape_c)
    cdef char *space = aligned(<char *>get.write(workspace))
    cdef fl_size state = B * H * f.size, block = block_steps(T, B), t, n
    cdef Plan way = plan(T, B, I, H, 4, f.size)
    cdef const char *x_first = f.x
    cdef char *wx
    cdef char *W_panels
    f.division = divide(T, B, H, f.k.unit_block, 4 * H * (H + way.folded), f.size, num_threads)

    with nogil:
        f.c = <char *>c_last if all_c == NULL else all_c
        memcpy(f.c, c_first, state)
        if f.y_slots != NULL:
            memcpy(f.y_slots, f.h0, state)
        if way.pack:
            f.step.panels = space
            pack_columns(f.k, space, 4, H, f.step.W, way.folded, f.step.R, f.division.parts)
            space += column_panels(f.k, 4, H, H + way.folded) * f.size

        if way.hoist:
            f.x = NULL
            W_panels = space
            pack_columns(f.k, W_panels, 1, 4 * H, f.step.W, I, NULL, f.division.parts)
            space += column_panels(f.k, 1, 4 * H, I) * f.size
            t = 0
            while t < T:
                n = min(block, T - t)
                wx = space if f.gates == NULL else f.gates + 4 * t * state
                multiply(f.k, n * B, 4 * H, I, x_first + t * B * I * f.size, W_panels, wx,
                         f.division.parts)
                f.wx = wx
                run_forward(&f, t, t + n)
                t += n
        else:
            run_forward(&f, 0, T)

        memcpy(h_last, f.y + (T - 1) * state if T else f.h0, state)
        if all_c != NULL:
            memcpy(c_last, all_c + T * state, state)


cdef class Cell:
    """One layer's weights, held for `step`: a single time step, read from the weights as they are at each call."""
    cdef Buffers weights
    cdef fl_lstm_forward prototype
    cdef int size

    def __init__(self, W, R, b, p):
        self.weights = Buffers()
        self.size = W.itemsize
        memset(&self.prototype, 0, sizeof(self.prototype))
        self.prototype.hidden, self.prototype.input = R.shape[1], W.shape[1]
        self.prototype.W, self.prototype.R = self.weights.read(W), self.weights.read(R)
        self.prototype.b, self.prototype.p = self.weights.read(b), self.weights.read(p)

    def step(self, x, h, c, y, h_out, c_out, int num_threads):
        """One step; h_out may be h, and c_out c. False, and nothing done, where an array is not as it must be."""
        cdef Buffers get = Buffers()
        cdef Forward f
        cdef fl_size B = len(x), H = self.prototype.hidden, I = self.prototype.input, state = B * H * self.size
        if not (get.fits(x, False, 2, self.size, B, I) and get.fits(h, False, 3, self.size, B, H)
                and get.fits(c, False, 3, self.size, B, H) and get.fits(y, True, 2, self.size, B, H)
                and get.fits(h_out, True, 3, self.size, B, H) and get.fits(c_out, True, 3, self.size, B, H)):
            return False
        # y must not overlap anything; h_out may be h itself and c_out c itself.
        if (get.overlap(3, 0) or get.overlap(3, 1) or get.overlap(3, 2) or get.overlap(3, 4) or get.overlap(3, 5)
                or get.overlap(4, 0) or get.overlap(4, 2) or get.overlap(4, 5) or get.overlap(5, 0)
                or get.overlap(5, 1) or get.overlap_partly(4, 1) or get.overlap_partly(5, 2)):
            return False
        cdef const char *c_at = <const char *>get.views[2].buf
        cdef char *h_to = <char *>get.views[4].buf
        cdef char *c_to = <char *>get.views[5].buf
        f.x, f.wx, f.h0 = <const char *>get.views[0].buf, NULL, <const char *>get.views[1].buf
        f.y, f.c, f.gates, f.y_slots = <char *>get.views[3].buf, c_to, NULL, NULL
        f.k, f.size, f.B, f.step = kernels(self.size), self.size, B, self.prototype
        f.division = divide(1, B, H, f.k.unit_block, 4 * H * (H + I), f.size, num_threads)
        with nogil:
            if c_to != c_at:
                memcpy(c_to, c_at, state)
            run_forward(&f, 0, 1)
            memcpy(h_to, f.y, state)
        return True


# ---- backward ----------------------------------------------------------------------------------------------------------

cdef struct Backward:
    const fl_kernels *k
    Division division
    fl_lstm_backward step
    int size
    fl_size T
    fl_size B
    fl_size t0              # the steps to run, last first
    fl_size t1
    fl_size delta_t         # the time of delta's first slot
    const char *gates       # the tape
    const char *c
    const char *dy          # (T, B, H), or NULL
    const char *dh          # (B, H), or NULL
    char *delta             # (block + 1, B, 4H)
    char *delta_panels      # of the block's rows, or NULL


cdef fl_lstm_backward backward_step(const Backward *f, fl_size t) noexcept nogil:
    cdef fl_lstm_backward s = f.step
    cdef fl_size state = f.B * s.hidden * f.size
    s.gates = f.gates + t * 4 * state
    s.c_prev = f.c + t * state
    s.c = f.c + (t + 1) * state
    if f.dy != NULL:
        s.dy = f.dy + t * state
    s.delta = f.delta + (t - f.delta_t) * 4 * state
    if f.delta_panels != NULL:
        s.delta_panels = f.delta_panels + (t - f.delta_t) * f.B * f.k.column_block * f.size
    if t == f.T - 1:
        s.dy_final = f.dh
    else:
        s.delta_next = f.delta + (t + 1 - f.delta_t) * 4 * state
    return s


cdef void backward_part(void *argument, int part, int parts) noexcept nogil:
    cdef Backward *f = <Backward *>argument
    cdef Share own = share(f.division, part, f.B, f.step.hidden, f.k.column_block)
    cdef fl_lstm_backward s
    cdef fl_size t
    for t in range(f.t1 - 1, f.t0 - 1, -1):
        s = backward_step(f, t)
        f.k.lstm_backward(&s, own.row0, own.row1, own.unit0, own.unit1)


cdef void run_backward(Backward *f, fl_size t0, fl_size t1) noexcept nogil:
    cdef fl_size t
    if f.division.by_rows or f.division.parts == 1:
        f.t0, f.t1 = t0, t1
        parallel(backward_part, f, f.division.parts)
    else:
        for t in range(t1 - 1, t0 - 1, -1):
            f.t0, f.t1 = t, t + 1
            parallel(backward_part, f, f.division.parts)


cdef struct PeepholeGradient:
    const fl_kernels *k
    const Products *p
    const char *c           # (rows + B, H): c^{t-1} of every row, and those of the step after the last
    fl_size B
    void *dp


cdef void peephole_gradient_part(void *argument, int part, int parts) noexcept nogil:
    cdef PeepholeGradient *g = <PeepholeGradient *>argument
    cdef Division by_units = Division(parts, False)
    cdef Share own = share(by_units, part, 1, g.p.hidden, g.k.column_block)
    g.k.add_peephole_gradient(g.dp, g.p.delta, g.c, g.c + g.B * g.p.hidden * g.p.size, g.p.rows, g.p.hidden,
                              own.unit0, own.unit1)


def backward_workspace(fl_size T, fl_size B, fl_size I, fl_size H, int size):
    """Values of workspace that `backward` needs."""
    cdef const fl_kernels *k = kernels(size)
    return (64 + (block_steps(T, B) + 1) * B * 4 * H + row_panels(k, 4 * H, H)
            + products_workspace(k, T, B, 4, I, H))


def backward(x, W, R, p, gates, c, y_slots, dy, dh, dc, dx, dW, dR, db, dp, dh0, dc0, bint accumulate, workspace,
             int num_threads):
    """All gradients from a tape (gates, c, y_slots), and the gradients that arrive: dy, dh, dc (each may be None)."""
    cdef Buffers get = Buffers()
    cdef fl_size T = x.shape[0], B = x.shape[1], I = x.shape[2], H = R.shape[1]
    cdef Backward f
    f.size = x.itemsize
    f.k = kernels(f.size)
    f.T, f.B = T, B
    f.gates = <const char *>get.read(gates)
    f.c = <const char *>get.read(c)
    f.dy = <const char *>get.read(dy)
    f.dh = <const char *>get.read(dh)
    f.delta = aligned(<char *>get.write(workspace))
    memset(&f.step, 0, sizeof(f.step))
    f.step.hidden = H
    f.step.p = get.read(p)
    f.step.dc = get.write(dc0)

    cdef Products out
    out.k, out.size, out.gates, out.input, out.hidden = f.k, f.size, 4, I, H
    out.delta = f.delta
    out.W = get.read(W)
    out.dW, out.dR, out.db = get.write(dW), get.write(dR), get.write(db)
    out.accumulate = accumulate

    cdef PeepholeGradient peephole
    peephole.k, peephole.p, peephole.B = f.k, &out, B
    peephole.dp = get.write(dp)

    cdef const char *all_x = <const char *>get.read(x)
    cdef const char *all_y = <const char *>get.read(y_slots)
    cdef char *all_dx = <char *>get.write(dx)
    cdef const void *R_data = get.read(R)
    cdef const void *dc_last = get.read(dc)
    cdef void *dh_first = get.write(dh0)
    cdef fl_size state = B * H * f.size, block = block_steps(T, B), t0, t1
    cdef char *space
    f.division = divide(T, B, H, f.k.column_block, 4 * H * H, f.size, num_threads)

    with nogil:
        if peephole.dp != NULL and not accumulate:
            memset(peephole.dp, 0, 3 * H * f.size)
        if dc_last != NULL:
            memcpy(f.step.dc, dc_last, state)
        else:
            memset(f.step.dc, 0, state)
        space = f.delta + (block + 1) * 4 * state
        f.step.panels = space
        if T > 1:
            pack_rows(f.k, space, R_data, 4 * H, H, f.division.parts)
        out.dx = all_dx
        begin_products(&out, T, B, space + row_panels(f.k, 4 * H, H) * f.size, f.division.parts)
        f.delta_panels = out.delta_panels

        t1 = T
        while t1 > 0 and B > 0:
            t0 = max(t1 - block, 0)
            if t1 < T:  # the step after this block's last
                memcpy(f.delta + (t1 - t0) * 4 * state, f.delta, 4 * state)
            f.delta_t = t0
            out.rows = (t1 - t0) * B
            f.step.panel_step = out.rows * f.k.column_block
            run_backward(&f, t0, t1)

            out.x = all_x + t0 * B * I * f.size
            out.y_prev = all_y + t0 * state
            out.dx = all_dx + t0 * B * I * f.size if all_dx != NULL else NULL
            add_products(&out, f.division.parts)
            if peephole.dp != NULL:
                peephole.c = f.c + t0 * state
                parallel(peephole_gradient_part, &peephole, f.division.parts)
            t1 = t0
        end_products(&out, f.division.parts)

        if T > 1:
            multiply(f.k, B, H, 4 * H, f.delta, f.step.panels, dh_first, f.division.parts)
        elif T == 1:
            matmul(f.size, False, False, B, H, 4 * H, f.delta, R_data, 0, dh_first)
        elif f.dh != NULL:
            memcpy(dh_first, f.dh, state)
        else:
            memset(dh_first, 0, state)
