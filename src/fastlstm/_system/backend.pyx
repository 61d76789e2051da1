"""The kernels for devices other than the host, and a device's stream on which a call runs."""
from cpython.pycapsule cimport PyCapsule_GetPointer

from fastlstm._system.kernels cimport (FL_AUTO, FL_BACKEND_CAPSULE, FL_CLUSTER, FL_IN_BFLOAT16, FL_IN_FLOAT16,
                                       FL_IN_FLOAT32, FL_IN_FLOAT64, FL_RESIDENT, FL_STEPS, fl_backend, fl_kernels)

PRECISIONS = {"float32": FL_IN_FLOAT32, "float64": FL_IN_FLOAT64, "bfloat16": FL_IN_BFLOAT16, "float16": FL_IN_FLOAT16}
ALGORITHMS = {"auto": FL_AUTO, "steps": FL_STEPS, "resident": FL_RESIDENT, "cluster": FL_CLUSTER}


class DeviceError(RuntimeError):
    """Work that cannot be started on a device, in the words of its driver or its libraries."""


cdef class Backend:
    """The kernels for devices, from the capsule of the module that has them."""
    cdef const fl_backend *own

    def __init__(self, capsule):
        self.own = <const fl_backend *>PyCapsule_GetPointer(capsule, FL_BACKEND_CAPSULE)
        if self.own.table_bytes != sizeof(fl_kernels):
            raise ValueError("kernels of another version")

    @property
    def name(self):
        return self.own.name.decode()

    def why_unavailable(self):
        """Return why no device can be used; None where one can."""
        cdef const char *reason = self.own.unavailable()
        return None if reason == NULL else reason.decode()

    def describe(self):
        """Return a description of the devices."""
        cdef char text[256]
        self.own.describe(text, sizeof(text))
        return (<const char *>text).decode()


cdef class Device:
    """A stream of a device, to which the work of a call goes, and how the work is done there.

    `precision`, that of the arrays, is a name of PRECISIONS, and `algorithm` a name of ALGORITHMS; with `tf32`,
    products of float32 are of TF32. `used` says afterwards how often each algorithm was used.
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
