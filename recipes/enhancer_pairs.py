"""The recordings that enhancers are compared on: pairs of clean and noisy speech, at 16 kHz."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import soundfile
from enhancer_process import RATE, write

from seqgan.speech.plan import AUDIO


@dataclass(frozen=True)
class Pair:
    folder: str  # the name of the set
    name: str
    clean: Path  # both at 16 kHz, one channel
    noisy: Path
    key: int  # a checksum of both files
    traits: dict[str, str] = field(compare=False)  # the line of the manifest


def find_pairs(name: str, folder: Path, out: Path) -> list[Pair]:
    files: list[dict[str, Path]] = [{}, {}]
    for found, side in zip(files, ("clean", "noisy"), strict=True):
        for path in sorted((folder / side).glob("*")):
            if path.suffix.lower() in AUDIO and found.setdefault(path.stem, path) != path:
                raise ValueError(f"{folder}: {side}/ has both {found[path.stem].name} and {path.name}")
    if not files[1]:
        raise ValueError(f"{folder}: has no recordings in noisy/; expected clean/ and noisy/ with the same names")
    alone = sorted(set(files[0]) ^ set(files[1]))
    if alone:
        raise ValueError(f"{folder}: {alone[0]} is in only one of clean/ and noisy/")
    manifest: dict[str, dict[str, str]] = {}
    if (folder / "manifest.tsv").exists():
        with open(folder / "manifest.tsv", newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
        if rows and "utt" not in rows[0]:
            raise ValueError(f"{folder / 'manifest.tsv'}: no column utt, with the recordings' names")
        manifest = {row["utt"]: row for row in rows}
    pairs = []
    for stem, clean in files[0].items():
        noisy = files[1][stem]
        key = zlib.crc32(clean.read_bytes() + noisy.read_bytes())
        clean, noisy = (
            _at_16_khz(path, out / "pairs" / name / side / f"{stem}.{key}.wav")
            for side, path in (("clean", clean), ("noisy", noisy))
        )
        lengths = [soundfile.info(path).frames for path in (clean, noisy)]
        if lengths[0] != lengths[1]:
            raise ValueError(f"{folder}: {stem} has {lengths[0]} samples in clean/ and {lengths[1]} in noisy/")
        if not soundfile.read(clean)[0].any():
            raise ValueError(f"{folder}: {stem} is silent in clean/: nothing can be compared with it")
        pairs.append(Pair(name, stem, clean, noisy, key, manifest.get(stem, {})))
    return pairs


def _at_16_khz(path: Path, copy: Path) -> Path:
    info = soundfile.info(path)
    if info.samplerate == RATE and info.channels == 1:
        return path
    if not copy.exists():
        import soxr

        wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
        write(copy, soxr.resample(wave.mean(1), rate, RATE))
    return copy


def named_sets(folders: Iterable[Path]) -> dict[str, Path]:
    """Folders by their names, and by their parents' too where names are the same."""
    folders = list(dict.fromkeys(folder.resolve() for folder in folders))
    names = [folder.name for folder in folders]
    named: dict[str, Path] = {}
    for folder, name in zip(folders, names, strict=True):
        name = name if names.count(name) == 1 else f"{folder.parent.name}-{name}"
        if named.setdefault(name, folder) != folder:
            raise ValueError(f"{named[name]} and {folder} would both be called {name}: rename a folder")
    return named
