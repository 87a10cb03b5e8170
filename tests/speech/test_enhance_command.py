"""`enhance` in a process of its own, as a user has it: what it writes, what it says, and what becomes of bad input."""

import json
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

import seqgan.speech
from seqgan.speech.plot import Spectrogram

ENHANCE = str(Path(sys.executable).with_name("enhance"))
SAMPLE = Path(__file__).parents[2] / "speech" / "samples" / "noisy.wav"


def enhance(*arguments, cwd=None, **options):
    """Runs the command; stdout and stderr as text unless told otherwise."""
    options = {"text": True, "capture_output": True, "timeout": 240} | options
    return subprocess.run([ENHANCE, *map(str, arguments)], cwd=cwd, **options)


# Started by a small process: a child's peak of memory begins with what the process that started it has in use.
MEASURE = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))
"""


def measure(*command):
    """(seconds of CPU time, peak memory in MB) of a command that succeeds."""
    launcher = [sys.executable, "-S", "-c", MEASURE, *map(str, command)]
    status, seconds, memory = json.loads(subprocess.run(launcher, capture_output=True, check=True).stdout)
    assert status == 0
    return seconds, memory


def noise(samples, channels=1, level=0.1):
    return level * np.random.default_rng(0).standard_normal((samples, channels))


def lines(text):
    return text.strip().splitlines()


# ------------------------------------------------------------------------------------------------------- bad input


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
        ("enhance: twin.wav", "would be written to twin.enhanced.wav, as would twin.flac"),
        ("enhance: twin.flac", "would be written to twin.enhanced.wav, as would twin.wav"),
    ],
)
def test_a_bad_file_is_one_line(batch, name, words):
    said = [line for line in lines(batch.stderr)[:-1] if name in line]
    assert len(said) == 1 and said[0].startswith("enhance: ") and words in said[0]
    assert not (batch.folder / name.removeprefix("enhance: ")).with_suffix(".enhanced.wav").exists()


def test_the_others_are_done_and_the_summary_says_which_failed(batch):
    assert batch.returncode == 1
    assert "Traceback" not in batch.stderr
    done = [f"{name}.enhanced.wav" for name in ("one_sample", "broken", "clipped", "half", "cut")]
    assert lines(batch.stdout) == done
    assert sorted(path.name for path in batch.folder.glob("*.enhanced.wav")) == sorted(done)
    summary = lines(batch.stderr)[-1]
    assert "13 of 18 failed" in summary
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


@pytest.mark.skipif(os.name != "posix", reason="limits of processes")
def test_a_full_disk_leaves_nothing_half(tmp_path):
    soundfile.write(tmp_path / "long.wav", noise(160_000), 16_000)
    soundfile.write(tmp_path / "short.wav", noise(8000), 16_000)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # noqa: E731
    result = enhance("long.wav", "short.wav", "--model", "small", cwd=tmp_path, preexec_fn=limit)
    assert (result.returncode, result.stdout) == (1, "short.enhanced.wav\n")
    said = lines(result.stderr)
    assert len(said) == 2 and "cannot write long.enhanced.wav: no room on the disk" in said[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long.wav", "short.enhanced.wav", "short.wav"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's device that is always full")
def test_a_full_device(tmp_path):
    result = enhance(SAMPLE, "-o", "/dev/full", "--model", "small")
    assert result.returncode == 1 and len(lines(result.stderr)) == 1
    assert "No space left on device" in result.stderr and "/dev/full" in result.stderr
    assert Path("/dev/full").is_char_device()  # and not replaced by a file


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    ("jobs", "number", "code"), [(1, signal.SIGINT, 130), (1, signal.SIGTERM, 143), (2, signal.SIGINT, 130)]
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


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


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
            return any("long.enhanced.wav.part" in os.readlink(link) for link in Path(f"/proc/{child}/fd").iterdir())
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


def test_an_unknown_model():
    result = enhance(SAMPLE, "--model", "medium")
    assert result.returncode == 2
    assert "--model medium: neither one of base, small nor a file" in result.stderr


@pytest.mark.parametrize("kind", ["corrupt", "hostile"])
def test_weights_that_are_none(tmp_path, kind):
    """Hostile: a header that promises more than the file has, which must not be allocated."""
    path = tmp_path / "weights.safetensors"
    if kind == "corrupt":
        path.write_bytes((Path(seqgan.speech.__file__).parent / "weights" / "small.safetensors").read_bytes()[:5000])
    else:
        size = 2**40
        header = json.dumps({"a": {"dtype": "F16", "shape": [size // 2], "data_offsets": [0, size]}}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header)
    result = enhance(SAMPLE, "-o", tmp_path / "out.wav", "--model", path)
    assert (result.returncode, result.stdout) == (1, "")
    assert len(lines(result.stderr)) == 1 and "weights.safetensors is not a valid safetensors file" in result.stderr
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["noisy.wav", "--strength", "2"], "--strength 2: a number from 0 to 1"),
        (["noisy.wav", "--max-attenuation", "-3"], "--max-attenuation -3: dB, 0 or more"),
        (["noisy.wav", "--jobs", "0"], "--jobs 0: 1 or more"),
        (["noisy.wav", "other.wav", "-o", "out.wav"], "-o out.wav is one file"),
        (["noisy.wav", "-o", "out.m4a"], ".m4a cannot be written"),
        (["noisy.wav", "-o", "noisy.wav", "--overwrite"], "noisy.wav is an input"),
        (["noisy.wav", "other.wav", "-o", "-"], "-o - is one stream"),
        (["-", "noisy.wav"], "standard input (-) goes alone"),
        ([], "the following arguments are required: IN"),
    ],
)
def test_wrong_usage_is_said_before_any_work(tmp_path, monkeypatch, capsys, arguments, words):
    from seqgan.speech.cli import main

    monkeypatch.chdir(tmp_path)
    for name in ("noisy.wav", "noisy.flac", "other.wav"):
        Path(name).touch()
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert words in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 3


# ------------------------------------------------------------------------------------------------- what it is for


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
    assert lines(result.stderr) == ["enhance: out/a.wav exists already (--overwrite replaces it)"]
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


def test_from_pipe_to_pipe(tmp_path):
    """A header of unknown length, as ffmpeg writes it into a pipe; what comes out is what a file would be."""
    wav = SAMPLE.read_bytes()
    unknown = wav[:4] + b"\xff" * 4 + wav[8:40] + b"\xff" * 4 + wav[44:]
    result = enhance("-", "--model", "small", text=False, input=unknown)
    assert (result.returncode, result.stderr) == (0, b"")
    (tmp_path / "piped.wav").write_bytes(result.stdout)
    assert enhance(SAMPLE, "-o", tmp_path / "file.flac", "--model", "small").returncode == 0
    piped, file = (soundfile.read(tmp_path / name, dtype="int16")[0].astype(int) for name in ("piped.wav", "file.flac"))
    assert len(piped) == len(file) == soundfile.info(SAMPLE).frames
    assert np.abs(piped - file).max() <= 1
    result = enhance(SAMPLE, "-o", "-", "--model", "small", cwd=tmp_path, text=False)
    assert (result.returncode, result.stderr, len(list(tmp_path.iterdir()))) == (0, b"", 2)
    (tmp_path / "piped.wav").write_bytes(result.stdout)
    again = soundfile.read(tmp_path / "piped.wav", dtype="int16")[0].astype(int)
    assert len(again) == len(file) and np.abs(again - file).max() <= 1


def test_a_pattern_may_be_said_twice(tmp_path):
    """What the first time made is neither enhanced again nor a reason to stop."""
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(SAMPLE.read_bytes()[:8044])
    for again in ([], ["--overwrite"]):
        names = sorted(path.name for path in tmp_path.glob("*.wav"))
        result = enhance(*names, "--model", "small", *again, cwd=tmp_path)
        assert (result.returncode, lines(result.stdout)) == (0, ["a.enhanced.wav", "b.enhanced.wav"]), result.stderr
    assert len(list(tmp_path.iterdir())) == 4


def test_a_report_of_what_has_no_level(tmp_path):
    for name, samples in (("short", 100), ("silent", 8000)):
        soundfile.write(tmp_path / f"{name}.wav", np.full(samples, 0.1 * (name == "short")), 16_000)
    result = enhance("short.wav", "silent.wav", "--report", "--model", "small", cwd=tmp_path)
    assert (result.returncode, len(lines(result.stdout))) == (0, 2), result.stderr
    assert result.stderr.count("undefined -> undefined dB") == 2


@pytest.mark.skipif(sys.platform != "linux", reason="needs a terminal of its own")
def test_a_named_pipe_is_read_once_even_on_a_terminal(tmp_path):
    """Where a bar is drawn the lengths are looked up first; a pipe's header can be read once only."""
    import pty

    ours, theirs = pty.openpty()
    script = f"exec {ENHANCE} --model small <(cat {SAMPLE}) -o out.wav"
    result = subprocess.run(["bash", "-c", script], cwd=tmp_path, stderr=theirs, stdout=subprocess.PIPE, timeout=240)
    os.close(theirs)
    os.close(ours)
    assert (result.returncode, result.stdout) == (0, b"out.wav\n")
    assert soundfile.info(tmp_path / "out.wav").frames == soundfile.info(SAMPLE).frames


def test_samples_that_are_no_numbers_do_not_blacken_a_picture():
    wave = noise(8000).T.astype(np.float32)
    wave[0, [100, 5000]] = np.nan, np.inf
    picture = Spectrogram(16_000)
    picture.push(wave)
    assert np.isfinite(picture.decibels()).all() and np.ptp(picture.decibels()) > 10


def test_report_and_plot_of_the_default(tmp_path):
    """DNSMOS's opinion of the background rises by a point, and of the whole by something."""
    pytest.importorskip("speechmos")
    result = enhance(SAMPLE, "-o", tmp_path / "clean.wav", "--report", "--plot")
    assert (result.returncode, lines(result.stdout)) == (0, [str(tmp_path / "clean.wav"), str(tmp_path / "clean.png")])
    assert (tmp_path / "clean.png").read_bytes().startswith(b"\x89PNG")
    for words in ("16000 Hz, 1 channel", "estimated SNR", "level", "band"):
        assert words in result.stderr
    opinions = re.findall(r"(\w+) ([\d.]+) -> ([\d.]+)", lines(result.stderr)[-1])
    rise = {name: float(after) - float(before) for name, before, after in opinions}
    assert rise["background"] > 1 and rise["overall"] > 0


def test_what_it_does_without(tmp_path):
    heavy = ["torchaudio", "accelerate", "librosa", "huggingface_hub", "speechmos", "scipy", "matplotlib", "rich"]
    script = (
        f"import sys; from seqgan.speech.cli import main; main(sys.argv[1:]); print(set({heavy}) & sys.modules.keys())"
    )
    command = [sys.executable, "-c", script, str(SAMPLE), "-o", str(tmp_path / "clean.wav"), "--model", "small"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.stderr, lines(result.stdout)) == ("", [str(tmp_path / "clean.wav"), "set()"])


# ---------------------------------------------------------------------------------------------- what it must not cost


def test_help_answers_at_once():
    for option in ("--help", "--version"):
        assert min(measure(ENHANCE, option)[0] for _ in range(3)) < 0.4


def test_ten_seconds_cost_little_more_than_importing_torch(tmp_path):
    """CPU time and peak memory, the least of three taken by turns: other processes slow both down, by up to a half."""
    speech, rate = soundfile.read(SAMPLE)
    soundfile.write(tmp_path / "ten.wav", np.resize(speech, 10 * rate), rate)
    commands = (sys.executable, "-c", "import torch"), (ENHANCE, tmp_path / "ten.wav", "--overwrite")
    bare, whole = zip(*[[measure(*command) for command in commands] for _ in range(3)], strict=True)
    assert min(seconds for seconds, _ in whole) < 2 * min(seconds for seconds, _ in bare)
    assert min(memory for _, memory in whole) < 1.4 * min(memory for _, memory in bare)


def test_memory_is_constant(tmp_path):
    """Five minutes of 48 kHz stereo are 115 MB a copy; half a minute takes as much."""
    peaks = []
    for seconds in (30, 300):
        soundfile.write(tmp_path / "a.wav", np.resize(noise(48_000, 2), (seconds * 48_000, 2)), 48_000)
        command = (ENHANCE, tmp_path / "a.wav", "--model", "small", "--overwrite")
        peaks.append(measure(*command)[1])
    assert peaks[1] < peaks[0] + 60
