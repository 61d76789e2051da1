/* Every threshold of the compiled code: the numbers that decide how work is done. No public interface shows them.
 *
 * Each entry names its unit and the reason for it, and where its value comes from: the machine and the date, or "not
 * measured" for an estimate that no record supports. "EPYC" is an AMD EPYC virtual machine with AVX-512 and two
 * cores and 1 MB of second-level cache per core; "Xeon" is a virtual machine like it with an Intel Xeon. Their results
 * are in bench/.
 *
 * Sizes of caches are constants on purpose. Whether W x is hoisted decides in which order a sum is rounded, and a
 * result must have the same bits on every machine; so the size of the second-level cache is assumed here, once, and
 * never read from the machine. */
#ifndef FL_TUNING_H
#define FL_TUNING_H

/* ---- caches ---- */

enum {
    /* Bytes of a core's second-level cache that are assumed everywhere: that of the EPYC. */
    FL_SECOND_LEVEL = 1 << 20,
    /* Bytes of weights that each core can have in its second-level cache: with no more, batch rows are divided among
     * threads even where there are few rows. Not measured. */
    FL_NEAR = FL_SECOND_LEVEL,
    /* Bytes of weights above which W x is always one product over many steps: steps that read W too would fetch it
     * again and again from beyond the second-level cache. Not measured. */
    FL_CACHED = 4 * FL_SECOND_LEVEL,
    /* Bytes of R from which packing it takes long beside steps of a single row: those are bound by reading it, packed
     * or not. EPYC, November 2026. */
    FL_R_FOR_ONE_ROW = FL_SECOND_LEVEL / 4,
    /* Bytes of a block of a panel, which several tiles read one after another: two blocks and the rows stay in the
     * second-level cache. Not measured. */
    FL_PANEL_BLOCK = FL_SECOND_LEVEL / 8,
    /* Bytes of a row from which a matrix is transposed before its columns are read: the values of a column would share
     * few sets of the first-level cache. Not measured. */
    FL_FAR_ROW = 1024,
    /* Rows and columns of the blocks in which a matrix is transposed: two blocks stay in the first-level cache. Not
     * measured. */
    FL_TRANSPOSE_BLOCK = 16,
    /* Values that share a cache line, in single precision: parts of an array begin at multiples of it. */
    FL_VALUES_PER_LINE = 16,
};

/* ---- batch rows and steps ---- */

enum {
    /* The most batch rows in a block of steps: the results of the steps are read again while they are in the cache.
     * This number decides how sums are grouped. Not measured. */
    FL_ROWS_PER_BLOCK = 512,
    /* Batch rows below which W x is cheaper as one product over many steps than inside each step: fewer rows leave
     * registers of a tile unused. Not measured. */
    FL_ROWS_TO_FOLD = 8,
    /* Inputs up to which W x of so few rows too is cheaper inside each step. EPYC, November 2026. */
    FL_INPUTS_TO_FOLD = 8,
    /* Batch rows times steps from which packing the weights pays: packing reads and writes them once. Not measured. */
    FL_ROWS_TO_PACK = 16,
    /* Inputs for each batch row and step up to which packing weights pays, for W x over many steps, and for a large R
     * with a single row: with fewer rows, dot products with the weights as they lie take less time. EPYC, November
     * 2026. */
    FL_INPUTS_TO_PACK = 2,
    /* Columns of a matrix up to which packing does not pay for a product with it: so many dot products are computed
     * together. */
    FL_COLUMNS_TO_PACK = 4,
    /* Batch rows of an accumulator block: with four vectors of 64 bytes a row, 12 KB of the first-level cache. Not
     * measured. */
    FL_ROW_BLOCK = 48,
    /* Batch rows up to which two panels of a step are under way at once: with fewer, the processor waits for a chain of
     * dependent operations. At most half of FL_ROW_BLOCK. EPYC, November 2026. */
    FL_FEW_ROWS = 16,
    /* Batch rows times panels that a step computes at once: with fewer, the processor waits for a single chain of
     * dependent operations. Not measured. */
    FL_ROWS_TOGETHER = 8,
    /* Rows of a group, and of a part, of a gradient's sum over rows: a single running sum in few bits would lose small
     * terms. With groups and parts, the error of a sum over a million rows is that of a few thousand. */
    FL_ROWS_PER_GROUP = 1024,
    FL_ROWS_PER_PART = 16384,
    /* Rows of a single column up to which a product of nn adds them in one sum. */
    FL_LONG_COLUMN = 4096,
    /* Blocks of FL_ROWS_PER_BLOCK rows that a product of nn adds in one sum of the working precision. */
    FL_BLOCKS_PER_SUM = 64,
    /* Vectors of a row that a sum over rows reads at once, so that each read of memory is long. Not measured. */
    FL_VECTORS_AT_ONCE = 16,
};

/* ---- threads: the work below which another thread costs more than it saves ---- */

enum {
    /* Multiply-adds of a call that is divided by batch rows, whose threads start once, and of a product of nn. Not
     * measured. */
    FL_WORK_PER_CALL = 200000,
    /* Multiply-adds of a step that is divided by hidden units, after which its threads meet. EPYC, November 2026. */
    FL_WORK_PER_STEP = 20000,
    /* Cost of a step for each thread beside that of its batch rows, counted in batch rows: each reads all weights. Not
     * measured. */
    FL_ROWS_PER_STEP = 2,
    /* Batch rows for each thread from which a call is divided by rows: where the weights fit the second-level cache,
     * and where they do not. Not measured. */
    FL_ROWS_TO_DIVIDE = 2,
    FL_FAR_ROWS_TO_DIVIDE = 16,
    /* Threads up to which two directions run side by side instead of sharing all threads. Not measured. */
    FL_THREADS_FOR_TWO = 3,
    /* Bytes of a batch that is copied row by row. Not measured. */
    FL_BYTES_PER_PART = 1 << 17,
    /* Values of a loss. Not measured. */
    FL_LOSSES_PER_PART = 1 << 14,
    /* Parameters of an optimiser's step. Not measured. */
    FL_PARAMETERS_PER_PART = 1 << 15,
    /* Values of rows that are added up in an embedding's gradient, whose memory may be in another core's cache. Xeon,
     * November 2026. */
    FL_ADDED_PER_PART = 1 << 20,
    /* Positions times steps of connectionist temporal classification. Not measured. */
    FL_CTC_WORK_PER_PART = 1 << 13,
    /* Pauses, of 10 to 50 nanoseconds each: so many spins of a worker that waits for the next job before it sleeps, and
     * of the caller that waits for the last worker before it yields its processor. Not measured. */
    FL_SPINS_BEFORE_SLEEP = 5000,
    FL_SPINS_BEFORE_YIELD = 1000,
};

/* ---- interrupts: the work between two looks at whether to stop ---- */

enum {
    /* Multiply-adds of whole steps, which take some hundredths of a millisecond; and of one of the pieces into which a
     * long step is cut, which takes some milliseconds. */
    FL_WORK_BEFORE_A_LOOK = 1 << 20,
    FL_WORK_OF_A_PIECE = 1 << 26,
    /* The fewest rows of such a piece where a library computes the products, which packs its matrices in each call. Not
     * measured. */
    FL_ROWS_OF_A_PIECE = 128,
    /* Values of an elementwise function or of a loss; bytes of a copy. */
    FL_VALUES_BEFORE_A_LOOK = 1 << 20,
    FL_BYTES_BEFORE_A_LOOK = 1 << 20,
    /* Positions and classes of steps of connectionist temporal classification, and candidates of its beam search. */
    FL_CTC_WORK_BEFORE_A_LOOK = 1 << 14,
    FL_OFFERS_BEFORE_A_LOOK = 1 << 13,
    /* Batch rows from which a single step takes long enough to be stopped: with fewer, it ends before a look is due. */
    FL_ROWS_TO_STOP = 128,
    /* Milliseconds: the age of a call at which Python's signal handlers first run, for which it waits for the GIL; and
     * the longest time from one such wait to the next. */
    FL_FIRST_ASKED = 10,
    FL_LAST_ASKED = 1000,
    /* Time until the next wait for the GIL, as a multiple of the last wait: at most a twentieth of a call is waiting.
     */
    FL_TIMES_THE_WAIT = 20,
};

/* ---- devices ---- */

enum {
    /* Bytes of the rows of a block of steps: a device has no cache to speak of, but loses time between blocks. Not
     * measured. */
    FL_DEVICE_BLOCK = 64 << 20,
    /* Multiply-adds of a thread block in a step above which a library's product saves more time over a resident
     * program's than the launches of a step cost: for values of 2, 4 and 8 bytes. Not measured. */
    FL_RESIDENT_WORK_16 = 8000000,
    FL_RESIDENT_WORK_32 = 800000,
    FL_RESIDENT_WORK_64 = 400000,
    /* The fewest hidden units of a thread block: more blocks with fewer units would wait longer for each other than
     * they compute. Not measured. */
    FL_RESIDENT_UNITS = 4,
    /* Chunks that a thread reads before it writes one: a device's memory has a long latency. Not measured. */
    FL_CHUNKS_AHEAD = 4,
    /* Operations of a program from which it is recorded as a graph: starting fewer one by one takes no longer. Not
     * measured. */
    FL_OPS_TO_RECORD = 8,
    /* Graphs kept for a stream; programs remembered as having run once; and starts of other graphs after which the
     * oldest graph is replaced: with fewer, all would be recorded again and again. Not measured. */
    FL_GRAPHS = 128,
    FL_SEEN_PROGRAMS = 1024,
    FL_GRAPH_LONG_UNUSED = 4 * FL_GRAPHS,
    /* Streams that keep their memory while no thread works on them. Not measured. */
    FL_IDLE_STREAMS = 32,
    /* Bytes of a stream's memory for cuBLAS, as NVIDIA recommends for compute capability 9. */
    FL_CUBLAS_WORKSPACE = 32 << 20,
};

#endif
