"""Hooks see the averaged weights in evaluation mode, and looking never changes the training."""

import math
import random

import numpy as np
import pytest
import torch

from seqgan.checkpoint import latest

from .toy import Toy, assert_same, metrics


def test_looking_never_changes_the_training(tmp_path):
    calls = []

    def rude(toy):
        def hook(step):
            calls.append(step)
            assert not toy.generator.training and not toy.discriminator[0].training
            assert not torch.is_grad_enabled()
            torch.rand(3), np.random.rand(3), random.random()
            torch.manual_seed(0)
            toy.generator.train()
            toy.generator(torch.randn(8, 4))  # moves the statistics of batch normalisation
            toy.discriminator.train()
            toy.discriminator(torch.randn(8, 2))  # and the vectors of spectral norm
            with torch.enable_grad():
                toy.discriminator(toy.generator(torch.randn(8, 4))).sum().backward()
            return {"score": float(step), "none": math.nan}

        return hook

    looked, alone = Toy(), Toy()
    looked.fit(tmp_path / "looked", 10, every={3: rude(looked), 10: rude(looked)})
    alone.fit(tmp_path / "alone", 10)
    assert calls == [3, 6, 9, 10]
    states = [latest(tmp_path / name / "checkpoints", "adversarial")[1] for name in ("looked", "alone")]
    assert_same(*states)
    assert looked.generator.training and looked.discriminator[0].training
    lines = [line for line in metrics(tmp_path / "looked") if "score" in line]
    assert lines[0] == {"stage": "adversarial", "step": 3, "score": 3.0, "none": None}
    assert [line for line in metrics(tmp_path / "looked") if "score" not in line] == metrics(tmp_path / "alone")


def test_a_player_kept_in_evaluation_mode_in_part_stays_so(tmp_path):
    toy = Toy()
    toy.before_loss = lambda turn: toy.generator[1].eval()
    toy.fit(tmp_path, 2, every={1: lambda step: None})
    assert not toy.generator[1].training and toy.generator[3].training


def test_hooks_see_the_averaged_weights(tmp_path):
    toy, seen = Toy(), []
    weight = toy.generator[0].weight

    def hook(step):
        seen.append((weight.clone(), toy.ema.averages[0].clone()))

    toy.fit(tmp_path, 4, every={2: hook})
    for during, average in seen:
        assert torch.equal(during, average)
    assert len(seen) == 2 and not torch.equal(weight, toy.ema.averages[0])


def test_the_random_state_is_the_same_after_a_hook_even_one_that_fails(tmp_path):
    toy, before = Toy(), []

    def random_states() -> tuple:
        return torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state())

    def hook(step):
        torch.rand(1), random.random(), np.random.rand()
        raise OSError("disk full")

    toy.phases[1].after = lambda: before.append(random_states())  # the last thing in a step
    with pytest.raises(OSError, match="disk full"):
        toy.fit(tmp_path, 4, every={2: hook})
    assert random_states() == before[-1]
    assert toy.generator.training
