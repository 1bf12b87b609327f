"""Training batches, generated on the fly: step k of seed s is the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.exposure import BoolArray, Float32Array
from cascade.networks.nets.classifier import ScreenTraining
from cascade.networks.nets.mask_rcnn import LOSSES
from cascade.networks.nets.semantic import CELL_PX
from cascade.training.augment import augmented, with_dead_ccd
from cascade.training.config import FitConfig
from cascade.training.sample import Sample
from cascade.training.sources import Source

MAX_INSTANCES = 16
"""Maximum number of instances per training image; annotators drew up to 13."""

EPOCH_STEPS = 50
"""Gradient steps between checkpoints: an epoch of Keras."""

_LOADERS = 2  # prefetching threads


class Batches(keras.utils.PyDataset):
    """
    Base of the training sets: samples an exposure from one of two sources, with the labels of one annotator.

    Parameters
    ----------
    real, synthetic : Source or None
        At least one of them.
    real_share : float
        Fraction of images from `real`, in [0, 1].
    camera : Camera
    fit : FitConfig
    classes : sequence of Artifact
        What the network tells apart, in the order of its outputs.

    Attributes
    ----------
    epoch
        Index of the next `EPOCH_STEPS` batches; advanced by the fit loop.
    """

    def __init__(
        self, real: Source | None, synthetic: Source | None, real_share: float, camera: Camera, fit: FitConfig,
        classes: Sequence[Artifact] = tuple(Artifact),
    ) -> None:  # fmt: skip
        super().__init__(workers=_LOADERS, max_queue_size=4)
        self.epoch = 0
        self._real, self._synthetic, self._real_share = real, synthetic, real_share
        self._camera, self._fit, self._classes = camera, fit, tuple(classes)
        self._on_ccds: BoolArray = camera.labels > 0

    def __len__(self) -> int:
        return EPOCH_STEPS

    def __getitem__(self, step: int) -> tuple[Any, Any]:
        rng = np.random.default_rng([self._fit.seed, self.epoch * EPOCH_STEPS + step])
        return self._batch([self._draw(rng) for _ in range(self._fit.batch)])

    def _draw(self, rng: np.random.Generator) -> Sample:
        """One augmented exposure."""
        is_real = rng.random() < self._real_share
        source = self._real if is_real else self._synthetic
        if source is None:
            msg = f"training: no source of {'real' if is_real else 'synthetic'} exposures"
            raise ValueError(msg)
        sample = augmented(source.draw(rng), self._on_ccds, rng).of_classes(self._classes)
        return Sample(with_dead_ccd(sample.image, self._camera, rng), sample.found, sample.marked)

    def _batch(self, samples: list[Sample]) -> tuple[Any, Any]:
        """Stack samples into network inputs and targets."""
        raise NotImplementedError


class ScreenBatches(Batches):
    """Inputs of `ScreenTraining`, and dummy targets for its losses."""

    def _batch(self, samples: list[Sample]) -> tuple[Any, Any]:
        ghosted = np.array([[len(sample.found) > 0] for sample in samples], np.float32)
        inputs = {"image": _stacked(samples), "ghosted": ghosted, "shares": _shares(samples)}
        return inputs, {loss: np.zeros(len(samples), np.float32) for loss in ScreenTraining.loss_names}


class SemanticBatches(Batches):
    """Inputs of `SemanticTraining`, and a dummy target for its loss."""

    def _batch(self, samples: list[Sample]) -> tuple[Any, Any]:
        return {"image": _stacked(samples), "shares": _shares(samples)}, {
            "semantic": np.zeros(len(samples), np.float32)
        }


class SegmentBatches(Batches):
    """Inputs of `MaskRCNNTraining`, and dummy targets for its losses."""

    losses: tuple[str, ...] = LOSSES

    def _batch(self, samples: list[Sample]) -> tuple[Any, Any]:
        return segment_batch(samples, self.losses)


def segment_batch(samples: list[Sample], losses: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """
    Stack samples into the inputs of `MaskRCNNTraining`.

    Parameters
    ----------
    samples : list of Sample
    losses : tuple of str
        Its `loss_names`.

    Returns
    -------
    inputs : dict of ndarray
        See `MaskRCNNTraining`; at most the first `MAX_INSTANCES` instances.
    dummies : dict of ndarray
        Zeros for each loss, since Keras requires targets.
    """
    n_images = len(samples)
    boxes = np.zeros((n_images, MAX_INSTANCES, 4), np.float32)
    classes = np.full((n_images, MAX_INSTANCES), -1, np.int32)
    masks = np.zeros((n_images, MAX_INSTANCES, *samples[0].image.shape), np.uint8)
    for n, sample in enumerate(samples):
        found = sample.found
        kept = slice(min(len(found), MAX_INSTANCES))
        boxes[n, kept], classes[n, kept], masks[n, kept] = found.boxes[kept], found.classes[kept], found.masks[kept]
    inputs = {
        "image": _stacked(samples),
        "boxes": boxes,
        "classes": classes,
        "masks": masks,
        "shares": _shares(samples),
    }
    return inputs, {loss: np.zeros(n_images, np.float32) for loss in losses}


def _stacked(samples: list[Sample]) -> np.ndarray:
    """Images as network input, (B, 400, 400, 1) float32."""
    return np.stack([sample.image for sample in samples])[..., None].astype(np.float32)


def _shares(samples: list[Sample]) -> Float32Array:
    """Fraction of annotators who marked each class, averaged over cells, (B, 100, 100, C + 1)."""
    marked = np.stack([sample.marked for sample in samples])
    # Far faster than a mean over reshaped axes.
    rows = np.add.reduce([marked[:, :, k::CELL_PX] for k in range(CELL_PX)])
    cells = np.add.reduce([rows[..., k::CELL_PX] for k in range(CELL_PX)])
    shares: Float32Array = np.moveaxis(cells / np.float32(CELL_PX**2), 1, -1)
    return shares
