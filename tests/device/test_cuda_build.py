"""How the CUDA module is built: which nvcc, for which GPUs, and what is said where there is none."""

import sys
from pathlib import Path

import pytest

CUDA = Path(__file__).parents[2] / "cuda"
pytestmark = pytest.mark.skipif(not (CUDA / "nvcc.py").is_file(), reason="emulated or not, the source tree is needed")


@pytest.fixture
def nvcc(monkeypatch):
    pytest.importorskip("setuptools")
    monkeypatch.syspath_prepend(str(CUDA))
    for name in ("NVCC", "CUDA_PATH", "CUDA_HOME", "FASTLSTM_CUDA_ARCHS"):
        monkeypatch.delenv(name, raising=False)
    import nvcc

    monkeypatch.setattr(sys, "platform", "linux")
    return nvcc


def program(folder):
    folder.mkdir(parents=True)
    path = folder / "nvcc"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.skipif(sys.platform == "win32", reason="emulated or not, it is built on Linux")
def test_where_nvcc_is_looked_for(nvcc, monkeypatch, tmp_path):
    by_path, by_home, by_name = (program(tmp_path / name / "bin") for name in ("path", "home", "name"))
    monkeypatch.setenv("PATH", str(Path(by_path).parent))
    assert nvcc.find_nvcc() == by_path
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "home"))
    assert nvcc.find_nvcc() == by_home
    monkeypatch.setenv("NVCC", by_name)
    assert nvcc.find_nvcc() == by_name


def test_without_nvcc_one_sentence_says_so(nvcc, monkeypatch):
    monkeypatch.setenv("NVCC", "/nowhere/nvcc")
    message = r"FASTLSTM_CUDA=1 needs nvcc, which was not found: /nowhere/nvcc, which NVCC says, is not there"
    with pytest.raises(nvcc.PlatformError, match=message):
        nvcc.find_nvcc()
    monkeypatch.delenv("NVCC")
    monkeypatch.setattr(nvcc.shutil, "which", lambda name: None)
    with pytest.raises(nvcc.PlatformError, match=r"not found: set NVCC to it, or CUDA_PATH to its toolkit$"):
        nvcc.find_nvcc()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(nvcc.PlatformError, match="builds on Linux only, not on darwin"):
        nvcc.find_nvcc()


def test_architectures(nvcc, monkeypatch):
    codes = nvcc.arch_flags()
    assert codes[0] == "-gencode=arch=compute_75,code=sm_75"
    assert codes[-2:] == ["-gencode=arch=compute_120,code=sm_120", "-gencode=arch=compute_120,code=compute_120"]
    monkeypatch.setenv("FASTLSTM_CUDA_ARCHS", "80, 90")
    assert nvcc.arch_flags() == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90,code=sm_90",
        "-gencode=arch=compute_90,code=compute_90",
    ]
    monkeypatch.setenv("FASTLSTM_CUDA_ARCHS", "hopper")
    with pytest.raises(nvcc.PlatformError, match="must be compute capabilities such as 80,90, not hopper"):
        nvcc.arch_flags()


def test_every_source_is_compiled(nvcc):
    names, sources, _ = zip(*nvcc.OBJECTS, strict=True)
    objects = {name.rpartition("/")[2] for name in names}
    assert {"backend", "module", "cuda_32", "cuda_64", "cuda_bfloat16"} <= objects
    assert set(sources) == set((CUDA.parent / "src" / "fastlstm" / "_c").rglob("*.cu"))


def test_the_wheel_has_the_version_of_fastlstm():
    import fastlstm

    text = (CUDA.parent / "src" / "fastlstm" / "__init__.py").read_text("utf-8")
    assert f'__version__ = "{fastlstm.__version__}"' in text
