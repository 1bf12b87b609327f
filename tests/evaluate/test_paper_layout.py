"""The paper's data as a user has them, in files of the same layout: zips and annotations, stacks, exclude lists."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fakes import BRIGHT, CLEAN, FakeScreener, FakeSegmenter, new_run
from reader_files import encode, write_zip
from typer.testing import CliRunner

from cascade.camera import Camera
from cascade.cli.app import app
from cascade.evaluate import Settings, evaluate_run, read_truth
from cascade.inputs import open_inputs
from cascade.pipeline.batch import run_serial
from cascade.simulate import simulate_exposure

pytestmark = pytest.mark.slow

CAMERA = Camera.decam()
QUICK = Settings(n_resamples=10)
PARTS = {"Training_set_1": 2, "Training_set_2": 2, "Training_set_3": 1, "Validation_set": 1, "Test_set": 2}
SQUARE = {"name": "rect", "x": 120, "y": 100, "width": 59, "height": 49}  # what the fake segmenter finds


def simulated(number: int, kind: int) -> np.ndarray:
    """A simulated exposure that tells the fake networks its kind."""
    image = simulate_exposure((), CAMERA, np.random.default_rng(number))
    image[0, 0] = kind
    return image


def record(expnum: int) -> dict[str, object]:
    region = {"shape_attributes": SQUARE, "region_attributes": {"Type": "Bright"}}
    return {"filename": f"Ghost_img_D{expnum:08d}.jpg", "size": 7, "regions": [region], "file_attributes": {}}


@pytest.fixture
def paper(tmp_path):
    """The folder of a user who downloaded everything."""
    expnum = 150_000
    annotations: dict[str, list[dict[str, object]]] = {"train": [], "val": [], "test": []}
    for part, n in PARTS.items():
        members = {}
        for _ in range(n):
            expnum += 1
            # As JPEG would change the pixel that tells the kind, these are PNG under the paper's names.
            members[f"{part}/Ghost_img_D{expnum:08d}.jpg"] = encode(simulated(expnum, BRIGHT))
            annotations[{"T": "train", "V": "val"}[part[0]] if part != "Test_set" else "test"].append(record(expnum))
        write_zip(tmp_path / f"{part}.zip", members | {f"__MACOSX/{part}/._x.jpg": b"junk"})
    for name, records in annotations.items():
        (tmp_path / f"annotations_{name}.json").write_text(json.dumps(records))
    for year in range(1, 7):
        lines = ["#date expnum ccd id ccdnum"] + (["20131101 150007 nan N4 35", "# added by hand"] if year == 2 else [])
        (tmp_path / f"ghost-scatter-y{year}.txt").write_text("\n".join(lines) + "\n")
    kinds = [BRIGHT, CLEAN, CLEAN, BRIGHT, CLEAN, BRIGHT]
    np.save(tmp_path / "x_ghost_test.npy", np.stack([simulated(k, kind) for k, kind in enumerate(kinds)]))
    np.save(tmp_path / "y_ghost_test.npy", np.array([1.0, 0.0, 1.0, 1.0, 0.0, 0.0]))
    identities = [(f"D{360_000 + k:08d}", 3, "g") for k in range(len(kinds))]
    np.save(tmp_path / "z_ghost_test.npy", np.array(identities, [("expnum", "U9"), ("year", "i4"), ("filter", "U1")]))
    return tmp_path


def cascade_run(inputs, out):
    """A run of the fake networks."""
    reader = open_inputs(inputs)
    run = new_run(out, reader)
    run_serial(reader, run, FakeScreener(), FakeSegmenter(), CAMERA)
    return run


def test_zips_and_annotations_of_a_part_fit_together(paper):
    zips = [paper / f"Training_set_{k}.zip" for k in (1, 2, 3)]
    result = evaluate_run(
        cascade_run(zips, paper / "RUN"), read_truth([paper / "annotations_train.json"]), CAMERA, QUICK
    )
    assert result.metrics["exposures"] == {"n": 5, "n_ghosted": 5, "left_out": {}, "problems": {}}
    assert result.metrics["pixels"]["RUN"]["Bright"]["value"] == 1


def test_parts_can_be_taken_together(paper):
    parts = [paper / f"{part}.zip" for part in PARTS]
    truth = read_truth([paper / f"annotations_{name}.json" for name in ("train", "val", "test")])
    assert evaluate_run(cascade_run(parts, paper / "RUN"), truth, CAMERA, QUICK).metrics["exposures"]["n"] == 8


def test_six_exclude_lists_are_one_competitor(paper):
    run = cascade_run([paper / "Test_set.zip"], paper / "RUN")
    truth = read_truth([paper / "annotations_test.json"])
    result = evaluate_run(run, truth, CAMERA, QUICK, veto=[f"ray tracing={paper}/ghost-scatter-y*.txt"])
    assert result.metrics["systems"] == ["RUN", "ray tracing"]
    assert result.metrics["ccd"]["systems"]["ray tracing"]["paper"]["All"]["n_found"][0] == 1


def test_stack_gives_its_confusion_matrix_in_one_command(paper, monkeypatch):
    asked = []

    def show_run(inputs, out, *, quiet):
        asked.append((inputs, out))
        return cascade_run(inputs, out)

    monkeypatch.setattr("cascade.cli.evaluate.show_run", show_run)
    # `overlays` first: imported while the other is patched, it would keep the patch for all tests to come.
    for module in ("overlays", "figures"):
        monkeypatch.setattr(f"cascade.evaluate.{module}.save", lambda figure, stem: None)
    stack, out = paper / "x_ghost_test.npy", paper / "out"
    words = ["evaluate", stack, "--truth", paper / "y_ghost_test.npy", "--out", out, "--resamples", 5]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert asked == [([str(stack)], out / "run")]
    found = json.loads((out / "metrics.json").read_text())["screening"]["systems"]["run"]
    expected = {"clean_kept": 2, "clean_flagged": 1, "ghosts_missed": 1, "ghosts_found": 2}
    assert found["screen"]["confusion"] == found["cascade"]["confusion"] == expected
