"""Wav on pipes: headers as programs write them, sizes that nobody knew, and samples as libsndfile has them."""

import io
import struct

import numpy as np
import pytest
import soundfile

from seqgan.speech.pipe import CODES, Format, PipeReader, PipeWriter, to_integers

rng = np.random.default_rng(0)


@pytest.mark.parametrize("subtype", sorted(CODES.values()))
@pytest.mark.parametrize("known", [True, False])
def test_a_pipe_gives_what_libsndfile_would(tmp_path, subtype, known):
    wave = (0.2 * rng.standard_normal((2, 999))).astype(np.float64 if subtype in ("PCM_32", "DOUBLE") else np.float32)
    stream = Unseekable()
    writer = PipeWriter(stream, Format(48_000, 2, "WAV", subtype, 999 if known else None))
    for start in range(0, 999, 100):
        writer.write(wave[:, start : start + 100])
    writer.close()
    (tmp_path / "a.wav").write_bytes(stream.getvalue())
    expected = soundfile.read(tmp_path / "a.wav", dtype="float64")[0].T
    assert np.abs(expected - wave).max() <= {"PCM_U8": 2**-8, "PCM_16": 2**-16, "PCM_24": 2**-24}.get(subtype, 0) + 1e-9
    reader = PipeReader(io.BytesIO(stream.getvalue()), "a.wav")
    assert reader.format == Format(48_000, 2, "WAV", subtype, 999 if known else None)
    assert np.array_equal(np.concatenate(list(reader.chunks(77)), 1), expected)


class Unseekable(io.BytesIO):
    def seekable(self):
        return False


def test_a_length_that_comes_late_is_put_into_a_file(tmp_path):
    with open(tmp_path / "a.wav", "wb") as file:
        writer = PipeWriter(file, Format(16_000, 1, "WAV", "PCM_16"))
        writer.write(np.zeros((1, 123), np.float32))
        writer.close()
    data = (tmp_path / "a.wav").read_bytes()
    assert struct.unpack("<I", data[40:44])[0] == 246 and struct.unpack("<I", data[4:8])[0] == len(data) - 8


def test_an_odd_number_of_bytes_is_filled_up(tmp_path):
    with open(tmp_path / "a.wav", "wb") as file:
        writer = PipeWriter(file, Format(16_000, 1, "WAV", "PCM_U8", 3))
        writer.write(np.zeros((1, 3), np.float32))
        writer.close()
    data = (tmp_path / "a.wav").read_bytes()
    assert len(data) == 44 + 4
    assert struct.unpack("<I", data[40:44])[0] == 3 and struct.unpack("<I", data[4:8])[0] == len(data) - 8


def test_sound_follows_what_other_programs_put_between(tmp_path):
    """A header as ffmpeg's into a pipe: a chunk of remarks, and sizes that nobody knew."""
    samples = rng.integers(-100, 100, 50).astype("<i2")
    settings = (
        struct.pack("<IHHIIHHHHI", 40, 0xFFFE, 1, 8000, 16_000, 2, 16, 22, 16, 4) + struct.pack("<H", 1) + bytes(14)
    )
    data = b"RIFF\xff\xff\xff\xffWAVELIST" + struct.pack("<I", 5) + b"hello\0fmt " + settings + b"data\xff\xff\xff\xff"
    reader = PipeReader(io.BytesIO(data + samples.tobytes()), "pipe")
    assert reader.format == Format(8000, 1, "WAV", "PCM_16", None)
    assert np.array_equal(np.concatenate(list(reader.chunks(7)), 1)[0] * 2**15, samples)


def test_the_size_that_sox_writes_for_an_unknown_one_ends_nothing(monkeypatch):
    monkeypatch.setattr("seqgan.speech.pipe.LARGEST_KNOWN", 100)
    header = b"RIFF\x00\x00\x00\x00WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 1, 8000, 16_000, 2, 16)
    reader = PipeReader(io.BytesIO(header + b"data" + struct.pack("<I", 100) + bytes(300)), "pipe")
    assert reader.format.samples is None
    assert sum(chunk.shape[1] for chunk in reader.chunks(77)) == 150


def test_the_size_of_an_rf64_stands_in_a_chunk_of_its_own():
    """Three sizes of 8 bytes: of the file, of the sound and, in samples, of the sound again."""
    sizes = b"ds64" + struct.pack("<IQQQI", 28, 1000, 6, 3, 0)
    settings = b"fmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 1, 8000, 16_000, 2, 16)
    header = b"RF64\xff\xff\xff\xffWAVE" + sizes + settings + b"data\xff\xff\xff\xff"
    reader = PipeReader(io.BytesIO(header + bytes(6) + b"LIST and more"), "pipe")
    assert reader.format.samples == 3 and [chunk.shape for chunk in reader.chunks(77)] == [(1, 3)]


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_full_scale_does_not_turn_over(bits):
    top = 2 ** (bits - 1)
    assert to_integers(np.array([-2, -1, 1, 2], np.float32), bits).tolist() == [-top, -top, top - 1, top - 1]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"ID3 some mp3", "is not a wav"),
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0", "ends within its wav header"),
        (
            b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 0, 8000, 0, 0, 16) + b"data\0\0\0\0",
            "0 channels",
        ),
        (
            b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 7, 1, 8000, 8000, 1, 8) + b"data\0\0\0\0",
            "code 7",
        ),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "code None"),
        (b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\xff", "ends within its wav header"),  # 4 GB that are not there
    ],
)
def test_a_bad_header_on_a_pipe_is_named(data, words):
    with pytest.raises(ValueError, match=f"pipe.*{words}"):
        PipeReader(io.BytesIO(data), "pipe")
