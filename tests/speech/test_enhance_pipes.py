"""`enhance` where there is no file to go back in: pipes, devices, a disk that is full."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from .enhance_helpers import ENHANCE, SAMPLE, enhance, lines, noise


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


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell")
@pytest.mark.parametrize(
    ("arguments", "told"), [("- -o out.wav <&-", "nothing is piped"), ("a.wav -o - >&-", "standard output is closed")]
)
def test_a_standard_stream_that_is_closed(tmp_path, arguments, told):
    soundfile.write(tmp_path / "a.wav", noise(8000), 16_000)
    script = f"exec {ENHANCE} {arguments}"
    result = subprocess.run(["bash", "-c", script], cwd=tmp_path, stderr=subprocess.PIPE, text=True, timeout=240)
    assert (result.returncode, len(lines(result.stderr))) == (2, 1) and told in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's device that is always full")
def test_a_full_device(tmp_path):
    result = enhance(SAMPLE, "-o", "/dev/full", "--model", "small")
    assert result.returncode == 1 and len(lines(result.stderr)) == 1
    assert "No space left on device" in result.stderr and "/dev/full" in result.stderr
    assert Path("/dev/full").is_char_device()  # and not replaced by a file


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
