"""Sequences as decisions: the policy gradient (Williams 1992, REINFORCE; Sutton et al. 2000).

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

from .value import advantages, targets, within


def returns(rewards: Tensor, discount: float = 1.0, mask: Tensor | None = None) -> Tensor:
    """Reward-to-go G_t = r_t + discount * G_(t+1): what a choice can still answer for. (batch, time)"""
    rewards = within(rewards, mask)
    total, found = torch.zeros_like(rewards[:, 0]), []
    for t in reversed(range(rewards.shape[1])):
        total = rewards[:, t] + discount * total
        found.append(total)
    return torch.stack(found[::-1], 1)


def reinforce(log_probabilities: Tensor, advantages: Tensor, mask: Tensor | None = None) -> Tensor:
    """Its gradient is the estimated policy gradient with the sign turned. Summed over time, mean of the batch."""
    if log_probabilities.shape != advantages.shape:
        raise ValueError(
            f"log-probabilities {tuple(log_probabilities.shape)} and advantages {tuple(advantages.shape)} are both "
            "to be (batch, time)"
        )
    # Masked before they are multiplied: behind the product NaN would come back in the gradient.
    return -(within(log_probabilities, mask) * within(advantages.detach(), mask)).sum(1).mean()


def all_choices(logits: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """The policy gradient where the value of every choice is known, not only of the one that was made: the expectation
    over choices is exact and needs no baseline (Asadi et al. 2017, "Mean actor critic", arXiv:1709.00503).

    logits, values: (batch, time, choice). Its gradient has the sign turned; summed over time, mean of the batch.
    """
    if logits.shape != values.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and values {tuple(values.shape)}: both (batch, time, choice)")
    return -within((logits.softmax(-1) * values.detach()).sum(-1), mask).sum(1).mean()


def entropy(logits: Tensor) -> Tensor:
    """Of the choice at every step, nats: (batch, time) of logits (batch, time, vocabulary)."""
    log_probabilities = logits.log_softmax(-1)
    # A choice that is ruled out (logit -inf) adds nothing, and 0 * -inf would be NaN.
    return -(log_probabilities.exp() * log_probabilities.clamp_min(torch.finfo(logits.dtype).min)).sum(-1)


def entropy_bonus(logits: Tensor, weight: float, mask: Tensor | None = None) -> Tensor:
    """A term to minimise that rewards undecided choices (Williams and Peng 1991): summed over time, mean of batch."""
    return -weight * within(entropy(logits), mask).sum(1).mean()


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

    Its start at 0 is corrected as in Adam, so that the second batch is judged by the whole of the first. A step that
    has no past (as all in the first batch) is judged by 0, as without a baseline.
    """

    def __init__(self, decay: float = 0.9):
        self.decay = decay
        self.total, self.weight = torch.zeros(1), torch.zeros(1)  # (time,) from the first batch on

    def __call__(self, features: Tensor, returns: Tensor, mask: Tensor | None = None) -> Tensor:
        total, weight = self.total.to(returns), self.weight.to(returns)
        count = torch.full_like(returns[0], len(returns)) if mask is None else mask.sum(0).to(returns)
        mean = within(returns.detach(), mask).sum(0) / count.clamp_min(1)
        known = (count > 0) & mean.isfinite()  # a batch that is not finite is skipped, and leaves no trace here either
        mean, keep = mean.where(known, 0), torch.where(known, self.decay, 1.0)
        self.total, self.weight = keep * total + (1 - keep) * mean, keep * weight + (1 - keep)
        return torch.where(weight > 0, total / weight, 0.0).expand_as(returns)

    def loss(self, features: Tensor, returns: Tensor, mask: Tensor | None = None) -> None:
        return None

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total, "weight": self.weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.total, self.weight = state["total"], state["weight"]


class LeaveOneOut(NoBaseline):
    """For every step the mean return of the other sequences of the batch (Kool et al. 2019, "Buy 4 REINFORCE samples,
    get a baseline for free!"). A sequence that is alone at a step is judged by 0, as without a baseline."""

    def __call__(self, features: Tensor, returns: Tensor, mask: Tensor | None = None) -> Tensor:
        returns = within(returns.detach(), mask)
        others = (len(returns) if mask is None else mask.sum(0)) - 1
        others = torch.as_tensor(others, device=returns.device)
        return torch.where(others > 0, (returns.sum(0) - returns) / others.clamp_min(1), 0.0)


class Preceding(LeaveOneOut):
    """Where returns are Q from rollouts, the Q of the choice before: what the situation was worth in which this one was
    made, found without a critic (Kazemnejad et al. 2024, "VinePPO", arXiv:2410.01679). What is left is the choice's own
    merit. The first choices of a batch are judged by each other's."""

    def __call__(self, features: Tensor, returns: Tensor, mask: Tensor | None = None) -> Tensor:
        first = super().__call__(features[:, :1], returns[:, :1], None if mask is None else mask[:, :1])
        return torch.cat([first, returns[:, :-1].detach()], 1)


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
    error = within(values - goals.detach(), mask).square()
    return error.mean() if mask is None else error.sum() / mask.sum().clamp_min(1)


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
