"""Compares speech enhancers on folders of recordings: quality, level, delay, processor time and memory, in one table.

    python recipes/compare_enhancers.py --pairs DIR --systems noisy base small
    python recipes/compare_enhancers.py --pairs DIR --adapters recipes/enhancer_adapters.py --systems noisy gtcrn dtln

DIR holds clean/ and noisy/ with recordings of the same names and, if it likes, manifest.tsv (utt, snr_db, noise, ...).
A system is `noisy` (the input itself), one of our models by name or path, or what a function `load_NAME(threads)` of
the adapters' file returns: a function from float32 (samples,) at 16 kHz to the same. Each runs in a process of its own,
on one thread. Outputs and scores stay in --out: the same command goes on after an interruption, and a later one with
other --systems adds its rows to the table. To measure a system again, delete its folder there.
"""

from __future__ import annotations

import ast
import json
import math
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile
import tyro
from enhancer_pairs import Pair, find_pairs, named_sets
from enhancer_pictures import draw_page
from enhancer_process import NOT_INSTALLED, RATE, append_record
from enhancer_table import Record, Table, write_csv

ONE_THREAD = dict.fromkeys(
    ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS"], "1"
)

Scores = dict[str, float]

KINDS = ("runs", "scores", "opinions")  # what is kept of a system, a line per recording


@dataclass(frozen=True)
class Settings:
    pairs: tuple[Path, ...]
    """Folders with clean/ and noisy/ in them."""
    out: Path = Path("runs/compare")
    """Where outputs, scores and the tables (table.md, table.csv) go."""
    systems: tuple[str, ...] = ()
    """What to run; by default noisy, every adapter, base and small."""
    adapters: Path | None = None
    """A Python file with functions load_NAME(threads)."""
    python: Path = Path(sys.executable)
    """The interpreter for the adapters' systems, where their packages are installed; it needs numpy and soundfile."""
    by: tuple[str, ...] | None = None
    """Columns of manifest.tsv to break the scores down by, by default snr_db and noise where they are there; of a value
    like rain/heavy only rain counts."""
    against: str | None = None
    """Also tabulate how the others differ from this system on the same recordings, with the standard error."""
    dnsmos: int = 1
    """Take DNSMOS of every so many recordings, 0: of none. It takes ten times as long as all other scores together."""
    draw: int = 0
    """Draw so many recordings of each set, evenly spaced, as these systems give them back: OUT/spectrograms-SET.png."""
    workers: int = 1
    """Processes that compute the scores."""


def main(settings: Settings) -> int:
    os.environ.update(ONE_THREAD)
    _require_metrics(settings.dnsmos > 0)
    if settings.workers < 1:
        raise ValueError(f"--workers are 1 or more, not {settings.workers}")
    sets = {name: find_pairs(name, folder, settings.out) for name, folder in named_sets(settings.pairs).items()}
    pairs = [pair for inside in sets.values() for pair in inside]
    unknown = [name for name in settings.by or () if not any(name in pair.traits for pair in pairs)]
    if unknown:
        raise ValueError(f"--by {unknown[0]}: no manifest.tsv of these pairs has such a column")
    adapters = find_adapters(settings.adapters)
    wanted = settings.systems or ("noisy", *adapters, "base", "small")
    other = settings.against
    if other and other not in wanted and not (home(settings.out, other) / "scores.jsonl").exists():
        raise ValueError(f"--against {other}: neither one of --systems nor measured in {settings.out} before")
    notes, done = [], []
    for system in dict.fromkeys(wanted):
        python = settings.python if system in adapters else Path(sys.executable)
        code, message = run(system, adapters.get(system), pairs, settings, python)
        if code:
            notes.append(f"* {system} {'is skipped' if code == NOT_INSTALLED else 'failed'}: {message}")
            print(notes[-1], file=sys.stderr)
        else:
            done.append(system)
    with ProcessPoolExecutor(settings.workers, get_context("spawn")) as scorers:
        for system in done:
            score(system, "scores", compare, pairs, settings.out, scorers)
        tabulate(sets, settings, notes)
        if settings.dnsmos:
            for system in done:
                score(system, "opinions", opine, pairs[:: settings.dnsmos], settings.out, scorers)
    if settings.draw > 0:
        for name, inside in sets.items():
            chosen = np.linspace(0, len(inside) - 1, min(settings.draw, len(inside))).round().astype(int)
            draw(settings.out, name, [inside[index] for index in chosen], done)
    print(tabulate(sets, settings, notes))
    return int(not done or any("failed:" in note for note in notes))


# Running the systems.


def find_adapters(path: Path | None) -> dict[str, str]:
    """Names of an adapters' file and what identifies each: a checksum of its function."""
    if path is None:
        return {}
    source = path.read_text(encoding="utf-8")
    try:
        functions = [node for node in ast.parse(source, str(path)).body if isinstance(node, ast.FunctionDef)]
    except SyntaxError as error:
        raise ValueError(f"{path}: not Python: {error}") from None
    found = {f.name[5:]: f"{zlib.crc32(ast.unparse(f).encode()):08x}" for f in functions if f.name.startswith("load_")}
    if not found:
        raise ValueError(f"{path}: has no function load_NAME(threads)")
    return found


def weights(system: str) -> str:
    """What identifies one of our models: a checksum of its weights."""
    if system == "noisy":
        return ""
    from seqgan.checkpoint import find_weights

    try:
        return f"{zlib.crc32(find_weights(system, 'seqgan.speech').read_bytes()):08x}"
    except ValueError:
        return ""  # of a hub, or unknown: its process will say which


def run(system: str, adapter: str | None, pairs: list[Pair], settings: Settings, python: Path) -> tuple[int, str]:
    """Has a system enhance what it has not enhanced yet; gives the exit code and, if that is not 0, the reason.

    adapter: what identifies its function among the adapters, None for one of our models.
    """
    identity = adapter or weights(system)
    folder = home(settings.out, system)
    others = {record["system"] for record in read_records(folder / "runs.jsonl")} - {system}
    if others:
        return 1, f"{folder} holds {others.pop()}; choose another --out"
    done = latest(folder / "runs.jsonl", pairs)
    todo = [pair for pair in pairs if done.get(pair, {}).get("identity") != identity]
    if not todo:
        return 0, ""
    print(f"{system}: enhancing {len(todo)} recordings", file=sys.stderr)
    tasks = []
    for pair in todo:
        record = {"system": system, "identity": identity, "folder": pair.folder, "name": pair.name, "key": pair.key}
        tasks.append({"noisy": str(pair.noisy), "output": str(output(settings.out, system, pair)), "record": record})
    adapters = str(settings.adapters) if adapter else None
    job = {"system": system, "adapters": adapters, "records": str(folder / "runs.jsonl"), "tasks": tasks}
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "log.txt", "w", encoding="utf-8") as log:
        process = subprocess.run(
            [str(python), str(Path(__file__).with_name("enhancer_process.py"))],
            input=json.dumps(job),
            text=True,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )
    lines = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").split("\n")
    if process.returncode < 0:
        return process.returncode, f"ended by signal {-process.returncode}, see {folder / 'log.txt'}"
    return process.returncode, next((line for line in reversed(lines) if line.strip()), "no message")


# Scores.


def score(
    system: str, kind: str, measure: Callable[[Path, Path], Scores], pairs: list[Pair], out: Path, scorers: Executor
) -> None:
    """Measures the outputs of a system that have not been measured yet, and keeps what is found in `kind`.jsonl."""
    folder = home(out, system)
    runs = latest(folder / "runs.jsonl", pairs)
    done = latest(folder / f"{kind}.jsonl", pairs)
    todo = [pair for pair in pairs if done.get(pair, {}).get("identity") != runs[pair]["identity"]]
    if not todo:
        return
    print(f"{system}: {kind} of {len(todo)} recordings", file=sys.stderr)
    outputs = [output(out, system, pair) for pair in todo]
    for pair, scores in zip(todo, scorers.map(measure, [pair.clean for pair in todo], outputs), strict=True):
        named = {name: runs[pair][name] for name in ("system", "identity", "folder", "name", "key")}
        append_record(folder / f"{kind}.jsonl", {**named, **scores})


def compare(clean: Path, enhanced: Path) -> Scores:
    """Scores in step: a delay of up to 0.1 s is taken out, and reported as the lag that it is."""
    from seqgan.speech import metrics

    clean, enhanced = soundfile.read(clean)[0], soundfile.read(enhanced)[0]
    longer = enhanced.size - clean.size
    enhanced = np.pad(enhanced, (0, max(0, -longer)))[: clean.size]
    late = metrics.lag(clean, enhanced) if enhanced.any() else math.nan
    if abs(late) <= RATE / 10:
        clean, enhanced = metrics.in_step(clean, enhanced)
    return {**metrics.full_reference(clean, enhanced, RATE), "lag_ms": late * 1000 / RATE, "longer": longer}


def opine(clean: Path, enhanced: Path) -> Scores:
    from seqgan.speech import metrics

    return {f"dnsmos_{name}": value for name, value in metrics.dnsmos(soundfile.read(enhanced)[0], RATE).items()}


def tabulate(sets: dict[str, list[Pair]], settings: Settings, notes: list[str]) -> str:
    """Writes the tables of all systems in the folder that have scores for every pair; gives the Markdown."""
    pairs = [pair for inside in sets.values() for pair in inside]
    systems: dict[str, dict[Pair, Record]] = {}
    for path in sorted(settings.out.glob("*/scores.jsonl")):
        runs, scores, opinions = (latest(path.with_name(f"{kind}.jsonl"), pairs) for kind in KINDS)
        scores, opinions = (of_runs(found, runs) for found in (scores, opinions))
        if len(runs) == len(scores) == len(pairs):
            name = scores[pairs[0]]["system"]
            systems[name] = {pair: {**opinions.get(pair, {}), **scores[pair], **runs[pair]} for pair in pairs}
    tables, by = [], ("snr_db", "noise") if settings.by is None else settings.by
    for name, inside in sets.items():
        records = {system: [found[pair] for pair in inside] for system, found in systems.items()}
        tables.append(Table(name, [pair.traits for pair in inside], records, by, settings.against))
    text = "\n".join([*(line for table in tables for line in table.markdown()), *notes])
    (settings.out / "table.md").write_text(text + "\n", encoding="utf-8")
    write_csv(settings.out / "table.csv", tables)
    return text


def of_runs(found: dict[Pair, Record], runs: dict[Pair, Record]) -> dict[Pair, Record]:
    """Without what was measured of outputs that other weights or settings have since replaced."""
    return {pair: record for pair, record in found.items() if record["identity"] == runs.get(pair, {}).get("identity")}


def draw(out: Path, title: str, pairs: list[Pair], systems: list[str]) -> None:
    columns = {"clean": [pair.clean for pair in pairs]}
    columns |= {system: [output(out, system, pair) for pair in pairs] for system in systems}
    draw_page(out / f"spectrograms-{title}.png", [pair.name for pair in pairs], columns)


def _require_metrics(dnsmos: bool) -> None:
    for package in ("pesq", "pystoi", *(("speechmos", "onnxruntime", "librosa") if dnsmos else ())):
        if find_spec(package) is None:
            raise ValueError(f"the scores need {package}: pip install 'seqgan[metrics]'")


# Files.


def home(out: Path, system: str) -> Path:
    return out / re.sub(r"[^\w.-]+", "_", system).strip("_.")


def output(out: Path, system: str, pair: Pair) -> Path:
    return home(out, system) / pair.folder / f"{pair.name}.wav"


def latest(path: Path, pairs: list[Pair]) -> dict[Pair, Record]:
    """The last record of each pair that is about the files as they are now."""
    records = {(record["folder"], record["name"], record["key"]): record for record in read_records(path)}
    found = {pair: records.get((pair.folder, pair.name, pair.key)) for pair in pairs}
    return {pair: record for pair, record in found.items() if record}


def read_records(path: Path) -> Iterator[Record]:
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            pass  # empty, or cut short by an interruption


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Settings, description=__doc__)))
    except (ValueError, OSError, soundfile.LibsndfileError) as error:
        print(f"compare_enhancers: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("compare_enhancers: interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
