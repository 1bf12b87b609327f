"""Every study, in small, through the command line, with networks as small as they get."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cascade.bench.profiled import Profiled
from cascade.cli.app import app

pytestmark = pytest.mark.slow


def invoke(*words: object):
    return CliRunner().invoke(app, ["bench", *map(str, words)])


@pytest.fixture(scope="module")
def models(tmp_path_factory, tiny_architectures) -> list[str]:
    """Options that name tiny networks with random weights."""
    import keras

    from cascade.networks.models import build_network, write_model

    folder = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(1)
    for task, threshold in (("screen", 0.5), ("segment", 0.05)):
        network = build_network(tiny_architectures[task])
        write_model(folder / task, network, task=task, architecture=tiny_architectures[task], threshold=threshold,
                    training={"exposures": [101]}, semantic=0.5 if task == "segment" else None)  # fmt: skip
    return ["--screen", str(folder / "screen"), "--segment", str(folder / "segment")]


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    """A folder in which the studies keep what they drew."""
    return tmp_path_factory.mktemp("pool") / "pool"


@pytest.fixture
def here(monkeypatch):
    """Measure in this process: starting one and importing TensorFlow takes seconds each time."""

    def measured(function, *args, **options):
        return Profiled(function(*args, **options), (0.0,), (100.0,))

    monkeypatch.setattr("cascade.bench.roofline.profiled", measured)
    monkeypatch.setattr("cascade.bench.scaling.profiled", measured)


def written(out: Path, name: str) -> dict:
    assert {path.name for path in out.iterdir()} == {f"{name}.json", f"{name}.md", f"{name}.png"}
    assert "**A trial run: scale 0.001 of the full study.**" in (out / f"{name}.md").read_text()
    return json.loads((out / f"{name}.json").read_text())


@pytest.mark.parametrize("command", ["seasons", "roofline", "scaling", "real"])
def test_studies_have_help_with_an_example(command):
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert "Example: cascade bench" in result.output


def test_seasons_in_small(tmp_path, models, pool, monkeypatch):
    monkeypatch.setattr("cascade.bench.seasons.PREVALENCES", (0.04, 0.5))
    result = invoke("seasons", "--out", tmp_path / "out", "--scale", 0.001, "--pool", pool, *models)
    assert result.exit_code == 0, result.output
    study = written(tmp_path / "out", "seasons")
    assert [season["losses"]["n_ghosted"] for season in study["seasons"]] == [2, 20]
    assert [season["same_artifacts"] for season in study["seasons"]] == [1.0, 1.0]
    assert study["everything"]["p_flag"] == 1.0
    assert study["all_exposures"]["n"] == 58
    assert study["paper"] == []
    assert str(tmp_path) not in json.dumps(study)
    drawn = (pool / "ghosted" / "season.json").stat().st_mtime_ns
    again = invoke("seasons", "--out", tmp_path / "again", "--scale", 0.001, "--pool", pool, *models)
    assert again.exit_code == 0, again.output
    assert (pool / "ghosted" / "season.json").stat().st_mtime_ns == drawn


def test_roofline_in_small(tmp_path, models, pool, here, monkeypatch):
    monkeypatch.setattr("cascade.bench.roofline.engines", lambda: ["keras float32", "openvino f32"])
    result = invoke("roofline", "--out", tmp_path / "out", "--scale", 0.001, "--pool", pool, *models)
    assert result.exit_code == 0, result.output
    study = written(tmp_path / "out", "roofline")
    assert [(row["network"], row["engine"]) for row in study["rows"]] == [
        (network, engine) for engine in ("keras float32", "openvino f32") for network in ("screen", "segment")
    ]
    assert all(0 < row["share_in_network"] <= 1 and row["gflop_per_s"] > 0 for row in study["rows"])
    season = study["end_to_end"]
    assert 0 < season["screen_network_s"] <= season["stages_s"]["screen"]
    for counted in study["profiles"]["openvino f32"]:
        assert sum(counted["parts"].values()) == pytest.approx(1)
        assert sum(counted["layers"].values()) == pytest.approx(1)


def test_scaling_in_small(tmp_path, models, pool, here, monkeypatch):
    monkeypatch.setattr("cascade.bench.scaling.WORKERS", (1,))
    monkeypatch.setattr("cascade.bench.scaling.N_WORKERS", ())
    monkeypatch.setattr("cascade.bench.scaling.CLUSTER", (1, 2))
    monkeypatch.setattr("cascade.bench.scaling._STORE", 60)
    result = invoke("scaling", "--out", tmp_path / "out", "--scale", 0.001, "--pool", pool, *models)
    assert result.exit_code == 0, result.output
    study = written(tmp_path / "out", "scaling")
    told = {(row["n"], row["networks"], row["workers"]) for row in study["rows"]}
    assert told == {(40, True, None), (40, False, 1), (120, False, 1)}
    assert [row["workers"] for row in study["cluster"]] == [1, 2]
    assert study["surveys"]["DES DR2"]["minutes"] > 0


def test_real_exposures_that_are_absent_are_skipped_and_said_so(tmp_path, models, monkeypatch):
    monkeypatch.setenv("CASCADE_DATA", str(tmp_path))
    result = invoke("real", "--out", tmp_path / "out", *models)
    assert result.exit_code == 0
    assert "SKIPPED: no des_common_core/images under $CASCADE_DATA" in result.output
    assert not (tmp_path / "out").exists()
    wrong = invoke("real", "--out", tmp_path / "out", "--screen-folds", tmp_path, *models)
    assert wrong.exit_code == 2


def test_real_exposures_in_small(tmp_path, models, monkeypatch):
    data = annotated(tmp_path)
    monkeypatch.setenv("CASCADE_DATA", str(data))
    folds = [[101, 102], [103]]
    segment = Path(models[-1])
    for k in range(len(folds)):
        (tmp_path / "segment-cv").mkdir(exist_ok=True)
        (tmp_path / "segment-cv" / f"fold-{k}").symlink_to(segment)
    settings = [{"min_score": 0.05, "semantic": 0.5}] * 2
    write(tmp_path / "segment-cv", {"folds": folds, "nested": {"settings": settings}})
    write(tmp_path / "screen-cv", {"folds": folds, "threshold": 0.5, "scores": {"101": 0.9, "102": 0.1, "103": 0.6}})
    given = ("--segment-folds", tmp_path / "segment-cv", "--screen-folds", tmp_path / "screen-cv")
    result = invoke("real", "--out", tmp_path / "out", *given, *models)
    assert result.exit_code == 0, result.output
    study = json.loads((tmp_path / "out" / "real.json").read_text())
    seen = {name: system["seen"] for name, system in study["systems"].items()}
    assert seen == {
        "cascade": True, "alone": True, "alone, cross-validated": False, "cascade, cross-validated": False
    }  # fmt: skip
    assert study["n_flagged"]["cascade, cross-validated"] == 2
    assert np.shape(study["people"]) == (2, 5)
    write(tmp_path / "screen-cv", {"folds": [[1]], "threshold": 0.5, "scores": {}})
    other = invoke("real", "--out", tmp_path / "out", *given, *models)
    assert "expected a cross-validation on the same 3 exposures, got 1" in other.output


def annotated(folder: Path) -> Path:
    """Three previews and three annotators."""
    from evaluated import BRIGHT_28, RAYS_1, write_via

    data = folder / "data"
    images, annotations = data / "des_common_core" / "images", data / "des_common_core" / "annotations"
    images.mkdir(parents=True)
    annotations.mkdir()
    names = [f"D00000{expnum}.jpg" for expnum in (101, 102, 103)]
    rng = np.random.default_rng(1)
    for name in names:
        Image.fromarray(rng.integers(0, 120, (400, 400)).astype(np.uint8)).save(images / name)
    for person in ("a", "b", "c"):
        write_via(annotations / f"{person}.json", {name: [BRIGHT_28, RAYS_1] for name in names})
    return data


def write(folder: Path, figures: dict) -> None:
    """The figures of a cross-validation."""
    folder.mkdir(exist_ok=True)
    (folder / "cross_validation.json").write_text(json.dumps(figures))
