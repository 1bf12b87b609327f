"""
The log of reviewers' verdicts on the exposures of a run, ``RUN/verdicts.sqlite``.

It is append-only. Every verdict is a row, written and synced before it is reported as saved; undoing one is another
row. Two reviewers of the same exposure have two rows. A row holds its hash, for SQLite would not notice a changed byte;
logs of version 1 have none.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cascade.core.artifact import Artifact
from cascade.core.errors import ConfigError, InputError, StoreError
from cascade.core.exposure import PREVIEW_SHAPE
from cascade.runs.verdicts.log_schema import (
    SCHEMA,
    VERSION,
    WITHOUT_HASHES,
    check_plain,
    check_schema,
    log_version,
    objects_of,
    restrict,
)
from cascade.storage import Storage

FILE = "verdicts.sqlite"
"""Name of the log in a run directory."""

ACTIONS = ("accept", "reject", "class", "delete", "draw", "undo")

MAX_CORNERS = 500
MAX_NAME = 60

_KEY = re.compile(r"[\w-]{1,60}", re.ASCII)
_TIMEOUT_S = 30.0  # to wait for another process that writes
_MIN_CORNERS = 3
_COLUMNS = "id, key, time, reviewer, exposure, subject, action, artifact, class, polygon, undoes"

Corners = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class NewVerdict:
    """
    A verdict to be logged.

    Attributes
    ----------
    key
        Chosen by the sender: a verdict sent twice, because a response was lost, is stored once.
    reviewer
        Name of the reviewer; one line of 1 to `MAX_NAME` characters.
    exposure
        Position in the run.
    subject
        What was judged, see `cascade.runs.verdicts.opinions.subject`.
    action
        ``accept``: what is shown is right; ``reject``: nothing of it is; ``class``: `artifact` is of `class_`;
        ``delete``: `artifact` is none; ``draw``: there is one more, `polygon`, of `class_`.
    artifact
        ``m3`` for number 3 of the exposure's artifacts, ``d17`` for the one that verdict 17 drew.
    class_
        The class meant.
    polygon
        (x, y) corners in pixels, continuous from the outer corner of pixel (0, 0), within the preview.

    Raises
    ------
    InputError
        If these do not match, or a value is out of range.
    """

    key: str
    reviewer: str
    exposure: int
    subject: str
    action: str
    artifact: str | None = None
    class_: Artifact | None = None
    polygon: Corners | None = None

    def __post_init__(self) -> None:
        name = self.reviewer
        if not 1 <= len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
            msg = f"reviewer: expected a name of 1 to {MAX_NAME} printable characters, got {name[:MAX_NAME]!r}"
            raise InputError(msg)
        check_key(self.key)
        if self.action not in ACTIONS[:-1]:
            msg = f"action: expected one of {', '.join(ACTIONS[:-1])}, got {self.action[:MAX_NAME]!r}"
            raise InputError(msg)
        expected = (self.action in ("class", "delete"), self.action in ("class", "draw"), self.action == "draw")
        got = (self.artifact is not None, self.class_ is not None, self.polygon is not None)
        if expected != got:
            msg = f"{self.action}: expected (artifact, class, polygon) given as {expected}, got {got}"
            raise InputError(msg)
        if self.polygon is not None:
            _check_polygon(self.polygon)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A row of the log: as `NewVerdict`, with its number, the time in UTC, and which verdict an ``undo`` undoes."""

    id: int
    time: str
    reviewer: str
    exposure: int
    subject: str
    action: str
    artifact: str | None
    class_: Artifact | None
    polygon: Corners | None
    undoes: int | None


class VerdictLog:
    """
    The log of a run, to read and to append to; safe with any number of threads and processes.

    Parameters
    ----------
    folder : Path
        The run directory; the log is created if missing.

    Raises
    ------
    StoreError
        If the log cannot be created, or is of another format.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        with self._connected() as connection:
            version = check_schema(connection, self._path)
            if version == 0:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(SCHEMA)
                connection.execute(f"PRAGMA user_version = {VERSION}")

    def append(self, verdict: NewVerdict) -> int:
        """Append a verdict; it is on disk when this returns its number."""
        polygon = None if verdict.polygon is None else json.dumps(verdict.polygon)
        class_ = None if verdict.class_ is None else verdict.class_.label
        row = (verdict.key, _now(), verdict.reviewer, verdict.exposure, verdict.subject, verdict.action,
               verdict.artifact, class_, polygon, None)  # fmt: skip
        with self._writing() as connection:
            return self._insert(connection, row)

    def undo(self, reviewer: str, key: str) -> Verdict | None:
        """
        Undo the last verdict of a reviewer that is not undone.

        Returns
        -------
        Verdict or None
            The one that was undone; None if there is none.

        Raises
        ------
        InputError
            If `key` is invalid.
        """
        check_key(key)
        with self._writing() as connection:
            done = connection.execute("SELECT undoes FROM verdicts WHERE key = ?", (key,)).fetchone()
            if done is None:
                found = connection.execute(
                    "SELECT max(id) FROM verdicts WHERE reviewer = ? AND action != 'undo' "
                    "AND id NOT IN (SELECT undoes FROM verdicts WHERE undoes IS NOT NULL)",
                    (reviewer,),
                ).fetchone()[0]
            else:
                found = done[0]
            if found is None:
                return None
            (undone,) = _selected(connection, self._path, "WHERE id = ?", (found,))
            row = (key, _now(), reviewer, undone.exposure, undone.subject, "undo", None, None, None, undone.id)
            self._insert(connection, row)
            return undone

    def verdicts(self, exposure: int | None = None) -> list[Verdict]:
        """All verdicts, or those on one exposure, in the order they were given."""
        where, values = ("", ()) if exposure is None else ("WHERE exposure = ?", (exposure,))
        with self._connected() as connection:
            return _selected(connection, self._path, f"{where} ORDER BY id", values)

    def _insert(self, connection: sqlite3.Connection, row: tuple[object, ...]) -> int:
        """Add a row, unless one with its key exists."""
        found = connection.execute("SELECT id FROM verdicts WHERE key = ?", row[:1]).fetchone()
        if found is not None:
            return int(found[0])
        number = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM verdicts").fetchone()[0]
        names, row = _COLUMNS, (number, *row)
        if log_version(connection) != WITHOUT_HASHES:
            names, row = f"{names}, sha256", (*row, _sha256(row))
        places = ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO verdicts ({names}) VALUES ({places})", row)
        return int(number)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """An exclusive write transaction."""
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection; errors of SQLite become StoreError."""
        check_plain(self._path)
        try:
            with closing(sqlite3.connect(self._path, timeout=_TIMEOUT_S, isolation_level=None)) as connection:
                restrict(connection)
                connection.execute("PRAGMA synchronous = FULL")
                yield connection
        except sqlite3.Error as error:
            msg = f"{self._path}: expected a log of verdicts that can be written, got {error}"
            raise StoreError(msg) from error


def check_key(key: str) -> None:
    """Reject an invalid key."""
    if not _KEY.fullmatch(key):
        msg = "key: expected 1 to 60 letters, digits or hyphens"
        raise InputError(msg)


def log_folder(storage: Storage) -> Path:
    """
    The path of a run's log.

    Raises
    ------
    ConfigError
        If the run is on an object store, which no database can append to.
    """
    if storage.folder is None:
        msg = f"{storage.url}: expected a run on a disk: verdicts are appended to a file, which object stores cannot do"
        raise ConfigError(msg)
    return storage.folder


def read_verdicts(storage: Storage) -> list[Verdict]:
    """
    Read the log of a run; nothing is written.

    Returns
    -------
    list of Verdict
        In the order they were given; empty if there is no log.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    if storage.folder is None or not os.path.lexists(storage.folder / FILE):
        return []
    path = storage.folder.absolute() / FILE
    check_plain(path)
    try:
        try:
            return _all_verdicts(path)
        except sqlite3.OperationalError:
            if os.access(path.parent, os.W_OK):
                raise
        with TemporaryDirectory() as aside:  # SQLite writes beside a log even to read it, which this folder refuses
            for file in (path, path.with_name(f"{FILE}-wal")):
                if file.is_file():
                    shutil.copyfile(file, Path(aside, file.name))
            return _all_verdicts(Path(aside, FILE))
    except sqlite3.Error as error:
        msg = f"{path}: expected a log of verdicts, got {error}"
        raise StoreError(msg) from error


def _all_verdicts(path: Path) -> list[Verdict]:
    """The verdicts of a log, in the order they were given."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_TIMEOUT_S)) as connection:
        restrict(connection)
        if not check_schema(connection, path) and not objects_of(connection):
            msg = f"{path}: expected a log of verdicts, got an empty database"
            raise StoreError(msg)
        verdicts = _selected(connection, path, "ORDER BY id")
    numbers = [verdict.id for verdict in verdicts]
    if numbers != list(range(1, len(numbers) + 1)):
        msg = f"{path}: expected verdicts without gaps, got {len(numbers)} of {numbers[-1]}: the file is damaged"
        raise StoreError(msg)
    return verdicts


def _selected(
    connection: sqlite3.Connection, path: Path, condition: str, values: tuple[object, ...] = ()
) -> list[Verdict]:
    """Verdicts of a log that have the hashes that they were written with."""
    hashed = log_version(connection) != WITHOUT_HASHES
    columns = f"{_COLUMNS}, sha256" if hashed else _COLUMNS
    found = []
    for row in connection.execute(f"SELECT {columns} FROM verdicts {condition}", values):
        found.append(_verdict(row[:-1] if hashed else row, path))
        if hashed and row[-1] != _sha256(row[:-1]):
            msg = f"{path}: expected verdict {row[0]} as it was written, got another: the file was changed"
            raise StoreError(msg)
    return found


def _sha256(row: tuple[object, ...]) -> str:
    """Hash of a row, in hex."""
    return hashlib.sha256(json.dumps(row, default=repr).encode()).hexdigest()


def _verdict(row: tuple[Any, ...], path: Path) -> Verdict:
    """A row of the table; StoreError if it is none that this program writes."""
    number, _, time, reviewer, exposure, known, action, artifact, class_, polygon, undoes = row
    try:
        texts = all(isinstance(value, str) for value in (time, reviewer, known, action, artifact or ""))
        if not texts or not all(isinstance(value, int) for value in (number, exposure, undoes or 0)):
            msg = "a value of another type"
            raise TypeError(msg)
        label = None if class_ is None else Artifact.from_label(class_)
        corners = None if polygon is None else tuple((float(x), float(y)) for x, y in json.loads(polygon))
        if action != "undo":
            NewVerdict("row", reviewer, exposure, known, action, artifact, label, corners)  # refuses what is none
    except (TypeError, ValueError, OverflowError, RecursionError, InputError) as error:
        msg = f"{path}: expected verdicts as cascade review writes them, got in row {str(number)[:20]}: {error}"
        raise StoreError(msg) from error
    return Verdict(number, time, reviewer, exposure, known, action, artifact, label, corners, undoes)


def _check_polygon(polygon: Corners) -> None:
    """Reject a polygon outside the preview."""
    if not _MIN_CORNERS <= len(polygon) <= MAX_CORNERS:
        msg = f"polygon: expected {_MIN_CORNERS} to {MAX_CORNERS} corners, got {len(polygon)}"
        raise InputError(msg)
    height, width = PREVIEW_SHAPE
    if not all(0 <= x <= width and 0 <= y <= height for x, y in polygon):  # which NaN does not meet
        msg = f"polygon: expected corners within {width} x {height} px, got one outside"
        raise InputError(msg)


def _now() -> str:
    """The time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
