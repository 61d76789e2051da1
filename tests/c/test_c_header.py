"""Networks as C headers: programs with them compute what Python does, and what C cannot do is refused by name."""

import re
import subprocess
import sys

import numpy as np
import pytest
from c_interface import C, plan_of
from cases import C_ISAS
from compiled import CC, CXX, ROOT, WARNINGS, compiled, flags, needs_cc, needs_cxx, run

import fastlstm
from fastlstm import nn
from fastlstm.c_layers import described

T = 11


def lstm(*sizes, **options):
    return fastlstm.LSTM(*sizes, seed=0, **options)


def seq(*layers):
    return nn.Sequential(*layers)


NETWORKS = {
    "lstm": lambda: lstm(3, 5),
    "no_peepholes": lambda: lstm(3, 5, peephole=False),
    "stacked": lambda: lstm(3, 17, num_layers=3, dropout=0.5),
    "normalised": lambda: lstm(3, 7, layer_norm=True, peephole=True),
    "normalised_cifg": lambda: lstm(3, 7, layer_norm=True, peephole=False, variant="CIFG"),
    "clipped": lambda: lstm(3, 5, clip=0.75, cell_clip=1 / 3),
    "activated": lambda: lstm(3, 5, activations=("hard_logistic", "relu", "identity")),
    "keras": lambda: lstm(3, 5, num_layers=2, activations=(("hard_logistic", 1 / 6, 0.5), "tanh", "tanh")),
    "own_constants": lambda: seq(
        nn.Dense(3, 4, seed=0),
        fastlstm.RNN(4, 5, nonlinearity=("hard_logistic", 1.5, -0.25), seed=0),
        fastlstm.GRU(5, 6, activations=(("hard_logistic", 0.3, 1 / 3), "relu"), reset_after=False, seed=0),
        nn.Last(),
        nn.Dense(6, 2, seed=1),
    ),
    "gru_activated": lambda: fastlstm.GRU(3, 6, activations=("hard_logistic", "identity"), seed=0),
    **{
        variant.lower(): lambda variant=variant: lstm(3, 5, variant=variant)
        for variant in ("NIG", "NFG", "NOG", "NIAF", "NOAF", "NP", "CIFG")
    },
    "gru": lambda: fastlstm.GRU(3, 6, seed=0),
    "gru_before": lambda: fastlstm.GRU(3, 6, num_layers=2, reset_after=False, seed=0),
    "rnn": lambda: fastlstm.RNN(3, 6, seed=0),
    "relu": lambda: fastlstm.RNN(3, 6, nonlinearity="relu", seed=0),
    "dense": lambda: nn.Dense(3, 2, activation="tanh", seed=0),
    "many_rows": lambda: seq(nn.Dense(3, 70, activation="relu", seed=0), lstm(70, 40), nn.Dense(40, 65, seed=1)),
    "double": lambda: seq(lstm(3, 5, dtype=np.float64), nn.Dense(5, 2, dtype=np.float64, seed=1)),
    "nested": lambda: seq(seq(lstm(3, 5), nn.Dropout(0.5)), nn.Identity(), seq(nn.Dense(5, 2, seed=1))),
    "bidirectional": lambda: seq(lstm(3, 5, num_layers=2, bidirectional=True), nn.Dense(10, 2, seed=1)),
    "last": lambda: seq(lstm(3, 5), nn.Last()),
    "last_dense": lambda: seq(lstm(3, 5), nn.Last(), nn.Dropout(0.1), nn.Dense(5, 9, seed=1), nn.Dense(9, 2, seed=2)),
    "last_of_both": lambda: seq(fastlstm.GRU(3, 5, bidirectional=True, seed=0), nn.Last()),
    "last_of_both_dense": lambda: seq(lstm(3, 5, bidirectional=True), nn.Last(), nn.Dense(10, 4, seed=1)),
    "last_of_dense": lambda: seq(lstm(3, 5, bidirectional=True), nn.Dense(10, 4, seed=1), nn.Last()),
    "softmax": lambda: seq(lstm(3, 5), nn.Dense(5, 4, seed=1), nn.Activation("softmax")),
    "softmax_of_last": lambda: seq(
        lstm(3, 5, dtype=np.float64),
        nn.Last(),
        nn.Dense(5, 8, dtype=np.float64, seed=1), nn.Activation("relu"),
        nn.Dense(8, 4, dtype=np.float64, seed=1), nn.Activation("softmax"),
    ),
    "letters": lambda: seq(nn.Embedding(9, 6, seed=0), lstm(6, 5), nn.Dense(5, 9, seed=1)),
    "words": lambda: seq(
        nn.Embedding(7, 4, seed=0), fastlstm.RNN(4, 5, bidirectional=True, seed=0), nn.Last(), nn.Dense(10, 3, seed=1)
    ),
}  # fmt: skip

DRIVER = """
#include <stdio.h>
#include <stdlib.h>

#define PRINT(values) fwrite(values, sizeof values, 1, stdout)
#define RUN(name) if (run_##name()) return 1
"""

LOOK_UP = """
    static const int ids[{T}] = {{{ids}}};
    {real} x[{T} * {N}_INPUTS];
    if ({n}_vectors({T}, ids, x) || {n}_vector(-1) || {n}_vector({N}_IDS)) return 1;
"""

STEPS = """
    static {n}_stream stream;
    for (int t = 0; t < {T}; t++) {{
        {real} y[{N}_OUTPUTS];
        if ({n}_step(&network, &stream, x + t * {N}_INPUTS, y)) return 1;
        PRINT(y);
    }}
"""

ONE = """
static int run_{n}(void) {{
    static {n}_network network;
    {x}
    {real} y[{rows} * {N}_OUTPUTS];
    void *workspace;
    if ({n}_plan(&network)) return 1;
    PRINT({n}_parameters);
    {steps}
    workspace = malloc({n}_workspace_bytes(&network, {T}));
    if ({n}_forward(&network, {T}, x, {sequence}y, workspace)) return 1;
    free(workspace);
    PRINT(y);
    return 0;
}}
"""


@pytest.fixture(scope="module")
def networks():
    made = {name: make() for name, make in NETWORKS.items()}
    rng = np.random.default_rng(5)
    for (
        one
    ) in made.values():  # Powers of ten from the smallest denormal number, which decimal numbers are not short for.
        one.flat[::7] *= rng.choice(10.0 ** np.arange(-45, 1), one.flat[::7].shape).astype(one.dtype)
    return made


def input_of(one):
    """The inputs of T steps of one sequence: ids, or vectors."""
    rng = np.random.default_rng(1)
    vocabulary = described(one).vocabulary
    if vocabulary:
        return rng.integers(0, vocabulary, (T, 1))
    return rng.normal(size=(T, 1, described(one).body.inputs)).astype(one.dtype)


def text_of(x):
    return ", ".join(repr(float(value)) for value in x.ravel())


def program_of(made):
    """A program that prints the parameters of all networks, the outputs of their steps, and of a whole sequence."""
    text = ["".join(f'#include "{name}.h"\n' for name in made), DRIVER]
    for name, one in made.items():
        found, x = described(one), input_of(one)
        words = {"n": name, "N": name.upper(), "T": T, "real": found.dtype, "ids": ", ".join(map(str, x.ravel()))}
        given = LOOK_UP if found.vocabulary else f"static const {found.dtype} x[] = {{{text_of(x)}}};"
        sequence = f"({found.dtype}[{T} * {name.upper()}_FEATURES]){{0}}, " if found.last else ""
        words |= {"x": given.format(**words) if found.vocabulary else given, "sequence": sequence}
        words |= {"steps": "" if found.body.bidirectional else STEPS.format(**words), "rows": 1 if found.last else T}
        text.append(ONE.format(**words))
    runs = "".join(f"    RUN({name});\n" for name in made)
    return "".join(text) + f"int main(void) {{\n{runs}    return 0;\n}}\n"


@pytest.fixture(scope="module")
def printed(networks, tmp_path_factory):
    """What the program prints of each network: parameters, steps or None, and the outputs of the sequence."""
    folder = tmp_path_factory.mktemp("headers")
    for name, one in networks.items():
        fastlstm.export_c(one, folder / f"{name}.h")
    source = folder / "program.c"
    source.write_text(program_of(networks))
    program = folder / "program"
    run(CC, "-std=c99", *WARNINGS, source, *flags("--cflags", "--libs"), "-o", program)
    done = subprocess.run([program], stdout=subprocess.PIPE, timeout=60, check=True)
    found, start = {}, 0
    for name, one in networks.items():
        network, arrays = described(one), []
        outputs = network.outputs
        sizes = (one.flat.size, 0 if network.body.bidirectional else T * outputs, (1 if network.last else T) * outputs)
        for size in sizes:
            arrays.append(np.frombuffer(done.stdout, one.dtype, size, start))
            start += arrays[-1].nbytes
        found[name] = arrays
    assert start == len(done.stdout)
    return found


@needs_cc
@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_are_those_of_the_network_to_the_bit(name, networks, printed):
    assert printed[name][0].tobytes() == networks[name].flat.tobytes()


@needs_cc
@pytest.mark.parametrize("name", NETWORKS)
def test_a_program_computes_what_the_network_does(name, networks, printed):
    one, (_, steps, sequence) = networks[name], printed[name]
    x = input_of(one)
    y = one(x)
    y = y[0] if isinstance(y, tuple) else y
    tolerance = {"atol": 1e-13 if one.dtype == np.float64 else 1e-6, "rtol": 0}
    np.testing.assert_allclose(sequence, y.ravel(), **tolerance)
    if steps.size:
        np.testing.assert_allclose(steps[-y.size :], y.ravel(), **tolerance)


@needs_cc
@pytest.mark.parametrize("name", [name for name in NETWORKS if not re.search("last|soft|words|letters|own", name)])
def test_a_program_has_the_bits_of_the_c_interface(name, networks, printed):
    """In the installed package, whose kernels are the same."""
    one, (_, steps, sequence) = networks[name], printed[name]
    plan, x = plan_of(one, described(one).body), input_of(one)
    assert np.array_equal(sequence, plan.forward(x)[0].ravel())
    state = plan.state(1)
    if steps.size:
        assert np.array_equal(steps, np.concatenate([plan.step(x_t, state).ravel() for x_t in x]))


@pytest.mark.parametrize("name", NETWORKS)
def test_memory_is_enough_for_every_instruction_set(name, networks):
    """And not much more than the widest of them takes."""
    one = networks[name]
    found = described(one)
    for part in (found.body, found.head):
        if part is None:
            continue
        plans = [plan_of(one, part, instruction_set=isa.encode()) for isa in C_ISAS]
        given, taken = part.plan_bytes(one.dtype.itemsize), max(plan.memory.size for plan in plans)
        assert taken <= given
        if "avx512" in C_ISAS:
            assert given <= taken + 512 * (1 + len(part.layers))
        assert max(C.workspace_bytes(plan.plan, 1, 1) for plan in plans) <= part.step_bytes(one.dtype.itemsize)
        assert {plan.parameters for plan in plans} == {part.parameters}
        assert {C.state_count(plan.plan, 1) for plan in plans} == {part.states}
        assert {plan.outputs for plan in plans} == {part.outputs}


@needs_cc
@needs_cxx
@pytest.mark.parametrize("standard", ["c++11", "c++20"])
def test_headers_in_cpp(standard, networks, tmp_path):
    names = ("lstm", "double", "last_of_both_dense", "words")
    for name in names:
        fastlstm.export_c(networks[name], tmp_path / f"{name}.hpp")
    source = tmp_path / "program.cpp"
    includes = "".join(f'#include "{name}.hpp"\n' for name in names)
    source.write_text(f"""{includes}
        static lstm_network network;
        static lstm_stream stream;
        int main() {{
            float x[LSTM_INPUTS] = {{1, 2, 3}}, y[LSTM_OUTPUTS];
            return lstm_plan(&network) || lstm_step(&network, &stream, x, y);
        }}
    """)
    run(CXX, f"-std={standard}", *WARNINGS, source, *flags("--cflags", "--libs"), "-o", tmp_path / "program")
    run(tmp_path / "program")


@needs_cc
def test_a_program_needs_no_memory_but_its_own(tmp_path):
    """What the object of a program with a header refers to, outside fastlstm."""
    if sys.platform != "linux":
        pytest.skip("symbols are named otherwise elsewhere")
    one = seq(nn.Embedding(7, 4, seed=0), lstm(4, 5, bidirectional=True), nn.Last(), nn.Dense(10, 3, seed=1))
    fastlstm.export_c(one, tmp_path / "model.h")
    (tmp_path / "use.c").write_text("""#include "model.h"
        fastlstm_status use(model_network *n, const int *ids, float *x, float *s, float *y, void *w);
        fastlstm_status use(model_network *n, const int *ids, float *x, float *s, float *y, void *w) {
            return model_plan(n) || model_vectors(3, ids, x) ? FASTLSTM_NULL : model_forward(n, 3, x, s, y, w);
        }
    """)
    run(CC, "-O0", "-fno-stack-protector", "-c", tmp_path / "use.c", *flags("--cflags"), "-o", tmp_path / "use.o")
    needed = set(re.findall(r" U (\w+)", run("nm", tmp_path / "use.o"))) - {"_GLOBAL_OFFSET_TABLE_"}
    assert {name for name in needed if not name.startswith("fastlstm_")} <= {"memcpy", "memmove", "memset"}


@needs_cc
def test_a_program_from_a_file_in_three_commands(tmp_path):
    model = seq(lstm(2, 8), nn.Dense(8, 3, seed=1))
    fastlstm.save(model, tmp_path / "model.safetensors")
    run(sys.executable, "-W", "error", "-m", "fastlstm", "export", "model.safetensors", "model.h", cwd=tmp_path)
    program = compiled(ROOT / "examples" / "c" / "embedded.c", tmp_path, f"-I{tmp_path}")
    x = np.random.default_rng(0).normal(size=(20, 1, 2)).astype(np.float32)
    said = run(program, input="".join(f"{value:.9g}\n" for value in x.ravel()))
    np.testing.assert_allclose(np.array(said.split(), np.float32), model(x)[0].ravel(), atol=1e-6)


@needs_cc
def test_fast_networks(tmp_path):
    """Some outputs differ, by what the guide says at most in a single step."""
    model = lstm(2, 40)
    outputs = []
    for fast in (False, True):
        fastlstm.export_c(model, tmp_path / "model.h", fast=fast)
        program = compiled(ROOT / "examples" / "c" / "embedded.c", tmp_path, f"-I{tmp_path}")
        outputs.append(np.array(run(program, input="0.5 -1.25").split(), float))
    assert 0 < abs(outputs[0] - outputs[1]).max() < 1e-5


# ---- what is refused ----


class Own(nn.Layer):
    def __init__(self):
        super().__init__()

    def compute(self, x):
        return x, None

    def gradients(self, kept, dy):
        return dy, {}


class Subclass(fastlstm.LSTM):
    pass


REFUSED = {
    "layer_norm": (lambda: seq(lstm(3, 4), nn.LayerNorm(4)), TypeError, r"layers\[1\] must be .* not LayerNorm"),
    "mean": (lambda: seq(lstm(3, 4), nn.Mean()), TypeError, r"layers\[1\] must be .* not Mean"),
    "residual": (lambda: seq(nn.Residual(lstm(3, 3))), TypeError, r"layers\[0\] must be .* not Residual"),
    "own": (lambda: seq(lstm(3, 4), seq(Own())), TypeError, r"layers\[1\]\.layers\[0\] must be .* not Own"),
    "subclass": (lambda: Subclass(3, 4), TypeError, "network must be .* not Subclass"),
    "activation": (lambda: seq(lstm(3, 4), nn.Activation("relu")), TypeError, r"layers\[1\] must be above a Dense"),
    "two_activations": (
        lambda: seq(nn.Dense(3, 4, activation="tanh"), nn.Activation("relu")), TypeError,
        r"layers\[1\] must be above a Dense whose activation is 'identity'",
    ),
    "softmax": (
        lambda: seq(nn.Dense(3, 4), nn.Activation("softmax"), nn.Dense(4, 1)), TypeError,
        r"layers\[2\] must not be above a softmax",
    ),
    "frozen": (lambda: fastlstm.Frozen(lstm(3, 4)), TypeError, "network must not be Frozen"),
    "number": (lambda: 3, TypeError, "network must be .* not int"),
    "fgr": (lambda: lstm(3, 4, variant="FGR"), ValueError, "variant of network must not be FGR"),
    "projection": (lambda: seq(lstm(3, 4, proj_size=2)), ValueError, r"proj_size of layers\[0\] must be 0 in C, not 2"),
    "zoneout": (lambda: lstm(3, 4, zoneout=(0.0, 0.1)), ValueError, r"zoneout of network must be 0 in C, not \(0"),
    "embedding": (lambda: nn.Embedding(3, 4), ValueError, "network must have a layer that C runs"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_networks_that_c_does_not_have(name, tmp_path):
    make, kind, message = REFUSED[name]
    with pytest.raises(kind, match=f"^{message}"):
        fastlstm.export_c(make(), tmp_path / "model.h")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_parameters_that_are_not_finite(value, tmp_path):
    model = lstm(3, 4)
    model.flat[5] = value
    with pytest.raises(ValueError, match=r"^network must have finite parameters"):
        fastlstm.export_c(model, tmp_path / "model.h")


@pytest.mark.parametrize("file", ["my-model.h", "2.h", "modèle.h", "_model.h", "fastlstm.h", ".h", "a b.h"])
def test_names_that_c_does_not_have(file, tmp_path):
    with pytest.raises(ValueError, match=r"^name must be letters, digits .* which the file's name begins with"):
        fastlstm.export_c(lstm(3, 4), tmp_path / file)
    fastlstm.export_c(lstm(3, 4), tmp_path / file, name="model_2")
    assert "model_2_step" in (tmp_path / file).read_text()
    for wrong in ("", "a-b", "a\n", "fastLSTM"):
        with pytest.raises(ValueError, match=r"^name must be letters, digits .* not '[^']*'$"):
            fastlstm.export_c(lstm(3, 4), tmp_path / file, name=wrong)
    with pytest.raises(TypeError, match="name must be a str, not int"):
        fastlstm.export_c(lstm(3, 4), tmp_path / file, name=3)


@pytest.mark.parametrize("layer", [fastlstm.GRU(3, 4), lstm(3, 4, layer_norm=True)])
def test_layers_that_cannot_be_fast(layer, tmp_path):
    with pytest.raises(TypeError, match=r"^fast must be False for (GRU|LSTM)\("):
        fastlstm.export_c(layer, tmp_path / "model.h", fast=True)
    with pytest.raises(ValueError, match=r"^instruction_set must be one of portable, base.* not 'avx3'"):
        fastlstm.export_c(layer, tmp_path / "model.h", instruction_set="avx3")


@pytest.mark.parametrize("wrong", ["missing", "network", "name"])
def test_the_command_says_what_is_wrong(wrong, tmp_path):
    model = lstm(3, 4, variant="FGR") if wrong == "network" else lstm(3, 4)
    fastlstm.save(model, tmp_path / "model.safetensors")
    file, header, said = {
        "missing": ("none.safetensors", "model.h", "No such file"),
        "network": ("model.safetensors", "model.h", "variant of network must not be FGR"),
        "name": ("model.safetensors", "my-model.h", "name must be letters"),
    }[wrong]
    command = [sys.executable, "-W", "error", "-m", "fastlstm", "export", file, header]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("python -m fastlstm export: ")
    assert said in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors"]
