"""The short-time transform is exact, causal networks are causal and stream exactly, the mask is bounded."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils.parametrize import is_parametrized

from seqgan.speech.networks import (
    BASE,
    SMALL,
    GeneratorConfig,
    MaskGenerator,
    MetricDiscriminator,
    ShortTimeFourier,
    compress,
    expand,
    interleave,
)

RECURRENT = GeneratorConfig(channels=(16, 24, 32, 16), hidden=160, causal=True)
BOTH = replace(RECURRENT, paths=1)
FILTER = replace(RECURRENT, taps=5)
THREE = replace(RECURRENT, channels=(3, 3))  # as many channels as the input has


@pytest.fixture(params=[SMALL, RECURRENT, BOTH, FILTER], ids=["small", "recurrent", "both", "filter"])
def causal(request):
    torch.manual_seed(0)
    return MaskGenerator(request.param).eval()


@pytest.mark.parametrize("samples", [1, 255, 256, 257, 5000])
def test_transform_reconstructs_to_the_sample(samples):
    fourier, wave = ShortTimeFourier(512), torch.randn(2, samples)
    spectrum = fourier(wave)
    assert spectrum.shape == (2, 257, -(-samples // 256) + 1)
    torch.testing.assert_close(fourier.inverse(spectrum, samples), wave, atol=1e-5, rtol=0)


def test_transform_of_a_sine_has_its_energy_in_its_bin():
    fourier = ShortTimeFourier(512)
    wave = torch.sin(2 * torch.pi * 40 / 512 * torch.arange(4096))[None]
    assert fourier(wave).abs()[0, :, 8].argmax() == 40


def test_compression_takes_the_power_of_the_magnitude_and_keeps_the_phase():
    spectrum = torch.polar(torch.tensor([1e-3, 1.0, 50.0]), torch.tensor([0.5, -2.0, 3.0]))
    small = compress(spectrum, 0.3)
    torch.testing.assert_close(small.abs(), spectrum.abs() ** 0.3, rtol=1e-4, atol=0)
    torch.testing.assert_close(small.angle(), spectrum.angle())
    torch.testing.assert_close(expand(small, 0.3), spectrum, rtol=1e-3, atol=1e-7)


def test_compression_has_a_finite_gradient_at_silence():
    wave = torch.zeros(1, 1024, requires_grad=True)
    fourier = ShortTimeFourier(512)
    fourier.inverse(expand(compress(fourier(wave)))).sum().backward()
    assert wave.grad.isfinite().all()


def test_interleave_puts_neighbouring_channels_into_neighbouring_bins():
    x = torch.arange(2 * 4 * 3 * 5).reshape(2, 4, 3, 5)
    y = interleave(x)
    assert y.shape == (2, 2, 3, 10)
    assert torch.equal(y[:, 0, :, 0::2], x[:, 0]) and torch.equal(y[:, 0, :, 1::2], x[:, 1])
    assert torch.equal(y[:, 1, :, 1::2], x[:, 3])


@pytest.mark.parametrize(
    "config",
    [BASE, SMALL, RECURRENT, BOTH, FILTER, THREE],
    ids=["base", "small", "recurrent", "both", "filter", "three"],
)
def test_gain_of_a_recording_does_not_matter(config):
    torch.manual_seed(0)
    generator, wave = MaskGenerator(config).eval(), torch.randn(1, 8000) * 0.1
    with torch.no_grad():
        loud, quiet = generator.enhance(wave), generator.enhance(wave * 0.05)
    torch.testing.assert_close(quiet, loud * 0.05, atol=1e-4 * 0.05, rtol=1e-3)


def test_what_is_near_silence_is_not_brought_to_a_level():
    """The floor is that of noise 140 dB below full scale; 10^-5 of the amplitude is above it, 10^-8 below."""
    generator = MaskGenerator(GeneratorConfig(channels=(4, 4), hidden=8, layers=1))
    for amplitude, bounds in ((1e-5, (0.05, 0.1)), (1e-8, (0.02, 0.02))):
        wave = amplitude * torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
        magnitude = compress(generator.fourier(wave)).abs().transpose(1, 2)
        level = generator.level(magnitude, None)[0].item()
        assert bounds[0] <= round(level, 6) <= bounds[1]


def test_a_causal_level_forgets_with_a_time_constant_of_a_second():
    """Of 1 for a long time and 0 afterwards, 1 / e is left after a second, 62.5 frames."""
    generator = MaskGenerator(GeneratorConfig(channels=(4, 4), hidden=8, layers=1, causal=True))
    magnitude = torch.cat([torch.ones(1, 2000, 4), torch.zeros(1, 125, 4)], 1)
    level, _ = generator.level(magnitude, None)
    torch.testing.assert_close(level[0, :2000], torch.ones(2000, 1), atol=1e-4, rtol=0)
    assert level[0, 2000 + 62, 0].item() == pytest.approx(math.exp(-1), abs=0.01)


def test_causal_generator_does_not_look_ahead(causal):
    wave = torch.randn(1, 256 * 20)
    changed = wave.clone()
    changed[:, 256 * 12 :] = torch.randn(1, 256 * 8)
    with torch.no_grad():
        first, second = causal.enhance(wave), causal.enhance(changed)
    # Hop 11 is covered by the frame that ends with it and by the one that reaches a hop further: 32 ms of delay in all.
    assert torch.equal(first[:, : 256 * 11], second[:, : 256 * 11])
    assert not torch.allclose(first[:, 256 * 12 :], second[:, 256 * 12 :])


@pytest.mark.parametrize("config", [BASE, replace(SMALL, causal=False)], ids=["base", "paths"])
def test_the_other_generator_does_look_ahead(config):
    torch.manual_seed(0)
    generator, wave = MaskGenerator(replace(config, hidden=16, path_hidden=16)).eval(), torch.randn(1, 256 * 20)
    changed = wave.clone()
    changed[:, 256 * 15 :] *= 3
    with torch.no_grad():
        assert not torch.allclose(generator.enhance(wave)[:, :256], generator.enhance(changed)[:, :256], atol=1e-6)


@pytest.mark.parametrize("sizes", [[1] * 30, [7, 1, 13, 9], [30]])
def test_causal_generator_goes_on_exactly_from_its_state(causal, sizes):
    spectrum = compress(torch.randn(2, 257, sum(sizes), dtype=torch.complex64))
    with torch.no_grad():
        whole, _ = causal(spectrum)
        state, pieces = None, []
        for piece in spectrum.split(sizes, dim=2):
            enhanced, state = causal(piece, state)
            pieces.append(enhanced)
    torch.testing.assert_close(torch.cat(pieces, 2), whole, atol=1e-5, rtol=1e-4)


def test_mask_is_bounded_and_silence_stays_silent(causal):
    with torch.no_grad():
        causal.decoder[-1].conv.bias.fill_(100)
        spectrum = compress(torch.randn(1, 257, 10, dtype=torch.complex64))
        taps = causal.config.taps
        heard = F.pad(spectrum.abs(), (taps - 1, 0)).unfold(2, taps, 1).sum(3)
        gain = causal(spectrum)[0].abs() / heard
        assert gain.max() <= SMALL.mask_limit * 1.001
        assert causal.enhance(torch.zeros(1, 3000)).abs().max() == 0


def test_an_untrained_mask_is_nearly_the_identity():
    torch.manual_seed(0)
    spectrum = compress(torch.randn(1, 257, 20, dtype=torch.complex64))
    with torch.no_grad():
        made = MaskGenerator(BASE).eval()(spectrum)[0]
    assert ((made - spectrum).abs() / spectrum.abs()).median() < 0.5


@pytest.mark.parametrize("tap", range(3))
@pytest.mark.parametrize("causal, latest", [(True, 0), (False, 1)])
def test_taps_are_masks_of_neighbouring_frames(causal, latest, tap):
    """With one tap of gain 1i and the others 0, what comes out is that frame of the input, turned and bounded."""
    generator = MaskGenerator(replace(RECURRENT, causal=causal, taps=3)).eval()
    spectrum = compress(torch.randn(2, 257, 9, dtype=torch.complex64))
    with torch.no_grad():
        last = generator.decoder[-1].conv
        last.weight.zero_()
        last.bias.zero_().view(3, 2, 2)[tap, 1] = 1
        filtered, _ = generator(spectrum)
    ahead = tap - 2 + latest
    gain = 1j * 1.2 * math.tanh(1 / 1.2)
    torch.testing.assert_close(filtered[:, :, 2:-2], gain * spectrum.roll(-ahead, 2)[:, :, 2:-2], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("causal", [True, False])
def test_a_filter_begins_as_a_mask(causal):
    spectrum, outputs = compress(torch.randn(2, 257, 9, dtype=torch.complex64)), []
    for taps in (1, 5):
        torch.manual_seed(0)
        generator = MaskGenerator(replace(RECURRENT, causal=causal, taps=taps)).eval()
        generator.decoder[-1].conv.weight.data[4 * generator.before :][:4] = 0.01
        with torch.no_grad():
            outputs.append(generator(spectrum)[0])
    assert not torch.allclose(outputs[0], spectrum, rtol=0.1)
    torch.testing.assert_close(*outputs)


@pytest.mark.parametrize("config", [BASE, SMALL], ids=["base", "small"])
def test_half_precision_weights_fit_the_promised_size(config):
    bytes_ = 2 * sum(value.numel() for value in MaskGenerator(config).state_dict().values())
    assert bytes_ < (1e6 if config.causal else 6e6)


def test_metric_discriminator_can_learn_which_of_two_is_noisier():
    torch.manual_seed(0)
    discriminator = MetricDiscriminator(channels=4)
    optimizer = torch.optim.Adam(discriminator.parameters(), 5e-3)
    losses = []
    for _ in range(200):
        clean = torch.sin(torch.arange(4096) * torch.rand(8, 1)) * 0.1
        amount = torch.rand(8)
        score = discriminator(clean, clean + 0.1 * amount[:, None] * torch.randn(8, 4096))[:, 0]
        loss = (score - (1 - amount)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert ((score >= 0) & (score <= 1)).all()
    assert sum(losses[-10:]) < 0.5 * 10 / 12  # a constant guess is left with the variance of a uniform number, 1 / 12


def test_a_metric_discriminator_hears_both_and_is_as_the_papers_have_it():
    torch.manual_seed(0)
    discriminator = MetricDiscriminator(channels=4, metrics=2).eval()  # in which the spectral norms stand still
    clean, enhanced, other = 0.1 * torch.randn(3, 2, 4096)
    said = discriminator(clean, enhanced)
    assert said.shape == (2, 2)
    for pair in ((other, enhanced), (clean, other)):
        assert (discriminator(*pair) - said).abs().min() > 1e-6
    layers = [layer for layer in discriminator.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(layers) == 6 and all(is_parametrized(layer, "weight") for layer in layers)
    torch.nn.init.constant_(discriminator.slope, 2.0)
    torch.testing.assert_close(discriminator(clean, enhanced), (2 * said.logit()).sigmoid())


def test_settings_that_no_enhancer_has_are_refused():
    wrongs = [{"hidden": 10**9}, {"layers": 17}, {"paths": 17}, {"paths": -1}, {"path_hidden": 3}, {"layers": 0}]
    wrongs += [{"taps": 0}, {"taps": 2}, {"taps": 17}]
    for wrong in (*wrongs, {"channels": (16, 0)}, {"channels": ("16",)}, {"window": 500}):
        with pytest.raises(ValueError):
            GeneratorConfig(**wrong)
