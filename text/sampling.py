"""Sequences out of a language model: drawn from it, exactly and fast, or searched for.

`Sampler` draws the next token of many rows; it is what `seqgan.rollout` asks for. Beside temperature it offers top-k
(Fan et al. 2018), top-p (Holtzman et al. 2020) and masks that rule tokens out by what has been chosen so far.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from seqgan.rollout import State, play, select

from .networks import ROWS, Generator

Mask = Callable[[int, Tensor], Tensor]  # step, chosen (rows, step) -> bool (rows, vocabulary), true where allowed
LEAST = 1e-3  # temperature; below, nothing but the likeliest is drawn, and float32 runs out of digits
BLOCK = 100  # tokens; about the root of the vocabulary makes both searches short


@dataclass(frozen=True)
class Sampling:
    """How a distribution is changed before it is drawn from."""

    temperature: float = 1.0  # logits are divided by it: below 1 the likely becomes likelier
    top_k: int | None = None  # only the k likeliest tokens
    top_p: float | None = None  # only the likeliest ones that together have this probability

    def __post_init__(self) -> None:
        if not LEAST <= self.temperature < math.inf:
            raise ValueError(f"the temperature is {LEAST} or more, not {self.temperature}; top_k=1 is without chance")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top-k counts from 1, not {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top-p lies above 0 and not above 1, it is {self.top_p}")

    def __call__(self, logits: Tensor) -> Tensor:
        """logits: (rows, vocabulary) -> the same, changed"""
        if self.temperature != 1:
            logits = logits / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[1]:
            least = logits.topk(self.top_k, 1).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        if self.top_p is not None and self.top_p < 1:
            ordered, places = logits.sort(1, descending=True)
            probabilities = ordered.softmax(1)
            over = probabilities.cumsum(1) - probabilities >= self.top_p  # the likeliest token always stays
            ruled_out = over.scatter(1, places, over)
            logits = logits.masked_fill(ruled_out, -torch.inf)
        return logits


class Sampler:
    """Chooses the next token of every row, exactly with its probability.

    logits: features (rows, width) -> (rows, vocabulary). What is ruled out (by `mask`, by `sampling`, by a logit of
    -inf) is never drawn.

    torch.multinomial makes a random number for every token of the vocabulary, which at 5,000 takes ten times as long
    as the network. Here the inverse of the distribution function is looked up in two steps, a block of tokens by the
    sums of the blocks and then a token within it, so that two random numbers do. Even exp takes longer than the
    network, and is replaced by a line between powers of 2, which is up to 6 % too high; what was drawn is therefore
    kept only with the probability of exp over the line (von Neumann's rejection), and one row in thirty draws again.
    Rows are taken a few at a time, since the logits of 20,000 would be 400 MB.
    """

    def __init__(
        self,
        logits: Callable[[Tensor], Tensor],
        generator: torch.Generator | None = None,
        sampling: Sampling = Sampling(),
        mask: Mask | None = None,
    ):
        self.logits, self.generator, self.sampling, self.mask = logits, generator, sampling, mask

    @torch.no_grad()
    def __call__(self, features: Tensor, chosen: Tensor) -> Tensor:
        """features: (rows, width), chosen: (rows, step) -> (rows,)"""
        allowed = None if self.mask is None else self.mask(chosen.shape[1], chosen)
        waiting = torch.arange(len(features), device=features.device)
        tokens = torch.empty_like(waiting)
        while len(waiting):
            drawn, kept = self.propose(features[waiting], None if allowed is None else allowed[waiting])
            tokens[waiting] = drawn  # those that are not kept are drawn again
            waiting = waiting[~kept]
        return tokens

    def propose(self, features: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
        """A token for each row, and whether it may be kept; both (rows,)."""
        uniform = torch.rand(len(features), 3, generator=self.generator, device=features.device)
        size = 2 * ROWS if features.device.type == "cpu" else len(features)
        found = []
        for begin in range(0, len(features), size):
            part = slice(begin, begin + size)
            logits = self.logits(features[part]).float()
            if allowed is not None:
                logits = rule_out(logits, allowed[part])
            logits = self.sampling(logits)
            highest = logits.amax(1, keepdim=True)
            found.append((highest, *choose_block(powers(logits, highest), uniform[part, :1])))
        highest, block, inside = (torch.cat(parts) for parts in zip(*found, strict=True))
        if not highest.isfinite().all():
            raise ValueError("the logits to choose by are not finite")
        place = first_above(inside.view(torch.float32), uniform[:, 1:2])
        # A float's bits are its exponent and, in the lower 23, how far it is to the next power of 2.
        drawn = inside.gather(1, place)[:, 0]
        fraction = (drawn & (2**23 - 1)) / 2**23
        # A token of no weight could come up where running sums are not added in order, as on a GPU.
        return (block + place)[:, 0], (drawn > 0) & (uniform[:, 2] < fraction.exp2() / (1 + fraction))


def powers(logits: Tensor, highest: Tensor) -> Tensor:
    """exp(logits - highest), with lines between the powers of 2: (rows, vocabulary) int32, the bits of float32.

    The bits of a float, read as a whole number, are about 2^23 times its logarithm (Schraudolph 1999).
    """
    nat = 2**23 / math.log(2)
    bits = torch.add(127 * 2**23 - highest * nat, logits, alpha=nat)  # 127 is the exponent of 1
    bits.clamp_min_(0)  # below 1e-38, and where ruled out
    return bits.view(torch.int32).copy_(bits)  # in its own place, which is nearest


def choose_block(bits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """The first token (rows, 1) of a block of BLOCK tokens, drawn by its sum, and the block's bits (rows, BLOCK)."""
    vocabulary = bits.shape[1]
    whole, weights = vocabulary // BLOCK * BLOCK, bits.view(torch.float32)
    sums = weights[:, :whole].view(len(bits), -1, BLOCK).sum(2)
    if whole < vocabulary:
        sums = torch.cat([sums, weights[:, whole:].sum(1, keepdim=True)], 1)
    first = first_above(sums, uniform) * BLOCK
    tokens = first + torch.arange(BLOCK, device=bits.device)
    inside = bits.gather(1, tokens.clamp_max(vocabulary - 1))
    return first, inside if whole == vocabulary else torch.where(tokens < vocabulary, inside, 0)


def first_above(weights: Tensor, uniform: Tensor) -> Tensor:
    """The first place where the running sum exceeds uniform * total; as uniform < 1 there is one: (rows, 1)"""
    sums = weights.cumsum(1)
    return (sums <= uniform * sums[:, -1:]).sum(1, keepdim=True)


def rule_out(logits: Tensor, allowed: Tensor) -> Tensor:
    """Logits with -inf where a token is not allowed; ValueError if a row has none that is."""
    if not allowed.any(-1).all():
        raise ValueError("the mask leaves no token to choose")
    return logits.masked_fill(~allowed, -torch.inf)


@torch.no_grad()
def sample(
    model: Generator,
    count: int,
    length: int,
    *,
    generator: torch.Generator | None = None,
    sampling: Sampling = Sampling(),
    mask: Mask | None = None,
    batch: int = 2048,
) -> Tensor:
    """`count` sequences from the start token on: (count, length), made `batch` at a time."""
    sampler = Sampler(model.logits, generator, sampling, mask)
    parts = [
        play(model, model.start(min(batch, count - begin)), length, sampler, keep=False).tokens
        for begin in range(0, count, batch)
    ]
    return torch.cat(parts)


@torch.no_grad()
def beam_search(
    model: Generator,
    prompt: Tensor,
    length: int,
    width: int,
    *,
    mask: Mask | None = None,
    end: int | None = None,
    state: State | None = None,
) -> tuple[Tensor, Tensor]:
    """The likeliest continuations found with `width` candidates at each step, the best first.

    prompt: (batch, prompt time) -> tokens (batch, width, length) and their log-probabilities (batch, width), nats. A
    sequence that has chosen `end` stays as it is, filled up with `end`. Where fewer than `width` sequences are allowed,
    the rest have the log-probability -inf.
    """
    batch = len(prompt)
    features, state = model(prompt, state)
    every = torch.arange(batch, device=prompt.device).repeat_interleave(width)
    state, features = select(state, every), features[every, -1]
    chosen = prompt[every, :0]
    # All candidates begin alike; only the first of each may go on, or the beam would hold copies.
    scores = torch.full((batch, width), -torch.inf, device=prompt.device)
    scores[:, 0] = 0.0
    ended = torch.zeros(len(every), dtype=torch.bool, device=prompt.device)
    for step in range(length):
        logits = model.logits(features).float()
        if mask is not None:
            over = ended | scores.view(-1).isneginf()  # what the mask says of these does not count
            logits = rule_out(logits, mask(step, chosen) | over[:, None])
        log_probabilities = logits.log_softmax(1)
        vocabulary = log_probabilities.shape[1]
        log_probabilities[ended] = -torch.inf
        if end is not None:
            log_probabilities[ended, end] = 0.0
        totals = (scores.view(-1, 1) + log_probabilities).view(batch, width * vocabulary)
        scores, places = totals.topk(width, 1)
        origin = (places // vocabulary + torch.arange(batch, device=prompt.device)[:, None] * width).flatten()
        chosen = torch.cat([chosen[origin], (places % vocabulary).view(-1, 1)], 1)
        if end is not None:
            ended = chosen[:, -1] == end
        if step < length - 1:
            features, state = model(chosen[:, -1:], select(state, origin))
            features = features[:, 0]
    return chosen.view(batch, width, length), scores
