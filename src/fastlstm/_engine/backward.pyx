"""Back-propagation through time. The step itself is _c/step/lstm.h or rnn.h; what lies between two steps, carry.h.

Everything here is checked and allocated by call.py; names are those of forward.pyx. Steps run from the last to the
first, in blocks whose deltas stay in the cache for the products that give the gradients of the weights. With recompute
there is a tape of one segment at a time, from running that again.
"""
from libc.string cimport memset

from fastlstm._engine.blas cimport matmul
from fastlstm._engine.forward cimport Forward, ForwardPass, lay_out as lay_out_forward, prepare, run_again
from fastlstm._system.kernels cimport (FL_FULL, FL_ROWS_PER_GROUP, FL_ROWS_PER_PART, fl_add_parts, fl_add_totals, fl_backward, fl_call,
                        fl_backward_step, fl_kernels, fl_multiply_in_groups, fl_padded_columns, fl_panel_columns,
                        fl_product, fl_size, fl_start_totals, fl_sum, fl_y_gradient)
from fastlstm._engine.loops cimport (Cell, Division, Products, Rows, Share, Span, Tape, add_products, begin_products,
                      block_rows, border, c_on, c_prev_on, divide, divide_rows, end_products, first_row,
                      lay_out_products, multiply_pieces, next_block, of, pack_rows, row_of, row_panels, rows_at,
                      rows_of, rows_per_block, share, take)
from fastlstm._system.runtime cimport (WORK_BEFORE_A_LOOK, Buffers, Device, begin_call, end_call, kernels, parallel, piece_end,
                        stopped)

cdef enum:
    SUMS = 5

cdef struct Backward:
    const fl_kernels *k
    fl_backward_step step
    fl_backward constant        # what is the same at every step
    fl_y_gradient between       # likewise, on the way from y^t to the step after it
    Products products
    Rows rows
    bint reverse
    int size                    # bytes of a value,
    int cell_size               # of a cell, and of a sum
    fl_size gates
    fl_size outputs             # P: values in a row of y, H without a projection
    fl_size K                   # values in a row of y as the steps see it
    fl_size block               # hidden units that a thread's share is made of
    fl_size unit_work           # multiply-adds that a step takes for a row and unit; 0 on a device
    fl_size block_rows          # in a block of steps
    bint packed                 # is R packed? Not for a single plain step
    Division division
    fl_size s0                  # the steps to run, last first
    fl_size s1
    fl_size s_end               # where their block ends
    fl_size delta_row           # of all rows, where delta and delta_panels begin
    const char *R
    const char *proj            # (P, H), or NULL
    const char *x               # (rows, I)
    Tape tape
    Forward *again              # recompute: what runs a segment again; or NULL
    # Options.
    bint reset_to_zero
    const char *reset           # (rows,) bytes, or NULL
    const char *zone_y          # (rows, P), or NULL
    const char *zone_c          # (rows, H), or NULL
    # Gradients that arrive; each may be NULL.
    const char *dy              # (rows, ...): P values every dy_step
    fl_size dy_step
    const char *dh              # (B, P)
    const char *dc              # (B, H)
    const char *dg              # (B, K - P): at the gates, with full gate recurrence
    const char *dc_above        # (rows, H)
    # Results beside the products'; each may be NULL, dh0 aside.
    char *dx                    # (rows, I)
    char *dp
    char *dproj                 # (P, H)
    char *dh0                   # (B, P)
    char *dg0                   # (B, K - P)
    char *delta_all             # (rows, gates H)
    char *dy_all                # (rows, P)
    char *dc_all                # (rows, H)
    # Workspace.
    char *delta                 # (rows of a block, gates H), or delta_all
    char *delta_before          # (B, gates H): of the step that ran before this block, in the order of this pass
    char *dy_space              # (rows of a block, P): with a projection, the gradient of what it gives
    char *m_panels              # with a projection, packed rows of the tape's m
    char *zoned                 # (B, P): what zoneout sends from step to step
    char *R_panels
    char *gate_panels
    char *proj_panels
    fl_sum sums[SUMS]           # of many rows: dW, dR, db, dp, dproj
    fl_size in_part             # rows in their parts


cdef bint in_parts(const Backward *f) noexcept nogil:
    """Are there so many rows that their sums are made of parts? A device sums in its own way."""
    return f.rows.count > FL_ROWS_PER_PART and not f.k.device


cdef void lay_out_sums(Backward *f, char **at) noexcept nogil:
    cdef fl_size H = f.constant.hidden, padded = fl_padded_columns(f.k, f.gates, H), k
    cdef Products *p = &f.products
    f.sums[0] = fl_sum(p.dW_sum, NULL, p.input * padded)
    f.sums[1] = fl_sum(p.dR_sum, NULL, f.K * padded)
    f.sums[2] = fl_sum(p.db, NULL, f.gates * H)
    f.sums[3] = fl_sum(f.dp, NULL, (f.gates - 1) * H)
    f.sums[4] = fl_sum(f.dproj, NULL, f.outputs * H if f.proj != NULL else 0)
    for k in range(SUMS):
        f.sums[k].total = take(at, f.sums[k].values * f.size)


cdef void lay_out(Backward *f, char **at) noexcept nogil:
    cdef fl_size H = f.constant.hidden, B = f.rows.B, rows = block_rows(&f.rows, f.block_rows), values = f.gates * H
    cdef int vectors = <int>(f.k.column_block // f.k.unit_block)
    f.delta = take(at, rows * values * f.size) if f.delta_all == NULL else f.delta_all
    f.delta_before = take(at, B * values * f.size)
    if f.k.device:
        f.constant.sent = take(at, B * values * f.cell_size)
    f.R_panels = take(at, row_panels(f.k, vectors, values, f.outputs) * f.size)
    if f.K > f.outputs:
        f.gate_panels = take(at, row_panels(f.k, 3, values, f.K - f.outputs) * f.size)
    if f.proj != NULL:
        f.proj_panels = take(at, row_panels(f.k, vectors, f.outputs, H) * f.size)
        f.m_panels = take(at, row_panels(f.k, vectors, rows, H) * f.size)
        f.dy_space = take(at, rows * f.outputs * f.size)
    if f.zone_y != NULL:
        f.zoned = take(at, B * f.outputs * f.cell_size)
    lay_out_products(&f.products, &f.rows, f.dx != NULL, at)
    if in_parts(f):
        lay_out_sums(f, at)
    if f.again != NULL:
        lay_out_forward(f.again, at)


# ---- where things are --------------------------------------------------------------------------------------------------

cdef inline fl_size time(const Backward *f, fl_size s) noexcept nogil:
    return f.rows.T - 1 - s if f.reverse else s


cdef const char *c_of(const Backward *f, fl_size t) noexcept nogil:
    return c_on(&f.tape, &f.rows, f.reverse, t, f.constant.hidden * f.cell_size)


cdef const char *c_prev_of(const Backward *f, fl_size t) noexcept nogil:
    return c_prev_on(&f.tape, &f.rows, f.reverse, t, f.constant.hidden * f.cell_size)


cdef char *delta_of(const Backward *f, fl_size s) noexcept nogil:
    """The deltas of a step of this block, or of the one that ran before it."""
    cdef fl_size values = f.gates * f.constant.hidden
    if s == f.s_end and f.delta_all == NULL:
        return f.delta_before
    return f.delta + (first_row(&f.rows, time(f, s)) - (0 if f.delta_all != NULL else f.delta_row)) * values * f.size


# ---- a step ------------------------------------------------------------------------------------------------------------

cdef fl_y_gradient gradient_of_y(const Backward *f, fl_size s, bint last) noexcept nogil:
    """What makes up dy^t, for the rows that end with this step, or for those that go on."""
    cdef fl_y_gradient g = f.between
    cdef fl_size t = time(f, s), row = first_row(&f.rows, t)
    g.above = of(f.dy, row * f.dy_step, f.size)
    g.zone = of(f.zone_y, row * f.outputs, f.size)
    g.zoned = f.zoned
    g.all = of(f.dy_all, row * f.outputs, f.size)
    if last:
        g.a, g.reset, g.mask = NULL, NULL, NULL
        g.last = f.dh
    else:
        g.a = delta_of(f, s + 1)
        g.reset = <const unsigned char *>of(f.reset, first_row(&f.rows, time(f, s + 1)), 1)
    return g


cdef fl_size run_rows(const Backward *f, fl_size s, fl_size row0, fl_size row1, fl_size unit0, fl_size unit1,
                      bint last) noexcept nogil:
    """Some rows' deltas of step s; gives how many multiply-adds they took."""
    cdef fl_backward step = f.constant
    cdef fl_size t = time(f, s), row = first_row(&f.rows, t), H = step.hidden, values = f.gates * H
    cdef fl_size work = (row1 - row0) * f.unit_work, unit = unit0, unit_end
    if row0 >= row1:
        return 0
    if f.proj == NULL:
        step.y = gradient_of_y(f, s, last)
    else:
        step.y.a = f.dy_space + (row - f.delta_row) * f.outputs * f.size
        step.y.K, step.y.panels = f.outputs, f.proj_panels
    if last:
        step.to_gates_last = f.dg
    else:
        step.delta_next = delta_of(f, s + 1)
        step.reset = <const unsigned char *>of(f.reset, first_row(&f.rows, time(f, s + 1)), 1)
    step.gates = f.tape.gates + (row - f.tape.row) * values * f.size
    step.c, step.c_prev = c_of(f, t), c_prev_of(f, t)
    step.dc_above = of(f.dc_above, row * H, f.cell_size)
    step.zone_c = of(f.zone_c, row * H, f.size)
    step.dc_all = of(f.dc_all, row * H, f.cell_size)
    step.delta = delta_of(f, s)
    if f.products.delta_panels != NULL:
        step.delta_panels = f.products.delta_panels + (row - f.delta_row) * fl_panel_columns(f.k, f.gates) * f.size
    while unit < unit1:
        unit_end = piece_end(unit, unit1, f.block, work)
        f.step(&step, row0, row1, unit, unit_end)
        unit = unit_end
        if unit < unit1 and stopped():
            break
    return work * (unit1 - unit0)


cdef void run_dy(const Backward *f, fl_size s, fl_size row0, fl_size row1, fl_size column0, fl_size column1,
                 bint last) noexcept nogil:
    """With a projection, dy^t before the step."""
    cdef fl_y_gradient g
    cdef fl_size row = first_row(&f.rows, time(f, s)) - f.delta_row
    if row0 < row1:
        g = gradient_of_y(f, s, last)
        f.k.y_gradient(&g, f.dy_space + row * f.outputs * f.size, f.outputs, row0, row1, column0, column1)


cdef void run_start(const Backward *f, fl_size s, fl_size row0, fl_size row1, fl_size column0, fl_size column1,
                    bint with_cells) noexcept nogil:
    """The gradient of the initial state of rows that begin with step s."""
    cdef fl_size t = time(f, s), H = f.constant.hidden
    cdef fl_size begin = rows_at(&f.rows, time(f, s - 1)) if s else 0
    cdef const unsigned char *reset = <const unsigned char *>of(f.reset, first_row(&f.rows, t), 1)
    cdef fl_y_gradient g = f.between
    row0, row1 = max(row0, begin), min(row1, rows_at(&f.rows, t))
    if row0 >= row1 or not f.packed:
        return
    if not f.reset_to_zero:
        reset = NULL  # the state is the initial one in any case
    g.a, g.reset, g.to_first, g.zoned = delta_of(f, s), reset, NULL, f.zoned
    f.k.y_gradient(&g, f.dh0, f.outputs, row0, row1, column0, column1)
    if with_cells and reset != NULL and f.constant.dc != NULL:
        f.k.clear(<char *>f.constant.dc + row0 * H * f.cell_size, H * f.cell_size, H * f.cell_size, row1 - row0,
                  reset + row0)


cdef void start_gates(const Backward *f, fl_size s, fl_size row0, fl_size row1, fl_size column0,
                      fl_size column1) noexcept nogil:
    """The gradient of the initial gates of rows that begin with step s, for some columns."""
    cdef fl_size t = time(f, s), values = f.gates * f.constant.hidden, Q = f.K - f.outputs
    cdef const unsigned char *reset = <const unsigned char *>of(f.reset, first_row(&f.rows, t), 1)
    cdef fl_product product
    row0, row1 = max(row0, rows_at(&f.rows, time(f, s - 1)) if s else 0), min(row1, rows_at(&f.rows, t))
    if f.dg0 == NULL or row0 >= row1:
        return
    product = fl_product(Q, values, delta_of(f, s), values, 1, f.gate_panels, 3, 1, FL_FULL, f.dg0, Q, False, False)
    multiply_pieces(f.k, &product, row0, row1, column0, column1)
    if reset != NULL and f.reset_to_zero:
        f.k.clear(f.dg0 + (row0 * Q + column0) * f.size, Q * f.size, (column1 - column0) * f.size, row1 - row0, reset + row0)


cdef fl_size going_on(const Backward *f, fl_size s) noexcept nogil:
    """The rows of step s that have another step."""
    return min(rows_at(&f.rows, time(f, s)), rows_at(&f.rows, time(f, s + 1)) if s + 1 < f.rows.T else 0)


cdef void step_part(void *argument, int part, int parts) noexcept nogil:
    cdef Backward *f = <Backward *>argument
    cdef Share own = share(&f.division, part, f.rows.B, f.constant.hidden, f.block)
    cdef fl_size s, row0 = own.row0, row1, on, work = 0
    for s in range(f.s1 - 1, f.s0 - 1, -1):
        row1, on = min(own.row1, rows_at(&f.rows, time(f, s))), going_on(f, s)
        if f.proj != NULL and (f.division.by_rows or parts == 1):
            run_dy(f, s, row0, min(row1, on), 0, f.outputs, False)
            run_dy(f, s, max(row0, on), row1, 0, f.outputs, True)
        work += run_rows(f, s, row0, min(row1, on), own.unit0, own.unit1, False)
        work += run_rows(f, s, max(row0, on), row1, own.unit0, own.unit1, True)
        if f.division.by_rows or parts == 1:
            run_start(f, s, row0, row1, 0, f.outputs, True)
            start_gates(f, s, row0, row1, 0, f.K - f.outputs)
        if work >= WORK_BEFORE_A_LOOK:
            if stopped():
                return
            work = 0


cdef void dy_part(void *argument, int part, int parts) noexcept nogil:
    """dy^t by columns."""
    cdef Backward *f = <Backward *>argument
    cdef fl_size column0 = border(f.outputs, f.k.column_block, part, parts), s = f.s0
    cdef fl_size column1 = border(f.outputs, f.k.column_block, part + 1, parts), on = going_on(f, s)
    run_dy(f, s, 0, on, column0, column1, False)
    run_dy(f, s, on, rows_at(&f.rows, time(f, s)), column0, column1, True)


cdef void start_part(void *argument, int part, int parts) noexcept nogil:
    """The gradient of the initial state by columns, once a step is done."""
    cdef Backward *f = <Backward *>argument
    cdef fl_size Q = f.K - f.outputs, block = 3 * f.k.unit_block
    run_start(f, f.s0, 0, f.rows.B, border(f.outputs, f.k.column_block, part, parts),
              border(f.outputs, f.k.column_block, part + 1, parts), part == 0)
    start_gates(f, f.s0, 0, f.rows.B, border(Q, block, part, parts), border(Q, block, part + 1, parts))


cdef void run_steps(Backward *f, fl_size s0, fl_size s1) noexcept nogil:
    cdef fl_size s, work = 0
    cdef int parts = f.division.parts
    f.s_end = s1
    if f.division.by_rows or parts == 1:
        f.s0, f.s1 = s0, s1
        parallel(step_part, f, parts)
        return
    for s in range(s1 - 1, s0 - 1, -1):
        f.s0, f.s1 = s, s + 1
        if f.proj != NULL:
            parallel(dy_part, f, parts)
        parallel(step_part, f, parts)
        if s == 0 or rows_at(&f.rows, time(f, s - 1)) < rows_at(&f.rows, time(f, s)):
            parallel(start_part, f, parts)
        work += f.rows.B * f.constant.hidden * f.unit_work
        if work >= WORK_BEFORE_A_LOOK:
            if stopped():
                return
            work = 0


# ---- gradients of the weights ------------------------------------------------------------------------------------------

cdef void peephole_part(void *argument, int part, int parts) noexcept nogil:
    """Of the steps s0 to s1."""
    cdef Backward *f = <Backward *>argument
    cdef fl_size H = f.constant.hidden, values = f.gates * H, t, start, row
    cdef fl_size unit0 = border(H, f.k.column_block, part, parts), unit1 = border(H, f.k.column_block, part + 1, parts)
    cdef fl_size first = time(f, f.s1 - 1) if f.reverse else f.s0, end = time(f, f.s0) + 1 if f.reverse else f.s1
    if f.rows.offsets == NULL:  # the cells of all steps follow one another as the deltas do
        f.k.add_peephole_gradient(f.dp, f.constant.cell, f.products.delta, c_prev_of(f, first), c_of(f, first),
                                  f.products.rows, H, unit0, unit1)
        return
    t = first
    while t < end:
        start, t = t, t + 1
        # The cells of the steps that follow do so too, where as many rows came before; a block's first step stands alone,
        # since a tape may begin with it.
        while t < end and t - 1 > first and rows_at(&f.rows, t - 2) == rows_at(&f.rows, t - 1):
            t += 1
        row = first_row(&f.rows, start)
        f.k.add_peephole_gradient(f.dp, f.constant.cell,
                                  <const char *>f.products.delta + (row - f.delta_row) * values * f.size,
                                  c_prev_of(f, start), c_of(f, start), first_row(&f.rows, t) - row, H, unit0, unit1)


cdef void projection_part(void *argument, int part, int parts) noexcept nogil:
    """dproj += dy^T m, by columns."""
    cdef Backward *f = <Backward *>argument
    cdef fl_size H = f.constant.hidden, P = f.outputs
    cdef int vectors = <int>(f.k.column_block // f.k.unit_block)
    cdef fl_product product = fl_product(H, f.products.rows, f.dy_space, 1, P, f.m_panels, vectors, 1, FL_FULL, f.dproj,
                                         H, True, False)
    if product.K > FL_ROWS_PER_GROUP and not f.k.device:
        fl_multiply_in_groups(f.k, &product, P, border(H, f.k.column_block, part, parts),
                              border(H, f.k.column_block, part + 1, parts), f.size)
    else:
        multiply_pieces(f.k, &product, 0, P, border(H, f.k.column_block, part, parts),
                        border(H, f.k.column_block, part + 1, parts))


cdef void start_with(const Backward *f, char *to, const char *values, fl_size count, int size) noexcept nogil:
    """These values, of so many bytes, or zeros where they are NULL."""
    if values == NULL:
        f.k.clear(to, 0, count * size, 1, NULL)
    else:
        f.k.copy(to, 0, values, 0, count * size, 0, 1)


cdef void run_block(Backward *f, Span block) noexcept nogil:
    """The steps of a block, and what their deltas give."""
    cdef fl_size H = f.constant.hidden, I = f.products.input, values = f.gates * H, row = first_row(&f.rows, block.t0), n
    cdef fl_size s0 = f.rows.T - block.t1 if f.reverse else block.t0
    cdef fl_size s1 = f.rows.T - block.t0 if f.reverse else block.t1
    cdef int parts = f.division.parts
    cdef Products *p = &f.products
    p.rows = first_row(&f.rows, block.t1) - row
    f.constant.panel_step = p.rows * fl_panel_columns(f.k, f.gates)
    f.delta_row = row
    divide_rows(&f.division, &f.rows, block.t0, block.t1)
    run_steps(f, s0, s1)

    f.s0, f.s1 = s0, s1
    p.delta = f.delta if f.delta_all == NULL else f.delta_all + row * values * f.size
    p.x = f.x + row * I * f.size
    p.y_prev = f.tape.y_prev + (row - f.tape.row) * f.K * f.size
    p.dx = of(f.dx, row * I, f.size)
    add_products(p, parts)
    if f.dp != NULL:
        parallel(peephole_part, f, parts)
    if f.proj != NULL:
        pack_rows(f.k, f.m_panels, <int>(f.k.column_block // f.k.unit_block),
                  f.tape.m + (row - f.tape.row) * H * f.size, H, p.rows, H, parts)
        parallel(projection_part, f, parts)
    f.in_part += p.rows
    if in_parts(f) and f.in_part >= FL_ROWS_PER_PART:
        fl_add_parts(f.k, f.sums, SUMS, f.size)
        f.in_part = 0
    if f.delta_all == NULL:
        n = rows_at(&f.rows, time(f, s0))
        start_with(f, f.delta_before, delta_of(f, s0), n * values, f.size)


cdef void run(Backward *f, int num_threads) noexcept nogil:
    cdef fl_size H = f.constant.hidden, P = f.outputs, B = f.rows.B, T = f.rows.T, values = f.gates * H
    cdef int vectors = <int>(f.k.column_block // f.k.unit_block), parts
    cdef char *dc0 = <char *>f.constant.dc
    cdef Span left = Span(0, T if B else 0), segment
    if f.k.device:  # which has threads of its own
        num_threads = 1
    divide(&f.division, &f.rows, H, f.k.column_block, values * f.K, f.size, num_threads)
    f.unit_work = 0 if f.k.device else values
    parts = f.division.parts
    if not f.products.accumulate:
        if f.dp != NULL:
            start_with(f, f.dp, NULL, (f.gates - 1) * H, f.size)
        if f.dproj != NULL:
            start_with(f, f.dproj, NULL, P * H, f.size)
    if dc0 != NULL:
        start_with(f, dc0, f.dc, B * H, f.cell_size)
    # Rows without a step: what arrives goes on. All others' are written later.
    start_with(f, f.dh0, f.dh, B * P, f.size)
    if f.dg0 != NULL:
        start_with(f, f.dg0, f.dg, B * (f.K - P), f.size)
    if f.zoned != NULL:
        start_with(f, f.zoned, NULL, B * P, f.cell_size)
    if f.packed:
        pack_rows(f.k, f.R_panels, vectors, f.R, f.K, values, P, parts)
        f.between.panels = f.R_panels
    if f.gate_panels != NULL:
        pack_rows(f.k, f.gate_panels, 3, f.R + P * f.size, f.K, values, f.K - P, parts)
        f.constant.gate_panels = f.gate_panels
    if f.proj != NULL:
        pack_rows(f.k, f.proj_panels, vectors, f.proj, H, P, H, parts)
    f.products.dx = f.dx
    begin_products(&f.products, &f.rows, parts)
    f.in_part = 0
    if in_parts(f):
        fl_start_totals(f.k, f.sums, SUMS, f.size)

    if f.again != NULL:
        prepare(f.again, num_threads)
    while left.t0 < left.t1 and not stopped():
        segment = next_block(&left, &f.rows, f.again.segment if f.again != NULL else 0, not f.reverse)
        if f.again != NULL:
            run_again(f.again, segment)
            f.tape = f.again.tape
        while segment.t0 < segment.t1 and not stopped():
            run_block(f, next_block(&segment, &f.rows, f.block_rows, not f.reverse))
    if stopped():
        return
    if in_parts(f):
        fl_add_totals(f.k, f.sums, SUMS)
    end_products(&f.products, parts)
    if T == 1 and not f.packed:
        matmul(f.k, f.size, False, False, B, P, values, f.products.delta, f.R, 0, f.dh0)


cdef void run_one(void *argument, int part, int parts) noexcept nogil:
    """One of several passes that run side by side."""
    cdef Backward **all_passes = <Backward **>argument
    run(all_passes[part], 1)


cdef class BackwardPass:
    """One layer in one direction: `workspace` tells what memory it needs, `start` and `run_passes` do it."""
    cdef Backward f
    cdef Buffers get
    cdef Cell cell
    cdef ForwardPass again

    def __init__(self, Cell cell, batch, bint reverse, weights, options, bint with_dx, bint with_deltas, int size,
                 ForwardPass again=None, Device device=None):
        """`weights` are Weights, `options` and `device` as for a ForwardPass; `again` makes the tape where there is
        none."""
        cdef Backward *f = &self.f
        cdef Buffers get = Buffers()
        cdef fl_size rows, values, H, P
        W, R, _, p, proj, _ = weights
        self.get, self.cell, self.again = get, cell, again
        memset(f, 0, sizeof(Backward))
        f.again = NULL if again is None else &again.f
        f.k = kernels(size) if device is None else device.kernels()
        f.size, f.cell_size, f.reverse, f.gates = size, max(size, 4), reverse, cell.cell.gates
        f.step = f.k.lstm_backward if cell.lstm else f.k.rnn_backward
        f.block = f.k.column_block
        f.rows = rows_of(get, batch)
        H = len(R) // f.gates
        rows, values = f.rows.count, f.gates * H
        f.outputs = P = H if proj is None else proj.shape[0]
        f.constant.cell, f.constant.hidden = &cell.cell, H
        f.constant.p = get.input("p", p, (f.gates - 1) * H * size)
        f.K = R.shape[1]
        f.R = <const char *>get.input("R", R, values * f.K * size)
        f.proj = <const char *>get.input("proj", proj, P * H * size)
        f.between.K = values
        f.block_rows = rows_per_block(f.k, values * size)
        f.packed = (batch.invariant or f.rows.T > 1 or f.rows.offsets != NULL or options is not None
                    or proj is not None or f.K > f.outputs)
        if options is not None:
            f.reset = <const char *>get.input("reset", options.reset, rows)
            f.reset_to_zero = options.reset_to_zero
            f.between.mask = get.input("recurrent_mask", options.mask, f.rows.B * P * size)
            f.zone_y = <const char *>get.input("zoneout of y", options.zone_y, rows * P * size)
            f.zone_c = <const char *>get.input("zoneout of c", options.zone_c, rows * H * size)
        f.products.k, f.products.size, f.products.gates = f.k, size, f.gates
        f.products.input, f.products.hidden, f.products.outputs = W.shape[1], H, f.K
        f.products.W = get.input("W", W, values * f.products.input * size)
        f.dx = <char *>1 if with_dx else NULL
        f.delta_all = <char *>1 if with_deltas else NULL

    def workspace(self):
        """Values."""
        cdef char *at = NULL
        lay_out(&self.f, &at)
        return <Py_ssize_t>at // self.f.size + 64

    def start(self, x, tape, again, dy, Py_ssize_t dy_offset, last, dc_above, dx, gradients, first, resets, deltas,
              bint accumulate, workspace):
        """`tape` is (gates, c, c_prev, y_prev, m), `last` (dh, dc, dg) arriving at the final state, `gradients` (W, R,
        b, p, proj), `first` (dh0, dc0, dg0), `resets` what resets send to the initial state, likewise, or None, `deltas`
        (all deltas, dy, dc; an RNN's without dc) or None. dy is read from column `dy_offset` on.

        With recompute, `again` is ((h0, c0, g0), marks) of the forward pass, and the tape all None."""
        cdef Backward *f = &self.f
        cdef Buffers get = self.get
        cdef fl_size rows = f.rows.count, B = f.rows.B, values = f.gates * f.constant.hidden, I = f.products.input
        cdef fl_size y_size = f.outputs * f.size, c_size = f.constant.hidden * f.cell_size
        cdef fl_size g_size = (f.K - f.outputs) * f.size
        cdef char *at
        gates, all_c, c_prev, y_prev, m = tape
        f.x = <const char *>get.input("tape.x", x, rows * I * f.size)
        f.tape.gates = <char *>get.input("tape.gates", gates, rows * values * f.size)
        f.tape.c = <char *>get.input("tape.c", all_c, (B + rows) * c_size)
        f.tape.c_prev = <char *>get.input("tape.c_prev", c_prev, rows * c_size)
        f.tape.y_prev = <char *>get.input("tape.y_prev", y_prev, rows * f.K * f.size)
        f.tape.m = <char *>get.input("tape.m", m, rows * f.constant.hidden * f.size)
        if again is not None:
            first_again, marks = again
            self.again.begin(x, first_again, marks)
        f.between.above_step = f.dy_step = 0 if dy is None else row_of("dy", dy, dy_offset + f.outputs)
        f.dy = of(<const char *>get.input("dy", dy, rows * f.dy_step * f.size), dy_offset, f.size)
        dh, dc, dg = last
        f.dh = <const char *>get.input("dstate h", dh, B * y_size)
        f.dc = <const char *>get.input("dstate c", dc, B * c_size)
        f.dg = <const char *>get.input("dstate g", dg, B * g_size)
        f.dc_above = <const char *>get.input("dc", dc_above, rows * c_size)
        dW, dR, db, dp, dproj = gradients
        dh0, dc0, dg0 = first
        f.dx = <char *>get.output("out x", dx, rows * I * f.size)
        f.products.dW = get.output("out W", dW, values * I * f.size)
        f.products.dR = get.output("out R", dR, values * f.K * f.size)
        f.products.db = get.output("out b", db, values * f.size)
        f.products.accumulate = accumulate
        f.dp = <char *>get.output("out p", dp, (values - f.constant.hidden) * f.size)
        f.dproj = <char *>get.output("out proj", dproj, f.outputs * f.constant.hidden * f.size)
        f.dh0 = <char *>get.output("out h0", dh0, B * y_size)
        f.constant.dc = get.output("out c0", dc0, B * c_size)
        f.dg0 = <char *>get.output("out g0", dg0, B * g_size)
        if resets is not None:
            dh_first, dc_first, dg_first = resets
            f.between.to_first = get.output("out h0", dh_first, B * y_size)
            f.constant.dc_first = get.output("out c0", dc_first, B * c_size)
            f.constant.to_gates_first = get.output("out g0", dg_first, B * g_size)
        f.delta_all = NULL
        if deltas is not None:
            f.delta_all = <char *>get.output("deltas", deltas[0], rows * values * f.size)
            f.dy_all = <char *>get.output("deltas y", deltas[1], rows * y_size)
            f.dc_all = <char *>get.output("deltas c", deltas[2], rows * c_size) if len(deltas) > 2 else NULL
        f.constant.simple = not (f.K > f.outputs or f.reset != NULL or f.between.mask != NULL or f.zone_y != NULL
                                 or f.zone_c != NULL or f.dc_above != NULL or deltas is not None)
        at = <char *>get.write(workspace)
        lay_out(f, &at)
        get.check_end(at)


def run_passes(list passes, int num_threads, Device device=None):
    """Several passes that have been started, side by side where threads allow; on a device, on its stream."""
    cdef Backward *all_passes[2]
    cdef BackwardPass one
    cdef int count = len(passes), k
    cdef fl_call call
    for k in range(count):
        one = passes[k]
        all_passes[k] = &one.f
    if device is not None:
        device.begin()
    begin_call(&call, not all_passes[0].k.device)
    with nogil:
        if count == 2 and 1 < num_threads < 4 and not all_passes[0].k.device:
            parallel(run_one, all_passes, 2)
        else:
            for k in range(count):
                run(all_passes[k], num_threads)
        if all_passes[0].k.device:
            all_passes[0].k.finish()
    end_call(&call)
    if device is not None:
        device.end()
