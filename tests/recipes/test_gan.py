"""The recipe of GANs on pictures in a subprocess, from digits to a model, its scores and pictures."""

import json
import subprocess

from seqgan.image.data import read_images
from seqgan.image.gan import GAN

from .processes import run_recipe


def run(*arguments: str) -> subprocess.CompletedProcess:
    return run_recipe("gan.py", *arguments, "--threads", "1")


def test_digits(tmp_path):
    options = ["--data", "digits", "--preset", "reduced", "--size", "8", "--width", "16", "--batch", "32"]
    options += ["--classifier-steps", "40", "--sample-every", "50", "--run", str(tmp_path / "run"), "--steps"]
    first = run(*options, "10")
    assert first.returncode == 0, first.stderr
    early = json.loads((tmp_path / "run" / "scores.json").read_text())["frechet"]
    again = run(*options, "150")
    assert again.returncode == 0 and "goes on at step 10" in again.stderr, again.stderr
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert scores["frechet"] < 0.8 * early and set(scores) >= {"kernel", "precision", "recall", "coverage", "kl"}
    assert 1 < scores["modes"] <= 10
    assert scores["frechet"] > 0
    assert read_images(tmp_path / "run" / "samples", 64).names == tuple(
        f"step000{n:03}.png" for n in (10, 50, 100, 150)
    )
    assert GAN.from_pretrained(tmp_path / "run" / "generator.safetensors")(3, seed=0).shape == (3, 1, 8, 8)
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")

    drawn = run("--compare", str(tmp_path / "run"), str(tmp_path / "none"), "--run", str(tmp_path))
    assert drawn.returncode == 1 and "none holds no training" in drawn.stderr
    drawn = run("--compare", str(tmp_path / "run"), str(tmp_path / "run"), "--run", str(tmp_path))
    assert drawn.returncode == 0 and (tmp_path / "comparison.png").exists(), drawn.stderr


def test_what_cannot_be_trained(tmp_path):
    for arguments, message in (
        ([], "--data is needed"),
        (["--data", "digits", "--method", "gann"], "no method 'gann'"),
        (["--data", str(tmp_path)], "no pictures"),
        (["--data", "digits", "--size", "20"], "power of 2"),
    ):
        found = run(*arguments, "--run", str(tmp_path / "run"))
        assert found.returncode == 1 and message in found.stderr and len(found.stderr.splitlines()) == 1, found.stderr
