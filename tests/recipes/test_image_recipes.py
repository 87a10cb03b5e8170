"""The recipes of InfoGAN and conditional GANs in a subprocess: digits, and captions of tiny pictures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from seqgan.image import InfoGAN
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
    assert InfoGAN.from_pretrained(tmp_path)([0, 9], seed=1).shape == (2, 1, 8, 8)


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
    options += ["--classifier-steps", "60", "--run", str(tmp_path / "run"), "--ema", "0.9", "--variety", "1"]
    found = run("conditional.py", *options, "--steps", "200", "--sample-every", "100")
    assert found.returncode == 0, found.stderr
    result = scores(tmp_path / "run")
    assert result["chance"] == 0.25 and 0.6 < result["recall"] <= 1 and result["recall of real ones"] > 0.9
    model = TextToImage.from_pretrained(tmp_path / "run" / "generator.safetensors")
    assert set(model.generator.config.words) == {"top", "bottom", "left", "right"}
    assert (tmp_path / "run" / "captions.png").stat().st_size > 3000
    rows = [row.rsplit("\t", 1)[0] for row in rows]
    (tmp_path / "captions.tsv").write_text("\n".join(rows) + "\n")
    found = run("conditional.py", *options, "--steps", "1", "--run", str(tmp_path / "unsplit"))
    assert "7 of 64 are held out" in found.stdout, found.stderr
    rare = run("conditional.py", *options, "--least", "100", "--run", str(tmp_path / "rare"))
    assert rare.returncode == 1 and "no word comes 100 times" in rare.stderr and not (tmp_path / "rare").exists()


def test_what_has_no_labels(tmp_path):
    write_png(tmp_path / "one.png", quarters(1).pixels[0])
    for name, message in (("infogan.py", "no labels"), ("conditional.py", "take --captions")):
        found = run(name, "--data", str(tmp_path), "--run", str(tmp_path / "run"))
        assert found.returncode == 1 and message in found.stderr and len(found.stderr.splitlines()) == 1, found.stderr


@pytest.mark.parametrize("system", ["began", "ebgan", "sampler"])
def test_energies(system, tmp_path):
    options = ["--data", "digits", *SMALL, "--system", system, "--classifier-steps", "30", "--climb", "5"]
    options += ["--learning-rate", "1e-3", "--run", str(tmp_path), "--sample-every", "20", "--steps"]
    found = run("energies.py", *options, "80")
    assert found.returncode == 0, found.stderr
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    first = next(line for line in lines if "validation/frechet" in line)
    result = scores(tmp_path)
    assert result["energy of real"] < min(first["validation/energy of real"], result["energy of noise"])
    assert result["frechet"] < first["validation/frechet"]
    assert {path.name for path in (tmp_path / "samples").iterdir()} == {f"step0000{n}0.png" for n in (2, 4, 6, 8)}
    if system == "began":  # its k is a part of the run
        finished = run("energies.py", *options, "80")
        assert finished.returncode == 0 and scores(tmp_path) == pytest.approx(result)


def test_stacked_digits(tmp_path):
    options = ["--data", "digits", "--size", "8", "--width", "16", "--steps", "40", "--samples", "2000"]
    options += ["--batch", "16", "--classifier-steps", "300", "--threads", "1", "--weaker", "2"]
    for name, more in {"packed": ["--pack", "2"], "ensemble": ["--members", "2"]}.items():
        found = run("stacked_digits.py", *options, "--system", name, *more, "--run", str(tmp_path / name))
        assert found.returncode == 0, found.stderr
        result = scores(tmp_path / name)
        assert result["classifier"] > 0.8 and result["real"]["captured"] > 700, "2,000 draws of 1,000 modes show 865"
        assert 1 <= result["generated"]["captured"] < result["real"]["captured"]
        assert len(list((tmp_path / name).rglob("curves.png"))) == (2 if name == "ensemble" else 1)
    assert {path.name for path in (tmp_path / "ensemble").glob("generator*")} == {"generator0", "generator1"}
    table = run(
        "stacked_digits.py", "--table", str(tmp_path / "packed"), str(tmp_path / "ensemble"), "--run", str(tmp_path)
    )
    assert table.returncode == 0 and "| packed by 2 | 2 | digits | 40 | 1 |" in table.stdout
    assert "| ensemble of 2 |" in (tmp_path / "table.md").read_text()


def test_robustness(tmp_path):
    options = [
        "--data",
        "digits",
        "--preset",
        "reduced",
        "--size",
        "8",
        "--width",
        "8",
        "--batch",
        "32",
        "--steps",
        "4",
    ]
    options += ["--seeds", "1", "--layers", "6"]
    options += ["--classifier-steps", "20", "--run", str(tmp_path), "--methods", "gan", "wgan-gp"]
    first = run("robustness.py", *options, "--networks", "deep")
    assert first.returncode == 0 and "wgan-gp.deep.0" in first.stdout, first.stderr
    again = run("robustness.py", *options, "--networks", "deep", "constant")
    assert again.returncode == 0 and "wgan-gp.constant.0" in again.stdout, again.stderr
    assert "wgan-gp.deep.0" not in again.stdout, "what is finished is not done again"
    rows = (tmp_path / "robustness.md").read_text().splitlines()
    assert rows[0] == "| networks | gan | wgan-gp |" and len(rows) == 4
    for row in rows[2:]:
        assert all(float(cell) > 0 for cell in row.split("|")[2:-1])
    assert (tmp_path / "robustness.png").stat().st_size > 1000
    other = run("robustness.py", *options, "--networks", "deep", "--steps", "5")
    assert other.returncode == 1 and "steps was 4, not 5" in other.stderr
    wrong = run("robustness.py", "--data", "digits", "--networks", "deeep", "--run", str(tmp_path / "x"))
    assert wrong.returncode == 1 and "there are dcgan, no-norm" in wrong.stderr and not (tmp_path / "x").exists()
