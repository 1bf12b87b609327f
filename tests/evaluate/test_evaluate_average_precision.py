from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from evaluated import BRIGHT_28, BRIGHT_35, FAINT_35, RAYS_1, drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.cocoeval import COCOeval

from cascade.core.artifact import Artifact
from cascade.core.errors import ConfigError
from cascade.core.run_lengths import overlaps
from cascade.evaluate import average_precision, coco_result, mrcnn_ap, paper_ap
from cascade.evaluate.average_precision import AREAS, _coco
from cascade.evaluate.instances import MATCHED, OVERLAPS, match_counts
from cascade.evaluate.labelling import Found
from cascade.evaluate.paper_ap import PAPER_GROUPS, average_precision_of

_tenths, _sides = st.integers(0, 9), st.integers(1, 6)
_scores = st.floats(0.05, 1.0).map(lambda score: round(score, 3))
_rectangles = st.builds(
    lambda class_, score, y, x, height, width: (class_, score, 20 * y, 20 * x, 20 * (y + height), 20 * (x + width)),
    st.sampled_from(Artifact), _scores, _tenths, _tenths, _sides, _sides,
)  # fmt: skip
_exposures = st.lists(
    st.tuples(st.lists(_rectangles, max_size=4), st.lists(_rectangles, max_size=5)), min_size=1, max_size=5
)


def found(*rectangles):
    return Found.of(drawn(rectangles))


def pairs(exposures):
    return [found(*true) for true, _ in exposures], [found(*guess) for _, guess in exposures]


@settings(max_examples=25, deadline=None)
@given(_exposures)
def test_figures_are_those_that_pycocotools_prints(exposures):
    truth, predicted = pairs(exposures)
    figures = coco_result(truth, predicted).figures()["mean"]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_coco(truth), _coco(predicted), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ours = [figures[key] for key in ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")]
    np.testing.assert_allclose(np.nan_to_num(ours, nan=-1), evaluation.stats[:6], atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(_exposures, st.data())
def test_resampling_is_evaluating_repeated_exposures(exposures, data):
    truth, predicted = pairs(exposures)
    times = data.draw(st.lists(st.integers(0, 2), min_size=len(truth), max_size=len(truth)))
    if not sum(times):
        return
    weighted = coco_result(truth, predicted).resampled(np.array([times], float))[0]
    repeated = [n for n, k in enumerate(times) for _ in range(k)]
    figures = coco_result([truth[n] for n in repeated], [predicted[n] for n in repeated]).figures()
    scores = [rectangle[1] for _, guess in exposures for rectangle in guess]
    # Equal scores have no order, and repeated exposures make equal scores: within one, curves may differ by a step.
    tolerance = 1e-9 if max(times) == 1 and len(set(scores)) == len(scores) else 0.2
    expected = [[one[key] for key in ("AP", "AP50", "AP75")] for one in figures.values()]
    np.testing.assert_allclose(np.nan_to_num(weighted, nan=-1), np.nan_to_num(expected, nan=-1), atol=tolerance)


def test_weights_of_one_give_the_figures_themselves():
    result = coco_result([found(BRIGHT_28, RAYS_1), found(FAINT_35)], [found(BRIGHT_28), found(BRIGHT_35, RAYS_1)])
    expected = [[one[key] for key in ("AP", "AP50", "AP75")] for one in result.figures().values()]
    np.testing.assert_allclose(result.resampled(np.ones((1, 2)))[0], expected)


def test_average_precision_of_instances_by_hand():
    truth = [drawn([BRIGHT_28, RAYS_1]), drawn([])]
    figures = average_precision(truth, [drawn([BRIGHT_28]), drawn([BRIGHT_35])])
    # Found with score 0.9, before the false alarm with 0.8; rays were missed, faint is in no truth.
    assert figures["Bright"]["AP"] == pytest.approx(1.0)
    assert figures["Rays"]["AP50"] == 0
    assert np.isnan(figures["Faint"]["AP"])
    assert figures["mean"]["AP50"] == pytest.approx(0.5)
    assert figures["Bright"]["AP_small"] == pytest.approx(1.0)
    assert set(figures["mean"]) == {"AP", "AP50", "AP75", *(f"AP_{area}" for area in AREAS[1:])}


def test_boxes_overlap_where_masks_do_not():
    ring = drawn([BRIGHT_28])
    ring.masks[0, 176:188, 194:206] = False
    assert average_precision([drawn([BRIGHT_28])], [ring])["Bright"]["AP75"] == 0
    assert average_precision([drawn([BRIGHT_28])], [ring], kind="bbox")["Bright"]["AP75"] == pytest.approx(1.0)


def test_sides_of_different_length_are_refused():
    with pytest.raises(ConfigError, match="expected as many exposures on both sides, got 1 and 2"):
        coco_result([found()], [found(), found()])


@settings(max_examples=40, deadline=None)
@given(_exposures)
def test_the_papers_precision_is_that_of_mrcnn_unless_it_counts_twice(exposures):
    pytest.importorskip("mrcnn", reason="the oracle is in the extra `mrcnn`")
    truth, predicted = pairs(exposures)
    ours, theirs = paper_ap(truth, predicted).ap, mrcnn_ap(truth, predicted)
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    for n, (true, guess) in enumerate(zip(truth, predicted, strict=True)):
        shared = overlaps(guess.rles, true.rles)
        # Where every prediction meets one artifact at most, and the reverse, nothing can be counted twice; nor is
        # there a tie that either may break its own way.
        alone = np.all((shared > 0.45).sum(axis=0) <= 1) and np.all((shared > 0.45).sum(axis=1) <= 1)
        if alone and len(set(guess.scores.tolist())) == len(guess):
            np.testing.assert_allclose(np.nan_to_num(ours[n]), np.nan_to_num(theirs[n]), atol=1e-6)


def test_mrcnn_counts_an_artifact_twice_and_we_do_not():
    pytest.importorskip("mrcnn", reason="the oracle is in the extra `mrcnn`")
    again = (Artifact.BRIGHT, 0.7, *BRIGHT_28[2:])
    truth, predicted = [found(BRIGHT_28)], [found(BRIGHT_28, again)]
    assert paper_ap(truth, predicted).ap[0, 0, 0] == 1
    assert mrcnn_ap(truth, predicted)[0, 0, 0] == pytest.approx(2)


def test_without_mrcnn_there_is_no_second_opinion(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert mrcnn_ap([found()], [found()]) is None


def test_the_papers_conventions_where_a_class_is_absent():
    result = paper_ap([found(BRIGHT_28)], [found(BRIGHT_28, RAYS_1)])
    ap = dict(zip(PAPER_GROUPS, result.ap[0, 0], strict=True))
    assert ap["Bright"] == 1
    assert ap["Faint"] == 0  # neither has any
    assert np.isnan(ap["Rays"])  # found, but not there
    assert result.present[0].tolist() == [True, True, *(False for _ in list(Artifact)[1:])]
    assert np.isnan(result.precision[0, 2]).all()


def test_area_under_a_curve_by_hand():
    area, curve = average_precision_of(np.array([True, False, True]), 4)
    # Recall 1/4 at precision 1, recall 2/4 at precision 2/3, nothing beyond.
    assert area == pytest.approx(0.25 + 0.25 * 2 / 3)
    assert curve[[0, 25, 26, 50, 51, 100]].tolist() == pytest.approx([1, 1, 2 / 3, 2 / 3, 0, 0])


@settings(max_examples=40, deadline=None)
@given(st.lists(_rectangles, max_size=5), st.lists(_rectangles, max_size=5))
def test_matching_does_not_depend_on_the_side(one, other):
    there, back = match_counts(found(*one), found(*other)), match_counts(found(*other), found(*one))
    np.testing.assert_array_equal(there[..., 0], back[..., 0])
    np.testing.assert_array_equal(there[..., 1], back[..., 2])
    assert np.all(there[..., 0] <= np.minimum(there[..., 1], there[..., 2]))


def test_matching_finds_as_many_pairs_as_there_are():
    # The first overlaps both, the second only the first: greedy matching by overlap would find one pair.
    wide = (Artifact.RAYS, 1.0, 0, 0, 10, 100)
    inner, left = (Artifact.RAYS, 1.0, 0, 0, 10, 90), (Artifact.RAYS, 1.0, 0, 0, 10, 60)
    counts = match_counts(found(wide, inner), found(inner, left))
    at_half = dict(zip(MATCHED, counts[OVERLAPS.index(0.5)].tolist(), strict=True))
    assert at_half["All"] == at_half["Rays"] == at_half["class-blind"] == [2, 2, 2]
    assert at_half["Bright"] == [0, 0, 0]


def test_classes_count_unless_blind():
    counts = match_counts(found(BRIGHT_35), found(FAINT_35))
    at_half = dict(zip(MATCHED, counts[0].tolist(), strict=True))
    assert at_half["All"] == [0, 1, 1]
    assert at_half["class-blind"] == [1, 1, 1]
    assert at_half["Bright"] == [0, 1, 0]
