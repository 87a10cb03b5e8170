"""Sequences are sampled, and what each of their prefixes is worth is found by playing on from it (SeqGAN, Yu et al.
2017, equation 4).

A policy is anything that reads tokens and gives features and a state: `policy(tokens (batch, time), state) -> features
(batch, time, width), state`, where state None is the beginning, and any other a tuple of tensors whose first dimension
is the batch (an LSTM's vectors, a Transformer's keys and values). `sample(features (rows, width), chosen (rows, step))
-> (rows,)` chooses the next token of every row, all of which are at the same step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

State = Sequence[Tensor]
Policy = Callable[[Tensor, "State | None"], "tuple[Tensor, State]"]
Sample = Callable[[Tensor, Tensor], Tensor]


def select(state: State, index: Tensor) -> State:
    """The state of some rows of a batch, in the order of `index` (rows,), which may name one several times."""
    return tuple(part[index] for part in state)


def join(*states: State) -> State:
    """Batches of states at the same step as one batch."""
    return tuple(torch.cat(parts) for parts in zip(*states, strict=True))


@dataclass(frozen=True)
class Path:
    """Sampled sequences and all that is needed to play on from any of their prefixes.

    tokens: (batch, time); features: (batch, time, width), from which each token was chosen; states[t] is where the
    policy was when token t was chosen.
    """

    tokens: Tensor
    features: Tensor
    states: list[State]


@torch.no_grad()
def play(
    policy: Policy, prompt: Tensor, length: int, sample: Sample, state: State | None = None, keep: bool = True
) -> Path:
    """Samples `length` tokens after `prompt` (batch, prompt time), which may be no more than the start token.

    keep: whether the path has its states, which of a Transformer grow with the square of the length.
    """
    features, state = policy(prompt, state)
    read, states, chosen = [features[:, -1]], [state] if keep else [], prompt[:, :0]
    for step in range(length):
        token = sample(read[-1], chosen)[:, None]
        chosen = torch.cat([chosen, token], 1)
        if step < length - 1:
            features, state = policy(token, state)
            read.append(features[:, 0])
            states += [state] if keep else []
    return Path(chosen, torch.stack(read, 1), states)


def follow(policy: Policy, prompt: Tensor, tokens: Tensor, state: State | None = None) -> Path:
    """The path of given tokens (batch, time) under a policy that need not be the one that chose them."""
    return play(policy, prompt, tokens.shape[1], lambda features, chosen: tokens[:, chosen.shape[1]], state)


@torch.no_grad()
def rollouts(policy: Policy, path: Path, sample: Sample, count: int) -> Tensor:
    """`count` continuations of every prefix of 1 ... time - 1 tokens: (prefix, count, batch, time).

    All are played in one batch, which grows: at each step the rows under way are joined by those that begin there, from
    the saved states, so that nothing is read twice and all rows are at the same step. Row r of the batch that `sample`
    sees continues sequence r % batch.
    """
    batch, time = path.tokens.shape
    chosen = path.tokens[:0, :1]
    features, state = path.features[:0, 0], None
    every = torch.arange(batch, device=path.tokens.device).repeat(count)
    for step in range(1, time):
        begun = select(path.states[step], every)
        state = begun if state is None else join(state, begun)
        features = torch.cat([features, path.features[every, step]])
        chosen = torch.cat([chosen, path.tokens[every, :step]])
        token = sample(features, chosen)[:, None]
        chosen = torch.cat([chosen, token], 1)
        if step < time - 1:
            features, state = policy(token, state)
            features = features[:, 0]
    return chosen.view(time - 1, count, batch, time)


@torch.no_grad()
def rollout_values(
    policy: Policy, path: Path, sample: Sample, count: int, reward: Callable[[Tensor], Tensor]
) -> Tensor:
    """Q of every token of a path: the mean reward of the sequences that go on from it, (batch, time).

    reward: tokens (rows, time) -> (rows,), of whole sequences. The last token's Q is the reward of the sequence itself.
    """
    batch, time = path.tokens.shape
    ended = reward(path.tokens)[:, None]
    if time == 1:
        return ended
    continued = rollouts(policy, path, sample, count)
    values = reward(continued.flatten(0, 2)).view(time - 1, count, batch).mean(1)
    return torch.cat([values.T, ended], 1)
