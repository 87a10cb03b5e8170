"""A small game with everything whose state could be lost, and a command: `python -m tests.core.toy RUN STEPS`."""

import argparse
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from seqgan.checkpoint import latest
from seqgan.objectives import NonSaturating
from seqgan.penalties import spectral_norm
from seqgan.training import EMA, Phase, Stream, fit

OBJECTIVE = NonSaturating()


class Points:
    """A dataset: index -> (2,), from a Gaussian around (3, -1)."""

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.randn(2, generator=torch.Generator().manual_seed(index)) * 0.5 + torch.tensor([3.0, -1.0])


class Pool:
    """A replay pool: the last fakes."""

    def __init__(self):
        self.fakes = torch.zeros(4, 2)

    def state_dict(self):
        return {"fakes": self.fakes}

    def load_state_dict(self, state):
        self.fakes = state["fakes"]


class Toy:
    """Batch and spectral norm, dropout, two kinds of optimiser with momenta, a schedule, an average, a pool."""

    def __init__(self, seed: int = 0, workers: int = 0):
        torch.manual_seed(seed)
        self.generator = nn.Sequential(
            nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2)
        )
        self.discriminator = spectral_norm(nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1)))
        self.ema, self.pool = EMA(self.generator, 0.9), Pool()
        self.data = Stream(Points(), batch_size=4, workers=workers)
        self.before_loss = lambda turn: None
        decay = {"schedule": lambda step: 1 / (1 + step)}
        g = torch.optim.Adam(self.generator.parameters(), lr=0.01, betas=(0.5, 0.9))
        d = torch.optim.RMSprop(self.discriminator.parameters(), lr=0.01, momentum=0.5)
        self.phases = [
            Phase("discriminator", [self.discriminator], d, self.discriminator_loss, repeat=2),
            Phase("generator", [self.generator], g, self.generator_loss, clip=1.0, **decay),
        ]

    def fake(self, turn) -> torch.Tensor:
        if "fake" not in turn.share:
            z = torch.randn(len(turn.batch), 4, generator=turn.generator, device=turn.generator.device)
            turn.share["fake"] = self.generator(z)
        return turn.share["fake"]

    def discriminator_loss(self, turn):
        self.before_loss(turn)
        fake = self.fake(turn).detach()
        self.pool.fakes = fake
        noise = 0.01 * torch.randn_like(turn.batch)  # from the global random state
        real = self.discriminator(turn.batch + noise)
        turn.log("real_score", real.mean())
        return {"game": OBJECTIVE.discriminator(real, self.discriminator(fake))}

    def generator_loss(self, turn):
        return {"game": OBJECTIVE.generator(self.discriminator(self.fake(turn)))}

    def fit(self, run: Path, steps: int, **options) -> "Toy":
        options = {"checkpoint_every": 5, "log_every": 2, "seed": 7, "state": {"pool": self.pool}, **options}
        fit(self.phases, self.data, steps, run, ema=self.ema, **options)
        return self


def checkpoint(run: Path, stage: str = "adversarial") -> dict:
    return latest(run / "checkpoints", stage)[1]


def assert_same(left, right, where="checkpoint"):
    """Equal to the last bit, whatever the nesting. The seconds may differ."""
    assert type(left) is type(right), where
    if isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left.keys() - {"seconds"}:
            assert_same(left[key], right[key], f"{where}[{key!r}]")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for index, pair in enumerate(zip(left, right, strict=True)):
            assert_same(*pair, f"{where}[{index}]")
    elif isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype and torch.equal(left, right), where
    else:
        assert left == right, where


def metrics(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def scalar(value: float = 0.0, learning_rate: float = 1.0):
    """A player with one weight, and plain gradient descent on it."""
    player = nn.Linear(1, 1, bias=False)
    nn.init.constant_(player.weight, value)
    return player, torch.optim.SGD(player.parameters(), lr=learning_rate)


def alone(factor=lambda turn: 1.0, **options) -> Phase:
    """The only move of a game: its player's one weight, times `factor(turn)`, is minimised."""
    player, optimizer = scalar()
    return Phase("p", [player], optimizer, lambda turn: {"x": factor(turn) * player.weight.sum()}, **options)


def count_from(position: int) -> Iterator[torch.Tensor]:
    """Batches that carry their own number."""
    while True:
        yield torch.tensor([float(position)])
        position += 1


def stop_clock(monkeypatch) -> Callable[[float], None]:
    """The monotonic clock stands still, but for the seconds that what is returned is given."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("steps", type=int)
    parser.add_argument("--kill-at", type=int, default=-1)
    parser.add_argument("--workers", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    toy = Toy(workers=arguments.workers)

    def kill(turn):
        if turn.step == arguments.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    toy.before_loss = kill
    toy.fit(arguments.run, arguments.steps)
