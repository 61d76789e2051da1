/* The functions of fastlstm.h in a Python extension module, from the installed package: there is no library to link.
 *
 *   #include <Python.h>
 *   #include <fastlstm/capsule.h>
 *
 *   if (import_fastlstm() < 0) return NULL;    once in each file that calls them, before any other call, with the GIL
 *
 * After that they are called as fastlstm.h describes, with or without the GIL. */
#ifndef FASTLSTM_CAPSULE_H
#define FASTLSTM_CAPSULE_H

#include "fastlstm.h"

#define FASTLSTM_CAPSULE "fastlstm._runtime.c_interface"

/* The functions to which the capsule points. Later versions add more at the end. */
typedef struct {
    int version; /* FASTLSTM_C_VERSION of the installed package */
    const char *(*message)(fastlstm_status);
    size_t (*plan_bytes)(const fastlstm_network *);
    fastlstm_status (*make_plan)(const fastlstm_network *, void *, size_t, fastlstm_plan **);
    size_t (*parameter_count)(const fastlstm_plan *);
    size_t (*output_count)(const fastlstm_plan *);
    size_t (*state_count)(const fastlstm_plan *, size_t);
    size_t (*workspace_bytes)(const fastlstm_plan *, size_t, size_t);
    size_t (*tape_bytes)(const fastlstm_plan *, size_t, size_t);
    fastlstm_status (*set_parameters)(fastlstm_plan *, const void *, size_t);
    fastlstm_status (*step)(const fastlstm_plan *, size_t, const void *, void *, void *, void *);
    fastlstm_status (*forward)(const fastlstm_plan *, size_t, size_t, const void *, const void *, void *, void *,
                               void *, void *);
    fastlstm_status (*backward)(const fastlstm_plan *, size_t, size_t, const void *, const void *, const void *,
                                const void *, const void *, void *, void *, void *, int, void *);
    fastlstm_status (*set_hard_logistic)(fastlstm_plan *, size_t, fastlstm_place, double, double); /* since version 5 */
} fastlstm_interface;

#ifdef Py_PYTHON_H
static const fastlstm_interface *fastlstm_functions = NULL;

/* Import the functions of fastlstm.h; return 0, or -1 with an exception set. */
static inline int import_fastlstm(void) {
    const fastlstm_interface *found = (const fastlstm_interface *)PyCapsule_Import(FASTLSTM_CAPSULE, 0);
    if (!found) return -1;
    if (found->version < FASTLSTM_C_VERSION) {
        PyErr_Format(PyExc_ImportError,
                     "compiled for version %d of fastlstm's C interface, but the installed one has %d",
                     FASTLSTM_C_VERSION, found->version);
        return -1;
    }
    fastlstm_functions = found;
    return 0;
}

#define fastlstm_message (fastlstm_functions->message)
#define fastlstm_plan_bytes (fastlstm_functions->plan_bytes)
#define fastlstm_make_plan (fastlstm_functions->make_plan)
#define fastlstm_parameter_count (fastlstm_functions->parameter_count)
#define fastlstm_output_count (fastlstm_functions->output_count)
#define fastlstm_state_count (fastlstm_functions->state_count)
#define fastlstm_workspace_bytes (fastlstm_functions->workspace_bytes)
#define fastlstm_tape_bytes (fastlstm_functions->tape_bytes)
#define fastlstm_set_parameters (fastlstm_functions->set_parameters)
#define fastlstm_set_hard_logistic (fastlstm_functions->set_hard_logistic)
#define fastlstm_step (fastlstm_functions->step)
#define fastlstm_forward (fastlstm_functions->forward)
#define fastlstm_backward (fastlstm_functions->backward)
#endif

#endif
