"""The recipe as a user runs it: killed, gone on with, the control, and the two side by side."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seqgan.speech.segan import REDUCED, SEGAN

RECIPE = Path(__file__).parents[2] / "recipes" / "segan.py"
PNG = b"\x89PNG"


def command(*arguments):
    return [sys.executable, str(RECIPE), *map(str, arguments)]


def call(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=200)


def lines_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_killed_run_goes_on_and_stands_beside_its_control(recordings, tmp_path):
    shared = ("--data", recordings, "--preset", "reduced", "--threads", 1, "--steps", 3, "--batch", 2)
    shared += ("--validate-every", 2, "--checkpoint-every", 1)
    run, control = tmp_path / "lsgan", tmp_path / "none"
    with subprocess.Popen(command(*shared, "--run", run), stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
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
