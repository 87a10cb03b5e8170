"""Runs of seqgan_oracle.py side by side: what each system comes to, and what the temperature would have done instead.

A system that lowers NLL_oracle at the cost of NLL_gen has done nothing that a lower temperature does not do. Its gap
is its NLL_oracle less that of a control at equal NLL_gen (interpolated), nats per token; below 0 it is better. Controls
are of the same seed: maximum likelihood at temperatures from 1.2 down, at its end and in the epoch that had the best
NLL_gen, and the way of the constant reward.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from seqgan.checkpoint import write_text
from seqgan.figures import new_figure, save_figure
from seqgan.record import read_metrics
from seqgan.tables import markdown_table, spread

Point = Mapping[str, Any]  # an evaluation
MEASURES = {"NLL_oracle": "nll_oracle", "NLL_gen": "nll_gen", "self-BLEU-2": "self_bleu_2"}
GAPS = ("gap to temperature", "gap to best epoch's", "gap to constant reward")
PAPER = {"mle": 9.038, "scheduled-sampling": 8.985, "pg-bleu": 8.946, "seqgan": 8.736}  # table 1, lengths of 20
EXPERIMENT = ("oracle", "oracle_seed", "vocabulary", "sequences")  # by which runs can be compared
SYSTEMS = ("mle", "scheduled-sampling", "constant", "pg-bleu", "seqgan")
GAMES = SYSTEMS[2:]
LIKELIHOOD = ("mle_epochs", "mle_evaluate")
GAME = ("steps", "batch", "generator_rate", "evaluate_every")
# What of its schedule a system heeds; all of it where it is not named here.
HEEDED = {
    "mle": LIKELIHOOD,
    "scheduled-sampling": (*LIKELIHOOD, "truth_fall"),
    "constant": (*LIKELIHOOD, *GAME),
    "pg-bleu": (*LIKELIHOOD, *GAME, "rollouts", "baseline"),
}


@dataclass(frozen=True)
class Run:
    folder: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        path = self.folder / "config.json"
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if not {"system", "schedule"} <= found.keys():
            raise ValueError(f"{self.folder} is no run of seqgan_oracle.py")
        return found

    @property
    def system(self) -> str:
        return self.config["system"]

    @property
    def schedule(self) -> dict[str, Any]:
        """What this system heeds of it."""
        whole = self.config["schedule"]
        return {name: whole[name] for name in HEEDED.get(self.system, whole)}

    @cached_property
    def points(self) -> list[Point]:
        """Evaluations in their order; a game's begin where likelihood ended."""
        stage = "adversarial" if self.system in GAMES else self.system
        found = evaluations(self.folder, stage)
        if not found:
            raise ValueError(f"{self.folder} has no evaluation of its stage {stage} yet")
        return evaluations(self.folder, "mle")[-1:] + found if self.system in GAMES else found

    @cached_property
    def controls(self) -> dict[str, Any]:
        path = self.folder / "controls.json"
        if not path.exists():
            raise ValueError(f"{path} is missing: the run of maximum likelihood is not finished")
        return json.loads(path.read_text(encoding="utf-8"))


def evaluations(folder: Path, stage: str) -> list[Point]:
    """Those of a stage in a run's record; none where there is no record yet."""
    return [entry for entry in read_metrics(folder) if entry["stage"] == stage and "nll_oracle" in entry]


class Curve:
    """NLL_oracle over NLL_gen along the points of a control, from the one of best NLL_gen on."""

    def __init__(self, points: Sequence[Point]):
        best = min(range(len(points)), key=lambda i: points[i]["nll_gen"])
        self.points = sorted(points[best:], key=lambda point: point["nll_gen"])

    def gap(self, point: Point) -> float:
        """How far the point lies above the curve; NaN where the curve does not reach."""
        x, y = ([p[name] for p in self.points] for name in ("nll_gen", "nll_oracle"))
        return point["nll_oracle"] - float(np.interp(point["nll_gen"], x, y, left=math.nan, right=math.nan))


def tabulate(folders: Sequence[Path], target: Path) -> str:
    """Writes table.md and table.png to `target`; gives the table."""
    runs = [Run(folder) for folder in folders]
    for name in EXPERIMENT:
        values = {Path(str(run.config.get(name))).name for run in runs}
        if len(values) > 1:
            raise ValueError(f"runs of one table have one {name}, not {' and '.join(sorted(values))}")
    for system in ("mle", "constant"):
        seeds = Counter(run.config["seed"] for run in runs if run.system == system)
        if seeds and max(seeds.values()) > 1:
            raise ValueError(f"gaps are measured from one run of {system} a seed, not from {max(seeds.values())}")
    likelihood = {run.config["seed"]: run for run in runs if run.system == "mle"}
    curves = {
        (seed, gap): Curve(run.controls[name])
        for seed, run in likelihood.items()
        for gap, name in zip(GAPS, ("temperatures", "best_temperatures"), strict=False)
    }
    curves |= {(run.config["seed"], GAPS[2]): Curve(run.points) for run in runs if run.system == "constant"}
    groups = grouped(runs)
    table = table_of(groups, likelihood, curves)
    write_text(target / "table.md", table)
    draw(target / "table.png", groups, curves)
    return table


def grouped(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs that differ in the seed only, by the system's name, and by what differs where a system has several."""

    def key(run: Run) -> tuple[int, str]:
        return SYSTEMS.index(run.system), json.dumps(run.schedule)

    groups = [list(group) for _, group in groupby(sorted(runs, key=key), key)]
    for group in groups:
        seeds = [run.config["seed"] for run in group]
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"one run twice: {', '.join(str(run.folder) for run in group)} have the seeds {seeds}")
    named = {}
    for group in groups:
        schedules = [other[0].schedule for other in groups if other[0].system == group[0].system]
        differing = [name for name in schedules[0] if any(each[name] != schedules[0][name] for each in schedules)]
        settings = [f"{name} {group[0].schedule[name]}" for name in differing]
        named[", ".join([group[0].system, *settings])] = group
    return named


def table_of(
    groups: Mapping[str, Sequence[Run]], likelihood: Mapping[int, Run], curves: Mapping[tuple[int, str], Curve]
) -> str:
    heads = ["system", "paper", "seeds", *MEASURES, *GAPS]
    found: list[tuple[Any, ...]] = []

    def add(name: str, points: Sequence[tuple[int, Point]], paper: float | None = None) -> None:
        cells = [defined([point[key] for _, point in points]) for key in MEASURES.values()]
        for gap in GAPS:
            gaps = [curves[seed, gap].gap(point) for seed, point in points if (seed, gap) in curves]
            cells.append(defined(gaps, "+.3f") if len(gaps) == len(points) else "")
        found.append((name, paper or "", len(points), *cells))

    def add_control(name: str, *path: str | int) -> None:
        points = []
        for seed, run in likelihood.items():
            point = run.controls
            for step in path:
                point = point[step]
            points.append((seed, point))
        if points:
            add(name, points)

    add_control("the oracle itself", "oracle")
    add_control("trigram, Kneser-Ney", "trigram")
    for name, group in groups.items():
        last = [(run.config["seed"], run.points[-1]) for run in group]
        system = group[0].system
        add(name, last, PAPER.get(system))
        if system == "mle":
            for which, key in (("end", "temperatures"), ("best epoch", "best_temperatures")):
                for i, point in enumerate(group[0].controls[key]):
                    add_control(f"mle, {which}, temperature {point['temperature']:g}", key, i)
        elif system in GAMES and all((seed, GAPS[0]) in curves for seed, _ in last):
            lowest = []
            for run, (seed, _) in zip(group, last, strict=True):
                gaps = [curves[seed, GAPS[0]].gap(point) for point in run.points]
                places = [i for i, gap in enumerate(gaps) if not math.isnan(gap)]
                lowest += [(seed, run.points[min(places, key=gaps.__getitem__)])] if places else []
            add(f"{name}, where the first gap is lowest", lowest)
    return markdown_table(heads, found)


def defined(values: Sequence[float], form: str = ".3f") -> str:
    """Mean and standard deviation of the seeds; nothing where one of them has none."""
    return "" if not values or any(map(math.isnan, values)) else spread(values, form)


def draw(path: Path, groups: Mapping[str, Sequence[Run]], curves: Mapping[tuple[int, str], Curve]) -> None:
    """Left the plane of both likelihoods, right the gap to the temperature curve."""
    figure = new_figure(15, 6.5)
    plane, gaps = figure.subplots(1, 2)
    for gap, style in zip(GAPS[:2], ("--", ":"), strict=True):
        own = [curve.points for (_, name), curve in curves.items() if name == gap]
        for points in own:
            label = f"mle, {'end' if gap == GAPS[0] else 'best epoch'}, by temperature"
            line(plane, points, "nll_oracle", color="grey", linestyle=style, label=label)
        for point in own[0] if own else []:  # those of the other seeds lie close by
            plane.annotate(f"{point['temperature']:g}", (point["nll_gen"], point["nll_oracle"]), fontsize=7)
    for color, (name, group) in enumerate(groups.items()):
        for run in group:
            look = {"color": f"C{color}", "marker": ".", "markersize": 4, "label": name}
            line(plane, run.points, "nll_oracle", **look)
            curve = curves.get((run.config["seed"], GAPS[0]))
            if curve is not None and run.system != "mle":
                line(gaps, [{**point, "gap": curve.gap(point)} for point in run.points], "gap", **look)
    shown = [point for group in groups.values() for run in group for point in run.points]
    for axis, limits in ((plane.set_xlim, "nll_gen"), (plane.set_ylim, "nll_oracle")):
        values = [point[limits] for point in shown]
        margin = 0.1 * (max(values) - min(values)) + 0.05
        axis(min(values) - margin, max(values) + margin)
    gaps.axhline(0, color="grey", linestyle="--")
    plane.set(xlabel="NLL_gen (nats per token)", ylabel="NLL_oracle (nats per token)")
    gaps.set(xlabel="NLL_gen (nats per token)", ylabel="NLL_oracle less that of the temperature at equal NLL_gen")
    for axes in (plane, gaps):
        handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))  # one entry a name
        if handles:
            axes.legend(handles.values(), handles.keys())
    save_figure(figure, path)


def line(axes: Any, points: Sequence[Point], name: str, **look: Any) -> None:
    axes.plot([point["nll_gen"] for point in points], [point[name] for point in points], **look)
