"""The rules of regulated verse (近體詩): forms, tone patterns, Pingshui rhyme, and how well a poem keeps them.

A place of a line is level (平) or oblique (仄: rising, departing, entering). The second, fourth and, in lines of seven,
sixth characters and the last are fixed by the pattern; the rest is free here, as tradition allows ("一三五不論"). Even
lines rhyme, in one level rhyme and without repeating a character; the first may join them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LEVEL, OBLIQUE = "平", "仄"
MARKS = "，。"  # that close odd and even lines
BREAKS = re.compile("[，。！？；、,.!?;\\s]+")


@dataclass(frozen=True)
class Form:
    name: str
    title: str
    lines: int
    width: int  # characters a line

    @property
    def fixed(self) -> tuple[int, ...]:
        """Places of a line, from 0, whose tone the pattern fixes."""
        return (1, 3, 4) if self.width == 5 else (1, 3, 5, 6)


FORMS = {
    form.name: form
    for form in (
        Form("wujue", "五言絕句", 4, 5),
        Form("qijue", "七言絕句", 4, 7),
        Form("wulv", "五言律詩", 8, 5),
        Form("qilv", "七言律詩", 8, 7),
    )
}


@dataclass(frozen=True)
class Template:
    """The tones of every line."""

    name: str
    lines: tuple[str, ...]
    first_rhymes: bool


# The four kinds of line, of five characters; of seven, the opposite of the first two stands before them.
KINDS = {"a": "平平平仄仄", "A": "平平仄仄平", "b": "仄仄平平仄", "B": "仄仄仄平平"}
ORDERS = {
    "平起首句不入韻": "aBbAaBbA",
    "平起首句入韻": "ABbAaBbA",
    "仄起首句不入韻": "bAaBbAaB",
    "仄起首句入韻": "BAaBbAaB",
}


@cache
def templates(form: Form) -> tuple[Template, ...]:
    """The four tone patterns of a form; a name says the tone of the second place, and whether the first line rhymes."""
    found = []
    for name, order in ORDERS.items():
        lines = [KINDS[kind] for kind in order[: form.lines]]
        if form.width == 7:
            lines = [(OBLIQUE if line[0] == LEVEL else LEVEL) * 2 + line for line in lines]
            name = {LEVEL: OBLIQUE, OBLIQUE: LEVEL}[name[0]] + name[1:]
        found.append(Template(name, tuple(lines), first_rhymes=order[0].isupper()))
    return tuple(found)


@cache
def rhymes() -> dict[str, frozenset[str]]:
    """The rhymes of every character, 上平一東 to 入十七洽; traditional and simplified, about 11,000 of them."""
    found: dict[str, set[str]] = {}
    for line in (Path(__file__).parent / "pingshui.tsv").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            part, name, characters = line.split("\t")
            for character in characters:
                found.setdefault(character, set()).add(part + name)
    return {character: frozenset(names) for character, names in found.items()}


def is_level(rhyme: str) -> bool:
    return LEVEL in rhyme[:2]


def tones(character: str) -> frozenset[str]:
    """LEVEL, OBLIQUE, both (that is for the sense to decide), or neither where the tables lack the character."""
    return frozenset(LEVEL if is_level(rhyme) else OBLIQUE for rhyme in rhymes().get(character, ()))


def show_tones(line: str) -> str:
    """平 or 仄 for each character; 中 where it can be either, ？ where the tables lack it."""
    signs = {frozenset(LEVEL): LEVEL, frozenset(OBLIQUE): OBLIQUE, frozenset(LEVEL + OBLIQUE): "中"}
    return "".join(signs.get(tones(character), "？") for character in line)


def split_lines(text: str) -> tuple[str, ...]:
    """The lines of a poem that is written with marks or line breaks."""
    return tuple(line for line in BREAKS.split(text.strip()) if line)


def join_lines(lines: Sequence[str]) -> str:
    """Lines closed by ， and 。 in turn."""
    return "".join(line + MARKS[i % 2] for i, line in enumerate(lines))


@dataclass(frozen=True)
class Score:
    """How a poem keeps its form. Where the shape is wrong, all else is."""

    shape: bool  # number and length of lines
    rhyme: bool = False  # even lines share a rhyme, and no character is used twice for it
    level_rhyme: bool = False  # and it is a level one
    fixed: float = 0.0  # share of the fixed places that agree with the template that suits best
    template: str = ""

    @property
    def regulated(self) -> bool:
        return self.level_rhyme and self.fixed == 1


def common_rhymes(lines: Sequence[str]) -> frozenset[str]:
    """The rhymes that the last characters of all even lines share."""
    return frozenset.intersection(*(rhymes().get(line[-1], frozenset()) for line in lines[1::2]))


def score(lines: Sequence[str], form: Form) -> Score:
    """A character of both tones agrees with either, one that the tables lack with none."""
    if len(lines) != form.lines or any(len(line) != form.width for line in lines):
        return Score(False)
    shared, ends = common_rhymes(lines), [line[-1] for line in lines[1::2]]
    rhyme = bool(shared) and len(set(ends)) == len(ends)
    joins = bool(shared & rhymes().get(lines[0][-1], frozenset()))

    def fit(template: Template) -> tuple[int, bool]:
        """How many of the fixed places agree; of equals the one that says rightly whether the first line rhymes."""
        places = [
            wanted[place] in tones(line[place])
            for line, wanted in zip(lines, template.lines, strict=True)
            for place in form.fixed
        ]
        return sum(places), template.first_rhymes == joins

    best = max(templates(form), key=fit)
    share = fit(best)[0] / (len(form.fixed) * form.lines)
    return Score(True, rhyme, rhyme and any(map(is_level, shared)), share, best.name)
