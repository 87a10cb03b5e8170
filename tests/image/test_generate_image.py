"""The command `generate-image`: as it was installed, with its own models, and in this process, with tiny ones."""

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


def test_a_caption(models, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--count", "3", "--scale", "2", "--model", models["words"], "--seed"]
    assert main(["Red heart", *options, "1"]) == 0
    assert capsys.readouterr() == ("red-heart.png\n", "")
    assert Image.open("red-heart.png").size == (2 * 22, 2 * 22), "three of 8 x 8 in two rows of two, 2 between"
    before = Path("red-heart.png").read_bytes()
    with pytest.raises(SystemExit) as ended:
        main(["Red heart", *options, "1"])
    assert ended.value.code == 2 and "exists" in capsys.readouterr().err
    for seed, same in (("1", True), ("2", False)):
        assert main(["red heart", *options, seed, "--overwrite"]) == 0
        assert (Path("red-heart.png").read_bytes() == before) == same


def test_words_that_it_never_saw(models, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["a red unicorn", "--seed", "1", "-o", "x.png", "--model", models["words"]]) == 0
    assert capsys.readouterr() == ("x.png\n", "generate-image: unknown to the model, and left out: a, unicorn\n")
    assert Path("x.png").exists()


def test_a_long_caption_makes_a_short_name_and_small_pictures_are_enlarged(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["red " * 30, "--model", models["words"]]) == 0
    (picture,) = tmp_path.glob("*.png")
    assert len(picture.name) == 60 + len(".png") and Image.open(picture).size == (16 * 12, 16 * 12)


def test_digits(models, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["--digits", "0-9", "--count", "2", "--seed", "1", "--scale", "1", "--model", models["digits"]]) == 0
    assert capsys.readouterr().out == "0123456789.png\n"
    assert Image.open("0123456789.png").size == (10 * 10 + 2, 2 * 10 + 2)
    assert main(["--digits", "2026", "--model", models["digits"]]) == 0
    assert Path("2026.png").exists()


def test_each_digit_has_a_column(models, tmp_path, monkeypatch):
    asked, drawn = [], torch.zeros(6, 1, 8, 8, dtype=torch.uint8)
    monkeypatch.setattr(LabelToImage, "__call__", lambda self, labels, seed: asked.append((labels, seed)) or drawn)
    output = str(tmp_path / "d.png")
    assert main(["--digits", "0-2", "--count", "2", "--seed", "7", "-o", output, "--model", models["digits"]]) == 0
    assert asked == [([0, 1, 2, 0, 1, 2], 7)]


def test_wrong_usage_of_the_installed_command(tmp_path):
    found = run(tmp_path, "heart", "-o", "heart.jpg")
    assert (found.returncode, found.stdout) == (2, "") and found.stderr.startswith("generate-image: heart.jpg: ")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "say what to draw"),
        (["heart", "--digits", "1"], "generate-image: "),
        ([""], "a caption has words"),
        (["  ?!"], "a caption has words"),
        (["heart", "--count", "0"], "--count 0: from 1 to 100000"),
        (["heart", "--seed", "-1"], "--seed -1: from 0"),
        (["heart", "--scale", "0"], "--scale 0: from 1"),
        (["heart", "--scale", "65"], "--scale 65: from 1"),
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
