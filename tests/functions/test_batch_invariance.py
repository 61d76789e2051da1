"""With `batch_invariant`, a row's results are bitwise the same among any other rows and with any number of threads."""

import numpy as np
import pytest
from cases import INITIAL, VARIANTS, options_case, row_case
from helpers import assert_close, assert_same, by_name, lstm_backward, lstm_forward
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import CELLS

from fastlstm import nn

# Sizes whose weights leave the cache, so that W x is a product of its own, and sizes whose weights do not; with a last
# panel of half a vector.
SIZES = [(3, 5), (6, 12), (6, 24), (17, 33), (40, 130), (300, 520)]


def converted(array, dtype):
    return array.astype(dtype) if isinstance(array, np.ndarray) and array.dtype == np.float64 else array


def row_results(case, options, row, steps, dtype, num_threads):
    """Return the results of one row, computed for that row alone without padding; of all rows for None."""
    case = {name: converted(array, dtype) for name, array in case.items()}
    options = dict(options)
    if "zoneout" in options:
        options["zoneout"] = tuple(converted(share, dtype) for share in options["zoneout"])
    if "recurrent_mask" in options:
        options["recurrent_mask"] = converted(options["recurrent_mask"], dtype)
    if row is not None:
        case, options = row_case(case, options, row, slice(steps))
    how = options | {"batch_invariant": True, "num_threads": num_threads}
    y, last, tape = lstm_forward(case, tape=True, **how)
    without_tape = lstm_forward(case, **how)[0]
    grads = lstm_backward(case, tape, num_threads=num_threads)
    sequences = {"y": y, "without tape": without_tape, "dx": grads.x}
    return sequences, by_name(last) | by_name(grads.state, INITIAL)


@settings(max_examples=120, deadline=None)
@given(
    variant=st.sampled_from(VARIANTS),
    names=st.sets(st.sampled_from(["reverse", "lengths", "reset", "mask", "zone_y", "zone_c", "proj", "clip"])),
    T=st.integers(1, 30),
    B=st.integers(2, 30),
    size=st.sampled_from(SIZES[:5]),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 1000),
    threads=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_a_row_alone_and_among_others(variant, names, T, B, size, dtype, seed, threads):
    check(variant, names, T, B, size, dtype, seed, threads)


@pytest.mark.parametrize("T", [1, 12])
@pytest.mark.parametrize("names", [set(), {"lengths", "reverse"}], ids=["plain", "lengths"])
@pytest.mark.parametrize("size", SIZES)
def test_every_instruction_set(size, names, T, isa):
    check("vanilla", names, T, 15, size, np.float32, 0, (1, 2))
    if size[1] < 500:
        check("FGR", names, T, 15, size, np.float32, 0, (1, 2))


def check(variant, names, T, B, size, dtype, seed, threads):
    case, options = options_case(variant, names, T=T, B=B, I=size[0], H=size[1], seed=seed)
    sequences, states = row_results(case, options, None, T, dtype, threads[0])
    for row in {0, seed % B, B - 1}:
        steps = int(options["lengths"][row]) if "lengths" in options else T
        alone_sequences, alone_states = row_results(case, options, row, steps, dtype, threads[1])
        assert_same({k: a[:, 0].copy() for k, a in alone_sequences.items()},
                    {k: a[:steps, row].copy() for k, a in sequences.items()})  # fmt: skip
        assert_same({k: a[0] for k, a in alone_states.items()}, {k: a[row] for k, a in states.items()})


@pytest.mark.parametrize("kind", CELLS)
def test_networks(kind):
    network = kind(5, 19, 2, bidirectional=True, batch_invariant=True, seed=0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((9, 30, 5)).astype(np.float32)
    lengths = rng.integers(1, 10, 30)
    y, _, tape = network.forward(x, lengths=lengths)
    dx = network.backward(tape, y).x
    for row, length in enumerate(lengths):
        alone = network.forward(x[:length, [row]].copy())
        assert alone[0].tobytes() == y[:length, [row]].tobytes()
        assert network.backward(alone[2], alone[0]).x.tobytes() == dx[:length, [row]].tobytes()


@pytest.mark.parametrize("kind", CELLS)
def test_steps(kind):
    network = kind(5, 19, 2, batch_invariant=True, seed=0)
    x = np.random.default_rng(0).standard_normal((30, 5)).astype(np.float32)
    y, _ = network.step(x)
    for row in range(30):
        assert network.step(x[[row]])[0].tobytes() == y[[row]].tobytes()
    assert network(x[np.newaxis])[0].tobytes() == y.tobytes()
    assert "batch_invariant=True" in repr(network)


@pytest.mark.parametrize("kind", CELLS)
def test_what_comes_after_is_close_and_alone_the_same(kind):
    """The promise is the recurrent layer's: a dense layer above it gives the same bits for a row at a time."""
    network = nn.Sequential(kind(5, 130, batch_invariant=True, seed=0), nn.Last(), nn.Dense(130, 33, seed=1))
    recurrent, _, dense = network.layers
    x = np.random.default_rng(0).standard_normal((9, 70, 5)).astype(np.float32)
    y, _ = network(x)
    h = recurrent(x)[0][-1]
    for row in range(70):
        alone = recurrent(x[:, [row]])[0][-1]
        assert alone.tobytes() == h[[row]].tobytes()
        assert dense(alone).tobytes() == dense(h[[row]]).tobytes() == network(x[:, [row]])[0].tobytes()
    assert_close({"y": np.concatenate([dense(h[[row]]) for row in range(70)])}, {"y": y}, 1e-6)
