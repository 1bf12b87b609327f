from __future__ import annotations

import numpy as np
import pytest

from cascade.camera import Camera, paper_boxes
from cascade.core.artifact import Artifact
from cascade.evaluate import GROUPS, affected_ccds, group_masks
from cascade.evaluate.counting import GEOMETRIES, IN_GROUP, CcdCells

CAMERA = Camera.decam()
CELLS = CcdCells.of(CAMERA)


@pytest.fixture
def class_masks() -> np.ndarray:
    """Random rectangles of every class, (C, 400, 400)."""
    rng = np.random.default_rng(5)
    masks = np.zeros((len(Artifact), 400, 400), bool)
    for mask in masks:
        for _ in range(4):
            y, x = rng.integers(0, 380, 2)
            mask[y : y + rng.integers(2, 90), x : x + rng.integers(2, 90)] = True
    return masks


def plane_of(class_masks: np.ndarray) -> np.ndarray:
    return np.sum([mask * artifact.bit for mask, artifact in zip(class_masks, Artifact, strict=True)], axis=0).astype(
        np.uint8
    )


def test_counts_are_those_of_slices_and_labels(class_masks):
    counts = CELLS.count(plane_of(class_masks))
    for k, mask in enumerate(group_masks(class_masks).values()):
        boxes = [mask[y0:y1, x0:x1].sum() for y0, x0, y1, x1 in paper_boxes(CAMERA)]
        np.testing.assert_array_equal(counts[GEOMETRIES.index("paper"), k], boxes)
        np.testing.assert_array_equal(counts[GEOMETRIES.index("footprint"), k], CAMERA.count(mask)[1:])


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.4])
def test_affected_ccds_are_those_of_the_paper(class_masks, threshold):
    found = CELLS.affected(CELLS.count(plane_of(class_masks)), "paper", threshold)
    for k, mask in enumerate(group_masks(class_masks).values()):
        np.testing.assert_array_equal(found[k], affected_ccds(mask, CAMERA, area_threshold=threshold))


def test_footprints_have_their_own_areas():
    one_ccd = np.where(CAMERA.labels == 28, Artifact.RAYS.bit, 0).astype(np.uint8)
    counts = CELLS.count(one_ccd)
    affected = CELLS.affected(counts, "footprint", 0.99)
    assert affected[list(GROUPS).index("Rays")].nonzero()[0].tolist() == [27]
    assert not affected[list(GROUPS).index("Bright")].any()
    assert counts[1, 0, 27] == CELLS.areas_px[1, 27]


def test_groups_hold_the_values_of_mask_planes():
    codes = dict(zip(GROUPS, IN_GROUP, strict=True))
    assert codes["All"].tolist() == [False] + [True] * (2 ** len(Artifact) - 1)
    assert np.flatnonzero(codes["Rays+Bright"][:8]).tolist() == [1, 3, 4, 5, 6, 7]
    assert np.flatnonzero(codes["Faint"][:8]).tolist() == [2, 3, 6, 7]
