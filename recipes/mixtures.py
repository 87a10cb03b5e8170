"""Mode collapse where every mode is known: a ring of 8 and a grid of 25 Gaussians, by the protocol of Lin et al. 2018
("PacGAN: The power of two samples in generative adversarial networks", section 4.1).

    python recipes/mixtures.py --mixture grid --run runs/grid1              # the plain game, ten seeds at once
    python recipes/mixtures.py --mixture grid --pack 4 --run runs/grid4     # PacGAN4
    python recipes/mixtures.py --preset reduced --run runs/ring             # 7,000 steps at ten times the rate
    python recipes/mixtures.py --table runs/grid1 runs/grid4                # several runs side by side

Ten seeds are trained as one batched network, since each by itself is far too small to keep a machine busy. The networks
and settings are those of the authors' program, but for the steps, of which it has 400,000. On one core a step takes
0.17 s: the 40,000 of the preset "paper" about two hours, the 7,000 of "reduced" 20 minutes. Interrupted anywhere, the
same command goes on. The run's folder then holds `generator.safetensors`, pictures of the samples over time,
`curves.png` and `scores.json`: modes captured, share of good samples and reverse KL of every seed, of 2,500 samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from statistics import fmean
from typing import Literal

import torch
from torch import Tensor, nn

from seqgan.checkpoint import save_weights, write_json, write_text
from seqgan.coverage import Modes, mixture_modes
from seqgan.figures import GAME, draw_run, new_figure, save_figure
from seqgan.image.gan import METHODS
from seqgan.objectives import RELATIVISTIC, LossSensitive
from seqgan.recipe import (
    check_counts,
    every_and_last,
    open_run,
    prepare_torch,
    read_run,
    run,
    warm_up_and_cosine,
    with_preset,
)
from seqgan.tables import markdown_table, spread
from seqgan.training import Phase, Turn, fit

DEVIATION = {"ring": 0.01, "grid": 0.05}
SAMPLES = 2500


@dataclass(frozen=True)
class Preset:
    steps: int
    learning_rate: float
    decay: float


# The authors' rate is for their 400,000 steps; a tenth of these needs ten times as much.
PRESETS = {"paper": Preset(40_000, 1e-4, 0.0), "reduced": Preset(7000, 1e-3, 0.5)}


@dataclass(frozen=True)
class Settings:
    mixture: Literal["ring", "grid"] = "ring"
    """8 Gaussians in a ring, or 25 in a grid."""
    run: Path = Path("runs/mixtures")
    """Folder of this run; with --table, of table.md."""
    pack: int = 1
    """Samples that the discriminator sees at once."""
    objective: str = "gan"
    """The objective of a method of `seqgan.image.gan.METHODS`: gan, minimax, lsgan, hinge, f-gan-..."""
    preset: Literal["paper", "reduced"] = "paper"
    """Sizes and lengths, see above."""
    seeds: int = 10
    """Games that are played at once, as one batched network."""
    steps: int | None = None
    """By default the preset's, as are learning_rate and decay."""
    batch: int = 100
    """Samples that the discriminator sees in a step, each of `pack`."""
    hidden: int = 400
    """Of the generator's four layers."""
    maxout: int = 200
    """Of the discriminator's three layers, each the largest of five pieces."""
    learning_rate: float | None = None
    """Of both players."""
    decay: float | None = None
    """Last share of the steps, over which the rate falls along a cosine."""
    evaluate_every: int = 2000
    """Steps after which modes are counted."""
    checkpoint_every: int = 2000
    """Steps after which all is saved from which an interrupted run goes on."""
    seed: int = 0
    """Of the weights, the data's order and whatever else is drawn."""
    precision: Literal["no", "bf16"] = "no"
    """bf16: mixed precision, but for the layers that take and give points; faster where the processor has it."""
    threads: int | None = None
    """Threads of torch; by default one for every core."""
    table: tuple[Path, ...] = ()
    """Do not train: set these runs side by side."""


def centers(mixture: str) -> Tensor:
    """(mode, 2)"""
    if mixture == "ring":
        angle = torch.arange(8) * (2 * math.pi / 8)
        return torch.stack([angle.cos(), angle.sin()], 1)
    return torch.cartesian_prod(*[torch.arange(-4.0, 5.0, 2.0)] * 2)


class Batched(nn.Module):
    """A linear map for each of several seeds: (seed, batch, in) -> (seed, batch, out)

    exact: in float32 even in mixed precision. Whatever takes or gives points is, since a mode is narrower than
    bfloat16's numbers stand apart.
    """

    def __init__(self, seeds: int, inputs: int, outputs: int, bias: bool = True, exact: bool = False):
        super().__init__()
        self.exact = exact
        self.weight = nn.Parameter(0.02 * torch.randn(seeds, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(seeds, 1, outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        if self.exact:
            with torch.autocast(x.device.type, enabled=False):
                return self.map(x.float())
        return self.map(x)

    def map(self, x: Tensor) -> Tensor:
        return x @ self.weight if self.bias is None else torch.baddbmm(self.bias, x, self.weight)


class BatchNorm(nn.Module):
    """Of every seed's batch by itself; in evaluation mode by running averages."""

    def __init__(self, seeds: int, width: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(seeds * width, momentum=0.05)

    def forward(self, x: Tensor) -> Tensor:
        seeds, batch, width = x.shape
        return self.norm(x.transpose(0, 1).reshape(batch, seeds * width)).view(batch, seeds, width).transpose(0, 1)


class Generator(nn.Module):
    """z: (seed, batch, 2) -> points: (seed, batch, 2)"""

    def __init__(self, seeds: int, hidden: int):
        super().__init__()
        self.seeds = seeds
        layers: list[nn.Module] = []
        for inputs in (2, hidden, hidden, hidden):
            layers += [
                Batched(seeds, inputs, hidden, bias=False, exact=inputs == 2),
                BatchNorm(seeds, hidden),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers, Batched(seeds, hidden, 2, exact=True))

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


class Discriminator(nn.Module):
    """points: (seed, batch, 2 * pack) -> scores: (seed, batch)"""

    def __init__(self, seeds: int, pack: int, width: int, pieces: int = 5):
        super().__init__()
        self.shape = (pieces, width)
        self.layers = nn.ModuleList(
            Batched(seeds, n, width * pieces, exact=n == 2 * pack) for n in (2 * pack, width, width)
        )
        self.output = Batched(seeds, width, 1, exact=True)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x).unflatten(2, self.shape).amax(2)
        return self.output(x)[..., 0]


class Points:
    """Real samples: batches (seed, batch, 2), each a function of (seed, its number)."""

    def __init__(self, settings: Settings):
        self.settings, self.centers = settings, centers(settings.mixture)

    def __call__(self, position: int) -> Iterator[Tensor]:
        settings, shape = self.settings, (self.settings.seeds, self.settings.batch * self.settings.pack)
        for number in count(position):
            random = torch.Generator().manual_seed((settings.seed * 2**40 + number) % 2**64)
            mode = torch.randint(len(self.centers), shape, generator=random)
            noise = torch.randn(*shape, 2, generator=random)
            yield self.centers[mode] + DEVIATION[settings.mixture] * noise


def main(settings: Settings) -> None:
    prepare_torch(settings.threads)
    if settings.table:
        found = table(settings.table)
        write_text(settings.run / "table.md", found)
        print(found, end="")
        return
    if settings.objective not in METHODS:
        raise ValueError(f"no objective {settings.objective!r}; there are {', '.join(METHODS)}")
    method = METHODS[settings.objective]
    if method.penalty or method.clip or method.spectral or isinstance(method.objective, LossSensitive):
        raise ValueError(f"{settings.objective} needs a penalty, a limit on the weights or distances, not played here")
    settings = with_preset(settings, PRESETS[settings.preset])
    check_counts(settings, "pack", "seeds", "batch", "steps", "hidden", "maxout")
    if settings.batch * settings.pack == 1:
        raise ValueError("--batch is 2 or more, or --pack is: the generator normalises over them")
    train(settings)


def train(settings: Settings) -> None:
    torch.manual_seed(settings.seed)
    generator = Generator(settings.seeds, settings.hidden)
    discriminator = Discriminator(settings.seeds, settings.pack, settings.maxout)
    optimizers = [
        torch.optim.Adam(player.parameters(), settings.learning_rate, betas=(0.8, 0.999), fused=True)
        for player in (generator, discriminator)
    ]
    objective, folder = METHODS[settings.objective].objective, settings.run
    open_run(folder, settings, settings.steps)

    def packed(points: Tensor) -> Tensor:
        return points.reshape(settings.seeds, -1, 2 * settings.pack)

    def fakes(turn: Turn) -> Tensor:
        if "fake" not in turn.share:
            z = torch.randn(turn.batch.shape, generator=turn.generator, device=turn.batch.device)
            turn.share["fake"] = generator(z)
        return turn.share["fake"]

    # Seed by seed, so that each has the gradient that it would have alone.
    def discriminator_loss(turn: Turn) -> dict[str, Tensor]:
        real, fake = discriminator(packed(turn.batch)), discriminator(packed(fakes(turn).detach()))
        turn.log("real", real.mean())
        turn.log("fake", fake.mean())
        return {"game": sum(map(objective.discriminator, real, fake))}

    def generator_loss(turn: Turn) -> dict[str, Tensor]:
        real = [None] * settings.seeds
        if isinstance(objective, RELATIVISTIC):
            real = discriminator(packed(turn.batch))
        return {"game": sum(map(objective.generator, discriminator(packed(fakes(turn))), real))}

    def look(step: int) -> dict[str, float]:
        found = judge(generator, settings, folder / "samples" / f"step{step:06}.png")
        return {f"validation/{name}": fmean(getattr(modes, name) for modes in found) for name in COLUMNS}

    schedule = warm_up_and_cosine(settings.steps, 0, settings.decay)
    fit(
        [
            Phase("discriminator", [discriminator], optimizers[1], discriminator_loss, schedule=schedule),
            Phase("generator", [generator], optimizers[0], generator_loss, schedule=schedule),
        ],
        Points(settings),
        settings.steps,
        folder,
        every=every_and_last(settings.evaluate_every, settings.steps, look),
        seed=settings.seed,
        precision=settings.precision,
        log_every=500,
        checkpoint_every=settings.checkpoint_every,
    )
    save_weights(folder / "generator.safetensors", generator)
    found = judge(generator.eval(), settings, folder / "samples" / f"step{settings.steps:06}.png")
    write_json(folder / "scores.json", [asdict(modes) for modes in found])
    losses = {"losses, summed over the seeds": GAME["losses"]}
    panels = losses | {title: names for title, names in GAME.items() if title != "losses"}
    draw_run(folder, panels | {"modes": {"validation/captured": ""}, "share of good samples": {"validation/good": ""}})
    print(table([folder]), end="")


COLUMNS = ("captured", "good", "kl")


@torch.no_grad()
def judge(generator: Generator, settings: Settings, picture: Path) -> list[Modes]:
    """Of every seed, and a picture of the samples of the first few."""
    device = next(generator.parameters()).device
    random = torch.Generator(device).manual_seed(1)
    z = torch.randn(generator.seeds, SAMPLES, 2, generator=random, device=device)
    points, middle = generator(z).cpu(), centers(settings.mixture)
    figure = new_figure(12, 3.2)
    for axis, own in zip(figure.subplots(1, 4), points, strict=False):
        reach = 1.3 * middle.abs().max().item()
        axis.scatter(*own.T.numpy(), s=1, alpha=0.4)
        axis.scatter(*middle.T.numpy(), s=30, facecolors="none", edgecolors="C3")
        axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    save_figure(figure, picture)
    return [mixture_modes(own, middle, DEVIATION[settings.mixture]) for own in points]


def table(folders: tuple[Path, ...] | list[Path]) -> str:
    known, rows = ("mixture", "objective", "pack", "steps"), []
    for folder in folders:
        config, scores = read_run(folder, "mixture")
        cells = [spread([row[name] for row in scores]) for name in COLUMNS]
        rows.append((folder, *(config[name] for name in known), *cells))
    return markdown_table(("run", *known, "modes", "good", "reverse KL"), rows)


if __name__ == "__main__":
    run(main, Settings, __doc__)
