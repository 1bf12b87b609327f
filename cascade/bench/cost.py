"""Cost model of a season by its fraction of flagged exposures, and the break-even prevalence of screening."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cascade.core.errors import ConfigError
from cascade.evaluate import curve

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_N_POINTS = 60


@dataclass(frozen=True, slots=True)
class CostModel:
    """
    ``t = t_screen + p_flag * t_segment``, per exposure.

    Attributes
    ----------
    t_screen
        Seconds per exposure: reading, screening, tables, store.
    t_segment
        Additional seconds per flagged exposure.
    worst
        Largest relative residual.
    """

    t_screen: float
    t_segment: float
    worst: float

    @classmethod
    def fit(cls, p_flag: npt.ArrayLike, seconds: npt.ArrayLike) -> Self:
        """
        Fit the line to seasons, by relative residuals, since timing errors are proportional.

        Parameters
        ----------
        p_flag : array_like, shape (n,)
            Fraction of flagged exposures.
        seconds : array_like, shape (n,)
            Per exposure.

        Raises
        ------
        ConfigError
            If all seasons have the same fraction.
        """
        p, t = np.asarray(p_flag, float), np.asarray(seconds, float)
        if np.ptp(p) == 0:
            msg = f"cost model: expected seasons with different fractions of flagged exposures, got {p}"
            raise ConfigError(msg)
        terms = np.stack([np.ones_like(p), p], axis=1)
        (a, b), *_ = np.linalg.lstsq(terms / t[:, None], np.ones_like(t), rcond=None)
        return cls(float(a), float(b), float(np.max(np.abs((a + b * p) / t - 1))))

    def seconds(self, p_flag: npt.ArrayLike) -> FloatArray:
        """Seconds per exposure at given fractions of flagged ones."""
        return self.t_screen + np.asarray(p_flag, float) * self.t_segment

    def break_even(self, recall: float, false_alarm_rate: float, t_alone: float) -> float | None:
        """
        Find the prevalence above which screening first is slower than segmenting everything.

        Parameters
        ----------
        recall, false_alarm_rate : float
            Fractions of the ghosted and of the clean exposures that are flagged.
        t_alone : float
            Seconds per exposure without a screen.

        Returns
        -------
        float or None
            In [0, 1]; None if screening pays at every prevalence.
        """
        affordable = (t_alone - self.t_screen) / self.t_segment
        if recall <= false_alarm_rate or affordable >= recall:
            return None
        return max(0.0, (affordable - false_alarm_rate) / (recall - false_alarm_rate))


def trade_off(
    scores: FloatArray, ghosted: BoolArray, true_ccds: npt.NDArray[np.integer], hits: npt.NDArray[np.integer],
    model: CostModel, *, prevalence: float, t_alone: float,
) -> dict[str, Any]:  # fmt: skip
    """
    Recall and cost of every threshold of the screen.

    Parameters
    ----------
    scores : ndarray, shape (N,)
        Scores of the screen.
    ghosted : ndarray of bool, shape (N,)
        Truth.
    true_ccds : ndarray of int, shape (N,)
        Affected CCDs of each exposure.
    hits : ndarray of int, shape (N,)
        Those of them that Mask R-CNN finds, flagged or not.
    model : CostModel
    prevalence : float
        Of the season, in (0, 1).
    t_alone : float
        Seconds per exposure without a screen.

    Returns
    -------
    dict of lists
        By decreasing threshold: `threshold`, `recall` of ghosted exposures, `ccd_recall` (fraction of affected CCDs in
        flagged exposures), `ccds_lost` (fraction that Mask R-CNN would find in the others), `false_alarm_rate`,
        `p_flag`, `ms` per exposure and `speed_up`.
    """
    scanned = curve(scores, ghosted)
    kept = np.unique(np.linspace(0, len(scanned.thresholds) - 1, _N_POINTS).round().astype(int))
    order = np.argsort(-scores, kind="stable")
    n_flagged = np.searchsorted(-scores[order], -scanned.thresholds, side="right")
    seen, kept_hits = (np.cumsum(ccds[order])[n_flagged - 1] for ccds in (true_ccds, hits))
    n_true = max(int(true_ccds.sum()), 1)
    p_flag = prevalence * scanned.true_positive_rate + (1 - prevalence) * scanned.false_positive_rate
    seconds = model.seconds(p_flag)
    columns = {
        "threshold": scanned.thresholds, "recall": scanned.true_positive_rate, "ccd_recall": seen / n_true,
        "ccds_lost": (hits.sum() - kept_hits) / n_true, "false_alarm_rate": scanned.false_positive_rate,
        "p_flag": p_flag, "ms": 1000 * seconds, "speed_up": t_alone / seconds,
    }  # fmt: skip
    return {name: values[kept].round(5).tolist() for name, values in columns.items()}
