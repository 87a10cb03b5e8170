"""How long the sequence systems take beside what they cannot do without, in one run, on one thread.

    python recipes/benchmark_sequences.py

At the sizes of the SeqGAN paper (5,000 tokens, LSTM 32/32, sequences of 20, a discriminator with 1,720 filters):
sampling beside a plain loop around torch.multinomial with the same network; a step of the generator, which is 64
sequences and 16 rollouts of each of their prefixes, and an epoch of the discriminator, 10,000 real and as many fake
sequences, both beside the bare products of their matrices. It prints a Markdown table.

Times are CPU seconds. What takes long is timed on a share and scaled. Each is timed by turns with what stands beside
it, and the shortest time of each counts, so that the ratios bear other work on the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from seqgan.game import Game
from seqgan.recipe import run
from seqgan.text.discriminators import CNNDiscriminator
from seqgan.text.networks import LSTMGenerator
from seqgan.text.sampling import sample
from seqgan.text.seqgan import Lagging, Pool, RealAndFake, by_rollouts, discriminate, policy_gradient, realness
from seqgan.training import Stream

LENGTH, BATCH, ROLLOUTS, SEQUENCES = 20, 64, 16, 10_000
CHUNK = 1024  # rows of a product that may be cut anywhere
Part = tuple[Callable[[], object], float]  # of what is timed, and by how much its time is to be scaled


@dataclass(frozen=True)
class Settings:
    repeats: int = 3
    """Of which the shortest time counts."""
    share: float = 0.05
    """Of what is timed on a share: the plain loop, the discriminator's epoch, all bare products."""
    pairs: int = 160
    """Real and as many generated sequences in a batch of the discriminator."""


@dataclass(frozen=True)
class Product:
    """(rows, inner) times (inner, columns), so many times; in training with the products of both gradients."""

    rows: int
    inner: int
    columns: int
    times: float = 1
    training: bool = False

    def done(self, share: float) -> int:
        return max(1, round(self.times * share))

    def prepare(self, share: float) -> Callable[[], None]:
        x, weight = torch.randn(self.rows, self.inner), torch.randn(self.inner, self.columns)
        y, x_gradient, weight_gradient = torch.randn(self.rows, self.columns), x.clone(), weight.clone()

        def multiply() -> None:
            for _ in range(self.done(share)):
                torch.mm(x, weight, out=y)
                if self.training:
                    torch.mm(y, weight.T, out=x_gradient)
                    torch.mm(x.T, y, out=weight_gradient)

        return multiply


def bare(products: Sequence[Product], share: float) -> list[Part]:
    """Each of them its share of times."""
    return [(product.prepare(share), product.times / product.done(share)) for product in products]


def products_of_generator(generator: LSTMGenerator, rows: int, times: float, training: bool = False) -> list[Product]:
    """Reading `rows` tokens and the logits after them; the recurrent one is counted as one product over all rows."""
    config = generator.config
    return [
        Product(rows, config.embedding, 4 * config.hidden, times, training),
        Product(rows, config.hidden, 4 * config.hidden, times, training),
        Product(rows, config.hidden, config.vocabulary, times, training),
    ]


def products_of_discriminator(
    discriminator: CNNDiscriminator, rows: int, times: float, training: bool = False
) -> list[Product]:
    config, total = discriminator.config, discriminator.output.in_features
    filters = [
        Product(rows * (LENGTH - width + 1), width * config.embedding, count, times, training)
        for width, count in config.filters
    ]
    return [*filters, Product(rows, total, 2 * total, times, training)]


def main(settings: Settings) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    generator, discriminator = LSTMGenerator(), CNNDiscriminator()
    random, share = torch.Generator().manual_seed(0), settings.share
    print("| | CPU s | beside it | CPU s | ratio |\n|---|---|---|---|---|")

    def row(name: str, own: Sequence[Part], beside: str, other: Sequence[Part]) -> None:
        ours, theirs = by_turns([own, other], settings.repeats)
        ratio = theirs / ours if theirs > ours else ours / theirs
        print(f"| {name} | {ours:.2f} | {beside} | {theirs:.2f} | {ratio:.2f} |", flush=True)

    many, few = 2048, max(BATCH, round(share * SEQUENCES) // BATCH * BATCH)
    row(
        f"sampling {SEQUENCES:,} sequences",
        [(lambda: sample(generator, many, LENGTH, generator=random), SEQUENCES / many)],
        f"loop around torch.multinomial, {BATCH} at a time",
        [(lambda: plain_loop(generator, few, random), SEQUENCES / few)],
    )

    lagging = Lagging(generator)
    judge = by_rollouts(lagging.model, realness(discriminator), ROLLOUTS)
    optimizer = torch.optim.Adam(generator.parameters(), 0.01, fused=True)
    phase = policy_gradient(generator, optimizer, judge, batch=BATCH, length=LENGTH, after=lagging.update)
    step = Game([phase], None, {"lagging": lagging})
    continued = ROLLOUTS * BATCH * LENGTH * (LENGTH - 1) // 2  # tokens
    scored = ROLLOUTS * BATCH * (LENGTH - 1) + BATCH  # sequences
    products = products_of_generator(generator, CHUNK, continued / CHUNK)
    products += products_of_generator(generator, BATCH, LENGTH)
    products += products_of_generator(generator, BATCH * LENGTH, 1, training=True)
    products += products_of_discriminator(discriminator, CHUNK // 4, scored / (CHUNK // 4))
    row(f"generator step, {BATCH} x {ROLLOUTS} rollouts", [(step.play, 1)], "bare products", bare(products, share))

    batches = max(1, round(share * SEQUENCES / settings.pairs))
    pool = Pool(generator, SEQUENCES, LENGTH, renew=10**9)
    data = Stream(RealAndFake(sample(generator, SEQUENCES, LENGTH, generator=random), SEQUENCES), settings.pairs)
    optimizer = torch.optim.Adam(discriminator.parameters(), 1e-4, fused=True)
    part = Game([discriminate(discriminator, optimizer, pool, data, repeat=batches)], None, {"pool": pool})
    part.play()  # samples the pool
    epoch = SEQUENCES / settings.pairs
    products = products_of_discriminator(discriminator, 2 * settings.pairs, epoch, training=True)
    own = [(part.play, epoch / batches)]
    row(f"discriminator epoch of {2 * SEQUENCES:,}", own, "bare products", bare(products, share))


@torch.no_grad()
def plain_loop(generator: LSTMGenerator, count: int, random: torch.Generator) -> None:
    """As TextGAN-PyTorch samples: log_softmax, exp, torch.multinomial."""
    for _ in range(0, count, BATCH):
        token, state = generator.start(BATCH), None
        for _ in range(LENGTH):
            features, state = generator(token, state)
            log_probabilities = generator.logits(features[:, 0]).log_softmax(1)
            token = torch.multinomial(log_probabilities.exp(), 1, generator=random)


def by_turns(sides: Sequence[Sequence[Part]], repeats: int) -> list[float]:
    """CPU seconds of each side: the shortest time of each of its parts, scaled, in sum."""
    shortest = [[float("inf")] * len(side) for side in sides]
    for _ in range(repeats):
        for side, times in zip(sides, shortest, strict=True):
            for i, (function, scale) in enumerate(side):
                began = time.process_time()
                function()
                times[i] = min(times[i], (time.process_time() - began) * scale)
    return list(map(sum, shortest))


if __name__ == "__main__":
    run(main, Settings, __doc__)
