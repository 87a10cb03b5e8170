"""Methods on pictures: which player moves how, and a tiny training of each that improves a number."""

import pytest
import torch

from seqgan.image.data import Images, to_range
from seqgan.image.energy import AutoencoderConfig, Decoder
from seqgan.image.gan import GAN, METHODS, Method, phases, without_spectral_norm
from seqgan.image.networks import Discriminator, Generator, NetworkConfig
from seqgan.objectives import Relativistic
from seqgan.training import Stream, Turn, fit

TINY = NetworkConfig(size=8, channels=1, latent=8, width=8)


def halves(number=256):
    """Bright on the left and dark on the right, with noise."""
    pixels = torch.randint(0, 60, (number, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    pixels[..., :4] = 255 - pixels[..., :4]
    return Images(pixels.byte())


def distance(generator):
    """How far the average generated picture is from the average real one, mean absolute."""
    with torch.no_grad():
        fake = generator.eval()(generator.noise(200, torch.Generator().manual_seed(1)))
    return (fake.mean(0) - to_range(halves().pixels).mean(0)).abs().mean().item()


def test_the_first_wgan_is_clipped_as_published():
    """Arjovsky et al. 2017, algorithm 1."""
    method = METHODS["wgan"]
    found = (method.clip, method.critic_steps, method.optimizer, method.learning_rate)
    assert found == (0.01, 5, "rmsprop", 5e-5)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns(name, tmp_path):
    torch.manual_seed(0)
    method = METHODS[name]
    config = NetworkConfig(size=8, channels=1, latent=8, width=16, discriminator_norm=method.discriminator_norm)
    generator, discriminator = Generator(config), Discriminator(config)
    optimizers = method.optimizers(generator, discriminator)
    for optimizer in optimizers:
        optimizer.param_groups[0]["lr"] = 1e-3
    before = distance(generator)
    steps = 300 if name in ("dragan", "f-gan-alpha") else 60  # a flat discriminator, or flat outputs
    fit(phases(generator, discriminator, optimizers, method), Stream(halves(), 32), steps, tmp_path)
    after = distance(generator)
    assert after < 0.5 * before, (before, after)
    if method.clip is not None:
        assert max(p.abs().max() for p in discriminator.parameters()) <= method.clip


def test_pairs_may_be_compared(tmp_path):
    """A game of the core that needs the scores of real pictures in the generator's move, too."""
    torch.manual_seed(0)
    players = generator, discriminator = Generator(TINY), Discriminator(TINY)
    optimizers = [torch.optim.Adam(player.parameters(), 1e-3, betas=(0.5, 0.999)) for player in players]
    before = distance(generator)
    game = phases(generator, discriminator, optimizers, Method(Relativistic()))
    fit(game, Stream(halves(), 32), 60, tmp_path)
    assert distance(generator) < 0.5 * before


def test_the_layers_of_sn_gan_s_discriminator_have_spectral_norm_1(tmp_path):
    torch.manual_seed(0)
    method = METHODS["sn-gan"]
    config = NetworkConfig(size=16, channels=1, latent=8, width=8, discriminator_norm=method.discriminator_norm)
    generator, discriminator = Generator(config), Discriminator(config)
    assert not any(isinstance(part, torch.nn.BatchNorm2d | torch.nn.GroupNorm) for part in discriminator.modules())
    game = phases(generator, discriminator, method.optimizers(generator, discriminator), method)
    fit(game, Stream(halves().resized(16), 16), 10, tmp_path)
    discriminator.eval()
    plain = without_spectral_norm(discriminator)
    again = Discriminator.load(plain.save(tmp_path / "discriminator.safetensors"))
    layers = [part for part in again.modules() if isinstance(part, torch.nn.Conv2d | torch.nn.Linear)]
    norms = [torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() for layer in layers]
    assert norms == pytest.approx([1.0] * 3, abs=0.1), "its estimate lags a little"
    image = torch.randn(4, 1, 16, 16)
    torch.testing.assert_close(plain(image), discriminator(image))
    torch.testing.assert_close(again(image), discriminator(image), atol=1e-3, rtol=1e-2)


BLACK = {"image": -torch.ones(64, 1, 8, 8)}


def turn(batch, step=0):
    return Turn(batch, step, torch.Generator().manual_seed(0), {})


def idle():
    """Optimisers, for the losses of a game that nobody plays."""
    return [torch.optim.SGD([torch.ones(1)])] * 2


class White(torch.nn.Module):
    """A generator of white pictures."""

    def noise(self, count, generator=None):
        return torch.ones(count, 1, 8, 8)

    def forward(self, z):
        return z


class Brightness(torch.nn.Module):
    """A discriminator that keeps what it was shown."""

    def __init__(self):
        super().__init__()
        self.scale, self.shown = torch.nn.Parameter(torch.ones(())), []

    def forward(self, image):
        self.shown.append(image.detach())
        return self.scale * image.flatten(1).mean(1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("wgan-gp", 10 * (1 / 8 - 1) ** 2), ("wgan-lp", 0.0), ("dragan", 10 * (1 / 8 - 1) ** 2), ("gan-r1", 10 / 2 / 64)],
)
def test_a_penalty_has_the_paper_s_weight(name, expected):
    """The mean of 64 pixels has a slope of 1/8 everywhere."""
    terms = phases(White(), Brightness(), idle(), METHODS[name])[0].loss(turn(BLACK))
    assert terms["penalty"].item() == pytest.approx(expected, abs=1e-6)


def test_dragan_looks_around_real_pictures():
    judge = Brightness()
    phases(White(), judge, idle(), METHODS["dragan"])[0].loss(turn(BLACK))
    assert [image.unique().tolist() for image in judge.shown] == [[-1.0], [1.0], [-1.0]]


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.penalty])
def test_under_a_penalty_a_discriminator_sees_each_sample_by_itself(name):
    config = NetworkConfig(size=16, channels=1, width=4, discriminator_norm=METHODS[name].discriminator_norm)
    discriminator, image = Discriminator(config), torch.randn(4, 1, 16, 16)
    torch.testing.assert_close(discriminator(image)[1:2], discriminator(image[1:2]))


def test_pairs_of_the_loss_sensitive_gan_differ_by_their_distance():
    """White and black are 2 apart, and white is scored 2 above: a margin of 2 and those 2."""
    terms = phases(White(), Brightness(), idle(), METHODS["loss-sensitive"])[0].loss(turn(BLACK))
    assert terms["game"].item() == pytest.approx(4)


def test_noise_is_laid_over_all_that_the_discriminator_sees():
    judge = Brightness()
    game = phases(White(), judge, idle(), METHODS["gan"], noise=lambda step: 0.1 * step)
    for step in (0, 5):
        judge.shown.clear()
        now = turn(BLACK, step)
        for move in game:
            move.loss(now)
        assert [image.std().item() for image in judge.shown] == pytest.approx([0.1 * step] * 3, abs=0.03)


PAPERS = {  # critic's steps, optimiser, learning rate, betas
    "wgan": (5, "RMSprop", 5e-5, None),
    "wgan-gp": (5, "Adam", 1e-4, (0.0, 0.9)),
    "sn-gan": (5, "Adam", 2e-4, (0.0, 0.9)),
    "gan": (1, "Adam", 2e-4, (0.5, 0.999)),
}


@pytest.mark.parametrize("name", PAPERS)
def test_players_move_as_in_the_paper(name):
    method = METHODS[name]
    (optimizer,) = method.optimizers(Generator(TINY))
    (group,) = optimizer.param_groups
    assert (method.critic_steps, type(optimizer).__name__, group["lr"], group.get("betas")) == PAPERS[name]


@pytest.mark.parametrize("name", ["gan-r1", "loss-sensitive"])
def test_wrong_labels_are_of_the_scores_only(name):
    """The record and the penalties hear the truth, and no batch that the discriminator sees is a mixture."""
    judge = Brightness()

    def play(wrong):
        now, game = turn(BLACK), phases(White(), judge, idle(), METHODS[name], wrong=wrong)
        return game[0].loss(now), {key: value.item() for key, value in now.watched.items()}

    (right, told), (weak, told_weak) = play(0.0), play(0.5)
    assert told == told_weak == {"real": -1.0, "fake": 1.0}
    assert weak["game"] < 0.8 * right["game"]
    shown = [image.unique().tolist() for image in judge.shown]
    assert shown == [[-1.0], [1.0], [-1.0]] * 2 if name == "gan-r1" else [[-1.0], [1.0]] * 2
    with pytest.raises(ValueError, match="from 0 to 0.5, not 0.7"):
        play(0.7)


def test_the_generator_s_move_uses_the_fake_that_the_discriminator_saw_last(tmp_path):
    for name, calls in (("gan", 1), ("wgan", 5)):
        generator, discriminator = Generator(TINY), Discriminator(TINY)
        seen = []
        generator.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        game = phases(generator, discriminator, METHODS[name].optimizers(generator, discriminator), METHODS[name])
        fit(game, Stream(halves(), 8), 1, tmp_path / name)
        assert len(seen) == calls


def test_a_trained_model(tmp_path):
    torch.manual_seed(0)
    gan = GAN(Generator(TINY))
    pictures = gan(5, seed=1)
    assert pictures.shape == (5, 1, 8, 8) and pictures.dtype == torch.uint8
    assert torch.equal(pictures, gan(5, seed=1, batch=2)) and not torch.equal(pictures, gan(5, seed=2))
    assert not torch.equal(gan(2), gan(2)), "by chance"
    again = GAN.from_pretrained(gan.save_pretrained(tmp_path / "model"))
    assert (again(5, seed=1).int() - pictures.int()).abs().max() <= 1
    energy = GAN(Decoder(AutoencoderConfig(size=8, channels=1, width=8, code=4)))
    again = GAN.from_pretrained(energy.save_pretrained(tmp_path / "began"))
    assert (again(5, seed=1).int() - energy(5, seed=1).int()).abs().max() <= 1
    with pytest.raises(ValueError, match="1 or more"):
        gan(0)
