"""What the time loops of the LSTM and of the simple RNN share: dividing the work, packing, the products over many steps."""
from libc.string cimport memset

from ._blas cimport matmul
from ._kernels cimport FL_MAX_THREADS, fl_kernels, fl_product, fl_size
from ._runtime cimport parallel

cdef enum:
    # Multiply-adds below which another thread costs more than it brings: in a call divided by rows, in a step by units.
    WORK_PER_CALL = 200000
    WORK_PER_STEP = 60000
    # Batch rows times steps from which packing the weights pays.
    ROWS_TO_PACK = 16
    # Batch rows below which W x is cheaper as one product over many steps than inside each step.
    ROWS_TO_FOLD = 8
    # Bytes of weights that stay in a core's second-level cache from step to step.
    CACHED = 4 << 20
    # Bytes of weights that every core can have in its second-level cache, beside all else.
    NEAR = 1 << 20
    # Batch rows times steps whose deltas are kept in the cache for the products that follow.
    ROWS_PER_BLOCK = 512
    ALIGNMENT = 64


cdef bint many_rows(fl_size T, fl_size B) noexcept nogil:
    """Are there enough rows for packing to pay? Else weights are read as they are."""
    return T * B >= ROWS_TO_PACK


cdef Plan plan(fl_size T, fl_size B, fl_size I, fl_size H, fl_size gates, int size) noexcept nogil:
    cdef fl_size R_bytes = gates * H * H * size, W_bytes = gates * H * I * size
    cdef Plan p
    p.hoist = many_rows(T, B) and T > 1 and (B < ROWS_TO_FOLD or R_bytes + W_bytes > CACHED)
    # A single row is bound by reading R, packed or not.
    p.pack = many_rows(T, B) and not (p.hoist and B == 1 and R_bytes >= CACHED // 4)
    p.folded = 0 if p.hoist else I
    return p


cdef fl_size block_steps(fl_size T, fl_size B) noexcept nogil:
    """Time steps whose products are done together."""
    return max(min(T, (ROWS_PER_BLOCK + B - 1) // max(B, 1)), 1)


cdef char *aligned(char *address) noexcept nogil:
    """The next address that vectors like. Workspaces have 64 values to spare for it."""
    return address + (ALIGNMENT - <size_t>address % ALIGNMENT) % ALIGNMENT


# ---- threads -----------------------------------------------------------------------------------------------------------

cdef Division divide(fl_size T, fl_size B, fl_size H, fl_size block, fl_size weights, int size,
                     int num_threads) noexcept nogil:
    """`weights` is the number of weights that a step reads; `block` the fewest hidden units that make a part."""
    cdef Division d
    cdef fl_size most = max(min(<fl_size>num_threads, FL_MAX_THREADS), 1)
    # By rows no thread waits for another, but each reads all weights: it needs rows enough, or weights in its cache.
    d.by_rows = B >= most * (2 if weights * size <= NEAR else 16)
    if d.by_rows:
        d.parts = <int>min(most, max(1, T * B * weights // WORK_PER_CALL))
    else:
        most = min(most, max(1, (H + block - 1) // block))
        d.parts = <int>min(most, max(1, B * weights // WORK_PER_STEP))
    return d


cdef fl_size border(fl_size count, fl_size block, int part, int parts) noexcept nogil:
    """Where `part` begins when `count` things in blocks are divided evenly."""
    return min(count, ((count + block - 1) // block) * part // parts * block)


cdef Share share(Division division, int part, fl_size B, fl_size H, fl_size block) noexcept nogil:
    cdef Share s
    if division.by_rows:
        s.row0 = border(B, 1, part, division.parts)
        s.row1 = border(B, 1, part + 1, division.parts)
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
    fl_size H
    const void *W
    fl_size I
    const void *R
    fl_size count


cdef fl_size panel_count(const fl_kernels *k, fl_size gates, fl_size H) noexcept nogil:
    cdef fl_size units = k.column_block if gates == 1 else k.unit_block
    return (H + units - 1) // units


cdef fl_size column_panels(const fl_kernels *k, fl_size gates, fl_size H, fl_size K) noexcept nogil:
    """Values in the packed columns of weights (gates H, K)."""
    return panel_count(k, gates, H) * k.column_block * K


cdef fl_size row_panels(const fl_kernels *k, fl_size rows, fl_size columns) noexcept nogil:
    """Values in the packed rows of A (rows, columns)."""
    return panel_count(k, 1, columns) * k.column_block * rows


cdef void pack_part(void *argument, int part, int parts) noexcept nogil:
    cdef Packing *p = <Packing *>argument
    cdef fl_size first = border(p.count, 1, part, parts), end = border(p.count, 1, part + 1, parts)
    if p.gates:
        p.k.pack_columns(p.panels, p.gates, p.H, p.W, p.I, p.R, first, end)
    else:
        p.k.pack_rows(p.panels, p.W, p.I, p.H, first, end)


cdef void pack_columns(const fl_kernels *k, void *panels, fl_size gates, fl_size H, const void *W, fl_size I,
                       const void *R, int parts) noexcept nogil:
    cdef Packing p = Packing(k, panels, gates, H, W, I, R, panel_count(k, gates, H))
    parallel(pack_part, &p, parts)


cdef void pack_rows(const fl_kernels *k, void *panels, const void *A, fl_size rows, fl_size columns,
                    int parts) noexcept nogil:
    cdef Packing p = Packing(k, panels, 0, columns, A, rows, NULL, panel_count(k, 1, columns))
    parallel(pack_part, &p, parts)


# ---- products over many steps ------------------------------------------------------------------------------------------

cdef struct Multiplication:
    const fl_kernels *k
    fl_product product
    fl_size rows


cdef void multiply_rows(void *argument, int part, int parts) noexcept nogil:
    cdef Multiplication *m = <Multiplication *>argument
    m.k.multiply(&m.product, border(m.rows, m.k.row_block, part, parts),
                 border(m.rows, m.k.row_block, part + 1, parts), 0, m.product.columns)


cdef void multiply(const fl_kernels *k, fl_size rows, fl_size columns, fl_size K, const void *A, const void *panels,
                   void *C, int parts) noexcept nogil:
    cdef Multiplication m = Multiplication(k, fl_product(columns, K, A, K, 1, panels, C, False), rows)
    parallel(multiply_rows, &m, parts)


cdef fl_size padded_columns(const fl_kernels *k, fl_size gates, fl_size H) noexcept nogil:
    return panel_count(k, gates, H) * k.column_block


cdef fl_size products_workspace(const fl_kernels *k, fl_size T, fl_size B, fl_size gates, fl_size I,
                                fl_size H) noexcept nogil:
    """Values of workspace for `begin_products`."""
    cdef fl_size rows = block_steps(T, B) * B
    if not many_rows(T, B):
        return 0
    return (rows + I + H) * padded_columns(k, gates, H) + row_panels(k, gates * H, I) + rows * (I + H)


cdef void begin_products(Products *p, fl_size T, fl_size B, char *space, int parts) noexcept nogil:
    """Clears what is added to; packs W."""
    cdef fl_size columns = p.gates * p.hidden, rows = block_steps(T, B) * B
    cdef fl_size padded = padded_columns(p.k, p.gates, p.hidden)
    if not p.accumulate:
        memset(p.db, 0, columns * p.size)
        if T * B == 0:
            memset(p.dW, 0, columns * p.input * p.size)
            memset(p.dR, 0, columns * p.hidden * p.size)
    p.begun = False
    p.delta_panels = NULL
    if many_rows(T, B):
        p.delta_panels = space
        p.dW_sum = p.delta_panels + rows * padded * p.size
        p.dR_sum = p.dW_sum + p.input * padded * p.size
        p.W_panels = p.dR_sum + p.hidden * padded * p.size
        p.x_transposed = p.W_panels + row_panels(p.k, columns, p.input) * p.size
        p.y_transposed = p.x_transposed + rows * p.input * p.size
        memset(p.delta_panels, 0, rows * padded * p.size)  # its padding stays zero
        if p.dx != NULL:
            pack_rows(p.k, p.W_panels, p.W, columns, p.input, parts)


cdef bint far_rows(const Products *p, fl_size K) noexcept nogil:
    """Rows of a kilobyte and more would meet in few sets of the cache when one column is read: transpose first."""
    return K * p.size >= 1024


cdef void transpose_part(void *argument, int part, int parts) noexcept nogil:
    cdef Products *p = <Products *>argument
    cdef fl_size I = p.input, H = p.hidden, block = p.k.unit_block
    if far_rows(p, I):
        p.k.transpose(p.x_transposed, p.x, p.rows, I, border(I, block, part, parts), border(I, block, part + 1, parts))
    if far_rows(p, H):
        p.k.transpose(p.y_transposed, p.y_prev, p.rows, H, border(H, block, part, parts),
                      border(H, block, part + 1, parts))


cdef void add_weight_sum(const Products *p, const void *a, const void *a_transposed, fl_size K, void *total,
                         fl_size column0, fl_size column1) noexcept nogil:
    """total (K, padded gates H) += A^T delta."""
    cdef fl_size columns = padded_columns(p.k, p.gates, p.hidden)
    cdef fl_product product = fl_product(columns, p.rows, a, 1, K, p.delta_panels, total, p.begun)
    if far_rows(p, K):
        product.a, product.a_row_step, product.a_k_step = a_transposed, p.rows, 1
    p.k.multiply(&product, 0, K, column0, column1)


cdef void add_products_part(void *argument, int part, int parts) noexcept nogil:
    """Some columns of the deltas for the gradients of the weights; some rows for dx."""
    cdef Products *p = <Products *>argument
    cdef fl_size columns = p.gates * p.hidden, block = p.k.column_block, column0, column1
    cdef fl_product dx
    p.k.add_bias_gradient(p.db, p.delta, p.rows, columns, border(columns, block, part, parts),
                          border(columns, block, part + 1, parts))
    if p.delta_panels == NULL:
        return
    column0 = border(padded_columns(p.k, p.gates, p.hidden), block, part, parts)
    column1 = border(padded_columns(p.k, p.gates, p.hidden), block, part + 1, parts)
    add_weight_sum(p, p.x, p.x_transposed, p.input, p.dW_sum, column0, column1)
    add_weight_sum(p, p.y_prev, p.y_transposed, p.hidden, p.dR_sum, column0, column1)
    if p.dx != NULL:
        dx = fl_product(p.input, columns, p.delta, columns, 1, p.W_panels, p.dx, False)
        p.k.multiply(&dx, border(p.rows, p.k.row_block, part, parts), border(p.rows, p.k.row_block, part + 1, parts),
                     0, p.input)


cdef void add_products(Products *p, int parts) noexcept nogil:
    """dW += delta^T x, dR += delta^T y_prev, db += sum of delta, dx = delta W."""
    cdef fl_size columns = p.gates * p.hidden
    if p.delta_panels != NULL and (far_rows(p, p.input) or far_rows(p, p.hidden)):
        parallel(transpose_part, p, parts)
    parallel(add_products_part, p, parts)
    if p.delta_panels == NULL:
        matmul(p.size, True, False, columns, p.input, p.rows, p.delta, p.x, p.accumulate or p.begun, p.dW)
        matmul(p.size, True, False, columns, p.hidden, p.rows, p.delta, p.y_prev, p.accumulate or p.begun, p.dR)
        if p.dx != NULL:
            matmul(p.size, False, False, p.rows, p.input, columns, p.delta, p.W, 0, p.dx)
    p.begun = True


cdef void end_products_part(void *argument, int part, int parts) noexcept nogil:
    cdef Products *p = <Products *>argument
    cdef fl_size unit0 = border(p.hidden, 1, part, parts), unit1 = border(p.hidden, 1, part + 1, parts)
    p.k.unpack_gradient(p.dW, p.dW_sum, p.gates, p.hidden, p.input, p.accumulate, unit0, unit1)
    p.k.unpack_gradient(p.dR, p.dR_sum, p.gates, p.hidden, p.hidden, p.accumulate, unit0, unit1)


cdef void end_products(Products *p, int parts) noexcept nogil:
    """Brings the sums to dW and dR."""
    if p.begun and p.delta_panels != NULL:
        parallel(end_products_part, p, parts)
