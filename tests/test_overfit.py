"""Can the network of the default model learn at all? Four real exposures by heart."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cascade.engines import KerasEngine
from cascade.models import build_network, find_model
from cascade.nets.mask_rcnn import LOSSES, MaskRCNNTraining, mean_loss
from cascade.segment import NetworkSegmenter
from cascade.training.annotated import load_annotated
from cascade.training.batches import segment_batch

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


@pytest.mark.slow
def test_four_real_exposures_are_learnt_by_heart(real_data):
    keras.utils.set_random_seed(1)
    annotated = load_annotated(real_data / "des_common_core/images", real_data / "des_common_core/annotations")
    # The annotator who drew most, so that there is something of everything.
    most = max(range(len(annotated.annotators)), key=lambda j: sum(len(annotated.instances[n][j]) for n in EXPOSURES))
    images, truth = annotated.images[list(EXPOSURES)], [annotated.instances[n][most] for n in EXPOSURES]
    assert {int(c) for drawn in truth for c in drawn.classes} == {0, 1, 2}
    batch, dummies = segment_batch(list(zip(images, truth, strict=True)))

    # Not segment-lite, whose depthwise convolutions take TensorFlow four times as long to differentiate.
    network = build_network(find_model("segment-v0").architecture)
    training = MaskRCNNTraining(network, n_anchors=256, n_regions=64, n_positive=16, seed=1)
    training.compile(
        keras.optimizers.AdamW(1e-3, global_clipnorm=5.0), loss=dict.fromkeys(LOSSES, mean_loss), jit_compile=False
    )
    segmenter = NetworkSegmenter(KerasEngine(network, "segment"), min_score=0.5)
    assert mean_iou(segmenter.segment(images), truth) < 0.1
    for _ in range(MAX_ROUNDS):
        for _ in range(STEPS_A_ROUND):
            training.train_on_batch(batch, dummies)
        reached = mean_iou(segmenter.segment(images), truth)
        if reached >= 0.8:
            break
    assert reached >= 0.8
