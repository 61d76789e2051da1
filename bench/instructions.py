"""Count the instructions of a call, which a busy machine does not change, with valgrind.

    python bench/instructions.py                                # needs Linux, valgrind and a C compiler; three minutes
    python bench/instructions.py --json now.json
    python bench/instructions.py --json now.json --before then.json
    python bench/instructions.py --only backward

The second command keeps the counts, the third compares them with those of another build, the fourth counts the calls
that have a word in their name. The instruction set is AVX2,
the most that valgrind knows, and all calls use one thread.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

CALLS = 50
SETTINGS = {"FASTLSTM_ISA": "avx2", "FASTLSTM_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}

MARK = """
#include <valgrind/callgrind.h>

/* Write what has been counted since the last mark. */
void mark(void) { CALLGRIND_DUMP_STATS; }
"""

IN_C = """
#include <stdlib.h>
#include <valgrind/callgrind.h>
#include <fastlstm/fastlstm.h>

enum { T = 10, B = 2, H = 64 };

#define COUNT(call)                           \\
    for (int k = 0; k <= CALLS; k++) {        \\
        if (k == 1) CALLGRIND_DUMP_STATS;     \\
        if (call) return 1;                   \\
    }                                         \\
    CALLGRIND_DUMP_STATS;

int main(void) {
    const fastlstm_layer lstm = {.kind = FASTLSTM_LSTM, .units = H, .peephole = 1};
    const fastlstm_network network = {
        .version = FASTLSTM_C_VERSION, .dtype = FASTLSTM_FLOAT32, .inputs = H, .layer_count = 1, .layers = &lstm,
        .training = 1};
    const size_t bytes = fastlstm_plan_bytes(&network);
    fastlstm_plan *plan;
    if (fastlstm_make_plan(&network, malloc(bytes), bytes, &plan)) return 1;
    const size_t count = fastlstm_parameter_count(plan);
    float *parameters = calloc(count, sizeof(float)), *gradients = calloc(count, sizeof(float));
    static float x[T * B * H], dx[T * B * H], y[T * B * H], dy[T * B * H], state[2 * B * H];
    if (fastlstm_set_parameters(plan, parameters, count)) return 1;
    void *workspace = malloc(fastlstm_workspace_bytes(plan, T, B)), *tape = malloc(fastlstm_tape_bytes(plan, T, B));
    COUNT(fastlstm_step(plan, 1, x, state, y, workspace))
    COUNT(fastlstm_forward(plan, T, B, x, NULL, y, state, NULL, workspace))
    COUNT(fastlstm_forward(plan, T, B, x, NULL, y, state, tape, workspace))
    COUNT(fastlstm_backward(plan, T, B, x, y, tape, dy, NULL, dx, NULL, gradients, 0, workspace))
    return 0;
}
"""
CASES_IN_C = ["step", "forward", "forward, tape", "backward"]


def cases() -> dict[str, Callable[[], object]]:
    """Small calls of each kind, by name."""
    import numpy as np

    import fastlstm
    from fastlstm import nn

    T, B, I, H = 10, 2, 8, 16
    x = np.random.default_rng(0).normal(size=(T, B, I)).astype(np.float32)
    lengths = [T, 3]
    lstm = fastlstm.LSTM(I, H, seed=0)
    stack = fastlstm.LSTM(I, H, 2, bidirectional=True, dropout=0.5, seed=0)
    weights = [lstm.params[name] for name in ("W_l0", "R_l0", "b_l0", "p_l0")]
    y, state, tape = lstm.forward(x)
    grads = lstm.backward(tape, y)
    lengths_tape = lstm.forward(x, lengths=lengths)[2]
    function_tape = fastlstm.lstm_forward(x, *weights, tape=True)[2]
    larger, larger_x = fastlstm.LSTM(64, 64, seed=0), np.ones((20, 16, 64), np.float32)
    _, _, larger_tape = larger.forward(larger_x)
    rng = np.random.default_rng(0)
    _, _, stack_tape = stack.forward(x, rng=rng)
    masks, dy_stack = stack_tape.masks, np.ones((T, B, 2 * H), np.float32)
    step_out = np.empty((B, H), np.float32), tuple(np.zeros((1, B, H), np.float32) for _ in range(2))
    stream, many = fastlstm.Stream(lstm, B), fastlstm.Stream(lstm, 128)
    many_x = np.zeros((128, I), np.float32)
    frozen = fastlstm.Frozen(lstm, "int8")
    frozen_stream, frozen_many = fastlstm.Stream(frozen, B), fastlstm.Stream(frozen, 128)
    rnn = fastlstm.RNN(I, H, seed=0)
    rnn_weights = [rnn.params[name] for name in ("W_l0", "R_l0", "b_l0")]
    rnn_tape = fastlstm.rnn_forward(x, *rnn_weights, tape=True)[2]
    model = nn.Sequential(fastlstm.LSTM(I, H, seed=0), nn.Last(), nn.Dense(H, 3, seed=0))
    adam, gradient = nn.Adam(model.flat), np.ones_like(model.flat)
    logits, labels = np.zeros((B, 3), np.float32), np.zeros(B, np.int64)
    batches = nn.Batches([x[:, 0], x[:, 1]], labels, B)

    def fit() -> object:
        return nn.fit(model, nn.softmax_cross_entropy, batches, optimiser=adam, epochs=4, clip=1.0, progress=False)

    return {
        "lstm(x)": lambda: lstm(x),
        "lstm(x, lengths)": lambda: lstm(x, lengths=lengths),
        "lstm.forward": lambda: lstm.forward(x),
        "lstm.forward, tape given": lambda: lstm.forward(x, tape=tape),
        "lstm.backward": lambda: lstm.backward(tape, y),
        "lstm.backward, out given": lambda: lstm.backward(tape, y, out=grads),
        "lstm.forward, lengths": lambda: lstm.forward(x, lengths=lengths),
        "lstm.backward, lengths": lambda: lstm.backward(lengths_tape, y),
        "lstm.forward, H = 64": lambda: larger.forward(larger_x),
        "lstm.backward, H = 64": lambda: larger.backward(larger_tape, larger_x),
        "stack.forward, masks given": lambda: stack.forward(x, masks=masks),
        "stack.backward": lambda: stack.backward(stack_tape, dy_stack),
        "lstm_forward": lambda: fastlstm.lstm_forward(x, *weights),
        "lstm_forward, tape": lambda: fastlstm.lstm_forward(x, *weights, tape=True),
        "lstm_backward": lambda: fastlstm.lstm_backward(function_tape, weights[0], weights[1], weights[3], y),
        "rnn_forward, tape": lambda: fastlstm.rnn_forward(x, *rnn_weights, tape=True),
        "rnn_backward": lambda: fastlstm.rnn_backward(rnn_tape, *rnn_weights[:2], y),
        "lstm.step": lambda: lstm.step(x[0], state, step_out),
        "Stream.step, 2 rows": lambda: stream.step(x[0]),
        "Stream.step, 128 rows": lambda: many.step(many_x),
        "Stream.step, 2 rows, int8": lambda: frozen_stream.step(x[0]),
        "Stream.step, 128 rows, int8": lambda: frozen_many.step(many_x),
        "Frozen(x), int8": lambda: frozen(x),
        "rnn(x)": lambda: rnn(x),
        "Sequential(x)": lambda: model(x),
        "Adam.step": lambda: adam.step(gradient),
        "softmax_cross_entropy": lambda: nn.softmax_cross_entropy(logits, labels),
        "fit, 4 steps": fit,
    }


def chosen(only: str) -> dict[str, Callable[[], object]]:
    """Return the calls with a word in their name."""
    return {name: call for name, call in cases().items() if only in name}


def run_marked(library: str, only: str) -> None:
    """Make the calls of each case between two marks; this is what runs under valgrind."""
    mark = ctypes.CDLL(library).mark
    gc.disable()  # as timeit does: when a collection comes, and what it costs, depends on what else is in memory
    for call in [lambda: None, *chosen(only).values()]:
        for _ in range(3):
            call()
        mark()
        for _ in range(CALLS):
            call()
        mark()


def counted(command: list[str], folder: Path) -> list[int]:
    """Return the instructions a command takes between its first and second mark, its third and fourth, and so on."""
    options = ["--tool=callgrind", f"--callgrind-out-file={folder / 'out'}"]
    result = subprocess.run(
        ["valgrind", *options, *command], env=os.environ | SETTINGS, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise SystemExit(f"valgrind failed:\n{result.stderr[-2000:]}")
    dumps = sorted(folder.glob("out.*"), key=lambda path: int(path.suffix[1:]))
    totals = []
    for path in dumps:
        found = re.search(r"^(?:totals|summary): (\d+)", path.read_text(), re.MULTILINE)
        assert found is not None
        totals.append(int(found[1]))
        path.unlink()
    return totals[1::2]


def count(only: str) -> dict[str, int]:
    """Return the instructions of each call with a word in its name."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "mark.c").write_text(MARK)
        library = str(folder / "mark.so")
        subprocess.run(["cc", "-shared", "-fPIC", str(folder / "mark.c"), "-o", library], check=True)
        nothing, *calls = counted([sys.executable, __file__, "--marked", library, "--only", only], folder)
        counts = {case: (total - nothing) // CALLS for case, total in zip(chosen(only), calls, strict=True)}
        (folder / "calls.c").write_text(IN_C)
        flags = subprocess.run(
            [sys.executable, "-m", "fastlstm", "--cflags", "--libs"], capture_output=True, text=True, check=True
        ).stdout.split()
        program = str(folder / "calls")
        subprocess.run(["cc", "-O2", f"-DCALLS={CALLS}", str(folder / "calls.c"), *flags, "-o", program], check=True)
        totals = zip(CASES_IN_C, counted([program], folder), strict=True)
        in_c = {f"fastlstm_{case} in C, H = 64": total // CALLS for case, total in totals}
        return counts | {case: total for case, total in in_c.items() if only in case}


def main() -> None:
    """Print the counts, and keep or compare them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts to a file")
    parser.add_argument("--before", type=Path, metavar="FILE", help="compare with the counts in a file")
    parser.add_argument("--only", default="", metavar="WORD", help="count the calls that have this in their name")
    parser.add_argument("--marked", metavar="LIBRARY", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.marked:
        run_marked(given.marked, given.only)
        return
    counts = count(given.only)
    before = json.loads(given.before.read_text()) if given.before else {}
    print("| instructions of a call |" + (" before | now | change |" if before else " now |"))
    print("| --- |" + " ---: |" * (3 if before else 1))
    for case, now in counts.items():
        then = before.get(case)
        print(f"| {case} |" + (f" {then:,} | {now:,} | {now / then - 1:+.1%} |" if then else f" {now:,} |"))
    if given.json:
        given.json.write_text(json.dumps(counts, indent=1) + "\n")


if __name__ == "__main__":
    main()
