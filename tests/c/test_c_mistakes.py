"""Mistakes in calls of the C interface: each has its status, and nothing was written."""

import ctypes
from ctypes import byref, c_void_p

import numpy as np
import pytest
from c_interface import ACTIVATIONS, STATUSES, C, Layer, Memory, Plan, address, network, status

import fastlstm

LSTM, RNN, DENSE, GRU, GRU_BEFORE, LSTM_NORM = range(6)
MISTAKES = {
    "VERSION": [{"version": 0}, {"version": 6}],
    "NULL": [{"layers": None}],
    "DTYPE": [{"dtype": 2}, {"dtype": 0}],
    "SIZE": [
        {"inputs": 0}, {"layer_count": 0}, {"inputs": 2**64 - 1}, {"inputs": 2**61},
        {"layers": Layer(LSTM, 0)}, {"layers": Layer(LSTM, 2**64 - 1)}, {"layers": Layer(LSTM, 2**31)},
        {"layers": Layer(DENSE, 2**62)}, {"layers": Layer(LSTM, 2**62 - 1, bidirectional=1)},
        {"layers": Layer(LSTM_NORM, 2**31)},
    ],
    "KIND": [
        {"layers": Layer(6, 4)}, {"layers": Layer(-1, 4)}, {"layers": Layer(LSTM, 4, variant=7)},
        {"layers": Layer(LSTM_NORM, 4, variant=7)},
    ],
    "ACTIVATION": [
        {"layers": Layer(LSTM, 4, gate=ACTIVATIONS.index("tanh"))}, {"layers": Layer(LSTM, 4, g=6)},
        {"layers": Layer(LSTM, 4, h=-1)}, {"layers": Layer(RNN, 4, g=6)},
        {"layers": Layer(DENSE, 4, g=ACTIVATIONS.index("hard_logistic"))}, {"layers": Layer(GRU, 4, g=6)},
        {"layers": Layer(GRU, 4, gate=ACTIVATIONS.index("tanh"))},
        {"layers": Layer(LSTM_NORM, 4, gate=ACTIVATIONS.index("tanh"))},
    ],
    "OPTION": [
        {"layers": Layer(DENSE, 4, bidirectional=1)}, {"layers": Layer(RNN, 4, peephole=1)},
        {"layers": Layer(RNN, 4, variant=1)}, {"layers": Layer(DENSE, 4, clip=1)}, {"layers": Layer(LSTM, 4, clip=-1)},
        {"layers": Layer(LSTM, 4, cell_clip=float("nan"))}, {"layers": Layer(LSTM, 4, clip=float("inf"))},
        {"layers": Layer(RNN, 4, h=1)}, {"layers": Layer(RNN, 4, gate=3)},
        {"layers": Layer(GRU, 4, peephole=1)}, {"layers": Layer(GRU_BEFORE, 4, clip=1)},
        {"layers": Layer(LSTM_NORM, 4, clip=-1)},
        {"fast": 1, "training": 1}, {"fast": 1, "training": 0, "layers": Layer(GRU, 4)},
        {"fast": 1, "training": 0, "layers": Layer(GRU_BEFORE, 4)},
        {"fast": 1, "training": 0, "layers": Layer(LSTM_NORM, 4)},
    ],
    "INSTRUCTION_SET": [{"instruction_set": b"avx1024"}, {"instruction_set": b""}],
}  # fmt: skip


def plan_of(layer):
    """Return the plan of an LSTM with 3 inputs and peepholes."""
    return Plan(network(3, [Layer(LSTM, layer.hidden_size, peephole=1)]), layer.flat)


@pytest.mark.parametrize(("expected", "mistake"), [(name, one) for name, every in MISTAKES.items() for one in every])
def test_descriptions_that_are_not_valid(expected, mistake):
    layer = mistake.get("layers", Layer(LSTM, 4))
    description = network(3, [layer or Layer(LSTM, 4)])
    for name, value in mistake.items():
        if name != "layers":
            setattr(description, name, value)
    if layer is None:
        description.layers = None
    plan, memory = c_void_p(), Memory(1 << 16)
    assert C.plan_bytes(byref(description)) == 0
    assert status(C.make_plan(byref(description), memory.address, memory.size, byref(plan))) == expected
    assert plan.value is None
    assert len(C.message(STATUSES.index(expected))) > 10


def test_memory_for_a_plan():
    description, plan = network(3, [Layer(LSTM, 4)]), c_void_p()
    size = C.plan_bytes(byref(description))
    memory = Memory(size)
    assert status(C.make_plan(byref(description), memory.address, size - 1, byref(plan))) == "MEMORY"
    assert status(C.make_plan(byref(description), None, size, byref(plan))) == "NULL"
    assert status(C.make_plan(byref(description), memory.address, size, None)) == "NULL"
    assert status(C.make_plan(None, memory.address, size, byref(plan))) == "NULL"
    assert C.plan_bytes(None) == 0
    assert (memory.bytes == 0xFF).all()


def test_calls_that_are_not_valid():
    layer = fastlstm.LSTM(3, 4, seed=0)
    plan, T, B = plan_of(layer), 2, 2
    x, y = np.zeros((T, B, 3), np.float32), np.zeros((T, B, 4), np.float32)
    state, flat = plan.state(B), np.zeros(plan.parameters, np.float32)
    space, tape = plan.workspace(T, B), Memory(C.tape_bytes(plan.plan, T, B))
    calls = {
        "step": [B, x, state, y, space],
        "forward": [T, B, x, None, y, None, None, space],
        "backward": [T, B, x, y, tape, y, None, None, None, flat, 0, space],
    }

    def plain(argument):
        if isinstance(argument, Memory):
            return argument.address
        return address(argument) if isinstance(argument, np.ndarray) else argument

    def call(name, given, plan=plan.plan):
        return status(getattr(C, name)(plan, *map(plain, given)))

    assert call("backward", calls["backward"]) == "TAPE"  # no forward pass yet
    taped = [*calls["forward"][:6], tape, space]
    assert call("forward", taped) == "OK"
    for name, given in calls.items():
        assert call(name, given) == "OK"
        assert call(name, given, None) == "NULL"
        for k, argument in enumerate(given):
            if isinstance(argument, (np.ndarray, Memory)):
                assert call(name, [*given[:k], None, *given[k + 1 :]]) == "NULL", (name, k)
        sizes = 1 if name == "step" else 2
        for huge in (2**64 - 1, 2**62):
            assert call(name, [huge] * sizes + given[sizes:]) == "SIZE"
    assert call("backward", [T, 3, *calls["backward"][2:]]) == "TAPE"
    assert call("backward", [3, *calls["backward"][1:]]) == "TAPE"
    assert call("backward", calls["backward"], plan_of(layer).plan) == "TAPE"  # of another plan

    inference = Plan(network(3, [Layer(LSTM, 4, peephole=1)], training=False))
    assert call("step", calls["step"], inference.plan) == "PARAMETERS"
    assert call("forward", calls["forward"], inference.plan) == "PARAMETERS"
    assert call("backward", calls["backward"], inference.plan) == "PARAMETERS"
    assert status(C.set_parameters(inference.plan, None, flat.size)) == "NULL"
    assert status(C.set_parameters(None, address(flat), flat.size)) == "NULL"
    for count in (0, flat.size - 1, flat.size + 1):
        assert status(C.set_parameters(inference.plan, address(layer.flat), count)) == "COUNT"
    assert call("forward", calls["forward"], inference.plan) == "PARAMETERS"
    assert status(C.set_parameters(inference.plan, address(layer.flat), layer.flat.size)) == "OK"
    assert call("forward", calls["forward"], inference.plan) == "OK"
    assert call("forward", taped, inference.plan) == "TRAINING"
    assert call("backward", calls["backward"], inference.plan) == "TRAINING"
    assert C.tape_bytes(inference.plan, T, B) == 0
    assert inference.memory.size < plan.memory.size
    for huge in (2**64 - 1, 2**62, 2**40):
        assert C.workspace_bytes(plan.plan, huge, huge) == C.tape_bytes(plan.plan, huge, huge) == 0
    wide = Plan(network(3, [Layer(DENSE, 1000)]))
    assert C.workspace_bytes(wide.plan, 2**27, 2**27) == 0  # x could be in memory, y could not
    for function in (C.parameter_count, C.output_count):
        assert function(None) == 0
    assert C.state_count(None, 1) == C.workspace_bytes(None, 1, 1) == C.tape_bytes(None, 1, 1) == 0


def test_what_is_no_plan():
    """Memory in which none was made, and a plan that has been copied."""
    plan = plan_of(fastlstm.LSTM(3, 4, seed=0))
    moved = np.zeros(plan.memory.size + 64, np.uint8)
    ctypes.memmove(moved.ctypes.data, plan.plan.value, plan.memory.size - 64)
    arrays = [np.zeros(1000, np.float32) for _ in range(9)]
    pointers = [address(array) for array in arrays]
    for wrong in (moved, np.zeros(1000, np.uint8)):
        given = c_void_p(wrong.ctypes.data)
        assert status(C.set_parameters(given, pointers[0], plan.parameters)) == "PLAN"
        assert status(C.step(given, 1, *pointers[:4])) == "PLAN"
        assert status(C.forward(given, 1, 1, *pointers[:6])) == "PLAN"
        assert status(C.backward(given, 1, 1, *pointers[:8], 0, pointers[8])) == "PLAN"
        assert C.parameter_count(given) == C.output_count(given) == C.state_count(given, 1) == 0
        assert C.workspace_bytes(given, 1, 1) == C.tape_bytes(given, 1, 1) == 0


def test_messages():
    messages = [C.message(k) for k in range(len(STATUSES) + 1)]
    assert len(set(messages)) == len(messages)
