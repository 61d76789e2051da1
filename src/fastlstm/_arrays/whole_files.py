"""Regular files: opened without waiting for them, and replaced whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Iterable
from typing import Any, BinaryIO

if sys.platform != "win32":
    import fcntl

PARTIAL = re.compile(r"\.fastlstm-[0-9a-f]{16}\.partial")
"""The names of files while they are written, in the folder of the file that they will replace."""
ABANDONED_AFTER = 3600.0
"""The seconds without a write after which such a file is abandoned, on Windows, where it is not locked."""


def size_of(file: BinaryIO, path: object) -> int:
    """Return the size of an open file in bytes; raise OSError, with this path, if it is not a regular file."""
    found = os.fstat(file.fileno())
    _check_regular(found, path)
    return found.st_size


def opener(path: str, flags: int) -> int:
    """Open for `open`, but without waiting for the other end of a FIFO, or taking a terminal for the process's own."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def replace(path: str, parts: Iterable[Any]) -> None:
    """Replace `path` by a file of these bytes, either completely or, if anything goes wrong, not at all.

    If `path` is a link, the file that it names is replaced and the link stays. The mode is kept and, where that is
    allowed, the owner. If many replace one file at the same time, the last one wins. A process that is killed leaves
    a partial file in the same folder, which the next call for a file of that folder removes.
    """
    before = _status(path)
    target = os.path.realpath(path) if os.path.islink(path) else path
    folder = os.path.dirname(target) or os.curdir
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "no folder to write to", folder)
    _remove_abandoned(folder)
    while not _replace(target, before, os.path.join(folder, f".fastlstm-{secrets.token_hex(8)}.partial"), parts, path):
        pass
    if sys.platform != "win32":
        _flush(folder)


def _status(path: str) -> os.stat_result | None:
    """Return the status of the file that exists, if any; raise OSError if a file cannot replace it."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    _check_regular(found, path)
    return found


def _check_regular(found: os.stat_result, path: object) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a folder, not a file", str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def _replace(target: str, before: os.stat_result | None, partial: str, parts: Iterable[Any], path: str) -> bool:
    """Write `partial` and rename it; return False if another process removed it before it was locked.

    An interrupt may come between any two instructions, so that the name is known before there is a file of this name.
    """
    mode = 0o666 if before is None else 0o600  # Until the file gets the mode of the one before it.
    try:
        with open(partial, "xb", opener=functools.partial(os.open, mode=mode)) as file:
            if not _lock(file, partial):
                return False
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
            if before is not None:
                _make_alike(partial, before)
            if sys.platform == "win32":
                file.close()  # Windows cannot rename an open file; elsewhere it stays locked until it has its name.
            os.replace(partial, target)
        return True
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror, path) from error  # The caller knows no other name.
        raise


def _lock(file: BinaryIO, partial: str) -> bool:
    """Lock a new file while it is written; return False if another process removed it before."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):  # Some file systems have no locks.
            fcntl.flock(file, fcntl.LOCK_EX)
    return os.path.exists(partial)


def _make_alike(partial: str, before: os.stat_result) -> None:
    """Give a new file the owner, where that is allowed, and the mode of the file before it."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            os.chown(partial, before.st_uid, before.st_gid)
    os.chmod(partial, stat.S_IMODE(before.st_mode))


def _remove_abandoned(folder: str) -> None:
    """Remove the partial files that killed processes have left in a folder."""
    with contextlib.suppress(OSError):  # A folder may be writable but not readable.
        for name in os.listdir(folder):
            if PARTIAL.fullmatch(name):
                with contextlib.suppress(OSError):
                    _remove_if_abandoned(os.path.join(folder, name))


def _remove_if_abandoned(partial: str) -> None:
    if sys.platform == "win32":
        if time.time() - os.stat(partial).st_mtime > ABANDONED_AFTER:
            os.unlink(partial)
        return
    with open(partial, "r+b", opener=opener) as file:
        size_of(file, partial)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # Raises BlockingIOError while the file is being written.
        os.unlink(partial)


def _flush(folder: str) -> None:
    """Write the folder to the disk, so that the new name survives a power cut."""
    opened = None
    try:
        with contextlib.suppress(OSError):  # A folder that cannot be read has the file all the same.
            opened = os.open(folder, os.O_RDONLY)
            os.fsync(opened)
    finally:
        if opened is not None:
            os.close(opened)
