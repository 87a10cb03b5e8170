"""The terms of the loss have their closed forms, and the game improves what it is played for."""

import numpy as np
import pytest
import torch

from seqgan.speech.discriminators import WaveDiscriminator
from seqgan.speech.enhancement import LossWeights, MetricAdversary, WaveAdversary, phases, reconstruction
from seqgan.speech.metrics import si_sdr
from seqgan.speech.networks import (
    GeneratorConfig,
    MaskGenerator,
    MetricDiscriminator,
    ShortTimeFourier,
    compress,
)
from seqgan.stream import Stream
from seqgan.training import fit

from .mixture_helpers import NOISY, mixtures

TINY = GeneratorConfig(channels=(4, 4, 4, 4), hidden=16, layers=1)


def gain(factor):
    """A generator that multiplies the compressed spectrum, without a network."""

    class Gain:
        config, fourier = GeneratorConfig(), ShortTimeFourier(512)

        def __call__(self, spectrum):
            return spectrum * factor, []

    return Gain()


def test_a_perfect_answer_costs_nothing():
    wave = torch.randn(2, 4000)
    terms, enhanced, clean = reconstruction(gain(1.0), wave, wave)
    assert sum(terms.values()) < 1e-6
    torch.testing.assert_close(enhanced, clean, atol=1e-5, rtol=1e-3)


def test_terms_of_a_wrong_gain_have_their_closed_form():
    wave, factor = torch.randn(2, 4000), 0.8
    terms, enhanced, clean = reconstruction(gain(factor), wave, wave, LossWeights(1.0, 1.0, 1.0, 1.0))
    target = compress(ShortTimeFourier(512)(clean))
    power = target.abs().square().mean()
    torch.testing.assert_close(terms["magnitude"], (1 - factor) ** 2 * power, rtol=1e-3, atol=0)
    torch.testing.assert_close(terms["complex"], (1 - factor) ** 2 * power / 2, rtol=1e-3, atol=0)
    torch.testing.assert_close(terms["consistency"], terms["complex"], rtol=1e-2, atol=0)
    wave_factor = factor ** (1 / 0.3)  # a gain on the compressed spectrum is a larger one on the wave
    torch.testing.assert_close(terms["wave"], (1 - wave_factor) * clean.abs().mean(), rtol=1e-3, atol=0)


def test_a_quiet_recording_counts_as_much_as_a_loud_one():
    torch.manual_seed(0)
    generator, clean = MaskGenerator(TINY).eval(), torch.randn(2, 4000)
    noisy = clean + torch.randn(2, 4000)
    loud, quiet = (reconstruction(generator, noisy * level, clean * level)[0] for level in (0.3, 0.003))
    for name, term in loud.items():
        torch.testing.assert_close(quiet[name], term, rtol=1e-3, atol=1e-6)


def test_terms_are_taken_at_minus_20_decibels_of_the_noisy_wave():
    clean = 0.3 * torch.randn(2, 4000)
    noisy = clean + torch.tensor([[0.1], [2.0]]) * torch.randn(2, 4000)
    _, wave, scaled = reconstruction(gain(1.0), noisy, clean)
    level = noisy.square().mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(wave, 0.1 * noisy / level, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(scaled, 0.1 * clean / level, atol=1e-4, rtol=1e-3)


def test_both_players_are_clipped_and_scheduled():
    game = phases(
        MaskGenerator(TINY), None, LossWeights(), adversary=WaveAdversary(torch.nn.Linear(1, 1)), clip=0.7, schedule=abs
    )
    assert [(phase.name, phase.clip, phase.schedule) for phase in game] == [
        ("generator", 0.7, abs),
        ("discriminator", 0.7, abs),
    ]


def make_game(adversary=None):
    torch.manual_seed(0)
    generator = MaskGenerator(TINY)
    optimizer = torch.optim.AdamW(generator.parameters(), 5e-3)
    state, player = {}, None
    if adversary == "metric":
        player = MetricAdversary(MetricDiscriminator(4, metrics=2), ("pesq", "stoi"), scored=(1, 2), delay=1)
        state = {"queue": player.queue}
    elif adversary == "wave":
        player = WaveAdversary(WaveDiscriminator((2, 5), (128,), channels=4, widest=16), crop=4000)
    judge = player and torch.optim.AdamW(player.discriminator.parameters(), 1e-3)
    game = phases(generator, optimizer, LossWeights(), adversary=player, discriminator_optimizer=judge)
    return generator, state, game


def data_of(recordings):
    return mixtures(recordings, NOISY)


def test_a_little_training_takes_noise_away(recordings, tmp_path):
    generator, _, game = make_game()
    assert [phase.name for phase in game] == ["generator"]
    held = [data_of(recordings)[10_000 + i] for i in range(8)]

    def ratio():
        generator.eval()
        with torch.no_grad():
            waves = [generator.enhance(item["noisy"][None])[0].numpy() for item in held]
        return np.mean([si_sdr(i["clean"].numpy(), w) for i, w in zip(held, waves, strict=True)])

    before = ratio()
    fit(game, Stream(data_of(recordings), 8), 60, tmp_path / "run")
    assert ratio() > before + 6


@pytest.mark.parametrize(("adversary", "recorded"), [("metric", "stoi"), ("wave", "fake")])
def test_the_whole_game_resumes_bit_for_bit_scores_under_way_included(adversary, recorded, recordings, tmp_path):
    def play(run, *stops):
        for steps in stops:
            generator, state, game = make_game(adversary)
            try:
                fit(game, Stream(data_of(recordings), 2), steps, run, state=state, log_every=1)
            finally:
                for queue in state.values():
                    queue.close()
        return generator.state_dict() | {f"discriminator.{k}": v for k, v in game[1].modules[0].state_dict().items()}

    whole, halves = play(tmp_path / "whole", 6), play(tmp_path / "halves", 3, 6)
    assert all(torch.equal(value, halves[name]) for name, value in whole.items())
    assert f"discriminator/{recorded}" in (tmp_path / "whole" / "metrics.jsonl").read_text()


@pytest.mark.parametrize("adversary", ["metric", "wave"])
def test_a_batch_that_is_not_finite_is_left_out(adversary, tmp_path):
    generator, state, game = make_game(adversary)
    before = [parameter.clone() for parameter in generator.parameters()]
    wave = torch.full((2, 8000), torch.nan)
    try:
        fit(game, lambda position: iter([{"noisy": wave, "clean": wave}] * 2), 2, tmp_path, state=state)
    finally:
        for queue in state.values():
            queue.close()
    assert all(torch.equal(a, b) for a, b in zip(before, generator.parameters(), strict=True))
