"""Which recordings train and which are held out: talkers, noises, and the validation pairs that are made of them."""

from __future__ import annotations

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile

from seqgan.checkpoint import write_text

from .data import Library, MixConfig, Mixtures, Pairs, by_folder, find_recordings, root_mean_square

Item = TypeVar("Item")


@dataclass(frozen=True)
class Sources:
    """What a folder of training data holds: corpora of speech, noise and rooms, or recorded pairs.

    Pairs are found as `clean/` and `noisy/`, or as VoiceBank-DEMAND's `clean_trainset_*_wav/` and
    `noisy_trainset_*_wav/`; anything else is mixed on the fly.
    """

    speech: tuple[str, ...] = ("clean",)
    """Folders with speech: one corpus a subfolder, one talker a folder, or as LibriSpeech's SPEAKER/CHAPTER."""
    noise: tuple[str, ...] = ("noise",)
    """Folders with noise: one kind a subfolder."""
    rooms: tuple[str, ...] = ("rir",)
    """Folders with room impulse responses; there may be none."""
    exclude: tuple[str, ...] = ()
    """Recordings whose file name contains one of these are left out (for a licence that does not allow it, say)."""
    emphasis: Mapping[str, float] = field(default_factory=dict)
    """Factor on the chance of a corpus, by its name."""
    validation_corpus: str | None = None
    """Corpus whose talkers are held out; None takes them from all."""
    validation_talkers: int = 25


@dataclass(frozen=True)
class ValidationPair:
    """A pair that is the same in every run; noisy and clean: (samples,) float32."""

    name: str
    noisy: np.ndarray
    clean: np.ndarray
    corpus: str = ""
    noise: str = ""
    snr: float = math.nan  # dB


@dataclass(frozen=True)
class Split:
    """What trains, and what is held out: (corpus, files) of talkers and (kind, file) of noises."""

    speech: dict[str, list[Path]]  # by corpus
    noise: dict[str, list[Path]]  # by kind
    rooms: list[Path]
    talkers: list[tuple[str, list[Path]]]
    noises: list[tuple[str, Path]]


def open_sources(
    data: Path, sources: Sources, mix: MixConfig, seed: int = 0
) -> tuple[Mixtures | Pairs, list[ValidationPair]]:
    """(training set, validation pairs) below the folder `data`, of talkers and noises that the other does not have."""
    recorded = _pair_folders(data)
    if recorded:
        return _recorded(*recorded, mix, seed)
    found = split_sources(data, sources)
    training = Mixtures(found.speech, found.noise, found.rooms, mix, seed, sources.emphasis)
    return training, mix_validation(found.talkers, found.noises, mix.sample_rate)


def split_sources(data: Path, sources: Sources) -> Split:
    """The corpora below the folder `data`, without what is held out, and what is; ValueError if there are none."""
    for name in (*sources.speech, *sources.noise):
        if not (data / name).is_dir():
            raise ValueError(f"{data} has no folder {name}")
    speech, noise = (
        find_corpora([data / name for name in names], sources.exclude) for names in (sources.speech, sources.noise)
    )
    rooms = [data / name for name in sources.rooms if (data / name).is_dir()]
    rooms = find_recordings(rooms, sources.exclude, required=False)
    for name in sources.emphasis:
        if name not in speech and name not in noise:
            raise ValueError(f"no corpus {name} to emphasise among {', '.join([*speech, *noise])}")
    if sources.validation_corpus is not None and sources.validation_corpus not in speech:
        raise ValueError(f"no corpus {sources.validation_corpus} among {', '.join(speech)}")
    chosen = [sources.validation_corpus] if sources.validation_corpus else list(speech)
    corpus_of = {path: name for name in chosen for path in speech[name]}
    held_out = hold_out_talkers(list(corpus_of), sources.validation_talkers)
    talkers = [(corpus_of[talker[0]], talker) for talker in held_out]
    held = {path for talker in held_out for path in talker}
    speech = {name: [path for path in paths if path not in held] for name, paths in speech.items()}
    if not any(speech.values()):
        raise ValueError(f"{data}: too little speech to hold some out for validation: nothing is left to train on")
    noises = []
    for kind, paths in noise.items():
        noise[kind], others = hold_out(paths)
        noises.extend((kind, path) for path in others)
    return Split({name: paths for name, paths in speech.items() if paths}, noise, rooms, talkers, noises)


def find_corpora(folders: Iterable[Path], exclude: Sequence[str] = ()) -> dict[str, list[Path]]:
    """The recordings of `find_recordings` by corpus: by the name of the first folder below the one that was given."""
    corpora: dict[str, list[Path]] = defaultdict(list)
    for folder in folders:
        for path in find_recordings([folder], exclude):
            below = path.relative_to(folder).parts
            corpora[below[0] if len(below) > 1 else folder.name].append(path)
    return dict(corpora)


def hold_out(paths: Iterable[Path], every: int = 8) -> tuple[list[Path], list[Path]]:
    """(training, held out): one source in `every` per folder; takes of one source (x-A.wav, x-B.wav) stay together."""
    training, held = [], []
    for folder in by_folder(sorted(paths)):
        sources: dict[str, list[Path]] = defaultdict(list)
        for path in folder:
            sources[re.sub(r"-[A-Z]$", "", path.stem)].append(path)
        for i, source in enumerate(sources.values()):
            (held if i % every == every // 2 else training).extend(source)
    return training, held


def hold_out_talkers(paths: Sequence[Path], count: int) -> list[list[Path]]:
    """Up to `count` talkers, spread evenly, a quarter of all at most; of fewer than four folders, single files."""
    talkers = by_folder(paths)
    if len(talkers) < 4:
        talkers = [[path] for path in paths]
    count = max(1, min(count, len(talkers) // 4))
    step = len(talkers) // count
    return talkers[step // 2 :: step][:count]


def in_turn(items: Sequence[Item], index: int) -> Item:
    """In steps of seven, so that neighbours differ, or of the next number by which all of them have their turn."""
    step = next(step for step in itertools.count(7) if math.gcd(step, len(items)) == 1)
    return items[index * step % len(items)]


def mix_validation(
    talkers: Sequence[tuple[str, Sequence[Path]]], noises: Sequence[tuple[str, Path]], rate: int, seconds: float = 5.0
) -> list[ValidationPair]:
    """Two mixtures a talker, without augmentation, at -2.5, 2.5, ... 17.5 dB; talkers: (corpus,
    files), noises: (kind, file)."""
    if not noises:
        raise ValueError("too few noises to hold one out for validation: one in eight of a folder is, of five at least")
    library, pairs = Library(rate), []
    for i, (corpus, talker) in enumerate([*talkers, *talkers]):
        path = talker[i // len(talkers) % len(talker)]
        clean = library[path][: round(seconds * rate)]
        kind, noise_path = in_turn(noises, i)
        noise = np.resize(library[noise_path], len(clean))
        snr = (-2.5, 2.5, 7.5, 12.5, 17.5)[i % 5]
        noise = noise * root_mean_square(clean) / max(root_mean_square(noise), 1e-6) * 10 ** (-snr / 20)
        gain = 0.9 / max(0.9, float(np.abs(clean + noise).max()))
        noisy, clean = ((wave * gain).astype(np.float32) for wave in (clean + noise, clean))
        pairs.append(ValidationPair(f"{i:03}_{path.stem}", noisy, clean, corpus, kind, snr))
    return pairs


def match_pairs(clean: Path, noisy: Path) -> list[tuple[Path, Path]]:
    """(clean, noisy) files that share a path below the two folders, but for its ending; ValueError where there is none,
    or where one lacks its other half."""
    left, right = (
        {path.relative_to(folder).with_suffix("").as_posix(): path for path in find_recordings([folder])}
        for folder in (clean, noisy)
    )
    lonely = sorted(left.keys() ^ right.keys())
    if lonely:
        raise ValueError(f"{len(lonely)} files have no partner between {clean} and {noisy}, the first: {lonely[0]}")
    return [(left[name], right[name]) for name in sorted(left)]


def _pair_folders(data: Path) -> tuple[Path, Path] | None:
    """(clean, noisy) folders of recorded pairs."""
    if (data / "clean").is_dir() and (data / "noisy").is_dir():
        return data / "clean", data / "noisy"
    found = sorted(data.glob("clean_trainset*_wav"))
    return (found[0], data / found[0].name.replace("clean", "noisy", 1)) if found else None


def _recorded(clean: Path, noisy: Path, mix: MixConfig, seed: int) -> tuple[Pairs, list[ValidationPair]]:
    """Holds out the last two talkers, as is usual for VoiceBank-DEMAND, or a tenth of the pairs. A talker is a folder,
    or the files whose names are the same up to the first _."""

    def talker(pair: tuple[Path, Path]) -> str:
        below = pair[0].relative_to(clean)
        return below.parent.as_posix() if len(below.parts) > 1 else below.stem.split("_")[0]

    pairs = match_pairs(clean, noisy)
    if len(pairs) < 2:
        raise ValueError(f"{clean} has one pair only: none can be held out for validation")
    talkers = sorted({talker(pair) for pair in pairs})
    last = set(talkers[-2:]) if 3 < len(talkers) < len(pairs) else set()
    held = [pair for pair in pairs if talker(pair) in last] or pairs[::10]
    training = [pair for pair in pairs if pair not in set(held)]
    library, chosen = Library(mix.sample_rate), held[:: -(-len(held) // 50)]
    validation = []
    for left, right in chosen:
        name = "_".join(left.relative_to(clean).with_suffix("").parts)
        samples = min(len(library[left]), len(library[right]))
        validation.append(ValidationPair(name, library[right][:samples], library[left][:samples], clean.name))
    return Pairs(training, mix.seconds, mix.sample_rate, seed), validation


def export(pairs: Iterable[ValidationPair], folder: Path, rate: int = 16_000) -> None:
    """Writes the pairs as folder/clean/*.wav, folder/noisy/*.wav and manifest.tsv (utt, corpus, noise, snr_db)."""
    rows = [("utt", "corpus", "noise", "snr_db")]
    for pair in pairs:
        write_pair(folder, pair.name, pair.clean, pair.noisy, rate)
        snr = "" if math.isnan(pair.snr) else str(pair.snr)
        rows.append((pair.name, pair.corpus, pair.noise, snr))
    write_manifest(folder, rows)


def write_manifest(folder: Path, rows: Iterable[Sequence[str]]) -> None:
    """folder/manifest.tsv; the first of the rows names the columns, utt and what else is known of a pair."""
    write_text(folder / "manifest.tsv", "".join("\t".join(row) + "\n" for row in rows))


def write_pair(folder: Path, name: str, clean: np.ndarray, noisy: np.ndarray, rate: int, peak: float = 1.0) -> None:
    """As folder/clean/name.wav and folder/noisy/name.wav; where one has more than `peak`, both are made quieter."""
    gain = peak / max(peak, float(np.abs(noisy).max()), float(np.abs(clean).max()))
    for half, wave in (("clean", clean), ("noisy", noisy)):
        (folder / half).mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / half / f"{name}.wav", wave * gain, rate, subtype="PCM_16")
