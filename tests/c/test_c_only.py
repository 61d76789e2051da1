"""Programs with the kernels of one instruction set: what is in them, what they compute, what they say elsewhere."""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from c_interface import plan_of
from cases import C_ISAS
from compiled import CC, CXX, ROOT, WARNINGS, flags, needs_cc, needs_cxx, run

import fastlstm
from fastlstm import nn
from fastlstm._config import get_instruction_sets
from fastlstm.c_layers import described

NM = shutil.which("nm")
COMPILED = [isa for isa in C_ISAS if isa in get_instruction_sets()]  # not the emulated device

PROGRAM = """
#include <stdio.h>
#include "model.h"

static model_network network;
static model_stream stream;

/* Prints what the network says, or why there is none; with an argument, whether there is that instruction set. */
int main(int argc, char **argv) {
    const float x[MODEL_INPUTS] = {0.5f, -1.25f};
    float y[MODEL_OUTPUTS];
    fastlstm_status status;
    if (argc > 1) {
        fastlstm_layer layer;
        fastlstm_network asked;
        memset(&layer, 0, sizeof layer);
        memset(&asked, 0, sizeof asked);
        layer.units = 3;
        asked.version = FASTLSTM_C_VERSION;
        asked.dtype = FASTLSTM_FLOAT32;
        asked.inputs = asked.layer_count = 1;
        asked.layers = &layer;
        asked.instruction_set = argv[1];
        return puts(fastlstm_plan_bytes(&asked) ? "there" : "missing") < 0;
    }
    status = model_plan(&network);
    if (!status) status = model_step(&network, &stream, x, y);
    if (status)
        puts(fastlstm_message(status));
    else
        printf("%.9g %.9g\\n", y[0], y[1]);
    return 0;
}
"""
MISSING = (
    "the instruction set is unknown, or this machine does not have it, or it was not linked: see fastlstm/only.h\n"
)

pytestmark = needs_cc


@pytest.fixture
def model():
    return nn.Sequential(fastlstm.LSTM(2, 20, seed=0), nn.Dense(20, 2, seed=1))


@pytest.fixture
def folder(tmp_path, model):
    fastlstm.export_c(model, tmp_path / "model.h")
    (tmp_path / "program.c").write_text(PROGRAM)
    return tmp_path


def outputs(model, isa):
    """What the model says to the program's inputs by an instruction set."""
    plan = plan_of(model, described(model).body, instruction_set=isa.encode())
    return plan.step(np.array([[0.5, -1.25]], np.float32), plan.state(1)).ravel()


def said(program):
    return np.array(run(program).split(), np.float32)


def linked(folder, *more, compiler=CC, standard="-std=c11", source="program.c"):
    """Return a program; `more` are flags and other source files."""
    program = folder / "program"
    own = [word if word.startswith("-") else folder / word for word in more]
    words = [*WARNINGS, folder / source, *own, *flags("--cflags", "--libs")]
    run(compiler, standard, *words, "-o", program)
    return program


def kernels(program):
    """The tables of kernels in a program: "avx2_32" and so on."""
    if NM is None or sys.platform != "linux":
        pytest.skip("there is no nm that lists a program of Linux")
    return set(re.findall(r"\bfl_kernels_(\w+)", run(NM, program)))


def test_a_program_has_all_kernels_unless_it_says_which(folder, model):
    program = linked(folder)
    assert kernels(program) >= {f"{isa}_{bits}" for isa in COMPILED for bits in (32, 64)}
    assert {run(program, isa) for isa in COMPILED} == {"there\n"}
    assert np.array_equal(said(program), outputs(model, COMPILED[-1]))


@pytest.mark.parametrize("isa", COMPILED)
def test_a_program_with_one_instruction_set(isa, folder, model):
    whole = linked(folder).stat().st_size
    program = linked(folder, f"-DFASTLSTM_ONLY={isa}")
    assert kernels(program) == {f"{isa}_32", f"{isa}_64"}
    assert np.array_equal(said(program), outputs(model, isa))
    assert {other: run(program, other) == "there\n" for other in COMPILED} == {
        other: other == isa for other in COMPILED
    }
    if len(COMPILED) > 2:
        assert program.stat().st_size < whole / 2


@pytest.mark.parametrize(("flag", "bits"), [("FLOAT32", 32), ("FLOAT64", 64)])
def test_a_program_with_one_precision(flag, bits, folder):
    program = linked(folder, f"-DFASTLSTM_ONLY={COMPILED[-1]}", f"-DFASTLSTM_ONLY_{flag}")
    assert kernels(program) == {f"{COMPILED[-1]}_{bits}"}
    assert (run(program) == MISSING) == (bits == 64)


def test_many_source_files_that_say_the_same(folder):
    (folder / "other.c").write_text("#include <fastlstm/fastlstm.h>\nfastlstm_status other(void);\n"
                                    "fastlstm_status other(void) { return FASTLSTM_OK; }\n")  # fmt: skip
    program = linked(folder, f"-DFASTLSTM_ONLY={COMPILED[-1]}", "other.c")
    assert kernels(program) == {f"{COMPILED[-1]}_{bits}" for bits in (32, 64)}
    (folder / "program.c").write_text(f"#define FASTLSTM_ONLY {COMPILED[0]}\n{PROGRAM}")
    program = linked(folder, "other.c")  # which says nothing
    assert kernels(program) == {f"{COMPILED[0]}_{bits}" for bits in (32, 64)}


def test_a_chosen_few(folder, model):
    few = [COMPILED[0], COMPILED[-1]]
    rows = ", ".join(f"&fastlstm_{isa}_float32" for isa in few)
    (folder / "few.c").write_text(
        f"#include <fastlstm/only.h>\nconst fastlstm_kernels *const fastlstm_linked[] = {{{rows}, NULL}};\n"
    )
    program = linked(folder, "few.c")
    assert kernels(program) == {f"{isa}_32" for isa in few}
    assert np.array_equal(said(program), outputs(model, COMPILED[-1]))


@pytest.mark.parametrize("only", ["", "&fastlstm_portable_float64, "])
def test_a_processor_that_has_none_of_them(only, folder):
    """The first call says so; here the list is empty, or of another precision."""
    (folder / "none.c").write_text(
        f"#include <fastlstm/only.h>\nconst fastlstm_kernels *const fastlstm_linked[] = {{{only}NULL}};\n"
    )
    program = linked(folder, "none.c")
    assert run(program) == MISSING
    assert run(program, "portable") == "missing\n"


@needs_cxx
@pytest.mark.parametrize("standard", ["-std=c++11", "-std=c++20"])
def test_one_instruction_set_in_cpp(standard, folder, model):
    (folder / "program.cpp").write_text(PROGRAM)
    program = linked(folder, f"-DFASTLSTM_ONLY={COMPILED[-1]}", compiler=CXX, standard=standard, source="program.cpp")
    assert kernels(program) == {f"{COMPILED[-1]}_{bits}" for bits in (32, 64)}
    assert np.array_equal(said(program), outputs(model, COMPILED[-1]))


def test_an_exported_header_says_which(folder, model):
    fastlstm.export_c(model, folder / "model.h", instruction_set=COMPILED[-1])
    program = linked(folder)
    assert kernels(program) == {f"{COMPILED[-1]}_32"}
    assert np.array_equal(said(program), outputs(model, COMPILED[-1]))
    program = linked(folder, f"-DFASTLSTM_ONLY={COMPILED[0]}")  # The compiler's command is asked first.
    assert kernels(program) == {f"{COMPILED[0]}_{bits}" for bits in (32, 64)}


def test_the_command_says_it_to_a_compiler():
    assert flags("--cflags", "--isa", "portable") == [*flags("--cflags"), "-DFASTLSTM_ONLY=portable"]


def test_a_shared_library_keeps_its_list_to_itself(tmp_path):
    """Two in a process may have different ones."""
    if sys.platform != "linux":
        pytest.skip("symbols are listed otherwise elsewhere")
    source = tmp_path / "shared.c"
    source.write_text(
        "#include <fastlstm/fastlstm.h>\nsize_t mine(const fastlstm_network *n);\n"
        "size_t mine(const fastlstm_network *n) { return fastlstm_plan_bytes(n); }\n"
    )
    words = ["-shared", "-fPIC", f"-DFASTLSTM_ONLY={COMPILED[-1]}", source, *flags("--cflags", "--libs")]
    run(CC, *words, "-o", tmp_path / "shared.so")
    assert re.findall(r" [A-TV-Z] (\w+)", run(NM, "-D", "--defined-only", tmp_path / "shared.so")) == ["mine"]


def test_the_header_names_every_instruction_set():
    definitions = ROOT / "src" / "fastlstm" / "_c" / "targets.def"
    if not definitions.is_file():
        pytest.skip("the source is of a checkout")
    names = re.findall(r"^TARGET\((\w+)", definitions.read_text("utf-8"), re.MULTILINE)
    assert get_instruction_sets() == [name for name in names if name != "emulated"]
    config = (ROOT / "share" / "cmake" / "fastlstm" / "fastlstm-config.cmake").read_text("utf-8")
    assert f"foreach(_fastlstm_set {' '.join(get_instruction_sets())})" in config
    only = (Path(fastlstm.get_include()) / "fastlstm" / "only.h").read_text("utf-8")
    assert all(f"fastlstm_{name}_float64;" in only for name in get_instruction_sets())
