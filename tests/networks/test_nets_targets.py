import keras
import numpy as np
import pytest
from keras import ops

from cascade.networks.nets.boxes import decode, encode, overlaps, pyramid_anchors
from cascade.networks.nets.targets import crop_masks, match_anchors, sample_regions

ANCHORS = pyramid_anchors(64, (8, 16), (16.0, 32.0), (1.0,))  # 64 + 16 anchors
N_ANCHORS = len(ANCHORS)


def numbers(tensor):
    return ops.convert_to_numpy(tensor)


def matched(boxes, present=None, n_sampled=N_ANCHORS, seed=0):
    """Anchor targets of one image, as arrays."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    present = np.ones(len(boxes), bool) if present is None else np.asarray(present)
    targets = match_anchors(ANCHORS, boxes[None], present[None], keras.random.SeedGenerator(seed), n_sampled=n_sampled)
    return tuple(numbers(t)[0] for t in (targets.positive, targets.negative, targets.offsets))


def sampled(proposals, boxes, classes, valid=None, n_regions=8, n_positive=4, seed=0):
    """Region targets of one image, as arrays by name."""
    proposals = np.asarray(proposals, np.float32).reshape(1, -1, 4)
    valid = np.ones(proposals.shape[1], bool) if valid is None else np.asarray(valid)
    targets = sample_regions(
        proposals, valid[None], np.asarray(boxes, np.float32).reshape(1, -1, 4), np.asarray(classes, np.int32)[None],
        keras.random.SeedGenerator(seed), n_regions=n_regions, n_positive=n_positive,
    )  # fmt: skip
    return {name: numbers(getattr(targets, name))[0] for name in targets.__slots__}


def test_an_anchor_on_a_true_box_is_positive_and_far_ones_are_negative():
    positive, negative, offsets = matched([ANCHORS[27]])
    assert np.flatnonzero(positive).tolist() == [27]
    assert not (positive & negative).any()
    overlap = numbers(overlaps(ANCHORS, ANCHORS[27:28]))[:, 0]
    assert np.array_equal(negative, overlap < 0.3)
    np.testing.assert_allclose(offsets[27], 0, atol=1e-5)


def test_every_true_box_gets_an_anchor_however_poor():
    rng = np.random.default_rng(0)
    for _ in range(20):
        corner = rng.uniform(0, 50, 2)
        box = np.concatenate([corner, corner + rng.uniform(3, 14, 2)]).astype(np.float32)
        positive, negative, offsets = matched([box])
        overlap = numbers(overlaps(ANCHORS, box[None]))[:, 0]
        assert positive[overlap.argmax()]
        assert not negative[overlap.argmax()]
        best = ANCHORS[overlap.argmax()]
        np.testing.assert_allclose(numbers(decode(offsets[overlap.argmax()], best)), box, atol=1e-3)


def test_an_image_without_boxes_has_only_negative_anchors():
    positive, negative, offsets = matched([[0, 0, 0, 0]] * 3, present=[False] * 3)
    assert not positive.any()
    assert negative.all()
    assert np.isfinite(offsets).all()


def test_padding_does_not_match_anchors_even_where_it_looks_like_a_box():
    positive, negative, _ = matched([ANCHORS[27], ANCHORS[3]], present=[True, False])
    assert np.flatnonzero(positive).tolist() == [27]
    assert negative[3]


def test_sample_of_anchors_is_bounded_and_full():
    boxes = ANCHORS[[0, 9, 18, 27, 36, 45, 54, 63]]
    positive, negative, _ = matched(boxes, n_sampled=8)
    assert positive.sum() == 4
    assert negative.sum() == 4
    positive, negative, _ = matched(boxes[:1], n_sampled=8)
    assert positive.sum() == 1
    assert negative.sum() == 7


def test_samples_follow_the_seed():
    first, again, other = (matched(ANCHORS[:1], n_sampled=8, seed=seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_true_boxes_are_regions_themselves():
    got = sampled([[50, 50, 60, 60]], [[0, 0, 20, 20], [0, 0, 0, 0]], [2, -1])
    assert got["positive"].tolist() == [True, False, False]
    assert got["boxes"][0].tolist() == [0, 0, 20, 20]
    assert got["classes"][0] == 3  # 0 is background
    assert got["matched"][0] == 0
    np.testing.assert_allclose(got["offsets"][0], 0, atol=1e-5)


def test_proposals_are_told_to_move_to_the_true_box_that_they_overlap_most():
    boxes = np.array([[0, 0, 20, 20], [0, 8, 20, 28]], np.float32)
    proposal = np.array([0, 6, 20, 26], np.float32)
    got = sampled([proposal], boxes, [0, 1], n_positive=3)
    row = got["boxes"][:3].tolist().index(proposal.tolist())
    assert got["matched"][row] == 1
    assert got["classes"][row] == 2
    np.testing.assert_allclose(got["offsets"][row], numbers(encode(boxes[1], proposal)), atol=1e-5)


def test_an_image_without_instances_has_only_background():
    proposals = np.tile([[10, 10, 30, 30]], (12, 1))
    got = sampled(proposals, np.zeros((3, 4)), [-1, -1, -1])
    assert not got["positive"].any()
    assert not got["classes"].any()
    assert got["used"].tolist() == [False] * 4 + [True] * 4
    assert np.isfinite(got["offsets"]).all()


def test_invalid_proposals_are_never_used():
    got = sampled([[10, 10, 30, 30], [40, 40, 50, 50]], np.zeros((1, 4)), [-1], valid=[False, True])
    assert got["used"].sum() == 1
    assert got["boxes"][got["used"]].tolist() == [[40, 40, 50, 50]]


def test_positives_are_bounded_and_all_regions_differ():
    proposals = np.array([[0, k / 10, 20, 20 + k / 10] for k in range(20)] + [[40, k, 50, 10 + k] for k in range(20)])
    got = sampled(proposals, [[0, 0, 20, 20]], [1])
    assert got["positive"].all()
    assert got["used"].all()
    assert got["classes"].tolist() == [2] * 4 + [0] * 4
    assert len(np.unique(got["boxes"], axis=0)) >= 7  # the true box may be drawn along with the equal proposal


def test_fewer_boxes_than_regions_shorten_the_sample():
    got = sampled([[40, 40, 50, 50]], [[0, 0, 20, 20]], [1], n_regions=64, n_positive=16)
    assert got["boxes"].shape == (4, 4)
    assert got["positive"].tolist() == [True, False]
    assert got["used"].tolist() == [True, False, True, False]


def test_masks_are_cut_under_the_middle_of_each_bin():
    masks = np.zeros((1, 2, 4, 4), np.uint8)
    masks[0, 1] = [[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 1]]
    boxes = np.array([[[0, 0, 4, 4], [1, 1, 3, 3]]], np.float32)
    cut = numbers(crop_masks(masks, boxes, np.array([[1, 1]], np.int32), size=2))
    assert cut.dtype == np.float32
    assert cut[0, 0].tolist() == [[1, 1], [0, 1]]  # pixels (1, 1), (1, 3), (3, 1) and (3, 3)
    assert cut[0, 1].tolist() == [[1, 0], [0, 0]]


def test_masks_are_empty_beyond_the_image():
    masks = np.ones((1, 1, 4, 4), np.uint8)
    boxes = np.array([[[-2, 0, 2, 4], [2, 2, 6, 6]]], np.float32)
    cut = numbers(crop_masks(masks, boxes, np.zeros((1, 2), np.int32), size=4))
    assert cut[0, 0].tolist() == [[0] * 4] * 2 + [[1] * 4] * 2
    assert cut[0, 1].sum() == 4


@pytest.mark.parametrize("size", [4, 28])
def test_each_box_takes_the_mask_that_it_is_matched_with(size):
    rng = np.random.default_rng(size)
    masks = (rng.random((2, 3, 40, 40)) < 0.5).astype(np.uint8)
    boxes = np.sort(rng.uniform(0, 40, (2, 5, 2, 2)), axis=2).reshape(2, 5, 4).astype(np.float32)
    which = rng.integers(0, 3, (2, 5)).astype(np.int32)
    cut = numbers(crop_masks(masks, boxes, which, size=size))
    bins = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    for n, k in np.ndindex(2, 5):
        y0, x0, y1, x1 = boxes[n, k]
        rows, columns = (np.floor(a + (b - a) * bins).astype(int) for a, b in ((y0, y1), (x0, x1)))
        assert np.array_equal(cut[n, k], masks[n, which[n, k]][np.ix_(rows, columns)])
