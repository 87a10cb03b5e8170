"""`fit`, the loop of the game: phases in turn, step after step, with evaluations, checkpoints and a record on the way.

It runs on one process or on as many as `accelerate launch` starts, and can be stopped anywhere: the same call goes on
from the last checkpoint, bit for bit. A method is a list of phases; see `Phase` and `Turn`.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list

from .checkpoint import first_line, latest, save
from .ema import EMA
from .game import Game, Phase, Turn, keep_buffers, restore_buffers
from .record import Record
from .stream import Data, Stream, shuffled

__all__ = ["EMA", "Phase", "Stream", "Turn", "fit", "shuffled"]

Hook = Callable[[int], Mapping[str, float] | None]
QUIET = ("/gradient_norm", "/skipped", "/learning_rate")  # recorded, but not shown while training


def fit(
    phases: Sequence[Phase],
    data: Data | None,
    steps: int,
    run: str | Path,
    *,
    stage: str = "adversarial",
    state: Mapping[str, Any] | None = None,
    every: Mapping[int, Hook] | None = None,
    ema: EMA | None = None,
    seed: int = 0,
    precision: str | None = None,
    log_every: int = 50,
    checkpoint_every: int | None = None,
    checkpoint_seconds: float = 600.0,
    patience: int = 10,
) -> None:
    """Trains the players of `phases` in place, up to `steps` steps of this `stage` in all, and writes the folder `run`.

    data: `data(position)` gives the batches from that position on; best a `Stream`. On W ranks each takes every W-th
    batch. stage: a finished stage of this name is only loaded, an unfinished one is gone on with. state: whatever
    else has a state_dict and belongs to the run (replay pools, baselines); on several ranks the main one's is kept.
    every: {interval: hook}; `hook(step)` runs on the main rank, in evaluation mode, without gradients, with the
    weights of `ema`. What it returns is recorded. It cannot change the training.
    ema: averaged after every step, and saved. precision: "no" (float32) or "bf16" (autocast); None is what
    `accelerate launch` was told. log_every: steps between records of the terms' averages. checkpoint_every,
    checkpoint_seconds: a checkpoint after so many steps, and when so much time has passed since the last. patience:
    an update whose loss or gradient is not finite is skipped; so many skipped in a row end the training with
    FloatingPointError.

    SIGINT (Ctrl-C) and SIGTERM finish the step, save, and raise SystemExit; a second one acts at once.
    """
    if log_every < 1 or min(every or [1]) < 1:
        raise ValueError(f"log_every and the intervals of hooks count from 1: {log_every}, {list(every or [])}")
    game = Game(phases, data, state or {}, ema, seed, precision)
    checkpoints = Path(run) / "checkpoints"
    main = game.accelerator.is_main_process
    _resume(game, checkpoints, stage)
    saved = time.monotonic()
    with Record(run, stage, steps, game.step, main) as record, _interruptible() as caught:
        if game.step:
            record.say(f"{'finished' if game.step >= steps else 'goes on'} at step {game.step}")
        stop = False
        while game.step < steps and not stop:
            game.play()
            record.tick(game.step)
            stuck = _warn_of_skips(game, record, patience)
            if game.step % log_every == 0 or game.step == steps:
                values = game.report()
                record.write(game.step, values, game.seconds)
                record.progress(game.step, {k: v for k, v in values.items() if not k.endswith(QUIET)})
            for interval, hook in (every or {}).items():
                if game.step % interval == 0:
                    _look(game, hook, record)
            stop = game.any_rank(bool(caught))
            last = stop or game.step == steps or stuck is not None
            if main and (last or _due(saved, game.step, checkpoint_every, checkpoint_seconds)):
                save(checkpoints, stage, game.step, game.state_dict())
                saved = time.monotonic()
            if stuck is not None:
                raise stuck
        if stop or game.any_rank(bool(caught)):  # or while the last step was saved: what follows is not to begin
            record.say(f"stopped and saved at step {game.step}; the same command goes on from there")
            raise SystemExit(128 + (caught[0] if caught else signal.SIGTERM))


def _resume(game: Game, checkpoints: Path, stage: str) -> None:
    """Puts the game where the stage's last checkpoint was; what the main rank reads is given to all."""
    found = [latest(checkpoints, stage) if game.accelerator.is_main_process else None]
    if game.ranks > 1:
        broadcast_object_list(found)
    if found[0] is not None:
        path, state = found[0]
        try:
            game.load_state_dict(state)
        except (KeyError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{path} is of another model or other settings, use another folder: {first_line(error)}"
            ) from error
    game.agree()


def _look(game: Game, hook: Hook, record: Record) -> None:
    """Runs a hook and records what it gives; afterwards all is as it was: weights, modes, buffers, random state."""
    if not game.accelerator.is_main_process:
        return
    began, step = time.monotonic(), game.step
    modes = [(part, part.training) for player in game.players for part in player.modules()]
    buffers = keep_buffers(game.players)
    for player in game.players:
        player.eval()
    try:
        with _forked_random_state(), game.ema.applied() if game.ema else nullcontext(), torch.no_grad():
            values = hook(step)
    finally:
        restore_buffers(buffers)
        for part, training in modes:
            part.training = training
    game.seconds += time.monotonic() - began
    if values:
        record.write(step, values, game.seconds)
        record.say(f"step {step}: " + "  ".join(f"{name} {value:.4g}" for name, value in values.items()))


@contextmanager
def _forked_random_state() -> Iterator[None]:
    kept = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])


def _warn_of_skips(game: Game, record: Record, patience: int) -> FloatingPointError | None:
    """Tells of updates skipped in this step; the error to raise if that has lasted too long."""
    for name, times in game.skipped.items():
        if times:
            message = (
                f"phase {name!r}: loss or gradient is not finite, update skipped ({times} in a row, step {game.step})"
            )
            record.say(message)
            if times >= patience:
                return FloatingPointError(f"{message}; the players are as they were before and are saved")
    return None


def _due(saved: float, step: int, interval: int | None, seconds: float) -> bool:
    return (bool(interval) and step % interval == 0) or time.monotonic() - saved >= seconds


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Within, the first signal to stop is only put on the list; after it the signal has its usual effect again."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only the main one may handle signals
        yield caught
        return
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    process = os.getpid()

    def note(number: int, frame: Any) -> None:
        signal.signal(number, usual[number])
        if os.getpid() == process:
            caught.append(number)
        else:  # a worker forked meanwhile, which the signal is meant to end
            signal.raise_signal(number)

    for number in usual:
        signal.signal(number, note)
    try:
        yield caught
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
