import numpy as np
import pytest

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.errors import ConfigError
from cascade.simulate import Season, Simulator, simulate_exposure, simulate_season

CAMERA = Camera.decam()
DARK = CAMERA.dark_pixels(None)
SIMULATOR = Simulator(CAMERA)
SKY_LEVELS, GAP_LEVEL, NOISE = (30, 70), 23, 13


def season(n_exposures, ghosted_share=0.5, seed=1, **options):
    return list(simulate_season(n_exposures, CAMERA, ghosted_share=ghosted_share, seed=seed, **options))


@pytest.mark.slow
def test_the_same_seed_draws_the_same_season():
    for first, again in zip(season(3), season(3), strict=True):
        assert (first.expnum, first.artifacts, first.stars) == (again.expnum, again.artifacts, again.stars)
        assert np.array_equal(first.image, again.image)


def test_another_seed_draws_other_exposures():
    assert not np.array_equal(season(1)[0].image, season(1, seed=2)[0].image)


def test_exposures_differ_within_a_season():
    first, second = season(2, ghosted_share=0)
    assert not np.array_equal(first.image, second.image)


def test_an_exposure_does_not_depend_on_those_drawn_before():
    whole = season(3, ghosted_share=1)
    assert np.array_equal(Season(3, 1, 1).draw(2, SIMULATOR).image, whole[2].image)


@pytest.mark.parametrize(("n_exposures", "share", "n_ghosted"), [(10, 0.3, 3), (7, 0.5, 4), (5, 0.0, 0), (5, 1.0, 5)])
def test_share_of_ghosted_exposures_is_exact_and_spread(n_exposures, share, n_ghosted):
    drawn = Season(n_exposures, share, 1)
    ghosted = [drawn.ghosted(n) for n in range(n_exposures)]
    assert sum(ghosted) == n_ghosted
    halves = sum(ghosted[: n_exposures // 2]), sum(ghosted[(n_exposures + 1) // 2 :])
    assert abs(halves[0] - halves[1]) <= 1


def test_ghosted_exposures_have_labels_and_clean_ones_have_none():
    drawn = season(8, ghosted_share=0.5)
    assert [bool(exposure.labels) for exposure in drawn] == [Season(8, 0.5, 1).ghosted(n) for n in range(8)]
    assert [bool(exposure.artifacts) for exposure in drawn] == [len(exposure.instances) > 0 for exposure in drawn]


def test_expnums_count_from_the_first():
    assert [exposure.expnum for exposure in season(2, first_expnum=500)] == [500, 501]


@pytest.mark.parametrize(("numbers", "complaint"), [((-1, 0.5, 1), "of 0 or more"), ((1, 1.5, 1), "ghosted share")])
def test_a_season_refuses_impossible_numbers(numbers, complaint):
    with pytest.raises(ConfigError, match=complaint):
        Season(*numbers)


def test_a_season_gives_up_when_chance_does_not_help(monkeypatch):
    class Stubborn:
        def draw(self, kind, rng, *, expnum):
            return SIMULATOR.draw("clean", np.random.default_rng(0), expnum=expnum)

    monkeypatch.setattr("cascade.simulate.synthetic_season._TRIES", 3)
    with pytest.raises(ConfigError, match=r"exposure 0 of seed 1: no \w+ exposure after 3 tries"):
        Season(1, 1.0, 1).draw(0, Stubborn())


def test_asking_for_classes_that_never_meet_ends(monkeypatch):
    monkeypatch.setattr("cascade.simulate.synthetic_season._TRIES", 0)
    with pytest.raises(ConfigError, match="no exposure with bright, rays after 0 tries"):
        simulate_exposure((Artifact.BRIGHT, Artifact.RAYS), CAMERA, np.random.default_rng(1))


@pytest.mark.parametrize("seed", [3, 4])
def test_a_clean_exposure_looks_like_a_real_preview(seed):
    image = simulate_exposure((), CAMERA, np.random.default_rng(seed))
    assert image.shape == (400, 400)
    assert image.dtype == np.uint8
    gaps = image[(CAMERA.labels == 0) | DARK]
    assert np.median(gaps) == GAP_LEVEL
    assert np.percentile(gaps, [1, 99]) == pytest.approx([11, 35], abs=8)  # marks of the JPEG and soft edges
    lit = (CAMERA.labels > 3) & ~DARK
    sky = np.median(image[lit])
    assert SKY_LEVELS[0] < sky < SKY_LEVELS[1]
    spread = 1.4826 * np.median(np.abs(image[lit].astype(float) - sky))
    assert spread == pytest.approx(NOISE, rel=0.4)
    assert 60 < np.percentile(image[lit], 99) - sky < 190
    for ccdnum in set(range(4, 63)) - CAMERA.dead_ccdnums(None):
        assert np.median(image[lit & (CAMERA.labels == ccdnum)]) == pytest.approx(sky, abs=5)


@pytest.mark.parametrize("artifact", Artifact)
def test_an_exposure_has_the_class_that_is_asked_for(artifact):
    image = simulate_exposure((artifact,), CAMERA, np.random.default_rng(4))
    assert image.shape == (400, 400)
    assert np.median(image[DARK]) == GAP_LEVEL


@pytest.mark.parametrize("kind", ["ghosts", "rays", "both"])
def test_kinds_hold_their_artifacts(kind):
    found = {artifact for seed in range(4) for artifact in SIMULATOR.draw(kind, np.random.default_rng(seed)).artifacts}
    assert (Artifact.RAYS in found) == (kind != "ghosts")
    assert bool(found - {Artifact.RAYS}) == (kind != "rays")


def test_labels_are_where_the_light_is():
    rng = np.random.default_rng(5)
    exposure = next(e for e in iter(lambda: SIMULATOR.draw("rays", rng), None) if e.labels[0].mask.sum() > 1500)
    inside = exposure.labels[0].mask & (CAMERA.labels > 0)
    outside = ~np.any([label.mask for label in exposure.labels], axis=0) & (CAMERA.labels > 0) & ~DARK
    assert exposure.image[inside].std() > 1.2 * exposure.image[outside].std()


def test_clean_exposures_hold_saturated_stars_whose_ghosts_are_too_weak_to_see():
    stars = [star for seed in range(12) for star in SIMULATOR.draw("clean", np.random.default_rng(seed)).stars]
    assert stars
    assert all(snr <= 8.01 for star in stars for snr in star.snrs)
