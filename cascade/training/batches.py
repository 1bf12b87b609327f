"""Training batches, drawn on the fly: step k of seed s is the same on every machine."""

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
"""Instances an image in training; the annotators drew 13 at most."""

EPOCH_STEPS = 50
"""Gradient steps between two checkpoints, which Keras calls an epoch."""

_LOADERS = 2  # threads that draw images while the network computes


class Batches(keras.utils.PyDataset):
    """
    Base of the training sets: draws an exposure from one of two sources, with what one annotator saw on it.

    Parameters
    ----------
    real, synthetic : Source or None
        At least one of them.
    real_share : float
        How often the first is asked, in [0, 1].
    camera : Camera
    fit : FitConfig
    classes : sequence of Artifact
        What the network tells apart, in the order of its outputs.

    Attributes
    ----------
    epoch
        Which run of `EPOCH_STEPS` batches comes next; whoever fits moves it on.
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
        asks_real = rng.random() < self._real_share
        source = self._real if asks_real else self._synthetic
        if source is None:
            msg = f"training: no source of {'real' if asks_real else 'synthetic'} exposures"
            raise ValueError(msg)
        sample = augmented(source.draw(rng), self._on_ccds, rng).of_classes(self._classes)
        return Sample(with_dead_ccd(sample.image, self._camera, rng), sample.found, sample.marked)

    def _batch(self, samples: list[Sample]) -> tuple[Any, Any]:
        """Stack what was drawn into network inputs and targets."""
        raise NotImplementedError


class ScreenBatches(Batches):
    """The dict that `ScreenTraining` takes, and dummies for the losses that it computes."""

    def _batch(self, samples: list[Sample]) -> tuple[Any, Any]:
        ghosted = np.array([[len(sample.found) > 0] for sample in samples], np.float32)
        inputs = {"image": _stacked(samples), "ghosted": ghosted, "shares": _shares(samples)}
        return inputs, {loss: np.zeros(len(samples), np.float32) for loss in ScreenTraining.loss_names}


class SemanticBatches(Batches):
    """The dict that `SemanticTraining` takes, and a dummy for the loss that it computes."""

    def _batch(self, samples: list[Sample]) -> tuple[Any, Any]:
        return {"image": _stacked(samples), "shares": _shares(samples)}, {
            "semantic": np.zeros(len(samples), np.float32)
        }


class SegmentBatches(Batches):
    """The dict that `MaskRCNNTraining` takes, and dummies for the losses that it computes."""

    losses: tuple[str, ...] = LOSSES

    def _batch(self, samples: list[Sample]) -> tuple[Any, Any]:
        return segment_batch(samples, self.losses)


def segment_batch(samples: list[Sample], losses: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """
    Stack samples into what `MaskRCNNTraining` takes.

    Parameters
    ----------
    samples : list of Sample
    losses : tuple of str
        Its `loss_names`.

    Returns
    -------
    inputs : dict of ndarray
        See `MaskRCNNTraining`; of more than `MAX_INSTANCES` the first are taken.
    dummies : dict of ndarray
        Zeros for each loss, since Keras wants something to compare with.
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
    """Share of the annotators, and of each cell, that marked each class, (B, 100, 100, C + 1)."""
    marked = np.stack([sample.marked for sample in samples])
    # Far faster than a mean over reshaped axes.
    rows = np.add.reduce([marked[:, :, k::CELL_PX] for k in range(CELL_PX)])
    cells = np.add.reduce([rows[..., k::CELL_PX] for k in range(CELL_PX)])
    shares: Float32Array = np.moveaxis(cells / np.float32(CELL_PX**2), 1, -1)
    return shares
