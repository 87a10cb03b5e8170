"""Word error rates: what is counted, between which folders, and that silence loses every word."""

import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from .processes import run_recipe

ROOT = Path(__file__).parents[2]
word_errors = importlib.import_module("recipes.word_errors")


def test_words():
    assert word_errors.words("Lord, but I’m glad -- to see you: again!") == "lord but i'm glad to see you again".split()


def test_an_interval_holds_the_rate():
    assert word_errors.interval([1, 1, 1, 1], [4, 4, 4, 4]) == (0.25, 0.25)
    low, high = word_errors.interval([0, 4] * 50, [4] * 100)
    assert low == pytest.approx(0.40, abs=0.02) and high == pytest.approx(0.60, abs=0.02)


def test_word_errors(tmp_path):
    pairs, out = tmp_path / "words", tmp_path / "out"
    for folder in (pairs / "clean", out / "same" / "words", out / "silent" / "words", out / "pairs" / "words"):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / "speech" / "samples" / "noisy.wav", pairs / "clean" / "one.wav")
    wave, rate = soundfile.read(pairs / "clean" / "one.wav", dtype="float32")
    soundfile.write(out / "same" / "words" / "one.wav", wave, rate, subtype="FLOAT")
    soundfile.write(out / "silent" / "words" / "one.wav", np.zeros_like(wave), rate)
    (pairs / "manifest.tsv").write_text("utt\ttext\none\tSome words, not those that are said.\n")
    command = ["word_errors.py", "--pairs", pairs, "--out", out]
    found = run_recipe(*command)
    assert found.returncode == 0, found.stderr
    rows = dict(line.strip("| ").split(" | ", 1) for line in found.stdout.splitlines()[2:])
    assert list(rows) == ["clean", "same", "silent"] and rows["same"] == rows["clean"]
    assert rows["silent"].startswith("1.000") and (out / "words.md").read_text() == found.stdout
    (pairs / "manifest.tsv").write_text("utt\tkind\none\train\n")
    found = run_recipe(*command)
    assert found.returncode == 1 and "no column text" in found.stderr
