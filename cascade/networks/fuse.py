"""Fusion of both branches: regions of the semantic map that no instance covers become artifacts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from cascade.core.artifact import Artifact
from cascade.core.exposure import PREVIEW_SHAPE, BoolArray, Float32Array, Instances, tight_boxes

MIN_AREA_PX = 24
"""Minimum area of a region; annotators outline nothing smaller."""

MAX_REGIONS = 16
"""Maximum number of regions per class, largest first; bounds memory on noisy maps."""

_SLIVER_PX = 3  # opening with a square of this side removes seams between an instance and the map


def fused(
    found: Instances, semantic: Float32Array, *, threshold: float, classes: Sequence[Artifact] = tuple(Artifact)
) -> Instances:
    """
    Add the regions of a semantic map that no instance of their class covers.

    A pixel is assigned to every class with a probability of `threshold` or more; where only "any" reaches it, to the
    most probable class, since annotators who agree on an artifact often disagree on its class.

    Parameters
    ----------
    found : Instances
    semantic : ndarray of float32, shape (h, w, C + 1)
        Probabilities per cell; see `cascade.networks.nets.semantic`.
    threshold : float
        In (0, 1].
    classes : sequence of Artifact
        The C classes of the model, in the order of its outputs.

    Returns
    -------
    Instances
        By falling score; that of a region is its mean probability.
    """
    shape = (found.masks.shape[1], found.masks.shape[2])
    window = _window(semantic, shape, threshold)
    if window is None:
        return found.select(np.argsort(-found.scores, kind="stable"))
    fine = upsampled(semantic, shape, window)
    drawn = class_regions(fine, threshold)
    likeliest = fine.max(axis=-1)
    labels, scores, masks = [], [], []
    for artifact, of_class in zip(classes, drawn, strict=True):
        covered: BoolArray = np.any(found.masks[found.classes == artifact][:, *window], axis=0)
        region = of_class & ~covered
        if covered.any() and region.any():
            region = ndimage.binary_opening(region, np.ones((_SLIVER_PX, _SLIVER_PX)))
        parts, n_parts = ndimage.label(region, np.ones((3, 3)))
        areas = np.bincount(parts.ravel(), minlength=n_parts + 1)
        largest = 1 + np.argsort(-areas[1:], kind="stable")[:MAX_REGIONS]
        for part in largest[areas[largest] >= MIN_AREA_PX]:
            mask = np.zeros(shape, bool)
            mask[window] = parts == part
            labels.append(artifact)
            scores.append(likeliest[mask[window]].mean())
            masks.append(mask)
    regions = np.stack(masks) if masks else np.zeros((0, *shape), bool)
    united = Instances(
        np.concatenate([found.classes, np.array(labels, np.uint8)]),
        np.concatenate([found.scores, np.array(scores, np.float32)]),
        np.concatenate([found.boxes, tight_boxes(regions)]),
        np.concatenate([found.masks, regions]),
    )
    return united.select(np.argsort(-united.scores, kind="stable"))


def _window(semantic: Float32Array, shape: tuple[int, int], threshold: float) -> tuple[slice, slice] | None:
    """The pixels within one cell of those above the threshold, as pixels are interpolated between cells; None: none."""
    above = np.any(semantic >= threshold, axis=-1)
    if not above.any():
        return None
    window = []
    for axis, size in enumerate(shape):
        reached, cells = np.flatnonzero(above.any(axis=1 - axis)), above.shape[axis]
        start, stop = (reached[0] - 1) * size // cells, -(-(reached[-1] + 2) * size // cells)
        window.append(slice(max(0, int(start)), min(size, int(stop))))
    return window[0], window[1]


def class_regions(fine: Float32Array, threshold: float) -> BoolArray:
    """Masks (C, H, W) of the classes of a map (H, W, C + 1); see `fused`."""
    of_class = np.moveaxis(fine[..., :-1], -1, 0)
    drawn: BoolArray = of_class >= threshold
    unsure = (fine[..., -1] >= threshold) & ~drawn.any(axis=0)
    rows, columns = np.nonzero(unsure)
    drawn[of_class[:, rows, columns].argmax(axis=0), rows, columns] = True
    return drawn


def upsampled(
    cells: Float32Array,
    shape: tuple[int, int] = PREVIEW_SHAPE,
    window: tuple[slice, slice] = (slice(None), slice(None)),
) -> Float32Array:
    """Upsample cells (h, w, C) bilinearly to pixels (H, W, C), or to a window of them."""
    weights = []
    for size, side, part in zip(cells.shape, shape, window, strict=False):
        position = np.clip((np.arange(side)[part] + 0.5) * size / side - 0.5, 0, size - 1)
        lower = np.minimum(position.astype(np.intp), size - 2)
        fraction = (position - lower).astype(np.float32)
        weight = np.zeros((len(position), size), np.float32)
        weight[np.arange(len(position)), lower] = 1 - fraction
        weight[np.arange(len(position)), lower + 1] = fraction
        weights.append(weight)
    # Channels first: one product of three matrices per channel.
    fine: Float32Array = weights[0] @ np.moveaxis(cells, -1, 0) @ weights[1].T
    return np.moveaxis(fine, 0, -1)
