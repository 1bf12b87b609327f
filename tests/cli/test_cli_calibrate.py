"""`cascade calibrate`, and `cascade run --recall` with the screen that it writes."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import csv
from typer.testing import CliRunner

from cascade.cli.app import app
from cascade.networks.model_info import read_model
from cascade.networks.models import DEFAULT_MODELS, build_network, write_model
from cascade.runs.run import open_run

N_EACH = 60
FIRST = 700_001


def invoke(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def zoo(tmp_path_factory, tiny_architectures) -> Path:
    """Both models, small and untrained; the screen flags nothing, which saves the time to segment."""
    folder = tmp_path_factory.mktemp("zoo")
    keras.utils.set_random_seed(1)
    for task, threshold in (("screen", 1.0), ("segment", 0.5)):
        architecture = tiny_architectures[task]
        write_model(
            folder / DEFAULT_MODELS[task], build_network(architecture), task=task, architecture=architecture,
            threshold=threshold, training={},
        )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def previews(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("previews")
    rng = np.random.default_rng(0)
    for n in range(2 * N_EACH):
        image = np.full((400, 400), rng.integers(30, 80), np.uint8)
        row, column = rng.integers(0, 300, 2)
        image[row : row + 100, column : column + 100] = rng.integers(80, 256)
        Image.fromarray(image).save(folder / f"D{FIRST + n:08d}.png")
    return folder


@pytest.fixture(scope="module")
def scored(tmp_path_factory, zoo, previews) -> Path:
    """A run that scored everything, with Keras: the scores of other engines differ in the last digits."""
    out = tmp_path_factory.mktemp("scored") / "run"
    result = invoke("run", previews, "--out", out, "--models-dir", zoo, "--engine", "keras", "--quiet")
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def labels(tmp_path_factory, scored) -> Path:
    """Half of the exposures are ghosted, mostly those with the higher scores; two were never in the run."""
    table = open_run(scored).table("exposures")
    scores = np.array(table["screen_score"].to_pylist())
    noisy = np.argsort(np.argsort(scores)) + np.random.default_rng(1).normal(0, 15, len(scores))
    ghosted = noisy >= np.median(noisy)
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    expnums = [*table["expnum"].to_pylist(), 1, 2]
    csv.write_csv(pa.table({"expnum": expnums, "ghosted": [*ghosted.tolist(), True, False]}), path)
    return path


def calibrate(scored, labels, out, *options):
    return invoke("calibrate", scored, "--truth", labels, "--out", out, *options)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory, zoo, scored, labels) -> Path:
    """A screen that promises a recall of 0.9 with a confidence of 0.9."""
    out = tmp_path_factory.mktemp("calibrated") / "my-screen"
    result = calibrate(scored, labels, out, "--recall", 0.9, "--confidence", 0.9, "--models-dir", zoo)
    assert result.exit_code == 0, result.output
    assert "by cross-validated log loss: none " in result.output
    assert f"{out}: threshold " in result.output
    assert "keeps recall 0.9 with confidence 0.9 (120 labelled exposures, 60 ghosted, 2 more without" in result.output
    return out


def truth(labels):
    table = csv.read_csv(labels)
    return dict(zip(table["expnum"].to_pylist(), table["ghosted"].to_pylist(), strict=True))


def test_the_copy_holds_the_promise_and_what_it_rests_on(calibrated, zoo, labels):
    info = read_model(calibrated)
    (promise,) = info.guarantees
    assert (promise.recall, promise.confidence, promise.n_ghosted, promise.labels) == (0.9, 0.9, 60, labels.name)
    assert len(info.calibration) == 1
    assert info.sha256 == read_model(zoo / "screen-v1").sha256
    assert info.threshold != promise.threshold
    assert read_model(zoo / "screen-v1").calibration == ()


def test_several_recalls_are_promised_and_the_first_is_the_default(zoo, scored, labels, tmp_path):
    words = ("--recall", 0.8, "--recall", 0.9, "--default", "--models-dir", zoo)
    result = calibrate(scored, labels, tmp_path / "mine", *words)
    assert result.exit_code == 0, result.output
    assert "keeps recall 0.8 with" in result.output
    assert "keeps recall 0.9 with" in result.output
    info = read_model(tmp_path / "mine")
    assert [promise.recall for promise in info.guarantees] == [0.8, 0.9]
    assert info.threshold == info.guarantees[0].threshold >= info.guarantees[1].threshold


def test_a_run_with_the_copy_keeps_the_recall_on_the_labelled_exposures(
    calibrated, zoo, scored, labels, previews, tmp_path
):
    words = ("--screen", calibrated, "--recall", 0.9, "--models-dir", zoo, "--engine", "keras", "--quiet")
    result = invoke("run", previews, "--out", tmp_path / "run", *words)
    assert result.exit_code == 0, result.output
    info, run = read_model(calibrated), open_run(tmp_path / "run")
    assert run.config.threshold == info.guarantees[0].threshold
    before, after = (open_run(path).table("exposures") for path in (scored, tmp_path / "run"))
    raw = np.array(before["screen_score"].to_pylist(), np.float32)
    probabilities = np.array(after["screen_score"].to_pylist(), np.float32)
    np.testing.assert_allclose(probabilities, info.calibration[0](raw), atol=1e-6)
    ghosted = np.array([truth(labels)[n] for n in after["expnum"].to_pylist()])
    flagged = np.array(after["flagged"].to_pylist())
    # P(Binomial(60, 0.1) >= 3) = 0.947 and P(... >= 4) = 0.863: the third lowest of the ghosted is the threshold.
    assert flagged[ghosted].sum() == 58
    assert probabilities[flagged].min() >= np.float32(info.guarantees[0].threshold) > probabilities[~flagged].max()


def test_probabilities_are_better_than_scores(calibrated, scored, labels):
    table = open_run(scored).table("exposures")
    scores = np.array(table["screen_score"].to_pylist(), np.float32)
    ghosted = np.array([truth(labels)[n] for n in table["expnum"].to_pylist()])

    def log_loss(probability):
        probability = np.clip(probability, 1e-6, 1 - 1e-6)
        return -np.where(ghosted, np.log(probability), np.log(1 - probability)).mean()

    assert log_loss(read_model(calibrated).calibration[0](scores)) < log_loss(scores) - 0.05


def test_the_promise_may_become_the_default(zoo, scored, labels, tmp_path):
    words = ("--recall", 0.9, "--confidence", 0.9, "--default", "--models-dir", zoo)
    assert calibrate(scored, labels, tmp_path / "mine", *words).exit_code == 0
    info = read_model(tmp_path / "mine")
    assert info.threshold == info.guarantees[0].threshold


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "expected at least 299 ghosted exposures to guarantee recall 0.99 at confidence 0.95, got 60"),
        (("--recall", "0.9", "--truth", "none.csv"), "none.csv: expected a table with the columns expnum and ghosted"),
        (("--recall", "0.9", "--out", "ZOO"), "expected a new folder for the calibrated model"),
    ],
)
def test_what_cannot_be_calibrated_is_one_clear_line(options, message, zoo, scored, labels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [str(zoo) if word == "ZOO" else word for word in options]
    result = calibrate(scored, labels, "mine", "--models-dir", zoo, *words)
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "mine").exists()


def test_too_few_labels_of_one_kind_are_one_clear_line(zoo, scored, labels, tmp_path):
    some = csv.read_csv(labels).slice(0, 60)
    csv.write_csv(some, tmp_path / "some.csv")
    result = calibrate(scored, tmp_path / "some.csv", tmp_path / "mine", "--models-dir", zoo)
    assert result.exit_code == 1
    assert "error: labels: expected 50 ghosted and as many clean exposures to fit probabilities" in result.output


def test_scores_of_another_model_of_the_same_name_are_refused(zoo, calibrated, scored, labels, tmp_path):
    import shutil

    shutil.copytree(calibrated, tmp_path / "zoo" / "screen-v1")
    result = calibrate(scored, labels, tmp_path / "mine", "--models-dir", tmp_path / "zoo")
    assert result.exit_code == 1
    assert "was scored by another screen-v1 than" in result.output
    assert "give its folder with --models-dir" in result.output


def test_a_run_without_a_screen_cannot_be_calibrated(zoo, labels, tmp_path):
    np.save(tmp_path / "x.npy", np.full((1, 400, 400), 50, np.uint8))
    words = ("--no-screen", "--models-dir", zoo, "--engine", "keras", "--quiet")
    assert invoke("run", tmp_path / "x.npy", "--out", tmp_path / "run", *words).exit_code == 0
    result = calibrate(tmp_path / "run", labels, tmp_path / "mine", "--models-dir", zoo)
    assert result.exit_code == 1
    assert "expected a run with a screen, got one that segmented every exposure" in result.output


@pytest.mark.parametrize("options", [("--recall", "1"), ("--recall", "0"), ("--confidence", "0.2")])
def test_promises_that_nobody_can_keep_or_need_are_bad_usage(options):
    assert invoke("calibrate", "RUN", "--truth", "t.csv", "--out", "o", *options).exit_code == 2


@pytest.mark.parametrize("options", [("--threshold", "0.5"), ("--no-screen",)])
def test_recall_goes_with_neither_a_threshold_nor_without_a_screen(options):
    result = invoke("run", "a.jpg", "--out", "RUN", "--recall", "0.9", *options)
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("screen", "recall", "promised"), [("screen-v1", "0.9", "none"), ("CALIBRATED", "0.95", "0.9")]
)
def test_a_recall_that_was_not_promised_is_one_clear_line(
    screen, recall, promised, zoo, calibrated, previews, tmp_path
):
    screen = str(calibrated) if screen == "CALIBRATED" else screen
    words = ("--screen", screen, "--recall", recall, "--models-dir", zoo)
    result = invoke("run", previews, "--out", tmp_path / "run", *words)
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.endswith(f"promises {promised}; `cascade calibrate` makes promises from labels")
    assert not (tmp_path / "run").exists()


def test_a_lower_recall_than_promised_takes_the_same_threshold(zoo, calibrated, tmp_path):
    np.save(tmp_path / "x.npy", np.full((1, 400, 400), 50, np.uint8))
    words = ("--screen", calibrated, "--recall", 0.5, "--models-dir", zoo, "--engine", "keras", "--quiet")
    assert invoke("run", tmp_path / "x.npy", "--out", tmp_path / "run", *words).exit_code == 0
    assert open_run(tmp_path / "run").config.threshold == read_model(calibrated).guarantees[0].threshold
