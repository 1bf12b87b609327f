"""Tests of cascade.runs.rows."""

import numpy as np
import pytest
from fakes import instances

from cascade.camera import Camera
from cascade.core.errors import StoreError
from cascade.core.exposure import Artifact, Instances, Source
from cascade.runs.files import part_bytes, read_part
from cascade.runs.rows import Outcome, batch_tables, finding_of, row_mask
from cascade.runs.tables import SCHEMAS, STAR_COLUMNS


def test_mask_of_a_row_is_the_mask_that_was_found():
    found = instances((Artifact.FAINT, 0.8, 90, 90, 300, 300), (Artifact.RAYS, 0.6, 250, 250, 310, 350))
    rows = finding_of(found, Camera.decam()).artifacts
    np.testing.assert_array_equal(np.stack([row_mask(row) for row in rows]), found.masks)


def test_row_without_run_lengths_says_which_it_is():
    with pytest.raises(StoreError, match=r"artifact 2 of exposure 17: expected COCO's .*; the run is damaged"):
        row_mask({"exposure": 17, "artifact": 2, "rle": "5"})


def test_parts_of_older_code_have_nulls_in_later_columns():
    schema = SCHEMAS["artifacts"]
    older = schema.empty_table().drop_columns([field.name for field in STAR_COLUMNS])
    read = read_part(part_bytes(older), schema, "x")
    assert read.schema.equals(schema)
    with pytest.raises(StoreError, match="expected a part of the run"):
        read_part(part_bytes(older.drop_columns("score")), schema, "x")


def test_rows_say_which_star_is_behind_an_artifact():
    masks = np.zeros((3, 400, 400), bool)
    masks[0, :5], masks[2, 300:310] = True, True  # the second one covers nothing and is dropped
    instances = Instances(
        np.array([0, 1, 2], np.uint8), np.full(3, 0.5, np.float32), np.zeros((3, 4), np.float32), masks
    )
    finding = finding_of(instances, Camera.decam(), [{"hip": 1}, {"hip": 2}, {"hip": 3, "pair": "D>Filter"}])
    assert [row["hip"] for row in finding.artifacts] == [1, 3]
    outcome = Outcome(0, Source("a"), flagged=True, finding=finding)
    stored = batch_tables([outcome])["artifacts"].to_pylist()
    assert [(row["hip"], row["pair"], row["star_mag"]) for row in stored] == [(1, None, None), (3, "D>Filter", None)]
