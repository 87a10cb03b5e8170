"""Text: systems on token sequences. Names are imported on first use, so importing costs nothing."""

from importlib import import_module
from typing import Any

_HOMES = {
    "Poet": ".poet",
    "SentenceGenerator": ".sentences",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
