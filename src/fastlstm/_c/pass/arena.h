/* An arena: memory that is taken in aligned pieces. */
#ifndef FL_ARENA_H
#define FL_ARENA_H

#include "kernels.h"

/* More bytes than any memory has: the result of a sum or product of sizes that is too large. */
#define FL_TOO_MUCH (SIZE_MAX / 4)

static inline size_t fl_plus(size_t a, size_t b) { return a > FL_TOO_MUCH - b ? FL_TOO_MUCH : a + b; }
static inline size_t fl_times(size_t a, size_t b) {
    const int small = (a | b) >> (4 * sizeof(size_t) - 1) == 0; /* a division takes longer than a small step */
    return !small && b && a > FL_TOO_MUCH / b ? FL_TOO_MUCH : a * b;
}

/* Memory of which `used` bytes are taken; with base NULL, bytes are only counted. */
typedef struct {
    char *base;
    size_t used;
} fl_arena;

enum { FL_ALIGNMENT = 64 };

/* Return an arena in memory of any alignment. */
static inline fl_arena fl_arena_in(const void *memory) {
    const fl_arena arena = {(char *)(((uintptr_t)memory + FL_ALIGNMENT - 1) / FL_ALIGNMENT * FL_ALIGNMENT), 0};
    return arena;
}

/* Take a piece; NULL where bytes are only counted. */
char *fl_take(fl_arena *arena, size_t bytes);

/* Take a (rows, columns) array of values of `size` bytes. */
char *fl_take_array(fl_arena *arena, fl_size rows, fl_size columns, fl_size size);

/* Return the number of bytes that an arena needs in memory of any alignment; 0 where they are too many. */
static inline size_t fl_arena_bytes(const fl_arena *arena) {
    const size_t bytes = fl_plus(arena->used, FL_ALIGNMENT);
    return bytes == FL_TOO_MUCH ? 0 : bytes;
}
static inline int fl_is_too_much(const fl_arena *arena) { return fl_arena_bytes(arena) == 0; }

/* Return the address of an array's value by its index; NULL for a NULL array. */
static inline char *fl_at(const void *array, fl_size values, fl_size size) {
    return array ? (char *)array + values * size : NULL;
}

#endif
