import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from cascade.cli.app import app
from cascade.core.errors import StoreError
from cascade.core.exposure import HeaderFields, Source
from cascade.pipeline.predict import Predictor, predict_run, sources_of
from cascade.runs.run import open_run
from cascade.sky.raytrace import RaytraceRule, ghost_instances, predict_ghosts
from cascade.veto import read_des

PREDICTOR = Predictor.load(RaytraceRule(min_contrast=0.05))
ALDEBARAN = HeaderFields("r", 56616.2, 68.98, 16.9)
EMPTY = HeaderFields("g", 56616.2, 34.0, -5.0)
SOURCES = [
    Source("a.fits", 101, ALDEBARAN),
    Source("b.fits", 102, EMPTY),
    Source("c.fits", 103, HeaderFields("r", 56616.2)),
    Source("d.fits", 104, dataclasses.replace(ALDEBARAN, band="H")),
]


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    return predict_run(SOURCES, tmp_path_factory.mktemp("predicted") / "run", PREDICTOR, batch_size=3)


def test_every_exposure_has_its_row(predicted):
    rows = predicted.table("exposures").to_pylist()
    assert [row["status"] for row in rows] == ["ghosted", "clean", "failed", "failed"]
    assert [row["ra"] for row in rows] == [68.98, 34.0, None, 68.98]
    failures = predicted.table("failures").to_pylist()
    assert "got no ra, dec" in failures[0]["error"]
    assert "got 'H'" in failures[1]["error"]


def test_tables_and_masks_hold_the_predicted_ghosts(predicted):
    pointing = PREDICTOR._pointing(ALDEBARAN)
    ghosts = predict_ghosts(pointing, PREDICTOR.rule, optics=PREDICTOR.optics, stars=PREDICTOR.stars)
    instances = ghost_instances(ghosts, PREDICTOR.rule)
    artifacts = predicted.table("artifacts").to_pylist()
    assert [row["area_px"] for row in artifacts] == [int(ghost.mask.sum()) for ghost in ghosts]
    assert np.array_equal(predicted.masks[0], instances.bit_mask())
    assert not np.any(predicted.masks[1:])
    touched = set(PREDICTOR.camera.labels[instances.bit_mask() > 0]) - {0}
    assert {row["ccdnum"] for row in predicted.table("ccds").to_pylist()} == touched


def test_resuming_changes_nothing_and_another_rule_is_refused(predicted):
    before = predicted.table("artifacts")
    assert predict_run(SOURCES, predicted.path, PREDICTOR, batch_size=3).table("artifacts").equals(before)
    other = Predictor.load(RaytraceRule(min_contrast=0.1))
    with pytest.raises(StoreError, match="another configuration"):
        predict_run(SOURCES, predicted.path, other, batch_size=3)


def test_predictions_are_logged_batch_by_batch(predicted):
    log = min((predicted.path / "logs").iterdir())
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", "batch", "batch", "complete"]
    assert json.loads((predicted.path / "run.json").read_text())["last_session"]["n_exposures"] == 4


def test_a_run_of_predictions_can_be_predicted_from(predicted):
    assert sources_of(predicted.table("exposures")) == SOURCES


@pytest.mark.slow
def test_raytrace_reads_a_run_and_writes_run_and_exclude_list(predicted, tmp_path):
    des = tmp_path / "exclude.txt"
    theirs = "#date expnum ccd id ccdnum\n# Airplane\n20171110 694885 nan N15 46\n"
    des.write_text(theirs)
    options = ("--min-contrast", 0.05, "--min-area", 0.05, "--quiet")
    result = invoke("raytrace", predicted.path, "--out", tmp_path / "out", "--des", des, *options)
    assert result.exit_code == 0, result.output
    assert "1 of 4 exposures" in result.output
    assert "2 failed" in result.output
    assert open_run(tmp_path / "out").table("ccds").equals(predicted.table("ccds"))
    assert des.read_text().startswith(f"{theirs}# cascade veto ")
    assert f"| run raytrace {tmp_path / 'out'} | completed 2" in des.read_text()
    lines = read_des(des).to_pylist()[1:]
    assert {line["expnum"] for line in lines} == {101}
    covered = {row["ccdnum"] for row in predicted.table("ccds").to_pylist() if row["area_fraction"] >= 0.05}
    assert {line["ccdnum"] for line in lines} == covered - {61}
    assert str(lines[0]["date"]) == "2013-11-19"


def test_raytrace_of_a_pointing_prints_its_ghosts_and_ccds():
    result = invoke("raytrace", "--ra", 68.98, "--dec", 16.9, "--band", "r", "--date", "2013-11-19")
    assert result.exit_code == 0, result.output
    assert "bright  0.9" in result.output
    assert "S22" not in result.output.split("CCDs:")[0]
    assert "N16(100%)" in result.output
    assert result.output.splitlines()[-1].startswith("raytrace: 1 of 1 exposures")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ((), 2, "expected RUN, or --ra, --dec and --band"),
        (("--ra", 1, "--dec", 2, "--band", "g", "--date", "2013"), 2, "expected YYYY-MM-DD, got '2013'"),
        (("RUN", "--ra", 1), 2, "RUN excludes --ra"),
        (("RUN",), 2, "RUN: expected another directory"),
        (("nowhere", "--out", "there"), 1, "expected a run directory"),
        (("--ra", 1, "--dec", 2, "--band", "q"), 1, "error: band: expected one of"),
        (("--ra", 1, "--dec", 2, "--band", "g", "--min-contrast", 0), 1, "error: min_contrast"),
    ],
)
def test_raytrace_explains_what_it_cannot_do(words, status, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("raytrace", *words)
    assert result.exit_code == status
    assert message in " ".join(result.output.replace("│", " ").split())
