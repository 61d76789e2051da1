# The C side of passes: _c/pass/*.h say what each name means.

from libc.stdint cimport int64_t

from fastlstm._system.kernels cimport (fl_backward, fl_backward_step, fl_carry, fl_forward, fl_forward_step,
                                       fl_kernels, fl_product, fl_size, fl_y_gradient)

cdef extern from "pass/rows.h" nogil:
    ctypedef struct fl_rows:
        fl_size T
        fl_size B
        fl_size count
        const int64_t *offsets
        bint invariant

    ctypedef struct fl_span:
        fl_size t0
        fl_size t1

    fl_size fl_rows_at(const fl_rows *r, fl_size t)
    fl_size fl_time(const fl_rows *r, bint reverse, fl_size s)
    fl_size fl_first_step(const fl_rows *r, bint reverse, fl_span span)
    fl_span fl_next_block(fl_span *left, const fl_rows *r, fl_size rows, bint last)
    fl_size fl_rows_per_block(const fl_kernels *k, fl_size bytes)
    fl_size fl_segment_rows(fl_size k, fl_size B)
    fl_size fl_segments(const fl_rows *r, fl_size rows)

cdef extern from "pass/arena.h" nogil:
    ctypedef struct fl_arena:
        char *base
        size_t used

    fl_arena fl_arena_in(const void *memory)
    size_t fl_arena_bytes(const fl_arena *arena)
    char *fl_at(const void *array, fl_size values, fl_size size)

cdef extern from "pass/division.h" nogil:
    ctypedef struct fl_division:
        int parts
        bint by_rows

    ctypedef struct fl_share:
        fl_size row0
        fl_size row1
        fl_size unit0
        fl_size unit1

    ctypedef bint (*fl_ask_stop)() noexcept nogil

    void fl_divide(fl_division *d, const fl_rows *r, fl_size H, fl_size block, bint whole_rows, fl_size weights,
                   fl_size size,
                   int num_threads)
    void fl_divide_rows(fl_division *d, const fl_rows *r, fl_span steps)
    fl_share fl_share_of(const fl_division *d, int part, fl_size B, fl_size H, fl_size block)
    fl_size fl_border(fl_size count, fl_size block, int part, int parts)

cdef extern from "pass/tape.h" nogil:
    ctypedef struct fl_tape:
        fl_size t0
        fl_size row
        char *gates
        char *c
        char *c_prev
        char *y_prev
        char *h0
        char *m

cdef extern from "pass/packing.h" nogil:
    ctypedef struct fl_packing:
        pass

    ctypedef struct fl_multiplication:
        pass

    int fl_vectors(const fl_kernels *k)
    int fl_vectors_of_columns(const fl_kernels *k)
    fl_size fl_column_panels(const fl_kernels *k, fl_size gates, fl_size H, fl_size K)
    fl_size fl_row_panels(const fl_kernels *k, int vectors, fl_size rows, fl_size columns)
    fl_packing fl_columns_to_pack(const fl_kernels *k, void *panels, fl_size gates, fl_size H, const void *A, fl_size K)
    fl_packing fl_rows_to_pack(const fl_kernels *k, void *panels, int vectors, const void *A, fl_size row_step,
                               fl_size rows, fl_size columns)
    void fl_pack(void *packing, int part, int parts)
    void fl_multiply_pieces(const fl_kernels *k, const fl_product *product, fl_ask_stop stopped, fl_size row0,
                            fl_size row1,
                            fl_size column0, fl_size column1)
    void fl_multiply(void *multiplication, int part, int parts)

cdef extern from "pass/forward.h" nogil:
    ctypedef struct fl_forward_pass:
        const fl_kernels *k
        const fl_kernels *over_time
        fl_forward_step step
        fl_ask_stop stopped
        fl_forward constant
        fl_carry between
        fl_rows rows
        bint reverse
        fl_size size
        fl_size cell_size
        fl_size weight_size
        fl_size gates
        fl_size outputs
        fl_size block
        fl_size unit_work
        bint taped
        bint y_on_tape
        bint carries
        bint packed
        bint direct
        bint packs
        bint hoists
        fl_division division
        fl_size s0
        fl_size s1
        fl_size s_end
        const char *x
        const char *h0
        const char *c0
        const char *extra0
        char *y
        fl_size y_step
        char *h_last
        char *c_last
        char *extra_last
        const char *proj
        fl_tape tape
        fl_size block_rows
        fl_size segment
        bint again
        char *checkpoints_y
        char *checkpoints_c
        char *checkpoints_y_before
        const char *reset
        const char *zone_y
        const char *zone_c
        char *W_panels
        char *R_panels
        char *proj_panels

    void fl_plan_weights(fl_forward_pass *f)
    void fl_lay_out_forward_pass(fl_forward_pass *f, fl_arena *arena)
    void fl_divide_forward_pass(fl_forward_pass *f, int num_threads)
    fl_size fl_gates_side_by_side(const fl_forward_pass *f)
    fl_packing fl_R_to_pack(const fl_forward_pass *f, int product)
    fl_size fl_R_panels(const fl_forward_pass *f)
    fl_multiplication fl_hoisted_product(fl_forward_pass *f, fl_span block)
    void fl_start_forward_pass(const fl_forward_pass *f)
    void fl_keep_checkpoint(const fl_forward_pass *f, fl_span segment)
    void fl_begin_segment(fl_forward_pass *f, fl_span segment)
    fl_size fl_run_forward_step(const fl_forward_pass *f, fl_forward *step, fl_size s, fl_share own)
    void fl_hand_on(const fl_forward_pass *f, fl_size s, fl_share own, fl_size column0, fl_size column1)
    char *fl_y_of(const fl_forward_pass *f, fl_size s)
    char *fl_m_of(const fl_forward_pass *f, fl_size s)

cdef extern from "pass/weights.h" nogil:
    ctypedef struct fl_weight_gradients:
        const fl_kernels *k
        fl_ask_stop stopped
        fl_size size
        fl_size gates
        fl_size input
        fl_size hidden
        fl_size outputs
        const void *W
        void *dW
        void *dR
        void *db
        bint accumulate
        bint frozen
        bint begun
        fl_size rows
        fl_size delta_step
        bint packs_deltas
        const void *delta
        const void *delta_R
        const void *delta_W
        const void *x
        const void *y_prev
        void *dx
        char *delta_panels
        char *W_panels
        char *dW_sum
        char *dR_sum

    bint fl_is_far(const fl_weight_gradients *w, fl_size K)
    void fl_transpose_part(void *gradients, int part, int parts)
    void fl_add_products_part(void *gradients, int part, int parts)
    void fl_unpack_weight_gradients_part(void *gradients, int part, int parts)

cdef extern from "pass/backward.h" nogil:
    enum: FL_SUMS

    ctypedef struct fl_sum:
        pass

    ctypedef struct fl_backward_pass:
        const fl_kernels *k
        fl_backward_step step
        fl_ask_stop stopped
        fl_backward constant
        fl_y_gradient between
        fl_weight_gradients weights
        fl_weight_gradients parts[2]
        int part_count
        fl_rows rows
        bint reverse
        fl_size size
        fl_size cell_size
        fl_size weight_size
        fl_size gates
        fl_size outputs
        fl_size K
        fl_size block
        fl_size unit_work
        fl_size block_rows
        bint packed
        bint with_deltas
        bint recomputes_y
        fl_division division
        fl_size s0
        fl_size s1
        fl_size s_end
        fl_size delta_row
        const char *R
        const char *proj
        const char *x
        fl_tape tape
        fl_forward_pass *again
        bint reset_to_zero
        const char *reset
        const char *zone_y
        const char *zone_c
        const char *dy
        fl_size dy_step
        const char *dh
        const char *dc
        const char *d_extra
        const char *dc_above
        char *dx
        char *dp
        char *dnorm
        char *dproj
        char *dh0
        char *d_extra0
        char *delta_all
        char *dy_all
        char *dc_all
        char *y_prev
        char *m_panels
        char *R_panels
        char *late_panels
        char *extra_panels
        char *proj_panels
        fl_sum sums[9]

    fl_size fl_rows_of_R(const fl_backward_pass *b)
    void fl_lay_out_backward_pass(fl_backward_pass *b, fl_arena *arena)
    void fl_divide_backward_pass(fl_backward_pass *b, int num_threads)
    void fl_start_backward_pass(fl_backward_pass *b)
    fl_size fl_rows_going_on(const fl_backward_pass *b, fl_size s)
    fl_size fl_run_backward_rows(const fl_backward_pass *b, fl_size s, fl_size row0, fl_size row1, fl_size unit0,
                                 fl_size unit1, bint last)
    void fl_run_dy(const fl_backward_pass *b, fl_size s, fl_size row0, fl_size row1, fl_size column0, fl_size column1,
                   bint last)
    void fl_run_first_state(const fl_backward_pass *b, fl_size s, fl_size row0, fl_size row1, int part, int parts)
    void fl_begin_backward_block(fl_backward_pass *b, fl_span block)
    void fl_gather_backward_block(fl_backward_pass *b, fl_span block)
    void fl_end_backward_block(fl_backward_pass *b, fl_span block)
    void fl_y_prev_part(void *backward_pass, int part, int parts)
    void fl_p_gradient_part(void *backward_pass, int part, int parts)
    void fl_projection_part(void *backward_pass, int part, int parts)
    bint fl_sums_in_parts(const fl_backward_pass *b)

cdef extern from "pass/sums.h" nogil:
    void fl_add_totals(const fl_kernels *k, const fl_sum *sums, int count)
