"""Who judges the enhancer: one that learns what metrics say, whose scores come in order, and some that hear waves."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from seqgan.speech.discriminators import WaveDiscriminator
from seqgan.speech.enhancement import (
    METRICS,
    LossWeights,
    MetricAdversary,
    ScoreQueue,
    WaveAdversary,
    normalised_pesq,
)
from seqgan.speech.metrics import dnsmos

from .mixture_helpers import NOISY, mixtures


def first_sample(clean, enhanced):
    return float("nan") if clean[0] < 0 else float(enhanced[0] - clean[0])


def largest(clean, enhanced):
    return float(enhanced.max())


def test_scores_come_back_in_order_after_the_delay_and_survive_a_resume(monkeypatch):
    monkeypatch.setattr(
        "seqgan.speech.enhancement.ProcessPoolExecutor", lambda workers, *_: ThreadPoolExecutor(workers)
    )
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


def test_the_enhanced_wave_is_judged_against_the_clean_one():
    class Says(torch.nn.Module):
        def forward(self, clean, enhanced):
            return clean[:, :1] + 0.1 * enhanced[:, :1]

    adversary, turn = MetricAdversary(Says()), SimpleNamespace(share={})
    terms = adversary.teach(turn, torch.full((2, 5), 0.5), torch.full((2, 5), 2.0), LossWeights(adversary=1.0))
    assert terms["adversary"].item() == pytest.approx((1 - 0.7) ** 2)


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


def test_pesq_is_brought_to_the_unit_interval(monkeypatch):
    monkeypatch.setattr("seqgan.speech.metrics.pesq", lambda clean, enhanced, rate: enhanced[0])
    assert [normalised_pesq(None, np.array([score])) for score in (1.0, 4.644)] == [0, 1]


def test_the_opinion_is_that_of_the_repeated_wave(speechlike):
    pytest.importorskip("speechmos.dnsmos")
    clean, noisy = speechlike
    score = METRICS["dnsmos"].score
    repeated = np.concatenate([noisy] * 5)[:144_160]
    assert score(clean, noisy) == pytest.approx((dnsmos(repeated, 16_000)["ovrl"] - 1) / 4)
    assert 0 <= score(noisy, noisy) < score(noisy, clean) <= 1


class Hears(torch.nn.Module):
    """A judge whose only feature is the wave."""

    def forward(self, wave):
        return [[wave[:, None], wave[:, None]]]


def test_judges_of_waves_are_shown_one_piece_of_both_at_any_place():
    adversary, wave, begins = WaveAdversary(Hears(), crop=10), torch.arange(100.0).repeat(2, 1), set()
    for seed in range(20):
        turn = SimpleNamespace(share={}, generator=torch.Generator().manual_seed(seed))
        assert adversary.teach(turn, wave, wave, LossWeights())["features"] == 0
        assert turn.share["pair"][1].shape == (2, 10)
        begins.add(turn.share["pair"][1][0, 0].item())
    assert len(begins) > 10


def test_the_game_of_waves_is_least_squares_averaged_over_the_judges():
    class Says(torch.nn.Module):
        def forward(self, wave):  # two judges, who say 1 and 2 of clean speech
            return [[0 * wave[:, None], factor * wave[:, :1]] for factor in (1, 2)]

    adversary, turn = WaveAdversary(Says()), SimpleNamespace(share={}, log=lambda *_: None)
    clean, made = torch.ones(3, 10), torch.full((3, 10), 0.25)
    terms = adversary.teach(turn, clean, made, LossWeights(adversary=0.1))
    assert terms["adversary"].item() == pytest.approx(0.1 * (0.75**2 + 0.5**2) / 2 / 2)
    expected = ((0 + 0.25**2) / 2 + (1 + 0.5**2) / 2) / 2
    assert adversary.learn(turn)["adversary"].item() == pytest.approx(expected)


def test_judges_of_waves_tell_and_a_wave_is_moved_their_way(recordings):
    torch.manual_seed(0)
    data = mixtures(recordings, NOISY)
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
