import dataclasses
import inspect
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from cascade.cli.app import app
from cascade.cli.raytrace import raytrace
from cascade.core.errors import StoreError
from cascade.core.exposure import HeaderFields, Source
from cascade.pipeline.predict import Predictor, predict_run, sources_of
from cascade.runs.run import open_run
from cascade.sky.forecast import forecast, instances_of, predicted_artifacts
from cascade.sky.pointing import Pointing
from cascade.sky.prior import THRESHOLD
from cascade.veto import read_des

PREDICTOR = Predictor.load()
ALDEBARAN = HeaderFields("r", 56616.2, 68.98, 16.9)
EMPTY = HeaderFields("g", 57500.2, 34.0, -5.0)
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
    pointing = Pointing(ALDEBARAN.ra, ALDEBARAN.dec, ALDEBARAN.band, ALDEBARAN.mjd_obs)
    expected = forecast(pointing, PREDICTOR.laws, bank=PREDICTOR.bank, stars=PREDICTOR.stars)
    found = predicted_artifacts(expected, PREDICTOR.levels)
    instances = instances_of(found)
    artifacts = predicted.table("artifacts").to_pylist()
    assert [row["area_px"] for row in artifacts] == [int(one.mask.sum()) for one in found]
    assert [row["pair"] for row in artifacts] == [one.pair for one in found]
    aldebaran = next(row for row in artifacts if row["hip"] == 21421)
    assert (aldebaran["star_ra"], aldebaran["star_dec"]) == pytest.approx((68.980, 16.509), abs=0.001)
    assert aldebaran["star_mag"] == pytest.approx(0.43, abs=0.3)
    assert np.array_equal(predicted.masks[0], instances.bit_mask())
    assert not np.any(predicted.masks[1:])
    touched = set(PREDICTOR.camera.labels[instances.bit_mask() > 0]) - {0}
    assert {row["ccdnum"] for row in predicted.table("ccds").to_pylist()} == touched


def test_resuming_changes_nothing_and_another_rule_is_refused(predicted):
    before = predicted.table("artifacts")
    assert predict_run(SOURCES, predicted.path, PREDICTOR, batch_size=3).table("artifacts").equals(before)
    other = Predictor.load(min_probability=0.6)
    with pytest.raises(StoreError, match="another configuration"):
        predict_run(SOURCES, predicted.path, other, batch_size=3)


def test_the_command_has_the_threshold_of_the_laws():
    assert inspect.signature(raytrace).parameters["threshold"].default == THRESHOLD == PREDICTOR.threshold


def test_several_processes_predict_the_same(predicted, tmp_path):
    run = predict_run(SOURCES * 4, tmp_path / "two", PREDICTOR, batch_size=2, n_workers=2)
    one = predict_run(SOURCES * 4, tmp_path / "one", PREDICTOR, batch_size=2)
    for name in ("exposures", "artifacts", "ccds", "failures"):
        assert run.table(name).equals(one.table(name))
    assert np.array_equal(run.masks[:], one.masks[:])


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
    options = ("--min-area", 0.05, "--quiet")
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
    assert {line["ccdnum"] for line in lines} == covered
    assert str(lines[0]["date"]) == "2013-11-19"


def test_raytrace_reads_a_table_of_pointings(predicted, tmp_path):
    table = tmp_path / "pointings.csv"
    table.write_text(
        "expnum,ra,dec,band,mjd_obs\n101,68.98,16.9,r,56616.2\n102,34.0,-5.0,g,57500.2\n103,1,2,,56616.2\n"
    )
    result = invoke("raytrace", table, "--out", tmp_path / "out", "--max-failed", "1", "-q")
    assert result.exit_code == 0, result.output
    run = open_run(tmp_path / "out")
    assert [row["status"] for row in run.table("exposures").to_pylist()] == ["ghosted", "clean", "failed"]
    assert run.table("exposures")["path"][0].as_py() == f"{table}[0]"
    assert run.table("ccds").equals(predicted.table("ccds"))
    assert "got no band" in run.table("failures")["error"][0].as_py()
    turned = tmp_path / "turned.csv"
    turned.write_text("expnum,ra,dec,band,mjd_obs,rotation\n101,68.98,16.9,r,56616.2,180\n")
    assert invoke("raytrace", turned, "--out", tmp_path / "upside", "-q").exit_code == 0
    upright, upside = (open_run(tmp_path / name).masks[0] for name in ("out", "upside"))
    assert np.count_nonzero((upright > 0) & (upside > 0)) < 0.9 * np.count_nonzero(upright)


def test_raytrace_of_a_pointing_prints_its_ghosts_and_ccds():
    result = invoke("raytrace", "--ra", 68.98, "--dec", 16.9, "--band", "r", "--date", "2013-11-19")
    assert result.exit_code == 0, result.output
    assert "Aldebaran (HIP 21421), surfaces D>" in result.output
    assert "D>Filter" in result.output
    assert "N16(100%)" in result.output
    assert result.output.splitlines()[-1].startswith("raytrace: 1 of 1 exposures")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ((), 2, "expected RUN or TABLE, or --ra, --dec and --band"),
        (("--ra", 1, "--dec", 2, "--band", "g", "--date", "2013"), 2, "expected YYYY-MM-DD, got '2013'"),
        (("RUN", "--ra", 1), 2, "RUN and TABLE exclude --ra"),
        (("RUN",), 2, "expected another directory to write, --out"),
        (("none.csv", "--out", "there"), 1, "none.csv: expected a table of pointings"),
        (("nowhere", "--out", "there"), 1, "expected a run directory"),
        (("--ra", 1, "--dec", 2, "--band", "q"), 1, "error: band: expected one of"),
        (("--ra", 1, "--dec", 2, "--band", "g", "--min-probability", 0), 1, "error: probability"),
        (("--ra", 1, "--dec", 2, "--band", "g", "--mjd", 51000), 1, "since DECam's first light"),
    ],
)
def test_raytrace_explains_what_it_cannot_do(words, status, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("raytrace", *words)
    assert result.exit_code == status
    assert message in " ".join(result.output.replace("│", " ").split())
