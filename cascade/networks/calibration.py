"""
Calibrated scores: probabilities, and thresholds with a guaranteed recall.

Only what a model description stores and a run applies; `cascade.training.calibrate` fits them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cascade.core.exposure import Float32Array

MAX_KNOTS = 1000

_TINY = 1e-6
_RANK_SHARE = 1e-3  # weight of the raw score, which breaks ties where isotonic regression is flat


@dataclass(frozen=True, slots=True)
class Calibration:
    """
    Monotonic map from scores to probabilities.

    Platt's logistic curve is stored as slope and intercept, isotonic regression as knots.

    Attributes
    ----------
    kind
        ``"platt"`` or ``"isotonic"``.
    x, y
        Of platt: ``(slope,)`` and ``(intercept,)`` over the logit. Of isotonic: knots of score and probability, in
        [0, 1] and increasing, with linear interpolation.
    """

    kind: str
    x: tuple[float, ...]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        rising = all(a <= b for side in (self.x, self.y) for a, b in pairwise(side))
        finite = bool(np.all(np.isfinite([*self.x, *self.y])))
        platt = self.kind == "platt" and len(self.x) == len(self.y) == 1 and self.x[0] > 0
        knots = len(self.x) == len(self.y) and 2 <= len(self.x) <= MAX_KNOTS and rising
        within = all(0 <= value <= 1 for value in (*self.x, *self.y))
        if not finite or not (platt or (self.kind == "isotonic" and knots and within)):
            msg = (
                f"calibration: expected platt with a positive slope, or isotonic with 2 to {MAX_KNOTS} rising knots in "
                f"[0, 1], got {self.kind!r} with {len(self.x)} and {len(self.y)} numbers"
            )
            raise ValueError(msg)

    def __call__(self, scores: Float32Array) -> Float32Array:
        """
        Map scores to probabilities; higher scores never get lower ones.

        Parameters
        ----------
        scores : ndarray of float32
            In [0, 1].

        Returns
        -------
        ndarray of float32
            In [0, 1], same shape.
        """
        if self.kind == "platt":
            inner = np.clip(scores.astype(np.float64), _TINY, 1 - _TINY)
            logits = self.x[0] * np.log(inner / (1 - inner)) + self.y[0]
            return (0.5 * (1.0 + np.tanh(0.5 * logits))).astype(np.float32)
        flat = np.interp(scores, self.x, self.y)
        return ((1 - _RANK_SHARE) * flat + _RANK_SHARE * scores).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Guarantee:
    """
    Threshold with a lower confidence bound on the recall, for exposures distributed like the labelled ones.

    Attributes
    ----------
    recall, confidence
        Lower bound on the recall and its confidence, in (0, 1).
    threshold
        Minimum score of flagged exposures.
    n_ghosted
        Number of labelled ghosted exposures used.
    labels
        Origin of the labels, free text.
    """

    recall: float
    confidence: float
    threshold: float
    n_ghosted: int
    labels: str

    def __post_init__(self) -> None:
        shares = (self.recall, self.confidence)
        if not all(0 < share < 1 for share in shares) or not 0 <= self.threshold <= 1 or self.n_ghosted < 1:
            msg = (
                f"guarantee: expected recall and confidence in (0, 1), threshold in [0, 1] and labelled exposures, got "
                f"{self.recall}, {self.confidence}, {self.threshold} and {self.n_ghosted}"
            )
            raise ValueError(msg)
