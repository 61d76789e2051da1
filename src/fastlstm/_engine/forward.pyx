"""The loop over time, forward. The step itself is _c/step/lstm.h or rnn.h; what lies between two steps, carry.h.

Everything here is checked and allocated by call.py. Arrays are C-contiguous and of one dtype. Rows of a batch are as
loops.pxd describes; `s` counts steps in the order in which they run, `t` in time: they differ in the reverse direction.
"""
cimport cython
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from fastlstm._engine.blas cimport matmul
from fastlstm._system.kernels cimport (FL_BFLOAT16, FL_FULL, FL_INT8, fl_call, fl_carry, fl_format, fl_forward,
                        fl_kernels, fl_product, fl_size)
from fastlstm._engine.loops cimport (Cell, Rows, Share, Span, block_rows, border, c_on, c_prev_on, column_panels, divide,
                      divide_rows, first_row, many_rows, multiply, multiply_pieces, next_block, of, pack_columns,
                      plan, rows_at, row_of, rows_of, rows_per_block, segment_rows, segments, share, take)
from fastlstm._system.runtime cimport (WORK_BEFORE_A_LOOK, Buffers, Device, begin_call, end_call, kernels, parallel, piece_end,
                        stopped)

from fastlstm._arrays.arrays import empty
from fastlstm._engine.batches import Batch

cdef enum:
    MANY = 128  # rows of a single step that takes long enough to be stopped

MANY_ROWS = MANY

cdef fl_size side_by_side(const Forward *f) noexcept nogil:
    """The gates that panels of W hold side by side: all for a step; for W x before the steps one, whose results lie side
    by side too. Weights that are given as panels serve both."""
    return 1 if f.way.hoist and not f.packed else f.gates


cdef void lay_out(Forward *f, char **at) noexcept nogil:
    cdef fl_size H = f.constant.hidden, I = f.constant.input, K = f.constant.outputs, B = f.rows.B, rows
    if not f.packed:
        rows = f.gates * H // side_by_side(f)
        f.W_panels = NULL
        if f.k.device:
            f.W_panels = <char *>f.constant.W
        elif f.way.pack or f.way.hoist:
            f.W_panels = take(at, column_panels(f.k, side_by_side(f), rows, I) * f.size)
        f.R_panels = take(at, column_panels(f.k, f.gates, H, K) * f.size) if f.way.pack else NULL
    if f.way.hoist:
        f.wx_space = NULL
        if not f.taped or f.cell_size != f.size:  # else it is where the gates will be
            f.wx_space = take(at, block_rows(&f.rows, f.block_rows) * f.gates * H * f.cell_size)
    if f.proj != NULL:
        f.proj_panels = NULL
        if f.k.device:
            f.proj_panels = <char *>f.proj
        elif many_rows(&f.rows):
            f.proj_panels = take(at, column_panels(f.k, 1, f.outputs, H) * f.size)
        f.m_space = take(at, B * H * f.size) if not f.taped else NULL
    if not f.taped and not f.direct:
        f.pong = take(at, 2 * B * K * f.size)
        f.c_space = take(at, B * H * f.cell_size)
    if f.again:
        rows = block_rows(&f.rows, f.segment)
        f.tape.gates, f.tape.y_prev = take(at, rows * f.gates * H * f.size), take(at, rows * K * f.size)
        f.tape.m = take(at, rows * H * f.size) if f.proj != NULL else NULL
        if f.cells:
            f.tape.c, f.c_last = take(at, (B + rows) * H * f.cell_size), take(at, B * H * f.cell_size)
            f.tape.c_prev = take(at, rows * H * f.cell_size) if f.reset != NULL or f.zone_c != NULL else NULL
        f.y, f.y_step = take(at, 2 * B * f.outputs * f.size), f.outputs


# ---- where things are --------------------------------------------------------------------------------------------------

cdef inline fl_size time(const Forward *f, fl_size s) noexcept nogil:
    return f.rows.T - 1 - s if f.reverse else s


cdef char *c_of(const Forward *f, fl_size s) noexcept nogil:
    """Where step s writes c."""
    if f.tape.c == NULL:
        return f.c_space if f.zone_c != NULL else f.c_last
    return c_on(&f.tape, &f.rows, f.reverse, time(f, s), f.constant.hidden * f.cell_size)


cdef char *c_prev_of(const Forward *f, fl_size s) noexcept nogil:
    """Where step s reads c."""
    if f.tape.c == NULL:
        return f.c_last
    return c_prev_on(&f.tape, &f.rows, f.reverse, time(f, s), f.constant.hidden * f.cell_size)


cdef char *y_prev_of(const Forward *f, fl_size s) noexcept nogil:
    """Where step s reads y, if not directly where the step before has written it for the caller."""
    cdef fl_size K = f.constant.outputs
    if f.tape.y_prev != NULL:
        return f.tape.y_prev + (first_row(&f.rows, time(f, s)) - f.tape.row) * K * f.size
    return f.pong + s % 2 * f.rows.B * K * f.size


cdef char *y_of(const Forward *f, fl_size s) noexcept nogil:
    """Where step s writes y for the caller; run again, where the next step finds it."""
    return f.y + (s % 2 * f.rows.B if f.again else first_row(&f.rows, time(f, s))) * f.y_step * f.size


cdef char *m_of(const Forward *f, fl_size s) noexcept nogil:
    """Where step s writes what is projected."""
    if f.tape.m == NULL:
        return f.m_space
    return f.tape.m + (first_row(&f.rows, time(f, s)) - f.tape.row) * f.constant.hidden * f.size


cdef fl_size kept(const Forward *f, fl_size s) noexcept nogil:
    """The rows of step s that have another step, among those to run."""
    cdef fl_size next = rows_at(&f.rows, time(f, s + 1)) if s + 1 < f.s_end else 0
    return min(rows_at(&f.rows, time(f, s)), next)


# ---- a step ------------------------------------------------------------------------------------------------------------

cdef fl_size run_step(const Forward *f, fl_size s, Share own) noexcept nogil:
    """Some rows and units of a step; gives how many multiply-adds they took."""
    cdef fl_forward step = f.constant
    cdef fl_size t = time(f, s), row = first_row(&f.rows, t), H = step.hidden, end = min(own.row1, rows_at(&f.rows, t))
    cdef fl_size work = (end - own.row0) * f.unit_work, unit = own.unit0, unit_end
    if own.row0 >= end:
        return 0
    if f.way.hoist:
        step.wx = of(f.wx, (row - f.wx_row) * f.gates * H, f.cell_size)
    else:
        step.x = of(f.x, row * step.input, f.size)
    step.gates = of(f.tape.gates, (row - f.tape.row) * f.gates * H, f.size)
    step.c, step.c_prev = c_of(f, s), c_prev_of(f, s)
    if f.direct:
        step.y_prev = y_of(f, s - 1) if s else f.h0
        step.y_prev_step = f.y_step if s else f.outputs
    else:
        step.y_prev, step.y_prev_step = y_prev_of(f, s), step.outputs
    step.keep = kept(f, s)
    if step.keep and not f.direct:
        step.y, step.y_step = y_prev_of(f, s + 1), step.outputs
        if step.outputs > f.outputs:
            step.gates_seen = <char *>step.y + f.outputs * f.size
        if not f.between.y_is_there:
            step.y = NULL
    step.gates_last = f.g_last
    if f.proj != NULL:
        step.y_copy, step.y_copy_step = m_of(f, s), H
    else:
        step.y_copy, step.y_copy_step = y_of(f, s), f.y_step
    while unit < own.unit1:
        unit_end = piece_end(unit, own.unit1, f.block, work)
        f.step(&step, own.row0, end, unit, unit_end)
        unit = unit_end
        if unit < own.unit1 and stopped():
            break
    return work * (own.unit1 - own.unit0)


cdef void project(const Forward *f, fl_size s, fl_size row0, fl_size row1, fl_size column0,
                  fl_size column1) noexcept nogil:
    """y^t for some rows and outputs."""
    cdef fl_size H = f.constant.hidden, end = min(row1, rows_at(&f.rows, time(f, s))), columns = f.outputs, row
    cdef int vectors = <int>(f.k.column_block // f.k.unit_block)
    cdef char *m = m_of(f, s)
    cdef char *y = y_of(f, s)
    cdef fl_product product
    if row0 >= end:
        return
    if f.proj_panels != NULL:
        product = fl_product(columns, H, m, H, 1, f.proj_panels, vectors, 1, FL_FULL, y, f.y_step, False, False)
        multiply_pieces(f.k, &product, row0, end, column0, column1)
    else:
        for row in range(row0, end):
            matmul(f.k, f.size, False, True, 1, column1 - column0, H, m + row * H * f.size, f.proj + column0 * H * f.size, 0,
                   y + (row * f.y_step + column0) * f.size)


cdef void copy_columns(const Forward *f, char *to, fl_size to_step, const char *src, fl_size from_step, fl_size row0,
                       fl_size row1, fl_size column0, fl_size column1, int size) noexcept nogil:
    """Of arrays that have a row every so many values, of so many bytes."""
    f.k.copy(to + column0 * size, to_step * size, src + column0 * size, from_step * size, (column1 - column0) * size, row0, row1)


cdef void hand_on(const Forward *f, fl_size s, Share own, fl_size column0, fl_size column1) noexcept nogil:
    """y and c from step s to the next, for own rows, hidden units and columns of y; final states of rows that end."""
    cdef fl_size t = time(f, s), row = first_row(&f.rows, t), next, end = min(own.row1, rows_at(&f.rows, t))
    cdef fl_size keep = kept(f, s), H = f.constant.hidden
    cdef fl_carry between = f.between
    cdef char *y = y_of(f, s)
    if own.row0 >= end:
        return
    if f.carries:
        between.keep, between.y, between.y_step = keep, y, f.y_step
        between.reset_before = <const unsigned char *>of(f.reset, row, 1)
        between.zone_y = of(f.zone_y, row * f.outputs, f.size)
        between.zone_c = of(f.zone_c, row * H, f.size)
        if s:
            between.before = min(rows_at(&f.rows, t), rows_at(&f.rows, time(f, s - 1)))
            between.y_before = y_of(f, s - 1)
            between.y_before_step = f.y_step
        if f.tape.c_prev != NULL or f.c_space != NULL:
            between.c, between.c_prev, between.c_last = c_of(f, s), c_prev_of(f, s), f.c_last
            between.c_seen = f.c_last
        if keep:
            next = first_row(&f.rows, time(f, s + 1))
            between.reset = <const unsigned char *>of(f.reset, next, 1)
            between.y_seen = y_prev_of(f, s + 1)
            if f.tape.c_prev != NULL:
                between.c_seen = c_prev_of(f, s + 1)
        f.k.carry(&between, own.row0, end, column0, column1, own.unit0, own.unit1)
    if f.h_last == NULL:
        return
    row = max(own.row0, keep)
    if row < end:
        copy_columns(f, f.h_last, f.outputs, y, f.y_step, row, end, column0, column1, f.size)
        if f.tape.c != NULL and f.tape.c_prev == NULL:
            copy_columns(f, f.c_last, H, c_of(f, s), H, row, end, own.unit0, own.unit1, f.cell_size)


cdef void start_rows(const Forward *f, fl_size s) noexcept nogil:
    """The state before step s of the rows that begin there."""
    cdef fl_size t = time(f, s), row0 = rows_at(&f.rows, time(f, s - 1)) if s else 0, row1 = rows_at(&f.rows, t)
    cdef fl_size P = f.outputs, K = f.constant.outputs, H = f.constant.hidden
    cdef fl_carry between = f.between
    if row0 >= row1:
        return
    between.keep, between.y, between.y_step, between.y_is_there = row1, <void *>f.h0, P, False
    between.reset = <const unsigned char *>of(f.reset, first_row(&f.rows, t), 1)
    between.c = f.c0
    between.c_seen = c_prev_of(f, s) if f.c_last != NULL else NULL
    if not f.direct:
        between.y_seen = y_prev_of(f, s)
        if f.g0 != NULL:
            copy_columns(f, <char *>between.y_seen + P * f.size, K, f.g0, K - P, row0, row1, 0, K - P, f.size)
    f.k.carry(&between, row0, row1, 0, P, 0, H if f.c_last != NULL else 0)


# ---- all steps ---------------------------------------------------------------------------------------------------------

cdef void step_part(void *argument, int part, int parts) noexcept nogil:
    cdef Forward *f = <Forward *>argument
    cdef Share own = share(&f.division, part, f.rows.B, f.constant.hidden, f.block)
    cdef fl_size s, work = 0
    for s in range(f.s0, f.s1):
        work += run_step(f, s, own)
        if f.proj == NULL:
            hand_on(f, s, own, own.unit0, own.unit1)
        elif f.division.by_rows or parts == 1:
            project(f, s, own.row0, own.row1, 0, f.outputs)
            hand_on(f, s, own, 0, f.outputs)
        if work >= WORK_BEFORE_A_LOOK:
            if stopped():
                return
            work = 0


cdef void project_part(void *argument, int part, int parts) noexcept nogil:
    """The projection by columns, once all units of a step are there."""
    cdef Forward *f = <Forward *>argument
    cdef Share own = share(&f.division, part, f.rows.B, f.constant.hidden, f.block)
    cdef fl_size column0 = border(f.outputs, f.k.column_block, part, parts)
    cdef fl_size column1 = border(f.outputs, f.k.column_block, part + 1, parts)
    project(f, f.s0, 0, f.rows.B, column0, column1)
    hand_on(f, f.s0, own, column0, column1)


cdef void run_steps(Forward *f, fl_size s0, fl_size s1) noexcept nogil:
    cdef fl_size s, work = 0
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
            work += f.rows.B * f.constant.hidden * f.unit_work
            if work >= WORK_BEFORE_A_LOOK:
                if stopped():
                    return
                work = 0


cdef void run_span(Forward *f, Span left) noexcept nogil:
    """Some steps: all, or a segment's."""
    cdef fl_size T = f.rows.T, values = f.gates * f.constant.hidden, I = f.constant.input
    cdef Span block
    while left.t0 < left.t1 and not stopped():
        block = next_block(&left, &f.rows, f.block_rows if f.way.hoist else 0, f.reverse)
        divide_rows(&f.division, &f.rows, block.t0, block.t1)
        if f.way.hoist:
            f.wx_row = first_row(&f.rows, block.t0)
            f.wx = f.wx_space
            if f.wx == NULL:
                f.wx = f.tape.gates + (f.wx_row - f.tape.row) * values * f.size
            multiply(f.k, first_row(&f.rows, block.t1) - f.wx_row, side_by_side(f), values // side_by_side(f), I,
                     f.x + f.wx_row * I * f.size, f.W_panels, f.constant.format, <void *>f.wx, f.division.parts)
        run_steps(f, T - block.t1 if f.reverse else block.t0, T - block.t0 if f.reverse else block.t1)


cdef void prepare(Forward *f, int num_threads) noexcept nogil:
    cdef fl_size H = f.constant.hidden, I = f.constant.input, K = f.constant.outputs
    cdef int parts
    if f.k.device:  # which has threads of its own
        num_threads = 1
    f.unit_work = f.gates * (K + (0 if f.way.hoist else I))
    divide(&f.division, &f.rows, H, f.block, H * f.unit_work, f.size, num_threads)
    if f.k.device:
        f.unit_work = 0
    parts = f.division.parts
    if not f.k.device:  # which reads weights as they are
        if not f.packed and f.W_panels != NULL:
            pack_columns(f.k, f.W_panels, side_by_side(f), f.gates * H // side_by_side(f), f.constant.W, I, parts)
        if not f.packed and f.R_panels != NULL:
            pack_columns(f.k, f.R_panels, f.gates, H, f.constant.R, K, parts)
        if f.proj_panels != NULL:
            pack_columns(f.k, f.proj_panels, 1, f.outputs, f.proj, H, parts)
    f.constant.W_panels, f.constant.R_panels = f.W_panels, f.R_panels


cdef void copy(const fl_kernels *k, char *kept, char *state, fl_size state_step, fl_size bytes, fl_size rows,
               bint back) noexcept nogil:
    if back:
        k.copy(state, state_step, kept, bytes, bytes, 0, rows)
    else:
        k.copy(kept, bytes, state, state_step, bytes, 0, rows)


cdef void copy_state(const Forward *f, Span segment, bint back) noexcept nogil:
    """The state that a segment's first step sees: kept, or brought back."""
    cdef fl_size s = f.rows.T - segment.t1 if f.reverse else segment.t0, rows = rows_at(&f.rows, time(f, s))
    cdef fl_size at = first_row(&f.rows, segment.t0) // f.segment * f.rows.B
    cdef fl_size y_bytes = f.constant.outputs * f.size, c_bytes = f.constant.hidden * f.cell_size, bytes = f.outputs * f.size
    copy(f.k, f.marks_y + at * y_bytes, y_prev_of(f, s), y_bytes, y_bytes, rows, back)
    if f.marks_c != NULL:
        copy(f.k, f.marks_c + at * c_bytes, c_prev_of(f, s), c_bytes, c_bytes, rows, back)
    if f.marks_y_before != NULL and s:
        rows = min(rows, rows_at(&f.rows, time(f, s - 1)))
        copy(f.k, f.marks_y_before + at * bytes, y_of(f, s - 1), f.y_step * f.size, bytes, rows, back)


cdef void run(Forward *f, int num_threads) noexcept nogil:
    cdef fl_size H = f.constant.hidden, T = f.rows.T, Q = f.constant.outputs - f.outputs, s
    cdef Span left = Span(0, T), segment
    f.s_end = T
    prepare(f, num_threads)
    copy_columns(f, f.h_last, f.outputs, f.h0, f.outputs, 0, f.rows.B, 0, f.outputs, f.size)
    if f.tape.c != NULL and T == 0:
        copy_columns(f, f.tape.c, H, f.c0, H, 0, f.rows.B, 0, H, f.cell_size)
    if f.c_last != NULL:
        copy_columns(f, f.c_last, H, f.c0, H, 0, f.rows.B, 0, H, f.cell_size)
    if f.g_last != NULL:
        copy_columns(f, f.g_last, Q, f.g0, Q, 0, f.rows.B, 0, Q, f.size)
    for s in range(T):
        if f.direct and s:
            break
        start_rows(f, s)
        if not f.reverse:
            break
    while left.t0 < left.t1 and not stopped():
        segment = next_block(&left, &f.rows, f.segment, f.reverse)
        if f.segment:
            copy_state(f, segment, False)
        run_span(f, segment)


cdef void run_again(Forward *f, Span segment) noexcept nogil:
    cdef fl_size s0 = f.rows.T - segment.t1 if f.reverse else segment.t0, s
    f.tape.t0, f.tape.row = segment.t0, first_row(&f.rows, segment.t0)
    f.s_end = s0 + segment.t1 - segment.t0
    copy_state(f, segment, True)
    if f.reverse:
        for s in range(s0 + 1, f.s_end):
            start_rows(f, s)
    run_span(f, segment)


cdef void run_one(void *argument, int part, int parts) noexcept nogil:
    """One of several passes that run side by side."""
    cdef Forward **all_passes = <Forward **>argument
    run(all_passes[part], 1)


FORMATS = {"full": FL_FULL, "bfloat16": FL_BFLOAT16, "int8": FL_INT8}


def packed_columns(A, Py_ssize_t gates):
    """Weights (gates H, K) as the kernels of the instruction set in use want them."""
    cdef Buffers get = Buffers(2)
    cdef const fl_kernels *k = kernels(A.itemsize)
    cdef fl_size H = len(A) // gates, K = A.shape[1]
    if k.device:
        raise NotImplementedError("a device reads weights as they are: there is nothing to pack")
    panels = empty((column_panels(k, gates, H, K),), A.dtype)
    panels[:] = 0  # past the end of the last one there is nothing
    pack_columns(k, get.write(panels), gates, H, get.read(A), K, 1)
    return panels


cdef int take_weights(Forward *f, Buffers get, Cell cell, weights) except -1:
    cdef fl_forward *step = &f.constant
    cdef fl_size units = len(weights.b)
    step.cell, step.hidden = &cell.cell, units // cell.cell.gates
    step.b = get.input("b", weights.b, step.hidden * cell.cell.gates * f.size)
    step.p = get.input("p", weights.p, step.hidden * (cell.cell.gates - 1) * f.size)
    if weights.packed is None:
        step.input, step.outputs = weights.W.shape[1], weights.R.shape[1]
        step.W = get.input("W", weights.W, units * step.input * f.size)
        step.R = get.input("R", weights.R, units * step.outputs * f.size)
    else:
        f.packed, step.format = True, <fl_format>FORMATS[weights.packed.format]
        step.input, step.outputs = weights.packed.input, weights.packed.outputs
        step.W_panels, step.R_panels = get.read(weights.packed.W), get.read(weights.packed.R)
        step.scale, step.ratio = get.read(weights.packed.scale), get.read(weights.packed.ratio)
        f.W_panels, f.R_panels = <char *>step.W_panels, <char *>step.R_panels
    return 0


cdef class ForwardPass:
    """One layer in one direction over some sequences: `workspace` tells what memory it needs, `start` and `run` do it.

    With `recompute`, k or 0, and a tape, it is what a BackwardPass runs again.
    """

    def __init__(self, Cell cell, batch, bint reverse, weights, options, bint with_tape, fl_size recompute,
                 int size, Device device=None):
        """`weights` are Weights, `options` Options or None; `device` is where all arrays are, None for the host."""
        cdef Forward *f = &self.f
        cdef Buffers get = Buffers()
        cdef fl_size rows, H, P
        proj = weights.proj
        self.get, self.cell = get, cell
        memset(f, 0, sizeof(Forward))
        f.k = kernels(size) if device is None else device.kernels()
        f.size, f.cell_size, f.reverse, f.gates = size, max(size, 4), reverse, cell.cell.gates
        f.step = f.k.lstm_forward if cell.lstm else f.k.rnn_forward
        f.block = f.k.unit_block if cell.lstm else f.k.column_block
        f.rows = rows_of(get, batch)
        take_weights(f, get, cell, weights)
        rows, H = f.rows.count, f.constant.hidden
        f.outputs = P = H if proj is None else proj.shape[0]
        f.proj = <const char *>get.input("proj", proj, P * H * size)
        f.between.hidden, f.between.width = H, P
        f.between.y_seen_step = f.constant.outputs
        if options is not None:
            f.reset = <const char *>get.input("reset", options.reset, rows)
            f.between.reset_to_zero = options.reset_to_zero
            f.between.mask = get.input("recurrent_mask", options.mask, f.rows.B * P * size)
            f.zone_y = <const char *>get.input("zoneout of y", options.zone_y, rows * P * size)
            f.zone_c = <const char *>get.input("zoneout of c", options.zone_c, rows * H * size)
        f.taped, f.cells = with_tape, cell.lstm
        f.block_rows = rows_per_block(f.k, f.gates * H * size)
        if recompute:
            f.segment, f.again = segment_rows(min(recompute, max(f.rows.T, 1)), f.rows.B), with_tape
        f.carries = options is not None or (proj is not None and with_tape)
        f.direct = not (with_tape or recompute or options is not None or f.constant.outputs > f.outputs
                        or (reverse and f.rows.offsets != NULL))
        f.way = plan(f.k, &f.rows, f.constant.input, H, f.constant.outputs, f.gates,
                     weights.packed.W.itemsize if f.packed else size, f.packed)
        if not f.direct and proj is not None:
            f.carries = True
        f.between.y_is_there = f.between.mask == NULL and f.zone_y == NULL and proj is None

    def workspace(self):
        """Values."""
        cdef char *at = NULL
        lay_out(&self.f, &at)
        return <Py_ssize_t>at // self.f.size + 64

    cdef int begin(self, x, first, marks) except -1:
        cdef Forward *f = &self.f
        cdef Buffers get = self.get
        cdef fl_size B = f.rows.B, P = f.outputs, c_size = f.constant.hidden * f.cell_size, count
        h0, c0, g0 = first
        f.x = <const char *>get.input("x", x, f.rows.count * f.constant.input * f.size)
        f.h0, f.c0 = <const char *>get.input("h0", h0, B * P * f.size), <const char *>get.input("c0", c0, B * c_size)
        f.g0 = <const char *>get.input("g0", g0, B * (f.constant.outputs - P) * f.size)
        f.between.y_first, f.between.c_first, f.between.gates_first = f.h0, f.c0, f.g0
        if marks is not None:
            y, c, y_before = marks
            count = segments(&f.rows, f.segment) * B
            f.marks_y = <char *>get.input("tape.checkpoints.y", y, count * f.constant.outputs * f.size)
            f.marks_c = <char *>get.input("tape.checkpoints.c", c, count * c_size)
            f.marks_y_before = <char *>get.input("tape.checkpoints.y_before", y_before, count * P * f.size)
        return 0

    def start(self, x, first, y, Py_ssize_t y_offset, last, tape, marks, workspace):
        """`first` is (h0, c0, g0) and `last` (h, c, g); c is None in an RNN, g without full gate recurrence. `tape` is
        (gates, c, c_prev, y_prev, m) or None; `marks`, with recompute, (y, c, y of the step before).

        y is written from column `y_offset` on.
        """
        cdef Forward *f = &self.f
        cdef Buffers get = self.get
        cdef fl_size rows = f.rows.count, B = f.rows.B, H = f.constant.hidden, P = f.outputs, K = f.constant.outputs
        cdef char *at
        h, c, g = last
        self.begin(x, first, marks)
        f.y_step = row_of("y", y, y_offset + P)
        f.y = <char *>get.output("y", y, rows * f.y_step * f.size) + y_offset * f.size
        f.h_last = <char *>get.output("h", h, B * P * f.size)
        f.c_last = <char *>get.output("c", c, B * H * f.cell_size)
        f.g_last = <char *>get.output("g", g, B * (K - P) * f.size)
        if tape is not None:
            gates, all_c, c_prev, y_prev, m = tape
            f.tape.gates = <char *>get.output("tape.gates", gates, rows * f.gates * H * f.size)
            f.tape.c = <char *>get.output("tape.c", all_c, (B + rows) * H * f.cell_size)
            f.tape.c_prev = <char *>get.output("tape.c_prev", c_prev, rows * H * f.cell_size)
            f.tape.y_prev = <char *>get.output("tape.y_prev", y_prev, rows * K * f.size)
            f.tape.m = <char *>get.output("tape.m", m, rows * H * f.size)
        at = <char *>get.write(workspace)
        lay_out(f, &at)
        get.check_end(at)


def run_passes(list passes, int num_threads, Device device=None):
    """Several passes that have been started, side by side where threads allow; on a device, on its stream."""
    cdef Forward *all_passes[2]
    cdef ForwardPass one
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


@cython.final  # so that `take` is compiled into `step`
cdef class Step:
    """One layer's weights, held for `step`: a single time step, read from the weights as they are at each call."""
    cdef Buffers held
    cdef Forward prototype
    cdef Cell cell
    cdef object weights

    def __init__(self, Cell cell, weights):
        cdef Forward *f = &self.prototype
        self.held, self.cell, self.weights = Buffers(6), cell, weights
        memset(f, 0, sizeof(Forward))
        f.size = f.cell_size = weights.b.itemsize
        f.gates, f.rows.T, f.direct = cell.cell.gates, 1, True
        take_weights(f, self.held, cell, weights)
        f.outputs = f.y_step = f.constant.outputs
        f.unit_work = f.gates * (f.constant.outputs + f.constant.input)

    cdef inline bint take(self, Buffers get, fl_size B, x, h, c, y, h_out, c_out) except -1:
        """Are all arrays as they must be?"""
        cdef fl_size H = self.prototype.constant.hidden, I = self.prototype.constant.input
        cdef int size = self.prototype.size
        if not (get.fits(x, False, 2, size, B, I) and get.fits(h, False, 3, size, B, H)
                and get.fits(y, True, 2, size, B, H) and get.fits(h_out, True, 3, size, B, H)):
            return False
        # y must not overlap anything; h_out may be h itself and c_out c itself.
        if (get.overlap(2, 0) or get.overlap(2, 1) or get.overlap(2, 3) or get.overlap(3, 0)
                or get.overlap_partly(3, 1)):
            return False
        if not self.cell.lstm:
            return True
        if not (get.fits(c, False, 3, size, B, H) and get.fits(c_out, True, 3, size, B, H)):
            return False
        return not (get.overlap(2, 4) or get.overlap(2, 5) or get.overlap(3, 4) or get.overlap(3, 5)
                    or get.overlap(5, 0) or get.overlap(5, 1) or get.overlap_partly(5, 4))

    def step(self, x, h, c, y, h_out, c_out, int num_threads):
        """One step; h_out may be h, and c_out c; an RNN has no c. False, and nothing done, where an array is not as it
        must be. Of fewer than MANY_ROWS rows, an interrupt cannot stop it."""
        cdef Buffers get = Buffers(6)
        cdef Forward f
        cdef fl_call call
        cdef fl_size B, H = self.prototype.constant.hidden, I = self.prototype.constant.input
        cdef int size = self.prototype.size
        try:
            B = len(x)
            if not self.take(get, B, x, h, c, y, h_out, c_out):
                return False
        except (AttributeError, BufferError, TypeError, ValueError):  # of what is no array, or not contiguous
            return False
        if kernels(size).device:
            self.pass_of_one(x, h, c, y, h_out, c_out)
            return True
        f = self.prototype
        f.k = kernels(size)
        f.step = f.k.lstm_forward if self.cell.lstm else f.k.rnn_forward
        f.block = f.k.unit_block if self.cell.lstm else f.k.column_block
        f.rows.B = f.rows.count = B
        f.x, f.h0, f.y = <const char *>get.views[0].buf, <const char *>get.views[1].buf, <char *>get.views[2].buf
        if self.cell.lstm:
            f.c_last = <char *>get.views[5].buf
        divide(&f.division, &f.rows, H, f.block, H * f.unit_work, size, num_threads)
        begin_call(&call, B >= MANY)
        with nogil:
            if self.cell.lstm and get.views[5].buf != get.views[4].buf:
                memcpy(f.c_last, get.views[4].buf, B * H * size)
            f.s1 = 1
            run_steps(&f, 0, 1)
            memcpy(get.views[3].buf, f.y, B * H * size)
        end_call(&call)
        return True

    cdef int pass_of_one(self, x, h, c, y, h_out, c_out) except -1:
        """A step as a pass: on a device, where W x is a product of its own and needs memory."""
        B = len(x)
        batch = Batch(1, B, B)
        one = ForwardPass(self.cell, batch, False, self.weights, None, False, 0, self.prototype.size)
        one.start(x, (h, c, None), y, 0, (h_out, c_out, None), None, None, empty((one.workspace(),), x.dtype))
        run_passes([one], 1)
        return 0
