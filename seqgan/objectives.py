"""What the two players of the game optimise, beginning with Goodfellow et al. 2014, "Generative adversarial nets".

An objective is a pair of pure functions of the discriminator's raw scores (logits: no sigmoid before them), which may
have any shape: (batch,), (batch, 1), a map of patches. Both return a scalar to be *minimised*, averaged over
everything. In the docstrings, D(x) is the score of a real sample, D(G(z)) that of a generated one, s the sigmoid, E
the average over the batch.

    objective = LeastSquares()
    objective.discriminator(real=D(x), fake=D(G(z).detach()))
    objective.generator(fake=D(G(z)))                           # `real=D(x)` too for the relativistic ones

-log s(d) is computed as softplus(-d): log(s(d) + epsilon) would lose its gradient just where the discriminator is sure.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus


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
    """Goodfellow et al. 2014, section 3: the discriminator of `Minimax`; the generator maximises E log s(D(G(z)))."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return Minimax().discriminator(real, fake)

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


def _needed(real: Tensor | None) -> Tensor:
    if real is None:
        raise ValueError("a relativistic generator compares with real samples: call generator(fake, real)")
    return real
