"""A new veto list with the entries that people made, and two lists side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cascade.camera import Camera
from cascade.veto.reading import read_list
from cascade.veto.rules import ANALYST, VETO, VetoList


@dataclass(frozen=True, slots=True)
class Comparison:
    """
    Two lists side by side, by (expnum, ccdnum).

    Attributes
    ----------
    n_both, n_first, n_second
        Entries in both, in the first alone, and in the second alone.
    """

    n_both: int
    n_first: int
    n_second: int

    def __str__(self) -> str:
        return f"{self.n_both} CCDs in both, {self.n_first} in ours alone, {self.n_second} in theirs alone"


def kept_entries(path: Path, camera: Camera, format: str) -> pa.Table:
    """
    Entries that people made in a list which is about to be written anew; none if there is no such file.

    Raises
    ------
    InputError
        If there is a file that is no list of this format, so that nothing else is overwritten.
    """
    if not path.exists():
        return VETO.empty_table()
    listed = read_list(path, camera, format)
    return listed.filter(pc.not_equal(listed["analyst"], ANALYST))


def merged_list(vetoes: VetoList, others: Iterable[pa.Table]) -> VetoList:
    """
    Add the entries of other lists.

    Parameters
    ----------
    vetoes : VetoList
    others : iterable of pyarrow.Table
        Columns of `VETO`.

    Returns
    -------
    VetoList
        Each (expnum, ccdnum) once, rising; an entry by a person stands rather than ours.
    """
    entries: dict[tuple[int, int], dict[str, Any]] = {}
    for table in (vetoes.table, *others):
        for row in table.to_pylist():
            key = row["expnum"], row["ccdnum"]
            if key not in entries or (entries[key]["analyst"] == ANALYST and row["analyst"] != ANALYST):
                entries[key] = row
    return replace(vetoes, table=pa.Table.from_pylist([entries[key] for key in sorted(entries)], VETO))


def compare_lists(first: pa.Table, second: pa.Table) -> Comparison:
    """Count the entries of two lists that agree."""
    a, b = (set(zip(t["expnum"].to_pylist(), t["ccdnum"].to_pylist(), strict=True)) for t in (first, second))
    return Comparison(len(a & b), len(a - b), len(b - a))
