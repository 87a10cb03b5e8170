"""Judges a poet beside real poems and a model of character n-grams.

    python recipes/evaluate_poems.py --data DIR --model runs/poems/best.safetensors
    python recipes/evaluate_poems.py --data DIR --model FILE --temperature 0.7 --forms qijue

DIR is as for recipes/poems.py. The poems are written on the titles of test poems. The table, in Markdown on standard
output, has for real poems, a bigram model and the poet with all rules, the form alone and no rules the shares of poems
of the right shape, with a rhyme, regulated to the letter; of characters that stood in the poem before (again); of lines
copied from training, of poems with a line twice; distinct bigrams; BLEU-2 against 2,000 training poems, of which a
bigram sampler reaches as much as real poems do.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqgan.recipe import check_counts, prepare_torch, run
from seqgan.tables import markdown_table
from seqgan.text.meter import FORMS, Form, join_lines, score
from seqgan.text.metrics import References, distinct
from seqgan.text.ngrams import KneserNey
from seqgan.text.poem_game import perplexity
from seqgan.text.poems import LONGEST_TITLE, Script, Verse, read_corpus
from seqgan.text.poet import Poet, find_form
from seqgan.text.sampling import Sampling
from seqgan.text.verse_rules import RULES

COLUMNS = ("shape", "rhyme", "regulated", "again", "lines copied", "line twice", "distinct-2", "BLEU-2")


@dataclass(frozen=True)
class Settings:
    data: Path
    """Folder of poems."""
    model: str = "poet"
    """A bundled model, a .safetensors file or a folder."""
    forms: tuple[str, ...] = tuple(FORMS)
    """Of the poems."""
    poems: int = 150
    """Of each form and each setting of the rules, as many as there are test poems at most."""
    temperature: float = 0.65
    """At which the model writes."""
    references: int = 2000
    """Training poems for BLEU, which grows with their number."""
    seed: int = 0
    """Of what is written."""
    threads: int | None = None
    """Threads of torch; by default one for every core."""


def main(settings: Settings) -> None:
    prepare_torch(settings.threads)
    check_counts(settings, "poems", "references")
    forms = [find_form(name) for name in settings.forms]
    poet = Poet.from_pretrained(settings.model)
    splits = {split: read_corpus(settings.data, split)[0] for split in ("train", "valid", "test")}
    print(perplexities(poet, splits))
    copies = {poet.script.simplify(line) for verse in splits["train"] for line in verse.lines}
    for form in forms:
        name = form.name
        real = {split: [verse for verse in verses if verse.form == name] for split, verses in splits.items()}
        rng = np.random.default_rng(settings.seed)
        chosen = rng.permutation(len(real["train"]))[: settings.references]
        references = References([join_lines(simplified(poet.script, real["train"][i])) for i in chosen], n=2)
        test = real["test"][: settings.poems]
        systems = {
            "real": [simplified(poet.script, verse) for verse in test],
            "bigrams": bigram_poems(poet.script, real["train"], form, len(test), settings.seed),
        }
        for label, rules in (("poet", RULES), ("poet, form alone", ("form",)), ("poet, no rules", ())):
            print(f"{name}: {label}", file=sys.stderr, flush=True)
            systems[label] = write(poet, test, form, rules, settings)
        rows = []
        for label, poems in systems.items():
            values = judge(poems, form, copies)
            values["BLEU-2"] = float(references([join_lines(lines) for lines in poems])[:, 1].mean())
            rows.append((label, *(f"{values[column]:.3f}" for column in COLUMNS)))
        print(markdown_table((name, *COLUMNS), rows), flush=True)


def simplified(script: Script, verse: Verse) -> tuple[str, ...]:
    return tuple(map(script.simplify, verse.lines))


def write(
    poet: Poet, test: Sequence[Verse], form: Form, rules: Sequence[str], settings: Settings
) -> list[tuple[str, ...]]:
    """One poem on the title of each of the test poems."""
    titles = [verse.title[:LONGEST_TITLE] or None for verse in test]
    sampling = Sampling(settings.temperature)
    return [
        poem.lines
        for i, title in enumerate(titles)
        for poem in poet(title, form.name, seed=settings.seed * 100_000 + i, rules=rules, sampling=sampling)
    ]


def bigram_poems(script: Script, verses: Sequence[Verse], form: Form, count: int, seed: int) -> list[tuple[str, ...]]:
    lines = [script.vocabulary.encode(line) for verse in verses for line in verse.lines]
    model = KneserNey(lines, vocabulary_size=len(script.vocabulary), order=2)
    drawn = model.sample(count * form.lines, form.width, seed).reshape(count, form.lines, form.width)
    return [tuple(script.simplify(script.text(line)) for line in poem) for poem in drawn]


def judge(poems: Sequence[Sequence[str]], form: Form, copies: set[str]) -> dict[str, float]:
    scores = [score(lines, form) for lines in poems]
    every = [line for lines in poems for line in lines]
    whole = ["".join(lines) for lines in poems]
    return {
        "shape": float(np.mean([found.shape for found in scores])),
        "rhyme": float(np.mean([found.rhyme for found in scores])),
        "regulated": float(np.mean([found.regulated for found in scores])),
        "again": sum(len(poem) - len(set(poem)) for poem in whole) / max(1, sum(map(len, whole))),
        "lines copied": sum(line in copies for line in every) / max(1, len(every)),
        "line twice": float(np.mean([len(set(lines)) < len(lines) for lines in poems])),
        "distinct-2": distinct(every, 2) if every else 0.0,
    }


def perplexities(poet: Poet, splits: dict[str, list[Verse]]) -> str:
    """Per character of verse: of the poet, of the poet with titles of other poems, and of a trigram model."""
    script, valid = poet.script, splits["valid"]
    rng = np.random.default_rng(0)
    others = [valid[i].title for i in rng.permutation(len(valid))]
    strangers = [Verse(verse.form, title, verse.lines) for verse, title in zip(valid, others, strict=True)]
    train, held = (
        [script.vocabulary.encode(join_lines(verse.lines)) for verse in splits[split]] for split in ("train", "valid")
    )
    trigrams = KneserNey(train, vocabulary_size=len(script.vocabulary), order=3)
    counted = np.array([token not in script.vocabulary.encode("，。") for row in held for token in row])
    found = {
        "poet": perplexity(poet.generator, script, valid),
        "poet, titles exchanged": perplexity(poet.generator, script, strangers),
        "Kneser-Ney trigrams": float(np.exp(-trigrams.log_probabilities(held)[counted].mean())),
    }
    return markdown_table(("valid split", "perplexity"), ((name, f"{value:.1f}") for name, value in found.items()))


if __name__ == "__main__":
    run(main, Settings, __doc__)
