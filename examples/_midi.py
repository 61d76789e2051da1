"""Voices as a standard MIDI file, which every music program opens."""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

QUARTER = 480  # ticks
CHOIR = 52  # the General MIDI sound "choir aahs", counted from 0


def notes(line: NDArray[np.integer]) -> list[tuple[int, int, int]]:
    """Give the notes of a voice, from its pitch at each step: first step, step after the last, pitch; 0 is silence."""
    borders = [0, *np.flatnonzero(np.diff(line)) + 1, len(line)]
    return [(int(begin), int(end), int(line[begin])) for begin, end in pairwise(borders) if line[begin]]


def midi(voices: NDArray[np.integer], beats_per_minute: int = 80) -> bytes:
    """Give the file of voices (T, V) in steps of a quarter note: a track and a channel for each voice."""
    header = struct.pack(">4sIHHH", b"MThd", 6, 1, voices.shape[1], QUARTER)
    tempo = (0, b"\xff\x51\x03" + struct.pack(">I", 60_000_000 // beats_per_minute)[1:])
    tracks = []
    for channel, line in enumerate(voices.T):
        events = [tempo] if channel == 0 else []
        events.append((0, bytes([0xC0 | channel, CHOIR])))
        for begin, end, pitch in notes(line):
            events.append((begin * QUARTER, bytes([0x90 | channel, pitch, 80])))
            events.append((end * QUARTER, bytes([0x80 | channel, pitch, 0])))
        tracks.append(track([*events, (len(line) * QUARTER, b"\xff\x2f\x00")]))
    return header + b"".join(tracks)


def track(events: list[tuple[int, bytes]]) -> bytes:
    """Give the chunk of events at times in ticks: each is written after the time since the one before it."""
    times = [0, *(time for time, _ in events)]
    body = b"".join(variable_length(b - a) + event for (a, b), (_, event) in zip(pairwise(times), events, strict=True))
    return struct.pack(">4sI", b"MTrk", len(body)) + body


def variable_length(number: int) -> bytes:
    """Give a number in groups of seven bits, the highest first; the high bit says that another one follows."""
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F | 0x80)
    return bytes(reversed(groups))
