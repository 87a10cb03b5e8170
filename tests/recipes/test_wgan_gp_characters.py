"""The recipe: gone on with after a stop, beside its control, and what it makes of files."""

import gzip
import importlib
import json
from dataclasses import replace

import pytest
import torch

from seqgan.checkpoint import load_weights
from seqgan.text.wgan_gp import CharacterGenerator

from .processes import run_recipe

LINES = [f"{a} sees {b}" for a in ("ann", "bob", "a cat", "a dog") for b in ("me", "you", "it", "us", "them")]


@pytest.fixture
def recipe():
    return importlib.import_module("recipes.wgan_gp_characters")


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.txt.gz").write_bytes(gzip.compress("\n".join(LINES[:15] * 2 + ["x" * 17]).encode()))
    (folder / "valid.txt").write_text("\n".join(LINES[15:]))
    return folder


@pytest.fixture
def settings(recipe, data, tmp_path):
    return recipe.Settings(
        data, run=tmp_path / "whole", preset="reduced", width=8, critic_steps=2, steps=4, batch=4, length=16,
        samples=30, evaluate_every=2, threads=1,
    )  # fmt: skip


def evaluations(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = [line for line in lines if "validation/js4" in line]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in found]


def test_a_stopped_run_goes_on_and_stands_beside_its_control(recipe, settings, tmp_path, capsys):
    whole, part, control = tmp_path / "whole", tmp_path / "part", tmp_path / "control"
    recipe.main(settings)
    printed = capsys.readouterr()
    assert f"{settings.data / 'train.txt.gz'}: skipped 1 line longer than 16" in printed.err
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in printed.out.splitlines()[2:]}
    assert rows.keys() == {"real", "trigram", f"{whole}, 4 iterations"}

    recipe.main(replace(settings, run=part, steps=3))
    assert [line["step"] for line in evaluations(part)] == [2, 3], "the last step is always measured"
    recipe.main(replace(settings, run=part))
    left, right = (load_weights(run / "generator.safetensors") for run in (part, whole))  # files order metadata freely
    assert left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
    assert evaluations(part)[-1] == evaluations(whole)[-1]
    assert (part / "samples" / "step000004.txt").read_text() == (whole / "samples" / "step000004.txt").read_text()

    recipe.main(replace(settings, run=control, game="classifier", critic_steps=None))
    told = [set(json.loads(line)) for line in (control / "metrics.jsonl").read_text().splitlines()]
    assert not any("critic/penalty" in names for names in told) and any("critic/accuracy" in names for names in told)
    other = load_weights(control / "generator.safetensors")
    assert not all(torch.equal(other[name], right[name]) for name in right)

    capsys.readouterr()
    recipe.main(recipe.Settings(compare=(whole, control), run=tmp_path / "both"))
    compared = capsys.readouterr()
    assert {f"| {run}, 4 iterations " in compared.out for run in (whole, control)} == {True} and not compared.err
    for run in (whole, control, tmp_path / "both"):
        assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")

    config = CharacterGenerator.load(whole / "generator.safetensors").config
    assert set(config.vocabulary) == set("".join(LINES[:15])) and (config.length, config.width) == (16, 8)
    samples = (whole / "samples" / "step000002.txt").read_text().splitlines()
    assert len(samples) == 30 and all(len(line) <= 16 for line in samples)


def test_begins_from_another_generator_whose_critic_is_new(recipe, settings, tmp_path):
    def trained(name, **options):
        recipe.main(replace(settings, run=tmp_path / name, **options))
        return torch.cat([value.float().flatten() for _, value in sorted(load_weights(path(name)).items())])

    def path(name):
        return tmp_path / name / "generator.safetensors"

    first = trained("whole")
    begin = {"init": str(path("whole")), "steps": 1, "seed": 5}
    still, moved = trained("still", **begin, warm_up=10**9), trained("moved", **begin)
    torch.testing.assert_close(still, first, atol=1e-5, rtol=1e-3)
    assert (moved - first).abs().max() > 1e-4
    assert (trained("slow", **begin, decay=1.0) - first).abs().max() > 1e-4, "the cosine begins at the whole rate"
    with pytest.raises(ValueError, match="is of length 16 and width 8"):
        trained("wider", **begin, width=16)


def test_the_average_is_what_is_saved_and_changes_no_training(recipe, settings, tmp_path):
    """After one step it is a tenth of the beginning and nine tenths of what was learnt."""
    settings = replace(settings, steps=1, precision="no")
    recipe.main(settings)
    recipe.main(replace(settings, run=tmp_path / "averaged", ema=0.999))
    last, average = (CharacterGenerator.load(tmp_path / run / "generator.safetensors") for run in ("whole", "averaged"))
    torch.manual_seed(settings.seed)
    begin = CharacterGenerator(last.config)
    for a, b, c in zip(begin.parameters(), last.parameters(), average.parameters(), strict=True):
        torch.testing.assert_close(c, 0.1 * a + 0.9 * b, atol=1e-5, rtol=2e-3)
    losses = [(tmp_path / run / "metrics.jsonl").read_text().splitlines()[0] for run in ("whole", "averaged")]
    assert json.loads(losses[0])["critic/distance"] == json.loads(losses[1])["critic/distance"]


def test_references_are_measured_as_the_samples_are(recipe, settings, tmp_path):
    """Real lines of the training set that are all held out as well differ by nothing; a trigram model's do."""
    recipe.main(replace(settings, steps=1, held_out=settings.data / "train.txt.gz"))
    found = json.loads((tmp_path / "whole" / "references.json").read_text())
    assert found["real"] == {"js1": 0, "js2": 0, "js3": 0, "js4": 0, "distinct": 0.5}
    assert 0 < found["trigram"]["js1"] < found["trigram"]["js4"] < evaluations(tmp_path / "whole")[0]["validation/js4"]


def test_lines_are_read_from_folders_and_files(recipe, settings, tmp_path):
    def read(**options):
        return recipe.read_data(replace(settings, **options))

    training, held_out = read()
    assert [line.rstrip() for line in training] == LINES[:15] * 2 and [line.rstrip() for line in held_out] == LINES[15:]
    assert {len(line) for line in training + held_out} == {16}
    assert read(data=settings.data / "train.txt.gz") == (training, held_out), "valid.txt is found beside it"

    alone = tmp_path / "alone.txt"
    alone.write_text("\n".join(f"{i:02}" for i in range(1, 46)))
    training, held_out = read(data=alone)
    assert [line.rstrip() for line in held_out] == ["20", "40"] and len(training) == 43 and "20" not in training
    assert read(data=alone, held_out=settings.data / "valid.txt")[1] == read()[1]

    training, _ = read(longer="cut")
    assert training[-2:] == ["x" * 16, "x" + " " * 15] and len(training) == 32


@pytest.mark.parametrize(
    "files, told",
    [(["train.txt"], "valid.*none"), (["train.a.txt", "train.b.txt"], "train.a.txt, train.b.txt"), ([], "train.*none")],
)
def test_a_folder_that_is_not_clear(recipe, settings, tmp_path, files, told):
    folder = tmp_path / "other"
    folder.mkdir()
    for name in files:
        (folder / name).write_text("a line")
    with pytest.raises(ValueError, match=told):
        recipe.read_data(replace(settings, data=folder))


def test_too_few_lines_to_hold_some_out(recipe, settings, tmp_path):
    (tmp_path / "few.txt").write_text("one\ntwo")
    with pytest.raises(ValueError, match="2 lines, too few"):
        recipe.read_data(replace(settings, data=tmp_path / "few.txt"))


def test_what_is_wrong_is_told_in_one_line(tmp_path):
    result = run_recipe("wgan_gp_characters.py", "--run", tmp_path / "run")
    assert result.returncode == 1 and "--data" in result.stderr and not result.stdout
    assert len(result.stderr.strip().splitlines()) == 1 and "Traceback" not in result.stderr
