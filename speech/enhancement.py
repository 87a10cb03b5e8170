"""Speech enhancement as a game: a mask generator against a discriminator that has learnt what a metric would say, or
against one that tells its waves from recordings.

MetricGAN (Fu et al. 2019, arXiv:1905.04874) or HiFi-GAN (Kong et al. 2020, arXiv:2010.05646), on the compressed complex
spectrum and with the losses of CMGAN (Cao et al. 2022, arXiv:2203.15149).
"""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqgan.objectives import LeastSquares
from seqgan.stream import leave_signals_to_the_run
from seqgan.training import Phase, Turn

from .discriminators import WaveDiscriminator, feature_distance
from .networks import MaskGenerator, MetricDiscriminator, compress, expand, magnitude


@dataclass(frozen=True)
class LossWeights:
    """Weights of the generator's terms; all are means over the batch of a level-normalised signal."""

    magnitude: float = 0.3  # squared error of |S|^0.3
    complex: float = 0.2  # squared error of the compressed spectrum's real and imaginary parts
    consistency: float = 0.3  # the same, of the spectrum of the wave that the estimate turns into
    wave: float = 0.2  # absolute error of samples
    adversary: float = 0.025  # (1 - D)^2, D being what the metric is thought to say; of waves half of it
    features: float = 0.05  # absolute error of the features of a discriminator of waves


def reconstruction(
    generator: MaskGenerator, noisy: Tensor, clean: Tensor, weights: LossWeights = LossWeights()
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Terms of the reconstruction loss, and the enhanced and clean waves at the level at which the terms were taken.

    noisy, clean: (batch, samples). Both are brought to a level of -20 dBFS of the noisy one first, so that a quiet
    recording counts as much as a loud one.
    """
    scale = 0.1 * noisy.square().mean(1, keepdim=True).add(1e-10).rsqrt()
    noisy, clean = noisy * scale, clean * scale
    power, fourier = generator.config.compression, generator.fourier
    estimate, _ = generator(compress(fourier(noisy), power))
    wave = fourier.inverse(expand(estimate, power), noisy.shape[1])
    with torch.no_grad():
        target = compress(fourier(clean), power)
    again = compress(fourier(wave), power)
    terms = {
        "magnitude": weights.magnitude * (magnitude(estimate) - magnitude(target)).square().mean(),
        "complex": weights.complex * torch.view_as_real(estimate - target).square().mean(),
        "consistency": weights.consistency * torch.view_as_real(again - target).square().mean(),
        "wave": weights.wave * (wave - clean).abs().mean(),
    }
    return terms, wave, clean


def normalised_pesq(clean: np.ndarray, enhanced: np.ndarray) -> float:
    """PESQ-WB of 16-kHz waves, 1 ... 4.644 brought to 0 ... 1; NaN where there is no speech to judge."""
    from .metrics import pesq

    try:
        return (pesq(clean, enhanced, 16_000) - 1) / (4.644 - 1)
    except ValueError:
        return math.nan


def intelligibility(clean: np.ndarray, enhanced: np.ndarray) -> float:
    """STOI of 16-kHz waves, 0 ... 1; NaN where there is too little speech to judge."""
    from .metrics import stoi

    try:
        return max(0.0, stoi(clean, enhanced, 16_000))
    except ValueError:
        return math.nan


def normalised_opinion(clean: np.ndarray, enhanced: np.ndarray) -> float:
    """DNSMOS OVRL of a 16-kHz wave, 1 ... 5 brought to 0 ... 1. It does not look at the clean one."""
    from .metrics import dnsmos

    # Repeated to just what the network hears, 9.01 s: what is longer costs a run for every further second.
    return (dnsmos(np.resize(enhanced, 144_160), 16_000)["ovrl"] - 1) / (5 - 1)


@dataclass(frozen=True)
class Metric:
    """Of 16-kHz waves, clean and enhanced: a score in [0, 1], NaN where there is none; 1 for the clean wave if that is
    the best."""

    score: Callable[[np.ndarray, np.ndarray], float]
    clean_is_best: bool = True


METRICS = {
    "pesq": Metric(normalised_pesq),
    "stoi": Metric(intelligibility),
    "dnsmos": Metric(normalised_opinion, clean_is_best=False),
}


class ScoreQueue:
    """Pairs on their way through metrics: worker processes score them while the game goes on, and they join in order.

    A pair that is put in comes out `delay` turns later however fast the workers are, so timing never changes the
    training; the pairs under way are part of the state, and are scored again after a resume.

    metrics: each with the number of pairs of a batch that it scores, which is less than all of them where it is slow.
    """

    def __init__(
        self,
        metrics: Sequence[tuple[Callable[[np.ndarray, np.ndarray], float], int]],
        workers: int = 1,
        delay: int = 3,
    ):
        if delay < 0:
            raise ValueError(f"scores arrive after 0 steps or more, not {delay}")
        self.metrics, self.workers, self.delay = metrics, workers, delay
        self.most = max(count for _, count in metrics)
        self.waiting: deque[tuple[Tensor, Tensor, list[list[Future]]]] = deque()
        self.pool: ProcessPoolExecutor | None = None

    def put(self, clean: Tensor, enhanced: Tensor) -> None:
        """clean, enhanced: (batch, samples); those are kept that some metric scores."""
        if self.pool is None:  # started when first needed; spawned, since a fork of a process with threads may hang
            self.pool = ProcessPoolExecutor(self.workers, get_context("spawn"), _begin_worker)
        clean, enhanced = clean[: self.most].detach().cpu(), enhanced[: self.most].detach().cpu()
        pairs = [(a.numpy().copy(), b.numpy().copy()) for a, b in zip(clean, enhanced, strict=True)]
        scores = [[self.pool.submit(metric, *pair) for pair in pairs[:count]] for metric, count in self.metrics]
        self.waiting.append((clean, enhanced, scores))

    def get(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """The oldest pairs and their scores (batch, metric), NaN where there is none; None while none is due."""
        if len(self.waiting) <= self.delay:
            return None
        clean, enhanced, futures = self.waiting.popleft()
        scores = torch.full((len(clean), len(self.metrics)), math.nan)
        for column, scored in enumerate(futures):
            scores[: len(scored), column] = torch.tensor([score.result() for score in scored])
        return clean, enhanced, scores

    def state_dict(self) -> dict[str, Any]:
        return {"pairs": [torch.stack([clean, enhanced]) for clean, enhanced, _ in self.waiting]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.waiting.clear()
        for clean, enhanced in state["pairs"]:
            self.put(clean, enhanced)

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)
            self.pool = None


def _begin_worker() -> None:
    leave_signals_to_the_run()
    threading.Thread(target=_end_with_the_run, daemon=True).start()


def _end_with_the_run() -> None:
    """A worker waits for work for ever, also when the training that was to give it was killed."""
    parent_process().join()
    os._exit(1)


class MetricAdversary:
    """The discriminator learns what some metrics say of the waves that were just made, and says it of each of them.

    metrics: names of METRICS, one for each of the discriminator's answers; scored: waves of a batch that each scores.
    `queue` is part of a training's state, and to be closed after it. Of several ranks the main one's is kept: what they
    go on with is its waves, for `delay` steps.
    """

    def __init__(
        self,
        discriminator: MetricDiscriminator,
        metrics: Sequence[str] = ("pesq",),
        scored: Sequence[int] = (3,),
        workers: int = 1,
        delay: int = 3,
    ):
        self.discriminator, self.metrics = discriminator, metrics
        scorers = [(METRICS[name].score, count) for name, count in zip(metrics, scored, strict=True)]
        self.queue = ScoreQueue(scorers, workers, delay)

    def teach(self, turn: Turn, clean: Tensor, wave: Tensor, weights: LossWeights) -> dict[str, Tensor]:
        """The generator's terms. clean, wave: (batch, samples)"""
        turn.share["pair"] = clean, wave.detach()
        missing = (1 - self.discriminator(clean, wave)).square().mean(0)
        return {"adversary": weights.adversary * missing.sum()}

    def learn(self, turn: Turn) -> dict[str, Tensor]:
        """The discriminator's own, after `teach`."""
        self.queue.put(*turn.share["pair"])
        clean = turn.share["pair"][0][: self.queue.most]
        best = [METRICS[name].clean_is_best for name in self.metrics]
        terms = {"clean": (1 - self.discriminator(clean, clean)).square().mean(0)[best].sum()}
        ready = self.queue.get()
        if ready is not None:
            clean, enhanced, scores = (part.to(clean.device) for part in ready)
            known = ~scores.isnan()
            error = (self.discriminator(clean, enhanced) - scores.nan_to_num()) * known
            terms["metric"] = (error.square().sum(0) / known.sum(0).clamp(min=1)).sum()
            for name, said in zip(self.metrics, scores.nanmean(0), strict=True):
                turn.log(name, said.item())
        return terms


class WaveAdversary:
    """The least-squares game with judges of waves, and their features of clean speech to be matched (HiFi-GAN).

    crop: they are shown a piece of so many samples of each wave, at a random place; None: all of it.
    """

    def __init__(self, discriminator: WaveDiscriminator, crop: int | None = None):
        self.discriminator, self.crop, self.objective = discriminator, crop, LeastSquares()

    def teach(self, turn: Turn, clean: Tensor, wave: Tensor, weights: LossWeights) -> dict[str, Tensor]:
        """The generator's terms. clean, wave: (batch, samples)"""
        if self.crop is not None and self.crop < wave.shape[1]:
            highest = wave.shape[1] - self.crop + 1
            begin = int(torch.randint(highest, (), generator=turn.generator, device=turn.generator.device))
            clean, wave = (whole[:, begin : begin + self.crop] for whole in (clean, wave))
        turn.share["pair"] = clean, wave.detach()
        made = self.discriminator(wave)
        with torch.no_grad():
            real = self.discriminator(clean)
        games = [self.objective.generator(opinion[-1]) for opinion in made]
        return {
            "adversary": weights.adversary * sum(games) / len(games),
            "features": weights.features * feature_distance(real, made),
        }

    def learn(self, turn: Turn) -> dict[str, Tensor]:
        """The discriminator's own, after `teach`."""
        clean, wave = turn.share["pair"]
        scores = [opinion[-1].chunk(2) for opinion in self.discriminator(torch.cat([clean, wave]))]
        games = [self.objective.discriminator(real, made) for real, made in scores]
        for name, values in zip(("real", "fake"), zip(*scores, strict=True), strict=True):
            turn.log(name, sum(value.float().mean() for value in values) / len(values))
        return {"adversary": sum(games) / len(games)}


def phases(
    generator: MaskGenerator,
    generator_optimizer: torch.optim.Optimizer,
    weights: LossWeights,
    *,
    adversary: MetricAdversary | WaveAdversary | None = None,
    discriminator_optimizer: torch.optim.Optimizer | None = None,
    clip: float = 1.0,
    schedule: Callable[[int], float] | None = None,
) -> list[Phase]:
    """The game: the generator moves, then the discriminator, which sees what was just made.

    Without an adversary the generator plays alone (the control).
    """

    def generator_loss(turn: Turn) -> dict[str, Tensor]:
        terms, wave, clean = reconstruction(generator, turn.batch["noisy"], turn.batch["clean"], weights)
        return terms if adversary is None else terms | adversary.teach(turn, clean, wave, weights)

    options = {"clip": clip, "schedule": schedule}
    game = [Phase("generator", [generator], generator_optimizer, generator_loss, **options)]
    if adversary is not None:
        player = [adversary.discriminator]
        game.append(Phase("discriminator", player, discriminator_optimizer, adversary.learn, **options))
    return game
