"""Processes at their limits: of memory, of the size of files, of threads; sizes that no memory has."""

import numpy as np
import pytest
from programs import linux, run, unix

import fastlstm
from fastlstm import GRU, LSTM, RNN, nn

ADDRESSES = """
    import copy, pickle, resource, sys
    import numpy as np
    import fastlstm
    from fastlstm import LSTM, RNN, Frozen, Stream, nn

    MB = 1 << 20
    name, folder = sys.argv[1:]
    file, other = folder + "/network", folder + "/other"
    rng = np.random.default_rng(0)
    lstm = LSTM(64, 128, num_layers=2, seed=0)
    rnn = RNN(64, 128, seed=0)
    network = nn.Sequential(LSTM(64, 128, seed=0), nn.Dense(128, 64, seed=1))
    x = rng.normal(size=(128, 64, 64)).astype(np.float32)
    lengths = rng.integers(1, 129, 64)
    tape = lstm.forward(x)[2]
    dy = rng.normal(size=(128, 64, 128)).astype(np.float32)
    big = nn.Dense(2048, 1024, seed=0)
    many = rng.normal(size=(1024, 64, 64)).astype(np.float32)
    fastlstm.save(big, file)
    fastlstm.save(lstm, other)
    with open(other, "rb") as opened:
        before = opened.read()

    def save():
        fastlstm.save(big, other)
        fastlstm.save(lstm, other)
        return lstm.flat

    work = {
        "call": lambda: lstm(x)[0],
        "lengths": lambda: lstm(x, lengths=lengths)[0],
        "forward": lambda: lstm.forward(x)[0],
        "recompute": lambda: lstm.forward(x, recompute=8)[0],
        "backward": lambda: lstm.backward(tape, dy).flat,
        "deltas": lambda: lstm.backward(tape, dy, deltas=True).flat,
        "rnn": lambda: rnn.backward(rnn.forward(x)[2], dy).flat,
        "network": lambda: network.backward(network.forward(x)[2], x).flat,
        "predict": lambda: network.predict(list(many.swapaxes(0, 1))),
        "frozen": lambda: Frozen(lstm, "int8")(x)[0],
        "stream": lambda: Stream(lstm, 8192).step(np.ones((8192, 64), np.float32)),
        "softmax": lambda: nn.softmax_cross_entropy(x, np.zeros((128, 64), np.int64))[1],
        "optimiser": lambda: nn.Adam(big.flat).state()["m"],
        "LSTM": lambda: LSTM(256, 512, seed=0).flat,
        "Dense": lambda: nn.Dense(2048, 1024, seed=0).flat,
        "Embedding": lambda: nn.Embedding(10_000, 200, seed=0).flat,
        "Attention": lambda: nn.Attention(1000, 1000, 1000, seed=0).flat,
        "Sequential": lambda: nn.Sequential(nn.Dense(1024, 1024, seed=0), nn.Dense(1024, 1024, seed=1)).flat,
        "copy": lambda: copy.deepcopy(big).flat,
        "pickle": lambda: pickle.loads(pickle.dumps(big)).flat,
        "load": lambda: fastlstm.load(file).flat,
        "load_extra": lambda: fastlstm.load_extra(file) or lstm.flat,
        "save": save,
    }[name]
    models = lstm, rnn, network, big
    flats = [model.flat.copy() for model in models]
    expected = np.array(work())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    refused = done = 0
    for size in [k * MB // 2 for k in (1, 2, 4, 8, 12, 16, 24, 32, 64, 128, 1024)]:
        with open("/proc/self/statm") as opened:
            used = int(opened.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + size, hard))
        try:
            found = work()
        except MemoryError:
            refused += 1
            found = None
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        if found is not None:
            done += 1
            assert np.array_equal(found, expected)
        for model, flat in zip(models, flats):
            assert np.array_equal(model.flat, flat)
        with open(other, "rb") as opened:
            assert opened.read() == before or name == "save"
    assert np.array_equal(work(), expected)
    assert fastlstm.load(file).flat.tobytes() == big.flat.tobytes()
    print(refused, done)
"""
NAMES = [line.split('"')[1] for line in ADDRESSES.splitlines() if line.startswith('        "')]


@linux
@pytest.mark.parametrize("name", NAMES)
def test_little_memory(tmp_path, name):
    """MemoryError, and then all is as it was; or the same result. Nothing ends or hangs the process.

    But OpenBLAS does: it ends the process itself where there is no memory to divide a product among its threads.
    """
    alone = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}  # so that freed memory is given back
    refused, done = map(int, run(ADDRESSES, name, tmp_path, **alone).split())
    assert refused + done == 11
    assert done > 0
    assert refused > 0


@unix
def test_files_that_may_not_be_so_large(tmp_path):
    """As on a full disk: OSError, the old file stays, and nothing beside it."""
    program = """
    import errno, os, resource, sys, warnings
    import numpy as np
    import fastlstm
    from fastlstm import nn

    path = sys.argv[1]
    small, large = nn.Dense(1, 1, seed=0), nn.Dense(300, 300, seed=0)
    fastlstm.save(small, path)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    for size in (0, 1, 1000, 5000, 360_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            fastlstm.save(large, path)
        except OSError as error:
            assert (error.errno, error.filename) == (errno.EFBIG, path), error
        else:
            raise AssertionError(size)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert fastlstm.load(path).flat.tobytes() == small.flat.tobytes()
        assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
    fastlstm.save(large, path)
    assert fastlstm.load(path).flat.tobytes() == large.flat.tobytes()
    """
    run(program, tmp_path / "network")


@linux
def test_no_threads_to_be_had():
    """As many as there are do the work, the same bits. Root has no limit, so that the process gives up being root."""
    program = """
    import hashlib, os, resource, threading
    import numpy as np
    import fastlstm
    from fastlstm import nn

    lstm = fastlstm.LSTM(64, 128, seed=0)
    x = np.random.default_rng(0).normal(size=(20, 64, 64)).astype(np.float32)

    def work():
        y, _, tape = lstm.forward(x, num_threads=4)
        flat = lstm.backward(tape, y, num_threads=4).flat
        return hashlib.sha256(y.tobytes() + flat.tobytes()).digest()

    read, write = os.pipe()
    child = os.fork()  # before there are threads in the pool
    if child == 0:
        os.write(write, work())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    expected = os.read(read, 32)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    try:
        threading.Thread(target=print).start()
    except RuntimeError:
        pass
    else:
        raise AssertionError("a thread could be started")
    assert work() == expected
    """
    run(program)


LARGE = [10**6, 10**9, 2**31, 2**32, 2**40, 2**62, 2**63, 2**64, 10**30]


@pytest.mark.parametrize("size", LARGE)
@pytest.mark.parametrize(
    "make",
    [
        lambda n: LSTM(n, n),
        lambda n: LSTM(n, n, dtype=np.float64, num_layers=2, bidirectional=True),
        lambda n: LSTM(n, n, variant="FGR"),
        lambda n: LSTM(n, n, proj_size=n - 1),
        lambda n: LSTM(n, n, layer_norm=True),
        lambda n: GRU(n, n),
        lambda n: RNN(n, n),
        lambda n: nn.Dense(n, n),
        lambda n: nn.Embedding(n, n),
        lambda n: nn.Attention(n, n, n),
        lambda n: nn.Decoder(n, n, n, encoded_size=n),
        lambda n: fastlstm.saving.build({"type": "LSTM", "input_size": n, "hidden_size": n}),
    ],
    ids=[
        "LSTM",
        "stack",
        "FGR",
        "projection",
        "layer norm",
        "GRU",
        "RNN",
        "Dense",
        "Embedding",
        "Attention",
        "Decoder",
        "build",
    ],
)
def test_layers_that_no_memory_has(make, size):
    with pytest.raises(MemoryError, match=r"^\w+ would have \d+ parameters: there is no memory for them"):
        make(size)


@pytest.mark.parametrize("size", [2**16 + 1, *LARGE])
@pytest.mark.parametrize(
    "make",
    [
        lambda n: LSTM(1, 1, n),
        lambda n: RNN(1, 1, n),
        lambda n: nn.Decoder(1, 1, 1, n, encoded_size=1),
    ],
    ids=["LSTM", "RNN", "Decoder"],
)
def test_layers_that_nobody_has(make, size):
    with pytest.raises(ValueError, match="num_layers must be at most 65536"):
        make(size)


# ---- how much memory it takes at most ----

PEAKS = """
    import copy, pickle, sys
    import numpy as np
    import fastlstm
    from fastlstm import nn

    name, file = sys.argv[1:]
    MB = 1 << 20
    SIZE = 64 * MB // 4 // 2048 - 1  # 64 MB of parameters

    def most():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024

    def now():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) * 1024

    made = nn.Dense(SIZE, 2048, seed=0) if name in ("save", "copy", "pickle", "to", "Sequential") else None
    fastlstm.save(nn.Dense(1, 1, seed=0), file + ".small")
    fastlstm.load(file + ".small")
    if name == "prepare":
        fastlstm.save(nn.Dense(SIZE, 2048, seed=0), file)
        sys.exit()
    work = {
        "Dense": lambda: nn.Dense(SIZE, 2048, seed=0),
        "LSTM": lambda: fastlstm.LSTM(1047, 2048 // 2, num_layers=2, seed=0),
        "Embedding": lambda: nn.Embedding(SIZE, 2048, seed=0),
        "Attention": lambda: nn.Attention(SIZE // 2, SIZE // 2, 2048, seed=0),
        "float64": lambda: nn.Dense(SIZE // 2, 2048, seed=0, dtype=np.float64),
        "Sequential": lambda: nn.Sequential(made),
        "load": lambda: fastlstm.load(file),
        "load_extra": lambda: fastlstm.load_extra(file),
        "save": lambda: fastlstm.save(made, file),
    }[name]
    with open("/proc/self/clear_refs", "w") as status:
        status.write("5")  # VmHWM begins anew
    before = now()
    kept = work()
    print((most() - before) / (64 * MB))
"""


@linux
@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("Dense", 1.1),
        ("LSTM", 1.1),
        ("Embedding", 1.1),
        ("Attention", 1.1),
        ("float64", 1.1),
        ("Sequential", 1.1),  # beside the layer itself, until it has moved
        ("load", 2.2),
        ("load_extra", 1.2),
        ("save", 1.2),  # a copy, which nobody can change while it is written
    ],
)
def test_memory_at_most(tmp_path, name, limit):
    """In sizes of the parameters. They were drawn as float64 at once, and copied three times by `save` and `load`."""
    if name.startswith("load"):
        run(PEAKS, "prepare", tmp_path / "network")
    assert float(run(PEAKS, name, tmp_path / "network")) < limit


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", [0, 1])
def test_drawn_in_parts_or_at_once_the_parameters_are_the_same(dtype, seed):
    """Bit for bit: those of 0.1.0, which drew them all at once."""

    def drawn(rng, n, size):
        return rng.uniform(-1 / np.sqrt(n), 1 / np.sqrt(n), size).astype(dtype)

    attention = nn.Attention(300, 400, 200, dtype=dtype, seed=seed)
    rng = np.random.default_rng(seed)
    expected = np.concatenate([drawn(rng, n, size) for n, size in ((300, 60_000), (400, 80_000), (200, 200))])
    assert attention.flat.tobytes() == expected.tobytes()
    for layer, n in (
        (nn.Dense(300, 700, dtype=dtype, seed=seed), 300),
        (nn.Embedding(500, 400, dtype=dtype, seed=seed), 400),
        (GRU(300, 200, dtype=dtype, seed=seed), 200),
        (RNN(300, 200, num_layers=2, dtype=dtype, seed=seed), 200),
        (LSTM(100, 150, dtype=dtype, seed=seed), 150),
    ):
        expected = drawn(np.random.default_rng(seed), n, layer.flat.size)
        if isinstance(layer, LSTM):
            start = layer.flat.size - 3 * n - 4 * n + n  # of b's second block: p is the last
            expected[start : start + n] = 1
        assert layer.flat.tobytes() == expected.tobytes()


def test_a_generator_goes_on_after_what_it_has_drawn():
    rng, other = np.random.default_rng(0), np.random.default_rng(0)
    size = nn.Dense(300, 700, seed=rng).flat.size
    other.uniform(-1, 1, size)
    assert rng.random() == other.random()
