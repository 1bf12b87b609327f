from __future__ import annotations

import numpy as np
import pytest

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.evaluate import GROUPS, CcdMetrics, affected_ccds, group_masks, majority
from cascade.training.annotated import load_annotated

# Medians over annotators on the 25 shared exposures, each against the majority of the other seven, CCD F1 at t = 0:
# an independent script's figures (../shared/FACTS.md and the issues).
HUMAN_F1 = {"All": 0.931, "Rays+Bright": 0.784, "Rays": 0.873, "Bright": 0.704, "Faint": 0.903}


def test_one_pixel_does_not_affect_a_ccd_and_two_do():
    masks = np.zeros((2, 400, 400), bool)
    masks[0, 180, 200] = True
    masks[1, 180, 200:202] = True
    affected = affected_ccds(masks, Camera.decam())
    assert affected.shape == (2, 62)
    assert not affected[0].any()
    assert (np.flatnonzero(affected[1]) + 1).tolist() == [28]


def test_area_threshold_counts_pixels_of_a_ccd():
    mask = np.zeros((400, 400), bool)
    mask[172:182, 190:210] = True  # 200 px of CCD 28, that is 10.4 % of 32 x 60.1169
    assert affected_ccds(mask, Camera.decam(), area_threshold=0.10)[27]
    assert not affected_ccds(mask, Camera.decam(), area_threshold=0.11).any()


def test_metrics_by_hand():
    truth = np.array([True, True, True, False])
    metrics = CcdMetrics.of(truth, np.array([True, True, False, True]))
    assert metrics == CcdMetrics(pytest.approx(2 / 3), pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert CcdMetrics.of(truth, np.zeros(4, bool)) == CcdMetrics(0.0, 0.0, 0.0)


def test_majority_needs_more_than_half():
    votes = np.array([[True, True], [True, False], [False, False], [True, True]])
    assert majority(votes).tolist() == [True, False]


def test_groups_unite_their_classes():
    masks = np.zeros((len(Artifact), 2, 2), bool)
    masks[Artifact.BRIGHT, 0, 0] = True
    masks[Artifact.FAINT, 0, 1] = True
    groups = group_masks(masks)
    assert list(groups) == list(GROUPS)
    assert groups["All"].tolist() == [[True, True], [False, False]]
    assert groups["Rays+Bright"].tolist() == [[True, False], [False, False]]
    assert not groups["Rays"].any()


def test_known_agreement_of_people_is_reproduced(real_data):
    core = real_data / "des_common_core"
    voted = group_masks(load_annotated(core / "images", core / "annotations").votes())
    for group, expected in HUMAN_F1.items():
        affected = affected_ccds(voted[group], Camera.decam())
        f1 = [CcdMetrics.of(majority(np.delete(affected, j, axis=0)), affected[j]).f1 for j in range(len(affected))]
        assert np.median(f1) == pytest.approx(expected, abs=0.001), group
