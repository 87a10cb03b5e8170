"""What the shared game costs: a step of DCGAN through `seqgan.training` beside a loop written by hand, in one run.

    python recipes/benchmark_images.py                 # the paper's sizes: 64 x 64, widths 128 to 1,024, batch 64
    python recipes/benchmark_images.py --width 32      # where the networks cost less, the game shows more

Both have the same networks, objective and optimisers. Times are seconds by the clock, on a CPU of one thread, or on a
GPU. They are taken by turns, and the shortest of each counts, so that the ratio bears other work on the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat

import torch
import torch.nn.functional as F

from seqgan.game import Game
from seqgan.image.gan import METHODS, phases
from seqgan.image.networks import Discriminator, Generator, NetworkConfig
from seqgan.recipe import check_counts, prepare_torch, run


@dataclass(frozen=True)
class Settings:
    size: int = 64
    """Height and width of the pictures."""
    width: int = 128
    """Channels at the picture's side, which double where it is halved."""
    batch: int = 64
    """Pictures in a step."""
    repeats: int = 5
    """Of which the shortest time counts."""
    steps: int = 1
    """In each repeat."""
    threads: int = 1
    """Threads of torch."""


def main(settings: Settings) -> None:
    prepare_torch(settings.threads)
    check_counts(settings, "batch", "repeats", "steps")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    image = 2 * torch.rand(settings.batch, 3, settings.size, settings.size) - 1
    functions = [through_the_game(settings, image), by_hand(settings, image.to(device))]
    shortest = [float("inf")] * 2
    for turn in range(1 + settings.repeats):
        for i, function in enumerate(functions):
            began = time.perf_counter()
            for _ in range(settings.steps):
                function()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first is warming up
                shortest[i] = min(shortest[i], (time.perf_counter() - began) / settings.steps)
    ours, bare = shortest
    print("| a step of DCGAN | s |\n|---|---|")
    print(f"| through the game | {ours:.4f} |\n| by hand | {bare:.4f} |\n| ratio | {ours / bare:.3f} |")


def players(settings: Settings) -> tuple[Generator, Discriminator]:
    torch.manual_seed(0)
    config = NetworkConfig(settings.size, width=settings.width)
    return Generator(config), Discriminator(config)


def through_the_game(settings: Settings, image: torch.Tensor) -> Callable[[], None]:
    generator, discriminator = players(settings)
    method = METHODS["gan"]
    game = phases(generator, discriminator, method.optimizers(generator, discriminator), method)
    return Game(game, lambda position: repeat({"image": image}), {}).play


def by_hand(settings: Settings, image: torch.Tensor) -> Callable[[], None]:
    generator, discriminator = (player.to(image.device) for player in players(settings))
    optimizers = METHODS["gan"].optimizers(generator, discriminator)

    def step() -> None:
        fake = generator(generator.noise(len(image)))
        optimizers[1].zero_grad()
        loss = F.softplus(-discriminator(image)).mean() + F.softplus(discriminator(fake.detach())).mean()
        loss.backward()
        optimizers[1].step()
        optimizers[0].zero_grad()
        discriminator.requires_grad_(False)  # most loops by hand forget this, and take a sixth to a fifth longer
        F.softplus(-discriminator(fake)).mean().backward()
        discriminator.requires_grad_(True)
        optimizers[0].step()

    return step


if __name__ == "__main__":
    run(main, Settings, __doc__)
