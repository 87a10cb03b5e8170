"""The losses have their closed forms, scores join in order, and the game improves what it is played for."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from seqgan.speech.data import MixConfig, Mixtures, find_recordings
from seqgan.speech.discriminators import WaveDiscriminator
from seqgan.speech.enhancement import (
    METRICS,
    LossWeights,
    MetricAdversary,
    ScoreQueue,
    WaveAdversary,
    phases,
    reconstruction,
)
from seqgan.speech.metrics import dnsmos, si_sdr
from seqgan.speech.networks import (
    GeneratorConfig,
    MaskGenerator,
    MetricDiscriminator,
    ShortTimeFourier,
    compress,
)
from seqgan.speech.sources import find_corpora
from seqgan.stream import Stream
from seqgan.training import fit

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


def first_sample(clean, enhanced):
    return float("nan") if clean[0] < 0 else float(enhanced[0] - clean[0])


def largest(clean, enhanced):
    return float(enhanced.max())


def test_scores_come_back_in_order_after_the_delay_and_survive_a_resume():
    metrics = [(first_sample, 2), (largest, 1)]
    queue = ScoreQueue(metrics, workers=2, delay=2)
    try:
        batches = [(torch.full((4, 3), float(i)), torch.full((4, 3), 3.0 * i)) for i in range(5)]
        for i in range(3):
            queue.put(*batches[i])
            assert (queue.get() is None) == (i < 2)
        resumed = ScoreQueue(metrics, workers=1, delay=2)
        try:
            resumed.load_state_dict(queue.state_dict())
            for i, one in ((3, queue), (3, resumed)):
                one.put(*batches[i])
                clean, enhanced, scores = one.get()
                assert clean.shape == (2, 3)  # no more than some metric scores
                assert clean[0, 0] == 1 and enhanced[0, 0] == 3
                assert scores[:, 0].tolist() == [2.0, 2.0] and scores[0, 1] == 3.0 and scores[1, 1].isnan()
        finally:
            resumed.close()
        queue.put(-torch.ones(2, 3), torch.ones(2, 3))
        queue.get(), queue.put(*batches[0]), queue.put(*batches[0])
        assert queue.get()[2][0, 0] == 6.0 and queue.get()[2][:, 0].isnan().all()
    finally:
        queue.close()


def test_scores_cannot_arrive_before_they_are_asked_for():
    with pytest.raises(ValueError, match="0 steps or more"):
        ScoreQueue([(METRICS["pesq"].score, 1)], delay=-1)


BUSY = """
import time, torch
from seqgan.speech.enhancement import METRICS, ScoreQueue
queue = ScoreQueue([(METRICS["pesq"].score, 1)], delay=0)
queue.put(torch.ones(1, 8000), torch.ones(1, 8000))
queue.get()
print(*queue.pool._processes, flush=True)
time.sleep(60)
"""


def test_workers_end_with_a_training_that_is_killed():
    training = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True)
    (worker,) = map(int, training.stdout.readline().split())
    training.kill()
    try:
        training.communicate(timeout=20)  # the worker has the other end of this pipe, too
    except subprocess.TimeoutExpired:
        os.kill(worker, signal.SIGKILL)
        pytest.fail("a worker was left behind")


def test_a_discriminator_of_several_metrics_answers_for_each_where_it_has_a_score():
    """What it learns from is in closed form for a discriminator that always says .75 and .5."""

    class Says(torch.nn.Module):
        def forward(self, clean, enhanced):
            return torch.tensor([[0.75, 0.5]]).repeat(len(clean), 1)

    scores = torch.tensor([[0.25, 0.9], [0.5, torch.nan]])
    adversary, logged = MetricAdversary(Says(), ("pesq", "dnsmos"), (2, 1)), {}
    pair = torch.zeros(2, 10), torch.zeros(2, 10)
    adversary.queue = SimpleNamespace(put=lambda *_: None, most=2, get=lambda: (*pair, scores))
    turn = SimpleNamespace(share={}, log=logged.__setitem__)
    made = adversary.teach(turn, *pair, LossWeights(adversary=0.1))
    assert made["adversary"] == pytest.approx(0.1 * (0.25**2 + 0.5**2))
    terms = adversary.learn(turn)
    assert terms["clean"] == pytest.approx(0.25**2)  # DNSMOS has no best answer for the clean wave
    assert terms["metric"] == pytest.approx((0.5**2 + 0.25**2) / 2 + 0.4**2)
    assert logged == pytest.approx({"pesq": 0.375, "dnsmos": 0.9})


@pytest.fixture(scope="module")
def speechlike():
    """Of a clean wave and a noisy one, 2 s at 16 kHz."""
    rng = np.random.default_rng(0)
    time = np.arange(32_000) / 16_000
    speech = np.sin(2 * np.pi * 150 * time) * (np.sin(2 * np.pi * 2 * time) > 0) + 0.01 * rng.standard_normal(32_000)
    speech = (0.3 * speech).astype(np.float32)
    return speech, speech + 0.1 * rng.standard_normal(32_000).astype(np.float32)


@pytest.mark.parametrize("name", ["pesq", "stoi"])
def test_metrics_are_one_for_the_same_and_nan_without_speech(name, speechlike):
    clean, noisy = speechlike
    score = METRICS[name].score
    assert score(clean, clean) == pytest.approx(1, abs=1e-3)
    assert 0 <= score(clean, noisy) < 0.75
    assert np.isnan(score(np.zeros(32_000, np.float32), clean))


def test_the_opinion_is_that_of_the_repeated_wave(speechlike):
    pytest.importorskip("speechmos.dnsmos")
    clean, noisy = speechlike
    score = METRICS["dnsmos"].score
    repeated = np.concatenate([noisy] * 5)[:144_160]
    assert score(clean, noisy) == pytest.approx((dnsmos(repeated, 16_000)["ovrl"] - 1) / 4)
    assert 0 <= score(noisy, noisy) < score(noisy, clean) <= 1


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
    corpora = (find_corpora([recordings / name]) for name in ("clean", "noise"))
    return Mixtures(
        *corpora,
        find_recordings([recordings / "rir"]),
        MixConfig(seconds=0.8, snr=(0.0, 5.0), quiet=0, clean=0, speechless=0),
    )


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


def test_judges_of_waves_tell_and_a_wave_is_moved_their_way(recordings):
    torch.manual_seed(0)
    data = data_of(recordings)
    items = [data[i] for i in range(8)]
    noisy, clean = (torch.stack([item[side] for item in items]) for side in ("noisy", "clean"))
    adversary, logged = WaveAdversary(WaveDiscriminator((2, 5), (128,), channels=4, widest=16)), {}
    optimizer = torch.optim.Adam(adversary.discriminator.parameters(), 1e-2)
    turn = SimpleNamespace(share={"pair": (clean, noisy)}, log=logged.__setitem__)
    for _ in range(30):
        optimizer.zero_grad()
        adversary.learn(turn)["adversary"].backward()
        optimizer.step()
    assert logged["real"] > logged["fake"] + 0.15

    def terms(wave):
        return adversary.teach(turn, clean, wave, LossWeights())

    for name in ("adversary", "features"):
        wave = noisy.clone().requires_grad_()
        before = terms(wave)[name]
        (gradient,) = torch.autograd.grad(before, wave)
        step = 1e-4 * before * gradient / gradient.square().sum()  # less by a ten thousandth, were it straight
        assert terms(noisy - step.detach())[name] < before
    assert terms(clean)["features"] == 0
