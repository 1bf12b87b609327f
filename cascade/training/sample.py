"""One training image, and what people say of it."""

from __future__ import annotations

from dataclasses import dataclass

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
        The artifacts as one annotator drew them.
    marked
        (4, H, W) share of the annotators, in [0, 1], who marked a pixel as each class, and as any of them.
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
        """An image in which nobody sees anything."""
        shape = (image.shape[0], image.shape[1])
        return cls(image, Instances.empty(shape), np.zeros((len(Artifact) + 1, *shape), np.float32))


def class_masks(found: Instances) -> BoolArray:
    """Union of the instances of each class, (3, H, W)."""
    masks = np.zeros((len(Artifact), *found.masks.shape[1:]), bool)
    for class_, mask in zip(found.classes, found.masks, strict=True):
        masks[class_] |= mask
    return masks


def marked_share(votes: BoolArray) -> Float32Array:
    """
    Share of the annotators who marked each pixel.

    Parameters
    ----------
    votes : ndarray of bool, shape (J, ..., 3, H, W)
        What each annotator marked as each class.

    Returns
    -------
    ndarray of float32, shape (..., 4, H, W)
        The last entry is for any class.
    """
    anything: BoolArray = np.any(votes, axis=-3, keepdims=True)
    share: Float32Array = np.concatenate([votes, anything], axis=-3).mean(axis=0, dtype=np.float32)
    return share
