"""Trains WGAN-GP on lines of characters (Gulrajani et al. 2017), or an ordinary classifier in its critic's place.

    python recipes/wgan_gp_characters.py --data DIR                                        # the paper's setting
    python recipes/wgan_gp_characters.py --data DIR --preset reduced                       # a small one, for a CPU
    python recipes/wgan_gp_characters.py --data DIR --preset reduced --game classifier     # the control
    python recipes/wgan_gp_characters.py --compare RUN RUN                                 # runs on the same axes

DIR has one file train*.txt and one valid*.txt, gzipped or not, with one line of text a line; a single FILE does as
well. Lines are filled up with spaces to --length characters. Every --evaluate-every iterations lines are written to
samples/, and to metrics.jsonl the Jensen-Shannon divergence (bits) of their n-grams, n = 1 to 4, from those of held-out
lines. It falls with the number of lines: references.json has it for as many real lines and as many of a trigram model.

Interrupted anywhere, the same command goes on from the last checkpoint. The run's folder then holds
`generator.safetensors`, which `generate-sentences --model` takes, and `curves.png`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from seqgan.checkpoint import find_weights, write_json, write_text
from seqgan.ema import EMA
from seqgan.figures import draw_curves as draw
from seqgan.figures import new_figure, save_figure
from seqgan.objectives import NonSaturating, Wasserstein
from seqgan.recipe import check_counts, every_and_last, open_run, prepare_torch, run, warm_up_and_cosine, with_preset
from seqgan.record import read_metrics
from seqgan.tables import markdown_table
from seqgan.text.data import read_lines
from seqgan.text.metrics import js_divergence, ngram_counts
from seqgan.text.ngrams import KneserNey
from seqgan.text.vocabulary import Symbols
from seqgan.text.wgan_gp import FILL, CharacterGenerator, Critic, WGANConfig, encode, phases
from seqgan.training import Stream, fit

ORDERS = (1, 2, 3, 4)  # of the n-grams
SHOWN = 100  # lines in a file of samples

Rows = dict[str, dict[str, float]]  # label: measures by name


@dataclass(frozen=True)
class Preset:
    width: int
    critic_steps: int
    learning_rate: float
    steps: int


PRESETS = {
    "paper": Preset(width=512, critic_steps=10, learning_rate=1e-4, steps=200_000),
    # A quarter of the width bears four times the rate: after 150 iterations the JS of 3-grams is 0.85 instead of 0.93.
    "reduced": Preset(width=128, critic_steps=5, learning_rate=4e-4, steps=5_000),
}


@dataclass(frozen=True)
class Settings:
    data: Path | None = None
    """Folder or file of lines, see above."""
    held_out: Path | None = None
    """File of lines to compare with; by default the folder's valid*.txt, the file beside FILE whose name has valid for
    train, or every 20th line of FILE, which is then not trained on."""
    run: Path = Path("runs/wgan_gp_characters")
    """Folder of this run; with --compare, of curves.png."""
    preset: Literal["paper", "reduced"] = "paper"
    """Sizes and lengths, see above."""
    game: Literal["wgan-gp", "classifier"] = "wgan-gp"
    """classifier: the non-saturating game of Goodfellow et al. 2014, without penalty."""
    width: int | None = None
    """Of both networks; by default the preset's, as are the next three."""
    critic_steps: int | None = None
    """In an iteration; for the classifier by default 1, which gives the generator its best chance."""
    learning_rate: float | None = None
    """Of both networks."""
    steps: int | None = None
    """Iterations, each with one step of the generator."""
    init: str | None = None
    """A generator to begin from: a .safetensors file, or the name of one in the package. Its critic begins anew."""
    warm_up: int = 0
    """Iterations in which the generator's rate rises; with --init some hundreds, until the new critic has learnt."""
    decay: float = 0.0
    """Last share of the iterations, over which the rates fall as a cosine."""
    ema: float = 0.0
    """Decay of the average of the generator's weights that writes and is saved; 0, as in the paper, for none."""
    batch: int = 64
    """Lines in a step."""
    penalty: float = 10.0
    """Weight of the gradient penalty."""
    length: int = 32
    """Characters of a line."""
    longer: Literal["skip", "cut"] = "skip"
    """What becomes of longer lines: they are skipped and counted, or cut into pieces of this length."""
    samples: int | None = None
    """Lines that are generated for an evaluation; by default as many as there are held-out ones."""
    evaluate_every: int = 100
    """Iterations after which n-grams are compared."""
    checkpoint_every: int = 100
    """Iterations after which all is saved from which an interrupted run goes on."""
    seed: int = 0
    """Of the weights, the data's order and whatever else is drawn."""
    precision: Literal["no", "bf16"] = "no"
    """bf16: mixed precision, but for the penalty; faster where the processor has it."""
    threads: int | None = None
    """Threads of torch; by default one for every core."""
    compare: tuple[Path, ...] = ()
    """Do not train: draw these runs on the same axes."""


def main(settings: Settings) -> None:
    prepare_torch(settings.threads)
    if not settings.compare:
        train(settings)
    runs = settings.compare or (settings.run,)
    rows = read_references(runs)
    draw_curves(settings.run / "curves.png", runs, rows)
    print(table(runs, rows), end="")


def train(settings: Settings) -> None:
    training, held_out = read_data(settings)
    chosen, folder = with_preset(settings, PRESETS[settings.preset]), settings.run
    check_counts(chosen, "width", "critic_steps", "steps")
    critic_steps = 1 if settings.game != "wgan-gp" and settings.critic_steps is None else chosen.critic_steps
    config = WGANConfig(Symbols.build(training).symbols, settings.length, width=chosen.width)
    begin = None if settings.init is None else begin_from(settings.init, config)
    config = config if begin is None else begin.config
    tokens, measure = encode(training, config), Divergence(held_out)
    samples = settings.samples or len(held_out)
    open_run(folder, settings, chosen.steps)
    if not (folder / "references.json").exists():
        write_json(folder / "references.json", references(training, tokens, config, measure, samples))
    torch.manual_seed(settings.seed)
    generator, critic = CharacterGenerator(config), Critic(config)
    generator = generator if begin is None else begin
    optimizers = [
        torch.optim.Adam(player.parameters(), chosen.learning_rate, betas=(0.5, 0.9)) for player in (generator, critic)
    ]
    if settings.game == "wgan-gp":
        objective, weight = Wasserstein(), settings.penalty
    else:
        objective, weight = NonSaturating(), 0.0

    def evaluate(step: int) -> dict[str, float]:
        lines = generator.write(samples, torch.Generator().manual_seed(settings.seed))
        write_samples(folder / "samples" / f"step{step:06}.txt", lines[:SHOWN])
        generator.save(folder / "generator.safetensors")
        return {f"validation/{name}": value for name, value in measure(lines).items()}

    game = phases(generator, critic, *optimizers, objective=objective, weight=weight, critic_steps=critic_steps)
    for phase, warm_up in zip(game, (0, settings.warm_up), strict=True):
        phase.schedule = warm_up_and_cosine(chosen.steps, warm_up, settings.decay)
    fit(
        game,
        Stream(tokens, settings.batch, seed=settings.seed),
        chosen.steps,
        folder,
        every=every_and_last(settings.evaluate_every, chosen.steps, evaluate),
        ema=EMA(generator, settings.ema) if settings.ema else None,
        seed=settings.seed,
        precision=settings.precision,
        checkpoint_every=settings.checkpoint_every,
    )


def begin_from(name: str, config: WGANConfig) -> CharacterGenerator:
    """A generator for lines of `config`, with a vocabulary of its own."""
    generator = CharacterGenerator.load(find_weights(name, "seqgan.text"))
    if unknown := set(config.vocabulary) - set(generator.config.vocabulary):
        raise ValueError(f"{name} has no column for {', '.join(map(repr, sorted(unknown)))}, which the data have")
    if replace(generator.config, vocabulary=config.vocabulary) != config:
        raise ValueError(f"{name} is of length {generator.config.length} and width {generator.config.width}")
    return generator


def read_data(settings: Settings) -> tuple[list[str], list[str]]:
    """Lines for training and held-out ones, each of exactly `length` characters."""
    if settings.data is None:
        raise ValueError("--data FILE_OR_DIR is needed: lines of text")
    folder = settings.data.is_dir()
    source = only_file(settings.data, "train") if folder else settings.data
    valid = settings.held_out or (only_file(settings.data, "valid") if folder else beside(source))
    lines = read(source, settings)
    if valid is not None:
        return lines, read(valid, settings)
    if len(lines) < 20:
        raise ValueError(f"{source} has {len(lines)} lines, too few to hold some out; name others with --held-out FILE")
    return [line for i, line in enumerate(lines, 1) if i % 20], lines[19::20]


def only_file(folder: Path, part: str) -> Path:
    found = [path for suffix in (".txt", ".txt.gz") for path in sorted(folder.glob(f"{part}*{suffix}"))]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ValueError(
            f"{folder} is to have one file {part}*.txt or .txt.gz, it has {names}; give a file by its name"
        )
    return found[0]


def beside(source: Path) -> Path | None:
    """The file of the same folder that has valid for train in its name."""
    name = source.name.replace("train", "valid")
    names = {name, name.removesuffix(".gz"), name.removesuffix(".gz") + ".gz"} - {source.name}
    return next(
        (path for path in sorted(map(source.with_name, names)) if "train" in source.name and path.exists()), None
    )


def read(path: Path, settings: Settings) -> list[str]:
    length = settings.length
    if settings.longer == "skip":
        lines = read_lines(path, length)
    else:
        lines = [line[i : i + length] for line in read_lines(path) for i in range(0, len(line), length)]
    return [line.ljust(length, FILL) for line in lines]


class Divergence:
    """Of lines from the held-out ones: js1 to js4, and the share of different lines, which is low after a collapse."""

    def __init__(self, held_out: Sequence[str]):
        self.counts = {n: ngram_counts(held_out, n) for n in ORDERS}

    def __call__(self, lines: Sequence[str]) -> dict[str, float]:
        found = {f"js{n}": js_divergence(ngram_counts(lines, n), counts) for n, counts in self.counts.items()}
        return found | {"distinct": len(set(lines)) / len(lines)}


def references(
    training: Sequence[str], tokens: torch.Tensor, config: WGANConfig, measure: Callable, samples: int
) -> Rows:
    """What real lines of the training set come to, and those of a trigram model."""
    chosen = np.random.default_rng(0).permutation(len(training))[:samples]
    model = KneserNey(tokens.numpy(), vocabulary_size=len(config.vocabulary))
    trigram = model.sample(samples, config.length, seed=0)
    return {
        "real": measure([training[i] for i in chosen]),
        "trigram": measure(["".join(config.vocabulary[token] for token in row) for row in trigram]),
    }


def write_samples(path: Path, lines: Sequence[str]) -> None:
    write_text(path, "".join(line.rstrip(FILL) + "\n" for line in lines))


def table(runs: Sequence[Path], rows: Rows) -> str:
    """The references, and the last evaluation of each run."""
    rows, names = dict(rows), list(rows["real"])
    for folder in runs:
        evaluations = [line for line in read_metrics(folder) if "validation/js4" in line]
        if not evaluations:
            raise ValueError(f"{folder} has no evaluation yet")
        last = evaluations[-1]
        rows[f"{folder}, {last['step']} iterations"] = {name: last[f"validation/{name}"] for name in names}
    cells = ((label, *(f"{row[name]:.3f}" for name in names)) for label, row in rows.items())
    return markdown_table(("", *names), cells)


def read_references(runs: Sequence[Path]) -> Rows:
    """Those of the first run."""
    found = [json.loads((folder / "references.json").read_text(encoding="utf-8")) for folder in runs]
    for folder, rows in zip(runs, found, strict=True):
        if rows != found[0]:
            print(
                f"{folder} was measured against other lines than {runs[0]}, whose references these are", file=sys.stderr
            )
    return found[0]


def draw_curves(path: Path, runs: Sequence[Path], rows: Rows) -> None:
    """Divergences beside the references, and how the game goes."""
    figure = new_figure(16, 8)
    divergences = {f"validation/js{n}": f"JS of {n}-grams from held-out lines (bits)" for n in (4, 2, 1)}
    panels = divergences | {
        "critic/distance": "E D(x) - E D(G(z))",
        "critic/accuracy": "pairs in which D prefers the real line",
        "generator/gradient_norm": "length of the generator's gradient",
    }
    axes = dict(zip(panels, figure.subplots(2, 3).flat, strict=True))
    for name, title in panels.items():
        draw(axes[name], {str(folder): folder for folder in runs}, {name: ""}, title)
    for name in divergences:
        for (label, row), style in zip(rows.items(), ("--", ":"), strict=True):
            axes[name].axhline(row[name.removeprefix("validation/")], color="grey", linestyle=style, label=label)
        axes[name].set(ylim=(0, 1.02))
        axes[name].legend()
    axes["generator/gradient_norm"].set(yscale="log")
    save_figure(figure, path)


if __name__ == "__main__":
    run(main, Settings, __doc__)
