"""What a log of verdicts is as a database, and the refusal of all else: somebody else may have made it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from cascade.core.errors import StoreError

VERSION = 2
WITHOUT_HASHES = 1
"""The version whose rows have no hash."""

_MAX_VALUE_BYTES = 2**20  # of a row, which is a hundred times more than a polygon needs
SCHEMA = """
CREATE TABLE IF NOT EXISTS verdicts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    time TEXT NOT NULL,
    reviewer TEXT NOT NULL,
    exposure INTEGER NOT NULL,
    subject TEXT NOT NULL,
    action TEXT NOT NULL,
    artifact TEXT,
    class TEXT,
    polygon TEXT,
    undoes INTEGER UNIQUE REFERENCES verdicts (id),
    sha256 TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS of_exposure ON verdicts (exposure);
CREATE TRIGGER IF NOT EXISTS never_updated BEFORE UPDATE ON verdicts
    BEGIN SELECT RAISE(ABORT, 'verdicts are never changed'); END;
CREATE TRIGGER IF NOT EXISTS never_deleted BEFORE DELETE ON verdicts
    BEGIN SELECT RAISE(ABORT, 'verdicts are never deleted'); END;
"""
_SCHEMAS = {VERSION: SCHEMA, WITHOUT_HASHES: SCHEMA.replace(",\n    sha256 TEXT NOT NULL", "")}


def check_plain(path: Path) -> None:
    """
    Refuse a log that is a link, a pipe or a device; one that is not there yet is all right.

    Raises
    ------
    StoreError
        If it, or one of the files that SQLite keeps beside it, is no plain file.
    """
    for name in ("", "-wal", "-shm", "-journal"):
        file = path.with_name(path.name + name)
        if os.path.lexists(file) and (file.is_symlink() or not file.is_file()):
            msg = f"{file}: expected a plain file, got a link, a folder, a pipe or a device"
            raise StoreError(msg)


def restrict(connection: sqlite3.Connection) -> None:
    """Have a database that somebody else may have made run nothing, and give no value that fills the memory."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.text_factory = lambda data: data.decode("utf-8", "backslashreplace")  # text may be none
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)


def check_schema(connection: sqlite3.Connection, path: Path) -> int:
    """
    Refuse a database with other tables, views or triggers than a log has.

    Parameters
    ----------
    connection : sqlite3.Connection
    path : Path
        For the error.

    Returns
    -------
    int
        The version of the log; 0 if nobody has written into it yet, or somebody just begins to.

    Raises
    ------
    StoreError
        If it has, or is of a version that is not known.
    """
    version = log_version(connection)
    if version not in (0, *_SCHEMAS):
        msg = f"{path}: expected a log of version {VERSION}, got {version}"
        raise StoreError(msg)
    with closing(sqlite3.connect(":memory:")) as model:
        model.executescript(_SCHEMAS.get(version, SCHEMA))
        expected = objects_of(model)
    got = objects_of(connection)
    if got != expected and not (version == 0 and got < expected):
        others = sorted({f"{kind} {name}" for kind, name, _ in got ^ expected})
        msg = f"{path}: expected the tables of a log of verdicts, got another {', '.join(others)[:200]}"
        raise StoreError(msg)
    return version


def log_version(connection: sqlite3.Connection) -> int:
    """The version that a database says to be of."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def objects_of(connection: sqlite3.Connection) -> set[tuple[str, str, str]]:
    """Type, name and definition of all that a database holds."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE name != 'sqlite_sequence'")
    return {(str(kind), str(name), " ".join(str(sql).split())) for kind, name, sql in rows}
