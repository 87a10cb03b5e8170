"""Resampling of a stream: aligned, within its stop band, whatever the chunks."""

import numpy as np
import pytest

from seqgan.speech.resampling import Resampler

RATES = [(48_000, 16_000), (16_000, 48_000), (44_100, 16_000), (16_000, 44_100), (8_000, 16_000), (47_999, 16_000)]


def resample(wave, source, target, cut=None):
    resampler = Resampler(source, target, len(wave))
    chunks = np.split(wave, cut if cut is not None else [], axis=1)
    return np.concatenate([*map(resampler.push, chunks), resampler.finish()], 1)


def tone(frequency, rate, seconds=0.5):
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)[None].astype(np.float32)


@pytest.mark.parametrize(("source", "target"), RATES)
@pytest.mark.parametrize("frequency", [100, 1234.5, 3000])
def test_a_tone_is_the_same_tone(source, target, frequency):
    """To -60 dB, in time to the sample: a lag of a hundredth of a sample at 3 kHz would cost 44 dB."""
    got = resample(tone(frequency, source), source, target)[0]
    expected = tone(frequency, target, 1)[0][: len(got)]
    inside = slice(target // 20, -target // 20)
    assert len(got) == -(-round(0.5 * source) * target // source)
    assert np.square(got - expected)[inside].mean() < 1e-6 * np.square(expected)[inside].mean()


@pytest.mark.parametrize("frequency", [8_200, 8_600, 12_000, 23_000])
def test_what_the_lower_rate_cannot_hold_is_gone(frequency):
    got = resample(tone(frequency, 48_000), 48_000, 16_000)[0, 800:-800]
    assert np.abs(got).max() < 10 ** (-58 / 20)


@pytest.mark.parametrize(("source", "target"), RATES)
def test_chunks_change_nothing(source, target):
    rng = np.random.default_rng(0)
    wave = rng.standard_normal((2, source // 3)).astype(np.float32)
    cut = np.sort(rng.integers(0, wave.shape[1], 40))
    assert np.abs(resample(wave, source, target) - resample(wave, source, target, cut)).max() < 1e-5


def test_the_delay_is_as_stated():
    resampler, wave = Resampler(48_000, 16_000, 1), tone(440, 48_000)
    made = resampler.push(wave).shape[1] / 16_000
    assert resampler.delay == 0.002
    assert 0.5 - made == pytest.approx(resampler.delay, abs=1 / 16_000)
    assert resampler.push(wave[:, :0]).shape == (1, 0)


def test_memory_stays_constant():
    resampler = Resampler(44_100, 16_000, 1)
    for _ in range(20):
        resampler.push(tone(440, 44_100))
        assert resampler.kept.shape[1] < 1500
