from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from cascade.core.errors import InputError
from cascade.core.run_lengths import coco_shapes, decode_mask, encode_masks, overlaps, run_lengths

_masks = arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 30)))


@settings(max_examples=100, deadline=None)
@given(_masks)
def test_what_pycocotools_wrote_is_decoded(mask):
    (counts,) = encode_masks(mask[None])
    np.testing.assert_array_equal(decode_mask(counts, mask.shape), mask)
    np.testing.assert_array_equal(decode_mask(counts.decode("ascii"), mask.shape), mask)


def test_large_runs_and_differences_are_decoded():
    rng = np.random.default_rng(0)
    mask = np.zeros((400, 400), bool)
    for _ in range(40):
        y, x, side = *rng.integers(0, 380, 2), rng.integers(1, 200)
        mask[y : y + side, x : x + side // 3] ^= True
    (counts,) = encode_masks(mask[None])
    np.testing.assert_array_equal(decode_mask(counts), mask)
    assert coco_mask.area({"size": [400, 400], "counts": counts}) == mask.sum()


def test_no_masks_make_no_counts():
    assert encode_masks(np.zeros((0, 4, 4), bool)) == ()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40) | st.text("0PQRSTo_", max_size=20).map(str.encode))
def test_any_bytes_are_decoded_or_refused(counts):
    try:
        lengths = run_lengths(counts, (5, 7))
    except InputError:
        return
    assert lengths.min() >= 0
    assert lengths.sum() == 35


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (b"", "not a sequence of encoded integers"),
        (b"o", "not a sequence of encoded integers"),  # a number that does not end
        (b"\xff", "not a sequence of encoded integers"),
        ("5\u00ff", "not a sequence of encoded integers"),
        ("5\udc80", "not a sequence of encoded integers"),
        (b"PPPPPP0", "a run is longer than the mask"),
        (b"5", "they sum to 5 px, the least is 5"),
    ],
)
@pytest.mark.parametrize("door", [run_lengths, decode_mask, lambda c: coco_shapes([c]), lambda c: overlaps([c], [c])])
def test_damaged_counts_are_refused(door, counts, message):
    with pytest.raises(InputError, match=f"expected COCO's compressed run lengths of a 400x400 .*: {message}"):
        door(counts)


def test_shapes_are_those_of_coco_annotations():
    masks = np.zeros((2, 6, 5), bool)
    masks[0, 1:3, 2:5] = True
    counts = encode_masks(masks)
    first, empty = coco_shapes(counts, (6, 5))
    assert first == {"segmentation": {"size": [6, 5], "counts": counts[0]}, "bbox": [2, 1, 3, 2], "area": 6}
    assert (empty["bbox"], empty["area"]) == ([0, 0, 0, 0], 0)
    assert coco_shapes([]) == []


def test_overlaps_of_masks_and_of_their_boxes():
    masks = np.zeros((3, 8, 8), bool)
    masks[0, 0:4, 0:4] = True
    masks[1, 0:4, 2:6] = True
    masks[2, [0, 3], [0, 3]] = True  # two corners of the first
    one, other = encode_masks(masks[:1]), encode_masks(masks)
    np.testing.assert_allclose(overlaps(one, other, (8, 8)), [[1, 8 / 24, 2 / 16]])
    np.testing.assert_allclose(overlaps(one, other, (8, 8), boxes=True), [[1, 8 / 24, 1]])
    assert overlaps(one, [], (8, 8)).shape == (1, 0)
    assert overlaps([], other, (8, 8)).shape == (0, 3)
