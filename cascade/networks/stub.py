"""
Stubs of the networks, for benchmarks of everything around them (`cascade run --stub`).

They read one pixel per preview: its level, as a fraction of 255, is the score, and a flagged exposure gets one faint
artifact, a square whose side in pixels is that level. So every result is known from the input.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from cascade.core.artifact import Artifact
from cascade.core.exposure import PREVIEW_SHAPE, Float32Array, Instances, UInt8Array
from cascade.networks.model_id import ModelId

STUB = ModelId("stub", "stub", "stub")
"""Model recorded in ``run.json`` for a run with stubs."""

THRESHOLD = 0.5

_CORNER = 60  # first row and column of the square; it lies on CCDs


@dataclass(frozen=True, slots=True)
class StubScreener:
    """
    Scores by the first pixel.

    Attributes
    ----------
    pause_s
        Seconds to sleep per exposure.
    """

    pause_s: float = 0.0

    def score(self, images: UInt8Array) -> Float32Array:
        """Score (B, 400, 400) uint8 previews."""
        time.sleep(self.pause_s * len(images))
        scores: Float32Array = images[:, 0, 0].astype(np.float32) / np.float32(255)
        return scores


class StubSegmenter:
    """One square per image, with the first pixel's level as its side."""

    def segment(self, images: UInt8Array) -> list[Instances]:
        """Find the square of (B, 400, 400) uint8 previews."""
        return [self._square(int(image[0, 0])) for image in images]

    def _square(self, side: int) -> Instances:
        masks = np.zeros((1, *PREVIEW_SHAPE), bool)
        masks[:, _CORNER : _CORNER + side, _CORNER : _CORNER + side] = True
        box = np.array([[_CORNER, _CORNER, _CORNER + side, _CORNER + side]], np.float32)
        return Instances(np.array([Artifact.FAINT], np.uint8), np.ones(1, np.float32), box, masks)


@dataclass(frozen=True, slots=True)
class StubLoader:
    """
    Loads the stubs.

    Attributes
    ----------
    pause_s
        Seconds to sleep per exposure, to emulate networks on another device.
    """

    pause_s: float = 0.0

    def __call__(self) -> tuple[StubScreener, StubSegmenter]:
        """Create both stubs."""
        return StubScreener(self.pause_s), StubSegmenter()
