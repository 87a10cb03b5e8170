"""Is the generator collapsed, and what is missing? Measures on samples, or on features of them, of any material.

A sample set that looks good may lack most of what the data has: collapse to one mode is easy to see, a missing mode is
not. Where the modes are known they are counted (`mixture_modes`, `label_modes`); where not, distances in a space of
features tell quality and variety apart (`precision_recall`), or measure both at once (`frechet_distance`,
`kernel_distance`). All take features as (samples, width), on any device, and give floats.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = 1024  # of a matrix of distances that is made at once


@dataclass(frozen=True)
class Modes:
    """captured: modes that have a sample. good: share of the samples that lie at a mode. kl: how far the shares of the
    modes are from those of the data, KL(generated || data), nats; 0 is best."""

    captured: int
    good: float
    kl: float


def mixture_modes(samples: Tensor, centers: Tensor, deviation: float, within: float = 3.0) -> Modes:
    """Of a mixture of equal Gaussians, by the protocol of Lin et al. 2018, "PacGAN", section 4.1.

    samples: (number, dimension); centers: (mode, dimension). A sample is good if it lies within so many standard
    deviations of the nearest centre, and a mode is captured if it has a good sample. For the KL every sample counts, at
    the mode that is nearest.
    """
    distance, nearest = _distances(samples.double(), centers.double()).min(1)
    good = distance <= within * deviation
    return Modes(len(nearest[good].unique()), good.double().mean().item(), label_modes(nearest, len(centers)).kl)


def label_modes(labels: Tensor, number: int, reference: Tensor | None = None) -> Modes:
    """Of samples that a classifier has labelled (0 ... number - 1), as on stacked MNIST (Metz et al. 2017).

    reference: labels of the data; without it all modes are equally frequent there. A mode that the data lacks counts as
    if it had been seen half a time. ValueError for a label that is none.
    """
    if not len(labels):
        raise ValueError("no samples, in which modes could be counted")
    for some in (labels, reference):
        if some is not None and ((some < 0) | (some >= number)).any():
            raise ValueError(f"labels are from 0 to {number - 1}, not from {some.min().item()} to {some.max().item()}")
    counts = torch.bincount(labels, minlength=number).double()
    expected = torch.ones_like(counts) if reference is None else torch.bincount(reference, minlength=number).double()
    shares, wanted = counts / counts.sum(), expected.clamp_min(0.5) / expected.clamp_min(0.5).sum()
    kl = torch.special.xlogy(shares, shares / wanted).sum().item()
    return Modes(int((counts > 0).sum()), 1.0, kl)


@dataclass(frozen=True)
class PrecisionRecall:
    """precision: share of fakes that lie among the real samples (quality); recall: of real ones among the fakes
    (variety). density, coverage: the same two, less moved by outliers."""

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall(real: Tensor, fake: Tensor, neighbours: int = 3) -> PrecisionRecall:
    """Kynkäänniemi et al. 2019, "Improved precision and recall metric for assessing generative models", equations 1 and
    2, and Naeem et al. 2020, "Reliable fidelity and diversity metrics for generative models", equations 3 and 4.

    A sample lies among others if it is as near to one of them as that one's `neighbours`-th neighbour is. The usual
    numbers are 3 for precision and recall, 5 for density and coverage; the same number of samples on both sides.
    """
    for name, features in (("real", real), ("fake", fake)):
        if len(features) <= neighbours:
            raise ValueError(f"{len(features)} {name} samples have no {neighbours} neighbours each")
    real, fake = real.double(), fake.double()
    real_radius, fake_radius = _radii(real, neighbours), _radii(fake, neighbours)
    precise = density = 0.0
    recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    nearest = torch.full_like(real_radius, torch.inf)
    for rows, radius in zip(fake.split(ROWS), fake_radius.split(ROWS), strict=True):
        distance = _distances(rows, real)  # (fake, real)
        inside = distance <= real_radius
        precise += inside.any(1).sum().item()
        density += inside.sum().item()
        recalled |= (distance <= radius[:, None]).any(0)
        nearest = torch.minimum(nearest, distance.amin(0))
    covered = (nearest <= real_radius).double().mean().item()
    return PrecisionRecall(
        precise / len(fake), recalled.double().mean().item(), density / (neighbours * len(fake)), covered
    )


def _distances(left: Tensor, right: Tensor) -> Tensor:
    """(left, right), without the shortcut by a matrix product, after which equal samples are not at distance 0."""
    return torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist")


def _radii(features: Tensor, neighbours: int) -> Tensor:
    """The distance of each sample's `neighbours`-th neighbour: (samples,)"""
    # The sample itself comes first.
    parts = [_distances(rows, features).kthvalue(neighbours + 1, 1).values for rows in features.split(ROWS)]
    return torch.cat(parts)


def closest_pairs(features: Tensor, count: int = 8) -> list[tuple[float, int, int]]:
    """The pairs of samples that are most alike, the nearest first: (distance, one, other).

    To be looked at: if among s samples there are duplicates about every second time, the generator has no more than
    about s^2 different ones (the birthday paradox; Arora and Zhang 2018, "Do GANs actually learn the distribution?").
    """
    features, found = features.double(), []
    for begin in range(0, len(features), ROWS):
        rows = features[begin : begin + ROWS]
        distance = _distances(rows, features)
        one = torch.arange(begin, begin + len(rows), device=features.device)
        distance[torch.arange(len(features), device=features.device) <= one[:, None]] = torch.inf  # each pair once
        values, places = distance.flatten().topk(min(count, distance.numel()), largest=False)
        found += [
            (value, begin + place // len(features), place % len(features))
            for value, place in zip(values.tolist(), places.tolist(), strict=True)
            if value < torch.inf
        ]
    return sorted(found)[:count]


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Between Gaussians of the features' means and covariances: |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Heusel et
    al. 2017, "GANs trained by a two time-scale update rule", equation 6). It falls with the number of samples: only
    figures of the same features and numbers can be compared."""
    real, fake = real.double(), fake.double()
    if min(len(real), len(fake)) < 2:
        raise ValueError("a covariance needs two samples at least")
    first, second = (torch.cov(features.T).reshape(2 * (features.shape[1],)) for features in (real, fake))
    root = _square_root(first)
    # The trace of (C1 C2)^(1/2) is that of the symmetric (C1^(1/2) C2 C1^(1/2))^(1/2).
    both = torch.linalg.eigvalsh(root @ second @ root).clamp_min(0).sqrt().sum()
    between = (real.mean(0) - fake.mean(0)).square().sum()
    return (between + first.trace() + second.trace() - 2 * both).item()


def _square_root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def kernel_distance(real: Tensor, fake: Tensor) -> float:
    """The squared maximum mean discrepancy with the kernel (x y / width + 1)^3, unbiased, so that it can be below 0
    (Binkowski et al. 2018, "Demystifying MMD GANs"). Unlike the Fréchet distance it does not depend on how many samples
    there are."""
    real, fake = real.double(), fake.double()
    if min(len(real), len(fake)) < 2:
        raise ValueError("the discrepancy needs two samples of each at least")

    def kernel_sum(left: Tensor, right: Tensor) -> Tensor:
        return sum((((rows @ right.T) / left.shape[1] + 1) ** 3).sum() for rows in left.split(ROWS))

    def own(features: Tensor) -> Tensor:
        itself = ((features.square().sum(1) / features.shape[1] + 1) ** 3).sum()
        return (kernel_sum(features, features) - itself) / (len(features) * (len(features) - 1))

    return (own(real) + own(fake) - 2 * kernel_sum(real, fake) / (len(real) * len(fake))).item()
