"""Creating a run directory, resuming it after a kill, or extending it by inputs added since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import pyarrow as pa

from cascade.core.errors import StoreError
from cascade.core.versions import installed_versions
from cascade.runs.config import RunConfig, batches
from cascade.runs.files import (
    FORMAT,
    FORMAT_VERSION,
    check_usable,
    clear_half_written,
    delete_contents,
    find_run_json,
    listing_key,
    now,
    parse_config,
    part_bytes,
)
from cascade.runs.masks import create_masks, is_created
from cascade.storage import Storage
from cascade.storage.atomic import json_bytes

_OF_A_FINISHED_RUN = {"finished", "seconds", "counts", "last_session"}


def create_or_resume(
    storage: Storage,
    config: RunConfig,
    *,
    listing: pa.Table | None,
    fresh: bool,
    details: Mapping[str, Any] | None,
) -> None:
    """Implementation of `Run.create_or_resume`."""
    check_usable(storage)
    header = find_run_json(storage)
    if header is None or fresh:
        if header is not None:
            delete_contents(storage)
        _create(storage, config, listing, details)
    else:
        known = parse_config(header, storage)
        migrated = {**header, "format_version": FORMAT_VERSION, "config": asdict(known)}
        if config != known:
            _check_grown(storage, known, config)
            _grow(storage, migrated, config, listing, details)
        elif header["format_version"] != FORMAT_VERSION:
            storage.write("run.json", json_bytes(migrated))
    _prepare(storage, config)


def _create(storage: Storage, config: RunConfig, listing: pa.Table | None, details: Mapping[str, Any] | None) -> None:
    """Write the files of a new run."""
    _write_listing(storage, config, listing)
    header = {"format": FORMAT, "format_version": FORMAT_VERSION, "status": "running", "started": now()}
    header |= {"versions": installed_versions(), "config": asdict(config), "details": dict(details or {})}
    storage.write("run.json", json_bytes(header))


def _grow(
    storage: Storage,
    header: Mapping[str, Any],
    config: RunConfig,
    listing: pa.Table | None,
    details: Mapping[str, Any] | None,
) -> None:
    """Add inputs to a run with that ``run.json``, which is no longer complete."""
    _write_listing(storage, config, listing)
    kept = {key: value for key, value in header.items() if key not in _OF_A_FINISHED_RUN}
    kept |= {"status": "running", "config": asdict(config), "details": dict(details or kept.get("details", {}))}
    storage.write("run.json", json_bytes(kept))


def _prepare(storage: Storage, config: RunConfig) -> None:
    """Create missing files of a new or killed run, and delete half-written ones."""
    clear_half_written(storage)
    n_positions = batches(config.n_exposures, config.batch_size, config.additions)[-1].stop
    if not is_created(storage, n_positions):
        create_masks(storage, n_positions, config.batch_size, config.classes)


def _write_listing(storage: Storage, config: RunConfig, listing: pa.Table | None) -> None:
    """Store the inputs of the latest addition, or of the first call."""
    if listing is not None:
        n_new = config.additions[-1] if config.additions else config.n_exposures
        data = part_bytes(listing.slice(len(listing) - n_new))
        storage.write(listing_key(len(config.additions)), data)


def _check_grown(storage: Storage, known: RunConfig, config: RunConfig) -> None:
    """Reject another configuration, unless it only adds inputs."""
    n_more = config.n_exposures - known.n_exposures
    grown = config.additions == (*known.additions, n_more)
    for f in fields(config):
        if grown and f.name in ("inputs", "n_exposures", "additions"):
            continue
        expected, got = getattr(known, f.name), getattr(config, f.name)
        if expected != got:
            msg = (
                f"{storage.url}: holds a run of another configuration: expected {f.name} {expected!r}, got {got!r}; "
                "choose another directory, or --fresh to start over"
            )
            raise StoreError(msg)
