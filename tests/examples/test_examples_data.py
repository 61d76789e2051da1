"""examples/_data.py on packages made here: what is fetched, what is cached, and what is said when there is no data."""

import io
import os
import shutil
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("platformdirs")

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = {"folder/b.txt": b"second", "folder/a.txt": b"first", "folder/program.py": b"raise SystemExit('was run')\n"}


@pytest.fixture(scope="module")
def data():
    sys.path.insert(0, str(EXAMPLES))
    try:
        import _data

        yield _data
    finally:
        sys.path.remove(str(EXAMPLES))


def make_wheel():
    metadata = {
        "toy-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n",
        "toy-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "toy-1.0.dist-info/RECORD": b"",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {**FILES, **metadata}.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def make_tar(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        folder = tarfile.TarInfo("./folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def make_deb():
    members = {
        "debian-binary": b"2.0\n",
        "odd": b"padded",
        "control.tar.xz": make_tar({"control": b"Package: toy\n"}),
        "data.tar.xz": make_tar(FILES),
    }
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content)
        parts.append(b"\n" * (len(content) % 2))
    return b"".join(parts)


@pytest.fixture(params=["wheel", "deb"])
def toy(request, data, tmp_path, monkeypatch):
    """A source of two files, and the package in the only place where pip or apt-get looks."""
    registry = tmp_path / "registry"
    registry.mkdir()
    if request.param == "wheel":
        path, content, kind = registry / "toy-1.0-py3-none-any.whl", make_wheel(), data.Wheel
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(registry))
    else:
        if not shutil.which("apt-get"):
            pytest.skip("needs apt-get")
        path, content, kind = registry / "toy_1.0_all.deb", make_deb(), data.Deb
        (registry / "Packages").write_text(
            "Package: toy\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody\nDescription: toy\n"
            f"Filename: ./{path.name}\nSize: {len(content)}\nSHA256: {data.sha256(content)}\n"
        )
        (tmp_path / "sources.list").write_text(f"deb [trusted=yes] copy:{registry} ./\n")
        settings = {
            "Dir::Etc::SourceList": tmp_path / "sources.list",
            "Dir::Etc::SourceParts": "-",
            "Dir::State::Lists": tmp_path / "lists",  # empty, as on a new machine
            "Dir::Cache": tmp_path / "apt",
            "APT::Sandbox::User": "root",
        }
        (tmp_path / "apt.conf").write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
        monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    path.write_bytes(content)
    return path, kind("toy", "1.0", data.sha256(content), "folder/*.txt")


WANTED = {"folder/a.txt": b"first", "folder/b.txt": b"second"}


def test_files_are_fetched_and_cached(data, toy, tmp_path):
    path, source = toy
    cache = tmp_path / "new" / "cache"
    files = data.fetch(source, cache)
    assert files == WANTED
    assert list(files) == sorted(files)
    path.unlink()
    assert data.fetch(source, cache) == WANTED  # from the cache
    assert [cached.suffix for cached in cache.iterdir()] == [path.suffix]


@pytest.mark.parametrize("damage", [b"", b"half", None])
def test_a_damaged_cache_is_fetched_again(data, toy, tmp_path, damage):
    _, source = toy
    data.fetch(source, tmp_path / "cache")
    (cached,) = (tmp_path / "cache").iterdir()
    whole = cached.read_bytes()
    cached.write_bytes(whole[:-1] + b"?" if damage is None else damage)
    assert data.fetch(source, tmp_path / "cache") == WANTED
    assert cached.read_bytes() == whole
    assert list(cached.parent.iterdir()) == [cached]


def test_another_file_is_refused(data, toy, tmp_path):
    _, source = toy
    with pytest.raises(data.DataUnavailable, match=r"package toy 1\.0 is not the file that .*\.$"):
        data.fetch(replace(source, sha256="0" * 64), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_network_or_cache_one_sentence(data, toy, tmp_path):
    path, source = toy
    path.unlink()
    with pytest.raises(
        data.DataUnavailable, match=rf"the data in the {source.kind} package toy 1\.0, .* {source.tool} .*\?$"
    ) as raised:
        data.fetch(source, tmp_path / "cache")
    assert "\n" not in str(raised.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_apt_get_the_same_sentence(data, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(data.DataUnavailable, match=r"the data in the Debian package toy 1\.0, .*\?$"):
        data.fetch(data.Deb("toy", "1.0", "0" * 64, "*"), tmp_path / "cache")
