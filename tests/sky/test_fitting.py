import json

import numpy as np
import pytest

from cascade.core.artifact import Artifact
from cascade.core.errors import InputError
from cascade.optics.bank import OpticsBank
from cascade.sky.catalogue import BrightStars
from cascade.sky.fitting.annotated import EXPOSURES_FILE, REGIONS_FILE, read_annotated
from cascade.sky.fitting.assignment import assign
from cascade.sky.fitting.physics import BANDS, design, fit_visibility
from cascade.sky.fitting.validate import Validation, ccd_f1, figures, fold_of, instance_f1
from cascade.sky.forecast import Forecast
from cascade.sky.ghosts import FAMILIES, possible_ghosts
from cascade.sky.laws import Levels
from cascade.sky.nearby import NearbyStars
from cascade.sky.pointing import Pointing

BANK, STARS = OpticsBank.load(), BrightStars.load()
DRAWN = ("D>Filter", "D>C4_entrance", "C5_exit>C5_entrance")
LEVELS = Levels(0.5, 0.5, 0.5)


def shape(kind, rows, columns):
    attributes = {"name": "polygon", "all_points_x": list(map(float, columns)), "all_points_y": list(map(float, rows))}
    return {"shape_attributes": attributes, "region_attributes": {"Type": kind}}


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    """Two exposures of Aldebaran in one night, on which people drew three of its ghosts, and an empty one later."""
    data = tmp_path_factory.mktemp("data")
    lines, images = ["expnum,ra,dec,accuracy,band,exptime,mjd,mjd_gap_days"], {}
    for expnum, dec, mjd in ((101, 16.91, 56616.2), (102, 16.71, 56616.3), (103, -5.0, 56700.2)):
        ra = 68.98 if expnum < 103 else 34.0
        lines.append(f"{expnum},{ra},{dec},exact,r,90.0,{mjd},0.0")
        ghosts = possible_ghosts(NearbyStars.of(Pointing(ra, dec, "r", mjd), STARS), BANK)
        brightest = [n for n in range(len(ghosts)) if ghosts.features[n, 0] < 2]
        regions = [
            shape("Faint" if list(FAMILIES)[ghosts.family[n]] == "D>Filter" else "Bright", *(ghosts.outlines[n] + 1).T)
            for n in brightest
            if list(FAMILIES)[ghosts.family[n]] in DRAWN
        ]
        images[f"DES_D00000{expnum}.png"] = {"filename": f"DES_D00000{expnum}.png", "size": 1, "regions": regions}
    for name, text in (
        (EXPOSURES_FILE, "\n".join([*lines, "104,1,1,0.03 deg,r,90,56616,0"])),
        (REGIONS_FILE, json.dumps(images)),
    ):
        (data / name).parent.mkdir(parents=True)
        (data / name).write_text(text)
    return data, read_annotated(data, BANK, STARS)


def test_exposures_come_with_their_nights_stars_and_shapes(annotated):
    _, exposures = annotated
    assert [one.expnum for one in exposures] == [101, 102, 103]
    assert [one.night for one in exposures] == [20131119, 20131119, 20140211]
    assert [len(one.regions) for one in exposures] == [3, 3, 0]
    assert exposures[0].ccds(Artifact.RAYS).sum() == 0
    assert exposures[0].ccds(Artifact.FAINT).sum() > 10


def test_each_shape_counts_for_one_ghost(annotated):
    _, exposures = annotated
    even = [np.full(len(one.ghosts), -3.0) for one in exposures]
    for exposure, shapes in zip(exposures, assign(exposures, even), strict=True):
        drawn = np.flatnonzero(shapes >= 0)
        assert sorted(shapes[drawn]) == list(range(len(exposure.regions)))
        assert {list(FAMILIES)[exposure.ghosts.family[n]] for n in drawn} == set(DRAWN[: len(drawn)])
        assert all(exposure.overlaps[n, shapes[n]] > 0.85 for n in drawn)


def test_what_is_likelier_takes_the_shape(annotated):
    _, (exposure, *_) = annotated
    (ring,) = (n for n, overlaps in enumerate(exposure.overlaps.T) if np.count_nonzero(overlaps > 0.5) > 1)
    rivals = np.flatnonzero(exposure.overlaps[:, ring] > 0.5)
    for chosen in rivals[:2]:
        likely = np.full(len(exposure.ghosts), -8.0)
        likely[chosen] = 0.0
        (shapes,) = assign([exposure], [likely])
        assert shapes[chosen] == ring


def perfect(exposure, shapes):
    drawn = (shapes >= 0).astype(float)
    bright = np.array([shape >= 0 and exposure.rings()[shape][0] is Artifact.BRIGHT for shape in shapes], float)
    return Forecast(exposure.nearby, exposure.ghosts, drawn, bright, np.zeros(62), np.full(62, -1))


def test_a_perfect_forecast_scores_1_and_an_empty_one_0(annotated):
    _, exposures = annotated
    shapes = assign(exposures, [np.full(len(one.ghosts), -3.0) for one in exposures])
    right = [perfect(*pair) for pair in zip(exposures, shapes, strict=True)]
    all_of_them = np.ones(len(exposures), bool)
    scored = Validation(exposures, right, fold_of(exposures, 2), all_of_them).scored(LEVELS)
    assert instance_f1(scored) == 1
    assert ccd_f1(scored, "Bright+Faint") > 0.95
    assert ccd_f1(scored, "Rays") == 1  # neither predicted nor drawn
    assert figures(scored)["instance F1@.5, Bright+Faint"] == [1, 1, 1]
    nothing = Validation(exposures, right, fold_of(exposures, 2), ~all_of_them).scored(LEVELS)
    assert instance_f1(nothing) == ccd_f1(nothing, "All") == 0


def test_folds_never_divide_a_night(annotated):
    _, exposures = annotated
    folds = fold_of(exposures, 2)
    assert folds[0] == folds[1] != folds[2]


def test_reflectivities_come_back_from_ghosts_drawn_by_them(annotated):
    _, exposures = annotated
    rng = np.random.default_rng(0)
    rows = np.repeat(design(exposures), 400, axis=0)
    rows[:, 0] += rng.normal(scale=1.5, size=len(rows))
    truth = np.log10([0.2, 0.02, 0.01, 0.03, 0.015, 0.01, 0.01, 0.02])
    slope = 4.0
    odds = slope * (rows[:, 0] + rows[:, 2:10] @ truth)
    law = fit_visibility(rows, rng.random(len(rows)) < 1 / (1 + np.exp(-odds)))
    assert law.slope == pytest.approx(slope, rel=0.05)
    r = BANDS.index("r")
    for pair in ((0, 1), (0, 3), (1, 2)):  # the surfaces of D>C5_exit, D>C4_entrance and C5_exit>C5_entrance
        got = np.log10(law.reflectivity[pair[0], r] * law.reflectivity[pair[1], r])
        assert got == pytest.approx(truth[pair[0]] + truth[pair[1]], abs=0.15)


def test_tables_without_annotated_exposures_are_refused(annotated, tmp_path):
    data, _ = annotated
    for name in (EXPOSURES_FILE, REGIONS_FILE):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text((data / name).read_text())
    (tmp_path / EXPOSURES_FILE).write_text("expnum,ra,dec,accuracy,band,mjd\n7,1,1,exact,g,56616\n")
    with pytest.raises(InputError, match="expected pointings of annotated exposures, got none of 3"):
        read_annotated(tmp_path, BANK, STARS)
    (tmp_path / EXPOSURES_FILE).write_text("expnum,ra\n")
    (tmp_path / EXPOSURES_FILE).unlink()
    with pytest.raises(InputError, match="expected a table of pointings"):
        read_annotated(tmp_path, BANK, STARS)
