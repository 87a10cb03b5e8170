"""Mixtures are functions of (seed, index), have the ratio that they say, and hold the parts apart."""

import numpy as np
import pytest
import soundfile

from seqgan.speech import data
from seqgan.speech.data import MixConfig, Mixtures, find_recordings
from seqgan.speech.sources import Sources, find_corpora, open_sources

RATE = 16_000
PLAIN = MixConfig(
    seconds=1.0, quiet=0, clean=0, speechless=0, second_noise=0, babble=0, coloured=0, room=0, speed=0, equaliser=0,
    band_limit=0, telephone=0, codec=0, clipping=0,
)  # fmt: skip


def mixtures(recordings, config=PLAIN, **others):
    speech, noise = (find_corpora([recordings / name]) for name in ("clean", "noise"))
    return Mixtures(speech, noise, find_recordings([recordings / "rir"]), config, **others)


def test_an_item_is_a_function_of_seed_and_index(recordings):
    first, second, other = (mixtures(recordings, MixConfig(seconds=1.0), seed=s) for s in (1, 1, 2))
    later = [second[i] for i in (5, 3)]  # in another order, by another reader
    assert all((first[i]["noisy"] == item["noisy"]).all() for i, item in zip((5, 3), later, strict=True))
    assert (first[5]["noisy"] != other[5]["noisy"]).any()


@pytest.mark.parametrize("snr", [-5.0, 0.0, 15.0])
def test_ratio_of_speech_to_noise_is_the_one_asked_for(recordings, snr):
    source = mixtures(recordings, MixConfig(**{**PLAIN.__dict__, "snr": (snr, snr)}))
    for i in range(5):
        item = source[i]
        clean, noise = item["clean"].numpy(), (item["noisy"] - item["clean"]).numpy()
        measured = 20 * np.log10(data.active_level(clean) / data.active_level(noise))
        assert measured == pytest.approx(snr, abs=0.1)


def test_level_of_the_mixture_is_within_its_bounds(recordings):
    source = mixtures(recordings, MixConfig(**{**PLAIN.__dict__, "level": (-40.0, -30.0)}))
    for i in range(10):
        assert -40.1 < 20 * np.log10(data.root_mean_square(source[i]["noisy"].numpy())) < -29.9


def test_clean_items_come_unchanged_and_speechless_ones_ask_for_silence(recordings):
    item = mixtures(recordings, MixConfig(**{**PLAIN.__dict__, "clean": 1.0}))[0]
    assert (item["noisy"] == item["clean"]).all() and item["clean"].abs().max() > 0
    item = mixtures(recordings, MixConfig(**{**PLAIN.__dict__, "speechless": 1.0}))[0]
    assert item["clean"].abs().max() == 0 and item["noisy"].abs().max() > 0


def test_every_augmentation_gives_finite_bounded_pairs(recordings):
    everything = MixConfig(**{name: 0.5 for name in ("second_noise", "babble", "room", "speed", "equaliser", "codec")})
    source = mixtures(recordings, everything)
    for i in range(40):
        for wave in source[i].values():
            assert wave.shape == (32_000,) and wave.isfinite().all() and wave.abs().max() <= 1.001


def test_target_of_a_room_keeps_early_reflections_alone_and_the_time(recordings):
    impulse = np.zeros(8000, np.float32)
    impulse[100] = 1
    response, _ = soundfile.read(recordings / "rir" / "hall.wav", dtype="float32")
    heard, target = data.reverberate(impulse, response, early=800)
    assert np.abs(target).argmax() == np.abs(heard).argmax() == 100
    assert heard[100 + 1990] / heard[100] == pytest.approx(0.4, abs=1e-3)
    assert target[100 + 1990] == pytest.approx(0, abs=1e-5)
    assert target[100 + 290] / target[100] == pytest.approx(0.5, abs=1e-3)


def test_emphasis_multiplies_the_chance_of_a_corpus(recordings):
    speech = find_corpora([recordings / "clean"])
    assert {name: len(paths) for name, paths in speech.items()} == {"phone": 3, "read": 3}  # of two seconds each
    plain, doubled = data.chances(speech, {}), data.chances(speech, {"phone": 2.0})
    assert plain == pytest.approx([1 / 2, 1 / 2])
    assert doubled[list(speech).index("phone")] == pytest.approx(2 / 3)


def test_emphasis_is_of_noise_too(recordings):
    rain = sorted(path.name for path in (recordings / "noise").iterdir())[0]
    training, _ = open_sources(recordings, Sources(emphasis={rain: 0.0, "phone": 0.0}), MixConfig(seconds=0.5))
    assert min(training.noise_chance) == min(training.speech_chance) == 0
    with pytest.raises(ValueError, match="no corpus nothing to emphasise among phone, read, "):
        open_sources(recordings, Sources(emphasis={"nothing": 2.0}), MixConfig())


@pytest.mark.parametrize("seconds", [0.0, 0.019, -1.0])
def test_mixtures_hold_a_frame_at_least(seconds):
    with pytest.raises(ValueError, match="shorter than 320 samples"):
        MixConfig(seconds=seconds)


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


def test_a_folder_without_recordings_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ValueError, match=str(tmp_path)):
        find_recordings([tmp_path])
