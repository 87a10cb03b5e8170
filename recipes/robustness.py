"""Which method survives badly built networks? The grid of the improved-WGAN paper (Gulrajani et al. 2017, figure 2):
methods against ways to build both networks, every cell a run of recipes/gan.py.

    python recipes/robustness.py --data DIR                         # the paper's size, 64 x 64 pictures, 102 layers
    python recipes/robustness.py --data DIR --preset reduced        # 32 x 32, width 32, 34 layers, two seeds
    python recipes/robustness.py --data DIR --preset reduced --methods wgan-gp --networks tanh deep    # some of it

Interrupted anywhere, the same command goes on with the cell that it was at; what is finished already is taken as it is.
The run's folder then holds a folder for every cell, and of those that there are `robustness.md`, Fréchet distances of
the features of a classifier (labelled data only), and `robustness.png`, the last samples of the first seed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import gan
from PIL import Image

from seqgan.checkpoint import write_json, write_text
from seqgan.figures import new_figure, save_figure
from seqgan.image.gan import METHODS
from seqgan.recipe import check_counts, refuse_others, run, with_preset
from seqgan.tables import markdown_table


@dataclass(frozen=True)
class Preset(gan.Preset):
    layers: int  # of the deep networks
    seeds: int


PRESETS = {
    "paper": Preset(64, 128, 64, 200_000, 102, 1),  # the paper's has 101, but here they come in pairs
    "reduced": Preset(32, 32, 64, 2000, 34, 2),
}
# Deviations from DCGAN's two convolutional networks, as settings of recipes/gan.py.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "dcgan": ("both convolutional", {}),
    "no-norm": ("no normalisation", {"norm": "none"}),
    "tanh": ("tanh everywhere", {"activation": "tanh"}),
    "mlp": ("G four dense layers", {"generator": "mlp"}),
    "constant": ("G of one width, not normalised", {"generator": "constant"}),
    "deep": ("both very deep", {}),
}
PAPERS = ("gan", "lsgan", "wgan", "wgan-gp")  # DCGAN first


@dataclass(frozen=True)
class Settings:
    data: str
    """Folder or zip archive of pictures, a folder of MNIST's idx files, or "digits"."""
    run: Path = Path("runs/robustness")
    """Folder of a folder for each game, of robustness.md and robustness.png."""
    preset: Literal["paper", "reduced"] = "paper"
    """Sizes and lengths, see above."""
    methods: tuple[str, ...] = PAPERS
    """Of `seqgan.image.gan.METHODS`."""
    networks: tuple[str, ...] = tuple(NETWORKS)
    """The rows of the grid."""
    size: int | None = None
    """Height and width, a power of 2; by default the preset's, as are the five that follow."""
    width: int | None = None
    """Channels at the picture's side, which double where it is halved."""
    batch: int | None = None
    """Pictures in a step."""
    steps: int | None = None
    """Steps of the generator."""
    layers: int | None = None
    """Of the deep networks."""
    seeds: int | None = None
    """Games for each place of the grid."""
    channels: Literal[1, 3] = 3
    """Of pictures; idx files and digits have one."""
    classifier_steps: int = 500
    """Of the classifier by whose features the pictures are scored."""
    sample_every: int = 500
    """Steps after which samples are drawn and scored."""
    threads: int | None = None
    """Threads of torch; by default one for every core."""
    precision: Literal["no", "bf16"] = "no"
    """bf16: mixed precision; faster where the processor has it."""


def main(settings: Settings) -> None:
    for kind, names, known in (("networks", settings.networks, NETWORKS), ("method", settings.methods, METHODS)):
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"no {kind} {unknown[0]!r}; there are {', '.join(known)}")
    chosen = with_preset(settings, PRESETS[settings.preset])
    check_counts(chosen, "batch", "steps", "seeds")
    seeds = range(chosen.seeds)
    cells = [  # by seed first, so that a grid of one seed is soon there
        gan_settings(chosen, method, network, seed)
        for seed, network, method in product(seeds, settings.networks, settings.methods)
    ]
    for cell in cells:
        gan.networks(cell, cell.channels)  # raises where these cannot be
        refuse_others(cell.run, cell, re.compile("run|data|threads|precision|.*_every"))
    gan.open_images(settings.data, chosen.size, settings.channels)  # raises where there are none
    write_json(settings.run / "config.json", settings)
    for cell in cells:
        if not finished(cell.run):
            print(f"{cell.run}", flush=True)
            try:
                gan.main(cell)
            except FloatingPointError as error:  # a game may well diverge: that is what is asked
                write_text(cell.run / "diverged.txt", f"{error}\n")
        summarise(settings, seeds)
    print((settings.run / "robustness.md").read_text(encoding="utf-8"), end="")


def finished(folder: Path) -> bool:
    return (folder / "curves.png").exists() or (folder / "diverged.txt").exists()


def gan_settings(settings: Settings, method: str, network: str, seed: int) -> gan.Settings:
    """Of settings that have their preset's values."""
    special = dict(NETWORKS[network][1])
    if network == "deep":
        special["layers"] = settings.layers
    return gan.Settings(
        data=settings.data,
        run=settings.run / f"{method}.{network}.{seed}",
        method=method,
        size=settings.size,
        width=settings.width,
        batch=settings.batch,
        steps=settings.steps,
        channels=settings.channels,
        sample_every=settings.sample_every,
        classifier_steps=settings.classifier_steps,
        seed=seed,
        threads=settings.threads,
        precision=settings.precision,
        **special,
    )


def summarise(settings: Settings, seeds: range) -> None:
    """robustness.md and robustness.png, of the cells that are finished."""
    rows = []
    figure = new_figure(3 * len(settings.methods), 3 * len(settings.networks))
    axes = figure.subplots(len(settings.networks), len(settings.methods), squeeze=False)
    for line, network in zip(axes, settings.networks, strict=True):
        cells = []
        for axis, method in zip(line, settings.methods, strict=True):
            folders = [settings.run / f"{method}.{network}.{seed}" for seed in seeds]
            cells.append(", ".join(score(folder) for folder in folders if finished(folder)) or "...")
            draw(axis, folders[0], f"{method}, {NETWORKS[network][0]}")
        rows.append((NETWORKS[network][0], *cells))
    write_text(settings.run / "robustness.md", markdown_table(("networks", *settings.methods), rows))
    save_figure(figure, settings.run / "robustness.png")


def score(folder: Path) -> str:
    if (folder / "diverged.txt").exists():
        return "diverged"
    path = folder / "scores.json"
    return f"{json.loads(path.read_text(encoding='utf-8'))['frechet']:.1f}" if path.exists() else "done"


def draw(axis: Any, folder: Path, title: str) -> None:
    axis.axis("off")
    axis.set_title(title, fontsize=8)
    found = sorted((folder / "samples").glob("step*.png"))
    if found:
        axis.imshow(Image.open(found[-1]), cmap="gray")


if __name__ == "__main__":
    run(main, Settings, __doc__)
