"""Announcements of a telephone exchange: 25 minutes of one speaker, with what she says."""

from __future__ import annotations

import gzip
import io
import re
import wave
from typing import NamedTuple

import numpy as np
from _data import Deb
from numpy.typing import NDArray

from . import Parts, split

SOUNDS = Deb(
    package="asterisk-core-sounds-en-wav",
    version="1.6.1-1",
    sha256="2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
    pattern="usr/share/asterisk/sounds/en_US_f_Allison/*.wav",
)
TRANSCRIPTS = Deb(
    package="asterisk-core-sounds-en",
    version="1.6.1-1",
    sha256="973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50",
    pattern="usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz",
)
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPOKEN = {"*": "star", "#": "pound", **{str(digit): name for digit, name in enumerate(DIGITS)}}
RATE = 8000  # samples per second


class Utterance(NamedTuple):
    """Samples (n,), from -1 to 1, and what is said, in the letters a to z, the apostrophe and spaces."""

    samples: NDArray[np.float32]
    text: str


def read(sounds: dict[str, bytes], transcripts: dict[str, bytes]) -> Parts[list[Utterance]]:
    """Read the sounds in which something is said; those of the same words stay together."""
    (file,) = transcripts.values()
    lines = (line.partition(":") for line in gzip.decompress(file).decode().splitlines())
    texts = {name.strip(): spoken(text) for name, _, text in lines}
    root = SOUNDS.pattern.removesuffix("*.wav")
    named = [(texts[name.removeprefix(root).removesuffix(".wav")], sound) for name, sound in sounds.items()]
    utterances = [Utterance(read_samples(sound), text) for text, sound in named if text]
    return split(utterances, lambda utterance: utterance.text)


def spoken(text: str) -> str:
    """Give the words that are said: no notes in brackets, and signs and digits by their names."""
    without_notes = re.sub(r"\(.*?\)|\[.*?\]|<.*?>", "", text.lower())
    in_words = re.sub(r"[*#\d]", lambda sign: f" {SPOKEN[sign[0]]} ", without_notes)
    return " ".join(re.findall("[a-z']+", in_words))


def read_samples(sound: bytes) -> NDArray[np.float32]:
    """Read a WAVE file of 16 bits, one channel and 8,000 samples per second."""
    with wave.open(io.BytesIO(sound)) as file:
        if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, RATE):
            raise ValueError(f"a sound has the format {file.getparams()}, not the expected one")
        return (np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768).astype(np.float32)
