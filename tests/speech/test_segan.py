"""SEGAN: the paper's table of layers, virtual batch normalisation by its definition, and a game that must clean."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from torch.utils.data import default_collate

from seqgan.checkpoint import save_weights
from seqgan.speech.data import Pairs
from seqgan.speech.metrics import si_sdr
from seqgan.speech.segan import (
    PAPER,
    SEGAN,
    Discriminator,
    Generator,
    SEGANConfig,
    VirtualBatchNorm,
    Windows,
    deemphasise,
    emphasise,
    phases,
    prepare,
)
from seqgan.training import Stream, Turn, fit

TINY = SEGANConfig(channels=(4, 8, 8, 16), width=15, window=512, spread=0.05, level=0.1)

# Section 4 of the paper: samples and channels after every layer of the encoder, and what the decoder makes of them once
# skips and z have doubled its inputs.
TABLE = [
    (8192, 16), (4096, 32), (2048, 32), (1024, 64), (512, 64), (256, 128), (128, 128), (64, 256), (32, 256), (16, 512),
    (8, 1024),
]  # fmt: skip
DECODER = [
    (2048, 512), (1024, 256), (512, 256), (512, 128), (256, 128), (256, 64), (128, 64), (128, 32), (64, 32), (64, 16),
    (32, 1),
]  # fmt: skip


def shapes_of(layers, run):
    """The output shapes of the layers while `run` runs."""
    shapes = []
    hooks = [layer.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape))) for layer in layers]
    run()
    for hook in hooks:
        hook.remove()
    return shapes


def test_layers_are_those_of_the_paper():
    with torch.device("meta"):  # shapes without numbers
        generator, discriminator = Generator(PAPER), Discriminator(PAPER, torch.zeros(5, 2, 16_384))
        wave = torch.zeros(2, 16_384)
        z = torch.zeros(2, 1024, 8)
        down = shapes_of(generator.encoder, lambda: generator(wave, z))
        up = shapes_of(generator.decoder, lambda: generator(wave, z))
        look = shapes_of([*discriminator.convolutions, discriminator.merge], lambda: discriminator(wave, wave))
        assert generator(wave, z).shape == (2, 16_384) and discriminator(wave, wave).shape == (2,)
    assert down == [(2, channels, samples) for samples, channels in TABLE]
    assert up == [(2, channels, samples) for samples, channels in [*TABLE[-2::-1], (16_384, 1)]]
    assert look == [*((5 + 2, channels, samples) for samples, channels in TABLE), (2, 1, 8)]


def test_number_of_parameters_is_that_of_the_paper():
    with torch.device("meta"):
        generator, discriminator = Generator(PAPER), Discriminator(PAPER, torch.zeros(1, 2, 16_384))
    channels = [channels for _, channels in TABLE]
    encoder = sum(31 * a * b + b for a, b in zip([1, *channels[:-1]], channels, strict=True))
    decoder = sum(31 * a * b + b for a, b in DECODER)
    slopes = sum(channels) + sum(b for _, b in DECODER[:-1])  # of the PReLUs, one a channel
    assert sum(p.numel() for p in generator.parameters()) == encoder + decoder + slopes == 73_100_049
    of_second_channel, norms, merge, score = 31 * 16, 2 * sum(channels), 1024 + 1, 8 + 1
    assert sum(p.numel() for p in discriminator.parameters()) == encoder + of_second_channel + norms + merge + score


def test_weights_at_the_beginning():
    """Cut at two standard deviations, or as wide as PReLUs of slope .25 keep the variance: an up-convolution of stride
    two has half of its 31 taps at each sample."""
    torch.manual_seed(0)
    config = SEGANConfig(channels=(32, 32, 32), width=31, window=512)
    small, kept = Generator(config), Generator(replace(config, spread=None))
    narrower = 0.8796  # the standard deviation of a normal distribution that is cut at two
    for layer in (*small.encoder, *small.decoder):
        assert layer.weight.std().item() == pytest.approx(0.02 * narrower, rel=0.1) and not layer.bias.any()
    down, up = kept.encoder[1].weight.std().item(), kept.decoder[0].weight.std().item()
    assert down == pytest.approx(narrower * math.sqrt(2 / (1 + 0.25**2) / (32 * 31)), rel=0.01)
    assert up == pytest.approx(narrower * math.sqrt(2 / (1 + 0.25**2) / (64 * 31 / 2)), rel=0.01)


def test_the_generator_written_out():
    """Skips are taken before the activation, and z stands in the innermost one's place."""
    torch.manual_seed(0)
    generator = Generator(SEGANConfig(channels=(2, 3), width=5, window=16, spread=0.5))
    wave, z = torch.randn(2, 16), torch.randn(2, 3, 4)
    down, up = generator.encoder, generator.decoder
    (one, two), (three, _) = generator.encoder_activations, generator.decoder_activations
    skip = down[0](wave[:, None])
    x = two(down[1](one(skip)))
    x = three(up[0](torch.cat([x, z], 1)))
    torch.testing.assert_close(generator(wave, z), up[1](torch.cat([x, skip], 1)).tanh()[:, 0])


def test_the_discriminator_written_out():
    """Behind every normalisation there is a slope of 0.3."""
    torch.manual_seed(0)
    discriminator, candidate, noisy = Discriminator(TINY, torch.randn(3, 2, 512)), *torch.randn(2, 4, 512)
    x = torch.cat([discriminator.reference, torch.stack([candidate, noisy], 1)])
    for convolution, norm in zip(discriminator.convolutions, discriminator.norms, strict=True):
        x = F.leaky_relu(norm(convolution(x), 3), 0.3)
    expected = discriminator.score(discriminator.merge(x[3:])[:, 0])[:, 0]
    torch.testing.assert_close(discriminator(candidate, noisy), expected)


def test_virtual_batch_norm_of_the_reference_itself():
    torch.manual_seed(0)
    n, norm = 6, VirtualBatchNorm(3, epsilon=0.0)
    reference = torch.randn(n, 3, 50, dtype=torch.float64) * torch.tensor([[0.1], [1.0], [7.0]]) + 2
    reference = reference + torch.randn(n, 3, 1)  # the examples differ in their means
    output = norm.double()(torch.cat([reference, reference]), n)
    of_reference, of_examples = output[:n], output[n:]
    torch.testing.assert_close(of_reference.mean((0, 2)), torch.zeros(3).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(of_reference.var((0, 2), correction=0), torch.ones(3).double())
    # An example weighs 1 / (n + 1) in its own statistics, the reference the rest.
    share = 1 / (n + 1)
    mean = (1 - share) * reference.mean((0, 2), keepdim=True) + share * reference.mean(2, keepdim=True)
    square = (1 - share) * reference.square().mean((0, 2), keepdim=True)
    square = square + share * reference.square().mean(2, keepdim=True)
    torch.testing.assert_close(of_examples, (reference - mean) / (square - mean**2).sqrt())


def test_virtual_batch_norm_of_equal_examples_is_batch_norm():
    example = torch.randn(1, 3, 50)
    output = VirtualBatchNorm(3)(example.repeat(5, 1, 1), 4)
    torch.testing.assert_close(output, torch.nn.BatchNorm1d(3)(example).expand(5, -1, -1))


def test_no_score_depends_on_the_other_examples():
    torch.manual_seed(0)
    discriminator = Discriminator(TINY, torch.randn(3, 2, 512))
    candidate, noisy = torch.randn(2, 4, 512)
    together = discriminator(candidate, noisy)
    alone = [discriminator(candidate[i : i + 1], noisy[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone))
    discriminator.reference.mul_(0.1)
    assert (discriminator(candidate, noisy) - together).abs().min() > 1e-4


def test_emphasis_and_back():
    wave = torch.zeros(2, 4000)
    wave[:, 100] = 1.0
    expected = torch.zeros(2, 4000)
    expected[:, 100], expected[:, 101] = 1.0, -0.95
    assert torch.equal(emphasise(wave, 0.95), expected)
    wave = torch.randn(2, 40_000) * 3  # beyond full scale, which must not be clipped
    torch.testing.assert_close(deemphasise(emphasise(wave, 0.95), 0.95), wave, atol=1e-4, rtol=0)


def test_losses_are_the_equations_of_the_paper():
    torch.manual_seed(0)
    generator, discriminator = Generator(TINY), Discriminator(TINY, torch.randn(2, 2, 512) * 0.05)
    optimizers = [torch.optim.RMSprop(player.parameters()) for player in (generator, discriminator)]
    second, first = reversed(phases(generator, optimizers[0], discriminator, optimizers[1]))
    clean, noise = torch.randn(2, 3, 512) * 0.1
    turn = Turn({"clean": clean, "noisy": clean + noise}, 0, torch.Generator().manual_seed(5), {})
    assert (first.name, second.name) == ("discriminator", "generator")
    losses = first.loss(turn), second.loss(turn)
    noisy, clean = prepare(clean + noise, clean, TINY)
    torch.testing.assert_close(noisy.square().mean(1).sqrt(), torch.full((3,), 0.1))
    enhanced = generator(noisy, generator.noise(3, torch.Generator().manual_seed(5)))
    real, fake = discriminator(clean, noisy), discriminator(enhanced, noisy)
    expected = ((real - 1) ** 2).mean() / 2 + (fake**2).mean() / 2
    torch.testing.assert_close(losses[0]["adversary"], expected)
    torch.testing.assert_close(losses[1]["adversary"], ((fake - 1) ** 2).mean() / 2)
    torch.testing.assert_close(losses[1]["l1"], 100 * (enhanced - clean).abs().mean())
    assert turn.watched.keys() == {"real", "fake"}
    assert phases(generator, optimizers[0])[0].loss(turn).keys() == {"l1"}  # the control


def test_the_generator_is_judged_beside_the_noisy_wave():
    torch.manual_seed(0)
    generator, asked = Generator(TINY), []
    judge = lambda candidate, noisy: asked.append(noisy) or candidate.mean(1)  # noqa: E731
    optimizer = torch.optim.SGD(generator.parameters())
    phase = phases(generator, optimizer, judge, optimizer)[1]
    clean, noise = torch.randn(2, 3, 512) * 0.1
    phase.loss(Turn({"clean": clean, "noisy": clean + noise}, 0, torch.Generator(), {}))
    torch.testing.assert_close(asked[0], prepare(clean + noise, clean, TINY)[0])


def test_both_waves_are_scaled_by_the_level_of_the_noisy_one():
    clean, noise = torch.randn(2, 3, 512)
    noisy, target = prepare(clean + noise, clean, SEGANConfig(level=0.1, emphasis=0.0))
    gain = 0.1 / (clean + noise).square().mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(target, clean * gain)
    torch.testing.assert_close(noisy, (clean + noise) * gain)
    silence = 1e-6 * torch.randn(2, 1, 512)
    assert prepare(*silence, TINY)[0].abs().max() < 1e-3, "40 dB louder, no more"


class Identity(Generator):
    def forward(self, noisy, z):
        return noisy


@pytest.mark.parametrize("cross_fade", [False, True])
@pytest.mark.parametrize("samples", [1, 511, 512, 513, 20_000])
def test_windows_are_joined_without_a_trace(samples, cross_fade):
    wave = torch.rand(2, samples) - 0.5
    joined = SEGAN(Identity(TINY))(wave, cross_fade=cross_fade)
    torch.testing.assert_close(joined, wave, atol=1e-5, rtol=0)


def test_emphasis_is_undone_with_its_own_coefficient():
    wave = torch.rand(1, 2000) - 0.5
    torch.testing.assert_close(SEGAN(Identity(replace(TINY, emphasis=0.5)))(wave), wave, atol=1e-5, rtol=0)


def test_a_call_keeps_kind_shape_type_and_rate():
    segan = SEGAN(Generator(TINY))
    wave = np.random.default_rng(0).normal(0, 0.1, (2, 4410))
    enhanced = segan(wave, 44_100)
    assert isinstance(enhanced, np.ndarray) and enhanced.shape == (2, 4410) and enhanced.dtype == np.float64
    np.testing.assert_array_equal(enhanced, segan(wave, 44_100))  # z is drawn, but from the same seed
    assert np.abs(enhanced - segan(wave, 44_100, seed=1)).max() > 0
    tensor = torch.from_numpy(wave[0]).half()
    assert segan(tensor).shape == (4410,) and segan(tensor).dtype == torch.float16
    assert segan(np.zeros((3, 0))).shape == (3, 0)
    np.testing.assert_allclose(segan(wave[0]), 10 * segan(wave[0] / 10), atol=1e-5)  # the level does not matter


@pytest.mark.parametrize("wave", [np.ones(99, np.int16), np.array([0.0, np.nan])], ids=["integers", "NaN"])
def test_what_is_no_recording_is_refused(wave):
    with pytest.raises(ValueError):
        SEGAN(Generator(TINY))(wave)


def test_a_saved_model_is_the_same(tmp_path):
    segan = SEGAN(Generator(TINY))
    again = SEGAN.from_pretrained(segan.save_pretrained(tmp_path / "model"))
    assert again.config == TINY
    wave = torch.randn(3000) * 0.1
    segan.generator.half().float()  # as the weights are kept
    assert torch.equal(again(wave), segan(wave))
    foreign = save_weights(tmp_path / "foreign.safetensors", segan.generator)
    with pytest.raises(ValueError, match="foreign.safetensors"):
        SEGAN.from_pretrained(foreign)


def test_windows_overlap_by_half(tmp_path):
    for name, samples in (("a", 1300), ("b", 300)):
        for half in ("clean", "noisy"):
            soundfile.write(tmp_path / f"{half}-{name}.wav", np.arange(1, samples + 1) / 2000, 16_000, subtype="FLOAT")
    pairs = Pairs([(tmp_path / f"clean-{name}.wav", tmp_path / f"noisy-{name}.wav") for name in "ab"], 1.0, 16_000, 3)
    windows = Windows(pairs, 512)
    starts = [round(windows[i]["clean"][0].item() * 2000) - 1 for i in range(len(windows))]
    assert sorted(starts) == [0, 0, 256, 512, 768, 1024]  # of 300 and 1300 samples
    assert all(item["clean"].shape == item["noisy"].shape == (512,) for item in map(windows.__getitem__, range(6)))


def test_windows_end_with_the_shorter_of_a_pair(tmp_path):
    for half, samples in (("clean", 1300), ("noisy", 600)):
        soundfile.write(tmp_path / f"{half}.wav", np.ones(samples), 16_000, subtype="FLOAT")
    windows = Windows(Pairs([(tmp_path / "clean.wav", tmp_path / "noisy.wav")], 1.0, 16_000), 512)
    assert len(windows) == 2
    for half in ("clean", "noisy"):
        assert [int(window[half].sum()) for window in windows] == [512, 600 - 256]


class Tones:
    """A dataset: chords below 2 kHz as the speech, high-passed noise over them at 0 dB."""

    def __getitem__(self, index):
        rng = np.random.default_rng([1, index])
        time = np.arange(512) / 16_000
        clean = sum(np.sin(2 * np.pi * (f * time + rng.random())) for f in rng.uniform(200, 2000, 3))
        noise = np.diff(rng.standard_normal(514), 2)
        clean, noise = (0.1 * wave / np.sqrt(np.mean(wave**2)) for wave in (clean, noise))
        return {"clean": torch.tensor(clean, dtype=torch.float32), "noisy": torch.tensor(clean + noise).float()}


class Game:
    def __init__(self, adversary: bool, seed: int = 0):
        torch.manual_seed(seed)
        self.generator = Generator(TINY)
        players = [self.generator]
        if adversary:
            batch = default_collate([Tones()[seed * 100 + i] for i in range(8)])
            players.append(Discriminator(TINY, torch.stack(prepare(batch["noisy"], batch["clean"], TINY)[::-1], 1)))
        optimizers = [torch.optim.RMSprop(player.parameters(), 2e-3, alpha=0.9) for player in players]
        self.players = players
        in_turn = [part for both in zip(players, optimizers, strict=True) for part in both]
        self.phases = phases(*in_turn, schedule=lambda step: min(1.0, (200 - step) / 100))

    def fit(self, run: Path, steps: int) -> None:
        fit(self.phases, Stream(Tones(), 8), steps, run)


@pytest.mark.parametrize("adversary", [True, False], ids=["lsgan", "none"])
def test_the_game_cleans(tmp_path, adversary):
    game = Game(adversary)
    game.fit(tmp_path, 200)
    items = [Tones()[10**6 + i] for i in range(20)]  # which the training has not seen
    before = np.mean([si_sdr(item["clean"], item["noisy"]) for item in items])
    segan = SEGAN(game.generator)
    after = np.mean([si_sdr(item["clean"], segan(item["noisy"])) for item in items])
    print(f"{before:.2f} -> {after:.2f} dB")
    assert abs(before) < 0.2 and after > before + 3


def test_a_resumed_game_goes_on_exactly_with_its_reference_batch(tmp_path):
    whole, first, second = Game(True), Game(True), Game(True, seed=1)
    whole.fit(tmp_path / "whole", 4)
    first.fit(tmp_path / "parts", 2)
    assert not torch.equal(second.players[1].reference, whole.players[1].reference)
    second.fit(tmp_path / "parts", 4)
    for player, other in zip(whole.players, second.players, strict=True):
        for name, value in player.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name
