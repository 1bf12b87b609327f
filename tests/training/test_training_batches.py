from dataclasses import replace

import numpy as np
import pytest
from fakes import instances

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.exposure import PREVIEW_SHAPE, tight_boxes
from cascade.networks.nets.mask_rcnn import LOSSES
from cascade.training import augment
from cascade.training.batches import (
    EPOCH_STEPS,
    MAX_INSTANCES,
    Batches,
    ScreenBatches,
    SegmentBatches,
    SemanticBatches,
    segment_batch,
)
from cascade.training.config import FitConfig
from cascade.training.sample import Sample, marked_share

pytestmark = pytest.mark.slow

CAMERA = Camera.decam()
FIT = FitConfig(
    steps=4, batch=6, learning_rate=1e-3, weight_decay=0.0, average=0.0, validate_every=0, patience=1,
    precision="float32", seed=7,
)  # fmt: skip


class Fixed:
    """A source that always gives one sample, and counts how often it is asked."""

    def __init__(self, sample):
        self.sample, self.n_asked = sample, 0

    def draw(self, rng):
        self.n_asked += 1
        rng.random()
        return self.sample


class Varied:
    """A source of noise, half of it with one or two squares in it."""

    def draw(self, rng):
        image = rng.integers(40, 70, PREVIEW_SHAPE).astype(np.uint8)
        n_squares = int(rng.integers(4)) % 3
        squares = [(Artifact.BRIGHT, 1.0, 180, 190, 210, 230), (Artifact.RAYS, 1.0, 240, 100, 290, 130)][:n_squares]
        for _, _, y0, x0, y1, x1 in squares:
            image[y0:y1, x0:x1] = 220
        return Sample.of_one(image, instances(*squares))


def sample_of(*rectangles):
    return Sample.of_one(np.full(PREVIEW_SHAPE, 53, np.uint8), instances(*rectangles))


def batches(kind, real=None, synthetic=None, real_share=1.0, **fit):
    return kind(real or Varied(), synthetic, real_share, CAMERA, replace(FIT, **fit))


@pytest.fixture
def alive(monkeypatch):
    """No CCD dies."""
    monkeypatch.setattr(augment, "_DEAD_SHARE", 0.0)


def test_screen_batches_tell_what_is_ghosted(alive):
    inputs, dummies = batches(ScreenBatches)[0]
    images, ghosted = inputs["image"], inputs["ghosted"]
    assert images.shape == (6, 400, 400, 1)
    assert inputs["shares"].shape == (6, 100, 100, 4)
    assert {name: value.tolist() for name, value in dummies.items()} == {"ghosted": [0] * 6, "map": [0] * 6}
    assert images.dtype == ghosted.dtype == np.float32
    assert ghosted.shape == (6, 1)
    assert set(ghosted[:, 0]) == {0, 1}
    # Nothing but the planted squares is so bright.
    assert np.array_equal(ghosted[:, 0], (images > 130).sum(axis=(1, 2, 3)) > 300)


@pytest.mark.parametrize("real_share", [0.0, 0.3, 1.0])
def test_sources_are_asked_in_the_configured_shares(real_share):
    real, synthetic = Fixed(sample_of((Artifact.BRIGHT, 1.0, 10, 10, 90, 90))), Fixed(sample_of())
    drawn = batches(ScreenBatches, real, synthetic, real_share, batch=15)
    ghosted = np.concatenate([drawn[step][0]["ghosted"] for step in range(8)])
    n = len(ghosted)
    assert ghosted.sum() == real.n_asked == n - synthetic.n_asked
    assert real.n_asked == pytest.approx(n * real_share, abs=4 * np.sqrt(n * real_share * (1 - real_share)))


@pytest.mark.parametrize(("real_share", "missing"), [(1.0, "real"), (0.0, "synthetic")])
def test_a_source_that_is_missing_is_an_error(real_share, missing):
    source = Fixed(sample_of())
    drawn = ScreenBatches(
        None if missing == "real" else source, None if missing == "synthetic" else source, real_share, CAMERA, FIT
    )
    with pytest.raises(ValueError, match=f"training: no source of {missing} exposures"):
        drawn[0]


def test_segment_batches_hold_what_one_annotator_saw():
    inputs, dummies = batches(SegmentBatches)[0]
    assert {name: (value.shape, value.dtype.name) for name, value in inputs.items()} == {
        "image": ((6, 400, 400, 1), "float32"),
        "boxes": ((6, MAX_INSTANCES, 4), "float32"),
        "classes": ((6, MAX_INSTANCES), "int32"),
        "masks": ((6, MAX_INSTANCES, 400, 400), "uint8"),
        "shares": ((6, 100, 100, 4), "float32"),
    }
    assert list(dummies) == list(LOSSES)
    n_instances = (inputs["classes"] >= 0).sum(axis=1)
    assert set(n_instances) == {0, 1, 2}
    for boxes, masks, n_found in zip(inputs["boxes"], inputs["masks"], n_instances, strict=True):
        assert np.array_equal(boxes, tight_boxes(masks > 0))
        assert not masks[n_found:].any()


def test_dummies_are_those_of_the_losses_that_a_network_has():
    drawn = batches(SegmentBatches)
    drawn.losses = LOSSES[:-1]
    assert list(drawn[0][1]) == list(LOSSES[:-1])


def test_semantic_batches_hold_the_same_as_segment_batches_without_instances():
    segment, _ = batches(SegmentBatches, batch=2)[3]
    semantic, dummies = batches(SemanticBatches, batch=2)[3]
    assert set(semantic) == {"image", "shares"}
    assert {name: value.shape for name, value in dummies.items()} == {"semantic": (2,)}
    for name, value in semantic.items():
        np.testing.assert_array_equal(value, segment[name])


def test_shares_tell_how_much_of_each_cell_annotators_marked():
    """In one cell of 4 x 4 px: 2 x 4 px of Rays, and 4 x 2 px of Faint, of which 2 x 2 px in common."""
    sample = sample_of((Artifact.RAYS, 1.0, 80, 160, 82, 164), (Artifact.FAINT, 1.0, 80, 162, 84, 164))
    inputs, _ = segment_batch([sample, sample_of()], LOSSES)
    shares = inputs["shares"]
    assert shares[0, 20, 40].tolist() == [0, 8 / 16, 8 / 16, 12 / 16]
    assert shares.sum() == 28 / 16


def test_shares_weigh_annotators_alike():
    votes = np.zeros((4, 3, *PREVIEW_SHAPE), bool)
    votes[0, Artifact.BRIGHT, 40:44, 40:44] = votes[1, Artifact.FAINT, 40:44, 40:44] = True
    sample = Sample(np.full(PREVIEW_SHAPE, 53, np.uint8), sample_of().found, marked_share(votes))
    inputs, _ = segment_batch([sample], LOSSES)
    assert inputs["shares"][0, 10, 10].tolist() == [0.25, 0.25, 0, 0.5]


def test_shares_move_with_the_image(alive):
    sample = sample_of((Artifact.RAYS, 1.0, 80, 160, 120, 200))
    sample.image[80:120, 160:200] = 220
    inputs, _ = batches(SemanticBatches, Fixed(sample), batch=8)[0]
    bright = inputs["image"][..., 0].reshape(8, 100, 4, 100, 4).mean(axis=(2, 4)) > 130
    on_ccds = (CAMERA.labels > 0).reshape(100, 4, 100, 4).all(axis=(1, 3))
    assert np.array_equal(bright & on_ccds, (inputs["shares"][..., 2] == 1) & on_ccds)
    assert len({tuple(np.argwhere(one)[0]) for one in inputs["shares"][..., 2]}) > 1


def test_more_instances_than_there_is_room_for_are_cut():
    crowded = sample_of(*[(Artifact.BRIGHT, 1.0, k, k, k + 5, k + 5) for k in range(20)])
    inputs, _ = segment_batch([crowded], LOSSES)
    assert (inputs["classes"] == Artifact.BRIGHT).all()
    assert inputs["boxes"][0, :, 0].tolist() == list(range(MAX_INSTANCES))


def test_ccds_die_now_and_then():
    inputs, _ = batches(ScreenBatches, Fixed(sample_of()), batch=40)[0]
    dark = (inputs["image"][..., 0] == augment.GAP).sum(axis=(1, 2))
    assert 0 < (dark > 1000).sum() < 20


@pytest.mark.parametrize("kind", [ScreenBatches, SemanticBatches])
def test_a_step_depends_on_seed_and_epoch_alone(kind):
    def images(drawn, step):
        return drawn[step][0]["image"]

    drawn, again = (batches(kind, batch=2) for _ in range(2))
    drawn[0]  # whatever was drawn before
    assert np.array_equal(images(drawn, 1), images(again, 1))
    assert not np.array_equal(images(drawn, 1), images(drawn, 2))
    assert not np.array_equal(images(drawn, 1), images(batches(kind, batch=2, seed=8), 1))
    before = images(drawn, 1)
    drawn.epoch = 1
    assert not np.array_equal(images(drawn, 1), before)
    again.epoch = 1
    assert np.array_equal(images(drawn, 1), images(again, 1))


def test_an_epoch_has_a_fixed_number_of_steps():
    assert len(batches(ScreenBatches)) == EPOCH_STEPS


def test_what_a_batch_holds_is_left_to_each_task():
    with pytest.raises(NotImplementedError):
        batches(Batches, batch=1)[0]
