"""Rollouts of a policy so plain that everything it does is known: its state is what it has read."""

import itertools

import pytest
import torch
from torch import nn

from seqgan.rollout import follow, join, play, rollout_values, rollouts, select

TOKENS, TIME, BATCH, COUNT = 3, 4, 5, 7


def reader(tokens, state=None):
    """Features are (how many tokens were read, their sum with weights 1, 2, ...): any slip in a state would show."""
    read, total = state if state is not None else (torch.zeros(len(tokens)), torch.zeros(len(tokens)))
    features = []
    for token in tokens.T:
        read = read + 1
        total = total + read * token
        features.append(torch.stack([read, total], 1))
    return torch.stack(features, 1), (read, total)


def choose(features, chosen):
    """A token that depends on all that was read, without chance."""
    return (features[:, 1] * 7 % TOKENS).long()


class Chance:
    """Tokens with probabilities that depend on the features."""

    def __init__(self, seed=0):
        self.random = torch.Generator().manual_seed(seed)

    def __call__(self, features, chosen):
        return torch.multinomial(probabilities(features), 1, generator=self.random)[:, 0]


def probabilities(features):
    """(rows, 2) -> (rows, TOKENS)"""
    return (features @ torch.tensor([[0.2, -0.1, 0.3], [0.5, 0.1, -0.2]]) * 0.5).softmax(1)


def start(batch=BATCH):
    return torch.arange(batch)[:, None] % TOKENS


def test_play_is_reading_from_the_beginning():
    seen = []

    def sample(features, chosen):
        seen.append(chosen)
        return choose(features, chosen)

    path = play(reader, start(), TIME, sample)
    assert path.tokens.shape == (BATCH, TIME) and path.features.shape == (BATCH, TIME, 2)
    whole = torch.cat([start(), path.tokens], 1)
    features, _ = reader(whole)
    torch.testing.assert_close(path.features, features[:, :-1])
    for t in range(TIME):
        assert torch.equal(path.tokens[:, t], choose(features[:, t], None))
        assert torch.equal(seen[t], path.tokens[:, :t])
        again, _ = reader(path.tokens[:, t:], path.states[t])
        torch.testing.assert_close(again, features[:, t + 1 :])


def test_states_need_not_be_kept():
    path, slim = (play(reader, start(), TIME, choose, keep=keep) for keep in (True, False))
    assert torch.equal(slim.tokens, path.tokens) and len(path.states) == TIME and not slim.states


def test_a_longer_prompt_and_an_earlier_state_are_gone_on_from():
    prompt = torch.randint(TOKENS, (BATCH, 4), generator=torch.Generator().manual_seed(0))
    whole = play(reader, prompt, TIME, choose)
    _, state = reader(prompt[:, :2])
    assert torch.equal(play(reader, prompt[:, 2:], TIME, choose, state).tokens, whole.tokens)


def test_follow_gives_the_path_of_given_tokens():
    tokens = torch.randint(TOKENS, (BATCH, TIME), generator=torch.Generator().manual_seed(0))
    path = follow(reader, start(), tokens)
    assert torch.equal(path.tokens, tokens)
    torch.testing.assert_close(path.features, reader(torch.cat([start(), tokens], 1))[0][:, :-1])
    assert len(path.states) == TIME


def test_states_are_selected_and_joined_by_rows():
    state = (torch.tensor([1, 2, 3]), torch.tensor([[4], [5], [6]]))
    both = join(select(state, torch.tensor([2, 0, 0])), state)
    assert both[0].tolist() == [3, 1, 1, 1, 2, 3] and both[1].flatten().tolist() == [6, 4, 4, 4, 5, 6]


def test_rollouts_keep_their_prefix_and_go_on_as_from_the_start():
    """Without chance a continuation is known: that of the same prefix read as a prompt."""
    tokens = torch.randint(TOKENS, (BATCH, TIME), generator=torch.Generator().manual_seed(1))
    found = rollouts(reader, follow(reader, start(), tokens), choose, COUNT)
    assert found.shape == (TIME - 1, COUNT, BATCH, TIME)
    for length in range(1, TIME):
        prefix = tokens[:, :length]
        expected = play(reader, torch.cat([start(), prefix], 1), TIME - length, choose).tokens
        for copy in found[length - 1]:
            assert torch.equal(copy[:, :length], prefix)
            assert torch.equal(copy[:, length:], expected)


def test_rows_in_the_sampler_belong_to_the_sequences_in_turn():
    tokens = torch.arange(BATCH)[:, None].expand(BATCH, TIME)
    steps = []

    def sample(features, chosen):
        steps.append(chosen.shape)
        assert torch.equal(chosen[:, 0], torch.arange(BATCH).repeat(len(chosen) // BATCH))
        return chosen[:, 0]

    found = rollouts(reader, follow(reader, start(), tokens), sample, COUNT)
    assert torch.equal(found, tokens.expand(TIME - 1, COUNT, BATCH, TIME))
    assert steps == [(BATCH * COUNT * step, step) for step in range(1, TIME)], "nothing is read or drawn twice"


def test_continuations_are_distributed_as_sequences_read_from_the_start():
    """Chi-square of the continuations of every prefix against their exact probabilities."""
    count, tokens = 4000, torch.tensor([[1, 2, 0, 1], [0, 0, 2, 2]])
    found = rollouts(reader, follow(reader, start(2), tokens), Chance(), count)
    for length in range(1, TIME):
        endings = torch.tensor(list(itertools.product(range(TOKENS), repeat=TIME - length)))
        for row in range(2):
            prefix = tokens[row, :length].expand(len(endings), -1)
            whole = torch.cat([start(2)[row].expand(len(endings), 1), prefix, endings], 1)
            features = reader(whole)[0][:, length:-1]
            chosen = probabilities(features.flatten(0, 1)).view(len(endings), TIME - length, TOKENS)
            expected = chosen.gather(2, endings[:, :, None]).prod(1)[:, 0] * count
            observed = found[length - 1, :, row, length:]
            numbers = (observed * TOKENS ** torch.arange(TIME - length).flip(0)).sum(1)
            observed = torch.bincount(numbers, minlength=len(endings))
            freedom = len(endings) - 1
            chi_square = ((observed - expected) ** 2 / expected).sum().item()
            assert chi_square < freedom + 5 * (2 * freedom) ** 0.5, (length, row)


def sequences(seed=3):
    return torch.randint(TOKENS, (BATCH, TIME), generator=torch.Generator().manual_seed(seed))


def test_a_reward_of_the_first_token_is_every_steps_own():
    """It stays with its sequence whatever follows: Q[b, t] is the reward of b, at all t."""
    tokens = torch.arange(BATCH)[:, None].expand(BATCH, TIME)
    found = rollout_values(reader, follow(reader, start(), tokens), Chance(), COUNT, lambda rows: rows[:, 0].float())
    assert torch.equal(found, tokens.float())


def test_a_reward_that_counts_one_token_never_mixes_samples_and_steps():
    """Continued by 0 for ever, a sequence has as many 1s as its prefix: Q[b, t] is their running count.

    TextGAN-PyTorch, issue 62: there (rollouts * time, batch) is viewed as (batch, time, rollouts).
    """
    tokens, zero = sequences(), lambda features, chosen: torch.zeros(len(features), dtype=torch.int64)
    found = rollout_values(
        reader, follow(reader, start(), tokens), zero, COUNT, lambda rows: (rows == 1).sum(1).float()
    )
    assert torch.equal(found, (tokens == 1).cumsum(1).float())


def test_a_reward_that_equals_the_length_of_the_prefix_grows_by_one_a_step():
    tokens = torch.ones(BATCH, TIME, dtype=torch.int64)
    path = follow(reader, start(), tokens)
    two = lambda features, chosen: torch.full((len(features),), 2)  # noqa: E731
    found = rollout_values(reader, path, two, COUNT, lambda rows: (rows == 1).sum(1).float())
    assert torch.equal(found, torch.arange(1.0, TIME + 1).expand(BATCH, TIME))


def test_q_is_the_mean_over_the_rollouts():
    """The n-th copy of every prefix is continued by n, and the reward is the last token."""

    def copies(features, chosen):
        return torch.arange(len(features)) // BATCH % COUNT

    found = rollout_values(
        reader, follow(reader, start(), sequences()), copies, COUNT, lambda rows: rows[:, -1].float()
    )
    assert torch.equal(found[:, :-1], torch.full((BATCH, TIME - 1), (COUNT - 1) / 2))
    assert torch.equal(found[:, -1], sequences()[:, -1].float()), "the last choice answers for its own sequence"


def test_q_comes_to_the_exact_expectation():
    tokens, weights = sequences()[:2], torch.tensor([1.0, -2.0, 0.5, 3.0])

    def reward(rows):
        return (rows * weights).sum(1)

    found = rollout_values(reader, follow(reader, start(2), tokens), Chance(), 20_000, reward)
    for row, t in itertools.product(range(2), range(TIME)):
        endings = torch.tensor(list(itertools.product(range(TOKENS), repeat=TIME - t - 1)))
        prefix = torch.cat([start(2)[row], tokens[row, : t + 1]]).expand(len(endings), -1)
        whole = torch.cat([prefix, endings], 1)
        features = reader(whole)[0][:, t + 1 : -1]
        chosen = probabilities(features.flatten(0, 1)).view(len(endings), TIME - t - 1, TOKENS)
        chance = chosen.gather(2, endings[:, :, None]).prod(1)[:, 0]
        assert found[row, t].item() == pytest.approx((chance * reward(whole[:, 1:])).sum().item(), abs=0.1)


def test_one_token_needs_no_rollout():
    path = follow(reader, start(), sequences()[:, :1])
    found = rollout_values(
        reader, path, lambda *_: pytest.fail("nothing to continue"), 4, lambda rows: rows[:, 0] * 2.0
    )
    assert torch.equal(found, path.tokens * 2.0)


def test_nothing_of_it_has_a_graph():
    layer = nn.Linear(2, 2)

    def policy(tokens, state=None):
        features, state = reader(tokens, state)
        return layer(features), state

    path = play(policy, start(), TIME, choose)
    found = rollout_values(policy, path, choose, 2, lambda rows: layer(rows[:, :2].float())[:, 0])
    assert not path.features.requires_grad and not found.requires_grad
