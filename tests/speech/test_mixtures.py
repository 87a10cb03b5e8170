"""Mixtures are functions of (seed, index), of the ratio and level that they say, damaged on the side that they say."""

import numpy as np
import pytest

from seqgan.speech import data
from seqgan.speech.data import MixConfig

from .mixture_helpers import RATE, mixtures


def impulse(size=RATE, at=100):
    return np.eye(1, size, at, dtype=np.float32)[0]


def both(source, index=0):
    """(noisy, clean) of an item, as arrays"""
    item = source[index]
    return item["noisy"].numpy(), item["clean"].numpy()


def of_white_speech(recordings, **changes):
    """Mixtures without noise whose talkers hiss, so that every frequency is there to be changed."""
    source = mixtures(recordings, clean=1.0, **changes)
    source.talk = lambda rng: rng.standard_normal(RATE).astype(np.float32)
    return source


def test_an_item_is_a_function_of_seed_and_index(recordings):
    first, second, other = (mixtures(recordings, MixConfig(seconds=1.0), seed=s) for s in (1, 1, 2))
    later = [second[i] for i in (5, 3)]  # in another order, by another reader
    assert all((first[i]["noisy"] == item["noisy"]).all() for i, item in zip((5, 3), later, strict=True))
    assert (first[5]["noisy"] != other[5]["noisy"]).any()


@pytest.mark.parametrize("snr", [-5.0, 0.0, 15.0])
def test_ratio_of_speech_to_noise_is_the_one_asked_for(recordings, snr):
    source = mixtures(recordings, snr=(snr, snr))
    for i in range(5):
        noisy, clean = both(source, i)
        measured = 20 * np.log10(data.active_level(clean) / data.active_level(noisy - clean))
        assert measured == pytest.approx(snr, abs=0.1)


def test_the_ratio_is_of_what_is_heard_in_the_room(recordings):
    """A room with a long loud tail, where more is heard than was said; the noise is constant, as is the last sample."""
    source, speech = mixtures(recordings, room=1.0, snr=(0.0, 0.0)), impulse()
    source.talk, source.disturb = lambda rng: speech, lambda rng: np.ones(RATE, np.float32)
    response = source.library[source.rooms[0]].copy()
    response[2000:2300] = 0.5
    source.library.kept[source.rooms[0]] = np.round(response * 32767).astype(np.int16)
    heard, _ = data.reverberate(speech, source.library[source.rooms[0]], 800)
    noisy, _ = both(source)
    gain = (noisy - noisy[-1])[100] / heard[100]
    assert noisy[-1] / gain == pytest.approx(data.active_level(heard), rel=1e-2)


def test_level_of_the_mixture_is_within_its_bounds(recordings):
    source = mixtures(recordings, level=(-40.0, -30.0))
    for i in range(10):
        assert -40.1 < 20 * np.log10(data.root_mean_square(both(source, i)[0])) < -29.9
    noisy, clean = both(mixtures(recordings, level=(0.0, 0.0)))
    assert max(np.abs(noisy).max(), np.abs(clean).max()) == pytest.approx(0.99), "no louder than full scale"


def test_speech_has_one_level(recordings):
    speech = mixtures(recordings).talk(np.random.default_rng(0))
    assert data.active_level(speech) == pytest.approx(0.05, rel=1e-3)


def test_clean_items_come_unchanged_and_speechless_ones_ask_for_silence(recordings):
    noisy, clean = both(mixtures(recordings, clean=1.0))
    assert (noisy == clean).all() and np.abs(clean).max() > 0
    noisy, clean = both(mixtures(recordings, speechless=1.0))
    assert np.abs(clean).max() == 0 and np.abs(noisy).max() > 0


def test_half_of_the_items_are_clean_and_half_are_quiet(recordings):
    source, found = mixtures(recordings, clean=0.5, quiet=0.5, quiet_snr=(30.0, 30.0)), set()
    for i in range(8):
        noisy, clean = both(source, i)
        ratio = data.active_level(clean) / max(data.active_level(noisy - clean), 1e-9)
        found.add(round(20 * np.log10(ratio)) if (noisy != clean).any() else None)
    assert found == {None, 30}


def test_everything_at_once_gives_finite_bounded_pairs(recordings):
    names = ("second_noise", "babble", "room", "speed", "equaliser", "band_limit")
    source = mixtures(recordings, MixConfig(seconds=0.5, codec=0.4, clipping=0.3, **dict.fromkeys(names, 0.5)))
    for i in range(40):
        for wave in both(source, i):
            assert wave.shape == (8000,) and np.isfinite(wave).all() and np.abs(wave).max() <= 1.001


# The noise


def test_coloured_noise_falls_with_frequency(recordings):
    """Its power over the frequency has a slope from -2, brown, to 0.5, on logarithmic axes."""
    source, hertz, slopes = mixtures(recordings, coloured=1.0), np.arange(100, 7000), []
    for seed in range(12):
        power = np.abs(np.fft.rfft(source.one_noise(np.random.default_rng(seed))))[100:7000] ** 2
        slopes.append(np.polyfit(np.log(hertz), np.log(power), 1)[0])
    assert -2.2 < min(slopes) < -1.2 and 0 < max(slopes) < 0.7


def test_a_second_noise_is_up_to_15_dB_weaker(recordings):
    """The first noise has the even samples, the second the odd ones, a hundredth as loud before it is scaled."""
    source = mixtures(recordings, second_noise=1.0)
    loud, faint = np.zeros((2, RATE))
    loud[::2], faint[1::2] = 1.0, 0.01
    for seed in range(10):
        parts = [faint, loud]
        source.one_noise = lambda rng, parts=parts: parts.pop()
        noise = source.disturb(np.random.default_rng(seed))
        assert 10 ** (-15 / 20) <= data.root_mean_square(noise[1::2]) / data.root_mean_square(noise[::2]) <= 1


def test_three_to_six_others_babble(recordings):
    source, counts = mixtures(recordings, babble=1.0), set()
    for seed in range(40):
        voices = []
        source.talk = lambda rng, voices=voices: voices.append(1) or np.ones(RATE, np.float32)
        source.one_noise(np.random.default_rng(seed))
        counts.add(len(voices))
    assert counts == {3, 4, 5, 6}


# Rooms, filters and damage


def test_in_a_room_the_noisy_side_has_all_of_it_and_the_target_its_beginning(recordings):
    source = mixtures(recordings, clean=1.0, room=1.0)
    source.talk = lambda rng: impulse()
    noisy, clean = both(source)
    assert noisy[100 + 1990] / noisy[100] == pytest.approx(0.4, abs=1e-3)
    assert np.abs(clean[100 + 1000 :]).max() < 1e-3 * clean[100]


@pytest.mark.parametrize("change", ["equaliser", "band_limit", "telephone"])
def test_what_colours_the_noisy_side_colours_the_target(recordings, change):
    noisy, clean = both(of_white_speech(recordings, **{change: 1.0}))
    assert np.linalg.norm(noisy - clean) < 0.1 * np.linalg.norm(clean)


def test_clipping_is_of_the_noisy_side(recordings):
    noisy, clean = both(of_white_speech(recordings, clipping=1.0))
    limit = np.abs(noisy).max()
    assert limit < 0.99 * np.abs(clean).max()
    np.testing.assert_allclose(noisy, clean.clip(-limit, limit), atol=1e-6)


def test_kinds_of_damage_share_the_chance(recordings):
    source = of_white_speech(recordings, clipping=0.5, codec=0.5)
    for noisy, clean in (both(source, i) for i in range(8)):
        assert (noisy != clean).any()


@pytest.mark.parametrize("seconds", [0.0, 0.019, -1.0])
def test_mixtures_hold_a_frame_at_least(seconds):
    with pytest.raises(ValueError, match="shorter than 320 samples"):
        MixConfig(seconds=seconds)


@pytest.mark.parametrize("wrong", [{"snr": (20.0, -5.0)}, {"clean": 3.0}, {"clean": 0.7, "quiet": 0.7}])
def test_settings_that_no_mixture_has_are_refused(wrong):
    with pytest.raises(ValueError):
        MixConfig(**wrong)
