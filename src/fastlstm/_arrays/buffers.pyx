"""The memory of arrays, as kernels read and write it."""
from cpython.buffer cimport (PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_SIMPLE, PyBUF_STRIDES, PyBUF_WRITABLE,
                             PyBuffer_FillInfo, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer)
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from fastlstm._system.kernels cimport fl_size

from numpy import ndarray

from fastlstm._arrays.arrays import memory


cdef class Buffers:
    """Hold up to `capacity` C-contiguous arrays in place while kernels use their memory.

    None gives NULL; an array on a device gives its address there.
    """

    def __cinit__(self, int capacity=40):
        self.count, self.capacity = 0, capacity
        self.views = <Py_buffer *>malloc((capacity + 1) * sizeof(Py_buffer))
        if self.views == NULL:
            raise MemoryError

    cdef Py_buffer *take(self, array, int flags) except NULL:
        cdef Py_buffer *view = &self.views[self.count]
        if self.count == self.capacity:
            raise IndexError("too many arrays for these Buffers")
        if PyObject_CheckBuffer(array):
            PyObject_GetBuffer(array, view, flags)
        else:
            self.take_device(array, view)
        self.count += 1
        return view

    cdef Py_buffer *take_device(self, array, Py_buffer *view) except NULL:
        cdef size_t address
        cdef Py_ssize_t size
        address, size = memory(array)
        PyBuffer_FillInfo(view, array, <void *>address, size, False, PyBUF_SIMPLE)
        return view

    cdef const void *read(self, array) except? NULL:
        return NULL if array is None else self.take(array, PyBUF_C_CONTIGUOUS).buf

    cdef void *write(self, array) except? NULL:
        return NULL if array is None else self.take(array, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE).buf

    cdef const void *input(self, const char *name, array, fl_size size) except? NULL:
        return NULL if array is None else sized(name, self.take(array, PyBUF_C_CONTIGUOUS), size)

    cdef void *output(self, const char *name, array, fl_size size) except? NULL:
        return NULL if array is None else sized(name, self.take(array, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE), size)

    cdef int check_end(self, const void *end) except -1:
        cdef Py_buffer *view = &self.views[self.count - 1]
        if <const char *>end > <const char *>view.buf + view.len:
            raise ValueError("workspace is too small")
        return 0

    cdef Py_buffer *strided(self, array, bint writable) except NULL:
        """Take an array on the host that need not be contiguous."""
        return self.take(array, PyBUF_STRIDES | (PyBUF_WRITABLE if writable else 0))

    cdef bint fits(self, array, bint writable, int size, fl_size first, fl_size B, fl_size columns) except -1:
        """Take a (first, B, columns) array of `size` bytes a value, (B, columns) where `first` is -1.

        Return False if it is not one.

        Subclasses of ndarray are not taken: a masked array's mask would be lost.
        """
        if type(array) is not ndarray:
            return False
        cdef Py_buffer *view = self.take(array, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0))
        cdef char letter = 102 if size == 4 else 100  # The codes of f and d.
        return (view.itemsize == size and view.format[0] == letter and view.format[1] == 0
                and (view.ndim == 2 if first < 0 else view.ndim == 3 and view.shape[0] == first)
                and view.shape[view.ndim - 2] == B and view.shape[view.ndim - 1] == columns)

    cdef bint overlap(self, int a, int b) noexcept:
        """Return whether the a-th and the b-th array share memory."""
        cdef size_t start_a = <size_t>self.views[a].buf, end_a = start_a + self.views[a].len
        cdef size_t start_b = <size_t>self.views[b].buf, end_b = start_b + self.views[b].len
        return max(start_a, start_b) < min(end_a, end_b)

    cdef bint overlap_partly(self, int a, int b) noexcept:
        return self.views[a].buf != self.views[b].buf and self.overlap(a, b)

    def __dealloc__(self):
        for k in range(self.count):
            PyBuffer_Release(&self.views[k])
        free(self.views)


cdef void *sized(const char *name, Py_buffer *view, fl_size size) except? NULL:
    if view.len != size:
        raise ValueError(f"{name.decode()} must have {size} bytes, not {view.len}")
    return view.buf


def find_overlap(list arrays, Py_ssize_t outputs, dict same):
    """Return (a, b), b < a, of two C-contiguous arrays that share memory, a among the last `outputs`; None without.

    The array a may be the array ``same[a]`` itself, of the same size, but no other part of its memory.
    """
    cdef int count = len(arrays), a, b, itself
    cdef Buffers get = Buffers(count)
    for array in arrays:
        get.take(array, PyBUF_SIMPLE)
    for a in range(count - outputs, count):
        itself = same.get(a, -1)
        for b in range(a):
            if get.overlap_partly(a, b) if b == itself else get.overlap(a, b):
                return a, b
    return None


def copy_all(tuple to, tuple source):
    """Copy arrays to others of the same sizes, with no Python between two of them that an interrupt could stop."""
    cdef Buffers get = Buffers(2 * len(to))
    cdef Py_ssize_t k, count = len(to)
    for k in range(count):
        get.write(to[k])
        get.read(source[k])
        if get.views[2 * k].len != get.views[2 * k + 1].len:
            raise ValueError("arrays of different sizes")
    for k in range(count):
        memcpy(get.views[2 * k].buf, get.views[2 * k + 1].buf, get.views[2 * k].len)
