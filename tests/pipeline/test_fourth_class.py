"""One more line in the table of classes, and a trail goes all the way; `trail_pipe` makes what is looked at here."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trail_pipe
import zarr
from class_table import TRAIL
from pyarrow import parquet

from cascade.core.artifact import Artifact
from cascade.core.errors import StoreError
from cascade.export.annotations import write_coco
from cascade.pages.report.snapshot import take_snapshot
from cascade.pipeline.season import run_season
from cascade.runs.run import open_run
from cascade.runs.verify import verify_run

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
COLOUR = TRAIL.split('"')[1]


@pytest.fixture(scope="module")
def out(tmp_path_factory, tiny_architectures):
    """What a process with four classes wrote."""
    folder = tmp_path_factory.mktemp("four")
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    command = [sys.executable, str(TESTS / "trail_pipe.py"), str(folder), json.dumps(tiny_architectures["segment"])]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def rows(path):
    return list(csv.DictReader(line for line in path.read_text().splitlines() if not line.startswith("#")))


def test_this_process_knows_no_trails():
    assert "TRAIL" not in Artifact.__members__


def test_the_run_has_a_bit_and_a_column_for_the_class(out):
    config = json.loads((out / "run/run.json").read_text())["config"]
    assert config["classes"][3] == {"label": "trail", "bit": 8}
    array = zarr.open_array(out / "run/masks.zarr/mask", mode="r")
    assert array.attrs["flag_meanings"] == "bright faint rays trail"
    assert array.attrs["flag_masks"] == [1, 2, 4, 8]
    np.testing.assert_array_equal(array[1], 8 * trail_pipe.trail_mask())
    assert np.unique(array[2]).tolist() == [0, 2, 8, 10]
    ccds = parquet.read_table(out / "run/ccds/part-00000.parquet")
    assert [name for name in ccds.column_names if name.endswith("_fraction")] == [
        "area_fraction", "bright_fraction", "faint_fraction", "rays_fraction", "trail_fraction",
    ]  # fmt: skip
    assert ccds["trail_fraction"].to_pylist() == ccds["area_fraction"].to_pylist()


def test_code_that_does_not_know_the_class_reads_the_run_but_loses_nothing_of_it(out, tmp_path):
    run = open_run(out / "run")
    assert set(run.table("artifacts")["class"].to_pylist()) == {"trail", "faint"}
    assert max(run.table("ccds")["trail_fraction"].to_pylist()) > 0
    assert verify_run(run) == []
    for use in (take_snapshot, lambda run: write_coco(run, tmp_path)):
        with pytest.raises(StoreError, match=r"the classes bright, faint, rays, got also trail, which would be lost"):
            use(run)


def test_vetoes_are_by_class(out):
    listed = {path.stem: {(r["expnum"], r["ccdnum"]) for r in rows(path)} for path in (out / "vetoes").iterdir()}
    assert listed["bright"] == set()
    assert {expnum for expnum, _ in listed["trail"]} == {"700001", "700002"}
    assert {expnum for expnum, _ in listed["faint"]} == {"700002"}
    assert listed["all"] == listed["trail-faint"] == listed["trail"] | listed["faint"]
    assert "classes=bright,faint,rays,trail" in (out / "vetoes/all.csv").read_text()


def test_exports_name_the_class_and_its_colour(out):
    regions = (out / "exports/D00700001_preview.reg").read_text()
    assert f"color={COLOUR}" in regions
    assert "trail 0.90" in regions
    coco = json.loads((out / "exports/coco.json").read_text())
    assert coco["categories"][3] == {"id": 4, "name": "trail"}
    assert [one["category_id"] for one in coco["annotations"]] == [4, 4, 2]
    via = json.loads((out / "exports/via.json").read_text())
    (drawn,) = (image for image in via.values() if image["filename"] == "D00700001.png")
    types = [region["region_attributes"]["Type"] for region in drawn["regions"]]
    assert types == ["Trail"]
    planes = json.loads((out / "exports/planes.json").read_text())
    assert (planes["GHOST"], planes["GHOST_TRAIL"]) == (15, 8)


def test_the_evaluation_counts_the_pixels_of_the_class(out):
    n = int(trail_pipe.trail_mask().sum())
    counted = json.loads((out / "evaluation/pixels.json").read_text())
    assert list(counted) == ["All", "Rays+Bright", "Rays", "Bright", "Faint", "Trail"]
    both, true, found = counted["Trail"]
    assert found == 2 * n
    assert 0.9 * found < both <= min(true, found)  # the truth is made of polygons
    metrics = json.loads((out / "evaluation/metrics.json").read_text())
    assert metrics["pixels"]["run"]["Trail"]["value"] > 0.9
    assert metrics["ccd"]["systems"]["run"]["footprint"]["Trail"]["f1"]["value"][0] > 0.9
    assert metrics["instances"]["coco"]["run"]["masks"]["Trail"]["AP50"]["value"] == 1
    assert sorted(path.name for path in (out / "evaluation/figures").glob("precision_recall*.png"))


def test_pages_carry_name_colour_key_and_meaning(out):
    pages = out / "pages"
    for script in (pages / "classes.js", pages / "report/data.js", pages / "report.html"):
        text = script.read_text()
        assert '{"name": "trail", "bit": 8, "key": "4", "meaning": "a satellite trail' in text, script
    for style in (pages / "classes.css", pages / "report/static/classes.css", pages / "report.html"):
        assert f".trail {{ --class: {COLOUR}; --dash: 9 3 2 3; --border: dashed; }}" in style.read_text(), style
    season = json.loads((pages / "report/data.js").read_text().splitlines()[-1].split(" = ", 1)[1].rstrip(";"))
    assert season["classes"] == [0, 8, 10]
    review = (pages / "review.html").read_text()
    assert review.index("/static/classes.js") < review.index("/static/focal.js")
    assert "/static/classes.css" in review


def test_people_can_draw_the_class(out):
    drawn = json.loads((out / "pages/drawn.json").read_text())["mine"]["drawn"]
    assert [one["class"] for one in drawn] == ["trail"]


def test_a_browser_shows_the_class_in_its_colour(out):
    if not (out / "pages/seen.json").is_file():
        pytest.skip("NO BROWSER: the legend was not looked at; install Chromium and playwright")
    name, colour, style = json.loads((out / "pages/seen.json").read_text())
    assert name == "trail"
    assert colour == "rgb({}, {}, {})".format(*bytes.fromhex(COLOUR[1:]))
    assert style == "dashed"


def test_a_shipped_model_of_three_classes_gives_the_same_files_as_without_the_fourth(out, tmp_path):
    run_season(out / "previews", tmp_path / "shipped", engine="keras", recall=0.9)
    there, here = (
        {
            str(file.relative_to(folder)): file.read_bytes()
            for file in sorted(folder.rglob("*"))
            if file.is_file() and file.relative_to(folder).parts[0] not in ("ledger", "logs", "lease", "run.json")
        }
        for folder in (out / "shipped", tmp_path / "shipped")
    )
    assert there.keys() == here.keys()
    assert [name for name in here if here[name] != there[name]] == []
    assert "trail_fraction" not in open_run(out / "shipped").table("ccds").column_names
    assert open_run(out / "shipped").config == open_run(tmp_path / "shipped").config
