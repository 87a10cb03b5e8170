"""Sequences as decisions: the policy gradient (Williams 1992, REINFORCE; Sutton et al. 2000, "Policy gradient methods").

A sequence is an episode and each of its tokens an action. Everything here is (batch, time): log_probabilities[:, t] of
the token chosen at t, rewards[:, t] for it, and mask, true where there was a choice (false after a sequence's end). A
reward for the whole sequence stands at its last token. The gradient of the expected return is

    E sum_t  A_t  d log p(y_t | y_<t)

where A_t may be the return from t on, the same minus a baseline that does not depend on y_t, Q of the choice estimated
by rollouts (`seqgan.rollout`, SeqGAN), or what a critic says of it (`actor_critic`).
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .value import advantages, targets


def returns(rewards: Tensor, discount: float = 1.0, mask: Tensor | None = None) -> Tensor:
    """Reward-to-go G_t = r_t + discount * G_(t+1): what a choice can still answer for. (batch, time)"""
    if mask is not None:
        rewards = rewards * mask
    total, found = torch.zeros_like(rewards[:, 0]), []
    for t in reversed(range(rewards.shape[1])):
        total = rewards[:, t] + discount * total
        found.append(total)
    return torch.stack(found[::-1], 1)


def reinforce(log_probabilities: Tensor, advantages: Tensor, mask: Tensor | None = None) -> Tensor:
    """The loss whose gradient is the policy gradient's estimate with the sign turned: summed over time, mean of batch."""
    if log_probabilities.shape != advantages.shape:
        raise ValueError(
            f"log-probabilities {tuple(log_probabilities.shape)} and advantages {tuple(advantages.shape)} are both "
            "to be (batch, time)"
        )
    terms = -log_probabilities * advantages.detach()
    if mask is not None:
        terms = torch.where(mask.bool(), terms, 0.0)
    return terms.sum(1).mean()


def entropy(logits: Tensor) -> Tensor:
    """Of the choice at every step, nats: (batch, time) of logits (batch, time, vocabulary)."""
    log_probabilities = logits.log_softmax(-1)
    # A choice that is ruled out (logit -inf) adds nothing, and 0 * -inf would be NaN.
    return -(log_probabilities.exp() * log_probabilities.clamp_min(torch.finfo(logits.dtype).min)).sum(-1)


def entropy_bonus(logits: Tensor, weight: float, mask: Tensor | None = None) -> Tensor:
    """A term to minimise that rewards undecided choices (Williams and Peng 1991): summed over time, mean of batch."""
    found = entropy(logits)
    return -weight * (found if mask is None else found * mask).sum(1).mean()


class Baseline(Protocol):
    """What is subtracted from returns; none of it may depend on the choice that it judges."""

    def __call__(self, features: Tensor, returns: Tensor, mask: Tensor | None = None) -> Tensor:
        """features: (batch, time, width) before each choice; returns: (batch, time) -> baseline: (batch, time)"""
        ...

    def loss(self, features: Tensor, returns: Tensor, mask: Tensor | None = None) -> Tensor | None:
        """What trains it by gradient, if that is how it learns."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


class NoBaseline:
    """Returns as they are. If all are positive, whatever was sampled becomes likelier, a little or much."""

    def __call__(self, features: Tensor, returns: Tensor, mask: Tensor | None = None) -> Tensor:
        return torch.zeros_like(returns)

    def loss(self, features: Tensor, returns: Tensor, mask: Tensor | None = None) -> None:
        return None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class MovingAverage:
    """For every step the average of its returns over past batches; the present one joins after it has been judged.

    Its start at 0 is corrected as in Adam, so that the second batch is judged by the whole of the first. The first
    batch has no past: it is judged by 0, as without a baseline.
    """

    def __init__(self, decay: float = 0.9):
        self.decay, self.updates = decay, 0
        self.average = torch.zeros(1)

    def __call__(self, features: Tensor, returns: Tensor, mask: Tensor | None = None) -> Tensor:
        self.average = self.average.to(returns)
        bias = 1 - self.decay**self.updates
        baseline = (self.average / bias if self.updates else self.average).expand_as(returns)
        present = torch.ones_like(returns) if mask is None else mask.to(returns.dtype)
        mean = (returns.detach() * present).sum(0) / present.sum(0).clamp_min(1)
        self.average = self.decay * self.average + (1 - self.decay) * mean
        self.updates += 1
        return baseline

    def loss(self, features: Tensor, returns: Tensor, mask: Tensor | None = None) -> None:
        return None

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "average": self.average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates, self.average = state["updates"], state["average"]


class LearnedValue(nn.Module):
    """V of a situation from the policy's features there: a critic, and as a baseline one that is trained on returns."""

    def __init__(self, width: int, hidden: int = 64):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def value(self, features: Tensor) -> Tensor:
        """features: (batch, time, width), which this leaves to the policy to shape -> (batch, time)"""
        return self.layers(features.detach())[..., 0]

    def forward(self, features: Tensor, returns: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.value(features).detach()

    def loss(self, features: Tensor, returns: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mean squared error against the returns, over the steps that there were."""
        return squared_error(self.value(features), returns, mask)


def squared_error(values: Tensor, goals: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over the steps that there were; the goals have no gradient."""
    error = (values - goals.detach()) ** 2
    return error.mean() if mask is None else torch.where(mask.bool(), error, 0.0).sum() / mask.sum().clamp_min(1)


def actor_critic(
    log_probabilities: Tensor,
    values: Tensor,
    rewards: Tensor,
    mask: Tensor | None = None,
    *,
    discount: float = 1.0,
    trace: float = 0.0,
    last: Tensor | None = None,
) -> dict[str, Tensor]:
    """Losses of an actor and its critic (Barto et al. 1983; Schulman et al. 2016): {"policy": ..., "value": ...}.

    values: (batch, time), the critic's V before every choice, with its graph. trace: 0 judges a choice by the TD error,
    1 by the return minus V; the critic learns from the same targets. last: V where episodes were cut off, (batch,).
    """
    options = {"discount": discount, "trace": trace, "last": last}
    return {
        "policy": reinforce(log_probabilities, advantages(rewards, values, mask, **options), mask),
        "value": squared_error(values, targets(rewards, values, mask, **options), mask),
    }
