from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cascade.camera import Camera
from cascade.core.artifact import Artifact
from cascade.core.via import Region
from cascade.simulate import labels as rule
from cascade.simulate.conditions import BANDS, GAP_LEVEL, Ranges, draw_conditions
from cascade.simulate.labels import Label, ellipse_region, merged, outline_region, rays_extent, visibility
from cascade.simulate.mosaic import Blank, Mosaic, lit_pixels
from cascade.simulate.night_sky import Saturated, draw_sky, saturated_light
from cascade.simulate.rays import draw_rays
from cascade.sky.brightness import ghost_class

CAMERA = Camera.decam()
MOSAIC = Mosaic(CAMERA)
LIT = CAMERA.labels > 0
NOTHING = np.zeros((400, 400), np.float32)
STILL = replace(
    draw_conditions(np.random.default_rng(0), Ranges()), shift_px=(0.0, 0.0), rotation=0.0, height_px=0.0,
    ccd_2_dead=False, sky_level=60.0, meshes=(5, 10), mesh_bias=0.3,
)  # fmt: skip


def disc(row, column, radius):
    y, x = np.mgrid[0:400, 0:400] + 0.5
    return (np.hypot(y - row, x - column) < radius).astype(np.float32)


def preview(extended=NOTHING, sharp=NOTHING, conditions=STILL, blanks=()):
    return MOSAIC.preview(extended, sharp, conditions, np.random.default_rng(1), blanks).astype(float)


def test_conditions_vary_and_follow_the_generator():
    drawn = [draw_conditions(np.random.default_rng(seed), Ranges()) for seed in range(40)]
    assert drawn[3] == draw_conditions(np.random.default_rng(3), Ranges())
    assert {conditions.band for conditions in drawn} == set(BANDS)
    assert len({conditions.meshes for conditions in drawn}) == 3
    assert np.ptp([conditions.sky_level for conditions in drawn]) > 15


def test_five_magnitudes_are_a_hundred_times_the_light():
    assert STILL.grey_of_star(2.0) == pytest.approx(100 * STILL.grey_of_star(7.0))


def test_even_light_is_lost_to_the_mesh():
    left = MOSAIC.cells(np.full((400, 400), 40, np.float32))
    assert np.abs(left - MOSAIC.background(left, (5, 10), 0.3)).max() < 1e-3


@pytest.mark.parametrize("meshes", [(4, 8), (5, 10), (6, 12)])
def test_a_large_ghost_is_lost_but_for_its_edge(meshes):
    cells = MOSAIC.cells(20 * disc(200, 200, 120))
    left = cells - MOSAIC.background(cells, meshes, 0.3)
    back = np.zeros((400, 400), np.float32)
    for cell, (window, inside) in zip(left, MOSAIC._windows, strict=True):
        back[window] += cell[inside] * LIT[window]
    inner = LIT & (disc(200, 200, 100) > 0)
    rim = LIT & (disc(200, 200, 120) > disc(200, 200, 118))
    outer = LIT & (disc(200, 200, 122) > disc(200, 200, 120))
    assert abs(np.median(back[inner])) < 0.5
    assert 6 < np.median(back[rim]) < 16
    assert -10 < np.median(back[outer]) < -2


def test_a_small_ghost_stays_bright():
    image = preview(40 * disc(148, 305, 6)) - preview()
    assert np.median(image[disc(148, 305, 4) > 0]) > 20


def test_sky_fills_the_ccds_and_not_the_gaps():
    image = preview()
    inside = LIT & ~CAMERA.dark_pixels(None)
    assert np.median(image[inside]) == pytest.approx(60, abs=2)
    assert np.median(image[~LIT]) == GAP_LEVEL


def test_edges_of_ccds_are_soft():
    image = preview()
    rows = np.flatnonzero((CAMERA.labels == 28).any(axis=1))
    columns = np.flatnonzero((CAMERA.labels == 28).any(axis=0))[8:-8]
    share = (np.median(image[:, columns], axis=1) - GAP_LEVEL) / (60 - GAP_LEVEL)
    assert abs(share[rows[0] - 1]) < 0.15
    assert share[rows[1]] > 0.8
    assert 0.3 < share[rows[-1]] < 0.9  # measured: 0.66


def test_dead_areas_are_as_dark_as_gaps():
    image = preview(conditions=replace(STILL, ccd_2_dead=True))
    for ccdnum in (2, 61):
        assert np.median(image[CAMERA.labels == ccdnum]) == GAP_LEVEL
    assert np.median(image[CAMERA.dark_pixels(None)]) == GAP_LEVEL
    assert not lit_pixels(MOSAIC, replace(STILL, ccd_2_dead=True))[CAMERA.labels == 2].any()
    assert lit_pixels(MOSAIC, STILL)[CAMERA.labels == 2].all()


def test_masked_parts_are_dark():
    image = preview(blanks=(Blank(28, (0.5, 1.0), (0.0, 0.4)),))
    ccd = image[np.ix_(*(np.flatnonzero((CAMERA.labels == 28).any(axis=axis)) for axis in (1, 0)))]
    assert np.median(ccd[18:-2, 2:20]) == GAP_LEVEL
    assert np.median(ccd[3:12]) > 50
    assert np.median(ccd[:, 30:-3]) > 50


def test_positions_are_found_on_their_ccd():
    centre = MOSAIC.centres[27]
    assert MOSAIC.ccd_at(*centre) == (28, pytest.approx(0.5), pytest.approx(0.5))
    assert MOSAIC.ccd_at(2.0, 2.0) is None


def test_sky_has_noise_and_stars():
    light = draw_sky(STILL, MOSAIC, np.random.default_rng(2))
    assert np.array_equal(light, draw_sky(STILL, MOSAIC, np.random.default_rng(2)))
    assert np.median(light) == pytest.approx(0, abs=3)
    assert 0.004 < np.mean(light > 100) < 0.03


def test_a_brighter_star_saturates_more_pixels():
    sizes = []
    for flux in (1e6, 1e9):
        star = Saturated(*MOSAIC.centres[27], flux)
        extended, sharp, _ = saturated_light(star, STILL, MOSAIC, np.random.default_rng(3))
        sizes.append((preview(extended, sharp)[CAMERA.labels == 28] > 250).sum())
    assert 0 < 4 * sizes[0] < sizes[1]


def test_a_star_in_a_gap_bleeds_nowhere():
    star = Saturated(2.0, 2.0, 1e5)
    assert saturated_light(star, STILL, MOSAIC, np.random.default_rng(3))[2] == ()


def test_rays_enter_at_the_rim_and_scale_with_the_noise():
    for seed in range(15):
        beams = draw_rays(10.0, CAMERA, np.random.default_rng(seed))
        assert 1 <= len(beams) <= 3
        assert {beam.kind for beam in beams} <= {"beam", "arcs", "curls"}
        for beam in beams:
            assert beam.light.shape == tuple(side.stop - side.start for side in beam.box)
            assert beam.light.min() >= 0
            if beam.light.max() > 0:
                row, column = np.unravel_index(beam.light.argmax(), beam.light.shape)
                assert np.hypot(row + beam.box[0].start - 200, column + beam.box[1].start - 200) > 70


def test_visibility_grows_with_the_light_and_ignores_what_is_dark():
    step = 20 * disc(200, 200, 30)
    everywhere = np.ones(step.shape, bool)
    assert visibility(2 * step, everywhere, 100.0) == pytest.approx(2 * visibility(step, everywhere, 100.0), rel=1e-4)
    assert visibility(step, everywhere, 200.0) == pytest.approx(visibility(step, everywhere, 100.0) / 2, rel=1e-4)
    assert visibility(step, ~everywhere, 10.0) == 0


def test_stripes_of_single_pixels_are_hardly_seen():
    stripes = np.tile(np.array([0, 20], np.float32), (100, 50))
    without_band_pass = np.sqrt(stripes.size) * stripes.std() / 10.0
    assert visibility(stripes, np.ones(stripes.shape, bool), 10.0) < without_band_pass / 2


@pytest.mark.parametrize(
    ("contrast", "radius", "artifact"),
    [(3.0, 12, Artifact.BRIGHT), (1.0, 75, Artifact.FAINT), (0.3, 25, Artifact.FAINT)],
)
def test_bright_is_compact_and_strong(contrast, radius, artifact):
    assert ghost_class(contrast, np.pi * radius**2) == artifact


def test_round_outlines_become_circles_and_others_ellipses():
    assert ellipse_region(Artifact.FAINT, 50, 60, 21, 20, 0.3).shape == "circle"
    ellipse = ellipse_region(Artifact.FAINT, 200, 200, 60, 20, 0.0)
    mask = ellipse.mask()
    assert (np.ptp(np.flatnonzero(mask.any(axis=0))), np.ptp(np.flatnonzero(mask.any(axis=1)))) == (118, 38)


def test_an_ellipse_leans_as_its_angle_says():
    mask = ellipse_region(Artifact.FAINT, 200, 200, 60, 20, np.pi / 4).mask()
    assert mask[235, 235]
    assert not mask[235, 165]


def test_an_outline_is_the_hull_of_the_largest_part():
    mask = np.zeros((400, 400), bool)
    mask[100:120, 100:140] = True
    mask[300:305, 300:305] = True
    region = outline_region(Artifact.RAYS, mask)
    assert region is not None
    assert (region.mask() ^ (mask & (np.arange(400) < 200))).sum() < 130
    assert region.shape == "polygon"


@pytest.mark.parametrize("rows", [slice(0, 0), slice(10, 11), slice(10, 14)])
def test_too_small_a_mask_has_no_outline(rows):
    mask = np.zeros((400, 400), bool)
    mask[rows, 10:20] = True
    assert outline_region(Artifact.RAYS, mask) is None


def test_a_beam_ends_where_its_texture_is_lost():
    light = np.zeros((60, 120), np.float32)
    light[:, ::3] = np.linspace(60, 0, 40)
    extent = rays_extent(light, np.ones(light.shape, bool), 10.0)
    assert extent[30, 5]
    assert not extent[30, 115]


def label(row, radius, snr, artifact=Artifact.FAINT):
    region = Region(artifact, "circle", (row,), (200.0,), (radius, radius))
    return Label(region, region.mask(), snr, "D>C5_exit")


def test_outlines_that_nearly_repeat_a_plainer_one_are_drawn_once():
    plain, again, other = label(200.0, 40.0, 50.0), label(202.0, 41.0, 30.0), label(300.0, 30.0, 20.0)
    assert merged([again, other, plain]) == [plain, other]


def test_beside_a_plain_artifact_the_weakest_are_not_drawn():
    plain, weak = label(200.0, 40.0, 300.0), label(300.0, 30.0, 300.0 * rule.MIN_SHARE - 1)
    assert merged([weak, plain]) == [plain]
    assert merged([weak]) == [weak]
    assert merged([]) == []
