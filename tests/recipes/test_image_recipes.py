"""The recipes of InfoGAN and conditional GANs in a subprocess: digits, and captions of tiny pictures."""

import importlib
import json
from collections import Counter
from pathlib import Path

import pytest
import torch
import tyro

from seqgan.image import InfoGAN
from seqgan.image.conditional import ConditionalConfig, Generator, TextToImage
from seqgan.image.data import Captions, Images, read_images, write_png
from seqgan.record import read_metrics

from ..image.test_infogan import quarters
from .processes import run_recipe

SMALL = ["--preset", "reduced", "--size", "8", "--width", "8", "--batch", "32", "--threads", "1"]


def scores(folder: Path) -> dict[str, float]:
    return json.loads((folder / "scores.json").read_text())


def test_infogan(tmp_path):
    options = ["--data", "digits", *SMALL, "--classifier-steps", "60", "--run", str(tmp_path), "--steps"]
    first = run_recipe("infogan.py", *options, "10")
    assert first.returncode == 0, first.stderr
    again = run_recipe("infogan.py", *options, "20")
    assert again.returncode == 0 and "goes on at step 10" in again.stderr, again.stderr
    recorded = [line for line in read_metrics(tmp_path) if "validation/agreement" in line]
    assert scores(tmp_path)["agreement"] == recorded[-1]["validation/agreement"]
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
    found = run_recipe("conditional.py", *options)
    assert found.returncode == 0, found.stderr
    assert scores(tmp_path)["obeyed"] > 0.3, "by chance 0.1"
    assert Generator.load(tmp_path / "generator.safetensors").config.classes == 10


PLACES = ("top left", "top right", "bottom left", "bottom right")


def split(i: int, label: int) -> str:
    return "test" if i % 16 < 4 else "train"


def write_captions(folder: Path, split=split, category=lambda i, label: PLACES[label]) -> list[str]:
    """64 pictures, what is said of each, and the options that tell of them."""
    images, rows = quarters(64), ["file\tcaption\tcategory\tsplit"]
    for i, (pixels, label) in enumerate(zip(images.pixels, images.labels.tolist(), strict=True)):
        write_png(folder / "pictures" / f"{i}.png", pixels)
        rows.append(f"{i}.png\t{PLACES[label]}\t{category(i, label)}\t{split(i, label)}")
    (folder / "captions.tsv").write_text("\n".join(rows) + "\n")
    return ["--data", str(folder / "pictures"), "--captions", str(folder / "captions.tsv"), *SMALL]


def test_captions(tmp_path):
    options = write_captions(tmp_path)
    rows = (tmp_path / "captions.tsv").read_text().splitlines()
    options += ["--classifier-steps", "60", "--run", str(tmp_path / "run"), "--ema", "0.9", "--variety", "1"]
    found = run_recipe("conditional.py", *options, "--steps", "200", "--sample-every", "100")
    assert found.returncode == 0, found.stderr
    result = scores(tmp_path / "run")
    assert result["chance"] == 0.25 and 0.6 < result["recall"] <= 1 and result["recall of real ones"] > 0.9
    assert set(result["categories"]) == set(PLACES)
    parts = result["categories"].values()
    assert [part["captions"] for part in parts] == [1] * 4, "of several pictures, but the same one"
    assert sum(part["recall"] for part in parts) / 4 == pytest.approx(result["recall"])
    model = TextToImage.from_pretrained(tmp_path / "run" / "generator.safetensors")
    assert set(model.generator.config.words) == {"top", "bottom", "left", "right"}
    assert (tmp_path / "run" / "captions.png").stat().st_size > 3000
    rows = [row.rsplit("\t", 1)[0] for row in rows]
    (tmp_path / "captions.tsv").write_text("\n".join(rows) + "\n")
    found = run_recipe("conditional.py", *options, "--steps", "1", "--run", str(tmp_path / "unsplit"))
    assert "7 of 64 are held out" in found.stdout and scores(tmp_path / "unsplit")["chance"] == 0.25, found.stderr
    rare = run_recipe("conditional.py", *options, "--least", "100", "--run", str(tmp_path / "rare"))
    assert rare.returncode == 1 and "no word comes 100 times" in rare.stderr and not (tmp_path / "rare").exists()


def test_the_split_valid_is_looked_at(tmp_path):
    """It has two of the four categories, by which it is told from the split test; some pictures have none."""
    options = write_captions(
        tmp_path,
        lambda i, label: "valid" if i >= 32 and label < 2 else split(i, label),
        lambda i, label: "" if i in (0, 5, 33) else PLACES[label],
    )
    options += ["--classifier-steps", "10", "--run", str(tmp_path / "run"), "--steps", "2"]
    found = run_recipe("conditional.py", *options)
    assert found.returncode == 0 and "3 of 64 pictures have no category" in found.stdout, found.stderr
    assert scores(tmp_path / "run")["chance"] == 0.25
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["validation/chance"] for line in lines if "validation/chance" in line] == [0.5]


def test_tags_are_words(tmp_path):
    options = write_captions(tmp_path)
    for path in (tmp_path / "pictures").iterdir():
        path.rename(path.with_suffix(".jpg"))
    lines = ["blue hair:12\tred eyes:3", "red hair:7\tblue eyes:1"] * 32
    (tmp_path / "captions.tsv").write_text("\n".join(f"{i},{line}" for i, line in enumerate(lines)))
    found = run_recipe("conditional.py", *options, "--steps", "1", "--run", str(tmp_path / "run"))
    assert found.returncode == 0, found.stderr
    assert scores(tmp_path / "run") == {}, "there are no categories"
    model = TextToImage.from_pretrained(tmp_path / "run")
    assert set(model.generator.config.words) == {"blue hair", "red eyes", "red hair", "blue eyes"}
    assert model.unknown("blue hair, red eyes, hat") == ["hat"]


@pytest.mark.parametrize(
    "settings, message",
    [
        (["--size", "20"], "4 times a power of 2 wide"),
        (["--size", "0"], "8 at least, not 0"),
        (["--judge", "auxiliary"], "of labels, not of words"),
        (["--width", "0"], "sizes out of range"),
        (["--condition", "0"], "0 numbers of a condition"),
        (["--batch", "0"], "--batch counts from 1, not 0"),
        (["--steps", "0"], "--steps counts from 1, not 0"),
        (["--category-balance", "9"], "--category-balance is from 0 to 1, not 9"),
    ],
)
def test_settings_that_cannot_be_leave_no_run(settings, message, tmp_path):
    recipe = importlib.import_module("recipes.conditional")
    options = [*write_captions(tmp_path), *settings, "--run", str(tmp_path / "run")]
    with pytest.raises(ValueError, match=message):
        recipe.main(tyro.cli(recipe.Settings, args=options))
    assert not (tmp_path / "run").exists()


def test_captions_to_show(tmp_path):
    """Each once, though there are four pictures of it."""
    recipe = importlib.import_module("recipes.conditional")
    settings = tyro.cli(recipe.Settings, args=write_captions(tmp_path))
    material = recipe.captioned(settings, ConditionalConfig(size=8, classes=1))
    assert sorted(material.captions) == sorted(PLACES) and len(material.show) == 4
    assert recipe.spread(range(10), 4) == [0, 2, 5, 7]
    assert recipe.spread(range(3), 4) == [0, 1, 2]
    words, tags = ConditionalConfig(words=("red",)), ConditionalConfig(words=("red hair", "hat"), tags=True)
    assert recipe.marked("Red heart, red hat", words) == "Red (heart), red (hat)"
    assert recipe.marked("Red hair, blue hair, hat", tags) == "Red hair, (blue hair), hat"


def test_small_categories_are_shown_more_often(tmp_path):
    recipe = importlib.import_module("recipes.conditional")
    names = ["large"] * 64 + ["small"] * 4 + [""] * 16
    images = Images(torch.zeros(84, 1, 8, 8), captions=tuple(Captions(("a",), category=name) for name in names))
    for balance, expected in ((0, (64, 4, 16)), (0.5, (64, 16, 32)), (1, (64, 64, 64))):
        chosen = recipe.balanced(images, balance)
        assert set(chosen) == set(range(84))
        assert tuple(Counter(names[i] for i in chosen)[name] for name in ("large", "small", "")) == expected
    options = write_captions(tmp_path, category=lambda i, label: "alone" if i == 5 else PLACES[label])
    settings = tyro.cli(recipe.Settings, args=[*options, "--category-balance", "1"])
    material = recipe.captioned(settings, ConditionalConfig(size=8, classes=1))
    shown = Counter(own.category for own in material.data.images.captions)
    assert shown.pop("alone") == max(shown.values()) == 12 and len(shown) == 4 and sum(shown.values()) == 47


def test_what_has_no_labels(tmp_path):
    write_png(tmp_path / "one.png", quarters(1).pixels[0])
    for name, message in (("infogan.py", "no labels"), ("conditional.py", "take --captions")):
        found = run_recipe(name, "--data", str(tmp_path), "--run", str(tmp_path / "run"))
        assert found.returncode == 1 and message in found.stderr and len(found.stderr.splitlines()) == 1, found.stderr


@pytest.mark.parametrize("system", ["began", "ebgan", "sampler"])
def test_energies(system, tmp_path):
    options = ["--data", "digits", *SMALL, "--system", system, "--classifier-steps", "30", "--climb", "5"]
    options += ["--learning-rate", "1e-3", "--run", str(tmp_path), "--sample-every", "20", "--steps"]
    found = run_recipe("energies.py", *options, "80")
    assert found.returncode == 0, found.stderr
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    first = next(line for line in lines if "validation/frechet" in line)
    result = scores(tmp_path)
    assert result["energy of real"] < min(first["validation/energy of real"], result["energy of noise"])
    assert result["frechet"] < first["validation/frechet"]
    assert 1 <= result["modes"] <= 10 and result["kl"] >= 0
    fakes = "discriminator/own" if system == "sampler" else "discriminator/fake"
    assert any("discriminator/real" in line and fakes in line for line in lines)
    assert (tmp_path / "pool.safetensors").exists() == (system == "sampler")
    assert {path.name for path in (tmp_path / "samples").iterdir()} == {f"step0000{n}0.png" for n in (2, 4, 6, 8)}
    if system == "began":  # its k is a part of the run
        finished = run_recipe("energies.py", *options, "80")
        assert finished.returncode == 0 and scores(tmp_path) == pytest.approx(result)


def test_stacked_digits(tmp_path):
    options = ["--data", "digits", "--size", "8", "--width", "16", "--steps", "40", "--samples", "2000"]
    options += ["--batch", "16", "--classifier-steps", "300", "--threads", "1", "--weaker", "2"]
    for name, more in {"packed": ["--pack", "2"], "ensemble": ["--members", "2"]}.items():
        found = run_recipe("stacked_digits.py", *options, "--system", name, *more, "--run", str(tmp_path / name))
        assert found.returncode == 0, found.stderr
        result = scores(tmp_path / name)
        assert result["classifier"] > 0.8 and result["real"]["captured"] > 700, "2,000 draws of 1,000 modes show 865"
        assert 1 <= result["generated"]["captured"] < result["real"]["captured"]
        assert len(set(result["missing"])) >= result["real"]["captured"] - result["generated"]["captured"]
        assert all(len(mode) == 3 and mode.isdigit() for mode in result["missing"])
        assert len(list((tmp_path / name).rglob("curves.png"))) == (2 if name == "ensemble" else 1)
    assert {path.name for path in (tmp_path / "ensemble").glob("generator*")} == {"generator0", "generator1"}
    (tmp_path / "packed" / "scores.json").write_text(
        json.dumps({name: value for name, value in scores(tmp_path / "packed").items() if name != "missing"})
    )  # as earlier runs have it
    table = run_recipe(
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
    first = run_recipe("robustness.py", *options, "--networks", "deep")
    assert first.returncode == 0 and "wgan-gp.deep.0" in first.stdout, first.stderr
    again = run_recipe("robustness.py", *options, "--networks", "deep", "constant")
    assert again.returncode == 0 and "wgan-gp.constant.0" in again.stdout, again.stderr
    assert "wgan-gp.deep.0" not in again.stdout, "what is finished is not done again"
    rows = (tmp_path / "robustness.md").read_text().splitlines()
    assert rows[0] == "| networks | gan | wgan-gp |" and len(rows) == 4
    for row in rows[2:]:
        assert all(float(cell) > 0 for cell in row.split("|")[2:-1])
    assert (tmp_path / "robustness.png").stat().st_size > 1000
    other = run_recipe("robustness.py", *options, "--networks", "deep", "--steps", "5")
    assert other.returncode == 1 and "steps was 4, not 5" in other.stderr
    wrong = run_recipe("robustness.py", "--data", "digits", "--networks", "deeep", "--run", str(tmp_path / "x"))
    assert wrong.returncode == 1 and "there are dcgan, no-norm" in wrong.stderr and not (tmp_path / "x").exists()
