"""Chorales by Bach for four voices, in steps of a quarter note."""

from __future__ import annotations

import io
import math
import zipfile
from xml.etree import ElementTree

import numpy as np
from _data import Wheel
from numpy.typing import NDArray

from . import Parts, split

SOURCE = Wheel(
    package="music21",
    version="10.5.1",
    sha256="dc3309498c4c95cebdf8d4f20c868deb6b63bce1d929cad4f51a7ccc982987b1",
    pattern="music21/corpus/bach/*.mxl",
)
SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}

Chorale = NDArray[np.int64]  # (T, 4): the MIDI pitches of soprano, alto, tenor and bass at each step; 0 is silence
Note = tuple[float, float, int]  # begins and ends, in quarter notes; pitch


def read(files: dict[str, bytes]) -> Parts[list[Chorale]]:
    """Read the pieces that have four parts. Those with the same tune, in its first eight steps, stay together."""
    scores = [read_score(file) for file in files.values()]
    chorales = [to_steps(score) for score in scores if len(score) == 4]
    return split(chorales, lambda chorale: tuple(np.diff(chorale[:8, 0])))


def read_score(file: bytes) -> list[list[Note]]:
    """Read the parts of a score in compressed MusicXML."""
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("xml") and not name.startswith("META-INF/"))
        return [read_part(part) for part in ElementTree.fromstring(archive.read(name)).iter("part")]


def read_part(part: ElementTree.Element) -> list[Note]:
    """Read the notes of a part: one at a time, as voices have them."""
    notes, now, quarter = [], 0.0, 1
    for element in part.iterfind("measure/*"):
        quarter = int(element.findtext("divisions", quarter))  # the length of a quarter note from here on
        end = now + int(element.findtext("duration", 0)) / quarter  # grace notes have none
        pitch = element.find("pitch")
        if pitch is not None:
            octave, step, alter = (pitch.findtext(name, "0") for name in ("octave", "step", "alter"))
            notes.append((now, end, 12 * (int(octave) + 1) + SEMITONES[step] + int(alter)))
        now = end
    return notes


def to_steps(parts: list[list[Note]]) -> Chorale:
    """Give what sounds at the beginning of each quarter note."""
    length = math.ceil(max(end for notes in parts for _, end, _ in notes))
    chorale = np.zeros((length, len(parts)), np.int64)
    for voice, notes in enumerate(parts):
        for begin, end, pitch in notes:
            chorale[math.ceil(begin) : math.ceil(end), voice] = pitch
    return chorale
