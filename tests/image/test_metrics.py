"""Measures of pairs of pictures against closed forms, and the classifier whose features measure sets of them (by
what is tested in tests/core/test_coverage.py)."""

import math

import pytest
import torch

from seqgan.coverage import kernel_distance, precision_recall
from seqgan.image.metrics import compare, in_parts, psnr, ssim, train_classifier

from .test_gan import halves
from .test_infogan import quarters


def grey(*levels, size=16):
    return torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, size, size)


def test_psnr_of_a_constant_error():
    found = psnr(grey(100, 0, 7), grey(110, 255, 7))
    assert found.tolist() == pytest.approx([20 * math.log10(255 / 10), 0.0, math.inf])


def test_psnr_is_of_pairs():
    with pytest.raises(ValueError, match="in pairs"):
        psnr(grey(1, 2), grey(1))


def test_as_many_are_compared_of_either():
    pixels = torch.randint(256, (20, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    features = lambda image: image.flatten(1)  # noqa: E731
    for real, fake in ((pixels[:8], pixels[8:]), (pixels[:12], pixels[12:])):
        assert compare(features, real, fake) == compare(features, real[:8], fake[:8])


def test_ssim_of_grey_pictures_is_that_of_their_levels():
    """Without variance the formula is (2 a b + c) / (a^2 + b^2 + c), c = (0.01 * 255)^2."""
    constant = (0.01 * 255) ** 2
    expected = [(2 * a * b + constant) / (a * a + b * b + constant) for a, b in ((100, 110), (20, 200), (50, 50))]
    found = ssim(grey(100, 20, 50), grey(110, 200, 50))
    assert found.shape == (3,) and found.tolist() == pytest.approx(expected, abs=1e-3)


def test_ssim_hears_of_structure_that_psnr_does_not():
    random = torch.Generator().manual_seed(0)
    target = torch.randint(0, 200, (2, 3, 16, 16), generator=random).byte()
    brighter, noisy = target + 20, target.int() + 40 * torch.randint(0, 2, target.shape, generator=random) - 20
    noisy = noisy.clamp(0, 255).byte()
    assert (psnr(target, brighter) - psnr(target, noisy)).abs().max() < 0.5
    assert (ssim(target, brighter) > ssim(target, noisy)).all()


def test_a_classifier_is_for_the_pictures_it_learnt_from_and_is_finished(tmp_path):
    model = train_classifier(quarters(), tmp_path, steps=1)
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert (model.config.size, model.config.channels, model.config.classes) == (8, 1, 4)


def test_a_classifier_needs_labels(tmp_path):
    with pytest.raises(ValueError, match="have none"):
        train_classifier(halves(), tmp_path)


def test_sets_of_pictures_are_compared_by_their_features():
    def features(image):
        return image.flatten(1)[:, :3]

    real, fake = halves(60).pixels, quarters(60).pixels
    found = compare(features, real, fake)
    left, right = (in_parts(features, part) for part in (real, fake))
    expected = precision_recall(left, right)
    assert found["kernel"] == kernel_distance(left, right) != 0
    for name in ("precision", "recall", "density", "coverage"):
        assert found[name] == getattr(expected, name), name
