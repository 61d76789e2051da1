"""The specification of the layer-normalised LSTM: finite differences, autograd of PyTorch's layer_norm, rows that are
constant, and sizes of zero."""

import numpy as np
import pytest
from cases import LAYER_NORM_ARGUMENTS, LAYER_NORM_VARIANTS, layer_norm_case
from differences import check_every_entry
from helpers import assert_close, assert_same, reference_layer_norm_forward, reference_layer_norm_lstm
from peers import PEER_TOLERANCE, SIZES, leaf

from fastlstm import reference
from fastlstm.reference.layer_norm_lstm import EPSILON

all_variants = pytest.mark.parametrize("variant", LAYER_NORM_VARIANTS)
with_and_without_peepholes = pytest.mark.parametrize("peephole", [True, False])

EXACT = PEER_TOLERANCE[np.float64]
# LN of a row with a variance v bends over distances of sqrt(v + epsilon), 0.003 where v = 0: stencils are shorter than
# those of the other cells. Their error falls as the fourth power of the step down to rounding, 1e-10 or less here.
STEP, STEP_WITHOUT_VARIANCE = 3e-5, 5e-7
SMALL = [(1, 2, 3, 4), (4, 2, 2, 5)]


def loss(case, variant):
    y, tape = reference_layer_norm_forward(case, variant)
    return np.sum(case["dy"] * y) + np.sum(case["dh"] * tape.y[-1]) + np.sum(case["dc"] * tape.c[-1])


def check_finite_differences(case, result, variant, arguments=LAYER_NORM_ARGUMENTS, step=STEP):
    check_every_entry(lambda changed: loss(changed, variant), case, result, arguments, step)


def assert_close_to_largest(found, expected):
    """Compare rows without variance, on the scale of the largest value of all arrays.

    PyTorch's mean of such a row has a rounding error, which 1 / sqrt(epsilon) makes larger: where a gradient is 0, its
    own is not.
    """
    assert found.keys() == expected.keys()
    largest = max(np.abs(array).max() for array in expected.values())
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-10 * largest, err_msg=name)


def autograd_lstm(torch, x, W, R, b, p, gR, gW, gc, bc, h0, c0, variant="vanilla", order="ifzo"):
    """Haste's equations in PyTorch's words, with no backward pass written by hand; p may be None."""
    normalised, n, H = torch.nn.functional.layer_norm, len(b), len(gc)
    blocks = [block for block in order if block in reference.BLOCKS[variant]]
    peepholes = {} if p is None else dict(zip([block for block in blocks if block != "z"], p, strict=True))
    y, c, ys = h0, c0, []

    def gate(a, name, seen):
        if name not in a:
            return torch.ones_like(seen)
        return torch.sigmoid(a[name] if p is None else torch.addcmul(a[name], peepholes[name], seen))

    for x_t in x:
        a = normalised(y @ R.T, (n,), weight=gR) + normalised(x_t @ W.T, (n,), weight=gW, bias=b)
        a = dict(zip(blocks, a.chunk(len(blocks), dim=-1), strict=True))
        z = a["z"] if variant == "NIAF" else torch.tanh(a["z"])
        i = gate(a, "i", c)
        f = 1 - i if variant == "CIFG" else gate(a, "f", c)
        c = torch.addcmul(f * c, i, z)
        shown = normalised(c, (H,), gc, bc)
        y = gate(a, "o", c) * (shown if variant == "NOAF" else torch.tanh(shown))
        ys.append(y)
    return torch.stack(ys), y, c


def autograd(torch, case, variant):
    leaves = {name: None if case[name] is None else leaf(torch, case[name]) for name in LAYER_NORM_ARGUMENTS}
    results = autograd_lstm(torch, **leaves, variant=variant)
    torch.autograd.backward(results, [torch.from_numpy(case[name]) for name in ("dy", "dh", "dc")])
    expected = dict(zip("yhc", (result.detach().numpy() for result in results), strict=True))
    return expected | {f"d{name}": tensor.grad.numpy() for name, tensor in leaves.items() if tensor is not None}


# ---- gradients -------------------------------------------------------------------------------------------------------


@with_and_without_peepholes
@all_variants
@pytest.mark.parametrize("sizes", SMALL, ids=str)
def test_every_entry(sizes, variant, peephole):
    case = layer_norm_case(variant, *sizes, peephole=peephole)
    check_finite_differences(case, reference_layer_norm_lstm(case, variant), variant)


@pytest.mark.parametrize("variant", ["vanilla", "CIFG"])
@pytest.mark.parametrize("only", ["dy", "dh", "dc"])
@pytest.mark.parametrize("T", [1, 3])
def test_each_gradient_from_above_alone(T, only, variant):
    case = layer_norm_case(variant, T, 2, 2, 5)
    for name in {"dy", "dh", "dc"} - {only}:
        case[name][:] = 0
    arguments, result = LAYER_NORM_ARGUMENTS, reference_layer_norm_lstm(case, variant)
    if T == 1 and only == "dc":  # c^1 itself is not normalised, and the output gate comes after it
        assert not result["dgc"].any()
        assert not result["dbc"].any()
        arguments = tuple(name for name in arguments if name not in ("gc", "bc"))
    check_finite_differences(case, result, variant, arguments)


@with_and_without_peepholes
@all_variants
@pytest.mark.parametrize("sizes", [sizes for sizes in SIZES if sizes[3] > 1], ids=str)
def test_torch(torch, sizes, variant, peephole):
    case = layer_norm_case(variant, *sizes, peephole=peephole)
    assert_close(reference_layer_norm_lstm(case, variant), autograd(torch, case, variant), EXACT)


@pytest.mark.parametrize("name", LAYER_NORM_ARGUMENTS)
def test_a_wrong_entry_is_noticed(name):
    case = layer_norm_case("vanilla", 3, 2, 3, 5)
    result = reference_layer_norm_lstm(case)
    result[f"d{name}"].flat[-1] += 1e-7 * np.abs(result[f"d{name}"]).max()
    with pytest.raises(AssertionError, match=f"d{name}"):
        check_finite_differences(case, result, "vanilla", (name,))


# ---- rows whose values are all the same ------------------------------------------------------------------------------


def constant_W_x(case):
    """Make all rows of W the same, with sums that are not exact in float64."""
    case["W"][:] = np.linspace(0.1, 0.7, case["W"].shape[1])


def zero_W(case):
    case["W"][:] = 0


def zero_R(case):
    case["R"][:] = 0


def zero_initial_state(case):
    case["h0"][:] = case["c0"][:] = 0


# What changes the constant rows, and has to be moved by less.
MOVES = {constant_W_x: "W", zero_W: "W", zero_R: "R", zero_initial_state: "h0"}


@all_variants
@pytest.mark.parametrize("change", MOVES)
def test_constant_rows(torch, change, variant):
    """LN is 0 there, whatever g is, and its gradient has the slope 1 / sqrt(epsilon)."""
    case = layer_norm_case(variant, 3, 2, 3, 4)
    change(case)
    result = reference_layer_norm_lstm(case, variant)
    assert_close_to_largest(result, autograd(torch, case, variant))
    arguments = set(LAYER_NORM_ARGUMENTS)
    if change in (constant_W_x, zero_W):
        assert not result["dgW"].any()
        arguments -= {"gW"}
        assert_same({"y": result["y"]}, {"y": reference_layer_norm_lstm(case | {"gW": 5 * case["gW"]}, variant)["y"]})
    if change is zero_R:
        assert not result["dgR"].any()
        assert not result["dh0"].any()
        arguments -= {"gR", "h0"}
    if change is zero_W:
        assert not result["dx"].any()
        arguments -= {"x"}
    if change is constant_W_x:  # a change of x leaves the rows constant
        assert np.abs(result["dx"]).max() <= 1e-12 * np.abs(result["dW"]).max()
        arguments -= {"x"}
    moved = MOVES[change]
    check_finite_differences(case, result, variant, [moved], STEP_WITHOUT_VARIANCE)
    check_finite_differences(case, result, variant, sorted(arguments - {moved}))


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (3, 3, 1, 1), (4, 2, 3, 1)], ids=str)
@all_variants
def test_one_unit(torch, sizes, variant):
    """A single c is its own mean: y is o h(bc), and gc has no gradient."""
    case = layer_norm_case(variant, *sizes)
    result = reference_layer_norm_lstm(case, variant)
    assert_close_to_largest(result, autograd(torch, case, variant))
    assert not result["dgc"].any()
    _, tape = reference_layer_norm_forward(case, variant)
    np.testing.assert_array_equal(result["y"], tape.o * (case["bc"] if variant == "NOAF" else np.tanh(case["bc"])))


def test_no_inputs(torch):
    case = layer_norm_case("vanilla", 3, 2, 0, 4)
    result = reference_layer_norm_lstm(case)
    assert_close(result, autograd(torch, case, "vanilla"), EXACT)
    assert not result["dgW"].any()


def test_epsilon_is_that_of_haste_and_of_pytorch():
    assert EPSILON == 1e-5


# ---- sizes of zero, Haste's layout, misuse ---------------------------------------------------------------------------


@all_variants
def test_no_steps(variant):
    case = layer_norm_case(variant, 0, 2, 3, 4)
    result = reference_layer_norm_lstm(case, variant)
    assert result["y"].shape == (0, 2, 4)
    state = {"h": "h0", "c": "c0", "dh0": "dh", "dc0": "dc"}
    assert_same({name: result[name] for name in state}, {name: case[given] for name, given in state.items()})
    for name in {f"d{name}" for name in LAYER_NORM_ARGUMENTS if case[name] is not None} - state.keys():
        assert result[name].shape == case[name[1:]].shape
        assert not result[name].any()


@all_variants
def test_no_rows(variant):
    case = layer_norm_case(variant, 3, 0, 3, 4)
    result = reference_layer_norm_lstm(case, variant)
    assert result["y"].shape == (3, 0, 4)
    for name in LAYER_NORM_ARGUMENTS:
        if case[name] is not None:
            assert result[f"d{name}"].shape == case[name].shape
            assert not result[f"d{name}"].any()


def test_rows_do_not_see_each_other():
    case = layer_norm_case("vanilla", 4, 3, 2, 5)
    whole = reference_layer_norm_lstm(case)
    for row in range(3):
        at = slice(row, row + 1)
        one = case | {name: case[name][:, at] for name in ("x", "dy")}
        one |= {name: case[name][at] for name in ("h0", "c0", "dh", "dc")}
        found = reference_layer_norm_lstm(one)
        for name in ("y", "dx"):
            np.testing.assert_allclose(found[name], whole[name][:, at], rtol=0, atol=1e-13)


def test_parameters_of_haste(torch):
    """Haste has the blocks i, g, f, o, with g for z, and kernels that stand to the right of x and h."""
    case = layer_norm_case("vanilla", 5, 3, 4, 6, peephole=False)

    def turned(array):
        i, f, z, o = np.split(array, 4)
        return np.concatenate([i, z, f, o])

    kernel, recurrent_kernel = (leaf(torch, turned(case[name]).T.copy()) for name in ("W", "R"))
    bias, gamma = leaf(torch, turned(case["b"])), leaf(torch, np.stack([turned(case["gW"]), turned(case["gR"])]))
    x, gamma_h, beta_h, h0, c0 = (torch.from_numpy(case[name]) for name in ("x", "gc", "bc", "h0", "c0"))
    y, _, _ = autograd_lstm(
        torch, x, kernel.T, recurrent_kernel.T, bias, None, gamma[1], gamma[0], gamma_h, beta_h, h0, c0, order="izfo"
    )
    y.backward(torch.from_numpy(case["dy"]))
    case["dh"][:] = case["dc"][:] = 0
    result = reference_layer_norm_lstm(case)
    found = {name: turned(result[name]) for name in ("dW", "dR", "db", "dgW", "dgR")} | {"y": result["y"]}
    expected = {"dW": kernel.grad.T, "dR": recurrent_kernel.grad.T, "db": bias.grad, "y": y.detach()}
    expected |= {"dgW": gamma.grad[0], "dgR": gamma.grad[1]}
    assert_close(found, {name: tensor.numpy() for name, tensor in expected.items()}, EXACT)


def test_full_gate_recurrence_is_refused():
    case = layer_norm_case("FGR", 2, 2, 3, 4)
    with pytest.raises(ValueError, match="FGR"):
        reference.layer_norm_lstm_forward(*(case[name] for name in LAYER_NORM_ARGUMENTS), "FGR")
