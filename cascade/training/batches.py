"""Training batches, drawn on the fly: step k of seed s is the same on every machine."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from scipy import ndimage

from cascade.camera import Camera
from cascade.exposure import Artifact, BoolArray, Float32Array, Instances, UInt8Array
from cascade.nets.mask_rcnn import LOSSES, SEMANTIC_CELL_PX
from cascade.training.annotated import AnnotatedSet
from cascade.training.augment import Warp, augmented
from cascade.training.composite import Compositor
from cascade.training.config import DataConfig, FitConfig

MAX_INSTANCES = 16
"""Instances an image in training; the annotators drew 13 at most."""

EPOCH_STEPS = 50
"""Gradient steps between two checkpoints, which Keras calls an epoch."""

_MARGIN_PX = 6  # of sky around what the annotators marked, taken along


class Batches(keras.utils.PyDataset):
    """
    Base of both training sets: draws an exposure, clean or ghosted, with what one annotator saw on it.

    Parameters
    ----------
    annotated : AnnotatedSet
    camera : Camera
    data : DataConfig
    fit : FitConfig

    Attributes
    ----------
    epoch
        Which run of `EPOCH_STEPS` batches comes next; whoever fits moves it on.
    """

    def __init__(self, annotated: AnnotatedSet, camera: Camera, data: DataConfig, fit: FitConfig) -> None:
        super().__init__()
        self.epoch = 0
        self._annotated, self._data, self._fit = annotated, data, fit
        marked: BoolArray = np.any(annotated.votes(), axis=(0, 2))
        self._marked = _with_margin(marked)
        self._compositor = Compositor(annotated.images, annotated.marked_ccds(camera), camera)

    def __len__(self) -> int:
        return EPOCH_STEPS

    def __getitem__(self, step: int) -> tuple[Any, Any]:
        rng = np.random.default_rng([self._fit.seed, self.epoch * EPOCH_STEPS + step])
        return self._batch([self._draw(rng) for _ in range(self._fit.batch)])

    def _draw(self, rng: np.random.Generator) -> tuple[UInt8Array, Instances]:
        """One augmented exposure and its instances."""
        index = int(rng.integers(len(self._annotated)))
        if rng.random() < self._data.clean_share:
            return augmented(self._compositor.clean(index, rng), Instances.empty(), rng)
        found = self._annotated.instances[index][rng.integers(len(self._annotated.annotators))]
        if rng.random() < self._data.warp_share:
            warp = Warp.random(self._annotated.images.shape[1:], rng)
            region = self._marked[index] | (rng.random() < 0.5)  # with or without the rest of the exposure
            image, found = self._compositor.transplanted(index, warp, region, rng), warp.instances(found)
        else:
            image = self._compositor.regrounded(index, rng)
        return augmented(image, found, rng)

    def _batch(self, drawn: list[tuple[UInt8Array, Instances]]) -> tuple[Any, Any]:
        """Stack what was drawn into network inputs and targets."""
        raise NotImplementedError


class ScreenBatches(Batches):
    """Images (B, 400, 400, 1) and whether a person marked something, (B, 1)."""

    def _batch(self, drawn: list[tuple[UInt8Array, Instances]]) -> tuple[Any, Any]:
        ghosted = np.array([[len(found) > 0] for _, found in drawn], np.float32)
        return _stacked(drawn), ghosted


class SegmentBatches(Batches):
    """The dict that `MaskRCNNTraining` takes, and dummies for the losses that it computes itself."""

    def _batch(self, drawn: list[tuple[UInt8Array, Instances]]) -> tuple[Any, Any]:
        return segment_batch(drawn)


def segment_batch(drawn: list[tuple[UInt8Array, Instances]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """
    Stack images (H, W) and their instances into what `MaskRCNNTraining` takes.

    Returns
    -------
    inputs : dict of ndarray
        See `MaskRCNNTraining`; of more than `MAX_INSTANCES` the first are taken.
    dummies : dict of ndarray
        Zeros for each loss, since Keras wants something to compare with.
    """
    n_images = len(drawn)
    boxes = np.zeros((n_images, MAX_INSTANCES, 4), np.float32)
    classes = np.full((n_images, MAX_INSTANCES), -1, np.int32)
    masks = np.zeros((n_images, MAX_INSTANCES, *drawn[0][0].shape), np.uint8)
    for n, (_, found) in enumerate(drawn):
        kept = slice(min(len(found), MAX_INSTANCES))
        boxes[n, kept], classes[n, kept], masks[n, kept] = found.boxes[kept], found.classes[kept], found.masks[kept]
    shares = np.stack([_shares(found) for _, found in drawn])
    inputs = {"image": _stacked(drawn), "boxes": boxes, "classes": classes, "masks": masks, "shares": shares}
    return inputs, {loss: np.zeros(n_images, np.float32) for loss in LOSSES}


def _stacked(drawn: list[tuple[UInt8Array, Instances]]) -> np.ndarray:
    """Images as network input, (B, 400, 400, 1) float32."""
    return np.stack([image for image, _ in drawn])[..., None].astype(np.float32)


def _shares(found: Instances) -> Float32Array:
    """Share of each cell that each class covers, (50, 50, 3)."""
    union = np.stack([np.any(found.masks[found.classes == artifact], axis=0) for artifact in Artifact], axis=-1)
    height, width = (side // SEMANTIC_CELL_PX for side in union.shape[:2])
    cells = union.reshape(height, SEMANTIC_CELL_PX, width, SEMANTIC_CELL_PX, len(Artifact))
    shares: Float32Array = cells.mean(axis=(1, 3), dtype=np.float32)
    return shares


def _with_margin(masks: BoolArray) -> BoolArray:
    """Masks (N, H, W), grown by a few pixels."""
    ball = np.hypot(*np.ogrid[-_MARGIN_PX : _MARGIN_PX + 1, -_MARGIN_PX : _MARGIN_PX + 1]) <= _MARGIN_PX
    return np.stack([ndimage.binary_dilation(mask, ball) for mask in masks])
