"""What helps the enhancer, and by how much: one change at a time, from the same start, for the same budget.

    python recipes/enhancement_experiments.py --data DIR --run runs/experiments                     # all of them
    python recipes/enhancement_experiments.py --data DIR --run runs/experiments --only wave batch   # some of them
    python recipes/enhancement_experiments.py --data DIR --run runs/experiments --seeds 3           # each three times
    python recipes/enhancement_experiments.py --run runs/experiments --steps 0                      # only the table

Each is a run of recipes/enhancement.py on so many windows of two seconds, from random weights. The control is the model
(`base`, or another by --options) without an adversary. An interrupted run goes on, a finished one is not run again.

The table goes to standard output and to table.md: the mean of the validation scores over the last third of a run and
over the seeds that were run, and their differences from the control of the same seeds, with the standard deviation over
the seeds. How the control itself varies with the seed says how much of a single difference is chance.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from seqgan.checkpoint import write_text
from seqgan.recipe import run
from seqgan.record import read_metrics
from seqgan.tables import markdown_table, spread

RECIPE = Path(__file__).with_name("enhancement.py")
SCORES = {"pesq": ("PESQ", "+.3f"), "stoi": ("STOI", "+.4f"), "si_sdr": ("SI-SDR dB", "+.2f")}


@dataclass(frozen=True)
class Change:
    """arguments: of recipes/enhancement.py; share: of the steps, where a step costs more or less."""

    said: str
    arguments: str = ""
    share: float = 1.0


NO_ADVERSARY = "--adversary none"
CHANGES = {
    "control": Change("no adversary", NO_ADVERSARY),
    # The game.
    "metric": Change("metric discriminator, .025", "--weights.adversary 0.025"),
    "metric-strong": Change("metric discriminator, .1", "--weights.adversary 0.1"),
    "metric-stoi": Change("of PESQ and STOI", "--weights.adversary 0.025 --metrics pesq stoi --scored 3 3"),
    "metric-opinion": Change("of PESQ and DNSMOS", "--weights.adversary 0.025 --metrics pesq dnsmos --scored 3 1"),
    "wave": Change("judges of waves and features, .025, .05", "--adversary wave --weights.adversary 0.025"),
    "periods": Change("periods only", "--adversary wave --weights.adversary 0.025 --wave.windows"),
    "spectrograms": Change("spectrograms only", "--adversary wave --weights.adversary 0.025 --wave.periods"),
    "no-features": Change(
        "judges of waves, features unmatched", "--adversary wave --weights.adversary 0.025 --weights.features 0"
    ),
    # The network.
    "causal": Change("no look-ahead", f"{NO_ADVERSARY} --causal True"),
    "look-ahead": Change("look-ahead, for a network that has none", f"{NO_ADVERSARY} --causal False"),
    "wide": Change("recurrent layers of 384", f"{NO_ADVERSARY} --hidden 384"),
    "narrow": Change("recurrent layers of 160", f"{NO_ADVERSARY} --hidden 160"),
    "channels": Change("channels 32 64 96 32", f"{NO_ADVERSARY} --channels 32 64 96 32"),
    "paths": Change(
        "two dual paths of 64 units alone, in 32 bands",
        f"{NO_ADVERSARY} --channels 16 32 48 --layers 0 --paths 2 --path-hidden 64",
    ),
    "paths-large": Change(
        "two dual paths of 128 units alone, in 16 bands",
        f"{NO_ADVERSARY} --channels 16 32 48 64 --layers 0 --paths 2 --path-hidden 128",
    ),
    "filter": Change("a filter over five frames instead of a mask", f"{NO_ADVERSARY} --taps 5"),
    "path": Change("a dual path before the recurrent layers", f"{NO_ADVERSARY} --paths 1 --path-hidden 64"),
    # Windows and batches, all of 24 seconds but for the last.
    "short": Change("windows of 1 s, batch 24", f"{NO_ADVERSARY} --mix.seconds 1 --batch 24"),
    "long": Change("windows of 4 s, batch 6", f"{NO_ADVERSARY} --mix.seconds 4 --batch 6"),
    "batch": Change("batch 24, half the steps", f"{NO_ADVERSARY} --batch 24", 0.5),
    # The loss.
    "no-wave-term": Change("no L1 of samples", f"{NO_ADVERSARY} --weights.wave 0"),
    "no-consistency": Change("no consistency", f"{NO_ADVERSARY} --weights.consistency 0"),
    "magnitude-only": Change(
        "squared error of magnitudes only",
        f"{NO_ADVERSARY} --weights.complex 0 --weights.consistency 0 --weights.wave 0",
    ),
    # The mixtures.
    "no-rooms": Change("no rooms", f"{NO_ADVERSARY} --mix.room 0"),
    "no-damage": Change(
        "no band limits, telephones, codecs, clipping",
        f"{NO_ADVERSARY} --mix.band-limit 0 --mix.telephone 0 --mix.codec 0 --mix.clipping 0",
    ),
    "no-change": Change("no speed, no equaliser", f"{NO_ADVERSARY} --mix.speed 0 --mix.equaliser 0"),
    "one-noise": Change(
        "no second noise, babble or coloured noise",
        f"{NO_ADVERSARY} --mix.second-noise 0 --mix.babble 0 --mix.coloured 0",
    ),
    "loud-speech": Change("0 to 15 dB instead of -5 to 20", f"{NO_ADVERSARY} --mix.snr 0 15"),
    "one-level": Change("all at -26 dBFS instead of -45 to -15", f"{NO_ADVERSARY} --mix.level -26 -26"),
    "unweighted": Change("no corpus emphasised", f"{NO_ADVERSARY} --sources.emphasis"),
}


@dataclass(frozen=True)
class Settings:
    data: Path | None = None
    """Folder of recordings, see recipes/enhancement.py."""
    run: Path = Path("runs/enhancement_experiments")
    """A folder for each experiment, and the table."""
    only: tuple[str, ...] = ()
    """Names of experiments; by default all of them."""
    seeds: int = 1
    """Runs of each experiment, with seeds 0, 1, ...; those beyond the first have their number in the folder's name."""
    steps: int = 1500
    """Of 24 seconds each; 0 makes the table of what is there."""
    options: str = ""
    """Further arguments for all runs, in one string with = before it: --options="--precision bf16 --threads 1"."""


def main(settings: Settings) -> None:
    unknown = set(settings.only) - set(CHANGES)
    if unknown:
        raise ValueError(f"no experiment {', '.join(sorted(unknown))}; there are {', '.join(CHANGES)}")
    if settings.steps:
        if settings.data is None:
            raise ValueError("--data DIR is needed to train")
        for seed in range(settings.seeds):
            for name in settings.only or CHANGES:
                train(settings, name, seed)
    text = table(settings.run)
    print(text, end="")
    if settings.run.exists():
        write_text(settings.run / "table.md", text)


def folder_of(name: str, seed: int) -> str:
    return f"{name}.{seed}" if seed else name


def train(settings: Settings, name: str, seed: int) -> None:
    change, folder = CHANGES[name], settings.run / folder_of(name, seed)
    steps = round(settings.steps * change.share)
    command = [sys.executable, str(RECIPE), "--data", str(settings.data), "--run", str(folder), "--seed", str(seed)]
    command += ["--steps", str(steps), "--decay", "0.6", "--ema", "0.99", "--validate-every", str(max(1, steps // 6))]
    command += [*settings.options.split(), *change.arguments.split()]
    print(f"{folder.name}: {change.said}", file=sys.stderr, flush=True)
    with subprocess.Popen(command) as training:
        try:
            code = training.wait()
        except KeyboardInterrupt:  # which has reached it too: it saves what it has
            training.wait()
            raise
    if code:
        raise SystemExit(code if code > 0 else 128 - code)


def table(folder: Path) -> str:
    """A row for each experiment that has scores; differences where the control has the same seed."""
    heads = [head for title, _ in SCORES.values() for head in (title, "difference")]
    rows = []
    control = by_seed(folder, "control")
    for name, change in CHANGES.items():
        runs = by_seed(folder, name)
        for seed in [seed for seed in runs if seed in control]:
            steps, expected = runs[seed]["steps"], round(control[seed]["steps"] * change.share)
            if steps != expected:
                print(f"{folder_of(name, seed)} is left out: {steps} steps, not {expected}", file=sys.stderr)
                del runs[seed]
        if not runs:
            continue
        cells = []
        for key, (_, form) in SCORES.items():
            found = [row[key] for row in runs.values()]
            differences = [row[key] - control[seed][key] for seed, row in runs.items() if seed in control]
            if name == "control":  # its spread is of the scores themselves
                cells += [spread(found, form[1:]), ""]
            else:
                cells += [format(fmean(found), form[1:]), spread(differences, form) if differences else ""]
        minutes = fmean(row["seconds"] for row in runs.values()) / 60
        rows.append((name, change.said, len(runs), *cells, f"{minutes:.0f}"))
    return markdown_table(("experiment", "", "seeds", *heads, "minutes"), rows)


def by_seed(folder: Path, name: str) -> dict[int, dict[str, float]]:
    others = [path for path in sorted(folder.glob(f"{name}.*")) if path.suffix[1:].isdigit()]
    found = {0: folder / name} | {int(path.suffix[1:]): path for path in others}
    rows = {seed: scores(path) for seed, path in found.items()}
    return {seed: row for seed, row in rows.items() if row}


def scores(run: Path) -> dict[str, float]:
    """Means over the evaluations in the last third of a run; {} if there is none, or it has not come to its end."""
    lines = [line for line in read_metrics(run) if "validation/pesq" in line]
    late = [line for line in lines if line["step"] > 2 / 3 * lines[-1]["step"]]
    if not late:
        return {}
    planned = json.loads((run / "config.json").read_text(encoding="utf-8"))["steps"]
    if late[-1]["step"] < planned:
        print(f"{run} is left out: it is at step {late[-1]['step']} of {planned}", file=sys.stderr)
        return {}
    costs = {"seconds": late[-1]["seconds"], "steps": planned}
    return {key: fmean(line[f"validation/{key}"] for line in late) for key in SCORES} | costs


if __name__ == "__main__":
    run(main, Settings, __doc__)
