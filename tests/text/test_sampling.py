"""The sampler is exact (chi-square over many draws), and never draws what is ruled out; beam search finds the best."""

import itertools
import math

import pytest
import torch

from seqgan.text.networks import LSTMConfig, LSTMGenerator
from seqgan.text.sampling import BLOCK, Sampler, Sampling, beam_search, powers, sample

DRAWS = 200_000


def draw(logits, count=DRAWS, seed=0, chosen=None, **options):
    """Tokens (count,) by the same logits (vocabulary,)."""
    sampler = Sampler(lambda features: logits.expand(len(features), -1), torch.Generator().manual_seed(seed), **options)
    return sampler(torch.zeros(count, 1), torch.zeros(count, 0, dtype=torch.int64) if chosen is None else chosen)


def assert_drawn_from(probabilities, tokens):
    """Chi-square, tokens expected less than 5 times counted as one; five standard deviations are allowed."""
    observed, expected = torch.bincount(tokens, minlength=len(probabilities)).double(), probabilities * len(tokens)
    assert observed[probabilities == 0].sum() == 0
    rare = expected < 5
    observed = torch.cat([observed[~rare], observed[rare].sum()[None]])
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    observed, expected = observed[expected > 0], expected[expected > 0]
    freedom = len(expected) - 1
    chi_square = ((observed - expected) ** 2 / expected).sum().item()
    assert chi_square <= freedom + 5 * math.sqrt(2 * freedom), f"chi-square {chi_square:.1f} at {freedom}"


def random_logits(vocabulary, spread=2.0, seed=0):
    return spread * torch.randn(vocabulary, generator=torch.Generator().manual_seed(seed))


# One block, whole blocks, a rest, many.
@pytest.mark.parametrize("vocabulary", [2, 7, BLOCK, 3 * BLOCK, 3 * BLOCK + 41, 5000])
def test_tokens_come_with_their_probabilities(vocabulary):
    logits = random_logits(vocabulary)
    assert_drawn_from(logits.double().softmax(0), draw(logits))


def test_the_test_can_fail():
    """Without the rejection the probabilities are up to 6 % off, which so many draws show."""
    logits = random_logits(7)
    weights = powers(logits[None], logits.max()[None, None])[0].view(torch.float32).double()
    with pytest.raises(AssertionError, match="chi-square"):
        assert_drawn_from(logits.double().softmax(0), torch.multinomial(weights, DRAWS, replacement=True))


@pytest.mark.parametrize("shift", [-1000.0, 0.0, 1000.0])
def test_logits_count_relative_to_one_another(shift):
    logits = torch.tensor([0.0, 1.0, 2.0, -60.0, -1000.0]) + shift
    assert_drawn_from(logits.double().softmax(0), draw(logits))


def test_each_row_is_drawn_by_its_own_logits():
    rows = torch.arange(300) % 13
    sampler = Sampler(lambda features: 100 * torch.nn.functional.one_hot(features[:, 0].long(), 13).float())
    assert torch.equal(sampler(rows[:, None], rows[:, None]), rows)


def test_temperature_divides_the_logits():
    logits = random_logits(50)
    for temperature in (0.5, 2.0):
        drawn = draw(logits, sampling=Sampling(temperature=temperature))
        assert_drawn_from((logits.double() / temperature).softmax(0), drawn)


def test_top_k_draws_the_k_likeliest_and_no_other():
    logits = random_logits(250)
    best = logits.topk(5).indices
    expected = torch.zeros(250, dtype=torch.float64)
    expected[best] = logits[best].double().softmax(0)
    assert_drawn_from(expected, draw(logits, sampling=Sampling(top_k=5)))
    assert (draw(logits, 500, sampling=Sampling(top_k=1)) == logits.argmax()).all()
    assert_drawn_from(logits.double().softmax(0), draw(logits, sampling=Sampling(top_k=1000)))


def test_top_p_draws_the_fewest_that_have_p_together():
    probabilities = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15], dtype=torch.float64)
    logits = probabilities.log().float()
    for p, kept in [(0.39, [1]), (0.41, [1, 3]), (0.69, [1, 3]), (0.71, [1, 3, 4]), (1.0, range(5))]:
        expected = torch.zeros(5, dtype=torch.float64)
        expected[list(kept)] = probabilities[list(kept)]
        assert_drawn_from(expected / expected.sum(), draw(logits, 50_000, sampling=Sampling(top_p=p)))


def test_top_p_of_equal_tokens_keeps_no_more_than_are_needed():
    assert Sampling(top_p=0.5)(torch.zeros(1, 4)).isfinite().sum() == 2


def test_what_is_masked_is_never_drawn_however_likely():
    logits, odd = random_logits(251), torch.arange(251) % 2 == 1
    logits[4] = 30.0
    expected = logits.double().masked_fill(~odd, -math.inf).softmax(0)
    assert_drawn_from(expected, draw(logits, mask=lambda step, chosen: odd.expand(len(chosen), -1)))


def test_the_mask_sees_what_each_row_has_chosen():
    chosen = torch.arange(1000)[:, None].expand(-1, 3) % 9

    def other_than_the_last(step, chosen):
        assert step == 3
        return torch.arange(9) != chosen[:, -1:]

    drawn = draw(torch.zeros(9), 1000, chosen=chosen, mask=other_than_the_last)
    assert (drawn != chosen[:, -1]).all()
    assert len(set(drawn.tolist())) == 9


def test_k_and_p_count_among_what_the_mask_allows():
    logits, allowed = torch.tensor([9.0, 3.0, 2.0, 8.0]), torch.tensor([False, True, True, False])
    for sampling in (Sampling(top_k=1), Sampling(top_p=0.5)):
        assert (
            draw(logits, 300, sampling=sampling, mask=lambda step, chosen: allowed.expand(len(chosen), -1)) == 1
        ).all()


def test_what_cannot_be_drawn_from():
    with pytest.raises(ValueError, match="leaves no token"):
        draw(torch.zeros(3), 2, mask=lambda step, chosen: torch.tensor([[True] * 3, [False] * 3]))
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not finite"):
            draw(torch.tensor([0.0, bad]), 2)


@pytest.mark.parametrize(
    "options, told",
    [
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"top_k": 0}, "top-k"),
        ({"top_p": 0.0}, "top-p"),
        ({"top_p": 1.1}, "top-p"),
    ],
)
def test_settings_that_mean_nothing(options, told):
    with pytest.raises(ValueError, match=told):
        Sampling(**options)


def small_model(vocabulary=3, seed=0):
    torch.manual_seed(seed)
    return LSTMGenerator(LSTMConfig(vocabulary, 4, 4, spread=1.5)).eval()


@torch.no_grad()
def every_sequence(model, length):
    """All sequences (sequence, length) and their log-probabilities (sequence,)."""
    tokens = torch.tensor(list(itertools.product(range(model.config.vocabulary), repeat=length)))
    return tokens, model.log_probabilities(tokens).double().sum(1)


def test_whole_sequences_come_with_their_probabilities():
    model = small_model()
    _, log_probabilities = every_sequence(model, 4)
    tokens = sample(model, 100_000, 4, generator=torch.Generator().manual_seed(0), batch=30_000)
    assert tokens.shape == (100_000, 4)
    assert_drawn_from(log_probabilities.exp(), (tokens * torch.tensor([27, 9, 3, 1])).sum(1))


def test_a_seed_gives_the_same_sequences_again():
    model = small_model(150)
    one, again, other = (sample(model, 20, 5, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_a_sample_keeps_the_mask_at_every_step():
    def rising(step, chosen):
        least = chosen[:, -1:] + 1 if step else torch.zeros(len(chosen), 1)
        return (torch.arange(12) >= least) & (torch.arange(12) <= 12 - 4 + step)

    tokens = sample(small_model(12), 500, 4, mask=rising, generator=torch.Generator().manual_seed(0))
    assert (tokens.diff(dim=1) > 0).all() and len(set(map(tuple, tokens.tolist()))) > 50


@pytest.mark.parametrize("seed", range(3))
def test_a_beam_as_wide_as_all_finds_the_best_in_order(seed):
    model = small_model(seed=seed)
    tokens, log_probabilities = every_sequence(model, 4)
    best = log_probabilities.topk(27)
    found, scores = beam_search(model, model.start(2), 4, 27)
    assert torch.equal(found, tokens[best.indices].expand(2, -1, -1))
    torch.testing.assert_close(scores, best.values.float().expand(2, -1), atol=1e-5, rtol=1e-5)


def test_a_beam_of_one_is_greedy_and_the_scores_are_those_of_the_model():
    model = small_model(6)
    found, scores = beam_search(model, model.start(1), 5, 1)
    greedy = sample(model, 1, 5, sampling=Sampling(top_k=1))
    assert torch.equal(found[0], greedy)
    wide, better = beam_search(model, model.start(1), 5, 4)
    assert better[0, 0] >= scores[0, 0]
    torch.testing.assert_close(model.log_probabilities(wide[0]).sum(1).detach(), better[0], atol=1e-5, rtol=1e-5)


def test_each_prompt_has_a_beam_of_its_own():
    model = small_model(5)
    prompts = torch.tensor([[0, 1], [0, 4], [0, 2]])
    together = beam_search(model, prompts, 3, 6)
    for row, prompt in enumerate(prompts):
        alone = beam_search(model, prompt[None], 3, 6)
        assert torch.equal(together[0][row], alone[0][0])
        torch.testing.assert_close(together[1][row], alone[1][0])


def test_a_sequence_that_has_ended_stays_as_it_is():
    model, end = small_model(), 2
    tokens, _ = every_sequence(model, 4)
    likelihoods = {}
    for row in tokens:
        stop = (row == end).nonzero()[0].item() + 1 if (row == end).any() else 4
        with torch.no_grad():
            score = model.log_probabilities(row[None, :stop]).sum().item()
        likelihoods[(*row[:stop].tolist(), *[end] * (4 - stop))] = score
    expected = sorted(likelihoods.items(), key=lambda pair: -pair[1])
    found, scores = beam_search(model, model.start(1), 4, len(expected), end=end)
    assert [tuple(row) for row in found[0].tolist()] == [row for row, _ in expected]
    assert scores[0].tolist() == pytest.approx([score for _, score in expected], abs=1e-5)


def test_a_beam_keeps_the_mask_and_tells_where_there_is_no_more():
    """Two sequences are allowed, a beam has three; for what is dead or has ended the mask may have nothing."""
    model = small_model(4)

    def mask(step, chosen):
        wanted = torch.tensor([[1, 3, 3], [2, 2, 3]])
        fits = (wanted[None, :, :step] == chosen[:, None]).all(2)  # (rows, 2)
        return (fits[:, :, None] & (wanted[:, step, None] == torch.arange(4))).any(1)

    found, scores = beam_search(model, model.start(1), 3, 3, mask=mask)
    assert sorted(found[0, :2].tolist()) == [[1, 3, 3], [2, 2, 3]]
    assert scores[0, :2].isfinite().all() and scores[0, 2] == -math.inf
    found, scores = beam_search(model, model.start(1), 4, 3, mask=lambda s, c: mask(min(s, 2), c[:, :2]), end=3)
    assert sorted(found[0, :2].tolist()) == [[1, 3, 3, 3], [2, 2, 3, 3]]
    with pytest.raises(ValueError, match="leaves no token"):
        beam_search(
            model, model.start(1), 2, 3, mask=lambda step, chosen: torch.zeros(len(chosen), 4, dtype=torch.bool)
        )
