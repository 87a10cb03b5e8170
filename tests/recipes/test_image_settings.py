"""Settings of the image recipes that cannot be: told before anything is written, since a folder in which a training was
begun takes no others; and pictures of several runs."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

from seqgan.figures import save_figure
from seqgan.image.data import Images, write_png

from ..image.test_gan import halves

RECIPES = Path(__file__).parents[2] / "recipes"
WRONG = [
    ("gan", {"wrong": 0.7}, "from 0 to 0.5, not 0.7"),
    ("gan", {"size": 0}, "--size counts from 1"),
    ("gan", {"steps": 0}, "--steps counts from 1"),
    ("gan", {"batch": 0}, "--batch counts from 1"),
    ("gan", {"width": 0}, "out of range"),
    ("gan", {"method": "lsgan", "smoothing": 0.1}, "--smoothing is of gan, dragan, gan-r1, not of lsgan"),
    ("gan", {"smoothing": 1.0}, "smoothed by 0 or more and less than 1"),
    ("gan", {"seed": -1}, "--seed is 0 or more, not -1"),
    ("gan", {"method": "wgan-gp", "norm": "batch"}, "--norm batch does not go with wgan-gp"),
    ("gan", {"method": "sn-gan", "norm": "layer"}, "--norm layer does not go with sn-gan"),
    ("mixtures", {"batch": 1}, "--batch is 2 or more, or --pack is"),
    ("gan", {"noise": -1.0}, "--noise is 0 or more"),
    ("energies", {"system": "sampler", "climb": 0}, "--climb is 1 or more"),
    ("infogan", {"batch": 1}, "--batch is 2 or more"),
    ("mixtures", {"objective": "sn-gan"}, "sn-gan needs"),
    ("mixtures", {"objective": "loss-sensitive"}, "loss-sensitive needs"),
    ("energies", {"size": 20}, "power of 2"),
    ("energies", {"steps": 0}, "--steps counts from 1"),
    ("energies", {"system": "ebgan", "learning_rate": -1.0}, "learning rate"),
    ("energies", {"system": "sampler", "pool": 8}, "--pool has the pictures of a batch at least, 32, not 8"),
    ("infogan", {"size": 20, "continuous": -1}, "one category"),
    ("infogan", {"steps": 0}, "--steps counts from 1"),
    ("infogan", {"discriminator_rate": -1.0}, "learning rate"),
    ("stacked_digits", {"pack": 0}, "--pack counts from 1"),
    ("stacked_digits", {"weaker": 0}, "--weaker counts from 1"),
    ("stacked_digits", {"samples": 0}, "--samples counts from 1"),
    ("stacked_digits", {"members": 0}, "--members counts from 1"),
    ("stacked_digits", {"size": 20}, "power of 2"),
    ("stacked_digits", {"system": "packed", "pack": 30}, "out of range"),
    ("mixtures", {"steps": 0}, "--steps counts from 1"),
    ("robustness", {"seeds": 0}, "--seeds counts from 1"),
    ("robustness", {"layers": 4}, "an even number of layers, 8 or more, not 4"),
    ("robustness", {"size": 20}, "power of 2"),
]


@pytest.fixture
def recipe(monkeypatch):
    """Recipes as their own scripts import them."""
    monkeypatch.syspath_prepend(RECIPES)
    before = set(sys.modules)
    yield importlib.import_module
    for name in {path.stem for path in RECIPES.glob("*.py")} & (set(sys.modules) - before):
        del sys.modules[name]


@pytest.mark.parametrize(("name", "options", "message"), WRONG)
def test_what_cannot_be_writes_nothing(name, options, message, recipe, tmp_path):
    module = recipe(name)
    data = {} if name == "mixtures" else {"data": "digits"}
    with pytest.raises(ValueError, match=message):
        module.main(module.Settings(run=tmp_path / "run", preset="reduced", threads=1, **data, **options))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["gan", "energies", "infogan", "conditional", "stacked_digits"])
def test_data_that_nothing_can_be_judged_by(name, recipe, tmp_path, monkeypatch):
    module = recipe(name)
    images = Images(torch.zeros(9, 1, 8, 8, dtype=torch.uint8), torch.zeros(9, dtype=torch.int64))
    monkeypatch.setattr(module, "open_images", lambda *_, **__: images)
    with pytest.raises(ValueError, match="are judged by, not 9 of 1"):
        module.main(module.Settings("digits", tmp_path / "run", preset="reduced", size=8, threads=1))
    assert not (tmp_path / "run").exists()


def test_a_grid_of_no_data_writes_nothing(recipe, tmp_path):
    module = recipe("robustness")
    with pytest.raises(ValueError, match="nowhere"):
        module.main(module.Settings("nowhere", tmp_path / "run", preset="reduced", threads=1))
    assert not (tmp_path / "run").exists()


def test_a_grid_at_the_preset_s_sizes(recipe, tmp_path, monkeypatch):
    module, seen = recipe("robustness"), []
    monkeypatch.setattr(module.gan, "main", seen.append)
    monkeypatch.setattr(module, "summarise", lambda settings, seeds: (settings.run / "robustness.md").touch())
    module.main(module.Settings("digits", tmp_path, preset="reduced", methods=("lsgan",), networks=("dcgan", "deep")))
    assert [(cell.size, cell.layers) for cell in seen] == [(32, None), (32, 34)] * 2


@pytest.mark.parametrize("name", ["mixtures", "stacked_digits"])
def test_a_table_of_other_runs(name, recipe, tmp_path):
    module = recipe(name)
    for file in ("config.json", "scores.json"):
        (tmp_path / file).write_text("{}")
    with pytest.raises(ValueError, match="holds a run of another recipe"):
        module.main(module.Settings(table=(tmp_path,), run=tmp_path / "run"))


def test_a_balance_of_0_is_not_the_preset_s(recipe):
    energies = recipe("energies")
    settings = energies.with_preset(energies.Settings("digits", width=8, balance=0.0), energies.PRESETS["reduced"])
    assert energies.build(settings, 1, 8).state["k"].rate == 0


def test_real_labels_are_smoothed(recipe):
    gan = recipe("gan")
    for method in ("gan", "dragan", "gan-r1"):
        found = gan.smoothed(gan.Settings(method=method, smoothing=0.1))
        assert found.objective.smoothing == 0.1 and found.penalty == gan.METHODS[method].penalty
    assert gan.smoothed(gan.Settings(method="lsgan")) is gan.METHODS["lsgan"]


@pytest.mark.parametrize("count", [1, 2, 8])
def test_every_run_that_is_compared_has_its_picture(count, recipe, tmp_path, monkeypatch):
    gan, figures, runs = recipe("gan"), [], {}
    monkeypatch.setattr(gan, "save_figure", lambda figure, path: figures.append(figure) or save_figure(figure, path))
    for i in range(count):
        folder = runs[f"run {i}"] = tmp_path / f"run{i}"
        write_png(folder / "samples" / "step000001.png", halves(1).pixels[0])
        (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "discriminator/game": 1.0}) + "\n")
    gan.draw(tmp_path / "comparison.png", runs)
    titles = [axis.get_title() for axis in figures[0].axes if axis.get_images()]
    assert titles == (list(runs) if count > 1 else [])
    assert (tmp_path / "comparison.png").stat().st_size > 1000
