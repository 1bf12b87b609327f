import numpy as np
import pytest
from engine_fakes import BoxEngine

from cascade.exposure import Artifact
from cascade.segment import NetworkSegmenter


def images_of(*class_scores):
    """Images that tell the fake what to find, from (class, score in percent)."""
    images = np.zeros((len(class_scores), 400, 400), np.uint8)
    images[:, 0, :2] = class_scores
    return images


def test_instances_follow_the_images_in_order():
    found = NetworkSegmenter(BoxEngine(), min_score=0.5).segment(images_of((0, 90), (2, 80), (1, 20)))
    assert [len(instances) for instances in found] == [1, 1, 0]
    assert found[1].classes.tolist() == [Artifact.RAYS]
    assert found[1].classes.dtype == np.uint8
    assert found[1].scores[0] == pytest.approx(0.8)
    assert found[1].boxes.tolist() == [[10, 20, 50, 80]]
    assert np.argwhere(found[1].masks[0]).min(axis=0).tolist() == [10, 20]
    assert found[1].masks.sum() == 40 * 60


def test_no_images_no_instances():
    assert NetworkSegmenter(BoxEngine(), min_score=0.5).segment(np.zeros((0, 400, 400), np.uint8)) == []


def test_a_score_at_the_threshold_is_kept_and_padding_never_is():
    assert len(NetworkSegmenter(BoxEngine(), min_score=0.5).segment(images_of((0, 50)))[0]) == 1
    assert len(NetworkSegmenter(BoxEngine(), min_score=0.0).segment(images_of((0, 1)))[0]) == 1
    assert len(NetworkSegmenter(BoxEngine(), min_score=0.0).segment(images_of((0, 0)))[0]) == 0


def test_boxes_are_cut_to_the_image():
    (found,) = NetworkSegmenter(BoxEngine(box=(-8, 350, 30, 408)), min_score=0.5).segment(images_of((0, 90)))
    assert found.boxes.tolist() == [[0, 350, 30, 400]]
    assert found.masks[0, :30, 350:].all()


@pytest.mark.parametrize("engine", [BoxEngine(mask=0.4), BoxEngine(box=(-8, 0, 0, 40))])
def test_an_instance_without_pixels_is_left_out(engine):
    (found,) = NetworkSegmenter(engine, min_score=0.5).segment(images_of((0, 90)))
    assert len(found) == 0
    assert found.masks.shape == (0, 400, 400)
