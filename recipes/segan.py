"""Trains SEGAN (Pascual et al. 2017), or its generator alone with the L1 term, and sets two such runs side by side.

    python recipes/segan.py --data DIR                                      # the paper's setting
    python recipes/segan.py --data DIR --preset reduced                     # a small one, for the CPU
    python recipes/segan.py --data DIR --preset reduced --adversary none    # the control: no discriminator
    python recipes/segan.py --compare RUN RUN                               # table and figure of two finished runs

DIR holds recorded pairs (`clean/` and `noisy/`, or VoiceBank-DEMAND's `clean_trainset_28spk_wav/` and
`noisy_trainset_28spk_wav/`), or else `clean/`, `noise/` and, if there are any, `rir/`, which are mixed on the fly.
Interrupted anywhere, the same command goes on from the last checkpoint. The run's folder then holds
`generator.safetensors`, `discriminator.safetensors`, `samples/`, `curves.png` and `scores.json`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
import torch

from seqgan.checkpoint import save_weights, write_json, write_text
from seqgan.figures import draw_curves as draw
from seqgan.figures import new_figure, save_figure
from seqgan.recipe import check_counts, every_and_last, open_run, prepare_torch, run, with_preset
from seqgan.speech.data import MixConfig, Pairs
from seqgan.speech.metrics import pesq, segmental_snr, si_sdr, stoi
from seqgan.speech.plot import Spectrogram
from seqgan.speech.segan import PAPER, REDUCED, SEGAN, Discriminator, Generator, SEGANConfig, Windows, phases, prepare
from seqgan.speech.sources import Sources, ValidationPair, open_sources
from seqgan.tables import markdown_table
from seqgan.training import EMA, Stream, fit


@dataclass(frozen=True)
class Preset:
    network: SEGANConfig
    batch: int
    references: int  # examples in the reference batch of virtual batch normalisation
    learning_rate: float
    steps: int
    fall: float = 0.0  # the last share of the steps, over which the learning rate falls to zero
    ema: float | None = None  # decay of the average of the generator's weights, which is then what is judged and kept


PRESETS = {
    # 86 epochs of VoiceBank-DEMAND's 9.4 hours in half-overlapping windows, 400 at a time.
    "paper": Preset(PAPER, batch=400, references=400, learning_rate=2e-4, steps=14_200),
    # For a core of a CPU: small batches, a rate that falls early, and averaged weights, since RMSprop's steps do not
    # shorten by themselves and keep the noise of small batches.
    "reduced": Preset(REDUCED, batch=4, references=4, learning_rate=1e-3, steps=14_000, fall=0.7, ema=0.998),
}

# Additive noise alone, as in VoiceBank-DEMAND: SEGAN was not made for rooms, telephones, codecs and all levels.
MIX = MixConfig(
    quiet=0, clean=0, speechless=0, room=0, band_limit=0, telephone=0, codec=0, clipping=0, level=(-30.0, -20.0)
)  # fmt: skip

SCORES: dict[str, Callable[[np.ndarray, np.ndarray, int], float]] = {
    "SI-SDR (dB)": lambda clean, enhanced, rate: si_sdr(clean, enhanced),
    "PESQ-WB": pesq,
    "STOI": stoi,
    "segmental SNR (dB)": segmental_snr,
}


@dataclass(frozen=True)
class Settings:
    data: Path | None = None
    """Folder of recordings, see above; with --compare by default that of the first run."""
    run: Path = Path("runs/segan")
    """Folder of this run; with --compare, of comparison.md and comparison.png."""
    preset: Literal["paper", "reduced"] = "paper"
    """Sizes and lengths, see above."""
    adversary: Literal["lsgan", "none"] = "lsgan"
    """none: the generator alone, by the L1 term."""
    l1: float = 100.0
    """Weight of the L1 term."""
    steps: int | None = None
    """By default the preset's, as are the batch and the learning rate."""
    batch: int | None = None
    """Windows in a step."""
    learning_rate: float | None = None
    """Of both players."""
    validate_every: int = 100
    """Steps after which the validation pairs are scored."""
    checkpoint_every: int = 100
    """Steps after which all is saved from which an interrupted run goes on."""
    seed: int = 0
    """Of the weights, the data's order and whatever else is drawn."""
    workers: int = 0
    """Processes that make mixtures; 0 makes them in the training's own."""
    threads: int | None = None
    """Threads of torch; by default one for every core."""
    precision: Literal["no", "bf16"] = "no"
    """bf16: mixed precision; faster where the processor has it."""
    compare: tuple[Path, Path] | None = None
    """Do not train: score and draw two finished runs on the validation pairs of the data."""
    sources: Sources = field(default_factory=Sources)
    mix: MixConfig = MIX


def main(settings: Settings) -> None:
    prepare_torch(settings.threads)
    if settings.compare is not None:
        compare(settings, *settings.compare)
    else:
        train(settings)


def train(settings: Settings) -> None:
    if settings.data is None:
        raise ValueError("--data DIR is needed: recorded pairs, or speech and noise to mix")
    preset, folder = PRESETS[settings.preset], settings.run
    network, chosen = preset.network, with_preset(settings, preset)
    check_counts(chosen, "batch", "steps")
    mix = replace(settings.mix, seconds=network.window / network.sample_rate, sample_rate=network.sample_rate)
    training, pairs = open_sources(settings.data, settings.sources, mix, settings.seed)
    if isinstance(training, Pairs):
        training = Windows(training, network.window)
    torch.manual_seed(settings.seed)
    players: list[torch.nn.Module] = [Generator(network)]
    if settings.adversary == "lsgan":
        batch = next(Stream(training, preset.references, seed=settings.seed)(0))
        noisy, clean = prepare(batch["noisy"], batch["clean"], network)
        players.append(Discriminator(network, torch.stack([clean, noisy], 1)))
    # The paper names the algorithm and the rate; 0.9 is what its authors' framework has for the average of squares.
    optimizers = [torch.optim.RMSprop(player.parameters(), chosen.learning_rate, alpha=0.9) for player in players]
    steps = chosen.steps

    def rate_factor(step: int) -> float:
        return min(1.0, (steps - step) / (preset.fall * steps)) if preset.fall else 1.0

    in_turn = [part for both in zip(players, optimizers, strict=True) for part in both]
    game = phases(*in_turn, weight=settings.l1, schedule=rate_factor)
    open_run(folder, settings, steps)
    model = SEGAN(players[0])
    average = EMA(players[0], preset.ema) if preset.ema else None

    def validate(step: int) -> dict[str, float]:
        for pair in pairs[:2]:
            write_sample(folder / "samples", pair, enhance(model, pair), network.sample_rate, step)
        players[0].save(folder / "generator.safetensors")
        if len(players) == 2:
            save_weights(folder / "discriminator.safetensors", players[1])
        return {"validation/si_sdr": float(np.mean([si_sdr(pair.clean, enhance(model, pair)) for pair in pairs]))}

    fit(
        game,
        Stream(training, chosen.batch, settings.workers, settings.seed),
        steps,
        folder,
        every=every_and_last(settings.validate_every, steps, validate),
        ema=average,
        seed=settings.seed,
        precision=settings.precision,
        checkpoint_every=settings.checkpoint_every,
    )
    with average.applied() if average else nullcontext():
        scores = {"noisy": score(pairs), "enhanced": score(pairs, model)}
    write_json(folder / "scores.json", scores)
    draw_curves(folder / "curves.png", {folder.name: folder}, scores["noisy"]["SI-SDR (dB)"])
    print(table(scores), end="")


def compare(settings: Settings, *folders: Path) -> None:
    """Writes comparison.md and comparison.png: what two runs were like on the way, and what they give in the end."""
    configs = [json.loads((folder / "config.json").read_text(encoding="utf-8")) for folder in folders]
    differing = [name for name in configs[0] if configs[0][name] != configs[1][name] and name != "run"]
    print(f"the runs differ in: {', '.join(differing) or 'nothing'}", file=sys.stderr)
    data = settings.data or Path(configs[0]["data"])
    sources = Sources(**configs[0]["sources"]) if settings.data is None else settings.sources
    _, pairs = open_sources(data, sources, settings.mix)
    names = [folder.name if folders[0].name != folders[1].name else str(folder) for folder in folders]
    models = {
        name: SEGAN.from_pretrained(folder / "generator.safetensors")
        for name, folder in zip(names, folders, strict=True)
    }
    scores = {"noisy": score(pairs)} | {name: score(pairs, model) for name, model in models.items()}
    write_text(settings.run / "comparison.md", table(scores))
    waves = {"noisy": pairs[0].noisy, "clean": pairs[0].clean}
    waves |= {name: enhance(model, pairs[0]) for name, model in models.items()}
    runs = dict(zip(names, folders, strict=True))
    draw_curves(settings.run / "comparison.png", runs, scores["noisy"]["SI-SDR (dB)"], scores, waves)
    print(table(scores), end="")


def enhance(model: SEGAN, pair: ValidationPair) -> np.ndarray:
    return model(pair.noisy, model.config.sample_rate)


def score(pairs: Sequence[ValidationPair], model: SEGAN | None = None) -> dict[str, float]:
    """Means over the pairs, without a model of the noisy recordings; what has no score (silence) is left out."""
    rate = PAPER.sample_rate if model is None else model.config.sample_rate
    values: dict[str, list[float]] = {name: [] for name in SCORES}
    for pair in pairs:
        wave = pair.noisy if model is None else enhance(model, pair)
        for name, measure in SCORES.items():
            try:
                values[name].append(measure(pair.clean, wave, rate))
            except ValueError:
                continue
    return {name: float(np.mean(found)) if found else float("nan") for name, found in values.items()}


def table(scores: Mapping[str, Mapping[str, float]]) -> str:
    rows = ((name, *(f"{row[column]:.2f}" for column in SCORES)) for name, row in scores.items())
    return markdown_table(("", *SCORES), rows)


def write_sample(folder: Path, pair: ValidationPair, enhanced: np.ndarray, rate: int, step: int) -> None:
    """The three waves, and a picture of their spectrograms."""
    folder.mkdir(exist_ok=True)
    waves = {"noisy": pair.noisy, "clean": pair.clean, f"step{step:06}": enhanced}
    for name, wave in waves.items():
        soundfile.write(folder / f"{pair.name}.{name}.wav", wave, rate, subtype="PCM_16")
    figure = new_figure(9, 7)
    draw_spectrograms(figure.subplots(len(waves), 1, sharex=True), waves, rate)
    save_figure(figure, folder / f"{pair.name}.step{step:06}.png")


def draw_spectrograms(axes: Sequence[Any], waves: Mapping[str, np.ndarray], rate: int) -> None:
    """On one scale of colours: 80 dB down from the loudest of all."""
    spectrograms = {name: Spectrogram.of(wave, rate) for name, wave in waves.items()}
    top = max(spectrogram.decibels().max() for spectrogram in spectrograms.values())
    for axis, (name, spectrogram) in zip(axes, spectrograms.items(), strict=True):
        spectrogram.show(axis, top)
        axis.set(title=name, xlabel="time (s)", ylabel="frequency (kHz)")
        axis.label_outer()


def draw_curves(
    path: Path,
    runs: Mapping[str, Path],
    noisy: float,
    scores: Mapping[str, Mapping[str, float]] | None = None,
    waves: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Losses, scores of the discriminator and validation over the steps; for a comparison bars and spectrograms too.

    noisy: SI-SDR of the noisy recordings, dB.
    """
    figure = new_figure(16, 4 if scores is None else 11)
    axes = figure.subplots(1 if scores is None else 3, 4, squeeze=False)
    panels = {
        "L1 term": {"generator/l1": ""},
        "least-squares losses": {"discriminator/adversary": "D", "generator/adversary": "G"},
        "scores of D": {"discriminator/real": "D(real)", "discriminator/fake": "D(fake)"},
        "validation SI-SDR (dB)": {"validation/si_sdr": ""},
    }
    axes[0][3].axhline(noisy, color="grey", linestyle="--", label="noisy")
    for axis, (title, names) in zip(axes[0], panels.items(), strict=True):
        draw(axis, runs, names, title)
    if scores is not None and waves is not None:
        for axis, name in zip(axes[1], SCORES, strict=True):
            bars = axis.bar(list(scores), [row[name] for row in scores.values()], color=["grey", "C0", "C1"])
            axis.bar_label(bars, fmt="%.2f")
            axis.set_title(name)
        draw_spectrograms(axes[2], waves, PAPER.sample_rate)
    save_figure(figure, path)


if __name__ == "__main__":
    run(main, Settings, __doc__)
