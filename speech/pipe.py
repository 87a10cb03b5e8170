"""Wav on pipes, which cannot be rewound: the length may be unknown, and every sample goes on as soon as it has come."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

BITS = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}  # of the integer subtypes
CODES = {  # (format tag, bits) in a wav header -> libsndfile's name
    (1, 8): "PCM_U8",
    (1, 16): "PCM_16",
    (1, 24): "PCM_24",
    (1, 32): "PCM_32",
    (3, 32): "FLOAT",
    (3, 64): "DOUBLE",
}
UNKNOWN = 0xFFFFFFFF  # the size that ffmpeg writes into a header that it cannot come back to
LARGEST_KNOWN = 0x7FFFF000  # sizes from here on are placeholders too (sox writes this one)
MOST_CHANNELS = 1024  # libsndfile's limit


@dataclass(frozen=True)
class Format:
    """How samples are stored: Hz, channels, libsndfile's names of container and subtype."""

    sample_rate: int
    channels: int
    container: str
    subtype: str
    samples: int | None = None  # per channel; None where that shows only at the end


class PipeReader:
    """A wav that comes through a pipe; ValueError where it is none."""

    def __init__(self, stream: BinaryIO, name: str):
        self.stream, self.name = stream, name
        head = stream.read(12)
        if not head:
            raise ValueError(f"{name} is empty")
        if len(head) < 12 or head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
            raise ValueError(
                f"{name} is not a wav; a pipe brings one, as in: ffmpeg -i a.m4a -f wav - | enhance - > b.wav"
            )
        code = bits = None
        wide = UNKNOWN  # size of the data in an RF64
        while (chunk := self.take(8))[:4] != b"data":
            size = struct.unpack("<I", chunk[4:])[0]
            if chunk[:4] == b"fmt " and 16 <= size < 4096:
                settings = self.take(size + size % 2)
                code, channels, rate, _, align, bits = struct.unpack("<HHIIHH", settings[:16])
                if code == 0xFFFE and size >= 26:  # "extensible": the code stands further on
                    code = struct.unpack("<H", settings[24:26])[0]
            elif chunk[:4] == b"ds64" and 16 <= size < 4096:
                wide = struct.unpack("<Q", self.take(size + size % 2)[8:16])[0]
            else:
                for start in range(0, size + size % 2, 65536):
                    self.take(min(65536, size + size % 2 - start))
        if (code, bits) not in CODES:
            raise ValueError(
                f"{name}: a wav on a pipe has integer or floating point samples, not code {code} with {bits} bits"
            )
        if not 0 < channels <= MOST_CHANNELS or align != channels * bits // 8:
            raise ValueError(
                f"{name}: its header speaks of {channels} channels and {align} bytes for one sample of each"
            )
        size = struct.unpack("<I", chunk[4:])[0]
        if head[:4] == b"RF64" and size == UNKNOWN:
            size = wide
        self.align = align
        self.left = size if size not in (0, UNKNOWN, LARGEST_KNOWN) else None  # bytes; a gstreamer pipe writes 0
        samples = size // align if self.left is not None and not LARGEST_KNOWN <= size < UNKNOWN else None
        self.format = Format(rate, channels, "WAV", CODES[code, bits], samples)

    def take(self, size: int) -> bytes:
        taken = self.stream.read(size)
        if len(taken) < size:
            raise ValueError(f"{self.name} ends within its wav header")
        return taken

    def chunks(self, samples: int) -> Iterator[np.ndarray]:
        """What has come, at most so many samples at a time: (channels, samples)"""
        rest = b""
        while self.left is None or self.left > 0:
            most = samples * self.align - len(rest)
            came = self.stream.read1(most if self.left is None else min(most, self.left))
            if not came:
                return
            if self.left is not None:
                self.left -= len(came)
            came = rest + came
            whole = len(came) // self.align * self.align
            rest = came[whole:]
            if whole:
                yield from_bytes(came[:whole], self.format.subtype).reshape(-1, self.format.channels).T

    def close(self) -> None:
        self.stream.close()


class PipeWriter:
    """A wav into a pipe or device; its length stands in the header if it is known before or can be put there after."""

    def __init__(self, stream: BinaryIO, form: Format):
        self.stream, self.form = stream, form
        code, bits = next(key for key, name in CODES.items() if name == form.subtype)
        self.align = form.channels * bits // 8
        self.written = 0
        self.start = stream.tell() if rewindable(stream) else None
        settings = (code, form.channels, form.sample_rate, form.sample_rate * self.align, self.align, bits)
        size = UNKNOWN if form.samples is None else form.samples * self.align
        self.stream.write(b"RIFF" + sizes(size, 36) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, *settings))
        self.stream.write(b"data" + sizes(size, 0))

    def write(self, wave: np.ndarray) -> None:
        """wave: (channels, samples)"""
        self.stream.write(to_bytes(wave.T, self.form.subtype))
        self.stream.flush()
        self.written += wave.shape[1]

    def close(self) -> None:
        size = self.written * self.align
        if size % 2:
            self.stream.write(b"\0")
        if self.start is not None and self.written != self.form.samples:
            for at, value in ((4, sizes(size, 36)), (40, sizes(size, 0))):
                self.stream.seek(self.start + at)
                self.stream.write(value)
            self.stream.seek(0, os.SEEK_END)
        self.stream.flush()


def sizes(data: int, more: int) -> bytes:
    return struct.pack("<I", min(data + data % 2 * (more > 0) + more, UNKNOWN))


def rewindable(stream: BinaryIO) -> bool:
    """Whether one can go back and write over what was written: not in a pipe, nor in a file that is appended to."""
    if not stream.seekable():
        return False
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    return not fcntl.fcntl(stream.fileno(), fcntl.F_GETFL) & os.O_APPEND


def to_integers(wave: np.ndarray, bits: int) -> np.ndarray:
    """Samples of full scale 1.0 as integers of so many bits (int32); what would overflow is limited."""
    full = 2.0 ** (bits - 1)
    if bits > 24:
        wave = wave.astype(np.float64)
    return np.clip(np.rint(wave * wave.dtype.type(full)), -full, full - 1).astype(np.int32)


def to_bytes(wave: np.ndarray, subtype: str) -> bytes:
    if subtype not in BITS:
        return wave.astype("<f4" if subtype == "FLOAT" else "<f8").tobytes()
    values = to_integers(wave, BITS[subtype])
    if subtype == "PCM_U8":
        return (values + 128).astype(np.uint8).tobytes()
    if subtype == "PCM_24":
        return np.ascontiguousarray(values.astype("<i4")).view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    return values.astype(f"<i{BITS[subtype] // 8}").tobytes()


def from_bytes(data: bytes, subtype: str) -> np.ndarray:
    """(samples * channels,) of full scale 1.0: float64 where float32 could not hold them, float32 otherwise"""
    if subtype in ("FLOAT", "DOUBLE"):
        return np.frombuffer(data, "<f4" if subtype == "FLOAT" else "<f8")
    if subtype == "PCM_U8":
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    if subtype == "PCM_24":
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return (wide.view("<i4")[:, 0] >> 8).astype(np.float32) / 2**23
    if subtype == "PCM_16":
        return np.frombuffer(data, "<i2").astype(np.float32) / 2**15
    return np.frombuffer(data, "<i4").astype(np.float64) / 2**31
