/* fastlstm: how the parameters of a layer lie in memory.
 *
 * A layer keeps its parameters in one contiguous buffer of float or double (`layer.flat` in Python): W, R, b, then p where
 * there are peepholes. All matrices are row-major. With I inputs and H hidden units:
 *
 *   LSTM        W (4H, I)   R (4H, H)   b (4H)   p (3, H)
 *   simple RNN  W (H, I)    R (H, H)    b (H)
 *
 * The 4H rows of an LSTM are four blocks of H, one for each gate; the rows of p belong to the gates that see the cell.
 */
#ifndef FASTLSTM_H
#define FASTLSTM_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The blocks of W, R, b and of a tape's gates. z is the block input, which others call g or c. */
enum fastlstm_gate { FASTLSTM_GATE_I, FASTLSTM_GATE_F, FASTLSTM_GATE_Z, FASTLSTM_GATE_O };

/* The rows of p. */
enum fastlstm_peephole { FASTLSTM_PEEPHOLE_I, FASTLSTM_PEEPHOLE_F, FASTLSTM_PEEPHOLE_O };

/* Where each parameter of an LSTM begins in the buffer, and the buffer's size, in values. */
#define FASTLSTM_W_OFFSET(input, hidden) ((size_t)0)
#define FASTLSTM_R_OFFSET(input, hidden) ((size_t)4 * (hidden) * (input))
#define FASTLSTM_B_OFFSET(input, hidden) ((size_t)4 * (hidden) * ((input) + (hidden)))
#define FASTLSTM_P_OFFSET(input, hidden) ((size_t)4 * (hidden) * ((input) + (hidden) + 1))
#define FASTLSTM_SIZE(input, hidden, peephole) (FASTLSTM_P_OFFSET(input, hidden) + ((peephole) ? 3 * (size_t)(hidden) : 0))

#ifdef __cplusplus
}
#endif

#endif
