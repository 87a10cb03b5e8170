"""What the judges of waves look at."""

import pytest
import torch

from seqgan.speech.discriminators import (
    PeriodDiscriminator,
    SpectrogramDiscriminator,
    WaveDiscriminator,
    feature_distance,
)


@pytest.mark.parametrize("period", [2, 5])
def test_a_period_hears_each_of_its_phases_alone(period):
    torch.manual_seed(0)
    judge, wave = PeriodDiscriminator(period, 4, 16), torch.randn(2, 1001)
    other = wave.clone()
    other[:, 1::period] += 1  # the samples of one phase only
    for features, others in zip(judge(wave), judge(other), strict=True):
        assert features.shape[3] == period
        changed = (features != others).flatten(0, 2).any(0)
        assert changed.tolist() == [phase == 1 for phase in range(period)]


def test_a_spectrogram_is_at_home_at_every_length_and_level_zero():
    judge = SpectrogramDiscriminator(256, 4)
    for samples in (200, 1000, 1001):
        assert all(part.isfinite().all() for part in judge(torch.zeros(3, samples)))
    wave = torch.randn(1, 4000, requires_grad=True)
    judge(wave)[-1].sum().backward()
    assert wave.grad.isfinite().all() and wave.grad.abs().sum() > 0


def test_a_judge_for_every_period_and_window():
    discriminator = WaveDiscriminator((2, 3), (64, 128, 256), channels=4, widest=8)
    opinions = discriminator(torch.randn(5, 2000))
    assert len(opinions) == 5 and all(opinion[-1].shape[:2] == (5, 1) for opinion in opinions)
    assert len(WaveDiscriminator((), (64,), 4, 8)(torch.randn(1, 500))) == 1
    with pytest.raises(ValueError, match="a period or a window"):
        WaveDiscriminator((), ())


def test_the_distance_of_features_leaves_scores_out():
    real = [[torch.zeros(2, 3), torch.zeros(2, 1)], [torch.ones(4), torch.ones(4), torch.zeros(1)]]
    made = [[torch.full((2, 3), 3.0), torch.full((2, 1), 99.0)], [torch.ones(4), torch.zeros(4), torch.ones(1)]]
    assert feature_distance(real, made) == pytest.approx((3 + 0 + 1) / 3)
    assert feature_distance(real, real) == 0
