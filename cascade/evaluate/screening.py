"""Exposures as clean or ghosted: confusion, ROC and precision-recall curves at any prevalence, reliability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cascade.core.errors import ConfigError
from cascade.core.exposure import BoolArray
from cascade.evaluate.bootstrap import FloatArray, Interval, interval, weighted_interval

SURVEY_PREVALENCE = 0.04
"""Share of ghosted exposures in a survey (DELVE lists 6,045 of about 160,000)."""

N_BINS = 10


@dataclass(frozen=True, slots=True)
class Confusion:
    """Numbers of exposures by truth and answer."""

    clean_kept: int
    clean_flagged: int
    ghosts_missed: int
    ghosts_found: int

    @classmethod
    def of(cls, ghosted: BoolArray, flagged: BoolArray) -> Confusion:
        """Compare truth and answer, (N,) bool each."""
        pairs = ((~ghosted & ~flagged), (~ghosted & flagged), (ghosted & ~flagged), (ghosted & flagged))
        return cls(*(int(pair.sum()) for pair in pairs))


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """
    ROC curve: the result of flagging from each score on, from the highest down.

    Attributes
    ----------
    thresholds
        (T,) distinct scores, falling.
    true_positive_rate, false_positive_rate
        (T,) shares of the ghosted and of the clean exposures with that score or more, in [0, 1].
    """

    thresholds: FloatArray
    true_positive_rate: FloatArray
    false_positive_rate: FloatArray

    def precision(self, prevalence: float) -> FloatArray:
        """
        Precision of flagging at a given prevalence of ghosted exposures.

        Parameters
        ----------
        prevalence : float
            In (0, 1).

        Returns
        -------
        ndarray, shape (T,)
        """
        true = prevalence * self.true_positive_rate
        flagged = true + (1 - prevalence) * self.false_positive_rate
        return np.where(flagged > 0, true / np.maximum(flagged, 1e-300), 1.0)


def curve(scores: npt.ArrayLike, ghosted: BoolArray) -> Curve:
    """
    Compute the ROC curve over all thresholds.

    Parameters
    ----------
    scores : array_like, shape (N,)
        Higher means ghosted.
    ghosted : ndarray of bool, shape (N,)
        Truth.

    Raises
    ------
    ConfigError
        If all exposures are clean, or all ghosted.
    """
    scores = np.asarray(scores, float)
    check_both(ghosted)
    thresholds, hits, false = _cumulative(scores, ghosted)
    return Curve(thresholds, hits / ghosted.sum(), false / (~ghosted).sum())


def roc_auc(scores: npt.ArrayLike, ghosted: BoolArray, rng: np.random.Generator, *, n_resamples: int) -> Interval:
    """
    Area under the ROC curve, ties counting half.

    Parameters
    ----------
    scores : array_like, shape (N,)
    ghosted : ndarray of bool, shape (N,)
    rng : numpy.random.Generator
    n_resamples : int

    Raises
    ------
    ConfigError
        If all exposures are clean, or all ghosted.
    """
    check_both(ghosted)
    values, rank = np.unique(np.asarray(scores, float), return_inverse=True)

    def auc(weights: FloatArray) -> FloatArray:
        kinds = (ghosted, ~ghosted)
        true, false = (np.stack([np.bincount(rank, row, len(values)) for row in weights * kind]) for kind in kinds)
        below = np.cumsum(false, axis=1) - false / 2
        pairs = true.sum(axis=1) * false.sum(axis=1)
        return np.where(pairs > 0, (true * below).sum(axis=1) / np.maximum(pairs, 1), np.nan)

    return weighted_interval(auc, len(rank), rng, n_resamples=n_resamples)


def rates(
    ghosted: BoolArray, flagged: BoolArray, rng: np.random.Generator, *, prevalence: float, n_resamples: int
) -> dict[str, Interval]:
    """
    Accuracy, recall, false-alarm rate and precision of a classification, the last at two prevalences.

    Parameters
    ----------
    ghosted, flagged : ndarray of bool, shape (N,)
        Truth and answer.
    rng : numpy.random.Generator
    prevalence : float
        Of the survey, in (0, 1).
    n_resamples : int

    Returns
    -------
    dict of str to Interval
        NaN where undefined: without ghosted, clean or flagged exposures.
    """
    counts = np.stack([ghosted & flagged, ghosted & ~flagged, ~ghosted & flagged, ~ghosted & ~flagged], axis=1)

    def figures(totals: FloatArray) -> FloatArray:
        found, missed, alarms, kept = np.moveaxis(np.asarray(totals, float), -1, 0)
        recall, alarm_rate = _ratio(found, found + missed), _ratio(alarms, alarms + kept)
        at_prevalence = _ratio(prevalence * recall, prevalence * recall + (1 - prevalence) * alarm_rate)
        accuracy = _ratio(found + kept, found + missed + alarms + kept)
        return np.stack([accuracy, recall, alarm_rate, _ratio(found, found + alarms), at_prevalence], axis=-1)

    names = ("accuracy", "recall", "false_alarm_rate", "precision", "precision_at_prevalence")
    drawn = interval(figures, counts, rng, n_resamples=n_resamples)
    return {name: Interval(drawn.value[k], drawn.low[k], drawn.high[k]) for k, name in enumerate(names)}


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """
    Reliability diagram: calibration of scores.

    Attributes
    ----------
    edges
        (n_bins + 1,) of the scores.
    n
        (n_bins,) exposures.
    mean_score, ghosted_share
        (n_bins,) in [0, 1]; NaN where a bin is empty.
    low, high
        (n_bins,) Wilson's 95 % interval of `ghosted_share`.
    brier
        Mean squared difference of score and truth.
    calibration_error
        Mean distance of `mean_score` and `ghosted_share` over exposures.
    """

    edges: FloatArray
    n: npt.NDArray[np.int64]
    mean_score: FloatArray
    ghosted_share: FloatArray
    low: FloatArray
    high: FloatArray
    brier: float
    calibration_error: float


def reliability(scores: npt.ArrayLike, ghosted: BoolArray, *, n_bins: int = N_BINS) -> Reliability:
    """
    Compare scores with the observed share of ghosted exposures.

    Parameters
    ----------
    scores : array_like, shape (N,)
        Probabilities in [0, 1].
    ghosted : ndarray of bool, shape (N,)
    n_bins : int
        Of equal width.

    Raises
    ------
    ConfigError
        If there is no exposure or a score is outside [0, 1].
    """
    scores = np.asarray(scores, float)
    if not len(scores) or not np.all((scores >= 0) & (scores <= 1)):
        msg = f"reliability: expected scores in [0, 1], got {scores[~((scores >= 0) & (scores <= 1))][:3]}"
        raise ConfigError(msg)
    bins = np.minimum((scores * n_bins).astype(int), n_bins - 1)
    n = np.bincount(bins, minlength=n_bins)
    mean_score = _ratio(np.bincount(bins, scores, n_bins), n)
    share = _ratio(np.bincount(bins, ghosted, n_bins), n)
    low, high = wilson(share, n)
    distance = np.where(n > 0, np.abs(mean_score - share), 0.0)
    return Reliability(
        np.linspace(0, 1, n_bins + 1), n, mean_score, share, low, high,
        float(np.mean((scores - ghosted) ** 2)), float(np.sum(n * distance) / len(scores)),
    )  # fmt: skip


def wilson(share: npt.ArrayLike, n: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """
    Wilson's 95 % interval of a share among `n`.

    Returns
    -------
    low, high : ndarray
        NaN where `n` is 0.
    """
    share, n = np.asarray(share, float), np.asarray(n, float)
    z = 1.959964  # 97.5 % of a normal distribution
    safe = np.maximum(n, 1)
    middle = (share + z**2 / (2 * safe)) / (1 + z**2 / safe)
    half = z * np.sqrt(share * (1 - share) / safe + z**2 / (4 * safe**2)) / (1 + z**2 / safe)
    # Rounding may put the share itself just outside.
    low, high = np.minimum(middle - half, share), np.maximum(middle + half, share)
    return np.where(n > 0, np.maximum(low, 0), np.nan), np.where(n > 0, np.minimum(high, 1), np.nan)


def check_both(ghosted: BoolArray) -> None:
    """
    Reject a truth of one kind only.

    Raises
    ------
    ConfigError
        If all exposures are clean, or all ghosted.
    """
    if ghosted.all() or not ghosted.any():
        msg = f"exposures: expected clean and ghosted ones, got {int(ghosted.sum())} ghosted of {len(ghosted)}"
        raise ConfigError(msg)


def _cumulative(scores: FloatArray, ghosted: BoolArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Distinct scores, falling, and the ghosted and clean exposures with that score or more."""
    values, rank = np.unique(-scores, return_inverse=True)
    true, false = (np.cumsum(np.bincount(rank, kind.astype(float), len(values))) for kind in (ghosted, ~ghosted))
    return -values, true.astype(float), false.astype(float)


def _ratio(a: npt.ArrayLike, b: npt.ArrayLike) -> FloatArray:
    """Quotient; NaN where the divisor is 0."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    return np.where(b > 0, a / np.where(b > 0, b, 1), np.nan)
