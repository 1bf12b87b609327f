"""Pixel intersection over union, by group of classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cascade.core.exposure import BoolArray, UInt8Array
from cascade.evaluate.bootstrap import FloatArray
from cascade.evaluate.ccd import GROUPS, majority
from cascade.evaluate.counting import IN_GROUP, IntArray
from cascade.evaluate.labelling import Found, Labelling


def iou(totals: npt.ArrayLike) -> FloatArray:
    """
    Intersection over union from counts.

    Parameters
    ----------
    totals : ndarray, shape (..., 3)
        Pixels of both, of the truth, of the prediction.

    Returns
    -------
    ndarray, shape (...)
        In [0, 1]; NaN where neither has a pixel.
    """
    totals = np.asarray(totals, float)
    union = totals[..., 1] + totals[..., 2] - totals[..., 0]
    return np.where(union > 0, totals[..., 0] / np.maximum(union, 1), np.nan)


def overlap_px(truths: Sequence[Labelling], predicted: Labelling) -> IntArray:
    """
    Count pixels of the truth, of the prediction and of both.

    A pixel is true where more than half of the annotators marked it, group by group of classes.

    Parameters
    ----------
    truths : sequence of Labelling
        The annotators, over N exposures.
    predicted : Labelling
        Over the same.

    Returns
    -------
    ndarray of int32, shape (N, n_groups, 3)
        Both, truth, prediction.
    """
    if len(truths) == 1:
        pairs = zip(truths[0].found, predicted.found, strict=True)
        return np.stack([_joint_overlaps(true.plane(), guess.plane()) for true, guess in pairs]).astype(np.int32)
    rows = [
        _overlaps(majority(marked[:-1]), marked[-1])
        for marked in (
            _marked([labelling.found[n] for labelling in (*truths, predicted)]) for n in range(len(predicted))
        )
    ]
    return np.stack(rows)


def mutual_overlap_px(annotators: Sequence[Labelling]) -> tuple[IntArray, IntArray]:
    """
    Count pixels in common between annotators.

    Parameters
    ----------
    annotators : sequence of Labelling
        J of them, at least two, over N exposures.

    Returns
    -------
    pairs : ndarray of int32, shape (N, J, J, n_groups, 3)
        Both, the first, the second.
    others : ndarray of int32, shape (N, J, n_groups, 3)
        Both, the majority of the other annotators, the annotator.
    """
    n_annotators = len(annotators)
    pairs = np.zeros((len(annotators[0]), n_annotators, n_annotators, len(GROUPS), 3), np.int32)
    others = np.zeros((len(annotators[0]), n_annotators, len(GROUPS), 3), np.int32)
    for n in range(len(annotators[0])):
        marked = _marked([labelling.found[n] for labelling in annotators])
        for g in range(len(GROUPS)):
            both = marked[:, g].astype(np.float32) @ marked[:, g].T
            pairs[n, :, :, g, 0] = both
            pairs[n, :, :, g, 1] = np.diag(both)[:, None]
            pairs[n, :, :, g, 2] = np.diag(both)[None, :]
        for j in range(n_annotators):
            others[n, j] = _overlaps(majority(np.delete(marked, j, axis=0)), marked[j])
    return pairs, others


def vote_fraction(found: Sequence[Found]) -> npt.NDArray[np.float32]:
    """
    Share of the annotators who marked a pixel.

    Parameters
    ----------
    found : sequence of Found
        The artifacts of each of them on one exposure.

    Returns
    -------
    ndarray of float32, shape (n_groups, 400, 400)
        In [0, 1], by group of classes.
    """
    votes: BoolArray = np.stack([IN_GROUP[:, one.plane()] for one in found])
    fraction: npt.NDArray[np.float32] = votes.mean(axis=0, dtype=np.float32)
    return fraction


def _marked(found: Sequence[Found]) -> BoolArray:
    """(labelling, group, pixel) bool, of the pixels that any labelling marked."""
    planes = np.stack([one.plane().ravel() for one in found])
    return IN_GROUP[:, planes[:, np.any(planes, axis=0)]].transpose(1, 0, 2)


def _joint_overlaps(truth: UInt8Array, predicted: UInt8Array) -> npt.NDArray[np.int64]:
    """As `_overlaps`, from two mask planes: by counting pairs of their values."""
    n_codes = IN_GROUP.shape[1]
    pairs = np.bincount(truth.T.ravel() * n_codes + predicted.T.ravel(), minlength=n_codes**2)
    pairs = pairs.reshape(n_codes, n_codes)
    both = np.einsum("gt,tp,gp->g", IN_GROUP, pairs, IN_GROUP)
    return np.stack([both, IN_GROUP @ pairs.sum(axis=1), IN_GROUP @ pairs.sum(axis=0)], axis=1)


def _overlaps(truth: BoolArray, predicted: BoolArray) -> npt.NDArray[np.int64]:
    """(group, 3) pixels of both, of the truth, of the prediction, from (group, pixel)."""
    return np.stack([(truth & predicted).sum(axis=1), truth.sum(axis=1), predicted.sum(axis=1)], axis=1)
