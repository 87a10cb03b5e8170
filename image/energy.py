"""Discriminators that are energies: EBGAN (Zhao et al. 2017, "Energy-based generative adversarial network"), whose
energy is the error of an autoencoder; BEGAN (Berthelot et al. 2017, "BEGAN: Boundary equilibrium generative adversarial
networks"), which balances its two errors; and a discriminator that needs no generator at all, because its negatives are
what it itself thinks best, found by gradient (structured learning; Du and Mordatch 2019, "Implicit generation and
modeling with energy-based models").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate.utils import reduce
from torch import Tensor, nn

from seqgan.checkpoint import SavedModel, save_weights
from seqgan.objectives import BoundaryEquilibrium, EnergyBased, mean, pulling_away
from seqgan.training import Phase, Turn

from .data import to_bytes
from .gan import fakes_of
from .networks import SMALLEST, Discriminator, NetworkConfig


@dataclass(frozen=True)
class AutoencoderConfig:
    """Networks as BEGAN's, halved down to 4 x 4; the paper's stop at 8 x 8, with a stage less."""

    size: int = 64  # height and width, 4 times a power of 2
    channels: int = 3
    width: int = 128  # n: the encoder has n, 2 n, 3 n, ... channels, one more n where the picture is halved
    code: int = 64  # numbers that are left of a picture; also of z
    error: Literal["absolute", "square"] = "absolute"  # what the energy is the mean of

    def __post_init__(self) -> None:
        NetworkConfig(self.size, self.channels, self.code, self.width)  # raises where these cannot be

    @property
    def stages(self) -> int:
        return (self.size // SMALLEST).bit_length() - 1


class Decoder(SavedModel):
    """z: (batch, code) -> image: (batch, channel, height, width). BEGAN's generator is one, too."""

    CONFIG, FORMAT = AutoencoderConfig, "seqgan.image.decoder/1"

    def __init__(self, config: AutoencoderConfig = AutoencoderConfig()):
        super().__init__()
        self.config = config
        self.layers = nn.Sequential(*self.parts())

    def parts(self) -> Iterator[nn.Module]:
        config = self.config
        yield nn.Linear(config.code, config.width * SMALLEST**2)
        yield nn.Unflatten(1, (config.width, SMALLEST, SMALLEST))
        for stage in range(config.stages + 1):
            if stage:
                yield nn.Upsample(scale_factor=2)
            for _ in range(2):
                yield from (nn.Conv2d(config.width, config.width, 3, padding=1), nn.ELU())
        yield nn.Conv2d(config.width, config.channels, 3, padding=1)

    def noise(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """z: (count, code), uniform within -1 and 1"""
        device = next(self.parameters()).device
        return 2 * torch.rand(count, self.config.code, generator=generator, device=device) - 1

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


class Autoencoder(SavedModel):
    """image: (batch, channel, height, width) -> energy (batch,), the mean error with which it comes back."""

    CONFIG, FORMAT = AutoencoderConfig, "seqgan.image.autoencoder/1"

    def __init__(self, config: AutoencoderConfig = AutoencoderConfig()):
        super().__init__()
        self.config = config
        self.encoder = nn.Sequential(*self.parts())
        self.decoder = Decoder(config)

    def parts(self) -> Iterator[nn.Module]:
        config, before = self.config, self.config.width
        yield from (nn.Conv2d(config.channels, before, 3, padding=1), nn.ELU())
        for stage in range(config.stages + 1):
            yield from (nn.Conv2d(before, before, 3, padding=1), nn.ELU())
            after = config.width * min(stage + 2, config.stages + 1)
            stride = 2 if stage < config.stages else 1
            yield from (nn.Conv2d(before, after, 3, stride, 1), nn.ELU())
            before = after
        yield from (nn.Flatten(), nn.Linear(before * SMALLEST**2, config.code))

    def error(self, image: Tensor, code: Tensor) -> Tensor:
        difference = (self.decoder(code) - image).flatten(1)
        return (difference.abs() if self.config.error == "absolute" else difference.square()).mean(1)

    def forward(self, image: Tensor) -> Tensor:
        return self.error(image, self.encoder(image))


def energy_based(
    generator: nn.Module,
    autoencoder: Autoencoder,
    optimizers: list[torch.optim.Optimizer],
    margin: float = 0.2,
    pull: float = 0.1,
) -> list[Phase]:
    """EBGAN-PT; optimizers: of generator, autoencoder. margin: of the mean error per pixel, beyond which a fake need
    not be pushed. pull: weight of the repelling term between the codes of a batch's fakes. A batch has "image"."""
    objective, fakes = EnergyBased(margin), fakes_of(generator)

    def discriminator_loss(turn: Turn) -> dict[str, Tensor]:
        real, fake = autoencoder(turn.batch["image"]), autoencoder(fakes(turn).detach())
        turn.log("real", real.mean())
        turn.log("fake", fake.mean())
        return {"game": objective.discriminator(real, fake)}

    def generator_loss(turn: Turn) -> dict[str, Tensor]:
        fake = fakes(turn)
        code = autoencoder.encoder(fake)
        return {"game": objective.generator(autoencoder.error(fake, code)), "pull": pull * pulling_away(code)}

    return _two(generator, autoencoder, optimizers, discriminator_loss, generator_loss)


def boundary_equilibrium(
    generator: nn.Module,
    autoencoder: Autoencoder,
    optimizers: list[torch.optim.Optimizer],
    equilibrium: BoundaryEquilibrium,
) -> list[Phase]:
    """BEGAN; optimizers: of generator, autoencoder. Give `fit` the equilibrium as `state`. A batch has "image".

    Recorded as "convergence" is the paper's measure M, which should fall.
    """
    fakes, errors = fakes_of(generator), {}

    def discriminator_loss(turn: Turn) -> dict[str, Tensor]:
        real, fake = autoencoder(turn.batch["image"]), autoencoder(fakes(turn).detach())
        errors["real"], of_fakes = mean(real).detach(), mean(fake).detach()
        turn.log("real", errors["real"])
        turn.log("fake", of_fakes)
        turn.log("k", equilibrium.k)
        turn.log("convergence", equilibrium.convergence(errors["real"], of_fakes))
        return {"game": equilibrium.discriminator(real, fake)}

    def generator_loss(turn: Turn) -> dict[str, Tensor]:
        loss = equilibrium.generator(autoencoder(fakes(turn)))
        errors["fake"] = loss.detach()
        return {"game": loss}

    def after() -> None:
        both = reduce(torch.stack([errors["real"], errors["fake"]]), "mean")  # of all ranks, so that k is one
        equilibrium.update(*both.tolist())

    game = _two(generator, autoencoder, optimizers, discriminator_loss, generator_loss)
    game[1].after = after
    return game


def _two(generator, discriminator, optimizers, discriminator_loss, generator_loss) -> list[Phase]:
    return [
        Phase("discriminator", [discriminator], optimizers[1], discriminator_loss),
        Phase("generator", [generator], optimizers[0], generator_loss),
    ]


class Climber:
    """Pictures that climb a discriminator's score: what it thinks best, found from noise by gradient.

    It keeps `size` pictures on their way, so that those that a step begins with have climbed in earlier steps already;
    one in twenty begins anew from noise. All are saved with a run: give it to `fit` as `state`.
    """

    def __init__(self, config: NetworkConfig, size: int = 1024, seed: int = 0, restart: float = 0.05):
        self.shape, self.restart = (config.channels, config.size, config.size), restart
        self.images = 2 * torch.rand(size, *self.shape, generator=torch.Generator().manual_seed(seed)) - 1

    def climb(
        self,
        discriminator: Callable[[Tensor], Tensor],
        image: Tensor,
        steps: int,
        rate: float = 10.0,
        noise: float = 0.005,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """image: (batch, channel, height, width) -> the same after so many steps uphill, within -1 and 1.

        The little noise of each step makes a sample of what would be the best picture (Langevin dynamics).
        """
        image = image.detach()
        for _ in range(steps):
            image = image + noise * torch.randn(image.shape, generator=generator, device=image.device)
            with torch.enable_grad():
                image.requires_grad_()
                (grad,) = torch.autograd.grad(discriminator(image).sum(), image)
            # No single step goes far, however steep the score is.
            image = (image + (rate * grad).clamp(-0.03, 0.03)).clamp(-1, 1).detach()
        return image

    def negatives(self, discriminator: nn.Module, count: int, steps: int, generator: torch.Generator) -> Tensor:
        """`count` of the kept pictures, gone on climbing: (count, channel, height, width)"""
        device = next(discriminator.parameters()).device
        if count > len(self.images):
            raise ValueError(f"{count} pictures of a batch, but only {len(self.images)} are kept")
        places = torch.randperm(len(self.images), generator=generator, device=device)[:count].cpu()
        image = self.images[places].to(device)
        fresh = torch.rand(count, generator=generator, device=device) < self.restart
        start = 2 * torch.rand(image.shape, generator=generator, device=device) - 1
        image = torch.where(fresh[:, None, None, None], start, image)
        image = self.climb(discriminator, image, steps, generator=generator)
        self.images[places] = image.cpu()
        return image

    def save(self, path: str | Path) -> Path:
        """Writes the pictures as bytes to a safetensors file: `load_weights(path)["images"]` has them again."""
        return save_weights(path, {"images": to_bytes(self.images)})

    def state_dict(self) -> dict[str, Any]:
        return {"images": self.images}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.images = state["images"]


def without_generator(
    discriminator: Discriminator,
    optimizer: torch.optim.Optimizer,
    climber: Climber,
    steps: int = 20,
    weight: float = 0.1,
) -> list[Phase]:
    """A discriminator against its own best pictures: E D(x) rises, E D(x~) falls, where x~ has climbed D for `steps`.

    weight: of the squared scores, which keeps them near 0 (Du and Mordatch 2019, section 3.3). A batch has "image".
    """

    def loss(turn: Turn) -> dict[str, Tensor]:
        real = turn.batch["image"]
        own = climber.negatives(discriminator, len(real), steps, turn.generator)
        # With a little noise, real pictures too are no points that a score can single out.
        real = real + 0.01 * torch.randn(real.shape, generator=turn.generator, device=real.device)
        scores = discriminator(torch.cat([real, own]))
        high, low = scores.chunk(2)
        turn.log("real", high.mean())
        turn.log("own", low.mean())
        return {"game": mean(low) - mean(high), "size": weight * mean(scores.square())}

    return [Phase("discriminator", [discriminator], optimizer, loss, clip=1.0)]
