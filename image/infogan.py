"""InfoGAN (Chen et al. 2016, "InfoGAN: Interpretable representation learning by information maximizing generative
adversarial nets"): part of the generator's input is a code that can be read off its pictures again, so that it must
mean something: the kind of a digit, its slant, its width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgan.checkpoint import SavedModel, find_weights
from seqgan.objectives import NonSaturating
from seqgan.stream import random_from
from seqgan.training import Phase, Turn

from . import networks
from .data import to_bytes
from .gan import Drawer
from .networks import Discriminator, NetworkConfig


@dataclass(frozen=True)
class CodeConfig:
    """The defaults are the paper's for MNIST: 62 + 10 + 2 numbers, and its networks."""

    noise: int = 62  # what the code says nothing of
    categories: int = 10  # of the one categorical code, given as one number of each
    continuous: int = 2  # codes uniform within -1 and 1
    size: int = 28  # height and width, a multiple of 4
    width: int = 64  # channels of the first of two convolutions

    def __post_init__(self) -> None:
        if self.size % 4:
            raise ValueError(f"InfoGAN's pictures are a multiple of 4 wide, not {self.size}")
        if min(self.noise, self.continuous) < 0 or self.categories < 1:
            raise ValueError(f"a code has one category or more: {self}")
        _ = self.network

    @property
    def latent(self) -> int:
        """The width of the generator's z."""
        return self.noise + self.categories + self.continuous

    @property
    def network(self) -> NetworkConfig:
        """Of both players, the paper's for MNIST (appendix C.1): two convolutions and a dense layer of 16 times the
        width between them and what each ends in. On DCGAN's networks, deeper and without that layer, fewer of the
        categories become digits. The discriminator's rectifiers leak 0.2, as DCGAN's do, where the paper's leak 0.1."""
        return NetworkConfig(self.size, 1, self.latent, self.width, smallest=self.size // 4, dense=16 * self.width)


@dataclass(frozen=True)
class Code:
    """category: (batch,); continuous: (batch, continuous)"""

    category: Tensor
    continuous: Tensor


def draw(config: CodeConfig, count: int, generator: torch.Generator) -> tuple[Tensor, Code]:
    """z: (count, latent) for the generator, and the code in it."""
    device = generator.device
    category = torch.randint(config.categories, (count,), generator=generator, device=device)
    continuous = 2 * torch.rand(count, config.continuous, generator=generator, device=device) - 1
    noise = torch.randn(count, config.noise, generator=generator, device=device)
    code = Code(category, continuous)
    return join(config, noise, code), code


def join(config: CodeConfig, noise: Tensor, code: Code) -> Tensor:
    return torch.cat([noise, F.one_hot(code.category, config.categories).to(noise), code.continuous.to(noise)], 1)


class Generator(SavedModel):
    """z: (batch, latent) -> image: (batch, 1, height, width), within -1 and 1. It knows its code."""

    CONFIG, FORMAT = CodeConfig, "seqgan.image.infogan/1"

    def __init__(self, config: CodeConfig):
        super().__init__()
        self.config = config
        self.network = networks.Generator(config.network)

    def forward(self, z: Tensor) -> Tensor:
        return self.network(z)


class Recogniser(nn.Module):
    """Q(code | picture), on the discriminator's features: logits of the category, and of each continuous code the mean
    and the logarithm of the standard deviation of a Gaussian."""

    def __init__(self, features: int, config: CodeConfig = CodeConfig(), hidden: int = 128):
        super().__init__()
        self.config = config
        self.layers = nn.Sequential(nn.Linear(features, hidden), nn.BatchNorm1d(hidden), nn.LeakyReLU(0.1))
        self.output = nn.Linear(hidden, config.categories + 2 * config.continuous)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """features: (batch, width) -> logits (batch, category), means and log deviations (batch, continuous)"""
        sizes = [self.config.categories, self.config.continuous, self.config.continuous]
        return self.output(self.layers(features)).split(sizes, 1)

    def information(self, features: Tensor, code: Code) -> dict[str, Tensor]:
        """-E log Q(code | picture), which minimised is a lower bound of the mutual information maximised (equation 5);
        nats, of the category and of the continuous codes together."""
        logits, means, deviations = self(features)
        deviations = deviations.clamp(-4, 2)  # a code that is read off exactly would be rewarded without end
        off = (code.continuous - means) / deviations.exp()
        density = 0.5 * off.square() + deviations + 0.5 * math.log(2 * math.pi)
        return {"category": F.cross_entropy(logits, code.category), "continuous": density.sum(1).mean()}


def phases(
    generator: Generator,
    discriminator: Discriminator,
    recogniser: Recogniser,
    optimizers: list[torch.optim.Optimizer],
    category: float = 1.0,
    continuous: float = 0.1,
) -> list[Phase]:
    """The discriminator and the recogniser move together, then the generator; optimizers: of the generator, and of the
    other two. category, continuous: the weights (lambda) of both parts of the information. A batch has "image"."""
    objective, config = NonSaturating(), recogniser.config

    def fakes(turn: Turn) -> tuple[Tensor, Code]:
        if "fake" not in turn.share:
            z, code = draw(config, len(turn.batch["image"]), turn.generator)
            turn.share["fake"] = generator(z), code
        return turn.share["fake"]

    def weighed(terms: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"category": category * terms["category"], "continuous": continuous * terms["continuous"]}

    def discriminator_loss(turn: Turn) -> dict[str, Tensor]:
        fake, code = fakes(turn)
        features = discriminator.features(fake.detach())
        real, scores = discriminator(turn.batch["image"]), discriminator.score(features)
        turn.log("real", real.mean())
        turn.log("fake", scores.mean())
        return {"game": objective.discriminator(real, scores)} | weighed(recogniser.information(features, code))

    def generator_loss(turn: Turn) -> dict[str, Tensor]:
        fake, code = fakes(turn)
        features = discriminator.features(fake)
        game = objective.generator(discriminator.score(features))
        return {"game": game} | weighed(recogniser.information(features, code))

    return [
        Phase("discriminator", [discriminator, recogniser], optimizers[1], discriminator_loss),
        Phase("generator", [generator], optimizers[0], generator_loss),
    ]


def agreement(codes: Tensor, labels: Tensor) -> float:
    """Share of pictures whose categorical code stands for their label, each code for the label by which most agree, no
    two for one (Kuhn 1955, the assignment problem). codes, labels: (number,), from 0."""
    from scipy.optimize import linear_sum_assignment

    size = int(max(codes.max(), labels.max())) + 1
    table = torch.zeros(size, size, dtype=torch.int64)
    table.index_put_((codes.cpu(), labels.cpu()), torch.ones(len(codes), dtype=torch.int64), accumulate=True)
    rows, columns = linear_sum_assignment(table.numpy(), maximize=True)
    return table[rows, columns].sum().item() / len(codes)


@torch.no_grad()
def sweep(generator: Generator, z: Tensor, place: int, columns: int = 11) -> Tensor:
    """Pictures (rows * columns, channel, height, width) of z (rows, latent), whose number `place` goes from -2 to 2.

    What a row shows changing is what that number means: of a code something, of plain noise anything.
    """
    z = z.repeat_interleave(columns, 0)
    z[:, place] = torch.linspace(-2, 2, columns, device=z.device).repeat(len(z) // columns)
    return generator(z)


def plain(config: CodeConfig, generator: torch.Generator) -> Tensor:
    """z of every category, the continuous codes at 0, the noise drawn: (categories, latent)"""
    category = torch.arange(config.categories, device=generator.device)
    noise = torch.randn(config.categories, config.noise, generator=generator, device=generator.device)
    code = Code(category, torch.zeros(config.categories, config.continuous, device=generator.device))
    return join(config, noise, code)


class InfoGAN(Drawer):
    """A trained generator whose pictures are asked for by their code. recipes/infogan.py trains it.

    pictures = InfoGAN.from_pretrained("runs/infogan")([0, 1, 2], continuous=[-1, 0], seed=1)
    """

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, device: str | torch.device = "cpu") -> InfoGAN:
        """A .safetensors file, the folder of a run, or one that `save_pretrained` wrote."""
        return cls(Generator.load(find_weights(name_or_path, "seqgan.image")), device)

    @torch.no_grad()
    def __call__(
        self, categories: Sequence[int], continuous: Sequence[float] | None = None, seed: int | None = None
    ) -> Tensor:
        """A picture of each category, (categories, 1, height, width), uint8; the same seed gives the same ones.

        continuous: the continuous codes of all of them, by default 0; training draws them within -1 and 1. What a
        category means, and which way a continuous code goes, is seen in the run's samples. ValueError for no category,
        one that there is not, or another number of continuous codes.
        """
        config, device = self.generator.config, next(self.generator.parameters()).device
        wrong = [category for category in categories if not 0 <= category < config.categories]
        if wrong or not len(categories):
            raise ValueError(f"categories are from 0 to {config.categories - 1}, not {wrong[0] if wrong else 'none'}")
        values = [0.0] * config.continuous if continuous is None else list(continuous)
        if len(values) != config.continuous:
            raise ValueError(f"there are {config.continuous} continuous codes, not {len(values)}")
        noise = torch.randn(len(categories), config.noise, generator=random_from(seed))
        code = Code(torch.tensor(categories), torch.tensor(values).expand(len(categories), -1))
        z = join(config, noise, code).to(device)
        return torch.cat([to_bytes(self.generator(part)) for part in z.split(256)]).cpu()
