"""Trains InfoGAN on labelled pictures, and shows what its codes have come to mean (Chen et al. 2016).

    python recipes/infogan.py --data DIR                                       # MNIST, the paper's codes
    python recipes/infogan.py --data DIR --preset reduced                      # half the widths, for the CPU
    python recipes/infogan.py --data digits --preset reduced --size 8          # scikit-learn's digits
    python recipes/infogan.py --data DIR --information 0 --run runs/regular    # the regular GAN on the same input

DIR holds MNIST's idx files. Interrupted anywhere, the same command goes on. The run's folder then holds
`generator.safetensors`, `samples/` (every category a row, and each continuous code from -2 to 2), `curves.png` and
`scores.json`: the share of pictures whose category stands for the digit that a classifier sees in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from seqgan.checkpoint import write_json
from seqgan.figures import GAME, draw_run
from seqgan.image.data import grid, open_images, to_bytes, write_png
from seqgan.image.infogan import CodeConfig, Generator, Recogniser, agreement, draw, phases, plain, sweep
from seqgan.image.metrics import Classifier, check_labels, in_parts, train_classifier
from seqgan.image.networks import Discriminator
from seqgan.recipe import check_counts, every_and_last, open_run, prepare_torch, run, with_preset
from seqgan.training import Stream, fit

COLUMNS = 11  # of a sweep


@dataclass(frozen=True)
class Preset:
    width: int
    batch: int
    steps: int
    discriminator_rate: float


# With the paper's rate of the discriminator the small one learns, too, but two or three categories share two digits.
PRESETS = {"paper": Preset(64, 128, 5000, 2e-4), "reduced": Preset(32, 64, 5000, 1e-3)}


@dataclass(frozen=True)
class Settings:
    data: str
    """A folder of MNIST's idx files, or "digits"."""
    run: Path = Path("runs/infogan")
    """Folder of this run."""
    preset: Literal["paper", "reduced"] = "paper"
    """Sizes and lengths, see above."""
    size: int = 28
    """Height and width, a multiple of 4."""
    width: int | None = None
    """Channels of the first of two convolutions, a sixteenth of the dense layer's numbers; by default the preset's, as
    are batch, steps and discriminator_rate."""
    batch: int | None = None
    """Pictures in a step, 2 or more."""
    steps: int | None = None
    """Steps of the generator."""
    noise: int = 62
    """Numbers of z that carry no code."""
    categories: int = 10
    """Values of the categorical code."""
    continuous: int = 2
    """Continuous codes."""
    information: float = 1.0
    """Weight of the information; a tenth of it for the continuous codes. 0 is a regular GAN on the same input."""
    learning_rate: float = 1e-3
    """Of the generator, as in the paper."""
    discriminator_rate: float | None = None
    """Of the recogniser, too."""
    sample_every: int = 500
    """Steps after which samples are drawn and scored."""
    checkpoint_every: int = 500
    """Steps after which all is saved from which an interrupted run goes on."""
    classifier_steps: int = 500
    """Of the classifier that says which digits are drawn."""
    seed: int = 0
    """Of the weights, the data's order and whatever else is drawn."""
    threads: int | None = None
    """Threads of torch; by default one for every core."""
    precision: Literal["no", "bf16"] = "no"
    """bf16: mixed precision; faster where the processor has it."""


def main(settings: Settings) -> None:
    prepare_torch(settings.threads)
    chosen, folder = with_preset(settings, PRESETS[settings.preset]), settings.run
    check_counts(chosen, "size", "batch", "steps")
    images = open_images(settings.data, settings.size, channels=1)
    if images.labels is None:
        raise ValueError(f"{settings.data} has no labels, by which the categories are judged")
    code = CodeConfig(settings.noise, settings.categories, settings.continuous, settings.size, chosen.width)
    torch.manual_seed(settings.seed)
    generator, discriminator = Generator(code), Discriminator(code.network)
    recogniser = Recogniser(code.network.features, code)
    optimizers = [
        torch.optim.Adam(generator.parameters(), settings.learning_rate, betas=(0.5, 0.999)),
        torch.optim.Adam(
            [*discriminator.parameters(), *recogniser.parameters()],
            chosen.discriminator_rate,
            betas=(0.5, 0.999),
        ),
    ]
    weight = settings.information
    if chosen.batch == 1:
        raise ValueError("--batch is 2 or more: the recogniser normalises over it")
    check_labels(images)
    open_run(folder, settings, chosen.steps)
    classifier = train_classifier(images, folder, settings.classifier_steps, seed=settings.seed)

    def look(step: int) -> dict[str, float]:
        generator.save(folder / "generator.safetensors")
        show(generator, code, folder / "samples", step)
        return {"validation/agreement": judge(generator, code, classifier)}

    fit(
        phases(generator, discriminator, recogniser, optimizers, weight, 0.1 * weight),
        Stream(images, chosen.batch, seed=settings.seed),
        chosen.steps,
        folder,
        every=every_and_last(settings.sample_every, chosen.steps, look),
        seed=settings.seed,
        precision=settings.precision,
        checkpoint_every=settings.checkpoint_every,
    )
    scores = {"agreement": judge(generator.eval(), code, classifier)}
    write_json(folder / "scores.json", scores)
    told = {"generator/category": "category", "generator/continuous": "continuous"}
    agreed = {"validation/agreement": ""}
    draw_run(folder, GAME | {"what the code is not told by (nats)": told, "agreement of category and digit": agreed})
    print(f"agreement {scores['agreement']:.3f}")


@torch.no_grad()
def judge(generator: Generator, code: CodeConfig, classifier: Classifier, number: int = 2000) -> float:
    """Agreement of category and digit, by the classifier."""
    device = next(generator.parameters()).device
    z, drawn = draw(code, number, torch.Generator(device).manual_seed(0))
    pictures = torch.cat([to_bytes(generator(part)) for part in z.split(256)])
    return agreement(drawn.category, in_parts(classifier, pictures).argmax(1))


def show(generator: Generator, code: CodeConfig, folder: Path, step: int) -> None:
    """Pictures of every category in columns, a sweep of each continuous code, and beside them one of plain noise."""
    device = next(generator.parameters()).device
    random = torch.Generator(device).manual_seed(0)
    z = torch.cat([plain(code, random) for _ in range(COLUMNS)])
    with torch.no_grad():
        kinds = generator(z).unflatten(0, (COLUMNS, code.categories)).transpose(0, 1).flatten(0, 1)
    sheets = {"categories": kinds}
    if code.noise:
        sheets["noise"] = sweep(generator, z[: code.categories], 0, COLUMNS)
    for i in range(code.continuous):
        place = code.noise + code.categories + i
        sheets[f"code{i + 1}"] = sweep(generator, z[: code.categories], place, COLUMNS)
    for name, pictures in sheets.items():
        sheet = grid(to_bytes(pictures), COLUMNS)
        write_png(folder / f"{name}.step{step:06}.png", sheet, max(1, 64 // pictures.shape[2]))


if __name__ == "__main__":
    run(main, Settings, __doc__)
