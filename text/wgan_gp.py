"""WGAN-GP on characters (Gulrajani et al. 2017, "Improved training of Wasserstein GANs", arXiv:1704.00028, "Modeling
discrete data with a continuous generator").

A line of text is a picture of one-hot columns, one for each character. The generator turns a random vector into columns
by a softmax, all at once, and the critic sees those as they are: nothing is sampled, so gradients flow from one to the
other. Since real columns are corners of the simplex and generated ones lie inside, a binary classifier tells them apart
at once and has nothing to teach; the Wasserstein distance still says which way to go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqgan.checkpoint import SavedModel
from seqgan.objectives import Objective
from seqgan.penalties import gradient_penalty
from seqgan.training import Phase, Turn

from .networks import check_size
from .vocabulary import Symbols

FILL = " "  # what a line is filled up with; it is a character like any other


@dataclass(frozen=True)
class WGANConfig:
    """Settings of both networks. The defaults are those of the authors' program."""

    vocabulary: tuple[str, ...]  # the character of each entry of a column
    length: int = 32  # characters of a line
    latent: int = 128  # entries of the random vector
    width: int = 512
    kernel: int = 5  # characters
    blocks: int = 5
    scale: float = 0.3  # of what a block adds

    def __post_init__(self) -> None:
        if not self.vocabulary:
            raise ValueError("a vocabulary has at least one character")
        if self.kernel < 1 or not math.isfinite(self.scale):
            raise ValueError(f"a kernel of {self.kernel} characters, blocks times {self.scale}: out of range")
        Symbols(self.vocabulary)  # raises where these are no characters, or one of them twice
        a_block = 2 * self.kernel * self.width**2
        dense = self.latent * self.length * self.width
        check_size(
            f"width {self.width}, length {self.length}, {self.blocks} blocks",
            dense + self.blocks * a_block + len(self.vocabulary) * self.width,
        )


class CharacterGenerator(SavedModel):
    """A dense layer, residual blocks, a softmax for every character."""

    CONFIG, FORMAT = WGANConfig, "seqgan.text.wgan_gp/1"

    def __init__(self, config: WGANConfig):
        super().__init__()
        self.config = config
        self.dense = nn.Linear(config.latent, config.width * config.length)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.blocks)))
        self.output = nn.Linear(config.width, len(config.vocabulary))
        initialise(self, dense=self.dense.weight)

    def forward(self, z: Tensor) -> Tensor:
        """z: (batch, latent) -> columns: (batch, length, vocabulary)"""
        x = self.blocks(self.dense(z).view(len(z), self.config.width, self.config.length))
        return self.output(x.transpose(1, 2)).softmax(2)

    @torch.no_grad()
    def write(self, count: int, random: torch.Generator | None = None, rows: int = 256) -> list[str]:
        """`count` lines of `length` characters, the likeliest of each column. random: a generator of the CPU."""
        z = torch.randn(count, self.config.latent, generator=random).to(self.dense.weight.device)
        tokens = [row for part in z.split(rows) for row in self(part).argmax(2).tolist()]
        return ["".join(self.config.vocabulary[token] for token in row) for row in tokens]


class Critic(nn.Module):
    """The generator's layers in reverse: columns to one score."""

    def __init__(self, config: WGANConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(len(config.vocabulary), config.width)
        self.bias = nn.Parameter(torch.zeros(config.width))
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.blocks)))
        self.dense = nn.Linear(config.width * config.length, 1)
        initialise(self, dense=self.dense.weight)

    def forward(self, lines: Tensor) -> Tensor:
        """lines: columns (batch, length, vocabulary), or tokens (batch, length) for one-hot columns -> (batch,)"""
        if lines.dim() == 2:
            return self.score(self.embedding(lines))  # the product with one-hot columns would pick out these rows
        return self.score(lines @ self.embedding.weight)

    def score(self, x: Tensor) -> Tensor:
        """x: (batch, length, width), columns times the embedding -> (batch,)"""
        x = self.blocks((x + self.bias).transpose(1, 2))
        return self.dense(x.flatten(1))[:, 0]


class Block(nn.Module):
    """To the input a little of two convolutions is added."""

    def __init__(self, config: WGANConfig):
        super().__init__()
        self.scale = config.scale
        self.first = nn.Conv1d(config.width, config.width, config.kernel, padding="same")
        self.second = nn.Conv1d(config.width, config.width, config.kernel, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, width, length) -> the same shape"""
        return x + self.scale * self.second(rectified(self.first(rectified(x))))


def rectified(x: Tensor) -> Tensor:
    """max(x, 0), as the product with a constant mask.

    The gradient of torch's own relu, differentiated again for the penalty, sends zeros back through the whole network,
    which is a seventh of all work. This one's has nothing to send.
    """
    return x * x.detach().sign().relu()


def initialise(module: nn.Module, dense: Tensor) -> None:
    """As in the authors' program: weights are Glorot's for the dense layer, elsewhere He's; biases are 0."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter, gain=1.0 if parameter is dense else 2**0.5)
        else:
            nn.init.zeros_(parameter)


def encode(lines: Sequence[str], config: WGANConfig) -> Tensor:
    """Lines as tokens (lines, length), filled up with spaces; ValueError for longer ones and unknown characters."""
    tokens = {character: token for token, character in enumerate(config.vocabulary)}
    try:
        rows = [[tokens[character] for character in line.ljust(config.length, FILL)] for line in lines]
    except KeyError as error:
        raise ValueError(f"the vocabulary lacks the character {error}") from error
    if any(len(row) > config.length for row in rows):
        raise ValueError(f"a line of {max(map(len, rows))} characters does not fit into {config.length}")
    return torch.tensor(rows)


def column_penalty(critic: Critic, tokens: Tensor, columns: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """`gradient_penalty` between real one-hot columns, given as tokens (batch, length), and generated ones.

    Of a column only its product with the embedding reaches the score, so the gradient lies in the span of the
    embedding. In an orthonormal basis of that it is as long, and has `width` entries where a column may have 5,000.
    """
    with torch.autocast(columns.device.type, enabled=False):
        weight = critic.embedding.weight
        basis = torch.linalg.qr(weight.detach()).Q  # (vocabulary, width), or fewer columns for a smaller vocabulary
        inner = basis.T @ weight
        return gradient_penalty(
            lambda x: critic.score(x @ inner), basis[tokens], columns.to(weight.dtype) @ basis, generator=generator
        )


def phases(
    generator: CharacterGenerator,
    critic: Critic,
    generator_optimizer: torch.optim.Optimizer,
    critic_optimizer: torch.optim.Optimizer,
    *,
    objective: Objective,
    weight: float = 10.0,
    critic_steps: int = 10,
) -> list[Phase]:
    """The paper's algorithm 1. A batch is tokens (batch, length).

    objective: Wasserstein(). The control, an ordinary classifier of the same columns, is NonSaturating() with weight 0
    and one critic step. weight: of the gradient penalty. critic_steps: the paper's samples took 10, and 5 do, says the
    authors' program.

    Watched are "distance", E D(x) - E D(G(z)), of which the Wasserstein critic estimates the distance of the two
    distributions, and "accuracy", the share of pairs in which the real line has the higher score.
    """

    def imagine(turn: Turn) -> Tensor:
        latent = generator.config.latent
        return generator(torch.randn(len(turn.batch), latent, generator=turn.generator, device=turn.batch.device))

    def critic_loss(turn: Turn) -> dict[str, Tensor]:
        with torch.no_grad():
            columns = imagine(turn)
        real, fake = critic(turn.batch), critic(columns)
        turn.log("distance", real.mean() - fake.mean())
        turn.log("accuracy", (real[:, None] > fake).float().mean())
        terms = {"adversary": objective.discriminator(real, fake)}
        if weight:
            terms["penalty"] = weight * column_penalty(critic, turn.batch, columns, turn.generator)
        return terms

    def generator_loss(turn: Turn) -> dict[str, Tensor]:
        return {"adversary": objective.generator(critic(imagine(turn)))}

    return [
        Phase("critic", [critic], critic_optimizer, critic_loss, repeat=critic_steps),
        Phase("generator", [generator], generator_optimizer, generator_loss),
    ]
