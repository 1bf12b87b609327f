"""Bringing a run of an older format to the current one, when it is resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from logging import getLogger
from typing import Any

from cascade.core.errors import StoreError
from cascade.runs.config import RunConfig
from cascade.runs.files import (
    FORMAT_VERSION,
    check_sha256,
    entry_bytes,
    entry_indices,
    entry_key,
    parse_entry,
    part_key,
    read_part,
    recorded_files,
    write_run_json,
)
from cascade.runs.masks import coordinate_files, coordinate_keys, create_masks, metadata_hashes
from cascade.runs.tables import schemas
from cascade.storage import Storage

logger = getLogger(__name__)


def migrate(storage: Storage, header: Mapping[str, Any], config: RunConfig) -> dict[str, Any]:
    """
    Migrate a run; killed in between, it is still one of the older format, and whole.

    Parameters
    ----------
    storage : Storage
    header : mapping
        Its ``run.json``, of any version.
    config : RunConfig
        The configuration in it.

    Returns
    -------
    dict
        Its new ``run.json``.
    """
    if header["format_version"] == FORMAT_VERSION:
        return dict(header)
    create_masks(storage, config.n_positions, config.batch_size, config.classes)
    for index in entry_indices(storage.names("ledger")):
        _add_coordinates(storage, index, config)
    migrated = {**header, "format_version": FORMAT_VERSION, "config": asdict(config)}
    migrated["files"] = {**recorded_files(header), **metadata_hashes(config)}
    write_run_json(storage, migrated)
    return migrated


def _add_coordinates(storage: Storage, index: int, config: RunConfig) -> None:
    """Write the coordinates of a batch that has none, from its exposures table; a damaged batch stays as it is."""
    key, part = entry_key(index), part_key("exposures", index)
    try:
        entry = parse_entry(storage.read(key), f"{storage.url}/{key}", index)
        if set(coordinate_keys(index)) <= set(entry.files):
            return
        data = storage.read(part)
        check_sha256(data, entry.files[part], f"{storage.url}/{part}")
        exposures = read_part(data, schemas(config.labels)["exposures"], f"{storage.url}/{part}")
    except (FileNotFoundError, StoreError) as error:
        logger.warning("%s", error)
        return
    written = coordinate_files(exposures, index, config.batch_size)
    for file, content in written.items():
        storage.write(file, content)
    hashes = {file: hashlib.sha256(content).hexdigest() for file, content in written.items()}
    storage.write(key, entry_bytes(entry.counts, {**entry.files, **hashes}))
