import numpy as np
import pytest
from engine_fakes import BoxEngine, MapEngine

from cascade.core.artifact import Artifact
from cascade.networks.segment import NetworkSegmenter


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


def test_an_index_of_the_network_means_the_class_that_its_model_names():
    classes = (Artifact.RAYS, Artifact.BRIGHT)
    segmenter = NetworkSegmenter(BoxEngine(), min_score=0.5, classes=classes)
    found = segmenter.segment(images_of((0, 90), (1, 80)))
    assert [one.classes.tolist() for one in found] == [[Artifact.RAYS], [Artifact.BRIGHT]]
    maps = np.zeros((1, 100, 100, 3), np.float32)
    maps[0, 10:20, 20:40, 0] = 0.7
    (found,) = NetworkSegmenter(MapEngine(maps), min_score=0.5, classes=classes).segment(images_of((0, 0)))
    assert found.classes.tolist() == [Artifact.RAYS]


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


def maps_of(*squares):
    """A semantic map an image, from (class, y0, x0, y1, x1) in cells."""
    maps = np.zeros((len(squares), 100, 100, 4), np.float32)
    for one, (artifact, y0, x0, y1, x1) in zip(maps, squares, strict=True):
        one[y0:y1, x0:x1, artifact] = 0.7
    return maps


def test_a_map_alone_makes_artifacts_in_the_order_of_the_images():
    engine = MapEngine(maps_of((2, 10, 20, 20, 40), (0, 50, 50, 60, 60)))
    found = NetworkSegmenter(engine, min_score=0.5).segment(images_of((0, 0), (0, 0)))
    assert [instances.classes.tolist() for instances in found] == [[Artifact.RAYS], [Artifact.BRIGHT]]
    assert found[0].masks[0, 42:78, 82:158].all()


def test_a_map_adds_to_the_instances_of_its_own_image():
    maps = maps_of((1, 50, 50, 60, 60), (1, 0, 0, 0, 0))
    found = NetworkSegmenter(MapEngine(maps, BoxEngine()), min_score=0.5).segment(images_of((0, 90), (2, 80)))
    assert [instances.classes.tolist() for instances in found] == [[Artifact.BRIGHT, Artifact.FAINT], [Artifact.RAYS]]


def test_an_instance_below_the_score_covers_nothing_of_the_map():
    engine = MapEngine(maps_of((0, 2, 5, 12, 20)), BoxEngine())
    (found,) = NetworkSegmenter(engine, min_score=0.5).segment(images_of((0, 40)))
    assert len(found) == 1
    assert found.scores[0] > 0.6


@pytest.mark.parametrize(("semantic", "n_found"), [(0.6, 1), (0.8, 0)])
def test_the_level_of_the_map_can_be_set(semantic, n_found):
    segmenter = NetworkSegmenter(MapEngine(maps_of((2, 10, 20, 20, 40))), min_score=0.5, semantic=semantic)
    assert len(segmenter.segment(images_of((0, 0)))[0]) == n_found
