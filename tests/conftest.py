import os

import numpy as np
import pytest
import soundfile
import torch

RATE = 16_000

# Bit for bit is promised on the CPU, and accelerate keeps the device that it first saw.
os.environ["ACCELERATE_USE_CPU"] = "true"


@pytest.fixture(autouse=True)
def on_one_thread():
    """Bit for bit is promised for one number of threads; and threads on a busy core only wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)  # as recipes leave it on


@pytest.fixture
def recordings(tmp_path):
    """To mix: three talkers of two corpora, two kinds of noise, a room."""
    rng = np.random.default_rng(0)
    time = np.arange(RATE * 2) / RATE
    for corpus, talker, files in [("read", "anna", 2), ("read", "ben", 1), ("phone", "cleo", 3)]:
        for i in range(files):
            path = tmp_path / "clean" / corpus / talker / f"{talker}-{i}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.3 * np.sin(2 * np.pi * (200 + 50 * i) * time), RATE)
    for kind in ("rain", "street"):
        for i in range(5):
            path = tmp_path / "noise" / kind / f"{kind}_{i}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * rng.standard_normal(RATE // 2), RATE)
    (tmp_path / "rir").mkdir()
    response = np.zeros(4000)
    response[[10, 300, 2000]] = 1, 0.5, 0.4
    soundfile.write(tmp_path / "rir" / "hall.wav", response, RATE)
    return tmp_path
