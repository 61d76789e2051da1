"""How kernels run on the host: the instruction set in use, the threads, interrupts, the floating-point mode."""
from cpython.pycapsule cimport PyCapsule_New

import os
import platform
import sys
import threading

import numpy as np
import scipy

from fastlstm._system.blas.table cimport make_tables
from fastlstm._system.kernels cimport (FL_BACKEND_CAPSULE, FL_FIRST_ASKED, FL_ISA_COUNT, FL_ISA_portable,
                                       FL_LAST_ASKED, FL_MAX_THREADS, FL_TIMES_THE_WAIT, fl_backend, fl_begin_call,
                                       fl_call, fl_emulated_backend, fl_end_call, fl_isa_available, fl_isa_kernels,
                                       fl_isa_name, fl_kernels, fl_parallel, fl_stopped, fl_task, fl_ticks)

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

c_interface = PyCapsule_New(<void *>interface, CAPSULE, NULL)

# ---- the instruction set ---------------------------------------------------------------------------------------------

cdef const fl_kernels *kernels_32 = NULL
cdef const fl_kernels *kernels_64 = NULL


cdef const fl_kernels *kernels(int itemsize) noexcept nogil:
    return kernels_32 if itemsize == 4 else kernels_64


cdef const fl_kernels *packing_kernels(int itemsize) noexcept nogil:
    """Return the kernels in use, or portable ones in place of those that pack nothing."""
    cdef const fl_kernels *found = kernels(itemsize)
    return found if found.packs else fl_isa_kernels(FL_ISA_portable, itemsize)


# The steps on SciPy's BLAS, which are no part of the C library.
cdef const fl_kernels *blas = make_tables(fl_isa_kernels(FL_ISA_portable, 4), fl_isa_kernels(FL_ISA_portable, 8))


# Whether products over time are a library's with compiled kernels too: where that is Accelerate, which has a matrix
# engine. Elsewhere the kernels are as fast: a whole pass runs at the rate of a BLAS's products alone.
HAS_MATRIX_ENGINE = sys.platform == "darwin" and platform.machine() == "arm64" and (
    scipy.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"].lower() == "accelerate")
cdef bint over_time = HAS_MATRIX_ENGINE


def choose_over_time(bint library):
    """Choose whether products over time are a library's: HAS_MATRIX_ENGINE unless a test chooses otherwise."""
    global over_time
    over_time = library


cdef const fl_kernels *library_over_time(int itemsize, const fl_kernels *own) noexcept nogil:
    """Return what computes products over time: the library where that is chosen, or `own`."""
    return (&blas[0] if itemsize == 4 else &blas[1]) if over_time else own


def available_isas():
    """Return the instruction sets of this build that this machine runs, slowest first.

    "blas" comes after "portable" and before all that are compiled for a processor.
    """
    found = [fl_isa_name(k).decode() for k in range(FL_ISA_COUNT)
             if fl_isa_kernels(k, 4) != NULL and fl_isa_available(k)]
    found.insert(found.index("portable") + 1, "blas")
    return found


def choose_isa(wanted):
    """Use the instruction set `wanted`, the best one if it is None, and return its name."""
    global kernels_32, kernels_64
    available = available_isas()
    name = available[-1] if wanted is None else wanted.strip().lower()
    if name not in available:
        raise ValueError(f"FASTLSTM_ISA={wanted}: this build on this machine has {', '.join(available)}")
    if name == "blas":
        kernels_32, kernels_64 = &blas[0], &blas[1]
    for k in range(FL_ISA_COUNT):
        if fl_isa_name(k).decode() == name:
            kernels_32 = fl_isa_kernels(k, 4)
            kernels_64 = fl_isa_kernels(k, 8)
    return name


# The instruction set that is used unless a test chooses another.
ISA = choose_isa(os.environ.get("FASTLSTM_ISA") or None)


def emulated_backend():
    """Return a capsule with the processor as a device, in a build for tests; else None."""
    cdef const fl_backend *own = fl_emulated_backend()
    return None if own == NULL else PyCapsule_New(<void *>own, FL_BACKEND_CAPSULE, NULL)


# ---- threads and interrupts ------------------------------------------------------------------------------------------

MAX_THREADS = FL_MAX_THREADS


cdef void parallel(fl_task task, void *argument, int parts) noexcept nogil:
    fl_parallel(task, argument, parts)


cdef unsigned long main_thread
cdef unsigned long forks = 0


def _this_process():
    """Note which thread runs signal handlers; after a fork it may be another one."""
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
    """Run Python's signal handlers.

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


# ---- the floating-point mode -----------------------------------------------------------------------------------------

cdef class KernelMode:
    """Compute as the kernels do in a `with` block, in NumPy's functions too: denormals count as zero.

    `np.seterr` has no say there. The class is compiled so that no signal handler runs between a change of the mode and
    the block.
    """
    cdef fl_float_mode before
    cdef object errors

    def __enter__(self):
        self.errors = np.errstate(all="ignore")
        self.errors.__enter__()
        self.before = fl_flush_denormals()

    def __exit__(self, *_):
        fl_restore_float_mode(self.before)
        self.errors.__exit__(None, None, None)
