"""Recall of categories in what a text-to-image model draws."""

import pytest
import torch

from seqgan.image.conditional import ConditionalConfig, Generator, TextToImage
from seqgan.image.data import Captions, Images

from .processes import run_recipe
from .test_image_recipes import PLACES, write_captions


@pytest.fixture
def recipe(script):
    return script("evaluate_captions")


def test_an_untrained_model_beside_real_pictures(tmp_path):
    options = write_captions(tmp_path)[:4]
    config = ConditionalConfig(size=8, channels=3, width=8, words=("top", "bottom", "left", "right"))
    torch.manual_seed(0)
    TextToImage(Generator(config)).save_pretrained(tmp_path / "model")
    options += ["--model", str(tmp_path / "model"), "--run", str(tmp_path / "run"), "--threads", "1", "--draws", "4"]
    found = run_recipe("evaluate_captions.py", *options, "--classifier-steps", "80")
    assert found.returncode == 0, found.stderr
    tables = [[row.split(" | ") for row in table.splitlines()] for table in found.stdout.strip().split("\n\n")]
    assert [table[0][0] for table in tables] == ["| test", "| train"]
    for table in tables:
        assert [row[0][2:] for row in table[2:]] == [*sorted(PLACES), "average (chance 0.250)"]
        assert [row[1] for row in table[2:]] == ["1"] * 4 + ["4"]
        drawn, real = float(table[-1][2].split()[0]), float(table[-1][3])
        assert drawn <= 0.5 and real == 1
    again = run_recipe("evaluate_captions.py", *options, "--classifier-steps", "40")
    assert again.returncode == 1 and "classifier_steps was 80, not 40" in again.stderr


def test_captions_that_nobody_is_asked_for(tmp_path):
    options = write_captions(tmp_path, split=lambda i, label: "train")[:4]
    found = run_recipe("evaluate_captions.py", *options, "--run", str(tmp_path / "run"))
    assert found.returncode == 1 and "the splits test and train have captions" in found.stderr
    assert not (tmp_path / "run").exists()


def test_one_picture_of_each_caption(recipe):
    texts = [("a", "x", "test"), ("a", "x", "test"), ("b", "x", "test"), ("c", "y", "test"), ("d", "x", "train")]
    captions = tuple(Captions((text,), split, category) for text, category, split in texts)
    images = Images(torch.zeros(5, 1, 8, 8), captions=captions)
    for most, expected in ((5, "abc"), (1, "ac")):
        assert "".join(own.texts[0] for own in recipe.some_of_each(images, "test", most).captions) == expected


def test_an_interval_of_an_average(recipe):
    """Of one category with n captions, of which half are right, it is that of a binomial distribution."""
    low, high = recipe.interval([torch.tensor([1.0, 0.0] * 50)[None]])
    assert low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.015) and high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.015)
    low, high = recipe.interval([torch.ones(3, 10), torch.zeros(3, 1)])
    assert low == high == 0.5
