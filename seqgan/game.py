"""One step of the game: every player moves in its turn (after the training phases of StyleGAN2, Karras et al. 2020)."""

import math
import os
import random
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object, send_to_device
from torch import Tensor, nn

from .ema import EMA
from .stream import Data, Feed


@dataclass
class Turn:
    """What a phase's loss is given.

    `share` lives for one step: what was made for one player (a fake, with its graph) and can be used by the next. It
    is emptied when a repeat draws a fresh batch. `generator` is on the training's device and begins each step at a
    state of that step.
    """

    batch: Any
    step: int  # from 0
    generator: torch.Generator
    share: dict[str, Any]
    watched: dict[str, Any] = field(default_factory=dict)

    def log(self, name: str, value: Tensor | float) -> None:
        """Records what is only watched, not minimised."""
        self.watched[name] = value


@dataclass
class Phase:
    """One player's move. Only the parameters in its optimizer get gradients; every other player is frozen."""

    name: str
    modules: Sequence[nn.Module]
    optimizer: torch.optim.Optimizer
    loss: Callable[[Turn], dict[str, Tensor]]  # named terms; their sum is minimised, each is logged
    data: Data | None = None  # a stream of its own
    repeat: int = 1  # moves in a step, each on a fresh batch (WGAN's five critic steps)
    every: int = 1  # moves only every so many steps, its terms scaled by that number (lazy regularisation)
    schedule: Callable[[int], float] | None = None  # step -> factor on the optimizer's learning rates
    after: Callable[[], None] | None = None  # weight clipping, BEGAN's k
    clip: float | None = None  # the largest norm of the gradient

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"] if p.requires_grad]


class Game:
    """The players, their data and their counters. `play` is one step; all that later steps depend on is saved."""

    def __init__(
        self,
        phases: Sequence[Phase],
        data: Data | None,
        state: Mapping[str, Any],
        ema: EMA | None = None,
        seed: int = 0,
        precision: str | None = None,
    ):
        self.accelerator = Accelerator()
        self.device, self.rank = self.accelerator.device, self.accelerator.process_index
        self.ranks = self.accelerator.num_processes
        self.precision = precision or self.accelerator.mixed_precision
        self.phases, self.state, self.ema, self.seed = list(phases), dict(state), ema, seed
        if ema is not None and not any(item is ema for item in self.state.values()):
            if "ema" in self.state:
                raise ValueError("'ema' in the state is another average: give that one another name")
            self.state["ema"] = ema
        _validate(self.phases, data, self.state, self.precision)
        if int(os.environ.get("WORLD_SIZE", 1)) != self.ranks:
            raise ValueError("launched as ranks that do not see each other; on the CPU set ACCELERATE_USE_CPU=true")
        self.players = list(dict.fromkeys([module for phase in self.phases for module in phase.modules]))
        self.players += [m for m in self.state.values() if isinstance(m, nn.Module) and m not in self.players]
        for player in self.players:
            player.to(self.device).train()
        if ema is not None:
            ema.to(self.device)
        self.feed = Feed(data, self.rank, self.ranks) if data else None
        self.own_feeds = {p.name: Feed(p.data, self.rank, self.ranks) for p in self.phases if p.data}
        self.generator = torch.Generator(self.device)
        self.step, self.seconds = 0, 0.0
        self.skipped = {phase.name: 0 for phase in self.phases}  # updates skipped in a row
        self.sums: dict[str, list[float]] = {}  # name: [sum, count] since the last report

    def play(self) -> None:
        """One step: every phase whose turn it is moves. Where an update is skipped, so is the rest of the step."""
        began = time.monotonic()
        self._seed()
        self._play_phases()
        if self.ema is not None:
            self.ema.update()
        self.step += 1
        self.seconds += time.monotonic() - began

    def _play_phases(self) -> None:
        share, batch = {}, None
        for phase in self.phases:
            if self.step % phase.every:
                continue
            for repeat in range(phase.repeat):
                if phase.name in self.own_feeds:
                    drawn = self._draw(self.own_feeds[phase.name])
                else:
                    drawn = batch = self._draw(self.feed) if repeat or batch is None else batch
                if repeat:
                    share = {}
                if not self._move(phase, Turn(drawn, self.step, self.generator, share)):
                    return

    def report(self) -> dict[str, float]:
        """The averages, over steps and ranks, of all that was logged since the last report."""
        gathered = gather_object([self.sums]) if self.ranks > 1 else [self.sums]
        self.sums = {}
        names = dict.fromkeys(name for sums in gathered for name in sums)
        pairs = {name: [sums[name] for sums in gathered if name in sums] for name in names}
        return {name: sum(s for s, _ in pair) / sum(n for _, n in pair) for name, pair in pairs.items()}

    def any_rank(self, flag: bool) -> bool:
        """Whether the flag is up on one rank at least."""
        if self.ranks == 1:
            return flag
        return self.accelerator.reduce(torch.tensor(float(flag), device=self.device), "sum").item() > 0

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "ranks": self.ranks,
            "seconds": self.seconds,
            "skipped": self.skipped,
            "sums": self.sums,
            "position": self.feed.position if self.feed else 0,
            "positions": {name: feed.position for name, feed in self.own_feeds.items()},
            "modules": {phase.name: [module.state_dict() for module in phase.modules] for phase in self.phases},
            "optimizers": {phase.name: phase.optimizer.state_dict() for phase in self.phases},
            "state": {name: item.state_dict() for name, item in self.state.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for phase in self.phases:
            for module, values in zip(phase.modules, state["modules"][phase.name], strict=True):
                module.load_state_dict(values)
            phase.optimizer.load_state_dict(state["optimizers"][phase.name])
        for name, item in self.state.items():
            item.load_state_dict(state["state"][name])
        if self.feed:
            self.feed.position = state["position"]
        for name, feed in self.own_feeds.items():
            feed.position = state["positions"][name]
        self.step, self.seconds = state["step"], state["seconds"]
        if (ranks := state.get("ranks", self.ranks)) != self.ranks:
            times = f"{self.ranks / ranks:g} times as many items as before"
            warnings.warn(f"{ranks} processes began, {self.ranks} go on: a step sees {times}", stacklevel=2)
        self.skipped = dict(state["skipped"])
        self.sums = state["sums"] if self.rank == 0 else {}  # what is saved is the main rank's

    @torch.no_grad()
    def agree(self) -> None:
        """Gives every rank the main one's parameters and buffers."""
        if self.ranks > 1:
            tensors = [t for player in self.players for t in [*player.parameters(), *player.buffers()]]
            for tensor in [*tensors, *(self.ema.averages if self.ema else [])]:
                tensor.copy_(broadcast(tensor.detach().contiguous()))

    def _seed(self) -> None:
        """Makes all randomness a function of (seed, step, rank): none is to be saved, and no hook can disturb it."""
        words = np.random.SeedSequence([self.seed, self.step, self.rank]).generate_state(4, np.uint64).tolist()
        self.generator.manual_seed(words[0])
        torch.manual_seed(words[1])
        np.random.seed(words[2] % 2**32)
        random.seed(words[3])

    def _draw(self, feed: Feed) -> Any:
        return send_to_device(feed.draw(), self.device)

    def _move(self, phase: Phase, turn: Turn) -> bool:
        """One update of the phase's parameters, or none (False) where its loss or gradient is not finite."""
        parameters, buffers = phase.parameters, keep_buffers(self.players)
        phase.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            terms = phase.loss(turn)
        total = sum(terms.values())
        if isinstance(total, Tensor) and total.requires_grad:
            # Not by accelerate's `backward`, which scales by settings of its own (float16, accumulation of gradients).
            (total * phase.every).backward(inputs=parameters)
        if all(p.grad is None for p in parameters):
            raise ValueError(f"the loss of phase {phase.name!r} does not depend on the parameters of its optimizer")
        loss = self._average(parameters, total.detach())
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        finite = bool(loss.isfinite() and norm.isfinite())
        if finite:
            self._update(phase, turn.step, norm)
        else:
            restore_buffers(buffers)
        self.skipped[phase.name] = 0 if finite else self.skipped[phase.name] + 1
        values = {**terms, **turn.watched, "gradient_norm": norm, "skipped": not finite}
        if phase.schedule is not None:
            values["learning_rate"] = phase.optimizer.param_groups[0]["lr"]
        self._count(phase, values)
        return finite

    def _average(self, parameters: list[nn.Parameter], loss: Tensor) -> Tensor:
        """Averages the gradients over the ranks, in one message, and with them the loss."""
        if self.ranks == 1:
            return loss
        given = torch.tensor([float(p.grad is not None) for p in parameters], device=self.device)
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        message = torch.cat([part.flatten() for part in parts] + [given, loss.reshape(1)])
        sizes = [*(part.numel() for part in parts), len(parts), 1]
        *pieces, given, loss = self.accelerator.reduce(message, "mean").split(sizes)
        for parameter, piece, used in zip(parameters, pieces, given.tolist(), strict=True):
            parameter.grad = piece.view_as(parameter).to(parameter.dtype) if used else None
        return loss

    def _update(self, phase: Phase, step: int, norm: Tensor) -> None:
        if phase.clip is not None:
            nn.utils.clip_grads_with_norm_(phase.parameters, phase.clip, norm)
        if phase.schedule is not None:
            for group in phase.optimizer.param_groups:
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * phase.schedule(step)
        phase.optimizer.step()
        if phase.after is not None:
            phase.after()

    def _count(self, phase: Phase, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            number = float(value.detach() if isinstance(value, Tensor) else value)
            if math.isfinite(number):
                entry = self.sums.setdefault(f"{phase.name}/{name}", [0.0, 0])
                entry[0], entry[1] = entry[0] + number, entry[1] + 1


def keep_buffers(modules: Sequence[nn.Module]) -> list[tuple[nn.Module, str, Tensor, Tensor]]:
    """What forward passes change: the statistics of normalisation, the vectors of spectral norm."""
    parts = [part for module in modules for part in module.modules()]
    return [(part, name, b, b.clone()) for part in parts for name, b in part._buffers.items() if b is not None]


@torch.no_grad()
def restore_buffers(kept: list[tuple[nn.Module, str, Tensor, Tensor]]) -> None:
    for part, name, buffer, copy in kept:
        part._buffers[name] = buffer.copy_(copy)


def _validate(phases: list[Phase], data: Data | None, state: Mapping[str, Any], precision: str) -> None:
    names = [phase.name for phase in phases]
    if not phases or len(set(names)) < len(names):
        raise ValueError(f"a game needs phases, each with a name of its own, not {names}")
    for phase in phases:
        if phase.repeat < 1 or phase.every < 1:
            raise ValueError(f"phase {phase.name!r}: repeat and every count from 1")
        if data is None and phase.data is None:
            raise ValueError(f"phase {phase.name!r} has no data, neither its own nor the game's")
        owned = {id(p) for module in phase.modules for p in module.parameters()}
        if not phase.parameters or any(id(p) not in owned for p in phase.parameters):
            raise ValueError(f"phase {phase.name!r}: its optimizer must move parameters of its modules, and no others")
    for name, item in state.items():
        if not (hasattr(item, "state_dict") and hasattr(item, "load_state_dict")):
            raise ValueError(
                f"state {name!r} cannot be saved: {type(item).__name__} has no state_dict and load_state_dict"
            )
    if precision not in ("no", "bf16"):
        raise ValueError(f"precision is 'no' (float32) or 'bf16', not {precision!r}")
