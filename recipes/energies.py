"""Trains a discriminator that is an energy: EBGAN, BEGAN, or one without a generator (see `seqgan.image.energy`).

    python recipes/energies.py --data DIR                                        # BEGAN, the paper's sizes
    python recipes/energies.py --data DIR --system ebgan --preset reduced --run runs/ebgan     # for the CPU
    python recipes/energies.py --data digits --system sampler --preset reduced --size 8 --run runs/sampler

DIR holds pictures (or is a zip archive of them), or MNIST's idx files. Interrupted anywhere, the same command goes on.
The run's folder then holds the networks (the sampler's pictures are in `pool.safetensors`), grids of samples over time,
`curves.png` and `scores.json`: the energies of real pictures, of the generated ones and of noise, and where the data
have labels, by a classifier of these labels, how many of them are among the generated pictures and how unevenly (KL,
nats), and distances and coverage by its features. An energy is an autoencoder's mean absolute error (of EBGAN too,
whose paper has the square), of the sampler minus the score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seqgan.checkpoint import write_json
from seqgan.figures import GAME, draw_run
from seqgan.image.data import grid, open_images, to_bytes, write_png
from seqgan.image.energy import (
    Autoencoder,
    AutoencoderConfig,
    Climber,
    Decoder,
    boundary_equilibrium,
    energy_based,
    without_generator,
)
from seqgan.image.gan import GAN
from seqgan.image.metrics import check_labels, in_parts, score, train_classifier
from seqgan.image.networks import Discriminator, Generator, NetworkConfig
from seqgan.objectives import BoundaryEquilibrium
from seqgan.recipe import check_counts, every_and_last, is_main_rank, open_run, prepare_torch, run, with_preset
from seqgan.training import Phase, Stream, fit


@dataclass(frozen=True)
class Preset:
    size: int
    width: int
    batch: int
    steps: int
    learning_rate: float
    balance: float


PRESETS = {
    "paper": Preset(64, 128, 16, 200_000, 1e-4, 0.001),
    "reduced": Preset(32, 16, 32, 3000, 5e-4, 0.05),
}


@dataclass(frozen=True)
class Settings:
    data: str
    """Folder or zip archive of pictures, a folder of MNIST's idx files, or "digits"."""
    run: Path = Path("runs/energies")
    """Folder of this run."""
    system: Literal["began", "ebgan", "sampler"] = "began"
    """The sampler has no generator: what its discriminator takes for pictures is climbed to."""
    preset: Literal["paper", "reduced"] = "paper"
    """Sizes and lengths, see above."""
    size: int | None = None
    """Height and width, a power of 2; by default the preset's, as are the five that follow."""
    width: int | None = None
    """Channels at the picture's side, which double where it is halved."""
    batch: int | None = None
    """Pictures in a step."""
    steps: int | None = None
    """Of the training."""
    learning_rate: float | None = None
    """Of both players."""
    balance: float | None = None
    """By which BEGAN's k moves: the paper's 0.001 needs tens of thousands of steps to bring it anywhere."""
    channels: Literal[1, 3] = 3
    """Of pictures; idx files and digits have one."""
    code: int = 64
    """Numbers that are left of a picture within the autoencoder."""
    diversity: float = 0.5
    """BEGAN's gamma: low for quality, high for variety."""
    margin: float = 0.2
    """EBGAN's: a fake of a larger error need not be pushed."""
    pull: float = 0.1
    """Weight of EBGAN's repelling term."""
    climb: int = 20
    """Steps of gradient that the sampler's negatives make, in every step of the training."""
    pool: int = 1024
    """Pictures that the sampler keeps on their way. Of many more, most stand still for too long."""
    sample_every: int = 500
    """Steps after which samples are drawn and scored."""
    checkpoint_every: int = 500
    """Steps after which all is saved from which an interrupted run goes on."""
    classifier_steps: int = 500
    """Of the classifier by whose features the pictures are scored."""
    seed: int = 0
    """Of the weights, the data's order and whatever else is drawn."""
    threads: int | None = None
    """Threads of torch; by default one for every core."""


@dataclass(frozen=True)
class System:
    """phases, state: for `fit`, the discriminator's first; saved: what has a `save`, by its file's name; energy: of
    pictures within -1 and 1, (batch,); draw: so many pictures, uint8."""

    phases: list[Phase]
    saved: dict[str, Any]
    energy: Callable[[Tensor], Tensor]
    draw: Callable[[int], Tensor]
    state: dict[str, Any] = field(default_factory=dict)


def main(settings: Settings) -> None:
    prepare_torch(settings.threads)
    chosen, folder = with_preset(settings, PRESETS[settings.preset]), settings.run
    check_counts(chosen, "size", "batch", "steps")
    images = open_images(settings.data, chosen.size, settings.channels)
    channels, size = images.pixels.shape[1:3]
    torch.manual_seed(settings.seed)
    system = build(chosen, channels, size)
    if images.labels is not None:
        check_labels(images)
    open_run(folder, settings, chosen.steps)
    classifier = None
    if images.labels is not None:
        classifier = train_classifier(images, folder, settings.classifier_steps, seed=settings.seed)
    random = torch.Generator().manual_seed(settings.seed)
    real = images.pixels[torch.randperm(len(images), generator=random)[:1000]]
    noise = torch.randint(256, real.shape, generator=random, dtype=torch.uint8)
    scores: dict[str, float] = {}

    def look(step: int) -> dict[str, float]:
        for name, part in system.saved.items():
            part.save(folder / f"{name}.safetensors")
        device = system.phases[0].parameters[0].device
        kinds = {"real": real.to(device), "fake": system.draw(len(real)).to(device), "noise": noise.to(device)}
        write_png(folder / "samples" / f"step{step:06}.png", grid(kinds["fake"][:64].cpu()), max(1, 64 // size))
        for name, pixels in kinds.items():
            scores[f"energy of {name}"] = in_parts(system.energy, pixels).mean().item()
        if classifier is not None:
            scores.update(score(classifier.to(device), images, kinds["real"], kinds["fake"]))
        return {f"validation/{name}": value for name, value in scores.items()}

    fit(
        system.phases,
        Stream(images, chosen.batch, seed=settings.seed),
        chosen.steps,
        folder,
        state=system.state,
        every=every_and_last(settings.sample_every, chosen.steps, look),
        seed=settings.seed,
        checkpoint_every=settings.checkpoint_every,
    )
    if not is_main_rank():  # which never looks
        return
    if not scores:  # the run was finished already
        look(chosen.steps)
    write_json(folder / "scores.json", scores)
    panels = {"energies": {f"validation/energy of {name}": name for name in ("real", "fake", "noise")}}
    panels |= GAME | {"scores": GAME["scores"] | {"discriminator/own": "D(own)"}}
    if "k" in system.state:
        panels["BEGAN's convergence and k"] = {"discriminator/convergence": "M", "discriminator/k": "k"}
    if classifier is not None:
        panels |= {"Fréchet distance of features": {"validation/frechet": ""}, "modes": {"validation/modes": ""}}
    draw_run(folder, panels)
    print("  ".join(f"{name} {value:.3f}" for name, value in scores.items()))


def build(settings: Settings, channels: int, size: int) -> System:
    """Of settings that have their preset's values."""
    width = settings.width

    def adam(player: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(player.parameters(), settings.learning_rate, betas=(0.5, 0.999))

    if settings.system == "sampler":
        if settings.pool < settings.batch:
            raise ValueError(f"--pool has the pictures of a batch at least, {settings.batch}, not {settings.pool}")
        # Without normalisation: what climbs alone must have the score that it has among others.
        config = NetworkConfig(size, channels, width=width, discriminator_norm="none")
        discriminator, climber = Discriminator(config), Climber(config, settings.pool, settings.seed)
        return System(
            without_generator(discriminator, adam(discriminator), climber, settings.climb),
            {"discriminator": discriminator, "pool": climber},
            lambda image: -discriminator(image),
            lambda count: to_bytes(climber.images[:count]),
            {"climber": climber},
        )
    autoencoder = Autoencoder(AutoencoderConfig(size, channels, width, settings.code))
    if settings.system == "began":
        generator: Any = Decoder(autoencoder.config)
        equilibrium = BoundaryEquilibrium(settings.diversity, settings.balance)
        optimizers = [adam(generator), adam(autoencoder)]
        phases, state = boundary_equilibrium(generator, autoencoder, optimizers, equilibrium), {"k": equilibrium}
    else:
        generator, state = Generator(NetworkConfig(size, channels, width=width)), {}
        optimizers = [adam(generator), adam(autoencoder)]
        phases = energy_based(generator, autoencoder, optimizers, settings.margin, settings.pull)

    def draw(count: int) -> Tensor:
        return GAN(generator, next(generator.parameters()).device)(count, settings.seed)

    return System(phases, {"generator": generator, "autoencoder": autoencoder}, autoencoder, draw, state)


if __name__ == "__main__":
    run(main, Settings, __doc__)
