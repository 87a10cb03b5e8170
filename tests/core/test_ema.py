"""What is averaged: the statistics of batch normalisation with the weights, and nothing that counts."""

import pytest
import torch
from torch import nn

from seqgan.training import EMA

from .toy import scalar


def test_the_average_by_hand():
    player, _ = scalar(1.0)
    ema = EMA(player, decay=0.9)
    expected = 1.0
    for n in range(200):
        player.weight.data.fill_(float(n))
        ema.update()
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n
        assert ema.averages[0].item() == pytest.approx(expected, rel=1e-5), n
    with ema.applied():
        assert player.weight.item() == ema.averages[0].item()
    assert player.weight.item() == 199


def test_the_weights_come_back_even_after_an_error():
    player, _ = scalar(1.0)
    ema = EMA(player)
    player.weight.data.fill_(5.0)
    with pytest.raises(OSError), ema.applied():
        assert player.weight.item() == 1
        raise OSError("disk full")
    assert player.weight.item() == 5


def test_statistics_of_normalisation_are_averaged_and_counters_are_not():
    norm = nn.BatchNorm1d(1, momentum=1.0)  # its statistics are those of the last batch alone
    ema, means = EMA(norm, decay=0.5), []
    for n in range(40):
        norm(torch.full((4, 1), float(n)) + torch.randn(4, 1))
        ema.update()
        means.append(norm.running_mean.item())
    expected = sum(mean * 0.5 ** (40 - n) for n, mean in enumerate(means))
    with ema.applied():
        torch.testing.assert_close(norm.running_mean.item(), expected, rtol=1e-3, atol=0)
        assert norm.num_batches_tracked == 40
    assert norm.running_mean.item() == means[-1]
