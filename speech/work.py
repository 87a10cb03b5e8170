"""Enhancing many recordings: one after the other here, or side by side in worker processes."""

from __future__ import annotations

import glob
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgan.command import end_in_order, import_torch

from .plan import Failure, Task

if TYPE_CHECKING:
    import numpy as np

    from .enhancer import Enhancer


MMAP_THRESHOLD = -3  # number of the option in glibc's malloc.h


@dataclass(frozen=True)
class Settings:
    """What is done to every recording: the options of `enhance`."""

    model: str = "base"
    strength: float = 1.0
    max_attenuation: float | None = None  # dB
    device: str = "cpu"
    threads: int = 1
    plot: bool = False
    report: bool = False
    overwrite: bool = False
    debug: bool = False


@dataclass(frozen=True)
class Progress:
    """So many more seconds of a recording are enhanced."""

    source: str
    seconds: float


@dataclass(frozen=True)
class Done:
    """A recording is enhanced."""

    source: str
    outputs: list[str]
    notes: list[str] = field(default_factory=list)  # a line each of what the user should know
    report: str = ""


class ModelError(ValueError):
    """The model cannot be loaded, so that nothing can be enhanced."""


Event = Progress | Done | Failure


def work(tasks: Sequence[Task], settings: Settings, jobs: int = 1) -> Iterator[Event]:
    """Enhances all tasks. Each ends in one Done or Failure, whatever becomes of the others.

    Close the iterator to stop: what is half written is then removed.
    """
    jobs = min(jobs, len(tasks))
    return side_by_side(tasks, settings, jobs) if jobs > 1 else one_by_one(tasks, settings)


def one_by_one(tasks: Sequence[Task], settings: Settings) -> Iterator[Event]:
    if tasks:
        enhancer = load(settings)
        for task in tasks:
            yield from attempt(enhancer, task, settings)


def side_by_side(tasks: Sequence[Task], settings: Settings, jobs: int) -> Iterator[Event]:
    """A worker that dies takes nothing with it but the recording at which it was, and another takes its place."""
    import multiprocessing
    from multiprocessing.connection import Connection, wait
    from multiprocessing.process import BaseProcess

    context = multiprocessing.get_context("spawn")
    settings = replace(settings, threads=max(1, settings.threads // jobs))
    waiting = deque(tasks)
    busy: dict[Connection, tuple[BaseProcess, Task]] = {}
    workers: list[BaseProcess] = []

    def start() -> tuple[Connection, BaseProcess]:
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, settings), daemon=True)
        # Ctrl-C reaches every process of the terminal; the workers inherit that it is ignored, and are ended from here.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process.start()
        finally:
            signal.signal(signal.SIGINT, before)
        theirs.close()
        workers.append(process)
        return ours, process

    def give(connection: Connection, process: BaseProcess) -> None:
        task = waiting.popleft()
        busy[connection] = process, task
        try:
            connection.send(task)
        except OSError:  # it has died, which the next wait sees
            pass

    try:
        for _ in range(jobs):
            give(*start())
        while busy:
            for connection in wait(list(busy)):
                process, task = busy[connection]
                try:
                    event = connection.recv()
                except (EOFError, OSError):
                    del busy[connection]
                    process.join()
                    target = Path(task.target)
                    for part in target.parent.glob(f"{glob.escape(target.name)}.{process.pid}.*.part"):
                        part.unlink(missing_ok=True)  # which it could not remove any more
                    yield Failure(task.source, f"{task.source}: its worker process died ({ending(process.exitcode)})")
                    if waiting:
                        give(*start())
                    continue
                if isinstance(event, ModelError):
                    raise event
                yield event
                if not isinstance(event, Progress):
                    if waiting:
                        give(connection, process)
                    else:
                        del busy[connection]
                        connection.close()  # at which the worker ends
    finally:
        for process, _ in busy.values():
            process.terminate()
        for process in workers:
            process.join()


def serve(connection: Any, settings: Settings) -> None:
    """A worker's life: tasks come in, events go out, until the other end is closed."""
    end_in_order()
    try:
        enhancer = load(settings)
        while True:
            for event in attempt(enhancer, connection.recv(), settings):
                connection.send(event)
    except ModelError as error:
        connection.send(error)
    except (EOFError, OSError):  # no more tasks, or nobody listens
        pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # nothing is left to be removed


def ending(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        return f"{name}; perhaps the memory ran out, fewer --jobs need less" if name == "SIGKILL" else name
    return f"exit code {exitcode}"


def load(settings: Settings) -> Enhancer:
    try:
        torch = import_torch()
        from .enhancer import Enhancer

        return_memory()
        torch.set_num_threads(settings.threads)
        torch.set_flush_denormal(True)  # fading sound would otherwise make it several times slower
        return Enhancer.from_pretrained(settings.model, settings.device)
    except Exception as error:
        if settings.debug:
            traceback.print_exc()
        raise ModelError(explain(error)) from error


def return_memory() -> None:
    """Has glibc give large arrays back at once: by default it learns to keep them, up to 300 MB in a long recording."""
    import ctypes

    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(MMAP_THRESHOLD, 4 << 20)


def attempt(enhancer: Enhancer, task: Task, settings: Settings) -> Iterator[Event]:
    """`enhance_file`, with an error made into a Failure."""
    try:
        yield from enhance_file(enhancer, task, settings)
    except BrokenPipeError:  # nobody reads on: the end of a pipeline, no failure of this file
        raise
    except Exception as error:
        if settings.debug:
            traceback.print_exc()
        reason = explain(error)
        yield Failure(
            task.source, reason if name_of(task) in reason or task.target in reason else f"{name_of(task)}: {reason}"
        )


def explain(error: Exception) -> str:
    """One line of what is wrong."""
    if isinstance(error, OSError) and error.strerror:
        return f"{str(error.filename).removesuffix('.part')}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return "not enough memory"
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def name_of(task: Task) -> str:
    return "standard input" if task.source == "-" else task.source


def enhance_file(enhancer: Enhancer, task: Task, settings: Settings) -> Iterator[Progress | Done]:
    """Enhances one recording in pieces, in constant memory."""
    from .audio import reading, writing
    from .plot import Spectrogram, draw
    from .report import Listener, summary

    started = time.perf_counter()
    picture = str(Path(task.target).with_suffix(".png")) if settings.plot else None
    if picture and Path(picture).exists() and not settings.overwrite:
        raise FileExistsError(f"{picture} exists already (--overwrite replaces it)")
    with reading(task.source) as reader:
        rate, channels = reader.format.sample_rate, reader.format.channels
        stream = enhancer.open_stream(rate, channels, settings.strength, settings.max_attenuation)
        kinds = [Listener] * settings.report + [Spectrogram] * settings.plot
        before, after = ([kind(rate) for kind in kinds] for _ in range(2))
        with writing(task.target, reader.format) as writer:

            def write(wave: np.ndarray) -> None:
                writer.write(wave)
                for observer in after:
                    observer.push(wave)

            for chunk in reader.chunks(stream.piece):
                for observer in before:
                    observer.push(chunk)
                write(stream.push(chunk))
                yield Progress(task.source, chunk.shape[1] / rate)
            if not stream.received:
                raise ValueError(f"{name_of(task)} has no samples")
            write(stream.finish())
    notes, report = [], ""
    if stream.replaced:
        notes.append(f"{name_of(task)}: {stream.replaced} samples were NaN or infinite and count as silence")
    doubt = 1152 if reader.format.container == "MP3" else 0  # a frame: many an mp3's length is an estimate
    if stream.received + doubt < (reader.format.samples or 0):
        notes.append(
            f"{name_of(task)} ends after {stream.received} of the {reader.format.samples} samples that it promises"
        )
    if settings.report:
        report = summary(name_of(task), before[0], after[0], stream, time.perf_counter() - started)
    if picture:
        draw(picture, before[-1], after[-1], name_of(task))
    yield Done(task.source, [output for output in (task.target, picture) if output], notes, report)
