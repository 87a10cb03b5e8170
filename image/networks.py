"""Generators and discriminators of pictures: DCGAN (Radford et al. 2016, "Unsupervised representation learning with
deep convolutional generative adversarial networks", section 3), and the ways to build them worse or deeper by which
Gulrajani et al. 2017 ("Improved training of Wasserstein GANs", section 5.1) compare methods.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from seqgan.checkpoint import SavedModel

Norm = Literal["batch", "layer", "none"]
Activation = Literal["relu", "tanh"]
SMALLEST = 4  # height and width at which convolutions begin and end


@dataclass(frozen=True)
class NetworkConfig:
    """The defaults are DCGAN's for LSUN bedrooms.

    generator: "dcgan"; "mlp", four dense layers of 512 and one to the pixels; "constant", convolutions with one number
    of channels and no normalisation. layers: of "dcgan" networks that are residual and have so many weight layers; None
    for the plain ones. dense: numbers of a further dense layer at the start of the generator and the end of the
    discriminator, as networks of two convolutions have it (InfoGAN); 0 for none. A discriminator under a gradient
    penalty must not have "batch" (the penalty is of each sample by itself); "layer" normalises one sample.
    """

    size: int = 64  # height and width, `smallest` times a power of 2
    channels: int = 3
    latent: int = 100
    width: int = 128  # channels at the picture's side; they double where it is halved
    generator: Literal["dcgan", "mlp", "constant"] = "dcgan"
    generator_norm: Norm = "batch"
    discriminator_norm: Norm = "batch"
    activation: Activation = "relu"  # the discriminator's is leaky
    layers: int | None = None
    smallest: int = SMALLEST
    dense: int = 0

    def __post_init__(self) -> None:
        stages = self.size // self.smallest if self.smallest > 0 else 0
        if stages < 2 or stages & (stages - 1) or self.size % self.smallest:
            raise ValueError(
                f"pictures are {self.smallest} times a power of 2 wide, {2 * self.smallest} at least, not {self.size}"
            )
        limits = [(self.size, 1024), (self.channels, 64), (self.latent, 65_536), (self.width, 4096)]
        if not all(0 < size <= limit for size, limit in limits) or not 0 <= self.dense <= 65_536:
            raise ValueError(f"sizes out of range: {self}")  # settings may come with somebody's weights
        if self.layers is not None and self.generator != "dcgan":
            raise ValueError(f"layers are of dcgan networks, not of a generator {self.generator!r}")
        if self.layers is not None and (self.layers % 2 or not 2 + 2 * self.stages <= self.layers <= 1000):
            raise ValueError(
                f"{self.size} pixels take an even number of layers, {2 + 2 * self.stages} or more, not {self.layers}"
            )

    @property
    def stages(self) -> int:
        """How often the resolution doubles from the smallest."""
        return (self.size // self.smallest).bit_length() - 1

    @property
    def widths(self) -> list[int]:
        """Channels at every resolution, from the smallest up; the last is the picture's own."""
        return [self.width * 2**i for i in reversed(range(self.stages))]

    @property
    def features(self) -> int:
        """How many numbers a discriminator's last layer sees."""
        return self.dense or self.widths[0] * self.smallest**2


def norm(kind: Norm, channels: int, flat: bool = False) -> nn.Module:
    """Of maps, or of flat features."""
    if kind == "batch":
        return nn.BatchNorm1d(channels) if flat else nn.BatchNorm2d(channels)
    return nn.GroupNorm(1, channels) if kind == "layer" else nn.Identity()


def activation(kind: Activation, slope: float = 0.0) -> nn.Module:
    if kind == "tanh":
        return nn.Tanh()
    return nn.LeakyReLU(slope) if slope else nn.ReLU()


def initialise(network: nn.Module) -> None:
    """DCGAN's: weights N(0, 0.02), scales of normalisation N(1, 0.02), no biases."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm):
            nn.init.normal_(module.weight, 1.0, 0.02)
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)


class Residual(nn.Module):
    """x + two convolutions, the first of which changes the number of channels; normalised and activated before each."""

    def __init__(self, before: int, after: int, kind: Norm, act: Activation, slope: float = 0.0):
        super().__init__()
        self.layers = nn.Sequential(
            norm(kind, before), activation(act, slope), nn.Conv2d(before, after, 3, padding=1),
            norm(kind, after), activation(act, slope), nn.Conv2d(after, after, 3, padding=1),
        )  # fmt: skip
        self.skip = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.layers(x)


def share_out(layers: int, stages: int) -> list[int]:
    """Blocks of two layers for every stage, of what is between the first layer and the last; the first get the rest."""
    blocks = (layers - 2) // 2
    return [blocks // stages + (i < blocks % stages) for i in range(stages)]


class Generator(SavedModel):
    """z: (batch, latent), of N(0, 1) -> image: (batch, channel, height, width), within -1 and 1."""

    CONFIG, FORMAT = NetworkConfig, "seqgan.image.generator/1"

    def __init__(self, config: NetworkConfig = NetworkConfig()):
        super().__init__()
        self.config = config
        parts = {"mlp": self.dense, "constant": self.convolutional, "dcgan": self.convolutional}[config.generator]
        if config.generator == "dcgan" and config.layers is not None:
            parts = self.residual
        self.layers = nn.Sequential(*parts(), nn.Tanh())
        initialise(self)

    def dense(self) -> Iterator[nn.Module]:
        config, width = self.config, 512
        shape = (config.channels, config.size, config.size)
        for inputs in (config.latent, width, width, width):
            yield from (nn.Linear(inputs, width), activation(config.activation))
        yield from (nn.Linear(width, shape[0] * shape[1] * shape[2]), nn.Unflatten(1, shape))

    def convolutional(self) -> Iterator[nn.Module]:
        config, widths, kind = self.config, self.config.widths, self.config.generator_norm
        if config.generator == "constant":
            widths, kind = [config.width] * config.stages, "none"
        yield from self.beginning(widths[0])
        for i, before in enumerate(widths):
            yield from (norm(kind, before), activation(config.activation))
            last = i == len(widths) - 1
            yield nn.ConvTranspose2d(before, config.channels if last else widths[i + 1], 4, 2, 1)

    def residual(self) -> Iterator[nn.Module]:
        config, widths = self.config, self.config.widths
        yield from self.beginning(widths[0])
        before = widths[0]
        for after, blocks in zip(widths, share_out(config.layers, config.stages), strict=True):
            yield nn.Upsample(scale_factor=2)
            for _ in range(blocks):
                yield Residual(before, after, config.generator_norm, config.activation)
                before = after
        yield from (norm(config.generator_norm, before), activation(config.activation))
        yield nn.Conv2d(before, config.channels, 3, padding=1)

    def beginning(self, width: int) -> Iterator[nn.Module]:
        config = self.config
        if config.dense:
            yield nn.Linear(config.latent, config.dense)
            yield from (norm(config.generator_norm, config.dense, flat=True), activation(config.activation))
        yield nn.Linear(config.dense or config.latent, width * config.smallest**2)
        yield nn.Unflatten(1, (width, config.smallest, config.smallest))

    def noise(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """z: (count, latent)"""
        device = next(self.parameters()).device
        return torch.randn(count, self.config.latent, generator=generator, device=device)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


class Discriminator(SavedModel):
    """image: (batch, channel, height, width) -> scores (batch,); `features` are what the last layer sees."""

    CONFIG, FORMAT = NetworkConfig, "seqgan.image.discriminator/1"

    def __init__(self, config: NetworkConfig = NetworkConfig()):
        super().__init__()
        self.config = config
        parts = self.convolutional if config.layers is None else self.residual
        self.layers = nn.Sequential(*parts(), *self.end())
        self.output = nn.Linear(config.features, 1)
        initialise(self)

    def convolutional(self) -> Iterator[nn.Module]:
        config = self.config
        widths = [config.channels, *reversed(config.widths)]
        for i, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
            yield nn.Conv2d(before, after, 4, 2, 1)
            if i:
                yield norm(config.discriminator_norm, after)
            yield activation(config.activation, 0.2)

    def residual(self) -> Iterator[nn.Module]:
        config = self.config
        widths = list(reversed(config.widths))
        before = widths[0]
        yield nn.Conv2d(config.channels, before, 3, padding=1)
        for after, blocks in zip(widths, share_out(config.layers, config.stages), strict=True):
            for _ in range(blocks):
                yield Residual(before, after, config.discriminator_norm, config.activation, 0.2)
                before = after
            yield nn.AvgPool2d(2)
        yield activation(config.activation, 0.2)

    def end(self) -> Iterator[nn.Module]:
        config = self.config
        if config.dense:
            yield from (nn.Flatten(), nn.Linear(config.widths[0] * config.smallest**2, config.dense))
            yield norm(config.discriminator_norm, config.dense, flat=True)
            yield activation(config.activation, 0.2)

    def features(self, image: Tensor) -> Tensor:
        """(batch, width)"""
        return self.layers(image).flatten(1)

    def score(self, features: Tensor) -> Tensor:
        """(batch, width) -> (batch,)"""
        return self.output(features)[:, 0]

    def forward(self, image: Tensor) -> Tensor:
        return self.score(self.features(image))
