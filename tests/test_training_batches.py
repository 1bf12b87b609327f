from dataclasses import replace

import numpy as np
import pytest
from annotated import annotated_set
from fakes import instances

from cascade.camera import Camera
from cascade.exposure import Artifact, tight_boxes
from cascade.nets.mask_rcnn import LOSSES
from cascade.training.batches import EPOCH_STEPS, MAX_INSTANCES, Batches, ScreenBatches, SegmentBatches
from cascade.training.config import DataConfig, FitConfig

FIT = FitConfig(steps=4, batch=6, learning_rate=1e-3, weight_decay=0.0, precision="float32", seed=7)
DATA = DataConfig(images="i", annotations="a", clean_share=0.5, warp_share=0.0)


@pytest.fixture(scope="module")
def annotated():
    return annotated_set(2)


def batches(kind, annotated, clean_share=0.5, warp_share=0.0, **fit):
    data = replace(DATA, clean_share=clean_share, warp_share=warp_share)
    return kind(annotated, Camera.decam(), data, replace(FIT, **fit))


def test_screen_batches_tell_what_is_ghosted(annotated):
    images, ghosted = batches(ScreenBatches, annotated)[0]
    assert images.shape == (6, 400, 400, 1)
    assert images.dtype == ghosted.dtype == np.float32
    assert ghosted.shape == (6, 1)
    # Nothing but the planted square covers so many pixels so brightly.
    n_bright = (images > 195).sum(axis=(1, 2, 3))
    assert np.array_equal(ghosted[:, 0], n_bright - n_bright.min() > 300)


@pytest.mark.parametrize(("clean_share", "expected"), [(0.0, 1.0), (1.0, 0.0)])
def test_share_of_clean_exposures_is_kept(annotated, clean_share, expected):
    drawn = batches(ScreenBatches, annotated, clean_share=clean_share)
    assert all(np.all(drawn[step][1] == expected) for step in range(2))


def test_segment_batches_hold_what_one_annotator_saw(annotated):
    inputs, dummies = batches(SegmentBatches, annotated, clean_share=0.3)[0]
    assert {name: (value.shape, value.dtype.name) for name, value in inputs.items()} == {
        "image": ((6, 400, 400, 1), "float32"),
        "boxes": ((6, MAX_INSTANCES, 4), "float32"),
        "classes": ((6, MAX_INSTANCES), "int32"),
        "masks": ((6, MAX_INSTANCES, 400, 400), "uint8"),
        "shares": ((6, 50, 50, 3), "float32"),
    }
    assert list(dummies) == list(LOSSES)
    n_instances = (inputs["classes"] >= 0).sum(axis=1)
    assert set(n_instances) == {0, 1, 2}
    for boxes, masks, n_found in zip(inputs["boxes"], inputs["masks"], n_instances, strict=True):
        assert np.array_equal(boxes, tight_boxes(masks > 0))
        assert not masks[n_found:].any()


def test_shares_tell_how_much_of_each_cell_a_class_covers():
    found = instances((Artifact.RAYS, 1.0, 80, 160, 88, 164), (Artifact.RAYS, 1.0, 80, 162, 84, 168))
    annotated = replace(annotated_set(1), instances=((found, found),))
    inputs, _ = batches(SegmentBatches, annotated, clean_share=0.0, batch=1)[0]
    # 8 x 4 pixels, and 4 x 6 of which 4 x 2 are in both, in one cell of 8 x 8, wherever it was mirrored to.
    covered = np.argwhere(inputs["shares"][0])
    assert covered.shape == (1, 3)
    assert covered[0, 2] == Artifact.RAYS
    assert inputs["shares"].sum() == (32 + 24 - 8) / 64


def test_more_instances_than_there_is_room_for_are_cut():
    crowded = instances(*[(Artifact.BRIGHT, 1.0, k, k, k + 5, k + 5) for k in range(20)])
    annotated = replace(annotated_set(1), instances=((crowded, crowded),))
    inputs, _ = batches(SegmentBatches, annotated, clean_share=0.0, batch=1)[0]
    assert (inputs["classes"] == Artifact.BRIGHT).all()


@pytest.mark.parametrize("kind", [ScreenBatches, SegmentBatches])
def test_warped_exposures_keep_shapes(annotated, kind):
    inputs, _ = batches(kind, annotated, clean_share=0.0, warp_share=1.0, batch=2)[0]
    assert (inputs["image"] if kind is SegmentBatches else inputs).shape == (2, 400, 400, 1)


def test_a_step_depends_on_seed_and_epoch_alone(annotated):
    drawn, again = (batches(ScreenBatches, annotated, batch=2) for _ in range(2))
    drawn[0]  # whatever was drawn before
    assert np.array_equal(drawn[1][0], again[1][0])
    assert not np.array_equal(drawn[1][0], drawn[2][0])
    assert not np.array_equal(drawn[1][0], batches(ScreenBatches, annotated, batch=2, seed=8)[1][0])
    before = drawn[1][0]
    drawn.epoch = 1
    assert not np.array_equal(drawn[1][0], before)
    again.epoch = 1
    assert np.array_equal(drawn[1][0], again[1][0])


def test_an_epoch_has_a_fixed_number_of_steps(annotated):
    assert len(batches(ScreenBatches, annotated)) == EPOCH_STEPS


def test_what_a_batch_holds_is_left_to_each_task(annotated):
    with pytest.raises(NotImplementedError):
        batches(Batches, annotated, batch=1)[0]
