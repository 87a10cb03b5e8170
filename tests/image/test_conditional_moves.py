"""The two moves of a conditional game, term by term; what they lead to is in test_conditional.py."""

import math

import pytest
import torch
import torch.nn.functional as F

from seqgan.image import conditional
from seqgan.image.conditional import ConditionalConfig, embedding, phases
from seqgan.objectives import NonSaturating

from .test_conditional import players
from .test_gan import idle, turn

LABEL = torch.arange(4)
REPEATED = {"image": torch.zeros(5, 1, 8, 8), "label": torch.tensor([0, 1, 2, 3, 0])}


def move(game, label, image=None):
    """The discriminator's terms, and the turn."""
    now = turn({"image": torch.randn(len(label), 1, 8, 8) if image is None else image, "label": label})
    return game[0].loss(now), now


def test_a_neighbour_of_the_same_condition_is_no_mismatch():
    generator, discriminator = players(classes=4, judge="projection")
    game, image, label = phases(generator, discriminator, idle()), torch.zeros(4, 1, 8, 8), torch.tensor([1, 1, 1, 2])
    _, now = move(game, label, image)
    with torch.no_grad():
        wrong = discriminator(image, label.roll(1))[[0, 3]]  # of the others the neighbour is alike
    assert now.watched["mismatched"].item() == pytest.approx(wrong.mean().item(), abs=1e-5)
    same, now = move(game, torch.ones(4, dtype=torch.long), image)
    assert set(same) == {"game"} and "mismatched" not in now.watched


def test_captions_that_share_a_word_are_still_mismatched():
    label = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])  # alike in the third
    terms, now = move(phases(*players(words=("a", "b", "c")), idle()), label)
    assert "condition" in terms and "mismatched" in now.watched


def test_mismatched_pairs_count_as_much_as_fakes():
    generator, discriminator = players(classes=4)
    image, game = torch.randn(4, 1, 8, 8), NonSaturating()
    terms, now = move(phases(generator, discriminator, idle()), LABEL, image)
    real, fake = discriminator(image, LABEL), discriminator(now.share["fake"], LABEL)
    other = discriminator(image, LABEL.roll(1))
    assert set(terms) == {"game", "condition"}
    assert terms["game"].item() == pytest.approx(0.5 * game.discriminator(real, fake).item(), rel=1e-4)
    assert terms["condition"].item() == pytest.approx(0.5 * game.discriminator(real, other).item(), rel=1e-4)


def test_an_auxiliary_classifier_learns_from_real_and_generated_pictures():
    generator, discriminator = players(classes=4, judge="auxiliary")
    image = torch.randn(4, 1, 8, 8)
    for share in (1.0, 0.25):
        terms, now = move(phases(generator, discriminator, idle(), auxiliary=2.0, own_labels=share), LABEL, image)
        real, own = (F.cross_entropy(discriminator.score_and_classify(x)[1], LABEL) for x in (image, now.share["fake"]))
        assert terms["label"].item() == pytest.approx(2 * (real + share * own).item(), rel=1e-4)


def test_variety_is_of_a_quarter_of_the_batch_and_up_to_a_bound():
    game, now = phases(*players(classes=4), idle(), variety=5.0, bound=1e-3), turn(REPEATED)
    assert game[1].loss(now)["variety"].item() == pytest.approx(-5.0 * 1e-3)
    assert len(now.share["variation"]) == 2, "of five, rounded up"


def test_all_that_the_discriminator_sees_is_augmented(monkeypatch):
    seen = []
    monkeypatch.setattr(conditional, "augment", lambda image, generator: seen.append(image) or torch.zeros_like(image))
    game, image = phases(*players(classes=4), idle(), augmented=True), torch.randn(4, 1, 8, 8)
    _, now = move(game, LABEL, image)
    assert len(seen) == 2 and any(one is image for one in seen)
    game[1].loss(now)
    assert len(seen) == 3 and seen[2] is now.share["fake"]


def test_a_projection_is_added_to_the_score():
    """Divided by the root of its length."""
    _, discriminator = players(classes=4)
    image = torch.randn(4, 1, 8, 8)
    features = discriminator.eval().network.features(image)
    product = (features * discriminator.embedding(LABEL)).sum(1)
    expected = discriminator.network.score(features) + product / math.sqrt(features.shape[1])
    torch.testing.assert_close(discriminator(image, LABEL), expected)


def test_vectors_of_words_begin_as_large_as_those_of_labels():
    torch.manual_seed(0)
    weight = embedding(ConditionalConfig(words=tuple(map(str, range(50)))), 128).weight
    assert weight.std().item() == pytest.approx(1, rel=0.05)
