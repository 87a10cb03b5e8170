"""Which characters a poem may go on with, so that it keeps its form, its tones and its rhyme."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .meter import MARKS, OBLIQUE, Form, is_level, rhymes, templates
from .poems import Script

RULES = ("form", "tone", "rhyme")
LEAST_RHYMES = 16  # characters that a rhyme must have among the known ones; of fewer there is only the largest


@dataclass(frozen=True)
class Sounds:
    """How the characters of a script sound. What is no character of verse has no tone and no rhyme."""

    names: tuple[str, ...]  # of the rhymes
    rhymes: Tensor  # (vocabulary, rhyme) bool; a character may have several readings
    tones: Tensor  # (2, vocabulary) bool: level, oblique, or both
    alike: Tensor  # (vocabulary,) for every id the first of its variants, which are one character to the reader

    @classmethod
    def of(cls, script: Script, device: torch.device | str = "cpu") -> Sounds:
        """Looked up in simplified script, which the tables cover best, and then in traditional."""
        size, both = len(script.vocabulary), list(zip(script.traditional, script.simplified, strict=True))
        readings = [rhymes().get(simple) or rhymes().get(character, frozenset()) for character, simple in both]
        names = sorted({name for reading in readings for name in reading})
        places = {name: i for i, name in enumerate(names)}
        members = torch.zeros(size, len(names), dtype=torch.bool)
        tone = torch.zeros(2, size, dtype=torch.bool)
        for i, reading in enumerate(readings, script.first):
            for name in reading:
                members[i, places[name]] = True
                tone[int(not is_level(name)), i] = True
        alike = torch.arange(size)
        for variants in script.alike.values():
            alike[variants] = variants[0]
        return cls(tuple(names), *(table.to(device) for table in (members, tone, alike)))


class VerseRules:
    """A mask for `seqgan.text.sampling`: rules(step, chosen (rows, step)) -> (rows, vocabulary), true where allowed.

    Step 0 is the first character after the stroke. `form`: characters where characters belong, marks where marks do,
    and no line twice. `tone`: the fixed places agree with one of the templates, whichever the poem has begun with.
    `rhyme`: even lines end in one level rhyme, without repeating a character, and a first line that ends level joins
    them. A row is never left without a character: what is ruled out depends only on what was chosen before it, and a
    rhyme with few known characters is not begun.

    given: for some steps the ids among which the character is (an acrostic, a first line). What is given is beyond the
    rules; where a given first line fits no template, those that suit it best count as begun.
    """

    def __init__(
        self,
        script: Script,
        form: Form,
        rules: Collection[str] = RULES,
        given: Mapping[int, Collection[int]] | None = None,
        device: torch.device | str = "cpu",
    ):
        self.form, self.rules, self.given = form, rules, dict(given or {})
        self.size, self.period = len(script.vocabulary), form.width + 1
        self.marks = [script.vocabulary.ids[mark] for mark in MARKS]
        sounds = Sounds.of(script, device)
        self.tone, self.alike = sounds.tones, sounds.alike
        self.verse = torch.zeros(self.size, dtype=torch.bool, device=device)
        self.verse[script.first :] = True
        members = sounds.rhymes[:, [is_level(name) for name in sounds.names]]
        sizes = members.sum(0)
        self.rhyme = members[:, sizes >= sizes.max().clamp_max(LEAST_RHYMES)]  # (vocabulary, rhyme)
        # wanted[template, line, place]: 0 level, 1 oblique, -1 free
        self.patterns = templates(form)
        self.wanted = torch.full((len(self.patterns), form.lines, form.width), -1, device=device)
        for t, pattern in enumerate(self.patterns):
            for line, kinds_of_line in enumerate(pattern.lines):
                for place in form.fixed:
                    self.wanted[t, line, place] = int(kinds_of_line[place] == OBLIQUE)
        self.joins = torch.tensor([pattern.first_rhymes for pattern in self.patterns], device=device)

    def length(self) -> int:
        """Tokens of a poem, marks included."""
        return self.period * self.form.lines

    def __call__(self, step: int, chosen: Tensor) -> Tensor:
        """chosen: (rows, step) -> (rows, vocabulary)"""
        rows, (line, place) = len(chosen), divmod(step, self.period)
        allowed = torch.ones(rows, self.size, dtype=torch.bool, device=chosen.device)
        if step in self.given:
            allowed[:] = False
            allowed[:, list(self.given[step])] = True
            return allowed
        if "form" in self.rules:
            if place == self.form.width:
                allowed[:] = False
                allowed[:, self.marks[line % 2]] = True
                return allowed
            allowed &= self.verse
            if place == self.form.width - 1:
                self.forbid_repeated_line(allowed, chosen, line)
        if "tone" in self.rules and place in self.form.fixed:
            fitting, wanted = self.fitting(chosen), self.wanted[:, line, place]  # (rows, template), (template,)
            allowed &= ((fitting & (wanted == 0)).any(1)[:, None] & self.tone[0]) | (
                (fitting & (wanted == 1)).any(1)[:, None] & self.tone[1]
            )
        if "rhyme" in self.rules and line % 2 and place == self.form.width - 1:
            open_rhymes, used = self.rhymes_of(chosen, line)
            allowed &= (self.rhyme[None] & open_rhymes[:, None]).any(2)
            allowed &= ~(self.alike[None, :, None] == self.alike[used][:, None]).any(2)
        return allowed

    def characters(self, chosen: Tensor, line: int) -> Tensor:
        """The characters of a line that is complete: (rows, width)"""
        return chosen[:, line * self.period : line * self.period + self.form.width]

    def forbid_repeated_line(self, allowed: Tensor, chosen: Tensor, line: int) -> None:
        own = chosen[:, line * self.period :]
        for earlier in range(line):
            other = self.characters(chosen, earlier)
            same = (own == other[:, :-1]).all(1)
            allowed[same, other[same, -1]] = False

    def fitting(self, chosen: Tensor) -> Tensor:
        """Which templates agree best with what was chosen so far, one at least: (rows, template)"""
        agree = torch.zeros(len(chosen), len(self.patterns), dtype=torch.int64, device=chosen.device)
        for step in range(chosen.shape[1]):
            line, place = divmod(step, self.period)
            if place in self.form.fixed:
                kinds = self.tone[:, chosen[:, step]]  # (2, rows)
                agree += torch.where((self.wanted[:, line, place] == 0)[None], kinds[0, :, None], kinds[1, :, None])
        return agree == agree.amax(1, keepdim=True)

    def rhymes_of(self, chosen: Tensor, line: int) -> tuple[Tensor, Tensor]:
        """The rhymes that are still open (rows, rhyme), and the characters that were used for them (rows, number)."""
        ends = [self.characters(chosen, earlier)[:, -1] for earlier in range(1, line, 2)]
        open_rhymes = torch.ones(len(chosen), self.rhyme.shape[1], dtype=torch.bool, device=chosen.device)
        first = self.characters(chosen, 0)[:, -1]
        own = self.rhyme[first]
        joins = own.any(1)
        if "tone" in self.rules:  # where a character has both tones the template says which is meant
            joins &= (self.joins[None] | ~self.fitting(chosen[:, : self.period])).all(1)
        else:
            joins &= ~self.tone[1, first]
        open_rhymes = torch.where(joins[:, None], own, open_rhymes)
        for end in ends:
            narrower = open_rhymes & self.rhyme[end]
            open_rhymes = torch.where(narrower.any(1, keepdim=True), narrower, open_rhymes)  # ends may be given
        used = [*ends, first]
        return open_rhymes, torch.stack(used, 1)
