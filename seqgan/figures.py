"""Pictures of runs, by matplotlib, which is imported only where one is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .checkpoint import replacing
from .record import read_metrics

Panels = Mapping[str, Mapping[str, str]]  # title -> recorded name -> its label

GAME: Panels = {
    "losses": {"discriminator/game": "D", "generator/game": "G"},
    "scores": {"discriminator/real": "D(real)", "discriminator/fake": "D(fake)"},
    "lengths of the gradients": {"discriminator/gradient_norm": "D", "generator/gradient_norm": "G"},
}
"""What every game of a discriminator and a generator records."""


def new_figure(width: float, height: float, dpi: int = 100) -> Any:
    """A matplotlib figure in inches, on no screen."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'seqgan[plot]'") from error
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: Path) -> None:
    with replacing(path) as part:
        figure.savefig(part, format="png")


def draw_curves(axis: Any, runs: Mapping[str, Path], names: Mapping[str, str], title: str) -> None:
    """What runs recorded over their steps; runs: label -> folder, names: recorded name -> what its label ends with."""
    for label, folder in runs.items():
        lines = read_metrics(folder)
        for name, part in names.items():
            points = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
            if points:
                axis.plot(*zip(*points, strict=True), label=f"{label} {part}".strip())
    axis.set(title=title, xlabel="step")
    if axis.get_legend_handles_labels()[0]:
        axis.legend()


def draw_run(folder: Path, panels: Panels) -> None:
    """`curves.png` in a run's folder: a panel for each title of what the run recorded."""
    figure = new_figure(4 * len(panels), 4)
    for axis, (title, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        draw_curves(axis, {"": folder}, names, title)
    save_figure(figure, folder / "curves.png")
