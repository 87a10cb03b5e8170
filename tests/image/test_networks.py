"""Networks of pictures: their shapes, what the papers say of them, and settings that cannot be."""

import pytest
import torch
import torch.nn.functional as F

from seqgan.image.networks import Discriminator, Generator, NetworkConfig, Residual, norm, share_out

from .test_gan import TINY

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
    slopes = [part.negative_slope for part in Discriminator().layers if isinstance(part, torch.nn.LeakyReLU)]
    assert slopes == [0.2] * 4


WRONG = [
    {"size": 20},
    {"size": 4},
    {"layers": 4},
    {"size": 32, "layers": 6},
    {"layers": 33},
    {"width": 10**6},
    {"latent": 0},
    {"dense": -1},
    {"smallest": 0},
    {"size": 30, "smallest": 7},
    {"generator": "mlp", "layers": 34},
    {"generator": "constant", "layers": 34},
]


@pytest.mark.parametrize("options", WRONG)
def test_networks_that_cannot_be(options):
    with pytest.raises(ValueError):
        NetworkConfig(**options)


def test_weights_begin_as_dcgan_s():
    torch.manual_seed(0)
    for kind in (Generator, Discriminator):
        network = kind(NetworkConfig(size=16, width=32))
        weights = torch.cat([p.flatten() for p in network.parameters() if p.dim() > 1])
        assert weights.mean().abs() < 1e-3 and weights.std().item() == pytest.approx(0.02, rel=0.02)
        scales = torch.cat([part.weight for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)])
        assert scales.mean().item() == pytest.approx(1, abs=0.01) and scales.std().item() == pytest.approx(
            0.02, abs=0.01
        )


def test_a_discriminator_s_first_layer_is_not_normalised():
    kinds = [type(part).__name__ for part in Discriminator(NetworkConfig(size=16, width=4)).layers]
    assert kinds == ["Conv2d", "LeakyReLU", "Conv2d", "BatchNorm2d", "LeakyReLU"]


def test_a_constant_generator_has_one_width_and_no_normalisation():
    network = Generator(NetworkConfig(size=16, width=4, generator="constant"))
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in network.modules())
    assert [tuple(p.shape[:2]) for p in network.parameters() if p.dim() == 4] == [(4, 4), (4, 3)]


def test_a_dense_generator_has_four_layers_of_512():
    network = Generator(NetworkConfig(size=8, channels=1, latent=7, generator="mlp"))
    shapes = [tuple(p.shape) for p in network.parameters() if p.dim() == 2]
    assert shapes == [(512, 7), (512, 512), (512, 512), (512, 512), (64, 512)]


def test_layer_normalisation_is_of_one_sample():
    x = torch.randn(3, 4, 5, 5) + torch.arange(4.0).view(4, 1, 1)
    torch.testing.assert_close(norm("layer", 4)(x), F.layer_norm(x, x.shape[1:]))


def test_a_residual_block_adds_to_what_it_is_given():
    block, x = Residual(3, 3, "none", "relu"), torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(block(x) - x, block.layers(x))


def test_the_first_stages_get_the_rest_of_the_blocks():
    assert share_out(12, 3) == [2, 2, 1] and share_out(8, 3) == [1, 1, 1]
