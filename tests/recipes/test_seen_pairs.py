"""Four pairs at a time: two talkers, two noises, of which training had one each."""

import csv
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqgan.speech.data import Library, active_level
from seqgan.speech.sources import Sources, split_sources

from .processes import run_recipe


def make(*arguments) -> subprocess.CompletedProcess:
    return run_recipe("seen_pairs.py", *arguments, "--sources.validation-corpus", "read")


def test_what_was_seen_is_what_trains(recordings):
    out = recordings / "seen"
    made = make("--data", recordings, "--out", out, "--count", 2, "--seconds", 1)
    assert made.returncode == 0, made.stderr
    with (out / "manifest.tsv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["seen"] for row in rows] == ["both", "talker", "noise", "neither"] * 2
    found = split_sources(recordings, Sources(validation_corpus="read"))
    talks = {True: found.speech["read"], False: [path for _, talker in found.talkers for path in talker]}
    library = Library()

    def is_of(wave: np.ndarray, paths: list[Path]) -> bool:
        sources = [np.resize(library[path], len(wave)) for path in paths]
        return max(abs(np.corrcoef(wave, source)[0, 1]) for source in sources) > 0.99

    for row in rows:
        clean, noisy = (soundfile.read(out / half / f"{row['utt']}.wav")[0] for half in ("clean", "noisy"))
        assert len(clean) == len(noisy) == 16_000 and np.abs(noisy).max() < 0.91
        noise, seen = noisy - clean, row["seen"]
        assert 20 * np.log10(active_level(clean) / active_level(noise)) == pytest.approx(float(row["snr_db"]), abs=0.3)
        assert is_of(clean, talks[seen in ("both", "talker")])
        kinds = {True: found.noise[row["noise"]], False: [path for kind, path in found.noises if kind == row["noise"]]}
        assert is_of(noise, kinds[seen in ("both", "noise")]) and not is_of(noise, kinds[seen not in ("both", "noise")])


def test_a_corpus_that_is_all_held_out(recordings):
    shutil.rmtree(recordings / "clean" / "read" / "ben")
    (recordings / "clean" / "read" / "anna" / "anna-1.wav").unlink()
    made = make("--data", recordings, "--out", recordings / "seen")
    assert made.returncode == 1 and "no talkers but those that are held out" in made.stderr
