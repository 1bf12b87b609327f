"""The first stage: how likely does each exposure show an artifact?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from cascade.exposure import Float32Array, UInt8Array
from cascade.models import ModelInfo, load_network

if TYPE_CHECKING:
    import keras

_BATCH = 32


class Screener(Protocol):
    """Anything that scores previews."""

    def score(self, images: UInt8Array) -> Float32Array:
        """
        Score previews.

        Parameters
        ----------
        images : ndarray of uint8, shape (B, 400, 400)

        Returns
        -------
        ndarray of float32, shape (B,)
            In [0, 1]; higher means more likely ghosted.
        """
        ...


class KerasScreener:
    """
    Score previews with a Keras network that gives one logit an image.

    Parameters
    ----------
    network : keras.Model
        (B, 400, 400, 1) grey levels to (B, 1) logits.
    """

    def __init__(self, network: keras.Model) -> None:
        self._network = network

    @classmethod
    def load(cls, info: ModelInfo) -> KerasScreener:
        """Load a model folder; see `cascade.models.load_network` for what can go wrong."""
        return cls(load_network(info))

    def score(self, images: UInt8Array) -> Float32Array:
        """Score (B, 400, 400) uint8 previews; see `Screener`."""
        if not len(images):
            return np.zeros(0, np.float32)
        logits = [self._network.predict_on_batch(chunk) for chunk in fixed_batches(images, _BATCH)]
        return sigmoid(np.concatenate(logits)[: len(images), 0])


def fixed_batches(images: UInt8Array, size: int) -> list[Float32Array]:
    """
    Cut images into network inputs of one fixed shape, so that a network is compiled once.

    Returns
    -------
    list of ndarray of float32, shape (size, H, W, 1)
        The last one is filled up with blank images.
    """
    n_missing = -len(images) % size
    filled = np.concatenate([images, np.zeros((n_missing, *images.shape[1:]), images.dtype)])
    return [filled[k : k + size, ..., None].astype(np.float32) for k in range(0, len(filled), size)]


def sigmoid(logits: Float32Array) -> Float32Array:
    """The logistic function, without overflow."""
    scores: Float32Array = (0.5 * (1.0 + np.tanh(0.5 * logits))).astype(np.float32)
    return scores
