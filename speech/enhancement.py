"""Speech enhancement as a game: a mask generator against a discriminator that has learnt what a perceptual metric would say.

MetricGAN (Fu et al. 2019, arXiv:1905.04874), on the compressed complex spectrum and with the losses of CMGAN (Cao et al. 2022, arXiv:2203.15149).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .networks import MaskGenerator, compress, expand, magnitude


@dataclass(frozen=True)
class LossWeights:
    """Weights of the reconstruction terms; all are means over the batch of a level-normalised signal."""

    magnitude: float = 0.3  # squared error of |S|^0.3
    complex: float = 0.2  # squared error of the compressed spectrum's real and imaginary parts
    consistency: float = 0.3  # the same, of the spectrum of the wave that the estimate turns into
    wave: float = 0.2  # absolute error of samples


def reconstruction(
    generator: MaskGenerator, noisy: Tensor, clean: Tensor, weights: LossWeights = LossWeights()
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Terms of the reconstruction loss, and the enhanced and clean waves at the level at which the terms were taken.

    noisy, clean: (batch, samples). Both are brought to a level of -20 dBFS of the noisy one (a quiet recording counts
    as much as a loud one), before the estimate is compared.
    """
    scale = 0.1 * noisy.square().mean(1, keepdim=True).add(1e-10).rsqrt()
    noisy, clean = noisy * scale, clean * scale
    power, fourier = generator.config.compression, generator.fourier
    estimate, _ = generator(compress(fourier(noisy), power))
    wave = fourier.inverse(expand(estimate, power), noisy.shape[1])
    with torch.no_grad():
        target = compress(fourier(clean), power)
    again = compress(fourier(wave), power)
    terms = {
        "magnitude": weights.magnitude * (magnitude(estimate) - magnitude(target)).square().mean(),
        "complex": weights.complex * torch.view_as_real(estimate - target).square().mean(),
        "consistency": weights.consistency * torch.view_as_real(again - target).square().mean(),
        "wave": weights.wave * (wave - clean).abs().mean(),
    }
    return terms, wave, clean
