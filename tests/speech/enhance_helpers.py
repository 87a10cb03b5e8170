"""`enhance` in a process of its own, what it costs, and what it is given."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ENHANCE = str(Path(sys.executable).with_name("enhance"))
SAMPLE = Path(__file__).parents[2] / "speech" / "samples" / "noisy.wav"


def enhance(*arguments, cwd=None, **options):
    """Runs the command; stdout and stderr as text unless told otherwise."""
    options = {"text": True, "capture_output": True, "timeout": 240} | options
    return subprocess.run([ENHANCE, *map(str, arguments)], cwd=cwd, **options)


# Started by a small process: a child's peak of memory begins with what the process that started it has in use.
MEASURE = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))
"""


def measure(*command):
    """(seconds of CPU time, peak memory in MB) of a command that succeeds."""
    launcher = [sys.executable, "-S", "-c", MEASURE, *map(str, command)]
    status, seconds, memory = json.loads(subprocess.run(launcher, capture_output=True, check=True).stdout)
    assert status == 0
    return seconds, memory


def noise(samples, channels=1, level=0.1):
    return level * np.random.default_rng(0).standard_normal((samples, channels))


def lines(text):
    return text.strip().splitlines()


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
