import tomllib
from dataclasses import asdict

import numpy as np
import pytest
import tomli_w

from cascade.core.errors import ModelError
from cascade.core.records import read_record
from cascade.networks.calibration import MAX_KNOTS, Calibration, Guarantee

GRID = np.linspace(0, 1, 20_001, dtype=np.float32)
STEPS = Calibration("isotonic", (0.1, 0.3, 0.3, 0.7), (0.05, 0.05, 0.6, 0.95))


def toml(record):
    """A record as TOML gives it back."""
    return tomllib.loads(tomli_w.dumps(asdict(record)))


@pytest.mark.parametrize(
    "calibration",
    [
        Calibration("platt", (1.0,), (0.0,)),
        Calibration("platt", (0.01,), (3.0,)),
        Calibration("platt", (40.0,), (-7.0,)),
        Calibration("isotonic", (0.0, 1.0), (0.5, 0.5)),
        STEPS,
    ],
)
def test_probabilities_never_fall_as_scores_rise(calibration):
    probabilities = calibration(GRID)
    assert probabilities.dtype == np.float32
    assert probabilities.shape == GRID.shape
    assert np.all(np.diff(probabilities) >= 0)
    assert probabilities.min() >= 0
    assert probabilities.max() <= 1


def test_flat_parts_of_isotonic_regression_keep_the_order():
    """Exposures are ranked by their score, also where their probability is the same."""
    coarse = np.linspace(0, 1, 501, dtype=np.float32)
    for calibration in (STEPS, Calibration("isotonic", (0.0, 1.0), (0.5, 0.5))):
        assert np.all(np.diff(calibration(coarse)) > 0)


def test_platt_is_a_logistic_curve_over_the_logit():
    scores = np.array([0.2, 0.5, 0.9], np.float32)
    expected = 1 / (1 + np.exp(-(1.5 * np.log(scores / (1 - scores)) - 0.5)))
    np.testing.assert_allclose(Calibration("platt", (1.5,), (-0.5,))(scores), expected, rtol=1e-5)


def test_platt_with_slope_one_changes_nothing():
    np.testing.assert_allclose(Calibration("platt", (1.0,), (0.0,))(GRID), GRID, atol=2e-6)


def test_isotonic_runs_straight_between_its_knots_and_level_beyond():
    np.testing.assert_allclose(
        Calibration("isotonic", (0.2, 0.6), (0.1, 0.9))(np.array([0.0, 0.2, 0.4, 0.6, 1.0], np.float32)),
        [0.1, 0.1, 0.5, 0.9, 0.9], atol=1.1e-3,  # up to the thousandth that keeps the order
    )  # fmt: skip


def test_saturated_scores_stay_within_their_range():
    scores = np.array([0.0, 1e-30, 1.0], np.float32)
    for slope in (1e-6, 1.0, 1e6):
        probabilities = Calibration("platt", (slope,), (0.0,))(scores)
        assert np.all((probabilities >= 0) & (probabilities <= 1))


def test_no_scores_give_no_probabilities():
    assert STEPS(np.zeros(0, np.float32)).shape == (0,)


@pytest.mark.parametrize("calibration", [STEPS, Calibration("platt", (1.5,), (-2.0,))])
def test_a_calibration_survives_its_table(calibration):
    assert read_record(Calibration, toml(calibration), where="x", error=ModelError) == calibration


@pytest.mark.parametrize(
    ("kind", "x", "y"),
    [
        ("platt", (0.0,), (0.0,)),
        ("platt", (-1.0,), (0.0,)),
        ("platt", (1.0, 2.0), (0.0, 1.0)),
        ("platt", (1.0,), (float("nan"),)),
        ("platt", (float("inf"),), (0.0,)),
        ("isotonic", (), ()),
        ("isotonic", (0.5,), (0.5,)),
        ("isotonic", (0.0, 1.0), (-1e308, 1e308)),
        ("isotonic", (0.0, 1.0), (0.0,)),
        ("isotonic", (0.0, 1.0), (0.9, 0.1)),
        ("isotonic", (1.0, 0.0), (0.1, 0.9)),
        ("isotonic", (0.0, 1.0), (0.0, 1.1)),
        ("isotonic", (-0.1, 1.0), (0.0, 1.0)),
        ("isotonic", (0.0, float("nan")), (0.0, 1.0)),
        ("isotonic", tuple(np.linspace(0, 1, MAX_KNOTS + 1)), tuple(np.linspace(0, 1, MAX_KNOTS + 1))),
        ("beta", (0.0, 1.0), (0.0, 1.0)),
    ],
)
def test_a_calibration_that_makes_no_sense_is_refused(kind, x, y):
    with pytest.raises(ValueError, match="calibration: expected platt with a positive slope, or isotonic with 2 to "):
        Calibration(kind, x, y)


def test_a_promise_survives_its_table():
    promise = Guarantee(0.99, 0.95, 0.125, 312, "labels.csv")
    assert read_record(Guarantee, toml(promise), where="x", error=ModelError) == promise


@pytest.mark.parametrize(
    "values",
    [
        (0.0, 0.95, 0.5, 300),
        (1.0, 0.95, 0.5, 300),
        (0.99, 1.0, 0.5, 300),
        (0.99, float("nan"), 0.5, 300),
        (0.99, 0.95, -0.1, 300),
        (0.99, 0.95, 1.1, 300),
        (0.99, 0.95, 0.5, 0),
    ],
)
def test_a_promise_that_makes_no_sense_is_refused(values):
    with pytest.raises(ValueError, match=r"guarantee: expected recall and confidence in \(0, 1\), threshold in"):
        Guarantee(*values, "labels.csv")
