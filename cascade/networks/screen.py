"""The first stage: the probability that an exposure shows an artifact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from cascade.core.exposure import Float32Array, UInt8Array
from cascade.networks.calibration import Calibration
from cascade.networks.engines import Engine, load_engine, sigmoid
from cascade.networks.model_info import ModelInfo


class Screener(Protocol):
    """Interface of screens."""

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


class NetworkScreener:
    """
    Score previews with a network that outputs one logit per image.

    Parameters
    ----------
    engine : Engine
        Runs the network.
    calibration : sequence of Calibration
        Maps from scores to probabilities, applied in order.
    """

    def __init__(self, engine: Engine, calibration: Sequence[Calibration] = ()) -> None:
        self._engine, self._calibration = engine, tuple(calibration)

    @classmethod
    def load(cls, info: ModelInfo, *, engine: str = "auto") -> NetworkScreener:
        """Load a model folder into an engine; raises as `cascade.networks.engines.load_engine` does."""
        return cls(load_engine(info, engine), info.calibration)

    def score(self, images: UInt8Array) -> Float32Array:
        """Score (B, 400, 400) uint8 previews; see `Screener`."""
        if not len(images):
            return np.zeros(0, np.float32)
        scores = sigmoid(self._engine(images)["logit"][:, 0])
        for calibration in self._calibration:
            scores = calibration(scores)
        return scores
