import numpy as np
import pytest

from cascade.sky.boosted_trees import BoostedTrees
from cascade.sky.fitting.trees import fit_trees

sklearn_ensemble = pytest.importorskip("sklearn.ensemble")

# Two trees by hand: x0 <= 1 ? 0.5 : (x1 <= 0 ? -1 : 2), NaN in x0 to the right; and 0.25 everywhere.
BY_HAND = BoostedTrees(
    baseline=np.array([-0.1]),
    feature=np.array([[0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], np.int16),
    threshold=np.array([[1.0, 0, 0.0, 0, 0], [0.0, 0, 0, 0, 0]]),
    missing_left=np.array([[False, False, True, False, False], [False] * 5]),
    left=np.array([[1, 1, 3, 3, 4], [0, 1, 2, 3, 4]], np.int16),
    right=np.array([[2, 1, 4, 3, 4], [0, 1, 2, 3, 4]], np.int16),
    value=np.array([[0, 0.5, 0, -1.0, 2.0], [0.25, 0, 0, 0, 0]], np.float32),
    depth=np.array([2], np.int16),
)


def test_rows_go_left_at_the_threshold_and_where_missing_values_go():
    rows = np.array([[1.0, 5], [1.0001, 0], [7, 0.1], [np.nan, -3], [2, np.nan]])
    assert BY_HAND.log_odds(rows) == pytest.approx(np.array([0.5, -1, 2, -1, -1]) + 0.15)
    assert BY_HAND.log_odds(rows[:3]) == pytest.approx(np.array([0.5, -1, 2]) + 0.15)
    assert BY_HAND.probability(rows[:1]) == pytest.approx([1 / (1 + np.exp(-0.65))])
    assert BY_HAND.log_odds(np.zeros((0, 2))).shape == (0,)


def test_trees_survive_a_data_file():
    again = BoostedTrees.of_arrays({"other_x": np.zeros(1), **BY_HAND.arrays("law")}, "law")
    assert np.array_equal(again.threshold, BY_HAND.threshold)
    assert again.log_odds(np.array([[3.0, 3.0]])) == pytest.approx([2.15])


def test_fitted_trees_are_those_of_scikit_learn_and_fall_where_they_must():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(3000, 3))
    rows[rng.random(rows.shape) < 0.1] = np.nan
    labels = (np.nan_to_num(rows[:, 0]) * 2 - np.nan_to_num(rows[:, 1]) + rng.normal(size=3000)) > 0
    trees = fit_trees(rows, labels, n_trees=40, learning_rate=0.1, min_leaf=20, falling=(1,))
    swept = np.column_stack([np.zeros(50), np.linspace(-3, 3, 50), np.full(50, np.nan)])
    assert np.all(np.diff(trees.log_odds(swept)) <= 1e-9)
    assert ((trees.probability(rows) > 0.5) == labels).mean() > 0.75
