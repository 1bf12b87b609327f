"""The results of a batch: tables, mask planes and counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache

import pyarrow as pa

from cascade.core.artifact import Artifact
from cascade.core.errors import StoreError
from cascade.core.exposure import UInt8Array
from cascade.core.fractions import ANY_CLASS, fraction_column, fraction_labels
from cascade.inputs.headers import HEADER_SCHEMA


def _column(name: str, type_: pa.DataType, meaning: str, *, nullable: bool = False) -> pa.Field:
    """One column with its meaning as metadata."""
    return pa.field(name, type_, nullable=nullable, metadata={"meaning": meaning})


_EXPOSURE = _column("exposure", pa.int64(), "position in the run, and in masks.zarr")
_EXPNUM, *_HEADER = HEADER_SCHEMA
_CLASS = _column("class", pa.string(), "one of those of the run")
_ANY_CLASS = _column(ANY_CLASS, pa.float32(), "fraction of the CCD that any artifact covers")
_PATH = _column("path", pa.string(), "the input, as a person would name it")

SKY_SCORE = _column(
    "sky_score",
    pa.float32(),
    "probability of ghosts or Rays, told from the stars around the pointing alone; null if nobody asked",
    nullable=True,
)

EXPOSURES = pa.schema(
    [
        _EXPOSURE,
        _EXPNUM,
        _PATH,
        *_HEADER,
        _column("screen_score", pa.float32(), "score in [0, 1]; null if the screen gave none", nullable=True),
        SKY_SCORE,
        _column("flagged", pa.bool_(), "went to the segmenter"),
        _column("n_artifacts", pa.int32(), "artifacts found"),
        _column(
            "artifact_area",
            pa.float32(),
            "fraction of the CCD pixels of the preview that artifacts cover; null if failed",
            nullable=True,
        ),
        _column("status", pa.string(), "clean: no artifact found; ghosted: at least one; failed: see failures"),
    ],
    metadata={"table": "exposures", "rows": "one per input, good or bad"},
)

STAR_COLUMNS = (
    _column("hip", pa.int32(), "Hipparcos number of the star behind it; null if unknown", nullable=True),
    _column("star_mag", pa.float32(), "magnitude of the star in the band, AB", nullable=True),
    _column("star_ra", pa.float64(), "place of the star at the date, degrees, ICRS", nullable=True),
    _column("star_dec", pa.float64(), "place of the star at the date, degrees, ICRS", nullable=True),
    _column("pair", pa.string(), "surfaces between which its light was reflected; null for Rays", nullable=True),
)
"""Columns of the artifacts table about the star behind one; runs of older code do not have them."""

_ARTIFACTS = pa.schema(
    [
        _EXPOSURE,
        _EXPNUM,
        _column("artifact", pa.int32(), "number within the exposure, from 0"),
        _CLASS,
        _column("score", pa.float32(), "confidence in [0, 1]"),
        _column("y0", pa.int32(), "first row of the mask, px"),
        _column("x0", pa.int32(), "first column of the mask, px"),
        _column("y1", pa.int32(), "row after the last, px"),
        _column("x1", pa.int32(), "column after the last, px"),
        _column("area_px", pa.int32(), "pixels of the mask"),
        _column("rle", pa.string(), "counts of the mask's COCO run-length encoding, compressed"),
        *STAR_COLUMNS,
    ],
    metadata={"table": "artifacts", "rows": "one per instance; instances may overlap"},
)

_CCDS = pa.schema(
    [
        _EXPOSURE,
        _EXPNUM,
        _column("ccdnum", pa.int16(), "number of the CCD, from 1"),
        _column("detpos", pa.string(), "name of the CCD's position"),
        _ANY_CLASS,
        _column("max_score", pa.float32(), "highest confidence of the artifacts, of any class, that touch the CCD"),
    ],
    metadata={"table": "ccds", "rows": "one per exposure and CCD touched by at least one pixel"},
)

FAILURES = pa.schema(
    [
        _EXPOSURE,
        _PATH,
        _EXPNUM,
        _column("stage", pa.string(), "read, screen, segment; worker: it killed the process"),
        _column("error", pa.string(), "what went wrong"),
    ],
    metadata={"table": "failures", "rows": "one per exposure that could not be processed"},
)


@cache
def schemas(labels: tuple[str, ...]) -> Mapping[str, pa.Schema]:
    """
    Schema of every table of a run, by the name of its folder.

    Parameters
    ----------
    labels : tuple of str
        Names of the classes that the run distinguishes, by rising bit.
    """
    *others, last = labels
    named = f"{', '.join(others)} or {last}" if others else last
    artifacts = _ARTIFACTS.set(_ARTIFACTS.get_field_index(_CLASS.name), _column(_CLASS.name, _CLASS.type, named))
    ccds, at = _CCDS, _CCDS.get_field_index(ANY_CLASS) + 1
    for label in reversed(labels):
        whose = label if label.endswith("s") else f"{label} artifacts"
        ccds = ccds.insert(at, _column(fraction_column(label), pa.float32(), f"fraction that {whose} cover"))
    return {"exposures": EXPOSURES, "artifacts": artifacts, "ccds": ccds, "failures": FAILURES}


SCHEMAS: Mapping[str, pa.Schema] = schemas(tuple(artifact.label for artifact in Artifact))
"""Those of a run with all classes."""

CCDS = SCHEMAS["ccds"]


def in_classes(tables: Mapping[str, pa.Table], labels: tuple[str, ...], where: object) -> dict[str, pa.Table]:
    """
    Convert the tables of a batch, which have a column for each class that the code knows, to the classes of a run.

    Raises
    ------
    StoreError
        If there are artifacts of a class that the run does not have.
    """
    strangers = set(tables["artifacts"]["class"].unique().to_pylist()) - set(labels)
    if strangers:
        msg = f"{where}: expected artifacts of {', '.join(labels)}, got also {', '.join(sorted(strangers))}"
        raise StoreError(msg)
    left_out = [fraction_column(label) for label in fraction_labels(tables["ccds"]) if label not in labels]
    brought = {**tables, "ccds": tables["ccds"].drop_columns(left_out)}
    return {name: _with_meanings(table, schemas(labels)[name]) for name, table in brought.items()}


def _with_meanings(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with the meanings that a schema gives its columns, if it has these."""
    return table.cast(schema) if table.schema.equals(schema) else table


def with_fractions(ccds: pa.Table, labels: Iterable[str]) -> pa.Table:
    """A CCDs table with a column for each of some more classes, of which there is nothing on any CCD yet."""
    known = fraction_labels(ccds)
    names = (*known, *(label for label in labels if label not in known))
    for label in names[len(known) :]:
        none = pa.nulls(len(ccds), pa.float32()).fill_null(0)
        ccds = ccds.append_column(fraction_column(label), none)
    schema = schemas(names)["ccds"]
    return ccds.select(schema.names).cast(schema)


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """
    Counts of a batch, or of several.

    Attributes
    ----------
    n_exposures
        Exposures, good or bad.
    n_flagged
        Those that went to the segmenter.
    n_ghosted
        Those with at least one artifact.
    n_failed
        Those that could not be processed.
    n_artifacts
        Artifacts in all of them.
    seconds
        Time spent by stage: read, screen, segment, tables, store.
    """

    n_exposures: int = 0
    n_flagged: int = 0
    n_ghosted: int = 0
    n_failed: int = 0
    n_artifacts: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def total(cls, counts: Iterable[BatchCounts]) -> BatchCounts:
        """Sum over batches; seconds add up over workers, so they are not wall time."""
        counts = list(counts)
        names = [f.name for f in fields(cls) if f.name != "seconds"]
        stages = dict.fromkeys(stage for c in counts for stage in c.seconds)
        seconds = {stage: sum(c.seconds.get(stage, 0.0) for c in counts) for stage in stages}
        return cls(**{name: sum(getattr(c, name) for c in counts) for name in names}, seconds=seconds)


@dataclass(frozen=True, slots=True)
class BatchResult:
    """
    All that one batch of B exposures adds to a run.

    Attributes
    ----------
    tables
        One table for each of `SCHEMAS`, in input order.
    masks
        (B, H, W) uint8 mask planes of `Artifact.bit` flags, or None if no artifact was found.
    counts
        Counts and seconds per stage.
    """

    tables: Mapping[str, pa.Table]
    masks: UInt8Array | None
    counts: BatchCounts


@dataclass(frozen=True, slots=True)
class RunSummary:
    """
    The progress of a run.

    Attributes
    ----------
    status
        ``"running"`` or ``"complete"``.
    n_batches, n_done
        Batches of the run, and those in the ledger.
    counts
        Sums over the batches in the ledger.
    """

    status: str
    n_batches: int
    n_done: int
    counts: BatchCounts
