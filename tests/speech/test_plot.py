"""Spectrograms: full scale is 0 dB, and a longer recording has frames that are averaged, not more columns."""

import numpy as np
import pytest

from seqgan.speech.plot import COLUMNS, Spectrogram


def test_a_full_scale_tone_has_0_decibels_whatever_is_averaged():
    """40 s at 16 kHz are 2,499 frames of 32 ms; the tone lies in the middle of bin 64."""
    picture = Spectrogram(16_000)
    picture.push(np.sin(2 * np.pi * 64 / 512 * np.arange(16_000 * 40))[None].astype(np.float32))
    image = picture.decibels()
    assert image[64].max() == pytest.approx(0, abs=0.01) and image[64].min() == pytest.approx(0, abs=0.01)
    assert picture.frames_per_column == 2 and COLUMNS <= image.shape[1] < 2 * COLUMNS


def test_columns_of_longer_recordings_stand_for_more_frames():
    picture = Spectrogram(16_000)
    for _ in range(9):
        picture.add(np.ones((1000, 4)))
    assert picture.frames_per_column == 8 and len(picture.columns) == 9000 // 8


def test_samples_that_are_no_numbers_do_not_blacken_a_picture():
    wave = (0.1 * np.random.default_rng(0).standard_normal((1, 8000))).astype(np.float32)
    wave[0, [100, 5000]] = np.nan, np.inf
    picture = Spectrogram(16_000)
    picture.push(wave)
    assert np.isfinite(picture.decibels()).all() and np.ptp(picture.decibels()) > 10
