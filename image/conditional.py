"""Pictures on demand: of a label (Mirza and Osindero 2014, "Conditional generative adversarial nets"; AC-GAN of Odena
et al. 2017; the projection of Miyato and Koyama 2018, "cGANs with projection discriminator"), or of a caption (Reed et
al. 2016, "Generative adversarial text to image synthesis", with its mismatched pairs).

A condition is a label (batch,), or of a caption the share of every known word in it (batch, words); of tags, each is a
word ("blue hair").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgan.checkpoint import SavedModel, find_weights
from seqgan.objectives import NonSaturating
from seqgan.training import Phase, Turn

from . import networks
from .augmentation import augment
from .captions import encode, separate_tags, split_words
from .gan import Drawer, draw
from .networks import NetworkConfig, Norm

Judge = Literal["concatenation", "auxiliary", "projection"]
Own = TypeVar("Own", bound="Drawer")


@dataclass(frozen=True)
class ConditionalConfig:
    """classes: how many labels; or words: those that captions are made of."""

    size: int = 32  # height and width, 4 times a power of 2
    channels: int = 1
    latent: int = 100
    width: int = 64  # channels at the picture's side
    classes: int = 0
    words: tuple[str, ...] = ()
    condition: int = 128  # numbers that a label or a caption becomes
    judge: Judge = "projection"  # how the discriminator hears of the condition
    discriminator_norm: Norm = "batch"
    tags: bool = False  # whether captions are tags with commas between them, and each of the words is a tag

    def __post_init__(self) -> None:
        if (self.classes > 0) == bool(self.words):
            raise ValueError("a condition is one of several labels, or words: give either classes or words")
        if not (self.classes <= 100_000 and 0 < self.condition <= 4096):
            raise ValueError(f"sizes out of range: {self.classes} classes, {self.condition} numbers of a condition")
        if self.judge == "auxiliary" and self.words:
            raise ValueError("an auxiliary classifier is of labels, not of words")
        self.network(0)

    def network(self, condition: int) -> NetworkConfig:
        return NetworkConfig(
            self.size,
            self.channels,
            self.latent + condition,
            self.width,
            discriminator_norm=self.discriminator_norm,
        )


def embedding(config: ConditionalConfig, width: int) -> nn.Module:
    """condition -> (batch, width): of a label its vector, of a caption the average of its words'."""
    if not config.words:
        return nn.Embedding(config.classes, width)
    average = nn.Linear(len(config.words), width, bias=False)
    nn.init.normal_(average.weight)  # as embeddings begin: smaller ones would drown beside z
    return average


class Generator(SavedModel):
    """z: (batch, latent) and a condition -> image: (batch, channel, height, width), within -1 and 1."""

    CONFIG, FORMAT = ConditionalConfig, "seqgan.image.conditional_generator/1"

    def __init__(self, config: ConditionalConfig):
        super().__init__()
        self.config = config
        self.embedding = embedding(config, config.condition)
        self.network = networks.Generator(config.network(config.condition))

    def noise(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """z: (count, latent)"""
        device = next(self.parameters()).device
        return torch.randn(count, self.config.latent, generator=generator, device=device)

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:
        return self.network(torch.cat([z, self.embedding(condition)], 1))


class Discriminator(SavedModel):
    """image and a condition -> scores (batch,); an auxiliary one also tells the label, by `score_and_classify`.

    By concatenation the condition is laid over the last map of features at each of its 4 x 4 places, and both go
    through one more convolution (Reed et al. 2016); by projection its product with the features is added to the score.
    """

    CONFIG, FORMAT = ConditionalConfig, "seqgan.image.conditional_discriminator/1"

    def __init__(self, config: ConditionalConfig):
        super().__init__()
        self.config = config
        self.network = networks.Discriminator(config.network(0))
        maps = self.network.config.widths[0]
        if config.judge == "concatenation":
            self.embedding = embedding(config, config.condition)
            self.mix = nn.Conv2d(maps + config.condition, maps, 1)
        elif config.judge == "projection":
            self.embedding = embedding(config, self.network.config.features)
        else:
            self.classifier = nn.Linear(self.network.config.features, config.classes)

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        if self.config.judge == "concatenation":
            features = self.network.layers(image)
            over = self.embedding(condition)[:, :, None, None].expand(-1, -1, *features.shape[2:])
            return self.network.score(F.leaky_relu(self.mix(torch.cat([features, over], 1)), 0.2).flatten(1))
        features = self.network.features(image)
        score = self.network.score(features)
        if self.config.judge == "projection":
            # Of as many numbers as there are the product would be much larger than the score.
            score = score + (features * self.embedding(condition)).sum(1) / features.shape[1] ** 0.5
        return score

    def score_and_classify(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Of an auxiliary one: scores (batch,) and logits (batch, class), both from the same features."""
        features = self.network.features(image)
        return self.network.score(features), self.classifier(features)


def phases(
    generator: Generator,
    discriminator: Discriminator,
    optimizers: list[torch.optim.Optimizer],
    mismatched: bool = True,
    auxiliary: float = 1.0,
    own_labels: float = 1.0,
    variety: float = 0.0,
    bound: float = 0.3,
    augmented: bool = False,
) -> list[Phase]:
    """The two moves; optimizers: of generator, discriminator. A batch has "image" and its condition, "label".

    mismatched: real pictures with conditions of other ones count as fakes as well, as much as the generated ones do
    (GAN-CLS, Reed et al. 2016, algorithm 1). auxiliary: weight of the likelihood of labels, of real and generated
    pictures for the discriminator, of generated ones for the generator (AC-GAN, Odena et al. 2017). own_labels: weight,
    in the former, of generated pictures: the paper's is 1, by which what the generator mistakes for a label becomes one
    in the discriminator's eyes, too. variety: weight of `variation` up to `bound`, which the generator maximises on a
    quarter of the batch: where the data has but one or two pictures of a condition, the game alone does not keep it
    from ignoring z (Yang et al. 2019, equation 2). augmented: the discriminator sees all pictures as
    `seqgan.image.augmentation` changes them.
    """
    objective, judge = NonSaturating(), discriminator.config.judge
    mismatched = mismatched and judge != "auxiliary"

    def fakes(turn: Turn) -> Tensor:
        if "fake" not in turn.share:
            label = turn.batch["label"]
            again = label[: -(-len(label) // 4)] if variety else label[:0]
            z = generator.noise(len(label) + len(again), turn.generator)
            # In one batch, so that its normalisation makes no difference between the two of a condition.
            fake, other = generator(z, torch.cat([label, again])).split([len(label), len(again)])
            turn.share["fake"] = fake
            if variety:
                turn.share["variation"] = variation(fake[: len(again)], other, z[: len(again)], z[len(label) :])
        return turn.share["fake"]

    def shown(image: Tensor, turn: Turn) -> Tensor:
        return augment(image, turn.generator) if augmented else image

    def judged(image: Tensor, label: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The scores, and of an auxiliary classifier how unlikely it finds the labels."""
        if judge != "auxiliary":
            return discriminator(image, label), []
        scores, logits = discriminator.score_and_classify(image)
        return scores, [F.cross_entropy(logits, label)]

    def discriminator_loss(turn: Turn) -> dict[str, Tensor]:
        label, fake = turn.batch["label"], shown(fakes(turn).detach(), turn)
        image = shown(turn.batch["image"], turn)
        (real, unlikely), (generated, unlikely_fakes) = judged(image, label), judged(fake, label)
        turn.log("real", real.mean())
        turn.log("fake", generated.mean())
        terms = {"game": objective.discriminator(real, generated)}
        if mismatched:
            shifted = label.roll(1, 0)
            # Where the neighbour has the same condition, its picture is a right one.
            differs = (label != shifted).flatten(1).any(1) if label.dim() > 1 else label != shifted
            other = discriminator(image, shifted)[differs]
            if len(other):
                turn.log("mismatched", other.mean())
                terms = {"game": 0.5 * terms["game"], "condition": 0.5 * objective.discriminator(real, other)}
        if unlikely:
            terms["label"] = auxiliary * (unlikely[0] + own_labels * unlikely_fakes[0])
        return terms

    def generator_loss(turn: Turn) -> dict[str, Tensor]:
        label, fake = turn.batch["label"], shown(fakes(turn), turn)
        scores, unlikely = judged(fake, label)
        terms = {"game": objective.generator(scores)}
        if unlikely:
            terms["label"] = auxiliary * unlikely[0]
        if variety:
            turn.log("variation", turn.share["variation"].mean())
            terms["variety"] = -variety * turn.share["variation"].clamp_max(bound).mean()
        return terms

    return [
        Phase("discriminator", [discriminator], optimizers[1], discriminator_loss),
        Phase("generator", [generator], optimizers[0], generator_loss),
    ]


def variation(one: Tensor, other: Tensor, z: Tensor, other_z: Tensor) -> Tensor:
    """How far apart the pictures of one condition are for how far apart their z are: mean absolute differences of both,
    divided; (batch, ...) -> (batch,). Yang et al. 2019, "Diversity-sensitive conditional generative adversarial
    networks", equation 2."""
    return (one - other).abs().flatten(1).mean(1) / (z - other_z).abs().flatten(1).mean(1)


class Conditional(Drawer):
    """What the two that are told what to draw share."""

    NAME = ""  # of the bundled model

    def __init__(self, generator: Generator, device: str | torch.device = "cpu"):
        self.check(generator)
        super().__init__(generator, device)

    def check(self, generator: Generator) -> None:
        """ValueError where it draws something else."""

    @classmethod
    def from_pretrained(
        cls: type[Own], name_or_path: str | Path | None = None, device: str | torch.device = "cpu"
    ) -> Own:
        """The bundled model, a .safetensors file, or a folder that `save_pretrained` wrote."""
        name = cls.NAME if name_or_path is None else name_or_path
        return cls(Generator.load(find_weights(name, "seqgan.image")), device)


class TextToImage(Conditional):
    """Draws what a caption says.

    pictures = TextToImage.from_pretrained()("red heart", count=8, seed=1)
    """

    NAME = "text-to-image"

    def check(self, generator: Generator) -> None:
        if not generator.config.words:
            raise ValueError("this generator draws labels, not captions")

    def split(self, caption: str) -> list[str]:
        """The words of a caption, or its tags, which need no commas between them where the model knows them."""
        config = self.generator.config
        return separate_tags(caption, config.words) if config.tags else split_words(caption)

    def unknown(self, caption: str) -> list[str]:
        """The words, or tags, of a caption that the model has never seen and does not heed."""
        return [word for word in dict.fromkeys(self.split(caption)) if word not in self.generator.config.words]

    def __call__(self, caption: str, count: int = 1, seed: int | None = None) -> Tensor:
        """(count, channel, height, width), uint8; the same seed gives the same ones. ValueError for an empty caption
        or a count below 1."""
        words = self.split(caption)
        if not words:
            raise ValueError(f"a caption has words, not {caption!r}")
        if count < 1:
            raise ValueError(f"a count of pictures is 1 or more, not {count}")
        config = self.generator.config
        condition = encode([", ".join(words)], config.words, config.tags).expand(count, -1)
        return draw(self.generator, count, seed, condition).cpu()


class LabelToImage(Conditional):
    """Draws labels: the bundled model, digits.

    pictures = LabelToImage.from_pretrained()([2, 0, 2, 6], seed=1)
    """

    NAME = "digits"

    def check(self, generator: Generator) -> None:
        if not generator.config.classes:
            raise ValueError("this generator draws captions, not labels")

    def __call__(self, labels: Sequence[int], seed: int | None = None) -> Tensor:
        """(labels, channel, height, width), uint8; the same seed gives the same ones. ValueError for no label, or one
        that the model does not know."""
        classes = self.generator.config.classes
        wrong = [label for label in labels if not 0 <= label < classes]
        if wrong or not len(labels):
            raise ValueError(f"labels are from 0 to {classes - 1}, not {wrong[0] if wrong else 'none'}")
        return draw(self.generator, len(labels), seed, torch.tensor(labels)).cpu()
