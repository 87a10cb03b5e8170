"""Text files to lines, whatever state they are in."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path


def tell(message: str) -> None:
    print(message, file=sys.stderr)


def read_lines(path: str | Path, longest: int | None = None, note: Callable[[str], None] = tell) -> list[str]:
    """The lines of a UTF-8 file (gzipped if its name ends in .gz), without their ends and without a byte-order mark.

    Empty lines and lines of more than `longest` characters are skipped, and `note` is told how many. ValueError, with
    the file and the number of the line, where it is not UTF-8 or has a NUL, and where no line is left.
    """
    kept, empty, over = [], 0, 0
    for number, raw in enumerate(_raw_lines(Path(path)), 1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}, line {number}: not UTF-8 ({error.reason} at byte {error.start})") from error
        if "\0" in line:
            raise ValueError(f"{path}, line {number}: has a NUL character, so this is no text")
        if not line.strip():
            empty += 1
        elif longest is not None and len(line) > longest:
            over += 1
        else:
            kept.append(line)
    if empty:
        note(f"{path}: skipped {_lines(empty)} that are empty" if empty > 1 else f"{path}: skipped 1 empty line")
    if over:
        note(f"{path}: skipped {_lines(over)} longer than {longest}")
    if not kept:
        raise ValueError(f"{path} has no line{'' if longest is None else f' of at most {longest} characters'}")
    return kept


def _raw_lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        try:
            yield from file
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path} is not a whole gzip file: {error}") from error


def _lines(count: int) -> str:
    return f"{count} line{'s' if count > 1 else ''}"
