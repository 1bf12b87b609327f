"""Parity check of two engines, on synthetic previews, whenever a network is loaded into OpenVINO."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cascade.core.data_files import read_npz
from cascade.core.exposure import BoolArray, Instances, UInt8Array
from cascade.networks.engines.base import Outputs, sigmoid
from cascade.networks.golden import golden_images
from cascade.networks.model_info import ModelInfo
from cascade.networks.paste import instances_of

MIN_MASK_IOU = 0.98
"""Minimum intersection over union of the masks of an artifact."""

SCORE_MARGIN = 0.05
"""Tolerance of scores; artifacts with scores this close to the threshold may be missing."""

PREVIEWS_FILE = "parity_previews.npz"
"""Simulated previews with artifacts of every class, (6, 400, 400) uint8."""


@dataclass(frozen=True, slots=True)
class Parity:
    """
    Deviation of an engine from Keras.

    Attributes
    ----------
    n_compared
        Artifacts, or exposures for a screen.
    n_unmatched
        Those found by only one of the two.
    min_iou
        Lowest mask overlap of matched artifacts; 1 without any.
    max_score_difference
        Largest difference of scores in [0, 1].
    """

    n_compared: int
    n_unmatched: int
    min_iou: float
    max_score_difference: float

    @property
    def close(self) -> bool:
        """Whether both agree within `MIN_MASK_IOU` and `SCORE_MARGIN`."""
        same = self.min_iou >= MIN_MASK_IOU and self.max_score_difference <= SCORE_MARGIN
        return same and not self.n_unmatched

    def __str__(self) -> str:
        """Summary for messages."""
        return (
            f"{self.n_compared} compared, {self.n_unmatched} unmatched, mask IoU at least {self.min_iou:.3f}, "
            f"scores within {self.max_score_difference:.3f}"
        )


def parity_previews() -> UInt8Array:
    """Previews of the parity check, (8, 400, 400) uint8: the golden ones and artifacts of every class."""
    _, arrays = read_npz(__package__, PREVIEWS_FILE, build="python -m cascade.simulate.build_parity_previews")
    return np.concatenate([golden_images(), arrays["previews"]])


def compare(info: ModelInfo, expected: Outputs, got: Outputs) -> Parity:
    """Compare an engine's outputs for some images with those of Keras."""
    if info.task == "screen":
        difference = np.abs(sigmoid(expected["logit"]) - sigmoid(got["logit"]))
        return Parity(len(difference), 0, 1.0, float(np.max(difference, initial=0.0)))
    if "scores" not in expected:
        return Parity(len(expected["semantic"]), 0, 1.0, _map_difference(expected, got))
    parts = [
        _compare_instances(_instances(expected, n, info.threshold), _instances(got, n, info.threshold), info.threshold)
        for n in range(len(expected["scores"]))
    ]
    return Parity(
        sum(part.n_compared for part in parts),
        sum(part.n_unmatched for part in parts),
        min(part.min_iou for part in parts),
        max(_map_difference(expected, got), *(part.max_score_difference for part in parts)),
    )


def _map_difference(expected: Outputs, got: Outputs) -> float:
    """99.9th percentile of the difference of semantic maps; 0 without any."""
    if "semantic" not in expected:
        return 0.0
    return float(np.quantile(np.abs(expected["semantic"] - got["semantic"]), 0.999))


def _compare_instances(expected: Instances, got: Instances, threshold: float) -> Parity:
    """Match the artifacts of one image by class and mask."""
    taken: set[int] = set()
    iou, difference, n_unmatched = [1.0], [0.0], 0
    for n in np.argsort(-expected.scores):
        candidates = [k for k in np.flatnonzero(got.classes == expected.classes[n]).tolist() if k not in taken]
        overlaps = [_iou(expected.masks[n], got.masks[k]) for k in candidates]
        if not overlaps or max(overlaps) < MIN_MASK_IOU / 2:
            n_unmatched += int(expected.scores[n] >= threshold + SCORE_MARGIN)
            continue
        best = candidates[int(np.argmax(overlaps))]
        taken.add(best)
        if max(expected.scores[n], got.scores[best]) >= threshold + SCORE_MARGIN:
            iou.append(max(overlaps))
            difference.append(abs(float(expected.scores[n] - got.scores[best])))
    extra = [k for k in range(len(got)) if k not in taken and got.scores[k] >= threshold + SCORE_MARGIN]
    return Parity(len(iou) - 1 + n_unmatched, n_unmatched + len(extra), min(iou), max(difference))


def _instances(outputs: Outputs, n: int, threshold: float) -> Instances:
    """Artifacts of one image down to `SCORE_MARGIN` below the threshold."""
    boxes, scores, classes, masks = (outputs[key][n] for key in ("boxes", "scores", "classes", "masks"))
    return instances_of(boxes, scores, classes, masks, min_score=max(0.0, threshold - SCORE_MARGIN))


def _iou(a: BoolArray, b: BoolArray) -> float:
    """Intersection over union of two masks."""
    return int(np.count_nonzero(a & b)) / max(1, int(np.count_nonzero(a | b)))
