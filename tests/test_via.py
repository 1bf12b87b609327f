from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from cascade.errors import InputError
from cascade.exposure import Artifact
from cascade.via import Region, read_via, region_instances


def _region(shape: dict[str, object], type_: str = "Faint") -> dict[str, object]:
    return {"shape_attributes": shape, "region_attributes": {"Type": type_}}


def _write(path, records: dict[str, object]):
    path.write_text(json.dumps(records))
    return path


POLYGON = {"name": "polygon", "all_points_x": [1, 5, 5, 1], "all_points_y": [2, 2, 4, 4]}


def test_both_layouts_and_both_kinds_of_region_lists_are_read(tmp_path):
    images = {
        "a.jpg1": {"filename": "a.jpg", "regions": [_region(POLYGON)]},
        "b.jpg1": {"filename": "b.jpg", "regions": {"0": _region(POLYGON, "Rays")}},
        "c.jpg1": {"filename": "c.jpg", "regions": []},
    }
    plain = read_via(_write(tmp_path / "plain.json", images))
    project = read_via(_write(tmp_path / "project.json", {"_via_settings": {}, "_via_img_metadata": images}))
    assert plain == project
    assert [region.artifact for region in plain["a.jpg"]] == [Artifact.FAINT]
    assert [region.artifact for region in plain["b.jpg"]] == [Artifact.RAYS]
    assert plain["c.jpg"] == ()


def test_every_shape_has_the_expected_area(tmp_path):
    # Pixels under the outline itself count: a rectangle of 31 x 6, a triangle of 41 + 40 + ... + 1.
    shapes = {
        "circle": ({"name": "circle", "cx": 50, "cy": 60, "r": 20}, np.pi * 400),
        "ellipse": ({"name": "ellipse", "cx": 50, "cy": 60, "rx": 30, "ry": 10, "theta": 0.4}, np.pi * 300),
        "rect": ({"name": "rect", "x": 10, "y": 20, "width": 30, "height": 5}, 31 * 6),
        "polyline": ({"name": "polyline", "all_points_x": [10, 50, 10], "all_points_y": [10, 10, 50]}, 41 * 42 / 2),
    }
    for name, (shape, area) in shapes.items():
        path = _write(tmp_path / f"{name}.json", {"k": {"filename": "a.jpg", "regions": [_region(shape)]}})
        (region,) = read_via(path)["a.jpg"]
        assert region.mask().sum() == pytest.approx(area, rel=0.02), name


def test_ellipse_turns_clockwise_on_the_screen():
    # A long axis along x, turned by 45 degrees clockwise, points down to the right.
    mask = Region(Artifact.FAINT, "ellipse", (50.0,), (50.0,), (4.0, 30.0), np.pi / 4).mask()
    assert mask[65, 65]
    assert not mask[35, 65]


def test_polygon_agrees_with_an_independent_rasteriser():
    rng = np.random.default_rng(3)
    corners = rng.uniform(5, 95, (3, 2))
    mask = Region(Artifact.FAINT, "polygon", tuple(corners[:, 0]), tuple(corners[:, 1])).mask((100, 100))
    grid = np.stack(np.indices((100, 100)), axis=-1).reshape(-1, 2)
    expected = Outline(corners).contains_points(grid).reshape(100, 100)
    assert np.mean(mask != expected) < 0.002


def test_shape_over_the_border_is_clipped_not_wrapped():
    mask = Region(Artifact.RAYS, "polygon", (-20.0, -20.0, 10.0, 10.0), (-30.0, 5.0, 5.0, -30.0)).mask()
    assert mask[:10, :5].all()
    assert mask.sum() < 70
    circle = Region(Artifact.RAYS, "circle", (0.0,), (0.0,), (5.0, 5.0)).mask()
    assert not circle[200:].any()


@pytest.mark.parametrize(
    ("region", "reason"),
    [
        (_region({"name": "point", "cx": 1, "cy": 1}), "a point has no area"),
        (_region(POLYGON, "Comet"), "expected one of bright, faint, rays, got 'Comet'"),
        ({"shape_attributes": POLYGON, "region_attributes": {}}, "no 'Type'"),
        (_region({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2]}), "three or more points"),
        (_region({"name": "circle", "cx": float("nan"), "cy": 1, "r": 1}), "expected finite coordinates"),
        ("nonsense", "string indices"),
    ],
)
def test_unusable_region_is_left_out_with_a_warning(tmp_path, caplog, region, reason):
    path = _write(tmp_path / "a.json", {"k": {"filename": "a.jpg", "regions": [region, _region(POLYGON)]}})
    with caplog.at_level(logging.WARNING):
        assert len(read_via(path)["a.jpg"]) == 1
    assert "a.jpg: region 0 left out" in caplog.text
    assert reason in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected VIA JSON"),
        ("[]", "expected VIA JSON, a dict of images or a project, got a list"),
        ('{"k": {"name": "a.jpg"}}', "expected VIA image records with a 'filename'"),
        ('{"k": 7}', "expected VIA image records with a 'filename'"),
        ('{"k": {"filename": "a.jpg"}, "l": {"filename": "a.jpg"}}', "image 'a.jpg' is listed twice"),
    ],
)
def test_file_that_is_no_via_json_is_an_error(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_via(path)


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match="cannot read annotations: No such file"):
        read_via(tmp_path / "none.json")


def test_oversized_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("cascade.via.MAX_VIA_BYTES", 10)
    with pytest.raises(InputError, match="expected annotations of at most 10 bytes, got"):
        read_via(_write(tmp_path / "a.json", {"k": {"filename": "a.jpg"}}))


def test_instances_have_tight_boxes_and_skip_what_lies_outside():
    inside = Region(Artifact.BRIGHT, "rect", (10.0, 10.0, 20.0, 20.0), (30.0, 50.0, 50.0, 30.0))
    outside = Region(Artifact.BRIGHT, "circle", (-50.0,), (-50.0,), (5.0, 5.0))
    found = region_instances([inside, outside])
    assert len(found) == 1
    assert found.masks[0, 10:20, 30:50].all()
    assert found.boxes[0, :2].tolist() == [10, 30]
    assert len(region_instances([])) == 0


def test_all_real_annotations_are_read(real_data, caplog):
    path = real_data / "des_annotations" / "annotations_full.json"
    full = read_via(path)
    assert len(full) == 1975
    for artifact in Artifact:
        # Counted without the reader, from the text.
        expected = path.read_text().count(f'"Type": "{artifact.label.capitalize()}"') or path.read_text().count(
            f'"Type":"{artifact.label.capitalize()}"'
        )
        assert expected > 1500
        assert sum(region.artifact is artifact for image in full.values() for region in image) == expected
    assert not caplog.records
