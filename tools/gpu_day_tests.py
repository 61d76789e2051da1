"""A plugin of pytest for tools/gpu-day: the most telling tests come first, and a run continues an interrupted one.

GPU_DAY_TESTS       a file for lines of JSON: one when a test starts, and one when it has ended
GPU_DAY_LAST_GROUP  the last of the groups below to run
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

FILE = Path(os.environ["GPU_DAY_TESTS"])
LAST_GROUP = int(os.environ["GPU_DAY_LAST_GROUP"])

KEY = (
    r"::(test_float32|test_tf32|test_large_networks|test_larger_sizes\[.*vanilla|test_fewer_bits\[vanilla--|"
    r"test_each_algorithm_runs|test_nan_does_not_hang).*"
)
# The most telling tests come first: each precision with each algorithm, one option at a time, then all others.
GROUPS = [
    KEY + "steps",
    KEY + "resident",
    KEY + "cluster",
    r"test_gpu\.py|::test_(recompute|rnn|fewer_bits|float32|larger_sizes)|::test_each_variant[^+]*$",
]


def group(name: str) -> int:
    """Return the group of a test."""
    return next((k for k, pattern in enumerate(GROUPS) if re.search(pattern, name)), len(GROUPS))


def write(test: str, outcome: str, says: list[str] | None = None, seconds: float | None = None) -> None:
    """Add a line to the file."""
    line = {"test": test, "outcome": outcome}
    line |= {name: value for name, value in (("says", says), ("seconds", seconds)) if value is not None}
    with FILE.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the tests; leave out those that were started before, and the groups that run later."""
    begun = set()
    if FILE.exists():
        begun = {json.loads(line)["test"] for line in FILE.read_text("utf-8").splitlines()}
    chosen = [item for item in items if item.nodeid not in begun and group(item.nodeid) <= LAST_GROUP]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
    items[:] = sorted(chosen, key=lambda item: group(item.nodeid))


def pytest_runtest_logstart(nodeid: str) -> None:
    """Note that a test starts."""
    write(nodeid, "started")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how a test ended, and exit if it has made the device unusable."""
    if report.when == "call" or report.failed or report.skipped:
        says = report.longreprtext.splitlines()[-12:] if report.failed else None
        write(report.nodeid, report.outcome, says, round(report.duration, 3))
    if report.failed and not device_works():
        write(report.nodeid, "failed, and left the device unusable", says)
        os._exit(3)  # In this process, every call to the device would fail from now on.


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Report success if no test was left to run."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK


def device_works() -> bool:
    """Return whether the device still works."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return True
    try:
        torch.zeros(1, device="cuda").add_(1).item()
    except RuntimeError:
        return False
    return True
