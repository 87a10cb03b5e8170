"""How a poet is trained: by the likelihood of real poems first."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from seqgan.training import Phase, Turn

from .networks import Generator
from .poems import Script, Verse, verse_mask
from .vocabulary import PAD, to_batch


def likelihood(
    generator: Generator,
    optimizer: torch.optim.Optimizer,
    schedule: Callable[[int], float] | None = None,
    clip: float = 1.0,
) -> Phase:
    """Maximum likelihood of titles and poems; a batch is tokens (batch, time), filled up with PAD."""

    def loss(turn: Turn) -> dict[str, Tensor]:
        present = turn.batch != PAD
        return {"nll": -(generator.log_probabilities(turn.batch) * present).sum() / present.sum()}

    return Phase("generator", [generator], optimizer, loss, schedule=schedule, clip=clip)


@torch.no_grad()
def perplexity(generator: Generator, script: Script, verses: Sequence[Verse], rows: int = 32) -> float:
    """Per character of verse, given title and form; marks and title are not counted. Unknown characters are, as one."""
    device, nll, number = next(generator.parameters()).device, 0.0, 0
    encoded = sorted((script.encode(verse) for verse in verses), key=len)
    for i in range(0, len(encoded), rows):
        tokens = to_batch(encoded[i : i + rows]).to(device)
        counted = verse_mask(tokens, script)
        nll -= (generator.log_probabilities(tokens) * counted).sum().item()
        number += counted.sum().item()
    return math.exp(nll / number)
