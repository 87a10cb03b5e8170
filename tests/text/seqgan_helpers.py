"""Players of a language of six tokens, and what they are given."""

import torch

from seqgan.game import Turn
from seqgan.text.discriminators import CNNConfig, CNNDiscriminator
from seqgan.text.networks import LSTMConfig, LSTMGenerator

VOCABULARY, LENGTH = 6, 5


def small_generator(seed=0, **options):
    torch.manual_seed(seed)
    return LSTMGenerator(LSTMConfig(VOCABULARY, 8, 16, **options))


def small_discriminator(seed=0):
    torch.manual_seed(seed)
    return CNNDiscriminator(CNNConfig(VOCABULARY, 8, ((1, 8), (2, 16), (3, 8))))


def adam(module, rate=0.01):
    return torch.optim.Adam(module.parameters(), rate)


def turn(batch=None, step=0, seed=0):
    return Turn(batch, step, torch.Generator().manual_seed(seed), {})


def some_tokens(batch=4, seed=0):
    return torch.randint(VOCABULARY, (batch, LENGTH), generator=torch.Generator().manual_seed(seed))


def gradients(module, loss):
    return torch.autograd.grad(loss, list(module.parameters()))


def assert_all_close(left, right):
    for one, other in zip(left, right, strict=True):
        torch.testing.assert_close(one, other)
