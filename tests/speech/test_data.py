"""What mixtures are made of: recordings as they are found and read, chances, levels, rooms, curves, codecs; pairs."""

import numpy as np
import pytest
import soundfile

from seqgan.speech import data
from seqgan.speech.data import MixConfig, Pairs, find_recordings
from seqgan.speech.sources import Sources, find_corpora, match_pairs, open_sources

from .mixture_helpers import RATE, write_pairs


def test_a_folder_without_recordings_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ValueError, match=str(tmp_path)):
        find_recordings([tmp_path])


def test_recordings_can_be_excluded_by_a_part_of_their_names(recordings):
    found = find_recordings([recordings / "clean"], exclude=("anna",))
    assert sorted(path.name for path in found) == ["ben-0.wav", "cleo-0.wav", "cleo-1.wav", "cleo-2.wav"]


def test_recordings_are_brought_to_one_channel_and_one_rate(tmp_path):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, 0 * tone], 1), 48_000)
    wave = data.Library(RATE)[tmp_path / "a.wav"]
    assert wave.shape == (RATE,)
    np.testing.assert_allclose(wave[200:-200], 0.5 * tone[::3][200:-200], atol=1e-3)


def test_emphasis_multiplies_the_chance_of_a_corpus(recordings):
    speech = find_corpora([recordings / "clean"])
    assert {name: len(paths) for name, paths in speech.items()} == {"phone": 3, "read": 3}  # of two seconds each
    plain, doubled = data.chances(speech, {}), data.chances(speech, {"phone": 2.0})
    assert plain == pytest.approx([1 / 2, 1 / 2])
    assert doubled[list(speech).index("phone")] == pytest.approx(2 / 3)


def test_the_chance_of_a_corpus_grows_with_the_root_of_its_length(recordings):
    paths = find_recordings([recordings / "clean"])  # of two seconds each
    assert data.chances({"one": paths[:1], "four": paths[:4]}, {}) == pytest.approx([1 / 3, 2 / 3])


def test_an_emphasis_that_leaves_no_corpus_is_refused(recordings):
    speech = find_corpora([recordings / "clean"])
    with pytest.raises(ValueError, match="chances.*phone"):
        data.chances(speech, dict.fromkeys(speech, 0.0))


def test_emphasis_is_of_noise_too(recordings):
    rain = sorted(path.name for path in (recordings / "noise").iterdir())[0]
    training, _ = open_sources(recordings, Sources(emphasis={rain: 0.0, "phone": 0.0}), MixConfig(seconds=0.5))
    assert min(training.noise_chance) == min(training.speech_chance) == 0
    with pytest.raises(ValueError, match="no corpus nothing to emphasise among phone, read, "):
        open_sources(recordings, Sources(emphasis={"nothing": 2.0}), MixConfig())


def test_pauses_do_not_count_as_speech():
    wave = np.concatenate([np.full(1600, 0.1), np.full(1600, 1e-4)])
    assert data.active_level(wave) == pytest.approx(0.1)
    wave[1600:] = 1e-3  # 40 dB below; at 30 dB it would count
    assert data.active_level(wave) == pytest.approx(0.1)
    wave[1600:] = 0.1 * 10 ** (-30 / 20)
    assert data.active_level(wave) == pytest.approx(0.1 * ((1 + 1e-3) / 2) ** 0.5)


def test_target_of_a_room_keeps_early_reflections_alone_and_the_time(recordings):
    impulse = np.zeros(8000, np.float32)
    impulse[100] = 1
    response, _ = soundfile.read(recordings / "rir" / "hall.wav", dtype="float32")
    heard, target = data.reverberate(impulse, response, early=800)
    assert np.abs(target).argmax() == np.abs(heard).argmax() == 100
    assert heard[100 + 1990] / heard[100] == pytest.approx(0.4, abs=1e-3)
    assert target[100 + 1990] == pytest.approx(0, abs=1e-5)
    assert target[100 + 290] / target[100] == pytest.approx(0.5, abs=1e-3)


def test_direct_sound_and_early_reflections_have_the_energy_of_the_speech():
    """What comes before the loudest sample of a response is cut off, here a 3; what comes late does not count."""
    response = np.zeros(4000, np.float32)
    response[[10, 300, 400, 2000]] = 3.0, 4.0, 2.0, 2.0
    _, target = data.reverberate(np.eye(1, 8000, 100, dtype=np.float32)[0], response, early=800)
    assert np.square(target).sum() == pytest.approx(1, abs=1e-3)
    assert target[200] / target[100] == pytest.approx(2 / 4, abs=1e-3)


def test_a_band_has_two_edges():
    curve = data.band_curve(RATE, RATE, 300, 3400)  # one bin a Hz
    assert curve[[100, 300, 1000, 3400, 4000]].tolist() == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_a_random_curve_stays_within_its_bounds():
    curve = 20 * np.log10(data.random_curve(np.random.default_rng(0), 1000))
    assert curve.shape == (501,) and -6 <= curve.min() < -1 and 1 < curve.max() <= 6


def test_mu_law_is_near_the_identity_and_coarse():
    wave = np.linspace(-1, 1, 1001)
    there_and_back = data.mu_law(wave)
    assert np.abs(there_and_back - wave).max() < 0.03 and len(np.unique(there_and_back)) <= 255


def test_codec_keeps_length_and_time(recordings):
    rng = np.random.default_rng(0)
    wave = np.sin(2 * np.pi * 440 * np.arange(20_000) / RATE).astype(np.float32) * np.hanning(20_000).astype(np.float32)
    for _ in range(6):
        coded = data.code(wave, RATE, rng)
        assert coded.shape == wave.shape and np.corrcoef(coded, wave)[0, 1] > 0.95


def test_recorded_pairs_are_cropped_together(tmp_path):
    write_pairs(tmp_path, "clean", "noisy", ["a", "b", "c"])
    item = Pairs(match_pairs(tmp_path / "clean", tmp_path / "noisy"), seconds=0.2)[4]
    assert item["clean"].shape == (3200,)
    np.testing.assert_allclose(item["noisy"], 0.5 * item["clean"], atol=1e-4)


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"]])
def test_crops_of_pairs_begin_anywhere(tmp_path, names):
    write_pairs(tmp_path, "clean", "noisy", names)
    crops = Pairs(match_pairs(tmp_path / "clean", tmp_path / "noisy"), seconds=0.1)
    assert len({crops[i]["clean"][:2].numpy().tobytes() for i in range(8)}) > 4


def test_a_pair_that_is_shorter_than_a_crop_is_filled_up(tmp_path):
    write_pairs(tmp_path, "clean", "noisy", ["a"])
    clean = Pairs(match_pairs(tmp_path / "clean", tmp_path / "noisy"), seconds=0.3)[0]["clean"]
    assert clean.shape == (4800,) and clean[0] > 0.09 and not clean[4000:].any()
