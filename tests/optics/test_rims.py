import numpy as np
import pytest

from cascade.core.errors import ConfigError
from cascade.optics.ghost_image import StarGeometry
from cascade.optics.ghost_optics import GhostOptics
from cascade.optics.rims import rims

OPTICS = GhostOptics.load()
ANGLES = np.array([0.0, 0.333, 0.9, 1.05, 1.2, 1.49])
AZIMUTHS = np.array([0.0, 100.0, -33.0, 250.0, 10.0, 77.0])


@pytest.mark.parametrize(
    ("pair", "offset"), [("D>C4_entrance", 0.0), ("D>Filter_exit", -92.0), ("C5_exit>C5_entrance", 9.0)]
)
def test_rims_of_many_stars_are_those_of_each(pair, offset):
    found = rims(OPTICS.bank, pair, ANGLES, AZIMUTHS, band="r", offset_mm=offset)
    for n, (angle, azimuth) in enumerate(zip(ANGLES, AZIMUTHS, strict=True)):
        map_ = OPTICS.bank.ghost_map(pair, angle, OPTICS.bank.mix_of_band("r"), offset)
        outside = pair.startswith("D>") and angle > 1.1  # the star itself falls beside the detector
        assert found.lit[n] == (map_ is not None and not outside)
        if map_ is not None:
            rows, columns = StarGeometry.of(angle, azimuth, (400, 400), None).rim(map_)
            assert found.rows[n] == pytest.approx(rows, abs=1e-6)
            assert found.columns[n] == pytest.approx(columns, abs=1e-6)
            assert (found.share[n], found.density[n]) == pytest.approx((map_.share, map_.density), rel=1e-6)


def test_beyond_the_traced_angles_all_is_dark():
    assert not rims(OPTICS.bank, "C5_exit>C5_entrance", np.array([1.6]), np.zeros(1), band="g", offset_mm=0).lit.any()


def test_unknown_pairs_and_bands_are_refused():
    with pytest.raises(ConfigError, match="surface pair: expected one of"):
        rims(OPTICS.bank, "D>Shutter", ANGLES, AZIMUTHS, band="g", offset_mm=0)
    with pytest.raises(ConfigError, match="band: expected one of"):
        rims(OPTICS.bank, "D>C5_exit", ANGLES, AZIMUTHS, band="Q", offset_mm=0)
