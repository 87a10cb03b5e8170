"""Augmentation: what moves where, that each picture has its own place, and that gradients come through."""

import pytest
import torch

from seqgan.image.augmentation import augment, cut_out, shift


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_shift_repeats_the_border():
    rows = torch.arange(8.0).view(1, 1, 8, 1).expand(200, 2, 8, 6)
    found = shift(rows, 2, 0, random())
    by = found[:, 0, 3, 0] - 3
    assert set(by.tolist()) == {-2, -1, 0, 1, 2}
    expected = (torch.arange(8.0) + by[:, None]).clamp(0, 7)
    assert torch.equal(found, expected[:, None, :, None].expand(200, 2, 8, 6))
    columns = torch.randn(50, 3, 5, 5)
    still = shift(columns, 0, 1, random())
    assert any(torch.equal(a, b) for a, b in zip(columns, still, strict=True))
    assert any(torch.equal(a[:, :, 1:], b[:, :, :-1]) for a, b in zip(columns, still, strict=True))


def test_a_cut_is_a_rectangle():
    found = cut_out(torch.ones(500, 3, 8, 8), 4, 2, random())
    gone = found[:, 0] == 0
    assert torch.equal(found, torch.where(gone[:, None], 0.0, 1.0).expand(500, 3, 8, 8))
    heights, widths = gone.any(2).sum(1), gone.any(1).sum(1)
    assert torch.equal(gone.sum((1, 2)), heights * widths), "without a gap"
    assert heights.max() == 4 and heights[widths > 0].min() == 2 and widths.max() == 2
    assert len({tuple(map(tuple, picture.nonzero().tolist())) for picture in gone}) > 40


@pytest.mark.parametrize("length", [3, 4])
def test_a_cut_may_lie_anywhere(length):
    """The first row goes as often as the last."""
    gone = cut_out(torch.ones(4000, 1, 8, 8), length, length, random())[:, 0] == 0
    rows = gone.any(2).float().mean(0)
    assert rows[0].item() == pytest.approx(rows[-1].item(), abs=0.05) and rows[0] > 0


def test_how_much_is_changed():
    """Of 16 x 16: a shift of 2 at most, a cut of 8 x 8 at most."""
    columns = torch.arange(1.0, 17).expand(500, 1, 16, 16)
    for image in (columns, columns.mT):
        found = augment(image, random())
        assert (found == 0).sum((1, 2, 3)).max() == 64
        assert (found - image)[found != 0].abs().max() == 2


def test_the_generator_learns_through_it():
    image = torch.randn(16, 3, 16, 16, requires_grad=True)
    found = augment(image, random())
    assert found.shape == image.shape and torch.equal(found, augment(image, random()))
    found.sum().backward()
    assert image.grad.flatten(1).sum(1).round().long().tolist() == (found != 0).flatten(1).sum(1).tolist()
