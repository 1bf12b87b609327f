from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from cascade.core.errors import InputError
from cascade.core.run_lengths import decode_mask, encode_masks, run_lengths

_masks = arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 30)))


@settings(max_examples=100, deadline=None)
@given(_masks)
def test_what_pycocotools_wrote_is_decoded(mask):
    (counts,) = encode_masks(mask[None])
    np.testing.assert_array_equal(decode_mask(counts, mask.shape), mask)


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
        (b"", "expected compressed run lengths"),
        (b"o", "expected compressed run lengths"),  # a number that does not end
        (b"\xff", "expected compressed run lengths"),
        (b"PPPPPP0", r"expected run lengths within a mask of \(400, 400\)"),
        (b"5", "expected run lengths that sum to 160000, got 5"),
    ],
)
def test_damaged_counts_are_refused(counts, message):
    with pytest.raises(InputError, match=message):
        run_lengths(counts)
