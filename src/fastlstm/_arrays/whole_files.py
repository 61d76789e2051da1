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
"""Names of files while they are written, beside those that they are to replace."""
ABANDONED_AFTER = 3600.0
"""Seconds without a write after which such a file is nobody's any more, on Windows, where it is not locked."""


def size_of(file: BinaryIO, path: object) -> int:
    """How many bytes an open file has; OSError, with this path, if it is not a regular one."""
    found = os.fstat(file.fileno())
    _check_regular(found, path)
    return found.st_size


def opener(path: str, flags: int) -> int:
    """Open for `open`, but without waiting for the other end of a FIFO, or taking a terminal for the process's own."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def replace(path: str, parts: Iterable[Any]) -> None:
    """Put a file of these bytes in the place of `path`, whole, or leave what is there, whatever happens meanwhile.

    The file that a link names is replaced, and the link stays. A file keeps its mode and, where that is allowed, its
    owner. Of many who replace one file at the same time the last one wins. What has been written when the process is
    killed stays beside it, in a file that the next to replace a file of that folder removes.
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
    """What is there now, if anything is; OSError if it cannot be replaced by a file."""
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
    """Write `partial` and rename it; False if another process has removed it before it was locked.

    An interrupt may come between any two instructions, so that the name is known before there is a file of this name.
    """
    mode = 0o666 if before is None else 0o600  # until it has that of the file before it
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
                file.close()  # an open file cannot be renamed there; elsewhere it is locked until it has its name
            os.replace(partial, target)
        return True
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror, path) from error  # the caller knows no other name
        raise


def _lock(file: BinaryIO, partial: str) -> bool:
    """Show other processes that a new file is being written; False if one has removed it before."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
    return os.path.exists(partial)


def _make_alike(partial: str, before: os.stat_result) -> None:
    """Give a new file the owner, where that is allowed, and the mode of the file before it."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            os.chown(partial, before.st_uid, before.st_gid)
    os.chmod(partial, stat.S_IMODE(before.st_mode))


def _remove_abandoned(folder: str) -> None:
    """Remove what processes that were killed have left in a folder."""
    with contextlib.suppress(OSError):  # it may be written to, but not be listed
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
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError where it is being written
        os.unlink(partial)


def _flush(folder: str) -> None:
    """Have the new name outlive a power cut."""
    opened = None
    try:
        with contextlib.suppress(OSError):  # a folder that may not be read; the file is there all the same
            opened = os.open(folder, os.O_RDONLY)
            os.fsync(opened)
    finally:
        if opened is not None:
            os.close(opened)
