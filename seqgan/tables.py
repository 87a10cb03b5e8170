"""Tables of results, in Markdown."""

from collections.abc import Iterable, Sequence
from statistics import fmean, stdev
from typing import Any


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """rows: each of as many cells as there are heads"""
    head, *lines = (f"| {' | '.join(map(str, cells))} |" for cells in (heads, *rows))
    return "\n".join([head, "|---" * len(heads) + "|", *lines]) + "\n"


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Mean and standard deviation, of one value the value alone; form: of both, as `format` has it."""
    mean = format(fmean(values), form)
    return mean if len(values) < 2 else f"{mean} ± {format(stdev(values), form.lstrip('+'))}"
