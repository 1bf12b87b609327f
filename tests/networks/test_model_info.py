import pytest
import tomli_w

from cascade.core.artifact import PAPER_CLASSES, Artifact
from cascade.core.errors import ModelError
from cascade.networks import model_info
from cascade.networks.calibration import Calibration, Guarantee
from cascade.networks.model_info import read_model

PROMISE = {"recall": 0.99, "confidence": 0.95, "threshold": 0.2, "n_ghosted": 300, "labels": "labels.csv"}
STEPS = {"kind": "isotonic", "x": [0.0, 0.4, 1.0], "y": [0.0, 0.1, 0.9]}
BIG = 10**400
"""TOML knows no largest integer, floats do."""


def description(**changes):
    """A sound description; None drops a key."""
    text = {
        "task": "screen",
        "architecture": {"name": "screen_cnn"},
        "threshold": {"score": 0.5},
        "weights": {"sha256": "00", "golden": [0.5]},
        "training": {"steps": 3},
        **changes,
    }
    return {key: value for key, value in text.items() if value is not None}


def read(folder, **changes):
    folder.joinpath("model.toml").write_text(tomli_w.dumps(description(**changes)))
    return read_model(folder)


def test_a_description_is_read_as_it_stands(tmp_path):
    info = read(tmp_path, threshold={"score": 0.25, "semantic": 0.4}, calibration=[STEPS], guarantee=[PROMISE])
    assert (info.name, info.task, info.folder) == (tmp_path.name, "screen", tmp_path)
    assert (info.threshold, info.semantic, info.sha256, info.golden) == (0.25, 0.4, "00", (0.5,))
    assert info.calibration == (Calibration("isotonic", (0.0, 0.4, 1.0), (0.0, 0.1, 0.9)),)
    assert info.guarantees == (Guarantee(0.99, 0.95, 0.2, 300, "labels.csv"),)
    assert info.training == {"steps": 3}
    assert info.weights == tmp_path / "model.weights.h5"


def test_calibration_promises_and_the_level_of_the_map_may_be_missing(tmp_path):
    info = read(tmp_path, training=None)
    assert (info.calibration, info.guarantees, info.semantic, info.training) == ((), (), 0.5, {})


def test_another_promise_is_another_description(tmp_path):
    hashes = {read(tmp_path, guarantee=[{**PROMISE, "threshold": t}]).description_sha256 for t in (0.1, 0.2)}
    assert len(hashes) == 2


def test_missing_description_is_an_error(tmp_path):
    with pytest.raises(ModelError, match=r"model\.toml: cannot read the model: No such file"):
        read_model(tmp_path)


def test_oversized_description_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(model_info, "MAX_MODEL_TOML_BYTES", 10)
    with pytest.raises(ModelError, match="expected at most 10 bytes"):
        read(tmp_path)


@pytest.mark.parametrize(
    "text",
    [b"task = ", b"\xff\xfe\x00", b"a = " + b"[" * 100_000, b'task = "screen"\narchitecture = 3\nthreshold = 1\n'],
    ids=["cut", "binary", "deep", "types"],
)
def test_damaged_description_is_an_error(text, tmp_path):
    tmp_path.joinpath("model.toml").write_bytes(text)
    with pytest.raises(ModelError, match=r"model\.toml: damaged model description: "):
        read_model(tmp_path)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"task": None}, "task"),
        ({"architecture": None}, "architecture"),
        ({"threshold": {}}, "score"),
        ({"weights": {"sha256": "00"}}, "golden"),
        ({"calibration": [{"kind": "platt", "x": [1.0]}]}, "y"),
        ({"guarantee": [{key: value for key, value in PROMISE.items() if key != "recall"}]}, "recall"),
    ],
)
def test_missing_key_is_an_error(changes, key, tmp_path):
    with pytest.raises(ModelError, match=f"expected a key '{key}', which is missing"):
        read(tmp_path, **changes)


@pytest.mark.parametrize("task", ["paint", 3, ["screen"]])
def test_unknown_task_is_an_error(task, tmp_path):
    with pytest.raises(ModelError, match="task: expected one of screen, segment, got "):
        read(tmp_path, task=task)


def test_classes_of_a_segmenter_are_those_that_it_names_in_its_order(tmp_path):
    info = read(tmp_path, task="segment", classes=["rays", "Bright"])
    assert info.classes == (Artifact.RAYS, Artifact.BRIGHT)


def test_screens_that_name_no_classes_have_those_of_the_paper(tmp_path):
    assert read(tmp_path, classes=["clean", "ghosted"]).classes == PAPER_CLASSES
    assert read(tmp_path, map_classes=["faint"]).classes == (Artifact.FAINT,)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (None, "expected a key 'classes', which is missing"),
        ([], r"model\.toml: classes: expected a list of artifact classes, each once, got \[\]"),
        ("rays", "classes: expected a list of artifact classes, each once, got 'rays'"),
        (["rays", "RAYS"], "classes: expected a list of artifact classes, each once"),
        (["rays", "comet"], r"model\.toml: artifact class: expected one of bright, .*rays.*, got 'comet'"),
        ([3], "artifact class: expected one of bright, .*got '3'"),
    ],
)
def test_classes_that_make_no_sense_are_an_error(classes, message, tmp_path):
    with pytest.raises(ModelError, match=message):
        read(tmp_path, task="segment", classes=classes)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), float("inf")])
def test_threshold_out_of_range_is_an_error(threshold, tmp_path):
    with pytest.raises(ModelError, match=r"threshold.score: expected a number in \[0, 1\], got "):
        read(tmp_path, threshold={"score": threshold})


@pytest.mark.parametrize("semantic", [-0.1, 0.0, 1.1, float("nan"), float("inf")])
def test_level_of_the_map_out_of_range_is_an_error(semantic, tmp_path):
    with pytest.raises(ModelError, match=r"threshold.semantic: expected a number in \(0, 1\], got "):
        read(tmp_path, threshold={"score": 0.5, "semantic": semantic})


@pytest.mark.parametrize(
    "changes",
    [
        {"calibration": 3},
        {"calibration": ["platt"]},
        {"calibration": [{"kind": "platt", "x": 1.0, "y": [0.0]}]},
        {"calibration": [{"kind": "platt", "x": ["steep"], "y": [0.0]}]},
        {"calibration": [{"kind": "platt", "x": [-1.0], "y": [0.0]}]},
        {"calibration": [{"kind": "platt", "x": [float("nan")], "y": [0.0]}]},
        {"calibration": [{"kind": "isotonic", "x": [], "y": []}]},
        {"calibration": [{"kind": "isotonic", "x": [0.0, 1.0], "y": [1.0, 0.0]}]},
        {"calibration": [{"kind": "isotonic", "x": [0.0, 1.0], "y": [0.0, float("inf")]}]},
        {"calibration": [{"kind": "spline", "x": [0.0, 1.0], "y": [0.0, 1.0]}]},
        {"guarantee": [{**PROMISE, "recall": 1.0}]},
        {"guarantee": [{**PROMISE, "confidence": 0.0}]},
        {"guarantee": [{**PROMISE, "threshold": float("nan")}]},
        {"guarantee": [{**PROMISE, "threshold": 1.5}]},
        {"guarantee": [{**PROMISE, "n_ghosted": 0}]},
        {"guarantee": [{**PROMISE, "n_ghosted": "many"}]},
        {"guarantee": 7},
    ],
)
def test_calibrations_and_promises_that_make_no_sense_are_an_error(changes, tmp_path):
    with pytest.raises(ModelError, match=r"model\.toml: damaged model description: "):
        read(tmp_path, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": {"score": BIG}},
        {"weights": {"sha256": "00", "golden": [BIG]}},
        {"calibration": [{"kind": "platt", "x": [BIG], "y": [0.0]}]},
        {"guarantee": [{**PROMISE, "n_ghosted": float("inf")}]},
    ],
)
def test_numbers_beyond_all_measure_are_an_error(changes, tmp_path):
    with pytest.raises(ModelError, match=r"model\.toml: damaged model description: "):
        read(tmp_path, **changes)
