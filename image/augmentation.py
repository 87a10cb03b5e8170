"""What keeps a discriminator from learning few pictures by heart: it sees every picture, real or generated, shifted and
with a square cut out (Zhao et al. 2020, "Differentiable augmentation for data-efficient GAN training").

The generator learns through the same changes, so that it does not learn to draw them.
"""

from __future__ import annotations

import torch
from torch import Tensor


def augment(image: Tensor, generator: torch.Generator) -> Tensor:
    """Shifted by an eighth of the side at most, with a square of half the side cut out; one place for every picture.

    image: (batch, channel, height, width)
    """
    height, width = image.shape[2:]
    return cut_out(shift(image, max(1, height // 8), max(1, width // 8), generator), height // 2, width // 2, generator)


def shift(image: Tensor, rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """By up to so many rows and columns either way; what comes into view repeats the border."""
    axes = [
        _places(size, reach, image, generator) for size, reach in zip(image.shape[2:], (rows, columns), strict=True)
    ]
    batch = torch.arange(len(image), device=image.device)[:, None, None]
    # Advanced indices around a slice: the channels come last.
    return image[batch, :, axes[0][:, :, None], axes[1][:, None, :]].permute(0, 3, 1, 2)


def _places(size: int, reach: int, image: Tensor, generator: torch.Generator) -> Tensor:
    """Where each row (or column) of each shifted picture is taken from: (batch, size)"""
    by = torch.randint(-reach, reach + 1, (len(image), 1), generator=generator, device=image.device)
    return (torch.arange(size, device=image.device) + by).clamp(0, size - 1)


def cut_out(image: Tensor, rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """A rectangle of so many rows and columns becomes 0, the middle grey; at the border less of it is inside."""
    inside = []
    for size, length in zip(image.shape[2:], (rows, columns), strict=True):
        begin = torch.randint(size + 1 - length % 2, (len(image), 1), generator=generator, device=image.device)
        begin -= length // 2
        places = torch.arange(size, device=image.device)
        inside.append((places >= begin) & (places < begin + length))
    return image.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0)
