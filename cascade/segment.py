"""The second stage: which pixels of a flagged exposure do artifacts cover?"""

from __future__ import annotations

from typing import Protocol

from cascade.engines import Engine, load_engine
from cascade.exposure import Instances, UInt8Array
from cascade.models import ModelInfo
from cascade.paste import instances_of


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
        Runs the network, whose outputs are those of `cascade.nets.mask_rcnn.MaskRCNN`.
    min_score : float
        Instances below it are dropped, in [0, 1].
    """

    def __init__(self, engine: Engine, *, min_score: float) -> None:
        self._engine = engine
        self._min_score = min_score

    @classmethod
    def load(cls, info: ModelInfo, *, engine: str = "auto") -> NetworkSegmenter:
        """Load a model folder into an engine; see `cascade.engines.load_engine` for what can go wrong."""
        return cls(load_engine(info, engine), min_score=info.threshold)

    def segment(self, images: UInt8Array) -> list[Instances]:
        """Find artifacts in (B, 400, 400) uint8 previews; see `Segmenter`."""
        if not len(images):
            return []
        answer = self._engine(images)
        by_image = zip(*(answer[key] for key in ("boxes", "scores", "classes", "masks")), strict=True)
        return [instances_of(*said, min_score=self._min_score) for said in by_image]
