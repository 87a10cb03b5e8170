"""The poet: Tang poems on a title, or on one of its own, that keep form, tone and rhyme."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqgan.checkpoint import find_weights, load_weights, read_metadata, save_folder, save_weights
from seqgan.rollout import play
from seqgan.stream import random_from

from .meter import FORMS, MARKS, Form, common_rhymes, is_level, show_tones, split_lines, tones
from .networks import GENERATORS, Generator, without_dropout
from .poems import HAN, LONGEST_TITLE, STROKE, Script
from .sampling import Sampler, Sampling
from .verse_rules import RULES, VerseRules
from .vocabulary import PAD, START, UNKNOWN

FORMAT = "seqgan.text.poet/1"
SCRIPTS = ("simplified", "traditional")
LONGEST_OWN_TITLE = 8
AT_ONCE = 256  # poems, of which each takes a megabyte while it is written
LONGEST = 80  # tokens of a poem whose form is not held
# Chosen by reading poems at 0.5 (words return), 0.65 and 0.8 (lines lose their sense).
SAMPLING = Sampling(temperature=0.65)


@dataclass(frozen=True)
class Poem:
    title: str
    form: str
    lines: tuple[str, ...]
    heard: tuple[str, ...] = ()  # the lines as they are looked up in the tables; () as they are written

    @property
    def tones(self) -> tuple[str, ...]:
        """平 or 仄 of every character, 中 where it has both, ？ where the tables lack it."""
        return tuple(map(show_tones, self.heard or self.lines))

    @property
    def rhyme(self) -> str:
        """The Pingshui rhyme of the even lines, or "" if they have none in common; level ones are preferred."""
        lines = self.heard or self.lines
        shared = common_rhymes(lines) if len(lines) > 1 and all(lines) else frozenset()
        return min(shared, key=lambda name: (not is_level(name), name), default="")

    def as_dict(self) -> dict[str, Any]:
        own = {"title": self.title, "form": self.form, "lines": list(self.lines)}
        return own | {"tones": list(self.tones), "rhyme": self.rhyme}

    def show(self, tones: bool = False) -> str:
        """The title, and one line a verse; with the tones beside it."""
        verses = [line + MARKS[i % 2] for i, line in enumerate(self.lines)]
        if tones:
            verses = [f"{verse}  {signs}" for verse, signs in zip(verses, self.tones, strict=True)]
        return "\n".join(([f"《{self.title}》"] if self.title else []) + verses)

    def __str__(self) -> str:
        return self.show()


class Poet:
    """Writes Tang poems.

    poet = Poet.from_pretrained()
    for poem in poet("春望", form="qijue", count=3, seed=1):
        print(poem)
    """

    def __init__(self, generator: Generator, script: Script):
        if generator.config.vocabulary != len(script.vocabulary):
            raise ValueError(f"{generator.config.vocabulary} tokens, but {len(script.vocabulary)} in the vocabulary")
        self.generator, self.script = generator, script

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path = "poet", device: str | torch.device = "cpu") -> Poet:
        """The bundled model, a .safetensors file, or a folder of `save_pretrained`; ValueError if it is none."""
        path = find_weights(name_or_path, "seqgan.text")
        metadata = read_metadata(path)
        if metadata.get("format") != FORMAT:
            raise ValueError(f"{path} is not a poet (its metadata says {metadata.get('format')})")
        kinds = {kind.FORMAT: kind for kind in GENERATORS}
        try:
            kind, script = kinds[metadata["network"]], Script(**json.loads(metadata["script"]))
            poet = cls(kind(kind.CONFIG(**json.loads(metadata["config"]))), script)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise ValueError(f"{path}: its settings are not those of a poet: {error}") from error
        load_weights(path, poet.generator)
        poet.generator.to(device).eval()
        return poet

    def save(self, path: str | Path) -> Path:
        """Writes weights (float16), settings and characters to one safetensors file."""
        metadata = {
            "format": FORMAT,
            "network": self.generator.FORMAT,
            "config": json.dumps(asdict(self.generator.config)),
            "script": json.dumps(asdict(self.script), ensure_ascii=False),
        }
        return save_weights(path, self.generator, metadata=metadata)

    def save_pretrained(self, path: str | Path) -> Path:
        """Writes a folder with config.json and model.safetensors (float16)."""
        return save_folder(path, self.generator.config, self.save)

    def __call__(
        self,
        title: str | None = None,
        form: str = "qijue",
        count: int = 1,
        seed: int | None = None,
        *,
        first_line: str | None = None,
        acrostic: str | None = None,
        script: str = "simplified",
        sampling: Sampling = SAMPLING,
        rules: Collection[str] = RULES,
    ) -> list[Poem]:
        """`count` poems; the same seed gives the same ones.

        title: of Chinese characters in either script; without one the poet chooses its own. first_line: of which the
        poem is a continuation. acrostic: the first characters of its lines. rules: what is held by masks (see
        `VerseRules`); () lets the model write as it likes. ValueError where something asked for cannot be.
        """
        shape = find_form(form)
        if count < 1:
            raise ValueError(f"a count of poems is 1 or more, not {count}")
        if script not in SCRIPTS:
            raise ValueError(f"the script is {' or '.join(SCRIPTS)}, not {script!r}")
        if title is not None:
            check_title(title)
        if set(rules) - set(RULES) or (rules and "form" not in rules):
            raise ValueError(f"rules are some of {', '.join(RULES)}, and none without form")
        given = self.given(shape, first_line, acrostic, script)
        device = next(self.generator.parameters()).device
        random = random_from(seed, device)
        mask = VerseRules(self.script, shape, rules, given, device)
        length = mask.length() if rules else LONGEST
        titles = [title] * count if title is not None else self.invent_titles(shape, count, random)
        poems: dict[int, Poem] = {}
        for size in sorted(set(map(len, titles))):  # prompts of one length are one batch
            places = [i for i, own in enumerate(titles) if len(own) == size]
            prompts = [self.script.prompt(shape, titles[i]) for i in places]
            room = getattr(self.generator.config, "length", math.inf) - len(prompts[0])  # an LSTM reads on for ever
            if rules and room < length:
                raise ValueError(f"a {form} on a title of {size} characters is longer than this model can write")
            for i, ids in zip(places, self.write(prompts, min(length, room), mask, sampling, random), strict=True):
                poems[i] = self.poem(titles[i], form, ids, script)
        return [poems[i] for i in range(count)]

    def write(
        self, prompts: list[list[int]], length: int, mask: Any, sampling: Sampling, random: torch.Generator
    ) -> list[list[int]]:
        """What is sampled after prompts of one length, AT_ONCE together."""
        rows, sampler = [], Sampler(self.generator.logits, random, sampling, without_specials(mask))
        with without_dropout(self.generator):
            for i in range(0, len(prompts), AT_ONCE):
                part = prompts[i : i + AT_ONCE]
                start = self.generator.start(len(part))
                prompt = torch.cat([start, torch.tensor(part, device=start.device)], 1)
                rows += play(self.generator, prompt, length, sampler, keep=False).tokens.tolist()
        return rows

    def invent_titles(self, form: Form, count: int, random: torch.Generator) -> list[str]:
        """Titles of the poet's own, traditional."""
        stroke = self.script.vocabulary.ids[STROKE]

        def mask(step: int, chosen: Tensor) -> Tensor:
            allowed = torch.zeros(len(chosen), len(self.script.vocabulary), dtype=torch.bool, device=chosen.device)
            allowed[:, self.script.first :] = step < LONGEST_OWN_TITLE
            allowed[:, stroke] = step > 0
            return allowed

        prompts = [self.script.prompt(form, None)] * count
        rows = self.write(prompts, LONGEST_OWN_TITLE + 1, mask, SAMPLING, random)
        return [self.script.text(row[: row.index(stroke)]) for row in rows]

    def given(self, form: Form, first_line: str | None, acrostic: str | None, script: str) -> Mapping[int, list[int]]:
        """The ids that are possible at places that the user has filled."""

        def known(character: str) -> list[int]:
            return self.known(character, script)

        found: dict[int, list[int]] = {}
        if acrostic is not None:
            if len(acrostic) != form.lines:
                raise ValueError(
                    f"an acrostic of {form.name} has {form.lines} characters, one for each line, not {len(acrostic)}"
                )
            found |= {line * (form.width + 1): known(c) for line, c in enumerate(acrostic)}
        if first_line is not None:
            lines = split_lines(first_line)
            if len(lines) != 1 or len(lines[0]) != form.width:
                raise ValueError(f"a line of {form.name} has {form.width} characters, not {first_line!r}")
            line = lines[0]
            both = [token for token in known(line[0]) if token in found.get(0, known(line[0]))]
            if not both:
                raise ValueError(f"the first line begins with {line[0]}, the acrostic with {acrostic[0]}")
            found |= {place: known(c) for place, c in enumerate(line)} | {0: both}
            self.check_rhyme(line[-1])
        return found

    def known(self, character: str, script: str) -> list[int]:
        """The ids of a character in `script`: of a traditional one its own, else of all with its simplified form."""
        if character not in self.script.alike:
            raise ValueError(f"the poet does not know the character {character!r}")
        if script == "traditional" and character in self.script.traditional:
            return [self.script.vocabulary.ids[character]]
        return self.script.alike[character]

    def unknown(self, title: str) -> list[str]:
        """The characters of a title that the poet has never seen, and does not heed."""
        return [character for character in dict.fromkeys(title) if character not in self.script.alike]

    def check_rhyme(self, last: str) -> None:
        """ValueError where no table says how the end of a first line sounds."""
        simple = self.script.simplify(last)
        if not tones(simple) and not tones(last):
            raise ValueError(f"no rhyme is known for {last!r}, with which the first line ends")

    def poem(self, title: str, form: str, ids: list[int], script: str) -> Poem:
        text = self.script.text(ids)
        simple = self.script.simplify(text)  # which the tables cover best
        if script == "simplified":
            return Poem(self.script.simplify(title), form, split_lines(simple))
        return Poem(self.script.complicate(title), form, split_lines(text), heard=split_lines(simple))


def find_form(name: str) -> Form:
    if name not in FORMS:
        raise ValueError(f"no form {name!r}; there are {', '.join(FORMS)}")
    return FORMS[name]


def check_title(title: str) -> None:
    strange = [character for character in title if not HAN.match(character)]
    if not title or strange:
        raise ValueError(f"a title is of Chinese characters, not {title!r}")
    if len(title) > LONGEST_TITLE:
        raise ValueError(f"a title has at most {LONGEST_TITLE} characters, {title!r} has {len(title)}")


def without_specials(mask: Any) -> Any:
    def allowed(step: int, chosen: Tensor) -> Tensor:
        found = mask(step, chosen)
        found[:, [PAD, START, UNKNOWN]] = False
        return found

    return allowed
