"""Two gloo ranks on the CPU are one rank of the double batch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from .ranks import play
from .toy import checkpoint, metrics

ROOT = Path(__file__).parents[2]


def launch(ranks: int, *arguments: str) -> None:
    """What `accelerate launch` and `torchrun` do: one process for each rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.core.ranks", *arguments],
            cwd=ROOT,
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * ranks, "\n".join(errors)


def assert_close(left: dict, right: dict) -> None:
    left, right = (torch.utils._pytree.tree_flatten_with_path(side)[0] for side in (left, right))
    assert [path for path, _ in left] == [path for path, _ in right]
    for (path, a), (_, b) in zip(left, right, strict=True):
        if isinstance(a, torch.Tensor):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5, msg=lambda text, path=path: f"{path}: {text}")


@pytest.mark.parametrize("function", [[], ["--function"]], ids=["stream", "function"])
def test_two_ranks_are_one_of_the_double_batch(tmp_path, function):
    launch(2, str(tmp_path / "two"), "4", *function)
    play(tmp_path / "one", 8)
    two, one = checkpoint(tmp_path / "two"), checkpoint(tmp_path / "one")
    for key in ("modules", "optimizers", "state"):
        assert_close(two[key], one[key])
    assert two["step"] == one["step"] == 12
    assert two["position"] == 2 * one["position"] == 48
    assert two["optimizers"]["generator"]["state"].keys() == one["optimizers"]["generator"]["state"].keys()
    lines = list(zip(metrics(tmp_path / "two"), metrics(tmp_path / "one"), strict=True))
    assert len(lines) == 3
    for left, right in lines[1:]:
        assert left.pop("stage") == right.pop("stage")
        assert left == pytest.approx(right, abs=1e-5)
    for line in lines[0]:  # one rank drew the items that are not finite, in the second move of step 3: no rank moved
        assert line["discriminator/skipped"] == 1 / 8 and line["generator/skipped"] == 1 / 4


def test_ranks_resume_together(tmp_path):
    play(tmp_path / "one", 8)
    launch(2, str(tmp_path / "two"), "4")
    (tmp_path / "two" / "checkpoints" / "adversarial-000000012.pt").unlink()
    launch(2, str(tmp_path / "two"), "4")
    assert_close(checkpoint(tmp_path / "two")["modules"], checkpoint(tmp_path / "one")["modules"])
    assert len(metrics(tmp_path / "two")) == 3
