"""Every f-divergence as a game (Nowozin et al. 2016, "f-GAN: Training generative neural samplers using variational
divergence minimization", arXiv:1606.00709, tables 1, 2 and 6).

    D_f(P || Q) = E_Q f(p / q)  >=  E_P T(x) - E_Q f*(T(x))        for any T, with equality for T = f'(p / q)

where f is convex with f(1) = 0 and f* is its conjugate, f*(t) = sup_u (u t - f(u)). The discriminator maximises the
right side. Its raw score v may be any number, but T must lie where f* is defined, so that T = g(v) with the
divergence's own output activation g. P are the real samples, Q the generator's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .objectives import mean

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Row:
    """One line of the paper's tables.

    The conjugate is written out as a function of v, since by way of g(v) it would lose digits. In float32 values and
    gradients are finite for |v| up to 40; far beyond, where exp(v) is no float32 any more, some are not. The exception
    is alpha below but near 1, whose conjugate grows like v^(-a / (1 - a)): .7 bears |v| up to 30, .9 up to 8, .95 only
    1; "kl" is its limit.
    """

    f: Function  # of the ratio u = p / q
    activation: Function  # g, of the raw score v
    conjugate: Function  # f*(g(v)), also of the raw score


def lambert(y: Tensor) -> Tensor:
    """W with W + log W = y, that is Lambert's function of exp(y), by Newton's method; once differentiable."""
    with torch.no_grad():
        w = torch.where(y > 1, y - y.clamp_min(1).log(), (y.clamp_max(1) - 1).exp())
        for _ in range(8):
            w = w * (1 + y - w.log()) / (1 + w)
    return w * (1 + y - w.log()) / (1 + w)


def _log_one_minus_exp(x: Tensor) -> Tensor:
    """log(1 - exp(-x)) for x > 0, exact at both ends."""
    # Each branch is kept to where it is meant: `where` gives the other one a gradient of 0 times what may be infinite.
    small, large = x.clamp_max(math.log(2)), x.clamp_min(math.log(2))
    return torch.where(x < math.log(2), (-torch.expm1(-small)).log(), torch.log1p(-torch.exp(-large)))


TABLE: dict[str, Row] = {
    "total-variation": Row(
        f=lambda u: (u - 1).abs() / 2,
        activation=lambda v: torch.tanh(v) / 2,
        conjugate=lambda v: torch.tanh(v) / 2,
    ),
    "kl": Row(f=lambda u: u * u.log(), activation=lambda v: v, conjugate=lambda v: (v - 1).exp()),
    "reverse-kl": Row(f=lambda u: -u.log(), activation=lambda v: -(-v).exp(), conjugate=lambda v: v - 1),
    "pearson": Row(f=lambda u: (u - 1) ** 2, activation=lambda v: v, conjugate=lambda v: v**2 / 4 + v),
    "neyman": Row(
        f=lambda u: (1 - u) ** 2 / u,
        activation=lambda v: -torch.expm1(-v),
        conjugate=lambda v: -2 * torch.expm1(-v / 2),
    ),
    "squared-hellinger": Row(
        f=lambda u: (u.sqrt() - 1) ** 2, activation=lambda v: -torch.expm1(-v), conjugate=torch.expm1
    ),
    "jeffrey": Row(
        f=lambda u: (u - 1) * u.log(),
        activation=lambda v: v,
        conjugate=lambda v: (w := lambert(1 - v)) + 1 / w + v - 2,
    ),
    "jensen-shannon": Row(  # twice the divergence that is usually called so
        f=lambda u: u * u.log() - (u + 1) * ((1 + u) / 2).log(),
        activation=lambda v: math.log(2) - softplus(-v),
        conjugate=lambda v: softplus(v) - math.log(2),
    ),
    "gan": Row(
        f=lambda u: u * u.log() - (u + 1) * (u + 1).log(),
        activation=lambda v: -softplus(-v),
        conjugate=lambda v: softplus(v),
    ),
}


def weighted_jensen_shannon(p: float) -> Row:
    """p KL(P || M) + (1 - p) KL(Q || M) with M = p P + (1 - p) Q."""
    return Row(
        f=lambda u: p * u * u.log() - (1 - p + p * u) * (1 - p + p * u).log(),
        activation=lambda v: -p * math.log(p) - softplus(-v),
        conjugate=lambda v: (1 - p) * (math.log(1 - p) - _log_one_minus_exp(softplus(-v) / p)),
    )


def alpha(a: float) -> Row:
    """1 / (a (a - 1)) E_Q (u^a - 1 - a (u - 1)); KL in the limit 1, reverse KL in the limit 0."""

    def activation(v: Tensor) -> Tensor:
        return 1 / (1 - a) - softplus(-v) if a < 1 else v

    def conjugate(v: Tensor) -> Tensor:
        base = (1 - a) * softplus(-v) if a < 1 else ((a - 1) * v + 1).clamp_min(0)
        return (base ** (a / (a - 1)) - 1) / a

    return Row(lambda u: (u**a - 1 - a * (u - 1)) / (a * (a - 1)), activation, conjugate)


FAMILIES: dict[str, Callable[[float], Row]] = {"weighted-jensen-shannon": weighted_jensen_shannon, "alpha": alpha}
NAMES = (*TABLE, *FAMILIES)


@dataclass(frozen=True)
class FDivergence:
    """The objective of one divergence, as those of `seqgan.objectives`; name: one of `NAMES`.

    parameter: of "weighted-jensen-shannon" the weight of the real samples, between 0 and 1; of "alpha" any number but 0
    and 1. saturating: the generator minimises the divergence itself, E_Q -f*(T); by default it maximises E_Q T, which
    has the same fixed point and a gradient where it is rejected (section 3.2).
    """

    name: str = "jensen-shannon"
    parameter: float | None = None
    saturating: bool = False

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"no f-divergence {self.name!r}; there are {', '.join(NAMES)}")
        if (self.name in FAMILIES) != (self.parameter is not None):
            raise ValueError(f"{', '.join(FAMILIES)} take a parameter, the others none: {self.name} {self.parameter}")
        if self.name == "alpha" and (self.parameter in (0, 1) or not math.isfinite(self.parameter)):
            raise ValueError(f"alpha is not 0 (that limit is reverse-kl), not 1 (that is kl), not {self.parameter}")
        if self.name == "weighted-jensen-shannon" and not 0 < self.parameter < 1:
            raise ValueError(f"the weight of the real samples lies between 0 and 1, it is {self.parameter}")

    @property
    def row(self) -> Row:
        return TABLE[self.name] if self.parameter is None else FAMILIES[self.name](self.parameter)

    def estimate(self, real: Tensor, fake: Tensor) -> Tensor:
        """The lower bound of D_f(P || Q) that raw scores give: E_P g(v) - E_Q f*(g(v))."""
        row = self.row
        return mean(row.activation(real)) - mean(row.conjugate(fake))

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return -self.estimate(real, fake)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        row = self.row
        return -mean(row.conjugate(fake) if self.saturating else row.activation(fake))
