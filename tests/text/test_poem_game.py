"""The game of poets and readers, on four poems."""

import math

import pytest
import torch
from torch.nn.functional import softplus

from seqgan.text.discriminators import ReadingDiscriminator, StepwiseConfig, StepwiseDiscriminator
from seqgan.text.meter import FORMS
from seqgan.text.networks import LSTMConfig, LSTMGenerator, TransformerConfig, TransformerGenerator
from seqgan.text.poem_game import against_readers, compose, likelihood, over_all_choices, perplexity
from seqgan.text.poems import STROKE, PoemsAlike, Script
from seqgan.text.relations import RelationDiscriminator
from seqgan.text.sampling import Sampling
from seqgan.text.vocabulary import START, to_batch
from seqgan.training import Turn, fit

from .poem_fixtures import TRADITIONAL, VERSES

SCRIPT = Script.build(VERSES, {}, least=1)


def network():
    torch.manual_seed(0)
    return TransformerGenerator(TransformerConfig(len(SCRIPT.vocabulary), 32, 2, 1, length=96, start=START))


def test_poems_alike_are_of_one_form_and_title_length():
    data, seen = PoemsAlike(SCRIPT, VERSES, batch=3, seed=1), set()
    for batch, _ in zip(data(0), range(60), strict=False):
        prompt, poem = batch["prompt"], batch["poem"]
        assert len(prompt) == len(poem) == 3 and (prompt[:, 0] == prompt[0, 0]).all()
        found = SCRIPT.text(poem[0].tolist())
        assert found in TRADITIONAL.values()
        seen.add((found, prompt.shape[1]))
    assert len(seen) == len(VERSES)
    later, again = next(data(7)), [batch for batch, _ in zip(data(0), range(8), strict=False)][7]
    assert all(torch.equal(later[name], again[name]) for name in later), "a function of the position"


def test_what_is_composed_is_the_network_s_own():
    torch.manual_seed(0)
    generator = LSTMGenerator(LSTMConfig(len(SCRIPT.vocabulary), 16, 16, start=START, spread=2.0))

    def distance(form, temperature=1.0):
        """How far the shares of what is written first are from the probabilities after a wujue's prompt."""
        prompt = torch.tensor([SCRIPT.prompt(form, "春")] * 2000)
        written = compose(generator, prompt, 2, torch.Generator().manual_seed(0), Sampling(temperature))
        assert written.shape == (2000, 2)
        shares = torch.bincount(written[:, 0], minlength=len(expected)) / 2000
        return (shares - expected).abs().max().item()

    start = torch.cat([generator.start(1), torch.tensor([SCRIPT.prompt("wujue", "春")])], 1)
    expected = generator.logits(generator(start)[0][0, -1]).softmax(0).detach()
    bound = 4 * (expected.max().item() / 2000) ** 0.5
    assert distance("wujue") < bound
    assert distance("qijue") > bound and distance("wujue", 10) > bound


def game(anchor, reading=False):
    generator = network()
    if reading:
        discriminator = ReadingDiscriminator(generator)
    else:
        discriminator = StepwiseDiscriminator(StepwiseConfig(len(SCRIPT.vocabulary), 16, 32))
    optimizers = [torch.optim.Adam(player.parameters(), 1e-2) for player in (generator, discriminator)]
    phases = against_readers(generator, optimizers[0], discriminator, optimizers[1], anchor=anchor)
    return generator, discriminator, phases, PoemsAlike(SCRIPT, VERSES, batch=16)


@pytest.mark.parametrize("reading", [False, True])
def test_the_reader_is_taught_alone_and_then_the_poet_by_the_reader(reading, tmp_path):
    generator, discriminator, (reader, writer), data = game(anchor=0, reading=reading)
    prompt = torch.tensor([SCRIPT.prompt("wujue", "春")] * 64)

    def opinion():
        rows = torch.cat([prompt, compose(generator, prompt, 24, torch.Generator().manual_seed(1))], 1)
        return discriminator.score(rows)[:, 3:].sigmoid().mean()

    kept = generator.embedding.weight.detach().clone()
    fit([reader], data, 40, tmp_path, stage="discriminator")
    assert torch.equal(kept, generator.embedding.weight)
    before = opinion()
    assert before < 0.4
    fit([writer], data, 30, tmp_path)
    assert opinion() > before + 0.1


def test_the_anchor_keeps_real_poems_likely(tmp_path):
    generator, _, phases, data = game(anchor=1)
    before = perplexity(generator, SCRIPT, VERSES)
    fit(phases, data, 30, tmp_path)
    assert perplexity(generator, SCRIPT, VERSES) < 0.6 * before


def test_padding_does_not_count():
    generator, rows = network().eval(), [SCRIPT.encode(verse) for verse in (VERSES[0], VERSES[-1])]
    phase = likelihood(generator, torch.optim.Adam(generator.parameters()))
    found = phase.loss(Turn(to_batch(rows), 0, torch.Generator(), {}))["nll"]
    sums = [generator.log_probabilities(torch.tensor([row])).sum() for row in rows]
    torch.testing.assert_close(found, -sum(sums) / sum(map(len, rows)))


def test_perplexity_is_of_characters_of_verse_alone():
    generator, row = network().eval(), SCRIPT.encode(VERSES[1])
    torch.nn.init.normal_(generator.embedding.weight)
    begin = row.index(SCRIPT.vocabulary.ids[STROKE]) + 1
    places = [i for i in range(begin, len(row) - 1) if SCRIPT.text([row[i]]) not in "，。"]
    found = generator.log_probabilities(torch.tensor([row]))[0, places]
    assert len(places) == 20
    assert perplexity(generator, SCRIPT, VERSES[1:2]) == pytest.approx(math.exp(-found.mean().item()), rel=1e-5)


# The terms by hand


class Reader(torch.nn.Module):
    """Scores every character by its number, and keeps what it was shown."""

    reads_titles = True

    def forward(self, tokens):
        self.tokens = tokens
        return tokens.float() / 100 - 1

    score = forward


def one_turn(reader, **options):
    """(network, phases, a turn with three titles and as many copies of a poem)"""
    generator = network().eval()
    phases = against_readers(generator, torch.optim.Adam(generator.parameters()), reader, None, **options)
    prompt = torch.tensor([SCRIPT.prompt("wujue", title) for title in "春望明"])
    poem = torch.tensor([SCRIPT.vocabulary.encode(TRADITIONAL["wujue"])] * 3)
    return generator, phases, Turn({"prompt": prompt, "poem": poem}, 0, torch.Generator().manual_seed(0), {})


def test_each_choice_answers_for_the_rewards_that_follow():
    """Rewards are what the reader says, from -1 to 1; a poem is judged beside what the other two gain from there on."""
    generator, (_, writer), turn = one_turn(Reader(), discount=0.5, anchor=0.25)
    terms = writer.loss(turn)
    prompt, written = turn.batch["prompt"], turn.share["own"]
    rewards, gains = 2 * (written.float() / 100 - 1).sigmoid() - 1, torch.zeros(3, 25)
    for t in reversed(range(24)):
        gains[:, t] = rewards[:, t] + 0.5 * gains[:, t + 1]
    merit = gains[:, :-1] - (gains.sum(0) - gains)[:, :-1] / 2
    real, own = (
        generator.log_probabilities(torch.cat([prompt, poem], 1))[:, 3:] for poem in (turn.batch["poem"], written)
    )
    torch.testing.assert_close(terms["policy"], -(own * merit).sum(1).mean() / 24)
    torch.testing.assert_close(terms["nll"], -0.25 * real.mean())
    assert turn.watched["reward"].item() == pytest.approx(rewards.mean().item())


def test_a_reader_is_shown_real_poems_on_other_titles():
    """Beside real poems on their own titles and what was written, here nothing but token 5, which is none of verse."""
    reader = Reader()
    _, (phase, _), turn = one_turn(reader)
    turn.share["own"] = torch.full((3, 24), 5)
    terms = phase.loss(turn)
    prompt, poem = turn.batch["prompt"], turn.batch["poem"]
    assert torch.equal(reader.tokens[6:], torch.cat([prompt[[2, 0, 1]], poem], 1))
    real, fake = poem.float() / 100 - 1, torch.tensor(5 / 100 - 1)
    torch.testing.assert_close(terms["adversary"], (softplus(-real).mean() + softplus(fake)) / 2)
    torch.testing.assert_close(terms["title"], (softplus(-real).mean() + softplus(real).mean()) / 2)
    assert float(turn.watched["pairs"]) == 1


def test_the_poet_s_rate_has_a_schedule():
    assert [phase.schedule for phase in one_turn(Reader(), schedule=abs)[1]] == [None, abs]


def test_every_character_is_rewarded_by_what_would_be_said_of_it():
    torch.manual_seed(0)
    discriminator, generator = RelationDiscriminator(SCRIPT, FORMS.values()), network().eval()
    for weights in discriminator.parameters():
        torch.nn.init.normal_(weights)
    row = SCRIPT.prompt("wujue", "春") + SCRIPT.vocabulary.encode(TRADITIONAL["wujue"])
    rows = torch.tensor([row, row])
    rows[1, 3:] = rows[1, 3:].flip(0)
    features = generator.read(rows)[:, 3:]
    rewards = 2 * discriminator.candidates(rows).sigmoid() - 1
    expected = -(generator.logits(features).softmax(2) * rewards).sum((1, 2)).mean()
    torch.testing.assert_close(over_all_choices(generator, features, discriminator, rows), expected)
