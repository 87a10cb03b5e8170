from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch

from seqgan.text.ngrams import KneserNey, discounts

SIZE = 7
START = "start"


def corpus(count=200, seed=0, longest=9):
    """A chain in which some steps are much likelier than others; the last id never occurs."""
    random = np.random.default_rng(seed)
    rows = []
    for length in random.integers(0, longest + 1, count):
        row = [int(random.integers(SIZE - 1))]
        while len(row) < length:
            row.append((row[-1] * 2 + int(random.choice(3, p=[0.8, 0.15, 0.05]))) % (SIZE - 1))
        rows.append(row[:length])
    return rows


def slow(rows, order, history, token):
    """p(token | history) out of the definition, with dictionaries."""
    rows = [[START, *row] for row in rows]
    grams = [Counter(tuple(row[i : i + n]) for row in rows for i in range(len(row) - n + 1)) for n in range(order + 1)]
    del grams[1][(START,)]

    def counts(n):
        left = Counter(gram[1:] for gram in grams[n + 1]) if n < order else {}
        return {gram: left[gram] if n < order and gram[0] != START else count for gram, count in grams[n].items()}

    def p(context):
        n = len(context) + 1
        if n == 0:
            return 1 / SIZE
        shorter = p(context[1:]) if context else 1 / SIZE
        found = counts(n)
        taken = discounts(np.array(list(found.values())))
        following = {gram: count for gram, count in found.items() if gram[:-1] == context}
        if not following:
            return shorter
        total, rest = sum(following.values()), sum(taken[min(count, 3)] for count in following.values())
        count = following.get((*context, token), 0)
        return (count - taken[min(count, 3)]) / total + rest / total * shorter

    return p(tuple([START, *history][-(order - 1) :]) if order > 1 else ())


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_it_is_the_definition(order):
    rows = corpus()
    model = KneserNey(rows, vocabulary_size=SIZE, order=order)
    histories = [[], [0], [6], [2, 4], [4, 2, 5], [1, 6, 3, 1], [0, 1, 2, 4]]
    expected = [[slow(rows, order, history, token) for token in range(SIZE)] for history in histories]
    np.testing.assert_allclose(model.probabilities(histories), expected, rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_sum_to_one_after_any_history(order):
    model = KneserNey(corpus(), vocabulary_size=SIZE, order=order)
    histories = [history for length in range(5) for history in product(range(SIZE), repeat=length)]
    found = model.probabilities(histories)
    assert found.shape == (len(histories), SIZE)
    assert found.min() > 0, "nothing is impossible, not even what never occurred"
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)
    assert model.probabilities([]).shape == (0, SIZE)


def test_by_hand():
    # Too few to tell the discounts: 0.5, 1 and 1.5. One token: 3 of a, 1 of b; two never seen.
    model = KneserNey([[0, 0], [0, 1]], vocabulary_size=4, order=1)
    np.testing.assert_allclose(model.probabilities([[]]), [[1.5 / 4 + 0.5 / 4, 0.5 / 4 + 0.5 / 4, 0.5 / 4, 0.5 / 4]])
    # Pairs: a after the start and after a, b after a: in 2 contexts and in 1.
    model = KneserNey([[0, 0], [0, 1]], vocabulary_size=4, order=2)
    one = np.array([1 / 3, 0.5 / 3, 0, 0]) + 1.5 / 3 / 4
    np.testing.assert_allclose(model.probabilities([[]])[0], np.array([1 / 2, 0, 0, 0]) + 1 / 2 * one)
    np.testing.assert_allclose(model.probabilities([[0]])[0], np.array([0.25, 0.25, 0, 0]) + 1 / 2 * one)
    np.testing.assert_allclose(model.probabilities([[3]])[0], one)


def test_discounts_are_those_of_the_paper():
    counts = np.repeat([1, 2, 3, 4, 9], [100, 40, 20, 10, 7])
    y = 100 / 180
    np.testing.assert_allclose(discounts(counts), [0, 1 - 2 * y * 0.4, 2 - 3 * y * 0.5, 3 - 4 * y * 0.5])


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("end", [None, 0])
def test_likelihood_is_the_product_of_the_probabilities(order, end):
    model = KneserNey(corpus(seed=1), vocabulary_size=SIZE, order=order, end=end)
    rows = [row for row in corpus(20, seed=2) if end not in row]
    closed = [row + [end] if end is not None else row for row in rows]
    histories = [row[:i] for row in closed for i in range(len(row))]
    expected = model.probabilities(histories)[range(len(histories)), [token for row in closed for token in row]]
    np.testing.assert_allclose(model.log_probabilities(rows), np.log(expected), rtol=1e-10)
    assert model.perplexity(rows) == pytest.approx(np.exp(-np.log(expected).mean()))


def test_perplexity_of_known_sources():
    random = np.random.default_rng(0)
    uniform = random.integers(0, 8, (3000, 8))
    assert KneserNey(uniform, vocabulary_size=8, order=1).perplexity(uniform[:500]) == pytest.approx(8, rel=0.01)
    chain = np.cumsum(random.integers(0, 2, (3000, 8)), 1) % 8  # the next is one of two, the first too
    held_out = torch.from_numpy(np.cumsum(random.integers(0, 2, (500, 8)), 1) % 8)
    for order in (2, 3):
        assert KneserNey(chain, vocabulary_size=8, order=order).perplexity(held_out) == pytest.approx(2, rel=0.01)
    assert KneserNey(chain, vocabulary_size=8, order=1).perplexity(held_out) > 5


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_samples_have_the_probabilities(order):
    model = KneserNey(corpus(40), vocabulary_size=SIZE, order=order)
    count = 200_000
    sample = model.sample(count, 3, seed=1)
    triples = np.bincount(sample @ [SIZE * SIZE, SIZE, 1], minlength=SIZE**3)
    expected = np.exp(model.log_probabilities(list(product(range(SIZE), repeat=3))).reshape(-1, 3).sum(1)) * count
    assert expected.sum() == pytest.approx(count)
    chi_square = ((triples - expected) ** 2 / expected).sum()
    assert abs(chi_square - SIZE**3) < 5 * np.sqrt(2 * SIZE**3)


def test_samples_are_a_function_of_the_seed():
    model = KneserNey(corpus(), vocabulary_size=SIZE)
    assert model.sample(50, 9, seed=1).shape == (50, 9)
    assert (model.sample(50, 9, seed=1) == model.sample(50, 9, seed=1)).all()
    assert (model.sample(50, 9, seed=1) != model.sample(50, 9, seed=2)).any()
    assert model.sample(0, 9, seed=1).shape == (0, 9)


def test_after_the_end_comes_nothing():
    model = KneserNey([[1, 2], [1, 2, 2], [2]], vocabulary_size=3, end=0)
    sample = model.sample(500, 6, seed=0)
    ended = np.maximum.accumulate(sample == 0, 1)
    assert (sample[ended] == 0).all() and ended.any(1).mean() > 0.9
    assert set(range(4)) <= set((~ended).sum(1)), "of many lengths"


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_sentences_shorter_than_the_order(order):
    model = KneserNey([[1], []], vocabulary_size=3, order=order)
    np.testing.assert_allclose(model.probabilities([[], [1, 1, 1, 1]]).sum(1), 1)
    assert model.perplexity([[1], [], [1, 2, 0, 1, 1]]) > 1
    assert model.sample(4, 6, seed=0).shape == (4, 6)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: KneserNey([], vocabulary_size=3), "no token to learn"),
        (lambda: KneserNey([[]], vocabulary_size=3), "no token to learn"),
        (lambda: KneserNey([[0]], vocabulary_size=3, order=0), "counts from 1, not 0"),
        (lambda: KneserNey([[3]], vocabulary_size=3), r"lie in \[0, 3\)"),
        (lambda: KneserNey([[0]], vocabulary_size=3, end=3), r"lie in \[0, 3\)"),
        (lambda: KneserNey([[0]], vocabulary_size=3).probabilities([[-1]]), r"lie in \[0, 3\)"),
        (lambda: KneserNey([[0]], vocabulary_size=3).perplexity([[]]), "no tokens is not defined"),
    ],
)
def test_what_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()
