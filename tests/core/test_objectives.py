"""The objectives against their closed forms, and the defects that GAN libraries are known to ship."""

import math

import pytest
import torch

from seqgan.objectives import (
    BoundaryEquilibrium,
    EnergyBased,
    Hinge,
    LeastSquares,
    LossSensitive,
    Minimax,
    NonSaturating,
    Relativistic,
    RelativisticAverage,
    Wasserstein,
    pulling_away,
    sample_distance,
)

EVERY = [
    Minimax(), NonSaturating(), NonSaturating(smoothing=0.1), LeastSquares(), Wasserstein(), Hinge(), Relativistic(),
    RelativisticAverage(), LossSensitive(),
]  # fmt: skip


def log_sigmoid(score: float) -> float:
    return -math.log1p(math.exp(-score))


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


REAL, FAKE = (2.0, -0.5), (0.3, -1.5)
AVERAGE_REAL, AVERAGE_FAKE = 0.75, -0.6
CLOSED_FORMS = [
    (
        Minimax(),
        -sum(map(log_sigmoid, REAL)) / 2 - sum(log_sigmoid(-f) for f in FAKE) / 2,
        sum(log_sigmoid(-f) for f in FAKE) / 2,
    ),
    (
        NonSaturating(),
        -sum(map(log_sigmoid, REAL)) / 2 - sum(log_sigmoid(-f) for f in FAKE) / 2,
        -sum(map(log_sigmoid, FAKE)) / 2,
    ),
    (
        NonSaturating(smoothing=0.1),
        -sum(0.9 * log_sigmoid(r) + 0.1 * log_sigmoid(-r) for r in REAL) / 2 - sum(log_sigmoid(-f) for f in FAKE) / 2,
        -sum(map(log_sigmoid, FAKE)) / 2,
    ),
    (LossSensitive(), (0 + 0) / 2, -AVERAGE_FAKE),
    (LossSensitive(weight=2), (0 + 0) / 2 - 2 * AVERAGE_REAL, -AVERAGE_FAKE),
    (EnergyBased(margin=1), AVERAGE_REAL + (0.7 + 2.5) / 2, AVERAGE_FAKE),
    (LeastSquares(), (1 + 2.25) / 4 + (0.09 + 2.25) / 4, (0.49 + 6.25) / 4),
    (LeastSquares(-1, 1, 0), (1 + 2.25) / 4 + (1.69 + 0.25) / 4, (0.09 + 2.25) / 4),
    (Wasserstein(), AVERAGE_FAKE - AVERAGE_REAL, -AVERAGE_FAKE),
    (Hinge(), (0 + 1.5) / 2 + (1.3 + 0) / 2, -AVERAGE_FAKE),
    (
        Relativistic(),
        -(log_sigmoid(1.7) + log_sigmoid(1.0)) / 2,
        -(log_sigmoid(-1.7) + log_sigmoid(-1.0)) / 2,
    ),
    (
        RelativisticAverage(),
        -sum(log_sigmoid(r - AVERAGE_FAKE) for r in REAL) / 2 - sum(log_sigmoid(AVERAGE_REAL - f) for f in FAKE) / 2,
        -sum(log_sigmoid(f - AVERAGE_REAL) for f in FAKE) / 2 - sum(log_sigmoid(AVERAGE_FAKE - r) for r in REAL) / 2,
    ),
]


@pytest.mark.parametrize(("objective", "discriminator", "generator"), CLOSED_FORMS, ids=lambda value: str(value)[:24])
def test_closed_form(objective, discriminator, generator):
    real, fake = numbers(*REAL), numbers(*FAKE)
    assert objective.discriminator(real, fake).item() == pytest.approx(discriminator, rel=1e-12)
    assert objective.generator(fake, real).item() == pytest.approx(generator, rel=1e-12)


@pytest.mark.parametrize("objective", EVERY, ids=repr)
@pytest.mark.parametrize("shape", [(6,), (6, 1), (3, 2, 1), (1, 1, 2, 3)])
def test_any_shape_of_scores_gives_the_same_scalar(objective, shape):
    real, fake = torch.linspace(-2, 3, 6), torch.linspace(1, -4, 6)
    for player in (objective.discriminator, lambda r, f: objective.generator(f, r)):
        flat, shaped = player(real, fake), player(real.view(shape), fake.view(shape))
        assert shaped.shape == ()
        torch.testing.assert_close(shaped, flat)


@pytest.mark.parametrize("objective", EVERY, ids=repr)
def test_each_player_pushes_the_scores_its_way(objective):
    """Minimising the losses, the discriminator raises real over fake, the generator the reverse."""
    real, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    objective.discriminator(real, fake).backward()
    assert (fake.grad >= 0).all()
    assert (real.grad < 0).all()
    fake.grad = None
    objective.generator(fake, real).backward()
    assert (fake.grad < 0).all()


def test_the_surest_rejection_keeps_its_gradient():
    """log(sigmoid(x) + 1e-8), as found in the field, has a gradient of -1e-5 at logit -30 instead of -1."""
    fake = torch.tensor([-30.0], requires_grad=True)
    NonSaturating().generator(fake).backward()
    assert fake.grad.item() == pytest.approx(-1, abs=1e-6)
    real = torch.tensor([-30.0], requires_grad=True)
    Minimax().discriminator(real, torch.zeros(1)).backward()
    assert real.grad.item() == pytest.approx(-1, abs=1e-6)


def test_minimax_is_not_the_non_saturating_game():
    """Zero sum: the generator's gradient is minus the discriminator's, and vanishes where it is rejected."""
    fake = torch.tensor([-30.0, 0.0, 2.0], requires_grad=True)
    (theirs,) = torch.autograd.grad(Minimax().discriminator(torch.zeros(3), fake), fake)
    (ours,) = torch.autograd.grad(Minimax().generator(fake), fake)
    torch.testing.assert_close(ours, -theirs)
    assert abs(ours[0].item()) < 1e-12
    (cured,) = torch.autograd.grad(NonSaturating().generator(fake), fake)
    assert cured[0].item() == pytest.approx(-1 / 3)


@pytest.mark.parametrize("objective", EVERY, ids=repr)
def test_gradients_are_those_of_the_losses(objective):
    """No part of a loss is detached that belongs to it, as the averages of the relativistic games do."""
    real, fake = (numbers(*values).requires_grad_() for values in ((2.0, -0.5), (0.4, -1.2)))
    assert torch.autograd.gradcheck(objective.discriminator, (real, fake))
    assert torch.autograd.gradcheck(objective.generator, (fake, real))


@pytest.mark.parametrize("objective", EVERY, ids=repr)
def test_huge_scores_stay_finite(objective):
    real, fake = torch.tensor([-1e4, 1e4]), torch.tensor([1e4, -1e4])
    assert objective.discriminator(real, fake).isfinite()
    assert objective.generator(fake, real).isfinite()


def test_bfloat16_scores_are_averaged_in_float32():
    scores = torch.full((3, 1000), 1.0, dtype=torch.bfloat16)
    scores[0, 0] = 2.0
    loss = Wasserstein().generator(scores)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(-3001 / 3000, rel=1e-6)


@pytest.mark.parametrize("objective", [Relativistic(), RelativisticAverage()], ids=repr)
def test_relativistic_generator_needs_real_scores(objective):
    with pytest.raises(ValueError, match="real"):
        objective.generator(torch.zeros(3))


def test_relativistic_pairs_must_have_one_shape():
    with pytest.raises(ValueError, match="in pairs"):
        Relativistic().discriminator(torch.zeros(3, 1), torch.zeros(3))


def test_the_margin_of_a_pair_is_its_distance():
    """Qi 2017, equation 6, by hand: pairs 1 and 0.1 apart whose scores differ by 0.5."""
    real, fake, distance = numbers(1.0, 1.0), numbers(0.5, 0.5), numbers(1.0, 0.1)
    assert LossSensitive(weight=1 / 3).discriminator(real, fake, distance).item() == pytest.approx(0.5 / 2 - 1 / 3)
    higher = LossSensitive().discriminator(real + 100, fake + 100, distance)
    assert higher.item() == pytest.approx(LossSensitive().discriminator(real, fake, distance).item()) == 0.25
    pictures = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4) * torch.tensor([0.5, -2.0]).view(2, 1, 1, 1)
    assert sample_distance(*pictures).tolist() == [0.5, 2.0]
    assert not sample_distance(pictures[0], pictures[1].requires_grad_()).requires_grad
    with pytest.raises(ValueError, match="between pairs"):
        LossSensitive().discriminator(torch.zeros(3, 1), torch.zeros(3))


@pytest.mark.parametrize("shape", [(2, 1), (2, 3, 1)])
def test_a_margin_is_of_its_own_pair_whatever_the_shape_of_the_scores(shape):
    """A distance (batch,) beside scores (batch, 1) would silently be one of each pair to every other."""
    real, fake = torch.zeros(shape), torch.zeros(shape)
    fake[0] = -1
    for distance in (torch.tensor([1.0, 0.5]), torch.tensor([1.0, 0.5]).view(2, *[1] * (len(shape) - 1)).expand(shape)):
        assert LossSensitive().discriminator(real, fake, distance).item() == pytest.approx(0.5 / 2)
    with pytest.raises(ValueError, match="of each pair"):
        LossSensitive().discriminator(real, fake, torch.ones(3))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_labels_are_not_smoothed_beyond_what_they_can_be(smoothing):
    with pytest.raises(ValueError, match="smoothed by 0 or more and less than 1"):
        NonSaturating(smoothing)


def test_what_is_pulled_away_is_directions_of_different_samples():
    """One library normalises over the batch instead of the features."""
    assert pulling_away(torch.tensor([[3.0, 0.0], [0.0, 0.1], [-5.0, 0.0]])).item() == pytest.approx(1 / 3)
    assert pulling_away(torch.ones(4, 7) * torch.arange(1, 5)[:, None]).item() == pytest.approx(1)
    assert pulling_away(torch.ones(1, 7)).item() == 0
    features = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    expected = [torch.cosine_similarity(a, b, 0) ** 2 for i, a in enumerate(features) for b in features[:i]]
    assert pulling_away(features).item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)
    rough = features.bfloat16()
    assert pulling_away(rough).item() == pytest.approx(pulling_away(rough.float()).item(), rel=1e-6), "in float32"


def test_the_boundary_s_equilibrium():
    """k follows diversity * E D(x) - E D(G(z)), stays within 0 and 1, and is kept with a run."""
    game = BoundaryEquilibrium(diversity=0.5, rate=0.1)
    real, fake = numbers(1.0, 3.0), numbers(0.2, 0.4)
    assert game.discriminator(real, fake).item() == 2, "k begins at 0"
    assert game.update(2.0, 0.3) == pytest.approx(2 + abs(0.5 * 2 - 0.3))
    assert game.k == pytest.approx(0.1 * 0.7)
    assert game.discriminator(real, fake).item() == pytest.approx(2 - 0.07 * 0.3)
    assert game.generator(fake).item() == pytest.approx(0.3)
    again = BoundaryEquilibrium(diversity=0.5, rate=0.1)
    again.load_state_dict(game.state_dict())
    assert again.k == game.k
    for error in (math.nan, math.inf):
        again.update(error, 1.0)
        assert again.k == game.k
    for real_error, expected in ((0.0, 0.0), (1e3, 1.0)):
        game.update(real_error, 100.0)
        assert game.k == expected
    assert game.convergence(1.0, 0.8) == pytest.approx(1 + abs(0.5 - 0.8)), "off to either side"
    paper = BoundaryEquilibrium()
    assert (paper.diversity, paper.rate) == (0.5, 0.001)
