from dataclasses import replace

import numpy as np
import pytest
from annotated import annotated_set
from engine_fakes import BoxEngine, MapEngine
from fakes import instances

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.exposure import Instances
from cascade.training.measure import (
    AREA_THRESHOLDS,
    NEVER,
    Setting,
    affected_by,
    affected_by_majority,
    artifacts,
    best_setting,
    ccd_figures,
    f1_interval,
    settings_of,
)

CAMERA = Camera.decam()
ON_28 = (172, 190, 182, 210)
ON_35 = (210, 180, 225, 220)
GROUPS = ("All", "Rays+Bright", "Rays", "Bright", "Faint")


def bright(box, score=1.0):
    return instances((Artifact.BRIGHT, score, *box))


def truth_of(*exposures):
    """What the majority of people says, from what each of three drew on each exposure."""
    return affected_by_majority(
        replace(annotated_set(len(exposures)), annotators=("a", "b", "c"), instances=tuple(exposures)), CAMERA
    )


def guess_of(*found):
    return affected_by(found, CAMERA)


def test_ccds_are_affected_where_instances_of_a_group_cover_them():
    affected = guess_of(instances((Artifact.BRIGHT, 0.2, *ON_28), (Artifact.RAYS, 0.9, *ON_35)), Instances.empty())
    ccds = {group: [np.flatnonzero(row) + 1 for row in affected[0.0][group]] for group in GROUPS}
    assert {group: rows[0].tolist() for group, rows in ccds.items()} == {
        "All": [28, 35], "Rays+Bright": [28, 35], "Rays": [35], "Bright": [28], "Faint": [],
    }  # fmt: skip
    assert all(len(rows[1]) == 0 for rows in ccds.values())


def test_small_areas_do_not_count_at_a_higher_area_threshold():
    assert AREA_THRESHOLDS == (0.0, 0.05)
    small = (172, 190, 178, 200)  # 6 x 10 pixels, 3 % of a CCD; the other is 10 %
    affected = guess_of(bright(small), bright(ON_28))
    assert affected[0.0]["Bright"].sum(axis=1).tolist() == [1, 1]
    assert affected[0.05]["Bright"].sum(axis=1).tolist() == [0, 1]


def test_masks_of_one_class_unite_before_they_are_measured():
    """Each covers 1.6 % of a CCD."""
    quarters = instances(*[(Artifact.BRIGHT, 1.0, 172, 190 + k, 178, 195 + k) for k in (0, 5, 10, 15)])
    assert guess_of(quarters)[0.05]["Bright"].sum() == 1
    assert guess_of(quarters.select(np.array([0, 2])))[0.05]["Bright"].sum() == 0


def test_more_than_half_of_the_people_make_the_truth():
    both = instances((Artifact.BRIGHT, 1.0, *ON_28), (Artifact.BRIGHT, 1.0, *ON_35))
    truth = truth_of((bright(ON_28), both, Instances.empty()), (bright(ON_35),) * 3)
    assert [(np.flatnonzero(row) + 1).tolist() for row in truth[0.0]["Bright"]] == [[28], [35]]


def test_a_perfect_prediction_gives_one():
    drawn = instances((Artifact.BRIGHT, 1.0, *ON_28), (Artifact.RAYS, 1.0, *ON_35))
    figures = ccd_figures(truth_of((drawn,) * 3), guess_of(drawn))
    perfect = {"precision": 1.0, "recall": 1.0, "f1": 1.0, "f1_interval": [1.0, 1.0], "f1_per_exposure": 1.0}
    for group in ("All", "Rays+Bright", "Rays", "Bright"):
        assert figures[group] == perfect
    # Where nobody sees anything there is nothing to be right about.
    assert figures["Faint"] == dict.fromkeys(perfect, 0.0) | {"f1_interval": [0.0, 0.0]}


def test_figures_by_hand():
    both = instances((Artifact.BRIGHT, 1.0, *ON_28), (Artifact.BRIGHT, 1.0, *ON_35))
    truth = truth_of((bright(ON_28),) * 3, (bright(ON_35),) * 3)
    figures = ccd_figures(truth, guess_of(both, Instances.empty()))["Bright"]
    # True: (1, 28), (2, 35). Predicted: (1, 28), (1, 35).
    assert (figures["precision"], figures["recall"], figures["f1"]) == (0.5, 0.5, 0.5)
    assert figures["f1_per_exposure"] == pytest.approx((2 / 3 + 0) / 2, abs=1e-3)


def test_figures_of_some_exposures_leave_the_others_out():
    truth = truth_of((bright(ON_28),) * 3, (bright(ON_35),) * 3)
    guess = guess_of(bright(ON_28), Instances.empty())
    assert ccd_figures(truth, guess, exposures=[0])["Bright"]["f1"] == 1.0
    assert ccd_figures(truth, guess, exposures=[1])["Bright"]["f1"] == 0.0
    assert ccd_figures(truth, guess, exposures=[1, 0]) == ccd_figures(truth, guess)


def test_the_interval_holds_the_f1_and_shrinks_with_more_exposures():
    rng = np.random.default_rng(0)
    widths = []
    for n in (20, 320):
        truth = rng.random((n, 62)) < 0.1
        guess = np.where(rng.random((n, 62)) < 0.05, ~truth, truth)
        f1 = 2 * (truth & guess).sum() / (truth.sum() + guess.sum())
        low, high = f1_interval(truth, guess)
        assert low < f1 < high
        assert f1_interval(truth, guess) == [low, high]
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def images(*class_scores):
    """Images that tell `BoxEngine` what to find, from (class, score in percent)."""
    drawn = np.zeros((len(class_scores), 400, 400), np.uint8)
    drawn[:, 0, :2] = class_scores
    return drawn


def rays_map(probability):
    """A map with Rays in a corner far from the box."""
    cells = np.zeros((1, 100, 100, 4), np.float32)
    cells[:, 60:80, 60:80, Artifact.RAYS] = probability
    return cells


BOTH = MapEngine(rays_map(0.7), BoxEngine())(images((0, 80)))
BOXES, MAP = BoxEngine()(images((0, 80))), MapEngine(rays_map(0.7))(images((0, 80)))


@pytest.mark.parametrize(
    ("answer", "setting", "classes"),
    [
        (BOTH, Setting(0.5, 0.5), [Artifact.BRIGHT, Artifact.RAYS]),
        (BOTH, Setting(0.5, 0.75), [Artifact.BRIGHT]),
        (BOTH, Setting(0.9, 0.5), [Artifact.RAYS]),
        (BOTH, Setting(0.5, NEVER), [Artifact.BRIGHT]),
        (BOTH, Setting(NEVER, 0.5), [Artifact.RAYS]),
        (BOXES, Setting(0.5, NEVER), [Artifact.BRIGHT]),
        (MAP, Setting(NEVER, 0.5), [Artifact.RAYS]),
    ],
)
def test_settings_choose_what_of_an_answer_counts(answer, setting, classes):
    (found,) = artifacts(answer, setting)
    assert found.classes.tolist() == classes


@pytest.mark.parametrize(
    ("setting", "kind", "words"),
    [
        (Setting(0.5, 0.25), "both", "instances 0.5, map 0.25"),
        (Setting(0.5, NEVER), "instances", "instances 0.5"),
        (Setting(NEVER, 0.25), "map", "map 0.25"),
    ],
)
def test_settings_say_what_counts(setting, kind, words):
    assert setting.kind == kind
    assert str(setting) == words


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "kinds"), [(BOTH, {"both", "instances", "map"}), (BOXES, {"instances"}), (MAP, {"map"})]
)
def test_only_settings_that_an_answer_knows_are_tried(answer, kinds):
    settings = settings_of(answer)
    assert {setting.kind for setting in settings} == kinds
    assert len(set(settings)) == len(settings)
    assert all(len(artifacts(answer, setting)) == 1 for setting in settings)


def test_the_best_setting_is_that_of_the_exposures_asked_for():
    truth = truth_of((bright(ON_28),) * 3, (bright(ON_35),) * 3)
    eager, shy = Setting(0.2, NEVER), Setting(0.9, NEVER)
    both = instances((Artifact.BRIGHT, 1.0, *ON_28), (Artifact.BRIGHT, 1.0, *ON_35))
    guesses = {eager: guess_of(both, bright(ON_35)), shy: guess_of(bright(ON_28), Instances.empty())}
    assert best_setting(truth, guesses, [0]) == shy
    assert best_setting(truth, guesses, [1]) == eager
    assert best_setting(truth, guesses, [0, 1]) == eager
