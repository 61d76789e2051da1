"""examples/weather.py on synthetic data: from cleaning to a run from end to end, and the stop without data."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fastlstm import load, load_extra
from fastlstm.nn import evaluate, mae

for package in ("matplotlib", "platformdirs", "safetensors", "tqdm"):
    pytest.importorskip(package)

WEEK = 7 * 144
N = 20 * WEEK
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def weather():
    sys.path.insert(0, str(EXAMPLES))
    try:
        import weather

        yield weather
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def data(weather):
    """The module that reads."""
    return sys.modules["_datasets.weather"]


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
def mast(data, csv_file):
    return data.read({"demo_data.csv": csv_file})


def test_reading(data, csv_file):
    raw = data.read_table(csv_file)
    assert raw.times[0] == np.datetime64("2016-01-09T15:30")
    assert len(raw.times) == N - 10
    assert np.flatnonzero(np.isnan(raw.pressure)).tolist() == [50]
    assert np.isnan(raw.temperature).sum() == 1
    np.testing.assert_allclose(raw.eastward[:4], [-8, -9, -10, -8])  # a wind from the east
    np.testing.assert_allclose(raw.northward, 0, atol=1e-12)


def test_cleaning(data, mast):
    assert len(mast.times) == N
    assert np.all(np.diff(mast.times) == data.INTERVAL)
    assert np.flatnonzero(~mast.known()).tolist() == list(range(200, 207))  # the long gap alone stays
    assert mast.pressure[50] == 936  # between its neighbours, not 592
    np.testing.assert_allclose(np.diff(mast.temperature[99:104], n=2), 0, atol=1e-9)


def test_gaps_at_the_ends_stay(data):
    filled = data.fill_short_gaps(np.array([np.nan, 1, np.nan, 3, np.nan]))
    np.testing.assert_array_equal(filled, [np.nan, 1, 2, 3, np.nan])


def test_windows_span_no_long_gap(weather, mast):
    assert weather.PAST == 576
    starts = weather.window_starts(mast)
    assert starts.tolist() == list(range(207, N - weather.SPAN + 1))


def test_batches(weather, mast):
    train = weather.split(weather.window_starts(mast), len(mast.times)).train
    scaling = weather.fit_scaling(mast, train)
    scaling.std[4] = 1  # the wind never blows from the north
    source, x = weather.Windows(mast, train, scaling), weather.scaled(mast, scaling)
    batches = list(source.epoch())
    assert len(batches) == len(source) > 2
    one, row = batches[-1], train[:: weather.STRIDE][len(train) // weather.STRIDE - 1]
    assert one.inputs["x"].shape == (576, one.size, 7)
    np.testing.assert_array_equal(one.inputs["x"][:, -1], x[row : row + 576])
    assert one.targets["target"][-1] == x[row + 719, 0] - np.float32(scaling.damping) * x[row + 575, 0]


def test_batches_of_training(weather, mast, monkeypatch):
    train = weather.split(weather.window_starts(mast), len(mast.times)).train
    scaling = weather.fit_scaling(mast, train)._replace(std=np.ones(7))
    source = weather.Windows(mast, train, scaling)
    noisy = list(source.epoch(np.random.default_rng(0)))
    assert len(noisy) == len(source)
    monkeypatch.setattr(weather, "NOISE", np.float32(0))
    plain, other = (list(source.epoch(np.random.default_rng(seed))) for seed in (0, 1))
    assert {row for batch in plain for row in batch.targets["target"][:, 0]}.isdisjoint(
        row for batch in other for row in batch.targets["target"][:, 0]
    )
    noise = [one.inputs["x"] - same.inputs["x"] for one, same in zip(noisy, plain, strict=True)]
    for one in noise:  # the same at all steps, up to rounding of values near 1000
        np.testing.assert_allclose(one, np.broadcast_to(one[0], one.shape), atol=2e-4)
    assert np.concatenate(noise, axis=1)[0].std(axis=0) == pytest.approx(0.3, rel=0.1)


def test_persistence_and_error(weather, mast):
    starts = np.array([207, 1000])
    same = weather.persistence(mast, starts)
    np.testing.assert_array_equal(same, mast.temperature[[207 + 575, 1000 + 575]])
    tomorrow = mast.temperature[[207 + 575 + 144, 1000 + 575 + 144]]
    assert weather.mean_error(same, mast, starts) == pytest.approx(np.abs(tomorrow - same).mean())
    assert weather.mean_error(tomorrow + np.array([1, -3]), mast, starts) == pytest.approx(2)


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
    monkeypatch.setattr(weather, "STRIDE", 2000)
    monkeypatch.setattr(weather, "fetch", lambda source, cache: {"demo_data.csv": csv_file})
    options = weather.Options(seed=3, out=tmp_path)
    result, figure = weather.run(options)
    assert 0 < result.found < 5
    assert 0 < result.baseline < 5
    assert len(figure.axes) == 3

    mast = weather.read(weather.fetch(weather.SOURCE, options.cache))
    test = weather.split(weather.window_starts(mast), len(mast.times)).test
    assert result.baseline == weather.mean_error(weather.persistence(mast, test), mast, test)
    said = []
    for k in (3, 4, 5):
        path = tmp_path / f"weather-{k}.safetensors"
        extra = load_extra(path)
        scaling = weather.Scaling(*map(np.array, (extra["season"], extra["mean"], extra["std"])), extra["damping"])
        said.append(weather.forecast(load(path), mast, test, scaling))
    assert not np.allclose(said[0], said[1])
    assert weather.mean_error(np.mean(said, axis=0), mast, test) == result.found


def test_one_seed_gives_one_network(weather, mast, monkeypatch):
    monkeypatch.setattr(weather, "STRIDE", 900)
    train, validation, _ = weather.split(weather.window_starts(mast), len(mast.times))
    (one, scaling, history), (same, _, _), (other, _, _) = (
        weather.train(mast, train, 4, 2, seed, validation) for seed in (1, 1, 2)
    )
    assert one.flat.tobytes() == same.flat.tobytes() != other.flat.tobytes()
    found = evaluate(one, mae, weather.Windows(mast, validation, scaling))
    assert found == min(epoch.validation for epoch in history.epochs)


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
    first, last = ended.stderr.splitlines()
    assert first == "downloading the Python package brightwind 2.7.0 ..."
    assert last.startswith("This example needs the data in the Python package brightwind 2.7.0, which is not in the")
    assert "Traceback" not in ended.stderr
    assert not list((tmp_path / "out").iterdir())
