"""Back-propagation through time.

A step itself is the cell's file in _c/step, what lies between two steps carry.h; _c/pass/backward.h says what each step
reads and writes. Steps run from the last to the first, in blocks whose deltas stay in the cache for the products that
give the gradients of the weights. With recompute there is a tape of one segment at a time, from running that again.
Arrays are checked and allocated by call.py.
"""
from libc.string cimport memset

from fastlstm._arrays.buffers cimport Buffers
from fastlstm._cells.kernel cimport KernelCell
from fastlstm._engine.forward cimport ForwardPass, prepare, run_span
from fastlstm._engine.loops cimport (finish_passes, kernels_of_pass, kernels_over_time, pack, row_of, rows_of,
                                     start_passes)
from fastlstm._engine.passes cimport (FL_SUMS, fl_add_products_part, fl_add_totals, fl_arena, fl_arena_bytes,
                                      fl_arena_in, fl_at, fl_backward_pass, fl_begin_backward_block, fl_begin_segment,
                                      fl_border, fl_divide_backward_pass, fl_end_backward_block, fl_first_step,
                                      fl_gather_backward_block, fl_is_far, fl_lay_out_backward_pass, fl_multiply_pieces,
                                      fl_next_block, fl_p_gradient_part, fl_projection_part, fl_rows_at,
                                      fl_rows_going_on, fl_rows_of_R, fl_rows_per_block, fl_rows_to_pack,
                                      fl_run_backward_rows, fl_run_dy, fl_run_first_state, fl_share, fl_share_of,
                                      fl_span, fl_start_backward_pass, fl_sums_in_parts, fl_time, fl_transpose_part,
                                      fl_unpack_weight_gradients_part, fl_vectors, fl_weight_gradients, fl_y_prev_part)
from fastlstm._system.backend cimport Device
from fastlstm._system.blas.products cimport matmul
from fastlstm._system.kernels cimport (FL_FULL, FL_THREADS_FOR_TWO, FL_WORK_BEFORE_A_LOOK, fl_call, fl_cell,
                                       fl_has_whole_rows, fl_product, fl_row_of_cell, fl_size)
from fastlstm._system.runtime cimport parallel, stopped

# ---- the loop over time ----------------------------------------------------------------------------------------------

cdef void step_part(void *argument, int part, int parts) noexcept nogil:
    """Run some steps, last first, for a part's rows and units."""
    cdef fl_backward_pass *b = <fl_backward_pass *>argument
    cdef fl_share own = fl_share_of(&b.division, part, b.rows.B, b.constant.hidden, b.block)
    cdef bint alone = b.division.by_rows or parts == 1
    cdef fl_size s, row0 = own.row0, row1, on, work = 0
    for s in range(b.s1 - 1, b.s0 - 1, -1):
        row1 = min(own.row1, fl_rows_at(&b.rows, fl_time(&b.rows, b.reverse, s)))
        on = fl_rows_going_on(b, s)
        if b.proj != NULL and alone:
            fl_run_dy(b, s, row0, min(row1, on), 0, b.outputs, False)
            fl_run_dy(b, s, max(row0, on), row1, 0, b.outputs, True)
        work += fl_run_backward_rows(b, s, row0, min(row1, on), own.unit0, own.unit1, False)
        work += fl_run_backward_rows(b, s, max(row0, on), row1, own.unit0, own.unit1, True)
        if alone:
            fl_run_first_state(b, s, row0, row1, 0, 1)
        if work >= FL_WORK_BEFORE_A_LOOK:
            if stopped():
                return
            work = 0


cdef void dy_part(void *argument, int part, int parts) noexcept nogil:
    """Compute some columns of dy^t."""
    cdef fl_backward_pass *b = <fl_backward_pass *>argument
    cdef fl_size s = b.s0, on = fl_rows_going_on(b, s)
    cdef fl_size column0 = fl_border(b.outputs, b.k.column_block, part, parts)
    cdef fl_size column1 = fl_border(b.outputs, b.k.column_block, part + 1, parts)
    fl_run_dy(b, s, 0, on, column0, column1, False)
    fl_run_dy(b, s, on, fl_rows_at(&b.rows, fl_time(&b.rows, b.reverse, s)), column0, column1, True)


cdef void first_state_part(void *argument, int part, int parts) noexcept nogil:
    """Compute a part of the initial state's gradient, once a step is done."""
    cdef fl_backward_pass *b = <fl_backward_pass *>argument
    fl_run_first_state(b, b.s0, 0, b.rows.B, part, parts)


cdef void run_steps(fl_backward_pass *b, fl_size s0, fl_size s1) noexcept nogil:
    """Run the steps of a block, last first: parts that share rows meet after each."""
    cdef fl_size s, t, t_before, work = 0
    cdef int parts = b.division.parts
    b.s_end = s1
    if b.division.by_rows or parts == 1:
        b.s0, b.s1 = s0, s1
        parallel(step_part, b, parts)
        return
    for s in range(s1 - 1, s0 - 1, -1):
        b.s0, b.s1 = s, s + 1
        if b.proj != NULL:
            parallel(dy_part, b, parts)
        parallel(step_part, b, parts)
        t = fl_time(&b.rows, b.reverse, s)
        t_before = fl_time(&b.rows, b.reverse, s - 1)
        if s == 0 or fl_rows_at(&b.rows, t_before) < fl_rows_at(&b.rows, t):
            parallel(first_state_part, b, parts)
        work += b.rows.B * b.constant.hidden * b.unit_work
        if work >= FL_WORK_BEFORE_A_LOOK:
            if stopped():
                return
            work = 0


cdef void multiply_deltas(const fl_weight_gradients *w, bint transpose, fl_size m, fl_size n, fl_size k,
                          const void *delta, const void *b, bint add, void *c) noexcept nogil:
    """Compute C = delta B, or with `transpose` delta^T B, or with `add` C += that; C is (m, n), B (k, n).

    Where all products are a library's, that is in pieces between which a long call can be stopped.
    """
    cdef fl_size step = w.delta_step
    cdef fl_product product
    if w.k.packs or w.k.device:
        matmul(w.k, w.size, transpose, False, m, n, k, delta, step, b, add, c)
    else:
        product = fl_product(n, k, delta, 1 if transpose else step, step if transpose else 1, b, fl_vectors(w.k), 1,
                             FL_FULL, c, n, add, False)
        fl_multiply_pieces(w.k, &product, w.stopped, 0, m, 0, n)


cdef void add_products(fl_weight_gradients *w, int parts) noexcept nogil:
    """Compute dW += delta^T x, dR += delta^T y_prev, db += sum of delta and dx = delta W for the steps of a block."""
    cdef fl_size columns = w.gates * w.hidden
    cdef bint apart = w.dW_sum != NULL, add = w.begun or (w.accumulate and not apart)
    if w.delta_panels != NULL and (w.packs_deltas or fl_is_far(w, w.input) or fl_is_far(w, w.outputs)):
        parallel(fl_transpose_part, w, parts)
    parallel(fl_add_products_part, w, parts)
    if w.delta_panels == NULL:
        if not w.frozen:
            multiply_deltas(w, True, columns, w.input, w.rows, w.delta_W, w.x, add, w.dW_sum if apart else w.dW)
            multiply_deltas(w, True, columns, w.outputs, w.rows, w.delta_R, w.y_prev, add,
                            w.dR_sum if apart else w.dR)
        if w.dx != NULL:
            multiply_deltas(w, False, w.rows, w.input, w.delta_step, w.delta_W, w.W, False, w.dx)
    w.begun = True


cdef void run_block(fl_backward_pass *b, fl_span block) noexcept nogil:
    """Run the steps of a block, and compute what their deltas give."""
    cdef fl_size H = b.constant.hidden, s0 = fl_first_step(&b.rows, b.reverse, block)
    cdef int parts, n
    fl_begin_backward_block(b, block)
    parts = b.division.parts
    run_steps(b, s0, s0 + block.t1 - block.t0)
    fl_gather_backward_block(b, block)
    if b.recomputes_y:
        parallel(fl_y_prev_part, b, parts)
    for n in range(b.part_count):
        add_products(&b.parts[n], parts)
    if b.dp != NULL or b.dnorm != NULL:
        parallel(fl_p_gradient_part, b, parts)
    if b.dproj != NULL:
        pack(fl_rows_to_pack(b.k, b.m_panels, fl_vectors(b.k), b.tape.m + (b.delta_row - b.tape.row) * H * b.size, H,
                             b.parts[0].rows, H), parts)
        parallel(fl_projection_part, b, parts)
    fl_end_backward_block(b, block)


cdef void prepare_backward(fl_backward_pass *b, int num_threads) noexcept nogil:
    """Divide the work and pack the weights."""
    cdef fl_size H = b.constant.hidden, P = b.outputs, values = b.gates * H
    cdef int vectors = fl_vectors(b.k), extra = fl_row_of_cell(b.constant.cell.kind).extra, parts
    fl_divide_backward_pass(b, num_threads)
    parts = b.division.parts
    if b.packed:
        pack(fl_rows_to_pack(b.k, b.R_panels, vectors, b.R, b.K, fl_rows_of_R(b), P), parts)
        b.between.panels = b.R_panels
    if b.late_panels != NULL:
        pack(fl_rows_to_pack(b.k, b.late_panels, vectors, b.R + fl_rows_of_R(b) * b.K * b.size, b.K, H, P), parts)
    if b.extra_panels != NULL:
        pack(fl_rows_to_pack(b.k, b.extra_panels, extra, b.R + P * b.size, b.K, values, b.K - P), parts)
        b.constant.extra_panels = b.extra_panels
    if b.proj != NULL:
        pack(fl_rows_to_pack(b.k, b.proj_panels, vectors, b.proj, H, P, H), parts)
    fl_start_backward_pass(b)
    if b.parts[0].delta_panels != NULL and b.dx != NULL:
        pack(fl_rows_to_pack(b.k, b.parts[0].W_panels, vectors, b.weights.W, b.weights.input, values, b.weights.input),
             parts)


cdef void run(fl_backward_pass *b, int num_threads) noexcept nogil:
    """Run all steps, and with recompute the forward pass of each segment again."""
    cdef fl_span left = fl_span(0, b.rows.T if b.rows.B else 0), segment
    cdef int n
    prepare_backward(b, num_threads)
    if b.again != NULL:
        prepare(b.again, num_threads)
    while left.t0 < left.t1 and not stopped():
        segment = fl_next_block(&left, &b.rows, b.again.segment if b.again != NULL else 0, not b.reverse)
        if b.again != NULL:
            fl_begin_segment(b.again, segment)
            run_span(b.again, segment)
            b.tape = b.again.tape
        while segment.t0 < segment.t1 and not stopped():
            run_block(b, fl_next_block(&segment, &b.rows, b.block_rows, not b.reverse))
    if stopped():
        return
    if fl_sums_in_parts(b):
        fl_add_totals(b.k, b.sums, FL_SUMS)
    for n in range(b.part_count):
        if b.parts[n].begun and b.parts[n].dW_sum != NULL:
            parallel(fl_unpack_weight_gradients_part, &b.parts[n], b.division.parts)
    if b.rows.T == 1 and not b.packed:
        matmul(b.k, b.size, False, False, b.rows.B, b.outputs, b.gates * b.constant.hidden, b.parts[0].delta,
               b.parts[0].delta_step, b.R, 0, b.dh0)


cdef void run_one(void *argument, int part, int parts) noexcept nogil:
    """Run one of several passes that run side by side."""
    run((<fl_backward_pass **>argument)[part], 1)


cdef int run_all(fl_backward_pass **passes, int count, int num_threads, Device device) except -1:
    cdef int n
    cdef fl_call call
    start_passes(&call, passes[0].k, device)
    with nogil:
        if count == 2 and 1 < num_threads <= FL_THREADS_FOR_TWO and passes[0].k.packs:
            parallel(run_one, passes, 2)
        else:
            for n in range(count):
                run(passes[n], num_threads)
    finish_passes(&call, passes[0].k, device)
    return 0


def run_passes(list passes, int num_threads, Device device=None):
    """Run passes that have been started, side by side where threads allow; on a device, on its stream."""
    cdef fl_backward_pass *all_passes[2]
    cdef BackwardPass own
    cdef int count = len(passes), n
    for n in range(count):
        own = passes[n]
        all_passes[n] = &own.b
    run_all(all_passes, count, num_threads, device)


# ---- from arrays to the loop -----------------------------------------------------------------------------------------

cdef void describe(fl_backward_pass *b, const fl_cell *cell, fl_size I, fl_size H, fl_size P, fl_size K,
                   Device device) noexcept:
    """Take the sizes of a pass, over rows that are known, whose values have `b.size` bytes; choose its kernels."""
    cdef fl_size values = cell.gates * H
    b.k = kernels_of_pass(b.size, device, b.rows.invariant)
    b.stopped = stopped
    b.cell_size, b.gates, b.outputs, b.K = max(b.size, 4), cell.gates, P, K
    b.step = b.k.cells[cell.kind].backward
    b.block, b.block_rows = b.k.column_block, fl_rows_per_block(b.k, values * b.size)
    b.constant.cell, b.constant.hidden = cell, H
    b.between.a_step, b.between.K = values, fl_rows_of_R(b)
    b.weights.k = kernels_over_time(b.k, b.size, b.rows.invariant)
    b.weights.stopped, b.weights.size, b.weights.gates = stopped, b.size, b.gates
    b.weights.input, b.weights.hidden, b.weights.outputs = I, H, K


cdef void plan(fl_backward_pass *b, bint options) noexcept:
    """Decide whether a pass, whose weights have been taken, packs them."""
    b.packed = (b.rows.invariant or b.rows.T > 1 or b.rows.offsets != NULL or options or b.proj != NULL
                or b.K > b.outputs or fl_row_of_cell(b.constant.cell.kind).own_R_deltas
                or fl_has_whole_rows(b.constant.cell))


cdef void lay_out(fl_backward_pass *b, fl_arena *arena) noexcept:
    """Lay out the memory of a pass that is planned."""
    fl_lay_out_backward_pass(b, arena)


cdef class BackwardPass:
    """A layer in one direction over sequences: `workspace` tells what memory it needs, `start` takes the arrays."""
    cdef fl_backward_pass b
    cdef Buffers get
    cdef KernelCell cell
    cdef ForwardPass again

    def __init__(self, KernelCell cell, batch, bint reverse, weights, options, bint y_on_tape, bint with_deltas,
                 bint frozen, int size, ForwardPass again=None, Device device=None):
        """Make a pass of `weights`, `options` and `device` as for a ForwardPass.

        `y_on_tape` is whether the tape has y^{t-1}; `again` makes the tape where there is none. A pass of `frozen`
        weights computes no gradients of them.
        """
        cdef fl_backward_pass *b = &self.b
        cdef Buffers get = Buffers()
        cdef fl_size rows, values, H, P
        W, R, _, p, proj, _, norm = weights
        self.get, self.cell, self.again = get, cell, again
        memset(b, 0, sizeof(fl_backward_pass))
        b.again = NULL if again is None else &again.f
        b.size, b.reverse = size, reverse
        b.rows = rows_of(get, batch)
        H = len(R) // cell.cell.gates
        P = H if proj is None else proj.shape[0]
        rows, values = b.rows.count, cell.cell.gates * H
        describe(b, &cell.cell, W.shape[1], H, P, R.shape[1], device)
        b.constant.p = get.input("p", p, cell.cell.p_rows * H * size)
        b.constant.norm = get.input("norm", norm, cell.cell.norm_rows * H * size)
        b.R = <const char *>get.input("R", R, values * b.K * size)
        b.proj = <const char *>get.input("proj", proj, P * H * size)
        plan(b, options is not None)
        if options is not None:
            b.reset = <const char *>get.input("reset", options.reset, rows)
            b.reset_to_zero = options.reset_to_zero
            b.between.mask = get.input("recurrent_mask", options.mask, b.rows.B * P * size)
            b.zone_y = <const char *>get.input("zoneout of y", options.zone_y, rows * P * size)
            b.zone_c = <const char *>get.input("zoneout of c", options.zone_c, rows * H * size)
        b.weights.frozen = frozen
        b.weights.W = get.input("W", W, values * b.weights.input * size)
        b.with_deltas, b.recomputes_y = with_deltas, not (y_on_tape or again is not None)

    def workspace(self):
        """Return how many values of memory the pass needs."""
        cdef fl_arena arena = fl_arena(NULL, 0)
        fl_lay_out_backward_pass(&self.b, &arena)
        return fl_arena_bytes(&arena) // <size_t>self.b.size + 1

    def start(self, x, tape, again, dy, Py_ssize_t dy_offset, last, dc_above, dx, gradients, first, resets, deltas,
              bint accumulate, workspace):
        """Take the arrays of a call.

        `tape` is (gates, c, c_prev, y_prev, m, h0), `last` (dh, dc, d_extra) arriving at the final state, `gradients`
        (W, R, b, p, proj, norm), all None where the weights are frozen, `dx` None where it is not wanted, `first` (dh0,
        dc0, d_extra0), `resets` what resets send to the initial state, likewise, or None, `deltas` (all deltas, dy, dc;
        without dc where the cell has no c) or None. dy is read from column `dy_offset` on.

        With recompute, `again` is ((h0, c0, extra0), checkpoints) of the forward pass, and the tape all None.
        """
        cdef fl_backward_pass *b = &self.b
        cdef Buffers get = self.get
        cdef fl_size rows = b.rows.count, B = b.rows.B, values = b.gates * b.constant.hidden, I = b.weights.input
        cdef fl_size y_size = b.outputs * b.size, c_size = b.constant.hidden * b.cell_size
        cdef fl_size extra_size = (b.K - b.outputs) * b.size
        cdef fl_arena arena
        gates, all_c, c_prev, y_prev, m, h0 = tape
        if b.recomputes_y != (again is None and y_prev is None) or (b.recomputes_y and h0 is None):
            raise ValueError("y^{t-1} must be on the tape where the pass was made with it, and else h0")
        b.x = <const char *>get.input("tape.x", x, rows * I * b.size)
        b.tape.gates = <char *>get.input("tape.gates", gates, rows * self.cell.cell.kept * b.constant.hidden * b.size)
        b.tape.c = <char *>get.input("tape.c", all_c, (B + rows) * c_size)
        b.tape.c_prev = <char *>get.input("tape.c_prev", c_prev, rows * c_size)
        b.tape.y_prev = <char *>get.input("tape.y_prev", y_prev, rows * b.K * b.size)
        b.tape.m = <char *>get.input("tape.m", m, rows * b.constant.hidden * b.size)
        b.tape.h0 = <char *>get.input("tape.h0", h0, B * y_size)
        if again is not None:
            first_again, checkpoints = again
            self.again.begin(x, first_again, checkpoints)
        b.between.above_step = b.dy_step = 0 if dy is None else row_of("dy", dy, dy_offset + b.outputs)
        b.dy = fl_at(get.input("dy", dy, rows * b.dy_step * b.size), dy_offset, b.size)
        dh, dc, d_extra = last
        b.dh = <const char *>get.input("dstate h", dh, B * y_size)
        b.dc = <const char *>get.input("dstate c", dc, B * c_size)
        b.d_extra = <const char *>get.input("dstate extra columns", d_extra, B * extra_size)
        b.dc_above = <const char *>get.input("dc", dc_above, rows * c_size)
        dW, dR, db, dp, dproj, dnorm = gradients
        dh0, dc0, d_extra0 = first
        b.dx = <char *>get.output("out x", dx, rows * I * b.size)
        if b.weights.frozen != (dW is None):
            raise ValueError("gradients must be given where the weights are not frozen, and only there")
        b.weights.dW = get.output("out W", dW, values * I * b.size)
        b.weights.dR = get.output("out R", dR, values * b.K * b.size)
        b.weights.db = get.output("out b", db, values * b.size)
        b.weights.accumulate = accumulate
        b.dp = <char *>get.output("out p", dp, self.cell.cell.p_rows * b.constant.hidden * b.size)
        b.dnorm = <char *>get.output("out norm", dnorm, self.cell.cell.norm_rows * b.constant.hidden * b.size)
        b.dproj = <char *>get.output("out proj", dproj, b.outputs * b.constant.hidden * b.size)
        b.dh0 = <char *>get.output("out h0", dh0, B * y_size)
        b.constant.dc = get.output("out c0", dc0, B * c_size)
        b.d_extra0 = <char *>get.output("out extra columns", d_extra0, B * extra_size)
        if resets is not None:
            dh_first, dc_first, d_extra_first = resets
            b.between.to_first = get.output("out h0", dh_first, B * y_size)
            b.constant.dc_first = get.output("out c0", dc_first, B * c_size)
            b.constant.d_extra_first = get.output("out extra columns", d_extra_first, B * extra_size)
        if (deltas is not None) != b.with_deltas:
            raise ValueError("deltas must be given where the pass was made with them, and only there")
        if deltas is not None:
            b.delta_all = <char *>get.output("deltas", deltas[0], rows * values * b.size)
            b.dy_all = <char *>get.output("deltas y", deltas[1], rows * y_size)
            b.dc_all = <char *>get.output("deltas c", deltas[2], rows * c_size) if len(deltas) > 2 else NULL
        b.constant.simple = not (b.K > b.outputs or b.reset != NULL or b.between.mask != NULL or b.zone_y != NULL
                                 or b.zone_c != NULL or b.dc_above != NULL or deltas is not None)
        arena = fl_arena_in(get.write(workspace))
        fl_lay_out_backward_pass(b, &arena)
        get.check_end(arena.base + arena.used)


def recompute_y_prev(KernelCell cell, batch, bint reverse, gates, c, h0, y_prev, int size, Device device=None):
    """Write y^{t-1} of every step, as the step saw it, to `y_prev`: from the other arrays, which are a tape's."""
    cdef fl_backward_pass b
    cdef Buffers get = Buffers(6)
    cdef fl_call call
    cdef fl_size rows, row, s
    if gates is None or h0 is None or (c is None and cell.keeps_c):
        raise ValueError("the tape must have its gates, its cells and h0")
    memset(&b, 0, sizeof(fl_backward_pass))
    b.k = kernels_of_pass(size, device, batch.invariant)
    b.size, b.cell_size, b.reverse, b.gates = size, max(size, 4), reverse, cell.cell.gates
    b.rows = rows_of(get, batch)
    b.constant.cell, b.constant.hidden = &cell.cell, h0.shape[h0.ndim - 1]
    rows, row = b.rows.count, b.constant.hidden * size
    b.tape.gates = <char *>get.input("tape.gates", gates, rows * cell.cell.kept * row)
    b.tape.c = <char *>get.input("tape.c", c, (b.rows.B + rows) * b.constant.hidden * b.cell_size)
    b.tape.h0 = <char *>get.input("tape.h0", h0, b.rows.B * row)
    b.y_prev = <char *>get.output("tape.y_prev", y_prev, rows * row)
    start_passes(&call, b.k, device)
    with nogil:
        for s in range(b.rows.T):
            b.s0, b.s1 = s, s + 1
            fl_y_prev_part(&b, 0, 1)
    finish_passes(&call, b.k, device)
