"""From a model that sees spectra to a stream of samples: windows and frames that overlap, any rate, constant memory."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .networks import MaskGenerator, ShortTimeFourier, compress, expand
from .resampling import Resampler

LOUDEST = 10 ** (1 / 10)  # energy that an enhanced frame may have against the noisy one: 1 dB more
ROWS = 4  # windows that go through the network together; with eight it is a tenth faster and takes 100 MB more
GUIDE = (
    0.5,
    1.0,
)  # band whose gain the one above the model's follows, in shares of the lower Nyquist frequency: 4 to 8 kHz
LOWEST_RATE, HIGHEST_RATE = 4_000, 192_000  # Hz
TINY = 1e-30  # keeps a division by the energy of silence finite
FLOOR = 1e-8  # energy of a frame, far below what 16 bits can hold
SETTLE = 0.01  # seconds of silence put behind the end, into which the resamplers' filters run


@dataclass(frozen=True)
class Grid:
    """How a generator that looks ahead is moved over a recording, in frames (of 16 ms).

    Each block is enhanced with `past` frames before it and `ahead` frames behind it in view, and cross-faded with its
    neighbours. Blocks lie at multiples of their length from the start of the recording, in whatever chunks it comes.
    """

    block: int = 90  # 1.44 s
    past: int = 60  # 0.96 s
    ahead: int = 30  # 0.48 s
    fade: int = 6  # 96 ms


GRID = Grid()


class Frames:
    """Samples to frames, chunk by chunk: those that `ShortTimeFourier` makes of the whole."""

    def __init__(self, fourier: ShortTimeFourier, channels: int):
        self.fourier = fourier
        self.kept = torch.zeros(channels, fourier.hop, device=fourier.window.device)  # of frames that are not complete

    def push(self, wave: Tensor, last: bool = False) -> Tensor:
        """wave: (channels, samples) -> the frames that it completes, complex (channels, frequency, frame)"""
        hop = self.fourier.hop
        wave = torch.cat([self.kept, wave], 1)
        if last:
            wave = F.pad(wave, (0, hop + -wave.shape[1] % hop))
        whole = wave.shape[1] // hop * hop
        self.kept = wave[:, whole - hop :]
        if whole < 2 * hop:
            return torch.zeros(len(wave), hop + 1, 0, dtype=torch.complex64, device=wave.device)
        return self.fourier.frames(wave[:, :whole])


class OverlapAdd:
    """Frames to samples, chunk by chunk: the inverse of `Frames`."""

    def __init__(self, fourier: ShortTimeFourier, channels: int):
        self.fourier = fourier
        self.kept = torch.zeros(channels, 1, fourier.hop, device=fourier.window.device)  # the last frame's second half
        self.lead = fourier.hop  # samples before the start that the first frame brings

    def push(self, spectrum: Tensor) -> Tensor:
        """complex spectrum: (channels, frequency, frame) -> wave: (channels, samples)"""
        if not spectrum.shape[2]:  # of which MKL can make no inverse transform
            return self.kept[:, 0, :0]
        hop, pieces = self.fourier.hop, self.fourier.windows(spectrum)
        tails = torch.cat([self.kept, pieces[:, :, hop:]], 1)
        self.kept = tails[:, -1:]
        wave = (pieces[:, :, :hop] + tails[:, :-1]).flatten(1)[:, self.lead :]
        self.lead = 0
        return wave


class CausalPass:
    """A causal generator, frame after frame with its state."""

    def __init__(self, generator: MaskGenerator):
        self.generator = generator
        self.state: list | None = None

    def push(self, spectrum: Tensor, last: bool = False) -> tuple[Tensor, Tensor]:
        """Noisy frames -> (noisy, enhanced) frames, complex (channels, frequency, frame)"""
        if spectrum.shape[2] == 0:
            return spectrum, spectrum
        power = self.generator.config.compression
        enhanced, self.state = self.generator(compress(spectrum, power), self.state)
        return spectrum, expand(enhanced, power)


class WindowPass:
    """A generator that looks ahead, over the windows of a `Grid`."""

    def __init__(self, generator: MaskGenerator, grid: Grid):
        self.generator, self.grid = generator, grid
        self.kept: Tensor | None = None  # noisy frames, the first of which is frame `first` of the stream
        self.first = self.window = 0  # `window`: the next one to be made
        self.tail: Tensor | None = None  # what the last window sees behind its block; the next one fades in there

    def push(self, spectrum: Tensor, last: bool = False) -> tuple[Tensor, Tensor]:
        """Noisy frames -> the (noisy, enhanced) frames that are now settled, complex (channels, frequency, frame)"""
        grid = self.grid
        self.kept = spectrum if self.kept is None else torch.cat([self.kept, spectrum], 2)
        end = self.first + self.kept.shape[2]
        start, bounds = self.join(self.window), []
        # At the end, a window is needed only for frames that the one before does not see.
        while (at := (self.window + len(bounds)) * grid.block) + grid.block + grid.ahead <= end or (
            last and (at + grid.ahead < end or at == 0)
        ):
            bounds.append((max(0, at - grid.past), min(end, at + grid.block + grid.ahead)))
        settled = [spectrum[:, :, :0]]
        for (begin, _), view in zip(bounds, self.enhance(bounds), strict=True):
            join, following = self.join(self.window), self.join(self.window + 1)
            view = view[:, :, join - begin :]
            if self.tail is not None:
                both = min(grid.fade, view.shape[2])
                rise = (torch.arange(both, device=view.device) + 0.5) / grid.fade
                mixed = self.tail[:, :, :both].lerp(view[:, :, :both], rise.to(view.dtype))
                view = torch.cat([mixed, view[:, :, both:]], 2)
            settled.append(view[:, :, : following - join])
            self.tail = view[:, :, following - join :]
            self.window += 1
        if last and self.tail is not None:
            settled.append(self.tail)
        enhanced = torch.cat(settled, 2)
        noisy = self.kept[:, :, start - self.first : start - self.first + enhanced.shape[2]]
        needed = max(self.first, self.window * grid.block - grid.past)
        self.kept, self.first = self.kept[:, :, needed - self.first :].clone(), needed
        return noisy, enhanced

    def join(self, window: int) -> int:
        """Frame from which on a window is heard."""
        return max(0, window * self.grid.block - self.grid.fade // 2)

    def enhance(self, bounds: list[tuple[int, int]]) -> list[Tensor]:
        """Enhanced frames of the windows (first frame, frame behind the last); those of one length go together."""
        power, channels, results = self.generator.config.compression, len(self.kept), []
        for _, group in groupby(bounds, lambda bound: bound[1] - bound[0]):
            views = torch.cat([self.kept[:, :, begin - self.first : end - self.first] for begin, end in group])
            parts = [expand(self.generator(compress(rows, power))[0], power) for rows in views.split(ROWS)]
            results.extend(torch.cat(parts).split(channels))
        return results


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
        check_sample_rate(sample_rate)
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
        lower = min(sample_rate, self.model_rate) / self.model_rate * self.hop  # bin of the lower Nyquist frequency
        self.guide = slice(round(GUIDE[0] * lower), round(GUIDE[1] * lower))
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
        if self.replaced:
            warnings.warn(f"{self.replaced} samples were NaN or infinite; they count as silence", RuntimeWarning, 2)
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


def check_sample_rate(sample_rate: int) -> None:
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise ValueError(f"a sample rate of {sample_rate} Hz is outside of {LOWEST_RATE} to {HIGHEST_RATE} Hz")


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
