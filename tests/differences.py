"""Finite differences in float64, and the gradients of a result against them."""

import numpy as np

# The stencil's error is about STEP^4 / 30 times a fifth derivative, 1e-12 or less, and rounding 1e-16 |J| / STEP.
STEP = 1e-3
TOLERANCE = 1e-9


def derivative(J, case, name, direction, step=STEP):
    """Return the derivative of J along a direction of one argument, by fourth-order central differences."""
    at = {k: J(case | {name: case[name] + k * step * direction}) for k in (-2, -1, 1, 2)}
    return (at[-2] - 8 * at[-1] + 8 * at[1] - at[2]) / (12 * step)


def every_entry(J, case, name, step=STEP):
    gradient = np.empty_like(case[name])
    for index in np.ndindex(gradient.shape):
        direction = np.zeros_like(gradient)
        direction[index] = 1
        gradient[index] = derivative(J, case, name, direction, step)
    return gradient


def check_every_entry(J, case, result, arguments, step=STEP, tolerance=TOLERANCE):
    for name in arguments:
        if case[name] is None:
            continue
        numeric, scale = every_entry(J, case, name, step), np.abs(result[f"d{name}"]).max()
        assert scale > 0, f"d{name} is zero"
        assert np.abs(result[f"d{name}"] - numeric).max() <= tolerance * scale, f"d{name}"


def check_directions(J, case, result, arguments, step=STEP, tolerance=TOLERANCE, directions=4, entries=6):
    rng = np.random.default_rng(1)
    for name in arguments:
        if case[name] is None:
            continue
        gradient = result[f"d{name}"]
        for _ in range(directions):
            direction = rng.standard_normal(gradient.shape)
            direction /= np.linalg.norm(direction)
            error = np.sum(gradient * direction) - derivative(J, case, name, direction, step)
            assert abs(error) <= tolerance * np.linalg.norm(gradient), f"d{name}"
        for k in rng.choice(gradient.size, min(entries, gradient.size), replace=False):
            direction = np.zeros_like(gradient)
            direction.flat[k] = 1
            error = gradient.flat[k] - derivative(J, case, name, direction, step)
            assert abs(error) <= tolerance * np.abs(gradient).max(), f"d{name}[{k}]"


def central_difference(f, array, step=1e-6):
    """Return the gradient of f with respect to an array, element by element."""
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + step
        above = f()
        array[index] = value - step
        gradient[index] = (above - f()) / (2 * step)
        array[index] = value
    return gradient
