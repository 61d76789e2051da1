"""The simple RNN's time loops: forward, and back-propagation through time. The step itself is _c/rnn.h.

Everything here is checked and allocated by rnn.py. Arrays are C-contiguous and of one dtype.
"""
from libc.string cimport memcpy, memset

from ._blas cimport matmul
from ._kernels cimport (FL_IDENTITY, FL_LOGISTIC, FL_RELU, FL_TANH, fl_activation, fl_kernels, fl_rnn_backward,
                        fl_rnn_forward, fl_size)
from ._loops cimport (Division, Plan, Products, Share, add_products, aligned, begin_products, block_steps,
                      column_panels, divide, end_products, multiply, pack_columns, pack_rows, plan,
                      products_workspace, row_panels, share)
from ._runtime cimport Buffers, kernels, parallel

ACTIVATIONS = {"tanh": FL_TANH, "relu": FL_RELU, "logistic": FL_LOGISTIC, "identity": FL_IDENTITY}


# ---- forward -----------------------------------------------------------------------------------------------------------

cdef struct Forward:
    const fl_kernels *k
    Division division
    fl_rnn_forward step     # what is the same at every t
    int size                # bytes of a value
    fl_size B
    fl_size t0              # the steps to run
    fl_size t1
    const char *x           # (T, B, I), or NULL
    const char *wx          # (t1 - t0, B, H), or NULL
    const char *h0          # (B, H)
    char *y                 # (T, B, H)
    char *h_slots           # the tape's (T + 1, B, H): h^0 first; or NULL


cdef fl_rnn_forward forward_step(const Forward *f, fl_size t) noexcept nogil:
    cdef fl_rnn_forward s = f.step
    cdef fl_size state = f.B * s.hidden * f.size
    if f.x != NULL:
        s.x = f.x + t * f.B * s.input * f.size
    if f.wx != NULL:
        s.wx = f.wx + (t - f.t0) * state
    if f.h_slots != NULL:
        s.h_prev = f.h_slots + t * state
        s.h = f.h_slots + (t + 1) * state
        s.h_copy = f.y + t * state
    else:
        s.h_prev = f.y + (t - 1) * state if t else f.h0
        s.h = f.y + t * state
    return s


cdef void forward_part(void *argument, int part, int parts) noexcept nogil:
    cdef Forward *f = <Forward *>argument
    cdef Share own = share(f.division, part, f.B, f.step.hidden, f.k.column_block)
    cdef fl_rnn_forward s
    cdef fl_size t
    for t in range(f.t0, f.t1):
        s = forward_step(f, t)
        f.k.rnn_forward(&s, own.row0, own.row1, own.unit0, own.unit1)


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
                f.wx += f.B * f.step.hidden * f.size


def forward_workspace(fl_size T, fl_size B, fl_size I, fl_size H, int size):
    """Values of workspace that `forward` needs."""
    cdef const fl_kernels *k = kernels(size)
    cdef Plan way = plan(T, B, I, H, 1, size)
    cdef fl_size values = 64
    if way.pack:
        values += column_panels(k, 1, H, H + way.folded)
    if way.hoist:
        values += column_panels(k, 1, H, I)
    return values


def forward(str nonlinearity, x, W, R, b, h0, y, h, tape_h, workspace, int num_threads):
    """y^t = h^t and the last h from x, weights and h0; and the tape, unless it is None."""
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
    f.h_slots = <char *>get.write(tape_h)
    memset(&f.step, 0, sizeof(f.step))
    f.step.hidden, f.step.input = H, I
    f.step.activation = ACTIVATIONS[nonlinearity]
    f.step.W, f.step.R, f.step.b = get.read(W), get.read(R), get.read(b)

    cdef void *h_last = get.write(h)
    cdef char *space = aligned(<char *>get.write(workspace))
    cdef fl_size state = B * H * f.size, block = block_steps(T, B), t, n
    cdef Plan way = plan(T, B, I, H, 1, f.size)
    cdef const char *x_first = f.x
    cdef char *wx
    cdef char *W_panels
    f.division = divide(T, B, H, f.k.column_block, H * (H + way.folded), f.size, num_threads)

    with nogil:
        if f.h_slots != NULL:
            memcpy(f.h_slots, f.h0, state)
        if way.pack:
            f.step.panels = space
            pack_columns(f.k, space, 1, H, f.step.W, way.folded, f.step.R, f.division.parts)
            space += column_panels(f.k, 1, H, H + way.folded) * f.size

        if way.hoist:
            f.x = NULL
            W_panels = space
            pack_columns(f.k, W_panels, 1, H, f.step.W, I, NULL, f.division.parts)
            space += column_panels(f.k, 1, H, I) * f.size
            t = 0
            while t < T:
                n = min(block, T - t)
                wx = f.y + t * state  # overwritten by h^t
                multiply(f.k, n * B, H, I, x_first + t * B * I * f.size, W_panels, wx,
                         f.division.parts)
                f.wx = wx
                run_forward(&f, t, t + n)
                t += n
        else:
            run_forward(&f, 0, T)
        memcpy(h_last, f.y + (T - 1) * state if T else f.h0, state)


cdef class Cell:
    """One layer's weights, held for `step`: a single time step, read from the weights as they are at each call."""
    cdef Buffers weights
    cdef fl_rnn_forward prototype
    cdef int size

    def __init__(self, str nonlinearity, W, R, b):
        self.weights = Buffers()
        self.size = W.itemsize
        memset(&self.prototype, 0, sizeof(self.prototype))
        self.prototype.hidden, self.prototype.input = R.shape[1], W.shape[1]
        self.prototype.activation = ACTIVATIONS[nonlinearity]
        self.prototype.W, self.prototype.R = self.weights.read(W), self.weights.read(R)
        self.prototype.b = self.weights.read(b)

    def step(self, x, h, y, h_out, int num_threads):
        """One step; h_out may be h. False, and nothing done, where an array is not as it must be."""
        cdef Buffers get = Buffers()
        cdef Forward f
        cdef fl_size B = len(x), H = self.prototype.hidden, I = self.prototype.input
        if not (get.fits(x, False, 2, self.size, B, I) and get.fits(h, False, 3, self.size, B, H)
                and get.fits(y, True, 2, self.size, B, H) and get.fits(h_out, True, 3, self.size, B, H)):
            return False
        if (get.overlap(2, 0) or get.overlap(2, 1) or get.overlap(2, 3) or get.overlap(3, 0)
                or get.overlap_partly(3, 1)):
            return False
        f.x, f.wx, f.h0 = <const char *>get.views[0].buf, NULL, <const char *>get.views[1].buf
        f.y, f.h_slots = <char *>get.views[2].buf, NULL
        f.k, f.size, f.B, f.step = kernels(self.size), self.size, B, self.prototype
        f.division = divide(1, B, H, f.k.column_block, H * (H + I), f.size, num_threads)
        with nogil:
            run_forward(&f, 0, 1)
            memcpy(get.views[3].buf, f.y, B * H * self.size)
        return True


# ---- backward ----------------------------------------------------------------------------------------------------------

cdef struct Backward:
    const fl_kernels *k
    Division division
    fl_rnn_backward step
    int size
    fl_size T
    fl_size B
    fl_size t0              # the steps to run, last first
    fl_size t1
    fl_size delta_t         # the time of delta's first slot
    const char *h_slots     # the tape
    const char *dy          # (T, B, H), or NULL
    const char *dh          # (B, H), or NULL
    char *delta             # (block + 1, B, H)
    char *delta_panels      # of the block's rows, or NULL


cdef fl_rnn_backward backward_step(const Backward *f, fl_size t) noexcept nogil:
    cdef fl_rnn_backward s = f.step
    cdef fl_size state = f.B * s.hidden * f.size
    s.h = f.h_slots + (t + 1) * state
    if f.dy != NULL:
        s.dh = f.dy + t * state
    s.delta = f.delta + (t - f.delta_t) * state
    if f.delta_panels != NULL:
        s.delta_panels = f.delta_panels + (t - f.delta_t) * f.B * f.k.column_block * f.size
    if t == f.T - 1:
        s.dh_final = f.dh
    else:
        s.delta_next = f.delta + (t + 1 - f.delta_t) * state
    return s


cdef void backward_part(void *argument, int part, int parts) noexcept nogil:
    cdef Backward *f = <Backward *>argument
    cdef Share own = share(f.division, part, f.B, f.step.hidden, f.k.column_block)
    cdef fl_rnn_backward s
    cdef fl_size t
    for t in range(f.t1 - 1, f.t0 - 1, -1):
        s = backward_step(f, t)
        f.k.rnn_backward(&s, own.row0, own.row1, own.unit0, own.unit1)


cdef void run_backward(Backward *f, fl_size t0, fl_size t1) noexcept nogil:
    cdef fl_size t
    if f.division.by_rows or f.division.parts == 1:
        f.t0, f.t1 = t0, t1
        parallel(backward_part, f, f.division.parts)
    else:
        for t in range(t1 - 1, t0 - 1, -1):
            f.t0, f.t1 = t, t + 1
            parallel(backward_part, f, f.division.parts)


def backward_workspace(fl_size T, fl_size B, fl_size I, fl_size H, int size):
    """Values of workspace that `backward` needs."""
    cdef const fl_kernels *k = kernels(size)
    return (64 + (block_steps(T, B) + 1) * B * H + row_panels(k, H, H)
            + products_workspace(k, T, B, 1, I, H))


def backward(str nonlinearity, x, W, R, h_slots, dy, dh, dx, dW, dR, db, dh0, bint accumulate, workspace,
             int num_threads):
    """All gradients from a tape (h_slots), and the gradients that arrive: dy, dh (each may be None)."""
    cdef Buffers get = Buffers()
    cdef fl_size T = x.shape[0], B = x.shape[1], I = x.shape[2], H = R.shape[1]
    cdef Backward f
    f.size = x.itemsize
    f.k = kernels(f.size)
    f.T, f.B = T, B
    f.h_slots = <const char *>get.read(h_slots)
    f.dy = <const char *>get.read(dy)
    f.dh = <const char *>get.read(dh)
    f.delta = aligned(<char *>get.write(workspace))
    memset(&f.step, 0, sizeof(f.step))
    f.step.hidden = H
    f.step.activation = ACTIVATIONS[nonlinearity]

    cdef Products out
    out.k, out.size, out.gates, out.input, out.hidden = f.k, f.size, 1, I, H
    out.delta = f.delta
    out.W = get.read(W)
    out.dW, out.dR, out.db = get.write(dW), get.write(dR), get.write(db)
    out.accumulate = accumulate

    cdef const char *all_x = <const char *>get.read(x)
    cdef char *all_dx = <char *>get.write(dx)
    cdef const void *R_data = get.read(R)
    cdef void *dh_first = get.write(dh0)
    cdef fl_size state = B * H * f.size, block = block_steps(T, B), t0, t1
    cdef char *space
    f.division = divide(T, B, H, f.k.column_block, H * H, f.size, num_threads)

    with nogil:
        space = f.delta + (block + 1) * state
        f.step.panels = space
        if T > 1:
            pack_rows(f.k, space, R_data, H, H, f.division.parts)
        out.dx = all_dx
        begin_products(&out, T, B, space + row_panels(f.k, H, H) * f.size, f.division.parts)
        f.delta_panels = out.delta_panels

        t1 = T
        while t1 > 0 and B > 0:
            t0 = max(t1 - block, 0)
            if t1 < T:  # the step after this block's last
                memcpy(f.delta + (t1 - t0) * state, f.delta, state)
            f.delta_t = t0
            out.rows = (t1 - t0) * B
            f.step.panel_step = out.rows * f.k.column_block
            run_backward(&f, t0, t1)

            out.x = all_x + t0 * B * I * f.size
            out.y_prev = f.h_slots + t0 * state
            out.dx = all_dx + t0 * B * I * f.size if all_dx != NULL else NULL
            add_products(&out, f.division.parts)
            t1 = t0
        end_products(&out, f.division.parts)

        if T > 1:
            multiply(f.k, B, H, H, f.delta, f.step.panels, dh_first, f.division.parts)
        elif T == 1:
            matmul(f.size, False, False, B, H, H, f.delta, R_data, 0, dh_first)
        elif f.dh != NULL:
            memcpy(dh_first, f.dh, state)
        else:
            memset(dh_first, 0, state)
