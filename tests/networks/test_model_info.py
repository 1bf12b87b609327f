from pathlib import Path

import pytest
import tomli_w

from cascade.core.artifact import PAPER_CLASSES, Artifact
from cascade.core.errors import ModelError
from cascade.networks import model_info
from cascade.networks.calibration import Calibration, Guarantee
from cascade.networks.model_info import read_model

PROMISE = {"recall": 0.99, "confidence": 0.95, "threshold": 0.2, "n_ghosted": 300, "labels": "labels.csv"}
STEPS = {"kind": "isotonic", "x": [0.0, 0.4, 1.0], "y": [0.0, 0.1, 0.9]}
ZOO = sorted((Path(__file__).parents[2] / "models").glob("*/model.toml"))
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


@pytest.mark.parametrize(
    ("training", "learned"),
    [
        ({"exposures": [1, 5]}, {1, 5}),
        ({"exposures": [1], "start": "other"}, {1}),
        ({"season": {"seed": 1}}, set()),
        ({"season": {"seed": 1}, "start": "other"}, None),
        ({"exposures": "all"}, None),
        ({"steps": 3}, None),
    ],
)
def test_what_it_learned_from_is_known_if_it_says_so(tmp_path, training, learned):
    assert read(tmp_path, training=training).learned_expnums == learned


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


@pytest.mark.parametrize("text", [b"task = ", b"\xff\xfe\x00", b"a = " + b"[" * 100_000], ids=["cut", "binary", "deep"])
def test_description_that_is_no_toml_is_an_error(text, tmp_path):
    tmp_path.joinpath("model.toml").write_bytes(text)
    with pytest.raises(ModelError, match=r"model\.toml: expected TOML: "):
        read_model(tmp_path)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"task": None}, "task"),
        ({"architecture": None}, "architecture"),
        ({"threshold": {}}, "threshold.score"),
        ({"weights": {"sha256": "00"}}, "weights.golden"),
        ({"calibration": [{"kind": "platt", "x": [1.0]}]}, r"calibration\[0\].y"),
        ({"guarantee": [{key: value for key, value in PROMISE.items() if key != "recall"}]}, r"guarantee\[0\].recall"),
    ],
)
def test_missing_key_is_an_error(changes, key, tmp_path):
    with pytest.raises(ModelError, match=rf"model\.toml: key {key}: missing; expected "):
        read(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"notes": {}}, "notes"), ({"threshold": {"score": 0.5, "semanitc": 0.7}}, "threshold.semanitc")],
)
def test_unknown_key_is_an_error(changes, key, tmp_path):
    with pytest.raises(ModelError, match=rf"model\.toml: key {key}: unknown; expected one of "):
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
        (None, "key classes: expected artifact classes, each once, got ''"),
        ([], r"model\.toml: key classes: expected artifact classes, each once, got ''"),
        ("rays", "key classes: expected a list, got 'rays'"),
        (["rays", "RAYS"], "key classes: expected artifact classes, each once, got 'rays, RAYS'"),
        (["rays", "comet"], r"model\.toml: key classes: artifact class: expected one of bright, .*rays.*, got 'comet'"),
        ([3], r"key classes\[0\]: expected a string, got 3"),
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


_CALIBRATION = "calibration: expected platt with a positive slope, or isotonic with 2 to "
_FIRST = r"calibration\[0\]"
_PROMISE = r"guarantee\[0\]"
_GUARANTEE = r"guarantee: expected recall and confidence in \(0, 1\), threshold in "


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": 3}, "architecture: expected a table, got 3"),
        ({"threshold": 0.5}, "threshold: expected a table, got 0.5"),
        ({"weights": {"sha256": 7, "golden": [0.5]}}, "weights.sha256: expected a string, got 7"),
        ({"weights": {"sha256": "00", "golden": [float("nan")]}}, r"weights.golden\[0\]: expected a number, got nan"),
        ({"classes": "clean"}, "classes: expected a list, got 'clean'"),
        ({"training": []}, "training: expected a table, got a list of 0"),
        ({"calibration": 3}, "calibration: expected a list, got 3"),
        ({"calibration": ["platt"]}, rf"{_FIRST}: expected a table, got 'platt'"),
        ({"calibration": [{**STEPS, "x": 1.0}]}, rf"{_FIRST}.x: expected a list, got 1.0"),
        ({"calibration": [STEPS, {**STEPS, "x": ["up"]}]}, r"calibration\[1\].x\[0\]: expected a number, got 'up'"),
        ({"calibration": [{"kind": "platt", "x": [-1.0], "y": [0.0]}]}, rf"{_FIRST}: {_CALIBRATION}"),
        ({"calibration": [{**STEPS, "x": [float("nan")]}]}, rf"{_FIRST}.x\[0\]: expected a number, got nan"),
        ({"calibration": [{**STEPS, "x": [], "y": []}]}, rf"{_FIRST}: {_CALIBRATION}"),
        ({"calibration": [{**STEPS, "x": [0.0, 1.0], "y": [1.0, 0.0]}]}, rf"{_FIRST}: {_CALIBRATION}"),
        ({"calibration": [{**STEPS, "y": [0.0, float("inf")]}]}, rf"{_FIRST}.y\[1\]: expected a number, got inf"),
        ({"calibration": [{**STEPS, "kind": "spline"}]}, rf"{_FIRST}: {_CALIBRATION}"),
        ({"guarantee": [{**PROMISE, "recall": 1.0}]}, rf"{_PROMISE}: {_GUARANTEE}"),
        ({"guarantee": [{**PROMISE, "confidence": 0.0}]}, rf"{_PROMISE}: {_GUARANTEE}"),
        ({"guarantee": [{**PROMISE, "threshold": float("nan")}]}, rf"{_PROMISE}.threshold: expected a number, got nan"),
        ({"guarantee": [{**PROMISE, "threshold": 1.5}]}, rf"{_PROMISE}: {_GUARANTEE}"),
        ({"guarantee": [{**PROMISE, "n_ghosted": 0}]}, rf"{_PROMISE}: {_GUARANTEE}"),
        ({"guarantee": [{**PROMISE, "n_ghosted": "many"}]}, rf"{_PROMISE}.n_ghosted: expected an integer, got 'many'"),
        ({"guarantee": 7}, "guarantee: expected a list, got 7"),
        # Beyond all measure.
        ({"threshold": {"score": BIG}}, r"threshold.score: expected a number in \[0, 1\], got an integer of 1329 bits"),
        ({"weights": {"sha256": "00", "golden": [BIG]}}, r"weights.golden\[0\]: expected a number, got an integer of "),
        ({"calibration": [{**STEPS, "x": [BIG]}]}, rf"{_FIRST}.x\[0\]: expected a number, got an integer of 1329"),
        ({"guarantee": [{**PROMISE, "n_ghosted": float("inf")}]}, rf"{_PROMISE}.n_ghosted: expected an integer, got "),
    ],
)  # fmt: skip
def test_values_that_make_no_sense_are_an_error(changes, message, tmp_path):
    with pytest.raises(ModelError, match=rf"model\.toml: key {message}"):
        read(tmp_path, **changes)


def test_every_model_of_the_zoo_is_read():
    for path in ZOO:
        info = read_model(path.parent)
        assert (info.name, info.task in path.parent.name) == (path.parent.name, True)
    assert len(ZOO) >= 2
