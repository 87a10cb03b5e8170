"""Judges of whole sequences: real or generated? Convolutions (Kim 2014, with the highway of Srivastava et al. 2015, as
in SeqGAN), recurrence (Cho et al. 2014, GRU, read both ways) and attention (Vaswani et al. 2017).

Each takes tokens (batch, time) and gives a raw score (batch,). Padding is a token like any other to them: real and
generated sequences are to be padded in the same way.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from seqgan.checkpoint import SavedModel

from .networks import Generator


class Discriminator(SavedModel):
    """What all have in common: scores of many sequences."""

    @torch.no_grad()
    def score(self, tokens: Tensor, rows: int = 256) -> Tensor:
        """The scores of any number of sequences, a few at a time, in evaluation mode."""
        training = self.training
        self.eval()
        try:
            return torch.cat([self(part) for part in tokens.split(rows)])
        finally:
            self.train(training)


# Widths in tokens and numbers of filters, for sequences of 20 (Yu et al. 2017, appendix).
FILTERS_20 = (
    (1, 100), (2, 200), (3, 200), (4, 200), (5, 200), (6, 100), (7, 100), (8, 100), (9, 100), (10, 100), (15, 160),
    (20, 160),
)  # fmt: skip


@dataclass(frozen=True)
class CNNConfig:
    """The defaults are SeqGAN's for sequences of 20 tokens."""

    vocabulary: int = 5000
    embedding: int = 64
    filters: tuple[tuple[int, int], ...] = FILTERS_20
    dropout: float = 0.25
    reach: float = 1.0  # embeddings are uniform up to it at the beginning
    spread: float = 0.1  # standard deviation of the weights at the beginning

    def __post_init__(self) -> None:
        object.__setattr__(self, "filters", tuple(tuple(pair) for pair in self.filters))  # files have lists


class CNNDiscriminator(Discriminator):
    """Filters of several widths, the maximum of each over the sequence, one highway layer, dropout, a score."""

    CONFIG, FORMAT = CNNConfig, "seqgan.text.cnn/1"

    def __init__(self, config: CNNConfig = CNNConfig()):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.embedding)
        self.filters = nn.ModuleList(nn.Linear(width * config.embedding, count) for width, count in config.filters)
        total = sum(count for _, count in config.filters)
        self.highway = nn.Linear(total, 2 * total)  # of each feature a gate and what goes through it
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(total, 1)
        nn.init.uniform_(self.embedding.weight, -config.reach, config.reach)
        for layer in [*self.filters, self.output]:
            nn.init.trunc_normal_(layer.weight, std=config.spread, a=-2 * config.spread, b=2 * config.spread)
            nn.init.constant_(layer.bias, 0.1)
        # The gates begin nearly shut (sigmoid of -2): features pass as they are, as in the authors' program.
        nn.init.normal_(self.highway.weight, std=total**-0.5)
        nn.init.zeros_(self.highway.bias)
        nn.init.constant_(self.highway.bias[:total], -2.0)

    def features(self, tokens: Tensor) -> Tensor:
        """tokens: (batch, time) -> (batch, filters in all); ValueError if they are shorter than the widest filter."""
        widest = max(width for width, _ in self.config.filters)
        if tokens.shape[1] < widest:
            raise ValueError(f"sequences of {tokens.shape[1]} tokens are shorter than the widest filter, {widest}")
        x, found = self.embedding(tokens), []
        for (width, _), layer in zip(self.config.filters, self.filters, strict=True):
            # One matrix product over all windows: on a CPU faster than conv1d, half as long with its backward pass.
            windows = x.unfold(1, width, 1).transpose(2, 3).flatten(2)  # (batch, place, width * embedding)
            found.append(F.linear(windows, layer.weight).amax(1) + layer.bias)
        pooled = F.relu(torch.cat(found, 1))
        gate, through = self.highway(pooled).chunk(2, 1)
        gate = gate.sigmoid()
        return gate * F.relu(through) + (1 - gate) * pooled

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (batch, time) -> (batch,)"""
        return self.output(self.dropout(self.features(tokens)))[:, 0]


@dataclass(frozen=True)
class RecurrentConfig:
    vocabulary: int = 5000
    embedding: int = 64
    hidden: int = 64
    layers: int = 1
    dropout: float = 0.25


class RecurrentDiscriminator(Discriminator):
    """A GRU in both directions; the score is of its states' average and maximum over the sequence."""

    CONFIG, FORMAT = RecurrentConfig, "seqgan.text.recurrent/1"

    def __init__(self, config: RecurrentConfig = RecurrentConfig()):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.embedding)
        self.gru = nn.GRU(config.embedding, config.hidden, config.layers, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(4 * config.hidden, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (batch, time) -> (batch,)"""
        states, _ = self.gru(self.dropout(self.embedding(tokens)))
        return self.output(self.dropout(torch.cat([states.mean(1), states.amax(1)], 1)))[:, 0]


@dataclass(frozen=True)
class StepwiseConfig:
    vocabulary: int = 5000
    embedding: int = 64
    hidden: int = 128
    layers: int = 1
    dropout: float = 0.25


class StepwiseDiscriminator(Discriminator):
    """A score for every prefix: a GRU that reads forwards (d'Autume et al. 2019, "Training language GANs from scratch",
    section 4.2). A policy gradient then has a reward for every token, and needs no rollouts."""

    CONFIG, FORMAT = StepwiseConfig, "seqgan.text.stepwise/1"
    reads_titles = True  # what stands before a poem, see `seqgan.text.poem_game`

    def __init__(self, config: StepwiseConfig = StepwiseConfig()):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.embedding)
        self.gru = nn.GRU(config.embedding, config.hidden, config.layers, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (batch, time) -> the score of each token after those before it, (batch, time)"""
        states, _ = self.gru(self.dropout(self.embedding(tokens)))
        return self.output(self.dropout(states))[..., 0]


class ReadingDiscriminator(nn.Module):
    """A score for every prefix, by a copy of a trained generator and one layer on its features.

    It knows the language when it begins; one that begins from nothing must learn it first, from the game alone.
    """

    reads_titles = True

    def __init__(self, generator: Generator, dropout: float = 0.25):
        super().__init__()
        self.reader = copy.deepcopy(generator)
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():
            features, _ = generator(generator.start(1))
        self.output = nn.Linear(features.shape[-1], 1)

    score = Discriminator.score

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (batch, time) -> the score of each token after those before it, (batch, time)"""
        features, _ = self.reader(torch.cat([self.reader.start(len(tokens)), tokens], 1))
        return self.output(self.dropout(features[:, 1:]))[..., 0]


@dataclass(frozen=True)
class AttentiveConfig:
    vocabulary: int = 5000
    width: int = 64
    heads: int = 4
    layers: int = 2
    length: int = 256
    dropout: float = 0.1


class TransformerDiscriminator(Discriminator):
    """Every token attends to every other; the score is of the average over the sequence."""

    CONFIG, FORMAT = AttentiveConfig, "seqgan.text.attentive/1"

    def __init__(self, config: AttentiveConfig = AttentiveConfig()):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.position = nn.Embedding(config.length, config.width)
        layer = nn.TransformerEncoderLayer(
            config.width, config.heads, 4 * config.width, config.dropout, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(config.width)
        self.output = nn.Linear(config.width, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (batch, time) -> (batch,)"""
        time = tokens.shape[1]
        if time > self.config.length:
            raise ValueError(f"a sequence of {time} tokens, but this model reads no more than {self.config.length}")
        x = self.embedding(tokens) + self.position.weight[:time]
        # Only this kernel has a second derivative, which gradient penalties need.
        with sdpa_kernel(SDPBackend.MATH):
            x = self.encoder(x)
        return self.output(self.norm(x).mean(1))[:, 0]
