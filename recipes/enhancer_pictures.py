"""A page of spectrograms: a row for each recording, a column for what it was to be, what it was, and each system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import soundfile

from seqgan.figures import new_figure, save_figure
from seqgan.speech.plot import Spectrogram


def draw_page(path: Path, names: Sequence[str], columns: Mapping[str, Sequence[Path]]) -> None:
    """Writes a PNG. names: of the recordings; columns: by title, the file of each recording.

    A row has one scale of colours, whose top is the loudest bin of its first column.
    """
    figure = new_figure(2.6 * len(columns), 1.1 * len(names) + 0.4, dpi=60)
    axes = figure.subplots(len(names), len(columns), squeeze=False)
    for title, axis in zip(columns, axes[0], strict=True):
        axis.set_title(title, fontsize=10, parse_math=False)
    for row, (name, *files) in enumerate(zip(names, *columns.values(), strict=True)):
        spectrograms = [Spectrogram.of(*soundfile.read(file, dtype="float32")) for file in files]
        top = spectrograms[0].decibels().max()
        for axis, spectrogram in zip(axes[row], spectrograms, strict=True):
            spectrogram.show(axis, top)
            axis.set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(name, fontsize=8, parse_math=False)
    save_figure(figure, path)
