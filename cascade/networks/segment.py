"""The second stage: instance masks of the artifacts in flagged exposures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from cascade.core.artifact import Artifact
from cascade.core.exposure import Instances, UInt8Array
from cascade.networks.engines import Engine, Outputs, load_engine
from cascade.networks.fuse import fused
from cascade.networks.model_info import ModelInfo
from cascade.networks.paste import instances_of


class Segmenter(Protocol):
    """Interface of segmenters."""

    def segment(self, images: UInt8Array) -> list[Instances]:
        """
        Find artifacts.

        Parameters
        ----------
        images : ndarray of uint8, shape (B, 400, 400)

        Returns
        -------
        list of Instances
            One per image, in order.
        """
        ...


class NetworkSegmenter:
    """
    Find artifacts with a Mask R-CNN.

    Parameters
    ----------
    engine : Engine
        Runs the network, whose outputs are those of `cascade.networks.nets.mask_rcnn.MaskRCNN`.
    min_score : float
        Instances below it are dropped, in [0, 1].
    semantic : float
        Minimum probability of the semantic map, if there is one, in (0, 1].
    classes : sequence of Artifact
        Classes of the network, in the order of its outputs.
    """

    def __init__(
        self, engine: Engine, *, min_score: float, semantic: float = 0.5, classes: Sequence[Artifact] = tuple(Artifact)
    ) -> None:
        self._engine, self._classes = engine, tuple(classes)
        self._min_score, self._semantic = min_score, semantic

    @classmethod
    def load(cls, info: ModelInfo, *, engine: str = "auto") -> NetworkSegmenter:
        """Load a model folder into an engine; raises as `cascade.networks.engines.load_engine` does."""
        loaded = load_engine(info, engine)
        return cls(loaded, min_score=info.threshold, semantic=info.semantic, classes=info.classes)

    def segment(self, images: UInt8Array) -> list[Instances]:
        """Find artifacts in (B, 400, 400) uint8 previews; see `Segmenter`."""
        if not len(images):
            return []
        outputs = self._engine(images)
        return [
            artifacts_of(outputs, n, min_score=self._min_score, semantic=self._semantic, classes=self._classes)
            for n in range(len(images))
        ]


def artifacts_of(
    outputs: Outputs, n: int, *, min_score: float, semantic: float, classes: Sequence[Artifact] = tuple(Artifact)
) -> Instances:
    """
    Extract the artifacts of one image from a network's outputs.

    Parameters
    ----------
    outputs : dict of ndarray
        Instances, a semantic map, or both; see `cascade.networks.engines.base.OUTPUT_NAMES`.
    n : int
        Index of the image.
    min_score : float
        Instances below it are dropped, in [0, 1].
    semantic : float
        Minimum probability of the semantic map, in (0, 1].
    classes : sequence of Artifact
        Classes of the network, in the order of its outputs.
    """
    found = Instances.empty()
    if "boxes" in outputs:
        boxes, scores, indices, masks = (outputs[key][n] for key in ("boxes", "scores", "classes", "masks"))
        found = instances_of(boxes, scores, np.array(classes)[indices], masks, min_score=min_score)
    if "semantic" not in outputs:
        return found
    return fused(found, outputs["semantic"][n], threshold=semantic, classes=classes)
