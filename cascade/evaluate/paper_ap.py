"""The paper's average precision: per exposure, with Matterport's conventions, then averaged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from cascade.core.artifact import Artifact
from cascade.core.exposure import BoolArray
from cascade.core.run_lengths import overlaps
from cascade.evaluate.bootstrap import FloatArray
from cascade.evaluate.instances import OVERLAPS
from cascade.evaluate.labelling import Found

PAPER_GROUPS: Mapping[str, tuple[Artifact, ...]] = {"All": tuple(Artifact), **{a.title: (a,) for a in Artifact}}
"""Groups of the paper's panels: all classes together, and each."""

N_RECALLS = 101


@dataclass(frozen=True, slots=True, eq=False)
class PaperAp:
    """
    Per-exposure average precision.

    Attributes
    ----------
    ap
        (N, n_overlaps, n_groups) for `OVERLAPS` and `PAPER_GROUPS`; NaN where the truth has no artifact of the group
        but the prediction has, 0 where neither has any: Matterport's conventions, which the paper averaged over.
    present
        (N, n_groups) bool: exposures in which the truth has an artifact of the group.
    precision
        (n_overlaps, n_groups, 101): best precision at a recall or a higher one, averaged over exposures that have the
        group; NaN if none has.
    """

    ap: FloatArray
    present: BoolArray
    precision: FloatArray


def paper_ap(truth: Sequence[Found], predicted: Sequence[Found]) -> PaperAp:
    """
    Average precision of every exposure.

    Predictions, best scores first, are matched to the true artifact with the largest overlap, if that is of their class
    and not matched yet. Matterport's `compute_ap` as PyPI's mrcnn 0.2 has it differs in one point: there the artifact
    matched by the best-scored prediction can be matched a second time, which may give more than 1; later versions, and
    this function, do not.

    Parameters
    ----------
    truth, predicted : sequence of Found
        One an exposure, in the same order.

    Returns
    -------
    PaperAp

    References
    ----------
    Tanoglidis et al. 2021, arXiv:2109.08246, section 5; Matterport's Mask_RCNN, `mrcnn/utils.py`, `compute_ap`.
    """
    shape = (len(truth), len(OVERLAPS), len(PAPER_GROUPS))
    ap = np.zeros(shape)
    present = np.zeros((shape[0], shape[2]), bool)
    sums = np.zeros((*shape[1:], N_RECALLS))
    for n, (true, guess) in enumerate(zip(truth, predicted, strict=True)):
        shared = overlaps(guess.rles, true.rles)
        for g, classes in enumerate(PAPER_GROUPS.values()):
            rows, columns = (np.flatnonzero(np.isin(found.classes, classes)) for found in (guess, true))
            rows = rows[np.argsort(guess.scores[rows])[::-1]]
            present[n, g] = len(columns) > 0
            same = guess.classes[rows][:, None] == true.classes[columns][None, :]
            for k, least in enumerate(OVERLAPS):
                hits = _hits(shared[np.ix_(rows, columns)], same, least)
                ap[n, k, g], curve = average_precision_of(hits, len(columns))
                if present[n, g]:
                    sums[k, g] += curve
    n_present = present.sum(axis=0)[None, :, None]
    return PaperAp(ap, present, np.where(n_present > 0, sums / np.maximum(n_present, 1), np.nan))


def average_precision_of(hits: BoolArray, n_true: int) -> tuple[float, FloatArray]:
    """
    Area under the precision-recall curve of one exposure, as the VOC 2010 challenge measures it.

    Parameters
    ----------
    hits : ndarray of bool, shape (D,)
        Of the predictions by falling score.
    n_true : int
        Artifacts of the truth.

    Returns
    -------
    float
        In [0, 1]; NaN if there are predictions but no true artifact, 0 if there is neither.
    ndarray, shape (101,)
        The curve at recalls 0, 0.01, ..., 1.
    """
    if n_true == 0:
        return (float("nan") if len(hits) else 0.0), np.zeros(N_RECALLS)
    found = np.cumsum(hits)
    precision = np.concatenate([[0.0], found / np.arange(1, len(hits) + 1), [0.0]])
    recall = np.concatenate([[0.0], found / n_true, [1.0]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    curve = envelope[np.searchsorted(recall, np.linspace(0, 1, N_RECALLS) - 1e-12)]
    return float(np.sum(np.diff(recall) * envelope[1:])), curve


def mrcnn_ap(truth: Sequence[Found], predicted: Sequence[Found]) -> FloatArray | None:
    """
    The same by `mrcnn.utils.compute_ap` of the `mrcnn` package, as the paper called it; None if it is not installed.

    Returns
    -------
    ndarray, shape (N, n_overlaps, n_groups)
        As `PaperAp.ap`.
    """
    utils = _mrcnn_utils()
    if utils is None:
        return None
    compute_ap: Callable[..., tuple[Any, ...]] = utils.compute_ap
    ap = np.zeros((len(truth), len(OVERLAPS), len(PAPER_GROUPS)))
    for n, (true, guess) in enumerate(zip(truth, predicted, strict=True)):
        shared = overlaps(true.rles, guess.rles)
        masks = np.concatenate([true.masks(), guess.masks()])
        masks = masks[:, np.any(masks, axis=0)][:, None]  # unmarked pixels change no overlap
        for g, classes in enumerate(PAPER_GROUPS.values()):
            rows, columns = (np.flatnonzero(np.isin(found.classes, classes)) for found in (true, guess))
            if not len(rows):  # it would divide by zero
                ap[n, :, g] = np.nan if len(columns) else 0.0
                continue
            if not len(columns):
                continue
            sides = (_matterport(true, masks, rows, 0), _matterport(guess, masks, columns, len(true)))
            (true_boxes, true_classes, true_masks), (boxes, found_classes, found_masks) = sides
            before = None
            for k, least in enumerate(OVERLAPS):
                close = shared[np.ix_(rows, columns)] >= least
                if before is not None and np.array_equal(close, before):
                    ap[n, k, g] = ap[n, k - 1, g]  # the same pairs may match
                elif close.any():
                    answer = compute_ap(
                        true_boxes, true_classes, true_masks, boxes, found_classes, guess.scores[columns], found_masks,
                        iou_threshold=least,
                    )  # fmt: skip
                    ap[n, k, g] = answer[0]
                before = close
    return ap


def _hits(shared: FloatArray, same: BoolArray, least: float) -> BoolArray:
    """Which predictions, best first, match a remaining true artifact."""
    hits = np.zeros(len(shared), bool)
    left = np.ones(shared.shape[1], bool)
    for row, candidates in enumerate(shared):
        allowed = np.where(left & same[row] & (candidates >= least), candidates, -1.0)
        if allowed.size and allowed.max() >= 0:
            hits[row] = True
            left[len(allowed) - 1 - int(np.argmax(allowed[::-1]))] = False  # the last of equals, as they sort
    return hits


def _matterport(
    found: Found, masks: BoolArray, which: npt.NDArray[np.intp], offset: int
) -> tuple[FloatArray, npt.NDArray[np.int64], BoolArray]:
    """Boxes (never zero, which would mean padding), class ids and masks (1, P, k) as `compute_ap` expects them."""
    return np.ones((len(which), 4)), found.classes[which].astype(np.int64) + 1, masks[which + offset].transpose(1, 2, 0)


def _mrcnn_utils() -> ModuleType | None:
    """`mrcnn.utils`, which imports TensorFlow, or None."""
    import importlib.util

    if importlib.util.find_spec("mrcnn") is None:
        return None
    from cascade.core.keras_startup import import_keras

    import_keras()
    return importlib.import_module("mrcnn.utils")
