"""One training image and its annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cascade.core.artifact import Artifact
from cascade.core.exposure import BoolArray, Float32Array, Instances, UInt8Array


@dataclass(frozen=True, slots=True)
class Sample:
    """
    One training image.

    Attributes
    ----------
    image
        (H, W) uint8.
    found
        Artifacts drawn by one annotator.
    marked
        (C + 1, H, W) fraction of annotators, in [0, 1], who marked a pixel as each class, and as any.
    """

    image: UInt8Array
    found: Instances
    marked: Float32Array

    @classmethod
    def of_one(cls, image: UInt8Array, found: Instances) -> Sample:
        """An image with a single annotator."""
        return cls(image, found, marked_share(class_masks(found)[None]))

    @classmethod
    def clean(cls, image: UInt8Array) -> Sample:
        """An image without artifacts."""
        shape = (image.shape[0], image.shape[1])
        return cls(image, Instances.empty(shape), np.zeros((len(Artifact) + 1, *shape), np.float32))

    def of_classes(self, classes: Sequence[Artifact]) -> Sample:
        """
        What somebody would say who knows some classes alone.

        Parameters
        ----------
        classes : sequence of Artifact
            The C classes of a network, in the order of its outputs.

        Returns
        -------
        Sample
            Classes are indices among these; as many people mark any of them as mark one, or all who mark anything.
        """
        if tuple(classes) == tuple(Artifact):
            return self
        found = self.found.select(np.flatnonzero(np.isin(self.found.classes, classes)))
        index = np.zeros(len(Artifact), np.uint8)
        index[list(classes)] = np.arange(len(classes))
        of_each = self.marked[list(classes)]
        of_any = np.minimum(of_each.sum(axis=0), self.marked[-1])
        return Sample(self.image, replace(found, classes=index[found.classes]), np.concatenate([of_each, of_any[None]]))


def class_masks(found: Instances) -> BoolArray:
    """Union of the instances of each of the C classes, (C, H, W)."""
    masks = np.zeros((len(Artifact), *found.masks.shape[1:]), bool)
    for class_, mask in zip(found.classes, found.masks, strict=True):
        masks[class_] |= mask
    return masks


def marked_share(votes: BoolArray) -> Float32Array:
    """
    Fraction of annotators who marked each pixel.

    Parameters
    ----------
    votes : ndarray of bool, shape (J, ..., C, H, W)
        Pixels marked by each annotator as each class.

    Returns
    -------
    ndarray of float32, shape (..., C + 1, H, W)
        The last entry is for any class.
    """
    anything: BoolArray = np.any(votes, axis=-3, keepdims=True)
    share: Float32Array = np.concatenate([votes, anything], axis=-3).mean(axis=0, dtype=np.float32)
    return share
