from __future__ import annotations

import json

import numpy as np
import pytest
from evaluated import BRIGHT_28, RAYS_1, write_run, write_via

from cascade.core.errors import ConfigError, InputError
from cascade.evaluate import match_exposures, match_labels, read_stack_labels, read_truth
from cascade.runs.run import open_run


def names(*numbers):
    return [f"D{number:08d}.jpg" for number in numbers]


def exposures(tmp_path, *found, **options):
    return write_run(tmp_path / "run", dict.fromkeys(found, ()), **options).table("exposures")


def test_files_that_share_images_are_annotators(tmp_path):
    one = write_via(tmp_path / "one.json", {"a.jpg": [BRIGHT_28], "b.jpg": []})
    two = write_via(tmp_path / "two.json", {"b.jpg": [RAYS_1], "a.jpg": [], "c.jpg": []})
    truth = read_truth([one, two])
    assert truth.annotators == ("one", "two")
    assert truth.names == ("a.jpg", "b.jpg")
    assert truth.left_out["not by every annotator"] == ("c.jpg",)
    assert [len(regions["a.jpg"]) for regions in truth.regions] == [1, 0]


def test_files_that_share_none_are_one_annotation(tmp_path):
    parts = [write_via(tmp_path / f"{name}.json", {f"{name}.jpg": []}) for name in ("train", "test")]
    truth = read_truth(parts)
    assert truth.annotators == ("train+test",)
    assert truth.names == ("test.jpg", "train.jpg")


def test_folder_stands_for_its_files(tmp_path):
    write_via(tmp_path / "one.json", {"a.jpg": []})
    write_via(tmp_path / "two.json", {"a.jpg": []})
    assert read_truth([tmp_path]).annotators == ("one", "two")


def test_image_with_a_region_of_no_class_is_left_out(tmp_path):
    path = write_via(tmp_path / "one.json", {"a.jpg": [BRIGHT_28], "b.jpg": [BRIGHT_28]})
    records = json.loads(path.read_text())
    records[0]["regions"][0]["region_attributes"] = {}
    path.write_text(json.dumps(records))
    truth = read_truth([path])
    assert truth.names == ("b.jpg",)
    assert truth.left_out["with regions that are not known"] == ("a.jpg",)
    assert [(file, problem.kind) for file, problem in truth.problems] == [("one.json", "unclassed")]


def test_bad_sets_of_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"expected VIA files \(\*.json\), found none"):
        read_truth([tmp_path])
    (tmp_path / "sub").mkdir()
    one = write_via(tmp_path / "one.json", {"a.jpg": []})
    other = write_via(tmp_path / "sub" / "one.json", {"a.jpg": []})
    with pytest.raises(ConfigError, match="annotators: expected a name each, got 'one' twice"):
        read_truth([one, other])
    empty = tmp_path / "empty.json"
    empty.write_text("[]")
    with pytest.raises(ConfigError, match=r"empty.json: expected images with a 'filename', got none"):
        read_truth([empty])


def test_why_no_image_is_left_is_said(tmp_path):
    path = write_via(tmp_path / "one.json", {"a.jpg": [BRIGHT_28]})
    records = json.loads(path.read_text())
    records[0]["regions"][0]["region_attributes"] = {"kind": "Bright"}
    path.write_text(json.dumps(records))
    with pytest.raises(ConfigError, match=r"one.json: a.jpg: region 0 left out: expected its class .*, got {'kind': "):
        read_truth([path])
    two = write_via(tmp_path / "two.json", {"b.jpg": [], "c.jpg": []})
    three = write_via(tmp_path / "three.json", {"b.jpg": [], "d.jpg": []})
    four = write_via(tmp_path / "four.json", {"d.jpg": []})
    with pytest.raises(ConfigError, match=r"all 3 files list, got none of 3 images in all, such as b.jpg"):
        read_truth([two, three, four])


def test_images_are_found_by_name_else_by_exposure_number(tmp_path):
    table = exposures(tmp_path, *names(7, 8, 9), "photo.jpg")
    matches = match_exposures(table, ["Ghost_img_D00000008.jpg", "D00000007.jpg", "photo.jpg", "D00000099.jpg"])
    assert matches.exposures == {"Ghost_img_D00000008.jpg": 1, "D00000007.jpg": 0, "photo.jpg": 3}
    assert matches.left_out["annotated, not in the run"] == ("D00000099.jpg",)
    assert matches.left_out["in the run, not annotated"] == ("night/D00000009.jpg",)


def test_what_could_be_several_exposures_is_left_out(tmp_path):
    table = exposures(tmp_path, "a/D00000007.jpg", "b/D00000007.jpg", "D00000008.jpg")
    matches = match_exposures(table, ["D00000007.jpg", "x_D00000008.jpg", "y_D00000008.jpg"])
    assert matches.exposures == {}
    assert matches.left_out["several exposures of that name"] == ("D00000007.jpg",)
    assert matches.left_out["another image of the same exposure"] == ("x_D00000008.jpg", "y_D00000008.jpg")


def test_failed_exposures_are_left_out(tmp_path):
    table = exposures(tmp_path, *names(7, 8), failed=names(8))
    matches = match_exposures(table, names(7, 8))
    assert matches.exposures == {"D00000007.jpg": 0}
    assert matches.left_out["failed in the run"] == ("D00000008.jpg",)


def test_labels_go_by_the_row_of_the_stack(tmp_path):
    write_run(tmp_path / "run", {f"x.npy[{row}]": () for row in (2, 0, 1)}, failed=["x.npy[0]"])
    np.save(tmp_path / "y.npy", np.array([1.0, 0.0, 1.0]))
    labels = read_stack_labels(tmp_path / "y.npy")
    matches = match_labels(open_run(tmp_path / "run").table("exposures"), labels, tmp_path / "y.npy")
    assert matches.exposures == {"2": 0, "1": 2}
    assert matches.left_out["failed in the run"] == ("0",)


@pytest.mark.parametrize("found", [["x.npy[0]"], ["x.npy[0]", "x.npy[0]"], ["a.jpg", "b.jpg"]])
def test_labels_of_another_set_are_refused(tmp_path, found):
    run = write_run(tmp_path / "run", {f"{k}/{name}": () for k, name in enumerate(found)})
    with pytest.raises(InputError, match=r"y.npy: expected a run over one stack of 2 images, got one of \d exposures"):
        match_labels(run.table("exposures"), np.array([True, False]), tmp_path / "y.npy")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([0, 2]), "expected labels 0 and 1, got"),
        (np.array([]), "expected labels 0 and 1"),
        (np.array(["ghost"]), "expected a .npy array of numbers"),
        (np.array([{}]), "expected a complete .npy array of plain values"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path, array, message):
    np.save(tmp_path / "y.npy", array)
    with pytest.raises(InputError, match=message):
        read_stack_labels(tmp_path / "y.npy")


def test_missing_truncated_and_oversized_labels_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "y.npy"
    with pytest.raises(InputError, match="No such file"):
        read_stack_labels(path)
    np.save(path, np.ones(100))
    path.write_bytes(path.read_bytes()[:-80])
    with pytest.raises(InputError, match=r"expected a complete .npy array of plain values: truncated"):
        read_stack_labels(path)
    np.save(path, np.ones(100))
    path.write_bytes(path.read_bytes().replace(b"'descr': '<f8'", b"'descr': '<f8("))
    with pytest.raises(InputError, match=r"expected a complete .npy array of plain values"):
        read_stack_labels(path)
    np.save(path, np.ones(100))
    monkeypatch.setattr("cascade.evaluate.truth._MAX_LABEL_BYTES", 10)
    with pytest.raises(InputError, match="expected labels of at most 10 bytes"):
        read_stack_labels(path)
