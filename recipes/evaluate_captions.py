"""Judges a text-to-image model: does a classifier see the category of a caption in what is drawn of it?

    python recipes/evaluate_captions.py --data PICTURES --captions FILE
    python recipes/evaluate_captions.py --data PICTURES --captions FILE --model runs/captions/generator.safetensors

PICTURES and FILE are as for recipes/conditional.py, with categories and the splits train and test. Of two judges one
was trained with all pictures, the other without those of the split test. Two tables, in Markdown on standard output,
have for held-out captions (test) and for some that the model was trained with (train) the recall of each category in
generated pictures and in real ones of the same captions; last its average, with the least and the greatest of the
draws, and a 95 % interval over other captions of the same categories (bootstrap).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from conditional import recalls
from torch import Tensor

from seqgan.image.captions import categorised, encode
from seqgan.image.conditional import TextToImage
from seqgan.image.data import Images, read_captions, read_images, with_captions
from seqgan.image.gan import draw
from seqgan.image.metrics import Classifier, in_parts, train_classifier
from seqgan.recipe import check_counts, open_run, prepare_torch, run
from seqgan.tables import markdown_table


@dataclass(frozen=True)
class Settings:
    data: Path
    """Folder or zip archive of pictures."""
    captions: Path
    """A table of captions with categories."""
    model: str = "text-to-image"
    """A bundled model, a .safetensors file or a folder."""
    run: Path = Path("runs/evaluate_captions")
    """Folder of the judges, which serve for other models, too."""
    draws: int = 8
    """Pictures of each held-out caption; a quarter as many of each that the model was trained with."""
    most: int = 100
    """Captions of a category that the model was trained with."""
    classifier_steps: int = 600
    """Of each judge."""
    seed: int = 0
    """Of the judges, and of the first draw."""
    threads: int | None = None
    """Threads of torch; by default one for every core."""


def main(settings: Settings) -> None:
    prepare_torch(settings.threads)
    check_counts(settings, "draws", "most")
    model = TextToImage.from_pretrained(settings.model)
    config = model.generator.config
    images = with_captions(read_images(settings.data, config.size, config.channels), read_captions(settings.captions))
    every, kinds = categorised(images)
    known = every.select(every.labels.ge(0).nonzero()[:, 0].tolist())
    held, trained = some_of_each(known, "test", len(known)), some_of_each(known, "train", settings.most)
    if not len(held) or not len(trained):
        raise ValueError(f"{settings.captions}: the splits test and train have captions with categories, both")
    shapes = {"size": config.size, "channels": config.channels}
    of_judges = {name: getattr(settings, name) for name in ("captions", "classifier_steps", "seed")} | shapes
    without = known.select([i for i, own in enumerate(known.captions) if own.split != "test"])
    judges = {}
    for name, part in (("all", known), ("without", without)):
        folder = settings.run / name
        open_run(folder, of_judges)
        judges[name] = train_classifier(part, folder, settings.classifier_steps, seed=settings.seed)
    for split, some, draws in (("test", held, settings.draws), ("train", trained, max(1, settings.draws // 4))):
        print(table(split, model, some, kinds, judges, range(settings.seed, settings.seed + draws)), flush=True)


def some_of_each(images: Images, split: str, most: int) -> Images:
    """One picture for every caption of a split, of a category so many at most."""
    found: dict[str, int] = {}
    sizes: Counter[str] = Counter()
    for i, own in enumerate(images.captions):
        if own.split == split and own.texts[0] not in found and sizes[own.category] < most:
            found[own.texts[0]] = i
            sizes[own.category] += 1
    return images.select(found.values())


def table(
    split: str,
    model: TextToImage,
    images: Images,
    kinds: Sequence[str],
    judges: dict[str, Classifier],
    seeds: Sequence[int],
) -> str:
    config, labels = model.generator.config, images.labels
    condition = encode([own.texts[0] for own in images.captions], config.words, config.tags)
    drawn = [draw(model.generator, len(images), seed, condition) for seed in seeds]
    present = labels.unique().tolist()
    columns = []  # each has a row for every category, and one for their average
    for classifier in judges.values():
        right = torch.stack([seen_as(classifier, pictures) == labels for pictures in drawn]).float()
        parts = [right[:, labels == label] for label in present]
        averages = torch.stack([part.mean(1) for part in parts]).mean(0)
        low, high = interval(parts)
        told = f"{averages.mean():.3f} ({averages.min():.3f} to {averages.max():.3f}; {low:.3f} to {high:.3f})"
        columns.append([f"{part.mean():.3f}" for part in parts] + [told])
        real = recalls(seen_as(classifier, images.pixels), labels).values()
        columns.append([f"{share:.3f}" for share in (*real, fmean(real))])
    names = [kinds[label] for label in present] + [f"average (chance {1 / len(present):.3f})"]
    counts = [int((labels == label).sum()) for label in present] + [len(labels)]
    titles = [f"{what}, judge {name}" for name in judges for what in ("drawn", "real")]
    return markdown_table((split, "captions", *titles), zip(names, counts, *columns, strict=True))


def seen_as(classifier: Classifier, pictures: Tensor) -> Tensor:
    """The label that it sees in each, on the CPU."""
    return in_parts(classifier, pictures.to(next(classifier.parameters()).device)).argmax(1).cpu()


def interval(parts: Sequence[Tensor], times: int = 2000) -> tuple[float, float]:
    """Within which the average over categories, each (draws, captions), is in 95 % of the times that captions are drawn
    anew."""
    random, averages = torch.Generator().manual_seed(0), torch.zeros(times)
    for part in parts:
        own = part.mean(0)
        averages += own[torch.randint(len(own), (times, len(own)), generator=random)].mean(1) / len(parts)
    low, high = averages.quantile(torch.tensor([0.025, 0.975])).tolist()
    return low, high


if __name__ == "__main__":
    run(main, Settings, __doc__)
