"""Recordings to training pairs: noisy mixtures made on the fly, or pairs read from folders.

Every item is a pure function of (seed, index), so a position in the data is one integer and a resumed run draws what it
would have drawn.
"""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import soundfile
import soxr
import torch
from numpy.random import Generator
from torch.utils.data import Dataset

from .audio import duration, read_mono
from .plan import AUDIO

FRAME = 320  # samples by which levels are taken, 20 ms at 16 kHz; nothing shorter is mixed


def find_recordings(folders: Iterable[Path], exclude: Sequence[str] = (), required: bool = True) -> list[Path]:
    """Every recording below the folders, sorted, but for names that contain a part in `exclude`; ValueError if none and
    one is required."""
    folders = list(folders)
    found = sorted(
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix.lower() in AUDIO and not any(part in path.name for part in exclude)
    )
    if not found and required:
        where = ", ".join(map(str, folders)) or "no folder"
        raise ValueError(f"no recordings ({', '.join(AUDIO)}) below {where}")
    return found


class Library:
    """Mono recordings at one rate, decoded when first asked for and then kept as 16-bit samples (115 MB an hour), so
    that what is beyond full scale is clipped. ValueError where there is no audio."""

    def __init__(self, sample_rate: int = 16_000):
        self.sample_rate = sample_rate
        self.kept: dict[Path, np.ndarray] = {}

    def __getitem__(self, path: Path) -> np.ndarray:
        """float32 (samples,)"""
        if path not in self.kept:
            mono, rate = read_mono(path)
            if rate != self.sample_rate:
                mono = soxr.resample(mono, rate, self.sample_rate)
            self.kept[path] = np.clip(np.round(mono * 32767), -32768, 32767).astype(np.int16)
        return self.kept[path].astype(np.float32) / 32767


@dataclass(frozen=True)
class MixConfig:
    """How a noisy mixture is made. Probabilities are per item, of `speechless` per item with noise."""

    seconds: float = 2.0
    sample_rate: int = 16_000  # Hz
    snr: tuple[float, float] = (-5.0, 20.0)  # dB, of active speech to noise
    quiet_snr: tuple[float, float] = (20.0, 40.0)  # dB, of the next share of items
    quiet: float = 0.1
    clean: float = 0.1  # no noise at all: what is clean must come back unchanged
    speechless: float = 0.03  # noise alone: the answer is silence
    second_noise: float = 0.3
    babble: float = 0.08  # three to six other talkers as the noise
    coloured: float = 0.08  # synthetic noise with a random spectral slope
    room: float = 0.3
    early: float = 0.05  # seconds of the room's response that the target keeps
    speed: float = 0.3
    equaliser: float = 0.4
    band_limit: float = 0.12
    telephone: float = 0.04
    codec: float = 0.06
    clipping: float = 0.05
    level: tuple[float, float] = (-45.0, -15.0)  # dBFS of the mixture

    def __post_init__(self) -> None:
        if not self.seconds * self.sample_rate >= FRAME:
            raise ValueError(f"mixtures of {self.seconds} s at {self.sample_rate} Hz are shorter than {FRAME} samples")
        for name, value in vars(self).items():
            if isinstance(value, tuple):
                if not value[0] <= value[1]:
                    raise ValueError(f"{name} goes from the lower to the higher number of dB, not {value}")
            elif name not in ("seconds", "sample_rate", "early") and not 0 <= value <= 1:
                raise ValueError(f"{name} is a probability, from 0 to 1, not {value}")
        for names in (("clean", "quiet"), ("clipping", "telephone", "codec")):  # of which an item has one at most
            if sum(getattr(self, name) for name in names) > 1 + 1e-9:
                raise ValueError(f"{', '.join(names)} have probabilities of more than 1 together")


class Mixtures(Dataset):
    """Noisy speech and its clean target, each (samples,) float32, from clean speech, noise and optional room responses,
    as many as one likes.

    Speech and noise are drawn corpus by corpus with a chance that grows with the root of its length, so that a large
    one does not drown the rest; `emphasis` multiplies the chance of the corpora that are named in it.
    """

    def __init__(
        self,
        speech: Mapping[str, Sequence[Path]],
        noise: Mapping[str, Sequence[Path]],
        rooms: Sequence[Path] = (),
        config: MixConfig = MixConfig(),
        seed: int = 0,
        emphasis: Mapping[str, float] = MappingProxyType({}),
    ):
        self.config, self.seed = config, seed
        self.library = Library(config.sample_rate)
        self.speech = [by_folder(paths) for paths in speech.values()]
        self.noise = [by_folder(paths) for paths in noise.values()]
        self.rooms = list(rooms)
        self.speech_chance, self.noise_chance = chances(speech, emphasis), chances(noise, emphasis)
        self.length = round(config.seconds * config.sample_rate)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([self.seed, index])
        noisy, clean = self.mix(rng)
        return {"noisy": torch.from_numpy(noisy), "clean": torch.from_numpy(clean)}

    def mix(self, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
        config, rate = self.config, self.config.sample_rate
        speech = self.talk(rng)
        heard = target = speech
        if self.rooms and rng.random() < config.room:
            heard, target = reverberate(speech, self.library[pick(rng, self.rooms)], round(config.early * rate))
        if rng.random() < config.equaliser:
            curve = random_curve(rng, self.length)
            heard, target = shape(heard, curve), shape(target, curve)
        noise = self.disturb(rng)
        kind = rng.random()
        if kind < config.clean:
            noise = np.zeros_like(noise)
        else:
            bounds = config.quiet_snr if kind < config.clean + config.quiet else config.snr
            noise = at_ratio(noise, heard, rng.uniform(*bounds))
            if rng.random() < config.speechless:
                heard = target = np.zeros_like(heard)
        noisy = heard + noise
        if rng.random() < config.band_limit:
            curve = band_curve(self.length, rate, 0, rng.uniform(3000, 7500))
            noisy, target = shape(noisy, curve), shape(target, curve)
        gain = 10 ** (rng.uniform(*config.level) / 20) / max(root_mean_square(noisy), 1e-6)
        gain = min(gain, 0.99 / max(np.abs(noisy).max(), np.abs(target).max(), 1e-6))
        noisy, target = noisy * gain, target * gain
        damage = rng.random()
        if damage < config.clipping:
            limit = np.quantile(np.abs(noisy), rng.uniform(0.95, 0.999)) + 1e-6
            noisy = np.clip(noisy, -limit, limit)
        elif damage < config.clipping + config.telephone:
            curve = band_curve(self.length, rate, 300, 3400)
            noisy, target = mu_law(shape(noisy, curve)), shape(target, curve)
        elif damage < config.clipping + config.telephone + config.codec:
            noisy = code(noisy, rate, rng)
        return noisy.astype(np.float32), target.astype(np.float32)

    def talk(self, rng: Generator) -> np.ndarray:
        """Speech that fills an item: sentences of one folder, one after the other, with now and then a pause."""
        pieces, missing = [], self.length
        talker = pick(rng, self.speech[rng.choice(len(self.speech), p=self.speech_chance)])
        factor = rng.uniform(0.88, 1.14) if rng.random() < self.config.speed else 1.0
        while missing > 0:
            wave = self.library[pick(rng, talker)]
            if factor != 1.0:
                wave = soxr.resample(wave, self.config.sample_rate, self.config.sample_rate * factor, quality="MQ")
            wave = crop(rng, wave, missing) if len(wave) > missing else wave
            pieces.append(wave)
            missing -= len(wave)
            if missing > 0:
                pause = min(missing, int(rng.uniform(0, 0.4) * self.config.sample_rate))
                pieces.append(np.zeros(pause, np.float32))
                missing -= pause
        speech = np.concatenate(pieces)
        return speech / max(active_level(speech), 1e-4) * 0.05

    def disturb(self, rng: Generator) -> np.ndarray:
        """Noise that fills an item, from one source or two."""
        noise = self.one_noise(rng)
        if rng.random() < self.config.second_noise:
            other = self.one_noise(rng)
            ratio = root_mean_square(noise) / max(root_mean_square(other), 1e-6)
            noise = noise + other * ratio * 10 ** (rng.uniform(-15, 0) / 20)
        return noise

    def one_noise(self, rng: Generator) -> np.ndarray:
        kind = rng.random()
        if kind < self.config.babble:
            return np.sum([self.talk(rng) * 10 ** (rng.uniform(-6, 0) / 20) for _ in range(rng.integers(3, 7))], axis=0)
        if kind < self.config.babble + self.config.coloured:
            slope = rng.uniform(-2, 0.5)  # of the power over frequency: 0 white, -1 pink, -2 brown
            frequency = np.maximum(np.arange(self.length // 2 + 1) / self.length * self.config.sample_rate, 20)
            return shape(rng.standard_normal(self.length).astype(np.float32), (frequency / 1000) ** (slope / 2))
        corpus = self.noise[rng.choice(len(self.noise), p=self.noise_chance)]
        wave = self.library[pick(rng, pick(rng, corpus))]
        if len(wave) < self.length:  # a short noise comes again and again, with pauses
            pause = np.zeros(int(rng.uniform(0, 0.5) * self.config.sample_rate), np.float32)
            wave = np.tile(np.concatenate([wave, pause]), self.length // max(len(wave), 1) + 2)
        wave = crop(rng, wave, self.length)
        return shape(wave, random_curve(rng, self.length)) if rng.random() < self.config.equaliser else wave


class Pairs(Dataset):
    """Crops, as many as one likes, of recorded (clean, noisy) pairs, such as VoiceBank-DEMAND's; what is shorter than a
    crop is padded."""

    def __init__(
        self, pairs: Sequence[tuple[Path, Path]], seconds: float = 2.0, sample_rate: int = 16_000, seed: int = 0
    ):
        self.pairs = list(pairs)
        self.library = Library(sample_rate)
        self.length, self.seed = round(seconds * sample_rate), seed

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([self.seed, index])
        clean, noisy = (self.library[path] for path in pick(rng, self.pairs))
        samples = min(len(clean), len(noisy))
        both = np.stack([noisy[:samples], clean[:samples]])
        both = np.pad(both, ((0, 0), (0, max(0, self.length - samples))))
        start = rng.integers(both.shape[1] - self.length + 1)
        noisy, clean = torch.from_numpy(both[:, start : start + self.length].copy())
        return {"noisy": noisy, "clean": clean}


def by_folder(paths: Iterable[Path]) -> list[list[Path]]:
    """Files that share a folder together: for speech a talker, for noise a kind.

    Of LibriSpeech's SPEAKER/CHAPTER/SPEAKER-CHAPTER-0000.flac, and LibriTTS's with _, those of a speaker are together.
    """
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        chapter, speaker = path.parent, path.parent.parent
        nested = speaker.name.isdigit() and re.match(f"{speaker.name}[-_]{re.escape(chapter.name)}[-_]", path.name)
        folders[speaker if nested else chapter].append(path)
    return list(folders.values())


def chances(corpora: Mapping[str, Sequence[Path]], emphasis: Mapping[str, float]) -> np.ndarray:
    """Chance of each corpus: the root of its seconds, times the emphasis on it, normalised. ValueError if all are 0."""
    seconds = [sum(duration(path) for path in paths) for paths in corpora.values()]
    chance = np.sqrt(seconds) * [emphasis.get(name, 1.0) for name in corpora]
    if not (chance.sum() > 0 and chance.min() >= 0):
        raise ValueError(f"no chances can be made of {dict(zip(corpora, chance.tolist(), strict=True))}")
    return chance / chance.sum()


def pick(rng: Generator, items: Sequence):
    return items[rng.integers(len(items))]


def crop(rng: Generator, wave: np.ndarray, length: int) -> np.ndarray:
    start = rng.integers(len(wave) - length + 1)
    return wave[start : start + length]


def root_mean_square(wave: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))


def active_level(wave: np.ndarray, frame: int = FRAME, depth: float = 35.0) -> float:
    """Root mean square over the frames (20 ms) within `depth` dB of the loudest, so that pauses do not count."""
    power = np.square(wave[: len(wave) // frame * frame].reshape(-1, frame)).mean(1)
    return float(np.sqrt(power[power >= power.max() * 10 ** (-depth / 10)].mean()))


def at_ratio(noise: np.ndarray, speech: np.ndarray, snr: float) -> np.ndarray:
    """The noise so loud that the levels of active speech and of it are snr dB apart."""
    return noise * active_level(speech) / max(active_level(noise), 1e-6) * 10 ** (-snr / 20)


def shape(wave: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """The wave with its spectrum multiplied by a curve over frequency: (samples // 2 + 1,)"""
    return np.fft.irfft(np.fft.rfft(wave) * curve, n=len(wave)).astype(np.float32)


def random_curve(rng: Generator, samples: int, size: float = 6.0, points: int = 7) -> np.ndarray:
    """A smooth gain over frequency, within +-size dB, that varies most at the low end, as microphones and rooms do."""
    at = np.linspace(0, 1, points) ** 2
    return 10 ** (np.interp(np.linspace(0, 1, samples // 2 + 1), at, rng.uniform(-size, size, points)) / 20)


def band_curve(samples: int, rate: int, low: float, high: float) -> np.ndarray:
    """Pass band from low to high Hz with edges of about 150 Hz."""
    frequency = np.arange(samples // 2 + 1) * rate / samples
    edge = np.clip((high - frequency) / 150 + 0.5, 0, 1)
    return edge if low == 0 else edge * np.clip((frequency - low) / 150 + 0.5, 0, 1)


def reverberate(speech: np.ndarray, response: np.ndarray, early: int) -> tuple[np.ndarray, np.ndarray]:
    """(speech in the room, speech with the direct sound and early reflections alone), in time with the speech."""
    peak = int(np.abs(response).argmax())
    response = response[peak:] / np.sqrt(np.sum(np.square(response[peak : peak + early])) + 1e-12)
    size = 2 ** (len(speech) + len(response)).bit_length()
    spectrum = np.fft.rfft(speech, size)
    waves = (np.fft.irfft(spectrum * np.fft.rfft(part, size), size) for part in (response, response[:early]))
    whole, first = (wave[: len(speech)].astype(np.float32) for wave in waves)
    return whole, first


def mu_law(wave: np.ndarray, mu: int = 255) -> np.ndarray:
    """Eight-bit companding there and back (ITU-T G.711's curve)."""
    companded = np.sign(wave) * np.log1p(mu * np.abs(np.clip(wave, -1, 1))) / np.log1p(mu)
    companded = np.round(companded * 127) / 127
    return np.sign(companded) * np.expm1(np.abs(companded) * np.log1p(mu)) / mu


def code(wave: np.ndarray, rate: int, rng: Generator) -> np.ndarray:
    """Through a lossy codec (Vorbis or Opus at a random quality) and back, same length."""
    buffer = io.BytesIO()
    subtype = ("VORBIS", "OPUS")[rng.integers(2)]
    soundfile.write(buffer, wave, rate, format="OGG", subtype=subtype, compression_level=rng.uniform(0.5, 1.0))
    buffer.seek(0)
    decoded, _ = soundfile.read(buffer, dtype="float32")
    return np.pad(decoded, (0, max(0, len(wave) - len(decoded))))[: len(wave)]
