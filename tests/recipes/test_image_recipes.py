"""The recipes of InfoGAN and conditional GANs in a subprocess: digits, and captions of tiny pictures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from seqgan.image.conditional import Generator, TextToImage
from seqgan.image.data import read_images, write_png

from ..image.test_infogan import quarters

ROOT = Path(__file__).parents[2]
SMALL = ["--preset", "reduced", "--size", "8", "--width", "8", "--batch", "32", "--threads", "1"]


def run(name: str, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "recipes" / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def scores(folder: Path) -> dict[str, float]:
    return json.loads((folder / "scores.json").read_text())


def test_infogan(tmp_path):
    options = ["--data", "digits", *SMALL, "--classifier-steps", "60", "--run", str(tmp_path), "--steps"]
    first = run("infogan.py", *options, "10")
    assert first.returncode == 0, first.stderr
    again = run("infogan.py", *options, "20")
    assert again.returncode == 0 and "goes on at step 10" in again.stderr, again.stderr
    assert 0.1 <= scores(tmp_path)["agreement"] <= 1
    names = read_images(tmp_path / "samples", 8).names
    assert set(names) == {
        f"{kind}.step{n:06}.png" for kind in ("categories", "code1", "code2", "noise") for n in (10, 20)
    }
    assert (tmp_path / "curves.png").exists()


@pytest.mark.parametrize("judge", ["projection", "auxiliary"])
def test_digits_on_demand(judge, tmp_path):
    options = ["--data", "digits", *SMALL, "--judge", judge, "--classifier-steps", "100", "--run", str(tmp_path)]
    options += ["--learning-rate", "1e-3", "--steps", "250", "--sample-every", "250", "--ema", "0.9"]
    found = run("conditional.py", *options)
    assert found.returncode == 0, found.stderr
    assert scores(tmp_path)["obeyed"] > 0.3, "by chance 0.1"
    assert Generator.load(tmp_path / "generator.safetensors").config.classes == 10


def test_captions(tmp_path):
    places = ("top left", "top right", "bottom left", "bottom right")
    images, rows = quarters(64), ["file\tcaption\tcategory\tsplit"]
    for i, (pixels, label) in enumerate(zip(images.pixels, images.labels.tolist(), strict=True)):
        write_png(tmp_path / "pictures" / f"{i}.png", pixels)
        rows.append(f"{i}.png\t{places[label]}\t{places[label]}\t{'test' if i % 16 < 4 else 'train'}")
    (tmp_path / "captions.tsv").write_text("\n".join(rows) + "\n")
    options = ["--data", str(tmp_path / "pictures"), "--captions", str(tmp_path / "captions.tsv"), *SMALL]
    options += ["--classifier-steps", "60", "--run", str(tmp_path / "run"), "--ema", "0.9"]
    found = run("conditional.py", *options, "--steps", "200", "--sample-every", "100")
    assert found.returncode == 0, found.stderr
    result = scores(tmp_path / "run")
    assert result["chance"] == 0.25 and result["recall"] > 0.6
    model = TextToImage.from_pretrained(tmp_path / "run" / "generator.safetensors")
    assert set(model.generator.config.words) == {"top", "bottom", "left", "right"}


def test_what_has_no_labels(tmp_path):
    write_png(tmp_path / "one.png", quarters(1).pixels[0])
    for name, message in (("infogan.py", "no labels"), ("conditional.py", "take --captions")):
        found = run(name, "--data", str(tmp_path), "--run", str(tmp_path / "run"))
        assert found.returncode == 1 and message in found.stderr and len(found.stderr.splitlines()) == 1, found.stderr
