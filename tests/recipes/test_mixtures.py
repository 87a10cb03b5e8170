"""The recipe of mixtures of Gaussians in a subprocess, and that its batched networks are as many single ones."""

import importlib
import json
import subprocess

import pytest
import torch

from seqgan.recipe import with_preset

from .processes import run_recipe

mixtures = importlib.import_module("recipes.mixtures")


def run(*arguments: str) -> subprocess.CompletedProcess:
    return run_recipe("mixtures.py", *arguments, "--threads", "1")


def test_mixtures():
    ring, grid = mixtures.centers("ring"), mixtures.centers("grid")
    assert ring.shape == (8, 2) and torch.allclose(ring.norm(dim=1), torch.ones(8))
    places = (-4, -2, 0, 2, 4)
    assert sorted({tuple(point) for point in grid.tolist()}) == [(x, y) for x in places for y in places]
    points = next(mixtures.Points(mixtures.Settings(mixture="grid", seeds=3, batch=500, pack=2))(0))
    assert points.shape == (3, 1000, 2)
    off = torch.cdist(points.flatten(0, 1), grid).amin(1)
    assert off.square().mean().item() == pytest.approx(2 * 0.05**2, rel=0.1)


def test_presets(tmp_path):
    usual = with_preset(mixtures.Settings(), mixtures.PRESETS["paper"])
    assert (usual.steps, usual.learning_rate, usual.decay) == (40_000, 1e-4, 0.0)
    options = ["--preset", "reduced", "--seeds", "1", "--hidden", "8", "--maxout", "4", "--steps", "3"]
    found = run(*options, "--run", str(tmp_path))
    assert found.returncode == 0, found.stderr
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["steps"], config["learning_rate"], config["decay"]) == (3, 1e-3, 0.5)


def test_seeds_do_not_hear_of_one_another():
    torch.manual_seed(0)
    generator, discriminator = mixtures.Generator(3, 6), mixtures.Discriminator(3, 2, 5)
    z = torch.randn(3, 8, 2)
    other = z.clone()
    other[1] += 1
    changed = (generator(z) != generator(other)).flatten(1).any(1)
    assert changed.tolist() == [False, True, False], "not even by batch normalisation"
    scores = discriminator(generator(z).reshape(3, 4, 4))
    assert scores.shape == (3, 4)
    (grad,) = torch.autograd.grad(scores[1].sum(), discriminator.output.weight)
    assert (grad.abs().sum((1, 2)) > 0).tolist() == [False, True, False]


def test_points_keep_float32_in_mixed_precision():
    """Between 2 and 4 bfloat16 has every 64th part of 1: the modes of the grid, 0.05 wide, would fall into steps."""
    torch.manual_seed(0)
    generator, discriminator = mixtures.Generator(2, 16), mixtures.Discriminator(2, 2, 8)
    with torch.no_grad():
        generator.layers[-1].bias.fill_(3.0)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = generator.layers[3](torch.randn(2, 8, 16))
        points = generator(torch.randn(2, 8, 2))
        first = discriminator.layers[0](points.view(2, 4, 4))
    assert hidden.dtype == torch.bfloat16 and points.dtype == first.dtype == torch.float32
    assert (points != points.bfloat16().float()).any()


def test_a_ring_is_learnt(tmp_path):
    options = ["--seeds", "2", "--hidden", "48", "--maxout", "16", "--learning-rate", "1e-3", "--evaluate-every", "50"]
    options += ["--run", str(tmp_path / "ring"), "--steps"]
    first = run(*options, "50")
    assert first.returncode == 0, first.stderr
    again = run(*options, "400")
    assert again.returncode == 0 and "goes on at step 50" in again.stderr, again.stderr
    scores = json.loads((tmp_path / "ring" / "scores.json").read_text())
    assert len(scores) == 2 and all(0 <= row["captured"] <= 8 for row in scores)
    lines = [json.loads(line) for line in (tmp_path / "ring" / "metrics.jsonl").read_text().splitlines()]
    kl = [line["validation/kl"] for line in lines if "validation/kl" in line]
    assert kl[-1] < kl[0] and (tmp_path / "ring" / "curves.png").exists()
    table = run("--table", str(tmp_path / "ring"), "--run", str(tmp_path))
    assert table.returncode == 0 and "| ring | gan | 1 | 400 |" in (tmp_path / "table.md").read_text()
    empty = run("--batch", "0", "--run", str(tmp_path / "x"))
    assert empty.returncode == 1 and "--batch counts from 1" in empty.stderr and not (tmp_path / "x").exists()
    penalised = run("--objective", "wgan-gp", "--run", str(tmp_path / "x"))
    assert penalised.returncode == 1 and "needs a penalty" in penalised.stderr
    wrong = run("--objective", "gann", "--run", str(tmp_path / "x"))
    assert wrong.returncode == 1 and "no objective 'gann'" in wrong.stderr
