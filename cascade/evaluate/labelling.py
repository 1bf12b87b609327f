"""Labellings: an annotator, run or veto list in a form that can be compared, without pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa

from cascade.core.artifact import Artifact
from cascade.core.errors import InputError, StoreError
from cascade.core.exposure import PREVIEW_SHAPE, BoolArray, Float32Array, Instances, UInt8Array
from cascade.core.run_lengths import coco_shapes, decode_mask, encode_masks, marked_pixels, run_lengths
from cascade.evaluate.ccd import GROUPS
from cascade.evaluate.counting import CcdCells, IntArray


@dataclass(frozen=True, slots=True)
class Found:
    """
    The artifacts of one exposure, as run lengths: a few hundred bytes where `Instances` take 160 kB each.

    Attributes
    ----------
    classes
        (k,) uint8 values of `Artifact`.
    scores
        (k,) float32; 1 for annotations.
    rles
        k compressed COCO run lengths, checked.
    """

    classes: UInt8Array
    scores: Float32Array
    rles: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.classes)

    @classmethod
    def of(cls, instances: Instances) -> Self:
        """Compress instances."""
        return cls(instances.classes, instances.scores, encode_masks(instances.masks))

    @classmethod
    def empty(cls) -> Self:
        """No artifacts."""
        return cls(np.zeros(0, np.uint8), np.zeros(0, np.float32), ())

    def masks(self) -> BoolArray:
        """(k, 400, 400) bool."""
        masks = np.zeros((len(self), *PREVIEW_SHAPE), bool)
        for mask, rle in zip(masks, self.rles, strict=True):
            mask[:] = decode_mask(rle)
        return masks

    def plane(self) -> UInt8Array:
        """(400, 400) uint8 mask plane of `Artifact.bit` flags."""
        flat = np.zeros(PREVIEW_SHAPE[0] * PREVIEW_SHAPE[1], np.uint8)
        for class_, rle in zip(self.classes, self.rles, strict=True):
            flat[marked_pixels(rle)] |= Artifact(class_).bit
        return flat.reshape(PREVIEW_SHAPE[::-1]).T


@dataclass(frozen=True, slots=True, eq=False)
class Labelling:
    """
    One annotator or run over N exposures.

    Attributes
    ----------
    name
        Shown in tables and figures.
    found
        Its artifacts in each exposure.
    ccd_px
        (N, 2, n_groups, n_ccds) marked pixels; see `CcdCells.count`.
    """

    name: str
    found: tuple[Found, ...]
    ccd_px: IntArray

    def __len__(self) -> int:
        return len(self.found)

    @classmethod
    def of(cls, name: str, found: Iterable[Found], cells: CcdCells) -> Self:
        """Count the pixels of each exposure; one mask plane is in memory at a time."""
        kept, counts = [], []
        for one in found:
            kept.append(one)
            counts.append(cells.count(one.plane()))
        return cls(name, tuple(kept), np.stack(counts))

    def affected(self, cells: CcdCells, geometry: str, area_threshold: float) -> BoolArray:
        """(N, n_groups, n_ccds) bool: affected CCDs; see `CcdCells.affected`."""
        return cells.affected(self.ccd_px, geometry, area_threshold)

    def ghosted(self) -> BoolArray:
        """(N,) bool: exposures with any artifact."""
        return np.array([len(one) > 0 for one in self.found], bool)


@dataclass(frozen=True, slots=True, eq=False)
class VetoLabelling:
    """
    A veto list over N exposures, without classes or areas.

    Attributes
    ----------
    name
        Shown in tables and figures.
    listed
        (N, n_ccds) bool.
    """

    name: str
    listed: BoolArray

    def affected(self, cells: CcdCells, geometry: str, area_threshold: float) -> BoolArray:
        """(N, n_groups, n_ccds) bool: the same CCDs for every group, geometry and threshold."""
        del cells, geometry, area_threshold
        return np.repeat(self.listed[:, None], len(GROUPS), axis=1)


AnyLabelling = Labelling | VetoLabelling


def run_found(artifacts: pa.Table, exposures: Sequence[int]) -> list[Found]:
    """
    Read the artifacts of some exposures of a run.

    Parameters
    ----------
    artifacts : pyarrow.Table
        Of a run.
    exposures : sequence of int
        Their numbers in the run.

    Raises
    ------
    StoreError
        If a row has an invalid mask or class.
    """
    numbers = artifacts["exposure"].to_numpy()
    order = np.argsort(numbers, kind="stable")
    labels = artifacts["class"].to_pylist()
    scores = artifacts["score"].to_numpy()
    rles = artifacts["rle"].to_pylist()
    starts, stops = (np.searchsorted(numbers[order], exposures, side=side) for side in ("left", "right"))
    found = []
    for number, start, stop in zip(exposures, starts, stops, strict=True):
        rows = order[start:stop]
        try:
            for row in rows:
                run_lengths(rles[row])
            encoded = tuple(rles[row].encode("ascii") for row in rows)
            classes = np.array([Artifact.from_label(labels[row]) for row in rows], np.uint8)
        except InputError as error:
            msg = f"artifacts of exposure {number}: {error}; the run is damaged"
            raise StoreError(msg) from error
        found.append(Found(classes, scores[rows].astype(np.float32), encoded))
    return found


def coco_annotations(found: Sequence[Found]) -> list[dict[str, Any]]:
    """COCO's form of the artifacts of N exposures: ids from 1, image_id from 0, category_id from 1."""
    annotations: list[dict[str, Any]] = []
    for number, one in enumerate(found):
        for class_, score, shape in zip(one.classes, one.scores, coco_shapes(one.rles), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": Artifact(class_).category_id,
                    **shape,
                    "score": float(score),
                    "iscrowd": 0,
                }
            )
    return annotations
