"""examples/chorales.py on pieces made here: what the network is told, the baselines by hand, MIDI read back, a run."""

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest

import fastlstm

pytest.importorskip("matplotlib")
pytest.importorskip("platformdirs")

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def chorales(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import chorales

    return chorales


@pytest.fixture
def pieces():
    """Voices that go up and down a scale, each piece from another note."""
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12, 11, 9, 7, 5, 4, 2])
    rows = [scale[(np.arange(70)[:, np.newaxis] // [1, 2, 1, 4] + k) % 14] for k in range(14)]
    return [row + np.array([62, 57, 50, 40]) for row in rows]


def test_all_keys_keep_to_the_ranges_of_the_voices(chorales):
    low, high = np.array([[60, 55, 50, 40]]), np.array([[63, 60, 55, 45]])
    keys = chorales.all_keys([np.concatenate([low, np.zeros_like(low)]), high])
    assert [key[0, 0] for key in keys] == [60, 61, 62, 63, 60, 61, 62, 63]  # the soprano has room for three semitones
    assert all(not key[1].any() for key in keys[:4])  # silence stays
    np.testing.assert_array_equal(keys[2][0], [62, 57, 52, 42])


def test_the_network_is_told_the_latest_note_of_each_voice(chorales):
    piece = np.array([[72, 64, 55, 36], [74, 65, 0, 81]])
    x, ids = chorales.one_by_one(piece)
    assert x.shape == (8, 4 * 47 + 4)
    assert ids.tolist() == [37, 1, 29, 20, 39, 46, 30, 0]  # soprano, bass, alto, tenor
    notes, turn = x[:, :-4].reshape(8, 4, 47), x[:, -4:]
    assert np.all(notes.sum(axis=2) == 1)
    assert turn.argmax(axis=1).tolist() == [0, 3, 1, 2] * 2
    assert notes.argmax(axis=2).tolist() == [
        [0, 0, 0, 0], [37, 0, 0, 0], [37, 0, 0, 1], [37, 29, 0, 1],
        [37, 29, 20, 1], [39, 29, 20, 1], [39, 29, 20, 46], [39, 30, 20, 46],
    ]  # fmt: skip


def test_surprise_is_the_loss_and_in_the_order_of_the_voices(chorales, pieces):
    model = chorales.network(5, seed=0)
    some = [pieces[0][:9], pieces[1][:4]]
    nats = chorales.surprise(model, some)
    assert nats.shape == (13, 4)
    loss = fastlstm.nn.evaluate(model, fastlstm.nn.softmax_cross_entropy, chorales.batches(some, 2))
    assert nats.mean() == pytest.approx(loss, rel=1e-6)
    x, ids = chorales.one_by_one(some[1])
    logits, _ = model(x[:, np.newaxis])
    p = fastlstm.nn.softmax(logits)[:, 0]
    assert nats[9 + 2, 3] == pytest.approx(-np.log(p[4 * 2 + 1, ids[4 * 2 + 1]]), rel=1e-5)  # the bass is said second


def test_baselines_by_hand(chorales):
    train = [np.array([[60, 50, 48, 36], [62, 50, 0, 36], [60, 50, 48, 36]])]
    note, move = chorales.frequencies(train), chorales.moves(train)
    np.testing.assert_allclose(note.sum(axis=1), 1)
    np.testing.assert_allclose(move.sum(axis=2), 1)
    soprano = 2.5 / (3 + 47 / 2)
    assert note[0, 25] == pytest.approx(soprano)  # C4 twice
    assert move[0, 25, 27] == pytest.approx((1 + 1.5 / 26.5) / 2)  # seen once after C4, which one kind of note follows
    assert move[1, 15, 15] == pytest.approx((2 + 3.5 / 26.5) / 3)  # seen twice, the same kind
    np.testing.assert_allclose(move[0, 3], note[0])  # never seen
    alone, after = chorales.baselines(train, [np.array([[60, 50, 48, 36], [62, 50, 48, 36]])])
    assert alone[0, 0] == after[0, 0] == pytest.approx(-np.log(soprano))
    assert after[1, 0] == pytest.approx(-np.log(move[0, 25, 27]))
    assert after[1, 2] == pytest.approx(-np.log((note[2, 13]) / 2))  # only silence was seen after C3


def read_number(file):
    number, more = 0, True
    while more:
        (byte,) = file.read(1)
        number, more = number << 7 | byte & 0x7F, byte & 0x80
    return number


def read_midi(content):
    """The notes (begin, end, pitch) of each track in ticks, with the ticks of a quarter note and of each track."""
    file = io.BytesIO(content)
    magic, size, form, count, quarter = struct.unpack(">4sIHHH", file.read(14))
    assert (magic, size, form) == (b"MThd", 6, 1)
    tracks, lengths = [], []
    for channel in range(count):
        magic, size = struct.unpack(">4sI", file.read(8))
        assert magic == b"MTrk"
        end, time, sounding, found = file.tell() + size, 0, {}, []
        while True:
            time += read_number(file)
            (status,) = file.read(1)
            if status == 0xFF:
                (kind,) = file.read(1)
                data = file.read(read_number(file))
                if kind == 0x2F:
                    break
                assert (kind, int.from_bytes(data)) == (0x51, 750_000)  # 80 quarter notes a minute
                continue
            assert status & 0x0F == channel
            if status & 0xF0 == 0xC0:
                file.read(1)
                continue
            pitch, _ = file.read(2)
            if status & 0xF0 == 0x90:
                sounding[pitch] = time
            else:
                assert status & 0xF0 == 0x80
                found.append((sounding.pop(pitch), time, pitch))
        assert file.tell() == end
        assert not sounding
        tracks.append(found)
        lengths.append(time)
    assert not file.read()
    return tracks, quarter, lengths


def test_midi_read_back(chorales):
    voices = np.array([[60, 48], [60, 0], [62, 50], [62, 50], [0, 50]])
    tracks, quarter, lengths = read_midi(chorales.midi(voices))
    assert tracks[0] == [(0, 2 * quarter, 60), (2 * quarter, 4 * quarter, 62)]
    assert tracks[1] == [(0, quarter, 48), (2 * quarter, 5 * quarter, 50)]
    assert lengths == [5 * quarter] * 2


def test_a_long_rest_in_midi(chorales):
    voices = np.zeros((6001, 1), int)
    voices[-1] = 70
    ((note,),), quarter, _ = read_midi(chorales.midi(voices))
    assert note == (6000 * quarter, 6001 * quarter, 70)


@pytest.mark.parametrize(
    ("number", "written"),
    [(0, "00"), (0x7F, "7f"), (0x80, "81 00"), (0x2000, "c0 00"), (0x3FFF, "ff 7f"), (0xFFFFFFF, "ff ff ff 7f")],
)
def test_variable_length_quantities_of_the_standard(chorales, number, written):
    import _midi

    assert _midi.variable_length(number) == bytes.fromhex(written)


def test_run_from_end_to_end(chorales, pieces, tmp_path, monkeypatch):
    monkeypatch.setattr(chorales, "BATCH", 2)
    monkeypatch.setattr(chorales, "fetch", lambda source, cache: {})
    parts = chorales.chorales.Parts(pieces[:10], pieces[10:12], pieces[12:])
    monkeypatch.setattr(chorales.chorales, "read", lambda files: parts)
    options = chorales.Options(quick=True, out=tmp_path)
    result, figure = chorales.run(options)
    assert result.found < 0.9 * 4 * np.log(chorales.NOTES)  # something was learnt
    assert result.baseline == pytest.approx(chorales.baselines(parts.train, parts.test)[0].sum() / 140)
    figure.savefig(tmp_path / "picture.png")
    json.dumps(result.details)
    model = fastlstm.load(tmp_path / "chorales.safetensors")
    assert chorales.surprise(model, parts.test).sum(axis=1).mean() == pytest.approx(result.found)
    sung = (tmp_path / "chorales-network.mid").read_bytes()
    bach, _, lengths = read_midi((tmp_path / "chorales-bach.mid").read_bytes())
    given = chorales.GIVEN * 480
    tracks, _, _ = read_midi(sung)
    assert lengths == [chorales.SHOWN * 480] * 4
    assert [[note for note in track if note[1] < given] for track in tracks] == [
        [note for note in track if note[1] < given] for track in bach
    ]
    assert tracks != bach
    chorales.run(options)
    assert (tmp_path / "chorales-network.mid").read_bytes() == sung  # one seed, one continuation
