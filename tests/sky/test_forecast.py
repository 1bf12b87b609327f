import dataclasses

import numpy as np
import pytest

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.errors import ConfigError, InputError
from cascade.optics.bank import OpticsBank
from cascade.optics.ghost_optics import GhostOptics, Star
from cascade.sky.catalogue import BrightStars
from cascade.sky.filter_slots import SLOT_OFFSETS_MM, filter_offset_mm
from cascade.sky.forecast import forecast, instances_of, predicted_artifacts
from cascade.sky.ghosts import FAMILIES, GHOST_FEATURES, possible_ghosts
from cascade.sky.laws import Levels, SkyLaws
from cascade.sky.nearby import NearbyStars
from cascade.sky.pointing import Pointing
from cascade.sky.prior import SURVEY_PREVALENCE, PriorLaw
from cascade.sky.rays import sector, throwing_stars

BANK, STARS, LAWS = OpticsBank.load(), BrightStars.load(), SkyLaws.load()
CAMERA = Camera.decam()
NIGHT = 56616.0
ALDEBARAN_HIP = 21421
ALDEBARAN = Pointing(68.98, 16.51 + 0.4, "r", NIGHT)  # the star is 0.4 degrees south of the axis
BESIDE_ALDEBARAN = Pointing(68.98, 16.51 + 1.46, "r", NIGHT)  # and here well outside the field
EMPTY = Pointing(34.0, -5.0, "g", 57500.0)


def forecast_of(pointing):
    return forecast(pointing, LAWS, bank=BANK, stars=STARS)


def one_star(pointing, magnitude):
    """The stars around a pointing, of which the brightest alone remains, at another magnitude."""
    nearby = NearbyStars.of(pointing, STARS)
    kept = [int(np.argmin(nearby.magnitudes))]
    return NearbyStars(
        pointing, nearby.index[kept], nearby.angles_deg[kept], nearby.azimuths_deg[kept], np.array([magnitude])
    )


def test_filters_sit_where_people_drew_their_rings():
    front, second, third, back = SLOT_OFFSETS_MM
    assert [filter_offset_mm(band, NIGHT) for band in "grizY"] == [front, second, front, second, third]
    assert [filter_offset_mm(band, 58500.0) for band in "grizY"] == [front, back, second, front, third]
    assert filter_offset_mm("r", None) == back


def test_stars_make_the_ghosts_that_optics_give():
    nearby = NearbyStars.of(ALDEBARAN, STARS)
    ghosts = possible_ghosts(nearby, BANK)
    brightest = int(np.argmin(nearby.magnitudes))
    assert STARS.hip[nearby.index[brightest]] == ALDEBARAN_HIP
    families = np.array(list(FAMILIES))[ghosts.family]
    made = set(families[ghosts.star == brightest])
    assert {"D>C5_exit", "D>C4_entrance", "C5_exit>C5_entrance", "D>Filter"} <= made
    star = Star(float(nearby.angles_deg[brightest]), float(nearby.azimuths_deg[brightest]), "r")
    (row,) = np.flatnonzero((ghosts.star == brightest) & (families == "D>C4_entrance"))
    expected = GhostOptics(BANK).footprint("D>C4_entrance", star)
    mask = ghosts.mask(int(row))
    assert np.count_nonzero(mask & expected) / np.count_nonzero(mask | expected) > 0.95
    features = dict(zip(GHOST_FEATURES, ghosts.features[row], strict=True))
    assert features["magnitude"] == nearby.magnitudes[brightest] < 1
    assert np.exp(features["log_area"]) == pytest.approx(np.count_nonzero(mask), rel=0.02)
    assert features["share_on_preview"] == pytest.approx(1, abs=0.03)


def test_a_bright_star_in_the_field_is_predicted_with_its_name_and_its_pairs():
    artifacts = predicted_artifacts(forecast_of(ALDEBARAN), LAWS.levels)
    ghosts = {one.pair: one for one in artifacts if STARS.hip[one.star] == ALDEBARAN_HIP}
    assert {"D>C4_entrance", "C5_exit>C5_entrance", "D>Filter"} <= set(ghosts)
    assert ghosts["D>Filter"].artifact is Artifact.FAINT
    rows, columns = np.nonzero(ghosts["D>C4_entrance"].mask)
    assert rows.mean() < 170  # opposite the star, which is below
    assert columns.mean() == pytest.approx(200, abs=3)
    probabilities = [one.probability for one in artifacts]
    assert probabilities == sorted(probabilities, reverse=True)
    assert min(probabilities) > LAWS.levels.ghost


def test_ghosts_of_dimmer_stars_are_never_likelier():
    likely = []
    for magnitude in (0.0, 1.5, 3.0, 4.5, 5.5):
        ghosts = possible_ghosts(one_star(ALDEBARAN, magnitude), BANK)
        features = ghosts.features.copy()
        features[:, GHOST_FEATURES.index("log_contrast")] = 1.0  # which follows from the magnitude, alone
        likely.append(LAWS.ghosts.drawn.probability(features))
    assert np.all(np.diff(likely, axis=0) <= 1e-9)
    assert len(possible_ghosts(one_star(ALDEBARAN, 6.1), BANK)) == 0


def test_rays_come_from_the_azimuth_of_the_star_and_fade_with_it():
    found = {magnitude: LAWS.rays.probabilities(one_star(BESIDE_ALDEBARAN, magnitude)) for magnitude in (0.5, 5.5)}
    (strong, stars), (weak, _) = found.values()
    assert np.all(stars == 0)
    assert strong.max() > 0.5 > weak.max()
    azimuth = one_star(BESIDE_ALDEBARAN, 0.5).azimuths_deg[0]
    ccd = CAMERA.ccds[int(np.argmax(strong))]
    away = (np.rad2deg(np.arctan2(ccd.y_mm, ccd.x_mm)) - azimuth + 180) % 360 - 180
    assert abs(away) < 30
    assert np.hypot(ccd.x_mm, ccd.y_mm) > 120  # at the rim
    turns = [np.rad2deg(np.arctan2(one.y_mm, one.x_mm)) - azimuth for one in CAMERA.ccds]
    opposite = np.abs((np.array(turns) + 180) % 360 - 180) > 120
    assert strong[opposite].max() < 0.3


def test_rays_before_the_baffles_were_painted_are_likelier():
    def highest(mjd):
        nearby = one_star(dataclasses.replace(BESIDE_ALDEBARAN, mjd_obs=mjd), 2.5)
        return LAWS.rays.probabilities(nearby)[0].max()

    assert highest(56500.0) > highest(57500.0)


def test_no_star_throws_no_rays():
    nearby = one_star(ALDEBARAN, 2.0)
    assert throwing_stars(nearby).size == 0
    probabilities, stars = LAWS.rays.probabilities(nearby)
    assert not probabilities.any()
    assert set(stars) == {-1}


def test_a_sector_covers_the_ccds_that_it_is_for():
    corner, away = 1, 60
    mask = sector(CAMERA_AZIMUTH[corner], np.array([corner, away]))
    assert CAMERA.count(mask)[corner] > 0.2 * CAMERA.areas()[corner]
    assert CAMERA.count(mask)[away] == CAMERA.areas()[away]  # the sector misses it, so all of it
    assert not mask[~np.isin(CAMERA.labels, [corner, away])].any()


CAMERA_AZIMUTH = {ccd.ccdnum: float(np.rad2deg(np.arctan2(ccd.y_mm, ccd.x_mm))) for ccd in CAMERA.ccds}


def test_an_empty_field_has_nothing():
    assert len(instances_of(predicted_artifacts(forecast_of(EMPTY), LAWS.levels))) == 0


def test_ghosts_with_one_outline_are_predicted_once():
    expected = forecast_of(ALDEBARAN)
    artifacts = predicted_artifacts(expected, dataclasses.replace(LAWS.levels, ghost=0.01))
    masks = [one.mask for one in artifacts if one.pair is not None]
    for n, mask in enumerate(masks):
        assert all(np.count_nonzero(mask & other) < 0.7 * np.count_nonzero(mask | other) for other in masks[:n])


def test_without_a_date_the_sky_still_predicts():
    assert predicted_artifacts(forecast_of(dataclasses.replace(ALDEBARAN, mjd_obs=None)), LAWS.levels)


def test_instances_carry_masks_and_probabilities():
    artifacts = predicted_artifacts(forecast_of(ALDEBARAN), LAWS.levels)
    instances = instances_of(artifacts)
    assert instances.scores == pytest.approx([one.probability for one in artifacts])
    assert np.array_equal(instances.masks[-1], artifacts[-1].mask)


def test_the_laws_name_their_data_and_what_they_reach():
    assert LAWS.description["exposures"] == 832
    value, low, high = LAWS.description["reached"]["CCD F1, Bright+Faint"]
    assert value > 0.76
    assert low < value < high


@pytest.mark.parametrize("probability", [0.0, 1.0, -1, float("nan")])
def test_levels_are_probabilities(probability):
    with pytest.raises(ConfigError, match=r"probability: expected a number in \(0, 1\), got"):
        Levels(0.3, 0.3, 0.5).at(probability)


def test_laws_of_other_code_are_refused(tmp_path):
    LAWS.write(tmp_path / "same.npz")
    again = SkyLaws.load(tmp_path / "same.npz")
    assert again.levels == LAWS.levels
    features = possible_ghosts(NearbyStars.of(ALDEBARAN, STARS), BANK).features
    assert np.array_equal(again.ghosts.drawn.probability(features), LAWS.ghosts.drawn.probability(features))
    with pytest.raises(InputError, match="expected a data file of the package"):
        SkyLaws.load(tmp_path / "none.npz")
    other = tmp_path / "other.npz"
    with np.load(tmp_path / "same.npz") as file:
        arrays = dict(file)
    arrays["description"] = np.array(str(arrays["description"]).replace('"magnitude"', '"brightness"'))
    np.savez(other, **arrays)
    with pytest.raises(InputError, match="expected ghost_features"):
        SkyLaws.load(other)


def test_odds_tell_fields_of_bright_stars_from_empty_ones(tmp_path):
    prior = PriorLaw.load()
    full, beside, empty = (prior.probability(forecast_of(one)) for one in (ALDEBARAN, BESIDE_ALDEBARAN, EMPTY))
    assert full > 0.5 > SURVEY_PREVALENCE > empty
    assert beside > SURVEY_PREVALENCE
    assert prior.probability(forecast_of(ALDEBARAN), 0.5) > full
    likely, rare = (prior.probability(forecast_of(EMPTY), share) for share in (0.5, 0.042))
    assert likely / (1 - likely) == pytest.approx(rare / (1 - rare) * 0.958 / 0.042)
    prior.write(tmp_path / "prior.npz")
    assert PriorLaw.load(tmp_path / "prior.npz").probability(forecast_of(EMPTY)) == empty
    with pytest.raises(InputError, match="expected a data file of the package"):
        PriorLaw.load(tmp_path / "none.npz")
