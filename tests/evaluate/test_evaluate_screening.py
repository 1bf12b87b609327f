from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_score, roc_auc_score, roc_curve

from cascade.core.errors import ConfigError
from cascade.evaluate import Confusion, curve, rates, reliability, roc_auc
from cascade.evaluate.screening import wilson

_scored = st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({ghosted for _, ghosted in rows}) == 2
)


def arrays(rows):
    return np.array([score for score, _ in rows]) / 10, np.array([ghosted for _, ghosted in rows])


@settings(max_examples=60, deadline=None)
@given(_scored)
def test_curve_and_area_are_those_of_scikit_learn(rows):
    scores, ghosted = arrays(rows)
    found = curve(scores, ghosted)
    false, true, thresholds = roc_curve(ghosted, scores, drop_intermediate=False)
    np.testing.assert_allclose(found.true_positive_rate, true[1:])
    np.testing.assert_allclose(found.false_positive_rate, false[1:])
    np.testing.assert_allclose(found.thresholds, thresholds[1:])
    area = roc_auc(scores, ghosted, np.random.default_rng(0), n_resamples=10)
    assert area.value == pytest.approx(roc_auc_score(ghosted, scores))


@settings(max_examples=30, deadline=None)
@given(_scored)
def test_precision_at_the_sets_own_prevalence_is_plain_precision(rows):
    scores, ghosted = arrays(rows)
    found = curve(scores, ghosted)
    plain = [precision_score(ghosted, scores >= threshold) for threshold in found.thresholds]
    np.testing.assert_allclose(found.precision(float(ghosted.mean())), plain)


def test_the_papers_matrix_gives_the_papers_figures():
    # 896 clean and 896 ghosted exposures: 674 kept, 222 flagged, 141 missed, 755 found (arXiv:2109.08246).
    ghosted = np.repeat([False, False, True, True], [674, 222, 141, 755])
    flagged = np.repeat([False, True, False, True], [674, 222, 141, 755])
    assert Confusion.of(ghosted, flagged) == Confusion(674, 222, 141, 755)
    found = rates(ghosted, flagged, np.random.default_rng(0), prevalence=0.04, n_resamples=200)
    assert found["accuracy"].value == pytest.approx(0.797, abs=0.001)
    assert found["precision"].value == pytest.approx(755 / 977)
    assert found["precision_at_prevalence"].value == pytest.approx(0.12, abs=0.005)
    assert found["false_alarm_rate"].low < 222 / 896 < found["false_alarm_rate"].high


def test_rates_without_clean_exposures_are_undefined():
    found = rates(np.ones(4, bool), np.ones(4, bool), np.random.default_rng(0), prevalence=0.04, n_resamples=10)
    assert np.isnan(found["false_alarm_rate"].value)
    assert np.isnan(found["precision_at_prevalence"].low)
    assert found["recall"].value == 1


def test_one_kind_of_exposure_has_no_curve():
    with pytest.raises(ConfigError, match="expected clean and ghosted ones, got 3 ghosted of 3"):
        curve([0.1, 0.2, 0.3], np.ones(3, bool))


def test_reliability_by_hand():
    found = reliability([0.05, 0.15, 0.15, 0.95, 1.0], np.array([False, False, True, True, True]))
    assert found.n.tolist() == [1, 2, 0, 0, 0, 0, 0, 0, 0, 2]
    assert found.ghosted_share[[0, 1, 9]].tolist() == [0, 0.5, 1]
    assert found.mean_score[9] == pytest.approx(0.975)
    assert np.isnan(found.ghosted_share[4])
    assert found.calibration_error == pytest.approx((0.05 + 2 * 0.35 + 2 * 0.025) / 5)
    assert found.brier == pytest.approx((0.05**2 + 0.15**2 + 0.85**2 + 0.05**2) / 5)


def test_interval_of_a_share_is_wilsons():
    # 8 of 10: 0.490 to 0.943 (Wilson 1927, as every table has it).
    low, high = wilson([0.8, 0.0, 0.5], [10, 4, 0])
    assert (low[0], high[0]) == (pytest.approx(0.490, abs=5e-4), pytest.approx(0.943, abs=5e-4))
    assert low[1] == 0
    assert np.isnan(low[2])


@pytest.mark.parametrize("scores", [[], [0.5, 1.5], [float("nan")]])
def test_scores_that_are_no_probabilities_are_refused(scores):
    with pytest.raises(ConfigError, match=r"expected scores in \[0, 1\]"):
        reliability(scores, np.zeros(len(scores), bool))
