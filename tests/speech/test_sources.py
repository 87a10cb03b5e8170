"""Training and validation share no talker, no noise and no file; pairs are found where users have them."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqgan.speech.data import MixConfig, root_mean_square
from seqgan.speech.sources import (
    Sources,
    export,
    hold_out,
    hold_out_talkers,
    in_turn,
    match_pairs,
    mix_validation,
    open_sources,
    write_pair,
)

from .mixture_helpers import RATE, write_pairs


def test_hold_out_keeps_takes_of_one_source_together_and_every_folder_in_training(tmp_path):
    names = [f"{kind}/{i}-{take}.wav" for kind in "ab" for i in range(8) for take in "AB"]
    training, held = hold_out([tmp_path / name for name in names], every=8)
    assert Counter(path.parent.name for path in held) == {"a": 2, "b": 2}
    assert {path.stem[:-2] for path in held if path.parent.name == "a"}.isdisjoint(
        path.stem[:-2] for path in training if path.parent.name == "a"
    )
    assert len(training) + len(held) == len(names)


def test_the_middle_one_of_eight_sources_is_held_out(tmp_path):
    training, held = hold_out([tmp_path / f"{i:02}.wav" for i in range(16)])
    assert [path.stem for path in held] == ["04", "12"] and len(training) == 14


def test_held_out_talkers_are_spread_and_never_more_than_a_quarter(tmp_path):
    paths = [tmp_path / f"{talker:02}" / f"{i}.wav" for talker in range(40) for i in range(2)]
    talkers = hold_out_talkers(paths, 5)
    assert [talker[0].parent.name for talker in talkers] == ["04", "12", "20", "28", "36"]
    assert all(len(talker) == 2 for talker in talkers)
    assert len(hold_out_talkers(paths, 100)) == 10
    assert len(hold_out_talkers(paths[:2] * 4, 3)) == 2  # one folder: single files
    assert hold_out_talkers([Path(f"{name}.wav") for name in "abcd"], 1) == [[Path("c.wav")]]


@pytest.mark.parametrize("mark", "-_")
def test_chapters_of_one_speaker_stay_together(tmp_path, mark):
    """As in LibriSpeech and LibriTTS, whose folders are SPEAKER/CHAPTER."""
    paths = [
        tmp_path / "LibriSpeech" / f"{speaker}" / f"{chapter}" / f"{speaker}{mark}{chapter}{mark}{i:04}.flac"
        for speaker in range(100, 108)
        for chapter in (7, speaker)
        for i in range(2)
    ]
    held = hold_out_talkers(paths, 2)
    assert [{path.parents[1].name for path in talker} for talker in held] == [{"102"}, {"106"}]
    assert [len(talker) for talker in held] == [4, 4]


@pytest.mark.parametrize("count", [1, 6, 7, 14, 54])
def test_all_have_their_turn(count):
    assert sorted(in_turn(range(count), i) for i in range(count)) == list(range(count))
    assert in_turn(range(54), 2) == 14


def test_pairs_are_named_by_their_corpus(tmp_path, recordings):
    """Which is the first folder below the one that is given, however deep the talkers are."""
    (tmp_path / "deep").mkdir()
    (recordings / "clean").rename(tmp_path / "deep" / "clean")
    (tmp_path / "deep").rename(recordings / "clean")
    _, pairs = open_sources(recordings, Sources(), MixConfig())
    assert {pair.corpus for pair in pairs} == {"clean"}


def test_training_and_validation_share_nothing(recordings):
    training, pairs = open_sources(recordings, Sources(validation_talkers=1), MixConfig(seconds=0.5))
    assert len(pairs) == 2 and all(pair.noisy.shape == pair.clean.shape for pair in pairs)
    talkers = {path.name for corpus in training.speech for talker in corpus for path in talker}
    assert len(talkers) == 5 and not talkers & {f"{pair.name[4:]}.wav" for pair in pairs}
    noises = [path for corpus in training.noise for kind in corpus for path in kind]
    assert len(noises) == 8  # of ten: the fifth of each folder is held out


def test_validation_pairs_have_their_ratio_and_are_the_same_in_every_run(recordings):
    (_, first), (_, second) = (open_sources(recordings, Sources(), MixConfig(), seed) for seed in (0, 1))
    for pair, again in zip(first, second, strict=True):
        assert (pair.noisy == again.noisy).all()
        noise = pair.noisy - pair.clean
        assert 20 * np.log10(root_mean_square(pair.clean) / root_mean_square(noise)) == pytest.approx(pair.snr, abs=0.1)


def test_validation_pairs_take_turns_are_filled_up_and_never_clip(tmp_path):
    """Two loud talkers, and a noise of an eighth of their length that comes again and again."""
    files = [tmp_path / name for name in ("a.wav", "b.wav", "noise.wav")]
    for path, size in zip(files, (8000, 8000, 1000), strict=True):
        soundfile.write(path, 0.9 * np.sign(np.sin(np.arange(size))), RATE)
    pairs = mix_validation([("read", files[:2])], [("rain", files[2])], RATE)
    assert [pair.name for pair in pairs] == ["000_a", "001_b"]
    for pair in pairs:
        assert np.abs(pair.noisy).max() <= 0.901 and (pair.noisy - pair.clean)[-500:].any()


@pytest.mark.parametrize("exclude, rooms", [((), ["hall.wav"]), (("hall",), [])])
def test_rooms_are_found_and_can_be_excluded(recordings, exclude, rooms):
    training, _ = open_sources(recordings, Sources(exclude=exclude), MixConfig())
    assert [path.name for path in training.rooms] == rooms


def test_exported_pairs_can_be_read_as_recorded_ones(recordings, tmp_path):
    _, pairs = open_sources(recordings, Sources(), MixConfig())
    export(pairs, tmp_path / "out")
    assert len(match_pairs(tmp_path / "out" / "clean", tmp_path / "out" / "noisy")) == len(pairs)
    rows = (tmp_path / "out" / "manifest.tsv").read_text().splitlines()
    assert rows[0].split("\t") == ["utt", "corpus", "noise", "snr_db"] and len(rows) == len(pairs) + 1
    assert float(rows[1].split("\t")[3]) == pairs[0].snr
    _, again = open_sources(tmp_path / "out", Sources(), MixConfig())  # of whose ratios nothing is known
    export(again, tmp_path / "again")
    assert all(row.endswith("\t") for row in (tmp_path / "again" / "manifest.tsv").read_text().splitlines()[1:])


def test_voicebank_demand_is_found_and_its_last_two_talkers_are_held_out(tmp_path):
    names = [f"p{talker}_{i:03}" for talker in (226, 227, 230, 287) for i in range(3)]
    write_pairs(tmp_path, "clean_trainset_28spk_wav", "noisy_trainset_28spk_wav", names)
    training, pairs = open_sources(tmp_path, Sources(), MixConfig())
    assert {clean.stem.split("_")[0] for clean, _ in training.pairs} == {"p226", "p227"}
    assert {pair.name.split("_")[0] for pair in pairs} == {"p230", "p287"} and len(pairs) == 6


def test_of_three_talkers_none_is_held_out(tmp_path):
    names = [f"p{talker}_{i:03}" for talker in range(3) for i in range(7)]
    write_pairs(tmp_path, "clean", "noisy", names, 400)
    _, pairs = open_sources(tmp_path, Sources(), MixConfig(seconds=0.02))
    assert [pair.name for pair in pairs] == ["p0_000", "p1_003", "p2_006"], "but every tenth pair"


def test_a_pair_is_written_no_louder_than_its_louder_half_may_be(tmp_path):
    write_pair(tmp_path, "a", np.full(100, 1.8), np.full(100, 0.9), RATE, peak=0.9)
    levels = [soundfile.read(tmp_path / half / "a.wav")[0][0] for half in ("clean", "noisy")]
    assert levels == pytest.approx([0.9, 0.45], abs=1e-4)


def test_the_halves_of_a_pair_are_of_one_length(tmp_path):
    write_pairs(tmp_path, "clean", "noisy", [f"{i:02}" for i in range(12)], 400)
    for path in (tmp_path / "noisy").iterdir():
        soundfile.write(path, soundfile.read(path)[0][:-1], 16_000)
    _, pairs = open_sources(tmp_path, Sources(), MixConfig(seconds=0.02))
    assert pairs and all(len(pair.clean) == len(pair.noisy) for pair in pairs)


def test_talkers_in_folders_are_told_apart(tmp_path):
    names = [f"s{talker}/{i:03}" for talker in range(5) for i in range(2)]
    for name in names:
        write_pairs(tmp_path / "parts" / name, "clean", "noisy", ["x"])
        for half in ("clean", "noisy"):
            (tmp_path / half / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "parts" / name / half / "x.wav").rename(tmp_path / half / f"{name}.wav")
    training, pairs = open_sources(tmp_path, Sources(), MixConfig())
    assert [f"{clean.parent.name}/{clean.stem}" for clean, _ in training.pairs] == names[:6]
    assert [pair.name for pair in pairs] == [name.replace("/", "_") for name in names[6:]]


def test_of_talkers_that_are_not_told_a_tenth_of_the_pairs_validates(tmp_path):
    write_pairs(tmp_path, "clean", "noisy", [f"{i:02}" for i in range(30)], 400)
    training, pairs = open_sources(tmp_path, Sources(), MixConfig(seconds=0.02))
    assert [pair.name for pair in pairs] == ["00", "10", "20"] and len(training.pairs) == 27


def test_no_more_than_fifty_pairs_validate(tmp_path):
    """Of the 60 that are held out every second one."""
    names = [f"p{talker}_{i:03}" for talker in range(4) for i in range(30)]
    write_pairs(tmp_path, "clean", "noisy", names, 400)
    training, pairs = open_sources(tmp_path, Sources(), MixConfig(seconds=0.02))
    assert len(training.pairs) == 60 and len(pairs) == 30


def test_what_cannot_be_read_or_held_out(recordings, tmp_path):
    shutil.copytree(recordings, tmp_path / "data")
    (tmp_path / "data" / "rir").mkdir(exist_ok=True)
    for path in (tmp_path / "data" / "rir").iterdir():
        path.unlink()
    open_sources(tmp_path / "data", Sources(), MixConfig())  # rooms are optional
    broken = next(path for path in (tmp_path / "data" / "noise").rglob("*") if path.is_file())
    broken.write_text("no sound")
    with pytest.raises(ValueError, match=broken.name):
        open_sources(tmp_path / "data", Sources(), MixConfig())
    speech = [path for path in (tmp_path / "data" / "clean").rglob("*") if path.is_file()]
    for path in speech[1:]:
        path.unlink()
    with pytest.raises(ValueError, match="nothing is left to train on"):
        open_sources(tmp_path / "data", Sources(), MixConfig())
    with pytest.raises(ValueError, match="are shorter than 320 samples"):
        MixConfig(seconds=0)


def test_a_file_without_its_other_half_is_named(tmp_path):
    write_pairs(tmp_path, "clean", "noisy", ["a", "b"])
    (tmp_path / "noisy" / "b.wav").unlink()
    with pytest.raises(ValueError, match="the first: b"):
        match_pairs(tmp_path / "clean", tmp_path / "noisy")


def test_a_folder_without_speech_or_noise_is_an_error_that_says_so(tmp_path):
    with pytest.raises(ValueError, match="no folder clean"):
        open_sources(tmp_path, Sources(), MixConfig())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"speech": ("clean", "clear")}, "no folder clear"),
        ({"noise": ("noise", "noises")}, "no folder noises"),
        ({"emphasis": {"libri": 2.0}}, "no corpus libri to emphasise"),
    ],
)
def test_a_name_of_nothing_is_said(recordings, wrong, told):
    with pytest.raises(ValueError, match=told):
        open_sources(recordings, Sources(**wrong), MixConfig())
