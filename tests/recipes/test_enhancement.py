"""The recipe as a user runs it: from recordings to weights, interrupted, gone on with, and started from them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from seqgan.speech.networks import MaskGenerator

RECIPE = Path(__file__).parents[2] / "recipes" / "enhancement.py"


def train(*arguments):
    command = [sys.executable, RECIPE, "--batch", "2", "--threads", "1", "--mix.seconds", "0.5", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


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
    assert json.loads((tmp_path / "second" / "best.json").read_text())["step"] in (0, 1)
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
