from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from typer.testing import CliRunner

from cascade.cli.app import app
from cascade.core.errors import ConfigError
from cascade.core.via import read_via, region_instances, via_document
from cascade.inputs import open_inputs
from cascade.simulate import Season, Simulator
from cascade.simulate.dataset import BATCH, write_season

pytestmark = pytest.mark.slow

SEASON = Season(6, 0.67, 3)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("season")
    write_season(SEASON, out)
    return out


@pytest.fixture(scope="module")
def drawn():
    simulator = Simulator()
    return [SEASON.draw(n, simulator) for n in range(SEASON.n_exposures)]


def test_previews_are_read_back_by_the_reader(written, drawn):
    reader = open_inputs([written / "previews.zarr"])
    assert len(reader) == 6
    for n, exposure in enumerate(drawn):
        read = reader.read(n)
        assert read.source.expnum == exposure.expnum
        assert np.array_equal(read.image, exposure.image)


def test_via_gives_the_masks_back(written, drawn):
    regions = read_via(written / "via.json")
    assert len(regions) == 6
    for exposure in drawn:
        found = region_instances(regions[f"D{exposure.expnum:08d}.jpg"])
        assert np.array_equal(found.masks, exposure.instances.masks)
        assert np.array_equal(found.classes, exposure.instances.classes)


def test_every_shape_survives_via(tmp_path, drawn):
    from cascade.core.artifact import Artifact
    from cascade.core.via import Region

    regions = (
        Region(Artifact.BRIGHT, "rect", (1.0, 1.0, 5.0, 5.0), (2.0, 9.0, 9.0, 2.0)),
        Region(Artifact.RAYS, "polyline", (1.0, 8.0, 5.0), (2.0, 3.0, 9.0)),
        Region(Artifact.FAINT, "ellipse", (50.0,), (60.0,), (10.0, 20.0), 0.4),
    )
    path = tmp_path / "via.json"
    path.write_text(json.dumps(via_document({"a.jpg": regions})))
    back = read_via(path)["a.jpg"]
    assert [region.shape for region in back] == ["rect", "polyline", "ellipse"]
    for region, again in zip(regions, back, strict=True):
        assert np.array_equal(region.mask(), again.mask())


def test_coco_holds_the_same_masks(written, drawn):
    coco = json.loads((written / "coco.json").read_text())
    assert [category["name"] for category in coco["categories"]] == ["bright", "faint", "rays"]
    labels = [label for exposure in drawn for label in exposure.labels]
    assert len(coco["annotations"]) == len(labels)
    for row, label in zip(coco["annotations"], labels, strict=True):
        assert np.array_equal(coco_mask.decode(row["segmentation"]).astype(bool), label.mask)
        assert row["area"] == label.mask.sum()
        assert row["category_id"] == label.region.artifact + 1
        x, y, width, height = row["bbox"]
        assert label.mask[y : y + height, x : x + width].sum() == label.mask.sum()


def test_truth_tells_of_every_ghost_and_beam(written, drawn):
    truth = pq.read_table(written / "truth.parquet").to_pylist()
    assert sum(row["labelled"] for row in truth) == sum(len(exposure.labels) for exposure in drawn)
    ghosts = [row for row in truth if row["star"] is not None]
    assert len(ghosts) == sum(len(star.pairs) for exposure in drawn for star in exposure.stars)
    assert all((row["class"] is not None) == row["labelled"] for row in truth)
    exposures = pq.read_table(written / "exposures.parquet").to_pylist()
    assert [row["ghosted"] for row in exposures] == [bool(exposure.labels) for exposure in drawn]


def test_workers_change_nothing(tmp_path):
    season = Season(BATCH + 2, 0.0, 5)
    for n_workers in (1, 2):
        write_season(season, tmp_path / str(n_workers), n_workers=n_workers)
    for name in ("via.json", "coco.json", "exposures.parquet", "truth.parquet"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    first, second = (open_inputs([tmp_path / n / "previews.zarr"]) for n in ("1", "2"))
    assert all(np.array_equal(first.read(n).image, second.read(n).image) for n in range(BATCH + 2))


def test_jpegs_keep_their_looks_and_are_replaced(tmp_path, drawn):
    write_season(Season(2, 0.5, 1), tmp_path / "season", format="jpeg")
    write_season(Season(1, 0.67, 3), tmp_path / "season", format="jpeg")
    files = sorted((tmp_path / "season" / "previews").iterdir())
    assert [file.name for file in files] == ["D00900001.jpg"]
    expected = Season(1, 0.67, 3).draw(0, Simulator()).image
    with Image.open(files[0]) as kept:
        assert np.abs(np.asarray(kept, int) - expected).mean() < 1


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="expected a new folder or that of an earlier season"):
        write_season(SEASON, tmp_path)


@pytest.mark.parametrize(("n_exposures", "n_workers"), [(0, 1), (1, 0)])
def test_nothing_to_do_is_refused(tmp_path, n_exposures, n_workers):
    with pytest.raises(ConfigError, match="one or more exposures and workers"):
        write_season(Season(n_exposures, 0.5, 1), tmp_path / "out", n_workers=n_workers)


def test_the_command_writes_a_season_and_a_gallery(tmp_path):
    words = ["simulate", "2", "--out", str(tmp_path / "s"), "--seed", "4", "--gallery", "--quiet", "--format", "jpeg"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "2 exposures" in result.output
    with Image.open(tmp_path / "s" / "gallery.png") as picture:
        assert picture.size[0] > 500
    refused = CliRunner().invoke(app, ["simulate", "1", "--out", str(tmp_path)])
    assert refused.exit_code == 1
    assert refused.output.count("\n") == 1
