"""examples/_datasets: each reader on small files in the format of the real ones."""

import gzip
import importlib
import io
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("platformdirs")

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def dataset(monkeypatch):
    """Imports one of the modules."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return lambda name: importlib.import_module(f"_datasets.{name}")


def together(parts):
    return [item for part in parts for item in part]


def test_split(dataset):
    split = dataset("characters").split
    items = [*range(25), *range(25)]
    parts = split(items, lambda k: k)
    assert parts.validation == [8, 18, 8, 18]
    assert parts.test == [9, 19, 9, 19]
    assert sorted(together(parts)) == sorted(items)
    shuffled = split(reversed(items), lambda k: k)
    assert [sorted(part) for part in shuffled] == [sorted(part) for part in parts]


def test_sentiment(dataset):
    table = (
        "text,label,source\n"
        '"A ""film"", long.<br /><br />The end.",0,imdb\n'
        "good fun .,1,rotten_tomatoes\n"
        '"one line\nor two",0,rotten_tomatoes\n'
    )
    sentences, whole = dataset("sentiment").read({"table.csv": table.encode()})
    assert whole == [('A "film", long.  The end.', False)]
    assert together(sentences) == [("good fun .", True), ("one line\nor two", False)]


def note(length, pitch="", more=""):
    return f"<note>{more}{pitch}<duration>{length}</duration></note>"


def pitch(step, octave, alter=""):
    return f"<pitch><step>{step}</step>{alter}<octave>{octave}</octave></pitch>"


SHARP, FLAT = "<alter>1</alter>", "<alter>-1</alter>"


def mxl(*parts):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("META-INF/container.xml", "<container/>")
        archive.writestr(
            "piece.xml", f"<score-partwise>{''.join(f'<part>{part}</part>' for part in parts)}</score-partwise>"
        )
    return buffer.getvalue()


def test_chorales(dataset):
    quarter = "<attributes><divisions>2</divisions></attributes>"
    finer = "<attributes><divisions>4</divisions></attributes>"
    voices = (
        # C4 for a quarter, two eighths C#4 D4; then, with a new unit, Bb3 for two quarters
        f"<measure>{quarter}{note(2, pitch('C', 4))}{note(1, pitch('C', 4, SHARP))}{note(1, pitch('D', 4))}</measure>"
        f"<measure>{finer}{note(8, pitch('B', 3, FLAT))}</measure>",
        # a rest, a grace note, a note from the second eighth to the fourth, a rest
        f"<measure>{quarter}{note(1)}<note><grace/>{pitch('A', 3)}</note>{note(2, pitch('A', 3))}{note(5)}</measure>",
        f"<measure>{quarter}{note(8, pitch('E', 3))}<forward><duration>2</duration></forward></measure>",
        f"<measure>{quarter}{note(6, pitch('C', 3))}</measure>",
    )
    files = {"four.mxl": mxl(*voices), "five.mxl": mxl(*voices, voices[0])}
    (chorale,) = together(dataset("chorales").read(files))
    np.testing.assert_array_equal(chorale, [[60, 0, 52, 48], [61, 57, 52, 48], [58, 0, 52, 48], [58, 0, 52, 0]])


def test_the_same_tune_stays_in_one_part(dataset):
    def piece(first, octave):
        quarter = "<attributes><divisions>1</divisions></attributes>"
        steps = "".join(note(1, pitch(step, octave)) for step in first)
        return mxl(*[f"<measure>{quarter}{steps}</measure>"] * 4)

    tunes = [f"CDEFGAB{last}" for last in "CDEFGAB"] + [f"DDEFGAB{last}" for last in "CDE"]
    files = {f"{tune}{octave}": piece(tune, octave) for tune in tunes for octave in (3, 4)}
    parts = dataset("chorales").read(files)
    assert [len(part) for part in parts] == [16, 2, 2]
    low, high = parts.test
    np.testing.assert_array_equal(low + 12, high)


def test_characters(dataset):
    play = "# Macbeth\n\n## ACT I\n\n_Thunder. \\[Aside]_\n\n**First Witch**  \nWhen shall we three  \nmeet again?  \n"
    text = "".join(dataset("characters").read({"macbeth.md": play.encode()}))
    assert text == "Macbeth\n\nACT I\n\nThunder. [Aside]\n\nFirst Witch\nWhen shall we three\nmeet again?\n"
    plays = dataset("characters").read({f"{k:02}.md": b"ab"[k % 2 : k % 2 + 1] for k in range(20)})
    assert plays.validation == "a\na"
    assert plays.test == "b\nb"


def test_tagging(dataset):
    file = (
        "# text = Bu\n1 Bu bu PRON PRD _ 2 nsubj _ _\n2 ne ne PRON PRI _ 0 root _ _\n3 ? ? PUNCT . _ 2 p _ _\n\n"
        "# sent_id = 2\n1 Dur dur VERB VB _ 0 root _ _\n\n"
    ).replace(" ", "\t")
    sentences = together(dataset("tagging").read({"web.conllu": file.encode()}))
    assert sentences == [(("Bu", "ne", "?"), ("PRON", "PRON", "PUNCT")), (("Dur",), ("VERB",))]


def test_pronunciation(dataset):
    dictionary = "'em AH0 M\na AH0\na(2) EY1\naachen AA1 K AH0 N # place, german\na.m. EY2 EH1 M\n"
    words = together(dataset("pronunciation").read({"cmudict.dict": dictionary.encode()}))
    assert words == [("a", ("AH",)), ("aachen", ("AA", "K", "AH", "N"))]


def test_vowels(dataset):
    header = "#about it\n@problemName vowels\n@classLabel true 1 2\n@data\n"
    train = header + "".join(f"{k},1.5,2:{k},4,5:{1 + k % 2}\n" for k in range(10))
    parts = dataset("vowels").read({"x_TRAIN.ts": train.encode(), "x_TEST.ts": f"{header}7,8:9,10:2\n".encode()})
    assert [one.series[0, 0] for one in parts.train] == [0, 1, 2, 3, 5, 6, 7, 8]
    assert [one.series[0, 0] for one in parts.validation] == [4, 9]
    np.testing.assert_array_equal(parts.validation[0].series, [[4, 4], [1.5, 4], [2, 5]])
    assert parts.validation[0].speaker == 0
    ((series, speaker),) = parts.test
    np.testing.assert_array_equal(series, [[7, 9], [8, 10]])
    assert series.dtype == np.float32
    assert speaker == 1


def test_digits(dataset):
    rows = np.zeros((1797, 65), int)
    rows[:, :2] = 16, 4
    rows[:, 64] = np.arange(1797) // 200
    table = "\n".join(",".join(str(x) for x in row) for row in rows)
    forms = dataset("digits").read({"digits.csv.gz": gzip.compress(table.encode())})
    assert len(forms) == 14
    assert [len(form.images) for form in forms[:2]] == [130, 126]
    assert forms[0].images.shape == (130, 64)
    assert forms[0].images.dtype == np.float32
    np.testing.assert_array_equal(forms[0].images[0, :3], [1, 0.25, 0])
    np.testing.assert_array_equal(np.concatenate([form.labels for form in forms]), np.arange(1797) // 200)


def wav(samples, rate=8000):
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.array(samples, "<i2").tobytes())
    return buffer.getvalue()


def test_speech(dataset):
    speech = dataset("speech")
    root = speech.SOUNDS.pattern.removesuffix("*.wav")
    sounds = {f"{root}{name}.wav": wav([k, 2**14, -(2**15)]) for k, name in enumerate(["a/one", "beep", "press"])}
    transcripts = "; Sounds\n\na/one: I.\nbeep: [a beep]\npress: Don't press 1, or * (a tone): now!\nnot-there: Gone.\n"
    utterances = together(speech.read(sounds, {"list.txt.gz": gzip.compress(transcripts.encode())}))
    assert [text for _, text in utterances] == ["i", "don't press one or star now"]
    np.testing.assert_array_equal(utterances[1].samples, np.float32([2 / 2**15, 0.5, -1]))
    assert utterances[1].samples.dtype == np.float32
    with pytest.raises(ValueError, match="format"):
        speech.read_samples(wav([0], rate=16000))
