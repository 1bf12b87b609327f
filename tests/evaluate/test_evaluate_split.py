from __future__ import annotations

import json
from collections import Counter

import pytest
from evaluated import BRIGHT_28, FAINT_35, RAYS_1, write_via

from cascade.core.errors import ConfigError, InputError
from cascade.core.via import read_via
from cascade.evaluate import split_annotations, write_split

# Where the 25 images that the shared annotation file lacks stood among the paper's 2000: found by aligning the shared
# parts with the paper's draw.
WITHHELD = (
    1, 100, 105, 124, 488, 620, 674, 708, 801, 811, 872, 967, 977, 1048, 1050, 1093, 1244, 1284, 1309, 1338, 1441,
    1687, 1725, 1849, 1863,
)  # fmt: skip


def images(n):
    """Images of four kinds, one in ten of them clean."""
    kinds = ([BRIGHT_28], [FAINT_35], [BRIGHT_28, RAYS_1], [FAINT_35], [BRIGHT_28], [FAINT_35], [RAYS_1], [RAYS_1])
    return {f"D{k:08d}.jpg": kinds[k % 10] if k % 10 < 8 else [] for k in range(n)}


def test_parts_are_the_papers_with_the_papers_images(real_data, tmp_path):
    folder = real_data / "des_annotations"
    full = json.loads((folder / "annotations_full.json").read_text())["_via_img_metadata"]
    records = list(full.values())
    for place in WITHHELD:
        records.insert(place, {"filename": f"withheld-{place}.jpg", "size": 0, "regions": []})
    path = tmp_path / "full.json"
    path.write_text(json.dumps(records))
    for part in split_annotations(path):
        expected = json.loads((folder / f"annotations_{part.name}.json").read_text())
        found = [record for _, record in part.records if not record["filename"].startswith("withheld")]
        assert found == expected, part.name


def test_every_image_is_in_one_part_and_files_are_readable(tmp_path):
    path = write_via(tmp_path / "full.json", images(200))
    parts = split_annotations(path)
    write_split(parts, tmp_path / "out")
    assert [len(part.records) for part in parts] == [140, 30, 30]
    read = [read_via(tmp_path / "out" / f"annotations_{name}.json") for name in ("train", "val", "test")]
    assert Counter(name for part in read for name in part) == Counter(list(images(200)))
    assert {name: regions for part in read for name, regions in part.items()} == read_via(path)


def test_the_seed_decides(tmp_path):
    path = write_via(tmp_path / "full.json", images(50))
    assert split_annotations(path) == split_annotations(path, seed=42)
    assert split_annotations(path) != split_annotations(path, seed=1)


def test_stratified_parts_have_the_same_shares_of_classes(tmp_path):
    path = write_via(tmp_path / "full.json", images(400))
    train, val, test = split_annotations(path, stratified=True)
    for part in (train, val, test):
        clean = sum(not record["regions"] for _, record in part.records)
        assert clean / len(part.records) == pytest.approx(0.2, abs=0.02)


def test_rare_kinds_do_not_stop_a_stratified_split(tmp_path):
    found = {f"D{k:08d}.jpg": [BRIGHT_28] for k in range(40)}
    found |= {"D00000100.jpg": [RAYS_1], "D00000101.jpg": [RAYS_1, FAINT_35], "D00000102.jpg": []}
    parts = split_annotations(write_via(tmp_path / "full.json", found), stratified=True)
    assert sum(len(part.records) for part in parts) == 43


def test_too_few_images_and_repeated_names_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected enough images for three parts, got 1"):
        split_annotations(write_via(tmp_path / "one.json", images(1)))
    record = {"filename": "a.jpg", "regions": []}
    twice = tmp_path / "twice.json"
    twice.write_text(json.dumps([record, record]))
    with pytest.raises(InputError, match=r"image 'a.jpg' is listed twice"):
        split_annotations(twice)


def test_files_are_never_replaced(tmp_path):
    parts = split_annotations(write_via(tmp_path / "full.json", images(20)))
    write_split(parts, tmp_path)
    with pytest.raises(ConfigError, match=r"annotations_train.json: the file already exists"):
        write_split(parts, tmp_path)
