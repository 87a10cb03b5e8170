"""The game of poets and readers, on four poems."""

import pytest
import torch

from seqgan.text.discriminators import ReadingDiscriminator, StepwiseConfig, StepwiseDiscriminator
from seqgan.text.meter import split_lines
from seqgan.text.networks import TransformerConfig, TransformerGenerator
from seqgan.text.poem_game import against_readers, compose, perplexity
from seqgan.text.poems import PoemsAlike, Script, Verse
from seqgan.text.vocabulary import START
from seqgan.training import fit

from .poem_fixtures import TRADITIONAL

VERSES = [Verse(form, "春望"[:k], split_lines(poem)) for form, poem in TRADITIONAL.items() for k in (1, 2)]
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
    generator, prompt = network(), torch.tensor([SCRIPT.prompt("wujue", "春")] * 2000)
    written = compose(generator, prompt, 2, torch.Generator().manual_seed(0))
    assert written.shape == (2000, 2)
    start = torch.cat([generator.start(1), prompt[:1]], 1)
    expected = generator.logits(generator(start)[0][0, -1]).softmax(0)
    shares = torch.bincount(written[:, 0], minlength=len(expected)) / 2000
    assert (shares - expected).abs().max() < 4 * (expected.max() / 2000) ** 0.5


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
