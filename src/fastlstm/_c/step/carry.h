/* What lies between two time steps: zoneout, resets, dropout of what the next step sees; forward, and backward for the
 * gradient of y. */
#ifndef FL_CARRY_H
#define FL_CARRY_H

#include "step/product.h"

/* Return a state after zoneout, which keeps a share of the state before. */
FL_INLINE real zoned(real share, real before, real now) { return share * before + (1 - share) * now; }

FL_INLINE const stored *at_row(const void *array, fl_size row, fl_size step) {
    return array ? (const stored *)array + row * step : NULL;
}
FL_INLINE const real *cells_at_row(const void *array, fl_size row, fl_size step) {
    return array ? (const real *)array + row * step : NULL;
}

FL_FUNCTION void carry(const fl_carry *s, fl_size row0, fl_size row1, fl_size column0, fl_size column1, fl_size unit0,
                       fl_size unit1) {
    const fl_size H = s->hidden, P = s->width;
    for (fl_size row = row0; row < row1; row++) {
        const int kept = row < s->keep, reset = kept && s->reset && s->reset[row], zero = reset && s->reset_to_zero;
        const int reset_before = s->reset_before && s->reset_before[row];
        const stored *y_first = at_row(s->y_first, row, P);
        const real *c_first = cells_at_row(s->c_first, row, H);

        stored *y = (stored *)s->y + row * s->y_step;
        if (s->zone_y) {
            const stored *zone = at_row(s->zone_y, row, P);
            const stored *before = reset_before || row >= s->before ? y_first
                                                                    : at_row(s->y_before, row, s->y_before_step);
            for (fl_size k = column0; k < column1; k++)
                y[k] = to_stored(zoned(of_stored(zone[k]), reset_before && s->reset_to_zero ? 0 : of_stored(before[k]),
                                       of_stored(y[k])));
        }
        if (s->y_seen && kept && (reset || !s->y_is_there)) {
            stored *seen = (stored *)s->y_seen + row * s->y_seen_step;
            const stored *from = reset ? y_first : y, *mask = at_row(s->mask, row, P);
            for (fl_size k = column0; k < column1; k++)
                seen[k] = zero ? to_stored(0) : mask ? to_stored(of_stored(mask[k]) * of_stored(from[k])) : from[k];
            if (reset && s->extra_first) {
                const fl_size values = (unit1 - unit0 + VL - 1) / VL * VL * s->extra, at = s->extra * unit0;
                const stored *first = at_row(s->extra_first, row, s->y_seen_step - P) + at;
                for (fl_size k = 0; k < values; k++) seen[P + at + k] = zero ? to_stored(0) : first[k];
            }
        }
        const void *c_seen = kept ? s->c_seen : s->c_last;
        if (s->c_seen && (reset || c_seen != s->c)) {
            real *seen = (real *)c_seen + row * H;
            const real *c = cells_at_row(s->c, row, H), *c_prev = cells_at_row(s->c_prev, row, H);
            const stored *zone = at_row(s->zone_c, row, H);
            for (fl_size k = unit0; k < unit1; k++)
                seen[k] = zero    ? 0
                          : reset ? c_first ? c_first[k] : of_stored(y_first[k])
                          : zone  ? zoned(of_stored(zone[k]), c_prev[k], c[k])
                          : c     ? c[k]
                                  : of_stored(y[k]);
        }
    }
}

/* Return the gradient of y for one row and n columns from `column` on. `seen` is the gradient of what the next step saw
 * of it. */
FL_INLINE vec y_gradient_of(const fl_y_gradient *s, vec seen, fl_size row, fl_size column, fl_size width, fl_size n) {
    const fl_size at = row * width + column;
    if (s->beside) seen = v_add(seen, v_load_part((const real *)s->beside + at, n));
    if (s->mask) seen = v_mul(seen, s_load_part((const stored *)s->mask + at, n));
    if (s->zoned) seen = v_add(seen, v_load_part((const real *)s->zoned + at, n));
    if (s->through_c) seen = v_add(seen, v_load_part((const real *)s->through_c + at, n));
    if (s->reset && s->reset[row]) {
        if (s->to_first) {
            stored *to = (stored *)s->to_first + at;
            s_store_part(to, v_add(s_load_part(to, n), seen), n);
        }
        seen = v_zero();
    }
    if (s->above) seen = v_add(seen, s_load_part((const stored *)s->above + row * s->above_step + column, n));
    if (s->last) seen = v_add(seen, s_load_part((const stored *)s->last + at, n));
    if (s->all) s_store_part((stored *)s->all + at, seen, n);
    if (s->zoned) {
        const vec zone = s->zone ? s_load_part((const stored *)s->zone + at, n) : v_zero(), stays = v_mul(zone, seen);
        v_store_part((real *)s->zoned + at, stays, n);
        seen = v_sub(seen, stays);
    }
    return seen;
}

#ifndef FL_TARGET_DEVICE
/* Compute the product that a gradient of y begins with, for `columns` vectors from `column` on. */
FL_INLINE void product_seen(accumulators acc, const fl_y_gradient *s, int columns, fl_size row, fl_size rows,
                            fl_size column) {
    const factor a = {(const real *)s->a + row * s->a_step,       s->a_step, 1, s->K,
                      panel_at(s->panels, FL_FULL, s->K, column), NULL};
    product(acc, columns, rows, FL_FULL, &a, NULL);
}

static void y_gradient(const fl_y_gradient *s, void *dy, fl_size width, fl_size row0, fl_size row1, fl_size column0,
                       fl_size column1) {
    assert(0 <= row0 && column0 % (COLUMNS * VL) == 0 && column1 <= width);
    FL_ALIGN(64) accumulators acc;
    for (fl_size column = column0; column < column1; column += COLUMNS * VL) {
        const int columns = columns_from(column, width);
        for (fl_size row = row0, rows; row < row1; row += rows) {
            rows = next_rows(row, row1);
            if (s->a) product_seen(acc, s, columns, row, rows, column);
            for (fl_size m = 0; m < rows; m++)
                for (int v = 0; v < columns; v++) {
                    const fl_size first = column + v * VL, n = at_most(width - first, VL);
                    const vec seen = s->a ? v_load(&acc[m][v * VL]) : v_zero();
                    v_store_part((real *)dy + (row + m) * width + first,
                                 y_gradient_of(s, seen, row + m, first, width, n), n);
                }
        }
    }
}
#endif

#endif
