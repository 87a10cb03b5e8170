"""What the discriminator of relations can hear, and what it finds."""

import pytest
import torch

from seqgan.text.meter import FORMS, join_lines, split_lines
from seqgan.text.poems import Script, Verse
from seqgan.text.relations import KINDS, RelationDiscriminator

from .poem_fixtures import TRADITIONAL

VERSES = [Verse(form, "春望", split_lines(poem)) for form, poem in TRADITIONAL.items()]
SCRIPT = Script.build(VERSES, {}, least=1)
QIJUE = next(verse for verse in VERSES if verse.form == "qijue")


def rows(verse, copies=1):
    poem = SCRIPT.vocabulary.encode(join_lines(verse.lines))
    return torch.tensor([SCRIPT.prompt(verse.form, verse.title) + poem] * copies)


def test_relations_are_those_of_a_poem_that_was_read_by_hand():
    discriminator = RelationDiscriminator(SCRIPT, FORMS.values())
    tokens = rows(QIJUE)[:, 4:]
    found = dict(zip(KINDS, discriminator.relations(tokens)[0].unbind(2), strict=True))
    text = join_lines(QIJUE.lines)
    for place in range(len(text)):
        for earlier in range(place):
            assert found["same"][place, earlier] == (text[place] == text[earlier])
    second, fourth = 2 * 8 - 2, 4 * 8 - 2  # the ends of the even lines
    assert found["rhyme"][fourth, second] == 1 and found["tone"][fourth, second] == 1
    for table in found.values():
        assert torch.equal(table, table.tril(-1)), "nothing of later places"


def test_a_score_heeds_nothing_that_comes_later():
    torch.manual_seed(0)
    discriminator, tokens = RelationDiscriminator(SCRIPT, FORMS.values()), rows(QIJUE)
    other = tokens.clone()
    other[:, -5:] = other[:, 4:9]
    scores, others = discriminator(tokens), discriminator(other)
    assert scores.shape == tokens.shape and (scores[:, :4] == 0).all()
    assert torch.equal(scores[:, :-5], others[:, :-5]) and not torch.equal(scores[:, -5:], others[:, -5:])


def test_candidates_are_scored_as_if_they_stood_there():
    torch.manual_seed(0)
    discriminator = RelationDiscriminator(SCRIPT, FORMS.values(), hidden=3)
    for weights in discriminator.parameters():
        torch.nn.init.normal_(weights)
    tokens = rows(QIJUE, 2)
    tokens[1, 10:] = tokens[1, 10:].flip(0)
    tokens[1, 20] = tokens[1, 12]  # a character that comes again
    found = discriminator.candidates(tokens)
    assert found.shape == (2, 32, len(SCRIPT.vocabulary))
    for place in range(32):
        for candidate in range(0, len(SCRIPT.vocabulary), 3):
            other = tokens.clone()
            other[:, 4 + place] = candidate
            expected = discriminator(other)[:, 4 + place]
            torch.testing.assert_close(found[:, place, candidate], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.gather(2, tokens[:, 4:, None])[..., 0], discriminator(tokens)[:, 4:])


def test_it_finds_where_the_rhyme_stands():
    """Real poems rhyme, the others are the same but for their last character, which is any: only one place differs."""
    torch.manual_seed(0)
    discriminator = RelationDiscriminator(SCRIPT, FORMS.values())
    optimizer = torch.optim.Adam(discriminator.parameters(), 1e-2)
    random, real = torch.Generator().manual_seed(0), rows(QIJUE, 64)
    rhyming = discriminator.shares[discriminator.sound, discriminator.sound[real[0, 4 + 14]]] > 0
    rhyming[real[0, 4 + 14]] = False
    for _ in range(150):
        fake = real.clone()
        fake[:, -2] = torch.randint(SCRIPT.first, len(SCRIPT.vocabulary), (64,), generator=random)
        good = rhyming.nonzero()[:, 0]
        real[:, -2] = good[torch.randint(len(good), (64,), generator=random)]
        loss = torch.nn.functional.softplus(-discriminator(real)[:, -2]).mean()
        loss = loss + torch.nn.functional.softplus(discriminator(fake)[:, -2]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scores = discriminator(fake)[:, -2]
    right = rhyming[fake[:, -2]]
    assert 0 < right.sum() < 64 and scores[right].min() > scores[~right].max()
    assert discriminator.places["32"].weights("rhyme")[30, 14] > 0


def test_poems_of_no_form_are_named():
    with pytest.raises(ValueError, match="poems of 31 tokens.*24, 32, 48, 64"):
        RelationDiscriminator(SCRIPT, FORMS.values())(rows(QIJUE)[:, :-1])
