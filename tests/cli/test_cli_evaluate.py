from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from evaluated import BRIGHT_28, BRIGHT_35, FAINT_35, RAYS_1, write_run, write_via
from PIL import Image
from reader_files import preview
from typer.testing import CliRunner

from cascade.cli.app import app
from cascade.evaluate.figures import COLOURS, _line
from cascade.evaluate.write import claim

A, B, CLEAN, C = (f"D0000000{k}.jpg" for k in range(1, 5))
TRUTH = {A: [BRIGHT_28, RAYS_1], B: [FAINT_35], CLEAN: [], C: []}
FOUND = {A: [BRIGHT_28], B: [FAINT_35, RAYS_1], CLEAN: [BRIGHT_35], C: []}
SCORES = {A: 0.9, B: 0.8, CLEAN: 0.6, C: 0.1}


def invoke(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "RUN", FOUND, scores=SCORES).path


@pytest.fixture
def truth(tmp_path):
    return write_via(tmp_path / "truth.json", TRUTH)


@pytest.fixture
def blank_figures(monkeypatch):
    """Figures are made but not drawn, which takes a second each."""

    def save(figure, stem):
        for suffix in (".png", ".pdf"):
            stem.with_name(stem.name + suffix).touch()

    for module in ("figures", "overlays", "agreement_figures"):
        monkeypatch.setattr(f"cascade.evaluate.{module}.save", save)


@pytest.mark.parametrize("command", ["evaluate", "agreement", "split"])
def test_commands_have_help_with_an_example(command):
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert "Example: cascade" in result.output


@pytest.mark.slow
def test_evaluation_leaves_numbers_figures_and_pages(tmp_path, run, truth):
    rival = write_run(tmp_path / "RIVAL$x", FOUND, scores=SCORES).path
    out = tmp_path / "out"
    result = invoke("evaluate", run, "--truth", truth, "--against", rival, "--out", out, "--resamples", 20)
    assert result.exit_code == 0, result.output
    assert "4 exposures, CCD F1 0." in result.output
    figures = json.loads((out / "metrics.json").read_text())["systems"]
    assert figures == ["RUN", "RIVAL$x"]
    names = {path.stem for path in (out / "figures").glob("*.png")}
    curves = {f"precision_recall_{kind}" for kind in ("coco_masks", "coco_boxes", "paper")}
    others = {"ccd_paper", "ccd_footprint", "pixel_iou", "confusion", "roc", "reliability", "differences", "overlays"}
    assert names == curves | others
    for name in names:
        with Image.open(out / "figures" / f"{name}.png") as image:
            assert image.width > 300
        assert (out / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert f"figures/{name}.png" in (out / "summary.html").read_text()
        assert f"figures/{name}.png" in (out / "summary.md").read_text()
    assert "RIVAL$x" in (out / "summary.html").read_text()
    tables = {path.stem: list(csv.DictReader(path.read_text().splitlines())) for path in (out / "tables").glob("*.csv")}
    assert set(tables) == {
        "ccd", "pixels", "instances", "differences", "exposures", "screening", "left_out", "problems"
    }  # fmt: skip
    row = next(r for r in tables["exposures"] if r["image"] == B and r["group"] == "Faint")
    assert (row["n_hits"], row["n_true"], row["n_found"], row["ccd_f1"]) == ("1", "1", "1", "1.0")


def test_curves_of_many_competitors_differ():
    looks = [tuple(map(str, _line(k).values())) for k in range(4 * len(COLOURS))]
    assert len(set(looks)) == len(looks)


@pytest.mark.slow
def test_folder_of_an_earlier_evaluation_is_taken_over(tmp_path, run, truth, blank_figures):
    out = tmp_path / "out"
    (out / "figures").mkdir(parents=True)  # as one leaves them that stopped before it wrote anything
    for _ in range(2):
        result = invoke("evaluate", run, "--truth", truth, "--out", out, "--resamples", 5)
        assert result.exit_code == 0, result.output
        (out / "figures" / "differences.png").touch(exist_ok=False)
    assert (out / "metrics.json").is_file()
    claim(out)
    assert not (out / "figures" / "differences.png").exists()


@pytest.mark.parametrize("file", ["thesis.tex", "figures/sky.png", "tables"])
def test_folder_with_anything_else_is_refused(tmp_path, run, truth, file):
    theirs = tmp_path / "out" / file
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    result = invoke("evaluate", run, "--truth", truth, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "expected a new folder or that of an earlier evaluation" in result.output
    assert theirs.is_file()
    result = invoke("evaluate", run, "--truth", truth, "--out", truth)
    assert "expected a folder, got a file" in result.output


def test_problems_of_the_annotations_are_said_and_listed(tmp_path, run, truth, blank_figures):
    records = json.loads(truth.read_text())
    records[0]["regions"][0]["region_attributes"] = {"Type": "\u001b[31mComet"}
    truth.write_text(json.dumps(records))
    out = tmp_path / "out"
    result = invoke("evaluate", run, "--truth", truth, "--out", out, "--resamples", 5)
    assert result.exit_code == 0, result.output
    assert f"warning: truth.json: {A}: region 0 left out: artifact class: expected one of" in result.output
    assert "\x1b" not in result.output
    assert "1 images or exposures left out" in result.output
    assert A in (out / "tables" / "problems.csv").read_text()
    assert f"{A},with regions that are not known" in (out / "tables" / "left_out.csv").read_text()


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The descriptions of the models of `run`: the segmenter learned from A and C and another image."""
    folder = tmp_path / "models" / "segment-fake"
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text(
        'task = "segment"\nclasses = ["bright"]\n[architecture]\nname = "x"\n[threshold]\nscore = 0.5\n'
        '[weights]\nsha256 = "bb"\ngolden = []\n[training]\nexposures = [1, 4, 77]\n'
    )
    monkeypatch.setenv("CASCADE_MODELS", str(folder.parent))


@pytest.mark.usefixtures("models")
def test_evaluation_on_what_the_model_learned_from_says_so(tmp_path, run, truth, blank_figures):
    out = tmp_path / "out"
    result = invoke("evaluate", run, "--truth", truth, "--out", out, "--resamples", 2)
    words = "segment-fake learned from 2 of these 4 exposures: its figures say how well it remembers them"
    assert f"warning: {words}" in result.output
    assert words in (out / "summary.html").read_text()
    assert words in (out / "summary.md").read_text().replace("\\", "")
    learned = json.loads((out / "metrics.json").read_text())["truth"]["learned"]
    assert learned == {"screen-fake": None, "segment-fake": 2}
    assert "What screen-fake learned from is not known." in result.output


@pytest.mark.usefixtures("models")
def test_competitor_that_learned_from_the_truth_is_named_once(tmp_path, truth, blank_figures):
    own = write_run(tmp_path / "OWN", FOUND).path
    rival = write_run(tmp_path / "RIVAL", FOUND).path
    result = invoke("evaluate", own, "--truth", truth, "--against", rival, "--out", tmp_path / "out", "--resamples", 2)
    assert result.output.count("segment-fake learned from 2 of these 4 exposures") == 1


@pytest.mark.slow
def test_truth_takes_several_files_and_a_human_line_can_be_lent(tmp_path, run, blank_figures):
    files = [write_via(tmp_path / f"person_{name}.json", TRUTH) for name in ("a", "b", "c")]
    (tmp_path / "previews").mkdir()
    Image.fromarray(preview()).save(tmp_path / "previews" / A)
    study = tmp_path / "study"
    result = invoke("agreement", *files, "--out", study, "--image", tmp_path / "previews" / A, "--resamples", 5)
    assert result.exit_code == 0, result.output
    assert "4 images, 3 annotators; median CCD F1 All 1.000" in result.output
    assert len(list((study / "figures").glob("*.pdf"))) == 7
    several = invoke("evaluate", run, "--truth", *files, "--out", tmp_path / "several", "--resamples", 5)
    assert several.exit_code == 0, several.output
    lent = invoke("evaluate", run, "--truth", files[0], "--human", study, "--out", tmp_path / "lent", "--resamples", 5)
    assert lent.exit_code == 0, lent.output
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("several", "lent")]
    assert metrics[0]["truth"]["annotators"] == ["person_a", "person_b", "person_c"]
    assert metrics[0]["human"] == metrics[1]["human"]
    wrong = invoke("agreement", *files, "--out", tmp_path / "wrong", "--image", "D00000099.jpg")
    assert "D00000099.jpg: expected an image that all annotators list, such as D00000001.jpg" in wrong.output


def test_labels_of_a_stack_give_its_confusion(tmp_path, blank_figures):
    run = write_run(tmp_path / "RUN", {f"x.npy[{k}]": [BRIGHT_28] if k in (1, 2) else [] for k in range(4)}).path
    labels = tmp_path / "y.npy"
    np.save(labels, np.array([0, 1, 0, 1]))
    out = tmp_path / "out"
    result = invoke("evaluate", run, "--truth", labels, "--out", out, "--resamples", 5)
    assert result.exit_code == 0, result.output
    assert "4 exposures, cascade accuracy 0.500" in result.output
    assert {path.stem for path in (out / "figures").glob("*.png")} == {"confusion", "roc", "reliability"}
    assert invoke("evaluate", run, "--truth", labels, "--veto", "f.txt", "--out", out).exit_code == 2


def test_agreement_draws_votes_on_the_preview(tmp_path):
    from cascade.camera import Camera
    from cascade.evaluate import read_truth, study_agreement
    from cascade.evaluate.agreement_figures import _votes

    files = [
        write_via(tmp_path / f"{name}.json", {A: [BRIGHT_28], B: drawn}) for name, drawn in (("a", []), ("b", [RAYS_1]))
    ]
    study = study_agreement(read_truth(files), Camera.decam(), n_resamples=5)
    Image.fromarray(preview()).save(tmp_path / A)
    for image, title in ((None, B), (tmp_path / A, A)):
        figure = _votes(study, Camera.decam(), image)
        assert figure.get_suptitle() == title
        shares = figure.axes[0].images[1].get_array()
        assert set(shares.compressed().tolist()) == ({0.5} if title == B else {1.0})


def test_split_writes_three_files(tmp_path):
    full = write_via(tmp_path / "full.json", {f"D{k:08d}.jpg": [BRIGHT_28] for k in range(20)})
    result = invoke("split", full, "--out", tmp_path / "parts", "--stratified")
    assert result.exit_code == 0, result.output
    assert "14 train, 3 val, 3 test" in result.output
    assert len(list((tmp_path / "parts").glob("annotations_*.json"))) == 3
