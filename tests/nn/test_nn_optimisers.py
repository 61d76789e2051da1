"""Optimisers: PyTorch's step by step, NumPy's bit by bit, interrupts, schedules, states, clear errors."""

import functools
import gc
import itertools
import math
import sys
import tracemalloc

import numpy as np
import pytest
from cases import DTYPES

import fastlstm
from fastlstm.nn import SGD, Adam, AdamW, CosineDecay, Dense, ExponentialDecay, StepDecay

both_dtypes = pytest.mark.parametrize("dtype", DTYPES)
MAKERS = {
    "SGD": lambda flat, rate=0.05: SGD(flat, rate),
    "decay": lambda flat, rate=0.05: SGD(flat, rate, weight_decay=0.1),
    "momentum": lambda flat, rate=0.05: SGD(flat, rate, 0.9, weight_decay=0.1),
    "Nesterov": lambda flat, rate=0.05: SGD(flat, rate, 0.9, nesterov=True, weight_decay=0.1),
    "Adam": lambda flat, rate=0.05: Adam(flat, rate, beta1=0.8, beta2=0.99, epsilon=1e-6),
    "AdamW": lambda flat, rate=0.05: AdamW(flat, rate, beta1=0.8, beta2=0.99, epsilon=1e-6, weight_decay=0.1),
}
all_optimisers = pytest.mark.parametrize("name", MAKERS)


def gradients(steps, n, dtype):
    """Of very different scales, as training has them."""
    rng = np.random.default_rng(1)
    return [(rng.normal(size=n) * 10.0 ** rng.integers(-6, 3, n)).astype(dtype) for _ in range(steps)]


def initial(n, dtype):
    return np.random.default_rng(0).normal(size=n).astype(dtype)


def torch_optimiser(torch, name, leaf):
    adam = {"betas": (0.8, 0.99), "eps": 1e-6}
    return {
        "SGD": lambda: torch.optim.SGD([leaf], 0.05),
        "decay": lambda: torch.optim.SGD([leaf], 0.05, weight_decay=0.1),
        "momentum": lambda: torch.optim.SGD([leaf], 0.05, 0.9, weight_decay=0.1),
        "Nesterov": lambda: torch.optim.SGD([leaf], 0.05, 0.9, nesterov=True, weight_decay=0.1),
        "Adam": lambda: torch.optim.Adam([leaf], 0.05, **adam),
        "AdamW": lambda: torch.optim.AdamW([leaf], 0.05, weight_decay=0.1, **adam),
    }[name]()


@all_optimisers
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-13), (np.float32, 1e-5)])
def test_each_step_is_pytorchs(name, dtype, tolerance):
    torch = pytest.importorskip("torch")
    flat = initial(20, dtype)
    leaf = torch.tensor(flat, requires_grad=True)
    ours, theirs = MAKERS[name](flat), torch_optimiser(torch, name, leaf)
    for t, gradient in enumerate(gradients(50, 20, dtype)):
        if t == 25:
            ours.learning_rate = theirs.param_groups[0]["lr"] = 0.005
        ours.step(gradient)
        leaf.grad = torch.tensor(gradient)
        theirs.step()
        wanted = leaf.detach().numpy()
        np.testing.assert_allclose(flat, wanted, rtol=tolerance, atol=tolerance * max(1, np.abs(wanted).max()))
    assert ours.t == 50


def numpy_steps(name, flat, steps, rate=0.05):
    """The equations, rounded after each operation in the arrays' own precision."""
    theta, (u, m, v), R = flat.copy(), np.zeros((3, flat.size), flat.dtype), flat.dtype.type
    for t, g in enumerate(steps, 1):
        if name.startswith("Adam"):
            m = R(0.8) * m + R(1 - 0.8) * g
            v = R(0.99) * v + R(1 - 0.99) * (g * g)
            if name == "AdamW":
                theta = R(1 - rate * 0.1) * theta
            scale = R(1 / math.sqrt(1 - 0.99**t)) * np.sqrt(v) + R(1e-6)
            theta = theta - R(rate / (1 - 0.8**t)) * (m / scale)
        else:
            if name != "SGD":
                g = g + R(0.1) * theta
            if name in ("momentum", "Nesterov"):
                u = R(0.9) * u + g
                g = g + R(0.9) * u if name == "Nesterov" else u
            theta = theta - R(rate) * g
    return theta


@all_optimisers
@both_dtypes
@pytest.mark.parametrize("n", [0, 1, 3, 7, 8, 15, 16, 17, 31, 33, 65])
def test_each_instruction_set_is_numpy_bit_by_bit(name, dtype, n, isa):
    flat, steps = initial(n, dtype), gradients(5, n, dtype)
    expected = numpy_steps(name, flat, steps)
    optimiser = MAKERS[name](flat)
    for gradient in steps:
        optimiser.step(gradient)
    assert flat.tobytes() == expected.tobytes()


@all_optimisers
@both_dtypes
def test_threads_change_nothing(name, dtype, default_threads):
    n = 200_003
    steps, found = gradients(2, n, dtype), []
    for threads in (1, 2, 3):
        fastlstm.set_num_threads(threads)
        flat = initial(n, dtype)
        optimiser = MAKERS[name](flat)
        for gradient in steps:
            optimiser.step(gradient)
        found.append(flat.tobytes())
    assert found[0] == found[1] == found[2] == numpy_steps(name, initial(n, dtype), steps).tobytes()


@all_optimisers
def test_a_step_changes_the_layer_not_the_gradient_and_allocates_nothing(name):
    dense = Dense(300, 100, seed=0)
    optimiser, gradient = MAKERS[name](dense.flat), np.ones_like(dense.flat)
    before = dense.params["V"].copy()
    optimiser.step(gradient)
    assert np.all(dense.params["V"] < before)
    tracemalloc.start()
    try:
        optimiser.step(gradient)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000  # of 120,400 bytes of parameters
    assert np.all(gradient == 1)


def interrupted(call, opcodes):
    """Whether `call` was stopped by an interrupt after so many of its bytecodes: the only places where one can come."""
    left = opcodes

    def trace(frame, event, _):
        nonlocal left
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    gc.disable()  # its callbacks, if another test's tool has set some, are no part of the call
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
        gc.enable()
    return False


@all_optimisers
def test_an_interrupt_never_tears_a_step(name):
    def everything(optimiser):
        return [optimiser.t, *(array.tobytes() for array in (optimiser.flat, *optimiser.state().values()))]

    def made(steps):
        optimiser = MAKERS[name](initial(20, np.float64), lambda t: 0.1 / (1 + t))
        for gradient in gradients(steps, 20, np.float64):
            optimiser.step(gradient)
        return optimiser

    whole, gradient = [everything(made(steps)) for steps in (3, 4)], gradients(4, 20, np.float64)[3]
    seen = set()
    interrupted(functools.partial(made(3).step, gradient), 10**9)  # CPython 3.12 tells none the first time
    for opcodes in itertools.count():
        optimiser = made(3)
        stopped = interrupted(functools.partial(optimiser.step, gradient), opcodes)
        assert everything(optimiser) in whole
        seen.add(optimiser.t)
        if not stopped:
            break
    assert everything(optimiser) == whole[1]
    assert opcodes > 50
    assert seen == {3, 4}


@all_optimisers
def test_a_restored_state_goes_on_bit_by_bit(name):
    steps = gradients(6, 20, np.float32)
    flat = initial(20, np.float32)
    optimiser = MAKERS[name](flat, CosineDecay(0.1, 6))
    for gradient in steps[:3]:
        optimiser.step(gradient)
    saved = flat.copy(), optimiser.t, {key: array.copy() for key, array in optimiser.state().items()}
    for gradient in steps[3:]:
        optimiser.step(gradient)

    again = MAKERS[name](saved[0], CosineDecay(0.1, 6))
    again.t = saved[1]
    for key, array in again.state().items():
        array[:] = saved[2][key]
    for gradient in steps[3:]:
        again.step(gradient)
    assert saved[0].tobytes() == flat.tobytes()
    assert again.t == optimiser.t == 6


def test_names_of_the_buffers():
    flat = np.ones(3)
    assert SGD(flat, 0.1).state() == {}
    assert SGD(flat, 0.1).velocity is None
    sgd, adam = SGD(flat, 0.1, 0.9), AdamW(flat)
    assert sgd.state()["velocity"] is sgd.velocity
    assert adam.state().keys() == {"m", "v"}
    assert adam.state()["m"] is adam.m
    assert adam.flat is flat
    for name in ("flat", "m", "v"):  # the compiled step trusts their sizes
        with pytest.raises(AttributeError):
            setattr(adam, name, np.ones(1))


@all_optimisers
def test_a_schedule_is_asked_for_each_step(name):
    asked, (fixed, scheduled) = [], (initial(5, np.float64) for _ in range(2))

    def schedule(t):
        asked.append(t)
        return 0.1 / (1 + t)

    plain, own = MAKERS[name](fixed), MAKERS[name](scheduled, schedule)
    assert own.learning_rate is schedule
    for t, gradient in enumerate(gradients(4, 5, np.float64)):
        plain.learning_rate = 0.1 / (1 + t)
        plain.step(gradient)
        own.step(gradient)
    assert asked == [0, 1, 2, 3]
    assert fixed.tobytes() == scheduled.tobytes()


def test_cosine_decay():
    schedule = CosineDecay(0.4, steps=110, warm_up=10, end=0.1)
    assert [schedule(t) for t in range(10)] == pytest.approx([0.04 * (t + 1) for t in range(10)])
    down = [schedule(t) for t in range(10, 111)]
    assert down == pytest.approx([0.1 + 0.3 * math.cos(math.pi * k / 200) ** 2 for k in range(101)])
    assert schedule(10_000) == 0.1
    assert CosineDecay(1.0, steps=2)(1) == pytest.approx(0.5)


MOMENTS = {
    "SGD": lambda flat: SGD(flat, 0.1, momentum=0.9),
    "Nesterov": lambda flat: SGD(flat, 0.1, momentum=0.9, nesterov=True),
    "Adam": Adam,
    "AdamW": AdamW,
}


@pytest.mark.parametrize("n", [1, 20, 200_000])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MOMENTS)
def test_a_moment_that_overflows_is_said(name, dtype, n, isa):
    flat, largest = np.ones(n, dtype), np.finfo(dtype).max
    optimiser, g = MOMENTS[name](flat), np.ones(n, dtype)
    g[-1] = largest / 2 if "Adam" not in name else np.sqrt(largest) * dtype(0.9)
    optimiser.step(g)  # as large as can be: no warning, which the tests make an error
    assert np.isfinite(flat).all()
    g[n // 2] = -largest
    optimiser.t = 20
    if "Adam" not in name:
        g[n // 2] = 2 * (largest / 4)  # beside half of the largest that is there already; or itself twice
        optimiser.velocity[n // 2] = largest
    with pytest.warns(RuntimeWarning, match=f"step 21: .*is no longer finite.* too large for {np.dtype(dtype)}"):
        optimiser.step(g)
    with pytest.warns(RuntimeWarning, match="step 22: "):
        optimiser.step(g)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", MOMENTS)
def test_a_gradient_that_is_no_number_is_said_after_a_whole_step(name, bad, isa):
    flat = np.ones(50, np.float32)
    optimiser, g = MOMENTS[name](flat), np.full(50, 0.5, np.float32)
    g[33] = bad
    with pytest.warns(RuntimeWarning, match=f"step 1: {' or '.join(optimiser.state())} is no longer finite"):
        optimiser.step(g)
    others, expected = np.delete(flat, 33), np.ones(49, np.float32)
    MOMENTS[name](expected).step(np.full(49, 0.5, np.float32))
    np.testing.assert_array_equal(others, expected)
    assert optimiser.t == 1


def test_many_large_moments_that_are_finite_are_no_overflow(isa):
    flat = np.ones(3000, np.float32)
    adam = Adam(flat, beta2=0.0)
    adam.step(np.full(3000, 1e19, np.float32))  # whose squares' sum is beyond float32
    assert np.isfinite(adam.v).all()


@pytest.mark.parametrize("optimiser", ["exponential", "step", "cosine"])
def test_schedules_are_pytorchs(optimiser):
    torch = pytest.importorskip("torch")
    leaf = torch.nn.Parameter(torch.ones(1))
    sgd = torch.optim.SGD([leaf], 0.5)
    theirs, ours = {
        "exponential": (lambda: torch.optim.lr_scheduler.ExponentialLR(sgd, 0.9), ExponentialDecay(0.5, 0.9)),
        "step": (lambda: torch.optim.lr_scheduler.StepLR(sgd, 7, 0.3), StepDecay(0.5, 0.3, 7)),
        "cosine": (lambda: torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 30, 0.1), CosineDecay(0.5, 30, end=0.1)),
    }[optimiser]
    schedule = theirs()
    for t in range(31):
        assert ours(t) == pytest.approx(sgd.param_groups[0]["lr"], rel=1e-12)
        sgd.step()
        schedule.step()


def test_schedules_show_what_they_are():
    assert repr(CosineDecay(0.1, 100, 10)) == "CosineDecay(peak=0.1, steps=100, warm_up=10, end=0.0)"
    assert repr(ExponentialDecay(0.1, 0.5, 3)) == "ExponentialDecay(start=0.1, factor=0.5, steps=3)"
    assert repr(StepDecay(0.1, 0.5, 3)) == "StepDecay(start=0.1, factor=0.5, steps=3)"


def overlapping():
    everything = np.ones(5)
    Adam(everything[:4]).step(everything[1:])


def restored(t):
    Adam(np.ones(2)).t = t


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Adam([1.0]), TypeError, "flat must be a NumPy array"),
        (lambda: SGD(np.ones((2, 2)), 1), ValueError, r"flat must have shape \(n,\)"),
        (lambda: Adam(np.ones(4)[::2]), ValueError, "flat must be C-contiguous"),
        (lambda: Adam(np.ones(2), "fast"), TypeError, "learning_rate must be a number"),
        (lambda: Adam(np.ones(2), -1), ValueError, "learning_rate must be at least 0"),
        (lambda: SGD(np.ones(2), math.nan), ValueError, "learning_rate must be at least 0"),
        (lambda: Adam(np.ones(2), beta1=1), ValueError, "beta1 must be at least 0 and below 1"),
        (lambda: Adam(np.ones(2), beta2=-0.1), ValueError, "beta2 must be"),
        (lambda: Adam(np.ones(2), epsilon=math.inf), ValueError, "epsilon must be"),
        (lambda: AdamW(np.ones(2), weight_decay=-1), ValueError, "weight_decay must be at least 0"),
        (lambda: SGD(np.ones(2), 1, momentum=1), ValueError, "momentum must be at least 0 and below 1"),
        (lambda: SGD(np.ones(2), 1, weight_decay=None), TypeError, "weight_decay must be a number"),
        (lambda: SGD(np.ones(2), 1, nesterov=True), ValueError, "nesterov needs a momentum above 0"),
        (lambda: Adam(np.ones(2)).step(np.ones(3)), ValueError, "gradient must have shape"),
        (lambda: Adam(np.ones(2)).step(np.ones(2, np.float32)), TypeError, "gradient must have dtype float64"),
        (lambda: Adam(np.ones(2), lambda t: -1).step(np.ones(2)), ValueError, "schedule's learning rate must be at"),
        (lambda: Adam(np.ones(2), lambda t: "a").step(np.ones(2)), TypeError, "schedule's learning rate must be a n"),
        (overlapping, ValueError, "flat must not overlap gradient"),
        (lambda: restored(-1), ValueError, "t must be at least 0, not -1"),
        (lambda: restored(1.0), TypeError, "t must be an int, not float"),
        (lambda: CosineDecay("a", 3), TypeError, "peak must be a number"),
        (lambda: CosineDecay(1, 0), ValueError, "steps must be at least 1"),
        (lambda: CosineDecay(1, 3, 3), ValueError, "warm_up must be below steps = 3, not 3"),
        (lambda: CosineDecay(1, 3, -1), ValueError, "warm_up must be at least 0"),
        (lambda: CosineDecay(1, 3, end=-1), ValueError, "end must be at least 0"),
        (lambda: ExponentialDecay(-1, 0.5), ValueError, "start must be at least 0"),
        (lambda: ExponentialDecay(1, 0), ValueError, "factor must be above 0"),
        (lambda: StepDecay(1, 0.5, 2.5), TypeError, "steps must be an int"),
        (lambda: StepDecay(1, None, 2), TypeError, "factor must be a number"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("name", ["momentum", "nesterov", "weight_decay"])
def test_what_the_buffers_depend_on_cannot_be_set(name):
    sgd = SGD(np.zeros(2), 0.1, momentum=0.5)
    with pytest.raises(AttributeError, match=f"{name} cannot be set: make another optimiser"):
        setattr(sgd, name, 0.9)
    with pytest.raises(AttributeError, match="beta1 cannot be set"):
        Adam(np.zeros(2)).beta1 = 2
    sgd.learning_rate, sgd.t = 0.2, 3
    assert (sgd.learning_rate, sgd.t) == (0.2, 3)
