"""The files of a run directory: names and content, and whether a directory is or may become a run."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from cascade.core.errors import StoreError
from cascade.core.records import read_record
from cascade.runs import begun
from cascade.runs.classes import PAPER_RUN_CLASSES
from cascade.runs.config import RunConfig
from cascade.runs.masks import FOLDER
from cascade.runs.tables import SCHEMAS, BatchCounts
from cascade.storage import Storage
from cascade.storage.atomic import is_aside, json_bytes, parse_json

FORMAT = "ghost-cascade run"
FORMAT_VERSION = 4
COMPLETE = "complete"
"""Status of a run whose batches are all in the ledger."""

_WITHOUT_CLASSES = 2
_WITHOUT_COORDINATES = 3
READABLE_VERSIONS = (_WITHOUT_CLASSES, _WITHOUT_COORDINATES, FORMAT_VERSION)
"""
Version 2 does not name the classes of artifact: they are those of the paper. Masks of version 3 have no coordinates.
"""

_MISSING = "no such file"  # in the error of a missing file
_ENTRY = re.compile(r"batch-(\d{5}|[1-9]\d{5,})\.json")  # no number in two ways: its rows would count twice
_PART = re.compile(r"part-\d{5,}\.parquet")
_OF_NO_BATCH = rf"inputs/part-\d{{5}}\.parquet|{FOLDER}/(?:[a-z_]{{1,30}}/){{0,2}}(?:zarr\.json|\d{{1,9}})"
_BEFORE_RUN_JSON = {"inputs", "lease", "logs"}


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """
    A ledger entry: its batch is done.

    Attributes
    ----------
    counts
        Of its exposures and artifacts, and its seconds.
    files
        sha256 of every file of the batch, by key.
    sha256
        Of the rest of the entry, see `content_sha256`; None in those of older versions.
    """

    counts: BatchCounts
    files: Mapping[str, str]
    sha256: str | None = None


def entry_indices(names: Iterable[str]) -> list[int]:
    """Numbers of the batches whose ledger entries have these names, rising."""
    return sorted(int(match[1]) for match in map(_ENTRY.fullmatch, names) if match)


def part_key(name: str, index: int) -> str:
    """Where the part of a table that a batch writes lies in the run directory."""
    return f"{name}/part-{index:05d}.parquet"


def check_sha256(data: bytes, sha256: str | None, name: str) -> None:
    """Raise StoreError about the file called `name` unless it has the hash that the run recorded."""
    got = hashlib.sha256(data).hexdigest()
    if got != sha256:
        expected = "a file that the run recorded" if sha256 is None else f"sha256 {sha256[:12]}…"
        msg = f"{name}: expected {expected}, got {got[:12]}…: the file was changed; `cascade verify` says what to do"
        raise StoreError(msg)


def read_part(data: bytes, schema: pa.Schema | None, name: str) -> pa.Table:
    """Parse a part of a table and convert it to a schema, or raise StoreError about the file called `name`."""
    try:
        table = parquet.ParquetFile(pa.BufferReader(data)).read()
        table.validate(full=True)  # text may be none
        return table if schema is None else _with_later_columns(table, schema).cast(schema)
    except (OSError, ValueError, pa.ArrowException) as error:
        msg = f"{name}: expected a part of the run, got {error}; run `cascade verify`"
        raise StoreError(msg) from error


def _with_later_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A part with nulls in columns that older code did not write."""
    for place, field in enumerate(schema):
        if field.nullable and field.name not in table.column_names:
            table = table.add_column(place, field, pa.nulls(len(table), field.type))
    return table


def entry_key(index: int) -> str:
    """Where the ledger entry of a batch lies."""
    return f"ledger/batch-{index:05d}.json"


def listing_key(number: int) -> str:
    """Where the list of the first inputs (0) or of an addition (1 and up) lies."""
    return f"inputs/part-{number:05d}.parquet"


def read_listing(storage: Storage, n_parts: int) -> pa.Table:
    """The list of inputs, in the order of the run, or StoreError."""
    keys = [listing_key(k) for k in range(n_parts)]
    files = recorded_files(read_run_json(storage))
    parts = []
    try:
        for key, data in zip(keys, storage.read_many(keys), strict=True):
            name = f"{storage.url}/{key}"
            if key in files:
                check_sha256(data, files[key], name)
            parts.append(read_part(data, None, name))
    except OSError as error:
        msg = f"{storage.url}: expected the list of its inputs, got {error}; inputs cannot be added to this run"
        raise StoreError(msg) from error
    return pa.concat_tables(parts)


def has_file_back(storage: Storage, index: int) -> bool:
    """Whether a file of a batch was missing and is there now; False if its failures cannot be read."""
    key = part_key("failures", index)
    try:
        failures = read_part(storage.read(key), SCHEMAS["failures"], key).to_pylist()
    except (OSError, StoreError):
        return False
    return any(_MISSING in row["error"].lower() and Path(row["path"]).is_file() for row in failures)


def entry_bytes(counts: BatchCounts, files: Mapping[str, str]) -> bytes:
    """A ledger entry as it is written."""
    content = {"counts": asdict(counts), "files": dict(files)}
    return json_bytes({**content, "sha256": content_sha256(content)})


def content_sha256(content: Mapping[str, Any]) -> str:
    """Hash of a JSON object without its own ``sha256``, in hex."""
    rest = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def parse_entry(data: bytes, name: str, index: int | None = None) -> LedgerEntry:
    """Parse a ledger entry, or raise StoreError; with `index`, it must be that of this batch."""
    try:
        content = parse_json(data, name)
        entry = read_record(LedgerEntry, content, where=f"{name}: invalid ledger entry", error=StoreError)
        if entry.sha256 is not None and entry.sha256 != (got := content_sha256(content)):
            msg = f"{name}: expected content of sha256 {entry.sha256[:12]}…, got {got[:12]}…: the file was changed"
            raise StoreError(msg)
        if index is not None and not {part_key(table, index) for table in SCHEMAS} <= set(entry.files):
            msg = f"{name}: expected the files of batch {index}, got {', '.join(sorted(entry.files)) or 'none'}"
            raise StoreError(msg)
    except StoreError as error:
        msg = f"{error}; `cascade verify --forget` and the same `cascade run` process the batch again"
        raise StoreError(msg) from error
    return entry


def part_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file."""
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def check_usable(storage: Storage) -> None:
    """Reject a place that is neither empty nor a run, before anything is written."""
    try:
        names = storage.names()
    except NotADirectoryError as error:
        msg = f"{storage.url}: expected a directory, got a file"
        raise StoreError(msg) from error
    # Left by a run that was killed before it wrote run.json.
    strangers = [name for name in names if name not in _BEFORE_RUN_JSON and not is_aside(name)]
    if strangers and "run.json" not in names:
        msg = f"{storage.url}: expected a run or an empty directory, got {strangers[0]} in it; choose another directory"
        raise StoreError(msg)


def find_run_json(storage: Storage) -> dict[str, Any] | None:
    """Read ``run.json``, or None if there is none, or raise StoreError if it is not a run's."""
    try:
        data = storage.read("run.json")
    except (FileNotFoundError, NotADirectoryError):
        return None
    name = f"{storage.url}/run.json"
    content = parse_json(data, name)
    version = content.get("format_version")
    if content.get("format") != FORMAT or version not in READABLE_VERSIONS or "status" not in content:
        expected = ", ".join(map(str, READABLE_VERSIONS[:-1])) + f" or {FORMAT_VERSION}"
        got = f"{content.get('format')!r} version {version!r}"
        msg = f"{name}: expected format {FORMAT!r} version {expected}, got {got}{_hint(content)}"
        raise StoreError(msg)
    return content


def _hint(content: Mapping[str, Any]) -> str:
    """Hint at the version of the code that can read a newer format."""
    version = content.get("format_version")
    if content.get("format") != FORMAT or not isinstance(version, int) or version <= FORMAT_VERSION:
        return ""
    versions = content.get("versions")
    writer = versions.get("ghost-cascade") if isinstance(versions, dict) else None
    return f"; ghost-cascade {writer or 'of the version that wrote it'} or newer can read it"


def read_run_json(storage: Storage) -> dict[str, Any]:
    """Read ``run.json``, or raise StoreError if this is not a run."""
    content = find_run_json(storage)
    if content is None:
        msg = f"{storage.url}: expected a run directory, got no run.json in it"
        raise StoreError(msg)
    return content


def write_run_json(storage: Storage, content: Mapping[str, Any]) -> None:
    """Write ``run.json``, with a hash of its content."""
    storage.write("run.json", json_bytes({**content, "sha256": content_sha256(content)}))


def is_changed(run_json: Mapping[str, Any]) -> bool:
    """Whether a ``run.json`` does not have its hash; those of older versions have none."""
    expected = run_json.get("sha256")
    return expected is not None and expected != content_sha256(run_json)


def recorded_files(run_json: Mapping[str, Any]) -> dict[str, str]:
    """sha256, by key, of the files that are of no batch; none in a run of an older version, and no other keys."""
    files = run_json.get("files")
    if not isinstance(files, dict):
        return {}
    return {key: value for key, value in files.items() if re.fullmatch(_OF_NO_BATCH, key) and isinstance(value, str)}


def has_coordinates(run_json: Mapping[str, Any]) -> bool:
    """Whether the masks of a run have coordinates beside them."""
    return bool(run_json["format_version"] > _WITHOUT_COORDINATES)


def is_whole(storage: Storage, key: str, sha256: str | None) -> bool:
    """Whether a file is there and, if its hash was recorded, has that."""
    try:
        data = storage.read(key)
    except (FileNotFoundError, StoreError):
        return False
    return sha256 is None or hashlib.sha256(data).hexdigest() == sha256


def parse_config(run_json: Mapping[str, Any], storage: Storage, *, check: bool = False) -> RunConfig:
    """
    The configuration in a ``run.json``.

    Parameters
    ----------
    run_json : mapping
    storage : Storage
        Where it lies.
    check : bool
        Refuse one that was changed: with another batch size, say, all that the run holds would mean something else.

    Raises
    ------
    StoreError
        If it is damaged.
    """
    values = run_json.get("config")
    if run_json.get("format_version") == _WITHOUT_CLASSES and isinstance(values, dict):
        values = {**values, "classes": [asdict(class_) for class_ in PAPER_RUN_CLASSES]}
    config = read_record(RunConfig, values, where=f"{storage.url}/run.json: config", error=StoreError)
    if check and is_changed(run_json):
        msg = (
            f"{storage.url}/run.json: expected content of sha256 {str(run_json['sha256'])[:12]}…, got another: it was "
            "changed; put the one that the run wrote back, or take this one with `cascade verify --forget`"
        )
        raise StoreError(msg)
    return config


def now() -> str:
    """The current time, UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def half_written(storage: Storage) -> list[str]:
    """Temporary files of a killed run."""
    if not storage.writes_aside:
        return []
    places = [
        f"{folder}/{name}" for folder in (*SCHEMAS, "ledger", "inputs", "lease") for name in storage.names(folder)
    ]
    places += [*storage.names(), *storage.files_below(FOLDER)]
    return [key for key in places if is_aside(key.rsplit("/", 1)[-1])]


def clear_half_written(storage: Storage) -> None:
    """Delete temporary files of killed processes."""
    for key in half_written(storage):
        storage.delete(key)


def delete_contents(storage: Storage) -> None:
    """Delete the files of a run except ``run.json``; the ledger first, so that no entry is without its parts."""
    for folder, pattern in (("ledger", _ENTRY), *((name, _PART) for name in (*SCHEMAS, "inputs"))):
        for name in storage.names(folder):
            if pattern.fullmatch(name) or is_aside(name):
                storage.delete(f"{folder}/{name}")
    storage.delete_below(FOLDER)
    storage.delete_below(begun.FOLDER)
