"""A picture of a recording before and after: two spectrograms on one scale of colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

COLUMNS = 1024  # of a picture, at least, unless the recording has fewer frames
BINS = 512  # of a picture, at most
RANGE = 80  # dB from the brightest to black


class Spectrogram:
    """Power over time and frequency of a recording of any length, in constant memory: frames are averaged."""

    def __init__(self, sample_rate: int):
        self.sample_rate = sample_rate
        self.size = 2 ** round(np.log2(0.032 * sample_rate))
        self.window = np.hanning(self.size + 1)[:-1].astype(np.float32)
        self.kept: np.ndarray | None = None  # samples of frames that are not complete
        self.columns: list[np.ndarray] = []
        self.frames_per_column, self.partial = 1, []
        self.samples = 0

    @classmethod
    def of(cls, wave: np.ndarray, sample_rate: int) -> Spectrogram:
        """wave: (samples,)"""
        spectrogram = cls(sample_rate)
        spectrogram.push(wave[None])
        return spectrogram

    def push(self, wave: np.ndarray) -> None:
        """wave: (channels, samples)"""
        self.samples += wave.shape[1]
        wave = np.nan_to_num(wave, nan=0, posinf=0, neginf=0)
        self.kept = wave if self.kept is None else np.concatenate([self.kept, wave], 1)
        hop = self.size // 2
        frames = (self.kept.shape[1] - self.size) // hop + 1
        if frames <= 0:
            return
        for start in range(0, frames, 64):
            piece = self.kept[:, start * hop : (min(start + 64, frames) + 1) * hop]
            spectrum = np.fft.rfft(sliding_window_view(piece, self.size, 1)[:, ::hop] * self.window, axis=2)
            self.add(np.square(np.abs(spectrum)).mean(0)[:, :-1])  # over the channels; without the Nyquist bin
        self.kept = self.kept[:, frames * hop :].copy()

    def add(self, power: np.ndarray) -> None:
        """power: (frame, frequency)"""
        if power.shape[1] > BINS:
            power = power.reshape(len(power), BINS, -1).mean(2)
        for frame in power:
            self.partial.append(frame)
            if len(self.partial) == self.frames_per_column:
                self.columns.append(np.mean(self.partial, 0))
                self.partial = []
        if len(self.columns) >= 2 * COLUMNS:
            self.columns = [(a + b) / 2 for a, b in zip(self.columns[::2], self.columns[1::2], strict=False)]
            self.frames_per_column *= 2

    def decibels(self) -> np.ndarray:
        """(frequency, column), full scale is 0"""
        columns = self.columns or [np.zeros(min(BINS, self.size // 2))]
        return 10 * np.log10(np.stack(columns, 1) / (self.window.sum() / 2) ** 2 + 1e-20)

    def show(self, axis: Any, top: float) -> Any:
        """Draws it over s and kHz, with `top` dB as the brightest, and returns what a colour bar needs."""
        extent = (0, self.samples / self.sample_rate, 0, self.sample_rate / 2000)
        levels = {"vmin": top - RANGE, "vmax": top}
        return axis.imshow(self.decibels(), cmap="magma", origin="lower", aspect="auto", extent=extent, **levels)


def draw(path: str, before: Spectrogram, after: Spectrogram, title: str) -> None:
    """Writes the picture as PNG."""
    from seqgan.figures import new_figure, save_figure

    top = max(before.decibels().max(), after.decibels().max())
    figure = new_figure(10, 6.5, dpi=120)
    axes = figure.subplots(2, 1, sharex=True)
    for axis, spectrogram, name in zip(axes, (before, after), ("before", "after"), strict=True):
        shown = spectrogram.show(axis, top)
        axis.set_title(f"{Path(title).name}, {name}".encode(errors="replace").decode(), fontsize=10, parse_math=False)
        axis.set_ylabel("frequency (kHz)")
    axes[-1].set_xlabel("time (s)")
    figure.colorbar(shown, ax=list(axes), label="level (dBFS)")
    save_figure(figure, Path(path))
