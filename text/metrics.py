"""How good and how varied token sequences are: BLEU and self-BLEU (Papineni et al. 2002; Zhu et al. 2018), distinct-n
(Li et al. 2016), novelty, and the divergence of n-grams (Gulrajani et al. 2017).

A sentence is a sequence of hashable tokens: ids, words, or the characters of a str; sentences may also be an array or a
tensor (rows, time). Of n-grams all occurrences count unless it says distinct. What is not defined is a ValueError.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np

from .ngrams import UNSEEN, Sentences, joined, look_up, number, rows_of

EPSILON = 0.1  # matches where there are none (Chen and Cherry 2014, smoothing 1)


def bleu(hypotheses: Sentences, references: Sentences, n: int = 5) -> dict[int, float]:
    """BLEU-1 to BLEU-n of single sentences against all references, averaged; by order."""
    return _mean(References(references, n)(hypotheses))


def self_bleu(sentences: Sentences, n: int = 5) -> dict[int, float]:
    """BLEU-1 to BLEU-n of each sentence against all others, averaged; by order. High where samples are alike."""
    return _mean(References(sentences, n).leave_one_out())


def _mean(scores: np.ndarray) -> dict[int, float]:
    if not len(scores):
        raise ValueError("the BLEU of no sentences is not defined")
    return {order: float(score) for order, score in enumerate(scores.mean(0), 1)}


class References:
    """Tables of references against which any number of sentences is scored, BLEU-1 to BLEU-n.

    Of each n-gram they have the largest count in a reference, which reference that is, and the largest in the others.
    """

    def __init__(self, references: Sentences, n: int = 5):
        if n < 1:
            raise ValueError(f"the order of BLEU counts from 1, not {n}")
        rows = rows_of(references)
        if not rows:
            raise ValueError("BLEU needs at least one reference")
        tokens, begins = joined(rows)
        self.ids = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
        self.lengths = np.array([len(row) for row in rows])
        numbers, self.tables = number(self._ids(tokens), begins, len(self.ids), n)
        sizes = [len(self.ids), *map(len, self.tables)]
        self.counts = [Counts.of(now, self.lengths, size) for now, size in zip(numbers, sizes, strict=True)]
        self.largest = [Largest.of(counts, size) for counts, size in zip(self.counts, sizes, strict=True)]

    def __call__(self, hypotheses: Sentences) -> np.ndarray:
        """Of each hypothesis BLEU-1 to BLEU-n: (hypotheses, n). BLEU-k is in column k - 1."""
        rows = rows_of(hypotheses)
        tokens, begins = joined(rows)
        lengths = np.array([len(row) for row in rows], int)
        numbers = look_up(self._ids(tokens), begins, len(self.ids), self.tables)
        matches = []
        for now, largest in zip(numbers, self.largest, strict=True):
            counts = Counts.of(now, lengths, len(largest.count))
            matches.append(counts.clipped(largest.count[counts.ngram]))
        return _scores(np.array(matches), lengths, _closest(lengths, np.unique(self.lengths)))

    def leave_one_out(self) -> np.ndarray:
        """Of each reference BLEU-1 to BLEU-n against all others: (references, n)"""
        if len(self.lengths) < 2:
            raise ValueError("a single sentence has no others to be compared with")
        matches = []
        for counts, largest in zip(self.counts, self.largest, strict=True):
            own = largest.owner[counts.ngram] == counts.row
            limit = np.where(own, largest.other[counts.ngram], largest.count[counts.ngram])
            matches.append(counts.clipped(limit))
        lengths, times = np.unique(self.lengths, return_counts=True)
        closest = self.lengths.copy()
        for length in lengths[times == 1]:
            closest[self.lengths == length] = _closest(np.array([length]), lengths[lengths != length])
        return _scores(np.array(matches), self.lengths, closest)

    def _ids(self, tokens: list[Hashable]) -> np.ndarray:
        return np.fromiter(map(self.ids.get, tokens, repeat(UNSEEN)), int, len(tokens))


@dataclass(frozen=True)
class Counts:
    """How often n-grams occur in rows; those that are UNSEEN are left out."""

    row: np.ndarray  # (pairs,)
    ngram: np.ndarray  # (pairs,)
    count: np.ndarray  # (pairs,)
    rows: int

    @classmethod
    def of(cls, numbers: np.ndarray, lengths: np.ndarray, size: int) -> Counts:
        """numbers: (tokens,), of rows of these lengths and below `size`"""
        row = np.repeat(np.arange(len(lengths)), lengths)[numbers != UNSEEN]
        pairs, count = np.unique(row * size + numbers[numbers != UNSEEN], return_counts=True)
        return cls(*np.divmod(pairs, max(size, 1)), count, len(lengths))

    def clipped(self, limit: np.ndarray) -> np.ndarray:
        """Sums of counts, of each pair at most its limit (pairs,): (rows,)"""
        return np.bincount(self.row, np.minimum(self.count, limit), self.rows)


@dataclass(frozen=True)
class Largest:
    """The largest counts of n-grams, each (n-grams,)."""

    count: np.ndarray
    owner: np.ndarray  # a row that has it
    other: np.ndarray  # the largest count in the other rows

    @classmethod
    def of(cls, counts: Counts, size: int) -> Largest:
        order = np.lexsort((-counts.count, counts.ngram))
        count, ngram = np.append(counts.count[order], 0), np.append(counts.ngram[order], size)
        first = np.searchsorted(ngram, np.arange(size))
        other = np.where(ngram[first + 1] == ngram[first], count[first + 1], 0)
        return cls(count[first], counts.row[order][first], other)


def _closest(lengths: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Of each length the nearest of references, ascending and distinct; of two as near the shorter."""
    after = np.searchsorted(references, lengths).clip(max=len(references) - 1)
    before = (after - 1).clip(min=0)
    nearer = np.abs(references[before] - lengths) <= np.abs(references[after] - lengths)
    return np.where(nearer, references[before], references[after])


def _scores(matches: np.ndarray, lengths: np.ndarray, closest: np.ndarray) -> np.ndarray:
    """matches: (n, rows); lengths of rows, and the closest of a reference: (rows,) -> BLEU-1 to BLEU-n: (rows, n)"""
    orders = np.arange(1, len(matches) + 1)[:, None]
    possible = np.maximum(lengths - orders + 1, 1)
    precision = np.where(matches > 0, matches, EPSILON) / possible
    brevity = np.exp(np.minimum(0, 1 - closest / np.maximum(lengths, 1)))
    scores = brevity * np.exp(np.cumsum(np.log(precision), 0) / orders)
    return np.where(matches[0] > 0, scores, 0).T


def ngrams(sentences: Sentences, n: int) -> Iterator[tuple[Hashable, ...]]:
    """All n-grams, sentence by sentence; none of sentences that are shorter."""
    if n < 1:
        raise ValueError(f"n-grams have at least 1 token, not {n}")
    for row in rows_of(sentences):
        yield from zip(*(row[i:] for i in range(n)), strict=False)


def ngram_counts(sentences: Sentences, n: int) -> Counter[tuple[Hashable, ...]]:
    """How often each n-gram occurs; ValueError if there is none."""
    counts = Counter(ngrams(sentences, n))
    if not counts:
        raise ValueError(f"no sentence has {n} tokens")
    return counts


def distinct(sentences: Sentences, n: int) -> float:
    """Distinct n-grams over all n-grams. It falls with the number of sentences: compare at equal numbers."""
    counts = ngram_counts(sentences, n)
    return len(counts) / counts.total()


def novel_ngrams(sentences: Sentences, training: Sentences, n: int) -> float:
    """The share of n-grams that do not occur in training."""
    counts, known = ngram_counts(sentences, n), set(ngrams(training, n))
    return sum(count for ngram, count in counts.items() if ngram not in known) / counts.total()


def novel_sentences(sentences: Sentences, training: Sentences) -> float:
    """The share of sentences, whole, that do not occur in training. They may be lines, verses or poems."""
    rows, known = rows_of(sentences), set(map(tuple, rows_of(training)))
    if not rows:
        raise ValueError("the novelty of no sentences is not defined")
    return sum(tuple(row) not in known for row in rows) / len(rows)


def ngram_js(a: Sentences, b: Sentences, n: int) -> float:
    """Jensen-Shannon divergence of the n-grams of two corpora, in bits: 0 if alike, 1 if they have none in common.

    It is what Gulrajani et al.'s program logs as js1 to js4; there too nats are divided by log 2. The fewer the samples
    the higher it is: compare with real text of the same number.
    """
    return js_divergence(ngram_counts(a, n), ngram_counts(b, n))


def js_divergence(a: Counter[Any], b: Counter[Any]) -> float:
    """Of two distributions given as counts, bits: 1/2 KL(p || m) + 1/2 KL(q || m), with m = (p + q) / 2."""
    keys = list(a | b)
    p, q = (np.fromiter(map(counts.__getitem__, keys), float, len(keys)) / counts.total() for counts in (a, b))
    mean = (p + q) / 2
    return float(
        sum((part * np.log2(part / mean, where=part > 0, out=np.zeros_like(part))).sum() for part in (p, q)) / 2
    )
