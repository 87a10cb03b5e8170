"""What is averaged: the statistics of batch normalisation with the weights, and nothing that counts."""

import torch
from torch import nn

from seqgan.training import EMA


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
