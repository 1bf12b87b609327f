"""The second stage: which pixels of a flagged exposure do artifacts cover?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from cascade.exposure import PREVIEW_SHAPE, BoolArray, Float32Array, Instances, UInt8Array
from cascade.models import ModelInfo, load_network
from cascade.screen import fixed_batches

if TYPE_CHECKING:
    import keras

IntArray = npt.NDArray[np.int32]

_BATCH = 8
_MASK_THRESHOLD = 0.5


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


class KerasSegmenter:
    """
    Find artifacts with a Keras Mask R-CNN.

    Parameters
    ----------
    network : keras.Model
        Input and outputs as `cascade.nets.mask_rcnn.MaskRCNN`.
    min_score : float
        Instances below it are dropped, in [0, 1].
    """

    def __init__(self, network: keras.Model, *, min_score: float) -> None:
        self._network = network
        self._min_score = min_score

    @classmethod
    def load(cls, info: ModelInfo) -> KerasSegmenter:
        """Load a model folder; see `cascade.models.load_network` for what can go wrong."""
        return cls(load_network(info), min_score=info.threshold)

    def segment(self, images: UInt8Array) -> list[Instances]:
        """Find artifacts in (B, 400, 400) uint8 previews; see `Segmenter`."""
        found = [
            self._instances(*output)
            for chunk in fixed_batches(images, _BATCH)
            for output in _by_image(self._network.predict_on_batch(chunk))
        ]
        return found[: len(images)]

    def _instances(
        self, boxes: Float32Array, scores: Float32Array, classes: IntArray, masks: Float32Array
    ) -> Instances:
        """Turn the padded detections of one image into instances."""
        keep = (scores > 0) & (scores >= self._min_score)
        pasted = paste_masks(masks[keep], boxes[keep])
        # The network's boxes may reach into its padding.
        inside = np.clip(boxes[keep], 0, np.array(2 * pasted.shape[1:], np.float32))
        found = Instances(classes[keep].astype(np.uint8), scores[keep], inside, pasted)
        visible: BoolArray = np.any(pasted, axis=(1, 2))
        return found.select(visible)


def paste_masks(masks: Float32Array, boxes: Float32Array, shape: tuple[int, int] = PREVIEW_SHAPE) -> BoolArray:
    """
    Stretch masks over their boxes, bilinearly, and cut them at a probability of 0.5.

    Parameters
    ----------
    masks : ndarray of float32, shape (N, m, m)
        Probabilities within each box; beyond the outermost bin centres they continue as they end.
    boxes : ndarray of float32, shape (N, 4)
        (y0, x0, y1, x1) in pixels; parts outside the image are cut.
    shape : tuple of int
        (H, W) of the image.

    Returns
    -------
    ndarray of bool, shape (N, H, W)
    """
    rows = _weights(boxes[:, 0], boxes[:, 2], shape[0], masks.shape[1])
    columns = _weights(boxes[:, 1], boxes[:, 3], shape[1], masks.shape[2])
    pasted: BoolArray = rows @ masks @ columns.transpose(0, 2, 1) >= _MASK_THRESHOLD
    return pasted


def _weights(low: Float32Array, high: Float32Array, size: int, bins: int) -> Float32Array:
    """Interpolation weights (N, size, bins) of the bins at every pixel centre; 0 outside the box."""
    centres = np.arange(size, dtype=np.float32) + 0.5
    along = (centres - low[:, None]) / np.maximum(high - low, 1e-3)[:, None]
    position = np.clip(along * bins - 0.5, 0, bins - 1)
    weights = np.maximum(0, 1 - np.abs(position[..., None] - np.arange(bins, dtype=np.float32)))
    within: Float32Array = weights * ((along >= 0) & (along < 1))[..., None]
    return within


def _by_image(outputs: dict[str, Any]) -> zip[tuple[Any, ...]]:
    """Boxes, scores, classes and masks of one image after the other."""
    return zip(*(outputs[key] for key in ("boxes", "scores", "classes", "masks")), strict=True)
