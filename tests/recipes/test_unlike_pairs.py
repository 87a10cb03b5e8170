"""Pairs of unusual kinds: what they are made of, and what is left out where there is nothing to make them of."""

import csv
import shutil
from functools import partial

import numpy as np
import pytest
import soundfile

from seqgan.speech.data import active_level

from .processes import run_recipe

make = partial(run_recipe, "unlike_pairs.py")


@pytest.fixture
def pairs(recordings):
    """Of a folder that has a measured room and music, and German but no Gaelic."""
    (recordings / "rir" / "measured").mkdir()
    shutil.move(recordings / "rir" / "hall.wav", recordings / "rir" / "measured")
    shutil.copytree(recordings / "noise" / "rain", recordings / "noise" / "music")
    shutil.copytree(recordings / "clean" / "phone", recordings / "clean" / "kerstin_de")
    out = recordings / "unlike"
    options = ["--out", out, "--count", 2, "--seconds", 1, "--sources.validation-corpus", "read"]
    found = make("--data", recordings, *options)
    assert found.returncode == 0, found.stderr
    assert "has nothing for gaelic" in found.stderr and "has nothing for high" in found.stderr
    with (out / "manifest.tsv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {row["utt"]: row | {half: soundfile.read(out / half / f"{row['utt']}.wav")[0] for half in ("clean", "noisy")}
            for row in rows}  # fmt: skip


def test_every_kind_is_what_it_says(pairs):
    assert [pair["kind"] for pair in pairs.values()] == [
        kind for kind in ("rooms", "babble", "music", "telephone", "german") for _ in range(2)
    ]
    for pair in pairs.values():
        assert len(pair["clean"]) == len(pair["noisy"]) == 16_000 and np.abs(pair["noisy"]).max() < 0.91
    assert {pair["noise"] for pair in pairs.values() if pair["kind"] == "music"} == {"music"}
    assert pairs["rooms_00"]["noise"].endswith("in hall") and pairs["german_00"]["corpus"] == "kerstin_de"
    for name in ("babble_00", "music_01", "german_00"):
        pair = pairs[name]
        noise = pair["noisy"] - pair["clean"]
        snr = 20 * np.log10(active_level(pair["clean"]) / active_level(noise))
        assert snr == pytest.approx(float(pair["snr_db"]), abs=0.3)
    babble = pairs["babble_00"]
    noise = babble["noisy"] - babble["clean"]
    assert abs(np.corrcoef(noise, babble["clean"])[0, 1]) < 0.5, "the talker is none of those who babble"
    telephone = np.abs(np.fft.rfft(pairs["telephone_00"]["clean"])) ** 2
    assert telephone[3600:].sum() < 1e-3 * telephone.sum()


def test_a_folder_without_noise(recordings, tmp_path):
    shutil.rmtree(recordings / "noise")
    found = make("--data", recordings, "--out", tmp_path / "unlike", "--sources.validation-corpus", "read")
    assert found.returncode == 1 and "noise" in found.stderr and len(found.stderr.strip().splitlines()) == 1


def test_nothing_to_make(recordings):
    found = make(
        "--data", recordings, "--out", recordings / "x", "--kinds", "gaelic", "--sources.validation-corpus", "read"
    )
    assert found.returncode == 1 and "nothing to make pairs of" in found.stderr and not (recordings / "x").exists()


def test_transcribed_sentences(recordings):
    source = next((recordings / "clean" / "phone").rglob("*.*"))
    folder = recordings / "clean" / "cmu_arctic" / "slt"
    folder.mkdir(parents=True)
    for name in ("said", "unknown"):
        shutil.copy(source, folder / (name + source.suffix))
    (folder / "said.txt").write_text("What is\n said.\n")
    options = ["--out", recordings / "words", "--kinds", "transcribed", "--count", "2", "--seconds", "0.1"]
    found = make("--data", recordings, *options, "--sources.validation-corpus", "read")
    assert found.returncode == 0, found.stderr
    with (recordings / "words" / "manifest.tsv").open(newline="", encoding="utf-8") as file:
        assert [row["text"] for row in csv.DictReader(file, delimiter="\t")] == ["What is said."] * 2
    whole = soundfile.info(source)
    length = soundfile.info(recordings / "words" / "clean" / "transcribed_00.wav").frames
    assert length == pytest.approx(whole.duration * 16_000, abs=1), "not cut"
    wrong = make("--data", recordings, "--out", recordings / "x", "--kinds", "rain")
    assert wrong.returncode == 1 and "no kind 'rain'" in wrong.stderr


def test_the_corpus_is_that_of_the_folder_however_deep_the_talkers_are(recordings):
    talk = next((recordings / "clean" / "read").rglob("*.wav")).read_bytes()
    shutil.rmtree(recordings / "clean")
    for speaker in range(100, 105):
        folder = recordings / "clean" / "librispeech" / f"{speaker}" / "7"
        folder.mkdir(parents=True)
        (folder / f"{speaker}-7-0.wav").write_bytes(talk)
    (recordings / "clean" / "emodb").mkdir()
    (recordings / "clean" / "emodb" / "0.wav").write_bytes(talk)
    options = ["--out", recordings / "out", "--kinds", "babble", "german", "--count", 1, "--seconds", 1]
    found = make("--data", recordings, *options, "--sources.validation-corpus", "librispeech")
    assert found.returncode == 0, found.stderr
    with (recordings / "out" / "manifest.tsv").open(newline="", encoding="utf-8") as file:
        rows = {row["kind"]: row["corpus"] for row in csv.DictReader(file, delimiter="\t")}
    assert rows == {"babble": "librispeech", "german": "emodb"}
