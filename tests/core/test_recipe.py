"""What recipes share: a run's folder belongs to one training, schedules, and when hooks are called."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from seqgan.recipe import (
    check_counts,
    check_ranges,
    every_and_last,
    open_run,
    prepare_torch,
    run,
    warm_up_and_cosine,
    with_preset,
)


@dataclass(frozen=True)
class Mix:
    snr: tuple[float, float] = (0.0, 5.0)
    emphasis: Mapping[str, float] = field(default_factory=lambda: {"a": 2.0})


@dataclass(frozen=True)
class Settings:
    data: Path = Path("data")
    steps: int = 10
    learning_rate: float = 1e-3
    sample_every: int = 5
    mix: Mix = field(default_factory=Mix)


@dataclass(frozen=True)
class Sizes:
    width: int | None = None
    sample_every: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Run:
    sizes: Sizes = Sizes()


PRESETS = {"paper": Sizes(width=512), "reduced": Sizes(width=32, sample_every=7)}


def test_an_interruption_outside_the_loop_is_one_line(monkeypatch, capsys):
    def interrupted(settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["recipe.py"])
    with pytest.raises(SystemExit) as ended:
        run(interrupted, Sizes)
    assert ended.value.code == 130 and capsys.readouterr().err == "recipe.py: interrupted\n"


def test_help_tells_the_presets(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["recipe.py", "--help"])
    with pytest.raises(SystemExit):
        run(lambda settings: None, Sizes, "Trains.")
    told = capsys.readouterr().out
    assert "--preset paper: width 512, seed 0" in told and "--preset reduced: width 32, sample-every 7" in told


def test_a_folder_belongs_to_one_training(tmp_path):
    settings, config = Settings(), tmp_path / "run" / "config.json"
    open_run(tmp_path / "run", settings)
    open_run(tmp_path / "run", replace(settings, learning_rate=1.0))  # nothing was trained yet
    open_run(tmp_path / "run", settings)
    begin(tmp_path / "run")
    open_run(tmp_path / "run", replace(settings, steps=20, sample_every=1, data=Path("moved")))
    assert json.loads(config.read_text())["steps"] == 20
    others = [
        (replace(settings, learning_rate=1e-4), "learning_rate was 0.001, not 0.0001"),
        (replace(settings, mix=Mix((0.0, 9.0))), "mix.snr was [0.0, 5.0], not [0.0, 9.0]"),
        (replace(settings, mix=Mix(emphasis={})), "mix.emphasis was {'a': 2.0}, not {}"),
        (
            replace(settings, mix=Mix(emphasis={"a": 2.0, "b": 0.0})),
            "mix.emphasis was {'a': 2.0}, not {'a': 2.0, 'b': 0.0}",
        ),
    ]
    for other, said in others:
        with pytest.raises(ValueError, match=re.escape(said)):
            open_run(tmp_path / "run", other)
    assert json.loads(config.read_text())["learning_rate"] == 1e-3, "nothing is written"


def begin(folder):
    """What a training leaves in its folder."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "adversarial-000000001.pt").touch()


@pytest.mark.parametrize("name", ["run", "data", "decay", "threads", "workers", "metric_workers", "precision"])
def test_where_and_how_fast_it_runs_may_change(tmp_path, name):
    begin(tmp_path)
    for value in (0, 1):
        open_run(tmp_path, {name: value})
    assert json.loads((tmp_path / "config.json").read_text()) == {name: 1}


def test_a_training_whose_settings_are_lost_goes_on(tmp_path):
    begin(tmp_path)
    open_run(tmp_path, {"steps": 2}, 2)
    assert (tmp_path / "config.json").exists()


def test_a_folder_is_not_told_of_fewer_steps_than_it_has_behind_it(tmp_path):
    """Neither of its own game nor of an ensemble's."""
    for name in ("plain", "several"):
        folder = tmp_path / name / ("generator0" if name == "several" else "") / "checkpoints"
        folder.mkdir(parents=True)
        (folder / "adversarial-000000006.pt").touch()
        (folder / "classifier-000000600.pt").touch()
        open_run(tmp_path / name, Settings(steps=6), 6)
        with pytest.raises(ValueError, match="of 6 steps, more than 5: choose"):
            open_run(tmp_path / name, Settings(steps=5), 5)
        assert json.loads((tmp_path / name / "config.json").read_text())["steps"] == 6


def test_a_stage_before_the_game_is_not_prolonged_once_that_has_begun(tmp_path):
    config, pattern = (
        {"schedule": {"mle_epochs": 3}, "steps": 5, "adversarial_steps": 9},
        {"discriminator": r"(schedule\.)?mle_epochs", "adversarial": r"(schedule\.)?mle_epochs|steps"},
    )
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "mle-000000003.pt").touch()
    open_run(tmp_path, config, 9, pattern)
    open_run(tmp_path, config | {"schedule": {"mle_epochs": 4}}, 9, pattern)
    open_run(tmp_path, config, 9, pattern)
    (tmp_path / "checkpoints" / "discriminator-000000001.pt").touch()
    open_run(tmp_path, config | {"steps": 6}, 9, pattern)
    open_run(tmp_path, config, 9, pattern)
    with pytest.raises(ValueError, match="schedule.mle_epochs was 3, not 4"):
        open_run(tmp_path, config | {"schedule": {"mle_epochs": 4}}, 9, pattern)
    (tmp_path / "checkpoints" / "adversarial-000000001.pt").touch()
    open_run(tmp_path, config | {"adversarial_steps": 20}, 20, pattern)
    for other in ({"schedule": {"mle_epochs": 4}}, {"steps": 6}):
        with pytest.raises(ValueError, match="(schedule.mle_epochs was 3, not 4|steps was 5, not 6)"):
            open_run(tmp_path, config | other, 20, pattern)


@pytest.mark.parametrize("name", ["classifier_steps", "critic_steps"])
def test_some_steps_are_not_how_long_it_takes(tmp_path, name):
    begin(tmp_path)
    open_run(tmp_path, {name: 5, "steps": 10})
    open_run(tmp_path, {name: 5, "steps": 20})
    with pytest.raises(ValueError, match=f"{name} was 5, not 6"):
        open_run(tmp_path, {name: 6, "steps": 20})


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"ema": 1.5},
        {"decay": -0.1},
        {"noise": -1.0},
        {"learning_rate": float("nan")},
        {"sample_every": -1},
        {"classifier_steps": 0},
    ],
)
def test_numbers_beyond_their_range(tmp_path, wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} is (0 or more|1 or more|from 0 to 1), not"):
        open_run(tmp_path / "run", wrong)
    assert not (tmp_path / "run").exists()
    open_run(tmp_path / "run", {"seed": 0, "ema": 1, "noise": ("rain",), "decay": None, "sample_every": 0})
    open_run(tmp_path / "run", {"ema_start": 500, "noise_seconds": -1})  # other names that begin alike


@pytest.mark.parametrize(
    "wrong", [{"network": {"learning_rate": -1.0}}, Run(Sizes(seed=-1))], ids=["dict", "dataclass"]
)
def test_ranges_hold_for_nested_settings_too(wrong):
    check_ranges(Run())
    with pytest.raises(ValueError, match="(learning.rate|seed) is 0 or more, not -1"):
        check_ranges(wrong)


def test_a_hook_is_called_at_the_end_whatever_its_interval():
    hook = object()
    assert every_and_last(4, 8, hook) == {4: hook}
    assert every_and_last(3, 8, hook) == {3: hook, 8: hook}
    assert every_and_last(0, 8, hook) == {8: hook}


def test_rates_rise_stay_and_fall():
    factor = warm_up_and_cosine(100, 10, 0.5)
    assert [factor(step) for step in (0, 4, 9, 50)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert factor(75) == pytest.approx(0.01 + 0.99 * 0.5) and factor(100) == pytest.approx(0.01)
    flat = warm_up_and_cosine(100, 0, 0.0)
    assert {flat(step) for step in range(100)} == {1.0}


@dataclass(frozen=True)
class Preset:
    width: int = 64
    sample_every: int = 500


def test_a_preset_is_for_what_was_not_given():
    assert with_preset(Sizes(seed=1), Preset()) == Sizes(64, 500, 1)
    assert with_preset(Sizes(width=0), Preset()) == Sizes(0, 500), "0 is given"


def test_what_counts_from_1():
    check_counts(Sizes(1, 2), "width", "sample_every")
    with pytest.raises(ValueError, match="--sample-every counts from 1, not 0"):
        check_counts(Sizes(1, 0), "width", "sample_every")


def test_torch_is_prepared():
    prepare_torch(2)
    assert torch.get_num_threads() == 2
    assert (torch.full((1,), 1e-38) * 1e-3).item() == 0, "what would be denormal"


def test_no_threads():
    with pytest.raises(ValueError, match="1 or more, not 0"):
        prepare_torch(0)
