"""Batches by number: a position in the data is one integer, and a resumed run draws what it would have drawn."""

import signal
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import count, islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

Data = Callable[[int], Iterable[Any]]  # position -> the batches from that one on, without end


class Stream:
    """Turns a dataset into the `data` of `seqgan.training.fit`: batch n holds the items n * batch_size and following.

    A dataset with a length is gone through again and again, in an order of its own in each epoch, which `seed` tells
    from others. One without answers every index from 0 up, without end, as a pure function of it. With `workers` items
    are made ahead of time in as many processes, and still arrive in order; they are collated as by torch's DataLoader.
    """

    def __init__(self, dataset: Dataset, batch_size: int, workers: int = 0, seed: int = 0):
        if batch_size < 1:
            raise ValueError(f"a batch has 1 item or more, not {batch_size}")
        self.dataset = Epochs(dataset, seed) if hasattr(dataset, "__len__") else dataset
        self.batch_size, self.workers = batch_size, workers

    def __call__(self, position: int, stride: int = 1) -> Iterator[Any]:
        """The batches number position, position + stride, position + 2 * stride, ..."""
        size = self.batch_size
        yield from DataLoader(
            self.dataset,
            batch_sampler=(range(n * size, (n + 1) * size) for n in count(position, stride)),
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=leave_signals_to_the_run,
            generator=torch.Generator(),  # else it would draw a seed from the global state
        )


class Epochs(Dataset):
    """A finite dataset without end: item n is what `shuffled` says."""

    def __init__(self, dataset: Dataset, seed: int = 0):
        if not len(dataset):
            raise ValueError("a dataset of no items")
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, index: int) -> Any:
        return self.dataset[shuffled(index, len(self.dataset), self.seed)[1]]


class Feed:
    """One rank's way through `data`: of every W batches one, so that W ranks see what one of the W-fold batch would.

    A `Stream` makes only this rank's batches; any other function makes all of them on every rank.
    """

    def __init__(self, data: Data, rank: int, ranks: int):
        self.data, self.rank, self.ranks = data, rank, ranks
        self.position = 0  # batches drawn, by all ranks together
        self.batches: Iterator[Any] | None = None

    def draw(self) -> Any:
        """The next batch. Data that come to an end are opened again at the position reached."""
        for _ in range(2):
            if self.batches is None:
                self.batches = self._open()
            for batch in self.batches:
                self.position += self.ranks
                return batch
            self.batches = None
        raise ValueError(f"the data gave no batch at position {self.position}")

    def _open(self) -> Iterator[Any]:
        if isinstance(self.data, Stream):
            return self.data(self.position + self.rank, self.ranks)
        return islice(self.data(self.position), self.rank, None, self.ranks)


def random_from(seed: int | None, device: str | torch.device = "cpu") -> torch.Generator:
    """Random numbers of their own: the same ones for the same seed, by chance without one."""
    random = torch.Generator(device)
    random.seed() if seed is None else random.manual_seed(seed)
    return random


def shuffled(index: int, length: int, seed: int) -> tuple[int, int]:
    """(epoch, item) for the draw number `index` of `length` items, which are shuffled anew in every epoch."""
    epoch, place = divmod(index, length)
    return epoch, int(_order(length, seed, epoch)[place])


@lru_cache(maxsize=4)
def _order(length: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(length)


def leave_signals_to_the_run(*_: Any) -> None:
    """For a worker process. Ctrl-C reaches every process of a terminal, and SIGTERM every one of a batch job or of
    `timeout`'s, but the interrupted step is to be finished with its batches.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
