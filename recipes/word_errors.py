"""How well a recogniser understands what enhancers give back: word error rates, which no enhancer was trained for.

    python recipes/unlike_pairs.py --data DIR --out words --kinds transcribed --count 50 --sources.speech clean vc \\
      --sources.noise noise noise_pixabay --sources.validation-corpus librispeech
    python recipes/compare_enhancers.py --pairs words --out runs/words --systems noisy base small
    python recipes/word_errors.py --pairs words --out runs/words

DIR is as for recipes/enhancement.py. The recogniser is PocketSphinx with its own model of American English (pip install
pocketsphinx). A rate is the number of words put in, left out and replaced, of all systems' same sentences together,
divided by that of the words said; it may exceed 1. The interval holds 95 % of what a sample of other such sentences
would give (2,000 of these drawn with replacement). The table goes to standard output and to OUT/words.md.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from torchaudio.functional import edit_distance

from seqgan.checkpoint import write_text
from seqgan.recipe import run
from seqgan.tables import markdown_table

RATE = 16_000


@dataclass(frozen=True)
class Settings:
    pairs: Path
    """Folder with clean/ and manifest.tsv, whose columns utt and text say what is said."""
    out: Path
    """Where compare_enhancers.py put a folder for every system."""


class Recogniser:
    def __init__(self):
        try:
            from pocketsphinx import Decoder
        except ImportError as error:
            raise ImportError("word errors need PocketSphinx: pip install pocketsphinx") from error
        self.decoder = Decoder(samprate=RATE, loglevel="FATAL")

    def __call__(self, path: Path) -> list[str]:
        """The words of a recording at 16 kHz, in small letters."""
        wave, rate = soundfile.read(path, dtype="float32")
        if rate != RATE or wave.ndim != 1:
            raise ValueError(f"{path}: {rate} Hz, {wave.ndim} axes; one channel at {RATE} Hz is needed")
        self.decoder.start_utt()
        self.decoder.process_raw((wave.clip(-1, 1) * 32767).astype(np.int16).tobytes(), full_utt=True)
        self.decoder.end_utt()
        found = self.decoder.hyp()
        return words(found.hypstr) if found else []


def words(text: str) -> list[str]:
    """In small letters, without what is not a letter, a digit or an apostrophe."""
    return re.findall(r"[\w']+", text.lower().replace("’", "'"))


def main(settings: Settings) -> None:
    with (settings.pairs / "manifest.tsv").open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        said = {row["utt"]: words(row["text"]) for row in rows if row.get("text")}
    if not said:
        raise ValueError(f"{settings.pairs / 'manifest.tsv'} has no column text with what is said")
    inside = settings.pairs.resolve().name
    folders = {"clean": settings.pairs / "clean"}
    folders |= {
        path.parent.name: path for path in sorted(settings.out.glob(f"*/{inside}")) if path.parent.name != "pairs"
    }
    if len(folders) == 1:
        raise ValueError(f"{settings.out} has no system's recordings of {inside}; compare_enhancers.py makes them")
    files = [folder / f"{utt}.wav" for folder in folders.values() for utt in said]
    missing = [file for file in files if not file.exists()]
    if missing:
        raise ValueError(f"{len(missing)} recordings are missing, the first: {missing[0]}")
    recogniser, rows = Recogniser(), []
    lengths = [len(text) for text in said.values()]
    for name, folder in folders.items():
        print(name, file=sys.stderr, flush=True)
        errors = [edit_distance(text, recogniser(folder / f"{utt}.wav")) for utt, text in said.items()]
        low, high = interval(errors, lengths)
        rows.append((name, f"{sum(errors) / sum(lengths):.3f}", f"{low:.2f} to {high:.2f}"))
    table = markdown_table(("system", "word error rate", "95 %"), rows)
    write_text(settings.out / "words.md", table)
    print(table, end="")


def interval(errors: Sequence[int], lengths: Sequence[int]) -> tuple[float, float]:
    """Of the rate, by the bootstrap over sentences."""
    drawn = np.random.default_rng(0).integers(len(errors), size=(2000, len(errors)))
    rates = np.array(errors)[drawn].sum(1) / np.array(lengths)[drawn].sum(1)
    return tuple(np.quantile(rates, [0.025, 0.975]).tolist())


if __name__ == "__main__":
    run(main, Settings, __doc__)
