"""Trains the enhancer that the package ships, or goes on from it with recordings of your own.

    python recipes/enhancement.py --data DIR                        # base, with the metric discriminator
    python recipes/enhancement.py --data DIR --model small          # the causal one
    python recipes/enhancement.py --data DIR --adversary none       # the control: the same losses without an adversary
    python recipes/enhancement.py --data DIR --adversary wave       # against judges that tell waves from recordings
    python recipes/enhancement.py --data DIR --init base            # go on from the shipped weights

On a GPU a step takes about as long for 100 excerpts as for 12: add `--batch 96 --workers 6`, and with the metric
discriminator `--metric-workers 4 --metric-delay 12`, so that it need not wait for scores.

DIR holds either `clean/`, `noise/` and, if there are any, `rir/` (mixtures are made on the fly), or recorded pairs:
`clean/` and `noisy/`, or VoiceBank-DEMAND's `clean_trainset_28spk_wav/` and `noisy_trainset_28spk_wav/`. Interrupted
anywhere, the same command goes on from the last checkpoint. The run's folder then holds `best.safetensors`, which
`enhance --model` takes, and `discriminator.safetensors`.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import torch

from seqgan.checkpoint import find_weights, load_weights, save_weights, write_json
from seqgan.ema import EMA
from seqgan.recipe import every_and_last, is_main_rank, open_run, prepare_torch, run, warm_up_and_cosine
from seqgan.speech.data import MixConfig
from seqgan.speech.discriminators import WaveDiscriminator
from seqgan.speech.enhancement import (
    LossWeights,
    MetricAdversary,
    WaveAdversary,
    phases,
)
from seqgan.speech.metrics import pesq, si_sdr, stoi
from seqgan.speech.networks import BASE, SMALL, MaskGenerator, MetricDiscriminator
from seqgan.speech.sources import Sources, ValidationPair, export, open_sources
from seqgan.stream import Stream
from seqgan.training import fit


@dataclass(frozen=True)
class WaveJudges:
    """Of --adversary wave; a quarter of the papers' channels, for a CPU."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    """In samples, a judge for each; there may be none."""
    windows: tuple[int, ...] = (256, 512, 1024)
    """Of spectrograms, in samples, a judge for each; there may be none."""
    channels: int = 8
    """Of the first layers. The papers have 32."""
    widest: int = 128
    """The most channels of a layer. The papers have 1,024."""
    crop: int | None = 8192
    """Samples of each wave that they are shown. HiFi-GAN's segments have as many; None: all."""


@dataclass(frozen=True)
class Settings:
    data: Path
    """Folder of recordings, see above."""
    run: Path = Path("runs/enhancement")
    """Folder of this run: checkpoints, metrics.jsonl, TensorBoard events, best weights, audio."""
    model: Literal["base", "small"] = "base"
    """The network, whose parts can be set anew below."""
    channels: tuple[int, ...] | None = None
    """Of the encoder's stages; by default the model's, as are the next six."""
    paths: int | None = None
    """Dual paths before the recurrent layers."""
    path_hidden: int | None = None
    """Units of their recurrent layers, both directions together."""
    hidden: int | None = None
    """Of the recurrent layers across all bands."""
    layers: int | None = None
    """Of these; 0 leaves them out where there are paths."""
    causal: bool | None = None
    """No look-ahead."""
    taps: int | None = None
    """Frames that each bin is filtered over; 1 is a mask."""
    steps: int = 100_000
    """Of the training."""
    batch: int = 12
    """Mixtures in a step."""
    learning_rate: float = 1e-3
    """Of the enhancer."""
    discriminator_learning_rate: float = 5e-4
    """Of whoever judges."""
    warm_up: int = 300
    """Steps over which the learning rates rise from zero."""
    decay: float = 0.3
    """The last share of the steps, over which they fall to a hundredth along a cosine."""
    adversary: Literal["metric", "wave", "none"] = "metric"
    """Who judges: one that has learnt what PESQ says, or several that tell waves from recordings."""
    wave: WaveJudges = field(default_factory=WaveJudges)
    metrics: tuple[Literal["pesq", "stoi", "dnsmos"], ...] = ("pesq",)
    """What the metric discriminator learns to say; each is a term of the enhancer's loss of weights.adversary."""
    scored: tuple[int, ...] = (3,)
    """Waves of a batch that each of them scores for it (PESQ of one takes some 20 ms, STOI 10, DNSMOS 400)."""
    metric_workers: int = 1
    """Processes that score waves."""
    metric_delay: int = 3
    """Steps until a score arrives, whenever it is ready: more where a metric takes longer than so many steps."""
    init: str | None = None
    """Start from these weights, and with their network: base, small, or a .safetensors file."""
    init_discriminator: Path | None = None
    """Start the discriminator from an earlier run's discriminator.safetensors."""
    ema: float = 0.999
    """Decay of the averaged weights, which are validated and kept."""
    validate_every: int = 1000
    """Steps after which the validation pairs are scored."""
    checkpoint_every: int = 250
    """Steps after which all is saved from which an interrupted run goes on."""
    seed: int = 0
    """Of the weights, the data's order and whatever else is drawn."""
    workers: int = 0
    """Processes that make mixtures; 0 makes them in the training's own."""
    threads: int | None = None
    """Threads of torch; by default one for every core."""
    precision: Literal["no", "bf16"] = "no"
    """bf16: mixed precision; faster where the processor has it."""
    export_validation: Path | None = None
    """Write the validation pairs to this folder (clean/, noisy/, manifest.tsv) and stop."""
    sources: Sources = field(default_factory=Sources)
    mix: MixConfig = field(default_factory=MixConfig)
    weights: LossWeights = field(default_factory=LossWeights)


NETWORK = ("channels", "paths", "path_hidden", "hidden", "layers", "causal", "taps")  # settings of MaskGenerator


def validate(generator: MaskGenerator, pairs: Sequence[ValidationPair]) -> dict[str, float]:
    """Mean PESQ-WB, STOI and SI-SDR (dB), and the sum by which the best weights are chosen."""
    rate, device = generator.config.sample_rate, next(generator.parameters()).device
    scores: dict[str, list[float]] = {"pesq": [], "stoi": [], "si_sdr": []}
    for pair in pairs:
        with torch.no_grad():
            enhanced = generator.enhance(torch.from_numpy(pair.noisy)[None].to(device))[0].cpu().numpy()
        try:
            values = pesq(pair.clean, enhanced, rate), stoi(pair.clean, enhanced, rate), si_sdr(pair.clean, enhanced)
        except ValueError:  # no speech found in what the generator made: the least that the metrics give
            values = 1.0, 0.0, -20.0
        for name, value in zip(scores, values, strict=True):
            scores[name].append(max(value, -20.0))
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    # 0.1 PESQ counts as much as 1 dB or 0.02 STOI: PESQ alone is what the discriminator teaches, and rewards excess.
    return means | {"choice": means["pesq"] + means["si_sdr"] / 10 + 5 * means["stoi"]}


def main(settings: Settings) -> None:
    prepare_torch(settings.threads)
    if settings.export_validation is not None:
        _, pairs = open_sources(settings.data, settings.sources, settings.mix, settings.seed)
        export(pairs, settings.export_validation, settings.mix.sample_rate)
        return
    torch.manual_seed(settings.seed)
    own = {name: getattr(settings, name) for name in NETWORK}
    own = {name: value for name, value in own.items() if value is not None}
    generator = MaskGenerator(replace(BASE if settings.model == "base" else SMALL, **own))
    if settings.init is not None:
        if own:
            raise ValueError(f"--init brings its own network: without {', '.join(own)}")
        generator = MaskGenerator.load(find_weights(settings.init, "seqgan.speech"))
    if settings.mix.sample_rate != generator.config.sample_rate:
        raise ValueError(f"the network hears {generator.config.sample_rate} Hz, not {settings.mix.sample_rate}")
    training, pairs = open_sources(settings.data, settings.sources, settings.mix, settings.seed)
    generator.to(memory_format=torch.channels_last)
    generator_optimizer = torch.optim.AdamW(
        generator.parameters(), settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    average = EMA(generator, settings.ema)
    adversary = build_adversary(settings)
    queue = adversary.queue if isinstance(adversary, MetricAdversary) else None
    discriminator = discriminator_optimizer = None
    if adversary is not None:
        discriminator = adversary.discriminator
        if settings.init_discriminator is not None:
            load_weights(settings.init_discriminator, discriminator)
        discriminator_optimizer = torch.optim.AdamW(
            discriminator.parameters(), settings.discriminator_learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )
    game = phases(
        generator,
        generator_optimizer,
        settings.weights,
        adversary=adversary,
        discriminator_optimizer=discriminator_optimizer,
        schedule=warm_up_and_cosine(settings.steps, settings.warm_up, settings.decay),
    )
    open_run(settings.run, settings, settings.steps)
    begun = any((settings.run / "checkpoints").glob("*.pt"))
    if not begun and is_main_rank():
        earlier = next(f"earlier{n}" for n in itertools.count(1) if not any(settings.run.glob(f"earlier{n}.*")))
        for path in settings.run.glob("best.*"):  # of another training, whose scores mean nothing here
            path.replace(path.with_name(f"{earlier}.{path.name}"))

    def evaluate(step: int) -> dict[str, float]:
        scores = validate(generator, pairs)
        listen(generator, pairs[:3], settings.run / "samples", step)
        generator.save(settings.run / "last.safetensors")
        best = settings.run / "best.json"
        if not best.exists() or json.loads(best.read_text(encoding="utf-8"))["choice"] <= scores["choice"]:
            generator.save(settings.run / "best.safetensors")
            if discriminator is not None:
                save_weights(settings.run / "discriminator.safetensors", discriminator)
            write_json(best, {"step": step, **scores})
        return {f"validation/{name}": value for name, value in scores.items()}

    if settings.init is not None and not begun and is_main_rank():
        generator.eval()
        with torch.no_grad():
            found = evaluate(0)
        told = "  ".join(f"{name.removeprefix('validation/')} {value:.4g}" for name, value in found.items())
        print(f"before any step: {told}", file=sys.stderr, flush=True)

    try:
        fit(
            game,
            Stream(training, settings.batch, settings.workers),
            settings.steps,
            settings.run,
            state={} if queue is None else {"queue": queue},
            every=every_and_last(settings.validate_every, settings.steps, evaluate),
            ema=average,
            seed=settings.seed,
            precision=settings.precision,
            checkpoint_every=settings.checkpoint_every,
        )
    finally:
        if queue is not None:
            queue.close()


def build_adversary(settings: Settings) -> MetricAdversary | WaveAdversary | None:
    if settings.adversary == "metric":
        if not settings.metrics or len(settings.metrics) != len(settings.scored) or min(settings.scored) < 1:
            raise ValueError("--metrics and --scored go together: for each metric the waves of a batch that it scores")
        discriminator = MetricDiscriminator(metrics=len(settings.metrics))
        return MetricAdversary(
            discriminator, settings.metrics, settings.scored, settings.metric_workers, settings.metric_delay
        )
    if settings.adversary == "wave":
        judges = settings.wave
        player = WaveDiscriminator(judges.periods, judges.windows, judges.channels, judges.widest)
        return WaveAdversary(player, judges.crop)
    return None


def listen(generator: MaskGenerator, pairs: Sequence[ValidationPair], folder: Path, step: int) -> None:
    """Writes what the generator makes of some pairs, once beside the noisy and the clean wave."""
    folder.mkdir(exist_ok=True)
    device, rate = next(generator.parameters()).device, generator.config.sample_rate
    for pair in pairs:
        enhanced = generator.enhance(torch.from_numpy(pair.noisy)[None].to(device))[0].cpu().numpy()
        waves = {"noisy": pair.noisy, "clean": pair.clean, f"step{step:07}": enhanced}
        for name, wave in waves.items():
            soundfile.write(folder / f"{pair.name}.{name}.wav", wave, rate, subtype="PCM_16")


if __name__ == "__main__":
    run(main, Settings, __doc__)
