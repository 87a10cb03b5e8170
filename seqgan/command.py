"""What commands share: errors of one line, and how they end."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Callable
from types import ModuleType
from typing import NoReturn, TextIO

from seqgan import __version__

MOST = 100_000  # of what is drawn by one command


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, exit code 2. Every command has --debug and --version."""

    def __init__(self, prog: str, description: str, examples: str):
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(prog, description=description, epilog=examples, formatter_class=formatter)

    def add_common(self) -> None:
        self.add_argument("--debug", action="store_true", help="show where an error came from")
        self.add_argument("--version", action="version", version=f"%(prog)s {__version__}")

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")

    def check_draws(self, count: int, seed: int | None) -> None:
        """Ends with exit code 2 unless there can be so many, and such a seed."""
        if not 1 <= count <= MOST:
            self.error(f"--count {count}: from 1 to {MOST}")
        if seed is not None and not 0 <= seed < 2**63:
            self.error(f"--seed {seed}: from 0 to {2**63 - 1}")


def encode_output(**options: str) -> None:
    """Sets how standard output and error are encoded, where they are open."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(**options)


def on_terminal(stream: TextIO | None) -> bool:
    """None: a standard stream that was closed from the beginning."""
    return stream is not None and stream.isatty()


def end_in_order() -> None:
    """Has SIGTERM, and SIGHUP of a terminal that is closed, end the process as an exception does, so that what is half
    written is removed."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, lambda number, _: sys.exit(128 + number))


def silence() -> None:
    """Gives up standard output where it takes nothing more, which Python would try again at exit."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def import_torch() -> ModuleType:
    """torch. A signal while it is imported, where it would be lost or abort the process, is acted on afterwards."""
    caught = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: caught.append(number)) for number in numbers]
    try:
        import torch
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    if caught:
        signal.raise_signal(caught[0])
    return torch


def call(prog: str, work: Callable[[], int], debug: bool = False) -> int:
    """The exit code of `work`; 1 and one line for what the user can mend, 130 where it was interrupted."""
    try:
        code = work()
        if sys.stdout is not None:  # where it was closed from the beginning
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        silence()
        return 1
    except (ValueError, OSError) as error:
        if isinstance(error, OSError):
            silence()
        if debug:
            raise
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        # torch has RuntimeErrors of its own for it, of the processor and of a GPU.
        if isinstance(error, RuntimeError) and not re.search("can't allocate memory|out of memory", str(error)):
            raise
        print(f"{prog}: not enough memory for so much at once", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return 130
