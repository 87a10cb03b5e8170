"""Language models that generate: a recurrent one (Hochreiter and Schmidhuber 1997, LSTM) and an attentive one (Vaswani
et al. 2017, Transformer, with the normalisation before each layer as in GPT-2).

Both have one interface. `forward` reads tokens from a state on and gives features, `logits` turns features into scores
of the next token; they are apart because rollouts keep features of a path, and logits of 5,000 tokens are the costly
part. A state is a tuple of tensors with the batch in dimension 0, so that rows may be selected, repeated and joined.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgan.checkpoint import SavedModel, read_metadata
from seqgan.rollout import State

ROWS = 64  # whose logits fit in a core's cache


class Generator(SavedModel):
    """What both have in common: the start and the likelihood."""

    def start(self, count: int) -> Tensor:
        """The start token of `count` sequences: (count, 1)"""
        device = next(self.parameters()).device
        return torch.full((count, 1), self.config.start, dtype=torch.int64, device=device)

    def log_probabilities(self, tokens: Tensor) -> Tensor:
        """log p(token | those before it), nats: (batch, time), of sequences (batch, time) without the start token."""
        return likelihood(self, self.read(tokens), tokens)

    def read(self, tokens: Tensor) -> Tensor:
        """features (batch, time, width) from which each of the tokens (batch, time) would be chosen."""
        return self(torch.cat([self.start(len(tokens)), tokens[:, :-1]], 1))[0]


def likelihood(generator: Generator, features: Tensor, tokens: Tensor) -> Tensor:
    """log p of each token (batch, time) under the features (batch, time, width) before it: (batch, time)

    On a CPU a few rows at a time, which is nearly three times as fast.
    """
    rows = ROWS if features.device.type == "cpu" else max(1, tokens.numel())
    parts = zip(features.flatten(0, 1).split(rows), tokens.flatten().split(rows), strict=True)
    found = [F.cross_entropy(generator.logits(part), chosen, reduction="none") for part, chosen in parts]
    return -torch.cat(found).view(tokens.shape)


@contextmanager
def without_dropout(module: nn.Module) -> Iterator[None]:
    """Within, the module computes what it does in evaluation mode, and can still be trained.

    A policy gradient is of the policy that chose. Evaluation mode itself will not do: on a GPU an LSTM then has no
    backward pass.
    """
    dropouts = [(part, part.p) for part in module.modules() if isinstance(part, nn.Dropout)]
    recurrent = [(part, part.dropout) for part in module.modules() if isinstance(part, nn.RNNBase)]
    try:
        for part, _ in dropouts:
            part.p = 0.0
        for part, _ in recurrent:
            part.dropout = 0.0
        yield
    finally:
        for part, rate in dropouts:
            part.p = rate
        for part, rate in recurrent:
            part.dropout = rate


LARGEST = 2**28  # parameters: settings may come with somebody's weights, and more must not be allocated for them


def check_size(config: object, parameters: int) -> None:
    if not 0 < parameters <= LARGEST:
        raise ValueError(f"a generator has 1 to {LARGEST:,} parameters, not {parameters:,}: {config}")


def check_start(config: LSTMConfig | TransformerConfig) -> None:
    if not 0 <= config.start < config.vocabulary:
        raise ValueError(f"the start token {config.start} is none of {config.vocabulary}")


@dataclass(frozen=True)
class LSTMConfig:
    """The defaults are SeqGAN's generator on the synthetic oracle (Yu et al. 2017, section 5)."""

    vocabulary: int = 5000
    embedding: int = 32
    hidden: int = 32
    layers: int = 1
    dropout: float = 0.0  # on embeddings, between layers and on features
    start: int = 0  # the token that every sequence begins after
    spread: float = 0.1  # standard deviation of embeddings and output weights at the beginning

    def __post_init__(self) -> None:
        check_start(self)
        both = self.embedding + self.hidden
        check_size(self, self.vocabulary * both + 4 * self.hidden * (both + (self.layers - 1) * 2 * self.hidden))


class LSTMGenerator(Generator):
    """Embedding, LSTM, output layer. Its state is (h, c), each (batch, layer, hidden)."""

    CONFIG, FORMAT = LSTMConfig, "seqgan.text.lstm/1"

    def __init__(self, config: LSTMConfig = LSTMConfig()):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.embedding)
        between = config.dropout if config.layers > 1 else 0.0  # torch warns of dropout after an only layer
        self.lstm = nn.LSTM(config.embedding, config.hidden, config.layers, batch_first=True, dropout=between)
        self.output = nn.Linear(config.hidden, config.vocabulary)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.normal_(self.embedding.weight, std=config.spread)
        nn.init.normal_(self.output.weight, std=config.spread)
        nn.init.zeros_(self.output.bias)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """tokens: (batch, time) -> features: (batch, time, hidden), and the state after the last token"""
        if state is not None:  # torch's own has the layers first
            state = tuple(part.transpose(0, 1).contiguous() for part in state)
        features, state = self.lstm(self.dropout(self.embedding(tokens)), state)
        return self.dropout(features), tuple(part.transpose(0, 1) for part in state)

    def logits(self, features: Tensor) -> Tensor:
        """features: (..., hidden) -> (..., vocabulary)"""
        return self.output(features)


@dataclass(frozen=True)
class TransformerConfig:
    vocabulary: int = 5000
    width: int = 256
    heads: int = 4
    layers: int = 4
    expansion: int = 4  # of the layers between attention, over the width
    length: int = 256  # the most tokens that it can read, the start token among them
    dropout: float = 0.1
    start: int = 0  # the token that every sequence begins after

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"the width {self.width} cannot be shared out among {self.heads} heads")
        check_start(self)
        a_layer = (4 + 2 * self.expansion) * self.width**2
        check_size(self, (self.vocabulary + self.length) * self.width + self.layers * a_layer)


class Block(nn.Module):
    """Attention to what came before, then two dense layers, each on normalised input and added to it."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        width, inner = config.width, config.expansion * config.width
        self.heads = config.heads
        self.before_attention, self.before_dense = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.dense = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, past: State) -> tuple[Tensor, State]:
        """x: (batch, time, width); past: earlier keys and values, each (batch, head, earlier, width / head)"""
        batch, time, width = x.shape
        parts = self.project(self.before_attention(x)).view(batch, time, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        if past:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        # A token sees itself and all before it; one that is read alone sees all that there is.
        earlier = key.shape[2] - time
        visible = None
        if time > 1 and earlier:
            visible = torch.ones(time, key.shape[2], dtype=torch.bool, device=x.device).tril(earlier)
        seen = F.scaled_dot_product_attention(query, key, value, visible, is_causal=time > 1 and not earlier)
        x = x + self.dropout(self.merge(seen.transpose(1, 2).reshape(batch, time, width)))
        return x + self.dropout(self.dense(self.before_dense(x))), (key, value)


class TransformerGenerator(Generator):
    """Learnt positions, blocks, and an output layer that shares its weights with the embedding.

    Its state is the keys and values of every layer: (key, value, key, value, ...), each (batch, head, time, width).
    """

    CONFIG, FORMAT = TransformerConfig, "seqgan.text.transformer/1"

    def __init__(self, config: TransformerConfig = TransformerConfig()):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.position = nn.Embedding(config.length, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                # What is added to the stream is made smaller, for it is added twice in every layer (GPT-2).
                adds = name.endswith(("merge.weight", "dense.2.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * config.layers) if adds else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """tokens: (batch, time) -> features: (batch, time, width), and the state after the last token"""
        earlier = state[0].shape[2] if state else 0
        end = earlier + tokens.shape[1]
        if end > self.config.length:
            raise ValueError(f"a sequence of {end} tokens, but this model reads no more than {self.config.length}")
        x = self.dropout(self.embedding(tokens) + self.position.weight[earlier:end])
        after: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            x, pair = block(x, state[2 * i : 2 * i + 2] if state else ())
            after += pair
        return self.norm(x), tuple(after)

    def logits(self, features: Tensor) -> Tensor:
        """features: (..., width) -> (..., vocabulary)"""
        return F.linear(features, self.embedding.weight)


GENERATORS: Sequence[type[Generator]] = (LSTMGenerator, TransformerGenerator)


def load_generator(path: str | Path) -> Generator:
    """The generator in a weights file, of whichever kind; ValueError naming the file if it is of none."""
    kind = read_metadata(path).get("format")
    for model in GENERATORS:
        if model.FORMAT == kind:
            return model.load(path)
    raise ValueError(f"{path} is not a generator of sequences (its metadata says {kind})")
