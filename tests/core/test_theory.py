"""Why GANs are hard to train, in one dimension, where every distance is known: what trained discriminators estimate."""

import math

import pytest
import torch
from torch import nn

from seqgan.divergences import FDivergence
from seqgan.objectives import Wasserstein
from seqgan.penalties import clip_weights, gradient_penalty


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(mean):
    return lambda count, generator: torch.randn(count, 1, generator=generator) + mean


def interval(begin):
    return lambda count, generator: torch.rand(count, 1, generator=generator) + begin


def estimate(objective, real, fake, *, steps=600, penalty=0.0, one_sided=True, clip=None, rate=3e-3):
    """What a discriminator that has learnt says of fresh samples: the objective's value."""
    torch.manual_seed(0)
    discriminator = nn.Sequential(nn.Linear(1, 64), nn.Softplus(), nn.Linear(64, 64), nn.Softplus(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(discriminator.parameters(), rate, betas=(0.5, 0.9))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, rate / 100)
    generator = random()
    for _ in range(steps):
        x, y = real(512, generator), fake(512, generator)
        loss = objective.discriminator(discriminator(x), discriminator(y))
        if penalty:
            loss = loss + penalty * gradient_penalty(discriminator, x, y, one_sided=one_sided, generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if clip is not None:
            clip_weights([discriminator], clip)
    with torch.no_grad():
        x, y = real(100_000, random(1)), fake(100_000, random(2))
        return -objective.discriminator(discriminator(x), discriminator(y)).item()


def jensen_shannon(shift):
    """Of N(0, 1) and N(shift, 1), nats, by numbers."""
    x = torch.linspace(-12, 12 + shift, 20_001, dtype=torch.float64)
    p, q = (torch.exp(-((x - m) ** 2) / 2) / math.sqrt(2 * math.pi) for m in (0, shift))
    middle = (p + q) / 2
    terms = [torch.special.xlogy(d, d / middle).nan_to_num().sum() * (x[1] - x[0]) / 2 for d in (p, q)]
    return sum(terms).item()


@pytest.mark.parametrize("shift", [0.5, 2.0])
def test_a_gradient_penalty_estimates_the_distance_and_clipping_falls_short(shift):
    """The Wasserstein-1 distance of N(0, 1) and N(shift, 1) is shift. Under a penalty of weight w the best slope is
    1 + shift / 2 w, so that the estimate is a little too high."""
    found = estimate(Wasserstein(), gaussian(shift), gaussian(0.0), penalty=50)
    assert found == pytest.approx(shift, rel=0.05)
    clipped = estimate(Wasserstein(), gaussian(shift), gaussian(0.0), clip=0.01)
    assert 0 <= clipped < 0.1 * shift


def test_a_penalty_of_both_sides_may_hold_a_critic_on_the_wrong_one():
    """Its slope of -1 is at a minimum of the penalty, and the way to +1 leads over slope 0, where that is highest. This
    critic happens to begin there; the one-sided penalty has no such barrier, and in more dimensions one goes around."""
    both = {side: estimate(Wasserstein(), gaussian(0.5), gaussian(0.0), penalty=10, one_sided=side) for side in (0, 1)}
    assert both[0] == pytest.approx(-0.5, rel=0.1)
    assert both[1] == pytest.approx(0.5 * (1 + 0.5 / 20), rel=0.03)


def test_disjoint_supports_tell_jensen_and_shannon_nothing_of_the_distance():
    """log 2 however far apart, so that a generator is not told which way to go; the Wasserstein distance shrinks."""
    game = FDivergence("jensen-shannon")  # twice the divergence
    for apart in (1.5, 3.0):
        found = estimate(game, interval(apart), interval(0.0)) / 2
        assert found == pytest.approx(math.log(2), rel=0.02)
        assert estimate(Wasserstein(), interval(apart), interval(0.0), penalty=50) == pytest.approx(apart, rel=0.05)


def test_a_stronger_generator_is_nearer_to_a_trained_discriminator():
    """Its estimate is of the divergence at that moment: it falls as the generator learns, unlike the game's losses."""
    found = [estimate(FDivergence("jensen-shannon"), gaussian(shift), gaussian(0.0)) / 2 for shift in (3.0, 1.0, 0.3)]
    assert found == sorted(found, reverse=True)
    for value, shift in zip(found, (3.0, 1.0, 0.3), strict=True):
        assert value == pytest.approx(jensen_shannon(shift), rel=0.05, abs=0.003)


@pytest.mark.parametrize(("name", "closed"), [("kl", 0.125), ("squared-hellinger", 2 - 2 * math.exp(-0.25 / 8))])
def test_other_divergences_are_estimated_too(name, closed):
    """Between N(0.5, 1) and N(0, 1): KL is 0.5^2 / 2."""
    assert estimate(FDivergence(name), gaussian(0.5), gaussian(0.0)) == pytest.approx(closed, rel=0.1)
