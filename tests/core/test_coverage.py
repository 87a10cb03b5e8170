"""Measures of collapse against cases whose answer is known."""

import math

import pytest
import torch

from seqgan.coverage import (
    closest_pairs,
    frechet_distance,
    kernel_distance,
    label_modes,
    mixture_modes,
    precision_recall,
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ring(modes=8):
    angle = torch.arange(modes) * 2 * math.pi / modes
    return torch.stack([angle.cos(), angle.sin()], 1).double()


def test_modes_of_a_ring():
    centers = ring()
    samples = centers.repeat(100, 1) + 0.01 * normal(800, 2).clamp(-2, 2)
    found = mixture_modes(samples, centers, 0.01)
    assert (found.captured, found.good) == (8, 1.0) and found.kl == pytest.approx(0, abs=1e-12)
    half = mixture_modes(samples.view(100, 8, 2)[:, :4].flatten(0, 1), centers, 0.01)
    assert half.captured == 4 and half.kl == pytest.approx(math.log(2))
    between = (centers[0] + centers[1]) / 2 + torch.tensor([[1e-3, 0.0]])
    mixed = mixture_modes(torch.cat([samples[:6], between, between]), centers, 0.01)
    assert mixed.captured == 6 and mixed.good == 6 / 8, "what lies between modes captures none"
    deviation = 0.5
    edge = deviation * torch.tensor([[2.9, 0.0], [3.1, 0.0]])
    assert mixture_modes(edge, torch.zeros(1, 2), deviation).good == 0.5, "within three deviations"
    alike = mixture_modes(torch.tensor([[0.0, 0.0], [1.2, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]]), 0.01)
    assert (alike.captured, alike.good) == (1, 0.5) and alike.kl == pytest.approx(0), "each is of its nearest mode"


def test_labels_as_modes():
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    assert label_modes(labels, 4).captured == 4 and label_modes(labels, 4).kl == pytest.approx(0)
    assert label_modes(labels, 1000).kl == pytest.approx(math.log(250))
    reference = torch.tensor([0, 0, 0, 1])
    expected = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert label_modes(torch.tensor([0, 1]), 2, reference).kl == pytest.approx(expected)
    lacking = 0.5 * math.log(0.5 / 0.8) + 0.5 * math.log(0.5 / 0.2)
    assert label_modes(torch.tensor([0, 1]), 2, torch.tensor([0, 0])).kl == pytest.approx(lacking), "seen half a time"
    for wrong in (torch.tensor([0, 1, 5]), torch.tensor([-1, 0])):
        with pytest.raises(ValueError, match="from 0 to 3"):
            label_modes(wrong, 4)
        with pytest.raises(ValueError, match="from 0 to 3"):
            label_modes(labels, 4, wrong)


def test_modes_of_no_samples():
    with pytest.raises(ValueError, match="no samples"):
        label_modes(torch.zeros(0, dtype=torch.int64), 4)
    with pytest.raises(ValueError, match="no samples"):
        mixture_modes(torch.zeros(0, 2), ring(), 0.01)


def test_precision_and_recall():
    real = normal(600, 4)
    same = precision_recall(real, normal(600, 4, seed=1))
    assert (
        same.precision > 0.85
        and same.recall > 0.85
        and same.coverage > 0.85
        and same.density == pytest.approx(1, abs=0.1)
    )
    far = precision_recall(real, normal(600, 4, seed=1) + 100)
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)
    narrow = precision_recall(real, 0.1 * normal(600, 4, seed=1))
    assert narrow.precision > 0.95 and narrow.recall < 0.1, "good and all alike"
    wide = precision_recall(real, 4 * normal(600, 4, seed=1))
    assert wide.precision < 0.4 and wide.recall > 0.9, "bad and of all sorts"
    with pytest.raises(ValueError, match="3 fake samples have no 3 neighbours"):
        precision_recall(real, real[:3])


def test_precision_and_recall_by_hand():
    """On a line, one neighbour: real 0, 1, 3 have the radii 1, 1, 2; fakes 0.5, 6, 6.5 the radii 5.5, 0.5, 0.5."""
    real, fake = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.5], [6.0], [6.5]])
    found = precision_recall(real, fake, neighbours=1)
    assert found.precision == pytest.approx(1 / 3)
    assert found.recall == 1
    assert found.density == pytest.approx(2 / 3)
    assert found.coverage == pytest.approx(2 / 3)
    assert precision_recall(real, fake[:2], neighbours=1).density == pytest.approx(2 / 2), "for each fake"
    equal = torch.zeros(6, 2)
    assert precision_recall(equal, equal).coverage == 1, "at a distance of 0 as well"


def test_measures_in_parts_are_the_whole(monkeypatch):
    real, fake = normal(50, 3), normal(50, 3, seed=1)
    whole = precision_recall(real, fake), closest_pairs(real), kernel_distance(real, fake)
    monkeypatch.setattr("seqgan.coverage.ROWS", 7)
    parts = precision_recall(real, fake), closest_pairs(real), kernel_distance(real, fake)
    assert whole[0] == parts[0] and whole[2] == pytest.approx(parts[2])
    assert [pair[1:] for pair in whole[1]] == [pair[1:] for pair in parts[1]]


def test_closest_pairs():
    features = torch.tensor([[0.0, 0], [5, 5], [0, 1], [5, 5], [9, 0]])
    assert closest_pairs(features, 2) == [(0.0, 1, 3), (1.0, 0, 2)]


def exact(mean, covariance, number=400):
    """Samples whose mean and covariance are exactly these."""
    samples = normal(number, len(mean))
    samples = samples - samples.mean(0)
    samples = samples @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(samples.T))).T
    return samples @ torch.linalg.cholesky(torch.tensor(covariance, dtype=torch.float64)).T + torch.tensor(mean)


def test_the_frechet_distance_of_gaussians():
    first = exact([0.0, 0.0], [[4.0, 0.0], [0.0, 1.0]])
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)
    second = exact([3.0, 0.0], [[1.0, 0.0], [0.0, 9.0]])
    assert frechet_distance(first, second) == pytest.approx(9 + (2 - 1) ** 2 + (1 - 3) ** 2)
    turned = exact([0.0, 0.0], [[1.0, 0.0], [0.0, 4.0]]), exact([0.0, 0.0], [[2.5, 1.5], [1.5, 2.5]])
    # Between covariances that do not commute: tr A + tr B - 2 tr (A B)^(1/2), with the root of 2x2 matrices known.
    a, b = (torch.cov(samples.T) for samples in turned)
    root_trace = ((a @ b).trace() + 2 * (a @ b).det().sqrt()).sqrt()
    expected = (a.trace() + b.trace() - 2 * root_trace).item()
    assert frechet_distance(*turned) == pytest.approx(expected)
    flat = exact([2.0, 0.0], [[9.0, 0.0], [0.0, 1.0]])[:, :1]
    assert frechet_distance(flat, 3 * flat + 1) == pytest.approx((7 - 2) ** 2 + (9 - 3) ** 2), "of one feature"
    with pytest.raises(ValueError, match="two samples"):
        frechet_distance(first[:1], second)


def test_the_kernel_distance():
    real, fake = normal(6, 3), normal(5, 3, seed=1) + 1

    def k(x, y):
        return ((x @ y) / 3 + 1) ** 3

    expected = (
        sum(k(x, y) for i, x in enumerate(real) for j, y in enumerate(real) if i != j) / 30
        + sum(k(x, y) for i, x in enumerate(fake) for j, y in enumerate(fake) if i != j) / 20
        - 2 * sum(k(x, y) for x in real for y in fake) / 30
    )
    assert kernel_distance(real, fake) == pytest.approx(expected.item())
    same = [kernel_distance(normal(200, 3, seed=2 * i), normal(200, 3, seed=2 * i + 1)) for i in range(20)]
    assert abs(sum(same) / 20) < 0.02, "unbiased: about 0 for samples of one distribution"
