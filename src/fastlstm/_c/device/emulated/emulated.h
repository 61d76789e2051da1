/* The state of a thread that works on the emulated device. */
#ifndef FL_EMULATED_H
#define FL_EMULATED_H

#include "device/backend.h"

#if defined(_MSC_VER)
#define FL_THREAD_LOCAL __declspec(thread)
#else
#define FL_THREAD_LOCAL _Thread_local
#endif

fl_algorithm fl_emulated_algorithm(void);
int fl_emulated_tf32(void);
void fl_emulated_count(fl_algorithm used);

#endif
