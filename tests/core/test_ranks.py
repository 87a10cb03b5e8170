"""Two gloo ranks on the CPU are one rank of the double batch."""

import os
import shutil
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


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("two")
    launch(2, str(run), "4")
    return run


@pytest.fixture
def one(tmp_path) -> Path:
    play(tmp_path / "one", 8)
    return tmp_path / "one"


def assert_same_training(two: Path, one: Path) -> None:
    left, right = checkpoint(two), checkpoint(one)
    for key in ("modules", "optimizers", "state"):
        assert_close(left[key], right[key])
    assert left["step"] == right["step"] == 12
    assert left["position"] == 2 * right["position"] == 48
    assert left["optimizers"]["generator"]["state"].keys() == right["optimizers"]["generator"]["state"].keys()
    lines = list(zip(metrics(two), metrics(one), strict=True))
    assert len(lines) == 3
    for left, right in lines[1:]:
        assert left.pop("stage") == right.pop("stage")
        assert left == pytest.approx(right, abs=1e-5)
    for line in lines[0]:  # one rank drew the items that are not finite, in the second move of step 3: no rank moved
        assert line["discriminator/skipped"] == 1 / 8 and line["generator/skipped"] == 0


def test_two_ranks_are_one_of_the_double_batch(two, one):
    assert_same_training(two, one)


def test_data_that_know_nothing_of_ranks_are_dealt_out_too(tmp_path, one):
    launch(2, str(tmp_path / "two"), "4", "--function")
    assert_same_training(tmp_path / "two", one)


def test_ranks_resume_together(tmp_path, two, one):
    shutil.copytree(two, tmp_path / "two")
    (tmp_path / "two" / "checkpoints" / "adversarial-000000012.pt").unlink()
    launch(2, str(tmp_path / "two"), "4")
    assert_same_training(tmp_path / "two", one)


def test_ranks_that_do_not_see_each_other_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")  # too late: this process has begun as one
    with pytest.raises(ValueError, match="do not see each other"):
        play(tmp_path, 8)
