"""Bootstrap confidence intervals: exposures are resampled with replacement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cascade.core.errors import ConfigError

FloatArray = npt.NDArray[np.float64]
Statistic = Callable[[FloatArray], FloatArray]
"""From sums over exposures, shape (..., K), to figures, shape (...), for any leading axes."""

LEVEL = 0.95
N_RESAMPLES = 1000
_BLOCK = 4_000_000  # weights in memory at a time: 32 MB


@dataclass(frozen=True, slots=True)
class Interval:
    """
    A figure and its confidence interval, numbers or arrays of one shape; NaN where undefined.

    Attributes
    ----------
    value
        Of the original sample.
    low, high
        Quantiles (1 - level) / 2 and (1 + level) / 2 over the resamples.
    """

    value: FloatArray
    low: FloatArray
    high: FloatArray

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def f1_score(totals: npt.ArrayLike) -> FloatArray:
    """
    F1 from counts.

    Parameters
    ----------
    totals : ndarray, shape (..., 3)
        Hits, true ones, predicted ones.

    Returns
    -------
    ndarray, shape (...)
        In [0, 1]; 0 where there is neither a true nor a predicted one, as the paper counts it.
    """
    totals = np.asarray(totals, float)
    quotient: FloatArray = 2 * totals[..., 0] / np.maximum(totals[..., 1] + totals[..., 2], 1e-12)
    return quotient


def precision(totals: npt.ArrayLike) -> FloatArray:
    """Hits per predicted one; see `f1_score`."""
    totals = np.asarray(totals, float)
    quotient: FloatArray = totals[..., 0] / np.maximum(totals[..., 2], 1e-12)
    return quotient


def recall(totals: npt.ArrayLike) -> FloatArray:
    """Hits per true one; see `f1_score`."""
    totals = np.asarray(totals, float)
    quotient: FloatArray = totals[..., 0] / np.maximum(totals[..., 1], 1e-12)
    return quotient


def resamples(n: int, rng: np.random.Generator, *, n_resamples: int = N_RESAMPLES) -> Iterator[FloatArray]:
    """
    Draw bootstrap weights: the multiplicity of each exposure.

    Parameters
    ----------
    n : int
        Number of exposures, at least 1.
    rng : numpy.random.Generator
    n_resamples : int
        At least 1.

    Yields
    ------
    ndarray of float64, shape (B, n)
        Weights of a block of resamples, each row summing to n; memory is bounded.

    Raises
    ------
    ConfigError
        If there is no exposure or no resample.
    """
    if n < 1 or n_resamples < 1:
        msg = f"bootstrap: expected one or more exposures and resamples, got {n} and {n_resamples}"
        raise ConfigError(msg)
    block = max(1, _BLOCK // n)
    for start in range(0, n_resamples, block):
        size = min(block, n_resamples - start)
        yield rng.multinomial(n, np.full(n, 1 / n), size=size).astype(float)


def interval(
    statistic: Statistic,
    counts: npt.ArrayLike,
    rng: np.random.Generator,
    *,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """
    Bootstrap a figure that depends on sums over exposures.

    Parameters
    ----------
    statistic : callable
        See `Statistic`; `f1_score`, say.
    counts : array_like, shape (N, ..., K)
        Per exposure; for `f1_score` its hits, true and predicted CCDs.
    rng : numpy.random.Generator
    n_resamples : int
    level : float
        Confidence, in (0, 1).

    Returns
    -------
    Interval
        Of shape (...).

    Raises
    ------
    ConfigError
        If there is no exposure or the level is no probability.
    """
    counts = np.asarray(counts, float)
    drawn = _drawn(lambda weights: statistic(_sums(weights, counts)), len(counts), rng, n_resamples)
    return _interval(statistic(counts.sum(axis=0)), drawn, level)


def paired_difference(
    statistic: Statistic,
    counts: npt.ArrayLike,
    other: npt.ArrayLike,
    rng: np.random.Generator,
    *,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """
    Bootstrap the paired difference of two results on the same exposures.

    Parameters
    ----------
    statistic : callable
        See `Statistic`.
    counts, other : array_like, shape (N, ..., K)
        Per exposure, in the same order; every resample draws the same exposures of both.
    rng : numpy.random.Generator
    n_resamples : int
    level : float
        Confidence, in (0, 1).

    Returns
    -------
    Interval
        Statistic of `counts` less that of `other`.

    Raises
    ------
    ConfigError
        If the shapes differ, there is no exposure or the level is no probability.
    """
    counts, other = np.asarray(counts, float), np.asarray(other, float)
    if counts.shape != other.shape:
        msg = f"bootstrap: expected counts of the same exposures, got shapes {counts.shape} and {other.shape}"
        raise ConfigError(msg)

    def difference(weights: FloatArray) -> FloatArray:
        return statistic(_sums(weights, counts)) - statistic(_sums(weights, other))

    drawn = _drawn(difference, len(counts), rng, n_resamples)
    return _interval(statistic(counts.sum(axis=0)) - statistic(other.sum(axis=0)), drawn, level)


def weighted_interval(
    statistic: Callable[[FloatArray], FloatArray], n: int, rng: np.random.Generator, *, n_resamples: int = N_RESAMPLES
) -> Interval:
    """
    Bootstrap a figure that is not a function of sums, such as an average precision.

    Parameters
    ----------
    statistic : callable
        From weights (B, n) of the exposures to figures (B, ...).
    n : int
        Number of exposures.
    rng : numpy.random.Generator
    n_resamples : int

    Returns
    -------
    Interval
        Of shape (...).
    """
    drawn = _drawn(statistic, n, rng, n_resamples)
    return _interval(statistic(np.ones((1, n)))[0], drawn, LEVEL)


def _drawn(
    figures: Callable[[FloatArray], FloatArray], n: int, rng: np.random.Generator, n_resamples: int
) -> FloatArray:
    """Figures of all resamples, (n_resamples, ...)."""
    return np.concatenate([figures(weights) for weights in resamples(n, rng, n_resamples=n_resamples)])


def _sums(weights: FloatArray, counts: FloatArray) -> FloatArray:
    """Weighted sums over exposures: (B, N) and (N, ..., K) to (B, ..., K)."""
    return np.tensordot(weights, counts, axes=1)


def _interval(value: FloatArray, drawn: FloatArray, level: float) -> Interval:
    """Percentiles of the resamples, ignoring those in which the figure is undefined."""
    if not 0 < level < 1:
        msg = f"bootstrap: expected a level in (0, 1), got {level}"
        raise ConfigError(msg)
    defined = np.where(np.isfinite(drawn), drawn, np.nan)
    empty = np.all(np.isnan(defined), axis=0)
    low, high = np.nanquantile(np.where(empty, 0.0, defined), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Interval(np.asarray(value, float), np.where(empty, np.nan, low), np.where(empty, np.nan, high))
