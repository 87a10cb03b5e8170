"""What a game gave a poet that a lower temperature does not: poets at several temperatures, held by no rule.

    python recipes/compare_poets.py --data DIR --poets poet runs/poems/adversarial.safetensors --run runs/compare

DIR is as for recipes/poems.py. Each poet writes a poem on the titles of test poems, the same ones at every temperature,
and form, rhyme and tones are its own. A lower temperature makes a poet surer of its rhymes and its poems more alike, so
each share is to be read beside the distinct bigrams, and beside the real poems on these titles: what is better at equal
variety came from elsewhere. The table goes to standard output and to --run, with a picture, curves.png.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from evaluate_poems import judge, simplified

from seqgan.checkpoint import write_text
from seqgan.figures import new_figure, save_figure
from seqgan.recipe import prepare_torch, run
from seqgan.tables import markdown_table
from seqgan.text.meter import FORMS, Form, split_lines
from seqgan.text.poem_game import compose, perplexity
from seqgan.text.poems import LONGEST_TITLE, Verse, read_corpus
from seqgan.text.poet import Poet
from seqgan.text.sampling import Sampling

COLUMNS = ("shape", "rhyme", "regulated", "again", "lines copied", "distinct-2")
Row = dict[str, float]


@dataclass(frozen=True)
class Settings:
    data: Path
    """Folder of poems."""
    poets: tuple[str, ...]
    """Bundled models, .safetensors files or folders."""
    run: Path = Path("runs/compare_poets")
    """Folder of what is written."""
    temperatures: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    """At each of which every poet writes."""
    poems: int = 150
    """Of each form, as many as there are test poems at most."""
    seed: int = 0
    """Of what is written."""
    threads: int | None = None
    """Threads of torch; by default one for every core."""


def main(settings: Settings) -> None:
    prepare_torch(settings.threads)
    splits = {split: read_corpus(settings.data, split)[0] for split in ("train", "valid", "test")}
    test = {
        name: [verse for verse in splits["test"] if verse.form == name and verse.title][: settings.poems]
        for name in FORMS
    }
    rows: list[tuple[str, ...]] = []
    curves: dict[str, list[Row]] = {}

    def add(name: str, temperature: str, found: str, row: Row) -> None:
        rows.append((name, temperature, found, *(f"{row[key]:.3f}" for key in COLUMNS)))

    names = [Path(model).stem for model in settings.poets]
    if len(set(names)) < len(names):
        names = settings.poets
    for model, name in zip(settings.poets, names, strict=True):
        poet = Poet.from_pretrained(model)
        copies = {poet.script.simplify(line) for verse in splits["train"] for line in verse.lines}
        if not curves:
            real = {form: [simplified(poet.script, verse) for verse in verses] for form, verses in test.items()}
            add("real poems", "", "", average(real, copies))
        found = f"{perplexity(poet.generator, poet.script, splits['valid']):.1f}"
        for temperature in settings.temperatures:
            print(f"{name} at {temperature}", file=sys.stderr, flush=True)
            random = torch.Generator().manual_seed(settings.seed)
            poems = {
                form: write(poet, verses, FORMS[form], Sampling(temperature), random) for form, verses in test.items()
            }
            curves.setdefault(name, []).append(average(poems, copies))
            add(name, f"{temperature:g}", found, curves[name][-1])
    text = markdown_table(("", "temperature", "perplexity", *COLUMNS), rows)
    print(text, end="")
    write_text(settings.run / "table.md", text)
    draw(settings.run / "curves.png", average(real, copies), curves, settings.temperatures)


def write(
    poet: Poet, verses: Sequence[Verse], form: Form, sampling: Sampling, random: torch.Generator
) -> list[tuple[str, ...]]:
    """A poem by no rule on the title of each verse, as many tokens as the form has; those of one length are a batch."""
    titles = [verse.title[:LONGEST_TITLE] for verse in verses]
    poems: dict[int, tuple[str, ...]] = {}
    for size in sorted(set(map(len, titles))):
        places = [i for i, title in enumerate(titles) if len(title) == size]
        prompts = torch.tensor([poet.script.prompt(form, titles[i]) for i in places])
        rows = compose(poet.generator, prompts, form.lines * (form.width + 1), random, sampling)
        for i, row in zip(places, rows.tolist(), strict=True):
            poems[i] = split_lines(poet.script.simplify(poet.script.text(row)))
    return [poems[i] for i in range(len(titles))]


def average(poems: dict[str, list[tuple[str, ...]]], copies: set[str]) -> Row:
    """The mean over the forms of what `judge` finds."""
    found = [judge(own, FORMS[form], copies) for form, own in poems.items() if own]
    if not found:
        raise ValueError("the data have no test poem with a title")
    return {key: sum(row[key] for row in found) / len(found) for key in found[0]}


def draw(path: Path, real: Row, curves: dict[str, list[Row]], temperatures: Sequence[float]) -> None:
    figure = new_figure(13, 4.5)
    for axes, key, title in zip(
        figure.subplots(1, 3),
        ("rhyme", "regulated", "again"),
        ("poems that rhyme", "poems regulated to the letter", "characters that stood in the poem before"),
        strict=True,
    ):
        for name, rows in curves.items():
            axes.plot([row["distinct-2"] for row in rows], [row[key] for row in rows], "o-", label=name)
            for row, temperature in zip(rows, temperatures, strict=True):
                axes.annotate(f"{temperature:g}", (row["distinct-2"], row[key]), fontsize=7)
        axes.plot(real["distinct-2"], real[key], "k*", markersize=12, label="real poems")
        axes.set(title=title, xlabel="distinct bigrams")
        axes.legend()
    save_figure(figure, path)


if __name__ == "__main__":
    run(main, Settings, __doc__)
