"""Estimates of V where the right answer is known."""

import pytest
import torch

from seqgan.value import advantages, monte_carlo, targets, temporal_difference

A, B, FILL = 0, 1, -7


def eight_episodes():
    """Sutton and Barto, example 6.4: A,0,B,0 once; B,1 six times; B,0 once. -> states, rewards, mask"""
    states = torch.tensor([[A, B], *[[B, FILL]] * 7])
    rewards = torch.tensor([[0.0, 0.0], *[[1.0, torch.nan]] * 6, [0.0, torch.nan]])
    return states, rewards, states != FILL


def random_episodes(seed=0, batch=5, time=6):
    """rewards, values, and a mask of lengths 1 to time, with rubbish where there was no action."""
    rng = torch.Generator().manual_seed(seed)
    rewards, values = torch.randn(2, batch, time, dtype=torch.float64, generator=rng)
    mask = torch.arange(time) < torch.tensor([1, 3, 6, 5, 6])[:, None]
    return rewards.masked_fill(~mask, torch.nan), values.masked_fill(~mask, torch.inf), mask


def discounted(rewards, discount):
    return sum(reward * discount**t for t, reward in enumerate(rewards))


def test_monte_carlo_on_the_eight_episodes():
    assert monte_carlo(*eight_episodes()).tolist() == pytest.approx([0, 3 / 4], abs=1e-9)


def test_temporal_difference_on_the_eight_episodes():
    assert temporal_difference(*eight_episodes()).tolist() == pytest.approx([3 / 4, 3 / 4], abs=1e-9)


def test_between_the_two_lies_lambda():
    """A's target is lambda * 0 + (1 - lambda) * V(B), for the one return after A was 0."""
    for trace in (0.25, 0.5, 0.9):
        found = temporal_difference(*eight_episodes(), trace=trace)
        assert found.tolist() == pytest.approx([(1 - trace) * 3 / 4, 3 / 4], abs=1e-6)


def test_a_state_that_was_never_seen_is_worth_nothing():
    states, rewards = torch.tensor([[0, 2]]), torch.tensor([[1.0, 2.0]])
    assert temporal_difference(states, rewards, discount=0.5).tolist() == pytest.approx([2, 0, 2])


def test_v_of_a_random_walk():
    """Sutton and Barto, example 6.2: from five places in a row, right of them 1: V is 1/6, ..., 5/6."""
    rng = torch.Generator().manual_seed(0)
    episodes, time = 3000, 200
    states = torch.full((episodes, time), FILL)
    rewards = torch.zeros(episodes, time)
    place = torch.full((episodes,), 2)
    for t in range(time):
        alive = (place >= 0) & (place < 5)
        states[alive, t] = place[alive]
        place = place + (2 * torch.randint(2, (episodes,), generator=rng) - 1) * alive
        rewards[:, t] = (alive & (place == 5)).float()
    truth = torch.arange(1, 6) / 6
    for estimate in (monte_carlo, temporal_difference):
        torch.testing.assert_close(
            estimate(states, rewards, states != FILL), truth, atol=0.03, rtol=0, check_dtype=False
        )


def test_values_that_cannot_settle_are_told():
    states = torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match="did not settle"):
        temporal_difference(states.expand(1, 9), torch.ones(1, 9), discount=2.0, sweeps=50)


def test_trace_0_is_the_error_of_the_next_step():
    rewards, values, mask = random_episodes()
    found = advantages(rewards, values, mask, discount=0.9, trace=0.0)
    for row in range(len(rewards)):
        end = int(mask[row].sum())
        for t in range(end):
            following = values[row, t + 1] if t + 1 < end else 0.0
            assert found[row, t].item() == pytest.approx((rewards[row, t] + 0.9 * following - values[row, t]).item())
    assert (found[~mask] == 0).all()


def test_trace_1_is_the_return_less_the_value():
    rewards, values, mask = random_episodes()
    found = advantages(rewards, values, mask, discount=0.9, trace=1.0)
    for row in range(len(rewards)):
        end = int(mask[row].sum())
        for t in range(end):
            expected = discounted(rewards[row, t:end], 0.9) - values[row, t]
            assert found[row, t].item() == pytest.approx(expected.item())
    assert (found[~mask] == 0).all()


def test_between_them_errors_are_summed_with_discount_times_trace():
    """Schulman et al. 2016, equation 16."""
    rewards, values, mask = random_episodes()
    errors = advantages(rewards, values, mask, discount=0.9, trace=0.0)
    found = advantages(rewards, values, mask, discount=0.9, trace=0.8)
    for t in range(rewards.shape[1]):
        expected = sum(errors[:, s] * 0.72 ** (s - t) for s in range(t, rewards.shape[1]))
        torch.testing.assert_close(found[:, t], expected)


def test_where_time_was_cut_off_the_rest_is_estimated():
    rewards, values = torch.zeros(2, 3), torch.zeros(2, 3)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    found = advantages(rewards, values, mask, discount=0.5, trace=1.0, last=torch.tensor([8.0, 8.0]))
    assert found.tolist() == [[1, 2, 4], [0, 0, 0]], "only the first was cut off; the second had ended"


def test_targets_are_advantages_and_values_without_a_graph():
    rewards, values, mask = random_episodes()
    found = targets(rewards, values.requires_grad_(), mask, discount=0.9, trace=0.8)
    expected = advantages(rewards, values, mask, discount=0.9, trace=0.8) + values.detach()
    torch.testing.assert_close(found[mask], expected[mask])
    assert (found[~mask] == 0).all() and not found.requires_grad
