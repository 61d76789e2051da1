/* Version 1 of the C interface, as programs are compiled against it: it does not change. Functions and values may be
 * added, in a later version; what is here is never removed, nor given another type, size, place or meaning. */
#include <stddef.h>
#include <stdint.h>

#include <fastlstm/capsule.h>

const char *(*const message)(fastlstm_status) = fastlstm_message;
size_t (*const plan_bytes)(const fastlstm_network *) = fastlstm_plan_bytes;
fastlstm_status (*const make_plan)(const fastlstm_network *, void *, size_t, fastlstm_plan **) = fastlstm_make_plan;
size_t (*const parameter_count)(const fastlstm_plan *) = fastlstm_parameter_count;
size_t (*const output_count)(const fastlstm_plan *) = fastlstm_output_count;
size_t (*const state_count)(const fastlstm_plan *, size_t) = fastlstm_state_count;
size_t (*const workspace_bytes)(const fastlstm_plan *, size_t, size_t) = fastlstm_workspace_bytes;
size_t (*const tape_bytes)(const fastlstm_plan *, size_t, size_t) = fastlstm_tape_bytes;
fastlstm_status (*const set_parameters)(fastlstm_plan *, const void *, size_t) = fastlstm_set_parameters;
fastlstm_status (*const step)(const fastlstm_plan *, size_t, const void *, void *, void *, void *) = fastlstm_step;
fastlstm_status (*const forward)(const fastlstm_plan *, size_t, size_t, const void *, const void *, void *, void *,
                                 void *, void *) = fastlstm_forward;
fastlstm_status (*const backward)(const fastlstm_plan *, size_t, size_t, const void *, const void *, const void *,
                                  const void *, const void *, void *, void *, void *, int, void *) = fastlstm_backward;

#define VALUE(name, number) _Static_assert(name == number, #name)
VALUE(FASTLSTM_OK, 0);
VALUE(FASTLSTM_NULL, 1);
VALUE(FASTLSTM_VERSION, 2);
VALUE(FASTLSTM_DTYPE, 3);
VALUE(FASTLSTM_SIZE, 4);
VALUE(FASTLSTM_KIND, 5);
VALUE(FASTLSTM_ACTIVATION, 6);
VALUE(FASTLSTM_OPTION, 7);
VALUE(FASTLSTM_INSTRUCTION_SET, 8);
VALUE(FASTLSTM_MEMORY, 9);
VALUE(FASTLSTM_PARAMETERS, 10);
VALUE(FASTLSTM_TRAINING, 11);
VALUE(FASTLSTM_TAPE, 12);
VALUE(FASTLSTM_PLAN, 13);
VALUE(FASTLSTM_COUNT, 14);
VALUE(FASTLSTM_FLOAT32, 4);
VALUE(FASTLSTM_FLOAT64, 8);
VALUE(FASTLSTM_LSTM, 0);
VALUE(FASTLSTM_RNN, 1);
VALUE(FASTLSTM_DENSE, 2);
VALUE(FASTLSTM_VANILLA, 0);
VALUE(FASTLSTM_NIG, 1);
VALUE(FASTLSTM_NFG, 2);
VALUE(FASTLSTM_NOG, 3);
VALUE(FASTLSTM_NIAF, 4);
VALUE(FASTLSTM_NOAF, 5);
VALUE(FASTLSTM_CIFG, 6);
VALUE(FASTLSTM_USUAL, 0);
VALUE(FASTLSTM_TANH, 1);
VALUE(FASTLSTM_RELU, 2);
VALUE(FASTLSTM_LOGISTIC, 3);
VALUE(FASTLSTM_IDENTITY, 4);
VALUE(FASTLSTM_HARD_LOGISTIC, 5);

#if SIZE_MAX == 0xffffffffffffffff
#define PLACE(type, field, bytes) _Static_assert(offsetof(type, field) == bytes, #field)
PLACE(fastlstm_layer, kind, 0);
PLACE(fastlstm_layer, units, 8);
PLACE(fastlstm_layer, bidirectional, 16);
PLACE(fastlstm_layer, peephole, 20);
PLACE(fastlstm_layer, variant, 24);
PLACE(fastlstm_layer, gate, 28);
PLACE(fastlstm_layer, g, 32);
PLACE(fastlstm_layer, h, 36);
PLACE(fastlstm_layer, clip, 40);
PLACE(fastlstm_layer, cell_clip, 48);
_Static_assert(sizeof(fastlstm_layer) == 56, "fastlstm_layer");
PLACE(fastlstm_network, version, 0);
PLACE(fastlstm_network, dtype, 4);
PLACE(fastlstm_network, inputs, 8);
PLACE(fastlstm_network, layer_count, 16);
PLACE(fastlstm_network, layers, 24);
PLACE(fastlstm_network, training, 32);
PLACE(fastlstm_network, instruction_set, 40);
_Static_assert(sizeof(fastlstm_network) == 48, "fastlstm_network");
PLACE(fastlstm_interface, version, 0);
PLACE(fastlstm_interface, message, 8);
PLACE(fastlstm_interface, plan_bytes, 16);
PLACE(fastlstm_interface, make_plan, 24);
PLACE(fastlstm_interface, parameter_count, 32);
PLACE(fastlstm_interface, output_count, 40);
PLACE(fastlstm_interface, state_count, 48);
PLACE(fastlstm_interface, workspace_bytes, 56);
PLACE(fastlstm_interface, tape_bytes, 64);
PLACE(fastlstm_interface, set_parameters, 72);
PLACE(fastlstm_interface, step, 80);
PLACE(fastlstm_interface, forward, 88);
PLACE(fastlstm_interface, backward, 96);
#endif
