"""Predictions of the sky beside what was found, in the data of both pages."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from asgi_client import Client
from fakes import config
from looked_at import FAILED, FOUND, PREDICTED, UNPREDICTED, N, looked_at, predicted
from typer.testing import CliRunner

from cascade.cli.app import app
from cascade.core.errors import InputError
from cascade.core.exposure import Source
from cascade.networks.model_id import ModelId
from cascade.pages.report import write_report
from cascade.pages.report.predictions import with_predictions
from cascade.pages.report.snapshot import MISSED, UNFORESEEN, take_snapshot
from cascade.pages.review import ReviewSession
from cascade.pages.review.app import review_app
from cascade.runs.config import PREDICTOR, Batch
from cascade.runs.rows import Outcome, batch_counts, batch_tables
from cascade.runs.run import Run
from cascade.runs.tables import BatchResult

ALDEBARAN = "Aldebaran (HIP 21421), 0.4 mag, surfaces D>Filter"
NAMELESS = "HIP 20885, 3.8 mag"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return looked_at(tmp_path_factory.mktemp("looked-at"))


@pytest.fixture(scope="module")
def sky(run, tmp_path_factory):
    return predicted(tmp_path_factory.mktemp("sky") / "PREDICTED", run)


@pytest.fixture(scope="module")
def snapshot(run, sky):
    return with_predictions(take_snapshot(run), sky)


@pytest.fixture(scope="module")
def folder(run, sky, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "report"
    write_report(run, out, predicted=sky)
    return out


def numbered(path, expnums, name=PREDICTOR):
    """A run of a model that predicts nothing for exposures of some numbers."""
    settings = config(n_exposures=len(expnums), batch_size=len(expnums), segment=ModelId(name, "aa", "bb"))
    run = Run.create_or_resume(path, settings)
    outcomes = [Outcome(k, Source(f"{k}", expnum)) for k, expnum in enumerate(expnums)]
    run.commit(Batch(0, 0, len(expnums)), BatchResult(batch_tables(outcomes), None, batch_counts(outcomes, {})))
    run.finish()
    return run


def season(folder):
    text = (folder / "data.js").read_text().splitlines()[-1]
    return json.loads(text.removeprefix("globalThis.cascadeSeason = ").removesuffix(";"))


def test_every_exposure_has_its_state(snapshot):
    states = snapshot.predictions.states
    found = {k for k, instances in FOUND.items() if len(instances.scores)}
    assert states[FAILED] == states[UNPREDICTED] == states[UNPREDICTED + 1] == "not compared"
    compared = set(range(N)) - {FAILED, UNPREDICTED, UNPREDICTED + 1}
    assert {k for k in compared if states[k] == "both"} == {1, 2}
    assert {k for k in compared if states[k] == MISSED} == {3, 4}
    assert {k for k in compared if states[k] == UNFORESEEN} == (found & compared) - {1, 2}
    assert {states[k] for k in compared - found - set(PREDICTED)} == {"neither"}


def test_ccds_are_compared_by_the_default_rule(run, sky, snapshot):
    def vetoed(run, expnum):
        rows = run.table("ccds").to_pylist()
        return {row["ccdnum"] for row in rows if row["expnum"] == expnum and row["area_fraction"] >= 0.05}

    predictions = snapshot.predictions
    for row in (1, 2, 3, 4):
        ours, theirs = vetoed(run, 700000 + row), vetoed(sky, 700000 + row)
        assert predictions.missed[row] == sorted(theirs - ours)
        assert predictions.unforeseen[row] == sorted(ours - theirs)
    assert predictions.missed[1] == predictions.unforeseen[1] == []
    assert predictions.missed[2]
    assert FAILED not in predictions.missed


def test_exposures_are_matched_by_number_and_never_by_position(run, tmp_path):
    with pytest.raises(InputError, match="got none with the number of one of its exposures"):
        with_predictions(take_snapshot(run), numbered(tmp_path / "others", [None, 0, 5]))
    one = with_predictions(take_snapshot(run), numbered(tmp_path / "one", [None, 700007, 0])).predictions
    assert [k for k, state in enumerate(one.states) if state != "not compared"] == [7]


def test_two_unknown_numbers_are_not_the_same(tmp_path):
    ours = numbered(tmp_path / "RUN", [None, 0, 7])
    states = with_predictions(take_snapshot(ours), numbered(tmp_path / "sky", [None, 0, 7])).predictions.states
    assert states == ["not compared", "not compared", "neither"]


def test_what_is_no_prediction_of_this_run_is_refused(run, sky, tmp_path):
    with pytest.raises(InputError, match=r"expected predictions of cascade raytrace for .* got a run of segment-fake"):
        with_predictions(take_snapshot(sky), run)
    snapshot = take_snapshot(run)
    moved = replace(snapshot, camera=replace(snapshot.camera, instrument="LSSTCam"))
    with pytest.raises(InputError, match="whose camera is LSSTCam, got those of DECam"):
        with_predictions(moved, sky)
    result = CliRunner().invoke(app, ["report", str(sky.path), "--predicted", str(run.path), "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "got a run of segment-fake" in " ".join(result.output.split())


def test_the_report_shows_what_is_predicted_and_its_stars(folder):
    data = season(folder)
    assert data["flagged"] == sorted(FOUND)
    assert data["shown"] == data["previews"] == sorted({*FOUND, *PREDICTED})
    assert [data["predicted"]["states"][k] for k in data["predicted"]["state"]][1:5] == ["both", "both", MISSED, MISSED]
    text = (folder / "details" / "0.js").read_text()
    _, exposures = json.loads(f"[{text.removeprefix('cascadeDetail(').removesuffix(');' + chr(10))}]")
    artifacts, _, expected, missed, unforeseen = exposures[data["shown"].index(2)]
    assert [star for *_, star in artifacts] == ["", ""]
    assert [(name, score, star) for name, score, _, star in expected] == [
        ("faint", 0.6, ALDEBARAN),
        ("rays", 0.4, NAMELESS),
    ]
    assert len(missed) == data["predicted"]["ccds"][f"CCDs {MISSED}"][2] > 0
    assert len(unforeseen) == data["predicted"]["ccds"][f"CCDs {UNFORESEEN}"][2] > 0


def test_a_report_without_predictions_does_not_speak_of_them(run, tmp_path):
    write_report(run, tmp_path / "report")
    data, page = season(tmp_path / "report"), (tmp_path / "report" / "index.html").read_text()
    assert (data["predicted"], data["shown"]) == (None, sorted(FOUND))
    assert "predict" not in page.lower()


def test_the_report_of_predictions_names_their_stars(sky, tmp_path):
    write_report(sky, tmp_path / "report")
    assert ALDEBARAN in (tmp_path / "report" / "details" / "0.js").read_text().replace("\\u003e", ">")
    assert "Aldebaran (HIP 21421)" in (tmp_path / "report" / "tables" / "veto.csv").read_text()


def test_the_name_of_the_predictions_stays_text(run, tmp_path):
    sky = predicted(tmp_path / "<img src=x onerror='alert(1)'>", run)
    write_report(run, tmp_path / "report", predicted=sky)
    page = (tmp_path / "report" / "index.html").read_text()
    assert "&lt;img src=x onerror=" in page
    assert "<img" not in page


def test_the_review_page_is_given_predictions(run, sky):
    def client(session):
        opened = Client(review_app(session, hosts=frozenset({"localhost"}), token="s3cret"))
        opened.get("/?token=s3cret")
        return opened

    def shown(client, exposure):
        return client.get(f"/api/exposures/{exposure}", params={"reviewer": "Ada"}).json()

    without = client(ReviewSession(run))
    assert without.get("/api/queue", params={"reviewer": "Ada"}).json()["predicted"] is None
    assert shown(without, 2)["predicted"] is None
    assert [artifact["star"] for artifact in shown(without, 2)["artifacts"]] == ["", ""]
    opened = client(ReviewSession(run, predicted=sky))
    queue = opened.get("/api/queue", params={"reviewer": "Ada"}).json()
    column = queue["predicted"]
    state = dict(zip(queue["exposure"], (column["states"][k] for k in column["state"]), strict=True))
    assert {exposure for exposure, words in state.items() if words == MISSED} == {3, 4}
    expected = shown(opened, 2)["predicted"]
    assert [artifact["star"] for artifact in expected["artifacts"]] == [ALDEBARAN, NAMELESS]
    assert column["ccds"][f"CCDs {MISSED}"][queue["exposure"].index(2)] == len(expected["missed"]) > 0
    assert shown(opened, 2)["subject"] == shown(without, 2)["subject"]
