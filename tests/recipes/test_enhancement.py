"""The recipe as a user runs it: from recordings to weights, interrupted, gone on with, and started from them."""

import importlib
import json
from dataclasses import replace

import numpy as np
import pytest

from seqgan.speech.networks import SMALL, MaskGenerator

from .processes import run_recipe

recipe = importlib.import_module("recipes.enhancement")


def train(*arguments):
    return run_recipe("enhancement.py", "--batch", 2, "--threads", 1, "--mix.seconds", 0.5, *arguments)


def test_trains_goes_on_and_starts_from_its_weights(recordings, tmp_path):
    run = tmp_path / "run"
    first = train("--data", recordings, "--run", run, "--model", "small", "--steps", 2, "--validate-every", 2)
    assert first.returncode == 0, first.stderr
    assert (run / "checkpoints" / "adversarial-000000002.pt").exists() and (run / "discriminator.safetensors").exists()
    assert MaskGenerator.load(run / "best.safetensors").config.causal
    assert len(list((run / "samples").glob("*.step0000002.wav"))) == 2

    more = train("--data", recordings, "--run", run, "--model", "small", "--steps", 4, "--validate-every", 2)
    assert more.returncode == 0, more.stderr
    assert "goes on at step 2" in more.stderr
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "validation/pesq" in line] == [2, 4]

    again = train(
        *("--data", recordings, "--run", tmp_path / "second", "--model", "small", "--adversary", "none", "--steps", 1),
        *("--init", run / "best.safetensors", "--learning-rate", 0),
    )
    assert again.returncode == 0 and "before any step: pesq" in again.stderr, again.stderr
    ours, theirs = (json.loads((tmp_path / name / "best.json").read_text()) for name in ("second", "run"))
    assert ours["choice"] == pytest.approx(theirs["choice"], abs=0.1), "its weights, that have not moved"
    assert "discriminator" not in (tmp_path / "second" / "metrics.jsonl").read_text()

    for checkpoint in (tmp_path / "second" / "checkpoints").iterdir():
        checkpoint.unlink()  # another training in the same folder does not take the best weights for its own
    (tmp_path / "second" / "best.json").write_text('{"choice": 99}')
    anew = train("--data", recordings, "--run", tmp_path / "second", "--adversary", "none", "--steps", 1)
    assert anew.returncode == 0, anew.stderr
    assert not MaskGenerator.load(tmp_path / "second" / "best.safetensors").config.causal
    assert (tmp_path / "second" / "earlier1.best.safetensors").exists()

    third = train(
        *("--data", recordings, "--run", tmp_path / "third", "--model", "small", "--adversary", "wave", "--steps", 1),
        *("--wave.periods", "--wave.windows", 128, "--validate-every", 1),
    )
    assert third.returncode == 0, third.stderr
    assert "generator/features" in (tmp_path / "third" / "metrics.jsonl").read_text()
    assert (tmp_path / "third" / "discriminator.safetensors").exists()


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("--data", "nowhere"), "nowhere"),
        (("--init", "huge"), "huge"),
        (("--init", "small", "--hidden", "64"), "without hidden"),
        (("--batch", "0"), "1 item or more"),
    ],
    ids=["no data", "no such weights", "two networks", "no batch"],
)
def test_what_is_wrong_is_told_in_one_line(recordings, tmp_path, arguments, told):
    result = train("--data", recordings, "--run", tmp_path / "run", *arguments)
    assert result.returncode == 1 and told in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1 and "Traceback" not in result.stderr


def settings(recordings, **changes):
    """Of the smallest network."""
    options = {"model": "small", "channels": (4, 4), "paths": 1, "path_hidden": 4, "adversary": "wave", "threads": 1}
    return recipe.Settings(recordings, recordings / "run", **{**options, **changes})


def test_the_best_weights_are_those_of_the_highest_choice(recordings, record_fits, monkeypatch):
    calls, values = record_fits(recipe), iter([1.0, 3.0, 2.0])
    monkeypatch.setattr(recipe, "validate", lambda *_: {"choice": next(values)})
    monkeypatch.setattr(recipe, "listen", lambda *_: None)
    recipe.main(settings(recordings, adversary="none"))
    (hook,) = calls[0].every.values()
    for step in range(3):
        hook(step)
    assert json.loads((recordings / "run" / "best.json").read_text()) == {"step": 1, "choice": 3.0}


def test_what_the_settings_say_comes_to_the_game(recordings, record_fits, monkeypatch):
    calls, given, phases = record_fits(recipe), [], recipe.phases

    def build(generator, optimizer, weights, **options):
        given.append((weights, options["adversary"].crop))
        return phases(generator, optimizer, weights, **options)

    monkeypatch.setattr(recipe, "phases", build)
    weights = replace(recipe.LossWeights(), wave=0.9)
    recipe.main(settings(recordings, weights=weights, steps=100, warm_up=10))
    assert given == [(weights, 8192)] and calls[0].ema is not None
    for phase in calls[0].phases:
        assert phase.schedule(0) == 0.1 and phase.schedule(50) == 1 and phase.schedule(99) < 0.02


def test_the_choice_weighs_three_scores(monkeypatch):
    for name, value in (("pesq", 2.0), ("stoi", 0.8), ("si_sdr", 10.0)):
        monkeypatch.setattr(recipe, name, lambda *_, value=value: value)
    pair = recipe.ValidationPair("a", np.zeros(512, np.float32), np.zeros(512, np.float32))
    found = recipe.validate(MaskGenerator(SMALL).eval(), [pair])
    assert found == pytest.approx({"pesq": 2, "stoi": 0.8, "si_sdr": 10, "choice": 2 + 1 + 4})
