"""Can the default network learn at all? Four real exposures by heart."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cascade.networks.engines import KerasEngine
from cascade.networks.models import build_network
from cascade.networks.nets.mask_rcnn import MaskRCNNTraining, mean_loss
from cascade.networks.nets.presets import PRESETS
from cascade.networks.segment import NetworkSegmenter
from cascade.training.annotated import load_annotated
from cascade.training.batches import segment_batch
from cascade.training.sample import Sample

EXPOSURES = (0, 6, 12, 18)
STEPS_A_ROUND, MAX_ROUNDS = 60, 6


def mean_iou(found, truth):
    """Mean over true instances of the overlap with the best instance of the same class."""
    overlaps = []
    for seen, drawn in zip(found, truth, strict=True):
        for artifact, mask in zip(drawn.classes, drawn.masks, strict=True):
            rivals = seen.masks[seen.classes == artifact]
            overlaps.append(max(((mask & rival).sum() / (mask | rival).sum() for rival in rivals), default=0.0))
    return float(np.mean(overlaps))


def covered_iou(found, truth):
    """Overlap of all that is found with all that is true, whatever its number and class; mean over images."""
    united = [[np.any(instances.masks, axis=0) for instances in side] for side in (found, truth)]
    return float(np.mean([(seen & drawn).sum() / (seen | drawn).sum() for seen, drawn in zip(*united, strict=True)]))


class InstancesOf(KerasEngine):
    """Leaves the semantic map out."""

    def __init__(self, network):
        super().__init__(network, "segment")

    def __call__(self, images):
        return {name: value for name, value in super().__call__(images).items() if name != "semantic"}


@pytest.mark.slow
def test_four_real_exposures_are_learnt_by_heart(real_data):
    keras.utils.set_random_seed(1)
    annotated = load_annotated(real_data / "des_common_core/images", real_data / "des_common_core/annotations")
    # The annotator who drew most, so that there is something of everything.
    most = max(range(len(annotated.annotators)), key=lambda j: sum(len(annotated.instances[n][j]) for n in EXPOSURES))
    images, truth = annotated.images[list(EXPOSURES)], [annotated.instances[n][most] for n in EXPOSURES]
    assert {int(c) for drawn in truth for c in drawn.classes} == {0, 1, 2}
    samples = [Sample.of_one(image, drawn) for image, drawn in zip(images, truth, strict=True)]

    network = build_network(PRESETS["segment-lite"])
    training = MaskRCNNTraining(network, n_anchors=256, n_regions=64, n_positive=16, seed=1)
    batch, dummies = segment_batch(samples, training.loss_names)
    training.compile(
        keras.optimizers.AdamW(1e-3, global_clipnorm=5.0), loss=dict.fromkeys(training.loss_names, mean_loss),
        jit_compile=False,
    )  # fmt: skip
    # Instances alone, and the map alone: neither may live on what the other has learnt.
    instances = NetworkSegmenter(InstancesOf(network), min_score=0.5)
    drawn_map = NetworkSegmenter(KerasEngine(network, "segment"), min_score=1.1)
    assert mean_iou(instances.segment(images), truth) < 0.1
    for _ in range(MAX_ROUNDS):
        for _ in range(STEPS_A_ROUND):
            training.train_on_batch(batch, dummies)
        reached = mean_iou(instances.segment(images), truth)
        reached_by_map = covered_iou(drawn_map.segment(images), truth)
        if reached >= 0.8 and reached_by_map >= 0.8:
            break
    assert reached >= 0.8
    assert reached_by_map >= 0.8
