"""Mixtures of the recordings of the fixture, and folders of recorded pairs."""

from dataclasses import replace

import numpy as np
import soundfile

from seqgan.speech.data import MixConfig, Mixtures, find_recordings
from seqgan.speech.sources import find_corpora

RATE = 16_000
PLAIN = MixConfig(
    seconds=1.0, quiet=0, clean=0, speechless=0, second_noise=0, babble=0, coloured=0, room=0, speed=0, equaliser=0,
    band_limit=0, telephone=0, codec=0, clipping=0,
)  # fmt: skip
NOISY = MixConfig(seconds=0.8, snr=(0.0, 5.0), quiet=0, clean=0, speechless=0)  # never clean speech, never noise alone


def mixtures(recordings, config=PLAIN, seed=0, **changes):
    """Of clean/, noise/ and rir/; changes: to the config"""
    speech, noise = (find_corpora([recordings / name]) for name in ("clean", "noise"))
    return Mixtures(speech, noise, find_recordings([recordings / "rir"]), replace(config, **changes), seed)


def write_pairs(folder, clean, noisy, names, size=4000):
    """Each a little longer than the one before, and half as loud on the noisy side."""
    for half, gain in ((clean, 1.0), (noisy, 0.5)):
        (folder / half).mkdir(parents=True)
        for i, name in enumerate(names):
            soundfile.write(folder / half / f"{name}.wav", gain * 0.1 * np.cos(np.arange(size + 100 * i)), RATE)
