"""What a run tells while it goes: `metrics.jsonl`, TensorBoard events, and its progress on stderr."""

import json
import math
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from .checkpoint import write_text


class Record:
    """One stage's record in the run's folder, from step `start` on. Where `main` is false (other ranks) it is mute."""

    def __init__(self, run: str | Path, stage: str, steps: int, start: int = 0, main: bool = True):
        self.run, self.stage, self.steps, self.start, self.main = Path(run), stage, steps, start, main
        self.began = time.monotonic()
        self.bar = self.tensorboard = None
        if main:
            self.run.mkdir(parents=True, exist_ok=True)
            _forget_after(self.run, stage, start)
            self.metrics = (self.run / "metrics.jsonl").open("a", encoding="utf-8")

    def __enter__(self) -> "Record":
        if self.main:
            self.tensorboard = _tensorboard(self.run / "tensorboard" / self.stage, self.start)
            if sys.stderr.isatty():
                self.bar = _bar(self.stage, self.start, self.steps)
                self.bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.main:
            self.metrics.close()
            if self.tensorboard:
                self.tensorboard.close()
            if self.bar:
                self.bar.stop()

    def write(self, step: int, values: Mapping[str, float], seconds: float) -> None:
        """One line of metrics. `seconds` is the time that training has taken so far, earlier sittings included."""
        if not self.main or not values:
            return
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = {"stage": self.stage, "step": step, "seconds": round(seconds, 3), **finite}
        self.metrics.write(json.dumps(line) + "\n")
        self.metrics.flush()
        if self.tensorboard:
            for name, value in values.items():
                self.tensorboard.add_scalar(name, value, step)

    def progress(self, step: int, values: Mapping[str, float]) -> None:
        """A line on how far the stage is and what it has come to."""
        text = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        self.say(f"{step}/{self.steps}  {self._left(step)}  {text}")

    def tick(self, step: int) -> None:
        """Moves the bar of a terminal."""
        if self.bar:
            self.bar.update(self.bar.task_ids[0], completed=step, left=self._left(step))

    def say(self, message: str) -> None:
        """A line on stderr."""
        if not self.main:
            return
        if self.bar:
            self.bar.console.print(f"{self.stage}: {message}", markup=False, highlight=False)
        else:
            print(f"{self.stage}: {message}", file=sys.stderr, flush=True)

    def _left(self, step: int) -> str:
        """The time left at the pace of this sitting, evaluations included."""
        done = step - self.start
        seconds = round((time.monotonic() - self.began) / done * (self.steps - step)) if done else 0
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d} left"


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """What a run recorded, but for a line that was torn by a kill; none where there is none yet."""
    path, found = run / "metrics.jsonl", []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with suppress(ValueError):
            found.append(json.loads(line))
    return found


def _forget_after(run: Path, stage: str, step: int) -> None:
    """Drops the stage's lines past `step`, which will be written again, and a line that was torn by a kill."""
    kept = [line for line in read_metrics(run) if line.get("stage") != stage or line.get("step", 0) <= step]
    if kept or (run / "metrics.jsonl").exists():
        write_text(run / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in kept))


def _tensorboard(folder: Path, start: int):
    """A writer of events, or None where the optional package is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=start + 1)


def _bar(stage: str, start: int, steps: int):
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    bar = Progress(*columns, TextColumn("{task.fields[left]}"), console=Console(stderr=True))
    bar.add_task(stage, total=steps, completed=start, left="")
    return bar
