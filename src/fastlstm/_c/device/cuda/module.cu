/* The Python module; fastlstm.gpu reads its attribute `backend`. */
#include <Python.h>

#include "device/backend.h"

extern "C" const fl_backend fl_cuda;

static int add_backend(PyObject *module) {
    PyObject *capsule = PyCapsule_New((void *)&fl_cuda, FL_BACKEND_CAPSULE, NULL);
    const int status = PyModule_AddObjectRef(module, "backend", capsule);
    Py_XDECREF(capsule);
    return status;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)add_backend},
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};
static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_cuda", "The kernels of fastlstm for CUDA.", 0, NULL, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__cuda(void) { return PyModuleDef_Init(&definition); }
