"""What a generator does not make: several generators instead of one, and how missing modes are found.

A collapsed generator is easy to see, a missing mode is not: every picture looks good. Two cures are packing
(`seqgan.image.gan.packed`: the discriminator sees several pictures at once) and an ensemble, generators that were
trained apart and of which one is drawn for every picture: modes that one lacks another may have.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from seqgan.coverage import Modes, label_modes
from seqgan.stream import random_from

from .gan import GAN
from .metrics import Classifier, in_parts


class Ensemble:
    """Several trained generators as one; each picture is of one of them, drawn at random.

    pictures = Ensemble.from_pretrained("runs/several")(count=16, seed=1)
    """

    def __init__(self, members: Sequence[GAN]):
        shapes = {(m.generator.config.channels, m.generator.config.size) for m in members}
        if len(shapes) != 1:
            raise ValueError(f"an ensemble makes pictures of one shape, not of {sorted(shapes) or 'none'}")
        self.members = list(members)

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str | torch.device = "cpu") -> Ensemble:
        """A folder with a model in each of its folders generator0, generator1, ...: of a run or `save_pretrained`."""
        found = {folder.name for folder in Path(path).glob("generator*") if folder.name[9:].isdigit()}
        count = max(1, len(found))
        if missing := {f"generator{i}" for i in range(count)} - found:
            raise ValueError(f"no ensemble in {str(path)!r}: it has no folder {', '.join(sorted(missing))}")
        return cls([GAN.from_pretrained(Path(path) / f"generator{i}", device) for i in range(count)])

    def save_pretrained(self, path: str | Path) -> Path:
        """Writes a folder with a folder for each member, as `GAN.save_pretrained` does."""
        for i, member in enumerate(self.members):
            member.save_pretrained(Path(path) / f"generator{i}")
        return Path(path)

    def __call__(self, count: int = 1, seed: int | None = None) -> Tensor:
        """(count, channel, height, width), uint8; the same seed gives the same ones. ValueError for a count below 1."""
        if count < 1:
            raise ValueError(f"a count of pictures is 1 or more, not {count}")
        random = random_from(seed)
        member = torch.randint(len(self.members), (count,), generator=random)
        seeds = torch.randint(2**31, (len(self.members),), generator=random).tolist()
        config = self.members[0].generator.config
        pictures = torch.empty(count, config.channels, config.size, config.size, dtype=torch.uint8)
        for i, (gan, own_seed) in enumerate(zip(self.members, seeds, strict=True)):
            places = member == i
            if places.any():
                pictures[places] = gan(int(places.sum()), seed=own_seed)
        return pictures


def stacked_labels(classifier: Classifier, pixels: Tensor) -> Tensor:
    """The classes of pictures whose channels are pictures of their own (number, 3, height, width), uint8: class a, b, c
    of n give a n^2 + b n + c (Metz et al. 2017, stacked MNIST). The classifier has one channel."""
    number, channels = pixels.shape[:2]
    every = in_parts(classifier, pixels.reshape(number * channels, 1, *pixels.shape[2:])).argmax(1)
    weights = classifier.config.classes ** torch.arange(channels - 1, -1, -1, device=every.device)
    return (every.view(number, channels) * weights).sum(1)


def missing(labels: Tensor, reference: Tensor, number: int) -> tuple[Modes, Tensor]:
    """The modes of generated labels beside those of the data, and the modes that only the data have, by number."""
    found = label_modes(labels, number, reference)
    have, want = (torch.bincount(part, minlength=number) > 0 for part in (labels, reference))
    return found, (want & ~have).nonzero()[:, 0]
