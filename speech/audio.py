"""Recordings, chunk by chunk: what libsndfile reads and writes (wav, flac, ogg, opus, mp3), and wav through pipes.

Chunks are (channels, samples) with full scale 1.0, float64 where float32 could not hold the samples, else float32.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import soundfile

from .pipe import BITS, CODES, Format, PipeReader, PipeWriter, to_integers
from .plan import is_special

WRITABLE = {  # ending of the name -> container, and subtype if that of the source is not kept
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
KEPT = {*BITS, "FLOAT", "DOUBLE", "ULAW", "ALAW"}  # other subtypes code in blocks, which changes the length
FINE = {"PCM_24", "PCM_32", "FLOAT", "DOUBLE"}  # more than 16 bits: PCM_24 where they cannot be kept
PARTED = {"MP3", "OGG"}  # containers of which libsndfile may know the first part only
WIDE = {"PCM_32", "DOUBLE"}  # more than float32 can hold
LARGEST_WAV = 2**32 - 2**16  # bytes, for what a wav counts in 32 bits
ENDLESS = 2**62  # samples from which on a number of them means that the header has none


class Reader(Protocol):
    format: Format

    def chunks(self, samples: int) -> Iterator[np.ndarray]: ...


class Writer(Protocol):
    def write(self, wave: np.ndarray) -> None: ...


class FileReader:
    """A file that libsndfile reads."""

    def __init__(self, path: str | Path):
        self.path = path
        self.stream: BinaryIO | None = None  # of a container in PARTED: it tells what is left in the end
        with open(path, "rb") as file:  # whose errors say more than libsndfile's
            if not file.read(1):
                raise ValueError(f"{path} is empty: no audio in it")
        try:
            with decoder_silenced():
                self.file = soundfile.SoundFile(native(path))
                if self.file.format in PARTED:
                    self.stream = open(path, "rb")
                    self.file = soundfile.SoundFile(self.stream)
        except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: of a name such as a.raw
            reason = error.error_string.rstrip(".") if isinstance(error, soundfile.LibsndfileError) else "no header"
            raise ValueError(
                f"{path} is no audio that can be read ({reason}): "
                "wav, flac, ogg, opus and mp3 are; ffmpeg makes a wav of others"
            ) from error
        file = self.file
        samples: int | None = max(file.frames, promised(path) if file.format in ("WAV", "WAVEX", "RF64") else 0)
        if file.frames >= ENDLESS:  # a flac that was written into a pipe, in which soundfile cannot seek either
            samples, file.seekable = None, lambda: False
        self.format = Format(file.samplerate, file.channels, file.format, file.subtype, samples)

    def chunks(self, samples: int) -> Iterator[np.ndarray]:
        dtype = "float64" if self.format.subtype in WIDE else "float32"
        while True:
            try:
                with decoder_silenced(self.format.container == "MP3"):
                    chunk = self.file.read(samples, dtype=dtype, always_2d=True)
            except soundfile.LibsndfileError as error:
                raise ValueError(f"{self.path} is damaged: {error.error_string.rstrip('.')}") from error
            if not len(chunk):
                break
            yield chunk.T
        if self.stream is not None and goes_on(self.stream.read(2**16), self.format.container):
            raise ValueError(
                f"{self.path} has more than the {self.file.frames / self.format.sample_rate:.1f} s that its beginning "
                "speaks of, which cannot be read: ffmpeg makes a wav of all of it"
            )

    def close(self) -> None:
        self.file.close()
        if self.stream is not None:
            self.stream.close()


class FileWriter:
    """A file that libsndfile writes."""

    def __init__(self, path: Path, form: Format):
        container = form.container
        if container == "WAV" and (form.samples or 0) * form.channels * BITS.get(form.subtype, 64) // 8 > LARGEST_WAV:
            container = "RF64"
        self.subtype = form.subtype
        self.file = soundfile.SoundFile(
            native(path), "w", form.sample_rate, form.channels, form.subtype, format=container
        )

    def write(self, wave: np.ndarray) -> None:
        """wave: (channels, samples); what would clip is limited"""
        if self.subtype in BITS:
            bits = BITS[self.subtype]
            self.file.write(to_integers(wave.T, bits) << (32 - bits))
        else:
            self.file.write(wave.T if self.subtype in ("FLOAT", "DOUBLE") else np.clip(wave.T, -1, 1))

    def close(self) -> None:
        self.file.close()


def duration(path: str | Path) -> float:
    """Seconds of audio; ValueError where there is none."""
    with closing(FileReader(path)) as reader:
        samples = reader.format.samples
        if samples is None:
            samples = sum(chunk.shape[1] for chunk in reader.chunks(2**16))
        return samples / reader.format.sample_rate


def read_mono(path: str | Path) -> tuple[np.ndarray, int]:
    """The mean of its channels, (samples,), and its rate in Hz; ValueError where there is none."""
    with closing(FileReader(path)) as reader:
        parts = [chunk.mean(0) for chunk in reader.chunks(2**20)]
        return np.concatenate([np.empty(0, np.float32), *parts]), reader.format.sample_rate


def goes_on(rest: bytes, container: str) -> bool:
    """Whether what libsndfile leaves of a file is audio too: a further Ogg stream, or MPEG frames that it did not count
    on. Each of these begins with a mark and has 1,441 bytes at most; a picture in a tag has one in 10,000 by chance."""
    if container == "OGG":
        return b"OggS" in rest
    return len(re.findall(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]", rest)) > max(3, len(rest) / 3000)


def promised(path: str | Path) -> int:
    """How many samples the header of a wav speaks of, where libsndfile counts those that are there; 0: unknown."""
    with open(path, "rb") as file:
        try:
            return PipeReader(file, str(path)).format.samples or 0
        except ValueError:  # coded in another way
            return 0


@contextmanager
def reading(path: str) -> Iterator[Reader]:
    """The recording at a path, or the wav on standard input for "-"; ValueError or OSError if there is none."""
    if path == "-":
        yield PipeReader(sys.stdin.buffer, "standard input")
        return
    reader = PipeReader(open(path, "rb"), path) if is_special(path) else FileReader(path)
    try:
        yield reader
    finally:
        reader.close()


@contextmanager
def writing(path: str, source: Format) -> Iterator[Writer]:
    """A recording like the source, in the format of the path's ending; "-" is a wav on standard output.

    It has its name only once it is complete; after any failure what stood there before is as it was.
    """
    if path == "-" or is_special(path):
        form = format_like(source, ".wav")
        if form.subtype not in CODES.values():
            form = Format(form.sample_rate, form.channels, "WAV", "PCM_16", form.samples)
        try:
            writer = PipeWriter(sys.stdout.buffer if path == "-" else open(path, "wb"), form)
            yield writer
            writer.close()
        except OSError as error:
            error.filename = error.filename or path
            raise
        return
    from seqgan.checkpoint import replacing

    form = format_like(source, Path(path).suffix)
    with replacing(Path(path), anew=True) as part:
        part.touch()  # whose errors say more than libsndfile's
        try:
            writer = FileWriter(part, form)
        except soundfile.LibsndfileError as error:
            raise ValueError(
                f"{path} cannot hold {source.channels} channels at {source.sample_rate} Hz ({form.subtype}); a .wav can"
            ) from error
        try:
            try:
                yield writer
            finally:
                writer.close()
        except soundfile.LibsndfileError as error:
            raise OSError(f"cannot write {path}: no room on the disk, or a limit on the size of files") from error


def format_like(source: Format, ending: str) -> Format:
    """The source's format in the container of an ending: its subtype if that container has it."""
    container, subtype = WRITABLE[ending.lower()]
    if source.subtype in KEPT and soundfile.check_format(container, source.subtype):
        subtype = source.subtype
    elif source.subtype in FINE and soundfile.check_format(container, "PCM_24"):
        subtype = "PCM_24"
    return Format(source.sample_rate, source.channels, container, subtype, source.samples)


def native(path: str | Path) -> str | bytes:
    """The name as soundfile passes it on whole; its own encoding fails at names that are not valid text."""
    return os.fsencode(path) if os.name == "posix" else str(path)


@contextmanager
def decoder_silenced(needed: bool = True) -> Iterator[None]:
    """Keeps from standard error what the mp3 decoder, a C library, says there of every file that is not quite right."""
    if not needed or sys.stderr is None:  # it was closed from the beginning
        yield
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
