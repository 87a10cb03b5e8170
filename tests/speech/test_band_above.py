"""What the model cannot hear, the band above its own, follows what it does just below."""

import numpy as np
import pytest
import torch

from seqgan.speech import Enhancer

from .test_enhancer import Gain, decibels, noise


def test_the_band_above_follows_in_time():
    """A hiss above 8 kHz ends when the model silences what it hears below."""
    rate = 48_000
    hiss = noise(rate)[0]
    hiss = np.fft.irfft(np.fft.rfft(hiss) * (np.fft.rfftfreq(rate, 1 / rate) > 9_000)).astype(np.float32)
    wave = hiss + noise(rate, seed=1, level=0.01)[0]
    enhanced = Enhancer(Gain(lambda frame: float(frame < 31), causal=True))(wave, rate)
    edge = rate * 31 * 256 // 16_000
    assert decibels((enhanced - wave)[: edge - 800], wave) < -60
    assert decibels(enhanced[edge + 800 :], wave) < -60


def test_the_band_above_is_never_turned_up():
    wave = noise(24_000)
    enhanced = Enhancer(Gain(lambda frame: 1.1, causal=True))(wave, 48_000)
    bands = [np.abs(np.fft.rfft(w[0]))[4500:] for w in (enhanced, wave)]  # above 9 kHz
    assert abs(decibels(*bands)) < 0.01


def test_the_band_above_follows_the_band_just_below():
    """Where all up to 4 kHz is silenced and nothing above, what is above 8 kHz stays."""

    class Upper(Gain):
        def forward(self, spectrum, state=None):
            kept = torch.arange(spectrum.shape[1]) >= 128
            return spectrum * kept[:, None], None

    wave = noise(24_000)
    enhanced = Enhancer(Upper(None, causal=True))(wave, 48_000)
    bands = [np.abs(np.fft.rfft(w[0]))[4500:] for w in (enhanced, wave)]  # above 9 kHz
    assert abs(decibels(*bands)) < 0.01


@pytest.mark.parametrize(("strength", "left"), [(1.0, 0.1), (0.5, 0.5 * 0.1 + 0.5)])
def test_what_is_left_of_the_band_above_is_counted(strength, left):
    stream = Enhancer(Gain(lambda frame: 0.1, causal=True)).open_stream(48_000, strength=strength)
    stream.push(noise(48_000))
    stream.finish()
    assert stream.above[1] / stream.above[0] == pytest.approx(left**2, rel=1e-3)
