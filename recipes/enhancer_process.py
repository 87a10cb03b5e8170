"""One speech enhancer in a process of its own, timed: the half of compare_enhancers.py that runs where it is installed.

It reads a job (JSON) from standard input, and needs numpy and soundfile, besides what the enhancer itself needs.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 16_000
NOT_INSTALLED = 3  # the exit code of a system whose package is missing

Enhance = Callable[[np.ndarray], np.ndarray]  # float32 (samples,) at 16 kHz -> the same


def main(job: dict[str, Any]) -> int:
    try:
        enhance = load(job["system"], job["adapters"])
    except ImportError as error:
        print(error)
        return NOT_INSTALLED
    reset = getattr(enhance, "reset", lambda: None)  # what a system does before each recording, off the clock
    reset()
    enhance(soundfile.read(job["tasks"][0]["noisy"], dtype="float32")[0])  # a first call may compile or allocate
    for task in job["tasks"]:
        wave, _ = soundfile.read(task["noisy"], dtype="float32")
        reset()
        start = cpu_seconds()
        enhanced = enhance(wave.copy())
        seconds = cpu_seconds() - start
        enhanced = np.asarray(enhanced, np.float32)
        if enhanced.ndim != 1 or not enhanced.size or not np.isfinite(enhanced).all():
            raise ValueError(f"{task['noisy']}: output of shape {enhanced.shape}, or with samples that are not finite")
        write(Path(task["output"]), enhanced)
        record = {**task["record"], "cpu": seconds, "seconds": wave.size / RATE, "memory": peak_memory()}
        append_record(Path(job["records"]), record)
    return 0


def load(system: str, adapters: str | None) -> Enhance:
    if adapters:
        spec = importlib.util.spec_from_file_location("adapters", adapters)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if hasattr(module, f"load_{system}"):
            return getattr(module, f"load_{system}")(1)
    if system == "noisy":
        return lambda wave: wave
    from seqgan.speech import Enhancer

    enhancer = Enhancer.from_pretrained(system)
    return lambda wave: np.asarray(enhancer(wave[None], sample_rate=RATE)).reshape(-1)


def cpu_seconds() -> float:
    """Of this process with its threads, and of the processes that it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_memory() -> float:
    """The most memory in use so far, in MB, of this process or of its largest child."""
    unit = 1e6 if sys.platform == "darwin" else 1e6 / 1024
    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    if sys.platform == "linux":  # there a process starts with the ru_maxrss of the one that started it
        own = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text()).group(1))
    return max(own, children) / unit


def write(path: Path, wave: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    soundfile.write(part, wave, RATE, subtype="FLOAT", format="WAV")
    os.replace(part, path)


def append_record(path: Path, record: dict[str, Any]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        # The line break comes first: a line that an interruption cut short must not spoil the next one.
        file.write("\n" + json.dumps(record))


if __name__ == "__main__":
    sys.exit(main(json.load(sys.stdin)))
