"""A code that is read off pictures again: its bound, its meaning on four kinds of pictures, and sweeps of it."""

import math
from pathlib import Path

import pytest
import torch

from seqgan.image.data import Images
from seqgan.image.gan import GAN
from seqgan.image.infogan import Code, CodeConfig, Generator, InfoGAN, Recogniser, agreement, draw, phases, plain, sweep
from seqgan.image.networks import Discriminator
from seqgan.training import Stream, fit

from .test_gan import BLACK, idle, turn

CODE = CodeConfig(noise=4, categories=4, continuous=1, size=8, width=16)


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def test_codes():
    z, code = draw(CodeConfig(), 5000, random())
    assert z.shape == (5000, 74) and code.continuous.shape == (5000, 2)
    assert torch.equal(z[:, 62:72].argmax(1), code.category) and (z[:, 62:72].sum(1) == 1).all()
    assert torch.equal(z[:, 72:], code.continuous)
    assert code.continuous.abs().max() <= 1 and code.continuous.var().item() == pytest.approx(1 / 3, abs=0.02)
    assert torch.bincount(code.category).min() > 400


def test_the_paper_s_networks():
    """Appendix C.1 for MNIST; of a transposed convolution the first number is what goes in."""
    config = CodeConfig()
    networks = Generator(config), Discriminator(config.network)
    generator, discriminator = ([tuple(p.shape) for p in network.parameters() if p.dim() > 1] for network in networks)
    assert generator == [(1024, 74), (128 * 49, 1024), (128, 64, 4, 4), (64, 1, 4, 4)]
    assert discriminator == [(64, 1, 4, 4), (128, 64, 4, 4), (1024, 128 * 49), (1, 1024)]


def test_the_bound_on_the_information():
    """What Q says is replaced by what is known: log 4 nats of a category that is a mere guess, 0 of one that is sure;
    of a continuous code the entropy of the Gaussian that it was drawn from."""
    recogniser = Recogniser(3, CODE)
    code = Code(torch.arange(4).repeat(2000), torch.randn(8000, 1, generator=random()))
    said = torch.zeros(8000, 4), torch.zeros(8000, 1), torch.zeros(8000, 1)
    recogniser.forward = lambda features: said
    guess = recogniser.information(torch.zeros(8000, 3), code)
    assert guess["category"].item() == pytest.approx(math.log(4))
    assert guess["continuous"].item() == pytest.approx(0.5 * math.log(2 * math.pi * math.e), abs=0.03)
    said = 50.0 * torch.nn.functional.one_hot(code.category, 4), code.continuous, torch.full((8000, 1), -1.0)
    sure = recogniser.information(torch.zeros(8000, 3), code)
    assert sure["category"].item() == pytest.approx(0, abs=1e-6)
    assert sure["continuous"].item() == pytest.approx(-1 + 0.5 * math.log(2 * math.pi))
    code = Code(torch.zeros(2, dtype=torch.long), torch.zeros(2, 1))
    for spread, held in ((-10.0, -4.0), (10.0, 2.0)):
        said = torch.zeros(2, 4), torch.zeros(2, 1), torch.full((2, 1), spread)
        found = recogniser.information(torch.zeros(2, 3), code)["continuous"].item()
        assert found == pytest.approx(held + 0.5 * math.log(2 * math.pi)), "no surer, and no less sure, than this"


def test_both_players_are_told_what_the_code_is_worth():
    """The categories in full, the continuous codes a tenth."""
    generator, discriminator = Generator(CODE), Discriminator(CODE.network)
    recogniser = Recogniser(CODE.network.features, CODE)
    recogniser.information = lambda *_: {"category": torch.tensor(2.0), "continuous": torch.tensor(3.0)}
    now = turn(BLACK)
    for phase in phases(generator, discriminator, recogniser, idle()):
        terms = phase.loss(now)
        assert (terms["category"].item(), terms["continuous"].item()) == pytest.approx((2.0, 0.3))


def test_agreement_is_of_the_best_assignment():
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    assert agreement(torch.tensor([2, 2, 0, 0, 1, 1]), labels) == 1
    assert agreement(torch.tensor([2, 2, 0, 1, 1, 1]), labels) == pytest.approx(5 / 6)
    assert agreement(torch.zeros(6, dtype=torch.int64), labels) == pytest.approx(2 / 6)


def test_sweeps():
    torch.manual_seed(0)
    generator = Generator(CODE).eval()
    z = plain(CODE, random())
    assert z.shape == (4, 9) and (z[:, -1] == 0).all() and torch.equal(z[:, 4:8], torch.eye(4))
    pictures = sweep(generator, z, place=8, columns=5)
    assert pictures.shape == (20, 1, 8, 8)
    changed = z[1:2].clone()
    changed[0, 8] = -1.0
    torch.testing.assert_close(pictures[6:7], generator(changed))
    assert (z[:, -1] == 0).all(), "the starting points are left as they were"


def quarters(number=512):
    """A bright square on black, in one of four places."""
    pixels, labels = torch.zeros(number, 1, 8, 8, dtype=torch.uint8), torch.arange(number) % 4
    for i, label in enumerate(labels.tolist()):
        top, left = 4 * (label // 2), 4 * (label % 2)
        pixels[i, 0, top : top + 4, left : left + 4] = 255
    return Images(pixels, labels)


def test_categories_come_to_stand_for_kinds_of_pictures(tmp_path):
    """Squares of any brightness, which leaves the noise something to say. In one game of five two categories share a
    square, and in which, is another matter on every processor: so the middle one of three counts."""
    bright, labels = quarters().pixels, quarters().labels
    images = Images((bright * torch.linspace(0.3, 1, len(bright))[:, None, None, None]).byte(), labels)
    found = sorted(agreement_after(seed, images, tmp_path / str(seed)) for seed in range(3))
    assert found[1] > 0.8, "by chance about 0.3"


def agreement_after(seed: int, images: Images, folder: Path) -> float:
    """What a game comes to in 250 steps."""
    torch.manual_seed(seed)
    generator, discriminator = Generator(CODE), Discriminator(CODE.network)
    recogniser = Recogniser(CODE.network.features, CODE, hidden=32)
    both = [*discriminator.parameters(), *recogniser.parameters()]
    optimizers = [
        torch.optim.Adam(players, 2e-3, betas=(0.5, 0.999)) for players in (list(generator.parameters()), both)
    ]
    game = phases(generator, discriminator, recogniser, optimizers)
    fit(game, Stream(images, 32), 250, folder)
    z, code = draw(CODE, 200, random(1))
    with torch.no_grad():
        pictures = generator.eval()(z)
    brightness = pictures.view(200, 2, 4, 2, 4).mean((2, 4)).flatten(1)  # of each quarter
    return agreement(code.category, brightness.argmax(1))


def test_a_trained_one_draws_what_the_code_says(tmp_path):
    torch.manual_seed(0)
    model = InfoGAN(Generator(CODE))
    model.save_pretrained(tmp_path / "saved")
    again = InfoGAN.from_pretrained(tmp_path / "saved")
    pictures = again([0, 3, 3], continuous=[1.0], seed=1)
    assert pictures.shape == (3, 1, 8, 8) and pictures.dtype == torch.uint8
    assert torch.equal(pictures, again([0, 3, 3], continuous=[1.0], seed=1))
    same = again([0, 3, 0], seed=1), again([0, 3, 0], continuous=[0.0], seed=1)
    assert torch.equal(*same) and not torch.equal(same[0], again([0, 3, 0], continuous=[-1.0], seed=1))
    assert not torch.equal(again([0]), again([0])), "by chance"
    for categories in ([], [4], [-1]):
        with pytest.raises(ValueError, match="from 0 to 3"):
            again(categories)
    with pytest.raises(ValueError, match="1 continuous codes, not 2"):
        again([0], continuous=[0.0, 0.0])
    with pytest.raises(ValueError, match=r"not a model of the kind"):
        GAN.from_pretrained(tmp_path / "saved")
    for wrong in ({"size": 10}, {"categories": 0}, {"noise": -1}, {"width": 10**6}):
        with pytest.raises(ValueError):
            CodeConfig(**wrong)
