"""What a reader is, and what all readers share: a listing of names, chaining, errors of one line."""

from __future__ import annotations

import bisect
import itertools
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Protocol, Self

import numpy as np
import pyarrow as pa

from cascade.core.exposure import Exposure, HeaderFields, Source, UInt8Array

Row = dict[str, Any]

# DECam's own names: D00158776; DES, DELVE and NOIRLab all keep the D. In small letters only with leading zeros.
_DECAM_NUMBER = re.compile(r"(?:D(\d{6,8})|(?<![a-zA-Z])d(0\d{7}))(?!\d)", re.ASCII)
# Up to 18 digits, so that it fits an int64; LSST visits have 13. Digits after a point are a fraction.
_ANY_NUMBER = re.compile(r"(?<!\d)(?<!\d\.)\d{5,18}(?!\d)", re.ASCII)
_DATE = r"(?:19|20)\d{2}-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])"
_SHORT_DATE = r"\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_TIME = r"(?:[01]\d|2[0-3])[0-5]\d[0-5]\d"
# What is a time, and no exposure number: dates with and without a time of day, MJDs and JDs, seconds and milliseconds
# since 1970. The Community Pipeline names files by date and time of day, c4d_180908_000426_ooi_g.
_TIMES = re.compile(
    rf"""
    [ck]4[dm]_\d{{6}}_\d{{6}}(?!\d)
    | (?<!\d)(?:{_DATE}[T_.-]?{_TIME}(?:\d{{1,3}})?|{_DATE}|{_SHORT_DATE}[T_.-]{_TIME})(?!\d)
    | (?<!\d){_TIME}[_.-](?:{_DATE}|{_SHORT_DATE})(?!\d)
    | (?<![\d.])(?:[5-7]\d{{4}}|24[5-7]\d{{4}}|1\d{{9}}|1\d{{12}})(?:\.\d+)?(?!\d)
    """,
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)


class Reader(Protocol):
    """A fixed, ordered set of exposures, read one at a time."""

    def __len__(self) -> int: ...

    def source(self, index: int) -> Source:
        """
        Say where an exposure comes from, without touching its pixels.

        Raises
        ------
        IndexError
            If `index` is outside [0, len).
        """
        ...

    def read(self, index: int) -> Exposure:
        """
        Read one exposure.

        Returns
        -------
        Exposure
            Its image is (400, 400) uint8, C-contiguous, and owns its memory.

        Raises
        ------
        InputError
            If it cannot be read or is no preview; the message is one line that starts with the path.
        IndexError
            If `index` is outside [0, len).
        """
        ...

    def part(self, start: int, stop: int) -> Reader:
        """
        Take the exposures `start` to `stop - 1`; small to pickle, and free of open files.

        Raises
        ------
        IndexError
            Unless 0 <= start <= stop <= len.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ListedReader(ABC):
    """
    A reader whose exposures are the rows of a table in memory.

    Attributes
    ----------
    rows
        Arrow record batch, one row an exposure. A column ``name`` holds file names as bytes; ``expnum`` and
        the fields of `HeaderFields` may be there and may be null; any other column is the subclass's own.
    """

    rows: pa.RecordBatch

    @abstractmethod
    def path(self, row: Row) -> str:
        """The input as a person would name it."""

    @abstractmethod
    def pixels(self, row: Row, path: str) -> UInt8Array:
        """The preview of one exposure; raises InputError, which names `path`."""

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def source(self, index: int) -> Source:
        """Say where an exposure comes from, without touching its pixels."""
        return self._source(self._row(index))

    def read(self, index: int) -> Exposure:
        """Read one exposure."""
        row = self._row(index)
        source = self._source(row)
        return Exposure(source, self.pixels(row, source.path))

    def part(self, start: int, stop: int) -> Self:
        """Take the exposures `start` to `stop - 1`."""
        check_part(start, stop, len(self))
        # take() copies: a slice would pickle the buffers of all rows.
        return replace(self, rows=self.rows.take(pa.array(np.arange(start, stop))))

    def _row(self, index: int) -> Row:
        """One row of the listing as Python values."""
        if not 0 <= index < len(self):
            msg = f"exposure {index}: the reader has {len(self)}"
            raise IndexError(msg)
        row: Row = self.rows.slice(index, 1).to_pylist()[0]
        return row

    def _source(self, row: Row) -> Source:
        """The source of a row; the name gives the expnum where the listing has none."""
        expnum = row.get("expnum")
        if expnum is None and "name" in row:
            expnum = expnum_from_name(os.fsdecode(row["name"]))
        return Source(self.path(row), expnum, HeaderFields.of(row))


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Several readers, one after the other."""

    readers: tuple[Reader, ...]
    _starts: tuple[int, ...]  # number of exposures before each reader, then the total

    def __len__(self) -> int:
        return self._starts[-1]

    def source(self, index: int) -> Source:
        """Say where an exposure comes from, without touching its pixels."""
        reader, at = self._locate(index)
        return reader.source(at)

    def read(self, index: int) -> Exposure:
        """Read one exposure."""
        reader, at = self._locate(index)
        return reader.read(at)

    def part(self, start: int, stop: int) -> Reader:
        """Take the exposures `start` to `stop - 1`."""
        check_part(start, stop, len(self))
        first = bisect.bisect_right(self._starts, start) - 1
        last = bisect.bisect_left(self._starts, stop)
        return chain(
            reader.part(max(start - before, 0), min(stop - before, len(reader)))
            for reader, before in zip(self.readers[first:last], self._starts[first:last], strict=True)
        )

    def _locate(self, index: int) -> tuple[Reader, int]:
        """The reader that holds an exposure, and its index there."""
        if not 0 <= index < len(self):
            msg = f"exposure {index}: the reader has {len(self)}"
            raise IndexError(msg)
        k = bisect.bisect_right(self._starts, index) - 1
        return self.readers[k], index - self._starts[k]


def chain(readers: Iterable[Reader]) -> Reader:
    """One reader of the exposures of several, in order; a single one is returned as it is."""
    readers = tuple(readers)
    if len(readers) == 1:
        return readers[0]
    return Chain(readers, tuple(itertools.accumulate(map(len, readers), initial=0)))


def check_part(start: int, stop: int, length: int) -> None:
    """Refuse a part that is not within a reader of `length` exposures."""
    if not 0 <= start <= stop <= length:
        msg = f"part {start}:{stop}: the reader has {length} exposures"
        raise IndexError(msg)


def expnum_from_name(name: str) -> int | None:
    """
    Find the exposure number in a file name.

    Parameters
    ----------
    name : str
        A file name, with or without folders, which do not count.

    Returns
    -------
    int or None
        The last D with 6 to 8 digits, as in ``Ghost_img_D00158660.jpg``, that are no date; else the last run of 5 to 18
        digits before the ending that is no date, time of day beside a date, MJD, Julian date, Unix time or fraction;
        None if there is neither, and for 0.
    """
    stem = PurePosixPath(name).stem
    decam = ["".join(digits) for digits in _DECAM_NUMBER.findall(stem)]
    numbers = [digits for digits in decam if not re.fullmatch(_DATE, digits)]
    numbers = numbers or _ANY_NUMBER.findall(_TIMES.sub(" ", stem))
    return int(numbers[-1]) or None if numbers else None
