"""What `enhance --report` says of a recording before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .streaming import EnhancementStream

FRAME = 0.032  # seconds
LOWEST, HIGHEST, STEP = -120.0, 20.0, 0.5  # dBFS, of the histogram of frame levels
EXCERPT = 60  # seconds of the beginning, of which DNSMOS is taken
CLEAREST = 60.0  # dB; beyond, an estimate of a signal-to-noise ratio says nothing


class Listener:
    """Levels of a recording of any length, in constant memory, and its beginning."""

    def __init__(self, sample_rate: int):
        self.sample_rate, self.frame = sample_rate, round(FRAME * sample_rate)
        self.counts = np.zeros(round((HIGHEST - LOWEST) / STEP), np.int64)
        self.kept = np.zeros(0)  # samples' power, of a frame that is not complete
        self.excerpt: list[np.ndarray] = []
        self.missing = EXCERPT * sample_rate

    def push(self, wave: np.ndarray) -> None:
        """wave: (channels, samples)"""
        wave = np.nan_to_num(wave, nan=0, posinf=0, neginf=0)
        if self.missing > 0:
            self.excerpt.append(wave[:, : self.missing].mean(0).astype(np.float32))
            self.missing -= len(self.excerpt[-1])
        power = np.concatenate([self.kept, np.square(wave, dtype=np.float64).mean(0)])
        whole = len(power) // self.frame * self.frame
        level = 10 * np.log10(power[:whole].reshape(-1, self.frame).mean(1) + 1e-30)
        bins = ((level - LOWEST) / STEP).astype(int).clip(0, len(self.counts) - 1)
        self.counts += np.bincount(bins, minlength=len(self.counts))
        self.kept = power[whole:]

    def mean_power(self, lower: float, upper: float) -> float:
        """Of the frames between two shares of all, from the quietest (0) to the loudest (1)."""
        power = 10 ** ((LOWEST + STEP * (np.arange(len(self.counts)) + 0.5)) / 10)
        ends = np.cumsum(self.counts) / max(1, self.counts.sum())
        share = np.clip(ends, lower, upper)
        share = np.diff(share, prepend=lower)
        return float((share * power).sum() / max(share.sum(), 1e-12))

    def silent(self) -> bool:
        """Whether no frame has anything in it, or there is none."""
        return not self.counts[1:].any()

    def level(self) -> float:
        """Of the louder half of the frames, where speech is: dBFS"""
        return 10 * np.log10(self.mean_power(0.5, 1) + 1e-12)

    def snr(self) -> float:
        """Power of all that is above the quietest tenth of the frames, which are taken for pauses, against these: dB"""
        noise = self.mean_power(0, 0.1)
        return float(np.clip(10 * np.log10(max(self.mean_power(0, 1) / noise - 1, 1e-2)), -20, CLEAREST))


def summary(name: str, before: Listener, after: Listener, stream: EnhancementStream, seconds: float) -> str:
    """A few lines for a reader."""
    length = stream.received / stream.sample_rate
    channels = f"{stream.channels} channel{'s' * (stream.channels > 1)}"
    lines = [
        f"{name}: {length:.2f} s, {stream.sample_rate} Hz, {channels}; enhanced in {seconds:.2f} s",
        f"  estimated SNR    {signal_to_noise(before)} -> {signal_to_noise(after)} dB (quietest tenth taken for noise)",
        f"  level            {loudness(before)} -> {loudness(after)} dBFS (louder half of the frames)",
        f"  band             {band(stream)}",
        f"  DNSMOS           {opinions(before, after)}",
    ]
    return "\n".join(lines)


def signal_to_noise(listener: Listener) -> str:
    if listener.silent():
        return "undefined"
    value = listener.snr()
    return f"over {CLEAREST:.0f}" if value >= CLEAREST else f"{value:.1f}"


def loudness(listener: Listener) -> str:
    return "-inf" if listener.silent() else f"{listener.level():.1f}"


def band(stream: EnhancementStream) -> str:
    """What was done to the frequencies that the model does not hear."""
    limit = stream.model_rate / 2000
    if stream.sample_rate <= stream.model_rate:
        return f"all of it enhanced ({stream.sample_rate / 2000:g} kHz)"
    if stream.above[0] <= 1e-12 * stream.received:
        return f"nothing above {limit:g} kHz"
    change = 10 * np.log10(max(stream.above[1] / stream.above[0], 1e-9))
    return f"enhanced up to {limit:g} kHz; above, turned down as just below it, by {-change:.1f} dB on the whole"


def opinions(before: Listener, after: Listener) -> str:
    """DNSMOS of both, where it is installed."""
    from .metrics import dnsmos

    waves = [np.concatenate(listener.excerpt) for listener in (before, after)]
    if not all(wave.any() for wave in waves):
        return "not defined for silence"
    try:
        scores = [dnsmos(wave, before.sample_rate) for wave in waves]
    except ImportError:
        return "not installed: pip install 'seqgan[metrics]'"
    parts = [f"{label} {scores[0][key]:.2f} -> {scores[1][key]:.2f}" for key, label in OPINIONS.items()]
    return ", ".join(parts) + (f" (first {EXCERPT} s)" if before.missing <= 0 else "")


OPINIONS = {"sig": "speech", "bak": "background", "ovrl": "overall"}
