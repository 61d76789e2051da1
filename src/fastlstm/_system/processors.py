"""The default number of threads: that of the environment, else as many as this process can run at once."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

__all__ = ["Default", "cpu_quota", "default_num_threads", "usable_processors"]


class Default(NamedTuple):
    """A number of threads, and where it comes from."""

    number: int
    source: str


def default_num_threads(most: int, environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> Default:
    """Return the default number of threads, `most` at most.

    Raises
    ------
    ValueError
        If FASTLSTM_NUM_THREADS is not from 1 to `most`. An invalid OMP_NUM_THREADS, which other libraries use too, is
        ignored with a warning.
    """
    own = environ.get("FASTLSTM_NUM_THREADS", "").strip()
    if own:
        if not re.fullmatch("[0-9]{1,9}", own) or not 1 <= int(own) <= most:
            raise ValueError(f"FASTLSTM_NUM_THREADS must be a number from 1 to {most}, not {own!r}")
        return Default(int(own), "FASTLSTM_NUM_THREADS")
    everybodys = environ.get("OMP_NUM_THREADS", "").strip()
    if everybodys:
        first = everybodys.partition(",")[0].strip()  # A list has a number for each level of nesting.
        if re.fullmatch("[0-9]{1,9}", first) and int(first) >= 1:
            return Default(min(int(first), most), "OMP_NUM_THREADS")
        warnings.warn(
            f"OMP_NUM_THREADS={everybodys!r} is not a number of threads and is ignored", RuntimeWarning, stacklevel=2
        )
    processors, quota = usable_processors(), cpu_quota(root)
    if quota < processors:
        return Default(int(min(quota, most)), "the control group's CPU quota")
    return Default(min(processors, most), "the processors of this process")


def usable_processors() -> int:
    """Return how many processors this process may use, by its affinity and PYTHON_CPU_COUNT (Python 3.13)."""
    if hasattr(os, "process_cpu_count"):
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# ---- control groups, with which Linux limits the processor time of a container ----


def cpu_quota(root: Path = Path("/")) -> float:
    """Return the quota of processor time in processors, rounded up; infinity where there is none.

    A parent group may allow less than the group of the process. Both versions of control groups are read below `root`.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text(errors="replace").splitlines()
        mounts = (root / "proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return math.inf
    paths: dict[str, str] = {}  # By controller; the one group of version 2 has no name.
    for line in groups:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        paths |= dict.fromkeys(controllers.split(","), path)
    quotas = []
    for line in mounts:
        fields, _, more = line.partition(" - ")
        kind, _, options = (*more.split(" ", 2), "", "")[:3]
        if len(fields.split(" ")) < 5:
            continue
        shown, mounted = (_unescaped(field) for field in fields.split(" ")[3:5])
        if kind == "cgroup2" and "" in paths:
            quotas += [_quota_2(root / folder) for folder in _folders(mounted, shown, paths[""])]
        elif kind == "cgroup" and "cpu" in options.strip().split(",") and "cpu" in paths:
            quotas += [_quota_1(root / folder) for folder in _folders(mounted, shown, paths["cpu"])]
    return max(1, min(quotas, default=math.inf))


def _unescaped(field: str) -> str:
    r"""Return a field of mountinfo without its escapes, such as \040 for a space."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


def _folders(mounted: str, shown: str, path: str) -> list[PurePosixPath]:
    """Return the folders of a group and its parents, as far as the mount shows them, relative to the root."""
    top = PurePosixPath(mounted.lstrip("/"))
    try:
        below = PurePosixPath(path).relative_to(shown)
    except ValueError:
        below = PurePosixPath()  # The group of a container may be mounted under another name.
    if ".." in below.parts:
        below = PurePosixPath()
    own = top / below
    return [own, *(folder for folder in own.parents if folder.is_relative_to(top))]


def _quota_2(folder: Path) -> float:
    return _processors(*(*_read(folder / "cpu.max").split(), "", "")[:2])


def _quota_1(folder: Path) -> float:
    return _processors(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _processors(quota: str, period: str) -> float:
    """Return a quota of a period, both in microseconds, in processors; infinity where there is none: "max", -1."""
    if re.fullmatch("[0-9]+", quota) and re.fullmatch("[0-9]+", period) and int(quota) > 0 and int(period) > 0:
        return math.ceil(int(quota) / int(period))
    return math.inf
