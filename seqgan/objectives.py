"""What the two players of the game optimise, beginning with Goodfellow et al. 2014, "Generative adversarial nets".

An objective is a pair of pure functions of the discriminator's raw scores (logits: no sigmoid before them), which may
have any shape: (batch,), (batch, 1), a map of patches. Both return a scalar to be *minimised*, averaged over
everything. In the docstrings, D(x) is the score of a real sample, D(G(z)) that of a generated one, s the sigmoid, E
the average over the batch.

    objective = LeastSquares()
    objective.discriminator(real=D(x), fake=D(G(z).detach()))
    objective.generator(fake=D(G(z)))                           # `real=D(x)` too for the relativistic ones

Energies (EBGAN, BEGAN) are scores that are low for what is real, such as the error of an autoencoder. The f-divergences
are in `seqgan.divergences`.

-log s(d) is computed as softplus(-d): log(s(d) + epsilon) would lose its gradient just where the discriminator is sure.
"""

import math
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

Error = TypeVar("Error", float, Tensor)


class Objective(Protocol):
    """What every objective offers: one loss for each player."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor: ...

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor: ...


def mean(values: Tensor) -> Tensor:
    """The average as a scalar, in float32 at least: under autocast the scores may be bfloat16."""
    return values.mean(dtype=torch.promote_types(values.dtype, torch.float32))


@dataclass(frozen=True)
class Minimax:
    """The zero-sum game of Goodfellow et al. 2014, equation 1: min_G max_D E log s(D(x)) + E log(1 - s(D(G(z)))).

    The generator's gradient vanishes where the discriminator rejects its samples with certainty; `NonSaturating` is
    the cure.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return mean(softplus(-real)) + mean(softplus(fake))

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -mean(softplus(fake))


@dataclass(frozen=True)
class NonSaturating:
    """Goodfellow et al. 2014, section 3: the discriminator of `Minimax`; the generator maximises E log s(D(G(z))).

    smoothing: real samples are labelled 1 - smoothing, fakes still 0 (one-sided label smoothing, Salimans et al. 2016,
    section 3.4), so that the discriminator is never quite sure.
    """

    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"labels are smoothed by 0 or more and less than 1, not by {self.smoothing:g}")

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        # -(1 - e) log s(d) - e log(1 - s(d)) = softplus(-d) + e d
        return Minimax().discriminator(real, fake) + (self.smoothing * mean(real) if self.smoothing else 0.0)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return mean(softplus(-fake))


@dataclass(frozen=True)
class LeastSquares:
    """Mao et al. 2017, "Least squares generative adversarial networks", equation 2.

    Discriminator: 1/2 E (D(x) - b)^2 + 1/2 E (D(G(z)) - a)^2; generator: 1/2 E (D(G(z)) - c)^2, with a =
    `fake_target`, b = `real_target`, c = `generator_target`. The default is the paper's 0-1 coding; (-1, 1, 0)
    minimises Pearson's chi-square.
    """

    fake_target: float = 0.0
    real_target: float = 1.0
    generator_target: float = 1.0

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * mean((real - self.real_target) ** 2) + 0.5 * mean((fake - self.fake_target) ** 2)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return 0.5 * mean((fake - self.generator_target) ** 2)


@dataclass(frozen=True)
class Wasserstein:
    """Arjovsky et al. 2017, "Wasserstein GAN", equation 2: min_G max_D E D(x) - E D(G(z)).

    D runs over the 1-Lipschitz functions: see `seqgan.penalties`.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return mean(fake) - mean(real)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -mean(fake)


@dataclass(frozen=True)
class Hinge:
    """Lim and Ye 2017, "Geometric GAN"; Miyato et al. 2018, equations 16 and 17.

    Discriminator: E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))); generator: -E D(G(z)).
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return mean(relu(1 - real)) + mean(relu(1 + fake))

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -mean(fake)


@dataclass(frozen=True)
class Relativistic:
    """RSGAN of Jolicoeur-Martineau 2018, "The relativistic discriminator": is this one more real than that one?

    Discriminator: -E log s(D(x) - D(G(z))); generator: -E log s(D(G(z)) - D(x)). Real and fake come in pairs of one
    shape; where the pairing matters (a clean recording and its enhanced version) the pairs should be those.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        if real.shape != fake.shape:
            raise ValueError(
                f"relativistic scores come in pairs, not {tuple(real.shape)} real, {tuple(fake.shape)} fake"
            )
        return mean(softplus(fake - real))

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return self.discriminator(real=fake, fake=_needed(real))


@dataclass(frozen=True)
class RelativisticAverage:
    """RaSGAN of Jolicoeur-Martineau 2018: is this real one more real than fakes are on average, and the reverse?

    Discriminator: -E log s(D(x) - E D(G(z))) - E log(1 - s(D(G(z)) - E D(x))); the generator the same with the roles
    exchanged.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return mean(softplus(mean(fake) - real)) + mean(softplus(fake - mean(real)))

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return self.discriminator(real=fake, fake=_needed(real))


RELATIVISTIC = (Relativistic, RelativisticAverage)  # whose generator needs the scores of real samples, too


@dataclass(frozen=True)
class LossSensitive:
    """Qi 2017, "Loss-sensitive generative adversarial networks on Lipschitz densities", equations 6 and 7.

    Its loss function is -D here, so that a high score is real as everywhere. Discriminator: E max(0, distance(x, G(z))
    - D(x) + D(G(z))) - weight * E D(x): a fake needs to score below a real sample only by as much as the two differ,
    so that what is good already is left in peace. Generator: -E D(G(z)).

    weight: 1 over the paper's lambda. Any above 0 lets the value fall for ever, since the first term does not change
    when all scores rise together; it needs a discriminator whose scores are bounded above (the paper's losses are not
    negative). The author's program for pictures without labels has 0 as well.
    """

    weight: float = 0.0

    def discriminator(self, real: Tensor, fake: Tensor, distance: Tensor | float = 1.0) -> Tensor:
        """real, fake: the scores of pairs; distance: of those pairs, (batch,) as `sample_distance` gives it, or of the
        scores' shape."""
        if real.shape != fake.shape:
            raise ValueError(f"a margin is between pairs, not {tuple(real.shape)} real, {tuple(fake.shape)} fake")
        if isinstance(distance, Tensor) and distance.shape != real.shape:
            if distance.shape != real.shape[:1]:
                raise ValueError(f"a distance is of each pair, not {tuple(distance.shape)} of {tuple(real.shape)}")
            distance = distance.view(-1, *[1] * (real.dim() - 1))
        return mean(relu(distance - real + fake)) - self.weight * mean(real)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -mean(fake)


def sample_distance(real: Tensor, fake: Tensor) -> Tensor:
    """The mean absolute difference of the samples of each pair: (batch, ...) -> (batch,), without gradient."""
    return (real - fake).detach().abs().flatten(1).mean(1)


@dataclass(frozen=True)
class EnergyBased:
    """EBGAN, Zhao et al. 2017, "Energy-based generative adversarial network", equations 1 and 2; scores are energies.

    Discriminator: E D(x) + E max(0, margin - D(G(z))); generator: E D(G(z)).
    """

    margin: float = 1.0

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return mean(real) + mean(relu(self.margin - fake))

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return mean(fake)


def pulling_away(features: Tensor) -> Tensor:
    """EBGAN's repelling term (Zhao et al. 2017, section 2.4): the mean squared cosine between the features of different
    samples, which the generator minimises. features: (batch, width); of one sample it is 0."""
    number = len(features)
    unit = torch.nn.functional.normalize(features.flatten(1).float(), dim=1)
    between = (unit @ unit.T).square()
    return (between.sum() - between.diagonal().sum()) / max(1, number * (number - 1))


class BoundaryEquilibrium:
    """BEGAN, Berthelot et al. 2017, "BEGAN: Boundary equilibrium generative adversarial networks", section 3.4; scores
    are the errors of an autoencoder.

    Discriminator: E D(x) - k E D(G(z)); generator: E D(G(z)). Call `update` after each move of the generator: k goes by
    `rate` towards where E D(G(z)) = diversity * E D(x), within 0 and 1. A low diversity (gamma) asks for quality, a
    high one for variety. It has a state: give it to `fit` in `state`.
    """

    def __init__(self, diversity: float = 0.5, rate: float = 0.001):
        self.diversity, self.rate, self.k = diversity, rate, 0.0

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return mean(real) - self.k * mean(fake)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return mean(fake)

    def update(self, real: float, fake: float) -> float:
        """The mean errors of real and generated samples -> `convergence`."""
        change = self.rate * (self.diversity * real - fake)
        if math.isfinite(change):
            self.k = min(1.0, max(0.0, self.k + change))
        return self.convergence(real, fake)

    def convergence(self, real: Error, fake: Error) -> Error:
        """The paper's measure M, which falls as it learns: E D(x) + |diversity E D(x) - E D(G(z))|."""
        return real + abs(self.diversity * real - fake)

    def state_dict(self) -> dict[str, float]:
        return {"k": self.k}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.k = state["k"]


def _needed(real: Tensor | None) -> Tensor:
    if real is None:
        raise ValueError("a relativistic generator compares with real samples: call generator(fake, real)")
    return real
