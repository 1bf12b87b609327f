from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.core.errors import ConfigError
from cascade.evaluate import f1_score, interval, paired_difference
from cascade.evaluate.bootstrap import precision, recall, resamples, weighted_interval

_counts = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)).map(
        lambda t: (min(t), max(t[0], min(t)), max(t[1], min(t)))
    ),
    min_size=1, max_size=12,
)  # fmt: skip


def test_f1_precision_and_recall_by_hand():
    totals = np.array([[6, 8, 10], [0, 0, 0]])  # hits, true, predicted
    assert f1_score(totals).tolist() == [pytest.approx(12 / 18), 0.0]
    assert precision(totals).tolist() == [pytest.approx(0.6), 0.0]
    assert recall(totals).tolist() == [pytest.approx(0.75), 0.0]


def test_every_resample_takes_as_many_exposures():
    weights = np.concatenate(list(resamples(7, np.random.default_rng(0), n_resamples=50)))
    assert weights.shape == (50, 7)
    assert np.all(weights.sum(axis=1) == 7)


def test_blocks_do_not_change_the_number_of_resamples(monkeypatch):
    monkeypatch.setattr("cascade.evaluate.bootstrap._BLOCK", 20)
    assert [len(block) for block in resamples(7, np.random.default_rng(0), n_resamples=5)] == [2, 2, 1]


@settings(max_examples=40, deadline=None)
@given(_counts)
def test_interval_holds_values_that_resamples_can_take(counts):
    found = interval(f1_score, counts, np.random.default_rng(0), n_resamples=60)
    assert found.value == pytest.approx(f1_score(np.sum(counts, axis=0)))
    assert 0 <= found.low <= found.high <= 1


@settings(max_examples=20, deadline=None)
@given(_counts, st.randoms(use_true_random=False))
def test_order_of_the_exposures_does_not_change_the_figure(counts, random):
    shuffled = counts.copy()
    random.shuffle(shuffled)
    one, other = (interval(f1_score, c, np.random.default_rng(0), n_resamples=5).value for c in (counts, shuffled))
    assert one == other


def test_interval_of_a_mean_is_that_of_theory():
    rng = np.random.default_rng(1)
    hits = rng.random(400) < 0.3
    counts = np.stack([hits, np.ones(400)], axis=1)
    found = interval(lambda totals: totals[..., 0] / totals[..., 1], counts, rng, n_resamples=4000)
    expected = 1.96 * np.sqrt(0.3 * 0.7 / 400)
    assert found.high - found.low == pytest.approx(2 * expected, rel=0.1)


def test_identical_exposures_have_no_spread():
    found = interval(f1_score, [[2, 3, 4]] * 9, np.random.default_rng(0), n_resamples=20)
    assert found.low == found.high == found.value


def test_paired_difference_is_surer_than_two_intervals():
    rng = np.random.default_rng(2)
    truth = rng.integers(1, 30, 60)
    hits = (truth * rng.uniform(0.2, 0.9, 60)).astype(int)
    better = np.stack([hits, truth, hits + 2], axis=1)
    worse = np.stack([np.maximum(hits - 1, 0), truth, hits + 2], axis=1)
    found = paired_difference(f1_score, better, worse, np.random.default_rng(0))
    alone = interval(f1_score, better, np.random.default_rng(0))
    assert 0 < found.low < found.value < found.high
    assert found.high - found.low < (alone.high - alone.low) / 2


def test_difference_to_oneself_is_zero():
    counts = [[1, 2, 3], [4, 5, 6]]
    found = paired_difference(f1_score, counts, counts, np.random.default_rng(0), n_resamples=9)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_undefined_figures_stay_undefined_and_do_not_spoil_others():
    def statistic(weights):
        return np.stack([np.full(len(weights), np.nan), weights[:, 0]], axis=1)

    found = weighted_interval(statistic, 3, np.random.default_rng(0), n_resamples=40)
    assert np.isnan([found.value[0], found.low[0], found.high[0]]).all()
    assert np.isfinite([found.value[1], found.low[1], found.high[1]]).all()


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        (np.zeros((0, 3)), {}, "expected one or more exposures and resamples, got 0 and 1000"),
        ([[1, 1, 1]], {"n_resamples": 0}, "got 1 and 0"),
        ([[1, 1, 1]], {"level": 1.0}, r"expected a level in \(0, 1\), got 1.0"),
    ],
)
def test_bad_requests_are_refused(counts, options, message):
    with pytest.raises(ConfigError, match=message):
        interval(f1_score, counts, np.random.default_rng(0), **options)


def test_pairs_must_be_of_the_same_exposures():
    with pytest.raises(ConfigError, match=r"expected counts of the same exposures, got shapes \(2, 3\) and \(1, 3\)"):
        paired_difference(f1_score, np.ones((2, 3)), np.ones((1, 3)), np.random.default_rng(0))
