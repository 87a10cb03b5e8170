"""The policy gradient against its exact value, on problems small enough to go through every sequence."""

import itertools
import math

import pytest
import torch
from torch import nn

from seqgan.policy import (
    LearnedValue,
    LeaveOneOut,
    MovingAverage,
    NoBaseline,
    Preceding,
    actor_critic,
    all_choices,
    entropy,
    entropy_bonus,
    reinforce,
    returns,
    squared_error,
)  # fmt: skip
from seqgan.value import advantages, targets

TOKENS, TIME = 3, 3
SEQUENCES = torch.tensor(list(itertools.product(range(TOKENS), repeat=TIME)))  # (27, time)


class Table(nn.Module):
    """A policy with logits of its own for every prefix."""

    def __init__(self, seed=0):
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.logits = nn.ParameterList(
            torch.randn(*[TOKENS] * (t + 1), dtype=torch.float64, generator=rng) for t in range(TIME)
        )

    def forward(self, tokens):
        """tokens: (batch, time) -> log-probabilities of each: (batch, time)"""
        return torch.stack(
            [self.logits[t].log_softmax(-1)[tuple(tokens[:, : t + 1].unbind(1))] for t in range(TIME)], 1
        )


def gradients(policy, loss):
    return torch.autograd.grad(loss, list(policy.parameters()))


def expected_gradients(policy, judged):
    """Of `reinforce`, over all sequences with their probabilities; judged: (27, time)."""
    log_probabilities = policy(SEQUENCES)
    weights = log_probabilities.detach().sum(1).exp()
    losses = [reinforce(log_probabilities[i : i + 1], judged[i : i + 1]) for i in range(len(SEQUENCES))]
    return gradients(policy, sum(weight * loss for weight, loss in zip(weights, losses, strict=True)))


def exact_gradients(policy, rewards):
    """Of minus the expected sum of rewards, by enumeration."""
    return gradients(policy, -(policy(SEQUENCES).sum(1).exp() * rewards.sum(1)).sum())


def prefix_rewards():
    """Rewards (27, time) that depend on the tokens up to each step, as those of an episode do."""
    table = [torch.randn([TOKENS] * (t + 1), dtype=torch.float64, generator=torch.Generator().manual_seed(t))
             for t in range(TIME)]  # fmt: skip
    return torch.stack([table[t][tuple(SEQUENCES[:, : t + 1].unbind(1))] for t in range(TIME)], 1)


def state_values(policy, rewards):
    """V of the situation before each token of each sequence, exactly: (27, time)."""
    weights, togo = policy(SEQUENCES).detach().sum(1).exp(), returns(rewards)
    values = torch.zeros_like(togo)
    for t in range(TIME):
        for i, sequence in enumerate(SEQUENCES):
            same = (SEQUENCES[:, :t] == sequence[:t]).all(1)
            values[i, t] = (weights[same] * togo[same, t]).sum() / weights[same].sum()
    return values


def test_returns_are_what_is_still_to_come():
    rewards = torch.tensor([[1.0, 2.0, 4.0], [1.0, 2.0, torch.nan]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    assert returns(rewards[:1]).tolist() == [[7, 6, 4]]
    assert returns(rewards, 0.5, mask).tolist() == [[3, 4, 4], [2, 2, 0]]


def test_the_expected_estimate_is_the_gradient_of_the_expected_reward():
    policy, rewards = Table(), prefix_rewards()
    for judged in (returns(rewards), rewards.sum(1, keepdim=True).expand(-1, TIME)):
        for found, exact in zip(expected_gradients(policy, judged), exact_gradients(policy, rewards), strict=True):
            torch.testing.assert_close(found, exact)


def test_a_reward_at_a_step_is_no_merit_of_later_ones():
    """So that the test above can fail: rewards without the sum of those to come give another gradient."""
    policy, rewards = Table(), prefix_rewards()
    pairs = list(zip(expected_gradients(policy, rewards), exact_gradients(policy, rewards), strict=True))
    assert not all(torch.allclose(found, exact) for found, exact in pairs)


@pytest.mark.parametrize("critic", ["any value", "exact value"])
def test_what_does_not_depend_on_the_choice_may_be_subtracted(critic):
    policy, rewards = Table(), prefix_rewards()
    values = state_values(policy, rewards)
    if critic == "any value":  # of the same prefixes, but wrong
        values = values.sin() * 10 + 3
    judged = returns(rewards) - values
    for found, exact in zip(expected_gradients(policy, judged), exact_gradients(policy, rewards), strict=True):
        torch.testing.assert_close(found, exact)


@pytest.mark.parametrize("trace", [0.0, 0.7, 1.0])
def test_an_actor_with_the_exact_critic_climbs_the_exact_gradient(trace):
    """With V exact the TD error's mean is the advantage (Sutton et al. 2000), so every trace gives the gradient."""
    policy, rewards = Table(), prefix_rewards()
    values = state_values(policy, rewards)
    log_probabilities = policy(SEQUENCES)
    weights = log_probabilities.detach().sum(1).exp()
    losses = [
        actor_critic(log_probabilities[i : i + 1], values[i : i + 1], rewards[i : i + 1], trace=trace)["policy"]
        for i in range(len(SEQUENCES))
    ]
    found = gradients(policy, sum(weight * loss for weight, loss in zip(weights, losses, strict=True)))
    for one, exact in zip(found, exact_gradients(policy, rewards), strict=True):
        torch.testing.assert_close(one, exact)


def test_the_exact_values_of_all_choices_give_the_exact_gradient():
    policy, rewards = Table(), prefix_rewards()
    weights, togo = policy(SEQUENCES).detach().sum(1).exp(), returns(rewards)
    loss = 0
    for t in range(TIME):
        prefixes = SEQUENCES[:, :t]
        values = torch.zeros(len(SEQUENCES), 1, TOKENS, dtype=torch.float64)
        for i, prefix in enumerate(prefixes):
            for choice in range(TOKENS):
                same = (prefixes == prefix).all(1) & (SEQUENCES[:, t] == choice)
                values[i, 0, choice] = (weights[same] * togo[same, t]).sum() / weights[same].sum()
        logits = policy.logits[t][tuple(prefixes.unbind(1))].expand(len(SEQUENCES), TOKENS)[:, None]
        values += torch.randn(len(SEQUENCES), 1, 1, dtype=torch.float64)  # of a situation: it makes no difference
        for i, weight in enumerate(weights):
            loss = loss + weight * all_choices(logits[i : i + 1], values[i : i + 1])
    for found, exact in zip(gradients(policy, loss), exact_gradients(policy, rewards), strict=True):
        torch.testing.assert_close(found, exact)


def test_the_baseline_lessens_the_variance():
    policy, rewards = Table(), prefix_rewards() + 10
    weights = policy(SEQUENCES).detach().sum(1).exp()

    def spread(judged):
        found = [
            torch.cat([g.flatten() for g in gradients(policy, reinforce(policy(SEQUENCES[[i]]), judged[[i]]))])
            for i in range(len(SEQUENCES))
        ]
        mean = sum(w * g for w, g in zip(weights, found, strict=True))
        return sum(w * (g - mean).square().sum() for w, g in zip(weights, found, strict=True))

    assert spread(returns(rewards) - state_values(policy, rewards)) < 0.1 * spread(returns(rewards))


def test_masked_steps_have_no_gradient():
    log_probabilities = torch.full((2, 3), -1.0, requires_grad=True)
    judged = torch.tensor([[1.0, 2.0, 3.0], [4.0, torch.nan, torch.inf]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    loss = reinforce(log_probabilities, judged, mask)
    assert loss.item() == (6 + 4) / 2
    loss.backward()
    assert log_probabilities.grad.tolist() == [[-0.5, -1, -1.5], [-2, 0, 0]]


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match="logits"):
        all_choices(torch.zeros(2, 3, 4), torch.zeros(2, 3, 1))
    with pytest.raises(ValueError, match="batch, time"):
        reinforce(torch.zeros(3, 2), torch.zeros(3, 1))


def test_advantages_have_no_gradient():
    log_probabilities, values = torch.zeros(2, 3, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    actor_critic(log_probabilities, values, torch.ones(2, 3))["policy"].backward()
    assert log_probabilities.grad.abs().sum() > 0 and values.grad is None


def test_the_critic_learns_its_targets_and_no_others():
    rng = torch.Generator().manual_seed(0)
    values, rewards = torch.randn(2, 4, 3, generator=rng)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]])
    values.requires_grad_()
    options = {"discount": 0.9, "trace": 0.5, "last": torch.ones(4)}
    terms = actor_critic(torch.zeros(4, 3), values, rewards, mask, **options)
    (found,) = torch.autograd.grad(terms["value"], values)
    expected = 2 * (values - targets(rewards, values, mask, **options)) * mask / mask.sum()
    torch.testing.assert_close(found, expected.detach())
    assert terms["policy"].item() == pytest.approx(0)
    judged = advantages(rewards, values, mask, **options)
    ones = actor_critic(torch.ones(4, 3), values, rewards, mask, **options)["policy"]
    assert ones.item() == pytest.approx(-judged.sum().item() / 4)


def test_the_actor_is_judged_by_undiscounted_td_errors_unless_told():
    values, rewards = torch.tensor([[0.5, 1.0, 2.0]]), torch.tensor([[1.0, 0.0, 4.0]])
    terms = actor_critic(torch.full((1, 3), -1.0), values, rewards)
    assert terms["policy"].item() == pytest.approx((1 + 1 - 0.5) + (2 - 1) + (4 - 2))


def test_entropy_of_known_distributions():
    logits = torch.tensor([[[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, -torch.inf, -torch.inf], [50.0, 0.0, 0.0, 0.0]]])
    assert entropy(logits)[0].tolist() == pytest.approx([math.log(4), math.log(2), 0], abs=1e-6)


def test_gradient_of_the_entropy_bonus():
    """d(-w H)/d logit_i = w p_i (log p_i + H), and none for what is ruled out or masked."""
    logits = torch.tensor([[[1.0, -1.0, 0.5, -torch.inf], [2.0, 0.0, 0.0, 0.0]]], requires_grad=True)
    mask = torch.tensor([[True, False]])
    (found,) = torch.autograd.grad(entropy_bonus(logits, 0.3, mask), logits)
    p = logits[0, 0, :3].softmax(0)
    expected = 0.3 * p * (p.log() - (p * p.log()).sum())
    torch.testing.assert_close(found[0, 0, :3], expected.detach())
    assert found[0, 0, 3] == 0 and (found[0, 1] == 0).all()
    assert entropy_bonus(logits, 0.3, mask).item() == pytest.approx(0.3 * (p * p.log()).sum().item())


def test_no_baseline_is_0():
    baseline = NoBaseline()
    assert baseline(torch.zeros(2, 3, 1), torch.ones(2, 3)).tolist() == [[0] * 3] * 2
    assert baseline.loss(torch.zeros(2, 3, 1), torch.ones(2, 3)) is None


def test_the_moving_average_judges_by_the_past_alone():
    baseline = MovingAverage(decay=0.5)
    features = torch.zeros(2, 2, 1)
    first, second, third = torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([[5.0, 5], [9, 9]]), torch.zeros(2, 2)
    assert baseline(features, first).tolist() == [[0, 0], [0, 0]]
    assert baseline(features, second).tolist() == [[2, 3], [2, 3]], "the mean of the first, not halved"
    expected = [(0.25 * 2 + 0.5 * 7) / 0.75, (0.25 * 3 + 0.5 * 7) / 0.75]
    again = MovingAverage(decay=0.5)
    again.load_state_dict(baseline.state_dict())
    for one in (baseline, again):
        torch.testing.assert_close(one(features, third), torch.tensor([expected, expected]))


def test_the_moving_average_leaves_out_what_is_masked():
    baseline, features = MovingAverage(decay=0.5), torch.zeros(2, 2, 1)
    baseline(features, torch.tensor([[4.0, 8.0], [6.0, torch.nan]]), torch.tensor([[1, 1], [1, 0]]))
    nobody = torch.tensor([[1, 0], [1, 0]])
    assert baseline(features, torch.tensor([[5.0, torch.nan]] * 2), nobody)[0].tolist() == [5, 8]
    assert baseline(features, torch.zeros(2, 2))[0].tolist() == [5, 8], "a step that nobody reached keeps its average"


def test_a_learned_value_learns_and_leaves_the_policy_alone():
    torch.manual_seed(0)
    features = torch.randn(64, 3, 2, requires_grad=True)
    truth = features.detach().sum(2)
    value = LearnedValue(2)
    optimizer = torch.optim.Adam(value.parameters(), 0.01)
    first = value.loss(features, truth).item()
    for _ in range(200):
        optimizer.zero_grad()
        value.loss(features, truth).backward()
        optimizer.step()
    assert value.loss(features, truth).item() < 0.05 * first
    assert features.grad is None
    judged = value(features, truth)
    assert judged.shape == (64, 3) and not judged.requires_grad


def test_squared_error_is_a_mean_over_what_there_was():
    values, goals = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, torch.nan]])
    assert squared_error(values, goals, torch.tensor([[1, 0]])).item() == 1
    assert squared_error(values, torch.tensor([[0.0, 0.0]])).item() == 2.5
    values.requires_grad_()
    squared_error(values, goals, torch.tensor([[1, 0]])).backward()
    assert values.grad.tolist() == [[2, 0]]


def test_leave_one_out():
    gains, mask = torch.tensor([[1.0, 2.0], [4.0, 9.0], [7.0, 5.0]]), torch.tensor([[1, 1], [1, 0], [1, 0]]).bool()
    features, baseline = torch.zeros(3, 2, 1), LeaveOneOut()
    assert baseline(features, gains).tolist() == [[5.5, 7.0], [4.0, 3.5], [2.5, 5.5]]
    assert baseline(features, gains, mask).tolist()[0] == [5.5, 0.0], "alone at a step: judged by 0"
    assert baseline(features[:1], gains[:1]).tolist() == [[0.0, 0.0]]


def test_preceding_judges_a_choice_by_what_its_situation_was_worth():
    q, features = torch.tensor([[1.0, 2.0, 8.0], [4.0, 9.0, 3.0]]), torch.zeros(2, 3, 1)
    baseline = Preceding()
    assert baseline(features, q).tolist() == [[4, 1, 2], [1, 4, 9]]
    assert baseline(features, q, torch.ones(2, 3).bool()).tolist() == baseline(features, q).tolist()


def test_preceding_leaves_the_gradient_and_takes_its_noise():
    """Ten fair coins are rewarded by the number of heads: to each throw the other nine are noise."""
    coins, count = 10, 4000
    torch.manual_seed(0)
    chosen = torch.randint(2, (count, coins)).float()
    q = chosen.cumsum(1) + (coins - 1 - torch.arange(coins)) / 2  # exact, as of endless rollouts
    merit = 2 * chosen - 1  # twice the derivative of a throw's log-probability, so that the gradient is 1/2
    gradients = {kind: (q - kind()(torch.zeros(count, coins, 1), q)) * merit for kind in (LeaveOneOut, Preceding)}
    for found in gradients.values():
        assert (found.mean(0) - 0.5).abs().max() < 0.1, "unbiased"
    noise = {kind: found.var(0).mean() for kind, found in gradients.items()}
    assert noise[Preceding] < 0.25 * noise[LeaveOneOut]


def test_a_batch_that_is_not_finite_leaves_the_average_as_it_was():
    baseline, features = MovingAverage(decay=0.5), torch.zeros(2, 2, 1)
    baseline(features, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    baseline(features, torch.tensor([[torch.nan, 6.0], [1.0, 6.0]]))
    judged = baseline(features, torch.zeros(2, 2))
    assert judged[0].tolist() == pytest.approx([2.0, (0.25 * 3 + 0.5 * 6) / 0.75])
