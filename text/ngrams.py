"""N-grams: their numbers, and a language model of them with interpolated Kneser-Ney smoothing (Kneser and Ney 1995;
with three discounts for each n, the "modified" form of Chen and Goodman 1999).

An n-gram of a corpus is one integer: its place in a sorted table, whose entries are
(number of its first n - 1 tokens) * size + (its last token). So all that is done with n-grams is done to arrays.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

Sentences = Iterable[Sequence[Hashable]]
UNSEEN = -1


def rows_of(sentences: Any) -> list[Sequence[Hashable]]:
    """A list of sequences, of an array or tensor (rows, time) too, whose rows would be slow or not hashable."""
    if hasattr(sentences, "tolist"):
        return sentences.tolist()
    return [row.tolist() if hasattr(row, "tolist") else row for row in sentences]


def joined(sentences: Sequence[Sequence[Hashable]]) -> tuple[list[Hashable], np.ndarray]:
    """All tokens one after another, and whether each begins a sentence: (tokens,). Empty ones leave no trace."""
    begins = np.zeros(sum(map(len, sentences)) + 1, bool)
    begins[np.cumsum([0, *map(len, sentences)])] = True
    return list(chain.from_iterable(sentences)), begins[:-1]


def number(tokens: np.ndarray, begins: np.ndarray, size: int, order: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For each n up to `order` the number of the n-gram that ends at each of the tokens (tokens,), which lie in
    [0, size), and for each n from 2 the table of n-grams. UNSEEN where a sentence has not had n tokens yet.
    """
    numbers, tables = [tokens], []
    for _ in range(order - 1):
        keys = _keys(numbers[-1], tokens, begins, size)
        tables.append(np.unique(keys[keys != UNSEEN]))
        numbers.append(find(keys, tables[-1]))
    return numbers, tables


def look_up(tokens: np.ndarray, begins: np.ndarray, size: int, tables: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The numbers by the tables of another corpus; UNSEEN also for tokens and n-grams that it does not have."""
    numbers = [tokens]
    for table in tables:
        numbers.append(find(_keys(numbers[-1], tokens, begins, size), table))
    return numbers


def find(keys: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Where each key stands in the sorted table, or UNSEEN."""
    if not len(table):
        return np.full(len(keys), UNSEEN)
    places = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return np.where(table[places] == keys, places, UNSEEN)


def _keys(numbers: np.ndarray, tokens: np.ndarray, begins: np.ndarray, size: int) -> np.ndarray:
    before = np.where(begins, UNSEEN, np.roll(numbers, 1))
    return np.where((before == UNSEEN) | (tokens == UNSEEN), UNSEEN, before * size + tokens)


@dataclass(frozen=True)
class Level:
    """p(token | context) = share of the n-gram + rest of the context * p(token | shorter context), for one n.

    The n-grams lie sorted by context, those of context i from first[i] to first[i + 1]. UNSEEN finds the last entries
    of the arrays: the n-gram has share 0; the context leaves all to the shorter one, and first[-1]:first[0] is empty.
    """

    tokens: np.ndarray  # (n-grams,), the last of each
    share: np.ndarray  # (n-grams + 1,)
    first: np.ndarray  # (contexts + 1,)
    rest: np.ndarray  # (contexts + 1,), 1 for a context that nothing follows

    @classmethod
    def of(cls, contexts: np.ndarray, tokens: np.ndarray, counts: np.ndarray, size: int) -> Level:
        taken = discounts(counts)[np.minimum(counts, 3)]
        total = np.bincount(contexts, counts, size)
        rest = np.divide(np.bincount(contexts, taken, size), total, out=np.ones(size), where=total > 0)
        share = (counts - taken) / total[contexts]
        return cls(tokens, np.append(share, 0), np.searchsorted(contexts, np.arange(size + 1)), np.append(rest, 1))


def discounts(counts: np.ndarray) -> np.ndarray:
    """What is taken off counts of 0, 1, 2, and 3 or more (Chen and Goodman 1999, eq. 26).

    Where counts of 1 to 4 are too rare to tell, 0.5, 1 and 1.5.
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6).astype(float)
    if n[1:5].all():
        c = np.arange(1, 4)
        found = c - (c + 1) * n[1] / (n[1] + 2 * n[2]) * n[2:5] / n[1:4]
        if (found > 0).all():
            return np.array([0, *found])
    return np.array([0, 0.5, 1, 1.5])


class KneserNey:
    """Each token depends on the `order` - 1 before it, in the first places on the beginning of the sentence.

    sentences: rows of ids in [0, vocabulary_size), an array (rows, time) too. end: the id that closes every sentence,
    which is put after each, learnt and predicted as any other; None if sentences have no end (of fixed length, say).
    """

    def __init__(self, sentences: Any, *, vocabulary_size: int, order: int = 3, end: int | None = None):
        if order < 1:
            raise ValueError(f"the order of a language model counts from 1, not {order}")
        self.vocabulary_size, self.order, self.end = vocabulary_size, order, end
        self.start, self.size = vocabulary_size, vocabulary_size + 1
        tokens, begins = self._read(sentences)
        if begins.all():
            raise ValueError("there is no token to learn a language model from")
        numbers, self.tables = number(tokens, begins, self.size, order)
        grams = [vocabulary_size, *map(len, self.tables)]
        self.levels = []
        for n, (now, count) in enumerate(zip(numbers, grams, strict=True), 1):
            seen = ~begins & (now != UNSEEN)
            counts = np.bincount(now[seen], minlength=count)
            if n < order:  # how many different tokens come before it; one that begins a sentence keeps its count
                ends = np.empty(grams[n], int)  # of each longer n-gram this one that it ends in
                seen = numbers[n] != UNSEEN
                ends[numbers[n][seen]] = now[seen]
                before = np.bincount(ends, minlength=count)
                counts = np.where(before > 0, before, counts)
            if n == 1:
                self.levels.append(Level.of(np.zeros(count, int), np.arange(count), counts, 1))
            else:
                context, last = np.divmod(self.tables[n - 2], self.size)
                self.levels.append(Level.of(context, last, counts, self.size if n == 2 else grams[n - 2]))

    def probabilities(self, histories: Any) -> np.ndarray:
        """How likely each token is after each of the histories, which begin with a sentence: (histories, vocabulary)"""
        tokens, begins = self._read(histories, end=False)
        last = np.flatnonzero(np.append(begins[1:], True)) if len(begins) else []
        contexts = [now[last] for now in look_up(tokens, begins, self.size, self.tables[: self.order - 2])]
        p = np.full((len(last), self.vocabulary_size), 1 / self.vocabulary_size)
        for level, context in zip(self.levels, [np.zeros(len(last), int), *contexts], strict=False):
            p *= level.rest[context, None]
            for row, first, stop in zip(p, level.first[context], level.first[context + 1], strict=True):
                row[level.tokens[first:stop]] += level.share[first:stop]
        return p

    def log_probabilities(self, sentences: Any) -> np.ndarray:
        """log p(token | those before it), nats, of all tokens one after another, the ends among them: (tokens,)"""
        tokens, begins = self._read(sentences)
        numbers = look_up(tokens, begins, self.size, self.tables)
        p = np.full(len(tokens), 1 / self.vocabulary_size)
        context = np.zeros(len(tokens), int)
        for level, now in zip(self.levels, numbers, strict=True):
            p = level.rest[context] * p + level.share[now]
            context = np.roll(now, 1)
        return np.log(p[~begins])

    def perplexity(self, sentences: Any) -> float:
        """exp of the mean of -log p over all tokens, the ends among them if the model has one."""
        found = self.log_probabilities(sentences)
        if not len(found):
            raise ValueError("the perplexity of no tokens is not defined")
        return float(np.exp(-found.mean()))

    def sample(self, count: int, length: int, seed: int) -> np.ndarray:
        """Ids (count, length), drawn exactly. All after an end are ends."""
        random = np.random.default_rng(seed)
        sums = [np.append(0, np.cumsum(level.share)) for level in self.levels]
        contexts = [np.zeros(count, int), np.full(count, self.start), *(np.full(count, UNSEEN),) * (self.order - 2)]
        chosen = np.empty((count, length), int)
        for t in range(length):
            token = random.integers(self.vocabulary_size, size=count)  # unless one of the levels has another
            for level, sum, context in zip(self.levels, sums, contexts, strict=False):
                u = random.random(count)
                own = u >= level.rest[context]
                first, stop = level.first[context[own]], level.first[context[own] + 1]
                place = np.searchsorted(sum, sum[first] + u[own] - level.rest[context[own]], side="right") - 1
                token[own] = level.tokens[np.clip(place, first, stop - 1)]
            if self.end is not None and t:
                token[chosen[:, t - 1] == self.end] = self.end
            chosen[:, t] = token
            longer = [
                np.where(context == UNSEEN, UNSEEN, find(context * self.size + token, table))
                for context, table in zip(contexts[1:], self.tables[: self.order - 2], strict=False)
            ]
            contexts = [contexts[0], token, *longer]
        return chosen

    def _read(self, sentences: Any, end: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """All tokens with the start before each sentence, and where those are."""
        close = [self.end] if end and self.end is not None else []
        tokens, begins = joined([[self.start, *row, *close] for row in rows_of(sentences)])
        array = np.asarray(tokens, dtype=int)
        if ((array < 0) | (array >= self.vocabulary_size + begins)).any():
            raise ValueError(f"ids are to lie in [0, {self.vocabulary_size})")
        return array, begins
