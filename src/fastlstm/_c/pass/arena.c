/* Apart from those who take: many do, and inlined there it would be a tenth of the library. */
#include "pass/arena.h"

char *fl_take(fl_arena *arena, size_t bytes) {
    char *piece = arena->base ? arena->base + arena->used : NULL;
    arena->used = fl_plus(arena->used, fl_plus(bytes, FL_ALIGNMENT - 1) / FL_ALIGNMENT * FL_ALIGNMENT);
    return piece;
}

char *fl_take_array(fl_arena *arena, fl_size rows, fl_size columns, fl_size size) {
    return fl_take(arena, fl_times((size_t)rows, fl_times((size_t)columns, (size_t)size)));
}
