"""Tests of cascade.runs.rows."""

import numpy as np
import pytest
from fakes import instances

from cascade.camera import Camera
from cascade.core.errors import StoreError
from cascade.core.exposure import Artifact
from cascade.runs.rows import finding_of, row_mask


def test_mask_of_a_row_is_the_mask_that_was_found():
    found = instances((Artifact.FAINT, 0.8, 90, 90, 300, 300), (Artifact.RAYS, 0.6, 250, 250, 310, 350))
    rows = finding_of(found, Camera.decam()).artifacts
    np.testing.assert_array_equal(np.stack([row_mask(row) for row in rows]), found.masks)


def test_row_without_run_lengths_says_which_it_is():
    with pytest.raises(StoreError, match=r"artifact 2 of exposure 17: expected COCO's .*; the run is damaged"):
        row_mask({"exposure": 17, "artifact": 2, "rle": "5"})
