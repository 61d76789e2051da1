"""Prefix beam search for connectionist temporal classification (Graves and Jaitly, 2014; Hannun et al., 2014).

The labellings so far are nodes of a tree, each there once. The best of them, the beam, have two probabilities: that of
the paths that end in a blank, and that of the paths that end in the last label. At each step a labelling stays as it
is, or gets one more label; if the longer labelling is in the beam already, the probabilities are added. All arithmetic
is in logarithms.
"""
from libc.math cimport exp, fabs, isfinite, log1p
from libc.stdint cimport int64_t
from libc.stdlib cimport qsort

from fastlstm._arrays.buffers cimport Buffers
from fastlstm._system.kernels cimport FL_OFFERS_BEFORE_A_LOOK, FL_CTC_ZERO, fl_call, fl_ctc_norm, fl_kernels, fl_size
from fastlstm._system.runtime cimport begin_call, end_call, kernels, parallel, stopped

cdef struct Node:
    fl_size parent          # The root, which is the empty labelling, has -1.
    fl_size label
    fl_size child           # The newest child, or -1.
    fl_size sibling         # The next child of the same parent, or -1.
    fl_size place           # The place in the beam, or -1.

cdef struct Prefix:
    fl_size node
    double blank
    double label
    double total

# A candidate for the next beam: a prefix of this beam with one more label, or as it is (label -1).
cdef struct Candidate:
    fl_size place
    fl_size label
    double blank
    double nonblank
    double total

cdef struct Search:
    fl_size B
    fl_size K
    fl_size width
    fl_size blank
    fl_size row             # The bytes of K logits.
    fl_size results
    fl_size longest
    const fl_kernels *own
    const char *logits
    const int64_t *lengths
    const int64_t *classes  # 0 to K - 1
    int64_t *labels         # (B, results, longest)
    int64_t *label_lengths  # (B, results), -1 for a result that does not exist
    double *scores          # (B, results)
    int64_t *bad            # (B,): the step at which there is no distribution, or -1
    char *memory
    fl_size each            # The bytes of memory of each thread.

cdef struct Beam:
    fl_size width
    fl_size count           # The number of prefixes.
    fl_size waiting         # The number of candidates.
    fl_size nodes
    fl_size offers          # The number of candidates since `stopped` was asked.
    Node *tree
    Prefix *prefixes
    Candidate *heap         # The best candidates; the worst of them is first.
    double *y               # (K,), logarithms
    int64_t *met            # (width, K): the last step at which a prefix had this child in the beam


cdef Beam lay_out(char *memory, fl_size T, fl_size K, fl_size width) noexcept nogil:
    """Return an empty beam whose arrays lie in `memory`."""
    cdef Beam a
    a.width, a.count, a.waiting, a.nodes, a.offers = width, 0, 0, 0, 0
    a.tree = <Node *>memory
    a.prefixes = <Prefix *>(a.tree + 1 + T * width)
    a.heap = <Candidate *>(a.prefixes + width)
    a.y = <double *>(a.heap + width)
    a.met = <int64_t *>(a.y + K)
    return a


cdef double log_add(double a, double b) noexcept nogil:
    """Return the logarithm of the sum of two numbers, from their logarithms."""
    return max(a, b) + log1p(exp(-fabs(a - b)))


cdef fl_size add_node(Beam *a, fl_size parent, fl_size label) noexcept nogil:
    """Add a node to the tree and return it."""
    cdef fl_size node = a.nodes
    a.nodes += 1
    a.tree[node].parent, a.tree[node].label = parent, label
    a.tree[node].child = a.tree[node].sibling = a.tree[node].place = -1
    if parent >= 0:
        a.tree[node].sibling = a.tree[parent].child
        a.tree[parent].child = node
    return node


cdef fl_size child_of(Beam *a, fl_size parent, fl_size label) noexcept nogil:
    """Return the node of this labelling, which may be in the tree since an earlier step; add it if it is not."""
    cdef fl_size node = a.tree[parent].child
    while node >= 0 and a.tree[node].label != label:
        node = a.tree[node].sibling
    return add_node(a, parent, label) if node < 0 else node


cdef void offer(Beam *a, fl_size place, fl_size label, double blank, double nonblank, double total) noexcept nogil:
    """Put a candidate on the heap if it is possible, and better than the worst one where the heap is full."""
    cdef Candidate *heap = a.heap
    cdef fl_size k, next_k
    if not total > FL_CTC_ZERO / 2:
        return
    if a.waiting < a.width:
        k = a.waiting
        a.waiting += 1
        while k > 0 and heap[(k - 1) // 2].total > total:
            heap[k] = heap[(k - 1) // 2]
            k = (k - 1) // 2
    elif total > heap[0].total:
        k = 0
        while True:
            next_k = 2 * k + 1
            if next_k + 1 < a.width and heap[next_k + 1].total < heap[next_k].total:
                next_k += 1
            if next_k >= a.width or heap[next_k].total >= total:
                break
            heap[k] = heap[next_k]
            k = next_k
    else:
        return
    heap[k].place, heap[k].label = place, label
    heap[k].blank, heap[k].nonblank, heap[k].total = blank, nonblank, total


cdef void stay(Beam *a, fl_size K, fl_size blank, fl_size t) noexcept nogil:
    """Offer every prefix as it is: after a blank, after its last label again, or as a new child of its parent."""
    cdef fl_size s, up
    cdef Prefix *p
    cdef Prefix *parent
    cdef Node *node
    cdef double nonblank, from_parent
    for s in range(a.count):
        p = &a.prefixes[s]
        node = &a.tree[p.node]
        nonblank = FL_CTC_ZERO
        if node.parent >= 0:
            nonblank = p.label + a.y[node.label]
            up = a.tree[node.parent].place
            if up >= 0:
                parent = &a.prefixes[up]
                from_parent = parent.blank if a.tree[node.parent].label == node.label else parent.total
                nonblank = log_add(nonblank, from_parent + a.y[node.label])
                a.met[up * K + node.label] = t
        offer(a, s, -1, p.total + a.y[blank], nonblank, log_add(p.total + a.y[blank], nonblank))


cdef bint extend(Beam *a, fl_size K, fl_size blank, fl_size t) noexcept nogil:
    """Offer every prefix with one more label, except those that `stay` has met; return False if stopped."""
    cdef fl_size s, k, last
    cdef Prefix *p
    cdef double score
    for s in range(a.count):
        p = &a.prefixes[s]
        last = a.tree[p.node].label
        for k in range(K):
            if k != blank and a.met[s * K + k] != t:
                score = (p.blank if k == last else p.total) + a.y[k]
                offer(a, s, k, FL_CTC_ZERO, score, score)
        a.offers += K
        if a.offers >= FL_OFFERS_BEFORE_A_LOOK:
            if stopped():
                return False
            a.offers = 0
    return True


cdef void choose(Beam *a) noexcept nogil:
    """Make the candidates on the heap the beam."""
    cdef fl_size s
    cdef Candidate *candidate
    for s in range(a.count):
        a.tree[a.prefixes[s].node].place = -1
    for s in range(a.waiting):  # Nodes replace places before these change to those of the new beam.
        candidate = &a.heap[s]
        candidate.place = a.prefixes[candidate.place].node
    for s in range(a.waiting):
        candidate = &a.heap[s]
        a.prefixes[s].node = candidate.place
        if candidate.label >= 0:
            a.prefixes[s].node = child_of(a, candidate.place, candidate.label)
        a.prefixes[s].blank, a.prefixes[s].label = candidate.blank, candidate.nonblank
        a.prefixes[s].total = candidate.total
        a.tree[a.prefixes[s].node].place = s
    a.count, a.waiting = a.waiting, 0


cdef int by_total(const void *a, const void *b) noexcept nogil:
    """Compare two candidates for qsort: the larger total comes first, equal totals in the order of their places."""
    cdef const Candidate *first = <const Candidate *>a
    cdef const Candidate *second = <const Candidate *>b
    if first.total != second.total:
        return -1 if first.total > second.total else 1
    return -1 if first.place < second.place else 1


cdef void write_results(const Search *c, Beam *a, fl_size b) noexcept nogil:
    """Write the results of row b, the best first."""
    cdef fl_size s, first = b * c.results, result, node, length
    cdef int64_t *labels
    for s in range(a.count):  # They are sorted on the heap, which is empty now.
        a.heap[s].place, a.heap[s].total = s, a.prefixes[s].total
    qsort(a.heap, a.count, sizeof(Candidate), by_total)
    for s in range(c.results):
        result = first + s
        c.label_lengths[result] = -1
        if s >= a.count:
            continue
        length, node = 0, a.prefixes[a.heap[s].place].node
        while a.tree[node].parent >= 0:
            length, node = length + 1, a.tree[node].parent
        c.label_lengths[result], c.scores[result] = length, a.heap[s].total
        labels, node = c.labels + result * c.longest, a.prefixes[a.heap[s].place].node
        while length > 0:
            length -= 1
            labels[length], node = a.tree[node].label, a.tree[node].parent


cdef void search_row(const Search *c, fl_size b, char *memory) noexcept nogil:
    """Search the labellings of row b."""
    cdef fl_size T = c.lengths[b], t, k
    cdef Beam a = lay_out(memory, T, c.K, c.width)
    cdef const char *x
    cdef fl_ctc_norm norm
    for k in range(c.width * c.K):
        a.met[k] = -1
    a.prefixes[0].node = add_node(&a, -1, -1)
    a.prefixes[0].blank = a.prefixes[0].total = 0
    a.prefixes[0].label = FL_CTC_ZERO
    a.tree[0].place = 0
    a.count, c.bad[b] = 1, -1
    for t in range(T):
        x = c.logits + (t * c.B + b) * c.row
        norm = c.own.ctc_softmax(x, c.K, 1, a.y)  # The softmax that it writes is not used.
        if not isfinite(norm.log_sum):
            c.bad[b] = t
            return
        c.own.ctc_emissions(x, norm, c.classes, 1, c.K, a.y)
        stay(&a, c.K, c.blank, t)
        if not extend(&a, c.K, c.blank, t):
            return
        choose(&a)
    write_results(c, &a, b)


cdef void search_part(void *argument, int part, int parts) noexcept nogil:
    cdef const Search *c = <const Search *>argument
    cdef fl_size b = part
    while b < c.B and not stopped():
        search_row(c, b, c.memory + part * c.each)
        b += parts


def memory_for(T, K, width):
    """Return the bytes that `lay_out` needs for rows of at most T steps, as a Python int, which cannot overflow."""
    return ((1 + T * width) * sizeof(Node) + width * (sizeof(Prefix) + sizeof(Candidate) + K * sizeof(int64_t))
            + K * sizeof(double))


def search(logits, lengths, classes, labels, label_lengths, scores, bad, fl_size width, fl_size blank, memory):
    """Write each row's best labellings: `labels` (B, results, longest), `label_lengths` and `scores` (B, results).

    `bad` (B,) becomes the first step whose logits have no softmax, or -1. All arrays have been checked: integers are
    int64, `classes` has 0 to K - 1, and `memory` is (threads, bytes), with as many bytes as `memory_for` gives.
    """
    cdef Buffers get = Buffers()
    cdef Search c
    cdef fl_call call
    cdef int parts = len(memory)
    _, c.B, c.K = logits.shape
    _, c.results, c.longest = labels.shape
    c.width, c.blank, c.row = width, blank, c.K * logits.itemsize
    c.own = kernels(logits.itemsize)
    c.logits, c.lengths = <const char *>get.read(logits), <const int64_t *>get.read(lengths)
    c.classes, c.labels = <const int64_t *>get.read(classes), <int64_t *>get.write(labels)
    c.label_lengths, c.scores = <int64_t *>get.write(label_lengths), <double *>get.write(scores)
    c.bad, c.memory, c.each = <int64_t *>get.write(bad), <char *>get.write(memory), memory.shape[1]
    begin_call(&call, True)
    with nogil:
        parallel(search_part, &c, parts)
    end_call(&call)
