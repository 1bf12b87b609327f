from __future__ import annotations

import pickle

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cascade.cli.app import app
from cascade.core.artifact import Artifact
from cascade.core.errors import CascadeError, ConfigError
from cascade.inputs import open_inputs
from cascade.inputs.pointings import read_pointings
from cascade.optics.bank import OpticsBank
from cascade.simulate import Simulator
from cascade.simulate.conditions import Ranges, conditions_of
from cascade.simulate.dataset import write_season
from cascade.simulate.labels import MIN_GHOST_SNR
from cascade.simulate.rays import Throw
from cascade.simulate.sky_season import SkySeason, draw_outcome
from cascade.simulate.survey import Observation, TableSurvey, WideSurvey
from cascade.sky.catalogue import BrightStars
from cascade.sky.forecast import forecast
from cascade.sky.ghosts import FAINTEST_GHOST_MAG, FAMILIES
from cascade.sky.laws import SkyLaws
from cascade.sky.pointing import Pointing

SIMULATOR = Simulator()
LAWS, STARS, BANK = SkyLaws.load(), BrightStars.load(), OpticsBank.load()
FOMALHAUT, FOMALHAUT_HIP = (344.41, -29.62), 113368
BESIDE = Observation(Pointing(FOMALHAUT[0], FOMALHAUT[1] + 0.5, "g", 56900.0), 90.0)  # the star is south, down
HEADER = "expnum,ra,dec,band,mjd_obs,exptime\n"
BESIDE_ROW = f"7,{FOMALHAUT[0]},{FOMALHAUT[1] + 0.5},g,56900,90\n"


def expected_of(observation):
    return forecast(observation.pointing, LAWS, bank=BANK, stars=STARS)


def table(folder, *rows):
    path = folder / "pointings.csv"
    path.write_text(HEADER + "".join(rows))
    return path


def middle(mask):
    return np.argwhere(mask).mean(axis=0)


def test_a_seed_and_a_number_determine_an_exposure_also_in_another_process():
    season = SkySeason.like_des(6, 0.5, 3)
    first = [season.draw(n, SIMULATOR) for n in range(3)]
    again = pickle.loads(pickle.dumps(SkySeason.like_des(6, 0.5, 3)))
    for n in (2, 0):
        exposure = again.draw(n, Simulator())
        assert exposure.observation == first[n].observation
        assert exposure.stars == first[n].stars
        assert np.array_equal(exposure.image, first[n].image)
    assert SkySeason.like_des(6, 0.5, 4).draw(0, SIMULATOR).observation != first[0].observation


def test_ghosts_of_a_known_star_are_where_optics_puts_them():
    season = SkySeason(4, 1.0, 1, survey=TableSurvey.of("one", [BESIDE]))
    ghosts, families = expected_of(BESIDE).ghosts, list(FAMILIES)
    found = set()
    for n in range(season.n_exposures):
        exposure = season.draw(n, SIMULATOR)
        of_star = [n for n, star in enumerate(exposure.stars) if star.hip == FOMALHAUT_HIP]
        for label in exposure.labels:
            if [label.star] == of_star and label.origin in families:
                (ghost,) = np.flatnonzero(
                    (ghosts.family == families.index(label.origin)) & (ghosts.features[:, 0] < 2)  # Fomalhaut alone
                )
                assert middle(label.mask) == pytest.approx(middle(ghosts.mask(ghost)), abs=6)
                found.add(label.origin)
                assert (middle(label.mask)[0] < 200) == (label.origin == "D>C4_entrance") or label.mask.sum() > 10_000
    assert {"D>C4_entrance", "D>C5_exit"} <= found


def test_outcomes_have_the_probabilities_of_the_laws():
    expected, rng = expected_of(BESIDE), np.random.default_rng(0)
    outcomes = [draw_outcome(BESIDE, expected, LAWS.levels, rng) for _ in range(1000)]
    for ghost in np.flatnonzero(expected.nearby.magnitudes[expected.ghosts.star] < 2):
        pair = list(FAMILIES.values())[expected.ghosts.family[ghost]][0]
        drawn = np.mean([any(pair in star.drawn and star.hip == FOMALHAUT_HIP for star in o.stars) for o in outcomes])
        assert drawn == pytest.approx(expected.drawn[ghost], abs=0.06)


@pytest.mark.slow
def test_labels_are_visible_and_all_else_is_not():
    season = SkySeason.like_des(12, 0.75, 2)
    for n in range(season.n_exposures):
        exposure = season.draw(n, SIMULATOR)
        assert bool(exposure.labels) == season.ghosted(n)
        for label in exposure.labels:
            if label.star is not None:
                assert exposure.stars[label.star].magnitude < FAINTEST_GHOST_MAG
                assert label.snr >= MIN_GHOST_SNR
                assert label.region.artifact != Artifact.RAYS
        if not season.ghosted(n):
            assert max((snr for star in exposure.stars for snr in star.snrs), default=0) < MIN_GHOST_SNR


@pytest.mark.parametrize("azimuth", [0.0, 90.0, 200.0])
def test_rays_enter_where_the_star_is(azimuth):
    exposure = SIMULATOR.compose(
        conditions_of(BESIDE, np.random.default_rng(1), Ranges()),
        lambda scene, rng: [],
        [Throw(azimuth, 1.0)],
        np.random.default_rng(2),
        expnum=1,
        observation=BESIDE,
    )
    mask = np.any([label.mask for label in exposure.labels], axis=0)
    down, right = middle(mask) - 199.5
    assert abs((np.rad2deg(np.arctan2(-right, down)) - azimuth + 180) % 360 - 180) < 25


def test_ghosted_exposures_are_drawn_where_the_laws_expect_them():
    season = SkySeason.like_des(24, 0.5, 5)
    highest = {True: [], False: []}
    for n in range(season.n_exposures):
        outcome = season._outcome(n, BANK, np.random.default_rng(n))
        assert outcome.ghosted == season.ghosted(n)
        highest[outcome.ghosted].append(expected_of(outcome.observation).drawn.max(initial=0))
    assert len(highest[True]) == len(highest[False]) == 12
    assert np.mean(highest[True]) > 0.2 + np.mean(highest[False])


def test_a_survey_like_des_looks_at_its_footprint_by_night():
    survey, rng = WideSurvey(1000, 1), np.random.default_rng(1)
    drawn = [survey.draw(rng) for _ in range(400)]
    ra = np.array([(one.pointing.ra + 180) % 360 - 180 for one in drawn])
    dec, mjd = (np.array([getattr(one.pointing, name) for one in drawn]) for name in ("dec", "mjd_obs"))
    assert ra.min() > -60.1
    assert ra.max() < 98.1
    assert dec.min() > -65.1
    assert dec.max() < 5.1
    assert {one.pointing.band for one in drawn} == set("grizY")
    assert {one.exptime for one in drawn if one.pointing.band == "Y"} == {45.0}
    assert len(set(np.floor(mjd))) == 17
    assert (mjd % 1).max() < 0.38


def test_conditions_follow_band_depth_and_date():
    def conditions(mjd, exptime):
        return conditions_of(Observation(Pointing(0, 0, "VR", mjd), exptime), np.random.default_rng(1), Ranges())

    assert conditions(56500.0, 90.0).band == "VR"
    assert [conditions(mjd, 90.0).ccd_2_dead for mjd in (56500.0, 57000.0, 58000.0)] == [False, True, False]
    assert conditions(56500.0, 360.0).noise_share == pytest.approx(conditions(56500.0, 90.0).noise_share / 2)


@pytest.mark.slow
def test_the_manifest_is_read_by_run_and_by_raytrace(tmp_path):
    pointings = table(tmp_path, BESIDE_ROW, "8,10.0,-40.0,r,57000,\n")
    words = ["simulate", "2", "--pointings", str(pointings), "--format", "jpeg", "--quiet", "--out"]
    result = CliRunner().invoke(app, [*words, str(tmp_path / "season")])
    assert result.exit_code == 0, result.output
    read = open_inputs([tmp_path / "season" / "manifest.csv"])
    sources = [read.read(n).source for n in range(2)]
    assert [source.header for source in sources] == [one.header for one in read_pointings(pointings).sources[::-1]]
    assert [one.header for one in read_pointings(tmp_path / "season" / "manifest.csv").sources] == [
        source.header for source in sources
    ]
    assert [source.expnum for source in sources] == [900001, 900002]


@pytest.mark.slow
def test_a_store_of_previews_says_where_they_looked(tmp_path):
    season = SkySeason(2, 0.5, 1, survey=TableSurvey.read(table(tmp_path, BESIDE_ROW, "8,10.0,-40.0,r,,\n")))
    write_season(season, tmp_path / "season")
    reader = open_inputs([tmp_path / "season" / "previews.zarr"])
    headers = [reader.read(n).source.header for n in range(2)]
    assert [header.band for header in headers] == ["r", "g"]
    assert headers[0].mjd_obs is None
    assert [one.header for one in read_pointings(tmp_path / "season" / "pointings.csv").sources] == headers
    exposures = pq.read_table(tmp_path / "season" / "exposures.parquet")
    assert exposures["ra"].to_pylist() == [header.ra for header in headers]
    truth = pq.read_table(tmp_path / "season" / "truth.parquet")
    assert FOMALHAUT_HIP in truth["hip"].to_pylist()


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (
            "1,344.4,-29,q,56900,90\n",
            r"\[0\]: expected ra, dec and a band of u, g, .*, got .*, band q",
        ),
        ("1,,-29,g,56900,90\n", "got ra None"),
        ("1,344.4,-29,g,50000,90\n", r"\[0\]: pointing: expected a date since DECam's first light"),
        ("", "expected 1 to .* rows, got 0"),
    ],
)
def test_a_wrong_table_gets_one_line(tmp_path, row, complaint):
    with pytest.raises(CascadeError, match=complaint) as caught:
        TableSurvey.read(table(tmp_path, row))
    assert "\n" not in str(caught.value)


def test_pointings_that_cannot_be_ghosted_are_refused(monkeypatch):
    monkeypatch.setattr("cascade.simulate.sky_season._MAX_POINTINGS", 20)
    dark = Observation(Pointing(8.8, -35.1, "i", 58028.0), 90.0)
    with pytest.raises(ConfigError, match="dark: expected pointings of ghosted exposures, got none in 20 draws"):
        SkySeason(1, 1.0, 1, survey=TableSurvey.of("dark", [dark])).draw(0, SIMULATOR)
