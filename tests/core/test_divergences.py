"""Every f-divergence between two Gaussians: at the optimal discriminator the game's value is the closed form."""

import math

import pytest
import torch

from seqgan.divergences import NAMES, FDivergence, lambert

SHIFT = 1.0  # Q is N(0, 1), P is N(1, 1)
X = torch.linspace(-16, 17, 20_001, dtype=torch.float64)
STEP = (X[1] - X[0]).item()


def density(x, mean):
    return torch.exp(-((x - mean) ** 2) / 2) / math.sqrt(2 * math.pi)


def game(name):
    return FDivergence(name, {"weighted-jensen-shannon": 0.3, "alpha": 1.5}.get(name))


EVERY = [game(name) for name in NAMES] + [FDivergence("alpha", 0.5), FDivergence("alpha", -1.0)]
P, Q = density(X, SHIFT), density(X, 0.0)
RATIO = torch.exp(SHIFT * X - SHIFT**2 / 2)
CLOSED = {
    "total-variation": math.erf(SHIFT / 2 / math.sqrt(2)),
    "kl": SHIFT**2 / 2,
    "reverse-kl": SHIFT**2 / 2,
    "pearson": math.exp(SHIFT**2) - 1,
    "neyman": math.exp(SHIFT**2) - 1,
    "squared-hellinger": 2 - 2 * math.exp(-(SHIFT**2) / 8),
    "jeffrey": SHIFT**2,
}


def best_scores(objective):
    """The raw score v with g(v) = f'(p / q) at every x, by bisection: g rises."""
    u = RATIO.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(objective.row.f(u).sum(), u)
    low, high = torch.full_like(X, -1e15), torch.full_like(X, 1e15)
    if objective.name in ("kl", "pearson", "jeffrey") or objective.parameter == 1.5:  # there g(v) = v
        return wanted
    g = objective.row.activation
    for _ in range(200):
        middle = (low + high) / 2
        up = g(middle) < wanted
        low, high = torch.where(up, middle, low), torch.where(up, high, middle)
    return (low + high) / 2


@pytest.mark.parametrize("objective", EVERY, ids=repr)
def test_at_the_optimal_discriminator_it_is_the_divergence(objective):
    u, row = RATIO, objective.row
    direct = (Q * row.f(u)).sum().item() * STEP
    if objective.name in CLOSED:
        assert direct == pytest.approx(CLOSED[objective.name], rel=1e-6)
    scores = best_scores(objective)
    value = ((P * row.activation(scores)).sum() - (Q * row.conjugate(scores)).sum()).item() * STEP
    # The total variation's best T jumps between -1/2 and 1/2, which tanh only comes near to.
    assert value == pytest.approx(direct, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("objective", EVERY, ids=repr)
def test_any_other_discriminator_gives_less(objective):
    direct = (Q * objective.row.f(RATIO)).sum().item() * STEP
    scores = best_scores(objective)
    for change in (0.3 * torch.sin(X), torch.full_like(X, -0.2)):
        other = (scores.clamp(-5, 5) if objective.name == "total-variation" else scores) + change
        value = ((P * objective.row.activation(other)).sum() - (Q * objective.row.conjugate(other)).sum()).item() * STEP
        assert value < direct


@pytest.mark.parametrize("objective", EVERY, ids=repr)
def test_the_conjugate_is_the_conjugate(objective):
    """f*(t) = sup_u (u t - f(u)), the supremum over a grid of u."""
    u = torch.logspace(-6, 6, 200_001, dtype=torch.float64)
    for v in (-1.0, -0.2, 0.4, 0.9):
        score = torch.tensor(v, dtype=torch.float64)
        t = objective.row.activation(score)
        found = (u * t - objective.row.f(u)).max().item()
        assert objective.row.conjugate(score).item() == pytest.approx(found, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("objective", EVERY, ids=repr)
def test_a_divergence_of_equal_distributions_is_0(objective):
    assert objective.row.f(torch.ones(1, dtype=torch.float64)).item() == pytest.approx(
        -math.log(4) if objective.name == "gan" else 0, abs=1e-12
    )


@pytest.mark.parametrize("objective", EVERY, ids=repr)
def test_the_players(objective):
    real, fake = torch.tensor([0.5, -0.3]), torch.tensor([0.1, -0.4], requires_grad=True)
    assert objective.discriminator(real, fake).item() == -objective.estimate(real, fake).item()
    saturating = FDivergence(objective.name, objective.parameter, saturating=True)
    (ours,) = torch.autograd.grad(saturating.generator(fake), fake)
    (theirs,) = torch.autograd.grad(objective.discriminator(real, fake), fake)
    torch.testing.assert_close(ours, -theirs)
    practical = -objective.row.activation(fake).mean()
    assert objective.generator(fake).item() == pytest.approx(practical.item()), "unless told to saturate"


@pytest.mark.parametrize("objective", EVERY, ids=repr)
def test_a_high_score_is_real(objective):
    assert (objective.row.activation(torch.linspace(-3, 3, 100)).diff() > 0).all()


@pytest.mark.parametrize("objective", EVERY, ids=repr)
def test_gradients_stay_finite_where_the_discriminator_is_sure(objective):
    for size in (19.0, 40.0):
        real, fake = (torch.tensor([-size, size], requires_grad=True) for _ in range(2))
        value = objective.discriminator(real, fake) + objective.generator(fake)
        gradients = torch.autograd.grad(value, (real, fake))
        assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", ["squared-hellinger", "neyman"])
def test_small_scores_are_not_lost(name):
    """exp(v) - 1 of 1e-8 is 0 in float32."""
    row, v = FDivergence(name).row, torch.tensor([1e-8, -1e-8])
    torch.testing.assert_close(row.activation(v), v)
    torch.testing.assert_close(row.conjugate(v), v)


def test_gan_is_the_minimax_game():
    from seqgan.objectives import Minimax

    real, fake = torch.tensor([2.0, -30.0]), torch.tensor([0.3, 40.0])
    for player in ("discriminator", "generator"):
        arguments = (real, fake) if player == "discriminator" else (fake,)
        ours, theirs = getattr(FDivergence("gan", saturating=True), player), getattr(Minimax(), player)
        torch.testing.assert_close(ours(*arguments), theirs(*arguments))


def test_lambert():
    y = torch.tensor([-30.0, -1.0, 0.0, 1.0, 1.5, 40.0, 1e4], dtype=torch.float64, requires_grad=True)
    w = lambert(y)
    torch.testing.assert_close(w + w.log(), y)
    (slope,) = torch.autograd.grad(w.sum(), y)
    torch.testing.assert_close(slope, w / (1 + w))


def test_where_the_ratio_is_0_the_conjugate_is_flat():
    """It is -f(0) there, however low the score."""
    row = FDivergence("alpha", 1.5).row
    assert row.conjugate(torch.tensor([-2.0, -9.0])).tolist() == pytest.approx([-row.f(torch.tensor(0.0)).item()] * 2)


NO_DIVERGENCES = [("js", None), ("kl", 0.5), ("alpha", None)]
NO_DIVERGENCES += [("alpha", value) for value in (0.0, 1.0, math.nan)]
NO_DIVERGENCES += [("weighted-jensen-shannon", value) for value in (0.0, 1.0, 1.5, math.nan)]


@pytest.mark.parametrize(("name", "parameter"), NO_DIVERGENCES)
def test_what_is_no_divergence(name, parameter):
    with pytest.raises(ValueError):
        FDivergence(name, parameter)
