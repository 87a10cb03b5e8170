"""Networks for complex spectrograms: the short-time transform, the mask generator and the metric discriminator.

The generator stands in the line of convolutional-recurrent enhancers (Tan and Wang 2018, "A convolutional recurrent
neural network for real-time speech enhancement") with the power-law compressed complex spectrum of CMGAN (Cao et al.
2022) as input and output; the metric discriminator is that of MetricGAN (Fu et al. 2019) and CMGAN.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from seqgan.checkpoint import SavedModel

Past = tuple[Tensor, Tensor] | None  # what a running mean remembers: the sum so far and its weight

LEVEL_FLOOR = 0.02  # compressed magnitude; a steady signal of about -80 dBFS


class ShortTimeFourier(nn.Module):
    """Short-time Fourier transform with a square-root Hann window and half overlap: overlap-add reconstructs exactly.

    Frame t covers samples (t-1) * hop ... (t+1) * hop, so that n * hop samples have n + 1 frames and a stream needs no
    look-ahead beyond its window.
    """

    window: Tensor

    def __init__(self, size: int = 512):
        super().__init__()
        self.size, self.hop = size, size // 2
        self.register_buffer("window", torch.hann_window(size).sqrt(), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """wave: (batch, samples) -> complex spectrum: (batch, frequency, frame) of ceil(samples / hop) + 1 frames."""
        samples = wave.shape[-1]
        wave = F.pad(wave, (self.hop, self.hop + -samples % self.hop))
        return self.frames(wave)

    def frames(self, wave: Tensor) -> Tensor:
        """The transform of the full windows of a wave that brings its own context; wave: (batch, hop * (frame + 1))."""
        return torch.fft.rfft(wave.unfold(-1, self.size, self.hop) * self.window, dim=-1).transpose(1, 2)

    def windows(self, spectrum: Tensor) -> Tensor:
        """complex spectrum: (batch, frequency, frame) -> pieces for overlap-add: (batch, frame, size)."""
        return torch.fft.irfft(spectrum.transpose(1, 2), n=self.size, dim=-1) * self.window

    def inverse(self, spectrum: Tensor, samples: int | None = None) -> Tensor:
        """complex spectrum: (batch, frequency, frame) -> wave: (batch, samples), hop * (frame - 1) unless told."""
        pieces = self.windows(spectrum)
        wave = (pieces[:, :-1, self.hop :] + pieces[:, 1:, : self.hop]).flatten(1)
        return wave if samples is None else wave[:, :samples]


def compress(spectrum: Tensor, power: float = 0.3, floor: float = 1e-12) -> Tensor:
    """|X|^power e^(i angle X) of a complex spectrum of any shape; the floor keeps the gradient finite at silence."""
    return spectrum * (spectrum.real.square() + spectrum.imag.square() + floor).pow((power - 1) / 2)


def expand(spectrum: Tensor, power: float = 0.3) -> Tensor:
    """The inverse of `compress`."""
    return spectrum * (spectrum.real.square() + spectrum.imag.square()).pow((1 / power - 1) / 2)


@dataclass(frozen=True)
class GeneratorConfig:
    """Settings of `MaskGenerator`. The defaults are the shipped `base`."""

    channels: tuple[int, ...] = (16, 32, 48, 32)  # of the encoder's stages, each of which halves the frequency axis
    paths: int = 0  # of `DualPath`, before the recurrent layers
    path_hidden: int = 64  # units of their recurrent layers, of both directions together
    hidden: int = 256  # units of the recurrent layers across all bands, per direction
    layers: int = 2  # of these; may be 0 where there are paths
    causal: bool = False  # True: no look-ahead beyond the analysis window; streams with a state
    window: int = 512  # samples at sample_rate
    sample_rate: int = 16_000  # Hz
    compression: float = 0.3  # power on the magnitude of input and output
    mask_limit: float = 1.2  # largest gain on the compressed spectrum: 1.2 ** (1 / 0.3) is 5.3 dB
    taps: int = 1  # frames that a bin is filtered over: up to the current one if causal, else around it; 1 is a mask

    def __post_init__(self) -> None:
        # Settings may come with somebody's weights: sizes that no enhancer has must not be allocated.
        sizes = (*self.channels, self.hidden, self.path_hidden, self.window, self.sample_rate)
        sizes += (self.paths + 1, self.layers + 1, self.paths + self.layers)
        if not self.channels or not all(isinstance(size, int) and 0 < size <= 192_000 for size in sizes):
            raise ValueError(f"sizes are whole numbers from 1: {self}")
        if max(self.layers, self.paths) > 16 or max(*self.channels, self.hidden, self.path_hidden) > 4096:
            raise ValueError(f"beyond 16 layers or 4096 channels: {self}")
        if not isinstance(self.taps, int) or not 0 < self.taps <= 16 or not (self.causal or self.taps % 2):
            raise ValueError(f"a filter has 1 to 16 taps, an odd number where it looks ahead: {self}")
        if self.window % 2 ** (len(self.channels) + 1) or self.path_hidden % 2:
            raise ValueError(f"the stages do not divide the window, or two directions the units: {self}")

    @property
    def bins(self) -> int:
        return self.window // 2


BASE = GeneratorConfig()
SMALL = GeneratorConfig(channels=(16, 32, 48, 64), paths=2, path_hidden=128, layers=0, causal=True)


class TimeFrequencyConv(nn.Module):
    """Convolution over (frame, frequency), batch normalisation, leaky ReLU.

    It spans three frames: the current one and two before it if causal, else one each way.
    """

    def __init__(self, inputs: int, outputs: int, causal: bool, *, stride: int = 1, width: int = 3, last: bool = False):
        super().__init__()
        self.causal = causal
        self.conv = nn.Conv2d(inputs, outputs, (3, width), (1, stride), (0 if causal else 1, width // 2), bias=last)
        self.after = nn.Identity() if last else nn.Sequential(nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2, inplace=True))

    def forward(self, x: Tensor, past: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """x: (batch, channel, frame, frequency); past: the two frames before it, None at the start.

        Returns the output and the next call's past.
        """
        if self.causal:
            x = F.pad(x, (0, 0, 2, 0)) if past is None else torch.cat([past, x], dim=2)
            past = x[:, :, -2:]
        return self.after(self.conv(x)), past


class DualPath(nn.Module):
    """Recurrent across the bands of a frame, in both directions, then along the frames of a band, each added to what
    came in; the weights are the same in all frames, and in all bands (DPCRN, Le et al. 2021).
    """

    def __init__(self, channels: int, bands: int, hidden: int, causal: bool):
        super().__init__()
        half = hidden // 2
        self.across = nn.GRU(channels, half, bidirectional=True)
        self.along = nn.GRU(channels, hidden if causal else half, bidirectional=not causal)
        self.project = nn.ModuleList(nn.Linear(hidden, channels) for _ in range(2))
        self.norm = nn.ModuleList(nn.LayerNorm((bands, channels)) for _ in range(2))

    def forward(self, x: Tensor, past: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x: (batch, frame, band, channel), and the state (1, batch * band, hidden) of the frames before it"""
        batch, frames, bands, channels = x.shape
        seen, _ = self.across(x.permute(2, 0, 1, 3).reshape(bands, batch * frames, channels))
        seen = self.project[0](seen).view(bands, batch, frames, channels).permute(1, 2, 0, 3)
        x = x + self.norm[0](seen)
        seen, past = self.along(x.permute(1, 0, 2, 3).reshape(frames, batch * bands, channels), past)
        seen = self.project[1](seen).view(frames, batch, bands, channels).transpose(0, 1)
        return x + self.norm[1](seen), past


class MaskGenerator(SavedModel):
    """Convolutions down to a few bands, dual paths and recurrent layers, convolutions up, a bounded complex mask.

    The compressed spectrum is divided by its level, so that the gain of a recording hardly matters to the network; the
    mask is applied to the spectrum as it came. With several taps each bin has a mask for each of so many frames, and
    the sum is taken: a filter that mends a frame from its neighbours (deep filtering, Mack and Habets 2020).
    """

    CONFIG, FORMAT = GeneratorConfig, "seqgan.speech.enhancer/1"

    def __init__(self, config: GeneratorConfig = BASE):
        super().__init__()
        self.config = config
        self.fourier = ShortTimeFourier(config.window)
        widths = (3, *config.channels)
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.encoder = nn.ModuleList(
            TimeFrequencyConv(a, b, config.causal, stride=2, width=5 if i == 0 else 3) for i, (a, b) in enumerate(pairs)
        )
        bands = config.bins // 2 ** len(pairs)
        size = config.channels[-1] * bands
        path = [config.channels[-1], bands, config.path_hidden, config.causal]
        self.paths = nn.ModuleList(DualPath(*path) for _ in range(config.paths))
        if config.layers:
            wide = config.hidden if config.causal else 2 * config.hidden
            self.recurrent = nn.GRU(
                size, config.hidden, config.layers, batch_first=True, bidirectional=not config.causal
            )
            self.project = nn.Linear(wide, size)
        # A stage makes two frequencies of one (sub-pixel convolution), so it has twice the channels that it hands on.
        ups = [(b, 2 * a) for a, b in reversed(pairs[1:])]
        self.decoder = nn.ModuleList(TimeFrequencyConv(a, b, config.causal) for a, b in ups)
        self.decoder.append(TimeFrequencyConv(config.channels[0], 4 * config.taps, config.causal, last=True))
        self.before = config.taps - 1 if config.causal else config.taps // 2  # frames of the filter before the current
        with torch.no_grad():  # begin near the identity: about 1 + 0i for the current frame, nothing of the others
            own, last = 4 * self.before, self.decoder[-1].conv  # a tap has real and imaginary parts, of two bins each
            last.weight[:own] = last.weight[own + 4 :] = 0
            last.bias.zero_()[own : own + 2] = 1

    def level(self, magnitude: Tensor, past: Past) -> tuple[Tensor, Past]:
        """Mean of the compressed magnitude: (batch, 1, 1) of the whole excerpt, or a running one if causal.

        magnitude: (batch, frame, bins). The running mean, (batch, frame, 1), forgets with a time constant of a second.
        """
        per_frame = magnitude.mean(2)
        if not self.config.causal:
            return per_frame.mean(1)[:, None, None].clamp_min(LEVEL_FLOOR), None
        frames = per_frame.shape[1]
        keep = 1 - self.config.window / 2 / self.config.sample_rate  # of the mean so far, per frame
        age = torch.arange(frames, device=magnitude.device)
        weight = (keep ** (age[:, None] - age).clamp_min(0)).tril().to(magnitude.dtype) * (1 - keep)
        total, mass = past if past is not None else (per_frame.new_zeros(len(per_frame)), per_frame.new_zeros(()))
        fade = (keep ** (age + 1.0)).to(magnitude.dtype)
        total = per_frame @ weight.T + total[:, None] * fade
        mass = 1 - (1 - mass) * fade
        return (total / mass).clamp_min(LEVEL_FLOOR)[:, :, None], (total[:, -1], mass[-1])

    def forward(self, spectrum: Tensor, state: list | None = None) -> tuple[Tensor, list]:
        """Compressed spectrum, noisy -> clean, complex (batch, frequency, frame), and the state after it.

        A causal generator goes on from that state exactly; of another, the state means nothing.
        """
        pasts = iter(state) if state is not None else repeat(None)
        x = spectrum[:, :-1].transpose(1, 2)  # without the Nyquist bin: (batch, frame, bins)
        x = torch.stack([x.real, x.imag, x.abs()], 1)
        level, past = self.level(x[:, 2], next(pasts))
        state = [past]
        x = (x / level[:, None]).contiguous(memory_format=torch.channels_last)
        skips = []
        for stage in self.encoder:
            x, past = stage(x, next(pasts))
            state.append(past)
            skips.append(x)
        x = x.permute(0, 2, 3, 1)  # (batch, frame, band, channel)
        for path in self.paths:
            x, past = path(x, next(pasts))
            state.append(past)
        if self.config.layers:
            hidden, past = self.recurrent(x.flatten(2), next(pasts))
            state.append(past)
            x = self.project(hidden).view(x.shape)
        x = x.permute(0, 3, 1, 2)
        for stage, skip in zip(self.decoder, reversed(skips), strict=True):
            x, past = stage(x + skip, next(pasts))
            state.append(past)
            x = interleave(x)
        mask = torch.complex(x[:, 0::2].float(), x[:, 1::2].float()).transpose(2, 3)  # (batch, tap, bins, frame)
        size = mask.abs().clamp_min(1e-6)
        limit = self.config.mask_limit
        mask = mask * (limit * torch.tanh(size / limit) / size)
        mask = torch.cat([mask, mask[:, :, -1:]], 2)
        if self.config.taps == 1:
            return spectrum * mask[:, 0], state
        past = next(pasts)
        if past is not None and self.config.causal:
            spectrum = torch.cat([past, spectrum], 2)
        else:
            spectrum = F.pad(spectrum, (self.before, self.config.taps - 1 - self.before))
        state.append(spectrum[:, :, -self.before :])
        return (spectrum.unfold(2, self.config.taps, 1).permute(0, 3, 1, 2) * mask).sum(1), state

    def enhance(self, wave: Tensor) -> Tensor:
        """wave: (batch, samples) at the generator's rate -> clean wave of the same shape, in one pass."""
        spectrum, _ = self(compress(self.fourier(wave), self.config.compression))
        return self.fourier.inverse(expand(spectrum, self.config.compression), wave.shape[-1])


def interleave(x: Tensor) -> Tensor:
    """(batch, 2 * channel, frame, frequency) -> (batch, channel, frame, 2 * frequency): of two channels, two bins."""
    batch, channels, frames, frequencies = x.shape
    x = x.permute(0, 2, 3, 1).reshape(batch, frames, frequencies, channels // 2, 2)
    return x.transpose(3, 4).reshape(batch, frames, 2 * frequencies, channels // 2).permute(0, 3, 1, 2)


class MetricDiscriminator(nn.Module):
    """Looks at a clean and an enhanced spectrogram and says what some metrics would say of the second, each in [0, 1].

    Strided convolutions with spectral and instance normalisation, the largest response over time and frequency, and a
    sigmoid whose slope is learnt (MetricGAN+, Fu et al. 2021; CMGAN, Cao et al. 2022, section II-C).
    """

    def __init__(self, channels: int = 16, compression: float = 0.3, window: int = 512, metrics: int = 1):
        super().__init__()
        self.fourier, self.compression = ShortTimeFourier(window), compression
        widths = (2, channels, 2 * channels, 4 * channels, 8 * channels)
        self.features = nn.Sequential(
            *(
                nn.Sequential(
                    spectral_norm(nn.Conv2d(a, b, 4, 2, 1, bias=False)),
                    nn.InstanceNorm2d(b, affine=True),
                    nn.LeakyReLU(0.2),
                )
                for a, b in zip(widths[:-1], widths[1:], strict=True)
            ),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
        )
        self.score = nn.Sequential(
            spectral_norm(nn.Linear(8 * channels, 4 * channels)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Linear(4 * channels, metrics)),
        )
        self.slope = nn.Parameter(torch.ones(metrics))

    def forward(self, clean: Tensor, enhanced: Tensor) -> Tensor:
        """clean, enhanced: (batch, samples) -> (batch, metric)"""
        pair = torch.stack([magnitude(compress(self.fourier(wave), self.compression)) for wave in (clean, enhanced)], 1)
        return torch.sigmoid(self.slope * self.score(self.features(pair)))


def magnitude(spectrum: Tensor) -> Tensor:
    """|X| with a gradient at zero."""
    return (spectrum.real.square() + spectrum.imag.square() + 1e-10).sqrt()
