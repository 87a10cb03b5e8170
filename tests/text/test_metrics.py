import math
import random
import time
from collections import Counter

import numpy as np
import pytest
import torch

from seqgan.text.metrics import (
    References,
    bleu,
    distinct,
    js_divergence,
    ngram_counts,
    ngram_js,
    novel_ngrams,
    novel_sentences,
    self_bleu,
)


def corpus(seed, count, words=12, longest=9):
    """Sentences of no to `longest` words, some of them twice, in which words repeat."""
    draw = random.Random(seed)
    rows = [[f"w{draw.randrange(words)}" for _ in range(draw.randrange(longest + 1))] for _ in range(count)]
    return rows + rows[: count // 4]


def nltk_scores(hypothesis, references, n):
    score = pytest.importorskip("nltk.translate.bleu_score")
    smooth = score.SmoothingFunction().method1
    return [
        score.sentence_bleu(references, hypothesis, (1 / k,) * k, smoothing_function=smooth) for k in range(1, n + 1)
    ]


@pytest.mark.parametrize("words", [2, 12, 200])
def test_bleu_is_that_of_nltk(words):
    hypotheses, references = corpus(1, 60, words), corpus(2, 40, words)
    expected = np.array([nltk_scores(row, references, 5) for row in hypotheses])
    np.testing.assert_allclose(References(references)(hypotheses), expected, atol=1e-10)
    found = bleu(hypotheses, references)
    assert list(found) == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(list(found.values()), expected.mean(0), atol=1e-10)


@pytest.mark.parametrize("words", [2, 12, 200])
def test_self_bleu_is_that_of_nltk_against_all_others(words):
    rows = corpus(3, 50, words) + [["w0"] * 15, ["w1"] * 20]  # two lengths that occur once
    expected = np.array([nltk_scores(row, rows[:i] + rows[i + 1 :], 5) for i, row in enumerate(rows)])
    np.testing.assert_allclose(References(rows).leave_one_out(), expected, atol=1e-10)
    np.testing.assert_allclose(list(self_bleu(rows).values()), expected.mean(0), atol=1e-10)


@pytest.mark.parametrize(
    "hypothesis, references",
    [
        ("", ["ab"]),
        ("", [""]),
        ("a", ["abcdef"]),
        ("ab", ["abcdef", "ab"]),
        ("xyz", ["abc", "xa"]),
        ("xyzvw", ["abc"]),
        ("aaaa", ["aa", "aab", "aab"]),
        ("abcd", ["abc", "abcde"]),
        ("abcd", ["abcdef", "ab"]),
        ("abcabcabc", ["abc", ""]),
        ("a", ["", ""]),
    ],
)
def test_corner_cases_of_nltk(hypothesis, references):
    np.testing.assert_allclose(References(references)([hypothesis])[0], nltk_scores(hypothesis, references, 5), 1e-12)


def test_bleu_by_hand():
    scores = References(["the cat sat on the mat".split()], 2)(["the the cat".split()])[0]
    assert scores == pytest.approx([math.exp(1 - 6 / 3), math.exp(1 - 6 / 3) * math.sqrt(1 / 2)])
    alone = self_bleu(["abcd", "abcd", "xyz"], 2)
    assert alone[1] == pytest.approx(2 / 3), "a copy is matched by its other, a sentence never by itself"


def test_arrays_and_tensors_are_rows_of_ids():
    hypotheses, references = np.random.default_rng(0).integers(0, 9, (2, 30, 8))
    expected = bleu(hypotheses.tolist(), references.tolist())
    assert 0.1 < expected[3] < 0.9
    assert bleu(torch.from_numpy(hypotheses), torch.from_numpy(references)) == expected
    assert bleu(list(torch.from_numpy(hypotheses)), references) == expected
    assert (
        bleu([[f"{i}" for i in row] for row in hypotheses], [[f"{i}" for i in row] for row in references]) == expected
    )


def test_ten_thousand_sentences_take_seconds():
    hypotheses, references = np.random.default_rng(0).zipf(1.3, (2, 10_000, 11)) % 5000
    begun = time.process_time()
    bleu(hypotheses, references)
    self_bleu(hypotheses)
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    "score, message",
    [
        (lambda: bleu(["a"], []), "at least one reference"),
        (lambda: bleu([], ["a"]), "no sentences"),
        (lambda: bleu(["a"], ["a"], 0), "counts from 1, not 0"),
        (lambda: self_bleu(["a"]), "no others"),
        (lambda: distinct(["ab", ""], 3), "no sentence has 3 tokens"),
        (lambda: distinct(["ab"], 0), "at least 1 token, not 0"),
        (lambda: ngram_js(["abc"], ["ab"], 3), "no sentence has 3 tokens"),
        (lambda: novel_ngrams(["ab"], ["abc"], 3), "no sentence has 3 tokens"),
        (lambda: novel_sentences([], ["a"]), "no sentences"),
    ],
)
def test_what_is_not_defined(score, message):
    with pytest.raises(ValueError, match=message):
        score()


def test_distinct():
    assert distinct(["abab", "ab"], 1) == 2 / 6
    assert distinct(["abab", "ab"], 2) == 2 / 4
    assert distinct(["abab", "ab"], 3) == 1
    assert ngram_counts([[1, 2, 1, 2], [1]], 2) == Counter({(1, 2): 2, (2, 1): 1})


def test_novelty():
    assert novel_ngrams(["abx", "ab"], ["abc", "x"], 1) == 0
    assert novel_ngrams(["abx", "ab"], ["abc", "x"], 2) == 1 / 3
    assert novel_ngrams(["abx"], ["ab"], 3) == 1, "nothing in training has three"
    assert novel_sentences([["a", "b"], ("a",), ["b"]], [("a", "b"), ["a"]]) == 1 / 3
    assert novel_sentences(torch.tensor([[1, 2], [3, 4]]), np.array([[3, 4]])) == 0.5


def test_divergence_of_n_grams_in_closed_form():
    assert ngram_js(["ab", "ba"], ["ba", "ab"], 2) == 0
    assert ngram_js(["aab"], ["xxy"], 1) == pytest.approx(1), "bits: nothing in common is 1"
    half = 0.5 * math.log2(1 / 0.75) + 0.5 * (0.5 * math.log2(0.5 / 0.75) + 0.5 * math.log2(0.5 / 0.25))
    assert ngram_js(["aa"], ["ab"], 1) == pytest.approx(half)
    p, q = 0.2, 0.7  # the entropy of the mean less the mean of the entropies
    entropy = lambda x: -x * math.log2(x) - (1 - x) * math.log2(1 - x)  # noqa: E731
    expected = entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2
    assert js_divergence(Counter(a=2, b=8), Counter(a=70, b=30)) == pytest.approx(expected)
