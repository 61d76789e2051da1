"""What the loops over time share: batches, dividing the work, packing weights, the gradients of the weights."""
from libc.stdint cimport int64_t

from fastlstm._engine.blas cimport matmul
from fastlstm._system.kernels cimport (FL_CACHED, FL_FULL, FL_MAX_THREADS, FL_ROWS_PER_BLOCK, FL_ROWS_TO_FOLD, fl_format, fl_kernels,
                        FL_ROWS_PER_GROUP, fl_multiply_in_groups, fl_padded, fl_padded_columns, fl_panel_columns,
                        fl_panel_count, fl_product, fl_size)
from fastlstm._system.runtime cimport Buffers, kernels, parallel, piece_end, stopped

from fastlstm._system.runtime import ACTIVATIONS

cdef enum:
    # Multiply-adds below which another thread costs more than it brings: in a call divided by rows, in a step by units.
    WORK_PER_CALL = 200000
    WORK_PER_STEP = 60000
    # Batch rows times steps from which packing the weights pays.
    ROWS_TO_PACK = 16
    # Bytes of weights that every core can have in its second-level cache, beside all else.
    NEAR = 1 << 20
    # What a step costs a part beside its rows, in rows: it reads all weights.
    ROWS_PER_STEP = 2
    ALIGNMENT = 64
    # What the rows of a device's block take.
    BYTES_PER_BLOCK = 64 << 20


# ---- batches -----------------------------------------------------------------------------------------------------------

cdef Rows rows_of(Buffers get, batch) except *:
    cdef Rows r
    cdef fl_size t
    cdef bint right
    offsets = batch.offsets
    r.T, r.B, r.count, r.invariant, r.offsets = batch.T, batch.B, batch.count, batch.invariant, NULL
    right = r.T >= 0 and r.B >= 0
    if offsets is None:  # count = T B, which may be too large for an integer
        right = right and (r.count // r.T == r.B and r.count % r.T == 0 if r.T else r.count == 0)
    elif right:
        offsets = bytes(offsets)
        r.offsets = <const int64_t *>get.read(offsets)
        right = len(offsets) // <fl_size>sizeof(int64_t) - 1 == r.T and r.offsets[0] == 0 and r.offsets[r.T] == r.count
        for t in range(r.T):
            right = (right and r.offsets[t] <= r.offsets[t + 1]
                     and rows_at(&r, t) <= (rows_at(&r, t - 1) if t else r.B))
    if not right:
        raise ValueError(f"T = {r.T}, B = {r.B}, {r.count} rows and their offsets do not make up a batch")
    return r


cdef fl_size first_row(const Rows *r, fl_size t) noexcept nogil:
    return t * r.B if r.offsets == NULL else r.offsets[t]


cdef fl_size rows_at(const Rows *r, fl_size t) noexcept nogil:
    """Rows of step t; before the first and after the last step there are none."""
    if t < 0 or t >= r.T:
        return 0
    return r.B if r.offsets == NULL else r.offsets[t + 1] - r.offsets[t]


cdef Span next_block(Span *left, const Rows *r, fl_size rows, bint last) noexcept nogil:
    cdef Span block = left[0]
    cdef fl_size number
    if rows == 0:
        left.t0 = left.t1
    elif last:
        block.t0 = left.t1 - 1
        number = first_row(r, block.t0) // rows
        while block.t0 > left.t0 and first_row(r, block.t0 - 1) // rows == number:
            block.t0 -= 1
        left.t1 = block.t0
    else:
        block.t1 = left.t0 + 1
        number = first_row(r, left.t0) // rows
        while block.t1 < left.t1 and first_row(r, block.t1) // rows == number:
            block.t1 += 1
        left.t0 = block.t1
    return block


cdef fl_size rows_per_block(const fl_kernels *k, fl_size bytes) noexcept nogil:
    return max(FL_ROWS_PER_BLOCK, BYTES_PER_BLOCK // max(bytes, 1)) if k.device else FL_ROWS_PER_BLOCK


cdef fl_size block_rows(const Rows *r, fl_size rows) noexcept nogil:
    return min(r.count, rows + r.B)


cdef fl_size segment_rows(fl_size k, fl_size B) noexcept nogil:
    return max((k * B + FL_ROWS_PER_BLOCK - 1) // FL_ROWS_PER_BLOCK, 1) * FL_ROWS_PER_BLOCK


cdef fl_size segments(const Rows *r, fl_size rows) noexcept nogil:
    return first_row(r, r.T - 1) // rows + 1 if r.T else 0


def segment_count(batch, k):
    """Into how many segments of k steps recompute cuts the time of a batch."""
    cdef Buffers get = Buffers(1)  # which holds the offsets that r refers to
    cdef Rows r = rows_of(get, batch)
    return segments(&r, segment_rows(min(k, max(r.T, 1)), r.B))


# ---- what a forward pass keeps -----------------------------------------------------------------------------------------

cdef char *c_between(const Tape *tape, const Rows *r, fl_size t, fl_size bytes) noexcept nogil:
    """What passes between the steps at t - 1 and t, in either direction."""
    if tape.c == NULL:
        return NULL
    return tape.c + (r.B + first_row(r, t - 1) - tape.row if t > tape.t0 else 0) * bytes


cdef char *c_on(const Tape *tape, const Rows *r, bint reverse, fl_size t, fl_size bytes) noexcept nogil:
    return c_between(tape, r, t if reverse else t + 1, bytes)


cdef char *c_prev_on(const Tape *tape, const Rows *r, bint reverse, fl_size t, fl_size bytes) noexcept nogil:
    if tape.c_prev != NULL:
        return tape.c_prev + (first_row(r, t) - tape.row) * bytes
    return c_between(tape, r, t + 1 if reverse else t, bytes)


cdef class Cell:
    """A cell as the kernels know it. `blocks` is which of "ifzo" there are; None for the simple RNN."""

    def __init__(self, blocks, bint coupled, str gate, str g, str h, double clip, double cell_clip):
        cdef fl_cell *cell = &self.cell
        self.lstm = blocks is not None
        cell.gates = len(blocks) if self.lstm else 1
        if self.lstm:
            cell.i, cell.f, cell.z, cell.o = [blocks.find(letter) for letter in "ifzo"]
        cell.coupled = coupled
        cell.gate, cell.g, cell.h = ACTIVATIONS[gate], ACTIVATIONS[g], ACTIVATIONS[h]
        cell.clip, cell.cell_clip = clip, cell_clip
        cell.plain = (blocks == "ifzo" and gate == "logistic" and g == h == "tanh" and clip == cell_clip == 0)


# ---- memory ------------------------------------------------------------------------------------------------------------

cdef char *take(char **at, fl_size bytes) noexcept nogil:
    cdef char *here = at[0] + (ALIGNMENT - <size_t>at[0] % ALIGNMENT) % ALIGNMENT
    at[0] = here + bytes
    return here


cdef fl_size row_of(name, array, fl_size columns) except -1:
    cdef fl_size found = array.shape[array.ndim - 1]
    if found < columns:
        raise ValueError(f"{name} must have {columns} columns, not {found}")
    return found


# ---- weights -----------------------------------------------------------------------------------------------------------

cdef bint many_rows(const Rows *r) noexcept nogil:
    """Are there enough rows for packing to pay? Else weights are read as they are."""
    return r.invariant or r.count >= ROWS_TO_PACK


cdef Plan plan(const fl_kernels *k, const Rows *r, fl_size I, fl_size H, fl_size K, fl_size gates, int size,
               bint packed) noexcept nogil:
    """`size` is the bytes of a weight, `packed` whether they are packed already."""
    cdef fl_size R_bytes = gates * H * K * size, W_bytes = gates * H * I * size
    cdef Plan p
    if k.device:
        p.hoist, p.pack = True, False
        return p
    p.hoist = R_bytes + W_bytes > FL_CACHED
    if not r.invariant:
        p.hoist = many_rows(r) and r.T > 1 and (p.hoist or r.count < FL_ROWS_TO_FOLD * r.T)
    # A single row is bound by reading R, packed or not.
    p.pack = packed or r.invariant or many_rows(r) and not (p.hoist and r.B == 1 and R_bytes >= FL_CACHED // 4)
    return p


# ---- threads -----------------------------------------------------------------------------------------------------------

cdef bint set_borders(Division *d, const Rows *r, fl_size t0, fl_size t1, fl_size most) noexcept nogil:
    """Fills part after part with rows up to the cost `most`; do the parts hold all rows?"""
    cdef fl_size b = 0, steps = t1 - t0, cost
    cdef int part
    for part in range(d.parts):
        d.borders[part] = b
        cost = -1
        while b < r.B:
            while steps and rows_at(r, t0 + steps - 1) <= b:
                steps -= 1  # those that row b has: fewer and fewer
            if cost < 0:
                cost = ROWS_PER_STEP * steps
            if cost + steps > most:
                break
            cost += steps
            b += 1
    d.borders[d.parts] = r.B
    return b == r.B


cdef void divide_rows(Division *d, const Rows *r, fl_size t0, fl_size t1) noexcept nogil:
    """Divides the rows of some steps so that the costliest part costs little, sequences left whole."""
    cdef fl_size low = 0, high = first_row(r, t1) - first_row(r, t0) + ROWS_PER_STEP * (t1 - t0), middle
    cdef fl_size exact = high // 128
    cdef int part
    if not d.by_rows:
        return
    if rows_at(r, t0) == rows_at(r, t1 - 1):
        for part in range(d.parts):
            d.borders[part] = border(rows_at(r, t0), 1, part, d.parts)
        d.borders[d.parts] = r.B
        return
    while high - low > exact:
        middle = (low + high) // 2
        if set_borders(d, r, t0, t1, middle):
            high = middle
        else:
            low = middle + 1
    set_borders(d, r, t0, t1, high)


cdef void divide(Division *d, const Rows *r, fl_size H, fl_size block, fl_size weights, int size,
                 int num_threads) noexcept nogil:
    """`weights` is the number of weights that a step reads; `block` the fewest hidden units that make a part."""
    cdef fl_size most = max(min(<fl_size>num_threads, FL_MAX_THREADS), 1), rows = r.count // max(r.T, 1)
    # By rows no thread waits for another, but each reads all weights: it needs rows enough, or weights in its cache.
    d.by_rows = rows >= most * (2 if weights * size <= NEAR else 16)
    if d.by_rows:
        d.parts = <int>min(most, max(1, r.count * weights // WORK_PER_CALL))
        divide_rows(d, r, 0, r.T)
    else:
        most = min(most, max(1, (H + block - 1) // block))
        d.parts = <int>min(most, max(1, rows * weights // WORK_PER_STEP))


cdef fl_size border(fl_size count, fl_size block, int part, int parts) noexcept nogil:
    """Where `part` begins when `count` things in blocks are divided evenly."""
    return min(count, ((count + block - 1) // block) * part // parts * block)


cdef Share share(const Division *division, int part, fl_size B, fl_size H, fl_size block) noexcept nogil:
    cdef Share s
    if division.by_rows:
        s.row0, s.row1 = division.borders[part], division.borders[part + 1]
        s.unit0, s.unit1 = 0, H
    else:
        s.row0, s.row1 = 0, B
        s.unit0 = border(H, block, part, division.parts)
        s.unit1 = border(H, block, part + 1, division.parts)
    return s


# ---- packing -----------------------------------------------------------------------------------------------------------

cdef struct Packing:
    const fl_kernels *k
    void *panels
    fl_size gates       # of pack_columns; 0 for pack_rows
    fl_size H           # of pack_rows the columns
    const void *A
    fl_size K           # of pack_rows the rows
    fl_size row_step    # of pack_rows
    int vectors         # of pack_rows
    fl_size count


cdef fl_size column_panels(const fl_kernels *k, fl_size gates, fl_size H, fl_size K) noexcept nogil:
    """Values in the packed columns of weights (gates H, K)."""
    return fl_padded_columns(k, gates, H) * K


cdef fl_size row_panels(const fl_kernels *k, int vectors, fl_size rows, fl_size columns) noexcept nogil:
    """Values in the packed rows of A (rows, columns)."""
    return fl_padded(k, vectors, columns) * rows


cdef void pack_part(void *argument, int part, int parts) noexcept nogil:
    cdef Packing *p = <Packing *>argument
    cdef fl_size first = border(p.count, 1, part, parts), end = border(p.count, 1, part + 1, parts)
    if p.gates:
        p.k.pack_columns(p.panels, p.gates, p.H, p.A, p.K, first, end)
    else:
        p.k.pack_rows(p.panels, p.vectors, p.A, p.row_step, p.K, p.H, first, end)


cdef void pack_columns(const fl_kernels *k, void *panels, fl_size gates, fl_size H, const void *A, fl_size K,
                       int parts) noexcept nogil:
    cdef Packing p = Packing(k, panels, gates, H, A, K, 0, 0, fl_panel_count(k, gates, H))
    parallel(pack_part, &p, parts)


cdef void pack_rows(const fl_kernels *k, void *panels, int vectors, const void *A, fl_size row_step, fl_size rows,
                    fl_size columns, int parts) noexcept nogil:
    cdef fl_size width = vectors * k.unit_block
    cdef Packing p = Packing(k, panels, 0, columns, A, rows, row_step, vectors, (columns + width - 1) // width)
    parallel(pack_part, &p, parts)


# ---- products over many steps ------------------------------------------------------------------------------------------

cdef struct Multiplication:
    const fl_kernels *k
    fl_product product
    fl_size rows


cdef void multiply_pieces(const fl_kernels *k, const fl_product *product, fl_size row0, fl_size row1, fl_size column0,
                          fl_size column1) noexcept nogil:
    """Some rows and columns of a product, so that what takes long can be stopped between the columns."""
    cdef fl_size block = k.unit_block * (1 if product.gates > 1 else product.vectors)
    cdef fl_size work = 0 if k.device else (row1 - row0) * product.K * product.gates, end
    while column0 < column1:
        end = piece_end(column0, column1, block, work)
        k.multiply(product, row0, row1, column0, end)
        column0 = end
        if column0 < column1 and stopped():
            return


cdef void multiply_rows(void *argument, int part, int parts) noexcept nogil:
    cdef Multiplication *m = <Multiplication *>argument
    multiply_pieces(m.k, &m.product, border(m.rows, m.k.row_block, part, parts),
                    border(m.rows, m.k.row_block, part + 1, parts), 0, m.product.columns)


cdef void multiply(const fl_kernels *k, fl_size rows, fl_size gates, fl_size H, fl_size K, const void *A,
                   const void *panels, fl_format format, void *C, int parts) noexcept nogil:
    cdef int vectors = <int>(k.column_block // k.unit_block)
    cdef Multiplication m = Multiplication(
        k, fl_product(H, K, A, K, 1, panels, vectors, gates, format, C, gates * H, False, True), rows)
    parallel(multiply_rows, &m, parts)


cdef void lay_out_products(Products *p, const Rows *r, bint with_dx, char **at) noexcept nogil:
    """The workspace of what follows."""
    cdef fl_size columns = p.gates * p.hidden, rows = block_rows(r, FL_ROWS_PER_BLOCK)
    cdef fl_size padded = fl_padded_columns(p.k, p.gates, p.hidden)
    cdef int vectors = <int>(p.k.column_block // p.k.unit_block)
    p.delta_panels = NULL
    if many_rows(r) and not p.k.device:
        p.delta_panels = take(at, rows * padded * p.size)
        p.dW_sum = take(at, p.input * padded * p.size)
        p.dR_sum = take(at, p.outputs * padded * p.size)
        p.x_transposed = take(at, rows * p.input * p.size)
        p.y_transposed = take(at, rows * p.outputs * p.size)
        if with_dx:
            p.W_panels = take(at, row_panels(p.k, vectors, columns, p.input) * p.size)


cdef void begin_products(Products *p, const Rows *r, int parts) noexcept nogil:
    """Clears what is added to; packs W."""
    cdef fl_size columns = p.gates * p.hidden
    if not p.accumulate:
        p.k.clear(p.db, 0, columns * p.size, 1, NULL)
        if r.count == 0:
            p.k.clear(p.dW, 0, columns * p.input * p.size, 1, NULL)
            p.k.clear(p.dR, 0, columns * p.outputs * p.size, 1, NULL)
    p.begun = False
    if p.delta_panels != NULL:
        # Its padding stays zero.
        p.k.clear(p.delta_panels, 0, block_rows(r, FL_ROWS_PER_BLOCK) * fl_padded_columns(p.k, p.gates, p.hidden) * p.size,
                  1, NULL)
        if p.dx != NULL:
            pack_rows(p.k, p.W_panels, <int>(p.k.column_block // p.k.unit_block), p.W, p.input, columns, p.input, parts)


cdef bint far_rows(const Products *p, fl_size K) noexcept nogil:
    """Rows of a kilobyte and more would meet in few sets of the cache when one column is read: transpose first."""
    return K * p.size >= 1024


cdef void transpose_part(void *argument, int part, int parts) noexcept nogil:
    cdef Products *p = <Products *>argument
    cdef fl_size I = p.input, H = p.outputs, block = p.k.unit_block
    if far_rows(p, I):
        p.k.transpose(p.x_transposed, p.x, p.rows, I, border(I, block, part, parts), border(I, block, part + 1, parts))
    if far_rows(p, H):
        p.k.transpose(p.y_transposed, p.y_prev, p.rows, H, border(H, block, part, parts),
                      border(H, block, part + 1, parts))


cdef void add_weight_sum(const Products *p, const void *a, const void *a_transposed, fl_size K, void *total,
                         fl_size column0, fl_size column1) noexcept nogil:
    """total (K, padded gates H) += A^T delta."""
    cdef fl_size columns = fl_padded_columns(p.k, p.gates, p.hidden)
    cdef int vectors = <int>(fl_panel_columns(p.k, p.gates) // p.k.unit_block)
    cdef fl_product product = fl_product(columns, p.rows, a, 1, K, p.delta_panels, vectors, 1, FL_FULL, total,
                                         columns, p.begun, False)
    cdef fl_size width = vectors * p.k.unit_block
    if far_rows(p, K):
        product.a, product.a_row_step, product.a_k_step = a_transposed, p.rows, 1
    if product.K > FL_ROWS_PER_GROUP and not p.k.device:
        while column0 < column1 and not stopped():
            fl_multiply_in_groups(p.k, &product, K, column0, min(column0 + width, column1), p.size)
            column0 += width
    else:
        multiply_pieces(p.k, &product, 0, K, column0, column1)


cdef void add_products_part(void *argument, int part, int parts) noexcept nogil:
    """Some columns of the deltas for the gradients of the weights; some rows for dx."""
    cdef Products *p = <Products *>argument
    cdef fl_size columns = p.gates * p.hidden, block = fl_panel_columns(p.k, p.gates), column0, column1
    cdef int vectors = <int>(p.k.column_block // p.k.unit_block)
    cdef fl_product dx
    p.k.add_bias_gradient(p.db, p.delta, p.rows, columns, border(columns, block, part, parts),
                          border(columns, block, part + 1, parts))
    if p.delta_panels == NULL:
        return
    column0 = border(fl_padded_columns(p.k, p.gates, p.hidden), block, part, parts)
    column1 = border(fl_padded_columns(p.k, p.gates, p.hidden), block, part + 1, parts)
    add_weight_sum(p, p.x, p.x_transposed, p.input, p.dW_sum, column0, column1)
    add_weight_sum(p, p.y_prev, p.y_transposed, p.outputs, p.dR_sum, column0, column1)
    if p.dx != NULL:
        dx = fl_product(p.input, columns, p.delta, columns, 1, p.W_panels, vectors, 1, FL_FULL, p.dx, p.input,
                        False, False)
        multiply_pieces(p.k, &dx, border(p.rows, p.k.row_block, part, parts),
                        border(p.rows, p.k.row_block, part + 1, parts), 0, p.input)


cdef void add_products(Products *p, int parts) noexcept nogil:
    """dW += delta^T x, dR += delta^T y_prev, db += sum of delta, dx = delta W."""
    cdef fl_size columns = p.gates * p.hidden
    if p.delta_panels != NULL and (far_rows(p, p.input) or far_rows(p, p.outputs)):
        parallel(transpose_part, p, parts)
    parallel(add_products_part, p, parts)
    if p.delta_panels == NULL:
        matmul(p.k, p.size, True, False, columns, p.input, p.rows, p.delta, p.x, p.accumulate or p.begun, p.dW)
        matmul(p.k, p.size, True, False, columns, p.outputs, p.rows, p.delta, p.y_prev, p.accumulate or p.begun, p.dR)
        if p.dx != NULL:
            matmul(p.k, p.size, False, False, p.rows, p.input, columns, p.delta, p.W, 0, p.dx)
    p.begun = True


cdef void end_products_part(void *argument, int part, int parts) noexcept nogil:
    cdef Products *p = <Products *>argument
    cdef fl_size unit0 = border(p.hidden, 1, part, parts), unit1 = border(p.hidden, 1, part + 1, parts)
    p.k.unpack_gradient(p.dW, p.dW_sum, p.gates, p.hidden, p.input, p.accumulate, unit0, unit1)
    p.k.unpack_gradient(p.dR, p.dR_sum, p.gates, p.hidden, p.outputs, p.accumulate, unit0, unit1)


cdef void end_products(Products *p, int parts) noexcept nogil:
    """Brings the sums to dW and dR."""
    if p.begun and p.delta_panels != NULL:
        parallel(end_products_part, p, parts)


def rows_to_pack():
    """Batch rows times steps from which packing the weights pays."""
    return ROWS_TO_PACK


def unit_block(int size):
    """Hidden units that a vector holds."""
    return kernels(size).unit_block
