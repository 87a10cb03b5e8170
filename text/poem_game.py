"""How a poet is trained: by the likelihood of real poems first, then against a discriminator that reads along."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from seqgan.objectives import NonSaturating
from seqgan.policy import LeaveOneOut, all_choices, reinforce, returns
from seqgan.rollout import play
from seqgan.training import Phase, Turn

from .discriminators import ReadingDiscriminator, StepwiseDiscriminator
from .networks import ROWS, Generator, without_dropout
from .networks import likelihood as log_likelihood
from .poems import Script, Verse, verse_mask
from .relations import RelationDiscriminator
from .sampling import Sampler, Sampling
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


def against_readers(
    generator: Generator,
    optimizer: torch.optim.Optimizer,
    discriminator: RelationDiscriminator | StepwiseDiscriminator | ReadingDiscriminator,
    discriminator_optimizer: torch.optim.Optimizer,
    *,
    discount: float = 0.9,
    anchor: float = 1.0,
    clip: float = 1.0,
    schedule: Callable[[int], float] | None = None,
) -> list[Phase]:
    """The game: the poet writes on real titles, and at every character the discriminator says whether it is a poet's.

    Rewards are as in ScratchGAN (d'Autume et al. 2019, section 4.2), 2 D - 1 of every character, and each choice
    answers for those that follow, fading by `discount`. Who judges relations knows what it would say of any other
    character in this place, so that there the gradient of the place's own reward is exact. Who reads titles is shown
    real poems on other poems' titles too, as the mismatched pairs of Reed et al. 2016, so that the title counts.
    anchor: weight of the likelihood of real poems, which keeps what the discriminator does not look at. schedule:
    factor on the poet's learning rate.

    A batch is one of `PoemsAlike`. The poet writes by no rules; masks are for decoding. The first phase, alone, trains
    the discriminator.
    """
    objective, baseline = NonSaturating(), LeaveOneOut()

    def own(turn: Turn) -> Tensor:
        if "own" not in turn.share:
            turn.share["own"] = compose(generator, turn.batch["prompt"], turn.batch["poem"].shape[1], turn.generator)
        return turn.share["own"]

    def discriminator_loss(turn: Turn) -> dict[str, Tensor]:
        prompt, real = turn.batch["prompt"], turn.batch["poem"]
        pairs = [(prompt, real), (prompt, own(turn))]
        if discriminator.reads_titles:
            pairs.append((prompt.roll(1, 0), real))
        rows = torch.cat([torch.cat(pair, 1) for pair in pairs])
        real, fake, *stranger = discriminator(rows)[:, prompt.shape[1] :].split(len(prompt))
        turn.log("pairs", (real.mean(1)[:, None] > fake.mean(1)).float().mean())
        losses = {"adversary": objective.discriminator(real, fake)}
        if stranger:
            losses["title"] = objective.discriminator(real, *stranger)
        return {name: loss / len(losses) for name, loss in losses.items()}

    def generator_loss(turn: Turn) -> dict[str, Tensor]:
        prompt, real, written = turn.batch["prompt"], turn.batch["poem"], own(turn)
        begin, rows = prompt.shape[1], torch.cat([prompt, written], 1)
        rewards = 2 * discriminator.score(rows)[:, begin:].sigmoid() - 1
        turn.log("reward", rewards.mean())
        with without_dropout(generator):
            features = generator.read(rows)[:, begin:]
        if isinstance(discriminator, RelationDiscriminator):
            policy = over_all_choices(generator, features, discriminator, rows)
        else:
            gains = returns(rewards, discount)
            log_probabilities = log_likelihood(generator, features, written)
            policy = reinforce(log_probabilities, gains - baseline(log_probabilities, gains))
        nll = -generator.log_probabilities(torch.cat([prompt, real], 1))[:, begin:].mean()
        return {"policy": policy / written.shape[1], "nll": anchor * nll}

    return [
        Phase("discriminator", [discriminator], discriminator_optimizer, discriminator_loss, clip=clip),
        Phase("generator", [generator], optimizer, generator_loss, clip=clip, schedule=schedule),
    ]


def over_all_choices(
    generator: Generator, features: Tensor, discriminator: RelationDiscriminator, rows: Tensor
) -> Tensor:
    """`all_choices` with the reward of every character at each place; features: (batch, poem time, width).

    On a CPU a few places at a time, as in `networks.likelihood`.
    """
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        values = 2 * discriminator.candidates(rows).sigmoid() - 1
    size = ROWS if features.device.type == "cpu" else len(features) * features.shape[1]
    parts = zip(features.flatten(0, 1).split(size), values.flatten(0, 1).split(size), strict=True)
    return sum(all_choices(generator.logits(part)[None], value[None]) for part, value in parts) / len(features)


@torch.no_grad()
def compose(
    generator: Generator, prompt: Tensor, length: int, random: torch.Generator, sampling: Sampling | None = None
) -> Tensor:
    """What the network itself writes after prompts (batch, prompt time), by no rule: (batch, length)."""
    sampler = Sampler(generator.logits, random, sampling or Sampling())
    with without_dropout(generator):
        start = torch.cat([generator.start(len(prompt)), prompt], 1)
        return play(generator, start, length, sampler, keep=False).tokens


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
