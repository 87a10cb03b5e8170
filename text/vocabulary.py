"""Text to tokens and back: whole characters, words, or pieces of words (byte-pair encoding, Sennrich et al. 2016)."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

PAD, START, END, UNKNOWN = range(4)  # never the outcome of any text but for UNKNOWN, whatever the text says
SPECIALS = 4
REPLACEMENT = "\ufffd"  # what UNKNOWN is in text


class Vocabulary(Protocol):
    """Ids begin with PAD, START, END, UNKNOWN."""

    def __len__(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """Ids of the text, without START and END."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text up to the first END; PAD and START are left out."""
        ...

    def settings(self) -> dict[str, Any]:
        """Plain values from which `load_vocabulary` makes the same vocabulary."""
        ...


class Symbols:
    """A list of characters, or of words between single spaces; what is not in it becomes UNKNOWN.

    decode(encode(text)) is the text again, if it knows all of it (and words are apart by single spaces).
    """

    def __init__(self, symbols: Sequence[str], words: bool = False):
        self.symbols, self.words = tuple(symbols), words
        if len(set(self.symbols)) < len(self.symbols):
            raise ValueError("a vocabulary has each of its symbols once")
        for symbol in self.symbols:
            if not symbol or (len(symbol) > 1 and not words) or (words and symbol.split() != [symbol]):
                raise ValueError(f"{symbol!r} is not a {'word' if words else 'character'}")
        self.ids = {symbol: SPECIALS + i for i, symbol in enumerate(self.symbols)}

    @classmethod
    def build(cls, lines: Iterable[str], words: bool = False, least: int = 1, most: int | None = None) -> Symbols:
        """Of all that occurs `least` times, the `most` frequent, the most frequent first."""
        counts = Counter(symbol for line in lines for symbol in (line.split() if words else line))
        ordered = sorted((-count, symbol) for symbol, count in counts.items() if count >= least)
        return cls([symbol for _, symbol in ordered[:most]], words)

    def __len__(self) -> int:
        return SPECIALS + len(self.symbols)

    def __contains__(self, symbol: str) -> bool:
        return symbol in self.ids

    def split(self, text: str) -> Sequence[str]:
        return text.split() if self.words else text

    def encode(self, text: str) -> list[int]:
        return [self.ids.get(symbol, UNKNOWN) for symbol in self.split(text)]

    def decode(self, ids: Iterable[int]) -> str:
        return (" " if self.words else "").join(
            REPLACEMENT if i == UNKNOWN else self.symbols[i - SPECIALS] for i in until_end(ids)
        )

    def settings(self) -> dict[str, Any]:
        return {"kind": "words" if self.words else "characters", "symbols": list(self.symbols)}


class Pieces:
    """Pieces of words that sentencepiece has learnt. Bytes stand in for what it has not seen, so that
    decode(encode(text)) is any text again."""

    def __init__(self, model: bytes):
        from sentencepiece import SentencePieceProcessor

        self.model, self.processor = model, SentencePieceProcessor(model_proto=model)
        found = [getattr(self.processor, name)() for name in ("pad_id", "bos_id", "eos_id", "unk_id")]
        if found != [PAD, START, END, UNKNOWN]:
            raise ValueError(f"pad, start, end and unknown are the pieces 0 to 3, here they are {found}")

    @classmethod
    def build(cls, lines: Iterable[str], size: int) -> Pieces:
        """Of `size` pieces, 260 of which are the special ones and the bytes."""
        from sentencepiece import SentencePieceTrainer

        written = io.BytesIO()
        try:
            SentencePieceTrainer.train(
                sentence_iterator=iter(lines), model_writer=written, vocab_size=size, model_type="bpe",
                byte_fallback=True, character_coverage=1.0, normalization_rule_name="identity",
                remove_extra_whitespaces=False, add_dummy_prefix=False, num_threads=1, minloglevel=2,
                pad_id=PAD, bos_id=START, eos_id=END, unk_id=UNKNOWN,
            )  # fmt: skip
        except RuntimeError as error:
            raise ValueError(f"no {size} pieces can be made of this text: {error}") from error
        return cls(written.getvalue())

    def __len__(self) -> int:
        return self.processor.get_piece_size()

    def encode(self, text: str) -> list[int]:
        return self.processor.encode(text)

    def decode(self, ids: Iterable[int]) -> str:
        return self.processor.decode(until_end(ids))

    def settings(self) -> dict[str, Any]:
        return {"kind": "pieces", "model": base64.b64encode(self.model).decode()}


def load_vocabulary(settings: Mapping[str, Any]) -> Symbols | Pieces:
    """The vocabulary whose `settings()` these are."""
    kind = settings.get("kind")
    if kind == "pieces":
        return Pieces(base64.b64decode(settings["model"]))
    if kind in ("characters", "words"):
        return Symbols(settings["symbols"], words=kind == "words")
    raise ValueError(f"a vocabulary is of characters, words or pieces, not of {kind!r}")


def until_end(ids: Iterable[int]) -> list[int]:
    """What lies before the first END, without PAD and START."""
    found = []
    for i in map(int, ids):
        if i == END:
            break
        if i not in (PAD, START):
            found.append(i)
    return found


def to_batch(rows: Sequence[Sequence[int]], length: int | None = None) -> Tensor:
    """Rows of ids as tokens (batch, time), filled up with PAD to the longest or to `length`; nothing is cut."""
    longest = max(map(len, rows), default=0)
    if length is not None and longest > length:
        raise ValueError(f"a row of {longest} tokens does not fit into {length}")
    tokens = torch.full((len(rows), longest if length is None else length), PAD)
    for row, ids in zip(tokens, rows, strict=True):
        row[: len(ids)] = torch.tensor(ids, dtype=torch.int64)
    return tokens
