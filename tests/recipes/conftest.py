import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture
def script(monkeypatch):
    """A recipe by its name, as the scripts beside it import it."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "recipes")
    return importlib.import_module


@pytest.fixture
def record_fits(monkeypatch):
    """Replaces the `fit` of a recipe by one that trains nothing, and lists what each was given."""

    def record(module):
        calls = []

        def fit(phases, data, steps, run, **options):
            calls.append(SimpleNamespace(phases=phases, data=data, steps=steps, **options))

        monkeypatch.setattr(module, "fit", fit)
        return calls

    return record
