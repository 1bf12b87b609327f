import json
from dataclasses import replace

import numpy as np
import pytest
from annotated import annotated_set
from fakes import instances

from cascade.camera import Camera
from cascade.errors import ConfigError
from cascade.exposure import Artifact, Instances
from cascade.training import crossval
from cascade.training.crossval import ccd_figures, cross_validate

CAMERA = Camera.decam()
ON_28 = (172, 190, 182, 210)
ON_35 = (210, 180, 225, 220)
PERFECT = {"precision": 1.0, "recall": 1.0, "f1": 1.0, "f1_per_exposure": 1.0}
NOTHING = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "f1_per_exposure": 0.0}


def drawn_by_three(*exposures):
    """An annotated set from what each of three people drew on each exposure."""
    return replace(annotated_set(len(exposures)), annotators=("a", "b", "c"), instances=tuple(exposures))


def bright(box, score=1.0):
    return instances((Artifact.BRIGHT, score, *box))


def test_a_perfect_prediction_gives_one():
    truth = instances((Artifact.BRIGHT, 1.0, *ON_28), (Artifact.RAYS, 1.0, *ON_35))
    figures = ccd_figures([truth], drawn_by_three((truth,) * 3), CAMERA, 0.5, 0.0)
    assert {group: figures[group] for group in ("All", "Rays+Bright", "Rays", "Bright")} == dict.fromkeys(
        ("All", "Rays+Bright", "Rays", "Bright"), PERFECT
    )
    assert figures["Faint"] == NOTHING  # where nobody sees anything there is nothing to be right about


def test_figures_by_hand():
    # Two of three see CCD 28 on the first exposure, one alone sees CCD 35; on the second all see CCD 35.
    both = instances((Artifact.BRIGHT, 1.0, *ON_28), (Artifact.BRIGHT, 1.0, *ON_35))
    annotated = drawn_by_three((bright(ON_28), both, Instances.empty()), (bright(ON_35), bright(ON_35), bright(ON_35)))
    figures = ccd_figures([both, Instances.empty()], annotated, CAMERA, 0.5, 0.0)["Bright"]
    # True: (1, 28), (2, 35). Predicted: (1, 28), (1, 35).
    assert figures == {
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "f1_per_exposure": pytest.approx((2 / 3 + 0) / 2, abs=1e-3),
    }


def test_instances_below_the_score_do_not_count():
    annotated = drawn_by_three((bright(ON_28),) * 3)
    found = [instances((Artifact.BRIGHT, 0.9, *ON_28), (Artifact.BRIGHT, 0.3, *ON_35))]
    assert ccd_figures(found, annotated, CAMERA, 0.5, 0.0)["Bright"] == PERFECT
    assert ccd_figures(found, annotated, CAMERA, 0.2, 0.0)["Bright"]["precision"] == 0.5
    assert ccd_figures(found, annotated, CAMERA, 0.95, 0.0)["Bright"]["recall"] == 0.0


def test_small_areas_do_not_count_at_a_higher_area_threshold():
    # 10 x 20 pixels are 10.4 % of a CCD.
    annotated = drawn_by_three((bright(ON_28),) * 3)
    assert ccd_figures([bright(ON_28)], annotated, CAMERA, 0.5, 0.10)["Bright"] == PERFECT
    assert ccd_figures([bright(ON_28)], annotated, CAMERA, 0.5, 0.11)["Bright"] == NOTHING


def test_masks_of_one_class_unite_before_they_are_measured():
    halves = instances((Artifact.BRIGHT, 1.0, 172, 190, 182, 200), (Artifact.BRIGHT, 1.0, 172, 200, 182, 210))
    annotated = drawn_by_three((bright(ON_28),) * 3)
    assert ccd_figures([halves], annotated, CAMERA, 0.5, 0.10)["Bright"] == PERFECT


class _Trained:
    """Stands for a model folder, and remembers what it learned from."""

    def __init__(self, folder, seen):
        self.folder, self.seen = folder, seen


@pytest.fixture
def trainings(monkeypatch):
    """Replace training by taking notes."""
    notes = []

    def train(_task, _config, annotated, _camera, folder, *, on_steps):
        assert on_steps is None
        notes.append(_Trained(folder, set(annotated.expnums)))
        return notes[-1]

    monkeypatch.setattr(crossval, "train", train)
    return notes


class _Config:
    threshold = 0.5


def nights(n_nights):
    """Exposures of as many nights, two each, every one with its own truth."""
    annotated = annotated_set(2 * n_nights)
    truths = [bright((8 + 33 * (n % 10), 180, 20 + 33 * (n % 10), 230)) for n in range(len(annotated))]
    return replace(annotated, instances=tuple((truth, truth) for truth in truths)), truths


def test_every_exposure_is_segmented_by_a_network_that_never_saw_its_night(trainings, monkeypatch, tmp_path):
    annotated, truths = nights(6)
    truth_of = dict(zip(annotated.expnums, truths, strict=True))

    def predict(folder, held_out, _camera):
        assert folder == trainings[-1].folder
        assert not trainings[-1].seen & set(held_out.expnums)
        found = [truth_of[expnum] for expnum in held_out.expnums]
        return crossval._Segmented(found, np.array([0.0, 0.55], np.float32))

    monkeypatch.setattr(crossval, "_predict_segment", predict)
    figures = cross_validate("segment", _Config(), annotated, CAMERA, tmp_path)
    assert [trained.folder.name for trained in trainings] == [f"fold-{k}" for k in range(5)]
    assert sorted(expnum for fold in figures["folds"] for expnum in fold) == list(annotated.expnums)
    # Perfect answers get perfect marks only if they come back in the order of the exposures.
    assert figures["area_0.0"]["Bright"] == PERFECT
    assert figures["f1_by_min_score"]["0.9"]["Bright"] == 1.0
    assert figures["nested"]["area_0.0"]["Bright"] == PERFECT
    assert figures["nested"]["min_scores"] == [0.1] * 5
    assert figures["n_clean_mosaics"] == 10
    false_alarms = figures["n_clean_mosaics_with_artifacts_by_min_score"]
    assert (false_alarms["0.5"], false_alarms["0.6"]) == (5, 0)
    assert json.loads((tmp_path / "cross_validation.json").read_text()) == json.loads(json.dumps(figures))


def test_screen_figures_by_hand(trainings, monkeypatch, tmp_path):
    annotated, _ = nights(5)
    score_of = {expnum: 0.9 - 0.05 * n for n, expnum in enumerate(annotated.expnums)}  # 0.9 ... 0.45

    def predict(_folder, held_out, _camera):
        ghosted = np.array([score_of[expnum] for expnum in held_out.expnums], np.float32)
        mosaics = np.array([0.05, 0.6, 0.7, 0.8], np.float32)
        return {"ghosted": ghosted, "clean mosaics": np.full(4, 0.1, np.float32), "ghosted mosaics": mosaics}

    monkeypatch.setattr(crossval, "_predict_screen", predict)
    figures = cross_validate("screen", _Config(), annotated, CAMERA, tmp_path)
    assert (figures["n_ghosted"], figures["n_ghosted_flagged"]) == (10, 9)
    assert (figures["n_clean_mosaics"], figures["n_clean_mosaics_flagged"]) == (20, 0)
    assert (figures["n_ghosted_mosaics"], figures["n_ghosted_mosaics_flagged"]) == (20, 15)
    assert figures["roc_auc_exposures_against_mosaics"] == 1.0
    assert figures["roc_auc_mosaics_against_mosaics"] == 0.75
    assert figures["scores"] == {str(expnum): pytest.approx(score) for expnum, score in score_of.items()}
    assert figures["clean_score_percentiles_50_90_95_99"] == [0.1] * 4


def test_too_few_nights_are_an_error(trainings, tmp_path):
    with pytest.raises(ConfigError, match="expected at least 5 nights, one a fold, got 2"):
        cross_validate("screen", _Config(), annotated_set(4), CAMERA, tmp_path)
    assert not trainings
