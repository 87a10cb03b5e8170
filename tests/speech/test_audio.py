"""Recordings on disk: what is read is written back as it was."""

import os

import numpy as np
import pytest
import soundfile

from seqgan.speech.audio import duration, format_like, read_mono, reading, writing
from seqgan.speech.pipe import Format

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


@pytest.mark.parametrize("ending", [".ogg", ".opus", ".mp3"])
def test_a_recording_that_goes_on_where_libsndfile_stops_is_refused(tmp_path, ending):
    """Two in a row, of which it reads the first; what else may follow, such as a tag's picture, does not matter."""
    part, path = tmp_path / f"part{ending}", tmp_path / f"whole{ending}"
    soundfile.write(tmp_path / "a.wav", 0.1 * rng.standard_normal(48_000), 16_000)
    copy(tmp_path / "a.wav", part)
    path.write_bytes(part.read_bytes() * 2)
    with pytest.raises(ValueError, match=r"whole\.\w+ has more than the 3\.0 s"), reading(str(path)) as reader:
        assert sum(chunk.shape[1] for chunk in reader.chunks(1000)) == 48_000
    path.write_bytes(part.read_bytes() + rng.bytes(100_000))
    with reading(str(path)) as reader:
        assert sum(chunk.shape[1] for chunk in reader.chunks(1000)) == 48_000


def test_a_flac_that_does_not_say_how_long_it_is(tmp_path):
    """As an encoder writes it into a pipe, where it cannot come back to the header."""
    wave = 0.1 * rng.standard_normal((12_345, 2))
    soundfile.write(tmp_path / "a.flac", wave, 16_000)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21:26] = bytes([data[21] & 0xF0, 0, 0, 0, 0])  # the 36 bits of the header in which its samples are counted
    (tmp_path / "b.flac").write_bytes(data)
    expected = soundfile.read(tmp_path / "a.flac")[0]
    with reading(str(tmp_path / "b.flac")) as reader:
        assert reader.format.samples is None
        assert np.array_equal(np.concatenate([chunk.T for chunk in reader.chunks(1000)]), expected.astype(np.float32))
    assert duration(tmp_path / "b.flac") == duration(tmp_path / "a.flac") == 12_345 / 16_000
    mono, rate = read_mono(tmp_path / "b.flac")
    assert rate == 16_000 and np.allclose(mono, expected.mean(1), atol=1e-6)


def test_what_would_clip_is_limited(tmp_path):
    for subtype in ("PCM_16", "FLOAT"):
        with writing(str(tmp_path / "a.wav"), Format(16_000, 1, "WAV", subtype)) as writer:
            writer.write(np.array([[1.5, -1.5, 0.5]], np.float32))
        assert soundfile.read(tmp_path / "a.wav")[0] == pytest.approx(
            [1, -1, 0.5] if subtype == "PCM_16" else [1.5, -1.5, 0.5], abs=1e-4
        )


def test_a_wav_that_32_bits_cannot_count_is_an_rf64(tmp_path, monkeypatch):
    monkeypatch.setattr("seqgan.speech.audio.LARGEST_WAV", 1999)
    for samples, container in ((999, "WAV"), (1000, "RF64")):
        with writing(str(tmp_path / "a.wav"), Format(16_000, 1, "WAV", "PCM_16", samples)) as writer:
            writer.write(np.zeros((1, samples), np.float32))
        assert soundfile.info(tmp_path / "a.wav").format == container


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
    with writing(str(tmp_path / "a.wav"), Format(16_000, 1, "WAV", "PCM_16")) as writer:
        writer.write(np.zeros((1, 100), np.float32))
    assert (tmp_path / "a.wav.part").read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "a.wav.part"]


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


def test_the_mp3_decoder_keeps_its_remarks_to_itself(tmp_path, capfd):
    path = tmp_path / "a.mp3"
    path.write_bytes(b"this is text, no sound\n" * 100)
    with pytest.raises(ValueError, match=r"a\.mp3 is no audio"), reading(str(path)):
        pass
    assert capfd.readouterr().err == ""
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"
