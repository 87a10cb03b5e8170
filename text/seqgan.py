"""SeqGAN (Yu et al. 2017, "SeqGAN: Sequence generative adversarial nets with policy gradient", arXiv:1609.05473), and
what the paper compares it with: maximum likelihood, scheduled sampling (Bengio et al. 2015), and the policy gradient
with BLEU for a reward. A fourth one is the control that the paper lacks: a reward that is always 1.

A generator chooses tokens one by one. The discriminator sees whole sequences only, so what a single choice was worth is
found by playing on from it many times and asking what the discriminator says of the results. Stages follow one another
on `seqgan.training.fit`: likelihood, then the discriminator alone, then both.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from itertools import repeat
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from seqgan.objectives import NonSaturating
from seqgan.policy import Baseline, NoBaseline, entropy_bonus, reinforce
from seqgan.rollout import follow, play, rollout_values
from seqgan.stream import Epochs
from seqgan.training import Phase, Turn, shuffled

from .discriminators import CNNDiscriminator, Discriminator
from .metrics import References
from .networks import Generator, LSTMConfig, LSTMGenerator, likelihood, without_dropout
from .sampling import Sampler, sample

Reward = Callable[[Tensor], Tensor]  # tokens (rows, time) -> (rows,), of whole sequences
Judge = Callable[[Tensor, torch.Generator], Tensor]  # tokens (batch, time) -> what each was worth, (batch, time)

GATES = ("i", "f", "c", "og")  # the oracle's names of the gates, in torch's order


def oracle(path: str | Path) -> LSTMGenerator:
    """The paper's synthetic oracle, an LSTM with random weights whose arrays are in an .npz file.

    g_embeddings (vocabulary, embedding); for each gate g of i, f, og and c the arrays Wg (embedding, hidden),
    Ug (hidden, hidden) and bg (hidden,); Wo (hidden, vocabulary) and bo (vocabulary,). Sequences begin after token 0.
    """
    names = ["g_embeddings", *(kind + gate for gate in GATES for kind in ("W", "U", "b")), "Wo", "bo"]
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: torch.from_numpy(file[name]).float() for name in names}
    except (KeyError, ValueError, TypeError, AttributeError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path} is not an oracle's .npz with {', '.join(names)}: {error}") from error
    try:
        vocabulary, embedding = arrays["g_embeddings"].shape
        hidden = len(arrays["bi"])
        generator = LSTMGenerator(LSTMConfig(vocabulary, embedding, hidden))
        weights = {
            "embedding.weight": arrays["g_embeddings"],
            "lstm.weight_ih_l0": torch.cat([arrays["W" + gate] for gate in GATES], 1).T,
            "lstm.weight_hh_l0": torch.cat([arrays["U" + gate] for gate in GATES], 1).T,
            "lstm.bias_ih_l0": torch.cat([arrays["b" + gate] for gate in GATES]),
            "lstm.bias_hh_l0": torch.zeros(4 * hidden),  # torch has two biases, and adds them
            "output.weight": arrays["Wo"].T,
            "output.bias": arrays["bo"],
        }
        generator.load_state_dict(weights)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: its arrays do not fit one another: {error}") from error
    return generator.eval().requires_grad_(False)


def random_oracle(config: LSTMConfig, seed: int) -> LSTMGenerator:
    """An oracle of one's own, whose weights are drawn from N(0, 1) as the paper's are."""
    generator, random = LSTMGenerator(config), torch.Generator().manual_seed(seed)
    for parameter in generator.parameters():
        nn.init.normal_(parameter, generator=random)
    nn.init.zeros_(generator.lstm.bias_hh_l0)  # of two biases that are added
    return generator.eval().requires_grad_(False)


@torch.no_grad()
def negative_log_likelihood(generator: Generator, tokens: Tensor, rows: int = 256) -> float:
    """Mean over all tokens (batch, time), nats per token: of the oracle on samples, NLL_oracle; of a generator on fresh
    sequences of the oracle, NLL_gen."""
    device = next(generator.parameters()).device
    sums = [generator.log_probabilities(part.to(device)).sum().item() for part in tokens.split(rows)]
    return -sum(sums) / tokens.numel()


class RealAndFake(Dataset):
    """For the discriminator: real sequences, and beside each the place of a fake one in the `Pool`."""

    def __init__(self, tokens: Tensor, size: int, seed: int = 0):
        self.real, self.size, self.seed = Epochs(tokens, seed), size, seed

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"real": self.real[index], "fake": shuffled(index, self.size, self.seed + 1)[1]}


def nothing(position: int) -> Iterator[None]:
    """Data of a phase that plays with its own samples only."""
    return repeat(None)


class Pool:
    """The generator's sequences that the discriminator learns from, `size` of them, made anew every `renew` batches.

    It is saved with a run, since the generator that made it may have moved on.
    """

    def __init__(self, generator: Generator, size: int, length: int, renew: int):
        self.generator, self.size, self.length, self.renew = generator, size, length, renew
        self.used, self.tokens = 0, torch.empty(0, length, dtype=torch.int64)

    def draw(self, places: Tensor, random: torch.Generator) -> Tensor:
        """places: (batch,) -> tokens (batch, length)"""
        if self.used % self.renew == 0:
            with without_dropout(self.generator):
                self.tokens = sample(self.generator, self.size, self.length, generator=random)
        self.used += 1
        return self.tokens.to(places.device)[places]

    def state_dict(self) -> dict[str, Any]:
        return {"used": self.used, "tokens": self.tokens}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.used, self.tokens = state["used"], state["tokens"]


class Lagging(nn.Module):
    """The rollout policy: a copy of the generator that comes after it, by 1 - keep of the way at every update.

    The paper says only that it is the generator's; its authors' program keeps 0.8 of the old one.
    """

    def __init__(self, generator: Generator, keep: float = 0.8):
        super().__init__()
        self.model, self.keep = copy.deepcopy(generator).requires_grad_(False), keep
        self.leader = [generator]  # in a list, so that it is no part of this one

    @torch.no_grad()
    def update(self) -> None:
        for own, led in zip(self.model.parameters(), self.leader[0].parameters(), strict=True):
            own.lerp_(led, 1 - self.keep)


def mle(generator: Generator, optimizer: torch.optim.Optimizer, clip: float = 5.0) -> Phase:
    """Maximum likelihood. A batch is tokens (batch, time)."""

    def loss(turn: Turn) -> dict[str, Tensor]:
        return {"nll": -generator.log_probabilities(turn.batch).mean()}

    return Phase("generator", [generator], optimizer, loss, clip=clip)


def scheduled_sampling(
    generator: Generator, optimizer: torch.optim.Optimizer, truth: Callable[[int], float], clip: float = 5.0
) -> Phase:
    """Likelihood of each real token after a history in which a real token stands only with probability truth(step), and
    the generator's own choice otherwise (Bengio et al. 2015, section 2.4)."""

    def loss(turn: Turn) -> dict[str, Tensor]:
        tokens, sampler = turn.batch, Sampler(generator.logits, turn.generator)
        features, state = generator(generator.start(len(tokens)))
        read = [features]
        for t in range(tokens.shape[1] - 1):
            own = sampler(features[:, 0].detach(), tokens[:, :t])
            coin = torch.rand(len(tokens), generator=turn.generator, device=tokens.device)
            token = torch.where(coin < truth(turn.step), tokens[:, t], own)
            features, state = generator(token[:, None], state)
            read.append(features)
        turn.log("truth", truth(turn.step))
        return {"nll": -likelihood(generator, torch.cat(read, 1), tokens).mean()}

    return Phase("generator", [generator], optimizer, loss, clip=clip)


def constant(tokens: Tensor, random: torch.Generator) -> Tensor:
    """The control: every choice was worth 1. What this changes is due to no discriminator."""
    return torch.ones(tokens.shape, device=tokens.device)


def by_rollouts(policy: Generator, reward: Reward, count: int) -> Judge:
    """The paper's equation 4: Q of a choice is the mean reward of `count` sequences that go on from it under `policy`.

    With count 0 each choice answers for its own sequence, as in REINFORCE without rollouts.
    """

    def judge(tokens: Tensor, random: torch.Generator) -> Tensor:
        if count == 0:
            return reward(tokens)[:, None].expand(tokens.shape)
        with without_dropout(policy):
            path = follow(policy, policy.start(len(tokens)), tokens)
            return rollout_values(policy, path, Sampler(policy.logits, random), count, reward)

    return judge


def policy_gradient(
    generator: Generator,
    optimizer: torch.optim.Optimizer,
    judge: Judge,
    *,
    batch: int,
    length: int,
    baseline: Baseline | None = None,
    entropy: float = 0.0,
    clip: float = 5.0,
    after: Callable[[], None] | None = None,
) -> Phase:
    """The generator's turn: it samples `batch` sequences of `length`, and what was judged well becomes likelier.

    entropy: weight of the bonus for undecided choices. A baseline that is a module (`LearnedValue`) is trained with the
    generator; its parameters are to be in the optimizer.
    """
    baseline = NoBaseline() if baseline is None else baseline

    def loss(turn: Turn) -> dict[str, Tensor]:
        with without_dropout(generator):
            sampler = Sampler(generator.logits, turn.generator)
            tokens = play(generator, generator.start(batch), length, sampler, keep=False).tokens
            values = judge(tokens, turn.generator)
            features = generator.read(tokens)
            log_probabilities = likelihood(generator, features, tokens)
        turn.log("reward", values.mean())
        turn.log("nll_of_own", -log_probabilities.mean())
        terms = {"policy": reinforce(log_probabilities, values - baseline(features, values))}
        error = baseline.loss(features, values)
        if error is not None:
            terms["value"] = error
        if entropy:
            terms["entropy"] = entropy_bonus(generator.logits(features), entropy)
        return terms

    players = [generator, baseline] if isinstance(baseline, nn.Module) else [generator]
    return Phase("generator", players, optimizer, loss, data=nothing, clip=clip, after=after)


def realness(discriminator: Discriminator) -> Reward:
    """The discriminator's probability that a sequence is real."""
    return lambda tokens: discriminator.score(tokens).sigmoid()


def bleu(references: References) -> Reward:
    """PG-BLEU: a sequence's BLEU against the references, of the highest order that they count."""
    return lambda tokens: torch.from_numpy(references(tokens)[:, -1]).to(tokens.device, torch.float32)


def discriminate(
    discriminator: Discriminator,
    optimizer: torch.optim.Optimizer,
    pool: Pool,
    data: Callable[[int], Any],
    *,
    repeat: int = 1,
    l2: float = 0.05,
) -> Phase:
    """The discriminator's turn: `repeat` batches of `RealAndFake`, the fakes out of the pool.

    l2: weight of the squared weights of the CNN's last layer; the paper's 0.2 / 2, halved again because here one score
    stands for the difference of its two.
    """
    objective = NonSaturating()

    def loss(turn: Turn) -> dict[str, Tensor]:
        real, fake = turn.batch["real"], pool.draw(turn.batch["fake"], turn.generator)
        scores = discriminator(torch.cat([real, fake]))
        real, fake = scores.split([len(real), len(fake)])
        turn.log("accuracy", ((real > 0).float().mean() + (fake <= 0).float().mean()) / 2)
        terms = {"adversary": 0.5 * objective.discriminator(real, fake)}
        if isinstance(discriminator, CNNDiscriminator) and l2:
            output = discriminator.output
            terms["l2"] = l2 * (output.weight.square().sum() + output.bias.square().sum())
        return terms

    return Phase("discriminator", [discriminator], optimizer, loss, data=data, repeat=repeat)
