"""Methods on pictures: shapes, which player moves how, and a tiny training of each that improves a number."""

import pytest
import torch

from seqgan.image.data import Images, Shuffled, read_digits, to_range
from seqgan.image.energy import AutoencoderConfig, Decoder
from seqgan.image.gan import GAN, METHODS, Method, phases, without_spectral_norm
from seqgan.image.networks import Discriminator, Generator, NetworkConfig
from seqgan.objectives import Relativistic
from seqgan.training import Stream, Turn, fit

TINY = NetworkConfig(size=8, channels=1, latent=8, width=8)
VARIANTS = [
    TINY,
    NetworkConfig(size=16, channels=3, latent=8, width=4),
    NetworkConfig(size=8, channels=1, latent=8, width=8, generator="mlp"),
    NetworkConfig(size=32, channels=1, latent=8, width=4, generator="constant", generator_norm="none"),
    NetworkConfig(size=16, channels=1, latent=8, width=4, generator_norm="none", discriminator_norm="none"),
    NetworkConfig(size=16, channels=1, latent=8, width=4, activation="tanh", discriminator_norm="layer"),
    NetworkConfig(size=16, channels=1, latent=8, width=4, layers=34),
    NetworkConfig(size=28, channels=1, latent=8, width=4, smallest=7, dense=16),
    NetworkConfig(size=8, channels=1, latent=8, width=4, smallest=2, dense=16, discriminator_norm="layer"),
]


@pytest.mark.parametrize("config", VARIANTS, ids=str)
def test_networks(config, tmp_path):
    torch.manual_seed(0)
    generator, discriminator = Generator(config), Discriminator(config)
    image = generator(generator.noise(3))
    assert image.shape == (3, config.channels, config.size, config.size) and image.abs().max() <= 1
    assert discriminator(image).shape == (3,)
    if config.layers is not None:
        for network in (generator, discriminator):
            weights = [p for name, p in network.named_parameters() if p.dim() > 1 and ".skip." not in name]
            assert len(weights) == config.layers
    again = Generator.load(generator.save(tmp_path / "g.safetensors"))
    assert again.config == config
    discriminator.save(tmp_path / "d.safetensors")
    assert Discriminator.load(tmp_path / "d.safetensors").config == config


def test_dcgan_has_the_paper_s_widths():
    shapes = [tuple(p.shape[:2]) for p in Generator().parameters() if p.dim() == 4]
    assert shapes == [(1024, 512), (512, 256), (256, 128), (128, 3)]
    assert [p.shape[0] for p in Discriminator().parameters() if p.dim() == 4] == [128, 256, 512, 1024]


WRONG = [
    {"size": 20},
    {"size": 4},
    {"layers": 4},
    {"layers": 33},
    {"width": 10**6},
    {"latent": 0},
    {"dense": -1},
    {"smallest": 0},
    {"size": 30, "smallest": 7},
]


@pytest.mark.parametrize("options", WRONG)
def test_networks_that_cannot_be(options):
    with pytest.raises(ValueError):
        NetworkConfig(**options)


def test_a_discriminator_with_layer_normalisation_sees_each_sample_by_itself():
    torch.manual_seed(0)
    config = NetworkConfig(size=16, channels=1, latent=8, width=4, discriminator_norm="layer")
    discriminator, image = Discriminator(config), torch.randn(4, 1, 16, 16)
    torch.testing.assert_close(discriminator(image)[1:2], discriminator(image[1:2]))


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
    fit(phases(generator, discriminator, optimizers, method), Stream(Shuffled(halves()), 32), steps, tmp_path)
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
    fit(game, Stream(Shuffled(halves()), 32), 60, tmp_path)
    assert distance(generator) < 0.5 * before


def test_the_layers_of_sn_gan_s_discriminator_have_spectral_norm_1(tmp_path):
    torch.manual_seed(0)
    method = METHODS["sn-gan"]
    config = NetworkConfig(size=16, channels=1, latent=8, width=8, discriminator_norm=method.discriminator_norm)
    generator, discriminator = Generator(config), Discriminator(config)
    assert not any(isinstance(part, torch.nn.BatchNorm2d | torch.nn.GroupNorm) for part in discriminator.modules())
    game = phases(generator, discriminator, method.optimizers(generator, discriminator), method)
    fit(game, Stream(Shuffled(halves().resized(16)), 16), 10, tmp_path)
    discriminator.eval()
    plain = without_spectral_norm(discriminator)
    again = Discriminator.load(plain.save(tmp_path / "discriminator.safetensors"))
    layers = [part for part in again.modules() if isinstance(part, torch.nn.Conv2d | torch.nn.Linear)]
    norms = [torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() for layer in layers]
    assert norms == pytest.approx([1.0] * 3, abs=0.1), "its estimate lags a little"
    image = torch.randn(4, 1, 16, 16)
    torch.testing.assert_close(plain(image), discriminator(image))
    torch.testing.assert_close(again(image), discriminator(image), atol=1e-3, rtol=1e-2)


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


@pytest.mark.parametrize("name", ["gan-r1", "loss-sensitive"])
def test_wrong_labels_are_of_the_scores_only(name):
    """The record and the penalties hear the truth, and no batch that the discriminator sees is a mixture."""
    black, judge, optimizer = {"image": -torch.ones(64, 1, 8, 8)}, Brightness(), torch.optim.SGD([torch.ones(1)])

    def play(wrong):
        turn = Turn(black, 0, torch.Generator().manual_seed(0), {})
        game = phases(White(), judge, [optimizer] * 2, METHODS[name], wrong=wrong)
        return game[0].loss(turn), {key: value.item() for key, value in turn.watched.items()}

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
        fit(game, Stream(Shuffled(halves()), 8), 1, tmp_path / name)
        assert len(seen) == calls


def test_a_trained_model(tmp_path):
    torch.manual_seed(0)
    gan = GAN(Generator(TINY))
    pictures = gan(5, seed=1)
    assert pictures.shape == (5, 1, 8, 8) and pictures.dtype == torch.uint8
    assert torch.equal(pictures, gan(5, seed=1, batch=2)) and not torch.equal(pictures, gan(5, seed=2))
    again = GAN.from_pretrained(gan.save_pretrained(tmp_path / "model"))
    assert (again(5, seed=1).int() - pictures.int()).abs().max() <= 1
    energy = GAN(Decoder(AutoencoderConfig(size=8, channels=1, width=8, code=4)))
    again = GAN.from_pretrained(energy.save_pretrained(tmp_path / "began"))
    assert (again(5, seed=1).int() - energy(5, seed=1).int()).abs().max() <= 1
    with pytest.raises(ValueError, match="1 or more"):
        gan(0)


def test_digits_go_through(tmp_path):
    config = NetworkConfig(size=8, channels=1, latent=8, width=8)
    generator, discriminator = Generator(config), Discriminator(config)
    game = phases(generator, discriminator, METHODS["gan"].optimizers(generator, discriminator), METHODS["gan"])
    fit(game, Stream(Shuffled(read_digits()), 16), 2, tmp_path)
