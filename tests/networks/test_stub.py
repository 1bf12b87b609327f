"""Tests of cascade.networks.stub."""

import numpy as np

from cascade.networks.stub import StubLoader


def test_results_can_be_told_from_the_input():
    images = np.zeros((3, 400, 400), np.uint8)
    images[:, 0, 0] = 0, 51, 200
    screener, segmenter = StubLoader()()
    np.testing.assert_allclose(screener.score(images), [0, 0.2, 200 / 255], rtol=1e-6)
    found = segmenter.segment(images)
    assert [int(instances.masks.sum()) for instances in found] == [0, 51**2, 200**2]
