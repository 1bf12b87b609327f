"""Creating a run directory, resuming it after a kill, or extending it by inputs added since."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, fields
from itertools import accumulate
from typing import Any

import pyarrow as pa

from cascade.core.errors import StoreError
from cascade.core.versions import installed_versions
from cascade.runs.config import RunConfig
from cascade.runs.files import (
    FORMAT,
    FORMAT_VERSION,
    check_usable,
    clear_half_written,
    delete_contents,
    find_run_json,
    is_whole,
    listing_key,
    now,
    parse_config,
    part_bytes,
    read_run_json,
    recorded_files,
    write_run_json,
)
from cascade.runs.masks import create_masks, is_created, metadata_hashes
from cascade.runs.migrate import migrate
from cascade.storage import Storage

_OF_INPUTS = ("inputs", "folder")  # of what `cascade.runs.inputs.input_details` gives
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
        known = parse_config(header, storage, check=True)
        if config != known:
            _check_grown(storage, known, config)
        header = migrate(storage, header, known)
        if config != known:
            # Of a growth that was killed before its hashes, the files are there: the next one must expect these.
            files = {**recorded_files(header), **_whole_metadata(storage, known)}
            _grow(storage, {**header, "files": files}, config, listing, details)
        elif details:
            _note_inputs(storage, header, details)
        if listing is not None:
            _restore_listing(storage, config, listing)
    prepare(storage, config)


def _create(storage: Storage, config: RunConfig, listing: pa.Table | None, details: Mapping[str, Any] | None) -> None:
    """Write the files of a new run."""
    _write_listing(storage, config, listing)
    header = {"format": FORMAT, "format_version": FORMAT_VERSION, "status": "running", "started": now()}
    header |= {"versions": installed_versions(), "config": asdict(config), "details": dict(details or {})}
    write_run_json(storage, {**header, "files": _listing_files(config, listing)})


def _note_inputs(storage: Storage, header: Mapping[str, Any], details: Mapping[str, Any]) -> None:
    """Keep where the inputs were found by this call, if that is elsewhere."""
    before = header.get("details") or {}
    now = {key: details[key] for key in _OF_INPUTS if key in details}
    if any(before.get(key) != value for key, value in now.items()):
        write_run_json(storage, {**header, "details": {**before, **now}})


def _grow(
    storage: Storage,
    header: Mapping[str, Any],
    config: RunConfig,
    listing: pa.Table | None,
    details: Mapping[str, Any] | None,
) -> None:
    """Add inputs to a run with that ``run.json``, which is no longer complete."""
    _write_listing(storage, config, listing)
    files = {**recorded_files(header), **_listing_files(config, listing)}
    kept = {key: value for key, value in header.items() if key not in _OF_A_FINISHED_RUN}
    kept |= {"status": "running", "config": asdict(config), "details": dict(details or kept.get("details", {}))}
    write_run_json(storage, {**kept, "files": files})


def _whole_metadata(storage: Storage, config: RunConfig) -> dict[str, str]:
    """Those of them that are the hashes of the files that are there."""
    return {key: sha256 for key, sha256 in metadata_hashes(config).items() if is_whole(storage, key, sha256)}


def prepare(storage: Storage, config: RunConfig) -> None:
    """Create missing or damaged files of a run, and delete half-written ones."""
    clear_half_written(storage)
    header = read_run_json(storage)
    files = recorded_files(header)
    hashes = metadata_hashes(config)
    if is_created(storage, config.n_positions) and all(is_whole(storage, key, files.get(key)) for key in hashes):
        return
    # The hashes come last: after a kill in between, the files are those that verify expects of this configuration.
    create_masks(storage, config.n_positions, config.batch_size, config.classes)
    write_run_json(storage, {**header, "files": {**files, **hashes}})


def _listing_parts(config: RunConfig, listing: pa.Table) -> dict[str, pa.Table]:
    """The inputs that the first call and each addition brought, by key."""
    sizes = (config.n_exposures - sum(config.additions), *config.additions)
    starts = accumulate(sizes, initial=0)
    return {
        listing_key(k): listing.slice(start, size) for k, (start, size) in enumerate(zip(starts, sizes, strict=False))
    }


def _newest_part(config: RunConfig, listing: pa.Table | None) -> dict[str, bytes]:
    """What the newest addition, or the first call, brought, as a file by key; none without a listing."""
    if listing is None:
        return {}
    key = listing_key(len(config.additions))
    return {key: part_bytes(_listing_parts(config, listing)[key])}


def _write_listing(storage: Storage, config: RunConfig, listing: pa.Table | None) -> None:
    """Store the inputs of the latest addition, or of the first call."""
    for key, data in _newest_part(config, listing).items():
        storage.write(key, data)


def _listing_files(config: RunConfig, listing: pa.Table | None) -> dict[str, str]:
    """Their hashes, as ``run.json`` keeps them."""
    return {key: hashlib.sha256(data).hexdigest() for key, data in _newest_part(config, listing).items()}


def _restore_listing(storage: Storage, config: RunConfig, listing: pa.Table) -> None:
    """Write the parts of the list of inputs again that are lost or damaged: the same inputs were given."""
    header = read_run_json(storage)
    files = recorded_files(header)
    lost = {
        key: part_bytes(part)
        for key, part in _listing_parts(config, listing).items()
        if not is_whole(storage, key, files.get(key))
    }
    if lost:
        for key, data in lost.items():
            storage.write(key, data)
        hashes = {key: hashlib.sha256(data).hexdigest() for key, data in lost.items()}
        write_run_json(storage, {**header, "files": {**files, **hashes}})


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
