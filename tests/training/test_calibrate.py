import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from scipy.stats import binom

from cascade.core.errors import ConfigError, InputError
from cascade.runs.tables import SCHEMAS
from cascade.training import calibrate
from cascade.training.calibrate import MIN_LABELLED, fit_calibration, guaranteed, labelled_scores, n_needed, read_labels

N_SETS = 3000
"""Label sets that are drawn to see how often a promise is kept."""


def power_law(rng, n):
    """Scores with P(score <= s) = s**6, and the share of all exposures that reach a threshold."""
    return rng.random(n) ** (1 / 6), lambda threshold: 1 - threshold**6


def tenths(rng, n):
    """Scores that are often the same: 0, 0.1 ... 0.9."""
    return rng.integers(10, size=n) / 10, lambda threshold: 1 - np.round(threshold * 10) / 10


@pytest.mark.parametrize(
    ("recall", "confidence", "n_ghosted"), [(0.9, 0.95, 29), (0.9, 0.95, 120), (0.8, 0.9, 75), (0.95, 0.8, 100)]
)
@pytest.mark.parametrize("draw", [power_law, tenths])
def test_the_promised_recall_is_kept_as_often_as_promised(recall, confidence, n_ghosted, draw):
    """Of many label sets of one known distribution, at least the share `confidence` leads to a recall that is kept."""
    rng = np.random.default_rng([n_ghosted, int(100 * recall)])
    kept = np.empty(N_SETS, bool)
    for k in range(N_SETS):
        scores, reached = draw(rng, n_ghosted)
        threshold = guaranteed(scores.astype(np.float32), recall, confidence, "drawn").threshold
        kept[k] = reached(threshold) >= recall - 1e-6  # scores are float32
    error = np.sqrt(confidence * (1 - confidence) / N_SETS)
    assert kept.mean() >= confidence - 4 * error
    if draw is power_law:
        # Without ties the share is that of the best order statistic: one rank more would promise too much.
        ranks = np.arange(1, n_ghosted + 1)
        shares = binom.sf(ranks - 1, n_ghosted, 1 - recall)
        rank = int(np.flatnonzero(shares >= confidence)[-1])
        assert abs(kept.mean() - shares[rank]) < 4 * error
        assert shares[rank + 1] < confidence


def test_the_promise_outlives_a_calibration_fitted_to_the_same_labels():
    """A rising map moves scores and threshold alike, so that the same exposures are flagged."""
    rng = np.random.default_rng(0)
    ghosted = rng.random(600) < 0.5
    scores = np.where(ghosted, rng.beta(4, 1.5, 600), rng.beta(1.5, 4, 600)).astype(np.float32)
    raw = guaranteed(scores[ghosted], 0.95, 0.9, "drawn").threshold
    calibration = fit_calibration(scores, ghosted).calibration
    calibrated = guaranteed(calibration(scores[ghosted]), 0.95, 0.9, "drawn").threshold
    assert np.array_equal(calibration(scores) >= np.float32(calibrated), scores >= np.float32(raw))


def test_a_promise_says_what_it_rests_on():
    scores = np.linspace(0.2, 0.9, 100, dtype=np.float32)
    promise = guaranteed(scores, 0.9, 0.95, "labels.csv")
    assert (promise.recall, promise.confidence, promise.n_ghosted, promise.labels) == (0.9, 0.95, 100, "labels.csv")
    # P(Binomial(100, 0.1) >= 5) = 0.976 and P(... >= 6) = 0.942: the fifth lowest.
    assert promise.threshold == scores[4]


def test_order_of_labels_does_not_matter():
    scores = np.random.default_rng(0).random(100).astype(np.float32)
    assert guaranteed(scores, 0.9, 0.95, "x") == guaranteed(scores[::-1], 0.9, 0.95, "x")


@pytest.mark.parametrize(
    ("recall", "confidence", "needed"), [(0.99, 0.95, 299), (0.95, 0.95, 59), (0.9, 0.95, 29), (0.99, 0.99, 459)]
)
def test_too_few_labels_are_refused_with_the_number_needed(recall, confidence, needed):
    assert n_needed(recall, confidence) == needed
    scores = np.linspace(0.3, 1, needed, dtype=np.float32)
    assert guaranteed(scores, recall, confidence, "x").threshold == scores[0]
    with pytest.raises(
        ConfigError,
        match=f"expected at least {needed} ghosted exposures to guarantee recall {recall:g} at "
        f"confidence {confidence:g}, got {needed - 1}",
    ):
        guaranteed(scores[1:], recall, confidence, "x")


def noisy_labels(rng, n, curve):
    """Uniform scores, and labels that are true with the probability that a curve gives."""
    scores = rng.uniform(0.01, 0.99, n).astype(np.float32)
    return scores, rng.random(n) < curve(scores)


def logistic(scores):
    """Platt's curve with slope 1.5 and intercept -0.7."""
    return 1 / (1 + np.exp(-(1.5 * np.log(scores / (1 - scores)) - 0.7)))


def staircase(scores):
    """A curve that no logistic function resembles."""
    return np.choose(np.digitize(scores, [0.2, 0.25, 0.75]), [0.02, 0.25, 0.75, 0.98])


def test_platt_finds_the_curve_that_labels_were_drawn_from():
    fit = fit_calibration(*noisy_labels(np.random.default_rng(1), 8000, logistic))
    assert fit.calibration.kind == "platt"
    assert fit.calibration.x[0] == pytest.approx(1.5, abs=0.15)
    assert fit.calibration.y[0] == pytest.approx(-0.7, abs=0.15)


def test_isotonic_regression_is_taken_where_it_does_better_on_held_out_labels():
    fit = fit_calibration(*noisy_labels(np.random.default_rng(2), 8000, staircase))
    assert fit.calibration.kind == "isotonic"
    middles = np.array([0.1, 0.5, 0.9], np.float32)
    np.testing.assert_allclose(fit.calibration(middles), staircase(middles), atol=0.05)
    assert len(fit.calibration.x) <= 200


@pytest.mark.parametrize("curve", [logistic, staircase])
@pytest.mark.parametrize("n_labels", [150, 3000])
def test_the_kind_with_the_smaller_held_out_loss_is_taken(curve, n_labels):
    fit = fit_calibration(*noisy_labels(np.random.default_rng(n_labels), n_labels, curve))
    assert set(fit.log_loss) == {"none", "platt", "isotonic"}
    assert fit.log_loss[fit.calibration.kind] == min(fit.log_loss["platt"], fit.log_loss["isotonic"])


def test_calibration_lowers_the_loss_of_scores_that_are_off():
    fit = fit_calibration(*noisy_labels(np.random.default_rng(3), 4000, staircase))
    assert fit.log_loss[fit.calibration.kind] < fit.log_loss["none"] - 0.01


@pytest.mark.parametrize("scores", [np.full(200, 0.5), np.repeat([0.0, 1.0], 100), np.repeat([1.0, 0.0], 100)])
def test_useless_perfect_and_inverted_scores_give_rising_probabilities(scores):
    calibration = fit_calibration(scores.astype(np.float32), np.arange(200) >= 100).calibration
    assert np.all(np.diff(calibration(np.linspace(0, 1, 101, dtype=np.float32))) >= 0)


@pytest.mark.parametrize("n_of_each", [(MIN_LABELLED - 1, 200), (200, MIN_LABELLED - 1)])
def test_too_few_of_one_kind_give_no_probabilities(n_of_each):
    ghosted = np.repeat([True, False], n_of_each)
    with pytest.raises(
        ConfigError, match="expected 50 ghosted and as many clean exposures to fit probabilities, got 49"
    ):
        fit_calibration(np.linspace(0, 1, len(ghosted), dtype=np.float32), ghosted)


LABELS = {158776: True, 158777: False, 200000: True}


def write_labels(path, expnums, ghosted):
    """A table of labels in the format of its name."""
    table = pa.table({"ghosted": ghosted, "note": ["x"] * len(expnums), "expnum": expnums})
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
    else:
        csv.write_csv(table, path)
    return path


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
@pytest.mark.parametrize("ghosted", [[True, False, True], [1, 0, 1]])
def test_labels_are_read_from_tables(name, ghosted, tmp_path):
    assert read_labels(write_labels(tmp_path / name, list(LABELS), ghosted)) == LABELS


def test_the_table_of_a_synthetic_season_holds_labels(tmp_path):
    from cascade.simulate import Season
    from cascade.simulate.dataset import write_season

    write_season(Season(4, 0.5, 1), tmp_path / "season")
    labels = read_labels(tmp_path / "season" / "exposures.parquet")
    assert labels == {900001: False, 900002: True, 900003: False, 900004: True}
    assert read_labels(tmp_path / "season" / "via.json") == labels


def via_file(path, names):
    """VIA annotations with a rectangle for each exposure that is true."""
    rectangle = {
        "shape_attributes": {"name": "rect", "y": 1, "x": 1, "height": 9, "width": 9},
        "region_attributes": {"Type": "Rays"},
    }
    records = {
        str(n): {"filename": name, "regions": [rectangle] if ghosted else []} for n, (name, ghosted) in enumerate(names)
    }
    path.write_text(json.dumps(records))
    return path


def test_an_exposure_with_any_region_is_ghosted(tmp_path):
    names = [("D00158776.jpg", True), ("D00158777.jpg", False), ("200000.png", True)]
    assert read_labels(via_file(tmp_path / "via.json", names)) == LABELS


@pytest.mark.parametrize("name", ["night-1.jpg", ".jpg", "D0000.jpg", "D0015877²6.jpg"])
def test_annotations_of_files_without_exposure_number_are_an_error(name, tmp_path):
    with pytest.raises(InputError, match=r"via\.json: expected file names that are exposure numbers"):
        read_labels(via_file(tmp_path / "via.json", [("D00158776.jpg", True), (name, False)]))


def test_annotations_that_name_an_exposure_twice_are_an_error(tmp_path):
    with pytest.raises(InputError, match=r"via\.json: .*(twice|once)"):
        read_labels(via_file(tmp_path / "via.json", [("D00158776.jpg", True), ("D00158776.png", False)]))


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
@pytest.mark.parametrize(
    ("expnums", "ghosted"),
    [([1, 2, 1], [True, True, True]), ([1, None, 2], [True, False, True]), ([1, 2, 3], [True, None, False])],
    ids=["twice", "no expnum", "no label"],
)
def test_every_exposure_needs_one_label(name, expnums, ghosted, tmp_path):
    with pytest.raises(InputError, match="expected every expnum once and a label for each"):
        read_labels(write_labels(tmp_path / name, expnums, ghosted))


@pytest.mark.parametrize(
    "text", ["", "expnum,seen\n1,true\n", "ghosted\ntrue\n", "expnum,ghosted\n1.5,true\n", "expnum,ghosted\n1,maybe\n",
             "expnum,ghosted\n1,true,9\n"],
)  # fmt: skip
def test_a_table_without_the_columns_is_an_error(text, tmp_path):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=r"labels\.csv: expected a table with the columns expnum and ghosted: "):
        read_labels(tmp_path / "labels.csv")


def test_missing_and_damaged_labels_are_an_error(tmp_path):
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "damaged.json").write_text("{")
    for name in ("damaged.parquet", "damaged.json", "none.csv", "none.parquet", "none.json"):
        with pytest.raises(InputError, match=name):
            read_labels(tmp_path / name)


def test_oversized_labels_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate, "_MAX_LABEL_BYTES", 10)
    path = write_labels(tmp_path / "labels.csv", [1, 2], [True, False])
    with pytest.raises(InputError, match="expected at most 10 bytes, got "):
        read_labels(path)


def exposures(*rows):
    """The table of a run, from (expnum, score)."""
    schema = pa.schema([SCHEMAS["exposures"].field(name) for name in ("expnum", "screen_score")])
    return pa.Table.from_pylist([{"expnum": n, "screen_score": score} for n, score in rows], schema=schema)


def test_scores_meet_labels_by_expnum():
    table = exposures((3, 0.3), (1, 0.125), (9, 0.9), (None, 0.5), (2, None))
    scores, ghosted, n_missing = labelled_scores(table, {1: True, 2: True, 3: False, 4: True})
    assert scores.tolist() == [np.float32(0.3), 0.125]
    assert scores.dtype == np.float32
    assert ghosted.tolist() == [False, True]
    assert n_missing == 2  # one failed, one was not in the run


@pytest.mark.parametrize("rows", [[], [(7, 0.5)], [(1, 0.5), (1, 0.6)]], ids=["empty", "others", "twice"])
def test_labels_that_meet_no_score_or_two_are_an_error(rows):
    with pytest.raises(
        ConfigError, match=r"labels: expected exposures that the run scored once each, got \d rows of 2"
    ):
        labelled_scores(exposures(*rows), {1: True, 2: False})


def test_image_with_nothing_but_a_region_of_no_known_class_has_no_label(tmp_path, caplog):
    path = via_file(tmp_path / "via.json", [("D1.jpg", True), ("D2.jpg", True), ("D3.jpg", True), ("D4.jpg", False)])
    records = json.loads(path.read_text())
    records["1"]["regions"][0]["region_attributes"] = {}
    records["2"]["regions"][0]["region_attributes"] = {"Type": "Comet"}
    path.write_text(json.dumps(records))
    assert read_labels(path) == {1: True, 4: False}
    assert "2 images with unusable regions only, not used" in caplog.text


@pytest.mark.parametrize("label", ["-1", "0.3", "2"])
def test_label_that_is_neither_0_nor_1_is_an_error(label, tmp_path):
    (tmp_path / "labels.csv").write_text(f"expnum,ghosted\n1,1\n2,{label}\n3,0\n")
    with pytest.raises(InputError, match=rf"labels.csv: expected labels 0 \(clean\) or 1 \(ghosted\), got {label}"):
        read_labels(tmp_path / "labels.csv")
