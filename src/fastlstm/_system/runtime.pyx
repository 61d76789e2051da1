"""The instruction set or the device in use, the pool of threads, pointers into arrays, the C interface's capsule."""
from cpython.buffer cimport (PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_SIMPLE, PyBUF_STRIDES, PyBUF_WRITABLE,
                             PyBuffer_FillInfo, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer)
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

import os
import threading

import numpy as np
from numpy import ndarray

from fastlstm._system.kernels cimport (FL_AUTO, FL_BACKEND_CAPSULE, FL_CLUSTER, FL_FIRST_ASKED, FL_HARD_LOGISTIC,
                                       FL_IDENTITY, FL_IN_BFLOAT16, FL_IN_FLOAT16, FL_IN_FLOAT32, FL_IN_FLOAT64,
                                       FL_ISA_COUNT, FL_ISA_portable, FL_LAST_ASKED, FL_LOGISTIC, FL_MAX_THREADS,
                                       FL_RELU, FL_RESIDENT, FL_STEPS, FL_TANH, FL_TIMES_THE_WAIT,
                                       FL_VALUES_BEFORE_A_LOOK, fl_activation, fl_backend, fl_begin_call, fl_call,
                                       fl_emulated_backend, fl_end_call, fl_isa_available, fl_isa_kernels, fl_isa_name,
                                       fl_kernels, fl_parallel, fl_size, fl_stopped, fl_task, fl_ticks)

cdef extern from "network/interface.h":
    const void *interface "&fl_interface"
    const char *CAPSULE "FASTLSTM_CAPSULE"

cdef extern from "system/float_mode.h":
    ctypedef unsigned long long fl_float_mode
    fl_float_mode fl_flush_denormals() noexcept nogil
    void fl_restore_float_mode(fl_float_mode before) noexcept nogil

cdef extern from "Python.h":
    ctypedef struct PyThreadState:
        pass

    PyThreadState *PyThreadState_Get()
    PyThreadState *PyEval_SaveThread() nogil
    void PyEval_RestoreThread(PyThreadState *state) nogil
    unsigned long PyThread_get_thread_ident() nogil
    int PyErr_CheckSignals() nogil
    void *PyExc_RuntimeError
    void PyErr_SetString(void *kind, const char *message) nogil

MAX_THREADS = FL_MAX_THREADS
c_interface = PyCapsule_New(<void *>interface, CAPSULE, NULL)

cdef const fl_kernels *kernels_32 = NULL
cdef const fl_kernels *kernels_64 = NULL


cdef const fl_kernels *kernels(int itemsize) noexcept nogil:
    return kernels_32 if itemsize == 4 else kernels_64


cdef const fl_kernels *host_kernels(int itemsize) noexcept nogil:
    """Those in use, or portable ones where a device's are, which packs nothing."""
    cdef const fl_kernels *found = kernels(itemsize)
    return fl_isa_kernels(FL_ISA_portable, itemsize) if found.device else found


cdef void parallel(fl_task task, void *argument, int parts) noexcept nogil:
    fl_parallel(task, argument, parts)


# ---- interrupts ------------------------------------------------------------------------------------------------------

cdef unsigned long main_thread
cdef unsigned long forks = 0


def _this_process():
    """The thread that runs signal handlers; after a fork it may be another one."""
    global main_thread
    main_thread = threading.main_thread().ident


def _after_fork():
    global forks
    forks += 1
    _this_process()


_this_process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


cdef int ask(fl_call *call) noexcept nogil:
    """Runs Python's signal handlers.

    An exception stays with the thread's state until `end_call`, where the GIL is held.
    """
    cdef long long begun = fl_ticks(), wait
    cdef unsigned long before = forks
    cdef int stop
    PyEval_RestoreThread(<PyThreadState *>call.own)
    wait = fl_ticks() - begun
    stop = PyErr_CheckSignals()
    if not stop and forks != before:
        PyErr_SetString(PyExc_RuntimeError,
                        "the child of a fork in a signal handler cannot go on with its parent's call")
        stop = 1
    PyEval_SaveThread()
    call.next = fl_ticks() + max(<long long>FL_FIRST_ASKED, min(FL_TIMES_THE_WAIT * wait, <long long>FL_LAST_ASKED))
    return stop != 0


cdef void begin_call(fl_call *call, bint stoppable) noexcept:
    call.own, call.stopped = NULL, 0
    if stoppable and PyThread_get_thread_ident() == main_thread:
        call.ask, call.own = ask, PyThreadState_Get()
        fl_begin_call(call)


cdef int end_call(fl_call *call) except -1:
    if call.own != NULL:
        fl_end_call()
    return -1 if call.stopped else 0


cdef bint stopped() noexcept nogil:
    return fl_stopped()


def copy_all(tuple to, tuple source):
    """Copies arrays of the same sizes, with no Python between them that an interrupt could stop."""
    cdef Buffers get = Buffers(2 * len(to))
    cdef Py_ssize_t k, count = len(to)
    for k in range(count):
        get.write(to[k])
        get.read(source[k])
        if get.views[2 * k].len != get.views[2 * k + 1].len:
            raise ValueError("arrays of different sizes")
    for k in range(count):
        memcpy(get.views[2 * k].buf, get.views[2 * k + 1].buf, get.views[2 * k].len)


PRECISIONS = {"float32": FL_IN_FLOAT32, "float64": FL_IN_FLOAT64, "bfloat16": FL_IN_BFLOAT16, "float16": FL_IN_FLOAT16}
ALGORITHMS = {"auto": FL_AUTO, "steps": FL_STEPS, "resident": FL_RESIDENT, "cluster": FL_CLUSTER}


class DeviceError(RuntimeError):
    """What a device, its driver or its libraries say when work cannot be started."""


cdef class Backend:
    """Kernels for devices, from the capsule of the module that has them."""
    cdef const fl_backend *own

    def __init__(self, capsule):
        self.own = <const fl_backend *>PyCapsule_GetPointer(capsule, FL_BACKEND_CAPSULE)
        if self.own.table_bytes != sizeof(fl_kernels):
            raise ValueError("kernels of another version")

    @property
    def name(self):
        return self.own.name.decode()

    def why_unavailable(self):
        """Why no device can be used; None where one can."""
        cdef const char *reason = self.own.unavailable()
        return None if reason == NULL else reason.decode()

    def describe(self):
        """The devices, in words."""
        cdef char text[256]
        self.own.describe(text, sizeof(text))
        return (<const char *>text).decode()


def emulated_backend():
    """The processor as a device, in a build for tests; else None."""
    cdef const fl_backend *own = fl_emulated_backend()
    return None if own == NULL else Backend(PyCapsule_New(<void *>own, FL_BACKEND_CAPSULE, NULL))


cdef class Device:
    """A stream of a device, where the work of a call goes, and how it is to be done there.

    `precision` is one of PRECISIONS, what arrays hold, and `algorithm` one of ALGORITHMS; with `tf32` products of
    float32 are of TF32. `used` tells afterwards how often it was done in each way.
    """

    def __init__(self, Backend backend, int index, size_t stream, str precision, str algorithm, bint tf32):
        self.backend, self.index, self.stream = backend.own, index, <void *>stream
        self.precision, self.algorithm, self.tf32 = PRECISIONS[precision], ALGORITHMS[algorithm], tf32

    cdef const fl_kernels *kernels(self):
        return self.backend.kernels[<int>self.precision]

    cdef void begin(self) noexcept:
        self.backend.begin(self.index, self.stream, self.algorithm, self.tf32)

    cdef int end(self) except -1:
        cdef const char *message = self.backend.end()
        self.used = {name: self.backend.used(algorithm) for name, algorithm in ALGORITHMS.items()}
        if message != NULL:
            raise DeviceError(message.decode())
        return 0


cdef class KernelMode:
    """What runs in its `with` block, NumPy's functions too, computes as the kernels do: denormals count as zero, and
    `np.seterr` has no say. It is compiled so that no signal handler runs between a change of the mode and the block."""
    cdef fl_float_mode before
    cdef object errors

    def __enter__(self):
        self.errors = np.errstate(all="ignore")
        self.errors.__enter__()
        self.before = fl_flush_denormals()

    def __exit__(self, *_):
        fl_restore_float_mode(self.before)
        self.errors.__exit__(None, None, None)


cdef class Buffers:
    """Holds up to `capacity` arrays in place while kernels use their memory; all are C-contiguous. None gives NULL.

    An array on a device is its address there."""

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
        from fastlstm._arrays.arrays import memory  # which imports this module

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
        """An array on the host that need not be contiguous."""
        return self.take(array, PyBUF_STRIDES | (PyBUF_WRITABLE if writable else 0))

    cdef bint fits(self, array, bint writable, int ndim, int size, fl_size B, fl_size columns) except -1:
        """Takes a (B, columns) array, or with three dimensions (1, B, columns); False where it is not one.

        Subclasses of ndarray are not taken: a masked array's mask would be lost.
        """
        if type(array) is not ndarray:
            return False
        cdef Py_buffer *view = self.take(array, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0))
        cdef char letter = 102 if size == 4 else 100  # f, d
        return (view.itemsize == size and view.format[0] == letter and view.format[1] == 0
                and view.ndim == ndim and (ndim == 2 or view.shape[0] == 1)
                and view.shape[view.ndim - 2] == B and view.shape[view.ndim - 1] == columns)

    cdef bint overlap(self, int a, int b) noexcept:
        """Do the a-th and the b-th array share memory?"""
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
    """Indices (a, b), b < a, of two C-contiguous arrays that share memory, a among the last `outputs`; None without.

    An array a may be array ``same[a]`` itself, of the same size, but no other part of its memory.
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


def available_isas():
    """The instruction sets of this build that this machine runs, slowest first."""
    return [fl_isa_name(k).decode() for k in range(FL_ISA_COUNT)
            if fl_isa_kernels(k, 4) != NULL and fl_isa_available(k)]


def choose_isa(wanted):
    """Use the instruction set `wanted`, or the best one where it is None; gives its name."""
    global kernels_32, kernels_64
    available = available_isas()
    name = available[-1] if wanted is None else wanted.strip().lower()
    if name not in available:
        raise ValueError(f"FASTLSTM_ISA={wanted}: this build on this machine has {', '.join(available)}")
    for k in range(FL_ISA_COUNT):
        if fl_isa_name(k).decode() == name:
            kernels_32 = fl_isa_kernels(k, 4)
            kernels_64 = fl_isa_kernels(k, 8)
    return name


ACTIVATIONS = {"tanh": FL_TANH, "relu": FL_RELU, "logistic": FL_LOGISTIC, "identity": FL_IDENTITY,
               "hard_logistic": FL_HARD_LOGISTIC}

cdef struct Activation:
    fl_activation g
    int itemsize
    const void *x
    void *y
    Py_ssize_t count


cdef void activate_part(void *argument, int part, int parts) noexcept nogil:
    cdef Activation *a = <Activation *>argument
    cdef Py_ssize_t at = 0, bytes
    while at < a.count and not stopped():
        bytes = at * a.itemsize
        kernels(a.itemsize).activate(a.g, <const char *>a.x + bytes, <char *>a.y + bytes,
                                     min(a.count - at, FL_VALUES_BEFORE_A_LOOK))
        at += FL_VALUES_BEFORE_A_LOOK


def activate(str name, x, y):
    """y = g(x) as the kernels compute it, in their floating-point mode, for contiguous arrays of one dtype and size."""
    cdef Buffers buffers = Buffers()
    cdef Activation a
    cdef fl_call call
    a.g = ACTIVATIONS[name]
    a.itemsize, a.count = x.itemsize, x.size
    a.x = buffers.input("x", x, a.count * a.itemsize)
    a.y = buffers.output("y", y, a.count * a.itemsize)
    begin_call(&call, True)
    with nogil:
        parallel(activate_part, &a, 1)
    end_call(&call)


cdef struct Derivative:
    fl_activation g
    int itemsize
    const void *y
    const void *dy
    void *dx
    Py_ssize_t count


cdef void differentiate_part(void *argument, int part, int parts) noexcept nogil:
    cdef Derivative *d = <Derivative *>argument
    cdef Py_ssize_t at = 0, bytes
    while at < d.count and not stopped():
        bytes = at * d.itemsize
        kernels(d.itemsize).differentiate(d.g, <const char *>d.y + bytes, <const char *>d.dy + bytes,
                                          <char *>d.dx + bytes,
                                          min(d.count - at, FL_VALUES_BEFORE_A_LOOK))
        at += FL_VALUES_BEFORE_A_LOOK


def differentiate(str name, y, dy, dx):
    """dx = dy g'(x), from y = g(x), for contiguous arrays of one dtype and size."""
    cdef Buffers buffers = Buffers()
    cdef Derivative d
    cdef fl_call call
    d.g = ACTIVATIONS[name]
    d.itemsize, d.count = y.itemsize, y.size
    cdef fl_size size = d.count * d.itemsize
    d.y, d.dy, d.dx = buffers.input("y", y, size), buffers.input("dy", dy, size), buffers.output("dx", dx, size)
    begin_call(&call, True)
    with nogil:
        parallel(differentiate_part, &d, 1)
    end_call(&call)


# The instruction set that is used unless a test chooses another.
ISA = choose_isa(os.environ.get("FASTLSTM_ISA") or None)
