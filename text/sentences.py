"""Sentences out of a trained generator: WGAN-GP's, which writes all characters at once, or a language model."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from seqgan.checkpoint import find_weights, read_metadata, save_folder, save_weights
from seqgan.stream import random_from

from .networks import GENERATORS, Generator, load_generator, without_dropout
from .sampling import Sampler
from .vocabulary import END, PAD, START, UNKNOWN, Vocabulary, load_vocabulary
from .wgan_gp import FILL, CharacterGenerator

AT_ONCE = 1000  # sentences of a language model that are drawn together
LONGEST = 200  # tokens of a sentence of a language model that does not end it


class SentenceGenerator:
    """Writes sentences.

        generator = SentenceGenerator.from_pretrained("runs/wgan_gp/generator.safetensors")
        for sentence in generator(10, seed=1):
            print(sentence)

    generator: of `wgan_gp`, which has its characters in its settings, or of `networks` beside its vocabulary.
    """

    def __init__(self, generator: CharacterGenerator | Generator, vocabulary: Vocabulary | None = None):
        if isinstance(generator, Generator):
            size = None if vocabulary is None else len(vocabulary)
            if size != generator.config.vocabulary:
                raise ValueError(f"a model of {generator.config.vocabulary} tokens with a vocabulary of {size}")
        self.generator, self.vocabulary = generator, vocabulary

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path = "wgan", device: str | torch.device = "cpu"
    ) -> SentenceGenerator:
        """A bundled model, a .safetensors file, or a folder of `save_pretrained`; ValueError naming what is none."""
        path = find_weights(name_or_path, "seqgan.text")
        metadata = read_metadata(path)
        kind = metadata.get("format")
        if kind == CharacterGenerator.FORMAT:
            return cls(CharacterGenerator.load(path).to(device))
        if kind not in [model.FORMAT for model in GENERATORS]:
            raise ValueError(f"{path} is not a generator of sentences (its metadata says {kind})")
        if "vocabulary" not in metadata:
            raise ValueError(f"{path} has no vocabulary: save it with SentenceGenerator(generator, vocabulary)")
        generator = load_generator(path).to(device)
        try:
            return cls(generator, load_vocabulary(json.loads(metadata["vocabulary"])))
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise ValueError(f"{path}: its vocabulary is not one of the model: {error}") from error

    def save(self, path: str | Path) -> Path:
        """Writes weights (float16), settings and vocabulary to one safetensors file, which the generator's own class
        reads as well."""
        if self.vocabulary is None:
            return self.generator.save(path)
        metadata = {
            "format": self.generator.FORMAT,
            "config": json.dumps(asdict(self.generator.config)),
            "vocabulary": json.dumps(self.vocabulary.settings()),
        }
        return save_weights(path, self.generator, metadata=metadata)

    def save_pretrained(self, path: str | Path) -> Path:
        """Writes a folder with config.json and model.safetensors (float16)."""
        return save_folder(path, self.generator.config, self.save)

    def __call__(self, count: int = 1, seed: int | None = None) -> list[str]:
        """`count` sentences; the same seed gives the same ones. ValueError for a count below 1."""
        if count < 1:
            raise ValueError(f"a count of sentences is 1 or more, not {count}")
        random = random_from(seed, self.device if self.vocabulary else "cpu")
        if self.vocabulary is None:
            return [line.rstrip(FILL) for line in self.generator.write(count, random)]
        sizes = (min(AT_ONCE, count - begun) for begun in range(0, count, AT_ONCE))
        with without_dropout(self.generator):
            rows = [row for size in sizes for row in self._draw(size, random).tolist()]
        return [self.vocabulary.decode(row) for row in rows]

    @property
    def device(self) -> torch.device:
        return next(self.generator.parameters()).device

    @torch.no_grad()
    def _draw(self, count: int, random: torch.Generator) -> Tensor:
        """Tokens (count, time) of a language model, with its own probabilities, until all have come to an end."""
        config = self.generator.config
        allowed = torch.ones(config.vocabulary, dtype=torch.bool, device=self.device)
        allowed[[PAD, START, UNKNOWN]] = False
        choose = Sampler(self.generator.logits, random, mask=lambda step, chosen: allowed.expand(len(chosen), -1))
        token, state = self.generator.start(count), None
        chosen = token[:, :0]
        for _ in range(getattr(config, "length", LONGEST)):
            features, state = self.generator(token, state)
            token = choose(features[:, -1], chosen)[:, None]
            chosen = torch.cat([chosen, token], 1)
            if (chosen == END).any(1).all():
                break
        return chosen
