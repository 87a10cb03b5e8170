"""Packing, ensembles, and the modes that are missing."""

import pytest
import torch

from seqgan.image.ensemble import Ensemble, missing, stacked_labels
from seqgan.image.gan import GAN, METHODS, packed, phases
from seqgan.image.metrics import Classifier, ClassifierConfig, classification, compare, in_parts
from seqgan.image.networks import Discriminator, Generator, NetworkConfig
from seqgan.training import Stream, fit

from .test_gan import TINY, distance, halves
from .test_infogan import quarters


def test_packing():
    image = torch.arange(6 * 2 * 4).view(6, 2, 2, 2)
    found = packed(image, 3)
    assert found.shape == (2, 6, 2, 2)
    assert torch.equal(found[1, 2:4], image[4]) and torch.equal(packed(image, 1), image)
    with pytest.raises(ValueError, match="6 pictures cannot be packed by 4"):
        packed(image, 4)


def test_a_packed_game_learns(tmp_path):
    torch.manual_seed(0)
    generator = Generator(NetworkConfig(size=8, channels=1, latent=8, width=16))
    discriminator = Discriminator(NetworkConfig(size=8, channels=4, width=16))
    optimizers = METHODS["gan"].optimizers(generator, discriminator)
    for optimizer in optimizers:
        optimizer.param_groups[0]["lr"] = 1e-3
    before = distance(generator)
    game = phases(generator, discriminator, optimizers, METHODS["gan"], pack=4)
    fit(game, Stream(halves(), 32), 60, tmp_path)
    assert distance(generator) < 0.6 * before


def test_an_ensemble_draws_of_all_its_members(tmp_path):
    torch.manual_seed(0)
    members = [GAN(Generator(NetworkConfig(size=8, channels=1, latent=4, width=4))) for _ in range(3)]
    for i, member in enumerate(members):  # each makes pictures of one brightness
        torch.nn.init.zeros_(member.generator.layers[-2].weight)
        torch.nn.init.constant_(member.generator.layers[-2].bias, i - 1.0)
    ensemble = Ensemble(members)
    pictures = ensemble(300, seed=1)
    brightness, counts = pictures[:, 0, 0, 0].unique(return_counts=True)
    assert len(brightness) == 3 and counts.min() > 70
    assert torch.equal(pictures, ensemble(300, seed=1)) and not torch.equal(pictures, ensemble(300, seed=2))
    assert not torch.equal(ensemble(30), ensemble(30)), "by chance"
    ensemble.save_pretrained(tmp_path)
    assert torch.equal(Ensemble.from_pretrained(tmp_path)(9, seed=1), ensemble(9, seed=1))
    with pytest.raises(ValueError, match="no folder generator0"):
        Ensemble.from_pretrained(tmp_path / "none")
    with pytest.raises(ValueError, match="1 or more"):
        ensemble(0)
    with pytest.raises(ValueError, match="one shape"):
        Ensemble([members[0], GAN(Generator(NetworkConfig(size=16, channels=1, latent=4, width=4)))])


def test_members_draw_with_noise_of_their_own():
    """Here they have the same weights, so that only their noise tells them apart."""
    gan = GAN(Generator(TINY))
    assert len(Ensemble([gan, gan])(40, seed=1).unique(dim=0)) == 40


def test_an_ensemble_that_lacks_a_member_says_which(tmp_path):
    GAN(Generator(TINY)).save_pretrained(tmp_path / "generator1")
    with pytest.raises(ValueError, match="generator0"):
        Ensemble.from_pretrained(tmp_path)


def test_stacked_labels_and_what_is_missing(tmp_path):
    torch.manual_seed(0)
    data = quarters()
    classifier = Classifier(ClassifierConfig(8, 1, 4, width=8, features=16))
    learner = classification(classifier, torch.optim.Adam(classifier.parameters(), 1e-2))
    fit([learner], Stream(data, 32), 40, tmp_path, stage="classifier")
    classifier.eval()
    assert torch.equal(in_parts(classifier, data.pixels, rows=7).argmax(1), data.labels)
    picture = torch.cat([data.pixels[k : k + 1] for k in (3, 0, 2)], 1)
    assert stacked_labels(classifier, picture).tolist() == [3 * 16 + 0 * 4 + 2]
    found, lacking = missing(torch.tensor([0, 0, 5]), torch.tensor([0, 5, 7, 9]), 64)
    assert found.captured == 2 and lacking.tolist() == [7, 9]
    assert missing(torch.tensor([0, 3]), torch.tensor([0, 1]), 4)[1].tolist() == [1], "not what only the fakes have"
    same = compare(classifier.features, data.pixels[:256], data.pixels[256:])
    assert same["frechet"] == pytest.approx(0, abs=1e-3) and same["precision"] == same["recall"] == 1
    fewer = compare(classifier.features, data.pixels[:256], data.pixels[:256:4].repeat(4, 1, 1, 1))
    assert fewer["precision"] == 1 and fewer["recall"] < 0.6 and fewer["frechet"] > 0.1
