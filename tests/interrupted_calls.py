"""Long calls of every kind, which test_interrupts.py interrupts, each in a process of its own.

Portable C is slow, so that even small calls take long. CALLS[name](threads, long) returns a function without arguments,
which returns arrays; a long call would take seconds.
"""

import os
import signal
import threading
import time

import numpy as np

import fastlstm
from fastlstm import nn

LONG = 40
RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def arrays(result):
    """Return all arrays in a result."""
    if isinstance(result, np.ndarray):
        return [result]
    if isinstance(result, (tuple, list)):
        return [array for part in result for array in arrays(part)]
    if isinstance(result, dict):
        return [array for part in result.values() for array in arrays(part)]
    return [np.asarray(result)] if isinstance(result, float) else []


def layer_call(threads, T, B, I, H, long, kind=fastlstm.LSTM, lengths=False, **options):
    layer, x = kind(I, H, seed=0, **options), normal(T * LONG if long else T, B, I)
    given = np.linspace(0, len(x), B).astype(int) if lengths else None
    return lambda: layer(x, lengths=given, num_threads=threads)


def backward_call(threads, T, B, I, H, long, recompute=None, lengths=False, **options):
    layer, x = fastlstm.LSTM(I, H, seed=0, **options), normal(T * LONG if long else T, B, I)
    given = np.linspace(0, len(x), B).astype(int) if lengths else None
    y, _, tape = layer.forward(x, lengths=given, recompute=recompute)

    def run():
        grads = layer.backward(tape, y, num_threads=threads)
        return grads.flat, grads.x

    return run


def forward_call(threads, T, B, I, H, long):
    layer, x = fastlstm.LSTM(I, H, 2, seed=0), normal(T * LONG if long else T, B, I)
    return lambda: layer.forward(x, num_threads=threads)[:2]


def sequential_call(threads, T, B, I, H, long):
    model = nn.Sequential(fastlstm.LSTM(I, H, seed=0), nn.Dense(H, 3, seed=0))
    x = normal(T * LONG if long else T, B, I)

    def run():
        fastlstm.set_num_threads(threads)
        y, _, tape = model.forward(x)
        return y, model.backward(tape, y).flat

    return run


def tbptt_call(threads, T, B, I, H, long):
    layer, x = fastlstm.LSTM(I, H, seed=0), normal(T * LONG if long else T, B, I)

    def run():
        chunks = fastlstm.truncated_bptt(layer, x, 20, num_threads=threads)
        return [(chunk.y, chunk.backward(chunk.y).flat) for chunk in chunks]

    return run


def ctc_call(threads, long):
    logits, labels = normal(20000 if long else 1000, 4, 200), RNG.integers(1, 200, (4, 500))
    return lambda: nn.ctc_loss(logits, None, labels, None, num_threads=threads)


def beam_call(threads, long):
    logits = normal(20000 if long else 1000, 2, 200)
    return lambda: nn.ctc_beam_search(logits, beam_width=100, num_threads=threads)[0][0][0]


CALLS = {
    "by rows": lambda threads, long: layer_call(threads, 60, 32, 100, 256, long),
    "by units": lambda threads, long: layer_call(threads, 200, 1, 32, 800, long),
    "lengths": lambda threads, long: layer_call(threads, 120, 32, 100, 256, long, lengths=True),
    "two directions": lambda threads, long: layer_call(threads, 30, 32, 100, 256, long, bidirectional=True),
    "projection": lambda threads, long: layer_call(threads, 200, 2, 32, 800, long, proj_size=400),
    "zoneout": lambda threads, long: layer_call(threads, 60, 32, 100, 256, long, zoneout=(0.1, 0.1)),
    "FGR": lambda threads, long: layer_call(threads, 30, 16, 100, 200, long, variant="FGR"),
    "layer norm": lambda threads, long: layer_call(threads, 60, 32, 100, 256, long, layer_norm=True),
    "invariant": lambda threads, long: layer_call(threads, 60, 32, 100, 256, long, batch_invariant=True),
    "GRU": lambda threads, long: layer_call(threads, 60, 32, 100, 256, long, kind=fastlstm.GRU),
    "RNN": lambda threads, long: layer_call(threads, 120, 32, 100, 512, long, kind=fastlstm.RNN),
    "large steps": lambda threads, long: layer_call(threads, 1, 500, 500, 500, long),
    "forward": lambda threads, long: forward_call(threads, 40, 32, 100, 256, long),
    "backward": lambda threads, long: backward_call(threads, 40, 32, 100, 256, long),
    "backward by units": lambda threads, long: backward_call(threads, 100, 1, 32, 600, long),
    "backward, lengths": lambda threads, long: backward_call(threads, 60, 32, 100, 256, long, lengths=True),
    "recompute": lambda threads, long: backward_call(threads, 40, 32, 100, 256, long, recompute=10),
    "Sequential": lambda threads, long: sequential_call(threads, 30, 32, 100, 256, long),
    "truncated_bptt": lambda threads, long: tbptt_call(threads, 60, 32, 100, 256, long),
    "CTC": ctc_call,
    "beam search": beam_call,
}


class Signals:
    """Send SIGINT after some seconds, and tell how long ago that was."""

    def __init__(self, seconds):
        self.sent, self.seconds = 0.0, seconds

    def __enter__(self):
        self.thread = threading.Thread(target=self.send)
        self.thread.start()
        return self

    def send(self):
        time.sleep(self.seconds)
        self.sent = time.monotonic()
        os.kill(os.getpid(), signal.SIGINT)

    def __exit__(self, *_):
        self.thread.join()

    def ago(self):
        return time.monotonic() - self.sent


def stop(name, threads):
    """Interrupt a long call; assert that a short one, which shares only the pool with it, gives what it gave before."""
    short = CALLS[name](threads, False)
    expected = arrays(short())
    assert expected
    long = CALLS[name](threads, True)
    with Signals(0.05) as signals:
        try:
            long()
            print("not stopped")
        except KeyboardInterrupt:
            print("stopped" if 0 <= signals.ago() < 1 else f"stopped after {signals.ago():.1f} s")
    assert_equal(short(), expected)
    assert_equal(run_with_signals(short, lambda: None), expected)


def run_with_signals(call, handler):
    """Repeat a call until a signal has arrived during one, and return the last results; a signal calls `handler`."""
    handled = []

    def handle(number, frame):
        handled.append(threading.current_thread() is threading.main_thread())
        handler()

    signal.signal(signal.SIGALRM, handle)
    while not handled:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        found = call()
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert all(handled)
    return found


def assert_equal(found, expected):
    for a, b in zip(arrays(found), expected, strict=True):
        assert a.tobytes() == b.tobytes()
