"""What a situation is worth: estimates of V from experience (Sutton and Barto 2018, "Reinforcement learning").

Monte Carlo (chapter 5) waits for the return that followed; temporal differences (chapter 6) trust the estimate of the
next situation instead; lambda (chapter 12) goes from the one (1) to the other (0). Throughout, rewards, values and
mask are (batch, time): rewards[:, t] came for action t, values[:, t] is V of the situation in which it was taken, and
mask is true where an episode had an action.
"""

from __future__ import annotations

import torch
from torch import Tensor


def within(values: Tensor, mask: Tensor | None) -> Tensor:
    """(batch, time) with 0 where the mask is false, whatever stood there, be it not finite."""
    return values if mask is None else torch.where(mask.bool(), values, 0.0)


def advantages(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor | None = None,
    *,
    discount: float = 1.0,
    trace: float = 0.95,
    last: Tensor | None = None,
) -> Tensor:
    """Generalised advantage estimation (Schulman et al. 2016, equation 16): (batch, time), without a graph.

    trace: the paper's lambda. 0 gives the TD error r + discount * V' - V, 1 the return minus V. last: (batch,), V of
    where the time axis was cut off; without it that is the end.
    """
    rewards, values = within(rewards.detach(), mask), within(values.detach(), mask)
    alive = torch.ones_like(rewards) if mask is None else mask.to(rewards.dtype)
    following = torch.zeros_like(rewards[:, 0]) if last is None else last.detach()
    advantage, estimates = torch.zeros_like(following), []
    for t in reversed(range(rewards.shape[1])):
        error = rewards[:, t] + discount * following - values[:, t]
        advantage = alive[:, t] * (error + discount * trace * advantage)
        following = values[:, t]  # 0 beyond an episode's end
        estimates.append(advantage)
    return torch.stack(estimates[::-1], 1)


def targets(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor | None = None,
    *,
    discount: float = 1.0,
    trace: float = 0.95,
    last: Tensor | None = None,
) -> Tensor:
    """The lambda-return (Sutton and Barto, equation 12.3), what a critic should have said: (batch, time), no graph."""
    found = advantages(rewards, values, mask, discount=discount, trace=trace, last=last)
    return found + within(values.detach(), mask)


def monte_carlo(states: Tensor, rewards: Tensor, mask: Tensor | None = None, discount: float = 1.0) -> Tensor:
    """V of every state as the mean of the returns after its visits: (state,)

    states: (episode, time) int64, counted from 0. Of what was seen this has the smallest squared error.
    """
    return temporal_difference(states, rewards, mask, discount=discount, trace=1.0)


def temporal_difference(
    states: Tensor,
    rewards: Tensor,
    mask: Tensor | None = None,
    *,
    discount: float = 1.0,
    trace: float = 0.0,
    tolerance: float = 1e-7,
    sweeps: int = 10_000,
) -> Tensor:
    """V of every state by batch TD(trace): (state,); with trace 0 it is V of the likeliest Markov chain behind it all.

    The episodes are gone through until V no longer changes: each time V becomes the mean of the targets that the old
    V gave, which has the same limit as small steps towards them. states: (episode, time) int64, counted from 0.
    """
    seen = torch.ones_like(states, dtype=torch.bool) if mask is None else mask.bool()
    rewards = rewards.double()
    visits = torch.bincount(states[seen])
    values = rewards.new_zeros(len(visits))
    for _ in range(sweeps):
        own = values[states.clamp(0, len(visits) - 1)]  # what fills up the episodes may be any number
        goals = targets(rewards, own, seen, discount=discount, trace=trace)
        new = torch.zeros_like(values).index_add(0, states[seen], goals[seen]) / visits.clamp_min(1)
        if (new - values).abs().max() < tolerance:
            return new
        values = new
    raise ValueError(f"V did not settle in {sweeps} sweeps; an endless episode needs a discount below 1")
