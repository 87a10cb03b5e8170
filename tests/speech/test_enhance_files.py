"""`enhance` on files and folders: what it writes, what it says of bad ones, and that it leaves nothing half written."""

import os
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from .enhance_helpers import ENHANCE, SAMPLE, enhance, lines, noise, wait_for


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """One run over everything that can be wrong with a file, and some that are right."""
    folder = tmp_path_factory.mktemp("batch")
    wav = SAMPLE.read_bytes()
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("no sound, but words\n" * 50)
    (folder / "words.mp3").write_text("no sound, but words\n" * 50)
    (folder / "truncated.wav").write_bytes(wav[:30])
    (folder / "no_samples.wav").write_bytes(wav[:44])
    (folder / "no_channels.wav").write_bytes(wav[:22] + struct.pack("<H", 0) + wav[24:])
    (folder / "too_slow.wav").write_bytes(wav[:24] + struct.pack("<I", 100) + wav[28:])
    (folder / "silent_folder").mkdir()
    soundfile.write(folder / "one_sample.wav", [0.5], 16_000)
    broken = noise(16_000)[:, 0].astype(np.float32)
    broken[[3, 500, 9000]] = np.nan, np.inf, -np.inf
    soundfile.write(folder / "broken.wav", broken, 16_000, subtype="FLOAT")
    soundfile.write(folder / "clipped.wav", np.clip(noise(16_000, level=2), -1, 1), 16_000)
    soundfile.write(folder / "half.mp3", noise(48_000), 16_000)
    (folder / "half.mp3").write_bytes((folder / "half.mp3").read_bytes()[:-4000])
    soundfile.write(folder / "cut.wav", noise(16_000), 16_000, subtype="PCM_24")
    (folder / "cut.wav").write_bytes((folder / "cut.wav").read_bytes()[: -8000 * 3])
    for name in ("twin.wav", "twin.flac"):
        soundfile.write(folder / name, noise(8000), 16_000)
    os.symlink("loop.wav", folder / "loop.wav")
    names = "empty.wav text.wav words.mp3 truncated.wav no_samples.wav no_channels.wav too_slow.wav silent_folder"
    names = [*names.split(), "missing.wav", "pattern*.wav", "loop.wav", "twin.wav", "twin.flac"]
    names += ["one_sample.wav", "broken.wav", "clipped.wav", "half.mp3", "cut.wav"]
    result = enhance(*names, "--model", "small", cwd=folder)
    result.folder = folder
    return result


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty.wav", "is empty"),
        ("text.wav", "is no audio"),
        ("words.mp3", "is no audio"),
        ("truncated.wav", "is no audio"),
        ("no_samples.wav", "has no samples"),
        ("no_channels.wav", "is no audio that can be read (Channel count is zero)"),
        ("too_slow.wav", "100 Hz is outside of 4000 to 192000 Hz"),
        ("silent_folder", "holds no audio"),
        ("missing.wav", "does not exist"),
        ("pattern*.wav", "matches no file"),
        ("loop.wav", "Too many levels of symbolic links"),
    ],
)
def test_a_bad_file_is_one_line(batch, name, words):
    said = [line for line in lines(batch.stderr)[:-1] if name in line]
    assert len(said) == 1 and said[0].startswith("enhance: ") and words in said[0]
    assert not (batch.folder / name).with_suffix(".enhanced.wav").exists()


def test_the_others_are_done_and_the_summary_says_which_failed(batch):
    assert batch.returncode == 1
    assert "Traceback" not in batch.stderr
    names = ("twin", "twin.flac", "one_sample", "broken", "clipped", "half", "cut")
    done = [f"{name}.enhanced.wav" for name in names]
    assert lines(batch.stdout) == done
    assert sorted(path.name for path in batch.folder.glob("*.enhanced.wav")) == sorted(done)
    summary = lines(batch.stderr)[-1]
    assert "11 of 18 failed" in summary
    assert all(name in summary for name in ("empty.wav", "silent_folder", "missing.wav", "pattern*.wav"))
    assert not list(batch.folder.glob("*.part"))


def test_one_sample_comes_back_as_one(batch):
    assert soundfile.info(batch.folder / "one_sample.enhanced.wav").frames == 1


def test_samples_that_are_no_numbers_are_said_and_gone(batch):
    assert "enhance: broken.wav: 3 samples were NaN or infinite and count as silence" in lines(batch.stderr)
    assert all(line.startswith("enhance: ") for line in lines(batch.stderr)), "no line of Python's own"
    samples, _ = soundfile.read(batch.folder / "broken.enhanced.wav")
    assert len(samples) == 16_000 and np.isfinite(samples).all()


def test_clipped_audio_is_not_made_louder(batch):
    before, after = (soundfile.read(batch.folder / f"clipped{mark}.wav")[0] for mark in ("", ".enhanced"))
    assert np.square(after).sum() < 1.26 * np.square(before).sum()


def test_a_file_that_ends_early_is_said(batch):
    assert any("half.mp3 ends after" in line and "48000" in line for line in lines(batch.stderr))
    assert "enhance: cut.wav ends after 8000 of the 16000 samples that it promises" in lines(batch.stderr)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A folder of every format, rate and number of channels, enhanced into another by two workers."""
    root = tmp_path_factory.mktemp("tree")
    (root / "in" / "deep" / "er").mkdir(parents=True)
    speech, _ = soundfile.read(SAMPLE)
    for name, rate, channels, subtype in [
        ("a.wav", 44_100, 2, "PCM_24"),
        ("b.flac", 96_000, 1, "PCM_16"),
        ("deep/c.ogg", 22_050, 2, "VORBIS"),
        ("deep/er/d.mp3", 48_000, 1, "MPEG_LAYER_III"),
        ("deep/er/e.wav", 4_000, 1, "FLOAT"),
        ("f.opus", 8_000, 1, "OPUS"),
    ]:
        container = "OGG" if subtype == "OPUS" else None
        wave = np.resize(speech, (channels, rate // 2 + 7)).T
        soundfile.write(root / "in" / name, wave, rate, format=container, subtype=subtype)
    (root / "in" / "deep" / "z.enhanced.wav").write_bytes(SAMPLE.read_bytes())
    (root / "in" / "notes.txt").write_text("not audio")
    result = enhance("in", "-o", "out", "--jobs", 2, "--model", "small", cwd=root)
    result.root = root
    return result


def test_a_folder_is_mirrored(tree):
    assert (tree.returncode, tree.stderr) == (0, "")
    expected = ["out/a.wav", "out/b.wav", "out/deep/c.wav", "out/deep/er/d.wav", "out/deep/er/e.wav", "out/f.wav"]
    assert sorted(lines(tree.stdout)) == expected
    assert sorted(str(path.relative_to(tree.root)) for path in (tree.root / "out").rglob("*.*")) == expected


def test_rate_channels_length_and_subtype_are_kept(tree):
    for path in (tree.root / "in").rglob("*.*"):
        relative = path.relative_to(tree.root / "in").with_suffix(".wav")
        if path.suffix == ".txt" or ".enhanced" in path.name:
            continue
        before, after = soundfile.info(path), soundfile.info(tree.root / "out" / relative)
        assert (after.samplerate, after.channels, after.frames) == (before.samplerate, before.channels, before.frames)
        lossless = before.subtype in ("PCM_24", "PCM_16", "FLOAT")
        assert after.subtype == (before.subtype if lossless else "PCM_16")


def test_nothing_is_overwritten_unless_told(tree):
    before = (tree.root / "out" / "a.wav").read_bytes()
    result = enhance("in/a.wav", "-o", "out/a.wav", cwd=tree.root)
    assert (result.returncode, result.stdout) == (1, "")
    assert lines(result.stderr) == [
        "enhance: out/a.wav exists already (--overwrite replaces it, --skip-existing leaves it)"
    ]
    result = enhance("in/a.wav", "-o", "out/a.wav", "--overwrite", "--strength", 0, cwd=tree.root)
    assert (result.returncode, result.stdout) == (0, "out/a.wav\n")
    assert (tree.root / "out" / "a.wav").read_bytes() != before
    same = (soundfile.read(tree.root / name / "a.wav", dtype="int32")[0] for name in ("in", "out"))
    assert np.array_equal(*same)  # strength 0: bit for bit


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow such names")
def test_names_as_they_come(tmp_path):
    """A pattern that no shell expanded, a file named twice, options between, a name that is not valid text."""
    name = os.fsdecode(b"caf\xe9 $x$.wav")
    soundfile.write(tmp_path / "n1.wav", soundfile.read(SAMPLE)[0][:4000], 16_000)
    for copy in ("n2.wav", name):
        shutil.copy(tmp_path / "n1.wav", tmp_path / copy)
    result = enhance("n*.wav", "--model", "small", name, "--plot", "n1.wav", cwd=tmp_path, text=False)
    assert (result.returncode, result.stderr) == (0, b"")
    stem = b"caf\xe9 $x$.enhanced"
    done = [
        b"n1.enhanced.wav",
        b"n1.enhanced.png",
        b"n2.enhanced.wav",
        b"n2.enhanced.png",
        stem + b".wav",
        stem + b".png",
    ]
    assert result.stdout.splitlines() == done
    assert len(list(tmp_path.iterdir())) == 9


def test_a_pattern_may_be_said_twice(tmp_path):
    """What the first time made is neither enhanced again nor a reason to stop."""
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(SAMPLE.read_bytes()[:8044])
    for again in ([], ["--overwrite"]):
        names = sorted(path.name for path in tmp_path.glob("*.wav"))
        result = enhance(*names, "--model", "small", *again, cwd=tmp_path)
        assert (result.returncode, lines(result.stdout)) == (0, ["a.enhanced.wav", "b.enhanced.wav"]), result.stderr
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a place where nobody can write")
def test_a_folder_that_cannot_be_written(tmp_path):
    result = enhance(SAMPLE, "-o", "/proc/enhanced.wav", "--model", "small")
    assert (result.returncode, result.stdout) == (1, "")
    assert len(lines(result.stderr)) == 1 and result.stderr.startswith("enhance: /proc/enhanced.wav: ")


def test_an_output_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("here")
    result = enhance(SAMPLE, "-o", tmp_path / "file")
    assert (result.returncode, result.stdout) == (1, "")
    assert len(lines(result.stderr)) == 1 and f"{tmp_path / 'file'} is a file, no folder" in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    ("jobs", "number", "code"),
    [(1, signal.SIGINT, 130), (1, signal.SIGTERM, 143), (2, signal.SIGINT, 130), (2, signal.SIGHUP, 129)],
)
def test_an_interrupted_run_leaves_no_half_file(tmp_path, jobs, number, code):
    for name in ("a.wav", "b.wav")[:jobs]:
        soundfile.write(tmp_path / name, np.zeros(16_000 * 1800), 16_000)
    (tmp_path / "a.enhanced.wav").write_bytes(b"of an earlier run")
    command = [ENHANCE, ".", "--jobs", str(jobs), "--overwrite"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: list(tmp_path.glob("*.part")))
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (code, "")
    assert lines(errors) == (["enhance: interrupted"] if code == 130 else [])
    assert not list(tmp_path.glob("*.part")) and not (tmp_path / "b.enhanced.wav").exists()
    assert (tmp_path / "a.enhanced.wav").read_bytes() == b"of an earlier run"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks for the worker in /proc")
def test_a_worker_that_is_killed_takes_only_its_file_along(tmp_path):
    soundfile.write(tmp_path / "long.wav", np.zeros(16_000 * 1800), 16_000)
    for name in "abc":
        soundfile.write(tmp_path / f"{name}.wav", noise(8000), 16_000)
    names = ["long.wav", "a.wav", "b.wav", "c.wav"]
    command = [ENHANCE, *names, "--jobs", "2"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def has_it_open(child):
        try:
            names = [os.path.basename(os.readlink(link)) for link in Path(f"/proc/{child}/fd").iterdir()]
            return any(name.startswith("long.enhanced.wav.") for name in names)
        except OSError:
            return False

    def workers():
        return [
            child
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            if has_it_open(child)
        ]

    wait_for(workers)
    os.kill(int(workers()[0]), signal.SIGKILL)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert sorted(lines(output)) == ["a.enhanced.wav", "b.enhanced.wav", "c.enhanced.wav"]
    assert not list(tmp_path.glob("*.part"))
    assert "long.wav: its worker process died (SIGKILL" in errors and "1 of 4 failed: long.wav" in errors
