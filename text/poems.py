"""Tang poems as sequences of characters: the corpus, and how a poem and its title are written as tokens.

A poem is read as `qijue title / line，line。line，line。`: a token for the form, the title's characters, a stroke, the
lines with their marks, END. Characters are traditional, as in the sources; a title may be in either script, because
every character of it is read as the most frequent one with the same simplified form.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .data import read_lines, tell
from .meter import FORMS, MARKS, Form, join_lines, score, split_lines
from .vocabulary import END, UNKNOWN, Symbols, to_batch

SIGNS = dict(zip(FORMS, "1234", strict=True))  # of the forms, which are no characters of a poem
STROKE = "/"  # between title and poem
LONGEST_TITLE = 16  # characters
HAN = re.compile("[\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")
NOTES = re.compile("[（(【〔〖〈《].*?[）)】〕〗〉》]")


@dataclass(frozen=True)
class Verse:
    """A poem of the corpus, traditional; title: of Chinese characters only, perhaps none."""

    form: str
    title: str
    lines: tuple[str, ...]


def clean_title(title: str) -> str:
    """Its Chinese characters, without what stands in brackets."""
    return "".join(HAN.findall(NOTES.sub("", title))) or "".join(HAN.findall(title))


def read_corpus(folder: Path, split: str, note: Callable[[str], None] = tell) -> tuple[list[Verse], dict[str, str]]:
    """The poems of a split (train, valid, test), and the simplified form of every character in them.

    folder holds for each form `FORM/SPLIT.hant.txt` (or .gz), one poem a line, beside it the simplified copy
    `SPLIT.hans.txt`, line for line, and `SPLIT.meta.tsv` with a column `title`. ValueError, with the file and the line,
    where they do not belong together or a poem is not of the form.
    """
    verses, pairs = [], Counter()
    for name, form in FORMS.items():
        traditional, simplified = (_find(folder / name / f"{split}.{script}.txt") for script in ("hant", "hans"))
        meta = folder / name / f"{split}.meta.tsv"
        try:
            with meta.open(encoding="utf-8-sig", newline="") as file:
                table = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
                titles = [row.get("title") or "" for row in table]
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{meta}: {error}") from error
        if "title" not in (table.fieldnames or ()):
            raise ValueError(f"{meta} has no column title")
        poems, copies = read_lines(traditional, note=note), read_lines(simplified, note=note)
        if not len(poems) == len(copies) == len(titles):
            raise ValueError(f"{traditional} has {len(poems)} poems, {simplified} {len(copies)}, {meta} {len(titles)}")
        for number, (poem, copy, title) in enumerate(zip(poems, copies, titles, strict=True), 1):
            lines = split_lines(poem)
            if not score(lines, form).shape:
                raise ValueError(f"{traditional}, line {number}: no {name} ({form.lines} lines of {form.width})")
            if len(poem) != len(copy):
                raise ValueError(f"{simplified}, line {number}: not as long as in {traditional}")
            verses.append(Verse(name, clean_title(title), lines))
            pairs.update(zip(poem, copy, strict=True))
    # Where a character was simplified in several ways, the most frequent one counts.
    return verses, {character: copy for (character, copy), _ in sorted(pairs.items(), key=lambda item: item[1])}


def _find(path: Path) -> Path:
    packed = path.with_name(path.name + ".gz")
    return packed if packed.exists() and not path.exists() else path


@dataclass(frozen=True)
class Script:
    """The characters that a model knows, the most frequent first, and beside each its simplified form."""

    traditional: str
    simplified: str

    @classmethod
    def build(cls, verses: Sequence[Verse], simplified: dict[str, str], least: int = 3) -> Script:
        """Of all characters that occur `least` times in the poems."""
        symbols = Symbols.build(("".join(verse.lines) for verse in verses), least=least).symbols
        return cls("".join(symbols), "".join(simplified.get(symbol, symbol) for symbol in symbols))

    def __post_init__(self) -> None:
        if len(self.traditional) != len(self.simplified):
            raise ValueError("as many simplified characters as traditional ones")

    @cached_property
    def vocabulary(self) -> Symbols:
        return Symbols("".join(SIGNS.values()) + STROKE + MARKS + self.traditional)

    @property
    def first(self) -> int:
        """Id of the first character of verse; signs and marks come before."""
        return len(self.vocabulary) - len(self.traditional)

    @cached_property
    def alike(self) -> dict[str, list[int]]:
        """For a character in either script the ids of all with its simplified form, the most frequent first."""
        found: dict[str, list[int]] = {}
        for i, character in enumerate(self.simplified, self.first):
            found.setdefault(character, []).append(i)
        own = dict(zip(self.traditional, self.simplified, strict=True))
        return {character: found[simple] for character, simple in own.items()} | found

    def simplify(self, text: str) -> str:
        return text.translate(self._table)

    def complicate(self, text: str) -> str:
        """Of every character that is no traditional one the most frequent one that simplifies to it."""
        kept = set(self.traditional)
        return "".join(c if c in kept or c not in self.alike else self.text(self.alike[c][:1]) for c in text)

    @cached_property
    def _table(self) -> dict[int, str]:
        return str.maketrans(self.traditional, self.simplified)

    def prompt(self, form: Form | str, title: str | None) -> list[int]:
        """What stands before a poem; without a title only the sign of the form, so that the model goes on with one."""
        name = form if isinstance(form, str) else form.name
        head = self.vocabulary.encode(SIGNS[name])
        if title is None:
            return head
        ids = [self.alike[character][0] if character in self.alike else UNKNOWN for character in title]
        return head + ids + self.vocabulary.encode(STROKE)

    def encode(self, verse: Verse) -> list[int]:
        """Prompt, poem, END. Of a longer title only the beginning: that is a story rather than a title."""
        prompt = self.prompt(verse.form, verse.title[:LONGEST_TITLE])
        return [*prompt, *self.vocabulary.encode(join_lines(verse.lines)), END]

    def text(self, ids: Sequence[int]) -> str:
        """Traditional text of characters and marks."""
        return self.vocabulary.decode(ids)


class PoemBatches:
    """Poems in an order of its own in each epoch, batches of similar length: `data` for `seqgan.training.fit`.

    A batch is tokens (batch, time), filled up with PAD: a function of (seed, its number).
    """

    def __init__(self, script: Script, verses: Sequence[Verse], batch: int, seed: int = 0):
        self.rows = [script.encode(verse) for verse in verses]
        self.batch, self.seed = batch, seed
        self.batches = -(-len(self.rows) // batch)  # of an epoch

    def __call__(self, position: int) -> Iterator[Tensor]:
        epoch, order = -1, []
        for number in count(position):
            if number // self.batches != epoch:
                epoch = number // self.batches
                order = self.order(epoch)
            yield to_batch([self.rows[i] for i in order[number % self.batches]])

    def order(self, epoch: int) -> list[np.ndarray]:
        """Shuffled; every 50 batches sorted by length and cut up, and all batches shuffled again."""
        rng = np.random.default_rng([self.seed, epoch])
        rows, lengths = rng.permutation(len(self.rows)), np.array([len(row) for row in self.rows])
        chunks = [rows[i : i + 50 * self.batch] for i in range(0, len(rows), 50 * self.batch)]
        ordered = [chunk[np.argsort(lengths[chunk], kind="stable")] for chunk in chunks]
        batches = [chunk[i : i + self.batch] for chunk in ordered for i in range(0, len(chunk), self.batch)]
        return [batches[i] for i in rng.permutation(len(batches))]


class PoemsAlike:
    """Batches of poems of one form whose titles are of one length: `data` for `seqgan.training.fit`.

    A batch is {"prompt": (batch, prompt time), "poem": (batch, poem time)}, marks included, END not: a function of
    (seed, its number). Kinds of poems (form, length of the title) come up as often as their poems.
    """

    def __init__(self, script: Script, verses: Sequence[Verse], batch: int, seed: int = 0):
        self.kinds: dict[tuple[str, int], list[tuple[list[int], list[int]]]] = {}
        for verse in verses:
            row, prompt = script.encode(verse), script.prompt(verse.form, verse.title[:LONGEST_TITLE])
            pair = prompt, row[len(prompt) : -1]
            self.kinds.setdefault((verse.form, len(prompt)), []).append(pair)
        self.batch, self.seed = batch, seed

    def __call__(self, position: int) -> Iterator[dict[str, Tensor]]:
        kinds = list(self.kinds.values())
        sizes = np.array([len(pairs) for pairs in kinds])
        for number in count(position):
            rng = np.random.default_rng([self.seed, number])
            pairs = kinds[rng.choice(len(kinds), p=sizes / sizes.sum())]
            chosen = rng.choice(len(pairs), self.batch, replace=len(pairs) < self.batch)
            prompts, poems = zip(*(pairs[i] for i in chosen), strict=True)
            yield {"prompt": torch.tensor(prompts), "poem": torch.tensor(poems)}


def verse_mask(tokens: Tensor, script: Script) -> Tensor:
    """Which of the tokens (batch, time) are characters of verse, after the stroke: what perplexity is reported of."""
    stroke = script.vocabulary.ids[STROKE]
    return ((tokens == stroke).cumsum(1) > 0) & ((tokens >= script.first) | (tokens == UNKNOWN))
