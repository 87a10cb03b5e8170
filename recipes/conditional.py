"""Trains a GAN that draws what it is told: a label, or a caption.

    python recipes/conditional.py --data DIR --preset reduced                        # digits on demand, from MNIST
    python recipes/conditional.py --data DIR --judge auxiliary --run runs/auxiliary  # AC-GAN
    python recipes/conditional.py --data PICTURES --captions FILE --judge concatenation --run runs/captions

DIR holds MNIST's idx files, or is "digits". PICTURES is a folder or zip archive, FILE a table with the columns file,
caption and, if there are any, split (train, valid, test) and category; or a tag file as of anime heads. Where none is
of the split test, up to a hundred pictures are held out. Interrupted anywhere, the same command goes on. The run's
folder then holds `generator.safetensors`, `samples/`, `curves.png` and `scores.json`: the share of pictures in which a
classifier sees the label that was asked for, and distances and coverage by its features; with captions `captions.png`,
pictures of held-out ones, and where there are categories, the recall of the right one for held-out captions, averaged
over the categories, what the real pictures of these captions get, and what chance gives.
"""

from __future__ import annotations

import csv
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from seqgan.checkpoint import write_json
from seqgan.figures import GAME, draw_run, new_figure, save_figure
from seqgan.image.conditional import ConditionalConfig, Discriminator, Generator, build_words, encode, phases
from seqgan.image.data import (
    Images,
    Shuffled,
    grid,
    open_images,
    read_captions,
    read_images,
    with_captions,
    write_png,
)
from seqgan.image.gan import draw
from seqgan.image.metrics import Classifier, compare, in_parts, train_classifier
from seqgan.recipe import every_and_last, open_run, prepare_torch, run
from seqgan.training import EMA, Stream, fit


@dataclass(frozen=True)
class Preset:
    size: int
    width: int
    batch: int
    steps: int


PRESETS = {"paper": Preset(64, 128, 64, 100_000), "reduced": Preset(32, 32, 64, 3000)}


@dataclass(frozen=True)
class Settings:
    data: str
    """MNIST's idx files, "digits", or with captions a folder or zip archive of pictures."""
    run: Path = Path("runs/conditional")
    captions: Path | None = None
    """A table of captions, or a tag file."""
    judge: Literal["concatenation", "auxiliary", "projection"] = "projection"
    preset: Literal["paper", "reduced"] = "paper"
    size: int | None = None
    """Height and width, a power of 2; by default the preset's, as are the three that follow."""
    width: int | None = None
    batch: int | None = None
    steps: int | None = None
    latent: int = 100
    condition: int | None = None
    """Numbers that a condition becomes; by default 128 of a caption and 8 of a label. With 32 for a label, beside 64 of
    z, the generator drew one picture of each digit."""
    mismatched: bool = True
    """Whether real pictures with other captions or labels count as fakes, too."""
    variety: float = 0.0
    """Weight of how much pictures of one condition differ (see `seqgan.image.conditional.phases`)."""
    augmented: bool = False
    """Whether the discriminator sees pictures shifted and with a part cut out, for few of them."""
    least: int = 2
    """Words that occur more rarely in training captions are unknown."""
    learning_rate: float = 2e-4
    ema: float = 0.999
    sample_every: int = 500
    checkpoint_every: int = 500
    classifier_steps: int = 1000
    seed: int = 0
    threads: int | None = None
    """Threads of torch; by default one for every core."""
    precision: Literal["no", "bf16"] = "no"


@dataclass(frozen=True)
class Material:
    """images: to train on, labelled with their conditions; judge: of a generator; show: conditions of the samples."""

    images: Images
    words: tuple[str, ...]
    classes: int
    judge: Callable[[Generator], dict[str, float]]
    show: Tensor
    captions: tuple[str, ...] = ()  # held-out ones


def main(settings: Settings) -> None:
    prepare_torch(settings.threads)
    preset, folder = PRESETS[settings.preset], settings.run
    size = settings.size or preset.size
    material = labelled(settings, size) if settings.captions is None else captioned(settings, size)
    config = ConditionalConfig(
        size,
        material.images.pixels.shape[1],
        settings.latent,
        settings.width or preset.width,
        material.classes,
        material.words,
        settings.condition or (128 if settings.captions else 8),
        settings.judge,
    )
    torch.manual_seed(settings.seed)
    generator, discriminator = Generator(config), Discriminator(config)
    optimizers = [
        torch.optim.Adam(player.parameters(), settings.learning_rate, betas=(0.5, 0.999))
        for player in (generator, discriminator)
    ]
    steps = settings.steps or preset.steps

    def look(step: int) -> dict[str, float]:
        generator.save(folder / "generator.safetensors")
        pictures = draw(generator, len(material.show), 0, material.show)
        write_png(folder / "samples" / f"step{step:06}.png", grid(pictures, 10), max(1, 64 // size))
        return {f"validation/{name}": value for name, value in material.judge(generator).items()}

    average = EMA(generator, settings.ema)
    fit(
        phases(
            generator,
            discriminator,
            optimizers,
            settings.mismatched,
            variety=settings.variety,
            augmented=settings.augmented,
        ),
        Stream(Shuffled(material.images, settings.seed), settings.batch or preset.batch),
        steps,
        folder,
        every=every_and_last(settings.sample_every, steps, look),
        ema=average,
        seed=settings.seed,
        precision=settings.precision,
        checkpoint_every=settings.checkpoint_every,
    )
    with average.applied():
        scores = material.judge(generator.eval())
        if material.captions:
            draw_captions(folder / "captions.png", generator, material.captions)
    write_json(folder / "scores.json", scores)
    shares = {f"validation/{name}": name for name in scores if name not in ("frechet", "kernel", "density")}
    mismatched = {
        "losses": GAME["losses"] | {"discriminator/condition": "D, mismatched"},
        "scores": GAME["scores"] | {"discriminator/mismatched": "D(mismatched)"},
    }
    draw_run(folder, GAME | mismatched | {"validation": shares})
    print("  ".join(f"{name} {value:.3f}" for name, value in scores.items()))


def labelled(settings: Settings, size: int) -> Material:
    images = open_images(settings.data, size, channels=1)
    if images.labels is None:
        raise ValueError(f"{settings.data} has no labels; pictures with captions take --captions")
    open_run(settings.run, settings)
    classes = int(images.labels.max()) + 1
    classifier = train_classifier(images, settings.run, settings.classifier_steps, seed=settings.seed)
    asked = torch.arange(classes).repeat(100)
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(settings.seed))[: len(asked)]

    def judge(generator: Generator) -> dict[str, float]:
        pictures = draw(generator, len(asked), 0, asked)
        # One picture of each label would be obedient, too: recall and coverage tell how much of the data is there.
        found = compare(classifier.features, images.pixels[chosen].to(pictures.device), pictures)
        return {"obeyed": accuracy(classifier, pictures, asked)} | found

    return Material(images, (), classes, judge, torch.arange(classes).repeat_interleave(10))


def captioned(settings: Settings, size: int) -> Material:
    images = with_captions(read_images(Path(settings.data), size), read_captions(settings.captions))
    table = read_table(settings.captions)
    rows = [table.get(name) or table.get(Path(name).name, {}) for name in images.names]
    splits = [row.get("split", "train") for row in rows]
    if "test" not in splits:
        for i in range(0, len(images), max(10, len(images) // 100)):
            splits[i] = "test"
        print(f"no picture is of the split test: {splits.count('test')} of {len(images)} are held out", flush=True)
    held, taught = ([i for i, split in enumerate(splits) if split == kind] for kind in ("test", "train"))
    training = images.select(taught)
    words = build_words(training.captions, settings.least)
    if not words:
        raise ValueError(f"{settings.captions}: no word comes {settings.least} times in training captions, see --least")
    open_run(settings.run, settings)
    captions = tuple(images.captions[i] for i in held)
    asked = encode(captions, words)
    judge = by_category(settings, images, [row.get("category", "") for row in rows], held, asked)
    return Material(replace(training, labels=encode(training.captions, words)), words, 0, judge, asked[:60], captions)


def by_category(
    settings: Settings, images: Images, categories: list[str], held: list[int], asked: Tensor
) -> Callable[[Generator], dict[str, float]]:
    """The classifier is trained on pictures of all splits, or it would not know what held-out captions speak of."""
    kinds = sorted(set(categories))
    if not all(kinds) or len(kinds) < 2:
        return lambda generator: {}
    labels = torch.tensor([kinds.index(category) for category in categories])
    every = replace(images, labels=labels)
    classifier = train_classifier(every, settings.run, settings.classifier_steps, seed=settings.seed)

    def recall(pixels: Tensor) -> float:
        return macro_recall(in_parts(classifier, pixels).argmax(1).cpu(), labels[held])

    real = recall(images.pixels[held].to(next(classifier.parameters()).device))

    def judge(generator: Generator) -> dict[str, float]:
        found = recall(draw(generator, len(asked), 0, asked))
        return {"recall": found, "recall of real ones": real, "chance": 1 / len(labels[held].unique())}

    return judge


def read_table(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a table of captions by file name; of a tag file none."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return {row["file"]: row for row in rows if "file" in row}


def draw_captions(path: Path, generator: Generator, captions: Sequence[str], number: int = 16) -> None:
    """Two pictures of each of so many captions, spread over all; words that the generator does not know in brackets."""
    words, chosen = generator.config.words, captions[:: -(-len(captions) // number)]
    figure = new_figure(12, 2 * -(-len(chosen) // 8), dpi=80)
    axes = figure.subplots(-(-len(chosen) // 8), 8, squeeze=False).flatten()
    for axis in axes:
        axis.axis("off")
    for axis, caption in zip(axes, chosen, strict=False):
        pictures = draw(generator, 2, 0, encode([caption], words).expand(2, -1))
        axis.imshow(grid(pictures, 2).permute(1, 2, 0), cmap="gray")
        marked = re.sub(r"[^\W_]+", lambda word: word[0] if word[0].lower() in words else f"({word[0]})", caption)
        axis.set_title(textwrap.fill(marked, 22), fontsize=7)
    save_figure(figure, path)


def accuracy(classifier: Classifier, pictures: Tensor, labels: Tensor) -> float:
    return (in_parts(classifier, pictures).argmax(1).cpu() == labels).float().mean().item()


def macro_recall(seen: Tensor, labels: Tensor) -> float:
    """Of every label that there is the share that was seen as it, averaged over the labels."""
    return torch.stack([(seen[labels == label] == label).float().mean() for label in labels.unique()]).mean().item()


if __name__ == "__main__":
    run(main, Settings, __doc__)
