"""The recipe as a user runs it: killed, gone on with, the control, and the two side by side."""

import importlib
import json
import subprocess
import sys
import time
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from seqgan.speech.segan import REDUCED, SEGAN

from .processes import RECIPES, run_recipe

recipe = importlib.import_module("recipes.segan")
PNG = b"\x89PNG"


call = partial(run_recipe, "segan.py")


def lines_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_killed_run_goes_on_and_stands_beside_its_control(recordings, tmp_path):
    shared = ("--data", recordings, "--preset", "reduced", "--threads", 1, "--steps", 3, "--batch", 2)
    shared += ("--validate-every", 2, "--checkpoint-every", 1)
    run, control = tmp_path / "lsgan", tmp_path / "none"
    command = [sys.executable, str(RECIPES / "segan.py"), *map(str, shared), "--run", str(run)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        waited = time.monotonic()
        while not list(run.glob("checkpoints/*-000000001.pt")):
            assert process.poll() is None and time.monotonic() - waited < 200, process.stderr.read().decode()
            time.sleep(0.01)
        process.kill()
    assert not (run / "scores.json").exists()

    resumed = call(*shared, "--run", run)
    assert resumed.returncode == 0, resumed.stderr
    assert "goes on at step" in resumed.stderr
    scores = json.loads((run / "scores.json").read_text())
    assert list(scores["enhanced"]) == ["SI-SDR (dB)", "PESQ-WB", "STOI", "segmental SNR (dB)"]
    assert resumed.stdout.splitlines()[-1].startswith("| enhanced |")
    told = set().union(*lines_of(run))
    assert {"generator/l1", "generator/adversary", "discriminator/real", "discriminator/fake"} <= told
    assert [line["step"] for line in lines_of(run) if "validation/si_sdr" in line] == [2, 3]
    assert SEGAN.from_pretrained(run / "generator.safetensors").config == REDUCED
    assert (run / "discriminator.safetensors").exists() and list(run.glob("tensorboard/*/events*"))
    samples = [path.name.split(".", 1)[1] for path in (run / "samples").iterdir()]
    assert {"noisy.wav", "clean.wav", "step000002.wav", "step000002.png", "step000003.wav"} <= set(samples)

    other = call(*shared, "--run", control, "--adversary", "none")
    assert other.returncode == 0, other.stderr
    assert not any(name.startswith("discriminator") for line in lines_of(control) for name in line)

    compared = call("--compare", run, control, "--run", tmp_path)
    assert compared.returncode == 0, compared.stderr
    assert "differ in: adversary" in compared.stderr
    assert compared.stdout == (tmp_path / "comparison.md").read_text()
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in compared.stdout.splitlines()[2:]}
    assert rows.keys() == {"noisy", "lsgan", "none"}
    # Weights kept as float16 score nearly what those in training did.
    assert float(rows["lsgan"][0]) == pytest.approx(scores["enhanced"]["SI-SDR (dB)"], abs=0.1)
    for picture in (run / "curves.png", control / "curves.png", tmp_path / "comparison.png"):
        assert picture.read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    "arguments, told",
    [((), "--data"), (("--data", "nowhere"), "nowhere"), (("--compare", "neither", "nor"), "neither")],
    ids=["no data", "no such data", "no runs"],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, arguments, told):
    result = call("--run", tmp_path / "run", *arguments)
    assert result.returncode == 1 and told in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1 and "Traceback" not in result.stderr


def test_what_the_settings_say_comes_to_the_game(recordings, record_fits, monkeypatch):
    """Rates stay for the first part of the steps and fall to zero; the reference batch has the noisy wave's level."""
    calls, made, judged, phases = record_fits(recipe), [], [], recipe.phases
    monkeypatch.setattr(recipe, "phases", lambda *a, **o: made.append((a, o)) or phases(*a, **o))
    average = SimpleNamespace(applied=lambda: judged.append("average") or nullcontext())
    monkeypatch.setattr(recipe, "EMA", lambda *_: average)
    monkeypatch.setattr(recipe, "score", lambda *_: dict.fromkeys(recipe.SCORES, 0.0))
    monkeypatch.setattr(recipe, "draw_curves", lambda *_: None)
    recipe.main(recipe.Settings(recordings, recordings / "run", "reduced", l1=7.0, steps=100, threads=1))
    (((generator, _, discriminator, _), options),) = made
    clean, noisy = discriminator.reference.unbind(1)
    torch.testing.assert_close(noisy.square().mean(1).sqrt(), torch.full((4,), 0.1))
    assert options["weight"] == 7 and judged == ["average"] and calls[0].ema is average
    assert [options["schedule"](step) for step in (0, 30, 65, 100)] == pytest.approx([1, 1, 0.5, 0])
