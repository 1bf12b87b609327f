"""CCD precision, recall and F1 over area thresholds, with intervals and the human line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cascade.core.exposure import BoolArray
from cascade.evaluate.bootstrap import FloatArray, Interval, f1_score, interval, precision, recall
from cascade.evaluate.ccd import GROUPS, majority
from cascade.evaluate.counting import GEOMETRIES, CcdCells, IntArray
from cascade.evaluate.labelling import AnyLabelling, Labelling

AREA_THRESHOLDS = tuple(k / 100 for k in range(0, 95, 5))
"""Of the paper's figure: 0, 5, ..., 90 % of a CCD."""

CCD_METRICS = {"precision": precision, "recall": recall, "f1": f1_score}


@dataclass(frozen=True, slots=True)
class CcdCurves:
    """
    CCD metrics by geometry, area threshold and group: arrays of shape (2, n_thresholds, n_groups).

    Attributes
    ----------
    metrics
        Precision, recall and F1, pooled over all CCDs of all exposures.
    f1_per_exposure
        Mean F1 of the exposures on which either side affects a CCD; NaN if there is none.
    counts
        Hits, true and predicted CCDs in all, with a last axis of 3.
    """

    metrics: Mapping[str, Interval]
    f1_per_exposure: FloatArray
    counts: npt.NDArray[np.int64]


def ccd_hits(
    truths: Sequence[Labelling], predicted: AnyLabelling, cells: CcdCells, alive: BoolArray, thresholds: Sequence[float]
) -> IntArray:
    """
    Count hits, true and predicted CCDs of every exposure.

    A CCD is truly affected where more than half of the annotators' masks affect it, group by group of classes.

    Parameters
    ----------
    truths : sequence of Labelling
        The annotators, over N exposures.
    predicted : Labelling or VetoLabelling
        Over the same.
    cells : CcdCells
    alive : ndarray of bool, shape (N, n_ccds)
        CCDs that the geometry ``footprint`` counts; the paper counts all.
    thresholds : sequence of float
        Area thresholds in [0, 1].

    Returns
    -------
    ndarray of int32, shape (N, 2, n_thresholds, n_groups, 3)
    """
    counts = np.zeros((len(alive), len(GEOMETRIES), len(thresholds), len(GROUPS), 3), np.int32)
    for g, geometry in enumerate(GEOMETRIES):
        for t, threshold in enumerate(thresholds):
            votes = np.stack([labelling.affected(cells, geometry, threshold) for labelling in truths])
            truth, guess = majority(votes), predicted.affected(cells, geometry, threshold)
            if geometry == "footprint":
                truth, guess = truth & alive[:, None], guess & alive[:, None]
            for k, marked in enumerate((truth & guess, truth, guess)):
                counts[:, g, t, :, k] = marked.sum(axis=-1)
    return counts


def ccd_curves(hits: IntArray, rng: np.random.Generator, *, n_resamples: int) -> CcdCurves:
    """
    Turn counts into curves with bootstrap intervals.

    Parameters
    ----------
    hits : ndarray of int32, shape (N, 2, n_thresholds, n_groups, 3)
        From `ccd_hits`.
    rng : numpy.random.Generator
    n_resamples : int

    Raises
    ------
    ConfigError
        If there is no exposure.
    """

    def figures(totals: FloatArray) -> FloatArray:
        return np.stack([metric(totals) for metric in CCD_METRICS.values()], axis=-1)

    found = interval(figures, hits, rng, n_resamples=n_resamples)
    metrics = {
        name: Interval(found.value[..., k], found.low[..., k], found.high[..., k]) for k, name in enumerate(CCD_METRICS)
    }
    return CcdCurves(metrics, mean_f1(hits), hits.sum(axis=0, dtype=np.int64))


def mean_f1(hits: IntArray) -> FloatArray:
    """
    Mean F1 per exposure.

    Parameters
    ----------
    hits : ndarray of int, shape (N, ..., 3)
        Hits, true and predicted CCDs.

    Returns
    -------
    ndarray, shape (...)
        Over the exposures on which either side affects a CCD; NaN if there is none.
    """
    counted = hits[..., 1:].sum(axis=-1) > 0
    n_counted = counted.sum(axis=0)
    total: FloatArray = np.where(counted, f1_score(hits), 0.0).sum(axis=0)
    return np.where(n_counted > 0, total / np.maximum(n_counted, 1), np.nan)


def human_hits(truths: Sequence[Labelling], cells: CcdCells, alive: BoolArray, thresholds: Sequence[float]) -> IntArray:
    """
    Count hits of each annotator against the majority of the others.

    Parameters
    ----------
    truths : sequence of Labelling
        J annotators, at least two, over N exposures.
    cells, alive, thresholds
        As for `ccd_hits`.

    Returns
    -------
    ndarray of int32, shape (J, N, 2, n_thresholds, n_groups, 3)
    """
    return np.stack(
        [ccd_hits([other for other in truths if other is not one], one, cells, alive, thresholds) for one in truths]
    )


def medians(hits: IntArray) -> dict[str, FloatArray]:
    """
    Medians over annotators of precision, recall and F1.

    Parameters
    ----------
    hits : ndarray of int, shape (J, N, ..., 3)
        From `human_hits`.

    Returns
    -------
    dict of str to ndarray, shape (...)
    """
    totals = hits.sum(axis=1, dtype=np.int64)
    return {name: np.median(metric(totals), axis=0) for name, metric in CCD_METRICS.items()}
