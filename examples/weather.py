"""The weather: temperature 24 hours ahead, from the last 96 hours of 10-minute readings.

A many-to-one task: 576 readings go in one after the other, one number comes out. The forecast to beat is persistence:
tomorrow at this time it will be as warm as now.

    pip install "fastlstm[examples]"
    python examples/weather.py

The data are two years from the demonstration mast of the package brightwind (MIT licence), which pip downloads once.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from _data import DataUnavailable, Wheel, default_cache, fetch
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from tqdm import tqdm

from fastlstm import LSTM
from fastlstm.nn import Adam, Dense, clip_norm, mae

Array = NDArray[np.floating]
Times = NDArray[np.datetime64]
Indices = NDArray[np.intp]

MAST_DATA = Wheel(
    package="brightwind",
    version="2.7.0",
    sha256="7f346914d3ee45f5ee511f05afb1b160815065fd99753a620e1ca9a4414b9cd6",
    pattern="brightwind/demo_datasets/demo_data.csv",
)
PLAUSIBLE = {  # channel: what a working sensor may read
    "T2m": (-40, 50),  # temperature, degrees C
    "P2m": (850, 1050),  # pressure, hPa; one reading is 592
    "RH2m": (0, 100),  # relative humidity, %
    "Spd80mN": (0, 75),  # wind speed, m/s
    "Dir38mS": (0, 360),  # where the wind comes from, degrees; the vanes above this one stick for months
}
INTERVAL = np.timedelta64(10, "m")
LONGEST_GAP = 6  # readings that may be interpolated: an hour
PAST, AHEAD = 96 * 6, 24 * 6  # readings up to now, and from now to the moment of the forecast
SPAN = PAST + AHEAD

BATCH = 64
LEARNING_RATE = 2e-3
NOISE = np.float32(0.3)  # each training window is shifted so much, lest its days be learnt by heart
AVERAGING = 0.99  # how much of the average of the weights stays at each step
PATIENCE = 16  # epochs without a better validation error


# ---- data ------------------------------------------------------------------------------------------------------------


class Mast(NamedTuple):
    """What was measured, each (n,): degrees C, hPa, % and, for where the wind blows to, m/s."""

    times: Times
    temperature: Array
    pressure: Array
    humidity: Array
    eastward: Array
    northward: Array

    def known(self) -> NDArray[np.bool_]:
        """Tell where all of it was measured."""
        return np.isfinite(self[1:]).all(axis=0)


def read_mast(data: bytes) -> Mast:
    """Read a file, with NaN where a reading is missing or cannot be."""
    rows = list(csv.DictReader(data.decode("utf-8-sig").splitlines()))  # -sig: it begins with a byte order mark
    times = np.array([row["Timestamp"].replace(" ", "T") for row in rows], "datetime64[m]")
    readings = np.array([[float(row[channel] or "nan") for channel in PLAUSIBLE] for row in rows])
    lowest, highest = np.array(list(PLAUSIBLE.values())).T
    readings[(readings < lowest) | (readings > highest)] = np.nan
    temperature, pressure, humidity, speed, direction = readings.T
    angle = np.radians(direction)  # not itself a channel: it jumps in the north
    return Mast(times, temperature, pressure, humidity, -speed * np.sin(angle), -speed * np.cos(angle))


def clean(mast: Mast) -> Mast:
    """Put the readings on a regular grid of 10 minutes; short gaps are filled, long ones left as NaN."""
    slots = (mast.times - mast.times.min()) // INTERVAL
    times = mast.times.min() + INTERVAL * np.arange(slots.max() + 1)
    grid = np.full((len(mast) - 1, len(times)), np.nan)
    grid[:, slots] = mast[1:]
    return Mast(times, *(fill_short_gaps(channel) for channel in grid))


def fill_short_gaps(channel: Array) -> Array:
    """Interpolate where at most `LONGEST_GAP` readings in a row are missing."""
    index = np.arange(len(channel))
    known = index[np.isfinite(channel)]
    filled = np.interp(index, known, channel[known], left=np.nan, right=np.nan)
    for gap in np.flatnonzero(np.diff(known) > LONGEST_GAP + 1):
        filled[known[gap] + 1 : known[gap + 1]] = np.nan
    return filled


def window_starts(mast: Mast) -> Indices:
    """Find where windows can begin: nothing is missing from the first reading to the one that is forecast."""
    return np.flatnonzero(sliding_window_view(mast.known(), SPAN).all(axis=1))


class Parts(NamedTuple):
    """First readings of the windows of each part."""

    train: Indices
    validation: Indices
    test: Indices


def split(starts: Indices, length: int) -> Parts:
    """Keep the last 15 % of the time for the test; of each 15 weeks before, validate on the last 3.

    So the validation part has seen every season, as one stretch of three months would not. No window reaches across a
    border.
    """
    test = length * 85 // 100
    part = (np.arange(length) // (7 * 144) % 15 >= 12).astype(int)  # 0 to train, 1 to validate
    part[test:] = 2
    border = np.flatnonzero(np.diff(part)) + 1  # where another part begins
    whole = np.searchsorted(border, starts, "right") == np.searchsorted(border, starts + SPAN - 1, "right")
    return Parts(*(starts[whole & (part[starts] == k)] for k in range(3)))


def persistence(mast: Mast, starts: Indices) -> Array:
    """Give the last temperature of each window."""
    return mast.temperature[starts + PAST - 1]


def truth(mast: Mast, starts: Indices) -> Array:
    """Give the temperature 24 hours after each window."""
    return mast.temperature[starts + SPAN - 1]


def mean_error(forecast: Array, mast: Mast, starts: Indices) -> float:
    """Give the mean absolute error, degrees C."""
    return float(np.abs(forecast - truth(mast, starts)).mean())


Curve = list[tuple[float, float]]  # training and validation error of each epoch, degrees C


class Options(NamedTuple):
    """How large and how long: hidden units, networks, epochs at most, readings between windows of training, seed."""

    hidden_size: int
    networks: int
    epochs: int
    stride: int
    seed: int


# ---- what the network sees -------------------------------------------------------------------------------------------


class Scaling(NamedTuple):
    """What is known of the training part.

    Its seasons (3,), mean and standard deviation of the features (7,), and how much of an unusual warmth is left a day
    later: damped persistence, to which the network adds what it reads from the window.
    """

    season: Array
    mean: Array
    std: Array
    damping: float


def wave(times: Times, period: np.timedelta64) -> list[Array]:
    """Give sine and cosine of a time in its day or year: a clock without a jump at midnight."""
    angle = 2 * np.pi * ((times - np.datetime64("2000-01-01T00:00")) / period)
    return [np.sin(angle), np.cos(angle)]


def seasons(times: Times) -> Array:
    """Give what the usual temperature of a time of year is a weighted sum of, (n, 3)."""
    return np.stack([np.ones(len(times)), *wave(times, np.timedelta64(8766, "h"))], axis=1)


def features(mast: Mast, season: Array) -> Array:
    """Give what the network reads, (n, 7): how much warmer it is than usual, the other channels, time of day."""
    warmer = mast.temperature - seasons(mast.times) @ season
    clock = wave(mast.times, np.timedelta64(24, "h"))
    return np.stack([warmer, *mast[2:], *clock], axis=1)


def fit_scaling(mast: Mast, train: Indices) -> Scaling:
    """Fit the scaling to the training part alone."""
    today, tomorrow = (Mast(*(channel[train + k - 1] for channel in mast)) for k in (PAST, SPAN))
    season = np.linalg.lstsq(seasons(today.times), today.temperature)[0]
    found, warmer = features(today, season), features(tomorrow, season)[:, 0]
    damping = float(found[:, 0] @ warmer / (found[:, 0] @ found[:, 0]))
    return Scaling(season, found.mean(axis=0), found.std(axis=0), damping)


def scaled(mast: Mast, scaling: Scaling) -> Array:
    """Give the features (n, 7) with mean 0 and standard deviation 1."""
    return ((features(mast, scaling.season) - scaling.mean) / scaling.std).astype(np.float32)


def inputs(x: Array, starts: Indices) -> Array:
    """Give windows of the scaled features, (T, B, 7)."""
    return x[starts + np.arange(PAST)[:, np.newaxis]]


def targets(x: Array, starts: Indices, damping: float) -> Array:
    """Give what the network is to say: where the first feature goes other than by damped persistence, (B, 1)."""
    return x[starts + SPAN - 1, :1] - damping * x[starts + PAST - 1, :1]


# ---- the network -----------------------------------------------------------------------------------------------------


class Forecaster:
    """An LSTM with peepholes reads a window; from its last output, a dense layer corrects damped persistence."""

    def __init__(self, hidden_size: int, scaling: Scaling, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.scaling = scaling
        self.lstm = LSTM(len(scaling.mean), hidden_size, seed=rng)
        self.dense = Dense(hidden_size, 1, seed=rng)

    @property
    def parameters(self) -> list[Array]:
        """Give the parameters of both layers."""
        return [self.lstm.flat, self.dense.flat]

    def gradients(self, x: Array, target: Array) -> tuple[float, list[Array]]:
        """Give the loss of a batch and its gradients, as `parameters`."""
        _, (h, _), lstm_tape = self.lstm.forward(x)
        correction, dense_tape = self.dense.forward(h[0])
        loss, dcorrection = mae(correction, target)
        dense = self.dense.backward(dense_tape, dcorrection)
        lstm = self.lstm.backward(lstm_tape, None, (dense.x[np.newaxis], None))
        return loss, [lstm.flat, dense.flat]

    def forecast(self, mast: Mast, starts: Indices) -> Array:
        """Forecast the temperature 24 hours after each window, degrees C."""
        x = scaled(mast, self.scaling)
        warmer = self.scaling.damping * x[starts + PAST - 1, 0]
        for k in range(0, len(starts), 256):
            _, (h, _) = self.lstm(inputs(x, starts[k : k + 256]))
            warmer[k : k + 256] += self.dense(h[0])[:, 0]
        usual = seasons(mast.times[starts + SPAN - 1]) @ self.scaling.season
        return usual + self.scaling.mean[0] + self.scaling.std[0] * warmer

    def save(self, path: Path) -> None:
        """Keep all that `load` needs, as arrays and one text."""
        lstm, dense = self.parameters
        season, mean, std, damping = self.scaling
        config = json.dumps({"hidden_size": self.lstm.hidden_size, "damping": damping})
        np.savez(path, config=config, lstm=lstm, dense=dense, season=season, mean=mean, std=std)

    @classmethod
    def load(cls, path: Path) -> Forecaster:
        """Give the forecaster that was saved."""
        with np.load(path) as file:
            config = json.loads(str(file["config"]))
            scaling = Scaling(file["season"], file["mean"], file["std"], config["damping"])
            model = cls(config["hidden_size"], scaling)
            model.lstm.flat[:], model.dense.flat[:] = file["lstm"], file["dense"]
        return model


# ---- training --------------------------------------------------------------------------------------------------------


def train(model: Forecaster, mast: Mast, starts: Indices, stride: int, seed: int) -> Iterator[tuple[Forecaster, float]]:
    """Fit the model to some windows. Gives, after each epoch, a forecaster and its training error in degrees C.

    The forecaster has a running average of the model's weights (Polyak and Juditsky, 1992), which does better than the
    weights of any one step.
    """
    rng = np.random.default_rng(seed)
    x, scaling = scaled(mast, model.scaling), model.scaling
    optimisers = [Adam(flat, LEARNING_RATE) for flat in model.parameters]
    average = copy.deepcopy(model)
    while True:
        some = rng.permutation(starts[rng.integers(stride) :: stride])  # other windows in each epoch
        losses = []
        for batch in np.array_split(some, -(-len(some) // BATCH)):
            noise = NOISE * rng.standard_normal((1, len(batch), x.shape[1]), dtype=np.float32)
            loss, gradients = model.gradients(inputs(x, batch) + noise, targets(x, batch, scaling.damping))
            clip_norm(gradients, 1.0)
            for optimiser, gradient in zip(optimisers, gradients, strict=True):
                optimiser.step(gradient)
            newest = max(1 - AVERAGING, 1 / optimisers[0].t)
            for mean, flat in zip(average.parameters, model.parameters, strict=True):
                mean += newest * (flat - mean)
            losses.append(loss * scaling.std[0])
        yield copy.deepcopy(average), float(np.mean(losses))


def choose_epochs(training: Iterator[tuple[Forecaster, float]], mast: Mast, validation: Indices, epochs: int) -> Curve:
    """Train until the validation error has stopped falling. Gives the errors after each epoch."""
    curve: Curve = []
    with tqdm(islice(training, epochs), total=epochs, desc="choosing the epochs", unit="epoch") as bar:
        for model, error in bar:
            curve.append((error, mean_error(model.forecast(mast, validation), mast, validation)))
            bar.set_postfix_str("training {:.2f} °C, validation {:.2f} °C".format(*curve[-1]))
            if len(curve) >= best_epoch(curve) + PATIENCE:
                break
    return curve


def best_epoch(curve: Curve) -> int:
    """Give the epoch, from 1, with the lowest validation error."""
    return 1 + int(np.argmin([validation for _, validation in curve]))


def fit(mast: Mast, starts: Indices, parts: Parts, options: Options) -> tuple[list[Forecaster], Curve]:
    """Choose the number of epochs on the validation part, then train as long on all that is before the test part.

    Several networks are trained, which differ in their seeds: the mean of their forecasts is better than each.
    """

    def training(windows: Indices, seed: int) -> Iterator[tuple[Forecaster, float]]:
        model = Forecaster(options.hidden_size, fit_scaling(mast, windows), seed)
        return train(model, mast, windows, options.stride, seed)

    curve = choose_epochs(training(parts.train, options.seed), mast, parts.validation[::6], options.epochs)
    number = best_epoch(curve)
    before_test = starts[starts + SPAN <= parts.test[0]]
    models = []
    for k in range(options.networks):
        epochs = islice(training(before_test, options.seed + k), number)
        *_, (model, _) = tqdm(epochs, total=number, desc=f"network {k + 1} of {options.networks}", unit="epoch")
        models.append(model)
    return models, curve


# ---- results ---------------------------------------------------------------------------------------------------------


def plot(path: Path, mast: Mast, starts: Indices, forecast: Array, curve: Curve, weeks: int = 3) -> None:
    """Draw some weeks of forecasts, the learning curve and the errors."""
    then, true, same = mast.times[starts + SPAN - 1], truth(mast, starts), persistence(mast, starts)
    figure = Figure(figsize=(12, 8), layout="constrained")
    axes = figure.subplot_mosaic([["weeks", "weeks"], ["curve", "errors"]], height_ratios=[3, 2])
    figure.suptitle(
        "Temperature 24 hours ahead, held-out data: mean absolute error "
        f"LSTM {mean_error(forecast, mast, starts):.2f} °C, persistence {mean_error(same, mast, starts):.2f} °C"
    )
    some = (then >= then[0]) & (then < then[0] + np.timedelta64(7 * weeks, "D"))
    axes["weeks"].plot(then[some], same[some], color="0.7", label="persistence")
    axes["weeks"].plot(then[some], true[some], color="black", label="measured")
    axes["weeks"].plot(then[some], forecast[some], color="tab:red", label="LSTM")
    axes["weeks"].set(title=f"The first {weeks} weeks of the test part", ylabel="temperature (°C)")
    axes["weeks"].margins(x=0)
    axes["weeks"].xaxis.set_major_formatter(
        matplotlib.dates.ConciseDateFormatter(axes["weeks"].xaxis.get_major_locator())
    )

    epochs = np.arange(1, len(curve) + 1)
    for error, label in zip(np.transpose(curve), ("training", "validation"), strict=True):
        axes["curve"].plot(epochs, error, marker="o", markersize=3, label=label)
    axes["curve"].set(title="Learning", xlabel="epoch", ylabel="mean absolute error (°C)")
    axes["curve"].xaxis.get_major_locator().set_params(integer=True)

    bins = np.linspace(-10, 10, 61)
    axes["errors"].hist(same - true, bins, color="0.7", label="persistence")
    axes["errors"].hist(forecast - true, bins, color="tab:red", histtype="step", linewidth=1.5, label="LSTM")
    axes["errors"].set(title="Errors in the test part", xlabel="forecast - measured (°C)", ylabel="windows")
    for axis in axes.values():
        axis.legend(frameon=False)
    figure.savefig(path, dpi=120)


def report(mast: Mast, starts: Indices, forecast: Array, seconds: float) -> str:
    """Make a small table."""
    error, baseline = mean_error(forecast, mast, starts), mean_error(persistence(mast, starts), mast, starts)
    first, last = mast.times[starts[[0, -1]] + SPAN - 1].astype("datetime64[D]")
    return "\n".join(
        [
            f"test windows    {len(starts):8,}      forecasts for {first} to {last}",
            f"persistence     {baseline:8.3f} °C   mean absolute error",
            f"LSTM            {error:8.3f} °C   mean absolute error",
            f"improvement     {100 * (1 - error / baseline):8.1f} %",
            f"time            {seconds:8.0f} s",
        ]
    )


def run(data: bytes, out: Path, options: Options) -> str:
    """Do everything from the file to the report; the networks and the picture go to `out`."""
    began = time.perf_counter()
    mast = clean(read_mast(data))
    starts = window_starts(mast)
    parts = split(starts, len(mast.times))
    models, curve = fit(mast, starts, parts, options)

    forecasts = np.stack([model.forecast(mast, parts.test) for model in models])
    out.mkdir(parents=True, exist_ok=True)
    for k, (model, forecast) in enumerate(zip(models, forecasts, strict=True), 1):
        path = out / f"weather-{k}.npz"
        model.save(path)
        if not np.array_equal(Forecaster.load(path).forecast(mast, parts.test), forecast):
            raise RuntimeError(f"{path} does not forecast what the trained network does")
    mean = forecasts.mean(axis=0)
    plot(out / "weather.png", mast, parts.test, mean, curve)
    return report(mast, parts.test, mean, time.perf_counter() - began)


def main() -> None:
    """Run the example as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smaller network and less training")
    parser.add_argument("--epochs", type=int, help="at most so many (default: 60, quick: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights and the batches")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the model and the picture")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="folder for the data")
    given = parser.parse_args()
    hidden_size, networks, epochs, stride = (16, 1, 10, 18) if given.quick else (32, 3, 60, 18)
    try:
        (data,) = fetch(MAST_DATA, given.cache).values()
    except DataUnavailable as error:
        sys.exit(str(error))
    print(run(data, given.out, Options(hidden_size, networks, given.epochs or epochs, stride, given.seed)))
    print(f"see {given.out / 'weather.png'}")


if __name__ == "__main__":
    main()
