"""Tables of what compare_enhancers.py found, in Markdown and CSV: one row per system, for all and for each trait."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from seqgan.tables import markdown_table

Record = dict[str, Any]  # all that was measured on one recording

# Title, key, format, and how the values of the recordings become one.
COLUMNS = [
    ("PESQ", "pesq", ".3f", fmean),
    ("STOI", "stoi", ".3f", fmean),
    ("ESTOI", "estoi", ".3f", fmean),
    ("SI-SDR dB", "si_sdr", ".1f", fmean),
    ("CSIG", "csig", ".2f", fmean),
    ("CBAK", "cbak", ".2f", fmean),
    ("COVL", "covl", ".2f", fmean),
    ("segSNR dB", "segmental_snr", ".1f", fmean),
    ("OVRL", "dnsmos_ovrl", ".2f", fmean),
    ("SIG", "dnsmos_sig", ".2f", fmean),
    ("BAK", "dnsmos_bak", ".2f", fmean),
    ("LSD dB", "log_spectral_distance", ".1f", fmean),
    ("level dB", "level_change", "+.1f", fmean),
    ("lag ms", "lag_ms", "+.1f", median),
]
COSTS = [("CPU s/s", "cpu", ".3f"), ("MB", "memory", ".0f")]


class Table:
    """The systems on one set of recordings.

    traits: what the manifest says of each recording; systems: by name, the records of these recordings in order;
    against: the system from which the others' differences are wanted.
    """

    def __init__(
        self,
        title: str,
        traits: Sequence[dict[str, str]],
        systems: dict[str, list[Record]],
        by: Sequence[str],
        against: str | None = None,
    ):
        self.title, self.systems, self.size, self.against = title, systems, len(traits), against
        self.groups: dict[tuple[str, str], list[int]] = {("all", ""): list(range(len(traits)))}
        for column in by:
            values = [(trait.get(column) or "").split("/")[0] for trait in traits]
            for value in sorted(set(values) - {""}, key=_order):
                self.groups[column, value] = [index for index, other in enumerate(values) if other == value]
        self.cells = {
            (*group, name): summary([records[index] for index in members])
            for name, records in systems.items()
            for group, members in self.groups.items()
        }
        self.names = sorted(systems, key=lambda name: (name != "noisy", -self.cells["all", "", name]["pesq"]))

    def rows(self) -> Iterator[Record]:
        for by, value in self.groups:
            for name in self.names:
                yield {"set": self.title, "by": by, "value": value, "system": name, **self.cells[by, value, name]}

    def markdown(self) -> Iterator[str]:
        yield from [f"## {self.title} ({self.size} recordings)", ""]
        columns = [(title, key, form) for title, key, form, _ in COLUMNS] + COSTS
        yield _table(
            [title for title, _, _ in columns],
            {name: [_cell(self.cells["all", "", name][key], form) for _, key, form in columns] for name in self.names},
        )
        if self.against in self.systems:
            means = [(title, key) for title, key, _, average in COLUMNS if average is fmean]
            yield from [f"Differences from {self.against} on the same recordings, with the mean's standard error:", ""]
            yield _table(
                [title for title, _ in means],
                {
                    name: [difference(self.systems[name], self.systems[self.against], key) for _, key in means]
                    for name in self.names
                    if name != self.against
                },
            )
        for column in dict.fromkeys(by for by, _ in self.groups if by != "all"):
            values = [value for by, value in self.groups if by == column]
            yield from [f"PESQ / STOI / SI-SDR by {column} (recordings):", ""]
            yield _table(
                [f"{value} ({len(self.groups[column, value])})" for value in values],
                {name: [_brief(self.cells[column, value, name]) for value in values] for name in self.names},
            )
        notes = [f"* {name}: {note}" for name in self.names for note in oddities(self.systems[name])]
        rated = {name: sum("dnsmos_ovrl" in record for record in self.systems[name]) for name in self.names}
        for count in sorted(set(rated.values()) - {0, self.size}):
            names = ", ".join(name for name in self.names if rated[name] == count)
            notes.append(f"* OVRL, SIG and BAK (DNSMOS) are of {count} of the recordings: {names}")
        yield from [*notes, ""] if notes else []


def write_csv(path: Path, tables: Sequence[Table]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        keys = ["set", "by", "value", "system", "recordings", *(key for _, key, *_ in COLUMNS + COSTS)]
        writer = csv.DictWriter(file, keys, lineterminator="\n")
        writer.writeheader()
        for table in tables:
            writer.writerows(table.rows())


def summary(records: list[Record]) -> Record:
    """One number per column; recordings for which a measure is not defined, or infinite, are left out of it."""
    row: Record = {"recordings": len(records)}
    for _, key, _, average in COLUMNS:
        values = [record[key] for record in records if math.isfinite(record.get(key, math.nan))]
        row[key] = round(average(values), 4) if values else math.nan
    row["cpu"] = round(sum(record["cpu"] for record in records) / sum(record["seconds"] for record in records), 5)
    row["memory"] = round(max(record["memory"] for record in records), 1)
    return row


def difference(records: list[Record], others: list[Record], key: str) -> str:
    """Of the recordings' mean, of two systems on the same recordings: the error is that of the paired differences."""
    pairs = zip(records, others, strict=True)
    found = [record.get(key, math.nan) - other.get(key, math.nan) for record, other in pairs]
    found = [value for value in found if math.isfinite(value)]
    if len(found) < 2:
        return ""
    return f"{fmean(found):+.3f} ± {stdev(found) / math.sqrt(len(found)):.3f}"


def oddities(records: list[Record]) -> Iterator[str]:
    lengths = [record["longer"] for record in records]
    if any(lengths):
        yield f"changes the length by {min(lengths):+d} to {max(lengths):+d} samples (cut or padded for the scores)"
    for title, key, _, _ in COLUMNS:
        for what, is_so in (("not defined", math.isnan), ("infinite", math.isinf)):
            count = sum(is_so(record.get(key, 0)) for record in records)
            if count:
                yield f"{title} is {what} for {count} of {len(records)} recordings, which are left out of it"


def _table(heads: list[str], rows: dict[str, list[str]]) -> str:
    return markdown_table(("system", *heads), ((name, *cells) for name, cells in rows.items()))


def _cell(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)


def _brief(row: Record) -> str:
    return f"{row['pesq']:.2f} / {row['stoi']:.3f} / {row['si_sdr']:.1f}"


def _order(value: str) -> tuple[bool, float, str]:
    """Numbers by their size, then words."""
    try:
        return False, float(value), ""
    except ValueError:
        return True, 0.0, value
