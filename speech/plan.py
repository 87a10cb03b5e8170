"""What `enhance` is to do: from the names that a user gives to pairs of source and target, before any work begins."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

AUDIO = (".wav", ".flac", ".ogg", ".opus", ".mp3")  # the endings that can be written
READ = (*AUDIO, ".aif", ".aifc", ".aiff", ".au", ".caf", ".oga", ".rf64", ".w64")  # what is looked for in folders
MARK = ".enhanced"


class UsageError(ValueError):
    """The command line cannot be meant as it stands."""


@dataclass(frozen=True)
class Task:
    source: str  # a path, or "-" for standard input
    target: str  # a path, or "-" for standard output


@dataclass(frozen=True)
class Failure:
    source: str
    reason: str  # one line, with the name of the file


def plan(
    names: Sequence[str], output: str | None = None, overwrite: bool = False, skip: bool = False
) -> tuple[list[Task], list[Failure]]:
    """Tasks, and what fails already, such as two sources with one target; UsageError where an output is an input.

    A target that exists is a failure, unless one may `overwrite` it, or is to `skip` its source.

    A name is a file, a folder (all audio below it), a pattern that the shell did not expand, or "-". The target is
    NAME.enhanced.wav beside the source; such a target among the sources is not enhanced again, so that `*.wav` can be
    said twice. `output` is a file for one source, "-" for standard output, or a folder in which the sources' own names
    and folders are mirrored.
    """
    if "-" in names:
        if len(names) > 1:
            raise UsageError("standard input (-) goes alone")
        tasks = [Task("-", output or "-")]
        if tasks[0].target != "-" and Path(output).suffix.lower() not in AUDIO and not is_special(output):
            raise UsageError(f"-o {output}: the wav on standard input needs a file name with one of {', '.join(AUDIO)}")
        return separate(tasks, [], overwrite, skip)
    if output == "-":
        sources, failures = find(names, None)
        if len(sources) + len(failures) > 1:
            raise UsageError("-o - is one stream, and there is more than one input: name a folder")
        return [Task(str(source), "-") for source in sources], failures
    sources, failures = find(names, os.path.realpath(output) if output else None)
    if output is None:
        targets = named_apart({source: source for source in sources}, MARK + ".wav")
        made = set(targets.values())
        targets = {source: target for source, target in targets.items() if source not in made}
    elif is_folder(output, names, sources):
        targets = {source: Path(output, name) for source, name in named_apart(sources, ".wav").items()}
    else:
        targets = dict.fromkeys(sources, Path(output))
    return separate([Task(str(source), str(target)) for source, target in targets.items()], failures, overwrite, skip)


def named_apart(sources: Mapping[Path, Path], ending: str) -> dict[Path, Path]:
    """The paths with another ending; where a.mp3 and a.flac would be one, a.mp3.wav and a.flac.wav."""
    short = {source: path.with_name(path.stem + ending) for source, path in sources.items()}
    times = Counter(short.values())
    return {
        source: short[source]
        if times[short[source]] == 1 or path.suffix.lower() == ".wav"
        else path.with_name(path.name + ending)
        for source, path in sources.items()
    }


def find(names: Sequence[str], output: str | None) -> tuple[dict[Path, Path], list[Failure]]:
    """Sources, each once, with their paths below a mirroring folder; what is below `output` is no source."""
    sources: dict[Path, Path] = {}
    failures, seen = [], set()

    def add(path: Path, relative: Path) -> None:
        if (real := os.path.realpath(path)) not in seen:
            seen.add(real)
            sources[path] = relative

    for name in names:
        matches = [name] if os.path.exists(name) else sorted(glob.glob(name, recursive=True))
        if not matches:
            kind = "matches no file" if glob.has_magic(name) else "does not exist"
            failures.append(Failure(name, f"{name} {kind}"))
        for match in map(Path, matches):
            if not match.is_dir():
                add(match, Path(match.name))
                continue
            below, closed = walk(match, output if output != os.path.realpath(match) else None)
            failures += closed
            if not below and not closed:
                failures.append(
                    Failure(str(match), f"{match} holds no audio ({', '.join(READ)}), nor does a folder in it")
                )
            for path in below:
                add(path, path.relative_to(match))
    return sources, failures


def walk(folder: Path, output: str | None) -> tuple[list[Path], list[Failure]]:
    """All audio below a folder, sorted, without hidden files and what is enhanced already or below `output`.

    The second list has the folders that cannot be read.
    """
    found, closed = [], []

    def note(error: OSError) -> None:
        closed.append(Failure(error.filename, f"{error.filename}: {error.strerror}"))

    for place, folders, files in os.walk(folder, onerror=note):
        folders[:] = [
            name for name in folders if not name.startswith(".") and os.path.realpath(Path(place, name)) != output
        ]
        found += [Path(place, name) for name in files if is_recording(name)]
    return sorted(found), closed


def is_recording(name: str) -> bool:
    path = Path(name)
    return path.suffix.lower() in READ and not name.startswith(".") and not path.stem.endswith(MARK)


def is_folder(output: str, names: Sequence[str], sources: dict[Path, Path]) -> bool:
    """Whether -o names a folder rather than a file."""
    path = Path(output)
    if os.path.isdir(output) or output.endswith(("/", os.sep)):
        return True
    several = len(sources) > 1 or any(os.path.isdir(name) for name in names)
    if path.suffix.lower() in AUDIO or is_special(output):
        if several:
            raise UsageError(f"-o {output} is one file, and there is more than one input: name a folder")
        return False
    if path.suffix and not several:
        raise UsageError(
            f"-o {output}: {path.suffix} cannot be written, {', '.join(AUDIO)} can (a folder's name ends in /)"
        )
    return True


def is_special(name: str) -> bool:
    """A named pipe or a device, such as /dev/stdout."""
    return os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name)


def separate(
    tasks: list[Task], failures: list[Failure], overwrite: bool, skip: bool
) -> tuple[list[Task], list[Failure]]:
    """Sees to it that no output falls on another, on an input or, unless it may, on what is there already."""
    inputs = {os.path.realpath(task.source) for task in tasks}
    claims: dict[str, list[str]] = {}  # the sources of each target
    for task in tasks:
        claims.setdefault(os.path.realpath(task.target), []).append(task.source)
    free = []
    for task in tasks:
        place = os.path.realpath(task.target)
        if task.target == "-" or is_special(task.target):
            free.append(task)
            continue
        if place in inputs:
            raise UsageError(f"{task.target} is an input: choose another output")
        if len(claims[place]) > 1:
            others = " and ".join(source for source in claims[place] if source != task.source)
            reason = f"{task.source} would be written to {task.target}, as would {others}: enhance them apart"
            failures.append(Failure(task.source, reason))
        elif os.path.isdir(task.target):
            failures.append(Failure(task.source, f"{task.target}, the output for {task.source}, is a folder"))
        elif os.path.exists(task.target) and skip:
            continue
        elif os.path.exists(task.target) and not overwrite:
            reason = f"{task.target} exists already (--overwrite replaces it, --skip-existing leaves it)"
            failures.append(Failure(task.source, reason))
        elif reason := blocked(task.target):
            failures.append(Failure(task.source, f"{task.target} cannot be written: {reason}"))
        else:
            free.append(task)
    return free, failures


def blocked(target: str) -> str:
    """Why nothing can be written there, as far as can be told without trying; else empty."""
    place = Path(target).absolute().parent
    while not os.path.exists(place):
        place = place.parent
    if not os.path.isdir(place):
        return f"{place} is a file, no folder"
    return "" if os.access(place, os.W_OK) else f"no permission in {place}"
