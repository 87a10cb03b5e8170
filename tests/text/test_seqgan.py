"""SeqGAN's game piece by piece, then whole: it learns, and a run that was stopped ends as the one that was not."""

import math

import numpy as np
import pytest
import torch

from seqgan.checkpoint import latest
from seqgan.policy import LearnedValue, MovingAverage, reinforce
from seqgan.text.discriminators import RecurrentConfig, RecurrentDiscriminator
from seqgan.text.metrics import References
from seqgan.text.sampling import sample
from seqgan.text.seqgan import (
    Lagging,
    Pool,
    RealAndFake,
    bleu,
    by_rollouts,
    constant,
    discriminate,
    policy_gradient,
    realness,
)
from seqgan.training import Stream, fit

from .seqgan_helpers import (
    LENGTH,
    VOCABULARY,
    adam,
    assert_all_close,
    gradients,
    small_discriminator,
    small_generator,
    some_tokens,
    turn,
)

# Rewards


def test_the_constant_reward_is_1_whatever_was_chosen():
    assert constant(some_tokens(), torch.Generator()).tolist() == [[1.0] * LENGTH] * 4


def test_without_rollouts_each_choice_answers_for_its_sequence():
    tokens = some_tokens()
    found = by_rollouts(small_generator(), lambda tokens: tokens[:, -1] * 2.0, 0)(tokens, torch.Generator())
    assert torch.equal(found, tokens[:, -1:].expand(-1, LENGTH) * 2.0)


def test_rollouts_go_on_under_their_own_policy():
    """It always chooses 4, who wrote the tokens did not: Q counts the 4s so far and all that follow."""
    policy = small_generator(dropout=0.9)
    with torch.no_grad():
        policy.output.bias[4] = 100.0
    tokens = some_tokens()
    judge = by_rollouts(policy.train(), lambda tokens: (tokens == 4).sum(1).float(), 3)
    found = judge(tokens, torch.Generator().manual_seed(0))
    expected = (tokens == 4).cumsum(1) + torch.arange(LENGTH - 1, -1, -1)
    assert torch.equal(found, expected.float())


def test_rollouts_are_without_dropout():
    """Tokens, hence values, are the same in training as after it."""

    def values(policy):
        return by_rollouts(policy, lambda tokens: tokens.sum(1).float(), 3)(
            some_tokens(), torch.Generator().manual_seed(0)
        )

    policy = small_generator(dropout=0.5)
    assert torch.equal(values(policy.train()), values(policy.eval()))


def test_realness_is_the_discriminators_probability():
    discriminator = small_discriminator()
    found = realness(discriminator)(some_tokens())
    torch.testing.assert_close(found, discriminator.eval()(some_tokens()).sigmoid().detach())


def test_bleu_of_single_sequences():
    references = References(some_tokens(20, seed=1), 2)
    found = bleu(references)(some_tokens(8))
    assert found.shape == (8,) and found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), references(some_tokens(8))[:, 1], rtol=1e-6)
    torch.testing.assert_close(bleu(references)(some_tokens(20, seed=1)), torch.ones(20))


# The players' turns


def token_4(tokens, random):
    return (tokens == 4).float()


def test_the_generators_gradient_is_that_of_what_it_sampled():
    generator = small_generator(dropout=0.5)
    seen = []

    def judge(tokens, random):
        seen.append(tokens)
        return token_4(tokens, random) + torch.arange(LENGTH)

    now = turn()
    terms = policy_gradient(generator, adam(generator), judge, batch=3, length=LENGTH).loss(now)
    assert terms.keys() == {"policy"} and seen[0].shape == (3, LENGTH)
    found = gradients(generator, terms["policy"])
    generator.eval()  # the policy that chose has no dropout
    values = (seen[0] == 4).float() + torch.arange(LENGTH)
    assert_all_close(found, gradients(generator, reinforce(generator.log_probabilities(seen[0]), values)))
    assert now.watched["reward"].item() == pytest.approx(values.mean().item())


def test_baseline_and_entropy_have_their_part():
    generator, baseline = small_generator(), MovingAverage()
    phase = policy_gradient(
        generator, adam(generator), constant, batch=3, length=LENGTH, baseline=baseline, entropy=0.1
    )
    assert phase.loss(turn())["policy"].item() > 1
    terms = phase.loss(turn())
    assert terms["policy"].item() == pytest.approx(0), "what is always so is no merit"
    assert terms["entropy"].item() == pytest.approx(-0.1 * LENGTH * math.log(VOCABULARY), rel=0.05)


def test_a_learned_value_is_trained_with_the_generator(tmp_path):
    generator, value = small_generator(), LearnedValue(16)
    optimizer = torch.optim.Adam([*generator.parameters(), *value.parameters()], 0.01)
    phase = policy_gradient(generator, optimizer, constant, batch=16, length=LENGTH, baseline=value)
    first = phase.loss(turn())["value"].item()
    fit([phase], None, 60, tmp_path)
    assert phase.loss(turn())["value"].item() < 0.05 * first


@pytest.mark.parametrize("count", [0, 2])
def test_what_is_rewarded_becomes_likelier(tmp_path, count):
    generator = small_generator()
    judge = by_rollouts(generator, lambda tokens: (tokens == 4).float().mean(1), count)
    phase = policy_gradient(generator, adam(generator, 0.03), judge, batch=32, length=LENGTH)
    fit([phase], None, 60, tmp_path)
    tokens = sample(generator, 200, LENGTH, generator=torch.Generator().manual_seed(0))
    assert (tokens == 4).float().mean() > 0.8


def test_the_discriminators_loss():
    discriminator, generator = small_discriminator().eval(), small_generator()
    pool = Pool(generator, 10, LENGTH, renew=5)
    batch = {"real": some_tokens(6), "fake": torch.arange(6)}
    now = turn(batch)
    phase = discriminate(discriminator, adam(discriminator), pool, None, repeat=3, l2=0.05)
    terms = phase.loss(now)
    assert phase.repeat == 3
    real, fake = discriminator(batch["real"]), discriminator(pool.tokens[:6])
    scores, truth = torch.cat([real, fake]), torch.tensor([1.0] * 6 + [0.0] * 6)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(scores, truth)
    torch.testing.assert_close(terms["adversary"], expected)
    output = discriminator.output
    assert terms["l2"].item() == pytest.approx(
        0.05 * (output.weight.square().sum() + output.bias.square().sum()).item()
    )
    assert float(now.watched["accuracy"]) == pytest.approx(((scores > 0) == truth.bool()).float().mean().item())
    recurrent = RecurrentDiscriminator(RecurrentConfig(VOCABULARY))
    assert discriminate(recurrent, adam(recurrent), pool, None).loss(turn(batch)).keys() == {"adversary"}


def test_the_rollout_policy_comes_after_the_generator():
    generator = small_generator()
    lagging = Lagging(generator, keep=0.75)
    before = [parameter.clone() for parameter in generator.parameters()]
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter += 1
    for moved in (0.25, 0.25 + 0.75 * 0.25):
        lagging.update()
        assert_all_close(lagging.parameters(), [parameter + moved for parameter in before])
    assert not any(parameter.requires_grad for parameter in lagging.parameters())
    assert all(name.startswith("model.") for name in lagging.state_dict())
    phase = policy_gradient(generator, adam(generator), constant, batch=3, length=LENGTH, after=lagging.update)
    assert phase.after == lagging.update and Lagging(generator).keep == 0.8


# The whole


def rising(count, seed=0):
    """Sequences whose tokens follow one another: 2 3 4 5 0. Half a page of a language that can be learnt."""
    first = torch.randint(VOCABULARY, (count, 1), generator=torch.Generator().manual_seed(seed))
    return (first + torch.arange(LENGTH)) % VOCABULARY


def share_rising(generator):
    tokens = sample(generator, 500, LENGTH, generator=torch.Generator().manual_seed(0))
    return (tokens.diff(dim=1) % VOCABULARY == 1).float().mean().item()


class Game:
    """SeqGAN with everything that has a state."""

    def __init__(self, seed=0):
        self.generator, self.discriminator = small_generator(seed), small_discriminator(seed)
        self.pool = Pool(self.generator, 200, LENGTH, renew=3)
        self.lagging, self.baseline = Lagging(self.generator), MovingAverage()
        judge = by_rollouts(self.lagging.model, realness(self.discriminator), 4)
        data = Stream(RealAndFake(rising(300), self.pool.size), 32)
        self.phases = [
            policy_gradient(
                self.generator, adam(self.generator, 0.02), judge, batch=16, length=LENGTH, baseline=self.baseline,
                after=self.lagging.update,
            ),
            discriminate(self.discriminator, adam(self.discriminator, 0.005), self.pool, data, repeat=2),
        ]  # fmt: skip

    def fit(self, run, steps):
        state = {"pool": self.pool, "lagging": self.lagging, "baseline": self.baseline}
        fit(self.phases, None, steps, run, state=state, log_every=2)
        return self


def test_seqgan_learns_a_language_from_the_discriminator_alone(tmp_path):
    game = Game()
    before = share_rising(game.generator)
    assert before < 0.3
    game.fit(tmp_path, 150)
    assert share_rising(game.generator) > 0.8


def test_four_steps_are_two_and_two(tmp_path):
    Game().fit(tmp_path / "whole", 4)
    Game().fit(tmp_path / "parts", 2)
    Game(seed=1).fit(tmp_path / "parts", 4)
    whole, parts = (latest(tmp_path / name / "checkpoints", "adversarial")[1] for name in ("whole", "parts"))
    assert whole["state"]["pool"]["used"] == 8 and whole["state"]["baseline"]["weight"].shape == (LENGTH,)
    assert whole["state"]["lagging"].keys() == {f"model.{name}" for name in small_generator().state_dict()}
    flat = [torch.utils._pytree.tree_flatten_with_path(each)[0] for each in (whole, parts)]
    assert len(flat[0]) == len(flat[1]) > 60
    for (place, one), (other_place, other) in zip(*flat, strict=True):
        assert place == other_place
        if "seconds" not in str(place):
            assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other, place
