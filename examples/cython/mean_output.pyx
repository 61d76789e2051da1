# cython: language_level=3, freethreading_compatible=True
"""The C interface from Cython: many sequences through one plan, without the GIL.

Build it with examples/cython/setup.py, with fastlstm installed.
"""
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cimport fastlstm

fastlstm.import_fastlstm()


cdef class Regressor:
    """An LSTM and a dense layer with one output, for inference in float32."""
    cdef void *memory
    cdef fastlstm.fastlstm_plan *plan
    cdef size_t inputs

    def __cinit__(self, size_t inputs, size_t units, const float[::1] parameters):
        cdef fastlstm.fastlstm_layer[2] layers
        cdef fastlstm.fastlstm_network network
        cdef size_t size
        memset(layers, 0, sizeof(layers))  # fields that are not given are to be 0
        memset(&network, 0, sizeof(network))
        layers[0].kind, layers[0].units, layers[0].peephole = fastlstm.FASTLSTM_LSTM, units, True
        layers[1].kind, layers[1].units = fastlstm.FASTLSTM_DENSE, 1
        network.version, network.dtype = fastlstm.FASTLSTM_C_VERSION, fastlstm.FASTLSTM_FLOAT32
        network.inputs, network.layer_count, network.layers = inputs, 2, layers
        size = fastlstm.fastlstm_plan_bytes(&network)
        self.inputs, self.memory = inputs, malloc(size)
        check(fastlstm.fastlstm_make_plan(&network, self.memory, size, &self.plan))
        check(fastlstm.fastlstm_set_parameters(self.plan, &parameters[0], len(parameters)))

    def __dealloc__(self):
        free(self.memory)

    def mean_output(self, const float[:, :, ::1] x not None):
        """The mean output over all time steps and sequences of x (T, B, inputs)."""
        cdef size_t T = x.shape[0], B = x.shape[1], k
        cdef float *y
        cdef void *workspace
        cdef double total = 0
        cdef fastlstm.fastlstm_status status
        if x.shape[2] != <Py_ssize_t>self.inputs or T * B == 0:
            raise ValueError(f"x must be (T, B, {self.inputs}) with T and B at least 1")
        with nogil:
            y = <float *>malloc(T * B * sizeof(float))
            workspace = malloc(fastlstm.fastlstm_workspace_bytes(self.plan, T, B))
            status = fastlstm.fastlstm_forward(self.plan, T, B, &x[0, 0, 0], NULL, y, NULL, NULL, workspace)
            if status == fastlstm.FASTLSTM_OK:
                for k in range(T * B):
                    total += y[k]
            free(y)
            free(workspace)
        check(status)
        return total / (T * B)


cdef int check(fastlstm.fastlstm_status status) except -1:
    if status != fastlstm.FASTLSTM_OK:
        raise ValueError(fastlstm.fastlstm_message(status).decode())
    return 0
