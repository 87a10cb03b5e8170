"""The command `generate-image`, in a subprocess where it ends in files, and its wrong usage in this process."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from seqgan.image import LabelToImage, TextToImage
from seqgan.image.cli import main
from seqgan.image.conditional import ConditionalConfig, Generator

COMMAND = Path(sys.executable).parent / "generate-image"
TINY = {"size": 8, "channels": 3, "latent": 4, "width": 4, "condition": 4}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    configs = {
        "words": ConditionalConfig(words=("red", "heart"), **TINY),
        "digits": ConditionalConfig(classes=10, **TINY),
    }
    return {
        name: str(Generator(config).eval().save(folder / f"{name}.safetensors")) for name, config in configs.items()
    }


def run(folder, *arguments):
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, timeout=120, cwd=folder)


def test_a_caption(models, tmp_path):
    found = run(tmp_path, "Red heart", "--count", "3", "--seed", "1", "--scale", "2", "--model", models["words"])
    assert (found.returncode, found.stdout, found.stderr) == (0, "red-heart.png\n", "")
    picture = Image.open(tmp_path / "red-heart.png")
    assert picture.size == (2 * 22, 2 * 22), "three of 8 x 8 in two rows of two, 2 between"
    before = (tmp_path / "red-heart.png").read_bytes()
    again = run(tmp_path, "Red heart", "--count", "3", "--seed", "1", "--scale", "2", "--model", models["words"])
    assert again.returncode == 2 and "exists" in again.stderr
    for seed, same in (("1", True), ("2", False)):
        options = ["--count", "3", "--seed", seed, "--scale", "2", "--model", models["words"], "--overwrite"]
        assert run(tmp_path, "red heart", *options).returncode == 0
        assert ((tmp_path / "red-heart.png").read_bytes() == before) == same


def test_words_that_it_never_saw(models, tmp_path):
    found = run(tmp_path, "a red unicorn", "--seed", "1", "-o", "x.png", "--model", models["words"])
    assert found.returncode == 0 and found.stdout == "x.png\n" and (tmp_path / "x.png").exists()
    assert found.stderr == "generate-image: unknown to the model, and left out: a, unicorn\n"


def test_digits(models, tmp_path):
    found = run(tmp_path, "--digits", "0-9", "--count", "2", "--seed", "1", "--scale", "1", "--model", models["digits"])
    assert found.returncode == 0 and found.stdout == "0123456789.png\n", found.stderr
    assert Image.open(tmp_path / "0123456789.png").size == (10 * 10 + 2, 2 * 10 + 2)
    assert run(tmp_path, "--digits", "2026", "--model", models["digits"]).returncode == 0
    assert (tmp_path / "2026.png").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "say what to draw"),
        (["heart", "--digits", "1"], "say what to draw"),
        ([""], "a caption has words"),
        (["  ?!"], "a caption has words"),
        (["heart", "--count", "0"], "--count 0: from 1 to 100000"),
        (["heart", "--seed", "-1"], "--seed -1: from 0"),
        (["heart", "--scale", "0"], "--scale 0: from 1"),
        (["heart", "-o", "heart.jpg"], "ends in .png"),
        (["heart", "-o", "nowhere/heart.png"], "no folder nowhere"),
        (["--digits", "0-9", "--count", "10001"], "100000 in all"),
        (["--digits", "9-1"], "neither a range such as 0-9"),
        (["--digits", "one"], "neither a range such as 0-9"),
    ],
)
def test_wrong_usage(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    told = capsys.readouterr()
    assert ended.value.code == 2 and told.out == "" and message in told.err and told.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind, message", [("nothing", "no model"), ("broken", "not a valid"), ("digits", "labels")])
def test_models_that_cannot_draw_it(kind, message, models, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = Path(models["digits"]) if kind == "digits" else tmp_path / "model.safetensors"
    if kind == "broken":
        path.write_bytes(b"no model")
    assert main(["heart", "-o", "heart.png", "--model", str(path)]) == 1
    told = capsys.readouterr()
    assert told.out == "" and message in told.err and told.err.count("\n") == 1
    assert not (tmp_path / "heart.png").exists()


def test_the_digits_of_the_package_are_read_as_such_and_differ(tmp_path):
    model = LabelToImage.from_pretrained()
    asked = [label for label in range(10) for _ in range(20)]
    pictures = model(asked, seed=1).float()
    means = torch.stack([part.mean(0) for part in pictures.split(20)])
    nearest = torch.cdist(pictures.flatten(1), means.flatten(1)).argmin(1)
    assert (nearest == torch.tensor(asked)).float().mean() > 0.9, "kinds that can be told apart"
    within = torch.stack([part.std(0).mean() for part in pictures.split(20)])
    assert within.min() > 15, "of 255: no digit is always the same picture"
    found = run(tmp_path, "--digits", "0-9", "--count", "2", "--seed", "1")
    assert found.returncode == 0 and (tmp_path / "0123456789.png").exists(), found.stderr


def test_the_captions_of_the_package_are_drawn_as_they_say_and_differ(tmp_path):
    model, ink = TextToImage.from_pretrained(), {}
    for caption in ("red heart", "grinning face", "person: dark skin tone", "person: light skin tone"):
        pictures = model(caption, count=8, seed=1).float()
        assert pictures.shape == (8, 3, 64, 64) and pictures[:, :, :3, :3].mean() > 230, "on white"
        assert pictures.std(0).mean() > 4, "of 255: not eight times the same picture"
        ink[caption] = pictures.movedim(1, 0)[:, pictures.amin(1) < 200].mean(1).tolist()
    red, green, blue = ink["red heart"]
    assert red > 1.7 * green and red > 1.7 * blue
    red, green, blue = ink["grinning face"]
    assert min(red, green) > 1.7 * blue, "yellow"
    assert sum(ink["person: dark skin tone"]) < 0.85 * sum(ink["person: light skin tone"])
    found = run(tmp_path, "red heart", "--count", "2", "--seed", "1")
    assert found.returncode == 0 and not found.stderr and (tmp_path / "red-heart.png").exists()


def test_library(models):
    digits, words = LabelToImage.from_pretrained(models["digits"]), TextToImage.from_pretrained(models["words"])
    pictures = digits([7, 7, 1], seed=3)
    assert pictures.shape == (3, 3, 8, 8) and pictures.dtype == torch.uint8
    assert torch.equal(pictures, digits([7, 7, 1], seed=3)) and not torch.equal(pictures[0], pictures[1])
    for wrong in ([], [10], [-1]):
        with pytest.raises(ValueError, match="from 0 to 9"):
            digits(wrong)
    with pytest.raises(ValueError, match="draws captions"):
        LabelToImage(words.generator)


def test_help_answers_at_once():
    def seconds() -> float:
        begin = time.perf_counter()
        assert "red heart" in subprocess.run([COMMAND, "--help"], capture_output=True, text=True).stdout
        return time.perf_counter() - begin

    assert min(seconds() for _ in range(5)) < 0.4
