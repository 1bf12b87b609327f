"""Atomic writes: files appear complete or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from cascade.core.errors import StoreError
from cascade.core.plain_files import read_plain

_ASIDE_SUFFIX = ".aside"


def aside_of(path: Path) -> Path:
    """An unused temporary name in the same folder; Parquet readers ignore names with a leading dot."""
    return path.with_name(f".{path.name}.{uuid4().hex}{_ASIDE_SUFFIX}")


def is_aside(name: str) -> bool:
    """Whether a name is that of a temporary file, which a killed process may have left."""
    return name.startswith(".") and name.endswith(_ASIDE_SUFFIX)


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """
    Write a file under a temporary name in the same folder and rename it when it is complete and on disk.

    Parameters
    ----------
    path : Path
        Where the file is to appear; an existing one is replaced.

    Yields
    ------
    Path
        The name to write to. If the block raises, what it wrote is removed and `path` is left as it was.
    """
    if not path.parent.is_dir():
        msg = f"{path}: expected a folder to write into, got none called {path.parent}"
        raise StoreError(msg)
    aside = aside_of(path)
    try:
        yield aside
        sync(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Sync a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """A JSON object as it is written."""
    return (json.dumps(content, indent=2) + "\n").encode()


def parse_json(data: bytes | str, name: str) -> dict[str, Any]:
    """Parse a JSON object, or raise StoreError about the file called `name`."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:  # the latter: too deeply nested
        msg = f"{name}: expected JSON, got {error}; the file is damaged"
        raise StoreError(msg) from error
    if not isinstance(content, dict):
        msg = f"{name}: expected a JSON object, got {type(content).__name__}; the file is damaged"
        raise StoreError(msg)
    return content


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, or raise StoreError."""
    try:
        text = read_plain(path).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: expected JSON, got {error}; the file is damaged"
        raise StoreError(msg) from error
    return parse_json(text, str(path))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically."""
    with written_aside(path) as aside:
        aside.write_bytes(json_bytes(content))
