"""The batch of a pass as the kernels read it, and the calls before and after passes run, for both loops over time."""
from libc.stdint cimport int64_t

from fastlstm._arrays.buffers cimport Buffers
from fastlstm._engine.passes cimport fl_pack, fl_packing, fl_rows, fl_rows_at, fl_segment_rows, fl_segments
from fastlstm._system.backend cimport Device
from fastlstm._system.kernels cimport fl_call, fl_kernels, fl_size
from fastlstm._system.runtime cimport begin_call, end_call, kernels, library_over_time, packing_kernels, parallel


cdef fl_rows rows_of(Buffers get, batch) except *:
    cdef fl_rows r
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
                     and fl_rows_at(&r, t) <= (fl_rows_at(&r, t - 1) if t else r.B))
    if not right:
        raise ValueError(f"T = {r.T}, B = {r.B}, {r.count} rows and their offsets do not make up a batch")
    return r


cdef fl_size row_of(name, array, fl_size columns) except -1:
    cdef fl_size own = array.shape[array.ndim - 1]
    if own < columns:
        raise ValueError(f"{name} must have {columns} columns, not {own}")
    return own


cdef const fl_kernels *kernels_of_pass(int size, Device device, bint packing) noexcept:
    """Return the kernels of a pass: with `packing` those that pack weights, where it runs on the host."""
    cdef const fl_kernels *k = kernels(size) if device is None else device.kernels()
    return packing_kernels(size) if packing and not (k.packs or k.device) else k  # A library promises no bits.


cdef const fl_kernels *kernels_over_time(const fl_kernels *k, int size, bint same_bits) noexcept:
    """Return the kernels of the products over time, W x, dW, dR and dx: those of a pass, or by rule a library's.

    With `same_bits` a row's result must not depend on how many rows there are, which a library does not promise.
    """
    return k if same_bits or k.device or not k.packs else library_over_time(size, k)


cdef void pack(fl_packing packing, int parts) noexcept nogil:
    parallel(fl_pack, &packing, parts)


cdef void start_passes(fl_call *call, const fl_kernels *k, Device device) noexcept:
    if device is not None:
        device.begin()
    begin_call(call, not k.device)


cdef int finish_passes(fl_call *call, const fl_kernels *k, Device device) except -1:
    if k.device:
        with nogil:
            k.finish()
    end_call(call)
    if device is not None:
        device.end()
    return 0


def segment_count(batch, k):
    """Return into how many segments of k steps recompute cuts the time of a batch."""
    cdef Buffers get = Buffers(1)  # which holds the offsets that r refers to
    cdef fl_rows r = rows_of(get, batch)
    return fl_segments(&r, fl_segment_rows(min(k, max(r.T, 1)), r.B))
