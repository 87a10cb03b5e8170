"""Trains the poet that `generate-poem` ships: on real Tang poems by likelihood, then against a discriminator.

    python recipes/poems.py --data DIR                      # a Transformer, the shipped one
    python recipes/poems.py --data DIR --network lstm       # a recurrent one
    python recipes/poems.py --data DIR --start FILE         # a trained one, against a discriminator

DIR holds `wujue/`, `qijue/`, `wulv/` and `qilv/` with `train`, `valid` and `test` each as `.hant.txt` (one poem a
line), `.hans.txt` (the simplified copy, line for line) and `.meta.tsv` (with a column title). Interrupted anywhere, the
same command goes on from the last checkpoint. The run's folder then holds `best.safetensors`, the poet of the best
perplexity on valid poems, and after the game `adversarial.safetensors`; `generate-poem` takes both as its `--model`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from accelerate import PartialState

from seqgan.checkpoint import write_json, write_text
from seqgan.figures import new_figure, save_figure
from seqgan.recipe import check_counts, every_and_last, open_run, prepare_torch, run, warm_up_and_cosine
from seqgan.text.discriminators import ReadingDiscriminator
from seqgan.text.meter import FORMS, Form
from seqgan.text.networks import Generator, LSTMConfig, LSTMGenerator, TransformerConfig, TransformerGenerator
from seqgan.text.poem_game import against_readers, likelihood, perplexity
from seqgan.text.poems import PoemBatches, PoemsAlike, Script, Verse, read_corpus
from seqgan.text.poet import Poet
from seqgan.text.relations import KINDS, RelationDiscriminator
from seqgan.text.vocabulary import START
from seqgan.training import EMA, fit


@dataclass(frozen=True)
class Shape:
    width: int
    layers: int
    learning_rate: float


# 4.5 and 7.4 million parameters. An LSTM of four layers at a rate of 0.001 learnt four times as slowly as this one.
SHAPES = {"transformer": Shape(256, 4, 1e-3), "lstm": Shape(320, 2, 2e-3)}


@dataclass(frozen=True)
class Settings:
    data: Path
    """Folder of poems, see above."""
    run: Path = Path("runs/poems")
    """Folder of this run: checkpoints, metrics.jsonl, TensorBoard events, best weights, samples."""
    network: Literal["transformer", "lstm"] = "transformer"
    """What writes."""
    width: int | None = None
    """By default 256 of a Transformer and 320 of an LSTM, as are the 4 or 2 layers and the rate of 0.001 or 0.002."""
    layers: int | None = None
    """Of the network."""
    dropout: float = 0.15
    """Of the network, while it learns."""
    least: int = 3
    """Characters that occur more rarely in the training poems are unknown."""
    start: str | None = None
    """A trained poet (a bundled model, a file or a folder) instead of the likelihood stage; it brings its network and
    its characters."""
    steps: int = 10_000
    """Of likelihood; with the default batch 974 are an epoch."""
    batch: int = 32
    """Poems in a step of likelihood."""
    learning_rate: float | None = None
    """Of likelihood."""
    warm_up: int = 200
    """Steps of likelihood in which the rate rises from zero."""
    decay: float = 0.5
    """The last share of the steps, over which the poet's learning rate falls to a hundredth along a cosine; in the game
    too."""
    ema: float = 0.998
    """Decay of the averaged weights, which are kept, of likelihood."""
    discriminator: Literal["relations", "reading"] = "relations"
    """Who judges in the game: one that hears which characters of a poem are the same, rhyme, or agree in tone, or one
    that begins as a copy of the poet and reads everything, the title too."""
    discriminator_steps: int = 300
    """Of the discriminator alone, before the game."""
    adversarial_steps: int = 1000
    """Of the game; 0 leaves the poet as likelihood made it."""
    adversarial_batch: int = 64
    """Poems that are written in a step of the game, and real ones beside them."""
    adversarial_rate: float = 3e-4
    """Of the poet in the game."""
    adversarial_ema: float = 0.99
    """As ema, in the game."""
    discriminator_rate: float | None = None
    """By default 2e-3, and 1e-4 of one that reads."""
    discount: float = 0.9
    """Of rewards further on in the poem, of a discriminator that reads; relations judge each place alone."""
    anchor: float = 0.1
    """Weight of the likelihood of real poems in the game; the policy's gradient is the smaller one by far."""
    validate_every: int = 500
    """Steps after which perplexity is measured and samples are written."""
    checkpoint_every: int = 250
    """Steps after which all is saved from which an interrupted run goes on."""
    seed: int = 0
    """Of the weights, the data's order and whatever else is drawn."""
    threads: int | None = None
    """Threads of torch; by default one for every core."""
    precision: Literal["no", "bf16"] = "no"
    """bf16: mixed precision; faster where the processor has it."""


def build(settings: Settings, vocabulary: int) -> Generator:
    shape = SHAPES[settings.network]
    width, layers = settings.width or shape.width, settings.layers or shape.layers
    if settings.network == "transformer":
        config = TransformerConfig(
            vocabulary, width, max(1, width // 64), layers, length=96, dropout=settings.dropout, start=START
        )  # fmt: skip
        return TransformerGenerator(config)
    return LSTMGenerator(LSTMConfig(vocabulary, width, width * 3 // 2, layers, settings.dropout, START, spread=0.05))


def main(settings: Settings) -> None:
    prepare_torch(settings.threads)
    check_counts(settings, "batch", "adversarial_batch")
    training, simplified = read_corpus(settings.data, "train")
    valid, _ = read_corpus(settings.data, "valid")
    torch.manual_seed(settings.seed)
    if settings.start is not None:
        poet = Poet.from_pretrained(settings.start)
    else:
        script = Script.build(training, simplified, settings.least)
        poet = Poet(build(settings, len(script.vocabulary)), script)
    settled = {"discriminator": "steps", "adversarial": "steps|discriminator_steps"}
    open_run(settings.run, settings, settings.adversarial_steps, settled)
    if settings.start is None:
        by_likelihood(settings, poet, training, valid)
        poet = Poet.from_pretrained(settings.run / "best.safetensors")
    if settings.adversarial_steps:
        by_the_game(settings, poet, training, valid)


def by_likelihood(settings: Settings, poet: Poet, training: Sequence[Verse], valid: Sequence[Verse]) -> None:
    generator, rate = poet.generator, settings.learning_rate or SHAPES[settings.network].learning_rate
    optimizer = torch.optim.AdamW(generator.parameters(), rate, betas=(0.9, 0.98), weight_decay=0.05)

    def evaluate(step: int) -> dict[str, float]:
        found = perplexity(generator, poet.script, valid)
        write_samples(poet, settings.run / "samples", f"step{step:06}")
        best = settings.run / "best.json"
        if not best.exists() or json.loads(best.read_text(encoding="utf-8"))["perplexity"] >= found:
            poet.save(settings.run / "best.safetensors")
            write_json(best, {"step": step, "perplexity": found})
        return {"validation/perplexity": found}

    fit(
        [likelihood(generator, optimizer, warm_up_and_cosine(settings.steps, settings.warm_up, settings.decay))],
        PoemBatches(poet.script, training, settings.batch, settings.seed),
        settings.steps,
        settings.run,
        stage="likelihood",
        every=every_and_last(settings.validate_every, settings.steps, evaluate),
        ema=EMA(generator, settings.ema),
        seed=settings.seed,
        precision=settings.precision,
        checkpoint_every=settings.checkpoint_every,
    )


def by_the_game(settings: Settings, poet: Poet, training: Sequence[Verse], valid: Sequence[Verse]) -> None:
    # The discriminator's stage needs what the poet writes, and moves the players alone.
    generator = poet.generator.to(PartialState().device)
    torch.manual_seed(settings.seed)  # whether or not the stage before was played just now
    if settings.discriminator == "reading":
        discriminator, rate = ReadingDiscriminator(generator), settings.discriminator_rate or 1e-4
    else:
        discriminator, rate = RelationDiscriminator(poet.script, FORMS.values()), settings.discriminator_rate or 2e-3
    phases = against_readers(
        generator,
        torch.optim.Adam(generator.parameters(), settings.adversarial_rate, betas=(0.5, 0.98)),
        discriminator,
        torch.optim.Adam(discriminator.parameters(), rate, betas=(0.5, 0.98)),
        discount=settings.discount,
        anchor=settings.anchor,
        schedule=warm_up_and_cosine(settings.adversarial_steps, 20, settings.decay),
    )

    def evaluate(step: int) -> dict[str, float]:
        poet.save(settings.run / "adversarial.safetensors")
        write_samples(poet, settings.run / "samples", f"adversarial{step:06}")
        return {"validation/perplexity": perplexity(generator, poet.script, valid)}

    options = {"precision": settings.precision, "checkpoint_every": settings.checkpoint_every}
    # With the seed of the game itself, its first steps would show the discriminator what it has just learnt from.
    first, second = settings.seed + 1, settings.seed
    alike = [PoemsAlike(poet.script, training, settings.adversarial_batch, seed) for seed in (first, second)]
    fit(
        phases[:1],
        alike[0],
        settings.discriminator_steps,
        settings.run,
        stage="discriminator",
        seed=first,
        **options,
    )
    if settings.discriminator == "relations":
        draw_relations(discriminator, settings.run / "relations.png")
    fit(
        phases,
        alike[1],
        settings.adversarial_steps,
        settings.run,
        stage="adversarial",
        every=every_and_last(settings.validate_every, settings.adversarial_steps, evaluate),
        ema=EMA(generator, settings.adversarial_ema),
        seed=second,
        **options,
    )


def draw_relations(discriminator: RelationDiscriminator, path: Path, form: Form = FORMS["qijue"]) -> None:
    """What the linear part of the discriminator has found: each place of a form to each before it."""
    length, period = form.lines * (form.width + 1), form.width + 1
    figure = new_figure(13, 4.5)
    for axes, kind in zip(figure.subplots(1, 3), KINDS, strict=True):
        found = discriminator.places[str(length)].weights(kind).cpu()
        most = float(found.abs().max()) or 1.0
        axes.imshow(found, cmap="RdBu", vmin=-most, vmax=most)
        axes.set(title="same character" if kind == "same" else f"same {kind}", xlabel="earlier place", ylabel="place")
        ends = [line * period + form.width - 1 for line in range(form.lines)]
        axes.set(xticks=ends, yticks=ends, xticklabels=range(1, form.lines + 1), yticklabels=range(1, form.lines + 1))
    figure.suptitle(f"{form.name}: blue is real, red is generated; ticks are line ends")
    save_figure(figure, path)


def write_samples(poet: Poet, folder: Path, name: str) -> None:
    """A few poems of every form, half of them on a given title; tone and rhyme are the network's own."""
    folder.mkdir(exist_ok=True)
    found = [
        poem for form in ("wujue", "qijue", "wulv", "qilv") for title in ("春望", None)
        for poem in poet(title, form=form, count=2, seed=0, rules=("form",))
    ]  # fmt: skip
    write_text(folder / f"{name}.txt", "\n\n".join(map(str, found)) + "\n")


if __name__ == "__main__":
    run(main, Settings, __doc__)
