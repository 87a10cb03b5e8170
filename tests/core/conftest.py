import pytest
import torch


@pytest.fixture(autouse=True)
def on_one_cpu_thread(monkeypatch):
    """Bit for bit is promised on the CPU, for one number of threads."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
