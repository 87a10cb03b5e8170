"""How good generated pictures are, by the features of a classifier that is trained on the data itself.

Figures of Inception features, the field's usual ones, need a network that has to be downloaded; those here compare
generators of one data set under one classifier, and mean nothing beside published FIDs. Any function from pictures to
features may stand in the classifier's place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgan.checkpoint import SavedModel
from seqgan.coverage import frechet_distance, kernel_distance, label_modes, precision_recall
from seqgan.training import Phase, Stream, Turn, fit

from .data import Images, to_range

Features = Callable[[Tensor], Tensor]  # image (batch, channel, height, width), within -1 and 1 -> (batch, width)


@dataclass(frozen=True)
class ClassifierConfig:
    size: int = 32  # height and width of the pictures, 8 or more; halved, and rounded down, to 4 at most
    channels: int = 1
    classes: int = 10
    width: int = 32  # channels of the first layer; they double where the picture is halved
    features: int = 64

    def __post_init__(self) -> None:
        if not (8 <= self.size <= 1024 and 0 < self.channels <= 64 and 1 < self.classes <= 100_000):
            raise ValueError(f"sizes out of range: {self}")
        if not (0 < self.width <= 1024 and 0 < self.features <= 4096):
            raise ValueError(f"sizes out of range: {self}")


class Classifier(SavedModel):
    """image: (batch, channel, height, width), within -1 and 1 -> logits (batch, class)."""

    CONFIG, FORMAT = ClassifierConfig, "seqgan.image.classifier/1"

    def __init__(self, config: ClassifierConfig = ClassifierConfig()):
        super().__init__()
        self.config = config
        layers, before, after, size = [], config.channels, config.width, config.size
        while size > 4:
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
            before, after, size = after, min(2 * after, 512), size // 2
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(before * size**2, config.features)
        )
        self.output = nn.Linear(config.features, config.classes)

    def features(self, image: Tensor) -> Tensor:
        """(batch, features)"""
        return F.relu(self.layers(image))

    def forward(self, image: Tensor) -> Tensor:
        return self.output(self.features(image))


def classification(classifier: Classifier, optimizer: torch.optim.Optimizer) -> Phase:
    """Likelihood of the labels; a batch has "image" and "label"."""

    def loss(turn: Turn) -> dict[str, Tensor]:
        logits = classifier(turn.batch["image"])
        turn.log("accuracy", (logits.argmax(1) == turn.batch["label"]).float().mean())
        return {"cross_entropy": F.cross_entropy(logits, turn.batch["label"])}

    return Phase("classifier", [classifier], optimizer, loss)


def check_labels(images: Images) -> ClassifierConfig:
    """Of the classifier of their labels; ValueError where there can be none, or too few pictures to compare with."""
    if images.labels is None:
        raise ValueError("a classifier learns from labels, and these images have none")
    kinds = len(images.labels.unique())
    if len(images) < 4 or kinds < 2:
        raise ValueError(f"4 pictures or more of 2 labels or more are judged by, not {len(images)} of {kinds}")
    _, channels, size, _ = images.pixels.shape
    return ClassifierConfig(size, channels, int(images.labels.max()) + 1)


def train_classifier(images: Images, run: str | Path, steps: int = 500, batch: int = 64, seed: int = 0) -> Classifier:
    """A classifier of the images' labels, in evaluation mode. `run` is gone on with, or loaded if it is finished."""
    config = check_labels(images)
    torch.manual_seed(seed)
    classifier = Classifier(config)
    phase = classification(classifier, torch.optim.Adam(classifier.parameters(), 1e-3))
    fit([phase], Stream(images, batch, seed=seed), steps, run, stage="classifier", seed=seed)
    return classifier.eval().requires_grad_(False)


@torch.no_grad()
def in_parts(network: Features, pixels: Tensor, rows: int = 256) -> Tensor:
    """What a network says of any number of pictures (number, channel, height, width), uint8, a few at a time."""
    return torch.cat([network(to_range(part)) for part in pixels.split(rows)])


def compare(features: Features, real: Tensor, fake: Tensor) -> dict[str, float]:
    """Distances and coverage of generated pictures against real ones, both (number, channel, height, width), uint8. Of
    where there are more, the first count, as many as of the others. Lower distances are better, and for the rest 1 is
    best: see `seqgan.coverage`. Density and coverage are by 3 neighbours, as precision and recall are; Naeem et al.
    2020 take 5, which gives other numbers."""
    number = min(len(real), len(fake))
    left, right = in_parts(features, real[:number]), in_parts(features, fake[:number])
    found = precision_recall(left, right)
    return {
        "frechet": frechet_distance(left, right),
        "kernel": kernel_distance(left, right),
        "precision": found.precision,
        "recall": found.recall,
        "density": found.density,
        "coverage": found.coverage,
    }


def score(classifier: Classifier, images: Images, real: Tensor, fake: Tensor) -> dict[str, float]:
    """How many of the images' labels the classifier sees in generated pictures and how unevenly (KL, nats), and what
    `compare` says of them and real ones."""
    labels = in_parts(classifier, fake).argmax(1).cpu()
    found = label_modes(labels, classifier.config.classes, images.labels)
    return {"modes": found.captured, "kl": found.kl} | compare(classifier.features, real, fake)


def psnr(target: Tensor, picture: Tensor) -> Tensor:
    """Peak signal-to-noise ratio, dB: of each pair of pictures (number, channel, height, width), uint8, a number; of
    equal ones infinity."""
    if target.shape != picture.shape:
        raise ValueError(f"pictures are compared in pairs, not {tuple(target.shape)} with {tuple(picture.shape)}")
    error = (target.float() - picture.float()).square().flatten(1).mean(1)
    return 10 * torch.log10(255**2 / error)


def ssim(target: Tensor, picture: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004, "Image quality assessment: From error visibility to structural
    similarity", with its Gaussian window of 11 and deviation 1.5): of each pair of pictures (number, channel, height,
    width), uint8, a number; 1 is best. By torchmetrics, a part of `seqgan[train]`."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    found = structural_similarity_index_measure(picture.float(), target.float(), data_range=255.0, reduction="none")
    return found.reshape(len(target))
