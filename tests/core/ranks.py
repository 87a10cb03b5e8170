"""A game for one rank or several: `python -m tests.core.ranks RUN BATCH_SIZE [--function]`."""

import math
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from seqgan.objectives import Hinge
from seqgan.recipe import leave_ranks
from seqgan.training import EMA, Phase, Stream, fit


class Material:
    """index -> (4,); the items 40 and 41 are not finite."""

    def __getitem__(self, index: int) -> torch.Tensor:
        item = torch.randn(4, generator=torch.Generator().manual_seed(index))
        return item * math.nan if index in (40, 41) else item


def play(run: Path, batch_size: int, function_of_position: bool = False) -> None:
    rank = Accelerator().process_index
    torch.manual_seed(rank)  # players begin different: the main rank's count
    generator = nn.Sequential(nn.Linear(2, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 2))
    discriminator = nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
    unused = nn.Linear(1, 1)  # gets no gradient on any rank, so that its optimizer must leave it alone
    d = torch.optim.Adam(discriminator.parameters(), lr=0.01)
    g = torch.optim.AdamW([*generator.parameters(), *unused.parameters()], lr=0.01)
    objective = Hinge()

    def discriminator_loss(turn):
        fake = generator(turn.batch[:, :2]).detach()
        return {"game": objective.discriminator(discriminator(turn.batch[:, 2:]), discriminator(fake))}

    def generator_loss(turn):
        turn.log("first", turn.batch[:, 0].mean())
        return {"game": objective.generator(discriminator(generator(turn.batch[:, :2])))}

    stream = Stream(Material(), batch_size)
    data = (lambda position: stream(position)) if function_of_position else stream
    phases = [
        Phase("discriminator", [discriminator], d, discriminator_loss, repeat=2),
        Phase("generator", [generator, unused], g, generator_loss, clip=0.1),
    ]
    fit(phases, data, 12, run, ema=EMA(generator), log_every=4, checkpoint_every=8)


if __name__ == "__main__":
    torch.set_num_threads(1)
    play(Path(sys.argv[1]), int(sys.argv[2]), function_of_position="--function" in sys.argv)
    leave_ranks()
