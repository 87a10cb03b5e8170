"""What the recipe seqgan_oracle.py learns from and measures by, and the controls beside every system."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqgan.text.metrics import self_bleu
from seqgan.text.networks import LSTMGenerator
from seqgan.text.ngrams import KneserNey
from seqgan.text.sampling import sample
from seqgan.text.seqgan import negative_log_likelihood

LENGTH = 20  # tokens
BATCH = 64  # sequences
TEMPERATURES = (1.2, 1.1, 1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4)


@dataclass(frozen=True)
class Material:
    """The oracle and what it wrote: sequences to learn from, and fresh ones that nobody learns from."""

    oracle: LSTMGenerator
    training: Tensor  # (sequences, time)
    fresh: Tensor  # (sequences, time)
    seed: int

    @classmethod
    def of(cls, writer: LSTMGenerator, count: int, seed: int) -> Material:
        written = sample(writer, 2 * count, LENGTH, generator=torch.Generator().manual_seed(seed))
        return cls(writer, *written.split(count), seed)

    def drawn_from(self, generator: LSTMGenerator) -> Tensor:
        """As many samples as there are sequences in whole batches (9,984 of 10,000, as in the paper), on the CPU.

        The random numbers are the same every time, so that differences between evaluations are less noisy.
        """
        random = torch.Generator(next(generator.parameters()).device).manual_seed(self.seed)
        return sample(generator, len(self.training) // BATCH * BATCH, LENGTH, generator=random).cpu()

    def measure(self, samples: Tensor, nll_gen: float) -> dict[str, float]:
        nll_oracle = negative_log_likelihood(self.oracle, samples)
        return {"nll_oracle": nll_oracle, "nll_gen": nll_gen, "self_bleu_2": self_bleu(samples[:2000], 2)[2]}

    def evaluate(self, generator: LSTMGenerator) -> dict[str, float]:
        return self.measure(self.drawn_from(generator), negative_log_likelihood(generator, self.fresh))


def controls(generator: LSTMGenerator, material: Material, folder: Path) -> dict[str, Any]:
    """What every system is to be compared with: likelihood at all temperatures, n-grams, and the oracle itself."""
    trigram = KneserNey(material.training, vocabulary_size=generator.config.vocabulary)
    samples = torch.from_numpy(trigram.sample(len(material.training), LENGTH, material.seed))
    oracles_own = negative_log_likelihood(material.oracle, material.fresh)
    return {
        "oracle": material.measure(material.fresh, oracles_own),
        "trigram": material.measure(samples, -float(trigram.log_probabilities(material.fresh).mean())),
        "temperatures": at_temperatures(generator, material),
        "best_temperatures": at_temperatures(LSTMGenerator.load(folder / "best.safetensors"), material),
    }


def at_temperatures(generator: LSTMGenerator, material: Material) -> list[dict[str, float]]:
    return [{"temperature": t, **material.evaluate(tempered(generator, t))} for t in TEMPERATURES]


def tempered(generator: LSTMGenerator, temperature: float) -> LSTMGenerator:
    """One whose logits are divided by the temperature."""
    generator = copy.deepcopy(generator).requires_grad_(False)
    for parameter in generator.output.parameters():
        parameter /= temperature
    return generator
