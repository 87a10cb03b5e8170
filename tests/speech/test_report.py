"""Levels and ratios of recordings that are known by their making."""

from types import SimpleNamespace

import numpy as np
import pytest

from seqgan.speech.report import Listener, band

SIGN = np.tile([1.0, -1.0], 1600)


def heard(*parts):
    listener = Listener(1000)
    listener.push(np.concatenate(parts)[None])
    return listener


def test_signal_to_noise_and_level_of_a_recording_in_two_halves():
    """Half pause at -60 dBFS, half speech at -20: up to half a dB of a frame's level is lost in the histogram."""
    listener = heard(1e-3 * SIGN, 1e-1 * SIGN)
    assert listener.level() == pytest.approx(-20, abs=0.3)
    assert listener.snr() == pytest.approx(10 * np.log10((1e-2 + 1e-6) / 2 / 1e-6 - 1), abs=0.5)
    assert heard(1e-1 * SIGN).snr() == -20, "nothing above the pauses"


def test_what_is_turned_down_above_the_band_is_told():
    stream = SimpleNamespace(model_rate=16_000, sample_rate=48_000, above=np.array([1.0, 0.1]), received=9)
    assert band(stream) == "enhanced up to 8 kHz; above, turned down as just below it, by 10.0 dB on the whole"
