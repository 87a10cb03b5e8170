"""The adversarial game on pictures, one class for every objective: GAN (Goodfellow et al. 2014) with DCGAN's networks
(Radford et al. 2016), LSGAN (Mao et al. 2017), WGAN (Arjovsky et al. 2017), WGAN-GP (Gulrajani et al. 2017),
loss-sensitive GAN (Qi 2017), f-GAN (Nowozin et al. 2016), SN-GAN (Miyato et al. 2018) and others. A method is a line of
`METHODS`.

The file to copy for a new system: networks are in `networks.py`, the two moves in `phases`, a trained model is `GAN`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from seqgan.checkpoint import find_weights, read_metadata, save_folder
from seqgan.divergences import TABLE, FDivergence
from seqgan.objectives import (
    RELATIVISTIC,
    Hinge,
    LeastSquares,
    LossSensitive,
    Minimax,
    NonSaturating,
    Objective,
    RelativisticAverage,
    Wasserstein,
    sample_distance,
)
from seqgan.penalties import (
    clip_weights,
    dragan_penalty,
    exchange,
    gradient_penalty,
    instance_noise,
    r1_penalty,
    spectral_norm,
)
from seqgan.stream import random_from
from seqgan.training import Phase, Turn

from .data import to_bytes
from .networks import Discriminator, Generator, Norm


@dataclass(frozen=True)
class Method:
    """What tells methods apart: the objective, what keeps the discriminator smooth, and the paper's optimiser."""

    objective: Objective
    penalty: Literal["gradient", "one-sided", "dragan", "r1"] | None = None
    weight: float = 10.0  # of the penalty
    clip: float | None = None  # bound of the discriminator's weights
    spectral: bool = False  # spectral norm of the discriminator's layers
    critic_steps: int = 1
    optimizer: Literal["adam", "rmsprop"] = "adam"
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)

    @property
    def discriminator_norm(self) -> Norm:
        """Under a penalty the discriminator must look at each sample by itself; any normalisation undoes the spectral
        norm."""
        if self.spectral:
            return "none"
        return "layer" if self.penalty is not None else "batch"

    def optimizers(self, *players: torch.nn.Module) -> list[torch.optim.Optimizer]:
        if self.optimizer == "rmsprop":
            return [torch.optim.RMSprop(player.parameters(), self.learning_rate) for player in players]
        return [torch.optim.Adam(player.parameters(), self.learning_rate, betas=self.betas) for player in players]


METHODS: dict[str, Method] = {
    "minimax": Method(Minimax()),
    "gan": Method(NonSaturating()),
    "lsgan": Method(LeastSquares()),
    "wgan": Method(Wasserstein(), clip=0.01, critic_steps=5, optimizer="rmsprop", learning_rate=5e-5),
    "wgan-gp": Method(Wasserstein(), "gradient", critic_steps=5, learning_rate=1e-4, betas=(0.0, 0.9)),
    "wgan-lp": Method(Wasserstein(), "one-sided", critic_steps=5, learning_rate=1e-4, betas=(0.0, 0.9)),
    "loss-sensitive": Method(LossSensitive()),
    "hinge": Method(Hinge()),
    "sn-gan": Method(Hinge(), spectral=True, critic_steps=5, betas=(0.0, 0.9)),
    "relativistic-average": Method(RelativisticAverage()),
    "dragan": Method(NonSaturating(), "dragan", learning_rate=1e-4, betas=(0.5, 0.9)),
    "gan-r1": Method(NonSaturating(), "r1", learning_rate=1e-4, betas=(0.0, 0.99)),
    "f-gan-alpha": Method(FDivergence("alpha", 0.5)),
    "f-gan-weighted-jensen-shannon": Method(FDivergence("weighted-jensen-shannon", 0.3)),
} | {f"f-gan-{name}": Method(FDivergence(name)) for name in TABLE}


def phases(
    generator: Generator,
    discriminator: Discriminator,
    optimizers: list[torch.optim.Optimizer],
    method: Method,
    pack: int = 1,
    noise: Callable[[int], float] = lambda step: 0.0,
    wrong: float = 0.0,
) -> list[Phase]:
    """The discriminator's move, `critic_steps` times, and the generator's; optimizers: of generator, discriminator.

    A batch has "image" (batch, channel, height, width), within -1 and 1. pack: so many pictures are judged together, as
    channels of one (see `packed`). noise: standard deviation, by the step, of what is laid over all pictures that the
    discriminator sees; wrong: share of its pictures with the wrong label (`seqgan.penalties`), of which neither the
    penalty nor the record hears. Spectral norm, where the method has it, is put on the discriminator here.
    """
    exchange(torch.empty(0), torch.empty(0), wrong)  # raises where there is no such share
    if method.spectral:
        spectral_norm(discriminator)
    objective, fakes = method.objective, fakes_of(generator)
    penalty = {
        None: None,
        "gradient": gradient_penalty,
        "one-sided": partial(gradient_penalty, one_sided=True),
        "dragan": lambda d, real, fake, generator: dragan_penalty(d, real, generator=generator),
        "r1": lambda d, real, fake, generator: r1_penalty(d, real),
    }[method.penalty]

    def seen(turn: Turn, image: Tensor) -> Tensor:
        return instance_noise(packed(image, pack), noise(turn.step), turn.generator)

    def discriminator_loss(turn: Turn) -> dict[str, Tensor]:
        real, fake = seen(turn, turn.batch["image"]), seen(turn, fakes(turn).detach())
        scores = discriminator(real), discriminator(fake)
        turn.log("real", scores[0].mean())
        turn.log("fake", scores[1].mean())
        scores = exchange(*scores, wrong, turn.generator)
        if isinstance(objective, LossSensitive):
            terms = {"game": objective.discriminator(*scores, sample_distance(real, fake))}
        else:
            terms = {"game": objective.discriminator(*scores)}
        if penalty is not None:
            terms["penalty"] = method.weight * penalty(discriminator, real, fake, generator=turn.generator)
        return terms

    def generator_loss(turn: Turn) -> dict[str, Tensor]:
        needed = isinstance(objective, RELATIVISTIC)
        real = discriminator(seen(turn, turn.batch["image"])) if needed else None
        return {"game": objective.generator(discriminator(seen(turn, fakes(turn))), real)}

    after = None if method.clip is None else partial(clip_weights, [discriminator], method.clip)
    return [
        Phase(
            "discriminator",
            [discriminator],
            optimizers[1],
            discriminator_loss,
            repeat=method.critic_steps,
            after=after,
        ),
        Phase("generator", [generator], optimizers[0], generator_loss),
    ]


def without_spectral_norm(discriminator: Discriminator) -> Discriminator:
    """A copy that scores the same and is saved and loaded as any other: its weights are the divided ones. In training
    mode to look at them is to move their estimate."""
    copy = Discriminator(discriminator.config)
    copy.load_state_dict({name: attrgetter(name)(discriminator) for name in copy.state_dict()})
    return copy.eval()


def fakes_of(generator: Any) -> Callable[[Turn], Tensor]:
    """A turn's fakes: made by whoever needs them first, once in a step if each player moves once."""

    def fakes(turn: Turn) -> Tensor:
        if "fake" not in turn.share:
            turn.share["fake"] = generator(generator.noise(len(turn.batch["image"]), turn.generator))
        return turn.share["fake"]

    return fakes


def packed(image: Tensor, pack: int) -> Tensor:
    """(batch, channel, height, width) -> (batch / pack, pack * channel, height, width): PacGAN (Lin et al. 2018).

    A discriminator that sees several pictures at once sees that they are all alike. ValueError where a batch cannot be
    shared out.
    """
    if len(image) % pack:
        raise ValueError(f"a batch of {len(image)} pictures cannot be packed by {pack}")
    return image.reshape(len(image) // pack, pack * image.shape[1], *image.shape[2:])


@torch.no_grad()
def draw(generator: Any, count: int, seed: int | None = None, *conditions: Tensor, batch: int = 256) -> Tensor:
    """`count` pictures, each of its row of the conditions: (count, channel, height, width), uint8, on the generator's
    device. The same seed gives the same ones."""
    device = next(generator.parameters()).device
    random = random_from(seed, device)
    given = [generator.noise(count, random), *(condition.to(device) for condition in conditions)]
    parts = zip(*(tensor.split(batch) for tensor in given), strict=True)
    return torch.cat([to_bytes(generator(*part)) for part in parts])


class Drawer:
    """A trained generator of pictures: what its kinds share."""

    def __init__(self, generator: Any, device: str | torch.device = "cpu"):
        self.generator = generator.eval().to(device)

    def save_pretrained(self, path: str | Path) -> Path:
        """Writes a folder with config.json and model.safetensors (float16)."""
        return save_folder(path, self.generator.config, self.generator.save)


class GAN(Drawer):
    """A trained generator of pictures. recipes/gan.py trains it.

    pictures = GAN.from_pretrained("runs/gan/generator.safetensors")(count=16, seed=1)
    """

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, device: str | torch.device = "cpu") -> GAN:
        """A .safetensors file, or a folder that `save_pretrained` wrote; BEGAN's generators are `energy.Decoder`s."""
        from .energy import Decoder

        path = find_weights(name_or_path, "seqgan.image")
        kind = Decoder if read_metadata(path).get("format") == Decoder.FORMAT else Generator
        return cls(kind.load(path), device)

    def __call__(self, count: int = 1, seed: int | None = None, batch: int = 256) -> Tensor:
        """(count, channel, height, width), uint8; the same seed gives the same ones. ValueError for a count below 1."""
        if count < 1:
            raise ValueError(f"a count of pictures is 1 or more, not {count}")
        return draw(self.generator, count, seed, batch=batch).cpu()
