"""Our boxes, anchors and suppression against those of the `mrcnn` package (Matterport), on random input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.core.keras_startup import import_keras
from cascade.networks.nets.boxes import OFFSET_SCALE, decode, encode, overlaps, pyramid_anchors
from cascade.networks.nets.nms import suppress

import_keras()
utils = pytest.importorskip("mrcnn.utils", reason="the oracle is in the extra `mrcnn`")

seeds = st.integers(0, 2**32 - 1)
some = settings(max_examples=20, deadline=None)


def random_boxes(seed: int, n_boxes: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corner, sides = rng.uniform(0, 300, (n_boxes, 2)), rng.uniform(2, 100, (n_boxes, 2))
    return np.concatenate([corner, corner + sides], axis=1).astype(np.float32)


@some
@given(seeds, seeds)
def test_overlaps_agree(seed, other):
    a, b = random_boxes(seed), random_boxes(other)
    np.testing.assert_allclose(np.asarray(overlaps(a, b)), utils.compute_overlaps(a, b), rtol=1e-4, atol=1e-5)


@some
@given(seeds, seeds)
def test_offsets_agree_in_both_directions(seed, other):
    anchors, boxes = random_boxes(seed), random_boxes(other)
    refined = utils.box_refinement(anchors, boxes)
    ours = np.asarray(encode(boxes, anchors)) * np.array(OFFSET_SCALE)
    np.testing.assert_allclose(ours, refined, rtol=1e-3, atol=1e-4)
    theirs = utils.apply_box_deltas(anchors, refined.astype(np.float32))
    np.testing.assert_allclose(np.asarray(decode(encode(boxes, anchors), anchors)), theirs, rtol=1e-3, atol=1e-2)


@some
@given(seeds)
def test_suppression_keeps_the_same_boxes(seed):
    rng = np.random.default_rng(seed)
    boxes = random_boxes(seed, 40)
    scores = np.sort(rng.random(40))[::-1].astype(np.float32)
    expected = utils.non_max_suppression(boxes.copy(), scores, 0.4)
    stays = np.asarray(suppress(boxes[None], np.ones((1, 40), bool), max_overlap=0.4))[0]
    assert np.flatnonzero(stays).tolist() == sorted(expected.tolist())


@some
@given(st.lists(st.floats(8, 512), min_size=2, max_size=2), st.lists(st.floats(0.2, 5), min_size=1, max_size=4))
def test_anchors_agree(sizes, ratios):
    strides, shapes = (8, 16), [(8, 8), (4, 4)]
    theirs = utils.generate_pyramid_anchors(sizes, np.array(ratios), shapes, strides, 1)
    ours = pyramid_anchors(64, strides, sizes, ratios, centre=0.0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-3)
    inclusive = pyramid_anchors(64, strides, sizes, ratios, centre=0.0, inclusive=True)
    np.testing.assert_allclose(inclusive / 63, utils.norm_boxes(theirs, (64, 64)), rtol=1e-5, atol=1e-4)
