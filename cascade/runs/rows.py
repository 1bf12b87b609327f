"""The rows, mask planes and counts of a batch, as stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.errors import InputError, StoreError
from cascade.core.exposure import PREVIEW_SHAPE, BoolArray, Float32Array, Instances, Source, UInt8Array, tight_boxes
from cascade.core.run_lengths import decode_mask, encode_masks
from cascade.runs.ccds import CcdRow, ccd_rows
from cascade.runs.tables import SCHEMAS, BatchCounts, BatchResult


@dataclass(frozen=True, slots=True)
class Finding:
    """The segmenter's result for one exposure, as stored."""

    artifacts: list[dict[str, Any]]
    ccds: list[CcdRow]
    plane: UInt8Array
    area: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """One exposure on its way through the batch; `failure` is (stage, error), `lost` that its input was unavailable."""

    exposure: int
    source: Source
    image: UInt8Array | None = None
    score: float | None = None
    sky_score: float | None = None
    flagged: bool = False
    finding: Finding | None = None
    failure: tuple[str, str] | None = None
    lost: bool = False

    def failed(self, stage: str, error: Exception) -> Outcome:
        """The same exposure, failed at a stage."""
        return replace(self, image=None, failure=(stage, str(error) or repr(error)))


def finding_of(instances: Instances, camera: Camera, stars: Sequence[Mapping[str, Any]] = ()) -> Finding:
    """
    Reduce instances to rows and a mask plane; those that cover no pixel are dropped.

    Parameters
    ----------
    instances : Instances
    camera : Camera
    stars : sequence of mapping
        What `STAR_COLUMNS` says of each instance, or nothing.
    """
    check_finite(instances.scores)
    kept = np.flatnonzero(instances.masks.any(axis=(1, 2)))
    instances = instances.select(kept)
    plane = instances.bit_mask()
    return Finding(
        artifacts=[
            row | dict(stars[n] if stars else {})
            for row, n in zip(_artifact_rows(instances), kept.tolist(), strict=True)
        ],
        ccds=ccd_rows(instances, camera),
        plane=plane,
        area=float(np.count_nonzero(plane[camera.labels > 0]) / np.count_nonzero(camera.labels)),
    )


def check_finite(scores: Float32Array) -> None:
    """Reject scores that are not finite."""
    bad = scores[~np.isfinite(scores)]
    if len(bad):
        msg = f"expected finite scores, got {bad[0]}"
        raise InputError(msg)


def _artifact_rows(instances: Instances) -> list[dict[str, Any]]:
    """Rows of the artifacts table, without the exposure."""
    boxes = tight_boxes(instances.masks)  # the network's own may be looser
    return [
        {
            "artifact": number,
            "class": Artifact(class_).label,
            "score": float(score),
            **dict(zip(("y0", "x0", "y1", "x1"), map(int, box), strict=True)),
            "area_px": int(np.count_nonzero(mask)),
            "rle": rle.decode("ascii"),
        }
        for number, (class_, score, box, mask, rle) in enumerate(
            zip(instances.classes, instances.scores, boxes, instances.masks, encode_masks(instances.masks), strict=True)
        )
    ]


def row_mask(row: Mapping[str, Any]) -> BoolArray:
    """
    The (H, W) bool mask of a row of the artifacts table.

    Raises
    ------
    StoreError
        If the row holds none.
    """
    try:
        return decode_mask(row["rle"])
    except InputError as error:
        msg = f"artifact {row['artifact']} of exposure {row['exposure']}: {error}; the run is damaged"
        raise StoreError(msg) from error


def mask_planes(outcomes: list[Outcome], camera: Camera) -> UInt8Array | None:
    """The mask planes of a batch, or None if they are all empty."""
    if not any(_status(outcome) == "ghosted" for outcome in outcomes):
        return None
    planes = np.zeros((len(outcomes), *camera.shape), np.uint8)
    for plane, outcome in zip(planes, outcomes, strict=True):
        if outcome.finding is not None:
            plane[:] = outcome.finding.plane
    return planes


def _status(outcome: Outcome) -> str:
    """The status of an exposure, as in the exposures table."""
    if outcome.failure is not None:
        return "failed"
    return "ghosted" if outcome.finding is not None and outcome.finding.artifacts else "clean"


def batch_tables(outcomes: list[Outcome]) -> dict[str, pa.Table]:
    """The rows that a batch adds to each table of a run."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in SCHEMAS}
    for outcome in outcomes:
        rows["exposures"].append(_exposure_row(outcome))
        key = {"exposure": outcome.exposure, "expnum": outcome.source.expnum}
        if outcome.finding is not None:
            rows["artifacts"] += [key | row for row in outcome.finding.artifacts]
            rows["ccds"] += [key | row.columns() for row in outcome.finding.ccds]
        if outcome.failure is not None:
            stage, error = outcome.failure
            rows["failures"].append(key | {"path": _text(outcome.source.path), "stage": stage, "error": _text(error)})
    return {name: pa.Table.from_pylist(rows[name], schema) for name, schema in SCHEMAS.items()}


def _exposure_row(outcome: Outcome) -> dict[str, Any]:
    """The row of the exposures table."""
    finding = outcome.finding or Finding([], [], np.zeros((0, 0), np.uint8), 0.0)
    return {
        "exposure": outcome.exposure,
        "expnum": outcome.source.expnum,
        "path": _text(outcome.source.path),
        **asdict(outcome.source.header),
        "screen_score": outcome.score,
        "sky_score": outcome.sky_score,
        "flagged": outcome.flagged,
        "n_artifacts": len(finding.artifacts),
        "artifact_area": None if outcome.failure else finding.area,
        "status": _status(outcome),
    }


def _text(text: str) -> str:
    """Text that every table can hold: bytes of a file name that are not UTF-8 are escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def joined(results: list[BatchResult]) -> BatchResult:
    """One result of the exposures of several, in order."""
    tables = {name: pa.concat_tables([result.tables[name] for result in results]) for name in SCHEMAS}
    counts = BatchCounts.total(result.counts for result in results)
    if all(result.masks is None for result in results):
        return BatchResult(tables, None, counts)
    sizes = [(result.counts.n_exposures, *PREVIEW_SHAPE) for result in results]
    masks = [np.zeros(size, np.uint8) if result.masks is None else result.masks
             for size, result in zip(sizes, results, strict=True)]  # fmt: skip
    return BatchResult(tables, np.concatenate(masks), counts)


def batch_counts(outcomes: list[Outcome], seconds: dict[str, float]) -> BatchCounts:
    """Count a batch."""
    statuses = [_status(outcome) for outcome in outcomes]
    return BatchCounts(
        n_exposures=len(outcomes),
        n_flagged=sum(outcome.flagged for outcome in outcomes),
        n_ghosted=statuses.count("ghosted"),
        n_failed=statuses.count("failed"),
        n_artifacts=sum(len(outcome.finding.artifacts) for outcome in outcomes if outcome.finding),
        seconds=seconds,
    )
