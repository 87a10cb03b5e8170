"""Trains a GAN that draws what it is told: a label, or a caption.

    python recipes/conditional.py --data DIR --preset reduced                        # digits on demand, from MNIST
    python recipes/conditional.py --data DIR --judge auxiliary --run runs/auxiliary  # AC-GAN
    python recipes/conditional.py --data PICTURES --captions FILE --judge concatenation --run runs/captions

DIR holds MNIST's idx files, or is "digits". PICTURES is a folder or zip archive, FILE a table with the columns file,
caption and, if there are any, split (train, valid, test) and category; or a tag file with lines
`NUMBER,tag:count<tab>tag:count...` for NUMBER.jpg, each of whose tags is a word. A picture may have several captions:
training takes them in turn, and it is judged by the first. Where none is of the split test, up to a hundred pictures
of the split train are held out, but not others that have the same caption.

Interrupted anywhere, the same command goes on. The run's folder then holds `generator.safetensors`,
`samples/`, `curves.png` and `scores.json`: the share of pictures in which a classifier sees the label that was asked
for, and distances and coverage by its features; with captions `captions.png`, drawn from those of held-out pictures,
and where there are categories, the recall of the right one for the captions of the split test, averaged over the
categories and of each, what the real pictures of these captions get, and what chance gives. While it trains, this is
looked at on the split valid, if there is one.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from seqgan.checkpoint import write_json
from seqgan.figures import GAME, draw_run, new_figure, save_figure
from seqgan.image.captions import Captioned, balanced, build_words, categorised, encode, split_words
from seqgan.image.conditional import (
    ConditionalConfig,
    Discriminator,
    Generator,
    phases,
)
from seqgan.image.data import (
    SPLITS,
    Images,
    grid,
    open_images,
    read_captions,
    read_images,
    with_captions,
    write_png,
)
from seqgan.image.gan import draw
from seqgan.image.metrics import Classifier, check_labels, compare, in_parts, train_classifier
from seqgan.recipe import check_counts, check_ranges, every_and_last, open_run, prepare_torch, run, with_preset
from seqgan.training import EMA, Stream, fit


@dataclass(frozen=True)
class Preset:
    size: int
    width: int
    batch: int
    steps: int
    own_labels: float


PRESETS = {"paper": Preset(64, 128, 64, 100_000, 1.0), "reduced": Preset(32, 32, 64, 3000, 0.0)}


@dataclass(frozen=True)
class Settings:
    data: str
    """MNIST's idx files, "digits", or with captions a folder or zip archive of pictures."""
    run: Path = Path("runs/conditional")
    """Folder of this run."""
    captions: Path | None = None
    """A table of captions, or a tag file."""
    judge: Literal["concatenation", "auxiliary", "projection"] = "projection"
    """How the discriminator is told: what a picture should show is laid beside its features, named by it (AC-GAN), or
    multiplied with them."""
    preset: Literal["paper", "reduced"] = "paper"
    """Sizes and lengths, see above."""
    size: int | None = None
    """Height and width, a power of 2; by default the preset's, as are the three that follow, and --own-labels."""
    width: int | None = None
    """Channels at the picture's side, which double where it is halved."""
    batch: int | None = None
    """Pictures in a step."""
    steps: int | None = None
    """Steps of the generator."""
    latent: int = 100
    """Numbers of z."""
    condition: int | None = None
    """Numbers that a condition becomes; by default 128 of a caption and 8 of a label. With 32 for a label, beside 64 of
    z, the generator drew one picture of each digit."""
    mismatched: bool = True
    """Whether real pictures with other captions or labels count as fakes, too."""
    own_labels: float | None = None
    """AC-GAN: weight of generated pictures in what the discriminator learns of labels. With 0 none change places."""
    variety: float = 0.0
    """Weight of how much pictures of one condition differ (see `seqgan.image.conditional.phases`)."""
    augmented: bool = False
    """Whether the discriminator sees pictures shifted and with a part cut out, for few of them."""
    category_balance: float = 0.0
    """Of pictures with captions, a category of n is shown as if it had n^(1 - b): 0 as they are, 1 all as often."""
    least: int = 2
    """Words that occur more rarely in training captions are unknown."""
    learning_rate: float = 2e-4
    """Of both players."""
    ema: float = 0.999
    """Decay of the averaged weights, which draw and are kept."""
    sample_every: int = 500
    """Steps after which samples are drawn and scored."""
    checkpoint_every: int = 500
    """Steps after which all is saved from which an interrupted run goes on."""
    classifier_steps: int = 1000
    """Of the classifier that judges, before the game."""
    seed: int = 0
    """Of the weights, the data's order and whatever else is drawn."""
    threads: int | None = None
    """Threads of torch; by default one for every core."""
    precision: Literal["no", "bf16"] = "no"
    """bf16: mixed precision; faster where the processor has it."""


Scores = dict[str, Any]  # numbers, and of "categories" the scores of each
Judge = Callable[[Generator], Scores]


@dataclass(frozen=True)
class Material:
    """data: to train on, with conditions as labels; show: conditions of the samples; train_judges: once the run's
    folder may be written to, what scores a generator while it is trained, and what does at the end."""

    config: ConditionalConfig
    data: Dataset
    show: Tensor
    train_judges: Callable[[], tuple[Judge, Judge]]
    captions: tuple[str, ...] = ()  # held-out ones


def main(settings: Settings) -> None:
    prepare_torch(settings.threads)
    chosen, folder = with_preset(settings, PRESETS[settings.preset]), settings.run
    check_counts(chosen, "batch", "steps")
    check_ranges(settings)
    # Sizes that cannot be are refused before anything is read; of what the conditions are, the data decide.
    plan = ConditionalConfig(
        chosen.size,
        latent=settings.latent,
        width=chosen.width,
        classes=1,
        condition=(128 if settings.captions else 8) if settings.condition is None else settings.condition,
        judge=settings.judge,
    )
    material = labelled(settings, plan) if settings.captions is None else captioned(settings, plan)
    torch.manual_seed(settings.seed)
    generator, discriminator = Generator(material.config), Discriminator(material.config)
    optimizers = [
        torch.optim.Adam(player.parameters(), settings.learning_rate, betas=(0.5, 0.999))
        for player in (generator, discriminator)
    ]
    game = phases(
        generator,
        discriminator,
        optimizers,
        settings.mismatched,
        own_labels=chosen.own_labels,
        variety=settings.variety,
        augmented=settings.augmented,
    )
    average = EMA(generator, settings.ema)
    data = Stream(material.data, chosen.batch, seed=settings.seed)
    open_run(folder, settings, chosen.steps)
    watch, judge = material.train_judges()

    def look(step: int) -> dict[str, float]:
        generator.save(folder / "generator.safetensors")
        pictures = draw(generator, len(material.show), 0, material.show)
        write_png(folder / "samples" / f"step{step:06}.png", grid(pictures, 10), max(1, 64 // chosen.size))
        return {f"validation/{name}": value for name, value in overall(watch(generator)).items()}

    fit(
        game,
        data,
        chosen.steps,
        folder,
        every=every_and_last(settings.sample_every, chosen.steps, look),
        ema=average,
        seed=settings.seed,
        precision=settings.precision,
        checkpoint_every=settings.checkpoint_every,
    )
    with average.applied():
        scores = judge(generator.eval())
        if material.captions:
            draw_captions(folder / "captions.png", generator, material.captions)
    write_json(folder / "scores.json", scores)
    found = overall(scores)
    shares = {f"validation/{name}": name for name in found if name not in ("frechet", "kernel", "density")}
    mismatched = {
        "losses": GAME["losses"] | {"discriminator/condition": "D, mismatched"},
        "scores": GAME["scores"] | {"discriminator/mismatched": "D(mismatched)"},
    }
    draw_run(folder, GAME | mismatched | {"validation": shares})
    print("  ".join(f"{name} {value:.3f}" for name, value in found.items()))


def overall(scores: Scores) -> dict[str, float]:
    return {name: value for name, value in scores.items() if name != "categories"}


def labelled(settings: Settings, plan: ConditionalConfig) -> Material:
    images = open_images(settings.data, plan.size, channels=1)
    if images.labels is None:
        raise ValueError(f"{settings.data} has no labels; pictures with captions take --captions")
    check_labels(images)
    classes, present = int(images.labels.max()) + 1, images.labels.unique()
    asked = present.repeat(100)
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(settings.seed))[: len(asked)]

    def train_judges() -> tuple[Judge, Judge]:
        classifier = train_classifier(images, settings.run, settings.classifier_steps, seed=settings.seed)

        def judge(generator: Generator) -> Scores:
            pictures = draw(generator, len(asked), 0, asked)
            # One picture of each label would be obedient, too: recall and coverage tell how much of the data is there.
            found = compare(classifier.features, images.pixels[chosen].to(pictures.device), pictures)
            return {"obeyed": accuracy(classifier, pictures, asked)} | found

        return judge, judge

    config = replace(plan, channels=images.pixels.shape[1], classes=classes)
    return Material(config, images, present.repeat_interleave(10), train_judges)


def captioned(settings: Settings, plan: ConditionalConfig) -> Material:
    captions = read_captions(settings.captions)
    images = with_captions(read_images(settings.data, plan.size), captions)
    splits, tags = [own.split for own in images.captions], images.captions[0].tags
    if "test" not in splits:
        taught = [i for i, split in enumerate(splits) if split == "train"]
        for i in taught[:: max(10, -(-len(taught) // 100))]:
            splits[i] = "test"
        print(f"no picture is of the split test: {splits.count('test')} of {len(images)} are held out", flush=True)
    taught, valid, test = ([i for i, split in enumerate(splits) if split == kind] for kind in SPLITS)
    training = images.select(taught)
    words = build_words((text for own in training.captions for text in own.texts), settings.least, tags)
    if not words:
        raise ValueError(f"{settings.captions}: no word comes {settings.least} times in training captions, see --least")
    asked = tuple(dict.fromkeys(images.captions[i].texts[0] for i in test))
    return Material(
        replace(plan, channels=images.pixels.shape[1], classes=0, words=words, tags=tags),
        Captioned(training.select(balanced(training, settings.category_balance)), words, tags, settings.seed),
        encode(spread(asked, 60), words, tags),
        lambda: by_category(settings, images, valid or test, test),
        asked,
    )


def by_category(settings: Settings, images: Images, watched: list[int], test: list[int]) -> tuple[Judge, Judge]:
    """The classifier is trained on pictures of all splits, or it would not know what held-out captions speak of."""
    every, kinds = categorised(images)
    if len(kinds) < 2:
        return unjudged, unjudged
    known = [i for i, label in enumerate(every.labels.tolist()) if label >= 0]
    if len(known) < len(every):
        without = len(every) - len(known)
        print(f"{without} of {len(every)} pictures have no category: the judge leaves them out", flush=True)
    classifier = train_classifier(every.select(known), settings.run, settings.classifier_steps, seed=settings.seed)

    def judge_of(held: list[int]) -> Judge:
        some = every.select([i for i in held if every.labels[i] >= 0])
        if not len(some):
            return unjudged
        captions = [own.texts[0] for own in some.captions]
        different = Counter(category for category, _ in {(own.category, own.texts[0]) for own in some.captions})

        def recall(pixels: Tensor) -> dict[str, float]:
            found = recalls(in_parts(classifier, pixels).argmax(1).cpu(), some.labels)
            return {kinds[label]: share for label, share in found.items()}

        real = recall(some.pixels.to(next(classifier.parameters()).device))

        def judge(generator: Generator) -> Scores:
            asked = encode(captions, generator.config.words, generator.config.tags)
            found = recall(draw(generator, len(asked), 0, asked))
            return {
                "recall": fmean(found.values()),
                "recall of real ones": fmean(real.values()),
                "chance": 1 / len(real),
                "categories": {kind: {"recall": found[kind], "captions": different[kind]} for kind in found},
            }

        return judge

    return judge_of(watched), judge_of(test)


def unjudged(generator: Generator) -> Scores:
    return {}


def spread(captions: Sequence[str], number: int) -> list[str]:
    """So many of them, or all, evenly from the first on."""
    number = min(number, len(captions))
    return [captions[i * len(captions) // number] for i in range(number)]


def draw_captions(path: Path, generator: Generator, captions: Sequence[str], number: int = 16) -> None:
    """Two pictures of each of so many captions, spread over all; words that the generator does not know in brackets."""
    config, chosen = generator.config, spread(captions, number)
    figure = new_figure(12, 2 * -(-len(chosen) // 8), dpi=80)
    axes = figure.subplots(-(-len(chosen) // 8), 8, squeeze=False).flatten()
    for axis in axes:
        axis.axis("off")
    for axis, caption in zip(axes, chosen, strict=False):
        pictures = draw(generator, 2, 0, encode([caption], config.words, config.tags).expand(2, -1))
        axis.imshow(grid(pictures, 2).permute(1, 2, 0), cmap="gray")
        axis.set_title(textwrap.fill(marked(caption, config), 22), fontsize=7)
    save_figure(figure, path)


def marked(caption: str, config: ConditionalConfig) -> str:
    def mark(found: re.Match) -> str:
        known = set(split_words(found[0], config.tags)) <= set(config.words)
        return found[0] if known else f"({found[0]})"

    return re.sub(r"[^,\s][^,]*" if config.tags else r"[^\W_]+", mark, caption)


def accuracy(classifier: Classifier, pictures: Tensor, labels: Tensor) -> float:
    return (in_parts(classifier, pictures).argmax(1).cpu() == labels).float().mean().item()


def recalls(seen: Tensor, labels: Tensor) -> dict[int, float]:
    """Of every label that there is the share that was seen as it."""
    return {int(label): (seen[labels == label] == label).float().mean().item() for label in labels.unique()}


if __name__ == "__main__":
    run(main, Settings, __doc__)
