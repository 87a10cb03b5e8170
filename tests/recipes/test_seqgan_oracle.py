"""The recipe at the smallest sizes: every system, a run that was stopped, and the table of all."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from seqgan.checkpoint import latest, load_weights
from seqgan.text.networks import LSTMConfig, LSTMGenerator
from seqgan.text.seqgan import random_oracle

from .processes import run_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
PNG = b"\x89PNG"


@pytest.fixture
def recipe(script):
    return script("seqgan_oracle")


def settings(recipe, run, **changes):
    small = {"vocabulary": 40, "sequences": 320, "mle_epochs": 2, "discriminator_epochs": 1, "epochs_per_step": 1}
    small |= {"steps": 2, "batch": 8, "rollouts": 2, "evaluate_every": 1, "threads": 1}
    return recipe.Settings(run=run, preset="reduced", **{**small, **changes})


def evaluations(run, stage):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [
        {name: value for name, value in line.items() if name != "seconds"}
        for line in lines
        if line["stage"] == stage and "nll_oracle" in line
    ]


def test_every_system_and_the_table_of_all(recipe, tmp_path, capsys):
    start = tmp_path / "mle"
    recipe.main(settings(recipe, start, system="mle"))
    (likelihood,) = evaluations(start, "mle")
    assert likelihood["step"] == 10 and {"nll_oracle", "nll_gen", "self_bleu_2"} <= likelihood.keys()
    controls = json.loads((start / "controls.json").read_text())
    at_one = next(point for point in controls["temperatures"] if point["temperature"] == 1)
    for name in ("nll_oracle", "nll_gen", "self_bleu_2"):
        assert at_one[name] == pytest.approx(likelihood[name], abs=1e-4)
    colder = [point["nll_oracle"] for point in controls["temperatures"]]
    assert colder[-1] < colder[0], "what is surer is likelier"
    assert controls["oracle"]["nll_oracle"] < likelihood["nll_oracle"]
    assert len(load_weights(start / "best.safetensors", LSTMGenerator.load(start / "best.safetensors"))) == 7

    runs = [start]
    for system in ("scheduled-sampling", "constant", "pg-bleu", "seqgan"):
        begins = {} if system == "scheduled-sampling" else {"start": start}
        baseline = "preceding" if system == "pg-bleu" else None
        runs.append(tmp_path / system)
        recipe.main(settings(recipe, runs[-1], system=system, baseline=baseline, **begins))
        if begins:
            assert evaluations(runs[-1], "mle") == [likelihood], "the start's own"
            assert len(evaluations(runs[-1], "adversarial")) == 2
            assert (runs[-1] / "samples" / "adversarial-000002.txt").read_text().count("\n") == 20
    game = evaluations(tmp_path / "seqgan", "adversarial")
    assert 0 < game[0]["held_out_area"] < 1
    assert game != evaluations(tmp_path / "constant", "adversarial")

    capsys.readouterr()
    recipe.main(recipe.Settings(table=tuple(runs), run=tmp_path / "table"))
    table = capsys.readouterr().out
    assert table == (tmp_path / "table" / "table.md").read_text()
    assert (tmp_path / "table" / "table.png").read_bytes().startswith(PNG)
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in table.splitlines()}
    assert {"the oracle itself", "trigram, Kneser-Ney", "mle, end, temperature 0.7", "pg-bleu"} <= rows.keys()
    assert rows["seqgan"][1] == "8.736" and float(rows["seqgan"][3]) == pytest.approx(game[-1]["nll_oracle"], abs=6e-4)
    assert float(rows["mle"][6]) == pytest.approx(0, abs=1e-3), "likelihood lies on its own curve"


def test_runs_that_differ_in_what_they_do_not_heed_are_one_row(recipe, tmp_path):
    from seqgan_table import Run, grouped

    runs = []
    for system in ("mle", "constant", "seqgan"):
        for rollouts in (0, 4):
            schedule = asdict(replace(recipe.PRESETS["reduced"], rollouts=rollouts))
            folder = tmp_path / f"{system}{rollouts}"
            folder.mkdir()
            (folder / "config.json").write_text(json.dumps({"system": system, "seed": rollouts, "schedule": schedule}))
            runs.append(Run(folder))
    assert list(map(len, grouped(runs).values())) == [2, 2, 1, 1]
    assert list(grouped(runs)) == ["mle", "constant", "seqgan, rollouts 0", "seqgan, rollouts 4"]


def test_two_steps_are_one_and_one(recipe, tmp_path):
    for run, steps in (("whole", [2]), ("parts", [1, 2])):
        for count in steps:
            recipe.main(settings(recipe, tmp_path / run, steps=count))
    found = [latest(tmp_path / run / "checkpoints", "adversarial")[1]["modules"] for run in ("whole", "parts")]
    for one, other in zip(*(torch.utils._pytree.tree_leaves(each) for each in found), strict=True):
        assert torch.equal(one, other)
    assert evaluations(tmp_path / "whole", "adversarial") == evaluations(tmp_path / "parts", "adversarial")


def tiny(seed=0):
    torch.manual_seed(seed)
    return LSTMGenerator(LSTMConfig(40, 4, 4))


def material_of(recipe, sequences=320):
    return recipe.Material.of(random_oracle(LSTMConfig(40, 4, 4), 0), sequences, 0)


def test_the_area_is_how_often_the_real_one_has_the_higher_score(recipe, tmp_path):
    class Judge(torch.nn.Linear):
        def score(self, tokens):
            return tokens[:, 0].float()

    samples = torch.tensor([[1, 0], [1, 0], [1, 0], [5, 0]])
    material = SimpleNamespace(
        fresh=torch.full((4, 2), 3), drawn_from=lambda generator: samples, measure=lambda samples, nll_gen: {}
    )
    assert recipe.watch(tiny(), material, tmp_path, "adversarial", Judge(1, 1))(1) == {"held_out_area": 0.75}


def test_the_parts_of_the_game(recipe, record_fits, tmp_path, monkeypatch):
    """Rollouts by the lagging policy, a baseline that is kept; 160 of 320 pairs at once, for an epoch, then for two."""
    calls, policies, baselines, build = record_fits(recipe), [], [], recipe.policy_gradient
    monkeypatch.setattr(recipe, "by_rollouts", lambda policy, reward, count: policies.append(policy))

    def policy_gradient(*arguments, **options):
        baselines.append(options.get("baseline"))
        return build(*arguments, **options)

    class Used(recipe.Pool):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.used = 7

    monkeypatch.setattr(recipe, "policy_gradient", policy_gradient)
    monkeypatch.setattr(recipe, "Pool", Used)
    chosen = settings(recipe, tmp_path, system="seqgan", baseline="preceding", epochs_per_step=2)
    recipe.game(tiny(), material_of(recipe), chosen)
    alone, both = calls
    own, other = both.phases
    assert policies == [both.state["lagging"].model] and own.after == both.state["lagging"].update
    assert type(both.state["baseline"]) is recipe.Preceding and baselines == [both.state["baseline"]]
    assert both.state["pool"].used == 0, "the game begins with new sequences"
    assert alone.steps == 2 and other.repeat == 4


def test_scheduled_sampling_has_less_truth_after_every_epoch(recipe, record_fits, tmp_path, monkeypatch):
    truths = []
    record_fits(recipe)
    monkeypatch.setattr(recipe, "scheduled_sampling", lambda generator, optimizer, truth: truths.append(truth))
    recipe.likelihood(tiny(), material_of(recipe), settings(recipe, tmp_path, system="scheduled-sampling"))
    assert [truths[0](step) for step in (0, 5, 10**6)] == pytest.approx([1, 1 - 0.02, 0])


def test_the_epoch_of_the_best_nll_gen_is_kept(recipe, record_fits, tmp_path, monkeypatch):
    calls, kept, past, values = record_fits(recipe), [], [], iter([3.0, 2.0, 2.5])
    monkeypatch.setattr(recipe, "watch", lambda *_: lambda step: {"nll_gen": next(values)})
    monkeypatch.setattr(recipe, "evaluations", lambda *_: past)
    generator = tiny()
    generator.save = lambda path: kept.append(path.name)
    recipe.likelihood(generator, material_of(recipe), settings(recipe, tmp_path, system="mle"))
    hook = next(iter(calls[0].every.values()))
    for step in range(3):
        past.append(hook(step))
        kept.append(past[-1]["nll_gen"])
    assert kept == ["best.safetensors", 3.0, "best.safetensors", 2.0, 2.5]


def test_nobody_learns_from_fresh_sequences(recipe):
    material = material_of(recipe, 100)
    assert material.training.shape == material.fresh.shape == (100, 20)
    assert not {tuple(row) for row in material.training.tolist()} & {tuple(row) for row in material.fresh.tolist()}


def test_a_tempered_generator_has_its_logits_divided(recipe):
    from seqgan_material import tempered

    generator, features = tiny(), torch.randn(3, 4)
    torch.testing.assert_close(tempered(generator, 0.5).logits(features), 2 * generator.logits(features).detach())


def test_a_game_begins_where_likelihood_ended(recipe, tmp_path):
    from seqgan_table import Run

    (tmp_path / "config.json").write_text(json.dumps({"system": "seqgan", "schedule": {}}))
    places = [("mle", 5), ("mle", 10), ("adversarial", 1), ("adversarial", 2)]
    lines = [json.dumps({"stage": stage, "step": step, "nll_oracle": 1.0}) + "\n" for stage, step in places]
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    assert [(point["stage"], point["step"]) for point in Run(tmp_path).points] == places[1:]


def test_the_gap_is_against_the_control_at_equal_nll_gen(recipe):
    from seqgan_table import Curve, defined

    def point(nll_gen, nll_oracle):
        return {"nll_gen": nll_gen, "nll_oracle": nll_oracle}

    hotter = [point(8.5, 11.0), point(8.2, 10.0)]
    curve = Curve([*hotter, point(8.0, 9.0), point(9.0, 8.0), point(10.0, 7.5)])
    assert curve.gap(point(8.5, 8.4)) == pytest.approx(-0.1), "of two points at 8.5 the colder one counts"
    assert curve.gap(point(9.5, 8.0)) == pytest.approx(0.25)
    assert defined([curve.gap(point(7.9, 8.0))]) == "", "where there is no control there is no gap"
    assert defined([1.0, 2.0]) == "1.500 ± 0.707" and defined([0.25], "+.3f") == "+0.250"


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"sequences": 100}, "100 sequences are too few"),
        ({"oracle": Path("none.npz")}, "none.npz"),
        ({"start": Path("nowhere")}, "nowhere"),
        ({"start": Path("nowhere"), "system": "scheduled-sampling"}, "--system scheduled-sampling .* --start"),
        ({"start": Path("nowhere"), "system": "mle"}, "--system mle .* --start"),
    ],
)
def test_what_is_wrong_is_told(recipe, tmp_path, changes, told):
    with pytest.raises((ValueError, OSError), match=told):
        recipe.main(settings(recipe, tmp_path, **changes))


def test_a_start_of_another_seed_is_refused(recipe, tmp_path):
    recipe.main(settings(recipe, tmp_path / "start", system="scheduled-sampling"))
    with pytest.raises(ValueError, match="differs in seed"):
        recipe.main(settings(recipe, tmp_path / "run", start=tmp_path / "start", seed=1))
    with pytest.raises(ValueError, match="has no stage mle"):
        recipe.main(settings(recipe, tmp_path / "run", start=tmp_path / "start"))


def test_a_folder_of_another_system_is_not_touched(recipe, tmp_path):
    for name, system in (("mle", "mle"), ("other", "scheduled-sampling")):
        recipe.main(settings(recipe, tmp_path / name, system=system))
    before = {path: path.read_bytes() for path in (tmp_path / "other").rglob("*") if path.is_file()}
    with (tmp_path / "mle" / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "ml')  # torn by a kill
    with pytest.raises(ValueError, match="system was scheduled-sampling, not seqgan"):
        recipe.main(settings(recipe, tmp_path / "other", start=tmp_path / "mle"))
    assert before == {path: path.read_bytes() for path in (tmp_path / "other").rglob("*") if path.is_file()}
    recipe.main(settings(recipe, tmp_path / "game", start=tmp_path / "mle", steps=1))
    with pytest.raises(ValueError, match=r"mle_epochs was \d+, not 9"):
        recipe.main(settings(recipe, tmp_path / "game", start=None, steps=2, mle_epochs=9))


def test_runs_of_one_table_are_of_one_experiment(recipe, tmp_path):
    from seqgan_table import Run, grouped

    for name, sequences in (("one", 128), ("other", 160)):
        (tmp_path / name).mkdir()
        config = {
            "system": "mle",
            "schedule": asdict(recipe.PRESETS["reduced"]),
            "oracle": None,
            "oracle_seed": 0,
            "vocabulary": 50,
            "seed": 0,
        }
        (tmp_path / name / "config.json").write_text(json.dumps(config | {"sequences": sequences}))
    with pytest.raises(ValueError, match="one sequences, not 128 and 160"):
        recipe.main(recipe.Settings(table=(tmp_path / "one", tmp_path / "other"), run=tmp_path / "table"))
    (tmp_path / "longer").mkdir()
    schedule = asdict(recipe.PRESETS["reduced"]) | {"mle_epochs": 99}
    longer = config | {"sequences": 128, "schedule": schedule}
    (tmp_path / "longer" / "config.json").write_text(json.dumps(longer))
    with pytest.raises(ValueError, match="one run of mle a seed, not from 2"):
        recipe.main(recipe.Settings(table=(tmp_path / "one", tmp_path / "longer"), run=tmp_path / "table"))
    twice = [Run(tmp_path / "one"), Run(tmp_path / "one")]
    with pytest.raises(ValueError, match=r"one run twice: .* have the seeds \[0, 0\]"):
        grouped(twice)
    (tmp_path / "else").mkdir()
    with pytest.raises(ValueError, match="else is no run of"):
        recipe.main(recipe.Settings(table=(tmp_path / "else",), run=tmp_path / "table"))


def test_as_a_command(tmp_path):
    result = run_recipe("seqgan_oracle.py", "--table", tmp_path / "nothing", "--run", tmp_path)
    assert result.returncode == 1 and "nothing" in result.stderr and result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_baseline_that_would_cancel_all_rewards(recipe, tmp_path):
    with pytest.raises(ValueError, match="needs --rollouts"):
        recipe.main(settings(recipe, tmp_path / "run", rollouts=0, baseline="preceding"))
    assert not (tmp_path / "run").exists()
