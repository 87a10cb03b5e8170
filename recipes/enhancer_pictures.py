"""A page of spectrograms: a row for each recording, a column for what it was to be, what it was, and each system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

from seqgan.figures import new_figure, save_figure
from seqgan.speech.plot import RANGE, Spectrogram


def draw_page(path: Path, names: Sequence[str], columns: Mapping[str, Sequence[Path]]) -> None:
    """Writes a PNG. names: of the recordings; columns: by title, the file of each recording.

    A row has one scale of colours, whose top is the loudest bin of its first column.
    """
    figure = new_figure(2.6 * len(columns), 1.1 * len(names) + 0.4, dpi=60)
    axes = figure.subplots(len(names), len(columns), squeeze=False)
    for title, axis in zip(columns, axes[0], strict=True):
        axis.set_title(title, fontsize=10, parse_math=False)
    for row, (name, *files) in enumerate(zip(names, *columns.values(), strict=True)):
        images = [decibels(file) for file in files]
        top = images[0].max()
        for axis, image in zip(axes[row], images, strict=True):
            axis.imshow(image, cmap="magma", origin="lower", aspect="auto", vmin=top - RANGE, vmax=top)
            axis.set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(name, fontsize=8, parse_math=False)
    save_figure(figure, path)


def decibels(path: Path) -> np.ndarray:
    """(frequency, time) of a recording of one channel"""
    wave, rate = soundfile.read(path, dtype="float32")
    spectrogram = Spectrogram(rate)
    spectrogram.push(wave[None])
    return spectrogram.decibels()
