/* Sums of columns over many rows. */
#ifndef FL_COLUMNS_H
#define FL_COLUMNS_H

#include "pass/sums.h"
#include "simd/simd.h"

/* Add the sums over the rows of n columns, whose rows are `step` values apart. */
FL_INLINE void add_columns(real *sums, const real *columns, fl_size rows, fl_size step, fl_size n) {
    for (fl_size k = 0; k < n; k += VL) {
        const fl_size part = at_most(n - k, VL);
        vec total = v_zero();
        for (fl_size row = 0; row < rows;) {
            vec sum = v_zero();
            for (const fl_size end = row + at_most(rows - row, FL_ROWS_PER_GROUP); row < end; row++)
                sum = v_add(sum, v_load_part(columns + row * step + k, part));
            total = v_add(total, sum);
        }
        v_store_part(sums + k, v_add(v_load_part(sums + k, part), total), part);
    }
}

#endif
