"""The loop over time, forward.

A step itself is the cell's file in _c/step, what lies between two steps carry.h. _c/pass/forward.h says what each step
reads and writes, and decides all that can be decided: the division among threads, whether W x is one product over many
steps, what is packed, where everything lies. Arrays are checked and allocated by call.py; they are C-contiguous and of
one dtype.
"""
from libc.string cimport memset

from fastlstm._arrays.buffers cimport Buffers
from fastlstm._cells.kernel cimport KernelCell
from fastlstm._engine.loops cimport (finish_passes, kernels_of_pass, kernels_over_time, pack, row_of, rows_of,
                                     start_passes)
from fastlstm._engine.passes cimport (fl_arena, fl_arena_bytes, fl_arena_in, fl_border, fl_column_panels,
                                      fl_columns_to_pack, fl_divide_forward_pass, fl_divide_rows,
                                      fl_first_step, fl_forward_pass, fl_gates_side_by_side, fl_hand_on,
                                      fl_hoisted_product, fl_keep_checkpoint, fl_lay_out_forward_pass, fl_m_of,
                                      fl_multiplication, fl_multiply, fl_multiply_pieces, fl_next_block,
                                      fl_plan_weights, fl_R_panels, fl_R_to_pack, fl_rows_at, fl_rows_per_block,
                                      fl_run_forward_step, fl_segment_rows, fl_segments, fl_share, fl_share_of,
                                      fl_span, fl_start_forward_pass, fl_time, fl_vectors_of_columns,
                                      fl_y_of)
from fastlstm._system.backend cimport Device
from fastlstm._system.blas.products cimport matmul
from fastlstm._system.kernels cimport (FL_BFLOAT16, FL_FULL, FL_INT8, FL_THREADS_FOR_TWO, FL_WORK_BEFORE_A_LOOK,
                                       fl_call, fl_cell, fl_format, fl_forward, fl_gates_of_panel, fl_panel_units,
                                       fl_parts_of_R, fl_product, fl_row_of_cell, fl_size)
from fastlstm._system.runtime cimport parallel, stopped

from fastlstm._arrays.arrays import empty

FORMATS = {"full": FL_FULL, "bfloat16": FL_BFLOAT16, "int8": FL_INT8}

# ---- the loop over time ----------------------------------------------------------------------------------------------

cdef void project(const fl_forward_pass *f, fl_size s, fl_size row0, fl_size row1, fl_size column0,
                  fl_size column1) noexcept nogil:
    """Compute y^t = proj m^t for some rows and outputs."""
    cdef fl_size H = f.constant.hidden, end = min(row1, fl_rows_at(&f.rows, fl_time(&f.rows, f.reverse, s))), row
    cdef char *m = fl_m_of(f, s)
    cdef char *y = fl_y_of(f, s)
    cdef fl_product product
    if row0 >= end:
        return
    if f.proj_panels != NULL:
        product = fl_product(f.outputs, H, m, H, 1, f.proj_panels, fl_vectors_of_columns(f.k), 1, FL_FULL, y,
                             f.y_step, False, False)
        fl_multiply_pieces(f.k, &product, f.stopped, row0, end, column0, column1)
    else:
        for row in range(row0, end):
            matmul(f.k, f.size, False, True, 1, column1 - column0, H, m + row * H * f.size, H,
                   f.proj + column0 * H * f.size, 0, y + (row * f.y_step + column0) * f.size)


cdef void step_part(void *argument, int part, int parts) noexcept nogil:
    """Run some steps for a part's rows and units."""
    cdef fl_forward_pass *f = <fl_forward_pass *>argument
    cdef fl_share own = fl_share_of(&f.division, part, f.rows.B, f.constant.hidden, f.block)
    cdef fl_forward step = f.constant
    cdef fl_size s, work = 0
    for s in range(f.s0, f.s1):
        work += fl_run_forward_step(f, &step, s, own)
        if f.proj == NULL:
            fl_hand_on(f, s, own, own.unit0, own.unit1)
        elif f.division.by_rows or parts == 1:
            project(f, s, own.row0, own.row1, 0, f.outputs)
            fl_hand_on(f, s, own, 0, f.outputs)
        if work >= FL_WORK_BEFORE_A_LOOK:
            if stopped():
                return
            work = 0


cdef void project_part(void *argument, int part, int parts) noexcept nogil:
    """Compute some columns of the projection, once all units of a step are there."""
    cdef fl_forward_pass *f = <fl_forward_pass *>argument
    cdef fl_share own = fl_share_of(&f.division, part, f.rows.B, f.constant.hidden, f.block)
    cdef fl_size column0 = fl_border(f.outputs, f.k.column_block, part, parts)
    cdef fl_size column1 = fl_border(f.outputs, f.k.column_block, part + 1, parts)
    project(f, f.s0, 0, f.rows.B, column0, column1)
    fl_hand_on(f, f.s0, own, column0, column1)


cdef void run_span(fl_forward_pass *f, fl_span left) noexcept nogil:
    """Run the steps of a span, block by block: all steps, or those of a segment.

    Parts that have rows of their own run all steps of a block, parts that share rows meet after each.
    """
    cdef fl_size s0, s1, s, work = 0
    cdef fl_span block
    cdef fl_multiplication wx
    cdef int parts
    while left.t0 < left.t1 and not stopped():
        block = fl_next_block(&left, &f.rows, f.block_rows if f.hoists else 0, f.reverse)
        fl_divide_rows(&f.division, &f.rows, block)
        parts = f.division.parts
        if f.hoists:
            wx = fl_hoisted_product(f, block)
            parallel(fl_multiply, &wx, parts if f.over_time.packs else 1)  # A library has threads of its own.
        s0 = fl_first_step(&f.rows, f.reverse, block)
        s1 = s0 + block.t1 - block.t0
        if f.division.by_rows or parts == 1:
            f.s0, f.s1 = s0, s1
            parallel(step_part, f, parts)
            continue
        for s in range(s0, s1):
            f.s0, f.s1 = s, s + 1
            parallel(step_part, f, parts)
            if f.proj != NULL:
                parallel(project_part, f, parts)
            work += f.rows.B * f.constant.hidden * f.unit_work
            if work >= FL_WORK_BEFORE_A_LOOK:
                if stopped():
                    return
                work = 0


cdef void prepare(fl_forward_pass *f, int num_threads) noexcept nogil:
    """Divide the work and pack the weights."""
    cdef fl_size H = f.constant.hidden, gates = fl_gates_side_by_side(f)
    cdef int parts, product
    fl_divide_forward_pass(f, num_threads)
    parts = f.division.parts
    if f.k.packs:
        if not f.packed and f.W_panels != NULL and f.W_panels != f.constant.W:
            pack(fl_columns_to_pack(f.k, f.W_panels, gates, f.gates * H // gates, f.constant.W, f.constant.input),
                 parts)
        if not f.packed and f.R_panels != NULL:
            for product in range(fl_parts_of_R(f.constant.cell)):
                pack(fl_R_to_pack(f, product), parts)
        if f.proj_panels != NULL:
            pack(fl_columns_to_pack(f.k, f.proj_panels, 1, f.outputs, f.proj, H), parts)
    f.constant.W_panels, f.constant.R_panels = f.W_panels, f.R_panels


cdef void run_pass(fl_forward_pass *f, int num_threads) noexcept nogil:
    """Run all steps of a pass."""
    cdef fl_span left = fl_span(0, f.rows.T), segment
    f.s_end = f.rows.T
    prepare(f, num_threads)
    fl_start_forward_pass(f)
    while left.t0 < left.t1 and not stopped():
        segment = fl_next_block(&left, &f.rows, f.segment, f.reverse)
        if f.segment:
            fl_keep_checkpoint(f, segment)
        run_span(f, segment)


cdef void run_one(void *argument, int part, int parts) noexcept nogil:
    """Run one of several passes that run side by side."""
    run_pass((<fl_forward_pass **>argument)[part], 1)


cdef int run_all(fl_forward_pass **passes, int count, int num_threads, Device device) except -1:
    cdef int n
    cdef fl_call call
    start_passes(&call, passes[0].k, device)
    with nogil:
        if count == 2 and 1 < num_threads <= FL_THREADS_FOR_TWO and passes[0].k.packs:
            parallel(run_one, passes, 2)
        else:
            for n in range(count):
                run_pass(passes[n], num_threads)
    finish_passes(&call, passes[0].k, device)
    return 0


def run_passes(list passes, int num_threads, Device device=None):
    """Run passes that have been started, side by side where threads allow; on a device, on its stream."""
    cdef fl_forward_pass *all_passes[2]
    cdef ForwardPass own
    cdef int count = len(passes), n
    for n in range(count):
        own = passes[n]
        all_passes[n] = &own.f
    run_all(all_passes, count, num_threads, device)


# ---- from arrays to the loop -----------------------------------------------------------------------------------------

def packed_columns(KernelCell cell, A, bint recurrent):
    """Return W, or with `recurrent` R, as the kernels of the instruction set in use want it for a cell."""
    cdef Buffers get = Buffers(2)
    cdef fl_forward_pass f
    cdef fl_size gates = fl_gates_of_panel(&cell.cell), rows = len(A), K = A.shape[1]
    cdef int product
    memset(&f, 0, sizeof(fl_forward_pass))
    f.k, f.size = kernels_of_pass(A.itemsize, None, True), A.itemsize
    f.constant.cell, f.constant.hidden, f.constant.outputs = &cell.cell, rows // cell.cell.gates, K
    if f.k.device:
        raise NotImplementedError("a device reads weights as they are: there is nothing to pack")
    panels = empty((fl_R_panels(&f) if recurrent else fl_column_panels(f.k, gates, rows // gates, K),), A.dtype)
    panels[:] = 0  # past the end of the last one there is nothing
    f.R_panels, f.constant.R = <char *>get.write(panels), get.read(A)
    if recurrent:
        for product in range(fl_parts_of_R(&cell.cell)):
            pack(fl_R_to_pack(&f, product), 1)
    else:
        pack(fl_columns_to_pack(f.k, f.R_panels, gates, rows // gates, f.constant.R, K), 1)
    return panels


cdef void describe(fl_forward_pass *f, const fl_cell *cell, fl_size I, fl_size H, fl_size P, fl_size K) noexcept:
    """Take the sizes of a pass whose values have `f.size` bytes."""
    cdef fl_forward *step = &f.constant
    step.cell, step.input, step.hidden, step.outputs = cell, I, H, K
    f.gates, f.weight_size, f.outputs = cell.gates, f.size, P
    f.between.hidden, f.between.width = H, P
    f.between.y_seen_step, f.between.extra = K, fl_row_of_cell(cell.kind).extra


cdef int take_weights(fl_forward_pass *f, Buffers get, KernelCell cell, weights) except -1:
    cdef fl_forward *step = &f.constant
    cdef fl_size units = len(weights.b), H = units // cell.cell.gates, P = H
    packed, proj = weights.packed, weights.proj
    if proj is not None:
        P = proj.shape[0]
    if packed is None:
        describe(f, &cell.cell, weights.W.shape[1], H, P, weights.R.shape[1])
        step.W = get.input("W", weights.W, units * step.input * f.size)
        step.R = get.input("R", weights.R, units * step.outputs * f.size)
    else:
        describe(f, &cell.cell, packed.input, H, P, packed.outputs)
        f.packed, f.weight_size = True, packed.W.itemsize
        step.format = <fl_format>FORMATS[packed.format]
        step.W_panels, step.R_panels = get.read(packed.W), get.read(packed.R)
        step.scale, step.ratio = get.read(packed.scale), get.read(packed.ratio)
        f.W_panels, f.R_panels = <char *>step.W_panels, <char *>step.R_panels
    f.proj = <const char *>get.input("proj", proj, P * H * f.size)
    step.b = get.input("b", weights.b, units * f.size)
    step.p = get.input("p", weights.p, H * cell.cell.p_rows * f.size)
    step.norm = get.input("norm", weights.norm, H * cell.cell.norm_rows * f.size)
    return 0


cdef void choose_kernels(fl_forward_pass *f, Device device) noexcept:
    """Choose what computes a pass of weights that have been taken, over rows that are known."""
    cdef bint same_bits = f.rows.invariant or f.packed
    cdef const fl_cell *cell = f.constant.cell
    f.k = kernels_of_pass(f.size, device, same_bits)
    f.over_time = kernels_over_time(f.k, f.size, same_bits)
    f.stopped = stopped
    f.step = f.k.cells[cell.kind].forward
    f.block = fl_panel_units(f.k, fl_gates_of_panel(cell))
    f.block_rows = fl_rows_per_block(f.k, f.gates * f.constant.hidden * f.size)


cdef void plan(fl_forward_pass *f, bint options) noexcept:
    """Decide how a pass uses its memory and weights, once rows, tape and what else there is are known."""
    f.direct = not (f.y_on_tape or f.segment or options or f.constant.outputs > f.outputs
                    or (f.reverse and f.rows.offsets != NULL))
    f.carries = options or (f.proj != NULL and not f.direct)
    fl_plan_weights(f)
    f.between.y_is_there = f.between.mask == NULL and f.zone_y == NULL and f.proj == NULL


cdef void lay_out(fl_forward_pass *f, fl_arena *arena) noexcept:
    """Lay out the memory of a pass that is planned."""
    fl_lay_out_forward_pass(f, arena)


cdef void divide(fl_forward_pass *f, int num_threads) noexcept:
    """Divide the work of a pass that is planned."""
    fl_divide_forward_pass(f, num_threads)


cdef class ForwardPass:
    """A layer in one direction over some sequences: `workspace` tells what memory it needs, `start` takes the arrays.

    With `recompute`, k or 0, and a tape, it is what a BackwardPass runs again.
    """

    def __init__(self, KernelCell cell, batch, bint reverse, weights, options, bint with_tape, bint y_on_tape,
                 fl_size recompute, int size, Device device=None):
        """Make a pass of `weights`, which are Weights, and `options`, Options or None.

        `y_on_tape` is whether the tape has y^{t-1}; `device` is where all arrays are, None for the host.
        """
        cdef fl_forward_pass *f = &self.f
        cdef Buffers get = Buffers()
        cdef fl_size rows, H, P
        self.get, self.cell = get, cell
        memset(f, 0, sizeof(fl_forward_pass))
        f.size, f.cell_size, f.reverse = size, max(size, 4), reverse
        f.rows = rows_of(get, batch)
        take_weights(f, get, cell, weights)
        choose_kernels(f, device)
        rows, H, P = f.rows.count, f.constant.hidden, f.outputs
        if options is not None:
            f.reset = <const char *>get.input("reset", options.reset, rows)
            f.between.reset_to_zero = options.reset_to_zero
            f.between.mask = get.input("recurrent_mask", options.mask, f.rows.B * P * size)
            f.zone_y = <const char *>get.input("zoneout of y", options.zone_y, rows * P * size)
            zone_c = options.zone_y if fl_row_of_cell(cell.cell.kind).c_is_y else options.zone_c
            f.zone_c = <const char *>get.input("zoneout of c", zone_c, rows * H * size)
        f.taped = with_tape
        if recompute:
            f.segment, f.again = fl_segment_rows(min(recompute, max(f.rows.T, 1)), f.rows.B), with_tape
        f.y_on_tape = with_tape and (y_on_tape or f.again)
        plan(f, options is not None)

    def workspace(self):
        """Return how many values of memory the pass needs."""
        cdef fl_arena arena = fl_arena(NULL, 0)
        fl_lay_out_forward_pass(&self.f, &arena)
        return fl_arena_bytes(&arena) // <size_t>self.f.size + 1

    cdef int begin(self, x, first, checkpoints) except -1:
        cdef fl_forward_pass *f = &self.f
        cdef Buffers get = self.get
        cdef fl_size B = f.rows.B, P = f.outputs, c_size = f.constant.hidden * f.cell_size, count
        h0, c0, extra0 = first
        f.x = <const char *>get.input("x", x, f.rows.count * f.constant.input * f.size)
        f.h0, f.c0 = <const char *>get.input("h0", h0, B * P * f.size), <const char *>get.input("c0", c0, B * c_size)
        f.extra0 = <const char *>get.input("initial extra columns", extra0, B * (f.constant.outputs - P) * f.size)
        f.between.y_first, f.between.c_first, f.between.extra_first = f.h0, f.c0, f.extra0
        if checkpoints is not None:
            y, c, y_before = checkpoints
            count = fl_segments(&f.rows, f.segment) * B
            f.checkpoints_y = <char *>get.input("tape.checkpoints.y", y, count * f.constant.outputs * f.size)
            f.checkpoints_c = <char *>get.input("tape.checkpoints.c", c, count * c_size)
            f.checkpoints_y_before = <char *>get.input("tape.checkpoints.y_before", y_before, count * P * f.size)
        return 0

    def start(self, x, first, y, Py_ssize_t y_offset, last, tape, checkpoints, workspace):
        """Take the arrays of a call.

        `first` is (h0, c0, extra0) and `last` (h, c, extra), where c is None for a cell without it, and extra for one
        that hands on no extra columns. `tape` is (gates, c, c_prev, y_prev, m, h0) or None; `checkpoints`, with
        recompute, (y, c, y of the step before). y is written from column `y_offset` on.
        """
        cdef fl_forward_pass *f = &self.f
        cdef Buffers get = self.get
        cdef fl_size rows = f.rows.count, B = f.rows.B, H = f.constant.hidden, P = f.outputs, K = f.constant.outputs
        cdef fl_arena arena
        h, c, extra = last
        self.begin(x, first, checkpoints)
        f.y_step = row_of("y", y, y_offset + P)
        f.y = <char *>get.output("y", y, rows * f.y_step * f.size) + y_offset * f.size
        f.h_last = <char *>get.output("h", h, B * P * f.size)
        f.c_last = <char *>get.output("c", c, B * H * f.cell_size)
        f.extra_last = <char *>get.output("extra columns", extra, B * (K - P) * f.size)
        if tape is not None:
            gates, all_c, c_prev, y_prev, m, tape_h0 = tape
            if (y_prev is not None) != f.y_on_tape:
                raise ValueError("y^{t-1} must be on the tape where the pass was made with it, and only there")
            f.tape.gates = <char *>get.output("tape.gates", gates, rows * self.cell.cell.kept * H * f.size)
            f.tape.c = <char *>get.output("tape.c", all_c, (B + rows) * H * f.cell_size)
            f.tape.c_prev = <char *>get.output("tape.c_prev", c_prev, rows * H * f.cell_size)
            f.tape.y_prev = <char *>get.output("tape.y_prev", y_prev, rows * K * f.size)
            f.tape.m = <char *>get.output("tape.m", m, rows * H * f.size)
            f.tape.h0 = <char *>get.output("tape.h0", tape_h0, B * P * f.size)
        arena = fl_arena_in(get.write(workspace))
        fl_lay_out_forward_pass(f, &arena)
        get.check_end(arena.base + arena.used)
