"""Streams of samples through a model: any rate, any chunks, in time to the sample, in constant memory."""

from __future__ import annotations

import operator

import numpy as np
import torch
from torch import Tensor

from .networks import MaskGenerator
from .resampling import Resampler
from .windows import GRID, ROWS, CausalPass, Frames, Grid, OverlapAdd, WindowPass

LOUDEST = 10 ** (1 / 10)  # energy that an enhanced frame may have against the noisy one: 1 dB more
LOWEST_RATE, HIGHEST_RATE = 4_000, 192_000  # Hz
TINY = 1e-30  # keeps a division by the energy of silence finite
FLOOR = 1e-8  # energy of a frame, far below what 16 bits can hold
SETTLE = 0.01  # seconds of silence put behind the end, into which the resamplers' filters run


class EnhancementStream:
    """A recording on its way through an enhancer: `push` takes what comes, returns what is settled, `finish` the rest.

    What comes out, put together, is as long as what went in, sample for sample in time with it, and does not depend on
    the sizes of the chunks beyond float rounding. `delay` is how far, in seconds, the input has to be known beyond a
    sample before that is settled.

    The model works at its own rate on x as it hears it, up to 8 kHz. At another rate the change that it makes is
    brought to the recording's; what the model cannot hear, the band above, follows the model's gain just below it.
    """

    def __init__(
        self,
        generator: MaskGenerator,
        sample_rate: int,
        channels: int,
        strength: float = 1.0,
        max_attenuation: float | None = None,
        grid: Grid = GRID,
    ):
        sample_rate = check_sample_rate(sample_rate)
        if not 0 <= strength <= 1:
            raise ValueError(f"strength is {strength}; it goes from 0 (the input) to 1 (the model's output)")
        if max_attenuation is not None and not max_attenuation >= 0:
            raise ValueError(f"the largest attenuation is {max_attenuation} dB; it is 0 or more")
        self.generator, self.sample_rate, self.channels = generator, sample_rate, channels
        self.model_rate, fourier = generator.config.sample_rate, generator.fourier
        self.hop, self.device = fourier.hop, fourier.window.device
        # x + strength * (enhanced - x), and of that enhanced + 10 ** (-A / 20) * (x - enhanced)
        self.weight = strength * (1 - 10 ** (-(np.inf if max_attenuation is None else max_attenuation) / 20))
        self.frames = Frames(fourier, channels)
        self.passes = CausalPass(generator) if generator.config.causal else WindowPass(generator, grid)
        look = 0 if generator.config.causal else grid.block + grid.ahead + grid.fade // 2 - 1
        self.delay = (fourier.size + look * fourier.hop) / self.model_rate
        self.down = self.up = None
        if sample_rate != self.model_rate:
            self.down = Resampler(sample_rate, self.model_rate, channels)
            self.up = Resampler(self.model_rate, sample_rate, 2 * channels)
            self.delay += self.down.delay + self.up.delay
        self.overlap = OverlapAdd(fourier, channels if self.up is None else 2 * channels)
        top = round(self.hop * min(1, sample_rate / self.model_rate))  # bin of the lower rate's Nyquist frequency
        self.guide = slice(top // 2, top)  # the band that the one above follows: the model's upper half, 4 to 8 kHz
        self.gains = np.ones((channels, 0), np.float32)  # of the guiding band, per frame from frame first_gain on
        self.first_gain = 0
        self.waiting = np.zeros((channels, 0), np.float32)  # input that is not settled
        self.piece = round(max(1, ROWS // channels) * grid.block * self.hop * sample_rate / self.model_rate)
        self.received = self.settled = 0
        self.replaced = 0  # samples that were not finite
        self.above = np.zeros(2)  # energy above the model's band before and after

    def push(self, wave: np.ndarray) -> np.ndarray:
        """wave: (channels, samples), floating point -> settled samples, (channels, as many as there are)"""
        wave = np.asarray(wave)
        if wave.ndim != 2 or len(wave) != self.channels or wave.dtype.kind != "f":
            raise ValueError(
                f"a chunk has floating point samples (full scale 1.0) in the shape ({self.channels}, samples): "
                f"got {wave.dtype} {wave.shape}"
            )
        finite = np.isfinite(wave)
        if not finite.all():
            self.replaced += int(wave.size - finite.sum())
            wave = np.where(finite, wave, wave.dtype.type(0))
        self.received += wave.shape[1]
        return self.run(wave)

    def finish(self) -> np.ndarray:
        """What is left: (channels, samples)"""
        missing = self.received - self.settled
        if not missing:
            return self.waiting
        settle = 0 if self.up is None else round(SETTLE * self.sample_rate)
        return self.run(np.zeros((self.channels, settle), self.waiting.dtype), last=True)[:, :missing]

    def run(self, wave: np.ndarray, last: bool = False) -> np.ndarray:
        """Sends any number of samples through the model, no more of them at once than fill its windows."""
        piece = self.piece
        starts = range(0, max(1, wave.shape[1]), piece)
        settled = [self.step(wave[:, at : at + piece], last and at == starts[-1]) for at in starts]
        return np.concatenate(settled, 1)

    @torch.inference_mode()
    def step(self, wave: np.ndarray, last: bool) -> np.ndarray:
        self.waiting = np.concatenate([self.waiting.astype(wave.dtype), wave], 1)
        heard = wave.astype(np.float32)
        if self.down is not None:
            heard = self.down.push(heard)
            if last:
                heard = np.concatenate([heard, self.down.finish()], 1)
        noisy, enhanced = self.passes.push(self.frames.push(torch.from_numpy(heard).to(self.device), last), last)
        enhanced = guard(noisy, enhanced)
        change = enhanced - noisy
        if self.up is not None:
            gain = band_gain(noisy[:, self.guide], enhanced[:, self.guide])
            self.gains = np.concatenate([self.gains, gain.cpu().numpy()], 1)
            change = torch.cat([change, noisy])
        change = self.overlap.push(change).cpu().numpy()
        if self.up is not None:
            change = self.up.push(change)
            if last:
                change = np.concatenate([change, self.up.finish()], 1)
        return self.mix(np.nan_to_num(change, copy=False, nan=0, posinf=0, neginf=0))

    def mix(self, change: np.ndarray) -> np.ndarray:
        """The input that has waited for its change, and the change to it; change: (channels, samples).

        At another rate than the model's: (2 * channels, samples), below them what the model heard.
        """
        samples = min(change.shape[1], self.waiting.shape[1])
        if not samples:
            return self.waiting[:, :0]
        wave, change = self.waiting[:, :samples], change[:, :samples]
        self.waiting = self.waiting[:, samples:].copy()
        if self.up is not None:
            change, heard = np.split(change, 2)
            above = wave - heard
            gain = self.gain(samples)
            change = change + (gain - 1) * above
            self.above += np.square([above, above + self.weight * (gain - 1) * above], dtype=np.float64).sum((1, 2))
        self.settled += samples
        return wave + wave.dtype.type(self.weight) * change.astype(wave.dtype)

    def gain(self, samples: int) -> np.ndarray:
        """Gain above the model's band of the next samples, (channels, samples), between those of the frames."""
        position = (self.settled + np.arange(samples)) * (self.model_rate / self.sample_rate / self.hop)
        frames = self.first_gain + np.arange(self.gains.shape[1])
        gain = np.stack([np.interp(position, frames, row) for row in self.gains]).astype(np.float32)
        done = int(position[-1]) - self.first_gain
        self.gains, self.first_gain = self.gains[:, done:], self.first_gain + done
        return gain


def check_sample_rate(sample_rate: float) -> int:
    """The rate as a whole number of Hz; ValueError where it is none, or out of bounds."""
    if isinstance(sample_rate, float) and sample_rate.is_integer():
        sample_rate = int(sample_rate)
    try:
        sample_rate = operator.index(sample_rate)
    except TypeError:
        raise ValueError(f"a sample rate is a whole number of Hz, not {sample_rate!r}") from None
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise ValueError(f"a sample rate of {sample_rate} Hz is outside of {LOWEST_RATE} to {HIGHEST_RATE} Hz")
    return sample_rate


def guard(noisy: Tensor, enhanced: Tensor) -> Tensor:
    """The enhanced frames without bins that are not finite, none with 1 dB more energy than the noisy one.

    complex spectra: (channels, frequency, frame)
    """
    enhanced = torch.where(enhanced.isfinite(), enhanced, 0)
    return enhanced * (LOUDEST * energy(noisy) / energy(enhanced).clamp_min(TINY)).clamp_max(1).sqrt()[:, None]


def band_gain(noisy: Tensor, enhanced: Tensor) -> Tensor:
    """Gain of a band in every frame, at most 1; complex spectra: (channels, frequency, frame) -> (channels, frame)"""
    return ((energy(enhanced) + FLOOR) / (energy(noisy) + FLOOR)).clamp_max(1).sqrt()


def energy(spectrum: Tensor) -> Tensor:
    return (spectrum.real.square() + spectrum.imag.square()).sum(1)
