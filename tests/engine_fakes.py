"""Engines for tests of what stands above them."""

from __future__ import annotations

import numpy as np


class MeanEngine:
    """A screen: answers with the mean grey level of an image, and notes how many images it saw."""

    name = "mean"

    def __init__(self):
        self.seen = []

    def __call__(self, images):
        self.seen.append(images.shape)
        return {"logit": images.astype(np.float32).mean(axis=(1, 2))[:, None]}


class BoxEngine:
    """A segmenter: finds one box in each image, of the class and with the score (%) that its first pixels name."""

    name = "box"

    def __init__(self, box=(10, 20, 50, 80), mask=1.0):
        self._box, self._mask = box, mask

    def __call__(self, images):
        n_images = len(images)
        boxes, scores = np.zeros((n_images, 3, 4), np.float32), np.zeros((n_images, 3), np.float32)
        classes, masks = np.zeros((n_images, 3), np.int32), np.zeros((n_images, 3, 28, 28), np.float32)
        boxes[:, 0], masks[:, 0] = self._box, self._mask
        classes[:, 0], scores[:, 0] = images[:, 0, 0], images[:, 0, 1].astype(np.float32) / 100
        return {"boxes": boxes, "scores": scores, "classes": classes, "masks": masks}


class MapEngine:
    """A segmenter: gives every image the semantic map of its index, alone or beside what another one finds."""

    name = "map"

    def __init__(self, maps, boxes=None):
        self._maps, self._boxes = np.asarray(maps, np.float32), boxes

    def __call__(self, images):
        found = {} if self._boxes is None else self._boxes(images)
        return {**found, "semantic": self._maps[: len(images)]}
