import numpy as np
import pytest

from cascade.camera import Camera
from cascade.exposure import Artifact
from cascade.simulate import simulate_exposure, simulate_season

CAMERA = Camera.decam()
DARK = CAMERA.dark_pixels(None)
SKY_LEVEL, GAP_LEVEL, NOISE = 53, 23, 13


def season(n_exposures, ghosted_share=0.5, seed=1, **options):
    return list(simulate_season(n_exposures, CAMERA, ghosted_share=ghosted_share, seed=seed, **options))


def test_the_same_seed_draws_the_same_season():
    for first, again in zip(season(3), season(3), strict=True):
        assert (first.expnum, first.artifacts) == (again.expnum, again.artifacts)
        assert np.array_equal(first.image, again.image)


def test_another_seed_draws_other_exposures():
    assert not np.array_equal(season(1)[0].image, season(1, seed=2)[0].image)


def test_exposures_differ_within_a_season():
    first, second = season(2, ghosted_share=0)
    assert not np.array_equal(first.image, second.image)


def test_an_exposure_does_not_depend_on_those_drawn_before():
    whole = season(4, ghosted_share=1)
    begun = simulate_season(4, CAMERA, ghosted_share=1, seed=1)
    next(begun)
    assert np.array_equal(next(begun).image, whole[1].image)
    # The classes go in turn, and so exposure 3 of a longer season is the same where its class is.
    assert np.array_equal(season(5, ghosted_share=1)[3].image, whole[3].image)


@pytest.mark.parametrize(("n_exposures", "share", "n_ghosted"), [(10, 0.3, 3), (7, 0.5, 4), (5, 0.0, 0), (5, 1.0, 5)])
def test_share_of_ghosted_exposures_is_exact_and_spread(n_exposures, share, n_ghosted, monkeypatch):
    monkeypatch.setattr("cascade.simulate.season.simulate_exposure", lambda *_: None)
    ghosted = [bool(exposure.artifacts) for exposure in season(n_exposures, ghosted_share=share)]
    assert sum(ghosted) == n_ghosted
    halves = sum(ghosted[: n_exposures // 2]), sum(ghosted[(n_exposures + 1) // 2 :])
    assert abs(halves[0] - halves[1]) <= 1


def test_classes_take_turns(monkeypatch):
    monkeypatch.setattr("cascade.simulate.season.simulate_exposure", lambda *_: None)
    assert [exposure.artifacts for exposure in season(4, ghosted_share=1)] == [
        (Artifact.BRIGHT,), (Artifact.FAINT,), (Artifact.RAYS,), (Artifact.BRIGHT,),
    ]  # fmt: skip


def test_expnums_count_from_the_first(monkeypatch):
    monkeypatch.setattr("cascade.simulate.season.simulate_exposure", lambda *_: None)
    assert [exposure.expnum for exposure in season(3, first_expnum=500)] == [500, 501, 502]


def test_a_clean_exposure_looks_like_a_real_preview():
    image = simulate_exposure((), CAMERA, np.random.default_rng(3))
    assert image.shape == (400, 400)
    assert image.dtype == np.uint8
    lit = (CAMERA.labels > 0) & ~DARK
    assert np.all(image[(CAMERA.labels == 0) | DARK] == GAP_LEVEL)
    assert np.median(image[lit]) == pytest.approx(SKY_LEVEL, abs=2)
    spread = 1.4826 * np.median(np.abs(image[lit].astype(float) - np.median(image[lit])))
    assert spread == pytest.approx(NOISE, rel=0.15)
    for ccdnum in set(range(1, 63)) - CAMERA.dead_ccdnums(None):
        assert np.median(image[lit & (CAMERA.labels == ccdnum)]) == pytest.approx(SKY_LEVEL, abs=5)


@pytest.mark.parametrize("artifact", Artifact)
def test_an_artifact_changes_the_sky_and_never_the_gaps(artifact):
    clean, ghosted = (simulate_exposure(a, CAMERA, np.random.default_rng(4)) for a in ((), (artifact,)))
    changed = np.abs(ghosted.astype(int) - clean) > 40
    assert changed.sum() > 500
    assert not changed[CAMERA.labels == 0].any()
    assert np.all(ghosted[DARK] == GAP_LEVEL)
