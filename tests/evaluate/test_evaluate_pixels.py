from __future__ import annotations

import numpy as np
import pytest
from evaluated import BRIGHT_28, BRIGHT_35, CAMERA, FAINT_35, RAYS_1, drawn

from cascade.core.run_lengths import marked_pixels
from cascade.evaluate import GROUPS, CcdCells, Found, Labelling, iou, overlap_px, vote_fraction
from cascade.evaluate.pixels import mutual_overlap_px

CELLS = CcdCells.of(CAMERA)
GROUP = {name: k for k, name in enumerate(GROUPS)}


def labelling(name, *exposures):
    return Labelling.of(name, (Found.of(drawn(rectangles)) for rectangles in exposures), CELLS)


def test_iou_by_hand():
    assert iou([[20, 40, 30], [0, 0, 0]])[0] == pytest.approx(20 / 50)
    assert np.isnan(iou([0, 0, 0]))


def test_planes_are_those_of_the_instances():
    instances = drawn([BRIGHT_35, FAINT_35, RAYS_1])
    np.testing.assert_array_equal(Found.of(instances).plane(), instances.bit_mask())
    np.testing.assert_array_equal(Found.of(instances).masks(), instances.masks)
    positions = marked_pixels(Found.of(instances).rles[0])
    np.testing.assert_array_equal(positions, np.flatnonzero(instances.masks[0].T))


def test_one_annotator_and_three_of_one_mind_are_the_same_truth():
    truth = labelling("a", [BRIGHT_28, RAYS_1], [FAINT_35], [])
    found = labelling("b", [BRIGHT_28], [BRIGHT_35], [RAYS_1])
    alone = overlap_px([truth], found)
    np.testing.assert_array_equal(alone, overlap_px([truth] * 3, found))
    assert alone[0, GROUP["Bright"]].tolist() == [400, 400, 400]
    assert alone[0, GROUP["All"]].tolist() == [400, 1400, 400]
    assert alone[1, GROUP["All"]].tolist() == [400, 400, 400]  # another class, the same pixels
    assert alone[1, GROUP["Faint"]].tolist() == [0, 400, 0]


def test_mutual_counts_hold_pairs_and_majorities():
    one, two, three = labelling("1", [BRIGHT_28]), labelling("2", [BRIGHT_28, BRIGHT_35]), labelling("3", [])
    pairs, others = mutual_overlap_px([one, two, three])
    assert pairs[0, 0, 1, GROUP["Bright"]].tolist() == [400, 400, 800]
    assert pairs[0, 1, 0, GROUP["Bright"]].tolist() == [400, 800, 400]
    # The majority of "1" and "2" has what both have.
    assert others[0, 2, GROUP["Bright"]].tolist() == [0, 400, 0]
    assert others[0, 0, GROUP["Bright"]].tolist() == [0, 0, 400]


def test_votes_are_shares():
    found = [Found.of(drawn(rectangles)) for rectangles in ([BRIGHT_28], [BRIGHT_28], [], [RAYS_1])]
    fraction = vote_fraction(found)
    assert fraction[GROUP["Bright"], 180, 200] == 0.5
    assert fraction[GROUP["All"], 15, 250] == 0.25
    assert fraction[GROUP["Faint"]].max() == 0
