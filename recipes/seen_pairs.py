"""What an enhancer lacks, data or another network: pairs of talkers and noises that trained it, and that did not.

    python recipes/seen_pairs.py --data DIR --out seen --sources.speech clean vc \\
      --sources.noise noise noise_pixabay --sources.validation-corpus librispeech
    python recipes/compare_enhancers.py --pairs seen --by seen --systems noisy base small

DIR and --sources are as for recipes/enhancement.py, and as they were in the training; of the shipped models, those
above. --count times a talker that was held out, each in turn, is paired with one of the same corpus that was not, and
a noise with one of the same kind; both talkers are mixed with both noises at one signal-to-noise ratio. --out gets
clean/, noisy/ and manifest.tsv with the columns utt, seen (both, talker, noise, neither), corpus, noise, snr_db.
Talkers and noises differ by themselves: compare rises over `noisy`.

A network that is much better at what it has seen wants more data; one that is as good at what it has not wants more
training or more parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from seqgan.recipe import run
from seqgan.speech.data import Library, at_ratio, by_folder, pick
from seqgan.speech.sources import Sources, Split, split_sources, write_manifest, write_pair

RATE = 16_000
LEVELS = (-2.5, 2.5, 7.5, 12.5, 17.5)  # dB, of active speech to noise
SEEN = {(True, True): "both", (True, False): "talker", (False, True): "noise", (False, False): "neither"}


@dataclass(frozen=True)
class Settings:
    data: Path
    """Folder of recordings with clean/ and noise/."""
    out: Path
    """Where the pairs go."""
    count: int = 100
    """Of each of the four."""
    seconds: float = 5.0
    """The longest that a pair is."""
    seed: int = 0
    """Of what is drawn."""
    sources: Sources = field(default_factory=Sources)


def main(settings: Settings) -> None:
    found = split_sources(settings.data, settings.sources)
    noises = [(kind, path) for kind, path in found.noises if found.noise[kind]]
    if not noises:
        raise ValueError(f"{settings.data} has no kind of noise of which some is held out and some is not")
    library, samples = Library(RATE), round(settings.seconds * RATE)
    rows = [("utt", "seen", "corpus", "noise", "snr_db")]
    for i in range(settings.count):
        rng, snr = np.random.default_rng([settings.seed, i]), LEVELS[i % len(LEVELS)]
        corpus, talker = found.talkers[i % len(found.talkers)]
        talk = pick(rng, talker)
        kind, noise = pick(rng, noises)
        talks = {False: talk, True: talker_beside(corpus, found, rng)}
        disturbances = {False: noise, True: pick(rng, found.noise[kind])}
        waves = {seen: library[path][:samples] for seen, path in talks.items()}
        for (talker_seen, noise_seen), seen in SEEN.items():
            clean, disturbance = waves[talker_seen], library[disturbances[noise_seen]]
            other = np.resize(np.trim_zeros(disturbance, "f"), len(clean))  # some begin with silence
            noisy = clean + at_ratio(other, clean, snr)
            rows.append((f"{i:03}_{seen}", seen, corpus, kind, str(snr)))
            write_pair(settings.out, rows[-1][0], clean, noisy, RATE, peak=0.9)
    write_manifest(settings.out, rows)


def talker_beside(corpus: str, found: Split, rng: np.random.Generator) -> Path:
    """A recording of another talker of the corpus, one of those that train."""
    if not found.speech.get(corpus):
        raise ValueError(f"the corpus {corpus} has no talkers but those that are held out")
    return pick(rng, pick(rng, by_folder(found.speech[corpus])))


if __name__ == "__main__":
    run(main, Settings, __doc__)
