"""Pairs to judge an enhancer by that are unlike what it is usually judged by: rooms, babble, music, telephones, others.

    python recipes/unlike_pairs.py --data DIR --out unlike --sources.speech clean vc \\
      --sources.noise noise noise_pixabay --sources.validation-corpus librispeech
    python recipes/compare_enhancers.py --pairs unlike --by kind --systems noisy base small

DIR and --sources are as for recipes/enhancement.py, and as they were in the training: talkers and noises are those that
it held out; of the shipped models, those above. Kinds:

    rooms      one of the measured rooms, whatever is below a folder `measured`, and a noise
    babble     three other talkers at once, of those that train where fewer than four are held out
    music      a noise of a folder `music`
    telephone  300 to 3400 Hz, eight bits, and a noise before that
    high       talkers of `speechocean762` with a median pitch above 250 Hz, who are mostly children, and a noise
    german, gaelic   `kerstin_de` and `emodb`, `gcompris_gd`, and a noise
    transcribed      whole sentences of `cmu_arctic`, their text beside them as .txt, and a noise (see word_errors.py)

Names in backquotes are of folders, those of the last four kinds below --sources.speech; talkers of these are not held
out, only the noises are. --out gets clean/, noisy/ and manifest.tsv with the columns utt, kind, corpus, noise, snr_db,
text. What DIR does not have is left out, and named.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import librosa
import numpy as np

from seqgan.recipe import run
from seqgan.speech.data import (
    Library,
    active_level,
    at_ratio,
    band_curve,
    by_folder,
    mu_law,
    reverberate,
    shape,
)
from seqgan.speech.sources import Sources, Split, in_turn, split_sources, write_manifest, write_pair

RATE = 16_000
LEVELS = (2.5, 7.5, 12.5, -2.5, 17.5)  # dB, of active speech to noise
EARLY = round(0.05 * RATE)  # samples of a room that the clean side keeps
HIGH = 250.0  # Hz
CORPORA = {
    "high": ("speechocean762",),
    "german": ("kerstin_de", "emodb"),
    "gaelic": ("gcompris_gd",),
    "transcribed": ("cmu_arctic",),
}
KINDS = ("rooms", "babble", "music", "telephone", *CORPORA)
COLUMNS = ("utt", "kind", "corpus", "noise", "snr_db", "text")
Wave = np.ndarray  # float32 (samples,)


@dataclass(frozen=True)
class Settings:
    data: Path
    """Folder of recordings with clean/, noise/ and rir/."""
    out: Path
    """Where the pairs go."""
    kinds: tuple[str, ...] = KINDS[:-1]
    """Of those above."""
    count: int = 10
    """Pairs of each kind."""
    seconds: float = 5.0
    """The longest that a pair is, but for a transcribed one."""
    sources: Sources = field(default_factory=Sources)


def main(settings: Settings) -> None:
    unknown = [kind for kind in settings.kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"no kind {unknown[0]!r}; there are {', '.join(KINDS)}")
    found = split_sources(settings.data, settings.sources)
    maker = Maker(found, round(settings.seconds * RATE), settings.count)
    measured = [path for path in found.rooms if "measured" in path.parts]
    corpora = [*found.speech.items(), *found.talkers]
    corpus_of = {path: name for name, paths in corpora for path in paths}
    rows = []
    for kind in settings.kinds:
        talkers = maker.talkers_of(kind) if kind in CORPORA else [talker for _, talker in found.talkers]
        noises = [noise for noise in found.noises if (noise[0] == "music") == (kind == "music")]
        few = kind == "babble" and len(maker.crowd(talkers)) < 4
        if not talkers or not noises or few or (kind == "rooms" and not measured):
            print(f"{settings.data} has nothing for {kind}", file=sys.stderr)
            continue
        made = islice(maker.pairs(kind, talkers, noises, measured), settings.count)
        for i, (clean, noisy, path, noise, snr) in enumerate(made):
            name = f"{kind}_{i:02}"
            write_pair(settings.out, name, clean, noisy, RATE, peak=0.9)
            text = " ".join(transcript(path).read_text("utf-8").split()) if kind == "transcribed" else ""
            rows.append((name, kind, corpus_of[path], noise, str(snr), text))
        print(f"{kind}: {settings.count} pairs, {len(talkers)} talkers", file=sys.stderr)
    if not rows:
        raise ValueError(f"{settings.data} has nothing to make pairs of")
    write_manifest(settings.out, (COLUMNS, *rows))


def transcript(path: Path) -> Path:
    """Of a recording, whether or not there is one."""
    return path.with_suffix(".txt")


class Maker:
    def __init__(self, split: Split, samples: int, count: int):
        self.split, self.samples, self.count, self.library = split, samples, count, Library(RATE)

    def talkers_of(self, kind: str) -> list[list[Path]]:
        """Talkers of the kind's corpora, file by file where there are hardly any."""
        talkers = [talker for name in CORPORA[kind] for talker in by_folder(self.split.speech.get(name, []))]
        if len(talkers) < 4:
            talkers = [[path] for talker in talkers for path in talker]
        if kind == "transcribed":
            return [talker for talker in talkers if transcript(talker[0]).exists()]
        return [talker for talker in talkers if kind != "high" or self.pitch(talker[0]) > HIGH]

    def crowd(self, talkers: Sequence[Sequence[Path]]) -> list[Sequence[Path]]:
        """Who may babble: these talkers, and of very few of them also those that train."""
        trained = [talker for paths in self.split.speech.values() for talker in by_folder(paths)]
        return [*talkers, *(trained if len(talkers) < 4 else [])]

    def pitch(self, path: Path) -> float:
        """Median over the louder half of the frames, Hz."""
        wave = self.library[path]
        pitch = librosa.yin(wave, fmin=70, fmax=500, sr=RATE)
        level = librosa.feature.rms(y=wave, frame_length=2048, hop_length=512)[0]
        frames = min(len(pitch), len(level))
        return float(np.median(pitch[:frames][level[:frames] >= np.median(level[:frames])]))

    def pairs(
        self, kind: str, talkers: Sequence[Sequence[Path]], noises: Sequence[tuple[str, Path]], rooms: Sequence[Path]
    ) -> Iterator[tuple[Wave, Wave, Path, str, float]]:
        """(clean, noisy, talk, kind of noise, dB) without end; another talker, noise, room and level each time."""
        step = max(1, len(talkers) // self.count)  # over all of them, however many there are
        for i, snr in enumerate(cycle(LEVELS)):
            talker = talkers[i * step % len(talkers)]
            path = talker[i // len(talkers) % len(talker)]
            heard = clean = self.library[path][: None if kind == "transcribed" else self.samples]
            noise, disturbance = in_turn(noises, i)
            other = np.resize(np.trim_zeros(self.library[disturbance], "f"), len(clean))  # some begin with silence
            if kind == "rooms":
                room = rooms[i % len(rooms)]
                heard, clean = reverberate(clean, self.library[room], EARLY)
                noise = f"{noise} in {room.stem}"
            elif kind == "babble":
                crowd = self.crowd(talkers)
                others = [crowd[(i * step % len(talkers) + k) % len(crowd)][0] for k in (1, 2, 3)]
                waves = [np.resize(self.library[one], len(clean)) for one in others]
                noise, other = "babble", np.sum([wave / active_level(wave) for wave in waves], 0)
            noisy = heard + at_ratio(other, heard, snr)
            if kind == "telephone":
                curve = band_curve(len(clean), RATE, 300, 3400)
                noisy, clean = mu_law(shape(noisy, curve)), shape(clean, curve)
            yield clean, noisy.astype(np.float32), path, noise, snr


if __name__ == "__main__":
    run(main, Settings, __doc__)
