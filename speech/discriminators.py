"""Judges of waveforms: a recording, or made? Each looks at the wave in another way, and gives its features too.

By periods of samples as in HiFi-GAN (Kong et al. 2020, arXiv:2010.05646), which hears the shape of single cycles; by
complex spectrograms of several resolutions as in EnCodec (Défossez et al. 2022, arXiv:2210.13438, section 3.4), which
hears what is missing in a band. Neither sees the noisy wave.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from .networks import compress

Opinion = list[
    Tensor
]  # the features of every layer, (batch, channel, ...), the last of which are scores (batch, 1, ...)


class PeriodDiscriminator(nn.Module):
    """Folds the wave into columns of `period` samples and convolves along each of them (HiFi-GAN, section 2.3)."""

    def __init__(self, period: int, channels: int, widest: int):
        super().__init__()
        self.period = period
        widths = [1, *(min(channels * 4**i, widest) for i in range(4))]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0))) for a, b in zip(widths, widths[1:], strict=False)
        )
        self.layers.append(weight_norm(nn.Conv2d(widths[-1], widths[-1], (5, 1), padding=(2, 0))))
        self.score = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, wave: Tensor) -> Opinion:
        """wave: (batch, samples)"""
        wave = F.pad(wave, (0, -wave.shape[1] % self.period))
        return through(self.layers, self.score, wave.view(len(wave), 1, -1, self.period))


class SpectrogramDiscriminator(nn.Module):
    """Convolves the compressed complex spectrum, dilated in time as in EnCodec; windows of `window` samples."""

    window: Tensor

    def __init__(self, window: int, channels: int, compression: float = 0.3):
        super().__init__()
        self.compression = compression
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        self.layers = nn.ModuleList([weight_norm(nn.Conv2d(2, channels, (3, 9), padding=(1, 4)))])
        for dilation in (1, 2, 4):
            layer = nn.Conv2d(channels, channels, (3, 9), (1, 2), (dilation, 4), (dilation, 1))
            self.layers.append(weight_norm(layer))
        self.score = weight_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, wave: Tensor) -> Opinion:
        """wave: (batch, samples)"""
        size = len(self.window)
        spectrum = torch.stft(wave.float(), size, size // 4, window=self.window, return_complex=True)
        # A floor of 40 dB below speech, for the compressed spectrum of silence is steep.
        spectrum = compress(spectrum / size**0.5, self.compression, floor=1e-6)
        parts = torch.view_as_real(spectrum)  # (batch, bin, frame, 2)
        return through(self.layers, self.score, parts.permute(0, 3, 2, 1))


class WaveDiscriminator(nn.Module):
    """Several of them, each with an opinion of its own. The paper's sizes are channels 32, widest 1024.

    periods, windows: in samples; either may be empty. ValueError if both are.
    """

    def __init__(
        self,
        periods: Sequence[int] = (2, 3, 5, 7, 11),
        windows: Sequence[int] = (256, 512, 1024),
        channels: int = 32,
        widest: int = 1024,
    ):
        super().__init__()
        if not periods and not windows:
            raise ValueError("a discriminator of waves needs a period or a window")
        self.judges = nn.ModuleList(
            [PeriodDiscriminator(period, channels, widest) for period in periods]
            + [SpectrogramDiscriminator(window, channels) for window in windows]
        )

    def forward(self, wave: Tensor) -> list[Opinion]:
        """wave: (batch, samples)"""
        return [judge(wave) for judge in self.judges]


def through(layers: nn.ModuleList, score: nn.Module, x: Tensor) -> Opinion:
    features = []
    for layer in layers:
        x = F.leaky_relu(layer(x), 0.1)
        features.append(x)
    return [*features, score(x)]


def feature_distance(real: Sequence[Opinion], made: Sequence[Opinion]) -> Tensor:
    """The mean absolute difference of the features of all layers but the scores (HiFi-GAN, equation 5)."""
    pairs = [
        pair
        for theirs, own in zip(real, made, strict=True)
        for pair in zip(theirs[:-1], own[:-1], strict=True)
    ]  # fmt: skip
    return sum((own.float() - theirs.float()).abs().mean() for theirs, own in pairs) / len(pairs)
