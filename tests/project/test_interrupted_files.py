"""Files in trouble: signals at every moment of a save, many who write one file, a file that is rewritten in place."""

import contextlib
import os

from programs import run, start, unix

import fastlstm
from fastlstm import LSTM
from fastlstm._arrays import whole_files

pytestmark = unix

SAVE = """
    import os, signal, stat, sys
    import fastlstm
    from fastlstm._arrays import files
    from fastlstm._arrays import whole_files

    path = sys.argv[1]
    folder = os.path.dirname(path)
    old, new = (fastlstm.LSTM(1, 1, seed=seed) for seed in (0, 1))

    def content():
        with open(path, "rb") as file:
            return file.read()

    def left():
        return [name for name in os.listdir(folder) if whole_files.PARTIAL.fullmatch(name)]

    fastlstm.save(new, path)
    whole = {content(): "new"}
    fastlstm.save(old, path)
    whole[content()] = "old"

    def save_until(k, number):
        "Save, and send this process a signal before the k-th instruction of those that touch files."
        count = 0

        def trace(frame, event, argument):
            nonlocal count
            if frame.f_code.co_filename != whole_files.__file__:
                return None
            frame.f_trace_opcodes = True
            count += event == "opcode"
            if event == "opcode" and count == k:
                os.kill(os.getpid(), number)
            return trace

        sys.settrace(trace)
        try:
            fastlstm.save(new, path)
        finally:
            sys.settrace(None)
"""


def counts(printed):
    """How often the old and the new file were found."""
    old, new = map(int, printed.split())
    assert old > 100  # many moments before the file has its name
    assert new > 10  # and some after it
    return old + new


def test_ctrl_c_at_every_moment_of_a_save(tmp_path):
    """An interrupt stays a KeyboardInterrupt, and leaves the old file or the new one and no other, not even open."""
    program = (
        SAVE
        + """
    def opened():
        found = 0
        for number in range(100):
            try:
                found += stat.S_ISREG(os.fstat(number).st_mode)
            except OSError:
                pass
        return found

    found, before = {"old": 0, "new": 0}, opened()
    for k in range(1, 100_000):
        try:
            save_until(k, signal.SIGINT)
        except KeyboardInterrupt:
            pass
        else:
            break
        assert left() == [], (k, left())
        assert opened() == before, k
        found[whole[content()]] += 1
        if whole[content()] == "new":
            fastlstm.save(old, path)
    print(*found.values())
    """
    )
    counts(run(program, tmp_path / "network"))


def test_kill_at_every_moment_of_a_save(tmp_path):
    """A killed process leaves the old file or the new one, and at most one other, which the next save removes."""
    program = (
        SAVE
        + """
    found = {"old": 0, "new": 0}
    for k in range(1, 100_000):
        child = os.fork()
        if child == 0:
            save_until(k, signal.SIGKILL)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL, (k, status)
        found[whole[content()]] += 1
        assert len(left()) <= 1, (k, left())
        fastlstm.save(old, path)
        assert left() == [], (k, left())
    print(*found.values())
    """
    )
    counts(run(program, tmp_path / "network"))


SAVE_AGAIN_AND_AGAIN = """
    import sys, threading
    import fastlstm

    path, seed, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    lstm = fastlstm.LSTM(8, 16, seed=seed)
    print("ready", flush=True)
    for _ in range(times):
        fastlstm.save(lstm, path)
"""


def test_many_processes_and_threads_save_one_file(tmp_path):
    """All succeed, also while others are killed; whoever loads finds one of theirs."""
    path = tmp_path / "network"
    possible = {LSTM(8, 16, seed=seed).flat.tobytes() for seed in range(5)}
    fastlstm.save(LSTM(8, 16, seed=0), path)
    saving = [start(SAVE_AGAIN_AND_AGAIN, path, seed, 30) for seed in (1, 2)]
    for _ in range(5):
        killed = start(SAVE_AGAIN_AND_AGAIN, path, 3, 10**9)
        for _ in range(10):
            assert fastlstm.load(path).flat.tobytes() in possible
            fastlstm.save(LSTM(8, 16, seed=4), path)
        killed.kill()
        killed.communicate()
    assert [process.wait(120) for process in saving] == [0, 0]
    for process in saving:
        process.stdout.close()
    fastlstm.save(LSTM(8, 16, seed=0), path)
    assert os.listdir(tmp_path) == ["network"]


def test_a_save_in_progress_is_not_taken_for_abandoned(tmp_path, monkeypatch):
    path, lstm = tmp_path / "network", LSTM(1, 1, seed=0)
    replace = os.replace
    found = []

    def slowly(source, target):
        monkeypatch.setattr(os, "replace", replace)
        fastlstm.save(LSTM(1, 1, seed=1), path)  # by another process, as far as files know
        found.append(os.path.exists(source))
        replace(source, target)

    monkeypatch.setattr(os, "replace", slowly)
    fastlstm.save(lstm, path)
    assert found == [True]
    assert fastlstm.load(path).flat.tobytes() == lstm.flat.tobytes()
    assert os.listdir(tmp_path) == ["network"]


def test_a_file_removed_between_its_creation_and_its_lock(tmp_path, monkeypatch):
    """Another save may find it unlocked: then there is another."""
    path, lock = tmp_path / "network", whole_files._lock
    removed = []

    def too_late(file, partial):
        if not removed:
            whole_files._remove_abandoned(str(tmp_path))
            removed.append(not os.path.exists(partial))
        return lock(file, partial)

    monkeypatch.setattr(whole_files, "_lock", too_late)
    fastlstm.save(LSTM(1, 1, seed=0), path)
    assert removed == [True]
    assert os.listdir(tmp_path) == ["network"]


def test_what_is_left_is_not_mistaken(tmp_path):
    """A folder, a FIFO or another's file of such a name stays, and no save fails or waits for it."""
    (tmp_path / f".fastlstm-{0:016x}.partial").mkdir()
    os.mkfifo(tmp_path / f".fastlstm-{1:016x}.partial")
    for name in ("fastlstm-file", ".fastlstm-notes.txt", ".fastlstm-0123.partial", f".fastlstm-{2:016x}.partial.old"):
        (tmp_path / name).touch()
    before = sorted(os.listdir(tmp_path))
    fastlstm.save(LSTM(1, 1, seed=0), tmp_path / "network")
    assert sorted(os.listdir(tmp_path)) == [*before, "network"]


REWRITE = """
    import itertools, sys

    path = sys.argv[1]
    with open(path, "rb") as file:
        whole = file.read()
    print("ready", flush=True)
    for k in itertools.count():
        with open(path, "wb", buffering=0) as file:  # which empties it
            file.write(whole[: len(whole) // (1 + k % 3)])
            file.write(whole[len(whole) // (1 + k % 3) :])
"""

LOAD = """
    import sys, time
    import fastlstm

    path, expected = sys.argv[1], fastlstm.LSTM(100, 200, seed=0).flat.tobytes()
    found, end = {"whole": 0, "refused": 0}, time.monotonic() + 60
    while min(found.values()) < 5 and time.monotonic() < end:
        try:
            loaded = fastlstm.load(path).flat.tobytes()
        except fastlstm.FileError:
            found["refused"] += 1
        else:
            assert loaded == expected
            found["whole"] += 1
    print(*found.values())
"""


def test_a_file_that_another_process_rewrites_in_place(tmp_path):
    """Each load gives the network or refuses the file: a mapping would end the process."""
    path = tmp_path / "network"
    fastlstm.save(LSTM(100, 200, seed=0), path)
    writer = start(REWRITE, path)
    try:
        whole, refused = map(int, run(LOAD, path).split())
    finally:
        writer.kill()
        writer.communicate()
    assert whole > 0
    assert refused > 0


def test_on_windows_what_is_abandoned_is_known_by_its_age(tmp_path, monkeypatch):
    """Windows has no such locks, and neither renames nor removes an open file; tried here without locks."""
    path, old, young = tmp_path / "network", *(tmp_path / f".fastlstm-{k:016x}.partial" for k in (1, 2))
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    monkeypatch.setattr(whole_files.sys, "platform", "win32")
    monkeypatch.delattr(whole_files, "fcntl")
    replace, renamed = os.replace, []

    def look(source, target):
        found = os.stat(source)
        for number in range(3, 100):
            with contextlib.suppress(OSError):
                assert not os.path.samestat(os.fstat(number), found)  # open still
        renamed.append(source)
        replace(source, target)

    monkeypatch.setattr(os, "replace", look)
    for seed in (0, 1):
        lstm = LSTM(1, 1, seed=seed)
        fastlstm.save(lstm, path)
        assert fastlstm.load(path).flat.tobytes() == lstm.flat.tobytes()
    assert len(renamed) == 2
    assert sorted(os.listdir(tmp_path)) == [young.name, "network"]
