"""Recipes as a user runs them, each in a process of its own, but without the seconds that imports take there.

A server makes those that most recipes share, and what is forked from it runs the script as Python would.
"""

import os
import runpy
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

RECIPES = Path(__file__).parents[2] / "recipes"
TIMEOUT = 300  # seconds

SHARED = ["seqgan.recipe", "seqgan.training", "torch.utils.tensorboard", "matplotlib.backends.backend_agg"]
SHARED += ["sklearn.datasets", "torch._dynamo"]  # the latter comes with the first optimizer, and takes as long as torch

forks = get_context("forkserver" if os.name == "posix" else "spawn")
forks.set_forkserver_preload(SHARED)


def run_recipe(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """As subprocess.run([sys.executable, name, *arguments], capture_output=True, text=True), with a name of RECIPES."""
    command = [str(RECIPES / name), *map(str, arguments)]
    with TemporaryDirectory() as folder:
        streams = [Path(folder, stream) for stream in ("stdout", "stderr")]
        process = forks.Process(target=_be_the_script, args=(command, streams))
        process.start()
        process.join(TIMEOUT)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(command, TIMEOUT)
        return subprocess.CompletedProcess(command, process.exitcode, *(path.read_text() for path in streams))


def _be_the_script(command: list[str], streams: list[Path]) -> None:
    for descriptor, path in zip((1, 2), streams, strict=True):
        with path.open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    sys.argv = command
    sys.path.insert(0, str(RECIPES))
    runpy.run_path(command[0], run_name="__main__")
