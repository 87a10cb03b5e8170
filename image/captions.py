"""Captions as numbers: their words, or tags, and the pictures that have them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import Dataset

from seqgan.stream import shuffled

from .data import Images, to_range


def split_words(caption: str, tags: bool = False) -> list[str]:
    """Lower case; letters and digits, also of other scripts. Of tags, all up to a comma is one: `blue hair`."""
    if tags:
        found = (" ".join(split_words(tag)) for tag in caption.split(","))
        return [tag for tag in found if tag]
    return re.findall(r"[^\W_]+", caption.lower())


def separate_tags(caption: str, tags: Iterable[str]) -> list[str]:
    """Those between commas, and where one holds known tags, these and what is between them: `blue hair red eyes` is
    `blue hair` and `red eyes`."""
    known = re.compile(rf"\b({'|'.join(sorted(map(re.escape, tags), key=len, reverse=True))})\b")
    parts = (part.strip() for tag in split_words(caption, tags=True) for part in known.split(tag))
    return [part for part in parts if part]


def build_words(captions: Iterable[str], least: int = 2, tags: bool = False) -> tuple[str, ...]:
    """The words, or tags, that occur so often at least, the most frequent first."""
    counts = Counter(word for caption in captions for word in split_words(caption, tags))
    return tuple(word for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count >= least)


def encode(captions: Sequence[str], words: Sequence[str], tags: bool = False) -> Tensor:
    """(captions, words): of each known word its share of the caption's known ones; all 0 where none is known."""
    places = {word: i for i, word in enumerate(words)}
    found = torch.zeros(len(captions), len(words))
    for row, caption in zip(found, captions, strict=True):
        known = [places[word] for word in split_words(caption, tags) if word in places]
        for place in known:
            row[place] += 1 / len(known)
    return found


class Captioned(Dataset):
    """Images in an order of its own in each epoch: {"image": (channel, height, width) within -1 and 1, "label":
    (words,)}. Where a picture has several captions, they take turns from epoch to epoch."""

    def __init__(self, images: Images, words: Sequence[str], tags: bool = False, seed: int = 0):
        self.images, self.seed = images, seed
        every = encode([text for own in images.captions for text in own.texts], words, tags)
        self.labels = every.split([len(own.texts) for own in images.captions])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        epoch, item = shuffled(index, len(self.images), self.seed)
        label = self.labels[item][epoch % len(self.labels[item])]
        return {"image": to_range(self.images.pixels[item]), "label": label}


def categorised(images: Images) -> tuple[Images, list[str]]:
    """With categories as labels, -1 for none, and their names."""
    kinds = sorted({own.category for own in images.captions} - {""})
    labels = torch.tensor([kinds.index(own.category) if own.category else -1 for own in images.captions])
    return replace(images, labels=labels), kinds


def balanced(images: Images, balance: float) -> list[int]:
    """Places of the images, those of small categories several times: one of n images counts as about n^(1 - balance).
    Those of no category are a category, too."""
    categories = [own.category for own in images.captions]
    sizes = Counter(categories)
    times = {category: round((max(sizes.values()) / size) ** balance) for category, size in sizes.items()}
    return [i for i, category in enumerate(categories) for _ in range(times[category])]
