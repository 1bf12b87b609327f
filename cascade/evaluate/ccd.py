"""CCD metrics of the paper: affected CCDs of truth and prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cascade.camera import PAPER_CCD_AREA_PX, Camera, paper_boxes
from cascade.core.artifact import Artifact
from cascade.core.exposure import BoolArray

_PAPER_ORDER = (Artifact.RAYS, Artifact.BRIGHT, Artifact.FAINT)
SINGLE_CLASSES = (*_PAPER_ORDER, *(artifact for artifact in Artifact if artifact not in _PAPER_ORDER))
"""Every class, those of the paper first and in its order."""

GROUPS: Mapping[str, tuple[Artifact, ...]] = {
    "All": tuple(Artifact),
    "Rays+Bright": (Artifact.RAYS, Artifact.BRIGHT),
    **{artifact.title: (artifact,) for artifact in SINGLE_CLASSES},
}
"""The sets of classes that have CCD metrics, the paper's and any other class; a set counts the union of its masks."""


@dataclass(frozen=True, slots=True)
class CcdMetrics:
    """Precision, recall and F1 in [0, 1], pooled over all CCDs of all exposures; 0 where undefined."""

    precision: float
    recall: float
    f1: float

    @classmethod
    def of(cls, truth: BoolArray, predicted: BoolArray) -> CcdMetrics:
        """Compare two bool arrays of the same shape, one entry per CCD."""
        hits = int(np.sum(truth & predicted))
        precision = hits / max(int(predicted.sum()), 1)
        recall = hits / max(int(truth.sum()), 1)
        return cls(precision, recall, 2 * hits / max(int(truth.sum() + predicted.sum()), 1))


def affected_ccds(masks: BoolArray, camera: Camera, *, area_threshold: float = 0.0) -> BoolArray:
    """
    Determine which CCDs masks affect, as the paper defines it.

    A CCD is affected where the mask covers more than ``max(1, 32 * 60.1169 * area_threshold)`` pixels of the paper's
    box.

    Parameters
    ----------
    masks : ndarray of bool, shape (..., 400, 400)
        Unions of artifacts.
    camera : Camera
        DECam.
    area_threshold : float
        Fraction of a CCD in [0, 1].

    Returns
    -------
    ndarray of bool, shape (..., 62)
        By ccdnum - 1.

    References
    ----------
    Tanoglidis et al. 2021, arXiv:2109.08246, section 5, and its notebooks.
    """
    boxes = paper_boxes(camera)
    counts = np.stack([masks[..., y0:y1, x0:x1].sum((-2, -1)) for y0, x0, y1, x1 in boxes], axis=-1)
    affected: BoolArray = counts > max(1.0, PAPER_CCD_AREA_PX * area_threshold)
    return affected


def majority(votes: npt.NDArray[np.bool_]) -> BoolArray:
    """
    Pixels marked by more than half of the annotators.

    Parameters
    ----------
    votes : ndarray of bool, shape (annotator, ...)
        One mask per annotator.
    """
    marked: BoolArray = 2 * votes.sum(axis=0) > len(votes)
    return marked


def group_masks(class_masks: BoolArray) -> dict[str, BoolArray]:
    """
    Merge classes as the paper does.

    Parameters
    ----------
    class_masks : ndarray of bool, shape (..., C, H, W)
        One mask per class, in the order of `Artifact`.

    Returns
    -------
    dict of str to ndarray of bool, shape (..., H, W)
        One mask per group of `GROUPS`.
    """
    return {name: np.any(class_masks[..., list(classes), :, :], axis=-3) for name, classes in GROUPS.items()}
