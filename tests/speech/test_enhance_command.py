"""`enhance` in a process of its own, as a user has it: its options, what it says, and what it must not cost."""

import json
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import seqgan.speech

from .enhance_helpers import ENHANCE, SAMPLE, enhance, lines, measure, noise


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


@pytest.mark.parametrize(
    ("options", "threads"), [([], 1), (["--jobs", "4"], 1), (["--jobs", "4", "--threads", "6"], 6)]
)
def test_there_are_no_more_threads_than_recordings(tmp_path, monkeypatch, options, threads):
    from seqgan.speech import cli

    seen = []
    monkeypatch.setattr(cli, "work", lambda tasks, settings, jobs: seen.append(settings.threads) or (x for x in ()))
    monkeypatch.setattr(cli, "end_in_order", lambda: None)
    assert cli.main([str(SAMPLE), "-o", str(tmp_path / "out.wav"), *options]) == 0
    assert seen == [threads]


def test_no_more_is_taken_away_than_the_user_allows(tmp_path):
    """White noise, of which the model leaves next to nothing, comes back half as loud with 6 dB."""
    soundfile.write(tmp_path / "a.wav", noise(16_000), 16_000)
    result = enhance("a.wav", "--model", "small", "--max-attenuation", 6, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    before, after = (np.square(soundfile.read(tmp_path / f"a{mark}.wav")[0]).mean() for mark in ("", ".enhanced"))
    assert -6 < 10 * np.log10(after / before) < -4


def test_a_report_of_what_has_no_level(tmp_path):
    for name, samples in (("short", 100), ("silent", 8000)):
        soundfile.write(tmp_path / f"{name}.wav", np.full(samples, 0.1 * (name == "short")), 16_000)
    result = enhance("short.wav", "silent.wav", "--report", "--model", "small", cwd=tmp_path)
    assert (result.returncode, len(lines(result.stdout))) == (0, 2), result.stderr
    assert result.stderr.count("undefined -> undefined dB") == 2


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
