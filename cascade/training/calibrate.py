"""
Fit the calibrations of `cascade.networks.calibration`: probabilities, and thresholds with a guaranteed recall.

**The guarantee.** Of n labelled ghosted exposures let s_(k) be the k-th lowest score. The fraction of all such
exposures with a score of s_(k) or more is at least R with probability P(Binomial(n, 1 - R) >= k), whatever the
distribution of scores: Wilks' one-sided tolerance limit (Wilks 1941, Ann. Math. Stat. 12, 91), which is the exact
(Clopper and Pearson 1934, Biometrika 26, 404) lower confidence bound on the recall at an order statistic. The highest
threshold with the required confidence is chosen. It holds only for exposures sampled like the labelled ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from cascade.core.errors import ConfigError, InputError, reason
from cascade.core.exposure import BoolArray, Float32Array
from cascade.core.plain_files import plain_size
from cascade.core.via import read_checked
from cascade.networks.calibration import Calibration, Guarantee

logger = getLogger(__name__)

MIN_LABELLED = 50
"""Minimum number of labelled exposures of each class to fit probabilities."""

_N_FOLDS = 5
_MAX_KNOTS = 200
_TINY = 1e-6
_MAX_LABEL_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class Fit:
    """
    A calibration and its model selection.

    Attributes
    ----------
    calibration
        The better of both kinds.
    log_loss
        Cross-validated log loss of each kind, and of the raw scores (``"none"``).
    """

    calibration: Calibration
    log_loss: dict[str, float]


def read_labels(path: Path) -> dict[int, bool]:
    """
    Read the labels of exposures, ghosted or clean.

    Parameters
    ----------
    path : Path
        A table (.csv or .parquet) with columns `expnum` and `ghosted`, as `cascade simulate` writes it; or VIA
        annotations (.json), in which an exposure with any region is ghosted, and one on which only regions without a
        known class were drawn is left out.

    Returns
    -------
    dict of int to bool
        By expnum.

    Raises
    ------
    InputError
        If it cannot be read, lacks a column, or has an exposure twice.
    """
    if path.suffix == ".json":
        annotations = read_checked(path)
        # An image on which nothing but unusable regions was drawn is neither clean nor known to be ghosted.
        unknown = sorted(name for name in annotations.incomplete if not annotations.images[name])
        if unknown:
            logger.warning("%s: %d images with unusable regions only, not used: %s", path, len(unknown), unknown[0])
        drawn = {name: regions for name, regions in annotations.images.items() if name not in unknown}
        marked = {Path(name).stem.lstrip("D0"): bool(regions) for name, regions in drawn.items()}
        if len(marked) < len(drawn):
            msg = f"{path}: expected every exposure once, got {len(drawn)} files of {len(marked)} exposures"
            raise InputError(msg)
        unnamed = [name for name in marked if not name.isdecimal()]
        if unnamed:
            msg = f"{path}: expected file names that are exposure numbers, such as D00158776.jpg, got {unnamed[0]!r}"
            raise InputError(msg)
        return {int(name): ghosted for name, ghosted in marked.items()}
    try:
        if (size := plain_size(path)) > _MAX_LABEL_BYTES:
            msg = f"{path}: expected at most {_MAX_LABEL_BYTES} bytes, got {size}"
            raise InputError(msg)
        table = parquet.read_table(path) if path.suffix == ".parquet" else csv.read_csv(path)
        expnums = table["expnum"].cast(pa.int64()).to_pylist()
        numbers = table["ghosted"] if pa.types.is_floating(table["ghosted"].type) else table["ghosted"].cast(pa.int64())
        ghosted = numbers.to_pylist()
    except (OSError, pa.ArrowException, KeyError) as error:
        msg = f"{path}: expected a table with the columns expnum and ghosted: {reason(error)}"
        raise InputError(msg) from error
    labels = dict(zip(expnums, ghosted, strict=True))
    if None in labels or None in labels.values() or len(labels) < len(expnums):
        msg = f"{path}: expected every expnum once and a label for each"
        raise InputError(msg)
    odd = next(((expnum, label) for expnum, label in labels.items() if label not in (0, 1)), None)
    if odd:
        msg = f"{path}: expected labels 0 (clean) or 1 (ghosted), got {odd[1]} for expnum {odd[0]}"
        raise InputError(msg)
    return {expnum: bool(label) for expnum, label in labels.items()}


def labelled_scores(exposures: pa.Table, labels: dict[int, bool]) -> tuple[Float32Array, BoolArray, int]:
    """
    Match the scores of a run with labels.

    Parameters
    ----------
    exposures : pyarrow.Table
        The table of a run, with `expnum`, `screen_score` and `status`.
    labels : dict
        See `read_labels`.

    Returns
    -------
    scores : ndarray of float32, shape (N,)
    ghosted : ndarray of bool, shape (N,)
    n_missing : int
        Labelled exposures without a score in the run.

    Raises
    ------
    ConfigError
        If no labelled exposure was scored, or one more than once.
    """
    scored = exposures.filter(pc.and_(pc.is_valid(exposures["screen_score"]), pc.is_valid(exposures["expnum"])))
    rows = [
        (expnum, score)
        for expnum, score in zip(scored["expnum"].to_pylist(), scored["screen_score"].to_pylist(), strict=True)
        if expnum in labels
    ]
    if not rows or len({expnum for expnum, _ in rows}) < len(rows):
        msg = (
            f"labels: expected exposures that the run scored once each, got {len(rows)} rows of {len(labels)} labelled"
        )
        raise ConfigError(msg)
    expnums, scores = zip(*rows, strict=True)
    return np.array(scores, np.float32), np.array([labels[n] for n in expnums]), len(labels) - len(rows)


def n_needed(recall: float, confidence: float) -> int:
    """Minimum number of labelled ghosted exposures for a guaranteed recall, none of them missed."""
    return math.ceil(math.log(1 - confidence) / math.log(recall))


def guaranteed(scores: Float32Array, recall: float, confidence: float, labels: str) -> Guarantee:
    """
    Choose the highest threshold with a lower confidence bound on recall; see the module's docstring.

    Parameters
    ----------
    scores : ndarray of float32, shape (N,)
        Of labelled ghosted exposures, sampled independently.
    recall, confidence : float
        In (0, 1).
    labels : str
        Origin of the labels.

    Raises
    ------
    ConfigError
        If there are too few exposures for this guarantee.
    """
    from scipy.stats import binom

    needed = n_needed(recall, confidence)
    if len(scores) < needed:
        msg = (
            f"labels: expected at least {needed} ghosted exposures to guarantee recall {recall:g} at confidence "
            f"{confidence:g}, got {len(scores)}"
        )
        raise ConfigError(msg)
    ranks = np.arange(1, len(scores) + 1)
    rank = int(ranks[binom.sf(ranks - 1, len(scores), 1 - recall) >= confidence][-1])
    return Guarantee(recall, confidence, float(np.sort(scores)[rank - 1]), len(scores), labels)


def fit_calibration(scores: Float32Array, ghosted: BoolArray, prevalence: float | None = None) -> Fit:
    """
    Fit probabilities by Platt scaling and by isotonic regression, and keep the better one in 5-fold cross-validation.

    Parameters
    ----------
    scores : ndarray of float32, shape (N,)
        In [0, 1].
    ghosted : ndarray of bool, shape (N,)
    prevalence : float or None
        Prevalence of ghosted exposures for which to calibrate, in (0, 1); the labelled ones are weighted to it. None:
        their own prevalence.

    Raises
    ------
    ConfigError
        If there are too few exposures of one class.
    """
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedKFold

    n_least = min(int(ghosted.sum()), int((~ghosted).sum()))
    if n_least < MIN_LABELLED:
        msg = f"labels: expected {MIN_LABELLED} ghosted and as many clean exposures to fit probabilities, got {n_least}"
        raise ConfigError(msg)
    share = float(ghosted.mean())
    wanted = share if prevalence is None else prevalence
    weights = np.where(ghosted, wanted / share, (1 - wanted) / (1 - share))
    fits = {"platt": _platt, "isotonic": _isotonic}
    held_out = {kind: np.empty(len(scores)) for kind in fits}
    for rest, fold in StratifiedKFold(_N_FOLDS, shuffle=True, random_state=0).split(scores, ghosted):
        for kind, fit in fits.items():
            held_out[kind][fold] = fit(scores[rest], ghosted[rest], weights[rest])(scores[fold])
    losses = {
        kind: float(log_loss(ghosted, np.clip(probabilities, _TINY, 1 - _TINY), sample_weight=weights))
        for kind, probabilities in {"none": scores.astype(float), **held_out}.items()
    }
    best = min(fits, key=lambda kind: losses[kind])
    return Fit(fits[best](scores, ghosted, weights), losses)


def _platt(scores: Float32Array, ghosted: BoolArray, weights: npt.NDArray[np.float64]) -> Calibration:
    """Logistic regression on the logit, with negligible regularisation."""
    from sklearn.linear_model import LogisticRegression

    inner = np.clip(scores.astype(np.float64), _TINY, 1 - _TINY)
    model = LogisticRegression(C=1e6).fit(np.log(inner / (1 - inner))[:, None], ghosted, weights)
    return Calibration("platt", (max(float(model.coef_[0, 0]), _TINY),), (float(model.intercept_[0]),))


def _isotonic(scores: Float32Array, ghosted: BoolArray, weights: npt.NDArray[np.float64]) -> Calibration:
    """Isotonic regression, reduced to a bounded number of knots."""
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=0.0, y_max=1.0).fit(scores, ghosted, weights)
    x, y = np.asarray(model.X_thresholds_, float), np.asarray(model.y_thresholds_, float)
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MAX_KNOTS)).astype(int))
    if len(kept) == 1:
        return Calibration("isotonic", (0.0, 1.0), (y[0], y[0]))
    return Calibration("isotonic", tuple(x[kept].tolist()), tuple(np.maximum.accumulate(y[kept]).tolist()))
