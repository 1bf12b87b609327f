import numpy as np
import pytest
from keras import ops

from cascade.networks.nets.losses import anchor_losses, mask_loss, region_losses
from cascade.networks.nets.targets import AnchorTargets, RegionTargets

N_CLASSES = 3


def numbers(tensors):
    return [ops.convert_to_numpy(tensor) for tensor in tensors]


def cross_entropy(logit, truth):
    """Binary, from a logit."""
    probability = 1 / (1 + np.exp(-logit))
    return -(truth * np.log(probability) + (1 - truth) * np.log(1 - probability))


def huber(error):
    return sum(0.5 * e * e if abs(e) < 1 else abs(e) - 0.5 for e in np.ravel(error))


def region_targets(rng, classes, used, n_positive):
    classes = np.asarray(classes, np.int32)
    batch, n_regions = classes.shape
    return RegionTargets(
        boxes=np.zeros((batch, n_regions, 4), np.float32),
        classes=classes,
        used=np.asarray(used),
        offsets=rng.normal(size=(batch, n_positive, 4)).astype(np.float32),
        matched=np.zeros((batch, n_positive), np.int32),
        positive=classes[:, :n_positive] > 0,
    )


def test_anchor_losses_equal_their_formulas():
    rng = np.random.default_rng(0)
    logits, offsets, truth = (
        rng.normal(scale=2, size=shape).astype(np.float32) for shape in [(2, 5), (2, 5, 4), (2, 5, 4)]
    )
    positive = np.array([[True, False, False, True, False], [False] * 5])
    negative = np.array([[False, True, False, False, False], [True, True, False, False, True]])
    score, box = numbers(anchor_losses(logits, offsets, AnchorTargets(positive, negative, truth)))
    for n in range(2):
        chosen = np.flatnonzero(positive[n] | negative[n])
        expected = np.mean([cross_entropy(logits[n, k], positive[n, k]) for k in chosen])
        np.testing.assert_allclose(score[n], expected, rtol=1e-5)
        distance = sum(huber(offsets[n, k] - truth[n, k]) for k in np.flatnonzero(positive[n]))
        np.testing.assert_allclose(box[n], distance / len(chosen), rtol=1e-5)
    assert box[1] == 0


def test_anchors_outside_the_sample_do_not_count():
    rng = np.random.default_rng(1)
    positive, negative = np.array([[True, False, False]]), np.array([[False, True, False]])
    targets = AnchorTargets(positive, negative, np.zeros((1, 3, 4), np.float32))
    logits, offsets = rng.normal(size=(1, 3)).astype(np.float32), rng.normal(size=(1, 3, 4)).astype(np.float32)
    before = numbers(anchor_losses(logits, offsets, targets))
    logits[0, 2], offsets[0, 1:] = 1e4, 1e4
    assert before == numbers(anchor_losses(logits, offsets, targets))


def test_extreme_logits_give_finite_losses():
    targets = AnchorTargets(np.array([[True]]), np.array([[False]]), np.zeros((1, 1, 4), np.float32))
    score, _ = numbers(anchor_losses(np.array([[-1e4]], np.float32), np.zeros((1, 1, 4), np.float32), targets))
    assert score.tolist() == [1e4]


def test_region_losses_equal_their_formulas():
    rng = np.random.default_rng(2)
    classes = [[3, 1, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0]]
    used = [[True, True, False, True, True, False], [True, False, False, True, False, False]]
    targets = region_targets(rng, classes, used, n_positive=3)
    logits = rng.normal(size=(2, 6, 1 + N_CLASSES)).astype(np.float32)
    offsets = rng.normal(scale=2, size=(2, 6, N_CLASSES * 4)).astype(np.float32)
    class_loss, box_loss = numbers(region_losses(logits, offsets, targets))
    for n in range(2):
        entropy = [np.log(np.exp(logits[n, k]).sum()) - logits[n, k, classes[n][k]] for k in np.flatnonzero(used[n])]
        np.testing.assert_allclose(class_loss[n], np.mean(entropy), rtol=1e-5)
        distance = 0.0
        for k in np.flatnonzero(targets.positive[n]):
            first = 4 * (classes[n][k] - 1)
            distance += huber(offsets[n, k, first : first + 4] - targets.offsets[n, k])
        np.testing.assert_allclose(box_loss[n], distance / np.sum(used[n]), rtol=1e-5)


def test_regions_of_padding_do_not_count():
    targets = region_targets(np.random.default_rng(3), [[0, 0]], [[False, False]], n_positive=1)
    losses = numbers(region_losses(np.full((1, 2, 4), 7, np.float32), np.ones((1, 2, 12), np.float32), targets))
    assert [loss.tolist() for loss in losses] == [[0], [0]]


def test_mask_loss_equals_its_formula():
    rng = np.random.default_rng(4)
    targets = region_targets(rng, [[3, 1, 0], [0, 0, 0]], np.ones((2, 3), bool), n_positive=3)
    logits = rng.normal(size=(2, 3, 4, 4, N_CLASSES)).astype(np.float32)
    masks = (rng.random((2, 3, 4, 4)) < 0.5).astype(np.float32)
    got = ops.convert_to_numpy(mask_loss(logits, masks, targets))
    expected = np.mean([cross_entropy(logits[0, k, ..., c], masks[0, k]).mean() for k, c in ((0, 2), (1, 0))])
    np.testing.assert_allclose(got, [expected, 0.0], rtol=1e-5)


@pytest.mark.parametrize("wrong", [1, 2])
def test_masks_of_other_classes_are_free(wrong):
    targets = region_targets(np.random.default_rng(5), [[1]], [[True]], n_positive=1)
    logits = np.zeros((1, 1, 2, 2, N_CLASSES), np.float32)
    masks = np.ones((1, 1, 2, 2), np.float32)
    before = ops.convert_to_numpy(mask_loss(logits, masks, targets))
    logits[..., wrong] = 50
    assert before == ops.convert_to_numpy(mask_loss(logits, masks, targets))
    np.testing.assert_allclose(before, np.log(2), rtol=1e-6)
