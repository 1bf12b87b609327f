from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from skimage import draw

from cascade.core.artifact import PAPER_CLASSES, Artifact
from cascade.core.errors import InputError
from cascade.core.via import Region, read_annotations, read_via, region_instances, via_document


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
        (_region(POLYGON, "Comet"), "artifact class: expected one of bright, faint, rays"),
        (
            {"shape_attributes": POLYGON, "region_attributes": {}},
            "expected its class in one attribute of type, class, ",
        ),
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
    "attributes",
    [
        {"Type": "Faint"},
        {"type": "faint"},
        {"TYPE ": " Faint "},
        {"class": "Faint", "seen by": "me"},
        {"name": "Faint"},
        {"type": "", "label": "Faint"},
        {"type": {"Faint": True}},
        {"type": {"Bright": False, "Faint": True, "Rays": False}},
    ],
)
def test_class_is_found_whatever_its_attribute_is_called(tmp_path, attributes):
    record = {"filename": "a.jpg", "regions": [{"shape_attributes": POLYGON, "region_attributes": attributes}]}
    (region,) = read_via(_write(tmp_path / "a.json", {"k": record}))["a.jpg"]
    assert region.artifact is Artifact.FAINT


@pytest.mark.parametrize("ticked", [{}, {"Bright": False}, {"Bright": True, "Faint": True}])
def test_no_class_and_two_classes_are_no_class(tmp_path, ticked):
    record = {
        "filename": "a.jpg",
        "regions": [{"shape_attributes": POLYGON, "region_attributes": {"type": ticked}}],
    }
    assert read_annotations(_write(tmp_path / "a.json", {"k": record})).incomplete == {"a.jpg"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected VIA JSON"),
        ("7", "expected VIA JSON, images as a dict or a list, or a project, got a int"),
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
    monkeypatch.setattr("cascade.core.via.read.MAX_VIA_BYTES", 10)
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


def test_list_of_images_as_the_papers_split_has_it_is_read(tmp_path):
    path = tmp_path / "list.json"
    path.write_text(json.dumps([{"filename": "a.jpg", "regions": [_region(POLYGON)], "size": 3}]))
    assert len(read_via(path)["a.jpg"]) == 1


def _problems(tmp_path, *records: dict[str, object]):
    path = tmp_path / "problems.json"
    path.write_text(json.dumps(records))
    return read_annotations(path)


@pytest.mark.parametrize(
    ("region", "kind", "message", "n_kept", "incomplete"),
    [
        (_region({"name": "point", "cx": 1, "cy": 1}), "no area", "a point has no area", 0, False),
        (_region(POLYGON, ""), "unclassed", "expected its class in one attribute of type, class, ", 0, True),
        (_region(POLYGON, "Comet"), "unclassed", "got 'Comet'", 0, True),
        ({"shape_attributes": POLYGON}, "unclassed", "name, category, got None", 0, True),
        (_region({"name": "star"}), "malformed", "expected a shape of VIA that has an area, got 'star'", 0, True),
        (_region({"name": "circle", "cx": 5, "cy": 5}), "malformed", "no 'r'", 0, True),
        (_region({"name": "circle", "cx": 5, "cy": 5, "r": None}), "malformed", "expected numbers as", 0, True),
        (_region({"name": "circle", "cx": 5, "cy": 5, "r": "9"}), "malformed", "expected numbers as", 0, True),
        (_region({"name": "circle", "cx": 5, "cy": 5, "r": True}), "malformed", "expected numbers as", 0, True),
        (_region({"name": "circle", "cx": 5, "cy": 10**400, "r": 9}), "malformed", "at most 1000000 px", 0, True),
        (_region({"name": "rect", "x": 0, "y": 0, "width": 1e300, "height": 9}), "malformed", "at most", 0, True),
        (_region({**POLYGON, "all_points_x": "159"}), "malformed", "points of an outline, got a str", 0, True),
        (_region({**POLYGON, "all_points_x": {"1": 0, "5": 0, "9": 0}}), "malformed", "got a dict", 0, True),
        (_region({"name": "circle", "cx": 5, "cy": 5, "r": -3}), "no area", "expected a positive size", 0, False),
        (_region({"name": "rect", "x": 5, "y": 5, "width": 0, "height": 9}), "no area", "got 0 by 9", 0, False),
        (_region({"name": "circle", "cx": -50, "cy": 5, "r": 9}), "outside", "columns -59 to -41", 1, False),
        (_region({"name": "circle", "cx": 3, "cy": 395, "r": 9}), "clipped", "rows 386 to 404", 1, False),
    ],
)
def test_every_problem_has_a_kind_and_a_message(tmp_path, region, kind, message, n_kept, incomplete):
    read = _problems(tmp_path, {"filename": "a.jpg", "regions": {"0": region}})
    (problem,) = read.problems
    assert (problem.image, problem.region, problem.kind) == ("a.jpg", 0, kind)
    assert message in problem.message
    assert str(problem).startswith("a.jpg: region 0 ")
    assert len(read.images["a.jpg"]) == n_kept
    assert ("a.jpg" in read.incomplete) is incomplete


def test_image_listed_twice_is_kept_once_if_alike_and_not_at_all_if_not(tmp_path):
    drawn = {"filename": "a.jpg", "regions": [_region(POLYGON)]}
    alike = _problems(tmp_path, drawn, drawn)
    assert [problem.kind for problem in alike.problems] == ["repeated"]
    assert len(alike.images["a.jpg"]) == 1
    different = _problems(tmp_path, drawn, {"filename": "a.jpg", "regions": []}, {"filename": "b.jpg"})
    assert [problem.kind for problem in different.problems] == ["duplicate"]
    assert set(different.images) == {"b.jpg"}
    assert different.incomplete == {"a.jpg"}


@pytest.mark.parametrize(
    ("regions", "message"),
    [(7, "got a int"), ([_region(POLYGON)] * 1001, "expected a list of at most 1000 regions, got 1001 of them")],
)
def test_unbearable_list_of_regions_makes_the_image_incomplete(tmp_path, regions, message):
    read = _problems(tmp_path, {"filename": "a.jpg", "regions": regions})
    assert message in read.problems[0].message
    assert read.incomplete == {"a.jpg"}


def test_outline_of_too_many_points_is_left_out(tmp_path):
    shape = {"name": "polygon", "all_points_x": [1] * 10_001, "all_points_y": [1] * 10_001}
    read = _problems(tmp_path, {"filename": "a.jpg", "regions": [_region(shape)]})
    assert "expected a list of at most 10000 points" in read.problems[0].message


def test_deeply_nested_file_is_an_error(tmp_path):
    path = tmp_path / "deep.json"
    path.write_text("[" * 200_000)
    with pytest.raises(InputError, match="expected VIA JSON"):
        read_via(path)


def test_circle_is_the_disk_of_skimage_and_an_ellipse_follows_its_formula():
    rows, columns = np.indices((400, 400))
    disk = np.zeros((400, 400), bool)
    disk[draw.disk((120.5, 77.25), 33.3, shape=disk.shape)] = True  # type: ignore[no-untyped-call]
    np.testing.assert_array_equal(Region(Artifact.FAINT, "circle", (120.5,), (77.25,), (33.3, 33.3)).mask(), disk)
    theta = 0.7
    along = (columns - 200) * np.cos(theta) + (rows - 150) * np.sin(theta)  # x' of an ellipse turned clockwise
    across = -(columns - 200) * np.sin(theta) + (rows - 150) * np.cos(theta)
    by_hand = (along / 90.5) ** 2 + (across / 20.5) ** 2 < 1
    mask = Region(Artifact.FAINT, "ellipse", (150.0,), (200.0,), (20.5, 90.5), theta).mask()
    np.testing.assert_array_equal(mask, by_hand)


def test_small_shapes_cover_the_pixels_counted_by_hand():
    square = Region(Artifact.BRIGHT, "polygon", (2.0, 2.0, 4.0, 4.0), (1.0, 5.0, 5.0, 1.0)).mask((8, 8))
    assert np.argwhere(square).tolist() == [[row, column] for row in (2, 3, 4) for column in (1, 2, 3, 4, 5)]
    dot = Region(Artifact.BRIGHT, "circle", (3.0,), (3.0,), (1.2, 1.2)).mask((8, 8))
    assert np.argwhere(dot).tolist() == [[2, 3], [3, 2], [3, 3], [3, 4], [4, 3]]


_coordinate = st.floats(-150, 550, allow_subnormal=False).map(lambda value: round(value, 3))
_radius = st.floats(0.5, 400).map(lambda value: round(value, 3))
_outlines = st.lists(st.tuples(_coordinate, _coordinate), min_size=3, max_size=7).map(
    lambda points: Region(Artifact.RAYS, "polyline", *map(tuple, zip(*points, strict=True)))
)
_ellipses = st.builds(
    lambda row, column, radii, theta: Region(Artifact.FAINT, "ellipse", (row,), (column,), radii, theta),
    _coordinate, _coordinate, st.tuples(_radius, _radius), st.floats(-7, 7),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(_outlines | _ellipses)
def test_mask_is_what_a_larger_image_shows_through_the_window(region):
    margin = 200
    moved = Region(
        region.artifact, region.shape, tuple(row + margin for row in region.rows),
        tuple(column + margin for column in region.columns), region.radii, region.theta,
    )  # fmt: skip
    large = moved.mask((400 + 2 * margin, 400 + 2 * margin))
    window = large[margin:-margin, margin:-margin]
    # Moving an outline rounds its coordinates, which may move single pixels that lie exactly on it.
    assert np.sum(region.mask() != window) <= 2
    y0, x0, y1, x1 = moved.extent()
    rows, columns = np.nonzero(large)
    assert np.all((rows >= y0 - 1e-6) & (rows <= y1 + 1e-6) & (columns >= x0 - 1e-6) & (columns <= x1 + 1e-6))


@settings(max_examples=30, deadline=None)
@given(st.lists(_outlines | _ellipses, max_size=4))
def test_what_is_written_is_read_again(tmp_path_factory, regions):
    path = tmp_path_factory.mktemp("via") / "a.json"
    path.write_text(json.dumps(via_document({"a.jpg": regions})))
    assert read_via(path) == {"a.jpg": tuple(regions)}


def test_all_real_annotations_are_read(real_data, caplog):
    path = real_data / "des_annotations" / "annotations_full.json"
    full = read_via(path)
    assert len(full) == 1975
    for artifact in PAPER_CLASSES:
        # Counted without the reader, from the text.
        expected = path.read_text().count(f'"Type": "{artifact.label.capitalize()}"') or path.read_text().count(
            f'"Type":"{artifact.label.capitalize()}"'
        )
        assert expected > 1500
        assert sum(region.artifact is artifact for image in full.values() for region in image) == expected
    assert not caplog.records


def test_the_papers_own_split_is_read_without_losses(real_data):
    read = [
        read_annotations(real_data / "des_annotations" / f"annotations_{part}.json")
        for part in ("train", "val", "test")
    ]
    assert [len(part.images) for part in read] == [1381, 296, 298]
    assert not any(part.incomplete for part in read)
    assert {problem.kind for part in read for problem in part.problems} == {"clipped"}
