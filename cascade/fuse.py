"""What the semantic map sees and no instance covers becomes an artifact of its own."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from cascade.exposure import PREVIEW_SHAPE, Artifact, BoolArray, Float32Array, Instances, tight_boxes

MIN_AREA_PX = 24
"""Smallest region that becomes an artifact; annotators outline nothing smaller."""

MAX_REGIONS = 16
"""Regions of one class that become artifacts, the largest; bounds memory where a map is noise."""

_SLIVER_PX = 3  # what a square of this side cannot move in is a seam between an instance and the map


def fused(found: Instances, semantic: Float32Array, *, threshold: float) -> Instances:
    """
    Add the regions of a semantic map that no instance of their class covers.

    A pixel belongs to a class where the map gives it `threshold` or more, and, where no class gets that but "any" does,
    to the likeliest class: people who agree that there is an artifact often disagree on its class.

    Parameters
    ----------
    found : Instances
    semantic : ndarray of float32, shape (h, w, 4)
        Probabilities of `cascade.nets.semantic.CHANNELS` by cell.
    threshold : float
        In (0, 1].

    Returns
    -------
    Instances
        By falling score; that of a region is its mean probability.
    """
    shape = (found.masks.shape[1], found.masks.shape[2])
    fine = enlarged(semantic, shape)
    drawn = class_regions(fine, threshold)
    classes, scores, masks = [found.classes], [found.scores], [found.masks]
    for artifact in Artifact:
        covered: BoolArray = np.any(found.masks[found.classes == artifact], axis=0)
        region = drawn[artifact] & ~covered
        if covered.any():
            region = ndimage.binary_opening(region, np.ones((_SLIVER_PX, _SLIVER_PX)))
        parts, n_parts = ndimage.label(region, np.ones((3, 3)))
        areas = np.bincount(parts.ravel(), minlength=n_parts + 1)
        largest = 1 + np.argsort(-areas[1:], kind="stable")[:MAX_REGIONS]
        for part in largest[areas[largest] >= MIN_AREA_PX]:
            mask = parts == part
            classes.append(np.array([artifact], np.uint8))
            scores.append(np.array([fine[mask].max(axis=-1).mean()], np.float32))
            masks.append(mask[None])
    everything = np.concatenate(masks)
    united = Instances(np.concatenate(classes), np.concatenate(scores), tight_boxes(everything), everything)
    boxes = np.concatenate([found.boxes, united.boxes[len(found) :]])
    united = Instances(united.classes, united.scores, boxes, united.masks)
    return united.select(np.argsort(-united.scores, kind="stable"))


def class_regions(fine: Float32Array, threshold: float) -> BoolArray:
    """Pixels of each class (3, H, W) by a map (H, W, 4); see `fused`."""
    of_class = np.moveaxis(fine[..., : len(Artifact)], -1, 0)
    drawn: BoolArray = of_class >= threshold
    unsure = (fine[..., -1] >= threshold) & ~drawn.any(axis=0)
    likeliest = of_class.argmax(axis=0)
    for artifact in Artifact:
        drawn[artifact] |= unsure & (likeliest == artifact)
    return drawn


def enlarged(cells: Float32Array, shape: tuple[int, int] = PREVIEW_SHAPE) -> Float32Array:
    """Cells (h, w, C) as pixels (H, W, C), linear between the middles of cells."""
    weights = []
    for size, side in zip(cells.shape, shape, strict=False):
        place = np.clip((np.arange(side) + 0.5) * size / side - 0.5, 0, size - 1)
        lower = np.minimum(place.astype(np.intp), size - 2)
        share = (place - lower).astype(np.float32)
        weight = np.zeros((side, size), np.float32)
        weight[np.arange(side), lower] = 1 - share
        weight[np.arange(side), lower + 1] = share
        weights.append(weight)
    rows = np.tensordot(weights[0], cells, axes=(1, 0))
    fine: Float32Array = np.ascontiguousarray(np.moveaxis(np.tensordot(weights[1], rows, axes=(1, 1)), 0, 1))
    return fine
