"""Boosted trees of scikit-learn as plain arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier

from cascade.sky.boosted_trees import BoostedTrees

Floats = npt.NDArray[np.float64]

_MAX_DEPTH = 7  # each level costs time at every exposure; deeper trees are no better
_TOLERANCE = 1e-4


def fit_trees(
    features: Floats,
    labels: npt.NDArray[np.bool_],
    *,
    n_trees: int,
    learning_rate: float,
    min_leaf: int,
    falling: tuple[int, ...] = (),
    weights: Floats | None = None,
) -> BoostedTrees:
    """
    Fit a probability by gradient boosting.

    Parameters
    ----------
    features : ndarray of float64, shape (N, F)
        NaN where unknown.
    labels : ndarray of bool, shape (N,)
    n_trees, learning_rate, min_leaf
        See `HistGradientBoostingClassifier`.
    falling : tuple of int
        Features with which the probability may only fall.
    weights : ndarray of float64, shape (N,), or None
    """
    constraints = [-1 if feature in falling else 0 for feature in range(features.shape[1])]
    model = HistGradientBoostingClassifier(
        max_iter=n_trees,
        learning_rate=learning_rate,
        min_samples_leaf=min_leaf,
        max_depth=_MAX_DEPTH,
        l2_regularization=5.0,
        monotonic_cst=constraints,
        early_stopping=False,
        random_state=0,
    )
    trees = _as_arrays(model.fit(features, labels, sample_weight=weights))
    worst = np.abs(trees.log_odds(features) - model.decision_function(features)).max()
    if not worst < _TOLERANCE:
        msg = f"expected the exported trees to give scikit-learn's log-odds, got a difference of {worst}"
        raise AssertionError(msg)
    return trees


def _as_arrays(model: HistGradientBoostingClassifier) -> BoostedTrees:
    """
    Read the nodes of a fitted model.

    They are private attributes of scikit-learn, which has no public way to them; `fit_trees` compares the results.
    """
    all_nodes = [one.nodes for (one,) in model._predictors]
    shape = (len(all_nodes), max(map(len, all_nodes)))
    feature, left, right = (np.zeros(shape, np.int16) for _ in range(3))
    threshold, value = np.zeros(shape), np.zeros(shape, np.float32)
    missing_left = np.zeros(shape, bool)
    for tree, nodes in enumerate(all_nodes):
        n = len(nodes)
        leaf = nodes["is_leaf"].astype(bool)
        itself = np.arange(n)
        feature[tree, :n] = np.where(leaf, 0, nodes["feature_idx"])
        left[tree, :n] = np.where(leaf, itself, nodes["left"])
        right[tree, :n] = np.where(leaf, itself, nodes["right"])
        threshold[tree, :n] = nodes["num_threshold"]
        missing_left[tree, :n] = nodes["missing_go_to_left"].astype(bool)
        value[tree, :n] = np.where(leaf, nodes["value"], 0.0)
    depth = max(int(nodes["depth"].max()) for nodes in all_nodes)
    baseline = np.asarray(model._baseline_prediction, np.float64).ravel()[:1]
    return BoostedTrees(baseline, feature, threshold, missing_left, left, right, value, np.array([depth], np.int16))
