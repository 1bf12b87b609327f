from __future__ import annotations

import numpy as np

from cascade.core.exposure import Instances, tight_boxes


def test_bits_of_overlapping_instances_are_united():
    masks = np.zeros((2, 2, 3), bool)
    masks[0, 0, :2] = True
    masks[1, 0, 1:] = True
    found = Instances(np.array([0, 2], np.uint8), np.ones(2, np.float32), np.zeros((2, 4), np.float32), masks)
    assert found.bit_mask().tolist() == [[1, 5, 4], [0, 0, 0]]
    assert len(found.select(found.classes == 2)) == 1


def test_boxes_are_tight_and_half_open():
    masks = np.zeros((2, 5, 6), bool)
    masks[0, 1:3, 2:6] = True
    assert tight_boxes(masks).tolist() == [[1, 2, 3, 6], [0, 0, 0, 0]]


def test_no_instance_has_an_empty_plane():
    assert not Instances.empty().bit_mask().any()
    assert len(Instances.empty()) == 0
