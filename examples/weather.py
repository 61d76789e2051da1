"""The weather: temperature 24 hours ahead, from the last 96 hours of 10-minute readings.

A many-to-one task: 576 readings go in one after the other, one number comes out. The forecast to beat is persistence:
tomorrow at this time it will be as warm as now.

    pip install '.[examples]'
    python -m examples weather

The data are two years from the demonstration mast of the package brightwind (MIT licence), which pip downloads once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from _data import fetch
from _datasets import Parts
from _datasets.weather import SOURCE, Array, Mast, read
from _task import Options, Result, main
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from fastlstm import LSTM, nn, save

Times = NDArray[np.datetime64]
Indices = NDArray[np.intp]

DAY = 24 * 6  # readings
PAST, AHEAD = 4 * DAY, DAY  # readings up to now, and from now to the moment of the forecast
SPAN = PAST + AHEAD
STRIDE = 18  # readings between the windows of an epoch: those next to each other are nearly the same

BATCH = 64
NOISE = np.float32(0.3)  # each training window is shifted so much, lest its days be learnt by heart


def window_starts(mast: Mast) -> Indices:
    """Find where windows can begin: nothing is missing from the first reading to the one that is forecast."""
    return np.flatnonzero(sliding_window_view(mast.known(), SPAN).all(axis=1))


def split(starts: Indices, length: int) -> Parts[Indices]:
    """Keep the last 15 % of the time for the test; of each 15 weeks before, validate on the last 3.

    So the validation part has seen every season, as one stretch of three months would not. No window reaches across a
    border.
    """
    test = length * 85 // 100
    part = (np.arange(length) // (7 * DAY) % 15 >= 12).astype(int)  # 0 to train, 1 to validate
    part[test:] = 2
    border = np.flatnonzero(np.diff(part)) + 1  # where another part begins
    whole = np.searchsorted(border, starts, "right") == np.searchsorted(border, starts + SPAN - 1, "right")
    return Parts(*(starts[whole & (part[starts] == k)] for k in range(3)))


def persistence(mast: Mast, starts: Indices) -> Array:
    """Give the last temperature of each window."""
    return mast.temperature[starts + PAST - 1]


def mean_error(forecast: Array, mast: Mast, starts: Indices) -> float:
    """Give the mean absolute error, degrees C."""
    return float(np.abs(forecast - mast.temperature[starts + SPAN - 1]).mean())


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
    return np.stack([warmer, *mast[2:], *wave(mast.times, np.timedelta64(24, "h"))], axis=1)


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


class Windows:
    """Batches for `fit`: windows, and where the first feature goes other than by damped persistence.

    In training every epoch has other ones, which noise makes a little warmer or colder, windier or calmer all through.
    """

    def __init__(self, mast: Mast, starts: Indices, scaling: Scaling) -> None:
        self.x, self.starts, self.damping = scaled(mast, scaling), starts, scaling.damping

    def __len__(self) -> int:
        return -(-(len(self.starts) // STRIDE) // BATCH)

    def epoch(self, rng: np.random.Generator | None = None) -> Iterator[nn.Batch]:
        """Give every `STRIDE`-th window, beginning anywhere, or without `rng` with the first."""
        first = 0 if rng is None else rng.integers(STRIDE)
        starts = self.starts[first::STRIDE][: len(self.starts) // STRIDE]
        targets = self.x[starts + SPAN - 1, :1] - self.damping * self.x[starts + PAST - 1, :1]
        for batch in nn.Batches(windows(self.x, starts), targets, BATCH).epoch(rng):
            if rng is not None:
                x = batch.inputs["x"]
                x += NOISE * rng.standard_normal(x.shape[1:], dtype=np.float32)
            yield batch


def windows(x: Array, starts: Indices) -> list[Array]:
    """Give windows of the features, (T, 7) each, as views."""
    return [x[start : start + PAST] for start in starts]


def network(hidden_size: int, seed: int) -> nn.Sequential:
    """Give an LSTM with peepholes that reads a window, and a layer that says one number at the end."""
    rng = np.random.default_rng(seed)
    return nn.Sequential(LSTM(7, hidden_size, seed=rng), nn.Last(), nn.Dense(hidden_size, 1, seed=rng))


def damped(mast: Mast, starts: Indices, scaling: Scaling) -> Array:
    """Forecast without a network: the season's temperature, and what is left of the unusual in the last one."""
    warmer = scaling.damping * scaled(mast, scaling)[starts + PAST - 1, 0]
    usual = seasons(mast.times[starts + SPAN - 1]) @ scaling.season
    return usual + scaling.mean[0] + scaling.std[0] * warmer


def forecast(model: nn.Sequential, mast: Mast, starts: Indices, scaling: Scaling) -> Array:
    """Forecast the temperature 24 hours after each window, degrees C: the network corrects damped persistence."""
    correction = model.predict(windows(scaled(mast, scaling), starts))[:, 0]
    return damped(mast, starts, scaling) + scaling.std[0] * correction


def train(
    mast: Mast, starts: Indices, hidden_size: int, epochs: int, seed: int, validation: Indices | None = None
) -> tuple[nn.Sequential, Scaling, nn.History]:
    """Train a network on some windows."""
    scaling = fit_scaling(mast, starts)
    model = network(hidden_size, seed)
    history = nn.fit(
        model,
        nn.mae,
        Windows(mast, starts, scaling),
        None if validation is None else Windows(mast, validation, scaling),
        optimiser=nn.Adam(model.flat, 2e-3),
        epochs=epochs,
        clip=1.0,
        average=0.99,
        seed=seed,
    )
    return model, scaling, history


def picture(
    mast: Mast, starts: Indices, said: Array, curves: Array, level: float, result: Result, weeks: int = 3
) -> Figure:
    """Draw some weeks of forecasts, learning curves (epochs, networks, 2) and what no network does, the errors."""
    then, true, same = mast.times[starts + SPAN - 1], mast.temperature[starts + SPAN - 1], persistence(mast, starts)
    figure = Figure(figsize=(12, 8), layout="constrained")
    axes = figure.subplot_mosaic([["weeks", "weeks"], ["curve", "errors"]], height_ratios=[3, 2])
    figure.suptitle(
        "Temperature 24 hours ahead, held-out data: mean absolute error "
        f"LSTM {result.found:.2f} °C, persistence {result.baseline:.2f} °C, damped {result.stronger:.2f} °C"
    )
    some = then < then[0] + np.timedelta64(7 * weeks, "D")
    axes["weeks"].plot(then[some], same[some], color="0.7", label="persistence")
    axes["weeks"].plot(then[some], true[some], color="black", label="measured")
    axes["weeks"].plot(then[some], said[some], color="tab:red", label="LSTM")
    axes["weeks"].set(title=f"The first {weeks} weeks of the test part", ylabel="temperature (°C)")
    axes["weeks"].margins(x=0)
    axes["weeks"].xaxis.set_major_formatter(ConciseDateFormatter(axes["weeks"].xaxis.get_major_locator()))

    epochs = np.arange(1, len(curves) + 1)
    for k, (name, colour) in enumerate({"training": "tab:blue", "validation": "tab:orange"}.items()):
        axes["curve"].plot(epochs, curves[:, :, k], color=colour, alpha=0.3, linewidth=1)
        axes["curve"].plot(epochs, curves[:, :, k].mean(axis=1), color=colour, label=name)
    axes["curve"].set(title="Learning: each network, and the mean", xlabel="epoch", ylabel="mean absolute error (°C)")
    axes["curve"].axhline(level, color="0.6", linestyle="--", label="damped persistence, validation")
    axes["curve"].locator_params("x", integer=True)

    bins = np.linspace(-10, 10, 61)
    axes["errors"].hist(same - true, bins, color="0.7", label="persistence")
    axes["errors"].hist(said - true, bins, color="tab:red", histtype="step", linewidth=1.5, label="LSTM")
    axes["errors"].set(title="Errors in the test part", xlabel="forecast - measured (°C)", ylabel="windows")
    for axis in axes.values():
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    return figure


def run(options: Options) -> tuple[Result, Figure]:
    """Choose the number of epochs on the validation part, then train as long on all that is before the test part.

    Several networks are trained, which differ in their seeds: the mean of their forecasts is better than most.
    """
    hidden_size, networks, epochs = (16, 1, 10) if options.quick else (32, 3, 60)
    mast = read(fetch(SOURCE, options.cache))
    starts = window_starts(mast)
    parts = split(starts, len(mast.times))
    seeds = range(options.seed, options.seed + networks)
    courses = []
    for seed in seeds:
        _, scaling, history = train(mast, parts.train, hidden_size, epochs, seed, parts.validation)
        courses.append([(epoch.loss, epoch.validation) for epoch in history.epochs])
    curves = scaling.std[0] * np.array(list(zip(*courses, strict=False)))  # Ctrl-C may have ended one earlier
    validation = curves[:, :, 1].mean(axis=1)
    level = mean_error(damped(mast, parts.validation, scaling), mast, parts.validation)
    best = int(validation.argmin()) + 1

    before_test = starts[starts + SPAN <= parts.test[0]]
    forecasts = []
    for seed in seeds:
        model, scaling, _ = train(mast, before_test, hidden_size, best, seed)
        extra = {name: np.asarray(value).tolist() for name, value in scaling._asdict().items()}
        save(model, options.out / f"weather-{seed}.safetensors", extra)
        forecasts.append(forecast(model, mast, parts.test, scaling))

    said = np.mean(forecasts, axis=0)
    found, baseline = (mean_error(one, mast, parts.test) for one in (said, persistence(mast, parts.test)))
    stronger = mean_error(damped(mast, parts.test, scaling), mast, parts.test)
    details = {
        "each network": ", ".join(f"{mean_error(one, mast, parts.test):.2f}" for one in forecasts) + " °C",
        "epochs": f"{best}, with {validation.min():.2f} °C on the validation part",
    }
    measure, parameters = "mean absolute error 24 hours ahead", networks * model.flat.size
    result = Result(
        measure, "°C", found, baseline, "persistence", False, parameters, details, stronger, "damped persistence"
    )
    return result, picture(mast, parts.test, said, curves, level, result)


if __name__ == "__main__":
    main(__doc__, "weather", run)
