"""What keeps a discriminator smooth, beginning with Gulrajani et al. 2017, "Improved training of Wasserstein GANs".

The penalties are unweighted scalars: the weight (lambda, gamma) is the caller's. `discriminator` is any callable from
samples (batch, ...) to raw scores; a conditional one is passed as `lambda x: D(x, condition)`. They run in float32
even within autocast, where the second derivative would be too coarse. Two limits of torch: the discriminator must not
be compiled (`torch.compile` has no double backward), and on the CPU its attention must use the math kernel.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import relu
from torch.nn.utils import parametrizations

Discriminator = Callable[[Tensor], Tensor]


def gradient_norm(discriminator: Discriminator, samples: Tensor) -> Tensor:
    """The length of the score's gradient at each sample: (batch, ...) -> (batch,), itself differentiable.

    Each sample has a norm of its own: one norm over the whole batch would grow with the batch. Where the
    discriminator scores a sample more than once (patches, frames), its score is the average of those, as in the
    objectives.
    """
    with torch.autocast(samples.device.type, enabled=False), torch.enable_grad():
        samples = samples.detach().to(torch.promote_types(samples.dtype, torch.float32)).requires_grad_()
        scores = discriminator(samples).reshape(len(samples), -1).mean(dim=1)
        (grad,) = torch.autograd.grad(scores.sum(), samples, create_graph=True)
        return grad.flatten(1).norm(2, dim=1)


def gradient_penalty(
    discriminator: Discriminator,
    real: Tensor,
    fake: Tensor,
    *,
    one_sided: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """WGAN-GP, Gulrajani et al. 2017, equation 3: E (|grad D(x)| - 1)^2, x uniform on the line real to fake.

    `one_sided` punishes only norms above 1, E max(0, |grad D(x)| - 1)^2: WGAN-LP of Petzka et al. 2018, since
    the optimal critic's slope may well be below 1. `generator` draws the places on the lines.
    """
    place = _uniform_per_sample(real, generator)
    excess = gradient_norm(discriminator, real + place * (fake - real)) - 1
    return (relu(excess) if one_sided else excess).square().mean()


def dragan_penalty(
    discriminator: Discriminator, real: Tensor, *, noise: float = 0.5, generator: torch.Generator | None = None
) -> Tensor:
    """DRAGAN, Kodali et al. 2017: E (|grad D(x + d)| - 1)^2 around the real samples only, d Gaussian.

    `noise` is the standard deviation of d in units of the batch's own.
    """
    scale = noise * real.std()
    disturbance = torch.randn(real.shape, dtype=real.dtype, device=real.device, generator=generator)
    return (gradient_norm(discriminator, real + scale * disturbance) - 1).square().mean()


def r1_penalty(discriminator: Discriminator, samples: Tensor) -> Tensor:
    """R1, Mescheder et al. 2018, equation 9: 1/2 E |grad D(x)|^2 on real samples (on fakes: R2)."""
    return 0.5 * gradient_norm(discriminator, samples).square().mean()


@torch.no_grad()
def clip_weights(modules: Iterable[nn.Module], bound: float = 0.01) -> None:
    """WGAN, Arjovsky et al. 2017, algorithm 1: every parameter into [-bound, bound] after each move."""
    for module in modules:
        for parameter in module.parameters():
            parameter.clamp_(-bound, bound)


def spectral_norm(module: nn.Module) -> nn.Module:
    """Miyato et al. 2018: divides the weight of every convolution and linear map by its largest singular value.

    That value is estimated by one step of power iteration in each forward pass in training mode. Changes the module
    and returns it.
    """
    layers = (nn.Linear, nn.modules.conv._ConvNd)
    for layer in [layer for layer in module.modules() if isinstance(layer, layers)]:
        parametrizations.spectral_norm(layer)
    return module


def instance_noise(samples: Tensor, deviation: float, generator: torch.Generator | None = None) -> Tensor:
    """The samples with Gaussian noise: given to a discriminator, of real and generated ones alike, it makes two
    distributions overlap that would not, and be it on a line (Arjovsky and Bottou 2017, "Towards principled methods for
    training generative adversarial networks", section 3). The deviation should fall to 0 over the training."""
    if not deviation:
        return samples
    noise = torch.randn(samples.shape, dtype=samples.dtype, device=samples.device, generator=generator)
    return samples + deviation * noise


def exchange(
    real: Tensor, fake: Tensor, share: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """A discriminator weakened on purpose: about such a share of the pairs of a batch have the wrong label.

    Its scores then stay bounded, at +- log(1 / share - 1) at most by the minimax objective. ValueError for a share
    outside 0 to 1/2.
    """
    if not 0 <= share <= 0.5:
        raise ValueError(f"a share of wrong labels is from 0 to 0.5, not {share:g}")
    if not share:
        return real, fake
    wrong = _uniform_per_sample(real.float(), generator) < share
    return torch.where(wrong, fake, real), torch.where(wrong, real, fake)


def _uniform_per_sample(samples: Tensor, generator: torch.Generator | None) -> Tensor:
    """One number in [0, 1) for each sample, shaped (batch, 1, ...) to multiply the samples."""
    shape = (len(samples), *[1] * (samples.dim() - 1))
    return torch.rand(shape, dtype=samples.dtype, device=samples.device, generator=generator)
