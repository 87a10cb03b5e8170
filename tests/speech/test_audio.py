"""Recordings on disk and on pipes: what is read is written back as it was."""

import io
import os
import struct

import numpy as np
import pytest
import soundfile

from seqgan.speech.audio import format_like, reading, writing
from seqgan.speech.pipe import CODES, Format, PipeReader, PipeWriter

rng = np.random.default_rng(0)


def copy(source, target, samples=1000):
    with reading(str(source)) as reader, writing(str(target), reader.format) as writer:
        for chunk in reader.chunks(samples):
            writer.write(chunk)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_sample_survives(tmp_path, subtype):
    integers = rng.integers(-(2**31), 2**31, (4321, 2)).astype(np.int32)
    soundfile.write(tmp_path / "a.wav", integers, 44_100, subtype=subtype)
    copy(tmp_path / "a.wav", tmp_path / "b.wav")
    before, after = (soundfile.read(tmp_path / name, dtype="float64")[0] for name in ("a.wav", "b.wav"))
    assert np.array_equal(before, after)
    info = soundfile.info(tmp_path / "b.wav")
    assert (info.samplerate, info.channels, info.subtype) == (44_100, 2, subtype)


@pytest.mark.parametrize(
    ("ending", "source", "container", "subtype"),
    [
        (".wav", "PCM_24", "WAV", "PCM_24"),
        (".flac", "PCM_24", "FLAC", "PCM_24"),
        (".flac", "FLOAT", "FLAC", "PCM_24"),  # as fine as FLAC can be
        (".wav", "VORBIS", "WAV", "PCM_16"),
        (".wav", "IMA_ADPCM", "WAV", "PCM_16"),  # blocks of samples would change the length
        (".ogg", "PCM_16", "OGG", "VORBIS"),
        (".opus", "FLOAT", "OGG", "OPUS"),
        (".MP3", "PCM_16", "MP3", "MPEG_LAYER_III"),
    ],
)
def test_the_subtype_is_kept_where_the_container_has_it(ending, source, container, subtype):
    form = format_like(Format(16_000, 1, "WAV", source), ending)
    assert (form.container, form.subtype) == (container, subtype)


@pytest.mark.parametrize("ending", [".wav", ".flac", ".ogg", ".opus", ".mp3"])
def test_every_format_is_read_and_written_with_its_length(tmp_path, ending):
    soundfile.write(tmp_path / "a.wav", 0.1 * rng.standard_normal(12_345), 16_000)
    copy(tmp_path / "a.wav", tmp_path / f"b{ending}")
    copy(tmp_path / f"b{ending}", tmp_path / "c.wav")
    assert soundfile.info(tmp_path / "c.wav").frames == 12_345


def test_what_would_clip_is_limited(tmp_path):
    for subtype in ("PCM_16", "FLOAT"):
        with writing(str(tmp_path / "a.wav"), Format(16_000, 1, "WAV", subtype)) as writer:
            writer.write(np.array([[1.5, -1.5, 0.5]], np.float32))
        assert soundfile.read(tmp_path / "a.wav")[0] == pytest.approx(
            [1, -1, 0.5] if subtype == "PCM_16" else [1.5, -1.5, 0.5], abs=1e-4
        )


def test_a_failure_leaves_what_was_there(tmp_path):
    target = tmp_path / "a.wav"
    target.write_bytes(b"precious")
    with pytest.raises(RuntimeError), writing(str(target), Format(16_000, 1, "WAV", "PCM_16")) as writer:
        writer.write(np.zeros((1, 100), np.float32))
        raise RuntimeError
    assert target.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [target]


def test_a_name_that_is_needed_for_a_while_may_be_somebodys(tmp_path):
    (tmp_path / "a.wav.part").write_bytes(b"precious")
    with pytest.raises(ValueError, match=r"a\.wav\.part is in the way"):
        with writing(str(tmp_path / "a.wav"), Format(16_000, 1, "WAV", "PCM_16")):
            pass
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"precious"]


@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
def test_a_wav_that_was_cut_is_known_to_have_been_longer(tmp_path, container):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((1000, 6)), 16_000, subtype="PCM_24", format=container)
    path.write_bytes(path.read_bytes()[: -600 * 6 * 3])
    with reading(str(path)) as reader:
        assert reader.format.container == container and reader.format.samples == 1000
        assert sum(chunk.shape[1] for chunk in reader.chunks(77)) == 400


def test_a_rate_that_the_format_has_not_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"a\.opus cannot hold 1 channels at 44100 Hz"):
        with writing(str(tmp_path / "a.opus"), Format(44_100, 1, "WAV", "PCM_16")):
            pass
    assert not list(tmp_path.iterdir())


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


def test_the_mp3_decoder_keeps_its_remarks_to_itself(tmp_path, capfd):
    path = tmp_path / "a.mp3"
    path.write_bytes(b"this is text, no sound\n" * 100)
    with pytest.raises(ValueError, match=r"a\.mp3 is no audio"), reading(str(path)):
        pass
    assert capfd.readouterr().err == ""
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"
