"""Spectra through a model: samples to frames and back, frame by frame if it is causal, else window by window."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from .networks import MaskGenerator, ShortTimeFourier, compress, expand

ROWS = 4  # windows that go through the network together; with eight it is a tenth faster and takes 100 MB more


@dataclass(frozen=True)
class Grid:
    """How a generator that looks ahead is moved over a recording, in frames (of 16 ms).

    Each block is enhanced with `past` frames before it and `ahead` frames behind it in view, and cross-faded with its
    neighbours. Blocks lie at multiples of their length from the start of the recording, in whatever chunks it comes.
    """

    block: int = 60  # 0.96 s
    past: int = 150  # 2.4 s
    ahead: int = 60  # 0.96 s
    fade: int = 6  # 96 ms

    def __post_init__(self) -> None:
        if not 0 < self.fade <= min(self.block, self.past, self.ahead):
            raise ValueError(f"blocks, and what is in view around them, are as long as the fade at least: {self}")


GRID = Grid()


class Frames:
    """Samples to frames, chunk by chunk: those that `ShortTimeFourier` makes of the whole."""

    def __init__(self, fourier: ShortTimeFourier, channels: int):
        self.fourier = fourier
        self.kept = fourier.window.new_zeros(channels, fourier.hop)  # of frames that are not complete

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
        self.kept = fourier.window.new_zeros(channels, 1, fourier.hop)  # the last frame's second half
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
