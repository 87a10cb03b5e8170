"""Energies: what an autoencoder thinks of pictures, the balance of BEGAN, and pictures without a generator."""

import json
import math

import pytest
import torch

from seqgan.checkpoint import load_weights
from seqgan.image.data import to_bytes, to_range
from seqgan.image.energy import (
    Autoencoder,
    AutoencoderConfig,
    Climber,
    Decoder,
    boundary_equilibrium,
    energy_based,
    without_generator,
)
from seqgan.image.networks import Discriminator, Generator, NetworkConfig
from seqgan.objectives import BoundaryEquilibrium, EnergyBased, pulling_away
from seqgan.training import Stream, fit

from .test_gan import BLACK, Brightness, distance, halves, idle, turn

CONFIG = AutoencoderConfig(size=8, channels=1, width=8, code=8)


def recorded(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_an_energy_is_the_error_of_what_comes_back(tmp_path):
    torch.manual_seed(0)
    image = torch.rand(3, 3, 16, 16) * 2 - 1
    for error, power in (("absolute", 1), ("square", 2)):
        model = Autoencoder(AutoencoderConfig(size=16, channels=3, width=4, code=5, error=error))
        code = model.encoder(image)
        assert code.shape == (3, 5)
        expected = (model.decoder(code) - image).abs() ** power
        torch.testing.assert_close(model(image), expected.mean((1, 2, 3)))
    again = Autoencoder.load(model.save(tmp_path / "a.safetensors"))
    assert again.config == model.config
    with pytest.raises(ValueError):
        AutoencoderConfig(size=12)


def test_widths_grow_by_one_n_at_every_halving():
    decoder = Decoder()
    assert decoder(decoder.noise(1)).shape == (1, 3, 64, 64) and decoder.noise(50).abs().max() <= 1
    model = Autoencoder()
    widths = [part.out_channels for part in model.encoder if isinstance(part, torch.nn.Conv2d)]
    assert widths == [128, 128, 256, 256, 384, 384, 512, 512, 640, 640, 640]


@pytest.mark.parametrize("method", ["ebgan", "began"])
def test_real_pictures_have_less_energy_and_fakes_come_near(method, tmp_path):
    torch.manual_seed(0)
    model = Autoencoder(CONFIG)
    generator = Decoder(CONFIG)
    optimizers = [torch.optim.Adam(player.parameters(), 1e-3) for player in (generator, model)]
    before, state = distance(generator), {}
    if method == "ebgan":
        game = energy_based(generator, model, optimizers)
    else:
        equilibrium = BoundaryEquilibrium(diversity=0.5, rate=0.02)
        game, state = boundary_equilibrium(generator, model, optimizers, equilibrium), {"equilibrium": equilibrium}
    fit(game, Stream(halves(), 16), 150, tmp_path, state=state, log_every=25)
    real = to_range(halves().pixels[:50])
    with torch.no_grad():
        assert model(real).mean() < 0.6 * model(torch.rand(50, 1, 8, 8) * 2 - 1).mean()
    assert distance(generator) < 0.6 * before
    if method == "began":
        lines = recorded(tmp_path)
        assert lines[-1]["discriminator/convergence"] < 0.7 * lines[0]["discriminator/convergence"]
        off = abs(0.5 * lines[0]["discriminator/real"] - lines[0]["discriminator/fake"])
        assert lines[0]["discriminator/convergence"] >= lines[0]["discriminator/real"] + off - 1e-6
        assert lines[0]["discriminator/k"] > 0, "at first fakes are easy, and k rises"


def test_the_energy_game():
    """Its margin is 0.2 by default, and codes of fakes are pulled away with the paper's weight of 0.1."""
    torch.manual_seed(0)
    generator, model, now = Decoder(CONFIG), Autoencoder(CONFIG), turn(BLACK)
    game = energy_based(generator, model, idle())
    found, fake = game[0].loss(now)["game"], now.share["fake"]
    assert found.item() == pytest.approx(EnergyBased(0.2).discriminator(model(BLACK["image"]), model(fake)).item())
    terms = game[1].loss(now)
    assert terms["pull"].item() == pytest.approx(0.1 * pulling_away(model.encoder(fake)).item()) and terms["pull"] > 0
    assert torch.autograd.grad(terms["pull"], generator.layers[0].weight)[0].any(), "the generator learns by it"


def balanced(rate):
    torch.manual_seed(0)
    return Decoder(CONFIG), Autoencoder(CONFIG), BoundaryEquilibrium(rate=rate)


def test_the_measure_of_convergence_is_the_paper_s():
    generator, model, equilibrium = balanced(rate=0.1)
    now = turn(BLACK)
    boundary_equilibrium(generator, model, idle(), equilibrium)[0].loss(now)
    real, fake = now.watched["real"], now.watched["fake"]
    assert now.watched["convergence"].item() == pytest.approx((real + abs(0.5 * real - fake)).item())


def test_the_equilibrium_follows_the_errors_of_its_step(tmp_path):
    generator, model, equilibrium = balanced(rate=0.1)
    optimizers = [torch.optim.SGD(player.parameters(), 1e-3) for player in (generator, model)]
    game = boundary_equilibrium(generator, model, optimizers, equilibrium)
    fit(game, Stream(halves(), 16), 1, tmp_path, state={"equilibrium": equilibrium})
    (line,) = recorded(tmp_path)
    expected = 0.1 * (0.5 * line["discriminator/real"] - line["generator/game"])
    assert equilibrium.k == pytest.approx(expected) and equilibrium.k > 0


def test_the_equilibrium_is_resumed(tmp_path):
    def train(steps, run):
        generator, model, equilibrium = balanced(rate=0.1)
        optimizers = [torch.optim.Adam(player.parameters(), 1e-3) for player in (generator, model)]
        game = boundary_equilibrium(generator, model, optimizers, equilibrium)
        fit(game, Stream(halves(), 8), steps, run, state={"equilibrium": equilibrium})
        return equilibrium.k

    train(3, tmp_path / "parts")
    assert train(6, tmp_path / "parts") == train(6, tmp_path / "whole") > 0


def test_climbing_is_uphill():
    def score(image):  # highest at 0.5 everywhere
        return -(image - 0.5).square().flatten(1).sum(1)

    climber = Climber(NetworkConfig(size=8, channels=1), size=16)
    assert climber.images.shape == (16, 1, 8, 8) and climber.images.abs().max() <= 1
    found = climber.climb(score, climber.images, 100, noise=0.0)
    assert (found - 0.5).abs().max() < 0.05
    assert climber.climb(score, climber.images, 1, noise=0.0).sub(climber.images).abs().max() <= 0.0301


def test_what_climbs_is_each_another_picture():
    climber = Climber(NetworkConfig(size=8, channels=1), size=16, restart=0.0)
    before, score = climber.images.clone(), torch.nn.Sequential(torch.nn.Conv2d(1, 1, 8), torch.nn.Flatten(0))
    climber.negatives(score, 16, 1, torch.Generator().manual_seed(0))
    assert (climber.images != before).flatten(1).any(1).all(), "all sixteen, none twice"
    with pytest.raises(ValueError, match="only 16 are kept"):
        climber.negatives(score, 17, 1, torch.Generator())


def test_each_step_of_a_climb_has_its_noise():
    climber = Climber(NetworkConfig(size=8, channels=1), size=1)
    found = climber.climb(lambda image: (0 * image).flatten(1).sum(1), torch.zeros(64, 1, 8, 8), 4, noise=0.05)
    assert found.std().item() == pytest.approx(0.05 * math.sqrt(4), rel=0.1)


@pytest.mark.parametrize(("options", "share"), [({}, 0.05), ({"restart": 0.0}, 0.0), ({"restart": 1.0}, 1.0)])
def test_some_begin_anew(options, share):
    climber = Climber(NetworkConfig(size=8, channels=1), size=2000, **options)
    before = climber.images.clone()
    climber.negatives(Brightness(), 2000, 0, torch.Generator().manual_seed(0))
    assert (climber.images != before).flatten(1).any(1).float().mean().item() == pytest.approx(share, abs=0.02)


def test_the_game_without_a_generator():
    """Seven steps of the climb and one look at both; real pictures with a noise of 0.01; scores near 0."""
    judge, climber = Brightness(), Climber(NetworkConfig(size=8, channels=1), size=64)
    (phase,) = without_generator(judge, idle()[0], climber, steps=7)
    terms, seen = phase.loss(turn(BLACK)), judge.shown[-1]
    assert len(judge.shown) == 7 + 1 and phase.clip == 1
    assert terms["size"].item() == pytest.approx(0.1 * seen.flatten(1).mean(1).square().mean().item())
    assert (seen[:64] - BLACK["image"]).std().item() == pytest.approx(0.01, rel=0.1)


def test_pictures_without_a_generator(tmp_path):
    torch.manual_seed(0)
    config = NetworkConfig(size=8, channels=1, width=16, discriminator_norm="none")
    discriminator, climber = Discriminator(config), Climber(config, size=64)
    real = to_range(halves().pixels).mean(0)
    far = (climber.images.mean(0) - real).abs().mean()
    game = without_generator(discriminator, torch.optim.Adam(discriminator.parameters(), 1e-3), climber, steps=10)
    fit(game, Stream(halves(), 16), 100, tmp_path, state={"climber": climber})
    assert (climber.images.mean(0) - real).abs().mean() < 0.4 * far
    again = Climber(config, size=64)
    again.load_state_dict(climber.state_dict())
    assert torch.equal(again.images, climber.images)
    pictures = load_weights(climber.save(tmp_path / "pool.safetensors"))["images"]
    assert pictures.dtype == torch.uint8 and torch.equal(pictures, to_bytes(climber.images))


def test_dcgan_s_generator_plays_as_well(tmp_path):
    config = NetworkConfig(size=8, channels=1, latent=8, width=8)
    generator, model = Generator(config), Autoencoder(CONFIG)
    optimizers = [torch.optim.Adam(player.parameters(), 1e-3) for player in (generator, model)]
    weights = generator.layers[0].weight, model.encoder[0].weight
    before = [weight.detach().clone() for weight in weights]
    fit(energy_based(generator, model, optimizers), Stream(halves(), 8), 2, tmp_path)
    for weight, was in zip(weights, before, strict=True):
        assert weight.isfinite().all() and not torch.equal(weight, was)
