"""Resampling of a stream by a windowed sinc: Smith and Gossett (1984), "A flexible sampling-rate conversion method".

Resamplers built for whole files hold back 40 to 120 ms of a stream, too much in front of a model whose own delay is
32 ms; this one waits for half its filter, 2 ms at 16 kHz.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd

import numpy as np

CROSSINGS = 32  # zero crossings of the sinc on each side, at the lower of the two rates
KAISER = 5.65  # shape of the window: 60 dB
CUTOFF = 0.956  # of the lower rate's Nyquist frequency; the transition is 450 Hz to each side of it at 16 kHz
BLOCK = 128  # output samples to one matrix product, at least
LONGEST_CYCLE = (
    2048  # output samples until the phases of the filter repeat; a longer cycle's matrices are made as they are needed
)


class Resampler:
    """Channels from one rate to another, chunk by chunk, in constant memory and exactly aligned.

    Output sample n stands at the time n / target as sample m of the input does at m / source. `delay` is how far, in
    seconds, the input has to be known beyond an output sample.
    """

    def __init__(self, source: int, target: int, channels: int):
        self.source, self.target = source, target
        self.half = filter_half(source, target)
        self.delay = self.half / source
        divisor = gcd(source, target)
        self.up, self.down = target // divisor, source // divisor  # output n stands at input n * down / up
        self.outputs = self.up * ceil(BLOCK / self.up) if self.up <= LONGEST_CYCLE else BLOCK
        self.kept = np.zeros((channels, self.half), np.float32)  # the input from sample `first` on
        self.first = -self.half
        self.received = self.made = 0

    def push(self, wave: np.ndarray) -> np.ndarray:
        """wave: (channels, samples) float32 -> the output that it completes: (channels, samples at the target rate)"""
        self.kept = np.concatenate([self.kept, wave], axis=1)
        self.received += wave.shape[1]
        known = max(0, self.received - self.half)  # outputs that stand before this input sample see all that they need
        return self.make(-(-known * self.up // self.down))

    def finish(self) -> np.ndarray:
        """The rest, as if silence followed: ceil(received * target / source) samples in all."""
        return self.make(-(-self.received * self.up // self.down))

    def make(self, end: int) -> np.ndarray:
        """Output samples from `made` to `end`; input that no later one needs is forgotten."""
        pieces = [np.zeros((len(self.kept), 0), np.float32)]
        while True:
            at = (
                self.made // self.outputs * self.outputs
            )  # blocks lie on a fixed grid; one that is not complete is made again
            floor, phase = divmod(at * self.down, self.up)
            begin = floor - self.half + 1 - self.first
            if self.made >= end:
                break
            matrix = block_matrix(self.source, self.target, self.outputs, phase)
            inputs = self.kept[:, begin : begin + len(matrix)]
            block = inputs @ matrix[: inputs.shape[1]]
            pieces.append(block[:, self.made - at : end - at])
            self.made = min(end, at + self.outputs)
        self.kept, self.first = self.kept[:, begin:].copy(), self.first + begin
        return np.concatenate(pieces, axis=1)


def filter_half(source: int, target: int) -> int:
    """Input samples on each side of an output sample."""
    return ceil(CROSSINGS * max(1.0, source / target))


@lru_cache(maxsize=8)
def block_matrix(source: int, target: int, outputs: int, phase: int) -> np.ndarray:
    """The filter as a matrix (input, output) float32: from all inputs that `outputs` successive samples see to these.

    phase: of the first one, in steps of 1 / up of an input sample.
    """
    divisor, half = gcd(source, target), filter_half(source, target)
    up, down = target // divisor, source // divisor
    floor, rest = np.divmod(phase + np.arange(outputs) * down, up)
    taps = np.arange(1 - half, half + 1)
    weights = kernel(rest[:, None] / up - taps, half, CUTOFF * min(1.0, target / source))
    matrix = np.zeros((floor[-1] + len(taps), outputs), np.float32)
    matrix[floor[:, None] + taps + half - 1, np.arange(outputs)[:, None]] = weights / weights.sum(1, keepdims=True)
    return matrix


def kernel(distance: np.ndarray, half: int, cutoff: float) -> np.ndarray:
    """Kaiser-windowed sinc at distances in samples; cutoff: of the Nyquist frequency."""
    window = np.i0(KAISER * np.sqrt(np.maximum(0, 1 - (distance / half) ** 2)))
    return np.sinc(cutoff * distance) * window
