"""examples/weather.py on synthetic data: from cleaning to a run from end to end, and the stop without data."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

for package in ("matplotlib", "platformdirs", "tqdm"):
    pytest.importorskip(package)

WEEK = 7 * 144
N = 20 * WEEK
EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def weather():
    sys.path.insert(0, str(EXAMPLES))
    try:
        import weather

        yield weather
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def csv_file():
    """Twenty weeks: a byte order mark, one bad pressure, a gap of 3 readings, one of 7, and an empty temperature."""
    rng = np.random.default_rng(0)
    times = np.datetime64("2016-01-09T15:30") + np.timedelta64(10, "m") * np.arange(N)
    drift = np.cumsum(rng.normal(0, 0.1, N))
    temperature = 10 + 5 * np.sin(2 * np.pi * np.arange(N) / 144) + drift - np.linspace(0, drift[-1], N)
    lines = ["Timestamp,Spd80mN,Dir38mS,T2m,RH2m,P2m"]
    for k, (when, celsius) in enumerate(zip(times, temperature, strict=True)):
        if 100 <= k < 103 or 200 <= k < 207:
            continue
        stamp = f"{when}".replace("T", " ") + ":00"
        pressure = 592.2 if k == 50 else 935 + k % 2
        lines.append(f"{stamp},{8 + k % 3},90,{'' if k == 300 else f'{celsius:.3f}'},{90 + k % 7},{pressure}")
    return "\n".join(lines).encode("utf-8-sig")


@pytest.fixture(scope="module")
def mast(weather, csv_file):
    return weather.clean(weather.read_mast(csv_file))


def test_reading(weather, csv_file):
    raw = weather.read_mast(csv_file)
    assert raw.times[0] == np.datetime64("2016-01-09T15:30")
    assert len(raw.times) == N - 10
    assert np.flatnonzero(np.isnan(raw.pressure)).tolist() == [50]
    assert np.isnan(raw.temperature).sum() == 1
    np.testing.assert_allclose(raw.eastward[:4], [-8, -9, -10, -8])  # a wind from the east
    np.testing.assert_allclose(raw.northward, 0, atol=1e-12)


def test_cleaning(weather, mast):
    assert len(mast.times) == N
    assert np.all(np.diff(mast.times) == weather.INTERVAL)
    assert np.flatnonzero(~mast.known()).tolist() == list(range(200, 207))  # the long gap alone stays
    assert mast.pressure[50] == 936  # between its neighbours, not 592
    np.testing.assert_allclose(np.diff(mast.temperature[99:104], n=2), 0, atol=1e-9)


def test_gaps_at_the_ends_stay(weather):
    filled = weather.fill_short_gaps(np.array([np.nan, 1, np.nan, 3, np.nan]))
    np.testing.assert_array_equal(filled, [np.nan, 1, 2, 3, np.nan])


def test_windows_span_no_long_gap(weather, mast):
    assert weather.PAST == 576
    starts = weather.window_starts(mast)
    assert starts.tolist() == list(range(207, N - weather.SPAN + 1))
    x = np.arange(len(mast.times) * 7.0).reshape(-1, 7)
    windows = weather.inputs(x, starts[:2])
    assert windows.shape == (576, 2, 7)
    np.testing.assert_array_equal(windows[:, 1], x[208 : 208 + 576])
    expected = x[starts[:2] + 719, :1] - 0.5 * x[starts[:2] + 575, :1]
    np.testing.assert_array_equal(weather.targets(x, starts[:2], damping=0.5), expected)


def test_persistence_and_truth_are_a_day_apart(weather, mast):
    starts = np.array([207, 1000])
    np.testing.assert_array_equal(weather.persistence(mast, starts), mast.temperature[starts + 575])
    np.testing.assert_array_equal(weather.truth(mast, starts), mast.temperature[starts + 575 + 144])
    error = weather.mean_error(weather.persistence(mast, starts), mast, starts)
    assert error == pytest.approx(np.abs(mast.temperature[starts + 719] - mast.temperature[starts + 575]).mean())


def test_no_window_reaches_across_a_border(weather):
    length = 200 * WEEK
    parts = weather.split(np.arange(length - weather.SPAN + 1), length)
    seen = [np.zeros(length, bool) for _ in parts]
    for marks, starts in zip(seen, parts, strict=True):
        for first, end in pairwise([0, *np.flatnonzero(np.diff(starts) > 1) + 1, len(starts)]):
            marks[starts[first] : starts[end - 1] + weather.SPAN] = True
    assert np.all(np.sum(seen, axis=0) == 1)  # every reading is used, in one part
    assert seen[2].argmax() == 170 * WEEK
    assert seen[2][170 * WEEK :].all()
    np.testing.assert_array_equal(np.flatnonzero(seen[1][::WEEK])[:4], [12, 13, 14, 27])


def test_scaling_sees_the_training_part_alone(weather, mast):
    train = weather.split(weather.window_starts(mast), len(mast.times)).train
    train = train[train < 10 * WEEK]
    scaling = weather.fit_scaling(mast, train)
    now = weather.scaled(mast, scaling)[train + weather.PAST - 1]
    moving = scaling.std > 1e-9  # the wind never blows from the north
    assert moving.tolist() == [True, True, True, True, False, True, True]
    np.testing.assert_allclose(now[:, moving].mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(now[:, moving].std(axis=0), 1, atol=1e-3)
    changed = mast._replace(temperature=mast.temperature.copy())
    changed.temperature[train[-1] + weather.SPAN :] = 1000
    for ours, theirs in zip(scaling, weather.fit_scaling(changed, train), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_run_from_end_to_end(weather, csv_file, tmp_path, monkeypatch):
    monkeypatch.setattr(weather, "BATCH", 16)
    options = weather.Options(hidden_size=4, networks=2, epochs=2, stride=150, seed=0)
    report = weather.run(csv_file, tmp_path, options)
    assert [line.split()[0] for line in report.splitlines()] == ["test", "persistence", "LSTM", "improvement", "time"]
    assert (tmp_path / "weather.png").read_bytes().startswith(b"\x89PNG")
    with np.load(tmp_path / "weather-2.npz", allow_pickle=False) as first:
        saved = dict(first)
    assert all(np.isfinite(saved[name]).all() for name in ("lstm", "dense", "season", "mean", "std"))
    weather.run(csv_file, tmp_path, options)
    with np.load(tmp_path / "weather-2.npz", allow_pickle=False) as again:
        np.testing.assert_array_equal(again["lstm"], saved["lstm"])  # one seed, one result


def run_example(*arguments, **environment):
    return subprocess.run(
        [sys.executable, EXAMPLES / "weather.py", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_data_one_sentence(tmp_path):
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    ended = run_example("--cache", tmp_path / "cache", "--out", tmp_path / "out", **offline)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert "brightwind 2.7.0" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()
