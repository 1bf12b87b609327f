"""The second stage: instance masks of the artifacts in flagged exposures."""

from __future__ import annotations

from typing import Protocol

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
    """

    def __init__(self, engine: Engine, *, min_score: float, semantic: float = 0.5) -> None:
        self._engine = engine
        self._min_score, self._semantic = min_score, semantic

    @classmethod
    def load(cls, info: ModelInfo, *, engine: str = "auto") -> NetworkSegmenter:
        """Load a model folder into an engine; raises as `cascade.networks.engines.load_engine` does."""
        return cls(load_engine(info, engine), min_score=info.threshold, semantic=info.semantic)

    def segment(self, images: UInt8Array) -> list[Instances]:
        """Find artifacts in (B, 400, 400) uint8 previews; see `Segmenter`."""
        if not len(images):
            return []
        outputs = self._engine(images)
        return [
            artifacts_of(outputs, n, min_score=self._min_score, semantic=self._semantic) for n in range(len(images))
        ]


def artifacts_of(outputs: Outputs, n: int, *, min_score: float, semantic: float) -> Instances:
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
    """
    found = Instances.empty()
    if "boxes" in outputs:
        boxes, scores, classes, masks = (outputs[key][n] for key in ("boxes", "scores", "classes", "masks"))
        found = instances_of(boxes, scores, classes, masks, min_score=min_score)
    return fused(found, outputs["semantic"][n], threshold=semantic) if "semantic" in outputs else found
