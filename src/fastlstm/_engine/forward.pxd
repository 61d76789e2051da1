from fastlstm._system.kernels cimport fl_carry, fl_forward, fl_forward_step, fl_kernels, fl_size
from fastlstm._engine.loops cimport Cell, Division, Plan, Rows, Span, Tape
from fastlstm._system.runtime cimport Buffers

cdef struct Forward:
    const fl_kernels *k
    fl_forward_step step
    fl_forward constant         # what is the same at every step
    fl_carry between            # likewise
    Rows rows
    bint reverse
    int size                    # bytes of a value
    int cell_size               # bytes of a cell, and of a sum
    fl_size gates               # blocks of H
    fl_size outputs             # P: values in a row of y, H without a projection
    fl_size block               # hidden units that a thread's share is made of
    fl_size unit_work           # multiply-adds that a step takes for a row and unit; 0 on a device
    bint taped
    bint cells                  # is there a c? Not in an RNN
    bint carries                # does anything lie between two steps?
    bint packed                 # are the weights given as panels?
    bint direct                 # a step reads y where the step before has written it for the caller
    Plan way
    Division division
    fl_size s0                  # the steps to run
    fl_size s1
    fl_size s_end               # where the steps end: nothing is handed on
    fl_size wx_row              # of `wx`, the row of all steps at which it begins
    const char *x               # (rows, I)
    const char *wx              # (rows of some steps, gates H), or NULL
    const char *h0              # (B, P)
    const char *c0              # (B, H)
    const char *g0              # (B, K - P), or NULL: the gates that full gate recurrence begins with
    char *y                     # (rows, ...): P values every y_step
    fl_size y_step
    char *h_last                # (B, P)
    char *c_last                # (B, H)
    char *g_last                # (B, K - P), or NULL
    const char *proj            # (P, H), or NULL
    Tape tape
    # Recompute: a segment's rows, or 0. The first pass, without a tape, keeps the state that each segment's first step
    # sees; then each segment runs `again`, its tape in the workspace.
    fl_size block_rows          # in a block of steps
    fl_size segment
    bint again
    char *marks_y               # (segments, B, K)
    char *marks_c               # (segments, B, H), or NULL
    char *marks_y_before        # (segments, B, P) for zoneout y^{t-1} itself, or NULL
    # Options.
    const char *reset           # (rows,) bytes, or NULL
    const char *zone_y          # (rows, P), or NULL
    const char *zone_c          # (rows, H), or NULL
    # Workspace.
    char *W_panels              # these two may be given
    char *R_panels
    char *proj_panels
    char *wx_space
    char *pong                  # (2, B, K): y^{t-1} as seen, without a tape
    char *m_space               # (B, H), without a tape
    char *c_space               # (B, H), likewise

cdef void lay_out(Forward *f, char **at) noexcept nogil
# What comes before all steps: the division of the work, the packed weights.
cdef void prepare(Forward *f, int num_threads) noexcept nogil
# A segment once more, onto the tape in the workspace.
cdef void run_again(Forward *f, Span segment) noexcept nogil


cdef class ForwardPass:
    cdef Forward f
    cdef Buffers get
    cdef Cell cell
    cdef int begin(self, x, first, marks) except -1
