"""Experiments are run one after another, and their table says what each changed."""

import json
from functools import partial

import pytest

from .processes import run_recipe

experiments = partial(run_recipe, "enhancement_experiments.py")


def test_a_table_of_what_runs_recorded(tmp_path):
    """Of two seeds where there are two, and differences of the same seed."""
    lifts = {"control": 0.0, "control.1": 0.1, "metric": 0.2, "metric.1": 0.4, "short": -0.1, "wide.2": 0.0}
    lifts["narrow"] = 0.0  # which has not come to its end
    lifts["causal"] = 0.0  # of another length than its control
    for name, lift in lifts.items():
        (tmp_path / name).mkdir()
        lines = [{"step": 50, "generator/wave": 1.0}]
        for step in range(100, 700, 100):
            scores = {"validation/pesq": 1 + step / 1000 + lift, "validation/stoi": 0.8, "validation/si_sdr": 9.0}
            lines.append({"step": step, "seconds": step * 0.6, **scores})
        steps = {"narrow": 900, "causal": 500}.get(name, 600)
        (tmp_path / name / "config.json").write_text(json.dumps({"steps": steps}))
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "control.0bak").mkdir()  # which is no seed
    found = experiments("--run", tmp_path, "--steps", 0)
    assert found.returncode == 0, found.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in found.stdout.splitlines()]
    assert [row[0] for row in rows] == ["experiment", "---", "control", "metric", "wide", "short"]
    assert len({len(row) for row in rows}) == 1
    assert f"{tmp_path / 'narrow'} is left out: it is at step 600 of 900" in found.stderr
    assert "causal is left out: 500 steps, not 600" in found.stderr
    assert [row[2] for row in rows[2:]] == ["2", "2", "1", "1"]
    assert [row[3] for row in rows[2:]] == ["1.600 ± 0.071", "1.850", "1.550", "1.450"]
    assert [row[4] for row in rows[2:]] == ["", "+0.250 ± 0.071", "", "-0.100"], "seed 2 of the control was not run"
    assert rows[3][-1] == "6" and (tmp_path / "table.md").read_text() == found.stdout


def test_an_experiment_is_run_and_not_run_again(recordings, tmp_path):
    options = ["--data", recordings, "--run", tmp_path, "--only", "causal", "--steps", 1, "--seeds", 2]
    options += ["--options=--hidden 8 --channels 4 4 4 4 --batch 2 --threads 1"]
    first = experiments(*options)
    assert first.returncode == 0, first.stderr
    configs = [json.loads((tmp_path / run / "config.json").read_text()) for run in ("causal", "causal.1")]
    assert [(config["causal"], config["seed"]) for config in configs] == [(True, 0), (True, 1)]
    again = experiments(*options)
    assert again.returncode == 0 and "finished at step 1" in again.stderr
    assert again.stdout == first.stdout and "causal" in first.stdout


@pytest.mark.parametrize(
    "arguments, told", [(("--only", "wave", "no-such"), "no-such"), ((), "--data")], ids=["unknown", "no data"]
)
def test_what_is_wrong_is_told_in_one_line(arguments, told, tmp_path):
    found = experiments("--run", tmp_path, *arguments)
    assert found.returncode == 1 and told in found.stderr and len(found.stderr.strip().splitlines()) == 1
