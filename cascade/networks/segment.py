"""The second stage: which pixels of a flagged exposure do artifacts cover?"""

from __future__ import annotations

from typing import Protocol

from cascade.core.exposure import Instances, UInt8Array
from cascade.networks.engines import Answer, Engine, load_engine
from cascade.networks.fuse import fused
from cascade.networks.model_info import ModelInfo
from cascade.networks.paste import instances_of


class Segmenter(Protocol):
    """Anything that finds artifacts in previews."""

    def segment(self, images: UInt8Array) -> list[Instances]:
        """
        Find artifacts.

        Parameters
        ----------
        images : ndarray of uint8, shape (B, 400, 400)

        Returns
        -------
        list of Instances
            One an image, in order.
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
        Probability from which the semantic map of a network that has one makes artifacts, in (0, 1].
    """

    def __init__(self, engine: Engine, *, min_score: float, semantic: float = 0.5) -> None:
        self._engine = engine
        self._min_score, self._semantic = min_score, semantic

    @classmethod
    def load(cls, info: ModelInfo, *, engine: str = "auto") -> NetworkSegmenter:
        """Load a model folder into an engine; see `cascade.networks.engines.load_engine` for what can go wrong."""
        return cls(load_engine(info, engine), min_score=info.threshold, semantic=info.semantic)

    def segment(self, images: UInt8Array) -> list[Instances]:
        """Find artifacts in (B, 400, 400) uint8 previews; see `Segmenter`."""
        if not len(images):
            return []
        answer = self._engine(images)
        return [artifacts_of(answer, n, min_score=self._min_score, semantic=self._semantic) for n in range(len(images))]


def artifacts_of(answer: Answer, n: int, *, min_score: float, semantic: float) -> Instances:
    """
    Read the artifacts of one image from what a network said.

    Parameters
    ----------
    answer : dict of ndarray
        Instances, a semantic map, or both; see `cascade.networks.engines.base.OUTPUTS`.
    n : int
        Index of the image.
    min_score : float
        Instances below it are dropped, in [0, 1].
    semantic : float
        Probability from which the map makes artifacts, in (0, 1].
    """
    found = Instances.empty()
    if "boxes" in answer:
        boxes, scores, classes, masks = (answer[key][n] for key in ("boxes", "scores", "classes", "masks"))
        found = instances_of(boxes, scores, classes, masks, min_score=min_score)
    return fused(found, answer["semantic"][n], threshold=semantic) if "semantic" in answer else found
