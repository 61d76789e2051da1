/* What version 5 added to the C interface: see frozen_1.c. */
#include <stddef.h>
#include <stdint.h>

#include <fastlstm/capsule.h>

fastlstm_status (*const set_hard_logistic)(fastlstm_plan *, size_t, fastlstm_place, double,
                                           double) = fastlstm_set_hard_logistic;

#define VALUE(name, number) _Static_assert(name == number, #name)
VALUE(FASTLSTM_AT_GATE, 0);
VALUE(FASTLSTM_AT_G, 1);
VALUE(FASTLSTM_AT_H, 2);

#if SIZE_MAX == 0xffffffffffffffff
_Static_assert(offsetof(fastlstm_interface, set_hard_logistic) == 104, "set_hard_logistic");
#endif
