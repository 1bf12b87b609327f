from __future__ import annotations

import hashlib
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from evaluated import BRIGHT_28, BRIGHT_35, CAMERA, FAINT_35, RAYS_1, write_run, write_via
from export_runs import corner_marks, run_of

from cascade.camera import Camera
from cascade.core.errors import ConfigError, InputError, StoreError
from cascade.core.exposure import Source
from cascade.evaluate import Settings, evaluate_labels, evaluate_run, read_human_line, read_truth, study_agreement
from cascade.runs.run import open_run

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "metrics.schema.json").read_text(encoding="utf-8"))
QUICK = Settings(n_resamples=20)

A, B, C, CLEAN = (f"D0000000{k}.jpg" for k in range(1, 5))
TRUTH = {A: [BRIGHT_28, RAYS_1], B: [FAINT_35], C: [BRIGHT_28], CLEAN: []}
FOUND = {A: [BRIGHT_28], B: [FAINT_35, RAYS_1], C: [BRIGHT_28], CLEAN: [BRIGHT_35]}
SCORES = {A: 0.9, B: 0.8, C: 0.2, CLEAN: 0.6}  # C is not flagged, so nothing is found on it


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "RUN", FOUND, scores=SCORES)


@pytest.fixture
def truth(tmp_path):
    return read_truth([write_via(tmp_path / "truth.json", TRUTH)])


def valid(metrics):
    """The metrics as they are read again, held to the schema."""
    read = json.loads(json.dumps(metrics, allow_nan=False))
    jsonschema.validate(read, SCHEMA)
    return read


def test_figures_by_hand(run, truth):
    metrics = valid(evaluate_run(run, truth, CAMERA, QUICK).metrics)
    ccd = metrics["ccd"]["systems"]["RUN"]["paper"]
    everything = {key: ccd["All"][key][0] for key in ("n_hits", "n_true", "n_found")}
    # True: A on 28 and 1 (with neighbours of 1), B on 35, C on 28. Found: A on 28, B on 35 and 1, CLEAN on 35.
    bright = {key: ccd["Bright"][key][0] for key in ("n_hits", "n_true", "n_found")}
    assert bright == {"n_hits": 1, "n_true": 2, "n_found": 2}
    assert ccd["Bright"]["f1"]["value"][0] == pytest.approx(0.5)
    assert ccd["Bright"]["f1_per_exposure"][0] == pytest.approx(1 / 3)
    assert everything["n_hits"] == 2
    assert metrics["pixels"]["RUN"]["Faint"]["value"] == 1
    assert metrics["pixels"]["RUN"]["Bright"]["value"] == pytest.approx(1 / 3)
    assert metrics["instances"]["matched"]["RUN"]["All"]["f1"]["value"][0] == pytest.approx(2 * 2 / (4 + 4))
    answers = metrics["screening"]["systems"]["RUN"]
    assert answers["screen"]["confusion"] == {
        "clean_kept": 0, "clean_flagged": 1, "ghosts_missed": 1, "ghosts_found": 2
    }  # fmt: skip
    assert answers["screen"]["roc_auc"]["value"] == pytest.approx(2 / 3)
    assert metrics["exposures"] == {"n": 4, "n_ghosted": 3, "left_out": {}, "problems": {}}
    assert metrics["human"] is None
    assert metrics["models"] == {"screen": "screen-fake", "segment": "segment-fake", "threshold": 0.5}


def test_an_artifact_of_another_class_counts_for_all_but_not_for_its_class(tmp_path, truth):
    run = write_run(tmp_path / "OTHER", {B: [BRIGHT_35]})
    metrics = evaluate_run(run, truth, CAMERA, QUICK).metrics
    ccd = metrics["ccd"]["systems"]["OTHER"]["footprint"]
    assert (ccd["All"]["f1"]["value"][0], ccd["Bright"]["f1"]["value"][0], ccd["Faint"]["f1"]["value"][0]) == (1, 0, 0)
    matched = metrics["instances"]["matched"]["OTHER"]
    assert (matched["All"]["f1"]["value"][0], matched["class-blind"]["f1"]["value"][0]) == (0, 1)


def test_perfect_run_has_perfect_figures(tmp_path, truth):
    metrics = evaluate_run(write_run(tmp_path / "PERFECT", TRUTH), truth, CAMERA, QUICK).metrics
    for geometry in ("paper", "footprint"):
        assert metrics["ccd"]["systems"]["PERFECT"][geometry]["All"]["f1"]["value"][:10] == [1] * 10
    assert metrics["pixels"]["PERFECT"]["All"] == {"value": 1, "low": 1, "high": 1}
    assert metrics["instances"]["coco"]["PERFECT"]["masks"]["mean"]["AP"]["value"] == pytest.approx(1)
    assert metrics["instances"]["paper"]["PERFECT"]["All"]["ap_where_present"]["value"] == [1] * 5
    assert list(metrics["screening"]["systems"]["PERFECT"]) == ["cascade"]  # it did not screen


def test_order_of_the_exposures_does_not_change_the_figures(tmp_path, run, truth):
    other = write_run(tmp_path / "sub" / "RUN", dict(reversed(FOUND.items())), scores=SCORES)
    one, two = (evaluate_run(r, truth, CAMERA, QUICK).metrics for r in (run, other))
    assert {k: v for k, v in one.items() if k != "run"} == {k: v for k, v in two.items() if k != "run"}


def test_several_annotators_make_a_majority_and_a_human_line(tmp_path, run):
    files = [
        write_via(tmp_path / f"{name}.json", {**TRUTH, A: drawn})
        for name, drawn in (("one", [BRIGHT_28]), ("two", [BRIGHT_28, RAYS_1]), ("three", [BRIGHT_28]))
    ]
    truth = read_truth(files)
    metrics = valid(evaluate_run(run, truth, CAMERA, QUICK).metrics)
    assert metrics["ccd"]["systems"]["RUN"]["footprint"]["Rays"]["n_true"][0] == 0
    assert metrics["human"]["n_annotators"] == 3
    assert metrics["human"]["ccd"]["paper"]["Bright"]["f1"][0] == 1
    named = evaluate_run(run, truth, CAMERA, Settings("two", n_resamples=5)).metrics
    assert named["ccd"]["systems"]["RUN"]["footprint"]["Rays"]["n_true"][0] > 0
    with pytest.raises(ConfigError, match=r"expected majority or an annotator \(one, two, three\), got 'four'"):
        evaluate_run(run, truth, CAMERA, Settings("four", n_resamples=5))


def test_competitors_are_compared_on_the_same_exposures(tmp_path, run, truth):
    rival = write_run(tmp_path / "RIVAL", {A: [BRIGHT_28, RAYS_1], B: [FAINT_35], CLEAN: []})
    person = write_via(tmp_path / "person.json", {**TRUTH, CLEAN: [RAYS_1]})
    (tmp_path / "list-y1.txt").write_text("nan 1 nan nan 28\n")
    (tmp_path / "list-y2.txt").write_text("# later\n20121101 2 14 N4 35\n20121101 77 66 S14 13\n")
    result = evaluate_run(
        run, truth, CAMERA, QUICK, against=[rival.path, person], veto=[f"traced={tmp_path}/list-y*.txt"]
    )
    metrics = valid(result.metrics)
    assert metrics["systems"] == ["RUN", "RIVAL", "person", "traced"]
    assert result.names == (A, B, CLEAN)
    assert metrics["exposures"]["left_out"] == {"not in every competitor": 1}
    ccd = {name: found["paper"]["All"] for name, found in metrics["ccd"]["systems"].items()}
    assert ccd["RIVAL"]["f1"]["value"][0] == 1
    assert ccd["traced"]["n_found"] == [2] * 19
    assert ccd["traced"]["precision"]["value"][0] == 1
    assert set(metrics["pixels"]) == {"RUN", "RIVAL", "person"}
    differences = metrics["differences"]
    assert set(differences) == {"RIVAL", "person", "traced"}
    assert differences["RIVAL"]["ccd_f1"]["paper"]["0.00"]["All"]["value"] < 0
    assert differences["traced"]["pixel_iou"] is None
    assert metrics["screening"]["systems"]["traced"]["list"]["confusion"]["ghosts_found"] == 2


def test_difference_is_that_of_the_figures(tmp_path, run, truth):
    rival = write_run(tmp_path / "RIVAL", {**FOUND, CLEAN: []}, scores=SCORES)
    metrics = evaluate_run(run, truth, CAMERA, QUICK, against=[rival.path]).metrics
    one, two = (metrics["ccd"]["systems"][name]["paper"]["All"]["f1"]["value"][1] for name in ("RUN", "RIVAL"))
    assert metrics["differences"]["RIVAL"]["ccd_f1"]["paper"]["0.05"]["All"]["value"] == pytest.approx(one - two, 1e-4)
    ap = [metrics["instances"]["coco"][name]["masks"]["Bright"]["AP"]["value"] for name in ("RUN", "RIVAL")]
    found = metrics["differences"]["RIVAL"]["coco"]["Bright"]["AP"]["value"]
    assert found == pytest.approx(ap[0] - ap[1], abs=1e-5)


def test_labels_give_the_confusion_of_a_stack(tmp_path):
    run = write_run(tmp_path / "RUN", {f"x.npy[{k}]": [BRIGHT_28] if k in (1, 2) else [] for k in range(4)})
    np.save(tmp_path / "y.npy", np.array([0, 1, 0, 1]))
    metrics = valid(evaluate_labels(run, tmp_path / "y.npy", QUICK).metrics)
    found = metrics["screening"]["systems"]["RUN"]["cascade"]
    assert set(found["confusion"].values()) == {1}
    assert found["accuracy"]["value"] == 0.5
    assert metrics["ccd"] is None
    rival = write_run(tmp_path / "RIVAL", {f"x.npy[{k}]": [] for k in range(4)}, failed=["x.npy[0]"])
    with pytest.raises(ConfigError, match="expected the same exposures to have failed"):
        evaluate_labels(run, tmp_path / "y.npy", QUICK, against=[rival.path])


def test_agreement_is_symmetric_and_fits_the_schema(tmp_path):
    drawn = (("one", {**TRUTH, "D00000005.jpg": []}), ("two", {**FOUND, "D00000005.jpg": []}))
    files = [write_via(tmp_path / f"{name}.json", images) for name, images in drawn]
    study = study_agreement(read_truth(files), CAMERA, n_resamples=20)
    metrics = valid(study.metrics)
    matrix = metrics["pairs"]["pixel_iou"]["Bright"]["matrix"]
    # Pixels of a square of 20 x 20: both on A and C; one alone on CLEAN.
    assert matrix[0][1] == matrix[1][0] == pytest.approx(2 / 3)
    assert matrix[0][0] is None
    assert metrics["leave_one_out"]["pixel_iou"]["Bright"]["each"] == [pytest.approx(2 / 3)] * 2
    assert metrics["leave_one_out"]["instance_f1"]["All"]["median"]["value"] == pytest.approx(2 * 3 / 9)
    assert metrics["human"]["boxes"] == metrics["human"]["instances"]  # what is drawn are rectangles
    assert metrics["human"]["screening"] == {"true_positive_rate": 0.875, "false_positive_rate": 0.25}
    out = tmp_path / "metrics.json"
    out.write_text(json.dumps(study.metrics))
    assert read_human_line(tmp_path) == read_human_line(out) == metrics["human"]


@pytest.mark.slow
def test_known_agreement_of_people_is_reproduced(real_data):
    study = study_agreement(read_truth([real_data / "des_common_core" / "annotations"]), CAMERA, n_resamples=20)
    medians = {group: one["median"]["value"] for group, one in study.metrics["leave_one_out"]["ccd_f1"].items()}
    expected = {"All": 0.931, "Rays+Bright": 0.784, "Rays": 0.873, "Bright": 0.704, "Faint": 0.903}
    assert {group: medians[group] for group in expected} == pytest.approx(expected, abs=0.001)
    assert study.metrics["human"]["ccd"]["paper"]["Rays"]["f1"][0] == pytest.approx(0.873, abs=0.001)


def test_bad_requests_are_refused(tmp_path, run, truth):
    with pytest.raises(ConfigError, match=r"prevalence: expected a share in \(0, 1\), got 1"):
        Settings(prevalence=1)
    with pytest.raises(ConfigError, match="n_resamples: expected at least 1, got 0"):
        Settings(n_resamples=0)
    with pytest.raises(ConfigError, match="expected two annotators or more of the same images, got truth"):
        study_agreement(truth, CAMERA)
    with pytest.raises(ConfigError, match="expected a name each, got 'RUN' twice"):
        evaluate_run(run, truth, CAMERA, QUICK, against=[run.path])
    with pytest.raises(ConfigError, match=r"nowhere.txt: expected a veto list, found no such file"):
        evaluate_run(run, truth, CAMERA, QUICK, veto=[str(tmp_path / "nowhere.txt")])
    strangers = read_truth([write_via(tmp_path / "strangers.json", {"photo.jpg": []})])
    with pytest.raises(ConfigError, match=r"expected exposures that are annotated, got none; .* like photo.jpg"):
        evaluate_run(run, strangers, CAMERA, QUICK)
    with pytest.raises(
        ConfigError, match=r"expected the metrics.json of cascade agreement, got format 'ghost-cascade run'"
    ):
        read_human_line(run.path / "run.json")
    other = {"format": "ghost-cascade agreement", "format_version": 1, "human": {"n_annotators": 8}}
    (tmp_path / "other.json").write_text(json.dumps(other))
    with pytest.raises(ConfigError, match=r"expected the metrics.json of cascade agreement, got format"):
        read_human_line(tmp_path / "other.json")


def test_veto_list_needs_exposure_numbers(tmp_path):
    run = write_run(tmp_path / "RUN", {"photo.jpg": []})
    truth = read_truth([write_via(tmp_path / "t.json", {"photo.jpg": []})])
    (tmp_path / "list.txt").write_text("nan 1 nan nan 28\n")
    with pytest.raises(ConfigError, match="needs the exposure number of every exposure, got 1 without"):
        evaluate_run(run, truth, CAMERA, QUICK, veto=[str(tmp_path / "list.txt")])


def test_veto_lists_of_any_format_are_taken_for_what_they_say_of_ghosts(tmp_path, run, truth):
    table = tmp_path / "compiled.csv"
    table.write_text("EXPNUM,CCDNUM,REASON,ANALYST\n1,28,Ghost/Scatter,someone\n3,28,Streak,someone\n")
    metrics = valid(evaluate_run(run, truth, CAMERA, QUICK, veto=[str(table)]).metrics)
    assert metrics["ccd"]["systems"]["compiled"]["paper"]["All"]["n_found"][0] == 1
    table.write_text("EXPNUM,CCDNUM,REASON\n3,28,Streak\n")
    with pytest.raises(ConfigError, match="expected entries with the reason Ghost/Scatter, got none of 1"):
        evaluate_run(run, truth, CAMERA, QUICK, veto=[str(table)])


def test_form_of_a_veto_list_may_stand_before_it(tmp_path, run, truth):
    (tmp_path / "uniq.txt").write_text("1 3\n2 3\n")
    with pytest.raises(InputError, match="say which: pairs:"):
        evaluate_run(run, truth, CAMERA, QUICK, veto=[str(tmp_path / "uniq.txt")])
    for spec, name in ((f"pairs:{tmp_path}/uniq.txt", "uniq"), (f"list=pairs:{tmp_path}/u*.txt", "list")):
        metrics = valid(evaluate_run(run, truth, CAMERA, QUICK, veto=[spec]).metrics)
        assert metrics["ccd"]["systems"][name]["paper"]["All"]["n_found"][0] == 2


@pytest.mark.parametrize("line", ["nan nan nan nan 28", "nan 1 nan nan nan", "nan 1 nan nan 63", "nan 1 28"])
def test_veto_list_that_names_no_ccd_of_an_exposure_is_refused(tmp_path, run, truth, line):
    (tmp_path / "list.txt").write_text(f"# comment\n{line}\n")
    with pytest.raises(InputError, match=r"list\.txt"):
        evaluate_run(run, truth, CAMERA, QUICK, veto=[str(tmp_path / "list.txt")])


def test_run_of_another_camera_is_refused(tmp_path, run, truth):
    lsst = Camera.load("lsstcam")
    other = run_of(tmp_path / "LSST", [(Source(f"night/{A}", 1), corner_marks(5, lsst))], lsst)
    message = "LSST: expected a run of decam, whose CCDs are counted, got one of lsstcam"
    with pytest.raises(ConfigError, match=message):
        evaluate_run(other, truth, CAMERA, QUICK)
    with pytest.raises(ConfigError, match=message):
        evaluate_run(run, truth, CAMERA, QUICK, against=[other.path])


@pytest.mark.slow
def test_runs_on_an_object_store_are_compared(tmp_path, run, truth, s3_folder):
    urls = [f"{s3_folder}/{name}" for name in ("STORED", "RIVAL")]
    stored, _ = (write_run(url, FOUND, scores=SCORES) for url in urls)
    result = evaluate_run(stored, truth, CAMERA, QUICK, against=[urls[1], run.path])
    metrics = valid(result.metrics)
    assert metrics["run"] == urls[0]
    assert metrics["systems"] == ["STORED", "RIVAL", "RUN"]
    assert metrics["differences"]["RUN"]["ccd_f1"]["paper"]["0.00"]["All"] == {"value": 0, "low": 0, "high": 0}


def test_stack_of_which_all_failed_is_refused(tmp_path):
    names = {f"x.npy[{k}]": [] for k in range(2)}
    run = write_run(tmp_path / "RUN", names, failed=list(names))
    np.save(tmp_path / "y.npy", np.array([0, 1]))
    with pytest.raises(ConfigError, match="expected exposures to compare, got none of 2 that did not fail"):
        evaluate_labels(run, tmp_path / "y.npy", QUICK)


def test_damaged_masks_of_a_run_are_an_error(tmp_path, run, truth):
    import pyarrow as pa
    from pyarrow import parquet

    part = run.path / "artifacts" / "part-00000.parquet"
    table = parquet.read_table(part, partitioning=None)
    column = table.schema.get_field_index("rle")
    damaged = table.set_column(column, table.schema.field(column), pa.array(["5"] * table.num_rows))
    parquet.write_table(damaged, part)
    with pytest.raises(StoreError, match=r"artifacts/part-00000.parquet: expected sha256"):
        evaluate_run(open_run(run.path), truth, CAMERA, QUICK)
    entry = run.path / "ledger" / "batch-00000.json"
    content = json.loads(entry.read_text())
    content["files"]["artifacts/part-00000.parquet"] = hashlib.sha256(part.read_bytes()).hexdigest()
    del content["sha256"]
    entry.write_text(json.dumps(content))
    with pytest.raises(StoreError, match=r"artifacts of exposure 0: expected .* run lengths .*; the run is damaged"):
        evaluate_run(open_run(run.path), truth, CAMERA, QUICK)


def test_unfinished_competitor_is_refused(tmp_path, run, truth):
    (run.path / "ledger" / "batch-00000.json").rename(tmp_path / "aside.json")
    fine = write_run(tmp_path / "FINE", FOUND)
    with pytest.raises(StoreError, match="expected a complete run, got 0 of 1 batches"):
        evaluate_run(fine, truth, CAMERA, QUICK, against=[run.path])
