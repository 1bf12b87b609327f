"""
Which batches a process without workers has begun, so that a resume knows which of them may have killed it.

A mark is made before a batch is read and taken away when it is committed or the process ends in any other way than at
once. One that is left names a suspect, and the next call processes that batch in isolation.
"""

from __future__ import annotations

import re

from cascade.storage import Storage

FOLDER = "begun"

_MARK = re.compile(r"batch-(\d{5,})")


def mark_begun(storage: Storage, index: int) -> None:
    """Say that a batch is about to be read."""
    storage.write(_key(index), b"")


def unmark_begun(storage: Storage, index: int) -> None:
    """Say that a batch has killed nothing."""
    storage.delete(_key(index))


def begun(storage: Storage) -> set[int]:
    """Numbers of the batches that are marked."""
    return {int(match[1]) for match in map(_MARK.fullmatch, storage.names(FOLDER)) if match}


def _key(index: int) -> str:
    """Where the mark of a batch lies."""
    return f"{FOLDER}/batch-{index:05d}"
