import json
from dataclasses import replace

import numpy as np
import pytest

from cascade.camera import Camera
from cascade.core.errors import ConfigError, InputError
from cascade.optics.bank import BANK_FILE, OpticsBank, pair_surfaces
from cascade.optics.build_bank import passages
from cascade.optics.ghost_image import StarGeometry
from cascade.optics.ghost_optics import GhostOptics, Reflectivity, Star
from cascade.optics.polynomial import EVEN, ODD, chebyshev, lagrange, powers_matrix

OPTICS = GhostOptics.load()
CAMERA = Camera.decam()
ROW, COLUMN = (np.mgrid[:400, :400] + 0.5).astype(float)
THIN_VANES = (19.0, 19.0, 19.0, 19.0)  # as in batoid's model

# Single rays traced with batoid 0.9, off the nodes of the bank: pair, field angle, band, filter offset in mm,
# pupil in m -> focal plane in mm.
TRACED = [
    ("D>C5_exit", 0.33, "g", 0, (1.2, 0.9), (65.723, -5.349)),
    ("D>C5_exit", 0.97, "r", 0, (-1.2, 1.1), (246.157, -13.920)),
    ("D>C5_entrance", 0.61, "i", 0, (0.4, -1.8), (131.090, 25.898)),
    ("D>C4_entrance", 0.52, "g", 0, (-1.5, 0.6), (-30.411, -11.156)),
    ("D>C4_entrance", 1.01, "z", 0, (0.9, 1.5), (-187.950, -28.175)),
    ("C5_exit>C5_entrance", 0.88, "Y", 0, (1.0, 1.2), (129.844, -8.721)),
    ("D>C4_exit", 0.47, "g", 0, (1.4, -1.0), (-9.059, 40.714)),
    ("D>C3_entrance", 0.12, "u", 0, (-0.8, -1.3), (-68.072, -60.353)),
    ("D>Filter_exit", 0.66, "r", -120, (1.1, 1.3), (-60.572, -95.208)),
    ("D>Filter_entrance", 0.93, "g", 30, (-1.4, 0.9), (132.416, -49.994)),
    ("C4_exit>Filter_exit", 0.30, "z", -60, (0.7, 1.2), (59.808, -27.354)),
    ("C5_exit>C4_entrance", 0.70, "g", 0, (1.0, -1.2), (-187.044, 29.807)),
]

# 1.1 million rays traced with batoid and all its obscurations: pair, field angle, azimuth -> flux on the preview over
# that of the open pupil, and its centroid (row, column).
SUMMED = [
    ("D>C5_exit", 0.30, 0, 0.9916, (262.86, 200.07)),
    ("D>C3_entrance", 0.75, 110, 0.6311, (261.23, 340.46)),
    ("C5_exit>C5_entrance", 1.17, 300, 0.9068, (284.55, 346.55)),
    ("D>C4_entrance", 0.60, 45, 0.9868, (154.35, 245.71)),
]


def render_one(pair, angle, azimuth, **options):
    return OPTICS.render(field_angle_deg=angle, azimuth_deg=azimuth, band="g", pairs=[pair], **options)[pair]


@pytest.mark.parametrize(("pair", "angle", "band", "offset", "pupil", "plane"), TRACED)
def test_a_ray_lands_where_batoid_traces_it(pair, angle, band, offset, pupil, plane):
    map_ = OPTICS.bank.ghost_map(pair, angle, OPTICS.bank.mix_of_band(band), offset)
    x, y = np.array([pupil[0] / 2]), np.array([pupil[1] / 2])
    got = powers_matrix(x, y, EVEN) @ map_.forward[: len(EVEN)], powers_matrix(x, y, ODD) @ map_.forward[len(EVEN) :]
    assert np.hypot(got[0][0] - plane[0], got[1][0] - plane[1]) < 0.2  # mm, as good as px


@pytest.mark.parametrize(("pair", "angle", "azimuth", "share", "centroid"), SUMMED)
def test_flux_and_centroid_of_a_ghost_are_those_that_batoid_traces(pair, angle, azimuth, share, centroid):
    image = render_one(pair, angle, azimuth, vane_width_mm=THIN_VANES) / Reflectivity().throughput(pair)
    assert image.sum() == pytest.approx(share, abs=0.006)
    assert (image * ROW).sum() / image.sum() == pytest.approx(centroid[0], abs=0.15)
    assert (image * COLUMN).sum() / image.sum() == pytest.approx(centroid[1], abs=0.15)


@pytest.mark.parametrize("angle", [0.1, 0.62, 0.93])
def test_both_ways_of_drawing_agree(angle):
    warped = render_one("D>C5_entrance", angle, 77)
    folded = FoldedBank(OPTICS.bank.description, OPTICS.bank.arrays)
    splat = GhostOptics(folded).render(field_angle_deg=angle, azimuth_deg=77, band="g", pairs=["D>C5_entrance"])
    splat = splat["D>C5_entrance"]
    assert splat.sum() == pytest.approx(warped.sum(), rel=0.01)
    assert np.abs(splat - warped).sum() < 0.06 * warped.sum()  # edges are one pixel softer


class FoldedBank(OpticsBank):
    """A bank that knows no inverse."""

    def ghost_map(self, *state):
        return replace(super().ghost_map(*state), invertible=False)


def test_a_ghost_on_the_axis_is_an_annulus_with_two_vane_shadows():
    image = render_one("D>Filter_exit", 0.0, 0.0, vane_width_mm=(60.0,) * 4)
    lit = image > 0.5 * image.max()
    radius = np.hypot(ROW - 200, COLUMN - 200.07)
    outer = radius[lit].max()
    assert outer == pytest.approx(231 / 2 * 0.9463, abs=1.5)  # mm across, traced
    assert not lit[radius < 0.39 * outer].any()  # the cage hides 0.83 of 1.971 m
    along = np.abs(np.abs(ROW - 200) - np.abs(COLUMN - 200.07)) < 1.5  # the diagonals
    ring = (radius > 0.6 * outer) & (radius < 0.9 * outer)
    assert not lit[ring & along].any()
    assert lit[ring & ~(np.abs(np.abs(ROW - 200) - np.abs(COLUMN - 200.07)) < 6)].all()


def test_edges_are_crisp():
    profile = render_one("D>C4_exit", 0.0, 0.0)[200, 200:] / 1.0
    level = np.median(profile[40:65])
    soft = (profile > 0.1 * level) & (profile < 0.9 * level) & (np.arange(200) > 45)
    assert 1 <= soft.sum() <= 3


def test_wide_vanes_take_light_and_none_take_none():
    none, narrow, wide = (
        render_one("D>C4_exit", 0.4, 10, vane_width_mm=(w,) * 4).sum(dtype=float) for w in (0, 19, 90)
    )
    assert none > narrow > wide
    lost = 4 * 0.090 * (1.971 - 0.83) / OPTICS.bank.description["open_area_m2"]
    assert 1 - wide / none == pytest.approx(lost, rel=0.15)


def test_turning_the_star_turns_the_ghost():
    first, opposite = (render_one("D>C5_entrance", 0.5, turn, vane_width_mm=THIN_VANES) for turn in (0, 180))
    down, up = ((image * ROW).sum() / image.sum() - 200 for image in (first, opposite))
    assert down == pytest.approx(-up, abs=0.02)
    star = OPTICS.star_mm(Star(0.5, 90))
    assert star == pytest.approx((0, 102.4), abs=0.3)  # 17.585 arcsec/mm


def test_a_shape_of_half_the_size_holds_the_same_flux():
    full = render_one("D>C4_exit", 0.4, 10)
    half = render_one("D>C4_exit", 0.4, 10, shape=(200, 200))
    assert half.shape == (200, 200)
    assert half.sum() == pytest.approx(full.sum(), rel=0.01)


def test_the_filter_moves_its_own_ghosts_only():
    for pair, moves in (("D>C4_exit", False), ("D>Filter_exit", True)):
        near, far = (
            OPTICS.render(field_angle_deg=0.4, azimuth_deg=0, band="g", filter_offset_mm=mm, pairs=[pair])[pair]
            for mm in (0.0, -120.0)
        )
        assert np.array_equal(near, far) is not moves


def test_the_cutoff_leaves_out_faint_pairs_and_changes_no_other():
    star = Star(0.4, 20.0)
    levels = OPTICS.surface_brightness(star)
    cutoff = float(np.median(list(levels.values())))
    every, bright = OPTICS.patches(star), OPTICS.patches(star, cutoff=cutoff)
    assert {pair for pair, level in levels.items() if level > 1.2 * cutoff} <= set(bright) < set(every)
    for pair, patch in bright.items():
        assert np.array_equal(patch.values, every[pair].values)


def test_surface_brightness_is_that_of_the_picture():
    image = render_one("D>C4_exit", 0.3, 0)
    assert OPTICS.surface_brightness(Star(0.3, 0))["D>C4_exit"] == pytest.approx(np.median(image[image > 0]), rel=0.3)


def test_no_light_comes_from_beyond_the_field():
    assert OPTICS.render(field_angle_deg=1.5, azimuth_deg=0, band="g", pairs=["C5_exit>C5_entrance"]) == {}
    off_detector = OPTICS.render(field_angle_deg=1.15, azimuth_deg=0, band="g")
    assert off_detector
    assert not any(pair.startswith("D>") for pair in off_detector)


def test_the_footprint_is_the_filled_disc_and_the_outline_its_ellipse():
    star = Star(0.3, 120.0)
    footprint, outline = OPTICS.footprint("D>C4_exit", star), OPTICS.outline("D>C4_exit", star)
    inside = np.hypot(ROW - outline.row, COLUMN - outline.column)
    assert outline.major == pytest.approx(outline.minor, rel=0.03)
    assert footprint[inside < outline.minor - 1.5].all()
    assert not footprint[inside > outline.major + 1.5].any()


@pytest.mark.parametrize(("pair", "angle"), [("D>C4_entrance", 0.9), ("D>C4_entrance", 1.03), ("D>C5_exit", 0.5)])
def test_the_footprint_holds_the_light(pair, angle):
    star = Star(angle, 33.0)
    image = render_one(pair, angle, 33.0)
    assert image[OPTICS.footprint(pair, star)].sum() > 0.97 * image.sum()


def test_outline_and_footprint_of_a_dark_pair_are_empty():
    assert OPTICS.outline("D>C5_exit", Star(1.3, 0)) is None
    assert not OPTICS.footprint("D>C5_exit", Star(1.3, 0)).any()


def test_throughput_counts_two_reflections_and_the_glass_between():
    mirror = Reflectivity(detector=0.2, glass=0.01, surfaces={"C5_exit": 0.03})
    assert mirror.throughput("D>C5_exit") == pytest.approx(0.2 * 0.03)
    assert mirror.throughput("D>C5_entrance") == pytest.approx(0.2 * 0.01 * 0.97**2)
    assert Reflectivity(glass=0.0).throughput("D>C4_exit") == 0


def test_light_meets_the_surfaces_in_turn():
    assert passages("C5_exit>C4_exit")[-6:] == [
        ("C5_exit", "reflected"), ("C5_entrance", "reverse"), ("C4_exit", "reflected"), ("C5_entrance", "forward"),
        ("C5_exit", "forward"), ("D", "forward"),
    ]  # fmt: skip
    assert passages("D>C5_exit")[-3:] == [("D", "reflected"), ("C5_exit", "reflected"), ("D", "forward")]


def test_pixels_and_plane_of_a_sight_are_inverse():
    geometry = StarGeometry.of(0.4, 70.0, (400, 400), None)
    rows, columns = geometry.to_pixel(*geometry.to_plane(np.array([10.0, 300.0]), np.array([20.0, 250.0])))
    assert rows == pytest.approx([10, 300])
    assert columns == pytest.approx([20, 250])


def test_interpolation_is_exact_for_polynomials():
    nodes, at = chebyshev(4), np.array([-1.0, -0.2, chebyshev(4)[1], 0.9])
    assert lagrange(nodes, at) @ (nodes**3 - nodes) == pytest.approx(at**3 - at)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Star(-0.1, 0), r"field angle: expected degrees in \[0, 1.5\], got -0.1"),
        (lambda: Star(float("nan"), 0), "field angle"),
        (lambda: OPTICS.patches(Star(0.1, 0, "q")), "band: expected one of u, g, r"),
        (lambda: OPTICS.patches(Star(0.1, 0), pairs=["D>Filter"]), "surface pair: expected two of"),
        (lambda: OPTICS.footprint("C5_exit>C1_exit", Star(0.1, 0)), "surface pair: expected one of D>C5_exit"),
        (lambda: pair_surfaces("C5_exit>D"), "the later first"),
        (lambda: Reflectivity(detector=1.2), r"reflectivity of detector: expected a number in \[0, 1\], got 1.2"),
        (lambda: Reflectivity(surfaces={"C9": 0.1}), "reflectivity: expected one of .* got 'C9'"),
    ],
)
def test_values_that_make_no_sense_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_a_missing_or_damaged_bank_says_how_to_build_one(tmp_path):
    with pytest.raises(InputError, match=r"build one with python -m cascade"):
        OpticsBank.load(tmp_path / "none.npz")
    arrays = {name: array.copy() for name, array in OPTICS.bank.arrays.items()}
    arrays["forward"][0, 0, 0, 0] += 1
    np.savez(tmp_path / BANK_FILE, description=np.array(json.dumps(OPTICS.bank.description)), **arrays)
    with pytest.raises(InputError, match="expected arrays of sha256"):
        OpticsBank.load(tmp_path / BANK_FILE)


def test_the_bank_says_where_it_comes_from():
    description = OPTICS.bank.description
    assert description["made_by"] == "python -m cascade.optics.build_bank"
    assert len(description["telescope_sha256"]) == 64
    assert description["batoid"] == "0.9.0"
