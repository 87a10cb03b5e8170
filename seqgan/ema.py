"""The exponential moving average of a player's weights (Yazici et al. 2019 show what it does for generators)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase  # of batch and instance normalisation


class EMA:
    """average <- decay * average + (1 - decay) * value, after every step, for what `modules` have learnt.

    That is their parameters and the statistics of their normalisation, which are of the last few batches and would make
    averaged weights nearly as noisy as the last ones. The decay rises to its final value as (1 + n) / (10 + n) over the
    updates n, so that the beginning is soon forgotten.
    """

    def __init__(self, modules: nn.Module | Sequence[nn.Module], decay: float = 0.999):
        self.modules = [modules] if isinstance(modules, nn.Module) else list(modules)
        self.decay, self.updates = decay, 0
        self.averages = [value.detach().clone() for value in self._values()]

    def _values(self) -> list[Tensor]:
        parameters = [p for module in self.modules for p in module.parameters()]
        norms = [part for module in self.modules for part in module.modules() if isinstance(part, _NormBase)]
        return [*parameters, *(b for norm in norms for b in norm.buffers(recurse=False) if b.is_floating_point())]

    @torch.no_grad()
    def update(self) -> None:
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for average, value in zip(self.averages, self._values(), strict=True):
            average.lerp_(value, 1 - decay)
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within, the modules have the averages: `with ema.applied(): save_weights(path, generator)`."""
        kept = [value.detach().clone() for value in self._values()]
        self._put(self.averages)
        try:
            yield
        finally:
            self._put(kept)

    @torch.no_grad()
    def _put(self, values: Sequence[Tensor]) -> None:
        for own, value in zip(self._values(), values, strict=True):
            own.copy_(value)

    def to(self, device: torch.device) -> None:
        self.averages = [average.to(device) for average in self.averages]

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "averages": self.averages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        for average, value in zip(self.averages, state["averages"], strict=True):
            average.copy_(value)
