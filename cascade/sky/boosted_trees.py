"""Boosted regression trees as plain arrays: fitted with scikit-learn, stored without pickles, evaluated with NumPy."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class _Flat(NamedTuple):
    """Nodes of all trees, (T * K,) each; `left` and `right` are places in these arrays."""

    feature: npt.NDArray[np.intp]
    threshold: Floats
    missing_left: npt.NDArray[np.bool_]
    left: npt.NDArray[np.intp]
    right: npt.NDArray[np.intp]
    value: Floats


@dataclass(frozen=True, eq=False)
class BoostedTrees:
    """
    A sum of T regression trees, the log-odds of a probability.

    Attributes
    ----------
    baseline
        (1,) log-odds without trees.
    feature, threshold, missing_left, left, right, value
        (T, K) by node: a row goes to the node `left` if its feature is at most the threshold, or if it is NaN and
        `missing_left`; else to `right`. Leaves lead to themselves and add their value.
    depth
        (1,) longest way from a root to a leaf.
    """

    baseline: Floats
    feature: npt.NDArray[np.int16]
    threshold: Floats
    missing_left: npt.NDArray[np.bool_]
    left: npt.NDArray[np.int16]
    right: npt.NDArray[np.int16]
    value: npt.NDArray[np.float32]
    depth: npt.NDArray[np.int16]

    def log_odds(self, features: Floats) -> Floats:
        """
        Sum of the trees.

        Parameters
        ----------
        features : ndarray of float64, shape (N, F)
            NaN where unknown.

        Returns
        -------
        ndarray of float64, shape (N,)
        """
        nodes, n_nodes = self._flat, self.feature.shape[1]
        rows = np.arange(len(features))[:, None] * features.shape[1]
        values, known = features.ravel(), not np.isnan(features).any()
        at = np.broadcast_to(np.arange(len(self.feature)) * n_nodes, (len(features), len(self.feature)))
        for _ in range(int(self.depth[0])):
            value = values.take(rows + nodes.feature.take(at))
            goes_left = value <= nodes.threshold.take(at)
            if not known:
                goes_left |= np.isnan(value) & nodes.missing_left.take(at)
            at = np.where(goes_left, nodes.left.take(at), nodes.right.take(at))
        return np.asarray(self.baseline[0] + nodes.value.take(at).sum(axis=1), np.float64)

    @cached_property
    def _flat(self) -> _Flat:
        """The nodes of all trees in a row."""
        base = np.arange(len(self.feature))[:, None] * self.feature.shape[1]
        left, right = (base + self.left).ravel(), (base + self.right).ravel()
        feature, value = self.feature.ravel().astype(np.intp), self.value.ravel().astype(np.float64)
        return _Flat(feature, self.threshold.ravel(), self.missing_left.ravel(), left, right, value)

    def probability(self, features: Floats) -> Floats:
        """The logistic function of `log_odds`, (N,) in (0, 1)."""
        return np.asarray(1 / (1 + np.exp(-self.log_odds(features))), np.float64)

    def arrays(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """The arrays by name, for a data file that holds several."""
        return {f"{prefix}_{one.name}": getattr(self, one.name) for one in fields(self)}

    @classmethod
    def of_arrays(cls, arrays: dict[str, npt.NDArray[Any]], prefix: str) -> Self:
        """The trees that `arrays` gave."""
        return cls(**{one.name: arrays[f"{prefix}_{one.name}"] for one in fields(cls)})
